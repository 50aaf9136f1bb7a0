"""Errors that say what was wrong, the value, what is allowed, the nearest match and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "MicroconvError",
    "MicroconvWarning",
    "ParameterError",
    "PlanError",
    "SourceError",
    "nearest",
    "unknown_name",
]


class MicroconvError(Exception):
    """Base class of every error that microconv raises on purpose."""


class ParameterError(MicroconvError, ValueError):
    """A parameter of a public function has an impossible value."""


class PlanError(MicroconvError, ValueError):
    """The tracking plan is not a valid plan, or does not fit the log."""


class SourceError(MicroconvError, ValueError):
    """The events could not be read, or lack what every event needs."""


class MicroconvWarning(UserWarning):
    """Something a caller should know that does not stop the analysis."""


def nearest(value: object, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The allowed name closest to ``value``, ignoring case, or None when nothing is close."""
    by_folded = {str(name).casefold(): str(name) for name in allowed}
    found = difflib.get_close_matches(str(value).casefold(), list(by_folded), n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def unknown_name(what: str, value: object, allowed: Iterable[str], mend: str = "") -> str:
    """The text of an error about a name that does not exist: value, nearest match, what is allowed, mend."""
    names = [str(name) for name in allowed]
    close = nearest(value, names)
    guess = f" Did you mean {shorten(repr(close))}?" if close else ""
    shown = ", ".join(repr(shorten(name, 40)) for name in names[:12]) + (
        f", ... ({len(names)} in all)" if len(names) > 12 else ""
    )
    listing = f" Known: {shown}." if names else " None are known."
    return f"Unknown {what} {shorten(repr(value))}.{guess}{listing}{' ' + mend if mend else ''}"


def shorten(text: object, width: int = 80) -> str:
    """``text`` cut to ``width`` characters, so that a hostile value cannot flood a message."""
    string = str(text)
    return string if len(string) <= width else string[: width - 3] + "..."
