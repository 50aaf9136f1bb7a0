"""All effects that an experiment does not refute: the confidence set of Anderson and Rubin, in closed form.

Were the effect ``b``, outcome - b * did would have the same mean in all arms. With arm means m(b) and their variances
p(b), the statistic is the weighted sum of squares between arms,

    Q(b) = sum over pairs of (m_i - m_j)^2 * product of the other p / sum over i of the product of the other p,

a ratio of polynomials in b of degree 2 (arms - 1), so that the set Q(b) <= c is found from the roots of one polynomial.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial import polynomial as poly

from microconv.stats._curves import Floats

__all__ = ["effects_not_refuted", "pairwise_polynomials"]

_REAL = 1e-7  # imaginary part of a root, as a part of its size, below which it is rounding


def pairwise_polynomials(gap: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """The numerator and the denominator of Q.

    ``gap`` (arms, 2): coefficients of the arm means in b; ``variance`` (arms, 3): of the variances of these means.
    """
    arms = range(len(gap))
    above: Any = np.zeros(1)
    below: Any = np.zeros(1)
    for i, j in itertools.combinations(arms, 2):
        difference = gap[i] - gap[j]
        rest = _product([variance[a] for a in arms if a not in (i, j)])
        above = poly.polyadd(above, poly.polymul(poly.polymul(difference, difference), rest))
    for i in arms:
        below = poly.polyadd(below, _product([variance[a] for a in arms if a != i]))
    return above, below


def effects_not_refuted(gap: Floats, variance: Floats, critical: float) -> list[tuple[float, float]]:
    """The intervals of b in which Q(b) is at most ``critical``: none, one or several, possibly without end."""
    above, below = pairwise_polynomials(gap, variance)
    rest = poly.polysub(above, critical * below)
    size = np.abs(rest).max()
    if size == 0:
        return [(-np.inf, np.inf)]
    kept = poly.polytrim(rest / size, 1e-14)
    roots = poly.polyroots(kept) if len(kept) > 1 else np.empty(0)
    near = np.abs(roots.imag) <= _REAL * np.maximum(np.abs(roots), 1e-8)
    cuts = np.unique(roots.real[near])
    edges = [-np.inf, *cuts.tolist(), np.inf]
    found: list[tuple[float, float]] = []
    for low, high in itertools.pairwise(edges):
        if poly.polyval(_between(low, high), kept) > 0:
            continue
        if found and found[-1][1] == low:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found


def _product(factors: Sequence[Floats]) -> Floats:
    result: Any = np.ones(1)
    for factor in factors:
        result = poly.polymul(result, factor)
    return result


def _between(low: float, high: float) -> float:
    if np.isinf(low) and np.isinf(high):
        return 0.0
    if np.isinf(low):
        return high - max(1.0, abs(high))
    if np.isinf(high):
        return low + max(1.0, abs(low))
    return (low + high) / 2
