"""One Python value as exact text, for columns of a frame that hold values of several kinds."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from typing import Any

__all__ = ["as_text"]

_EXACT = 2**53  # up to here a float names one whole number


def as_text(value: Any) -> str | None:
    """``value`` as an event would name it: times in ISO-8601 with their offset, ``17.0`` as ``17``, nothing as None."""
    if value is None:
        return None
    if isinstance(value, str):
        # A lone half of a surrogate pair has no UTF-8; it is spelled out, not lost.
        return str(value) if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, dt.datetime):
        return None if value != value else _moment(value)  # NaT is the one datetime that differs from itself
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return _numpy_scalar(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return str(value)


def _moment(value: dt.datetime) -> str:
    if hasattr(value, "nanosecond"):  # a pandas Timestamp spells nine digits, which no engine reads
        return str(value.isoformat(timespec="microseconds"))
    return value.isoformat()


def _decimal(value: decimal.Decimal) -> str | None:
    if value.is_nan():
        return None
    if value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return format(value, "f")


def _numpy_scalar(value: Any) -> str | None:
    if value.dtype.kind == "M":
        text = str(value.astype("datetime64[us]"))
        return None if text == "NaT" else text
    plain = value.item()
    return str(plain) if plain is value else as_text(plain)
