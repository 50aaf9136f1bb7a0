"""Ten micros: changes of state from moments in order, and one micro beside the number of the others."""

from __future__ import annotations

import random
from dataclasses import replace

import pandas as pd
import pytest
from reference import states as plain
from reference.journeys import Rule, Thing
from reference.logs import SECOND, log_of, random_events
from reference.states import HALF_DAYS

from microconv.counts import RiskTable
from microconv.plan import End, Micro
from microconv.reduce import states
from microconv.reduce.entrants import People, people
from microconv.reduce.others import beside_others, in_order
from microconv.reduce.risk import JourneyRule
from microconv.reduce.state_counts import exact_counts
from microconv.reduce.states import Layout, counted_states, done_or_not, edges, moments, since_states, totals

TIMES = (("B", 1), ("B", 2), ("B", 3), ("B", 4), ("X", 1), ("X", 2), ("X", 3), ("V", 1), ("V", 2), ("C", 2))
NAMES = tuple(f"{event}{nth}" for event, nth in TIMES)
MICROS = tuple(Micro(name=f"{event}{nth}", event=event, nth=nth) for event, nth in TIMES)
THINGS = tuple(Thing(event, nth=nth) for event, nth in TIMES)
LABELS = ("0", "1", "2", "3 or more")


def drawn(seed: int) -> tuple[People, list[plain.Spell]]:
    """Users with up to sixteen events within nine seconds, so that several micros are often done at one time."""
    rng = random.Random(seed)
    events = random_events(rng, 40, names="ABBBBXXXVVCCD", most=16)
    until = max(event.time for event in events) + SECOND
    rule = JourneyRule(target=Micro(name="goal", event="A"), competing=(End(name="rival", event="D"),))
    theirs = Rule(Thing("A"), None, (Thing("D"),), ())
    spells = plain.spells(plain.travellers(events, theirs, THINGS, until, ("device",), None))
    return people(log_of(events, until), rule, MICROS, ("device",)), spells


def edge_rows(who: People, layout: Layout) -> pd.DataFrame:
    found = who.engine.fetch(edges(moments(who, layout), layout, ["user_id"]))
    return found.sort_values(list(found.columns), ignore_index=True)


@pytest.mark.parametrize("seed", range(4))
def test_states_of_many_micros_are_those_of_a_loop(seed: int) -> None:
    who, spells = drawn(seed)
    layout = done_or_not(NAMES)
    edged = who.engine.materialise(edges(moments(who, layout), layout))
    table = exact_counts(who, edged, layout, totals(who.engine, edged, 2), 1_000_000).table
    assert table is not None
    rows = pd.DataFrame(
        {
            "start": [one.start / HALF_DAYS for one in spells],
            "stop": [one.stop / HALF_DAYS for one in spells],
            "cause": pd.Series([(None, "goal", "rival")[one.cause] for one in spells], dtype=object),
            **{name: [int(one.state[i]) for one in spells] for i, name in enumerate(NAMES)},
            "device": [one.segment[0] for one in spells],
        }
    )
    expected = RiskTable.from_intervals(rows, "start", "stop", "cause", [*NAMES, "device"]).frame
    pd.testing.assert_frame_equal(table.frame[expected.columns], expected, check_dtype=False, rtol=1e-12)
    assert rows[list(NAMES)].sum(axis=1).max() >= 6


@pytest.mark.parametrize("layout", [done_or_not(NAMES), since_states(NAMES, 4, [SECOND, 3 * SECOND], LABELS)])
def test_moments_in_order_change_the_state_as_moments_compared_in_pairs_do(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, _ = drawn(7)
    assert len(layout.moments) > states._FEW_MOMENTS
    in_turn = edge_rows(who, layout)
    monkeypatch.setattr(states, "_FEW_MOMENTS", 99)
    pd.testing.assert_frame_equal(in_turn, edge_rows(who, layout))
    assert len(in_turn) > 4 * who.at_risk


@pytest.mark.parametrize("micros", [3, 10])
def test_a_count_of_others_needs_but_the_first_of_them(micros: int) -> None:
    """The states of each micro and a number, from all moments and from those that matter."""
    names, most = NAMES[-micros:], len(LABELS) - 1
    who, _ = drawn(3)
    first = len(NAMES) - micros
    done = {f"done_{i}": who.table[f"done_{first + i}"] for i in range(micros)}
    who = replace(who, table=who.table.select("user_id", "cell", "enter", "stop", "cause", **done))
    ordered = in_order(who, micros, most)
    reached = set()
    for micro in (None, *range(micros)):
        whole = edge_rows(who, counted_states(names, micro, "others", LABELS))
        shown = ["1st", "2nd", "3rd"] if micro is None else [names[micro], "1st", "2nd", "3rd"]
        layout = counted_states(shown, None if micro is None else 0, "others", LABELS)
        few = edge_rows(beside_others(ordered, micro, most), layout)
        pd.testing.assert_frame_equal(few, whole)
        reached |= set(layout.levels(few["state"].to_numpy())["others"])
    assert reached == {0, 1, 2, 3}


def test_saturating_counts_have_no_steps() -> None:
    assert counted_states(NAMES, 0, "others", LABELS).steps is None
    assert done_or_not(NAMES[:3]).steps == (1, 2, 4)
    # Three levels above "not yet" make four: the next column counts in fours.
    assert since_states(NAMES[:2], 0, [1, 2], LABELS).steps == (1, 4, 1, 1)
