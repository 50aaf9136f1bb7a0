"""Late entry, ages left out and landmarks: against a loop over users, with ties everywhere."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.funnels import Event
from reference.logs import BASE, SECOND, log_of, random_events, told_events

from microconv.durations import MICROS_PER_DAY
from microconv.errors import ParameterError
from microconv.log import EventLog
from microconv.plan import End, Micro
from microconv.reduce.risk import JourneyRule, journeys, left_out, population, risk_table
from microconv.stats import kaplan_meier, logrank

seeds = st.integers(0, 2**32 - 1)
TARGET, OTHER, GONE = Micro(name="target", event="A"), End(name="other", event="C"), End(name="gone", event="X")
DONE = Micro(name="did", event="B")


@dataclass(frozen=True)
class Told:
    """What a loop finds of one user: at risk in (enter, stop] with the clock at ``start``, or why never."""

    user: str
    start: int | None
    enter: int | None
    stop: int
    cause: int
    why: str
    did: str


def iso(micros: int) -> str:
    return pd.Timestamp(micros, unit="us", tz="UTC").isoformat()


def with_signup(events: list[Event], rng: random.Random) -> dict[str, int | None]:
    """Each user signed up up to three seconds before the first event, or after it, or nobody knows."""
    signed: dict[str, int | None] = {}
    for event in events:
        first = min(e.time for e in events if e.user == event.user)
        signed.setdefault(event.user, rng.choice([None, *[first + s * SECOND for s in (-3, -2, -1, -1, 0, 0, 1, 2)]]))
        at = signed[event.user]
        # Known at the entry only: what a later event says is not what was known then.
        event.columns["signed"] = iso(at) if at is not None and event.time == first else None
    return signed


def loop(
    events: list[Event],
    until: int,
    rule: JourneyRule,
    signed: dict[str, int | None] | None,
) -> list[Told]:
    found = []
    for user in sorted({e.user for e in events}):
        mine = [e for e in events if e.user == user]

        def first(name: str, mine: list[Event] = mine) -> int | None:
            return min((e.time for e in mine if e.event == name), default=None)

        entry = min(e.time for e in mine)
        ends = [first("A"), first("C") if rule.competing else None]
        stop = min(until, first("X") or until) if rule.censor else until
        cause = 0
        for number, at in reversed(list(enumerate(ends, 1))):
            if at is not None and at <= stop:
                stop, cause = at, number
        zero = signed[user] if signed is not None else entry
        why, start, enter = "at risk", zero, entry
        if zero is None:
            why = "no time in the origin column"
        else:
            enter = max(entry, zero)
            if stop < zero:
                why = "ended before the origin"
            elif signed is not None and enter > zero and stop <= enter:
                why = "ended at the first event"
            elif rule.from_age is not None and stop <= zero + rule.from_age:
                why = "ended before from_age"
            else:
                enter = max(enter, zero + (rule.from_age or 0))
                if rule.landmark is not None:
                    start = zero + rule.landmark
                    if stop <= start:
                        why = ["censored", "target", "other end"][cause] + " before the landmark"
                    elif enter > start:
                        why = "first seen after the landmark"
                    enter = start
                if why == "at risk" and rule.horizon is not None and enter - start >= rule.horizon > 0:
                    why = "first seen after the horizon"
        did = first("B")
        known = why == "at risk" and start is not None
        late = "yes" if known and did is not None and did <= start else "no"
        found.append(Told(user, start if known else None, enter if known else None, stop, cause, why, late))
    return found


@st.composite
def rules(draw: st.DrawFn) -> JourneyRule:
    by_column = draw(st.booleans())
    landmark = draw(st.none() | st.integers(1, 4))
    from_age = draw(st.none() | st.integers(1, 4)) if landmark is None else None
    horizon = draw(st.none() | st.integers(1, 9))
    return JourneyRule(
        target=TARGET,
        competing=draw(st.sampled_from([(), (OTHER,)])),
        censor=draw(st.sampled_from([(), (GONE,)])),
        horizon=horizon * SECOND if horizon is not None else None,
        origin_col="signed" if by_column or (landmark, from_age) == (None, None) else None,
        from_age=from_age * SECOND if from_age is not None else None,
        landmark=landmark * SECOND if landmark is not None else None,
        done=(DONE,) if landmark is not None else (),
    )


def truncated(told: list[Told], horizon: int | None) -> list[tuple[int, int, int, str]]:
    """(age at the start of being at risk, age at the end, cause, did) of the users at risk."""
    rows = []
    for one in told:
        if one.start is None or one.enter is None:
            continue
        stop, cause = one.stop - one.start, one.cause
        if horizon is not None and stop > horizon:
            stop, cause = horizon, 0
        rows.append((one.enter - one.start, stop, cause, one.did))
    return rows


@given(seeds, rules(), st.integers(0, 3))
@settings(max_examples=30)
def test_journeys_and_counts_are_those_of_a_loop(seed: int, rule: JourneyRule, later: int) -> None:
    rng = random.Random(seed)
    events = random_events(rng, 15, most=5)
    signed = with_signup(events, rng)
    until = max(e.time for e in events) + later * SECOND
    log = log_of(events, until)
    by = ["did", "device"] if rule.landmark is not None else ["device"]
    users = journeys(log, rule, by)
    told = loop(events, until, rule, signed if rule.origin_col else None)
    found = log.engine.fetch(users).sort_values("user_id").to_dict("records")
    for row, one in zip(found, told, strict=True):
        start, enter = (None if row[name] != row[name] else row[name] for name in ("start", "enter"))
        assert (row["user_id"], start, enter, row["stop"], row["cause"]) == (
            (one.user, one.start, one.enter, one.stop, one.cause)
        )  # fmt: skip
        if rule.landmark is not None and one.start is not None:
            assert row["by_0"] == one.did
    assert left_out(log, users) == {w: n for w, n in sorted(Counter(o.why for o in told).items()) if w != "at risk"}
    rows = truncated(told, rule.horizon)
    assert population(log, users)["at_risk"] == len(rows)
    if not rows:
        return
    by = by[:1]
    table, _ = risk_table(log, users, rule, by if rule.landmark is not None else (), 1_000_000)
    blocks = {"yes": [r for r in rows if r[3] == "yes"], "no": [r for r in rows if r[3] == "no"]}
    for row in table.frame.to_dict("records"):
        mine = blocks[row["did"]] if rule.landmark is not None else rows
        at = round(row["time_days"] * MICROS_PER_DAY)
        assert row["n"] == sum((a < at or a == at == 0) and at <= b for a, b, _, _ in mine)
        for number, cause in enumerate(rule.causes, 1):
            assert row[f"d_{cause}"] == sum((b, c) == (at, number) for _, b, c, _ in mine)
    total = sum(b - a for a, b, _, _ in rows) / MICROS_PER_DAY
    assert table.frame["person_time_days"].sum() == pytest.approx(total, rel=1e-12, abs=1e-15)
    assert table.frame[table.event_cols].to_numpy().sum() == sum(c > 0 for _, _, c, _ in rows)


def test_reasons_are_told_in_a_fixed_order() -> None:
    log = log_of(random_events(random.Random(1), 30))
    users = journeys(log, JourneyRule(TARGET, landmark=2 * SECOND))
    reasons = list(left_out(log, users))
    assert reasons == [r for r in ("target before the landmark", "censored before the landmark") if r in reasons]
    assert left_out(log, journeys(log, JourneyRule(TARGET))) == {}


@given(seeds, st.sampled_from([(), ("device",)]))
@settings(max_examples=12)
def test_compaction_keeps_every_number_at_risk_at_an_event(seed: int, by: tuple[str, ...]) -> None:
    rng = random.Random(seed)
    events = random_events(rng, 60, span=60, most=3)
    with_signup(events, rng)
    log = log_of(events, max(e.time for e in events) + SECOND)
    rule = JourneyRule(TARGET, competing=(OTHER,), origin_col="signed", horizon=50 * SECOND)
    users = journeys(log, rule, by)
    whole, _ = risk_table(log, users, rule, by, 1_000_000)
    for most in range(20, 200, 20):
        try:
            small, kept = risk_table(log, users, rule, by, most)
        except ParameterError:
            continue
        if "late entries" in kept:
            break
    else:
        return
    assert len(small.frame) <= len(whole.frame)
    events_of = [table.frame[table.frame[table.event_cols].sum(axis=1) > 0] for table in (whole, small)]
    columns = [*by, "time_days", "n", *whole.event_cols]
    pd.testing.assert_frame_equal(*[f[columns].reset_index(drop=True) for f in events_of])
    if by and len(whole.blocks()) > 1:
        pd.testing.assert_frame_equal(*[logrank(t, list(by)).table for t in (whole, small)], rtol=1e-12)


def story_log(signups: list[Any], *stories: str, kind: str = "string") -> EventLog:
    """A log whose users signed up at given seconds (None: nobody knows) in a column of some type."""
    events = told_events(*stories)
    first = {e.user: min(o.time for o in events if o.user == e.user) for e in events}
    for event in events:
        at = signups[int(event.user[1:])]
        known = at is not None and event.time == first[event.user]
        event.columns["signed"] = iso(BASE + round(at * SECOND)) if known else None
    log = log_of(events, BASE + 30 * SECOND)
    if kind == "string":
        return log
    from dataclasses import replace

    return replace(log, table=log.table.mutate(signed=log.table.signed.cast(kind)))


@pytest.mark.parametrize("kind", ["string", "timestamp", "timestamp('UTC')"])
def test_time_zero_is_the_column_and_recording_begins_at_the_entry(kind: str) -> None:
    log = story_log([1, 5, None, 9, 2, 4], "V4 A6", "V4 A6", "V4", "V4 A7", "A5", "A4", kind=kind)
    users = journeys(log, JourneyRule(TARGET, origin_col="signed"))
    rows = log.engine.fetch(users).sort_values("user_id")
    told = [
        tuple(None if v != v else (v - BASE) / SECOND for v in (r["start"], r["enter"], r["stop"]))
        for r in rows.to_dict("records")
    ]
    assert told == [(1, 4, 6), (5, 5, 6), (None, None, 30), (None, None, 7), (None, None, 5), (4, 4, 4)]
    assert left_out(log, users) == {
        "no time in the origin column": 1,
        "ended before the origin": 1,
        "ended at the first event": 1,
    }
    table, _ = risk_table(log, users, JourneyRule(TARGET, origin_col="signed"), (), 100)
    assert (table.frame["time_days"] * 86_400).round(6).tolist() == [0, 1, 3, 5]
    assert table.frame["n"].tolist() == [2, 1, 0, 1]
    curve = kaplan_meier(table, start_days=2 / 86_400)
    assert curve["survival"].tolist() == [1, 0]


def test_a_column_of_no_times_is_refused() -> None:
    log = log_of(random_events(random.Random(1), 5))
    with pytest.raises(ParameterError, match="origin_col='amount' holds float64, but must hold times"):
        journeys(log, JourneyRule(TARGET, origin_col="amount"))


def test_dates_and_times_without_zone_are_of_the_stated_zone() -> None:
    events = told_events("V4 A60")
    for event in events:
        event.columns["signed"] = "2025-12-31"
    log = log_of(events)
    zones = {}
    for zone in ("UTC", "Europe/Berlin", "America/New_York"):
        row = log.engine.fetch(journeys(log, JourneyRule(TARGET, origin_col="signed", tz=zone))).iloc[0]
        zones[zone] = (BASE - row["start"]) / SECOND / 3_600
    assert zones == {"UTC": 24, "Europe/Berlin": 25, "America/New_York": 19}
