"""What a caller may ask of ``mc.cross_section``, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from microconv import conditions
from microconv.errors import ParameterError, shorten, unknown_name

__all__ = ["Asked", "Flag", "ask"]

_TAKEN = ("micro", "n", "n_others", "converted", "converted_others", "share", "done")

Flag = str | Mapping[str, str]


@dataclass(frozen=True)
class Asked:
    """A checked question. A flag has a ``name`` and a ``where``; without it the column of that name is read."""

    outcome: Mapping[str, str | None]
    micros: tuple[Mapping[str, str | None], ...]
    adjust: tuple[str, ...]
    honest: float
    confidence: float
    min_cell: int


def ask(
    columns: Sequence[str],
    *,
    outcome: Flag,
    micros: Sequence[Flag] | Flag,
    adjust: str | Sequence[str],
    honest_odds_ratio: float,
    confidence: float,
    min_cell: int,
) -> Asked:
    """Check the parameters of ``mc.cross_section`` against the table's columns. Raises ``ParameterError`` and
    ``PlanError``.
    """
    from microconv.stats._curves import z_value
    from microconv.stats.leakage import honest_separation

    z_value(confidence)
    honest_separation(honest_odds_ratio, graded=False)
    if isinstance(min_cell, bool) or not isinstance(min_cell, int) or min_cell < 0:
        raise ParameterError(f"min_cell={shorten(repr(min_cell))} must be a whole number of rows, 0 or more.")
    goal = _flag(outcome, "outcome", columns)
    listed = [micros] if isinstance(micros, str | Mapping) else _listed(micros, "micros")
    flags = tuple(_flag(one, "micros", columns) for one in listed)
    if not flags:
        raise ParameterError("There is no micro to compare: micros= names none. Name some (micros=['Informational']).")
    beside = (adjust,) if isinstance(adjust, str) else tuple(_listed(adjust, "adjust"))
    for name in beside:
        if not isinstance(name, str) or name not in columns:
            raise ParameterError("adjust: " + unknown_name("column", name, columns))
        if name in _TAKEN or name.startswith("done_"):
            raise ParameterError(f"adjust: {shorten(repr(name))} is a column of the result. Rename it in the table.")
    names = [goal["name"], *(one["name"] for one in flags), *beside]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(
                f"{shorten(repr(name))} is named twice among outcome=, micros= and adjust=. Name it once, or give a "
                "condition a name of its own."
            )
    known = _reads(goal)
    for name in [*beside, *(column for one in flags for column in sorted(_reads(one)))]:
        if name in known:
            raise ParameterError(
                f"{shorten(repr(name))} is what the outcome is read from: it cannot be compared with itself, nor "
                "adjusted for."
            )
    return Asked(goal, flags, beside, honest_odds_ratio, confidence, min_cell)


def _reads(flag: Mapping[str, str | None]) -> set[str]:
    return conditions.parse(flag["where"]).columns if flag["where"] is not None else {str(flag["name"])}


def _listed(given: Iterable[object], parameter: str) -> list[Any]:
    if not isinstance(given, Iterable):
        raise ParameterError(f"{parameter}={shorten(repr(given))} must be a list of columns.")
    return list(given)


def _flag(given: object, parameter: str, columns: Sequence[str]) -> dict[str, str | None]:
    if isinstance(given, str):
        if given not in columns:
            hint = "A condition needs a name: {'name': 'long visit', 'where': 'pages > 9'}."
            raise ParameterError(f"{parameter}: " + unknown_name("column", given, columns, hint))
        return {"name": given, "where": None}
    if not isinstance(given, Mapping) or set(given) != {"name", "where"} or not all(map(_is_text, given.values())):
        raise ParameterError(
            f"{parameter} holds {shorten(repr(given))}: each is the name of a column, or a named condition such as "
            "{'name': 'long visit', 'where': 'pages > 9'}."
        )
    conditions.parse(given["where"])
    return {"name": given["name"], "where": given["where"]}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
