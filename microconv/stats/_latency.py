"""The delay of those who convert: Weibull and generalised gamma in Prentice's form, stable around the lognormal.

``log T = mu + sigma W``. ``W`` has shape ``q`` (Prentice's Q): 1 is the Weibull, 0 the lognormal, ``sigma`` the gamma.
With ``a = q**-2`` its density is ``|q| a**a / Gamma(a) * exp(a (q w - exp(q w)))``. Stacy (1962), Prentice (1974).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from microconv.stats._curves import Floats

__all__ = ["FAMILIES", "Latency", "standard"]

FAMILIES = ("weibull", "generalised_gamma")

_LOGNORMAL = 1e-5  # below this |q| the first-order expansion around the lognormal is exact to 1e-10
_LARGE = 1e3  # above this a = q**-2 Stirling's series is exact to the last digit
_SMALL = 1e-2
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def standard(w: Floats, q: float) -> tuple[Floats, Floats, Floats]:
    """The log density of ``W``, its derivative in ``w``, and the survival function.

    >>> density, slope, survival = standard(np.array([0.0]), 1.0)  # Weibull: exp(w - exp(w))
    >>> density.round(3), slope.round(3), survival.round(4)
    (array([-1.]), array([0.]), array([0.3679]))
    """
    from scipy.special import gammainc, gammaincc, gammaln, ndtr

    # Beyond these bounds the survival function is 0 or 1 to the last digit; without them exp() overflows there.
    w = np.clip(w, -300.0 / max(abs(q), 1.0), 300.0 / max(abs(q), 1.0))
    if q == 1.0:
        power = np.exp(w)
        return w - power, 1.0 - power, np.exp(-power)
    if abs(q) < _LOGNORMAL:
        density = np.exp(-0.5 * w * w - _HALF_LOG_2PI)
        log_density = -0.5 * w * w - _HALF_LOG_2PI - q * w**3 / 6
        return log_density, -w - q * w * w / 2, np.clip(ndtr(-w) - q / 6 * (w * w + 2) * density, 0.0, 1.0)
    a, u = q**-2, q * w
    if a > _LARGE:
        constant = -_HALF_LOG_2PI - 1 / (12 * a) + 1 / (360 * a**3)
    else:
        constant = math.log(abs(q)) + a * math.log(a) - a - float(gammaln(a))
    near = np.abs(u) < _SMALL
    v = np.where(near, u, 0.0)
    series = v**2 * (0.5 + v * (1 / 6 + v * (1 / 24 + v * (1 / 120 + v / 720))))
    log_density = constant - a * np.where(near, series, np.expm1(u) - u)
    tail = gammaincc if q > 0 else gammainc
    return log_density, -np.expm1(u) / q, tail(a, a * np.exp(u))


@dataclass(frozen=True)
class Latency:
    """A delay in days with parameters ``mu``, ``sigma``, ``q``, of which the share ``atom`` is no delay at all."""

    mu: float
    sigma: float
    q: float
    atom: float = 0.0

    def survival(self, days: Floats) -> Floats:
        """Which share of those who convert has not by each time? 1 before time 0, 0 at infinity."""
        days = np.asarray(days, dtype=float)
        inside = (days > 0) & np.isfinite(days)
        w = (np.log(np.where(inside, days, 1.0)) - self.mu) / self.sigma
        tail = np.where(inside, standard(w, self.q)[2], np.where(days > 0, 0.0, 1.0))
        return np.where(days >= 0, (1 - self.atom) * tail, 1.0)

    def quantile(self, level: float) -> float:
        """The days by which this share of those who convert has; 0 where the atom alone comes that far."""
        from scipy.special import gammainccinv, gammaincinv, ndtri

        if level <= self.atom:
            return 0.0
        level = (level - self.atom) / (1 - self.atom)
        if abs(self.q) < _LOGNORMAL:
            w = float(ndtri(level))
        else:
            a = self.q**-2
            x = float((gammaincinv if self.q > 0 else gammainccinv)(a, level))
            w = math.log(x / a) / self.q if x > 0 else -math.inf
        return math.exp(min(self.mu + self.sigma * w, 700.0))
