"""Piecewise-exponential hazards by their Poisson likelihood, a rate per interval and stratum, nothing profiled."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from reference.cox import Row

__all__ = ["cells", "fit"]


def cells(rows: Sequence[Row], cuts: Sequence[float]) -> dict[tuple[Hashable, int, tuple[float, ...]], list[float]]:
    """Events and time at risk by stratum, interval (a, b] and covariates; what happens at 0 is in the first."""
    edges = [0.0, *cuts, math.inf]
    found: dict[tuple[Hashable, int, tuple[float, ...]], list[float]] = {}
    for row in rows:
        for number in range(len(edges) - 1):
            low, high = edges[number], edges[number + 1]
            here = max(0.0, min(row.stop, high) - max(row.start, low))
            ends = row.event and (low < row.stop <= high or (number == 0 and row.stop == 0))
            if here > 0 or ends:
                cell = found.setdefault((row.stratum, number, row.z), [0.0, 0.0])
                cell[0] += ends
                cell[1] += here
    return found


def fit(rows: Sequence[Row], cuts: Sequence[float], k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The ratios' logarithms, their covariance and the log rates, by Newton's method on all parameters together.

    Intervals without an event have the rate 0 and say nothing of the ratios. None where no maximum is reached.
    """
    counted = cells(rows, cuts)
    blocks = sorted({key[:2] for key, (d, _) in counted.items() if d > 0}, key=str)
    used = [(blocks.index(key[:2]), np.array(key[2]), d, t) for key, (d, t) in counted.items() if key[:2] in blocks]
    m = len(blocks)
    theta = np.zeros(m + k)
    for at in range(m):  # the crude rates to begin with
        d, t = (sum(cell[i] for cell in used if cell[0] == at) for i in (2, 3))
        if t <= 0:
            return None
        theta[at] = math.log(d / t)

    def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, score, information = 0.0, np.zeros(m + k), np.zeros((m + k, m + k))
        for at, z, d, t in used:
            x = np.zeros(m + k)
            x[at], x[m:] = 1.0, z
            eta = float(theta @ x)
            expected = t * math.exp(min(eta, 500.0))
            value += d * eta - expected
            score += (d - expected) * x
            information += expected * np.outer(x, x)
        return value, score, information

    value, score, information = evaluate(theta)
    for _ in range(100):
        if np.linalg.matrix_rank(information, tol=1e-10) < m + k:
            return None
        move = np.linalg.solve(information, score)
        for _ in range(40):
            tried = evaluate(theta + move)
            if tried[0] >= value - 1e-12:
                break
            move /= 2
        theta = theta + move
        value, score, information = tried
        if np.abs(move).max() < 1e-12:
            break
    if np.abs(theta[m:]).max() > 12 or np.abs(score).max() > 1e-7:
        return None
    return theta[m:], np.linalg.inv(information)[m:, m:], theta[:m]
