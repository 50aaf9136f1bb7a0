"""From pattern columns to the columns of a regression: numbers as they are, other values as levels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from microconv.counts import as_names, group_codes
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import Floats

__all__ = ["MISSING", "Design", "design_of"]

MISSING = "(missing)"  # a level like others, but never the one that others are compared with


@dataclass(frozen=True)
class Design:
    """The covariates of each pattern: a row per pattern, a column per term, centred and scaled.

    ``terms`` has a row per term: ``term``, ``column``, ``level``, ``reference`` (both None for a number). The values of
    a term are ``center + scale * z``, so that a coefficient of z is ``scale`` times the term's.
    """

    terms: pd.DataFrame
    z: Floats
    center: Floats
    scale: Floats

    @property
    def names(self) -> list[str]:
        """The names of the terms."""
        return [str(name) for name in self.terms["term"]]


def design_of(
    patterns: pd.DataFrame, weights: Floats, columns: Sequence[str], reference: Mapping[str, Hashable] | None
) -> Design:
    """The covariates of ``patterns`` (a row each; ``weights``: their person-time or users) for these columns."""
    given = dict(reference or {})
    for column in given:
        if column not in columns:
            raise ParameterError(unknown_name("column of reference", column, columns))
    rows: list[tuple[str, str, Any, Any]] = []
    values: list[Floats] = []
    for column in columns:
        held = patterns[column]
        if pd.api.types.is_numeric_dtype(held.dtype):
            if column in given:
                raise ParameterError(f"reference: {column!r} holds numbers and has no level to compare with.")
            number = held.to_numpy(dtype=float, na_value=np.nan)
            if not np.isfinite(number).all():
                raise ParameterError(f"{column!r} has patterns without a number. Leave them out, or make it text.")
            rows.append((column, column, None, None))
            values.append(number)
            continue
        code = group_codes(patterns[[column]])
        first = [int(np.flatnonzero(code == number)[0]) for number in range(int(code.max()) + 1)]
        levels = [MISSING if pd.isna(held.iloc[at]) else held.iloc[at] for at in first]
        base = _reference(column, levels, given)
        for place, level in enumerate(levels):
            if place != base:
                rows.append((f"{column}={level}", column, level, levels[base]))
                values.append((code == place).astype(float))
    z = np.column_stack(values) if values else np.zeros((len(patterns), 0))
    total = weights.sum()
    share = weights / total if total > 0 else np.full(len(weights), 1 / max(len(weights), 1))
    center = share @ z
    scale = np.sqrt(share @ (z - center) ** 2)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(center), 1e-300), scale, 0.0)
    z = (z - center) / np.where(scale > 0, scale, 1.0)
    terms = pd.DataFrame(rows, columns=["term", "column", "level", "reference"])
    return Design(terms, z, center, scale)


def _reference(column: str, levels: list[Any], given: Mapping[str, Hashable]) -> int:
    if column in given:
        if given[column] not in levels:
            raise ParameterError(unknown_name(f"level of {column!r}", shorten(given[column]), map(str, levels)))
        return levels.index(given[column])
    return next((number for number, level in enumerate(levels) if level != MISSING), 0)


def check_terms(
    terms: str | Sequence[str], strata: str | Sequence[str], cluster: str | None, known: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the terms and of the strata, all of them columns of the table and none in both."""
    columns, within = as_names(terms), as_names(strata)
    for column in (*columns, *within, *([cluster] if cluster is not None else [])):
        if column not in known:
            raise ParameterError(unknown_name("pattern column", column, known))
    if not columns or set(columns) & set(within):
        raise ParameterError(f"terms={columns!r} must name at least one pattern column, and none of strata={within!r}.")
    return columns, within
