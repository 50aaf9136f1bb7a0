"""The kinds of values that a condition compares: which go together, and text that stands for a time."""

from __future__ import annotations

import datetime as dt
import numbers
from typing import TYPE_CHECKING, Any

from microconv.errors import PlanError, shorten

if TYPE_CHECKING:
    import ibis.expr.datatypes as dtypes
    import ibis.expr.types as ir

__all__ = ["TIMES", "family_of_type", "family_of_value", "is_missing", "mend", "moment", "time_literal"]

TIMES = ("time", "date")


def family_of_value(value: object) -> str | None:
    """``boolean``, ``number``, ``text``, ``time`` or ``date``; None for anything that cannot be compared."""
    if isinstance(value, bool):
        return "boolean"
    for family, kind in (("number", numbers.Number), ("text", str), ("time", dt.datetime), ("date", dt.date)):
        if isinstance(value, kind):
            return family
    return None


def family_of_type(kind: dtypes.DataType) -> str | None:
    """The same for the type of an Ibis column."""
    if kind.is_boolean():
        return "boolean"
    if kind.is_numeric():
        return "number"
    if kind.is_string():
        return "text"
    if kind.is_timestamp():
        return "time"
    return "date" if kind.is_date() else None


def is_missing(value: object) -> bool:
    """Null, or a number that is NaN."""
    return value is None or (isinstance(value, numbers.Number) and bool(value != value))


def moment(value: Any, family: str) -> dt.date:
    """A time or text as an aware UTC datetime, or as a date where ``family`` is ``date``."""
    try:
        if family == "date":
            return dt.date.fromisoformat(value.strip()) if isinstance(value, str) else value
        time = dt.datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        example = "'2026-01-31'" if family == "date" else "'2026-01-31' or '2026-01-31T12:00:00+01:00'"
        raise PlanError(f"{shorten(repr(value))} is not a {family}. Write it as {example}.") from None


def time_literal(text: str, kind: dtypes.DataType) -> ir.Value:
    """Text as an Ibis literal of a time column's type."""
    import ibis

    if kind.is_date():
        return ibis.literal(moment(text, "date"), type="date")
    time = moment(text, "time")
    assert isinstance(time, dt.datetime)
    return ibis.literal(time, type="timestamp('UTC')") if kind.timezone else ibis.literal(time.replace(tzinfo=None))


def mend(column: str, column_family: str | None, op: str, literal: Any) -> str:
    """How to repair a comparison of a column with a literal of another family."""
    if column_family == "text" and not isinstance(literal, str):
        if op in ("=", "!="):
            return f"Quote the value: {column} {op} '{str(literal).lower() if isinstance(literal, bool) else literal}'."
        return "Text is ordered as text ('10' comes before '9'): store the column as numbers to compare it so."
    if column_family == "boolean":
        return f"Write {column}, or not {column}."
    if column_family == "number":
        try:
            float(literal)
        except ValueError:
            return "Compare it with a number."
        return f"Write it without quotes: {column} {op} {shorten(literal, 40)}." if isinstance(literal, str) else ""
    if column_family in TIMES:
        return "Write a time as quoted text: '2026-01-31'."
    return "Only numbers, text, true/false and times can be compared; `is null` works on any column."
