"""The likelihood of a mixture-cure model, user by user: a share has the event in the end, after a random delay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.special import gammaincc, gammaln
from scipy.stats import norm

__all__ = ["Model", "Seen", "log_likelihood"]


@dataclass(frozen=True)
class Seen:
    """One user: watched from ``start`` (if above 0: known to have had no event by then) to ``stop``."""

    stop: float
    event: bool
    start: float = 0.0


@dataclass(frozen=True)
class Model:
    """``share`` ever; of those ``at_zero`` at once, the others after exp(mu + sigma W), W as in R's dgengamma(Q = q).

    q = 1 is the Weibull distribution with shape 1 / sigma and scale exp(mu), q = 0 the log-normal.
    """

    share: float
    mu: float
    sigma: float
    q: float = 1.0
    at_zero: float = 0.0

    def later(self, t: float) -> float:
        """Who of those not at zero has not had it by t."""
        if t <= 0:
            return 1.0
        w = (math.log(t) - self.mu) / self.sigma
        if abs(self.q) < 1e-6:
            return float(norm.sf(w))
        tail = float(gammaincc(self.q**-2, self.q**-2 * math.exp(self.q * w)))
        return tail if self.q > 0 else 1 - tail

    def survival(self, t: float) -> float:
        """Of all users, who has not had it by t (t >= 0, after what happens at zero)."""
        return 1 - self.share + self.share * (1 - self.at_zero) * self.later(t)

    def log_density(self, t: float) -> float:
        """Of all users, how many have it at t, per day; at zero the chance of it."""
        if t == 0:
            return math.log(self.share * self.at_zero)
        w = (math.log(t) - self.mu) / self.sigma
        if abs(self.q) < 1e-6:
            shape = float(norm.logpdf(w))
        else:
            k = self.q**-2
            shape = (
                math.log(abs(self.q)) + k * math.log(k) - float(gammaln(k)) + k * (self.q * w - math.exp(self.q * w))
            )
        return math.log(self.share * (1 - self.at_zero)) + shape - math.log(self.sigma * t)


def log_likelihood(model: Model, users: Sequence[Seen], cuts: Sequence[float] | None = None) -> float:
    """Exact event times; or with ``cuts`` only the interval (a, b] between neighbouring cuts that an event lies in."""
    total = 0.0
    for user in users:
        if user.start > 0:
            total -= math.log(model.survival(user.start))
        if not user.event:
            total += math.log(model.survival(user.stop))
        elif cuts is None or user.stop == 0:
            total += model.log_density(user.stop)
        else:
            edges = [0.0, *cuts, math.inf]
            low, high = next((a, b) for a, b in pairwise(edges) if a < user.stop <= b)
            beyond = model.survival(high) if math.isfinite(high) else 1 - model.share
            total += math.log(model.survival(max(low, user.start)) - beyond)
    return total
