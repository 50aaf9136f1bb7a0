"""The chance to have the event by a later age, given none so far, and sums of such chances with their errors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from microconv.counts import RiskTable
from microconv.stats._curves import Floats, read_blocks

__all__ = ["Conditional", "Sum", "count_limits"]


@dataclass(frozen=True)
class Sum:
    """The expected number of events among some users: its mean, and the two parts of the variance around it.

    ``chance``: what the users' own luck adds (a sum of p (1 - p)); ``error``: what estimating the chances adds.
    """

    mean: float = 0.0
    chance: float = 0.0
    error: float = 0.0

    def __add__(self, other: Sum) -> Sum:
        """Of both groups, where their curves come from different users."""
        return Sum(self.mean + other.mean, self.chance + other.chance, self.error + other.error)


@dataclass(frozen=True)
class Conditional:
    """The Aalen-Johansen curve of one cause at its event times, made ready to be read from any age on.

    ``time``; ``n`` at risk, ``a`` and ``b``, the fractions of those with the event and with another end; ``survival``
    of any end and ``incidence`` of the event just after each time. ``known_days``: as far as the curve is known.
    """

    time: Floats
    n: Floats
    a: Floats
    b: Floats
    survival: Floats
    incidence: Floats
    known_days: float
    watched: float
    quiet_days: float

    @classmethod
    def of(cls, rt: RiskTable, cause: Hashable, ends: Sequence[Hashable] = ()) -> Conditional:
        """The pooled curve of ``cause`` beside ``ends``; causes in neither are censored."""
        block = read_blocks(rt.pool())[0]
        event = block.by_cause[:, rt.causes.index(cause)]
        other = np.zeros_like(event)
        for end in ends:
            other = other + block.by_cause[:, rt.causes.index(end)]
        some = (event + other > 0) & (block.n > 0)
        n = block.n[some]
        a, b = event[some] / n, other[some] / n
        survival: Floats = np.cumprod(np.maximum(1 - a - b, 0.0), dtype=float)
        before = np.concatenate([[1.0], survival[:-1]])[: len(n)]
        gone = len(survival) > 0 and survival[-1] <= 1e-12
        at_end = float(before[-1] if some[-1] else survival[-1]) if len(n) else 1.0
        known = math.inf if gone else float(block.time[-1])
        watched = float(block.n[-1]) / at_end if at_end > 1e-12 else float(block.n[0])
        late = block.time > (float(block.time[event > 0][-1]) if (event > 0).any() else -1.0)
        quiet = float(block.n[late] @ np.diff(block.time, prepend=0.0)[late])
        return cls(block.time[some], n, a, b, survival, np.cumsum(before * a, dtype=float), known, watched, quiet)

    def extended(self, days: float, gain: float) -> Conditional:
        """The same with a further share ``gain`` that has the event by ``days``, taken as known."""
        left = float(self.survival[-1]) if len(self.survival) else 1.0
        a = min(gain / left, 1.0) if left > 0 else 0.0
        total = float(self.incidence[-1]) if len(self.incidence) else 0.0
        return Conditional(
            np.append(self.time, days),
            np.append(self.n, np.inf),
            np.append(self.a, a),
            np.append(self.b, 0.0),
            np.append(self.survival, left * (1 - a)),
            np.append(self.incidence, total + left * a),
            days,
            self.watched,
            self.quiet_days,
        )

    def at_age(self, ages: Floats) -> tuple[Floats, Floats]:
        """Survival of any end and incidence of the event just after each age."""
        place = np.searchsorted(self.time, ages, side="right")
        return np.append(1.0, self.survival)[place], np.append(0.0, self.incidence)[place]

    def chance(self, ages: Floats, until: Floats) -> Floats:
        """The chance to have the event after each age and by ``until``, given no end by that age: (F(u) - F(t)) / S(t).

        Where nobody is left by that age it is 0.
        """
        survival, incidence = self.at_age(ages)
        more = np.maximum(self.at_age(until)[1] - incidence, 0.0)
        return np.minimum(np.divide(more, survival, out=np.zeros_like(more), where=survival > 1e-12), 1.0)

    def unseen(self, until: float, confidence: float) -> float:
        """How large a chance by ``until`` may be that no user has shown, after the last event: the rule of three.

        -ln(1 - confidence) events could have hidden in the person-time since then.
        """
        events = self.time[self.a > 0]
        ahead = until - (float(events[-1]) if len(events) else 0.0)
        return min(1.0, -math.log(1 - confidence) * max(ahead, 0.0) / self.quiet_days) if self.quiet_days > 0 else 1.0

    def sum(self, users: Floats, ages: Floats, until: Floats) -> Sum:
        """How many of ``users`` open at ``ages`` have the event by ``until``, with the variance of what will be seen.

        The estimate is a function of the independent increments (a, b) at the event times u, each with the
        multinomial variance of its risk set: exactly Greenwood's, so all users share their errors. For a user open at
        t, with q(u) the chance from u on, the derivatives are S(u-) / S(t) (1 - q(u)) in a and -S(u-) / S(t) q(u) in b.
        Summed over users they need only the sums of 1 / S(t) and F(until) / S(t) over those whose (t, until] holds u.
        """
        p = self.chance(ages, until)
        mean, chance = float(users @ p), float(users @ (p * (1 - p)))
        if len(self.time) == 0:
            return Sum(mean, chance, 0.0)
        survival, _ = self.at_age(ages)
        weight = np.divide(users, survival, out=np.zeros_like(survival), where=survival > 1e-12)
        first = np.searchsorted(self.time, ages, side="right")
        last = np.searchsorted(self.time, until, side="right")
        size = len(self.time) + 1
        reach = weight * self.at_age(until)[1]
        open_here = np.cumsum(np.bincount(first, weight, size) - np.bincount(last, weight, size))[:-1]
        ahead = np.cumsum(np.bincount(first, reach, size) - np.bincount(last, reach, size))[:-1]
        before = np.concatenate([[1.0], self.survival[:-1]])
        to_come = ahead - open_here * self.incidence
        to_come = np.divide(to_come, self.survival, out=np.zeros_like(to_come), where=self.survival > 1e-12)
        mine, other = before * (open_here - to_come), -before * to_come
        variance = (mine**2 * self.a + other**2 * self.b - (mine * self.a + other * self.b) ** 2) / self.n
        return Sum(mean, chance, float(np.maximum(variance, 0.0).sum()))


def count_limits(found: Sum, most: float, confidence: float) -> tuple[float, float]:
    """Between which whole numbers will the count lie? A prediction interval, at most ``most``.

    The distribution with the right mean and variance among binomial (variance below the mean), Poisson and negative
    binomial (above): equal tails, so a little wide where counts are small. The mean always lies within.
    """
    from scipy.special import betainc, gammaincc

    mean, variance = found.mean, found.chance + found.error
    if mean <= 0 or not math.isfinite(variance):
        return (0.0, 0.0) if mean <= 0 else (math.nan, math.nan)
    most = math.floor(most + 1e-9)

    def below(k: float) -> float:
        """P(count <= k)."""
        if abs(variance - mean) < 1e-6 * mean:
            return float(gammaincc(k + 1, mean))
        if variance < mean:
            p = 1 - variance / mean
            trials = mean / p
            return 1.0 if k >= trials else float(betainc(trials - k, k + 1, 1 - p))
        size = mean**2 / (variance - mean)
        return float(betainc(size, k + 1, size / (size + mean)))

    tail = (1 - confidence) / 2
    low, high = _first(below, tail, most), _first(below, 1 - tail, most)
    return min(low, float(math.floor(mean))), max(high, min(float(math.ceil(mean)), most))


def _first(below, level: float, most: int) -> float:  # type: ignore[no-untyped-def]
    """The smallest whole number at which the distribution has reached the level."""
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        if below(middle) >= level:
            high = middle
        else:
            low = middle
    return float(high)
