"""What tests of columns and their combinations mean: as text, on one row in plain Python, and as an Ibis expression."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from microconv.conditions.operands import Column, Condition, Literal, shown
from microconv.conditions.values import TIMES, family_of_type, family_of_value, mend, moment, time_literal
from microconv.errors import PlanError, shorten

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["And", "Compare", "In", "IsNull", "Not", "Or", "matches"]

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LITERAL_NAMES = {"text": "text", "number": "a number", "boolean": "a true/false value"}


@dataclass(frozen=True)
class Compare(Condition):
    """``left op right``, op one of ``= != < <= > >=``, at least one side a column."""

    left: Column | Literal
    op: str
    right: Column | Literal

    def to_text(self) -> str:
        return f"{self.left.to_text()} {self.op} {self.right.to_text()}"

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        sides = [side.value(row) if isinstance(side, Column) else side.value for side in (self.left, self.right)]
        if None in sides:
            return None
        family = self._family([family_of_value(side) for side in sides], [type(side).__name__ for side in sides])
        if family in TIMES:
            sides = [moment(side, family) for side in sides]
        return bool(_OPERATORS[self.op](*sides))

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        import ibis

        sides: list[Any] = [
            side.expression(table) if isinstance(side, Column) else ibis.literal(side.value)
            for side in (self.left, self.right)
        ]
        types = [side.type() for side in sides]
        if self._family([family_of_type(kind) for kind in types], [str(kind) for kind in types]) in TIMES:
            column = next(kind for kind in types if not kind.is_string())
            for i, side in enumerate((self.left, self.right)):
                if isinstance(side, Literal):
                    sides[i] = time_literal(str(side.value), column)
        return _OPERATORS[self.op](*sides)

    def _parts(self) -> tuple[Condition, ...]:
        return self.left, self.right

    def _family(self, families: list[str | None], types: list[str]) -> str:
        """As what the two sides are compared; an error when they cannot be."""
        sides = self.left, self.right
        for family, other in zip(families, reversed(sides), strict=True):
            if family in TIMES and isinstance(other, Literal) and other.family == "text":
                return str(family)
        if families[0] is None or families[0] != families[1]:
            raise PlanError(self._unlike(families, types))
        if families[0] == "boolean" and self.op not in ("=", "!="):
            raise PlanError(f"The condition {shown(self)} puts true and false in order: compare them with = or !=.")
        return families[0]

    def _unlike(self, families: list[str | None], types: list[str]) -> str:
        said, hint = [], ""
        for i, side in enumerate((self.left, self.right)):
            other = (self.left, self.right)[1 - i]
            if isinstance(side, Literal):
                said.append(f"{shorten(side.to_text(), 40)} ({_LITERAL_NAMES[side.family]})")
                continue
            said.append(f"the column {shorten(repr(side.name))} (of type {types[i]})")
            if isinstance(other, Literal):
                hint = " " + mend(side.to_text(), families[i], self.op, other.value)
        return f"The condition {shown(self)} compares {said[0]} with {said[1]}.{hint}"


@dataclass(frozen=True)
class In(Condition):
    """Whether a column holds one of some values, all of one type."""

    column: Column
    options: tuple[Literal, ...]

    def to_text(self, word: str = "in") -> str:
        return f"{self.column.to_text()} {word} ({', '.join(option.to_text() for option in self.options)})"

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        found = [Compare(self.column, "=", option).evaluate(row) for option in self.options]
        return None if None in found else any(found)

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        import ibis

        value = self.column.expression(table)
        if family_of_type(value.type()) in TIMES:
            tests = [Compare(self.column, "=", option).to_ibis(table) for option in self.options]
            return _balanced(operator.or_, tests)
        for option in {option.family: option for option in reversed(self.options)}.values():
            Compare(self.column, "=", option).to_ibis(table)  # refuses a value of another type
        return value.isin([ibis.literal(option.value) for option in self.options])

    def _parts(self) -> tuple[Condition, ...]:
        return (self.column,)


@dataclass(frozen=True)
class IsNull(Condition):
    """Whether a column is null (or NaN)."""

    column: Column

    def to_text(self) -> str:
        return f"{self.column.to_text()} is null"

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        return self.column.value(row) is None

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        return self.column.expression(table).isnull()

    def _parts(self) -> tuple[Condition, ...]:
        return (self.column,)


@dataclass(frozen=True)
class And(Condition):
    """All of two or more conditions."""

    parts: tuple[Condition, ...]

    def to_text(self) -> str:
        return " and ".join(_wrapped(part, (And, Or)) for part in self.parts)

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        found = [part.evaluate(row) for part in self.parts]
        return False if False in found else None if None in found else True

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        return _balanced(operator.and_, [part.to_ibis(table) for part in self.parts])

    def _parts(self) -> tuple[Condition, ...]:
        return self.parts


@dataclass(frozen=True)
class Or(Condition):
    """Any of two or more conditions."""

    parts: tuple[Condition, ...]

    def to_text(self) -> str:
        return " or ".join(_wrapped(part, (Or,)) for part in self.parts)

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        found = [part.evaluate(row) for part in self.parts]
        return True if True in found else None if None in found else False

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        return _balanced(operator.or_, [part.to_ibis(table) for part in self.parts])

    def _parts(self) -> tuple[Condition, ...]:
        return self.parts


@dataclass(frozen=True)
class Not(Condition):
    """The opposite; unknown stays unknown."""

    part: Condition

    def to_text(self) -> str:
        if isinstance(self.part, In):
            return self.part.to_text("not in")
        if isinstance(self.part, IsNull):
            return f"{self.part.column.to_text()} is not null"
        return f"not {_wrapped(self.part, (And, Or))}"

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        found = self.part.evaluate(row)
        return None if found is None else not found

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        return ~self.part.to_ibis(table)

    def _parts(self) -> tuple[Condition, ...]:
        return (self.part,)


def matches(condition: Condition, table: ir.Table) -> ir.BooleanValue:
    """Whether each row of a table meets the condition: true only where it is true, so null is no match."""
    return condition.to_ibis(table).fill_null(False)


def _balanced(join: Callable[[Any, Any], Any], parts: list[ir.BooleanValue]) -> ir.BooleanValue:
    """Join expressions as a shallow tree: thousands in a row would be too deep for an engine's parser."""
    while len(parts) > 1:
        pairs = (parts[i : i + 2] for i in range(0, len(parts), 2))
        parts = [join(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]


def _wrapped(part: Condition, kinds: tuple[type[Condition], ...]) -> str:
    return f"({part.to_text()})" if isinstance(part, kinds) else part.to_text()
