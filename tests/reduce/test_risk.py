"""Journeys and the counts at risk that come of them: against plain Python, with ties everywhere."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import journeys as plain
from reference.journeys import Rule, Thing
from reference.logs import BASE, SECOND, log_of, random_events, told_log

from microconv.durations import MICROS_PER_DAY
from microconv.errors import ParameterError
from microconv.log import EventLog
from microconv.plan import End, Micro
from microconv.reduce.risk import JourneyRule, journeys, population, risk_table
from microconv.stats import kaplan_meier, logrank, survival_at

seeds = st.integers(0, 2**32 - 1)

TARGETS: list[tuple[dict[str, Any], Thing]] = [
    ({"event": "A"}, Thing("A")),
    ({"event": "A", "where": "x >= 1"}, Thing("A", lambda c: c["x"] is not None and c["x"] >= 1)),
    ({"event": "A", "nth": 2}, Thing("A", nth=2)),
    ({"event": "A", "total": {"column": "amount", "at_least": 4}}, Thing("A", total=("amount", 4.0))),
    ({"event": "Z"}, Thing("Z")),
]
ORIGINS: list[tuple[dict[str, Any] | None, Thing | None]] = [
    (None, None),
    ({"event": "B"}, Thing("B")),
    ({"event": "B", "nth": 2}, Thing("B", nth=2)),
    ({"event": "X", "where": "item is not null"}, Thing("X", lambda c: c["item"] is not None)),
]


@st.composite
def rules(draw: st.DrawFn) -> tuple[JourneyRule, Rule]:
    """A rule in the package's terms and the same in plain Python; ends may tie with the target and with each other."""
    target, goal = draw(st.sampled_from(TARGETS))
    origin, start = draw(st.sampled_from(ORIGINS))
    ends = draw(st.lists(st.sampled_from(["B", "C", "X"]), unique=True, max_size=2))
    censor = draw(st.lists(st.sampled_from(["C", "X"]), unique=True, max_size=2))
    horizon = draw(st.none() | st.integers(1, 9))
    rule = JourneyRule(
        target=Micro(name="target", **target),
        origin=Micro(name="origin", **origin) if origin else None,
        competing=tuple(End(name=f"end {name}", event=name) for name in ends),
        censor=tuple(End(name=f"censor {name}", event=name) for name in censor),
        horizon=horizon * SECOND if horizon is not None else None,
    )
    things = Rule(goal, start, tuple(Thing(name) for name in ends), tuple(Thing(name) for name in censor))
    return rule, things


@given(seeds, rules(), st.sampled_from([(), ("device",), ("device", "item")]), st.integers(0, 3))
@settings(max_examples=40)
def test_journeys_and_counts_are_those_of_a_loop(
    seed: int, rule: tuple[JourneyRule, Rule], by: tuple[str, ...], later: int
) -> None:
    mine, expected_rule = rule
    events = random_events(random.Random(seed), 15)
    until = max(e.time for e in events) + later * SECOND
    log = log_of(events, until)
    users = journeys(log, mine, by)
    expected = plain.journeys(events, expected_rule, until, by)

    found = log.engine.fetch(users).sort_values("user_id").to_dict("records")
    assert [row["user_id"] for row in found] == [one.user for one in expected]
    for row, one in zip(found, expected, strict=True):
        start = None if math.isnan(row["start"]) else row["start"]
        got = (row["entry"], start, row["stop"], row["cause"], tuple(row[f"by_{i}"] for i in range(len(by))))
        assert got == (one.entry, one.start, one.stop, one.cause, one.segment), one.user

    rows = plain.spells(expected, mine.horizon)
    people = population(log, users, len(by))
    segments = {segment for segment, *_ in rows}
    assert people == {"users": len(expected), "at_risk": len(rows), "segments": len(segments) if by else 1}
    if not rows:
        return
    table, _ = risk_table(log, users, mine, by, 1_000_000)
    causes = 1 + len(mine.competing)
    assert table.causes == mine.causes
    columns = ["n", *table.event_cols, "censored"]
    got_rows = {
        (tuple(row[column] for column in by), row["time_days"]): [row[column] for column in columns]
        for row in table.frame.to_dict("records")
    }
    for segment, time, *numbers in plain.counts(rows, causes):
        assert got_rows.pop((segment, time / MICROS_PER_DAY)) == numbers
    # What is left: day 0, where everybody enters and nobody leaves.
    assert all(time == 0 and not any(numbers[1:]) for (_, time), numbers in got_rows.items())


@given(seeds, rules(), st.sampled_from([(), ("device",)]))
@settings(max_examples=20)
def test_compaction_keeps_the_curve_at_events_and_at_the_end(
    seed: int, rule: tuple[JourneyRule, Rule], by: tuple[str, ...]
) -> None:
    mine, _ = rule
    rng = random.Random(seed)
    events = random_events(rng, 40, span=60, most=4)
    log = log_of(events)
    users = journeys(log, mine, by)
    if population(log, users)["at_risk"] == 0:
        return
    whole, _ = risk_table(log, users, mine, by, 1_000_000)
    exits = len(whole.frame)
    assume(exits > 1)
    # At most the times of events and each segment's last: asking for fewer than there are exits is asking to compact.
    try:
        small, kept = risk_table(log, users, mine, by, exits - 1)
    except ParameterError:
        # Nothing gained: every exit is an event or the last, or moves to a time at which another segment has an event.
        with pytest.raises(ParameterError, match=f"more than max_rows={exits - 1:,}"):
            risk_table(log, users, mine, by, exits - 1)
        return
    assert len(small.frame) <= exits
    assert small.frame[small.event_cols].sum().equals(whole.frame[whole.event_cols].sum())
    assert small.frame["censored"].sum() == whole.frame["censored"].sum()
    if small == whole:
        return
    assert "last event time" in kept
    one, other = kaplan_meier(whole), kaplan_meier(small)
    keys = [*by, "time_days"]
    happened = one[one["events"] > 0][[*keys, "survival", "se", "ci_low", "ci_high", "at_risk", "events"]]
    again = other[other["events"] > 0][happened.columns]
    pd.testing.assert_frame_equal(happened.reset_index(drop=True), again.reset_index(drop=True), check_exact=True)
    for days in (s * SECOND / MICROS_PER_DAY for s in (0, 1, 5, 20, 59)):
        ends = [survival_at(curve, [days])["survival"].to_numpy() for curve in (one, other)]
        np.testing.assert_array_equal(*ends)
    last = [curve.groupby(list(by))["time_days"].max() if by else curve["time_days"].max() for curve in (one, other)]
    assert np.array_equal(*last)
    if by and len(whole.blocks()) > 1:
        tests = [logrank(table, list(by), cause="target").table for table in (whole, small)]
        pd.testing.assert_frame_equal(*tests, rtol=1e-12)


def test_compaction_leaves_only_events_and_the_last_time() -> None:
    stories = [*[f"A0 T{i}" for i in (2, 4, 6)], *[f"A{i / 10} X9" for i in range(30)]]
    log = told_log(*stories, until=9)
    rule = JourneyRule(TARGET)
    users = journeys(log, rule)
    whole, said = risk_table(log, users, rule, (), 100)
    small, kept = risk_table(log, users, rule, (), 10)
    assert (len(whole.frame), said) == (34, "each censored time as it is")
    assert [round(day * 86_400, 6) for day in small.frame["time_days"]] == [0, 2, 4, 6, 9]
    assert small.frame["n"].tolist() == [33, 33, 32, 31, 1]
    assert "numbers at risk at event times are exact" in kept


def journey_of(log: EventLog, rule: JourneyRule) -> dict[str, tuple[float, float, int]]:
    """Per user (start, stop, cause) in seconds since the start of small logs."""
    frame = log.engine.fetch(journeys(log, rule)).sort_values("user_id")
    return {
        row["user_id"]: ((row["start"] - BASE) / SECOND, (row["stop"] - BASE) / SECOND, row["cause"])
        for row in frame.to_dict("records")
    }


TARGET, START = Micro(name="target", event="T"), Micro(name="m", event="M")
RIVAL, LEFT = End(name="rival", event="R"), End(name="left", event="L")


def test_of_ends_at_one_instant_the_target_counts_then_the_first_competing_end() -> None:
    log = told_log("A0 T3 R3 L3", "A0 R3 L3", "A0 L3 T4", "A0 T3 R2", until=9)
    assert journey_of(log, JourneyRule(TARGET, competing=(RIVAL,), censor=(LEFT,))) == {
        "u0": (0, 3, 1),
        "u1": (0, 3, 2),
        "u2": (0, 3, 0),
        "u3": (0, 2, 2),
    }


def test_an_origin_after_the_journey_ended_is_never_at_risk_and_one_at_the_end_is() -> None:
    log = told_log("A0 M1 T2", "A0 T2 M2", "A0 T1 M2", "A0 L1 M2 T3", "A0 T5", "M0 T0", until=9)
    rule = JourneyRule(TARGET, origin=START, censor=(LEFT,))
    found = journey_of(log, rule)
    assert {user: one for user, one in found.items() if not math.isnan(one[0])} == {
        "u0": (1, 2, 1),
        "u1": (2, 2, 1),
        "u5": (0, 0, 1),
    }
    assert population(log, journeys(log, rule)) == {"users": 6, "at_risk": 3, "segments": 1}


def test_a_conversion_at_the_very_moment_of_entry_counts_at_time_zero() -> None:
    log = told_log("T0", "A0 T1", "A0", until=4)
    rule = JourneyRule(TARGET)
    table, _ = risk_table(log, journeys(log, rule), rule, (), 100)
    assert table.frame[["time_days", "n", "d_target"]].head(1).values.tolist() == [[0.0, 3.0, 1.0]]  # noqa: PD011


@pytest.mark.parametrize(("horizon", "events", "last"), [(3, 2, 3), (2.999999, 1, 2.999999), (3.000001, 2, 3.000001)])
def test_an_event_at_exactly_the_horizon_counts(horizon: float, events: int, last: float) -> None:
    log = told_log("A0 T3", "A0 T1", "A0", until=8)
    rule = JourneyRule(TARGET, horizon=round(horizon * SECOND))
    table, _ = risk_table(log, journeys(log, rule), rule, (), 100)
    assert table.frame["d_target"].sum() == events
    assert table.frame["time_days"].iloc[-1] * 86_400 == pytest.approx(last, abs=1e-9)
    assert table.frame["censored"].sum() == 3 - events


def test_an_observation_that_ends_at_the_event_still_sees_it() -> None:
    log = told_log("A0 T5", "A0", until=5)
    assert journey_of(log, JourneyRule(TARGET)) == {"u0": (0, 5, 1), "u1": (0, 5, 0)}


def test_more_rows_of_events_than_allowed_is_an_error_that_says_what_to_do() -> None:
    log = told_log(*[f"A0 T{i}" for i in range(1, 9)], until=20)
    rule = JourneyRule(TARGET)
    users = journeys(log, rule)
    with pytest.raises(ParameterError, match=r"8 rows, .* more than max_rows=3\. Raise max_rows to 8"):
        risk_table(log, users, rule, (), 3)
    for wrong in (0, -1, True, 2.5, "9"):
        with pytest.raises(ParameterError, match="max_rows"):
            risk_table(log, users, rule, (), wrong)  # type: ignore[arg-type]


def test_the_order_of_rows_does_not_matter() -> None:
    events = random_events(random.Random(3), 80, span=3)
    total = Micro(name="sum", event="A", total={"column": "amount", "at_least": 4})
    rule = JourneyRule(total, competing=(End(name="c", event="C"),), censor=(End(name="x", event="X"),))
    tables = []
    for seed in (0, 1):
        rows = list(events)
        random.Random(seed).shuffle(rows)
        log = log_of(rows)
        tables.append(risk_table(log, journeys(log, rule, ["device"]), rule, ["device"], 1_000)[0])
    assert tables[0] == tables[1]
