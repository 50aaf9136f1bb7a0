"""An additive hazard with touches that fade: how many conversions each channel brought, and how many come anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._additive_credits import Division, credit_table
from microconv.stats._additive_design import OTHERS, Terms, terms_of
from microconv.stats._additive_maximum import gradient, information, log_likelihood, maximum, pseudo_inverse, violation
from microconv.stats._curves import z_value
from microconv.touch_sums import TouchSums

__all__ = ["AdditiveHazards", "additive_hazards"]

Floats = npt.NDArray[np.float64]
_LEAST = 20  # conversions for a baseline of one's own
_TOLD = 1e-6  # how far from its inverse a matrix may be in rows of what is told


@dataclass(frozen=True, eq=False)
class AdditiveHazards:
    """A fitted rate of conversion: a baseline by channel of entry and time since the first touch, and what touches add.

    ``half_life_days``; ``by_half_life``: ``half_life_days, log_likelihood`` of those tried. ``log_likelihood`` is the
    maximum, ``violation`` how far its conditions are missed (share of the conversions).
    """

    sums: TouchSums = field(repr=False)
    half_life_days: float
    by_half_life: pd.DataFrame = field(repr=False)
    log_likelihood: float
    violation: float
    terms: Terms = field(repr=False)
    parts: Floats = field(repr=False)

    @property
    def untold(self) -> tuple[str, ...]:
        """Channels without a coefficient: touched, but never (for any time) after a user's first touch, so that what
        they do cannot be told from who comes by them. What they bring is in the baseline.
        """
        touched = set(self.sums.exposures["channel"]) - set(self.terms.channels)
        return tuple(self.sums.channels[number - 1] for number in sorted(touched))

    @property
    def entangled(self) -> tuple[str, ...]:
        """Channels that the data cannot tell apart from others (always touched together): they share what they bring
        together, and have no interval.
        """
        names = [self.sums.channels[number - 1] for number in self.terms.channels]
        return tuple(
            name for name, told in zip(names, self._division.told[self.terms.baseline :], strict=True) if not told
        )

    @property
    def coefficients(self) -> pd.DataFrame:
        """What a touch does: ``channel, coef`` (conversions per day that a touch adds at its moment), ``se, ci_low,
        ci_high`` (95 %), ``per_touch`` (conversions that a touch brings if the user stays at risk for ever), ``touches,
        later`` (of them, those after the user's first), ``exposure_days``. Coefficients are 0 or more; NaN: not told.
        """
        return self._coefficients(0.95)

    @property
    def baseline(self) -> pd.DataFrame:
        """The rate without a touch's effect: ``entry, from_days, to_days, person_days, rate_per_day``."""
        cells, ends = self.terms.cells, np.array([0.0, *self.sums.cuts_days, np.inf])
        days = self.terms.exposure.sum(axis=0)[: len(cells)]
        names = {number + 1: name for number, name in enumerate(self.sums.channels)}
        everybody = "(any)" if not self.terms.own else "(other)"
        return pd.DataFrame(
            {
                "entry": [names.get(number, everybody) for number in cells["entry"]],
                "from_days": ends[cells["interval"]],
                "to_days": ends[cells["interval"] + 1],
                "person_days": days,
                "rate_per_day": self.parts[: len(cells)] / days,
            }
        )

    def credits(self, *, confidence: float = 0.95, replicates: int = 1_000, seed: int = 0) -> pd.DataFrame:
        """Each conversion divided by the parts that the terms have in the rate at its moment; the parts add up.

        ``channel, model`` (``"survival"``), ``conversions, ci_low, ci_high, value, value_ci_low, value_ci_high, share``
        (of all conversions), ``rank, rank_stability``. Rows: each channel (NaN: not told, in the baseline),
        ``(baseline)``: what would have come without a touch, and ``(unattributed)``: conversions that end no time at
        risk (before any touch, or not the user's first).

        t intervals from the estimate's linear form over buckets of users (infinitesimal jackknife), each scaled to the
        conversions (and value) that were counted; ``rank_stability`` from ``replicates`` of it. At 0 the upper limit is
        that of a coefficient that may be below 0 (at least the rule of three).
        """
        z_value(confidence)  # its words on a confidence that is none
        return credit_table(self._division, self.sums, self.terms.channels, confidence, replicates, seed)

    def shares(self, entry: str, age_days: float, touches: Sequence[tuple[str, float]]) -> pd.DataFrame:
        """One conversion divided: ``channel, age_days, rate_per_day, share`` for each touch, the baseline first.

        ``entry``: the channel of the user's first touch, ``age_days`` ago; ``touches``: channel and age in days of each
        touch up to the conversion. Raises ``ParameterError`` for unknown channels.
        """
        names = {name: number + 1 for number, name in enumerate(self.sums.channels)}
        for name in (entry, *[name for name, _ in touches]):
            if name not in names:
                raise ParameterError(unknown_name("channel", name, self.sums.channels))
        days = self.terms.exposure.sum(axis=0)
        rates = self.parts / days
        own = names[entry] if names[entry] in self.terms.own else OTHERS
        interval = int(np.searchsorted(self.sums.cuts_days, age_days, side="left"))
        cells = self.terms.cells
        here = np.flatnonzero((cells["entry"] == own) & (cells["interval"] == interval))
        effect = dict(zip(self.terms.channels.tolist(), rates[len(cells) :], strict=True))
        ages = [float(age) for _, age in touches]
        added = [effect.get(names[name], 0.0) * 0.5 ** (age / self.half_life_days) for name, age in touches]
        rate = np.array([float(rates[here].sum()), *added])
        return pd.DataFrame(
            {
                "channel": ["(baseline)", *[name for name, _ in touches]],
                "age_days": [np.nan, *ages],
                "rate_per_day": rate,
                "share": rate / rate.sum() if rate.sum() else np.nan,
            }
        )

    @cached_property
    def _division(self) -> Division:
        return _divided(self.sums, self.terms, self.parts)

    def _coefficients(self, confidence: float) -> pd.DataFrame:
        from scipy.special import stdtrit

        first, count = self.terms.baseline, len(self.terms.buckets)
        days = self.terms.exposure.sum(axis=0)[first:]
        frame = self.sums.exposures.groupby("channel")[["touches", "later"]].sum()
        number = np.arange(1, len(self.sums.channels) + 1)
        frame = frame.reindex(number, fill_value=0)
        se = np.where(self._division.told[first:], self._division.spread()[first:], np.nan)
        width = float(stdtrit(count - 1, 0.5 + confidence / 2)) * se if count > 1 else np.full(len(se), np.nan)
        moved = self.parts[first:] + np.minimum(self._division.shift[first:], 0.0)
        few = -math.log1p(-confidence)  # 3 at 95 %: as many could be expected where none was seen
        columns = {
            "coef": self.parts[first:] / days,
            "se": se / days,
            "ci_low": np.maximum(moved - width, 0.0) / days,
            "ci_high": np.where(self.parts[first:] > 0, moved + width, np.maximum(moved + width, few)) / days,
        }
        told = pd.DataFrame(columns, index=self.terms.channels).reindex(number)
        told.insert(0, "channel", list(self.sums.channels))
        exposure = pd.Series(days, index=self.terms.channels).reindex(number)
        return told.assign(
            per_touch=told["coef"] * self.half_life_days / np.log(2),
            touches=frame["touches"],
            later=frame["later"],
            exposure_days=exposure,
        ).reset_index(drop=True)


def additive_hazards(sums: TouchSums, *, half_life_days: float | None = None, least: int = _LEAST) -> AdditiveHazards:
    """How much does a touch of each channel add to the rate of conversion, and for how many conversions does that make?

    The rate of a user at risk, ``t`` after the first touch, is ``mu(t, entry)`` plus the sum over the user's touches so
    far of ``coef[channel] * 2 ** (-age / half_life)``. ``mu``, constant within the intervals of ``sums`` and free for
    each channel of entry with ``least`` conversions or more (the others share one), holds who comes by which channel;
    a touch does the same whether it is the first or a later one. All parts are 0 or more. The likelihood is exact
    (concave, maximised under these bounds) and counts users whose time is not up for the time that they were watched.

    ``half_life_days``: one of ``sums.half_lives_days``; None: the most likely of them. Raises ``ParameterError``.
    Aalen (1989), Lin and Ying (1994) on additive hazards; parts of the rate as credit: Zhang, Wei and Ren (2014).
    """
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise ParameterError(f"least={shorten(repr(least))} must be a whole number, 1 or more.")
    tried = range(len(sums.half_lives_days))
    if half_life_days is not None:
        near = [i for i in tried if np.isclose(sums.half_lives_days[i], half_life_days, rtol=1e-9)]
        if not near:
            raise ParameterError(unknown_name("half_life_days", half_life_days, map(str, sums.half_lives_days)))
        tried = range(near[0], near[0] + 1)
    weight = sums.conversions["weight"].to_numpy(dtype=float)
    best: tuple[float, float, Terms, Floats] | None = None
    found = []
    for i in tried:
        terms = terms_of(sums, i, least)
        z = _scaled(terms)
        parts = maximum(z, weight)
        value = log_likelihood(z, weight, parts) if len(weight) else 0.0
        found.append((sums.half_lives_days[i], value))
        if best is None or value > best[1]:
            best = (sums.half_lives_days[i], value, terms, parts)
    assert best is not None  # there is at least one half-life
    half_life, value, terms, parts = best
    missed = violation(gradient(_scaled(terms), weight, parts), parts, float(weight.sum())) if len(weight) else 0.0
    return AdditiveHazards(
        sums=sums,
        half_life_days=half_life,
        by_half_life=pd.DataFrame(found, columns=["half_life_days", "log_likelihood"]),
        log_likelihood=value,
        violation=missed,
        terms=terms,
        parts=parts,
    )


def _scaled(terms: Terms) -> Any:
    """What acts at each conversion, each column in conversions that the term would bring over its exposure."""
    from scipy.sparse import csr_array, diags_array

    return csr_array(terms.z @ diags_array(1.0 / terms.exposure.sum(axis=0)))


def _divided(sums: TouchSums, terms: Terms, parts: Floats) -> Division:
    """The linear form of the estimate: how parts move with the weight of each bucket of users."""
    z, weight = _scaled(terms), sums.conversions["weight"].to_numpy(dtype=float)
    size, buckets = len(parts), len(terms.buckets)
    free = np.flatnonzero((parts > 0) | (np.arange(size) >= terms.baseline))
    inverse, told, score = np.zeros((size, size)), np.ones(size, dtype=bool), np.zeros((buckets, size))
    shift = np.zeros(size)
    if len(weight) and len(free):
        inner = information(z[:, free], weight, parts[free])
        inverse[np.ix_(free, free)] = pseudo_inverse(inner)
        # What never acts at a conversion brings nothing: that is told.
        acts = np.diag(np.diag(inner) > 0).astype(float)
        told[free] = np.abs(inverse[np.ix_(free, free)] @ inner - acts).max(axis=1) < _TOLD
        each = z.multiply((weight / (z @ parts))[:, None]).tocsr()
        score = (_by_bucket(terms.bucket, buckets) @ each).toarray()
        score -= terms.exposure / terms.exposure.sum(axis=0)
        shift = inverse @ np.where(parts > 0, 0.0, score.sum(axis=0))
    return Division(terms=terms, z=z, parts=parts, moves=score @ inverse, shift=shift, told=told)


def _by_bucket(bucket: npt.NDArray[np.int64], buckets: int) -> Any:
    from scipy.sparse import csr_array

    rows = len(bucket)
    return csr_array((np.ones(rows), (bucket, np.arange(rows))), shape=(buckets, rows))
