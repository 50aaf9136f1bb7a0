"""The likelihood of a mixture-cure model, its maximum and its profile in the share that ever converts.

Parameters, in this order: logit of the share, logit of the atom (only with events at time 0), mu, log sigma, and q
(only for the generalised gamma).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from microconv.stats._cure_counts import CureCounts
from microconv.stats._curves import Floats
from microconv.stats._latency import Latency, standard

__all__ = ["Likelihood", "Maximum", "profile_limits"]

_EDGE = 30.0  # a logit of 30 is a share of one to the last digits
_MOST_Q = 5.0
_TINY = 1e-300
_STEP = 1e-4
_NOWHERE = (np.zeros(0), np.inf, np.zeros((0, 0)), False)


@dataclass(frozen=True)
class Maximum:
    """Where a likelihood is highest: parameters, value, covariance, and whether the search came to its end."""

    place: Floats
    value: float
    covariance: Floats
    converged: bool


class Likelihood:
    """The log likelihood of counts under one family.

    An event at t adds log f(t), a user left at t log S(t), one who entered at t > 0 takes log S(t) away; a grouped
    event adds log(S(a) - S(b)). ``S(t) = 1 - p + p (1 - atom) L(t)`` with L the survival of the delay.
    """

    def __init__(self, counts: CureCounts, family: str) -> None:
        self.counts = counts
        self.atom = counts.at_zero > 0
        self.free_q = family == "generalised_gamma"
        self.names = ["share", *(["atom"] if self.atom else []), "mu", "sigma", *(["q"] if self.free_q else [])]
        self._mu = self.names.index("mu")
        exact = counts.low == counts.high
        grouped = np.flatnonzero(~exact)
        self._exact, self._events = np.log(counts.high[exact]), counts.events[exact]
        # The survival of the delay is needed at all these times; where, and at which of them it is 1 or 0.
        times = np.concatenate([counts.time, counts.low[grouped], counts.high[grouped]])
        self._inside = (times > 0) & np.isfinite(times)
        self._fixed = np.where(times > 0, 0.0, 1.0)
        self._log_times = np.log(np.where(self._inside, times, 1.0))
        self._left, self._grouped = counts.left, counts.events[grouped]
        self.bounds = self._bounds()

    def _bounds(self) -> list[tuple[float, float]]:
        finite = np.concatenate([self._exact, self._log_times[self._inside]])
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        own = {"mu": (low - 15.0, high + 15.0), "sigma": (-7.0, 5.0), "q": (-_MOST_Q, _MOST_Q)}
        return [own.get(name, (-_EDGE, _EDGE)) for name in self.names]

    def latency(self, at: Floats) -> Latency:
        """The delay that the parameters describe."""
        mu, log_sigma = at[self._mu : self._mu + 2]
        atom = _expit(at[1]) if self.atom else 0.0
        return Latency(float(mu), math.exp(log_sigma), float(at[-1]) if self.free_q else 1.0, atom)

    def __call__(self, at: Floats) -> tuple[float, Floats]:
        """The log likelihood and its gradient."""
        value, gradient = self._at(at, float(at[-1]) if self.free_q else 1.0)
        if not self.free_q:
            return value, gradient
        # The derivative in q has no closed form for the survival function.
        above, _ = self._at(at, float(at[-1]) + _STEP)
        below, _ = self._at(at, float(at[-1]) - _STEP)
        return value, np.append(gradient, (above - below) / (2 * _STEP))

    def _at(self, at: Floats, q: float) -> tuple[float, Floats]:
        share, cured = _expit(at[0]), _expit(-at[0])
        mu, sigma = float(at[self._mu]), math.exp(at[self._mu + 1])
        atom, rest = (_expit(at[1]), _expit(-at[1])) if self.atom else (0.0, 1.0)
        total = float(self._events.sum() + self._grouped.sum())
        value = total * (math.log(max(share, _TINY)) + math.log(max(rest, _TINY)))
        d_share, d_rest, d_mu, d_sigma = total * cured, total, 0.0, 0.0
        if len(self._exact):
            w = (self._exact - mu) / sigma
            density, slope, _ = standard(w, q)
            value += float(self._events @ (density - self._exact)) - self._events.sum() * math.log(sigma)
            d_mu -= float(self._events @ slope) / sigma
            d_sigma -= float(self._events @ (1 + w * slope))
        w = (self._log_times - mu) / sigma
        density, _, tail = standard(w, q)
        tail = np.where(self._inside, tail, self._fixed)
        moved = np.where(self._inside, np.exp(density), 0.0)  # d tail / d mu = moved / sigma, d log sigma: moved * w
        many, groups = len(self._left), len(self._grouped)
        mixed = np.maximum(cured + share * rest * tail[:many], _TINY)
        weight = self._left / mixed
        value += float(self._left @ np.log(mixed))
        d_share += float(weight @ (rest * tail[:many] - 1)) * share * cured
        d_rest += float(weight @ tail[:many]) * share * rest
        d_mu += float(weight @ moved[:many]) * share * rest / sigma
        d_sigma += float(weight @ (moved[:many] * w[:many])) * share * rest
        if groups:
            a, b = slice(many, many + groups), slice(many + groups, None)
            between = np.maximum(tail[a] - tail[b], _TINY)
            value += float(self._grouped @ np.log(between))
            d_mu += float(self._grouped @ ((moved[a] - moved[b]) / between)) / sigma
            d_sigma += float(self._grouped @ ((moved[a] * w[a] - moved[b] * w[b]) / between))
        if not self.atom:
            return value, np.array([d_share, d_mu, d_sigma])
        value += self.counts.at_zero * (math.log(max(share, _TINY)) + math.log(max(atom, _TINY)))
        d_share += self.counts.at_zero * cured
        # rest = 1 - atom: more of the one is less of the other.
        return value, np.array([d_share, self.counts.at_zero * rest - d_rest * atom, d_mu, d_sigma])

    def starts(self) -> list[Floats]:
        """Several places to search from: the share seen so far, half-way to one, nearly one; short and long delays.

        The generalised gamma starts from the best Weibull, so that it is never below it, and from lognormals.
        """
        counts = self.counts
        when = np.where(np.isfinite(counts.high), (counts.low + counts.high) / 2, counts.low)
        logs, weight = np.log(np.maximum(when, 1e-9)), counts.events / counts.events.sum()
        mean = float(weight @ logs)
        spread = max(math.sqrt(float(weight @ (logs - mean) ** 2)), 0.05)
        seen = min(max(counts.total / max(counts.n, counts.total), 1e-6), 0.98)
        atom = [_logit(counts.at_zero / counts.total)] if self.atom else []
        near, far = (min(seen * 1.1, 0.98), 0.0), (0.98, 3.0)
        if self.free_q:
            weibull = Likelihood(counts, "weibull").best().place
            lognormal = [[_logit(p), *atom, mean + longer, math.log(spread), 0.0] for p, longer in (near, far)]
            return [np.append(weibull, 1.0), *map(np.array, lognormal)]
        # The Weibull's log has mean -0.577 sigma and standard deviation 1.28 sigma.
        sigma = spread / 1.28
        places = (near, ((1 + seen) / 2, 1.5), far)
        return [np.array([_logit(p), *atom, mean + 0.577 * sigma + longer, math.log(sigma)]) for p, longer in places]

    def maximise(self, start: Floats, share: float | None = None) -> Maximum:
        """Climb from ``start``; with ``share`` given it is held there."""
        held = np.zeros(len(start), dtype=bool)
        start = np.clip(start, *np.array(self.bounds).T)
        if share is not None:
            held[0], start[0] = True, _logit(share)
        free = np.flatnonzero(~held)
        scale = max(self.counts.total, 1.0)

        def whole(x: Floats) -> Floats:
            full = start.copy()
            full[free] = x
            return full

        def downhill(x: Floats) -> tuple[float, Floats]:
            value, gradient = self(whole(x))
            return -value / scale, -gradient[free] / scale

        bounds = [self.bounds[i] for i in free]
        near = share is not None  # a profile goes on from its last maximum, mostly a few Newton steps away
        x, value, inverse, converged = _polish(downhill, start[free], bounds, scale) if near else _NOWHERE
        if not converged:
            from scipy.optimize import minimize

            # Not L-BFGS-B: its threaded linear algebra on three numbers takes ten times as long on a busy machine.
            options = {"maxfun": 500, "ftol": 1e-9, "xtol": 1e-6, "gtol": 1e-6}
            found = minimize(downhill, start[free], jac=True, method="TNC", bounds=bounds, options=options)
            x, value, inverse, converged = _polish(downhill, found.x, bounds, scale)
        covariance = np.full((len(start), len(start)), np.nan)
        covariance[np.ix_(free, free)] = inverse
        return Maximum(whole(x), -value * scale, covariance, converged)

    def best(self, starts: list[Floats] | None = None, share: float | None = None) -> Maximum:
        """The highest of the maxima reached from several starts; one that converged before one that did not."""
        found = [self.maximise(start, share) for start in (starts or self.starts())]
        top = max(one.value for one in found)
        near = [one for one in found if one.value > top - 1e-6 and one.converged]
        return near[0] if near else max(found, key=lambda one: one.value)


def _polish(  # type: ignore[no-untyped-def]
    downhill, x: Floats, bounds: list[tuple[float, float]], scale: float
) -> tuple[Floats, float, Floats, bool]:
    """Newton steps from near a minimum, with the covariance there; converged when a step would gain next to nothing."""
    low, high = np.array(bounds).T
    value, gradient = downhill(x)
    covariance = np.full((len(x), len(x)), np.nan)
    for _ in range(25):
        # At a bound and pushed against it, a parameter stays; its error is not known.
        free = np.flatnonzero(~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))))
        covariance[:] = np.nan
        if len(free) == 0:
            return x, value, covariance, True
        hessian = np.empty((len(free), len(free)))
        for row, i in enumerate(free):
            step = 1e-4 * max(1.0, abs(x[i]))
            up, down = x.copy(), x.copy()
            up[i], down[i] = x[i] + step, x[i] - step
            hessian[row] = (downhill(up)[1][free] - downhill(down)[1][free]) / (2 * step)
        roots, axes = np.linalg.eigh((hessian + hessian.T) / 2)
        # Flat directions (a share of one, where its logit may be anything) gain nothing and take no step.
        steep = roots > 1e-10 * max(float(roots.max()), 1e-12)
        along = axes.T @ gradient[free]
        step_free = -(axes[:, steep] @ (along[steep] / roots[steep]))
        gain = 0.5 * float((along[steep] ** 2 / roots[steep]).sum()) * scale
        stuck = np.abs(along[~steep]).max(initial=0.0) * scale
        if steep.all():
            covariance[np.ix_(free, free)] = (axes / roots) @ axes.T / scale
        if gain < 1e-7 and stuck < 1e-2:
            return x, value, covariance, bool((roots > -1e-6).all())
        for shorter in (1.0, 0.3, 0.1, 0.01):
            tried = x.copy()
            tried[free] += shorter * step_free
            tried = np.clip(tried, low, high)
            new_value, new_gradient = downhill(tried)
            if new_value <= value + 1e-15:
                break
        else:
            return x, value, covariance, gain < 1e-4
        if np.array_equal(tried, x):
            return x, value, covariance, gain < 1e-4
        x, value, gradient = tried, new_value, new_gradient
    return x, value, covariance, False


def profile_limits(likelihood: Likelihood, top: Maximum, z: float) -> tuple[float, float]:
    """The shares at which twice the log likelihood, highest over all else, has fallen by z squared; 1 if it never does.

    The search at each share starts from the maximum at the nearest share tried before.
    """
    from scipy.optimize import brentq

    known: dict[float, Floats] = {float(top.place[0]): top.place}

    def excess(logit: float) -> float:
        share = _expit(logit)
        found = None
        for nearest in sorted(known, key=lambda at: abs(at - logit))[:3]:
            tried = likelihood.maximise(known[nearest], share=share)
            found = tried if found is None or tried.value > found.value else found
            if tried.converged:
                break
        assert found is not None
        known[logit] = found.place
        return 2 * (top.value - found.value) - z * z

    centre = float(top.place[0])
    low = _outward(excess, centre, -1.0)
    lower = _expit(float(brentq(excess, low[0], low[1], xtol=1e-5))) if low[2] else 0.0
    high = _outward(excess, centre, 1.0)
    upper = _expit(float(brentq(excess, high[0], high[1], xtol=1e-5))) if high[2] else 1.0
    return lower, upper


def _outward(excess, centre: float, sign: float) -> tuple[float, float, bool]:  # type: ignore[no-untyped-def]
    """Two logits between which the profile crosses its level, ordered, and whether it does before the edge."""
    inner, step = centre, 0.1
    while abs(inner) < _EDGE or inner * sign < 0:
        outer = min(max(inner + sign * step, -_EDGE), _EDGE)
        if excess(outer) > 0:
            return (min(inner, outer), max(inner, outer), True)
        if outer == inner:
            break
        inner, step = outer, step * 2
    return (inner, inner, False)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _logit(p: float) -> float:
    if p <= 0 or p >= 1:
        return -_EDGE if p <= 0 else _EDGE
    return min(max(math.log(p) - math.log1p(-p), -_EDGE), _EDGE)
