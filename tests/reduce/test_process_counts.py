"""Ends, moves and time at risk by state, and doers: against a loop over users, on small logs full of ties."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reference.journeys import Rule, Thing
from reference.logs import SECOND, log_of, random_events, told_log
from reference.states import HALF_DAYS, Traveller, travellers

from microconv.errors import ParameterError
from microconv.plan import End, Micro
from microconv.reduce.entrants import People, people
from microconv.reduce.process_counts import (
    by_time_since,
    count_processes,
    doers,
    process_counts,
    process_cuts,
    since_cuts,
)
from microconv.reduce.risk import JourneyRule
from microconv.reduce.state_counts import exposure_counts
from microconv.reduce.states import Layout, StateColumn, done_or_not, edges, moments

seeds = st.integers(0, 2**32 - 1)
MICROS = (
    Micro(name="B", event="B"),
    Micro(name="X", event="X"),
    Micro(name="second B", event="B", nth=2),
    Micro(name="third B", event="B", nth=3),
    Micro(name="D", event="D"),
)
THINGS = (Thing("B"), Thing("X"), Thing("B", nth=2), Thing("B", nth=3), Thing("D"))
PLAIN = done_or_not(["B", "X"])
# A micro, a count of two moments, and whether either of two others is done.
MIXED = Layout(
    tuple((i, 0) for i in range(5)),
    (StateColumn("B", (0,)), StateColumn("again", (2, 3), 2), StateColumn("others", (1, 4), 1)),
)
# A micro by how long ago it was done.
SINCE = by_time_since(PLAIN, "X", [SECOND, 3 * SECOND])


def few(examples: int) -> settings:
    """So many random logs. What fails is not made smaller: of a seed there is nothing smaller, only another."""
    return settings(max_examples=examples, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@dataclass(frozen=True)
class Step:
    """A moment of one user: the levels just before, and what moves (column, from which level, before time zero)."""

    at: int
    before: tuple[int, ...]
    moves: tuple[tuple[int, int, bool], ...]
    after: tuple[int, ...]


def walk(one: Traveller, layout: Layout) -> tuple[tuple[int, ...], list[Step]]:
    """One user's levels on entering, and the moments at which something moves, in order."""
    first = 1 if one.enter == 0 else one.enter
    when = {}
    for i, (micro, delay) in enumerate(layout.moments):
        done = one.done[micro]
        if done is not None and max(done + 2 * delay, first) < one.stop:
            when[i] = (max(done + 2 * delay, first), done < 0 or delay > 0)  # what only grows older does not happen
    levels = []
    for column in layout.columns:
        levels.append(min(sum(i in when and when[i][0] <= one.enter for i in column.passed), column.most))
    start, steps = tuple(levels), []
    for at in sorted({at for at, _ in when.values() if at > one.enter}):
        before, moves = tuple(levels), []
        for number, column in enumerate(layout.columns):
            for early in sorted((when[i][1] for i in column.passed if i in when and when[i][0] == at), reverse=True):
                if levels[number] < column.most:
                    moves.append((number, levels[number], early))
                    levels[number] += 1
        if moves:
            steps.append(Step(at, before, tuple(moves), tuple(levels)))
    return start, steps


def spells(one: Traveller, layout: Layout) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """The user's time at risk by state: (levels, from, to]."""
    levels, since = walk(one, layout)[0], one.enter
    for step in walk(one, layout)[1]:
        yield levels, since, step.at
        levels, since = step.after, step.at
    yield levels, since, one.stop


def counted(found: Sequence[Traveller], layout: Layout, cuts: Sequence[int]) -> tuple[Counter[Any], Counter[Any]]:
    """Time at risk (levels, segment, bin) and events (levels, segment, bin, what)."""
    bounds = [0, *cuts, 2**62]

    def place(time: int) -> int:
        return sum(time > cut for cut in cuts)

    time: Counter[Any] = Counter()
    events: Counter[Any] = Counter()
    for one in found:
        for levels, since, until in spells(one, layout):
            for k in range(len(bounds) - 1):
                time[levels, one.segment, k] += max(min(until, bounds[k + 1]) - max(since, bounds[k]), 0)
            last = levels
        if one.cause:
            events[last, one.segment, place(one.stop), ("goal", "rival")[one.cause - 1]] += 1
        for step in walk(one, layout)[1]:
            for number, level, early in step.moves:
                if not early:
                    seen = tuple(level if n == number else other for n, other in enumerate(step.before))
                    events[seen, one.segment, place(step.at), f"+{layout.names[number]}"] += 1
    return time, events


def drawn(
    seed: int, origin: bool, horizon: int | None, by: Sequence[str], age: int = 0
) -> tuple[People, list[Traveller]]:
    rng = random.Random(seed)
    events = random_events(rng, 20, names="AABBBCXDV")
    until = max(e.time for e in events) + rng.choice([0, 1, 2]) * SECOND
    mine = JourneyRule(
        target=Micro(name="goal", event="A"),
        origin=Micro(name="visit", event="V") if origin else None,
        competing=(End(name="rival", event="C"),),
        horizon=horizon * SECOND if horizon is not None else None,
        from_age=age * SECOND if age else None,
    )
    theirs = Rule(Thing("A"), Thing("V") if origin else None, (Thing("C"),), ())
    span = horizon * SECOND if horizon is not None else None
    found = travellers(events, theirs, THINGS, until, by, span, early=True)
    if age:
        found = [Traveller(o.user, o.stop, o.cause, o.done, o.segment, 2 * age * SECOND) for o in found]
        found = [one for one in found if one.stop > one.enter]
    return people(log_of(events, until), mine, MICROS, by), found


CASES = (
    seeds,
    st.booleans(),
    st.sampled_from([None, 5]),
    st.sampled_from([(), ("device",), ("device", "item")]),
    st.sampled_from([0, 0, 2]),
    st.sampled_from([PLAIN, MIXED, SINCE]),
    st.integers(2, 8),
)


@given(*CASES)
@few(16)
def test_counts_are_those_of_a_loop(
    seed: int, origin: bool, horizon: int | None, by: tuple[str, ...], age: int, layout: Layout, bins: int
) -> None:
    who, found = drawn(seed, origin, horizon, by, age)
    assert who.at_risk == len(found)
    if not found:
        return
    marked = moments(who, layout)
    cuts = process_cuts(who, marked, layout, bins)
    times = {one.stop for one in found if one.cause == 1}
    moved = {step.at for one in found for step in walk(one, layout)[1]}
    assert set(cuts) <= times | moved | {1}
    assert (1 in cuts) == any(at <= 1 for at in times | moved)  # an instant has an interval of its own
    assert len(cuts) <= 2 * (bins // 2) + 1
    table = process_counts(who, layout, marked, cuts)
    assert table.causes == ("goal", "rival", *[f"+{name}" for name in layout.names])
    assert table.cuts == tuple(cut / HALF_DAYS for cut in cuts)
    time, events = counted(found, layout, cuts)
    bounds = np.array([0, *cuts]) / HALF_DAYS
    mine_events: Counter[Any] = Counter()
    for row in table.frame.to_dict("records"):
        key = (
            tuple(row[name] for name in layout.names),
            tuple(row[column] for column in by),
            int(np.flatnonzero(bounds == row["from_days"])[0]),
        )
        assert row["person_time_days"] == pytest.approx(time.pop(key, 0) / HALF_DAYS, abs=1e-15)
        for cause in table.causes:
            if row[f"d_{cause}"]:
                mine_events[*key, cause] += row[f"d_{cause}"]
    assert not any(time.values())
    assert mine_events == events


@given(*CASES, st.one_of(st.none(), st.integers(0, 9)))
@few(10)
def test_doers_are_those_of_a_loop(
    seed: int,
    origin: bool,
    horizon: int | None,
    by: tuple[str, ...],
    age: int,
    layout: Layout,
    bins: int,
    last: int | None,
) -> None:
    who, found = drawn(seed, origin, horizon, by, age)
    marked = moments(who, layout)
    latest = 2 * last * SECOND if last is not None else None
    cuts = process_cuts(who, marked, layout, bins)
    together = count_processes(who, layout, marked, cuts, latest).doers
    for number, column in enumerate(layout.names):
        expected: Counter[Any] = Counter()
        ages: Counter[Any] = Counter()
        for one in found:
            for step in walk(one, layout)[1]:
                if (number, 0, False) in step.moves:
                    key = (step.before, one.segment)
                    expected[key] += 1
                    ages[key] += step.at
        for frame in (together[column], doers(who, layout, marked, column, bins, latest=latest)):
            names = [*layout.names, *by]
            mine = frame.assign(time=frame["users"] * frame["age_days"]).groupby(["bin", *names]).sum(numeric_only=True)
            assert len(mine) == len(frame)
            rows = frame.assign(time=frame["users"] * frame["age_days"]).to_dict("records")
            counts: Counter[Any] = Counter()
            sums: Counter[Any] = Counter()
            for row in rows:
                key = (tuple(row[name] for name in layout.names), tuple(row[name] for name in by))
                counts[key] += row["users"]
                sums[key] += row["time"]
            assert counts == expected
            assert all(sums[key] == pytest.approx(ages[key] / HALF_DAYS) for key in expected)
            if latest:  # a bin lies on one side of it
                late = frame["age_days"] * HALF_DAYS > latest * (1 + 1e-12)
                assert late.groupby(frame["bin"]).nunique().max() == 1 if len(frame) else True


@given(seeds, st.booleans(), st.sampled_from([None, 5]))
@few(6)
def test_ends_and_time_are_those_of_the_hazards(seed: int, origin: bool, horizon: int | None) -> None:
    who, _ = drawn(seed, origin, horizon, ("device",))
    if not who.at_risk:
        return
    marked = moments(who, PLAIN)
    cuts = process_cuts(who, marked, PLAIN, 4)
    other = exposure_counts(who, who.engine.materialise(edges(marked, PLAIN)), PLAIN, cuts).frame
    mine = process_counts(who, PLAIN, marked, cuts).frame
    other = other[other["person_time_days"].groupby([other["B"], other["X"], other["device"]]).transform("sum") > 0]
    some = mine["person_time_days"].groupby([mine["B"], mine["X"], mine["device"]]).transform("sum") > 0
    pd.testing.assert_frame_equal(mine[some][other.columns].reset_index(drop=True), other.reset_index(drop=True))


def seconds(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [(round(row["age_days"] * 86_400, 3), *list(row)[2:]) for _, row in frame.iterrows()]


def test_a_micro_of_the_same_instant_or_of_before_time_zero() -> None:
    rule = JourneyRule(target=Micro(name="goal", event="A"))
    who = people(told_log("B2 X2 A9", "V0 B2 X5", until=20), rule, MICROS[:2], ())
    marked = moments(who, PLAIN)
    # At one instant each is done before the other: neither is counted as done at the other's action.
    assert seconds(doers(who, PLAIN, marked, "X")) == [(0.0, 1, 0, 0), (5.0, 1, 1, 0)]
    since = JourneyRule(target=Micro(name="goal", event="A"), origin=Micro(name="visit", event="V"))
    who = people(told_log("B1 V3 X5 A9", "V0 B2", until=20), since, MICROS[:2], ())
    marked = moments(who, PLAIN)
    # Whoever had done it before time zero does not do it while at risk, but has done it all the same.
    assert seconds(doers(who, PLAIN, marked, "B")) == [(2.0, 1, 0, 0)]
    assert seconds(doers(who, PLAIN, marked, "X")) == [(2.0, 1, 1, 0)]


def test_delays_share_out_the_conversions_that_follow() -> None:
    stories = [f"V0 X5 A{5 + wait}" for wait in (1, 2, 3, 4, 6, 8, 30)]
    who = people(told_log(*stories, "V0 X1", until=60), JourneyRule(target=Micro(name="goal", event="A")), MICROS, ())
    marked = moments(who, PLAIN)
    assert since_cuts(who, PLAIN, marked, "X", 10 * SECOND, 3) == [2 * SECOND, 4 * SECOND]
    assert since_cuts(who, PLAIN, marked, "B", 10 * SECOND, 3) == []
    assert SINCE.columns[1] == StateColumn("X", (1, 2, 3), 3)
    for column, message in (("again", "several moments"), ("Y", "Unknown column 'Y'")):
        with pytest.raises(ParameterError, match=message):
            by_time_since(MIXED, column, [1])


def test_nobody_moves() -> None:
    who = people(told_log("V0 A3", "V0 A4", until=9), JourneyRule(target=Micro(name="goal", event="A")), MICROS, ())
    marked = moments(who, PLAIN)
    cuts = process_cuts(who, marked, PLAIN, 6)
    found = count_processes(who, PLAIN, marked, cuts)
    assert not found.exposures.frame[["d_+B", "d_+X"]].to_numpy().any()
    assert found.exposures.frame["d_goal"].sum() == 2
    assert all(not len(frame) for frame in found.doers.values())
    assert not len(doers(who, PLAIN, marked, "B"))
    with pytest.raises(ParameterError, match=r"'C'\. Known: 'B', 'X'"):
        doers(who, PLAIN, marked, "C")
