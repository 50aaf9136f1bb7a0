"""Newton's method for concave log-likelihoods, and what is read off a maximum: limits by profile."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from microconv.errors import MicroconvError
from microconv.stats._curves import Floats

__all__ = ["Likelihood", "Maximum", "likelihood_ratio_p", "maximise", "profile_limit"]

# Log-likelihood, its gradient and the information (minus its second derivatives) at some coefficients.
Likelihood = Callable[[Floats], tuple[float, Floats, Floats]]
_STEPS = 100
_SMALL = 1e-15  # of the gain that a step still promises, relative to the log-likelihood


@dataclass(frozen=True)
class Maximum:
    """Where the log-likelihood is largest among the free coefficients."""

    at: Floats
    value: float
    gradient: Floats
    information: Floats


def maximise(likelihood: Likelihood, start: Floats, free: np.ndarray) -> Maximum:
    """Newton's method from ``start`` in the coefficients that are ``free``, with halved steps where one overshoots."""
    at = start.copy()
    value, gradient, information = likelihood(at)
    if not free.any():
        return Maximum(at, value, gradient, information)
    for _ in range(_STEPS):
        step = np.zeros_like(at)
        step[free] = np.linalg.solve(information[np.ix_(free, free)], gradient[free])
        gain = float(gradient[free] @ step[free])
        if gain <= _SMALL * (1.0 + abs(value)):
            return Maximum(at, value, gradient, information)
        size = min(1.0, 20.0 / np.abs(step).max())
        for _ in range(60):
            found = likelihood(at + size * step)
            # At the maximum rounding decides which is larger.
            if math.isfinite(found[0]) and found[0] >= value - 1e-13 * (1.0 + abs(value)):
                break
            size /= 2
        else:
            return Maximum(at, value, gradient, information)
        at = at + size * step
        value, gradient, information = found
    raise MicroconvError(
        f"The model does not converge in {_STEPS} steps (last gain {gain:.3g}). Leave out terms that nearly tell the "
        "converters from the others, or coarser levels."
    )


def profile_limit(
    likelihood: Likelihood, best: Maximum, free: np.ndarray, term: int, upper: bool, chi2: float, width: float
) -> float:
    """Where the log-likelihood, maximised over the other coefficients, has fallen by ``chi2 / 2``; infinite if never.

    ``width`` is a first guess of the distance.
    """
    others = free.copy()
    others[term] = False
    goal = best.value - chi2 / 2
    state = {"start": best.at}

    def above(value: float) -> float:
        start = state["start"].copy()
        start[term] = value
        found = maximise(likelihood, start, others)
        state["start"] = found.at
        return found.value - goal

    sign = 1.0 if upper else -1.0
    near, far = float(best.at[term]), float(best.at[term]) + sign * width
    for _ in range(60):
        if above(far) < 0:
            break
        if abs(far - best.at[term]) > 200:
            return sign * math.inf
        near, far = far, far + 2 * (far - near)
    else:
        return sign * math.inf
    from scipy.optimize import brentq

    state["start"] = best.at
    return float(brentq(above, near, far, xtol=1e-11, rtol=1e-12))


def likelihood_ratio_p(likelihood: Likelihood, best: Maximum, free: np.ndarray, term: int) -> float:
    """The p-value of a term by how much the log-likelihood falls without it."""
    from scipy.special import chdtrc

    others = free.copy()
    others[term] = False
    start = best.at.copy()
    start[term] = 0.0
    without = maximise(likelihood, start, others)
    return float(chdtrc(1, max(2 * (best.value - without.value), 0.0)))
