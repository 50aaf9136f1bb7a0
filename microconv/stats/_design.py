"""From pattern columns to covariates: one term per number or flag, one per level of anything else but the reference."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from microconv.counts import as_names
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import Floats

__all__ = ["Design", "Term", "check_cause", "read_design", "used_columns"]

MISSING = "(missing)"


@dataclass(frozen=True)
class Term:
    """One covariate: a column itself (``level`` None), or whether the column has this level rather than another."""

    name: str
    column: str
    level: Any = None
    reference: Any = None
    center: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Design:
    """The terms of a model, in order."""

    terms: tuple[Term, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the terms."""
        return tuple(term.name for term in self.terms)

    @property
    def scale(self) -> Floats:
        """What a covariate is divided by within the fit."""
        return np.array([term.scale for term in self.terms])

    @property
    def frame(self) -> pd.DataFrame:
        """A row per term: ``term, column, level, reference, center``."""
        return pd.DataFrame(
            {
                "term": pd.Series([term.name for term in self.terms], dtype=object),
                "column": pd.Series([term.column for term in self.terms], dtype=object),
                "level": pd.Series([term.level for term in self.terms], dtype=object),
                "reference": pd.Series([term.reference for term in self.terms], dtype=object),
                "center": pd.Series([term.center for term in self.terms], dtype=float),
            }
        )

    def covariates(self, patterns: pd.DataFrame) -> Floats:
        """The centred covariates (rows of ``patterns`` by terms)."""
        found = np.empty((len(patterns), len(self.terms)))
        for at, term in enumerate(self.terms):
            if term.column not in patterns.columns:
                raise ParameterError(unknown_name("column", term.column, map(str, patterns.columns)))
            column = patterns[term.column]
            if term.level is None:
                found[:, at] = _numbers(column) - term.center
            else:
                found[:, at] = _levels(column) == term.level
        return found


def used_columns(
    pattern_cols: Sequence[str], terms: str | Sequence[str], strata: str | Sequence[str], cluster: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of terms and of strata, checked against the columns of a table of counts."""
    columns, within = as_names(terms), as_names(strata)
    if not columns:
        raise ParameterError("terms=() names no pattern column. Name at least one, such as the micro in question.")
    for column in (*columns, *within, *([cluster] if cluster is not None else [])):
        if column not in pattern_cols:
            raise ParameterError(unknown_name("pattern column", column, pattern_cols))
    both = [column for column in columns if column in within]
    if both:
        raise ParameterError(f"{shorten(repr(both[0]))} is named in terms and in strata. Name it in one of them.")
    return columns, within


def check_cause(causes: Sequence[Hashable], cause: Hashable | None) -> None:
    """An error where ``cause`` is none of ``causes``; where nobody has any event there is nothing to choose from."""
    if cause is not None and causes and cause not in causes:
        raise ParameterError(unknown_name("cause", cause, map(str, causes)))


def read_design(
    patterns: pd.DataFrame, terms: Sequence[str], reference: Mapping[str, object] | None, weight: Floats
) -> Design:
    """The terms that these columns give; numbers that are not flags are centred at their mean, weighted."""
    chosen = dict(reference or {})
    for column in chosen:
        if column not in terms:
            raise ParameterError(unknown_name("column in reference=", column, terms, "It must be one of terms."))
    found: list[Term] = []
    for column in terms:
        values = patterns[column]
        if _is_number(values):
            if column in chosen:
                raise ParameterError(
                    f"reference={{{column!r}: ...}} is for levels, but {column!r} holds numbers: one linear term. "
                    "Turn it into text to compare its values one by one."
                )
            found.append(_linear(column, _numbers(values), weight))
        else:
            found += _by_level(column, _levels(values), chosen.get(column))
    names = [term.name for term in found]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(f"Two terms would be called {shorten(repr(name))}. Rename one of the pattern columns.")
    return Design(tuple(found))


def _is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers or flags, also where its dtype is object (as with None beside True)."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return True
    kinds = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")
    return column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in kinds


def _numbers(column: pd.Series) -> Floats:
    values: Floats = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        raise ParameterError(
            f"The term {shorten(repr(column.name))} must be a finite number in every pattern, but {int(bad.sum())} of "
            f"{len(values)} are not (such as {shorten(repr(column.iloc[int(np.flatnonzero(bad)[0])]))}). Fill them, "
            f"leave them out, or turn the column into text, where missing is the level {MISSING!r}."
        )
    return values


def _levels(column: pd.Series) -> np.ndarray:
    values = column.to_numpy(dtype=object).copy()
    values[column.isna().to_numpy()] = MISSING
    return values


def _linear(column: str, values: Floats, weight: Floats) -> Term:
    if np.isin(values, (0.0, 1.0)).all():
        return Term(column, column)
    center = float(np.average(values, weights=weight)) if weight.sum() > 0 else float(values.mean())
    if values.min() == values.max():
        center = float(values[0])
    scale = float(np.abs(values - center).max())
    return Term(column, column, center=center, scale=scale if scale > 0 else 1.0)


def _by_level(column: str, values: np.ndarray, chosen: object) -> list[Term]:
    levels = sorted(set(values.tolist()), key=lambda level: (type(level).__name__, str(level)))
    if chosen is None:
        chosen = next((level for level in levels if level != MISSING), levels[0])
    elif chosen not in levels:
        raise ParameterError(unknown_name(f"level of {column!r} in reference=", chosen, map(str, levels)))
    # A column of one level tells nobody apart; it is kept as a term so that this can be said.
    compared = [level for level in levels if level != chosen] or [chosen]
    return [Term(f"{column}={level}", column, level, chosen) for level in compared]
