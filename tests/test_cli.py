"""The command line: what it prints, what it writes, with which exit code, and one clear message when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import microconv as mc
from microconv.cli import main


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    frame = pd.DataFrame(
        {
            "visitor": ["a", "a", "b", None],
            "ms": [1_767_225_600_000, 1_767_312_000_000, 1_767_225_600_000, 1_767_225_600_000],
            "event": ["look", "purchase", "look", "look"],
        }
    )
    path = tmp_path / "events.csv"
    frame.to_csv(path, index=False)
    return path


READING = ["--column", "user_id=visitor", "--column", "time=ms", "--time-unit", "ms"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def test_help_is_cheap_and_lists_the_commands() -> None:
    script = (
        "import sys\nfrom microconv.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'pandas', 'numpy', 'ibis', 'duckdb', 'matplotlib', 'seaborn', 'papermill', 'nbconvert', 'scipy'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded []"
    for command in ("report", "run", "new", "check", "plan", "simulate", "sql"):
        assert f"    {command} " in run.stdout


@pytest.mark.parametrize("command", ["report", "run", "new", "check", "plan", "simulate", "sql"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: microconv {command}" in capsys.readouterr().out


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "usage: microconv" in capsys.readouterr().err


def test_check_prints_and_says_by_its_exit_code(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(events), *READING]) == 1  # a user without id is worth a look
    out = capsys.readouterr().out
    assert "3 of 4 rows became events of 2 users" in out
    assert "missing user_id" in out
    clean = pd.read_csv(events).dropna()
    clean.to_csv(events, index=False)
    assert main(["check", str(events), *READING]) == 0
    assert "Nothing to look at." in capsys.readouterr().out


def test_check_prints_plan_faults(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("macros: [{name: bought, event: purchas}]\n")
    assert main(["check", str(events), "--plan", str(plan), *READING]) == 1
    assert "Did you mean 'purchase'" in capsys.readouterr().out
    plan.write_text("macros: [{nam: bought, event: purchase}]\n")
    assert main(["check", str(events), "--plan", str(plan), *READING]) == 1
    assert "Did you mean 'name'" in capsys.readouterr().out


def test_plan_prints_a_plan(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(events), *READING]) == 0
    text = capsys.readouterr().out
    assert mc.Plan.from_yaml_text(text).macros[0].name == "purchase"
    assert main(["plan", str(events), "--macro", "look", *READING]) == 0
    assert mc.Plan.from_yaml_text(capsys.readouterr().out).macros[0].name == "look"


def test_new_copies_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "funnel"]) == 0
    assert capsys.readouterr().out.strip() == "funnel.ipynb"
    (tmp_path / "funnel.ipynb").write_text("mine")
    assert "exists already" in fails(capsys, "new", "funnel")
    assert (tmp_path / "funnel.ipynb").read_text() == "mine"
    assert "Did you mean 'funnel'" in fails(capsys, "new", "funel")


def test_simulate_writes_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--output", "shop", "--users", "50", "--seed", "3"]) == 0
    assert (tmp_path / "shop" / "events.parquet").is_file()
    first = pd.read_parquet(tmp_path / "shop" / "events.parquet")
    assert main(["simulate", "--output", "again", "--users", "50", "--seed", "3"]) == 0
    pd.testing.assert_frame_equal(first, pd.read_parquet(tmp_path / "again" / "events.parquet"))
    capsys.readouterr()
    (tmp_path / "file").write_text("")
    assert "file" in fails(capsys, "simulate", "--output", "file/below")


def test_sql_is_what_the_engine_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "funnel", "--steps", "a", "b", "--window", "1D"]) == 0
    query = capsys.readouterr().out
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE events AS SELECT * FROM (VALUES ('u', TIMESTAMPTZ '2026-01-01 00:00:00+00', 'a'), "
        "('u', TIMESTAMPTZ '2026-01-01 01:00:00+00', 'b')) AS t(user_id, time, event)"
    )
    assert len(connection.execute(query).fetchall()) == 1
    assert "Did you mean 'funnel'" in fails(capsys, "sql", "funel", "--steps", "a")
    assert main(["sql", "funnel", "--steps", "a", "b", "--dialect", "bigquery"]) == 0


def test_what_cannot_be_done_is_one_message(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no file" in fails(capsys, "check", "nothing.csv")
    assert "give time_unit= for numbers since 1970" in fails(capsys, "check", str(events), *READING[:4])
    assert "must be NAME=COLUMN" in fails(capsys, "check", str(events), "--column", "visitor")
    assert "needs a plan, or steps" in fails(capsys, "report", "--events", str(events))
    assert "Did you mean 'window'" in fails(capsys, "run", "funnel", "-p", "windw", "3D")
    (events.parent / "file").write_text("")
    assert "cannot be written" in fails(capsys, "report", "--output", str(events.parent / "file" / "below"))


@pytest.mark.slow
def test_run_executes_a_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-p", "steps", "[add_to_cart, purchase]", "-p", "output_dir", "out", "-p", "window", "2D"]
    assert main(["run", "funnel", *arguments]) == 0
    assert capsys.readouterr().out.strip() == "funnel-executed.ipynb"
    parameters = json.loads((tmp_path / "out" / "result.json").read_text())["parameters"]
    assert parameters["steps"] == ["add_to_cart", "purchase"]
    assert parameters["window"] == "2D"


@pytest.mark.slow
def test_report_reads_as_it_is_told(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.yaml").write_text("macros: [{name: bought, event: purchase}]\nhorizon: 2D\n")
    more = ["-p", "steps", "[look, bought]", "-p", "min_cell", "0"]
    assert main(["report", "--events", str(events), "--plan", "plan.yaml", "--output", "here", *READING, *more]) == 0
    assert f"The report is in {tmp_path / 'here' / 'report.html'}" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "here" / "funnel" / "table.csv")
    assert table["users"].tolist() == [2, 1]
