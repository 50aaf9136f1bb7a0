"""Paths that were aggregated before: the toy by hand, loops, transforms, and rows that are refused by number."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import path_builder
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.paths import changed, shares

import microconv as mc
from microconv import stats
from microconv.errors import ParameterError

RULES = ("first", "last", "last_non_direct", "linear", "linear_unique", "position", "any_touch")
TOY = pd.DataFrame(
    [
        ("A > B > C", 3, 30, 1),
        ("A", 1, 5, 4),
        ("B > B > A", 2, 40, 0),
        ("C > A", 0, 0, 5),
        ("B", 1, 10, 3),
    ],
    columns=["path", "conversions", "value", "null"],
)


def toy() -> mc.PathTable:
    return mc.PathTable.from_paths(TOY, value_col="value", null_col="null")


def credits_of(paths: mc.PathTable, model: str) -> list[float]:
    rules = (model,) if model in RULES else ()
    order = {"markov": 1, "markov2": 2}.get(model)
    sums = paths.sums(rules, (order,) if order else (), direct=("A",))
    table = stats.credited(sums, [model])
    return table.loc[table["channel"].isin(["A", "B", "C"]), "conversions"].tolist()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("first", [4, 3, 0]),
        ("last", [3, 1, 3]),
        ("last_non_direct", [1, 3, 3]),
        ("linear", [Fraction(8, 3), Fraction(10, 3), 1]),
        ("linear_unique", [3, 3, 1]),
        ("position", [3, Fraction(28, 10), Fraction(12, 10)]),
        ("markov2", [Fraction(28, 10), Fraction(28, 10), Fraction(14, 10)]),
    ],
)
def test_the_toy_by_hand(model: str, expected: list[Any]) -> None:
    assert credits_of(toy(), model) == pytest.approx([float(part) for part in expected], abs=1e-12)


def test_the_removal_effects_of_the_toy() -> None:
    sums = toy().sums(orders=(1,))
    effects = stats.removal_effects(sums.transitions[1], sums.channels)["removal_effect"]
    exact = [Fraction(59, 105), Fraction(25, 56), Fraction(313, 532)]
    assert effects.tolist() == pytest.approx([float(part) for part in exact], abs=1e-12)
    whole = sum(exact)
    assert credits_of(toy(), "markov") == pytest.approx([float(7 * part / whole) for part in exact], abs=1e-12)


paths = st.lists(st.sampled_from("ABC"), max_size=5).map(tuple)
rows = st.tuples(paths, st.integers(0, 3), st.integers(-20, 90), st.integers(0, 3))
# Money belongs to conversions: a row without one has none.
tables = st.lists(rows.map(lambda row: (row[0], row[1], row[2] if row[1] else 0, row[3])), min_size=1, max_size=8)


@settings(max_examples=80)
@given(tables)
def test_the_sums_are_those_of_loops(rows: list[tuple[tuple[str, ...], int, int, int]]) -> None:
    frame = pd.DataFrame(rows, columns=["path", "conversions", "value", "null"])
    made = mc.PathTable.from_paths(frame, value_col="value", null_col="null")
    sums = made.sums(("first", "last", "linear", "linear_unique", "position", "any_touch"), (1, 2, 3))
    merged = frame.groupby("path", sort=True, as_index=False).sum()
    loops = path_builder.path_sums([(*row, 0) for row in merged.itertuples(index=False)], made.channels)
    for name in ("credits", "sets"):
        one, other = getattr(sums, name), getattr(loops, name)
        if not len(other):
            assert not len(one)
            continue
        keys = list(other.columns[:2])
        other = other.sort_values(keys, ignore_index=True)
        pd.testing.assert_frame_equal(one[list(other.columns)], other, check_dtype=False, atol=1e-12)
    for order in (1, 2, 3):
        one, other = sums.transitions[order], loops.transitions[order]
        if len(other):
            other = other.sort_values(["source", "target"], ignore_index=True)
            pd.testing.assert_frame_equal(one, other, check_dtype=False, atol=1e-12)
    assert sums.totals["conversions"].sum() == frame["conversions"].sum()
    assert sums.totals["value"].sum() == pytest.approx(frame["value"].sum())


@settings(max_examples=60)
@given(tables, st.randoms(use_true_random=False))
def test_row_order_split_rows_and_lists_change_nothing(rows: list[Any], rng: Any) -> None:
    frame = pd.DataFrame(rows, columns=["path", "conversions", "value", "null"])
    given = {"value_col": "value", "null_col": "null"}
    one = mc.PathTable.from_paths(frame, **given)
    halves = frame.assign(**{name: frame[name] / 2 for name in ("conversions", "value", "null")})
    text = halves.assign(path=[" > ".join(path) for path in halves["path"]])
    both = [row for part in (halves, text) for row in part.itertuples(index=False)]
    rng.shuffle(both)
    other = mc.PathTable.from_paths(pd.DataFrame(both, columns=frame.columns), **given)
    pd.testing.assert_frame_equal(one.frame, other.frame)


@settings(max_examples=80)
@given(
    paths,
    st.lists(
        st.sampled_from(
            [("exposure",), ("unique",), ("first",), ("drop", "A"), ("drop_if_last", "A", "B"), ("keep_last", 2)]
        ),
        max_size=3,
    ),
)
def test_transforms_change_paths_as_loops_do(path: tuple[str, ...], steps: list[Any]) -> None:
    made = mc.PathTable.from_paths(pd.DataFrame({"path": [path], "conversions": [1]})).transformed(*steps)
    expected = tuple(name for _, name in changed([(0, name) for name in path], steps))
    assert made.frame["path"].tolist() == [expected]


@given(paths.filter(bool), st.sampled_from(RULES))
def test_a_rule_divides_one_conversion(path: tuple[str, ...], rule: str) -> None:
    made = mc.PathTable.from_paths(pd.DataFrame({"path": [path], "conversions": [1]}))
    sums = made.sums((rule,), direct=("A",))
    expected = shares([(0, name) for name in path], rule, at=0, direct=("A",))
    wanted = [sum(p for p, n in zip(expected, path, strict=True) if n == name) for name in made.channels]
    got = sums.credits.set_index("channel")[rule].reindex(range(1, len(wanted) + 1), fill_value=0.0)
    assert got.tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a", "a > > b"]}, r"Rows 1 \('a > > b'\) of the paths hold a blank channel"),
        ({"conversions": [1, -2]}, r"Rows 1 \(.*\) of the paths are below 0 in 'conversions'"),
        ({"null": [np.nan, 1]}, r"Rows 0 \('nan'\) of the paths have no number in 'null'"),
        ({"value": ["x", 1]}, r"Rows 0 \('x'\) of the paths have no number in 'value'"),
    ],
)
def test_rows_that_cannot_be_are_named(columns: dict[str, Any], message: str) -> None:
    frame = pd.DataFrame({"path": ["a", "b"], "conversions": [1, 1], "value": [1, 1], "null": [0, 0]}).assign(**columns)
    with pytest.raises(ParameterError, match=message):
        mc.PathTable.from_paths(frame, value_col="value", null_col="null")


def test_other_errors() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'path'"):
        mc.PathTable.from_paths(TOY, path_col="paths")
    with pytest.raises(ParameterError, match="sep="):
        mc.PathTable.from_paths(TOY, sep=" ")
    with pytest.raises(ParameterError, match="needs the times of touches"):
        toy().sums(("time_decay",))
    with pytest.raises(ParameterError, match="Did you mean 'exposure'"):
        toy().transformed("exposures")


def test_a_path_without_a_touch_is_kept_and_one_without_anything_is_not() -> None:
    frame = pd.DataFrame({"path": ["", "A", None], "conversions": [2, 1, 1], "null": [0, 1, 0]})
    made = mc.PathTable.from_paths(frame, null_col="null")
    assert made.sums().totals[["conversions", "untouched", "nulls"]].to_numpy().tolist() == [[4.0, 3.0, 1.0]]
    assert made.transformed(("drop", "A")).sums().totals["nulls"].tolist() == [0.0]
