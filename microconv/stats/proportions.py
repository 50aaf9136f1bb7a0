"""Proportions with an interval that stays within 0 and 1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from microconv.errors import ParameterError
from microconv.stats._curves import Floats, z_value

__all__ = ["wilson"]


def wilson(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Between which limits does the proportion ``successes / n`` lie?

    Counts or arrays of counts (fractions are taken as they are) that broadcast against each other. Returns the lower
    and upper limits as arrays of that shape, NaN where ``n`` is 0 or a count is null; the lower limit is exactly 0
    without successes and the upper exactly 1 without failures. Raises ``ParameterError`` on a negative count, more
    successes than trials and an impossible confidence. Wilson (1927), as R's ``prop.test(correct=FALSE)``.

    >>> low, high = wilson([0, 5, 10], 10)
    >>> low.round(4), high.round(4)
    (array([0.    , 0.2366, 0.7225]), array([0.2775, 0.7634, 1.    ]))
    """
    z = z_value(confidence)
    k, trials = np.broadcast_arrays(_counts(successes, "successes"), _counts(n, "n"))
    if (k > trials).any():
        at = np.flatnonzero((k > trials).ravel())[0]
        raise ParameterError(
            f"successes={k.ravel()[at]:g} is more than n={trials.ravel()[at]:g}: a proportion cannot exceed 1."
        )
    known = (trials > 0) & ~np.isnan(k)
    size = np.where(known, trials, 1.0)
    p = np.where(known, k, 0.0) / size
    centre = p + z**2 / (2 * size)
    half = z * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    low, high = (centre - half) / (1 + z**2 / size), (centre + half) / (1 + z**2 / size)
    low = np.where(p == 0, 0.0, np.clip(low, 0.0, 1.0))
    high = np.where(p == 1, 1.0, np.clip(high, 0.0, 1.0))
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _counts(values: npt.ArrayLike, name: str) -> Floats:
    counts = np.asarray(values, dtype=float)
    if (counts < 0).any() or np.isinf(counts).any():
        raise ParameterError(f"{name} holds {counts[(counts < 0) | np.isinf(counts)].ravel()[0]:g}, which is no count.")
    return counts
