"""Small tables of counts of two arms: who was treated, how many users a row stands for, and sums of their outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import Floats

__all__ = ["Arms", "TwoMeans", "check_to", "compared", "numbers", "read_arms"]

POPULATIONS = ("all", "treated", "untreated")


@dataclass(frozen=True, eq=False)
class Arms:
    """By row of a table: ``treated``, ``users``, and the sum of their outcome and of its square."""

    frame: pd.DataFrame
    treated: npt.NDArray[np.bool_]
    users: Floats
    total: Floats
    squared: Floats

    def weight(self, to: str) -> Floats:
        """How many users of each row belong to the population that means are standardised to."""
        if to == "all":
            return self.users
        return np.where(self.treated == (to == "treated"), self.users, 0.0)

    def squares(self, mean: Floats | float) -> Floats:
        """The sum over each row's users of the squared distance of the outcome from ``mean``."""
        return np.maximum(self.squared - 2 * mean * self.total + mean**2 * self.users, 0.0)


@dataclass(frozen=True)
class TwoMeans:
    """The mean outcome of a population, had all been ``treated`` and had all been ``untreated``.

    ``difference`` with ``se, ci_low, ci_high``; ``ratio`` with ``ratio_low, ratio_high`` (symmetric on the scale of
    logarithms; NaN where a mean is 0 or less). ``covariance`` (2 x 2) is that of (treated, untreated).
    """

    treated: float
    untreated: float
    difference: float
    se: float
    ci_low: float
    ci_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    covariance: np.ndarray


def compared(treated: float, untreated: float, covariance: Floats, z: float) -> TwoMeans:
    """Two means with the intervals of their difference and their ratio."""
    slope = np.array([1.0, -1.0])
    se = float(np.sqrt(max(float(slope @ covariance @ slope), 0.0)))
    difference = treated - untreated
    ratio = low = high = np.nan
    if treated > 0 and untreated > 0:
        slope = np.array([1 / treated, -1 / untreated])
        width = z * float(np.sqrt(max(float(slope @ covariance @ slope), 0.0)))
        ratio = treated / untreated
        low, high = ratio * np.exp(-width), ratio * np.exp(width)
    return TwoMeans(
        treated=float(treated),
        untreated=float(untreated),
        difference=float(difference),
        se=se,
        ci_low=float(difference - z * se),
        ci_high=float(difference + z * se),
        ratio=float(ratio),
        ratio_low=float(low),
        ratio_high=float(high),
        covariance=np.asarray(covariance, dtype=float),
    )


def check_to(to: str) -> str:
    """``to``, or an error that names the populations there are."""
    if to not in POPULATIONS:
        raise ParameterError(unknown_name("population to=", to, POPULATIONS))
    return to


def read_arms(
    counts: pd.DataFrame, treated: str, outcome: str, users: str | None, squared: str | None, columns: Sequence[str]
) -> Arms:
    """The rows in which there are users.

    Without ``users`` a row is one user. ``outcome`` is the sum over a row's users; without ``squared`` it must be how
    many of them did something, whose squares have the same sum (for one user a row: any number).
    """
    names = [treated, outcome, *([users] if users else []), *([squared] if squared else []), *columns]
    for name in names:
        if name not in counts.columns:
            raise ParameterError(unknown_name("column", name, map(str, counts.columns)))
        if names.count(name) > 1:
            raise ParameterError(f"The column {shorten(repr(name))} is named in two roles. Name it in one.")
    size = numbers(counts, users) if users else np.ones(len(counts))
    if (size < 0).any():
        raise ParameterError(f"{users!r} holds {size.min():g}: a row cannot stand for fewer than no users.")
    kept = size > 0
    frame = counts.loc[kept].reset_index(drop=True)
    size, total = size[kept], numbers(frame, outcome)
    if squared:
        squares = numbers(frame, squared)
    elif users:
        if ((total < 0) | (total > size)).any():
            at = int(np.flatnonzero((total < 0) | (total > size))[0])
            raise ParameterError(
                f"{outcome!r} holds {total[at]:g} of {size[at]:g} users, which is no count of users. Of other sums "
                "name the column of the sums of squares too."
            )
        squares = total
    else:
        squares = total**2
    if (squares * size < total**2 * (1 - 1e-9)).any():
        raise ParameterError(
            f"{squared!r} holds less than sums of squares of {outcome!r} can be. Check how it was made."
        )
    flag = numbers(frame, treated)
    if not np.isin(flag, (0, 1)).all():
        raise ParameterError(f"{treated!r} holds {shorten(flag[~np.isin(flag, (0, 1))][0])}: it must be 0 or 1.")
    for value, label in ((1, "treated"), (0, "untreated")):
        if not (flag == value).any():
            raise ParameterError(f"No user is {label}: {treated!r} is never {value}. There is nothing to compare with.")
    return Arms(frame, flag == 1, size, total, squares)


def numbers(frame: pd.DataFrame, column: str) -> Floats:
    """A column as finite floats, or an error that names it and its first fault."""
    values = frame[column]
    try:
        found = np.asarray(values.to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{column!r} holds {shorten(repr(_first(values)))}: it must hold numbers.") from error
    if not np.isfinite(found).all():
        raise ParameterError(f"{column!r} holds {found[~np.isfinite(found)][0]}: fill or leave out what is missing.")
    return found


def _first(values: pd.Series) -> Any:
    odd = pd.to_numeric(values.astype(object), errors="coerce").isna().to_numpy()
    return values.iloc[int(np.flatnonzero(odd)[0])] if odd.any() else values.iloc[0]
