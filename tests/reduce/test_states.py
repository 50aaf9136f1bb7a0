"""States of micros counted in the engine: against a loop over users, exact, compacted and by interval."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import states as plain
from reference.funnels import Event
from reference.journeys import Rule, Thing
from reference.logs import BASE, SECOND, log_of, random_events, told_log
from reference.states import HALF_DAYS

from microconv.counts import RiskTable
from microconv.errors import ParameterError
from microconv.log import EventLog
from microconv.plan import End, Micro
from microconv.reduce.entrants import People, people
from microconv.reduce.risk import JourneyRule
from microconv.reduce.state_counts import event_cuts, exact_counts, exposure_counts
from microconv.reduce.states import (
    Layout,
    counted_states,
    done_or_not,
    edges,
    in_state,
    moments,
    since_states,
    totals,
)

seeds = st.integers(0, 2**32 - 1)
NAMES = ("B", "X", "second B")
MICROS = (Micro(name="B", event="B"), Micro(name="X", event="X"), Micro(name="second B", event="B", nth=2))
THINGS = (Thing("B"), Thing("X"), Thing("B", nth=2))
DONE = done_or_not(NAMES)


def rules(origin: bool, horizon: int | None) -> tuple[JourneyRule, Rule]:
    mine = JourneyRule(
        target=Micro(name="goal", event="A"),
        origin=Micro(name="visit", event="V") if origin else None,
        competing=(End(name="rival", event="C"),),
        horizon=horizon * SECOND if horizon is not None else None,
    )
    return mine, Rule(Thing("A"), Thing("V") if origin else None, (Thing("C"),), ())


def counted(who: People, layout: Layout) -> tuple[Any, Any]:
    edged = who.engine.materialise(edges(moments(who, layout), layout))
    return edged, totals(who.engine, edged, len(who.causes))


def rows_of(spells: Sequence[plain.Spell], by: Sequence[str]) -> pd.DataFrame:
    causes = {0: None, 1: "goal", 2: "rival"}
    rows = [
        {
            "start": one.start / HALF_DAYS,
            "stop": one.stop / HALF_DAYS,
            "cause": causes[one.cause],
            **{name: int(done) for name, done in zip(NAMES, one.state, strict=True)},
            **dict(zip(by, one.segment, strict=True)),
        }
        for one in spells
    ]
    return pd.DataFrame(rows).astype({"cause": object})


def drawn(seed: int, origin: bool, horizon: int | None, by: Sequence[str]) -> tuple[People, list[plain.Spell]]:
    rng = random.Random(seed)
    events = random_events(rng, 20, names="AABBCXV")
    until = max(e.time for e in events) + rng.choice([0, 1, 2]) * SECOND
    mine, theirs = rules(origin, horizon)
    span = horizon * SECOND if horizon is not None else None
    found = plain.spells(plain.travellers(events, theirs, THINGS, until, by, span))
    return people(log_of(events, until), mine, MICROS, by), found


CASES = (seeds, st.booleans(), st.sampled_from([None, 5]), st.sampled_from([(), ("device",), ("device", "item")]))


@given(*CASES)
@settings(max_examples=12)
def test_exact_counts_and_totals_are_those_of_a_loop(
    seed: int, origin: bool, horizon: int | None, by: tuple[str, ...]
) -> None:
    who, spells = drawn(seed, origin, horizon, by)
    if not spells:
        assert who.at_risk == 0
        return
    edged, total = counted(who, DONE)
    rows = rows_of(spells, by)
    expected = RiskTable.from_intervals(rows, "start", "stop", "cause", [*NAMES, *by])
    table = exact_counts(who, edged, DONE, total, 1_000_000).table
    assert table is not None
    assert table.causes == ("goal", "rival")
    columns = list(expected.frame.columns)
    pd.testing.assert_frame_equal(table.frame[columns], expected.frame, check_dtype=False, rtol=1e-12)
    # Sums over all time, by pattern: the guard, the events and the time in the result's table.
    patterns = total.patterns
    assert len(patterns) == len(rows[[*NAMES, *by]].drop_duplicates())
    assert patterns["d_1"].sum() == (rows["cause"] == "goal").sum()
    for i, name in enumerate(NAMES):
        inside = DONE.levels(patterns["state"].to_numpy())[name] == 1
        mine = rows[rows[name] == 1]
        assert patterns.loc[inside, "d_1"].sum() == (mine["cause"] == "goal").sum()
        assert patterns.loc[inside, "person_days"].sum() == pytest.approx((mine["stop"] - mine["start"]).sum())
        users = in_state(who, moments(who, DONE), DONE)
        assert users[f"in_{i}_1"].sum() == len({one.user for one in spells if one.state[i]})
        assert users["users"].sum() == who.at_risk == len({one.user for one in spells})


@given(seeds, st.booleans(), st.integers(1, 4))
@settings(max_examples=8)
def test_ages_left_out_are_late_entries_into_the_state_of_that_time(seed: int, origin: bool, age: int) -> None:
    rng = random.Random(seed)
    events = random_events(rng, 30, names="AABBCXV")
    until = max(e.time for e in events) + SECOND
    mine, theirs = rules(origin, None)
    enter = 2 * age * SECOND
    found = plain.travellers(events, theirs, THINGS, until)
    spells = plain.spells([replace(one, enter=enter) for one in found if one.stop > enter])
    who = people(log_of(events, until), replace(mine, from_age=age * SECOND), MICROS, ())
    assert who.at_risk == len({one.user for one in spells})
    if not spells:
        return
    edged, total = counted(who, DONE)
    expected = RiskTable.from_intervals(rows_of(spells, ()), "start", "stop", "cause", NAMES)
    table = exact_counts(who, edged, DONE, total, 1_000_000).table
    assert table is not None
    columns = [column for column in table.frame.columns if column in expected.frame]
    assert not table.frame[table.frame.columns.difference(columns)].to_numpy().any()
    pd.testing.assert_frame_equal(table.frame[columns], expected.frame[columns], check_dtype=False, rtol=1e-12)


@given(seeds, st.booleans(), st.sampled_from([(), ("device",)]))
@settings(max_examples=10)
def test_compaction_leaves_every_risk_set_at_an_event_as_it_is(seed: int, origin: bool, by: tuple[str, ...]) -> None:
    who, spells = drawn(seed, origin, None, by)
    if not any(one.cause for one in spells):
        return
    edged, total = counted(who, DONE)
    whole = exact_counts(who, edged, DONE, total, total.edges).table
    found = exact_counts(who, edged, DONE, total, total.edges - 1)
    assert whole is not None
    if found.table is None:
        return
    assert "last event time" in found.kept
    small = found.table
    assert len(small.frame) <= len(whole.frame)
    pd.testing.assert_frame_equal(events_and_risk(small), events_and_risk(whole))


def events_and_risk(table: RiskTable) -> pd.DataFrame:
    """At every event time, in every pattern with anybody at risk: how many, and who ends how."""
    frame, keys, rows = table.frame, list(table.pattern_cols), []
    leaving = frame["censored"] + frame[table.event_cols].sum(axis=1)
    for time in sorted(frame.loc[frame[table.event_cols].sum(axis=1) > 0, "time_days"].unique()):
        came = frame["entered"].where((frame["time_days"] < time) | (time == 0) & (frame["time_days"] == 0), 0.0)
        went = leaving.where(frame["time_days"] < time, 0.0)
        ended = frame[table.event_cols].where(frame["time_days"] == time, 0.0)
        here = pd.concat([frame[keys], (came - went).rename("n"), ended], axis=1)
        here = here.groupby(keys, as_index=False).sum()
        rows.append(here[here["n"] > 0].assign(time=time))
    return pd.concat(rows, ignore_index=True)


@given(*CASES, st.integers(2, 6))
@settings(max_examples=12)
def test_exposures_are_those_of_a_loop(
    seed: int, origin: bool, horizon: int | None, by: tuple[str, ...], bins: int
) -> None:
    who, spells = drawn(seed, origin, horizon, by)
    if not spells:
        return
    edged, total = counted(who, DONE)
    cuts = event_cuts(who, edged, bins)
    times = sorted(one.stop for one in spells if one.cause == 1)
    assert set(cuts) - {1} <= set(times)
    assert (1 in cuts) == (0 in times)  # that moment is an interval of its own
    assert len(set(cuts) - {1}) < bins
    table = exposure_counts(who, edged, DONE, cuts)
    assert table.cuts == tuple(cut / HALF_DAYS for cut in cuts)
    assert table.frame["person_time_days"].sum() == pytest.approx(total.patterns["person_days"].sum())
    bounds = [0, *cuts, 2**62]
    for row in table.frame.to_dict("records"):
        at = next(k for k, bound in enumerate(bounds) if bound / HALF_DAYS == row["from_days"])
        mine = [
            one
            for one in spells
            if all(int(done) == row[name] for name, done in zip(NAMES, one.state, strict=True))
            and one.segment == tuple(row[column] for column in by)
        ]
        time = sum(max(min(one.stop, bounds[at + 1]) - max(one.start, bounds[at]), 0) for one in mine)
        assert row["person_time_days"] == pytest.approx(time / HALF_DAYS, abs=1e-15)
        for number, cause in enumerate(who.causes, 1):
            inside = [one for one in mine if bounds[at] < one.stop <= bounds[at + 1] or at == 0 == one.stop]
            assert row[f"d_{cause}"] == sum(one.cause == number for one in inside)


def test_cuts_share_the_events_out_evenly() -> None:
    log = told_log(*[f"V0 A{i}" for i in range(1, 41)], until=60)
    who = people(log, rules(False, None)[0], MICROS, ())
    edged, _ = counted(who, DONE)
    assert [cut // (2 * SECOND) for cut in event_cuts(who, edged, 4)] == [10, 20, 30]
    assert event_cuts(who, edged, 80)[-1] == 39 * 2 * SECOND


# --- Other layouts ---------------------------------------------------------------------------------------------------


def states_of(log: EventLog, layout: Layout, micros: Sequence[Micro] = MICROS) -> dict[tuple[Any, ...], float]:
    """Seconds spent in each state, by the values of its columns."""
    who = people(log, rules(False, None)[0], micros, ())
    _, total = counted(who, layout)
    decoded = layout.decode(total.patterns["state"].to_numpy())
    keys = zip(*[decoded[name] for name in layout.names], strict=True)
    return dict(zip(keys, (total.patterns["person_days"] * 86_400).round(4), strict=True))


def test_time_since_a_micro() -> None:
    log = told_log("V0 B2 X5 A9", "V0", until=20)
    labels = ("not yet", "first", "second", "later")
    layout = since_states(NAMES, 0, [SECOND, 4 * SECOND], labels)
    assert states_of(log, layout) == {
        ("not yet", 0, 0): 22.0,
        ("first", 0, 0): 1.0,
        ("second", 0, 0): 2.0,
        ("second", 1, 0): 1.0,
        ("later", 1, 0): 3.0,
    }
    who = people(log, rules(False, None)[0], MICROS, ())
    users = in_state(who, moments(who, layout), layout)
    assert users[["in_0_1", "in_0_2", "in_0_3", "in_1_1"]].sum().tolist() == [1, 1, 1, 1]


def test_how_many_other_micros() -> None:
    log = told_log("V0 B2 B3 X5 A9", "V0", until=20)
    labels = ("0", "1", "2 or more")
    assert states_of(log, counted_states(NAMES, 1, "others", labels)) == {
        (0, "0"): 22.0,
        (0, "1"): 1.0,
        (0, "2 or more"): 2.0,
        (1, "2 or more"): 4.0,
    }
    assert states_of(log, counted_states(NAMES, None, "others", labels)) == {
        ("0",): 22.0,
        ("1",): 1.0,
        ("2 or more",): 6.0,
    }


# --- Who is left out -------------------------------------------------------------------------------------------------


def with_numbers(values: Sequence[tuple[str, float | None, float]]) -> EventLog:
    events = [
        Event(i, user, BASE + round(at * SECOND), "V", {"amount": value}) for i, (user, value, at) in enumerate(values)
    ]
    return log_of([*events, Event(99, "z", BASE + 9 * SECOND, "A", {"amount": 1.0})], BASE + 20 * SECOND)


def test_a_number_is_the_smallest_at_entry_and_who_has_none_is_left_out() -> None:
    log = with_numbers([("a", 10.0, 0), ("a", 9.0, 0), ("a", 1.0, 1), ("b", None, 0), ("b", 3.0, 1), ("z", -0.0, 0)])
    who = people(log, rules(False, None)[0], MICROS, ["amount"])
    assert (who.users, who.at_risk, who.without_number) == (3, 2, 1)
    assert who.cells["amount"].tolist() == [0.0, 9.0]


def test_a_washout_leaves_out_who_entered_early() -> None:
    log = told_log("V0 A9", "V1 A9", "V2 A9", "V5 B6 A9", until=20)
    who = people(log, rules(False, None)[0], MICROS, (), washout=2 * SECOND)
    assert (who.users, who.washed_out, who.at_risk) == (4, 2, 2)


def test_too_many_attributes_are_refused_with_their_number() -> None:
    log = with_numbers([(f"u{i}", float(i), 0) for i in range(12)])
    with pytest.raises(ParameterError, match=r"'amount' have 12 combinations of values, over max_patterns=11"):
        people(log, rules(False, None)[0], MICROS, ["amount"], max_cells=11)


def test_large_sums_of_time_are_exact() -> None:
    """Half microseconds of many users do not fit into 64 bits."""
    frame = pd.DataFrame({"n": [3], "seconds": [2**62], "rest": [7]})
    from microconv.reduce.states import half_microseconds

    assert half_microseconds(frame)[0] == 2**62 * 2_000_000 + 7
    assert np.isfinite(float(half_microseconds(frame)[0]))
