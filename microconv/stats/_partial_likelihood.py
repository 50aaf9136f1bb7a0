"""Cox's partial likelihood on risk sets, ties by Efron or Breslow, with all that its errors are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from microconv.errors import ParameterError
from microconv.stats._at_risk import RiskSets
from microconv.stats._curves import Floats

__all__ = ["Partial", "Tied"]


@dataclass(frozen=True)
class Tied:
    """For each event time the sums over its levels l < d of powers of 1 / (S0 - f D0), f = l / d (0 for Breslow).

    ``a``: sum of 1/x, ``b``: of f/x, ``c11``: of 1/x^2, ``c12``: of f/x^2, ``c22``: of f^2/x^2, ``logs``: of log x.
    """

    a: Floats
    b: Floats
    c11: Floats
    c12: Floats
    c22: Floats
    logs: Floats


class Partial:
    """The partial likelihood of one design on the risk sets of all strata.

    ``z`` is patterns x terms, already centred and scaled; ``held`` (patterns) is added to every linear predictor.
    """

    def __init__(self, sets: Sequence[RiskSets], z: Floats, ties: str, held: Floats | None = None) -> None:
        self.sets, self.z, self.ties = list(sets), z, ties
        self.held = np.zeros(len(z)) if held is None else held
        self.terms = z.shape[1]
        upper = np.triu_indices(self.terms)
        self._upper = upper
        self._products = z[:, upper[0]] * z[:, upper[1]]
        self._levels = [_levels(one.events, ties) for one in self.sets]

    def weights(self, beta: Floats) -> Floats:
        """exp of the linear predictor of each pattern."""
        with np.errstate(over="ignore"):
            return np.exp(self.z @ beta + self.held)

    def __call__(self, beta: Floats) -> tuple[float, Floats, Floats]:
        """Log-likelihood, gradient, information."""
        w = self.weights(beta)
        if not np.isfinite(w).all():
            return -np.inf, np.zeros(self.terms), np.eye(self.terms)
        eta = self.z @ beta + self.held
        value, gradient = 0.0, np.zeros(self.terms)
        packed = np.zeros(len(self._upper[0]))
        columns = np.column_stack([w, w[:, None] * self.z, w[:, None] * self._products])
        k = self.terms
        for one, levels in zip(self.sets, self._levels, strict=True):
            s = one.at_risk_sums(columns)
            d = one.failed_sums(columns) if levels is not None else np.zeros_like(s)
            tied = _tied(s[:, 0], d[:, 0], one.events, levels)
            _, who, count = one.failed
            value += float(count @ eta[one.patterns[who]] - tied.logs.sum())
            gradient += count @ self.z[one.patterns[who]] - tied.a @ s[:, 1 : k + 1] + tied.b @ d[:, 1 : k + 1]
            packed += tied.a @ s[:, k + 1 :] - tied.b @ d[:, k + 1 :]
            packed -= _outer(s[:, 1 : k + 1], d[:, 1 : k + 1], tied, self._upper)
        information = np.zeros((k, k))
        information[self._upper] = packed
        information.T[self._upper] = packed
        return value, gradient, information

    def pieces(self, beta: Floats) -> list[tuple[RiskSets, Tied, Floats, Floats]]:
        """For each stratum its risk sets with S (times x 1 + terms) and D, at the given coefficients."""
        w = self.weights(beta)
        columns = np.column_stack([w, w[:, None] * self.z])
        found = []
        for one, levels in zip(self.sets, self._levels, strict=True):
            s = one.at_risk_sums(columns)
            d = one.failed_sums(columns) if levels is not None else np.zeros_like(s)
            found.append((one, _tied(s[:, 0], d[:, 0], one.events, levels), s, d))
        return found


def _levels(events: Floats, ties: str) -> tuple[np.ndarray, Floats] | None:
    """Which event time each level of a tie belongs to, and its f; None where no levels are needed."""
    if ties == "breslow" or (events == 1).all():
        return None
    whole = np.rint(events)
    if (np.abs(events - whole) > 1e-9).any():
        raise ParameterError(
            "ties='efron' needs whole numbers of events, but weights made some fractional: how many failed at one time "
            "cannot be told. Use ties='breslow'."
        )
    sizes = whole.astype(np.int64)
    at = np.repeat(np.arange(len(sizes)), sizes)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return at, (np.arange(len(at)) - first[at]) / sizes[at]


def _tied(s0: Floats, d0: Floats, events: Floats, levels: tuple[np.ndarray, Floats] | None) -> Tied:
    zero = np.zeros_like(s0)
    if levels is None:
        return Tied(events / s0, zero, events / s0**2, zero, zero, events * np.log(s0))
    at, f = levels
    x = s0[at] - f * d0[at]

    def summed(values: Floats) -> Floats:
        return np.bincount(at, values, len(s0)).astype(float)

    return Tied(
        a=summed(1 / x),
        b=summed(f / x),
        c11=summed(1 / x**2),
        c12=summed(f / x**2),
        c22=summed((f / x) ** 2),
        logs=summed(np.log(x)),
    )


def _outer(s1: Floats, d1: Floats, tied: Tied, upper: tuple[np.ndarray, np.ndarray]) -> Floats:
    """The sum over times and levels of zbar zbar', packed."""
    full = s1.T @ (tied.c11[:, None] * s1)
    if tied.c22.any() or tied.c12.any():
        cross = s1.T @ (tied.c12[:, None] * d1)
        full += d1.T @ (tied.c22[:, None] * d1) - cross - cross.T
    return full[upper]
