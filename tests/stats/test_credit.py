"""Credited value: Shapley's value by its definition, over all subsets, and sums that are exact to the cent."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv import stats
from microconv.errors import ParameterError
from microconv.stats.crediting import NO_MICRO, largest_remainder

RATIOS = st.one_of(st.floats(0.2, 8.0), st.sampled_from([1.0, 1.0, 2.0, 0.5]))


def shapley(ratios: dict[str, float], done: tuple[str, ...]) -> dict[str, float]:
    """Each done micro's share of v(done), by the average over orders of what it adds when it comes."""

    def v(subset: tuple[str, ...]) -> float:
        return math.prod(ratios[name] for name in subset)

    found = {}
    for name in done:
        others = [other for other in done if other != name]
        added = 0.0
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(done))
            for subset in itertools.combinations(others, size):
                added += weight * (v((*subset, name)) - v(subset))
        found[name] = added / v(done)
    return found


def frame(rows: list[tuple[tuple[int, ...], int]], names: list[str]) -> pd.DataFrame:
    table = pd.DataFrame([list(state) for state, _ in rows], columns=names, dtype="int64")
    return table.assign(cents=pd.Series([cents for _, cents in rows], dtype="int64"))


def credited(table: pd.DataFrame, ratios: dict[str, Any], **options: Any) -> dict[str, int]:
    found = stats.credit(table, ratios, **options)
    return dict(zip(found["micro"], found["credited_cents"].tolist(), strict=True))


@given(ratios=st.lists(RATIOS, min_size=1, max_size=6), data=st.data())
def test_closed_form_is_shapleys_value_over_all_subsets(ratios: list[float], data: st.DataObject) -> None:
    names = [f"m{i}" for i in range(len(ratios))]
    state = data.draw(st.lists(st.integers(0, 1), min_size=len(names), max_size=len(names)))
    cents = 10**12
    found = stats.credit(frame([(tuple(state), cents)], names), dict(zip(names, ratios, strict=True)))
    share = dict(zip(found["micro"], found["share"], strict=True))
    done = tuple(name for name, level in zip(names, state, strict=True) if level)
    expected = shapley(dict(zip(names, ratios, strict=True)), done)
    for name in names:
        # Ratios of 0.2 blow the parts up to thousands of times the whole, and rounding errors with them.
        assert share[name] == pytest.approx(expected.get(name, 0.0), rel=1e-9, abs=1e-10)
    rest = 1 / math.prod(ratios[i] for i, level in enumerate(state) if level)
    assert share[NO_MICRO] == pytest.approx(rest, rel=1e-9, abs=1e-10)


@given(
    rows=st.lists(
        st.tuples(st.tuples(*[st.integers(0, 1)] * 4), st.integers(-(10**7), 10**11)), min_size=0, max_size=25
    ),
    ratios=st.tuples(*[RATIOS] * 4),
    shuffle=st.randoms(use_true_random=False),
)
def test_parts_sum_to_the_revenue_exactly_and_row_order_changes_nothing(
    rows: list[tuple[tuple[int, ...], int]], ratios: tuple[float, ...], shuffle: Any
) -> None:
    names = ["a", "b", "c", "d"]
    by_name = dict(zip(names, ratios, strict=True))
    found = credited(frame(rows, names), by_name)
    assert sum(found.values()) == sum(cents for _, cents in rows)
    mixed = list(rows)
    shuffle.shuffle(mixed)
    assert credited(frame(mixed, names), by_name) == found
    # One row split in two, as attributes do, is the same money.
    halves = [half for state, cents in rows for half in ((state, cents // 3), (state, cents - cents // 3))]
    assert credited(frame(halves, names), by_name) == found


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_largest_remainder_moves_no_part_by_a_whole(parts: list[float]) -> None:
    total = round(math.fsum(parts))
    whole = largest_remainder(parts, total)
    assert sum(whole) == total
    assert all(abs(Fraction(w) - Fraction(p)) < 1 + 1e-6 for w, p in zip(whole, parts, strict=True))


def test_a_cent_that_is_left_goes_to_the_first_of_equal_claims() -> None:
    assert largest_remainder([0.5, 0.5], 1) == [1, 0]
    assert largest_remainder([1 / 3, 1 / 3, 1 / 3], 1) == [1, 0, 0]
    assert largest_remainder([-0.5, 1.5], 1) == [0, 1]
    assert largest_remainder([0.2, 0.7, 0.1], 1) == [0, 1, 0]
    assert largest_remainder([], 0) == []


def test_the_example_of_two_doublings() -> None:
    """Ratios 2 and 2 on 100.00: alone each brings 1 of 4, together with the other 2: 1.5 of 4 each, and 1 is left."""
    found = credited(frame([((1, 1), 10_000)], ["a", "b"]), {"a": 2.0, "b": 2.0})
    assert found == {"a": 3_750, "b": 3_750, NO_MICRO: 2_500}


def test_a_ratio_below_one_takes_away_and_says_so() -> None:
    found = stats.credit(frame([((1,), 1_000), ((0,), 500)], ["a"]), {"a": 0.5})
    assert found["credited_cents"].tolist() == [-1_000, 2_500]
    assert found["negative"].tolist() == [True, False]


def test_an_infinite_ratio_takes_all_that_came_with_it() -> None:
    table = frame([((1, 1), 1_000), ((0, 1), 400)], ["a", "b"])
    found = credited(table, {"a": math.inf, "b": 2.0})
    # The limit of ever larger ratios.
    assert found == credited(table, {"a": 1e13, "b": 2.0}) == {"a": 750, "b": 450, NO_MICRO: 200}


def test_a_ratio_of_one_and_what_nobody_did_get_nothing() -> None:
    found = credited(frame([((1, 0), 999)], ["a", "b"]), {"a": 1.0, "b": 5.0})
    assert found == {"a": 0, "b": 0, NO_MICRO: 999}


def test_levels_have_a_ratio_each() -> None:
    table = pd.DataFrame({"visits": [0, 1, 2], "a": [1, 1, 1], "cents": [800, 800, 800]})
    by_level = credited(table, {"visits": [2.0, 4.0], "a": 1.0})
    assert by_level == {"visits": 400 + 600, "a": 0, NO_MICRO: 800 + 400 + 200}


def test_conversions_are_divided_like_money() -> None:
    table = pd.DataFrame({"a": [0, 1], "conversions": [30, 10], "cents": [1, 1]})
    found = stats.credit(table, {"a": 2.0}, amount="conversions")
    assert found["credited_conversions"].tolist() == [5, 35]


def test_no_micro_at_all() -> None:
    found = stats.credit(pd.DataFrame({"cents": [5, 6]}), {})
    assert found["micro"].tolist() == [NO_MICRO]
    assert found["credited_cents"].tolist() == [11]


def test_no_revenue_has_no_shares() -> None:
    found = stats.credit(frame([], ["a"]), {"a": 2.0})
    assert found["credited_cents"].tolist() == [0, 0]
    assert found["share"].isna().all()


def test_limits_by_draws_against_the_delta_method() -> None:
    """One micro: credit = revenue (1 - 1/r), whose error is revenue / r times that of log r."""
    table = frame([((1,), 1_000_000)], ["a"])
    covariance = np.array([[0.01**2]])
    found = stats.credit(table, {"a": 2.0}, covariance=covariance, draws=20_000).iloc[0]
    half = 1.959964 * 0.01 * 1_000_000 / 2.0
    assert found["ci_low"] == pytest.approx(500_000 - half, abs=0.03 * half)
    assert found["ci_high"] == pytest.approx(500_000 + half, abs=0.03 * half)
    narrow = stats.credit(table, {"a": 2.0}, covariance=covariance, draws=20_000, confidence=0.5).iloc[0]
    assert found["ci_low"] < narrow["ci_low"] < 500_000 < narrow["ci_high"] < found["ci_high"]


def test_draws_are_the_same_each_time_and_sum_to_the_revenue_on_average() -> None:
    rng = np.random.default_rng(5)
    rows = [(tuple(int(x) for x in rng.integers(0, 2, 5)), int(rng.integers(100, 9_000))) for _ in range(30)]
    names = list("abcde")
    ratios: dict[str, Any] = {"a": 1.5, "b": 0.8, "c": [2.0], "d": math.inf, "e": 1.0}
    root = rng.standard_normal((5, 5)) / 10
    table = frame(rows, names)
    options: dict[str, Any] = {"covariance": root @ root.T, "draws": 400}
    first, again = stats.credit(table, ratios, **options), stats.credit(table, ratios, **options)
    pd.testing.assert_frame_equal(first, again)
    assert (first["ci_low"] <= first["credited_cents"] + 1).all()
    assert (first["credited_cents"] - 1 <= first["ci_high"]).all()
    other = stats.credit(table, ratios, **options, seed=1)
    assert not np.allclose(first["ci_low"], other["ci_low"])
    assert first["credited_cents"].equals(other["credited_cents"])


def test_a_held_ratio_has_no_interval() -> None:
    table = frame([((1, 0), 100)], ["a", "b"])
    found = stats.credit(table, {"a": 2.0, "b": 3.0}, covariance=np.zeros((2, 2)))
    assert found["ci_low"].tolist() == found["ci_high"].tolist() == pytest.approx([50.0, 0.0, 50.0])


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_many_micros_and_patterns_are_quick_and_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"m{i}" for i in range(12)]
    rows = [(tuple(int(x) for x in rng.integers(0, 2, 12)), int(rng.integers(1, 10**9))) for _ in range(2_000)]
    found = credited(frame(rows, names), dict(zip(names, rng.uniform(0.8, 4, 12), strict=True)))
    assert sum(found.values()) == sum(cents for _, cents in rows)


@pytest.mark.parametrize(
    ("ratios", "options", "said"),
    [
        ({"a": 0.0}, {}, "above 0"),
        ({"a": math.nan}, {}, "above 0"),
        ({"a": -1.0}, {}, "above 0"),
        ({"a": []}, {}, "one for each level"),
        ({"z": 1.0}, {}, "Unknown column of the revenue 'z'"),
        ({"a": 1.0}, {"amount": "cent"}, "Did you mean 'cents'"),
        ({"a": 1.0}, {"covariance": np.eye(2)}, "1 x 1"),
        ({"a": 1.0}, {"covariance": np.array([[math.nan]])}, "finite"),
        ({"a": 1.0}, {"covariance": np.eye(1), "draws": 5}, "draws=5"),
        ({"a": 1.0}, {"covariance": np.eye(1), "confidence": 95}, "confidence=95"),
        ({"visits": 1.0}, {}, "levels up to 2"),
        ({"a": 1.0}, {"amount": "euros"}, "whole numbers"),
    ],
)
def test_what_cannot_be_is_refused(ratios: dict[str, Any], options: dict[str, Any], said: str) -> None:
    table = pd.DataFrame({"a": [0, 1], "visits": [1, 2], "cents": [3, 4], "euros": [0.5, 1.5]})
    with pytest.raises(ParameterError, match=said):
        stats.credit(table, ratios, **options)
