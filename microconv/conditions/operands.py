"""The smallest conditions: a column, a value; and what every condition can do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from microconv.conditions.values import family_of_value, is_missing
from microconv.errors import PlanError, shorten, unknown_name

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["BARE", "KEYWORDS", "Column", "Condition", "Literal", "shown"]

KEYWORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
BARE = re.compile(r"(?:[^\W\d]|\$)[\w.$]*")
_ESCAPES = {"\\": "\\\\", "'": "''", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Condition:
    """A condition on an event's columns."""

    @property
    def columns(self) -> set[str]:
        """The columns that the condition reads."""
        return set().union(*(part.columns for part in self._parts()))

    def to_text(self) -> str:
        """The condition in its canonical spelling; ``parse`` of it gives the same condition."""
        raise NotImplementedError

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        """True, False or None (unknown, for nulls) for one row, as SQL has it. Raises ``PlanError`` as ``to_ibis``."""
        raise NotImplementedError

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        """The condition as an Ibis expression, which may be null.

        Raises ``PlanError`` when the table lacks a column, or when unlike types are compared.
        """
        raise NotImplementedError

    def _parts(self) -> tuple[Condition, ...]:
        return ()


@dataclass(frozen=True)
class Column(Condition):
    """A column; as a condition of its own it must hold true or false."""

    name: str

    @property
    def columns(self) -> set[str]:
        return {self.name}

    def to_text(self) -> str:
        bare = BARE.fullmatch(self.name) and self.name.casefold() not in KEYWORDS
        return self.name if bare else "`" + self.name.replace("`", "``") + "`"

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        value = self.value(row)
        if value is None or isinstance(value, bool):
            return value
        raise _not_boolean(self, type(value).__name__)

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        value = self.expression(table)
        if value.type().is_boolean():
            return value
        raise _not_boolean(self, str(value.type()))

    def value(self, row: Mapping[str, Any]) -> Any:
        """The column's value in a row, None for null."""
        if self.name not in row:
            raise _no_column(self.name, row)
        value = row[self.name]
        return None if is_missing(value) else value

    def expression(self, table: ir.Table) -> ir.Value:
        """The column of a table, with NaN as null."""
        import ibis

        if self.name not in table.columns:
            raise _no_column(self.name, table.columns)
        value = table[self.name]
        if value.type().is_floating():
            return ibis.ifelse(value.isnan(), ibis.null(value.type()), value)
        return value


@dataclass(frozen=True)
class Literal(Condition):
    """A value: text, a number, true or false. Only true and false are conditions of their own."""

    value: str | int | float | bool
    family: str = field(init=False, repr=False)  # part of equality: in Python 1 == True

    def __post_init__(self) -> None:
        family = family_of_value(self.value)
        if family not in ("text", "number", "boolean"):
            raise PlanError(f"{shorten(repr(self.value))} cannot stand in a condition: give text, a number or a bool.")
        if isinstance(self.value, int) and not -(2**63) <= self.value < 2**63:
            raise PlanError("A whole number must fit into 64 bits.")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise PlanError(f"The number {self.value} is not finite.")
        object.__setattr__(self, "family", family)

    def to_text(self) -> str:
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, str):
            return "'" + "".join(_ESCAPES.get(character, character) for character in self.value) + "'"
        return repr(self.value)

    def evaluate(self, row: Mapping[str, Any]) -> bool | None:
        return bool(self.value)

    def to_ibis(self, table: ir.Table) -> ir.BooleanValue:
        import ibis

        return ibis.literal(bool(self.value))


def shown(condition: Condition) -> str:
    """A condition as it stands in an error."""
    return repr(shorten(condition.to_text()))


def _no_column(name: str, columns: Iterable[str]) -> PlanError:
    return PlanError("The condition names a column that the events lack. " + unknown_name("column", name, columns))


def _not_boolean(column: Column, kind: str) -> PlanError:
    name = column.to_text()
    return PlanError(
        f"The condition {shown(column)} is a column of type {kind}; on its own it must hold true or false. "
        f"Compare it with a value ({shorten(name, 40)} = ...) or ask for any value: {shorten(name, 40)} is not null."
    )
