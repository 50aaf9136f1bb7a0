"""The partial likelihood of Cox's model on counts, and the Poisson likelihood with its rates profiled out: one formula.

With R the sum of w = exp(beta'z) over those at risk who do not fail, and D over those who do, an event time of d
failures adds ``sum of beta'z over the failing - sum over steps of log(R + keep D)``: Breslow takes d equal steps with
keep = 1, Efron lets keep fall from 1 to 1/d. Where a rate per interval is profiled out of a Poisson likelihood, R is
the time at risk weighted by w, and there is no D.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from microconv.stats._curves import Floats
from microconv.stats._risk_sets import Ints, RiskSets
from microconv.stats._ties import tied_steps

__all__ = ["At", "Likelihood"]

_ROWS = 1024


@dataclass(frozen=True, eq=False)
class At:
    """Everything about each event at some coefficients.

    ``phi``: the hazard's step (times ``exp(shift)``); ``chi``: the part of it that those who fail there take; ``q0``,
    ``q1``, ``q2``: sums over steps of keep^j / denominator^2; ``rest`` and ``failing``: sums of w and of w z over those
    who do not fail and who do.
    """

    w: Floats
    shift: float
    value: float
    phi: Floats
    chi: Floats
    q: tuple[Floats, Floats, Floats]
    rest: Floats
    failing: Floats


@dataclass(frozen=True, eq=False)
class Likelihood:
    """A log likelihood of coefficients beta: concave, with covariates ``z`` (patterns by terms) and an ``offset``."""

    sets: RiskSets
    z: Floats
    ties: str
    offset: Floats

    @property
    def size(self) -> int:
        """How many coefficients there are."""
        return self.z.shape[1]

    @cached_property
    def _steps(self) -> tuple[Ints, Floats, Floats]:
        return tied_steps(self.sets.d, self.ties if self.sets.at_risk else "breslow")

    @cached_property
    def _untied(self) -> bool:
        event, keep, _ = self._steps
        return len(event) == self.sets.events and bool((keep == 1).all())

    def _weights(self, beta: Floats) -> tuple[Floats, float, float]:
        """w divided by its largest value, the logarithm of that, and what the failing add to the log likelihood."""
        eta = self.offset + self.z @ beta
        shift = float(eta.max())
        return np.exp(eta - shift), shift, float(self.sets.d_pattern @ (eta - shift))

    def value(self, beta: Floats) -> float:
        """The log likelihood; minus infinity where it cannot be told from that."""
        w, _, failing = self._weights(beta)
        rest = self.sets.rest.over_patterns(w[:, None])[:, 0]
        total = self._denominators(rest, self.sets.fails @ w if self.sets.at_risk else None)
        if not (total > 0).all():
            return -np.inf
        return failing - float(self._steps[2] @ np.log(total))

    def _denominators(self, rest: Floats, failing: Floats | None) -> Floats:
        event, keep, _ = self._steps
        if failing is None:
            return rest[event]
        return rest + failing if self._untied else rest[event] + keep * failing[event]

    def at(self, beta: Floats) -> At:
        """What the score, the information and the baseline are made of."""
        w, shift, gain = self._weights(beta)
        both = np.column_stack([w, w[:, None] * self.z])
        rest = self.sets.rest.over_patterns(both)
        failing = self.sets.fails @ both if self.sets.at_risk else np.zeros_like(rest)
        total = self._denominators(rest[:, 0], failing[:, 0] if self.sets.at_risk else None)
        if not (total > 0).all():
            return At(w, shift, -np.inf, *(np.zeros(0),) * 2, (np.zeros(0),) * 3, rest, failing)
        event, keep, weight = self._steps
        value = gain - float(weight @ np.log(total))
        first = weight / total
        second = first / total
        if self._untied:
            return At(w, shift, value, first, first, (second, second, second), rest, failing)

        def summed(parts: Floats) -> Floats:
            return np.bincount(event, parts, minlength=self.sets.events).astype(float)

        q = (summed(second), summed(keep * second), summed(keep**2 * second))
        return At(w, shift, value, summed(first), summed(keep * first), q, rest, failing)

    def derivatives(self, beta: Floats) -> tuple[float, Floats, Floats]:
        """The log likelihood, its score and its information."""
        at = self.at(beta)
        if not np.isfinite(at.value):
            return at.value, np.full(self.size, np.nan), np.full((self.size, self.size), np.nan)
        expected = self._expected(at)
        return at.value, (self.sets.d_pattern - expected) @ self.z, self._information(at, expected)

    def _expected(self, at: At, time_weight: Floats | None = None) -> Floats:
        """Expected events by pattern, each event's part times ``time_weight``."""
        phi, chi = at.phi, at.chi
        if time_weight is not None:
            phi, chi = phi * time_weight, chi * time_weight
        found = self.sets.rest.over_events(phi[:, None])[:, 0]
        if self.sets.at_risk:
            found = found + self.sets.fails.T @ chi
        expected: Floats = found * at.w
        return expected

    def _information(self, at: At, expected: Floats, time_weight: Floats | None = None) -> Floats:
        q0, q1, q2 = at.q if time_weight is None else tuple(q * time_weight for q in at.q)
        rest, failing = at.rest[:, 1:], at.failing[:, 1:]
        found: Floats = self.z.T @ (expected[:, None] * self.z)
        if not self.sets.at_risk:
            return found - _products(rest, q0, rest)
        if self._untied:
            both = rest + failing
            return found - _products(both, q0, both)
        cross = _products(rest, q1, failing)
        return found - _products(rest, q0, rest) - cross - cross.T - _products(failing, q2, failing)

    def weighted(self, at: At, time_weight: Floats) -> tuple[Floats, Floats]:
        """Score and information with each event time's part multiplied by ``time_weight``."""
        expected = self._expected(at, time_weight)
        return (self.sets.fails.T @ time_weight - expected) @ self.z, self._information(at, expected, time_weight)

    def means(self, at: At) -> tuple[Floats, Floats, Floats]:
        """By event: the mean of the steps' mean covariates; the sum over steps of hazard times mean; that sum with
        each step times the share that those who fail there no longer take.
        """
        rest, failing = at.rest[:, 1:], at.failing[:, 1:]
        mean = (at.phi[:, None] * rest + at.chi[:, None] * failing) / self.sets.d[:, None]
        q0, q1, q2 = (q[:, None] for q in at.q)
        step = q0 * rest + q1 * failing
        return mean, step, step - (q1 * rest + q2 * failing)

    def scores(self, beta: Floats) -> Floats:
        """The score of each pattern (patterns by terms): its events less what was expected of it."""
        at = self.at(beta)
        mean, step, left_out = self.means(at)
        fails = self.sets.fails
        found: Floats = self.sets.d_pattern[:, None] * self.z - fails.T @ mean
        hazard = self.sets.rest.over_events(np.column_stack([at.phi, step]))
        if self.sets.at_risk:
            kept = np.column_stack([at.chi, step - left_out])
            hazard = hazard + fails.T @ kept
        return found - at.w[:, None] * (self.z * hazard[:, :1] - hazard[:, 1:])

    def within_levels(self, of_pattern: Ints, of_event: Ints) -> Likelihood:
        """The same where an event is compared only with patterns of its own level."""
        sets = self.sets.within_levels(of_pattern, of_event)
        somebody = sets.highest(np.zeros(sets.patterns, dtype=np.int64)) >= 0
        return replace(self, sets=sets.only(somebody))

    def fixed(self, column: int, value: float) -> Likelihood:
        """The same with one coefficient held at ``value``."""
        return replace(self, z=np.delete(self.z, column, axis=1), offset=self.offset + value * self.z[:, column])


def _products(left: Floats, weight: Floats, right: Floats) -> Floats:
    """``left' diag(weight) right``, a few rows at a time: without copies, and without waking every core for little."""
    found = np.zeros((left.shape[1], right.shape[1]))
    for at in range(0, len(left), _ROWS):
        rows = slice(at, at + _ROWS)
        found += left[rows].T @ (weight[rows, None] * right[rows])
    return found
