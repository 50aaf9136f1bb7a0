"""Checks of the simulation's options: each names the option, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from microconv.errors import ParameterError, shorten, unknown_name

__all__ = ["check_known", "check_name", "check_number", "check_ratios", "check_share", "check_shares", "check_whole"]


def check_number(what: str, value: object, *, zero: bool = False) -> None:
    """Refuse anything but a finite number above zero (or zero, where that means something)."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):  # type: ignore[operator]
        raise ParameterError(f"{what}={shorten(repr(value))} must be a number {'of 0 or more' if zero else 'above 0'}.")


def check_share(what: str, value: object) -> None:
    """Refuse anything but a fraction from 0 to 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        raise ParameterError(f"{what}={shorten(repr(value))} must be a fraction from 0 to 1 (a tenth is 0.1).")


def check_whole(what: str, value: object, least: int) -> None:
    """Refuse anything but a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ParameterError(f"{what}={shorten(repr(value))} must be a whole number of at least {least}.")


def check_name(what: str, value: object) -> None:
    """Refuse anything but text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ParameterError(f"{what}={shorten(repr(value))} must be a name: text that is not empty.")


def check_known(what: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a name that is not among the allowed ones."""
    names = list(allowed)
    if value not in names:
        raise ParameterError(unknown_name(what, value, names))


def check_ratios(what: str, ratios: object, *, zero: bool = False) -> None:
    """Refuse anything but a mapping of names to rate ratios."""
    for name, ratio in as_mapping(what, ratios).items():
        check_number(f"{what}[{name!r}]", ratio, zero=zero)


def check_shares(what: str, shares: object) -> None:
    """Refuse anything but a mapping of levels to fractions that add up to 1."""
    levels = as_mapping(what, shares)
    for level, fraction in levels.items():
        check_name(f"{what}: a level", level)
        check_share(f"{what}[{level!r}]", fraction)
    total = math.fsum(levels.values())
    if abs(total - 1) > 1e-9:
        raise ParameterError(f"{what} add up to {total:g}, but must add up to 1: {shorten(dict(levels))}.")


def as_mapping(what: str, value: object) -> Mapping[str, Any]:
    """The value, if it is a mapping."""
    if not isinstance(value, Mapping):
        raise ParameterError(f"{what}={shorten(repr(value))} must be a mapping such as {{'name': 2.0}}.")
    return value
