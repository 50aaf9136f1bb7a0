"""Whether two conditions exclude each other: proved from their text, for any row and any engine, or not claimed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

from microconv.conditions.nodes import And, Compare, In, IsNull, Not, Or
from microconv.conditions.operands import Column, Condition, Literal
from microconv.conditions.values import moment
from microconv.errors import PlanError

__all__ = ["disjoint"]

_MOST_CASES = 256
_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def disjoint(a: Condition, b: Condition) -> bool:
    """Can no row meet both conditions? True only where that is certain; False means "perhaps they meet".

    Looks at each column on its own: values that differ (``=``, ``in``), ranges that do not meet, null against anything
    else, a test against its opposite. Comparisons between columns, and conditions that fall into more than 256 cases,
    prove nothing. Text that may be a time is compared as text and as a time, since the column's type is not known here.
    """
    cases = list(_some_cases(And((a, b))))
    return len(cases) <= _MOST_CASES and all(_impossible(case) for case in cases)


def _some_cases(condition: Condition) -> Iterator[list[Condition]]:
    """The first cases of a condition, one more than are ever looked at."""
    for i, case in enumerate(_cases([condition], [])):
        yield case
        if i == _MOST_CASES:
            return


def _cases(pending: list[Condition], tests: list[Condition]) -> Iterator[list[Condition]]:
    """The ways to meet all of ``pending``: lists of single tests of which all must hold."""
    if not pending:
        yield tests
        return
    first, *rest = pending
    if isinstance(first, And):
        yield from _cases([*first.parts, *rest], tests)
    elif isinstance(first, Or):
        for part in first.parts:
            yield from _cases([part, *rest], tests)
    elif isinstance(first, Not) and isinstance(first.part, And | Or | Not | Compare):
        yield from _cases([_opposite(first.part), *rest], tests)
    else:
        yield from _cases(rest, [*tests, first])


def _opposite(condition: And | Or | Not | Compare) -> Condition:
    """What is true exactly where ``condition`` is false (where it is unknown, neither is true)."""
    if isinstance(condition, Not):
        return condition.part
    if isinstance(condition, Compare):
        return Compare(condition.left, _OPPOSITE[condition.op], condition.right)
    flipped = tuple(Not(part) for part in condition.parts)
    return Or(flipped) if isinstance(condition, And) else And(flipped)


@dataclass
class _Known:
    """What a case demands of one column."""

    null: bool = False
    present: bool = False
    allowed: list[tuple[Literal, ...]] = field(default_factory=list)
    refused: list[Literal] = field(default_factory=list)
    low: list[tuple[Literal, bool]] = field(default_factory=list)  # with whether the bound itself is left out
    high: list[tuple[Literal, bool]] = field(default_factory=list)

    def impossible(self) -> bool:
        if self.null and self.present:
            return True
        for values in self.allowed:
            if all(self._ruled_out(value) for value in values):
                return True
        for one, other in combinations(self.allowed, 2):
            if all(_surely(operator.ne, v, w) for v in one for w in other):
                return True
        return any(
            _surely(operator.ge if open_low or open_high else operator.gt, low, high)
            for low, open_low in self.low
            for high, open_high in self.high
        )

    def _ruled_out(self, value: Literal) -> bool:
        return (
            any(value.family == other.family and value.value == other.value for other in self.refused)
            or any(_surely(operator.le if is_open else operator.lt, value, low) for low, is_open in self.low)
            or any(_surely(operator.ge if is_open else operator.gt, value, high) for high, is_open in self.high)
        )


def _impossible(tests: list[Condition]) -> bool:
    """Whether no row meets all of some single tests."""
    known: dict[str, _Known] = {}
    for test in tests:
        if isinstance(test, Literal):
            if test.value is False:
                return True
            continue
        if isinstance(test, Not) and isinstance(test.part, Literal):
            if test.part.value is True:
                return True
            continue
        for name in test.columns:
            _note(known.setdefault(name, _Known()), test)
    return any(one.impossible() for one in known.values())


def _note(column: _Known, test: Condition) -> None:
    """Add a test of the column to what is known of it. A test that is no comparison with a value only needs a value."""
    positive = not isinstance(test, Not)
    inner = test.part if isinstance(test, Not) else test
    if isinstance(inner, IsNull) and positive:
        column.null = True
        return
    column.present = True
    if isinstance(inner, Column):
        column.allowed.append((Literal(positive),))
    elif isinstance(inner, In):
        column.allowed += [inner.options] if positive else []
        column.refused += [] if positive else inner.options
    elif isinstance(inner, Compare):
        _note_comparison(column, inner)


def _note_comparison(column: _Known, test: Compare) -> None:
    op, value = test.op, test.right
    if isinstance(test.left, Literal):
        op, value = _MIRRORED[op], test.left
    if isinstance(value, Column):
        return
    if op == "!=" and isinstance(value.value, bool):
        op, value = "=", Literal(not value.value)
    if op == "=":
        column.allowed.append((value,))
    elif op == "!=":
        column.refused.append(value)
    elif op in ("<", "<="):
        column.high.append((value, op == "<"))
    else:
        column.low.append((value, op == ">"))


def _surely(compare: Callable[[Any, Any], bool], one: Literal, other: Literal) -> bool:
    """Whether two values stand so to each other in every way in which an engine may compare them."""
    if one.family != other.family:
        return False  # one of the two tests will be refused for its type
    views = zip(_views(one), _views(other), strict=True)
    return all(compare(x, y) for x, y in views if x is not None and y is not None)


@lru_cache(maxsize=4096)
def _views(literal: Literal) -> tuple[Any, Any]:
    """A value as it stands, and as an engine may see it: None where it can be seen in no other way."""
    if literal.family == "number":  # a long whole number is rounded where the column holds floating-point numbers
        return literal.value, float(literal.value)
    if literal.family == "text":
        try:
            return literal.value, moment(literal.value, "time")
        except PlanError:
            return literal.value, None  # no time: the column holds text
    return literal.value, None
