"""``mc.forecast`` equals a loop over the users still open; its back-test is a forecast of a log that ended earlier."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference.funnels import Event
from reference.journeys import Journey, Rule, Thing, curve, journeys
from reference.logs import BASE, SECOND, log_of

import microconv as mc
from microconv import RiskTable
from microconv.log import EventLog
from microconv.plan import Plan
from microconv.stats.conditional import Conditional

DAY = 86_400 * SECOND
PLAN = {"macros": [{"name": "A", "event": "A"}], "competing": ["C"], "censor": ["X"]}
RULE = Rule(Thing("A"), None, (Thing("C"),), (Thing("X"),))


def daily_events(rng: random.Random, users: int, span: int) -> list[Event]:
    """Entries over some weeks, ends at whole half days after them, so that ties abound."""
    events: list[Event] = []
    for user in range(users):
        entry = BASE + rng.randrange(span * 4) * DAY // 4
        columns = {"device": rng.choice(["desktop", "mobile"])}
        told = [("V", 0)] + [(rng.choice("AACXB"), rng.randrange(30)) for _ in range(rng.randint(0, 2))]
        events += [
            Event(len(events) + n, f"u{user}", entry + half * DAY // 2, name, columns)
            for n, (name, half) in enumerate(told)
        ]
    return events


def planned(events: list[Event], until: int) -> EventLog:
    return replace(log_of(events, until), plan=Plan.model_validate(PLAN))


def week_of(micros: int) -> str:
    day = date(1970, 1, 1) + timedelta(microseconds=micros)
    return (day - timedelta(days=day.weekday())).isoformat()


def chance(users: list[Journey], age: int, horizon: int) -> float:
    """(F(horizon) - F(age)) / S(age) of the Aalen-Johansen curve, summed over the end times one by one."""
    # An X (cause 0) is observation that ended, like the end of the log.
    points = curve([(one.stop - one.entry, one.cause) for one in users])
    before = [p for p in points if p.time <= age]
    survival, incidence = (before[-1].survival, before[-1].incidence) if before else (1.0, 0.0)
    later = [p for p in points if p.time <= horizon]
    return ((later[-1].incidence if later else 0.0) - incidence) / survival if survival > 0 else 0.0


def open_at(one: Journey, until: int, horizon: int, events: list[Event]) -> bool:
    gone = Thing("X").first([e for e in events if e.user == one.user])
    return one.cause == 0 and (gone is None or gone > until) and one.stop - one.entry < horizon


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([(), ("device",)]))
@settings(max_examples=15)
def test_expected_conversions_are_the_sum_of_chances(seed: int, days: int, by: tuple[str, ...]) -> None:
    rng = random.Random(seed)
    events = daily_events(rng, 40, 20)
    until, horizon = BASE + 22 * DAY, days * DAY
    events = [event for event in events if event.time <= until]
    people = journeys(events, RULE, until, by)
    watched = {s: max(one.stop - one.entry for one in people if one.segment == s) for s in {p.segment for p in people}}
    assume(all(longest >= horizon for longest in watched.values()))
    result = mc.forecast(planned(events, until), horizon=f"{days}D", by=list(by) or None, holdback="0D")
    expected: dict[tuple[str, ...], float] = {}
    counts: Counter[tuple[Any, ...]] = Counter()
    for one in people:
        key = (*one.segment, week_of(one.entry))
        expected.setdefault(key, 0.0)
        counts[(*key, "users")] += 1
        counts[(*key, "converted")] += one.cause == 1 and one.stop - one.entry <= horizon
        counts[(*key, "ended")] += one.cause == 2 and one.stop - one.entry <= horizon
        if open_at(one, until, horizon, events):
            counts[(*key, "open")] += 1
            alike = [other for other in people if other.segment == one.segment]
            expected[key] += chance(alike, one.stop - one.entry, horizon)
    assert len(result.table) == len(expected)
    for row in result.table.to_dict("records"):
        key = (*(row[column] for column in by), row["cohort"])
        for name in ("users", "converted", "ended", "open"):
            assert row[name] == counts[(*key, name)], (key, name)
        assert row["users"] == sum(row[name] for name in ("converted", "ended", "lost", "expired", "open"))
        assert row["expected"] == pytest.approx(expected[key], abs=1e-9)
        assert row["total"] == pytest.approx(row["converted"] + row["expected"], abs=1e-9)
        assert row["ci_low"] - 1 <= row["total"] <= row["ci_high"] + 1
        assert row["mature"] == (row["open"] == 0)
    assert result.total["expected"].item() == pytest.approx(sum(expected.values()), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_back_test_is_the_forecast_of_a_log_that_ended_earlier(seed: int) -> None:
    """What it predicts is what would have been forecast then, and what came is what the whole log shows."""
    rng = random.Random(seed)
    events = [e for e in daily_events(rng, 150, 24) if e.event != "X"]
    until, held, horizon = BASE + 34 * DAY, 10 * DAY, 8 * DAY
    events = [event for event in events if event.time <= until]
    whole = mc.forecast(planned(events, until), horizon="8D", holdback="10D")
    known = [event for event in events if event.time <= until - held]
    earlier = mc.forecast(planned(known, until - held), horizon="8D", holdback="0D")
    then = earlier.table.set_index("cohort")
    tested = whole.backtest.set_index("cohort")
    assert tested["n"].sum() == then["open"].sum() > 0
    now = {one.user: one for one in journeys(events, RULE, until)}
    came: Counter[str] = Counter()
    for one in journeys(known, RULE, until - held):
        if open_at(one, until - held, horizon, known):
            later = now[one.user]
            came[week_of(one.entry)] += later.cause == 1 and later.stop - later.entry <= horizon
    for cohort, row in tested.iterrows():
        assert row["n"] == then.loc[cohort, "open"]
        assert row["predicted"] == pytest.approx(then.loc[cohort, "expected"], abs=1e-9)
        assert row["actual"] == came[str(cohort)]
        assert row["error"] == pytest.approx(row["actual"] - row["predicted"])
        assert row["inside"] == (row["ci_low"] <= row["actual"] <= row["ci_high"])
    whole_row = whole.backtest_total.iloc[0]
    assert whole_row["predicted"] == pytest.approx(tested["predicted"].sum())
    assert whole_row["actual"] == tested["actual"].sum()
    bins = whole.reliability
    assert bins["n"].sum() == tested["n"].sum()
    assert (bins["n"] * bins["observed"]).sum() == pytest.approx(tested["actual"].sum())
    assert (bins["n"] * bins["predicted"]).sum() == pytest.approx(tested["predicted"].sum())


def test_the_error_of_the_curve_is_that_of_drawing_users_anew() -> None:
    """The variance of the expected number, all open users sharing one curve, against a bootstrap of the users."""
    rng = np.random.default_rng(6)
    n = 400
    own, other, watched = rng.exponential(6.0, n), rng.exponential(12.0, n), rng.uniform(0.5, 20.0, n)
    stop = np.minimum(np.minimum(own, other), watched).round(1) + 0.1
    cause = np.where(stop > watched, None, np.where(own < other, "buy", "leave")).astype(object)
    frame = pd.DataFrame({"start": 0.0, "stop": stop, "cause": cause})
    ages, until = np.array([0.0, 1.0, 2.5, 6.0]), np.full(4, 10.0)
    users = np.array([30.0, 50.0, 20.0, 10.0])

    def found(sample: pd.DataFrame) -> Any:
        counts = RiskTable.from_intervals(sample, "start", "stop", "cause")
        return Conditional.of(counts, "buy", ["leave"]).sum(users, ages, until)

    whole = found(frame)
    means = [found(frame.sample(n, replace=True, random_state=seed)).mean for seed in range(500)]
    assert math.sqrt(whole.error) == pytest.approx(float(np.std(means)), rel=0.1)
    p = np.array([found_chance(frame, age) for age in ages])
    assert whole.mean == pytest.approx(float(users @ p), rel=1e-9)
    assert whole.chance == pytest.approx(float(users @ (p * (1 - p))), rel=1e-9)


def found_chance(frame: pd.DataFrame, age: float) -> float:
    """The same chance by a loop, for times in tenths of days."""
    rows = [
        Journey(str(n), 0, 0, round(10 * row.stop), {"buy": 1, "leave": 2}.get(row.cause, 0), ())
        for n, row in enumerate(frame.itertuples())
    ]
    return chance(rows, round(10 * age), 100)
