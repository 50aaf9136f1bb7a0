"""Sums of sequential trials in the engine: against a loop over users, sampled, and where there is nobody to compare."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reference import trials as plain
from reference.states import HALF_DAYS, Traveller

from microconv.engine import Engine, duckdb_engine
from microconv.errors import ParameterError
from microconv.reduce.entrants import People
from microconv.reduce.states import Layout, StateColumn, done_or_not, moments
from microconv.reduce.trials import Weighting, bucketed, trial_sums
from microconv.trial_sums import TrialSums

seeds = st.integers(0, 2**32 - 1)
NAMES = ("cart", "guide", "video")
LAYOUT = done_or_not(NAMES)
CELLS = ("desktop", "mobile")
HORIZON = 5 * HALF_DAYS


@pytest.fixture(scope="module")
def engine() -> Engine:
    return duckdb_engine(memory_limit="1GB", threads=2)


def travellers(seed: int, users: int, late: bool = True) -> list[Traveller]:
    """Users on a coarse grid of times, so that ties abound, also at and before time zero; some enter late."""
    rng = random.Random(seed)
    grid = [0, 1, *[HALF_DAYS * k // 4 for k in range(1, 60)]]
    found = []
    for number in range(users):
        stop = rng.choice(grid) if rng.random() < 0.5 else rng.randrange(1, 15 * HALF_DAYS)
        enter = rng.choice(grid) if late and rng.random() < 0.2 else 0
        if enter >= stop and not enter == stop == 0:
            enter = 0
        done = tuple(
            rng.choice([None, -5, 0, rng.choice(grid), rng.choice(grid), rng.randrange(0, 15 * HALF_DAYS)])
            for _ in NAMES
        )
        cause = rng.choice([0, 0, 1, 1, 2])
        found.append(Traveller(f"u{seed % 97}-{number}", stop, cause, done, (rng.choice(CELLS),), enter))
    return found


def people_of(engine: Engine, users: list[Traveller]) -> People:
    frame = pd.DataFrame(
        {
            "user_id": [one.user for one in users],
            "cell": np.array([CELLS.index(one.segment[0]) for one in users], dtype=np.int64),
            "enter": np.array([one.enter for one in users], dtype=np.int64),
            "stop": np.array([one.stop for one in users], dtype=np.int64),
            "cause": np.array([one.cause for one in users], dtype=np.int16),
        }
        | {f"done_{i}": pd.array([one.done[i] for one in users], dtype="Int64") for i in range(len(NAMES))}
    )
    if engine.dialect == "pyspark":
        schema = "user_id string, cell long, enter long, stop long, cause short, done_0 long, done_1 long, done_2 long"
        rows = [tuple(None if pd.isna(v) else v for v in row) for row in frame.astype(object).itertuples(index=False)]
        engine.backend._session.createDataFrame(rows, schema).createOrReplaceTempView("trial_people")
        table = engine.backend.table("trial_people")
    else:
        table = engine.materialise(ibis.memtable(frame).mutate(cause=ibis._.cause.cast("int16")))
    return People(engine, table, pd.DataFrame({"device": list(CELLS)}), ("goal", "rival"), len(users), 0, 0, 0)


def weighting_of(seed: int, layout: Layout) -> Weighting:
    """Rates that change with time, from none to many a day, and differ by cell and state."""
    rng = np.random.default_rng(seed)
    cuts = sorted({int(cut) for cut in rng.choice(12 * HALF_DAYS, 4)} | {2 * HALF_DAYS})
    rates = rng.choice([0.0, 1e-7, 0.03, 0.3, 2.0], len(cuts) + 1)
    return Weighting(cuts, rates, rng.choice([1e-9, 0.2, 1.0, 2.5], (len(CELLS), layout.size)))


def halves(days: np.ndarray) -> list[int]:
    return [round(day * HALF_DAYS) for day in days]


def close(found: np.ndarray, expected: dict[tuple[int, ...], float]) -> None:
    wanted = np.zeros_like(found)
    for place, value in expected.items():
        wanted[place] = value
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def state_of(layout: Layout) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """The levels of a state's columns from which moments have passed."""
    return lambda passed: tuple(min(sum(passed[i] for i in column.passed), column.most) for column in layout.columns)


def number_of(layout: Layout, levels: tuple[int, ...]) -> int:
    number, base = 0, 1
    for column, level in zip(layout.columns, levels, strict=True):
        number, base = number + level * base, base * (column.most + 1)
    return number


def check(
    sums: TrialSums,
    users: list[Traveller],
    layout: Layout,
    focal: int,
    weighting: Weighting,
    cents: dict[str, float] | None = None,
) -> None:
    """The engine's sums are those of the loop."""
    limit, view = 14 * HALF_DAYS, state_of(layout)
    acts = [int(plain.moment(user, focal)) for user in plain.doers_of(users, focal)]
    early = [at for at in acts if at <= limit - HORIZON]
    cuts = plain.cuts_of(early, max(1, min(4, len(early) // 20)))
    assert (sums.doers, sums.too_late) == (len(acts), len(acts) - len(early))
    binned: dict[int, list[int]] = {}
    for at in early:
        binned.setdefault(sum(at > cut for cut in cuts), []).append(at)
    starts = [sum(binned[k]) // len(binned[k]) for k in sorted(binned)]
    assert halves(sums.landmarks_days) == starts

    def factor(cell: str, passed: tuple[int, ...]) -> float:
        return float(weighting.factors[CELLS.index(cell), number_of(layout, view(passed))])

    intensity = plain.Intensity(weighting.cuts, list(weighting.rates), factor)
    edges = (halves(sums.done.edges), halves(sums.never.edges))
    done, never, support = plain.one_arm_each(
        users, focal, HORIZON, starts, cuts, edges, intensity, cents or {}, limit - HORIZON, view
    )
    for arm, expected in ((sums.done, done), (sums.never, never)):
        close(arm.time, expected.time)
        close(arm.money, expected.money)
        close(arm.events, {(*place, cause - 1): n for (*place, cause), n in expected.ends.items()})
        weights = np.array(list(expected.weight_at_horizon.values()))
        kish = weights.sum() ** 2 / (weights**2).sum() if weights.any() else 0.0
        assert arm.at_horizon == pytest.approx(kish, rel=1e-9)
    told = {(row.landmark, CELLS[row.cell], row.state): (row.doers, row.compared) for row in sums.support.itertuples()}
    assert told == {(*key[:2], number_of(layout, key[2])): counts for key, counts in support.items()}
    assert sums.without_controls == sum(doers for doers, controls in support.values() if not controls)
    assert sums.entered.sum() == len(early) - sums.without_controls


def summed(who: People, layout: Layout, column: str, weighting: Weighting, **options: Any) -> TrialSums:
    options = {"horizon": HORIZON, "age_limit": 14 * HALF_DAYS, "landmarks": 4, "intervals": 3} | options
    return trial_sums(who, bucketed(who, moments(who, layout)), layout, column, weighting=weighting, **options)


@settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=seeds, focal=st.integers(0, 2))
def test_sums_are_those_of_a_loop_over_users(engine: Engine, seed: int, focal: int) -> None:
    users = travellers(seed, 150)
    who = people_of(engine, users)
    rng = random.Random(seed)
    cents = {one.user: float(rng.randrange(100, 9_000)) for one in users if rng.random() < 0.8}
    paid = ibis.memtable(pd.DataFrame({"user_id": list(cents), "cents": list(cents.values())}))
    weighting = weighting_of(seed, LAYOUT)
    check(summed(who, LAYOUT, NAMES[focal], weighting, paid=paid), users, LAYOUT, focal, weighting, cents)


@settings(max_examples=10, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=seeds)
def test_columns_of_several_levels_and_grouped_ones(engine: Engine, seed: int) -> None:
    columns = (StateColumn("others", (0, 2), 1), StateColumn("guide", (1,)), StateColumn("visits", (3, 4), 2))
    layout = Layout(((0, 0), (1, 0), (2, 0), (0, 900_000_000), (2, 86_400_000_000)), columns)
    users = [replace(one, done=(*one.done, *delayed(one))) for one in travellers(seed, 150)]
    who = people_of(engine, [replace(one, done=one.done[:3]) for one in users])
    weighting = weighting_of(seed, layout)
    check(summed(who, layout, "guide", weighting), users, layout, 1, weighting)


def delayed(one: Traveller) -> tuple[int | None, ...]:
    """The moments of the layout with delays, half microseconds."""
    return tuple(
        None if one.done[i] is None else one.done[i] + 2 * delay for i, delay in ((0, 900_000_000), (2, 86_400_000_000))
    )


def test_weights_of_controls_grow_where_they_could_have_done_it(engine: Engine) -> None:
    # One doer at day 1; of two alike who could have followed, one does it at day 2, and the other stands in for both.
    day = HALF_DAYS
    users = [Traveller("doer", 9 * day, 1, (day, None, None), ("mobile",))]
    users += [Traveller(f"later {i}", 9 * day, 0, (2 * day, None, None), ("mobile",)) for i in range(300)]
    users += [Traveller(f"never {i}", 3 * day, 1, (None, None, None), ("mobile",)) for i in range(300)]
    who = people_of(engine, users)
    weighting = Weighting([], np.array([np.log(2) / 2]), np.ones((2, LAYOUT.size)))
    sums = summed(who, LAYOUT, "cart", weighting, horizon=2 * day, age_limit=3 * day)
    assert sums.landmarks_days == [1.0]
    assert sums.done.time.sum() == pytest.approx(2)
    # All 600 weigh 1/600 at day 1; at day 3, after two days at that rate, those who did not do it weigh twice that.
    assert sums.never.events[..., 0].sum() == pytest.approx(300 * 2 / 600)
    assert sums.never.time.sum() == pytest.approx((600 * (2**0.5 - 1) + 300 * (2 - 2**0.5)) / 600 / (np.log(2) / 2))


def test_doers_without_anybody_like_them_are_left_out_and_counted(engine: Engine) -> None:
    users = travellers(7, 200, late=False)
    users += [Traveller(f"alone {i}", 9 * HALF_DAYS, 1, (0, HALF_DAYS, 0), ("mobile",)) for i in range(3)]
    alone = [replace(one, segment=("desktop",)) if not one.user.startswith("alone") else one for one in users]
    sums = summed(people_of(engine, alone), LAYOUT, "guide", weighting_of(1, LAYOUT))
    assert sums.without_controls >= 3
    assert (sums.support.query("cell == 1")["compared"] == 0).all()
    assert sums.entered.sum() + sums.without_controls + sums.too_late == sums.doers


@pytest.mark.parametrize("column", ["guide", "cart"])
def test_nobody_to_compare(engine: Engine, column: str) -> None:
    # Nobody does the one; all do the other at once.
    users = [Traveller(f"u{i}", 9 * HALF_DAYS, 1, (HALF_DAYS, None, None), ("mobile",)) for i in range(30)]
    sums = summed(people_of(engine, users), LAYOUT, column, weighting_of(1, LAYOUT))
    assert sums.doers == sums.without_controls == (30 if column == "cart" else 0)
    assert sums.entered.sum() == sums.done.time.sum() == sums.never.time.sum() == 0
    assert len(sums.support) == (1 if column == "cart" else 0)


def test_long_intervals_are_split(engine: Engine) -> None:
    users = travellers(3, 300, late=False)
    flat = Weighting([], np.array([0.1]), np.ones((2, LAYOUT.size)))
    sums = summed(people_of(engine, users), LAYOUT, "cart", flat)
    for arm, until in ((sums.done, 5.0), (sums.never, sums.landmarks_days[-1] + 5.0)):
        assert np.diff(arm.edges).max() <= 5 / 8 + 1e-9
        assert arm.edges[-1] == pytest.approx(until)
    assert sums.never.edges[0] == sums.landmarks_days[0]


def test_sampled_controls_stand_for_all(engine: Engine) -> None:
    users = [one for seed in range(20) for one in travellers(seed, 300, late=False)]
    who = people_of(engine, users)
    weighting = Weighting([], np.array([0.05]), np.ones((2, LAYOUT.size)))
    every = summed(who, LAYOUT, "cart", weighting)
    some = summed(who, LAYOUT, "cart", weighting, max_controls=2_500)
    few = summed(who, LAYOUT, "cart", weighting, max_controls=1_200)  # each user is asked about two of the landmarks
    assert every.sampled == 1
    for sums, most in ((some, 2_500), (few, 1_200)):
        taken = sums.support["compared"].sum()
        assert 0.85 * most < taken < 1.15 * most
        assert sums.sampled == pytest.approx(taken / every.support["controls"].sum(), rel=0.1)
        assert sums.left_out == pytest.approx(every.left_out, abs=0.01)
        totals = [(arm.never.time.sum(), *arm.never.events.sum(axis=(0, 1, 2))) for arm in (every, sums)]
        np.testing.assert_allclose(totals[1], totals[0], rtol=0.15)
        again = summed(who, LAYOUT, "cart", weighting, max_controls=most)
        np.testing.assert_array_equal(again.never.time, sums.never.time)
    # Strata with few candidates keep them all, and large ones have like numbers per doer.
    told = some.support
    assert (told.loc[told["controls"] <= 10, "compared"] == told.loc[told["controls"] <= 10, "controls"]).all()
    large = told[(told["compared"] > 60) & (told["compared"] < 0.9 * told["controls"])]
    per_doer = large["compared"] / large["doers"]
    assert len(large) > 3
    assert per_doer.std() / per_doer.mean() < 0.35


def test_places_and_buckets_are_digits_of_the_digest(engine: Engine) -> None:
    who = people_of(engine, travellers(1, 50))
    found = engine.fetch(bucketed(who, moments(who, LAYOUT)))
    digests = [hashlib.md5(user.encode()).hexdigest() for user in found["user_id"]]
    assert found["bucket"].tolist() == [digest[:2] for digest in digests]
    assert found["place"].tolist() == [int(digest[2:9], 16) for digest in digests]


def test_columns_and_rates_that_do_not_fit_are_refused(engine: Engine) -> None:
    who = people_of(engine, travellers(1, 50))
    good = weighting_of(1, LAYOUT)
    with pytest.raises(ParameterError, match=r"'crat'.*cart"):
        summed(who, LAYOUT, "crat", good)
    for wrong, words in (
        (replace(good, rates=good.rates[1:]), r"do not fit"),
        (replace(good, factors=good.factors[:, 1:]), r"\(2, 7\) do not fit"),
        (replace(good, rates=-good.rates - 1), "0 or more"),
        (replace(good, factors=good.factors * np.nan), "finite"),
    ):
        with pytest.raises(ParameterError, match=words):
            summed(who, LAYOUT, "cart", wrong)


@pytest.mark.spark
def test_spark_gives_the_same_sums(engine: Engine, spark: Any) -> None:
    users = travellers(11, 120)
    weighting = weighting_of(2, LAYOUT)
    cents = {one.user: 100.0 + number for number, one in enumerate(users)}
    paid = ibis.memtable(pd.DataFrame({"user_id": list(cents), "cents": list(cents.values())}))
    there = summed(people_of(Engine(spark, "pyspark"), users), LAYOUT, "cart", weighting, paid=paid)
    here = summed(people_of(engine, users), LAYOUT, "cart", weighting, paid=paid)
    check(there, users, LAYOUT, 0, weighting, cents)
    pd.testing.assert_frame_equal(here.support, there.support, check_dtype=False)
    np.testing.assert_array_equal(here.entered, there.entered)
    np.testing.assert_array_equal(here.done.events, there.done.events)
    np.testing.assert_array_equal(here.done.time, there.done.time)
    np.testing.assert_allclose(here.never.time, there.never.time, rtol=1e-11, atol=0)
