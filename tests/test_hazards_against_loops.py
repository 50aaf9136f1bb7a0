"""``mc.hazard_ratios`` equals a loop over users and event times: small logs full of ties, states counted one by one."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from reference import cox as plain
from reference import poisson, states
from reference.funnels import Event
from reference.journeys import MISSING, Rule, Thing
from reference.logs import SECOND, log_of, random_events, told_events
from reference.states import HALF_DAYS

import microconv as mc
from microconv.log import EventLog
from microconv.plan import Plan
from microconv.results import Result

seeds = st.integers(0, 2**32 - 1)


def few(examples: int) -> settings:
    """So many random logs. What fails is not made smaller: of a seed there is nothing smaller, only another."""
    return settings(max_examples=examples, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@dataclass(frozen=True)
class Case:
    """One question to ``hazard_ratios``, in its words and in the reference's."""

    micros: tuple[str, ...]
    things: tuple[Thing, ...]
    origin: str | None = None
    competing: tuple[str, ...] = ()
    horizon: int | None = None
    adjust: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


PLAN: dict[str, Any] = {
    "macros": [{"name": "goal", "event": "A", "where": "x is null or x < 2"}],
    "micros": [
        {"name": "did B", "event": "B"},
        {"name": "did C", "event": "C"},
        {"name": "second B", "event": "B", "nth": 2},
        {"name": "spent", "total": {"column": "amount", "at_least": 3}},
        {"name": "some B", "event": "B", "where": "x = 1"},
        {"name": "visit", "event": "V"},
    ],
    "competing": ["C"],
    "censor": [{"name": "gone", "event": "X", "where": "item = 'j'"}],
}
GOAL = Thing("A", lambda row: True if row["x"] is None else row["x"] < 2)
GONE = Thing("X", lambda row: None if row["item"] is None else row["item"] == "j")
MICROS = {
    "did B": Thing("B"),
    "did C": Thing("C"),
    "second B": Thing("B", nth=2),
    "spent": Thing(None, total=("amount", 3.0)),
    "some B": Thing("B", lambda row: None if row["x"] is None else row["x"] == 1),
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rivals = draw(st.sampled_from([(), ("C",)]))
    possible = [name for name in MICROS if name != "did C" or not rivals]
    names = draw(st.lists(st.sampled_from(possible), min_size=1, max_size=3, unique=True))
    origin = draw(st.sampled_from([None, None, "V"]))
    return Case(
        micros=tuple(names),
        things=tuple(MICROS[name] for name in names),
        origin=origin,
        competing=rivals,
        horizon=draw(st.sampled_from([None, None, 5])),
        adjust=draw(st.sampled_from([(), ("device",), ("device", "item")])),
    )


def planned(events: Sequence[Event], until: int) -> EventLog:
    return replace(log_of(events, until), plan=Plan.model_validate(PLAN))


def asked(log: EventLog, case: Case, **options: Any) -> Result:
    return mc.hazard_ratios(
        log,
        micros=list(case.micros),
        origin=case.origin or "entry",
        competing=list(case.competing),
        horizon=f"{case.horizon}s" if case.horizon is not None else None,
        adjust=list(case.adjust),
        **options,
    )


def expected_spells(events: Sequence[Event], until: int, case: Case) -> list[states.Spell]:
    rule = Rule(GOAL, Thing(case.origin) if case.origin else None, tuple(map(Thing, case.competing)), (GONE,))
    horizon = case.horizon * SECOND if case.horizon is not None else None
    return states.spells(states.travellers(events, rule, case.things, until, case.adjust, horizon))


def counted(result: Result, time: float, pattern: tuple[Any, ...], columns: list[str]) -> tuple[int, dict[Any, int]]:
    """At risk and events at a moment by pattern, read from the risk table's own entries and exits."""
    counts = result.risk_table
    frame = counts.frame
    mine = np.ones(len(frame), dtype=bool)
    for column, value in zip(columns, pattern, strict=True):
        mine &= (frame[column] == value).to_numpy()
    frame = frame[mine]
    before = frame[frame["time_days"] < time]
    n = before["entered"].sum() - before[["censored", *counts.event_cols]].to_numpy().sum()
    now = frame[frame["time_days"] == time]
    n += now["entered"].sum() if time == 0 else 0
    events = {cause: int(now[f"d_{cause}"].sum()) for cause in counts.causes}
    return int(n), events


@given(seeds, cases())
@few(25)
def test_counts_are_those_of_a_loop(seed: int, case: Case) -> None:
    """At every event time, in every state and segment: who is at risk and who ends how; and the time at risk."""
    rng = random.Random(seed)
    events = random_events(rng, 18, names="AABBCXV")
    until = max(e.time for e in events) + rng.choice([0, 1, 2]) * SECOND
    rows = expected_spells(events, until, case)
    assume(sum(row.cause == 1 for row in rows) > 1)
    assume(case.origin is None or any(e.event == case.origin for e in events))
    result = answer(planned(events, until), case)
    if result is None:
        return
    columns = [*case.micros, *case.adjust]
    counts = result.risk_table
    assert set(columns) == set(counts.pattern_cols)
    ends = ("goal", *case.competing)
    assert {row.cause for row in rows} - {0} <= {1 + ends.index(cause) for cause in counts.causes}
    seen = {tuple(key) for key in counts.frame[columns].drop_duplicates().itertuples(index=False)}
    everything = states.patterns(rows)
    assert seen == everything
    for cause, name in enumerate(ends, 1):
        for moment in states.ended(rows, cause):
            here = states.at_risk(rows, moment)
            for pattern in everything:
                mine = [row for row in here if (*row.state, *row.segment) == pattern]
                n, found = counted(result, moment / HALF_DAYS, pattern, columns)
                assert n == len(mine), (moment, pattern)
                wanted = sum(row.stop == moment and row.cause == cause for row in mine)
                assert found.get(name, 0) == wanted, (name, moment, pattern)
    for number, name in enumerate(ends, 1):
        assert counts.frame.get(f"d_{name}", pd.Series([0])).sum() == sum(row.cause == number for row in rows)
    for pattern in everything:
        mask = np.logical_and.reduce([counts.frame[c] == v for c, v in zip(columns, pattern, strict=True)])
        time = sum(row.stop - row.start for row in rows if (*row.state, *row.segment) == pattern)
        assert counts.frame.loc[mask, "person_time_days"].sum() == pytest.approx(time / HALF_DAYS, abs=1e-9)


@given(seeds, cases(), st.sampled_from([0.3, 0.5, 0.8]))
@few(8)
def test_counts_put_together_keep_every_risk_set(seed: int, case: Case, part: float) -> None:
    """Beyond ``max_rows`` only times without an event move: who is at risk at each event stays, and so the ratios."""
    events = random_events(random.Random(seed), 40, names="AABBCXV", span=400, most=4)
    until = max(e.time for e in events) + SECOND
    rows = expected_spells(events, until, case)
    log = planned(events, until)
    whole = answer(log, case)
    assume(whole is not None)
    assert whole is not None
    columns = [*case.micros, *case.adjust]
    edges = 2 * len(rows)
    small = answer(log, case, max_rows=max(10, int(part * edges)))
    assume(small is not None and small.risk_table is not None)
    assert small is not None
    assert len(small.risk_table.frame) <= len(whole.risk_table.frame)
    for moment in {m for cause in (1, 2) for m in states.ended(rows, cause)}:
        here = states.at_risk(rows, moment)
        for pattern in states.patterns(rows):
            n, _ = counted(small, moment / HALF_DAYS, pattern, columns)
            assert n == sum((*row.state, *row.segment) == pattern for row in here), (moment, pattern)
    pd.testing.assert_frame_equal(small.table, whole.table, rtol=1e-9)


def answer(log: EventLog, case: Case, **options: Any) -> Result | None:
    """The result; None where the question is refused in words (a constant attribute, nobody left ...)."""
    try:
        return asked(log, case, **options)
    except mc.ParameterError:
        return None


def terms_of(result: Result, case: Case, rows: Sequence[states.Spell]) -> list[tuple[str, int, str | None]]:
    """Each term of the table as (name, place among micros and attributes, level)."""
    found: list[tuple[str, int, str | None]] = []
    for term in result.table["term"]:
        if term in case.micros:
            found.append((term, case.micros.index(term), None))
        else:
            column, level = term.split("=", 1)
            found.append((term, len(case.micros) + case.adjust.index(column), level))
    for at, column in enumerate(case.adjust):
        levels = {row.segment[at] for row in rows}
        named = {level for _, place, level in found if place == len(case.micros) + at}
        reference = min(levels - {MISSING}, default=MISSING)
        assert named == levels - {reference}, column
    return found


def as_rows(rows: Sequence[states.Spell], terms: Sequence[tuple[str, int, str | None]]) -> list[plain.Row]:
    def z(row: states.Spell) -> tuple[float, ...]:
        known = (*row.state, *row.segment)
        return tuple(float(known[place] if level is None else known[place] == level) for _, place, level in terms)

    return [
        plain.Row(row.start / HALF_DAYS, row.stop / HALF_DAYS, row.cause == 1, z(row), row.user, "") for row in rows
    ]


@given(seeds, cases(), st.sampled_from(["efron", "breslow"]))
@few(12)
def test_ratios_and_errors_are_those_of_a_loop(seed: int, case: Case, ties: str) -> None:
    events = random_events(random.Random(seed), 45, names="ABCXV", most=6)
    until = max(e.time for e in events) + SECOND
    spells = expected_spells(events, until, case)
    log = planned(events, until)
    result = answer(log, case, ties=ties)
    assume(result is not None)
    assert result is not None
    terms = terms_of(result, case, spells)
    rows = as_rows(spells, terms)
    assume(not plain.monotone(rows, len(terms)))
    expected = plain.fit(rows, len(terms), ties)
    assume(expected is not None)
    assert expected is not None
    table = result.table
    np.testing.assert_allclose(np.log(table["hazard_ratio"]), expected.beta, rtol=1e-6, atol=1e-8)
    errors = np.sqrt(np.diag(plain.robust(rows, expected.beta, expected.information, ties)))
    robust = answer(log, case, ties=ties, robust=True)
    assert robust is not None
    np.testing.assert_allclose(np.log(robust.table["hazard_ratio"]), expected.beta, rtol=1e-6, atol=1e-8)
    for number, (name, place, level) in enumerate(terms):
        row = table.iloc[number]
        mine = [
            spell for spell in spells if ((*spell.state, *spell.segment)[place]) == (True if level is None else level)
        ]
        assert row["users"] == len({spell.user for spell in mine}), name
        done = sum(spell.cause == 1 for spell in mine)
        assert row["events"] == done, name
        assert row["person_days"] == pytest.approx(sum(s.stop - s.start for s in mine) / HALF_DAYS), name
        total = sum(spell.cause == 1 for spell in spells)
        assert (row["interval"] == "wald") == (min(done, total - done) >= 10 and row["users"] >= 10), name
        if row["interval"] == "wald":
            for found, error in (
                (row, np.sqrt(expected.covariance[number, number])),
                (robust.table.iloc[number], errors[number]),
            ):
                low, high = np.log(found["ci_low"]), np.log(found["ci_high"])
                assert (high - low) / (2 * 1.959963984540054) == pytest.approx(error, rel=1e-5), name


@given(seeds, cases(), st.integers(2, 6))
@few(12)
def test_piecewise_counts_and_ratios_are_those_of_a_loop(seed: int, case: Case, bins: int) -> None:
    """Events and exact time at risk by interval (a, b] and pattern, the state being the one just before each event."""
    events = random_events(random.Random(seed), 40, names="ABCXV", most=6)
    until = max(e.time for e in events) + SECOND
    spells = expected_spells(events, until, case)
    result = answer(planned(events, until), case, method="piecewise", bins=bins)
    assume(result is not None)
    assert result is not None
    table = result.exposures
    cuts = list(table.cuts)
    # The moment of time zero, when nothing counts as done, is an interval of its own where somebody converts at it.
    at_zero = any(spell.cause == 1 and spell.stop == 0 for spell in spells)
    assert (cuts[:1] == [1 / HALF_DAYS]) == at_zero
    assert len(cuts) - at_zero < bins
    labels = [(*map(float, spell.state), *spell.segment) for spell in spells]
    rows = [
        plain.Row(s.start / HALF_DAYS, s.stop / HALF_DAYS, s.cause == 1, label, s.user, "")
        for s, label in zip(spells, labels, strict=True)
    ]
    wanted = {key[1:]: cell for key, cell in poisson.cells(rows, cuts).items()}
    edges = [0.0, *cuts]
    for row in table.frame.to_dict("records"):
        pattern = (*(float(row[name]) for name in case.micros), *(row[name] for name in case.adjust))
        events_here, time_here = wanted.pop((edges.index(row["from_days"]), pattern), (0.0, 0.0))
        assert row["d_goal"] == events_here, (pattern, row)
        assert row["person_time_days"] == pytest.approx(time_here, rel=1e-9, abs=1e-12)
    assert not wanted
    terms = terms_of(result, case, spells)
    expected = poisson.fit(as_rows(spells, terms), cuts, len(terms))
    assume(expected is not None)
    assert expected is not None
    np.testing.assert_allclose(np.log(result.table["hazard_ratio"]), expected[0], rtol=1e-6, atol=1e-7)
    wald = (result.table["interval"] == "wald").to_numpy()
    width = np.log(result.table["ci_high"]) - np.log(result.table["ci_low"])
    np.testing.assert_allclose((width / (2 * 1.959963984540054))[wald], np.sqrt(np.diag(expected[1]))[wald], rtol=1e-6)


def by_time_since(events: Sequence[Event], until: int, case: Case, cuts: Sequence[int]) -> list[states.Spell]:
    """Spells in which each micro is a list of booleans: done, and done for longer than each of the cuts (seconds)."""
    rule = Rule(GOAL, Thing(case.origin) if case.origin else None, tuple(map(Thing, case.competing)), (GONE,))
    horizon = case.horizon * SECOND if case.horizon is not None else None
    found = states.travellers(events, rule, case.things, until, case.adjust, horizon, early=True)
    delays = (0, *(2 * cut * SECOND for cut in cuts))
    later = [
        replace(one, done=tuple(None if at is None else max(at + delay, 0) for at in one.done for delay in delays))
        for one in found
    ]
    return states.spells(later)


def same_ratio(row: pd.Series, rows: Sequence[plain.Row], place: int, name: str) -> bool:
    """Whether a term's ratio is that of a plain fit; without a finite one, none is given."""
    k = len(rows[0].z)
    away = plain.monotone(rows, k)
    if place in away:
        assert not np.isfinite(row["hazard_ratio"]) or row["hazard_ratio"] == 0, name
    if away:
        return False
    expected = plain.fit(rows, k)
    if expected is None:
        return False
    assert np.log(row["hazard_ratio"]) == pytest.approx(expected.beta[place], rel=1e-6, abs=1e-8), name
    if row["interval"] == "wald":
        width = np.log(row["ci_high"]) - np.log(row["ci_low"])
        error = np.sqrt(expected.covariance[place, place])
        assert width / (2 * 1.959963984540054) == pytest.approx(error, rel=1e-6), name
    return True


def test_ratios_by_the_time_since_a_micro() -> None:
    """Not yet, up to two seconds ago, up to five, longer: one model per micro, the others done or not."""
    cuts, compared = (2, 5), 0
    for seed, origin in ((0, None), (1, None), (2, "V")):
        events = random_events(random.Random(seed), 100, names="AABCXV", most=6, span=15)
        until = max(e.time for e in events) + SECOND
        names = ("did B", "spent") if seed == 1 else ("did B",)
        case = Case(names, tuple(MICROS[name] for name in names), origin=origin)
        spells = by_time_since(events, until, case, cuts)
        table = asked(planned(events, until), case, since=["2s", "5s"]).since.set_index(["micro", "since_from_days"])
        for number, micro in enumerate(names):
            own = slice(3 * number, 3 * number + 3)

            def z(spell: states.Spell, own: slice = own, number: int = number) -> tuple[float, ...]:
                stretch = sum(spell.state[own])
                others = [spell.state[3 * i] for i in range(len(spell.state) // 3) if i != number]
                return (*(float(stretch == level) for level in (1, 2, 3)), *map(float, others))

            rows = [plain.Row(s.start, s.stop, s.cause == 1, z(s), s.user) for s in spells]
            for level, since in enumerate((0, 2, 5)):
                row = table.loc[(micro, since / 86_400)]
                mine = [spell for spell in spells if sum(spell.state[own]) == level + 1]
                assert row["events"] == sum(spell.cause == 1 for spell in mine)
                assert row["users"] == len({spell.user for spell in mine})
                assert row["person_days"] == pytest.approx(sum(s.stop - s.start for s in mine) / HALF_DAYS)
                compared += same_ratio(row, rows, level, f"{micro}, {since}")
    assert compared > 5


def test_too_many_patterns_fall_back_to_one_model_per_micro() -> None:
    """Each micro beside how many others are done (0, 1, 2, 3 or more)."""
    compared = 0
    for seed in range(2):
        events = random_events(random.Random(seed), 70, names="AABCXV", most=6, span=25)
        until = max(e.time for e in events) + SECOND
        names = ("did B", "second B", "spent", "some B", "did C")[: 5 - seed]
        case = Case(names, tuple(MICROS[name] for name in names))
        spells = expected_spells(events, until, case)
        result = asked(planned(events, until), case, max_patterns=5)
        assert any("one per micro" in text for text in result.warnings)
        for number, micro in enumerate(names):

            def z(spell: states.Spell, number: int = number) -> tuple[float, ...]:
                others = min(sum(spell.state) - spell.state[number], 3)
                return (float(spell.state[number]), *(float(others == level) for level in (1, 2, 3)))

            rows = [plain.Row(s.start, s.stop, s.cause == 1, z(s), s.user) for s in spells]
            used = [k for k in range(4) if len({row.z[k] for row in rows}) > 1]
            rows = [replace(row, z=tuple(row.z[k] for k in used)) for row in rows]
            compared += same_ratio(result.table.iloc[number], rows, 0, micro)
    assert compared > 3


def test_numbers_are_one_linear_term_and_who_has_none_is_left_out_and_counted() -> None:
    for seed in range(4):
        events = random_events(random.Random(seed), 80, names="AABCXV", most=6, span=25)
        until = max(e.time for e in events) + SECOND
        case = Case(("did B",), (Thing("B"),), adjust=("amount",))
        spells = expected_spells(events, until, case)
        result = asked(planned(events, until), case, robust=True)
        known = [spell for spell in spells if spell.segment[0] != MISSING]
        lost = len({spell.user for spell in spells}) - len({spell.user for spell in known})
        assert lost > 0
        assert any(re.search(rf"\b{lost}\b.* no number in amount", text) for text in result.assumptions)
        rows = [
            plain.Row(s.start, s.stop, s.cause == 1, (float(s.state[0]), float(s.segment[0])), s.user) for s in known
        ]
        expected = plain.fit(rows, 2)
        assert expected is not None
        assert result.table["term"].tolist() == ["did B", "amount"]
        np.testing.assert_allclose(np.log(result.table["hazard_ratio"]), expected.beta, rtol=1e-6, atol=1e-8)
        error = np.sqrt(plain.robust(rows, expected.beta, expected.information)[1, 1])
        row = result.table.iloc[1]
        assert np.log(row["ci_high"] / row["ci_low"]) / (2 * 1.959963984540054) == pytest.approx(error, rel=1e-5)


def test_strata_with_errors_by_user() -> None:
    for seed, ties in ((1, "efron"), (2, "breslow"), (3, "efron")):
        events = random_events(random.Random(seed), 120, names="AABBV", most=5, span=25)
        until = max(e.time for e in events) + SECOND
        spells = expected_spells(events, until, Case(("did B",), (Thing("B"),), adjust=("device",)))
        rows = [plain.Row(s.start, s.stop, s.cause == 1, (float(s.state[0]),), s.user, s.segment[0]) for s in spells]
        expected = plain.fit(rows, 1, ties)
        assert expected is not None
        asked_for = {"micros": ["did B"], "strata": ["device"], "robust": True, "ties": ties, "competing": ()}
        row = mc.hazard_ratios(planned(events, until), **asked_for).table.iloc[0]
        assert row["interval"] == "robust"
        assert np.log(row["hazard_ratio"]) == pytest.approx(expected.beta[0], rel=1e-6)
        error = np.sqrt(plain.robust(rows, expected.beta, expected.information, ties)[0, 0])
        assert np.log(row["ci_high"] / row["ci_low"]) / (2 * 1.959963984540054) == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("method", ["cox", "piecewise"])
def test_errors_by_user_beside_terms_that_separate(method: str) -> None:
    """So few conversions that most terms run away, one within the other: an error by user, or a word that it is not."""
    away = 0
    for seed in range(12):
        rng = random.Random(seed)
        events = random_events(rng, 30, names="ABBXVV", most=4, span=30)
        until = max(e.time for e in events) + SECOND
        names = tuple(rng.sample(["did B", "second B", "spent", "some B"], 2))
        case = Case(names, tuple(MICROS[name] for name in names), adjust=("device", "item"))
        plainly = answer(planned(events, until), case, method=method)
        result = answer(planned(events, until), case, method=method, robust=True)
        assert (plainly is None) == (result is None)
        if result is None or plainly is None:
            continue
        away += int((~np.isfinite(result.table["hazard_ratio"]) | (result.table["hazard_ratio"] == 0)).sum() > 1)
        np.testing.assert_allclose(result.table["hazard_ratio"], plainly.table["hazard_ratio"], rtol=1e-9)
        for row in result.table.to_dict("records"):
            assert row["interval"] in ("robust", "profile", "none", "wald")
            if row["interval"] == "wald":
                assert any(row["term"] in text and "not per user" in text for text in result.warnings)
            if row["interval"] == "robust":
                assert 0 < row["ci_low"] <= row["hazard_ratio"] <= row["ci_high"] < np.inf
    assert away > 5


@given(seeds, cases(), st.integers(1, 6))
@few(12)
def test_naive_landmark_and_proper_comparisons_are_those_of_a_loop(seed: int, case: Case, mark: int) -> None:
    """Who ever did it, from the start on; who had done it by a landmark, from then on; and who has done it so far."""
    events = random_events(random.Random(seed), 60, names="ABCXV", most=6)
    until = max(e.time for e in events) + SECOND
    assume(case.horizon is None or mark < case.horizon)
    log = planned(events, until)
    case = replace(case, adjust=())
    rule = Rule(GOAL, Thing(case.origin) if case.origin else None, tuple(map(Thing, case.competing)), (GONE,))
    horizon = case.horizon * SECOND if case.horizon is not None else None
    found = states.travellers(events, rule, case.things, until, (), horizon)
    try:
        result = mc.fallacy_check(
            log,
            micros=list(case.micros),
            origin=case.origin or "entry",
            competing=list(case.competing),
            horizon=f"{case.horizon}s" if case.horizon is not None else None,
            landmarks=f"{mark}s",
        )
    except mc.ParameterError:
        return
    table = result.table.set_index(["micro", "comparison"])
    for place, micro in enumerate(case.micros):
        ever, landmark, proper = [], [], []
        for one in found:
            at, goal = one.done[place], one.cause == 1
            did = at is not None and max(at, 1) < one.stop
            ever.append(plain.Row(0.0, one.stop, goal, (float(did),), one.user))
            if one.stop > 2 * mark * SECOND:
                by_then = at is not None and at <= 2 * mark * SECOND
                landmark.append(plain.Row(2.0 * mark * SECOND, one.stop, goal, (float(by_then),), one.user))
        for spell in states.spells([replace(one, done=(one.done[place],)) for one in found]):
            proper.append(plain.Row(spell.start, spell.stop, spell.cause == 1, (float(spell.state[0]),), spell.user))
        ratios = {}
        for name, rows in (("ever did", ever), (f"landmark {mark}s", landmark), ("time-varying", proper)):
            row = table.loc[(micro, name)]
            done = [one for one in rows if one.z[0]]
            assert row["at_risk"] == len({one.user for one in rows}), (micro, name)
            assert row["users"] == len({one.user for one in done}), (micro, name)
            assert row["events"] == sum(one.event for one in done), (micro, name)
            if not rows or plain.monotone(rows, 1):
                assert not np.isfinite(row["hazard_ratio"]) or row["hazard_ratio"] == 0, (micro, name)
                continue
            expected = plain.fit(rows, 1)
            assert expected is not None
            ratios[name] = row["hazard_ratio"]
            assert np.log(row["hazard_ratio"]) == pytest.approx(expected.beta[0], rel=1e-6, abs=1e-8), (micro, name)
        if len(ratios) == 3:  # every day of waiting that is credited to the doers makes them look slower
            assert ratios["ever did"] <= ratios["time-varying"] * (1 + 1e-9)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_below_ten_events_limits_are_where_the_likelihood_has_lost_half_a_chi_squared(ties: str) -> None:
    from scipy.stats import chi2

    stories = [f"V0 B1 A{3 + n % 4}" for n in range(6)] + [f"V0 B{1 + n % 3}" for n in range(8)]
    stories += [f"V0 A{2 + n % 6}" for n in range(15)] + ["V0"] * 10
    events = told_events(*stories)
    until = told_events("Z9")[0].time
    case = Case(("did B",), (Thing("B"),))
    spells = expected_spells([replace(e, columns={"x": None, "item": None}) for e in events], until, case)
    rows = as_rows(spells, [("did B", 0, None)])
    best = plain.fit(rows, 1, ties)
    assert best is not None
    plan = {"macros": [{"name": "goal", "event": "A"}], "micros": [{"name": "did B", "event": "B"}]}
    log = replace(log_of(events, until), plan=Plan.model_validate(plan))
    row = mc.hazard_ratios(log, ties=ties).table.iloc[0]
    assert (row["events"], row["interval"]) == (6, "profile")
    assert np.log(row["hazard_ratio"]) == pytest.approx(best.beta[0], rel=1e-7)
    for limit in ("ci_low", "ci_high"):
        lost = best.log_likelihood - plain.evaluate(rows, np.array([np.log(row[limit])]), ties)[0]
        assert lost == pytest.approx(3.841458820694124 / 2, abs=1e-5)
    assert row["p_value"] == pytest.approx(chi2.sf(2 * (best.log_likelihood - best.null), 1), rel=1e-6)


# --- One user's instants, told --------------------------------------------------------------------------------------


STORIES: list[tuple[str, list[tuple[float, float, int, bool]]]] = [
    # the story of user 0, and its spells: (start, stop] in seconds, whether it ends in the macro, whether B is done
    ("V0 B2 A5", [(0, 2, 0, False), (2, 5, 1, True)]),
    ("V0 B5 A5", [(0, 5, 1, False)]),  # at the very moment of the macro: not done at the conversion
    ("B0 V0 A5", [(0, 0.5e-6, 0, False), (0.5e-6, 5, 1, True)]),  # at entry: from the instant just after
    ("V0 B2 B2 B3 A5", [(0, 2, 0, False), (2, 5, 1, True)]),
    ("V0 A3 B4", [(0, 3, 1, False)]),  # after the macro: never
    ("V0 B3 L3", [(0, 3, 0, False)]),  # at the moment of censoring
    ("V0 B1 C4 A4", [(0, 1, 0, False), (1, 4, 1, True)]),  # of two ends at one instant the target counts
    ("V0 B1 C4 A5", [(0, 1, 0, False), (1, 4, 2, True)]),
    ("V0 A5 L5", [(0, 5, 1, False)]),
    ("A0 B0", [(0, 0, 1, False)]),  # converts at entry, with nothing done
]


@pytest.mark.parametrize(("story", "expected"), STORIES, ids=[story for story, _ in STORIES])
def test_one_users_instants(story: str, expected: list[tuple[float, float, int, bool]]) -> None:
    """The counts of a log with and without one user differ by that user's spells."""
    others = ["V0 B1 A4", "V0 A2", "V0 B2", "V0 A6 B7", "V0 B3 A8", "V0 A7", "V0 B4 C6", "B1 A3"]
    with_it = pooled(story, *others)
    without = pooled(None, *others)
    spells = pd.DataFrame(expected, columns=["start", "stop", "cause", "did"]).assign(
        start=lambda f: f["start"] / 86400,
        stop=lambda f: f["stop"] / 86400,
        cause=lambda f: f["cause"].map({0: None, 1: "A", 2: "C"}).astype(object),
    )
    mine = mc.RiskTable.from_intervals(spells.rename(columns={"did": "B"}), "start", "stop", "cause", ["B"])
    both = without + mine
    columns = ["B", "time_days", "n", "d_A", "entered", "censored", "person_time_days"]
    pd.testing.assert_frame_equal(
        with_it.frame[columns].reset_index(drop=True), both.frame[columns].reset_index(drop=True), check_dtype=False
    )


def pooled(*stories: str | None) -> mc.RiskTable:
    told = [story if story is not None else "" for story in stories]
    log = log_of(told_events(*told), told_events("Z20")[0].time)
    plan = {
        "macros": [{"name": "A", "event": "A"}],
        "micros": [{"name": "B", "event": "B"}],
        "competing": ["C"],
        "censor": ["L"],
    }
    return mc.hazard_ratios(replace(log, plan=Plan.model_validate(plan))).risk_table
