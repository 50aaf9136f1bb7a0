"""Intervals and ranks of what channels are credited with, from replicates."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from microconv.stats.resample import t_limits

__all__ = ["part_limits", "rank_stability", "ranks"]

Floats = npt.NDArray[np.float64]

_EDGE = 1e-9  # shares nearer to nothing (or to the whole) are it: rounding errors


def part_limits(
    estimate: float,
    drawn: Floats,
    total: float,
    *,
    buckets: int,
    confidence: float,
    few: float,
    bounded: bool = True,
) -> tuple[float, float]:
    """The interval of a part of ``total`` from its replicates, which were scaled to the same total.

    A part that is never negative is a share of the whole: a t interval on the logit scale (``bounded=False``, a part
    that may be more than the whole: on the log scale). Where a part can be negative, on its own scale. A part of 0 has
    ``few`` (the rule of three) as upper limit, a part that is all has as much less as lower limit. NaN for fewer than
    two replicates, or no total.
    """
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < 2 or not total > 0 or buckets < 2:
        return math.nan, math.nan
    se = float(drawn.std(ddof=1))
    tiny = _EDGE * total
    if min(estimate, drawn.min()) < -tiny:
        return t_limits(estimate, se, buckets, confidence=confidence)
    if estimate <= tiny:
        return 0.0, min(few, total) if bounded else few
    if not bounded:
        return t_limits(estimate, se, buckets, confidence=confidence, scale="log")
    if estimate >= total - tiny:
        return max(total - few, 0.0), total
    low, high = t_limits(estimate / total, se / total, buckets, confidence=confidence, scale="logit")
    return low * total, high * total


def ranks(credits: Floats, total: float) -> Floats:
    """Ranks along the last axis, 1 for the largest; equal ones (to 9 digits of the total) share the smaller number."""
    shares = np.round(credits / total, 9)
    larger = np.zeros(shares.shape)
    for place in range(shares.shape[-1]):
        larger += shares[..., place : place + 1] > shares
    return larger + 1.0


def rank_stability(estimate: Floats, drawn: Floats, total: float) -> Floats:
    """By channel the share of replicates (rows of ``drawn``) in which it has the rank that ``estimate`` gives it."""
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(drawn):
        return np.full(len(estimate), np.nan)
    found: Floats = (ranks(drawn, total) == ranks(estimate, total)).mean(axis=0)
    return found
