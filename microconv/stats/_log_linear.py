"""A log-linear Poisson model with a rate of its own in every interval, kept finite by a weak prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microconv.errors import MicroconvError
from microconv.stats._curves import Floats

__all__ = ["LogLinear", "fit_log_linear"]

_ITERATIONS = 200
_LONGEST_STEP = 3.0  # on the scale of logarithms: from afar, Newton's steps overshoot
_SETTLED = 1e-10


@dataclass(frozen=True, eq=False)
class LogLinear:
    """``events ~ Poisson(exposure * exp(intercept_g + x b))``, at the posterior mode.

    ``intercept`` by interval: minus infinity where nothing happened, and then no parameter. ``covariance`` is the
    inverse of the curvature over the parameters: the intervals in ``known``, then the coefficients.
    """

    intercept: Floats
    coef: Floats
    known: np.ndarray
    covariance: Floats


def fit_log_linear(events: Floats, exposure: Floats, design: Floats, precision: float) -> LogLinear:
    """Fit ``events`` and ``exposure`` (patterns, intervals) on ``design`` (patterns, terms).

    ``precision`` is 1 / sd^2 of the normal prior around 0 on every coefficient; intercepts have none. Newton's method,
    with steps that never lose likelihood: the posterior is concave.
    """
    happened = events.sum(axis=0)
    known = (happened > 0) & (exposure.sum(axis=0) > 0)
    terms, many = design.shape[1], int(known.sum())
    intercept = np.full(len(known), -np.inf)
    if not many:
        unknown = np.eye(terms) / precision if precision > 0 else np.full((terms, terms), np.nan)
        return LogLinear(intercept, np.zeros(terms), known, unknown)
    rows = (exposure[:, known] > 0).any(axis=1)
    d, time, x = events[rows][:, known], exposure[rows][:, known], design[rows]
    by_pattern, by_interval = d.sum(axis=1), d.sum(axis=0)
    told = x.T @ by_pattern

    def best_intercept(b: Floats) -> tuple[Floats, Floats, Floats]:
        """The intercepts that fit best given the coefficients, what is then expected, and the log posterior."""
        eta = x @ b
        shift = eta.max(initial=-np.inf)
        weight = np.exp(eta - shift)
        total = weight @ time
        a = np.log(by_interval) - np.log(total) - shift
        value = by_interval @ a + by_pattern @ eta - precision / 2 * (b @ b)
        return a, weight[:, None] * time * (by_interval / total), value

    b = np.zeros(terms)
    a, mean, value = best_intercept(b)
    for _ in range(_ITERATIONS):
        at_pattern = mean.sum(axis=1)
        across = x.T @ mean  # (terms, intervals)
        inner = (x.T * at_pattern) @ x + precision * np.eye(terms)
        # With the intercepts profiled out, the curvature is what is left of the coefficients' own.
        profiled = inner - (across / by_interval) @ across.T
        score = told - x.T @ at_pattern - precision * b
        step = np.linalg.lstsq(profiled, score, rcond=1e-13)[0] if terms else score
        longest = np.abs(step).max(initial=0.0)
        if longest > _LONGEST_STEP:
            step = step * (_LONGEST_STEP / longest)
        rise = float(score @ step)
        size = 1.0
        while size > 1e-8:
            found = best_intercept(b + size * step)
            if found[2] >= value - 1e-12 * abs(value):
                break
            size /= 2
        b = b + size * step
        a, mean, value = found
        if abs(rise) < _SETTLED and longest < 1e-6:
            break
    else:
        raise MicroconvError(f"The intensities did not settle in {_ITERATIONS} iterations.")
    at_pattern, across = mean.sum(axis=1), x.T @ mean
    inner = (x.T * at_pattern) @ x + precision * np.eye(terms)
    outer = np.linalg.pinv(inner - (across / by_interval) @ across.T, rcond=1e-13, hermitian=True)
    to_intercept = -(across / by_interval).T @ outer
    covariance = np.zeros((many + terms, many + terms))
    covariance[many:, many:] = outer
    covariance[:many, many:] = to_intercept
    covariance[many:, :many] = to_intercept.T
    covariance[:many, :many] = np.diag(1 / by_interval) - to_intercept @ (across / by_interval)
    intercept[known] = a
    return LogLinear(intercept, b, known, covariance)
