"""The quality of a log: every count equals a plain loop over the rows, every verdict its stated rule."""

from __future__ import annotations

import collections
import random
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.logs import BASE, SECOND, log_of, random_events

import microconv as mc
from microconv.plan import Plan
from microconv.quality import quality
from microconv.quality.checks import many_events

DAY = 86_400 * SECOND
PLAN = Plan.model_validate(
    {
        "macros": [{"name": "bought", "event": "C", "value": "amount"}],
        "micros": [
            {"name": "a", "event": "A"},
            {"name": "b_high", "event": "B", "where": "x >= 2"},
            {"name": "third_a", "event": "A", "nth": 3},
            {"name": "ghost", "event": "G"},
        ],
        "segments": ["device"],
        "horizon": "6s",
    }
)


def value_of(result: mc.Result, check: str, column: str = "value") -> Any:
    rows = result.table[result.table["check"] == check]
    assert len(rows) == 1, f"{check!r}: {result.table['check'].tolist()}"
    return rows[column].iloc[0]


def log_from(rows: list[tuple[str, str, str]], plan: Any = None, **options: Any) -> mc.EventLog:
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event"])
    return mc.read_events(frame, plan=plan, tz="UTC", **options)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12)
def test_counts_equal_a_loop(seed: int) -> None:
    events = random_events(random.Random(seed), 30, names="ABCX", most=9, span=12)
    log = log_of(events, BASE + 14 * SECOND).with_plan(PLAN.model_copy(update={"micros": PLAN.micros[:3]}))
    result = quality(log, by="device")

    users = collections.defaultdict(list)
    for event in events:
        users[event.user].append(event)
    instants = collections.defaultdict(list)
    for event in events:
        instants[event.user, event.time].append(event)
    repeats = collections.Counter((e.user, e.time, e.event) for e in events)
    judged = {"A", "B", "C"}
    tied = sum(len(found) for found in instants.values() if len(found) > 1)
    of_plan = [{e.event for e in found if e.event in judged} for found in instants.values()]
    tied_plan = sum(len(names) - 1 for names in of_plan if names)
    entry = {user: min(e.time for e in own) for user, own in users.items()}
    first_macro = {user: min((e.time for e in own if e.event == "C"), default=None) for user, own in users.items()}
    per_user = sorted(len(own) for own in users.values())

    assert value_of(result, "users") == len(users)
    assert value_of(result, "same-instant ties") == tied
    assert value_of(result, "ties between plan events") == tied_plan
    assert value_of(result, "repeated events") == sum(n - 1 for n in repeats.values())
    assert value_of(result, "events per user") == per_user[(len(per_user) + 1) // 2 - 1]
    assert value_of(result, "converted at the very first event") == sum(first_macro[u] == entry[u] for u in users)
    assert value_of(result, "mature users") == sum(at + 6 * SECOND <= BASE + 14 * SECOND for at in entry.values())
    assert value_of(result, "events the plan does not name") == sum(e.event == "X" for e in events)
    assert value_of(result, "bought without amount") == sum(
        e.event == "C" and e.columns["amount"] is None for e in events
    )

    names = collections.Counter(e.event for e in events)
    found = result.events.set_index("event")
    assert found["rows"].to_dict() == dict(names)
    assert found["users"].to_dict() == {n: len({e.user for e in events if e.event == n}) for n in names}
    done = result.plan.set_index("item")["users"]
    assert done["b_high"] == len({e.user for e in events if e.event == "B" and (e.columns["x"] or 0) >= 2})
    assert done["third_a"] == sum(sum(e.event == "A" for e in own) >= 3 for own in users.values())

    at_entry = collections.Counter(
        min((e.columns["device"] for e in own if e.time == entry[user] and e.columns["device"]), default="(missing)")
        for user, own in users.items()
    )
    assert result.segments.set_index("device")["users"].to_dict() == dict(at_entry)
    assert value_of(result, "users without device") == at_entry["(missing)"]


def test_the_columns_are_the_contract() -> None:
    result = mc.sample_log().quality()
    assert list(result.table.columns) == ["check", "value", "unit", "share", "verdict", "note"]
    assert set(result.table["verdict"]) <= {"ok", "look", "unknown"}
    assert list(result.days.columns) == ["day", "events", "mark"]
    assert result.days["events"].sum() == result.provenance["rows_accepted"]
    assert list(result.rejected.columns) == ["reason", "rows", "share"]  # no example: it would hold a person's id
    assert result.meaning.startswith(
        f"{result.provenance['rows_accepted']:,} of {result.provenance['rows_read']:,} rows"
    )


def test_the_sample_has_the_faults_it_was_given() -> None:
    result = mc.sample_log().quality()
    assert value_of(result, "bot-like users") == 3
    assert value_of(result, "bot-like users", "verdict") == "look"
    assert value_of(result, "rejected: duplicate event_id", "verdict") == "look"
    assert value_of(result, "days without events") == 0


def test_gaps_and_low_days() -> None:
    rng = np.random.default_rng(0)
    days = [d for d in range(70) if d not in (30, 31)]
    rows = [
        (f"u{rng.integers(50)}", str(pd.Timestamp("2026-01-05") + pd.Timedelta(days=d, minutes=int(m))), "view")
        for d in days
        for m in rng.integers(0, 1440, 3 if d == 50 else 60)
    ]
    result = log_from(rows).quality()
    assert len(result.days) == 70
    assert result.days.loc[[30, 31, 50], "mark"].tolist() == ["none", "none", "low"]
    assert (result.days["mark"] == "").sum() == 67
    assert value_of(result, "days without events") == 2
    assert "2026-02-04, 2026-02-05" in value_of(result, "days without events", "note")
    assert value_of(result, "days with few events", "verdict") == "look"


def test_a_weekday_that_is_always_quiet_is_no_gap() -> None:
    days = [d for d in range(70) if d % 7 != 6]
    rows = [(f"u{d}", str(pd.Timestamp("2026-01-05") + pd.Timedelta(days=d)), "view") for d in days]
    result = log_from(rows).quality()
    assert set(result.days.loc[[20, 27, 34], "mark"]) == {"off"}
    assert value_of(result, "days without events", "verdict") == "ok"


@pytest.mark.parametrize(("fast", "found"), [(False, 0), (True, 1)])
def test_bursts_look_like_a_bot(fast: bool, found: int) -> None:
    every = pd.Timedelta(milliseconds=900) if fast else pd.Timedelta(minutes=1)
    rows = [("bot", str(pd.Timestamp("2026-01-05") + k * every), "view") for k in range(70)]
    rows += [(f"u{k}", "2026-01-06", "view") for k in range(200)]
    result = log_from(rows).quality()
    assert value_of(result, "bot-like users") == found


def test_many_events_look_like_a_bot() -> None:
    assert many_events(8, 27, 47) == 235
    rows = [("busy", str(pd.Timestamp("2026-01-05") + pd.Timedelta(hours=k)), "view") for k in range(101)]
    rows += [(f"u{k}", "2026-01-06", "view") for k in range(200)]
    assert value_of(log_from(rows).quality(), "bot-like users") == 1
    assert value_of(log_from(rows[1:]).quality(), "bot-like users") == 0  # a hundred is not more than a hundred


def test_order_is_measured_only_where_arrival_is_known() -> None:
    rows = [("a", "2026-01-01T10:00", "x"), ("a", "2026-01-01T09:00", "x"), ("a", "2026-01-01T11:00", "x")]
    assert value_of(log_from(rows).quality(), "out of order", "verdict") == "unknown"
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event"])
    frame["received_at"] = pd.to_datetime(["2026-01-01T10:00", "2026-01-01T10:01", "2026-01-03T11:00"], utc=True)
    result = mc.read_events(frame, tz="UTC").quality()
    assert value_of(result, "out of order") == 1
    assert value_of(result, "late by more than a day") == 1


def test_plan_faults_are_named() -> None:
    rows = [("a", "2026-01-01", "C"), ("a", "2026-01-02", "Add to cart"), ("b", "2026-01-02", "add_to_cart")]
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event"]).assign(amount=[-5.0, 1, 1], x=1, device="m")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mc.MicroconvWarning)  # the ghost is tested below, by the result's own words
        log = mc.read_events(frame, plan=PLAN, tz="UTC")
    result = log.quality()
    assert value_of(result, "plan items that never happen") == 4
    assert "a, b_high, third_a, ghost" in value_of(result, "plan items that never happen", "note")
    assert value_of(result, "names spelled in several ways") == 2
    assert value_of(result, "converted at the very first event", "share") == 1.0
    assert value_of(result, "bought with negative amount", "verdict") == "look"
    assert any("ghost" in note for note in result.warnings)


def test_a_log_of_one_event() -> None:
    result = log_from([("a", "2026-01-01", "x")]).quality()
    assert value_of(result, "users") == 1
    assert result.meaning.endswith("checks asks for a look.")
    assert len(result.days) == 1


def test_the_end_of_observation() -> None:
    result = log_from([("a", "2026-01-01", "x")], observed_until="2026-01-11").quality()
    assert value_of(result, "silence at the end") == 10
    assert value_of(result, "silence at the end", "verdict") == "look"
    assert value_of(quality(log_from([("a", "2026-01-01", "x")]), horizon="1D"), "time span", "verdict") == "look"


def test_wrong_parameters() -> None:
    log = log_from([("a", "2026-01-01", "x")])
    with pytest.raises(mc.ParameterError, match="horizon=7 has no unit"):
        quality(log, horizon=7)  # type: ignore[arg-type]
    with pytest.raises(mc.ParameterError, match="by: Unknown column 'devic'"):
        quality(log, by="devic")
