"""The bundled sample shop: its files, that one command makes them again, and that it looks like a shop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import microconv
from microconv import sample
from microconv.errors import ParameterError, SourceError
from microconv.log import EventLog
from microconv.plan import Plan
from microconv.sample import sample_log, sample_paths
from microconv.simulate import write_sample

LARGEST = 3_000_000  # bytes, all files together


@pytest.fixture(scope="module")
def log() -> EventLog:
    return sample_log()


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return pd.read_parquet(sample_paths().events)


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return json.loads(sample_paths().truth.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "made"
    write_sample(folder)
    return folder


def test_the_files_are_small(root: Path) -> None:
    files = sorted(path.name for path in (root / "sample_data").iterdir() if not path.name.startswith("."))
    assert files == ["README.md", "events.parquet", "plan.yaml", "truth.json"]
    assert sum((root / "sample_data" / name).stat().st_size for name in files) < LARGEST


def test_it_is_made_again_by_the_one_command(root: Path, again: Path, events: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(again / "events.parquet"), events)
    for name in ("plan.yaml", "README.md"):
        assert (again / name).read_text(encoding="utf-8") == (root / "sample_data" / name).read_text(encoding="utf-8")
    assert "microconv simulate --output sample_data\n" in (again / "README.md").read_text(encoding="utf-8")


def test_the_truth_is_made_again(again: Path, truth: dict[str, Any]) -> None:
    made = json.loads((again / "truth.json").read_text(encoding="utf-8"))
    ours, theirs = (pd.json_normalize(data["incremental"].pop("micros")) for data in (made, truth))
    # Monte-Carlo means are rounded to five digits; another machine's exp may round the last one differently.
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=1.1e-5)
    ours, theirs = (pd.DataFrame(data.pop("probability")) for data in (made, truth))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
    assert made == truth


def test_every_row_is_accounted_for(log: EventLog, truth: dict[str, Any], events: pd.DataFrame) -> None:
    rows = dict(zip(log.accounting["reason"], log.accounting["rows"], strict=True))
    faults = truth["faults"]
    assert log.rows_read == len(events)
    assert rows.pop("accepted") == log.rows_accepted
    assert rows == {
        "duplicate event_id": faults["duplicates"],
        "missing user_id": faults["missing_user"],
        "missing time": faults["missing_time"],
        "missing event": faults["missing_event"],
    }
    assert 0.01 < log.rows_rejected / log.rows_read < 0.05


def test_the_last_event_comes_within_the_hour_of_the_end_of_observation(log: EventLog, truth: dict[str, Any]) -> None:
    until = pd.Timestamp(truth["observed_until"])
    assert pd.Timedelta(0) <= until - pd.Timestamp(log.observed_until) < pd.Timedelta("1h")


def test_the_plan_uses_every_kind_of_condition() -> None:
    raw = yaml.safe_load(sample_paths().plan.read_text(encoding="utf-8"))
    used = {key for micro in raw["micros"] for key in micro}
    assert {"where", "nth", "total", "kpi"} <= used
    plan = Plan.from_yaml(sample_paths().plan)
    assert [end.name for end in plan.competing] == ["unsubscribe"]
    assert [end.name for end in plan.censor] == ["account_deleted"]
    assert list(plan.segments) == ["device", "country", "channel"]
    assert plan.horizon == "30D"


def test_it_looks_like_a_shop(events: pd.DataFrame, truth: dict[str, Any]) -> None:
    whole = events.dropna(subset=["user_id", "time", "event"]).drop_duplicates("event_id")
    users = whole["user_id"].nunique()
    assert 6_000 <= users <= 8_000
    assert 60_000 <= len(events) <= 100_000
    names = (
        "session_start page_view video_progress newsletter_signup add_to_cart account_created guide_downloaded share"
    )
    assert set(whole["event"]) == {*names.split(), "purchase", "unsubscribe", "account_deleted"}
    entry = whole.groupby("user_id")["time"].min()
    bought = whole[whole["event"] == "purchase"].groupby("user_id")["time"].min()
    age = bought - entry.loc[bought.index]
    within = age[age <= pd.Timedelta("30D")]
    assert 0.04 < len(bought) / users < 0.15
    assert 0.6 < (within <= pd.Timedelta("1D")).mean() < 0.75
    assert 20 < whole.loc[whole["event"] == "purchase", "value"].median() < 120
    assert truth["hazard_ratios"]["share"] == 1.0
    assert truth["micros"]["newsletter_signup"]["causes"] == {"add_to_cart": 4.0}
    watched = whole.loc[whole["event"] == "video_progress", "percent"]
    assert set(watched) == {25.0, 50.0, 75.0, 90.0, 100.0}


def test_it_is_found_in_a_wheel_and_in_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> None:
    # The tests run against a checkout or against an installed package.
    homes = (root, Path(sample.__file__).resolve().parent / "_bundled")
    assert sample_paths().events in [home / "sample_data" / "events.parquet" for home in homes]
    package = tmp_path / "site" / "microconv"
    package.mkdir(parents=True)
    monkeypatch.setattr(sample, "__file__", str(package / "sample.py"))
    with pytest.raises(SourceError, match="Make it with: microconv simulate --output sample_data"):
        sample_paths()
    shutil.copytree(root / "sample_data", package / "_bundled" / "sample_data")
    assert sample_paths().plan == package / "_bundled" / "sample_data" / "plan.yaml"


def test_other_logs_can_be_written_and_a_folder_that_cannot_is_named(tmp_path: Path) -> None:
    written = write_sample(tmp_path / "deep" / "own", users=50, seed=3, world="strong")
    assert [path.name for path in written] == ["events.parquet", "plan.yaml", "truth.json", "README.md"]
    assert "users=50, seed=3" in written[3].read_text(encoding="utf-8")
    assert microconv.read_events(written[0], plan=written[1]).rows_rejected == 0
    blocked = tmp_path / "file"
    blocked.write_text("in the way", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"cannot be written: .*Name one that can"):
        write_sample(blocked, users=50)
