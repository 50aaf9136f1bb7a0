"""Shapley's value of channels against the average over all orders of arrival."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv import stats
from microconv.errors import ParameterError

ABCD = ("A", "B", "C", "D")
Row = tuple[int, int, int, int]  # members, conversions, value, nulls
SETS = st.lists(
    st.tuples(st.integers(1, 15), st.integers(0, 9), st.integers(-20, 90), st.integers(0, 9)), min_size=0, max_size=12
)


def counts(rows: list[Row]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["members", "conversions", "value", "nulls"])
    return table.astype({"members": "int64", "conversions": float, "value": float, "nulls": float})


def over_orders(worth: Callable[[int], Fraction], players: int) -> list[Fraction]:
    """What each adds when it comes, on average over all orders of arrival."""
    found = [Fraction(0)] * players
    for order in itertools.permutations(range(players)):
        here = 0
        for player in order:
            found[player] += worth(here | 1 << player) - worth(here)
            here |= 1 << player
    return [part / math.factorial(players) for part in found]


def game(rows: list[Row], column: int, by_rate: bool) -> Callable[[int], Fraction]:
    def sums(members: int) -> tuple[Fraction, Fraction]:
        inside = [row for row in rows if not row[0] & ~members]
        return Fraction(sum(row[column] for row in inside)), Fraction(sum(row[1] + row[3] for row in inside))

    def worth(members: int) -> Fraction:
        amount, paths = sums(members)
        if not by_rate:
            return amount
        return amount / paths * sums(15)[1] if paths else Fraction(0)

    return worth


@settings(max_examples=60)
@given(rows=SETS, by_rate=st.booleans())
def test_it_is_the_average_over_orders_of_arrival(rows: list[Row], by_rate: bool) -> None:
    if by_rate:  # money without a path has no rate
        rows = [row for row in rows if row[1] + row[3]]
    found = stats.shapley(counts(rows), ABCD, "rate" if by_rate else "conversions")
    for column, name in ((1, "conversions"), (2, "value")):
        wanted = [float(part) for part in over_orders(game(rows, column, by_rate), 4)]
        assert found[name].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-10)
        assert found[name].sum() == pytest.approx(sum(row[column] for row in rows), rel=1e-12, abs=1e-10)


def test_the_toy() -> None:
    rows = [(7, 3, 30, 1), (1, 1, 5, 4), (3, 2, 40, 0), (5, 0, 0, 5), (2, 1, 10, 3)]
    found = stats.shapley(counts(rows), ABCD[:3])
    assert found["conversions"].tolist() == pytest.approx([3, 3, 1], rel=1e-12)
    by_rate = stats.shapley(counts(rows), ABCD[:3], "rate")
    assert by_rate["conversions"].tolist() == pytest.approx([float(Fraction(179, 66)), 311 / 66, -28 / 66], rel=1e-12)


def test_sets_that_occur_twice_are_added_and_order_is_nothing() -> None:
    rows = [(7, 3, 30, 1), (1, 1, 5, 4), (7, 2, 40, 0), (1, 0, 0, 5)]
    for name in ("conversions", "rate"):
        apart = stats.shapley(counts(rows[::-1]), ABCD, name)
        pooled = stats.shapley(counts([(7, 5, 70, 1), (1, 1, 5, 9)]), ABCD, name)
        pd.testing.assert_frame_equal(apart, pooled, rtol=1e-12)


def test_sixteen_channels_are_exact_and_seventeen_are_refused_by_rate() -> None:
    names = tuple(f"channel {i}" for i in range(20))
    # Only channels that are seen count: every set of 16 of these 20 is one of the game.
    rows = [(1 << i, 1, 10, i) for i in range(16)] + [((1 << 16) - 1, 3, 30, 2)]
    found = stats.shapley(counts(rows), names, "rate")
    assert found["conversions"].sum() == pytest.approx(19, rel=1e-12)
    assert found["conversions"].tolist()[16:] == [0.0] * 4
    assert np.diff(found["conversions"][:16]).max() < 0  # more nulls, less of the rate
    with pytest.raises(ParameterError, match="there are 17 channels: at most 16"):
        stats.shapley(counts([*rows, (1 << 16, 0, 0, 1)]), names, "rate")
    assert stats.shapley(counts([*rows, (1 << 16, 0, 0, 1)]), names)["conversions"].sum() == pytest.approx(19)


def test_the_last_of_62_channels_has_its_bit() -> None:
    names = tuple(f"channel {i}" for i in range(62))
    found = stats.shapley(counts([(1 << 61 | 1, 4, 0, 0)]), names)["conversions"]
    assert found.iloc[0] == found.iloc[61] == 2
    with pytest.raises(ParameterError, match="at most 62"):
        stats.shapley(counts([]), (*names, "one more"))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (counts([(1, 1, 1, 1), (0, 1, 1, 1)]), "row 1"),
        (counts([(16, 1, 1, 1)]), "row 0"),
        (counts([(1, -1, 1, 1)]), "row 0"),
        (counts([(1, 1, 1, -1)]), "row 0"),
        (counts([(1, 1, 1, 1)]).assign(value=np.inf), "row 0"),
        (counts([(1, 1, 1, 1)]).assign(members=1.0), "whole numbers"),
        (counts([(1, 1, 1, 1)]).drop(columns="nulls"), "'nulls'"),
    ],
)
def test_what_is_no_set_is_refused(table: pd.DataFrame, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        stats.shapley(table, ABCD)


def test_unknown_games_and_double_channels_are_refused() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'rate'"):
        stats.shapley(counts([]), ABCD, "rates")
    with pytest.raises(ParameterError, match="each channel once"):
        stats.shapley(counts([]), ("A", "A"))
