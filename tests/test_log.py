"""EventLog: smaller logs, other plans, what is written and what is shown of one."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import gc
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import microconv as mc

HOSTILE = "<script>alert('x')</script>"


def frame_of_three() -> pd.DataFrame:
    """a enters on 1 January, b on the 5th, c on the 10th; all are seen on the 20th."""
    rows = [
        ("a", "2026-01-01T00:00Z", "visit", 1.0),
        ("a", "2026-01-20T00:00Z", "buy", 5.0),
        ("b", "2026-01-05T00:00Z", "visit", 2.0),
        ("b", "2026-01-06T00:00Z", "visit", None),
        ("b", "2026-01-20T00:00Z", "buy", 7.0),
        ("c", "2026-01-10T00:00Z", "visit", 3.0),
    ]
    return pd.DataFrame(rows, columns=["user_id", "time", "event", "amount"])


@pytest.fixture(scope="module")
def log() -> mc.EventLog:
    return mc.read_events(frame_of_three(), observed_until="2026-02-01")


def held(log: mc.EventLog) -> list[tuple[str, str, int]]:
    frame = log.engine.fetch(log.events).sort_values(["user_id", "time"])
    return [(row.user_id, row.event, row.time.day) for row in frame.itertuples()]


A, B, C = (
    [("a", "visit", 1), ("a", "buy", 20)],
    [("b", "visit", 5), ("b", "visit", 6), ("b", "buy", 20)],
    [("c", "visit", 10)],
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"start": "2026-01-05"}, [*B, *C]),
        ({"start": "2026-01-05T00:00:00.000001Z"}, C),
        ({"end": "2026-01-05"}, A),
        ({"end": dt.date(2026, 1, 10)}, [*A, *B]),  # later events still count
        ({"start": dt.datetime(2026, 1, 2), "end": "2026-01-10T01:00+01:00"}, B),
        ({"start": "2026-01-05T01:00+01:00", "end": "2026-01-05T00:00:01"}, B),
        ({"users": ["a", "c", "nobody"]}, [*A, *C]),
        ({"users": iter(["b"])}, B),
        ({"where": "event = 'buy'"}, [A[1], B[2]]),
        ({"where": "amount > 2"}, [A[1], B[2], *C]),
        ({"where": "amount is null"}, [B[1]]),
        ({"where": "event = 'buy'", "end": "2026-01-02"}, [A[1]]),
    ],
)
def test_filter(log: mc.EventLog, options: dict[str, Any], expected: list[Any]) -> None:
    smaller = log.filter(**options)
    assert held(smaller) == expected
    assert smaller.observed_until == log.observed_until
    assert smaller.provenance["filters"] == list(smaller.filters) != []
    assert len(held(log)) == 6


def test_filters_add_up_in_what_is_said(log: mc.EventLog) -> None:
    smaller = log.filter(start="2026-01-02").filter(users=["b"]).filter(where="event = 'visit'")
    assert smaller.filters == ("entry from 2026-01-02T00:00:00+00:00", "1 named users", "where event = 'visit'")
    assert held(smaller) == B[:2]
    assert smaller.event_counts.to_dict() == {"visit": 2}
    assert log.event_counts.to_dict() == {"visit": 4, "buy": 2}
    assert "where event = &#x27;visit&#x27;" in smaller._repr_html_()


def test_entry_cohorts_keep_their_later_conversions(log: mc.EventLog) -> None:
    found = mc.time_to_conversion(log.filter(end="2026-01-02"), target="buy").summary
    assert found[["n", "events", "observed_days"]].to_numpy().tolist() == [[1, 1, 19]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "2027-01-01"}, r"No event is left by the filter: entry from 2027.*The events run from 2026-01-01"),
        ({"start": "2026-01-05", "end": "2026-01-05"}, "No event is left"),
        ({"users": []}, "No event is left by the filter: 0 named users"),
        ({"users": ["z"]}, "No event is left"),
        ({"users": "a"}, "users='a' must be a list of user ids"),
        ({"where": "event = 'x'"}, "No event is left"),
        ({"where": "amont > 1"}, r"where='amont > 1': .*Did you mean 'amount'"),
        ({"where": "amount >"}, "where='amount >'"),
        ({"where": "event > 5"}, "compares"),
        ({"start": "soon"}, "start='soon' is not a time"),
        ({"end": 2026}, "end=2026 is not a time"),
    ],
)
def test_filters_that_leave_or_mean_nothing(log: mc.EventLog, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        log.filter(**options)


def test_many_and_hostile_users() -> None:
    ids = [f"u{i}" for i in range(3_000)] + ["it's", '"quoted"', HOSTILE, "007"]
    frame = pd.DataFrame({"user_id": ids, "time": "2026-01-01T00:00Z", "event": "x"})
    log = mc.read_events(frame)
    assert {user for user, *_ in held(log.filter(users=ids[2_998:]))} == set(ids[2_998:])
    assert len(held(log.filter(users=ids[1_000:]))) == 2_004
    numbers = mc.read_events(frame.assign(user_id=range(len(frame))))
    assert {user for user, *_ in held(numbers.filter(users=[7, "8", 5_000]))} == {"7", "8"}
    assert len(held(numbers.filter(users=range(1_500)))) == 1_500


def test_another_plan_brings_its_own_notes(log: mc.EventLog) -> None:
    other = log.with_plan({"macros": [{"name": "goal", "event": "buy"}]})
    assert (log.plan, other.notes) == (None, ())
    with pytest.raises(mc.ParameterError, match=r"a test needs a plan\. Pass plan= to read_events, or draft one"):
        log.require_plan("a test")
    assert other.require_plan("a test").macros[0].name == "goal"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mc.MicroconvWarning)
        wrong = other.with_plan({"macros": [{"name": "goal", "event": "bye"}]})
    assert [note.split(":")[0] for note in wrong.notes] == ["The macro 'goal' never occurs"]
    assert wrong.with_plan({"macros": [{"name": "goal", "event": "buy"}]}).notes == ()


def test_columns_that_are_asked_for(log: mc.EventLog) -> None:
    log.require_columns(["amount"], "by")
    for wrong in ("amuont", None, 5):
        with pytest.raises(mc.ParameterError, match="by: Unknown column"):
            log.require_columns([wrong], "by")  # type: ignore[list-item]


def test_rejected_rows_are_written(tmp_path: Path) -> None:
    frame = frame_of_three()
    frame.loc[0, "user_id"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mc.MicroconvWarning)
        log = mc.read_events(frame)
    written = pd.read_csv(log.write_rejected(tmp_path / 'it\'s "rejected".csv'))
    assert written[["reason", "time", "event", "amount"]].to_numpy().tolist() == [
        ["missing user_id", "2026-01-01T00:00Z", "visit", 1.0]
    ]
    for path in (tmp_path, tmp_path / "no" / "folder.csv", "/proc/nowhere.csv"):
        with pytest.raises(mc.ParameterError, match=r"Cannot write .*Name a file you may write"):
            log.write_rejected(path)
    with pytest.raises(mc.ParameterError, match="No row was rejected"):
        mc.read_events(frame_of_three()).write_rejected(tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_what_is_shown_is_short_and_escaped(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["a", HOSTILE, None],
            "time": ["2026-01-01T00:00Z", HOSTILE, "2026-01-01T00:00Z"],
            "event": [HOSTILE, HOSTILE, HOSTILE],
            HOSTILE: ["x"] * 3,
        }
    )
    path = tmp_path / "<b>.csv"
    frame.to_csv(path, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mc.MicroconvWarning)
        log = mc.read_events(path, plan={"macros": [{"name": HOSTILE, "event": "no <b>"}]})
    text = log._repr_html_()
    assert "<script>" not in text
    assert "<b>" not in text
    assert text.count("&lt;script&gt;") >= 3
    assert "1 events from" in text
    assert repr(log).startswith("<EventLog: ")
    assert len(repr(log)) < 400
    assert "observed until 2026-01-01 00:00 UTC" in repr(log)


def test_logs_are_frozen_and_compare_by_identity(log: mc.EventLog) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        log.plan = None  # type: ignore[misc]
    assert log != dataclasses.replace(log)
    assert len({log, copy.copy(log)}) == 2


def test_event_names_are_counted_most_frequent_first_then_by_name() -> None:
    frame = pd.DataFrame({"user_id": 1, "time": "2026-01-01T00:00Z", "event": list("bbaacddd")})
    log = mc.read_events(frame)
    assert list(log.event_counts.items()) == [("d", 3), ("a", 2), ("b", 2), ("c", 1)]


def test_a_smaller_log_outlives_the_one_it_came_from() -> None:
    log = mc.read_events(frame_of_three())
    smaller = log.filter(start="2026-01-05")
    folder = log.engine.temp_directory
    assert folder is not None
    del log
    gc.collect()
    assert held(smaller) == [*B, *C]
    assert folder.is_dir()
    del smaller
    gc.collect()
    assert not folder.exists()
