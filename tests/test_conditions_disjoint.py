"""Conditions that exclude each other: what is claimed is true, and what plans need is claimed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv.conditions import disjoint, parse
from microconv.errors import PlanError

NUMBERS = (0, 1, 1.0, 2, 2.5, 2**53, 2**53 + 1, float(2**53))
TEXTS = ("a", "b", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-02-01", "1")
TIMES = (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 2, 1, tzinfo=dt.UTC))
VALUES: dict[str, tuple[Any, ...]] = {
    "n": (None, float("nan"), *NUMBERS, 1.5, 3),
    "t": (None, *TEXTS, "aa"),
    "w": (None, *TIMES, dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)),
    "f": (None, True, False),
}


def written(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


@st.composite
def single_tests(draw: st.DrawFn) -> str:
    """One test of one column, perhaps of the wrong type."""
    column = draw(st.sampled_from("nnttwf"))
    literals = {"n": NUMBERS, "t": TEXTS, "w": TEXTS[2:6], "f": (True, False)}[column]
    if draw(st.integers(0, 20)) == 0:
        literals = ("a", 1)
    kind = draw(st.sampled_from(["compare", "compare", "compare", "mirrored", "in", "not in", "null", "bare", "two"]))
    op = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="] if column != "f" else ["=", "!="]))
    if kind == "compare":
        return f"{column} {op} {written(draw(st.sampled_from(literals)))}"
    if kind == "mirrored":
        return f"{written(draw(st.sampled_from(literals)))} {op} {column}"
    if kind in ("in", "not in"):
        same = [value for value in literals if type(value) is type(literals[0])]
        chosen = draw(st.lists(st.sampled_from(same), min_size=1, max_size=3))
        return f"{column} {kind} ({', '.join(map(written, chosen))})"
    if kind == "null":
        return f"{column} is {draw(st.sampled_from(['null', 'not null']))}"
    return draw(st.sampled_from(["f", "not f", "true", "false"])) if kind == "bare" else f"{column} {op} {column}"


whole = st.recursive(
    single_tests(),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
        inner.map(lambda one: f"not ({one})"),
    ),
    max_leaves=4,
)
rows = st.fixed_dictionaries({column: st.sampled_from(values) for column, values in VALUES.items()})


def meets(condition: str, row: dict[str, Any]) -> bool:
    try:
        return parse(condition).evaluate(row) is True
    except PlanError:  # a column of the wrong type: no row of this table is met
        return False


@given(whole, whole, st.lists(rows, min_size=30, max_size=60))
@settings(max_examples=200)
def test_no_row_meets_two_conditions_that_are_called_disjoint(a: str, b: str, table: list[dict[str, Any]]) -> None:
    claimed = disjoint(parse(a), parse(b))
    assert claimed == disjoint(parse(b), parse(a))
    if claimed:
        for row in table:
            assert not (meets(a, row) and meets(b, row)), (a, b, row)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("page = 'a'", "page = 'b'"),
        ("page = 'a' and x > 1", "x > 5 and 'b' = page"),
        ("page in ('a', 'b')", "page in ('c', 'd')"),
        ("page in ('a', 'b')", "page not in ('a', 'b', 'c')"),
        ("page = 'a'", "page != 'a'"),
        ("amount < 10", "amount >= 10"),
        ("amount < 10", "amount > 10 or amount is null"),
        ("percent = 25", "percent >= 75"),
        ("percent >= 25 and percent < 75", "percent >= 75"),
        ("page is null", "page = 'a'"),
        ("page is null", "page is not null"),
        ("page is null", "not page = 'a'"),
        ("page is null", "page = other"),
        ("paid", "not paid"),
        ("paid = true", "paid = false"),
        ("paid != true", "paid"),
        ("not (x > 1 or y > 1)", "y >= 2"),
        ("not (x > 1 and not y > 1)", "x = 3 and y = 0"),
        ("day < '2026-01-01'", "day >= '2026-01-01'"),
        ("false", "true"),
        ("x = 1 and x = 2", "y = 1"),
    ],
)
def test_what_plans_need_is_proved(a: str, b: str) -> None:
    assert disjoint(parse(a), parse(b))
    assert disjoint(parse(b), parse(a))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("page = 'a'", "page = 'a'"),
        ("page = 'a'", "other = 'b'"),
        ("page = 'a'", "page in ('a', 'b')"),
        ("amount <= 10", "amount >= 10"),
        ("amount != 1", "amount != 2"),
        ("x = 1", "x = 1.0"),
        ("x = 9007199254740993", "x = 9007199254740992.0"),  # the same number where the column is floating point
        ("day = '2026-01-01'", "day = '2026-01-01T00:00:00Z'"),  # the same moment where the column holds times
        ("x = 1", "x = 'a'"),  # one of them will be refused for its type
        ("x = y", "x != y"),  # true, but comparisons between columns are not looked into
    ],
)
def test_what_is_not_certain_is_not_claimed(a: str, b: str) -> None:
    assert not disjoint(parse(a), parse(b))


def test_conditions_of_very_many_cases_are_not_looked_into() -> None:
    many = " and ".join(f"(x{i} = 1 or y{i} = 1)" for i in range(40))
    assert not disjoint(parse(many), parse("z = 1"))
