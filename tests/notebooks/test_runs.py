"""The notebooks as programs: through papermill, from any folder, with parameters; what they save is what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import microconv as mc
from microconv.notebooks import NotebookError, find_notebook, run_notebook

pytestmark = pytest.mark.slow

SAVED = {"table.parquet", "table.csv", "figure.png", "result.json"}


def papermill(notebook: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", str(find_notebook(notebook)), "out.ipynb", "--no-progress-bar"]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody else's export: other column names, milliseconds, hostile names; a hundred users."""
    folder = tmp_path_factory.mktemp("foreign")
    start, rows = 1_767_225_600_000, []
    for user in range(100):
        rows.append((f"u'{user}", start + user * 3_600_000, "<b>open</b>", "mobile" if user % 3 else "desktop"))
        if user % 2:
            rows.append((f"u'{user}", start + user * 3_600_000 + 60_000, "pay -> $", None))
    frame = pd.DataFrame(rows, columns=["visitor", "ms", "action", "device"])
    frame.to_csv(folder / "export.csv", index=False)
    (folder / "plan.yaml").write_text("macros: [{name: paid, event: 'pay -> $'}]\nhorizon: 2D\n")
    return folder


@pytest.mark.parametrize(
    "name", ["tracking_quality", "funnel", "time_to_conversion", "micro_conversion_value", "attribution"]
)
def test_bare_papermill_from_another_folder(name: str, tmp_path: Path) -> None:
    run = papermill(name, tmp_path)
    assert run.returncode == 0, run.stderr[-2_000:]
    saved = tmp_path / "microconv-output" / name
    assert {path.name for path in saved.iterdir()} >= SAVED
    result = json.loads((saved / "result.json").read_text())
    assert result["meaning"]
    assert result["provenance"]["source"] == "the bundled sample shop"
    assert len(pd.read_parquet(saved / "table.parquet")) == result["rows"]["table"]


def test_the_funnel_notebook_saves_what_the_function_gives(tmp_path: Path) -> None:
    parameters = {
        "steps": ["add_to_cart", "purchase"],
        "segment": "device",
        "window": "2D",
        "output_dir": str(tmp_path / "o"),
    }
    run_notebook("funnel", parameters, output=tmp_path / "out.ipynb", progress=False)
    expected = mc.funnel(mc.sample_log(), ["add_to_cart", "purchase"], window="2D", by="device").suppressed(10).table
    saved = pd.read_parquet(tmp_path / "o" / "table.parquet")
    pd.testing.assert_frame_equal(saved, expected, check_dtype=False)


def test_the_value_notebook_saves_what_the_function_gives(tmp_path: Path) -> None:
    parameters = {
        "micros": ["add_to_cart", "share"],
        "adjust": "none",
        "segment": "device",
        "horizon": "14D",
        "margin": 0.5,
        "output_dir": str(tmp_path / "o"),
    }
    run_notebook("micro_conversion_value", parameters, output=tmp_path / "out.ipynb", progress=False)
    options = {"micros": ["add_to_cart", "share"], "horizon": "14D", "by": "device", "margin": 0.5}
    expected = mc.micro_value(mc.sample_log(), **options).suppressed(10)
    saved = pd.read_parquet(tmp_path / "o" / "table.parquet")
    pd.testing.assert_frame_equal(saved, expected.table, check_dtype=False)
    segments = pd.read_csv(tmp_path / "o" / "segments.csv", keep_default_na=False, na_values=[""])
    assert segments["incremental"].tolist() == pytest.approx(expected.segments["incremental"].tolist(), nan_ok=True)
    # The truth of the sample was computed for the plan's horizon only, and is not shown beside another.
    assert not (tmp_path / "o" / "truth.csv").exists()


def test_the_attribution_notebook_saves_what_the_function_gives(tmp_path: Path) -> None:
    parameters = {
        "model": ["last", "markov"],
        "lookback": "14D",
        "transforms": ["exposure", ["drop", "direct"]],
        "spend": {"email": 300},
        "output_dir": str(tmp_path / "o"),
    }
    run_notebook("attribution", parameters, output=tmp_path / "out.ipynb", progress=False)
    expected = mc.attribution(
        mc.sample_log(),
        model=["last", "markov"],
        lookback="14D",
        transforms=["exposure", ("drop", "direct")],
        spend={"email": 300},
        check=True,
    )
    saved = pd.read_parquet(tmp_path / "o" / "table.parquet")
    pd.testing.assert_frame_equal(saved, expected.table, check_dtype=False)
    spent = pd.read_csv(tmp_path / "o" / "spend.csv")
    assert spent["cost_per_conversion"].tolist() == pytest.approx(expected.spend["cost_per_conversion"].tolist())


def test_foreign_events_through_papermill_alone(foreign: Path, tmp_path: Path) -> None:
    given = f"{{events: {foreign / 'export.csv'}, plan: {foreign / 'plan.yaml'}, time_unit: ms, segment: device, "
    given += "columns: {user_id: visitor, time: ms, event: action}, observed_until: 2026-01-20, horizon: 1D}"
    run = papermill("time_to_conversion", tmp_path, "-y", given)
    assert run.returncode == 0, run.stderr[-2_000:]
    summary = pd.read_csv(tmp_path / "microconv-output" / "time_to_conversion" / "summary.csv")
    assert summary.set_index("device")["n"].to_dict() == {"desktop": 34, "mobile": 66}
    assert summary["events"].sum() == 50
    # A plan without micros: what cannot be answered says why, and the rest is there.
    text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    assert "No hazard ratios here: " in text
    assert "No fallacy check here: " in text
    folders = {path.name for path in (tmp_path / "microconv-output" / "time_to_conversion").iterdir() if path.is_dir()}
    assert folders == {"eventual_conversion", "cohorts", "forecast", "retention"}


def test_the_time_notebook_saves_what_the_functions_give(tmp_path: Path) -> None:
    parameters = {
        "micros": ["add_to_cart", "share"],
        "adjust": "device",
        "horizon": "14D",
        "cohort": "month",
        "report_tz": "Europe/Berlin",
        "output_dir": str(tmp_path / "o"),
    }
    run_notebook("time_to_conversion", parameters, output=tmp_path / "out.ipynb", progress=False)
    log, zone = mc.sample_log(), "Europe/Berlin"
    asked: dict[str, Any] = {"micros": ["add_to_cart", "share"], "adjust": ["device"], "horizon": "14D"}
    expected = {
        "hazard_ratios": mc.hazard_ratios(log, **asked),
        "fallacy_check": mc.fallacy_check(log, **asked),
        "eventual_conversion": mc.eventual_conversion(log),
        "cohorts": mc.time_to_conversion(log, by="entry_month", horizon="14D", tz=zone),
        "forecast": mc.forecast(log, horizon="14D", cohort="month", tz=zone),
        "retention": mc.retention(log, cohort="month", tz=zone),
    }
    for name, result in expected.items():
        saved = pd.read_parquet(tmp_path / "o" / name / "table.parquet")
        pd.testing.assert_frame_equal(saved, result.suppressed(10).table, check_dtype=False, obj=name)
        assert {path.name for path in (tmp_path / "o" / name).iterdir()} >= SAVED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "evnts", "x"], "Unknown parameter of the notebook 'funnel': 'evnts'. Did you mean 'events'?"),
        (["-p", "horizon", "007"], "horizon=7 is a whole number, but horizon must be text"),
        (["-r", "window", "7"], "window='7' is not a duration"),
        (["-p", "steps", "a"], "With papermill write -y 'steps: [first, second]'"),
    ],
)
def test_wrong_parameters_stop_bare_papermill(arguments: list[str], message: str, tmp_path: Path) -> None:
    run = papermill("funnel", tmp_path, *arguments)
    assert run.returncode != 0
    assert message in run.stderr
    assert "The notebook stops here:" in run.stderr
    assert 'File "' not in run.stderr.split("Exception encountered")[1]  # the message, not the way to it
    assert not (tmp_path / "microconv-output").exists()


def test_wrong_parameters_stop_before_a_kernel_starts(tmp_path: Path) -> None:
    output = tmp_path / "out.ipynb"
    with pytest.raises(mc.ParameterError, match="Did you mean 'window'"):
        run_notebook("funnel", {"windw": "7D"}, output=output)
    assert not output.exists()


def test_a_failing_notebook_says_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match=r"'funnel' stopped: There is no file 'none\.csv'") as caught:
        run_notebook("funnel", {"events": str(tmp_path / "none.csv")}, output=tmp_path / "out.ipynb", progress=False)
    assert "out.ipynb" in str(caught.value)


def test_a_notebook_is_never_run_onto_itself() -> None:
    with pytest.raises(mc.ParameterError, match="is the notebook itself"):
        run_notebook("funnel", output=find_notebook("funnel"))


@pytest.mark.real
def test_the_loan_log(real_data: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "macros: [{name: activated, event: A_ACTIVATED}]\nmicros: [{name: offer_sent, kind: intent, event: O_SENT}]\n"
        "competing: [A_DECLINED, A_CANCELLED]\nhorizon: 90D\n"
    )
    steps = ["A_SUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "O_SENT", "O_SENT_BACK", "A_ACTIVATED"]
    shared: dict[str, Any] = {
        "events": str(real_data / "bpi2012_loan_events.csv.gz"),
        "columns": {"user_id": "case_id", "time": "timestamp", "event": "activity"},
        "plan": str(plan),
    }
    funnel = {**shared, "steps": steps, "window": "none", "output_dir": str(tmp_path / "funnel")}
    run_notebook("funnel", funnel, output=tmp_path / "funnel.ipynb", progress=False)
    table = pd.read_csv(tmp_path / "funnel" / "table.csv")
    assert table["users"].tolist() == [13_087, 7_367, 5_113, 5_015, 3_254, 2_246]
    curve = {**shared, "output_dir": str(tmp_path / "time")}
    run_notebook("time_to_conversion", curve, output=tmp_path / "time.ipynb", progress=False)
    summary = pd.read_csv(tmp_path / "time" / "summary.csv")
    assert (summary["n"].item(), summary["events"].item()) == (13_087, 2_246)
