"""Durations: written as ``"30D"`` or a timedelta, counted in whole microseconds, reported in days.

A bare number is an error, because 30 could be seconds or days.
"""

from __future__ import annotations

import datetime as dt
import numbers
import re
from typing import TypeAlias

from microconv.errors import ParameterError, shorten

__all__ = ["MICROS_PER_DAY", "Duration", "days", "format_duration", "micros_to_moment", "moment_to_micros", "to_micros"]

Duration: TypeAlias = str | dt.timedelta

_MICROS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "D": 86_400_000_000}
_MICROS["W"] = 7 * _MICROS["D"]
MICROS_PER_DAY = _MICROS["D"]
_ALLOWED = "a string such as '30D', '36h', '90min', '45s' (units W, D, h, min, s, ms, us) or a timedelta"
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_HINTS = {
    **dict.fromkeys(("M", "mo", "month", "months"), " A month has no fixed length: write '30D'."),
    **dict.fromkeys(("Y", "y", "year", "years"), " A year has no fixed length: write '365D'."),
    "m": " Minutes are 'min'; a month has no fixed length: write '30D'.",
}
_SPELLINGS = {"d": "D", "H": "h", "w": "W", "S": "s", "sec": "s", "Min": "min"}


def to_micros(value: Duration, name: str = "duration", *, zero: bool = False) -> int:
    """``value`` in whole microseconds; ``name`` is the parameter to blame when it is impossible."""
    if isinstance(value, dt.timedelta):  # pandas.Timedelta is one too
        micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    elif isinstance(value, str):
        micros = _parse(value, name)
    else:
        plain = isinstance(value, numbers.Real) and not isinstance(value, bool)
        bare = plain and getattr(getattr(value, "dtype", None), "kind", "") != "m"  # NumPy's durations are numbers
        raise ParameterError(
            f"{name}={shorten(repr(value))} "
            + (f"has no unit. Give {_ALLOWED}; for {shorten(value)} days write '{shorten(value)}D'." if bare
               else f"is not a duration. Give {_ALLOWED}.")
        )  # fmt: skip
    if micros < 0 or (micros == 0 and not zero):
        raise ParameterError(f"{name}={shorten(repr(value))} must be longer than zero. Give {_ALLOWED}.")
    if micros > 1_000 * 366 * MICROS_PER_DAY:
        raise ParameterError(f"{name}={shorten(repr(value))} is longer than a thousand years. Give {_ALLOWED}.")
    return micros


def _parse(text: str, name: str) -> int:
    position, total = 0, 0.0
    for part in _PART.finditer(text):
        unit = _SPELLINGS.get(part[2], part[2])
        if part.start() != position or unit not in _MICROS:
            break
        total += float(part[1]) * _MICROS[unit]
        position = part.end()
    if position == 0 or text[position:].strip():
        hint = _HINTS.get(text.strip(" 0123456789."), "")
        raise ParameterError(f"{name}={shorten(repr(text))} is not a duration. Give {_ALLOWED}.{hint}")
    return round(min(total, 1e18))  # a number of a thousand digits is infinite as a float


def days(micros: int | float) -> float:
    """Microseconds as days."""
    return micros / MICROS_PER_DAY


def format_duration(micros: int) -> str:
    """The shortest exact spelling of a number of microseconds: ``2592000000000`` is ``'30D'``."""
    for unit in ("D", "h", "min", "s", "ms"):
        if micros % _MICROS[unit] == 0:
            return f"{micros // _MICROS[unit]}{unit}"
    return f"{micros}us"


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment_to_micros(moment: dt.datetime) -> int:
    """An aware datetime as whole microseconds since 1970-01-01 UTC."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def micros_to_moment(micros: int) -> dt.datetime:
    """Whole microseconds since 1970 as a UTC datetime."""
    return _EPOCH + dt.timedelta(microseconds=micros)
