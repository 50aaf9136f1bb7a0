"""What fitted hazard models share: the table, intervals, robust errors, what could not be estimated and why."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.errors import MicroconvWarning, ParameterError, shorten, unknown_name
from microconv.stats._curves import Floats, z_value
from microconv.stats._design import Design
from microconv.stats._likelihood import Likelihood
from microconv.stats._maximum import Maximum, complement, maximise
from microconv.stats._separation import Recession

if TYPE_CHECKING:
    from typing import Self

__all__ = ["HazardFit", "Settled", "fitted", "settle"]

_FURTHEST = 60.0  # the largest logarithm of a ratio between neighbouring values at which a profile is looked for
# e^-18 of a hazard is nothing, and sums of such hazards beside others keep as many digits.
_NEGLIGIBLE = (18.0, 14.0, 10.0)
_SHARP = 32.0  # beyond this width of the linear predictors such sums lose all digits
_FARTHEST = 300.0  # e^300 and its inverse, and their products, are numbers


@dataclass(frozen=True, eq=False)
class Settled:
    """A likelihood (None: no event), its maximum, and what a table says of each term (in units of the covariates).

    ``coef`` is infinite for a term without a finite estimate, NaN where not even its sign is known; ``working`` has
    finite coefficients instead, so far out that the fitted hazards are those of the limit to the last digits.
    """

    likelihood: Likelihood | None
    maximum: Maximum | None
    design: Design
    coef: Floats
    working: Floats
    covariance: Floats
    separated: tuple[str, ...]
    aliased: tuple[str, ...]
    max_iterations: int

    @cached_property
    def limits(self) -> dict[tuple[str, float], tuple[float, float]]:
        """Profile-likelihood limits already found."""
        return {}


@dataclass(frozen=True, eq=False)
class HazardFit:
    """A fitted hazard model.

    * ``table``: a row per term: ``term, coef, se, hazard_ratio, ci_low, ci_high, p_value`` (limits of the ratio, Wald);
    * ``covariance``: of the coefficients, in the table's order; ``errors``: ``"model"`` or ``"robust"``;
    * ``log_likelihood``, and ``null_log_likelihood`` with all coefficients 0;
    * ``design``: a row per term: ``term, column, level, reference, center``;
    * ``separated``: terms without a finite estimate. Their ratio is 0 or infinite, with no standard error; the limit
      on the other side is that of the profile likelihood, and the p-value a likelihood ratio's. Where not even the
      sign is known, all is NaN. All other terms are estimated in the limit;
    * ``aliased``: terms that are constant or repeat each other, all NaN;
    * ``notes``: what could not be estimated and why, in sentences.
    """

    design: pd.DataFrame
    covariance: Floats
    log_likelihood: float
    null_log_likelihood: float
    separated: tuple[str, ...]
    aliased: tuple[str, ...]
    notes: tuple[str, ...]
    confidence: float
    errors: str
    events: float
    _settled: Settled = field(repr=False)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per term, see the class."""
        coef, z = self._settled.coef, z_value(self.confidence)
        se = np.sqrt(np.diag(self.covariance))
        with np.errstate(over="ignore"):  # a ratio beyond 1e308 is infinite
            table = pd.DataFrame(
                {
                    "term": pd.Series(self._settled.design.names, dtype=object),
                    "coef": coef,
                    "se": se,
                    "hazard_ratio": np.exp(coef),
                    "ci_low": np.exp(coef - z * se),
                    "ci_high": np.exp(coef + z * se),
                    "p_value": [
                        2 * NormalDist().cdf(-abs(b / s)) if s > 0 else math.nan for b, s in zip(coef, se, strict=True)
                    ],
                }
            )
        for at in np.flatnonzero(np.isinf(coef)):
            name = self._settled.design.names[at]
            table.loc[at, ["ci_low", "ci_high"]] = self.profile_interval(name)
            table.loc[at, "p_value"] = self.likelihood_ratio_p(name)
        return table

    @property
    def center(self) -> pd.Series:
        """What is taken off each covariate in ``covariates``, ``baseline`` and ``steps``; 0 for flags and levels."""
        return self.design.set_index("term")["center"]

    @property
    def limit_coefficients(self) -> Floats:
        """Finite coefficients for fitted hazards and scores: far out where ``coef`` is infinite, 0 if aliased."""
        return self._settled.working

    @property
    def sharp(self) -> bool:
        """Whether ``limit_coefficients`` leave digits enough to sum scores by ``steps``.

        Not where terms are separated within what others separate: hazards then differ by more than a number holds.
        """
        settled = self._settled
        if settled.likelihood is None or settled.maximum is None or not settled.maximum.directions:
            return True
        return bool(np.ptp(settled.likelihood.z @ (settled.working * settled.design.scale)) < _SHARP)

    def covariates(self, patterns: pd.DataFrame) -> Floats:
        """The centred covariates of rows of pattern columns (rows by terms)."""
        return self._settled.design.covariates(patterns)

    def relative_hazard(self, patterns: pd.DataFrame) -> Floats:
        """``exp(beta'z)`` of rows of pattern columns: the hazard as a multiple of the baseline's."""
        ratio: Floats = np.exp(self.covariates(patterns) @ self.limit_coefficients)
        return ratio

    def profile_interval(self, term: str, confidence: float | None = None) -> tuple[float, float]:
        """The limits of a term's hazard ratio within which the profile likelihood stays close to its maximum.

        The other coefficients are fitted anew at each value. For few events: it need not be symmetric, and a term
        without a finite estimate has one finite limit. NaN where the term cannot be estimated. It does not know
        of robust errors.
        """
        at, level = self._place(term), self.confidence if confidence is None else confidence
        z = z_value(level)
        if np.isnan(self._settled.coef[at]):
            return math.nan, math.nan
        found = self._settled.limits
        if (term, level) not in found:
            found[term, level] = _profile_limits(self._settled, at, z * z / 2)
        return found[term, level]

    def likelihood_ratio_p(self, term: str) -> float:
        """The p-value of the likelihood-ratio test that a term's hazard ratio is 1."""
        from scipy.special import chdtrc

        at, settled = self._place(term), self._settled
        if np.isnan(settled.coef[at]) or settled.likelihood is None or settled.maximum is None:
            return math.nan
        lost = settled.maximum.value - _profile(settled, at)(0.0)
        return float(chdtrc(1, max(2 * lost, 0.0)))

    def _place(self, term: str) -> int:
        names = self._settled.design.names
        if term not in names:
            raise ParameterError(unknown_name("term", term, names))
        return names.index(term)

    def robust(self, b: Floats) -> Self:
        """The same fit with sandwich errors: ``b`` is the sum over users of the outer products of their scores.

        Terms without a finite estimate keep the limits of the profile likelihood.
        """
        middle = np.asarray(b, dtype=float)
        k = len(self.covariance)
        if middle.shape != (k, k) or not np.isfinite(middle).all():
            raise ParameterError(
                f"b must be a finite matrix of {k} x {k}, one row and column per term, but has shape {middle.shape}."
            )
        settled = self._settled
        if settled.maximum is None:
            return replace(self, errors="robust")
        scale = settled.design.scale
        bread = settled.maximum.covariance / np.outer(scale, scale)
        unknown = np.isnan(np.diag(settled.covariance))
        # A score along a direction that is not estimated is rounding, and the bread has nothing there.
        return replace(self, covariance=_unknown(bread @ middle @ bread, unknown), errors="robust")


def settle(likelihood: Likelihood, design: Design, max_iterations: int) -> Settled:
    """The maximum, and which terms it leaves without a finite estimate."""
    k, scale = len(design.terms), design.scale
    if likelihood.sets.events == 0:
        nothing = np.full(k, np.nan)
        return Settled(None, None, design, nothing, np.zeros(k), np.full((k, k), np.nan), (), (), max_iterations)
    maximum = maximise(likelihood, max_iterations)
    known = maximum.determined
    aliased = np.abs(maximum.aliased).max(axis=1, initial=0.0) > 1e-6
    coef = np.where(known, maximum.beta, np.nan)
    lost = np.flatnonzero(~known & ~aliased)
    if len(lost):
        outward = Recession(likelihood, complement(maximum.aliased, k))
        for at in lost:
            low, high = outward.reach(int(at))
            if low == 0 or high == 0:
                coef[at] = np.inf if high > 0 else -np.inf
    names = np.array(design.names, dtype=object)
    return Settled(
        likelihood,
        maximum,
        design,
        coef / scale,
        _far_out(likelihood, maximum) / scale,
        _unknown(maximum.covariance / np.outer(scale, scale), ~known),
        tuple(names[lost]),
        tuple(names[aliased]),
        max_iterations,
    )


def fitted(
    kind: Callable[..., HazardFit],
    settled: Settled,
    null: float,
    value: float,
    confidence: float,
    events: float,
    said: tuple[str, ...] = (),
    **own: object,
) -> HazardFit:
    """The fit as an object, with a warning of what could not be estimated."""
    notes = (*said, *_notes(settled))
    for note in notes:
        warnings.warn(note, MicroconvWarning, stacklevel=3)
    return kind(
        design=settled.design.frame,
        covariance=settled.covariance,
        log_likelihood=value,
        null_log_likelihood=null,
        separated=settled.separated,
        aliased=settled.aliased,
        notes=notes,
        confidence=confidence,
        errors="model",
        events=events,
        _settled=settled,
        **own,
    )


def _unknown(covariance: Floats, unknown: np.ndarray) -> Floats:
    found = np.array(covariance)
    found[unknown], found[:, unknown] = np.nan, np.nan
    return found


def _far_out(likelihood: Likelihood, maximum: Maximum) -> Floats:
    """Coefficients so far along the directions of separation that what vanishes in the limit has vanished.

    Directions within directions multiply how far that is: less is then taken for nothing, so that no hazard leaves the
    range of numbers.
    """
    for nothing in _NEGLIGIBLE:
        beta, reach = maximum.beta.copy(), float(np.ptp(likelihood.z @ maximum.beta))
        for along in reversed(maximum.directions):
            score = np.unique(likelihood.z @ along)
            gaps = np.diff(score)
            gap = float(gaps[gaps > 1e-6].min())
            beta = beta + along * ((nothing + reach) / gap)
            reach = float(np.ptp(likelihood.z @ beta))
        farthest = float(np.abs(likelihood.z @ beta).max(initial=0.0))
        if farthest < _FARTHEST:
            return beta
    return maximum.beta + (beta - maximum.beta) * (_FARTHEST / farthest)


def _profile(settled: Settled, at: int) -> Callable[[float], float]:
    """The largest log likelihood with one coefficient (of the scaled covariate) held at a value."""
    assert settled.likelihood is not None
    likelihood, limit = settled.likelihood, settled.max_iterations
    start: list[Floats | None] = [None]

    def value(held: float) -> float:
        fixed = likelihood.fixed(at, held)
        if fixed.size == 0:
            return fixed.value(np.zeros(0))
        found = maximise(fixed, limit, start[0])
        start[0] = found.beta if not found.directions else None
        return found.value

    return value


def _profile_limits(settled: Settled, at: int, drop: float) -> tuple[float, float]:
    """The hazard ratios at which the profile log likelihood lies ``drop`` below its maximum."""
    from scipy.optimize import brentq

    assert settled.maximum is not None
    assert settled.likelihood is not None
    profile, scale = _profile(settled, at), settled.design.scale[at]
    target, estimate = settled.maximum.value - drop, settled.coef[at] * scale
    gaps = np.diff(np.unique(settled.likelihood.z[:, at]))
    furthest = _FURTHEST / max(float(gaps.min()), 1e-6)
    inward, width = 0.0, 1.0
    if np.isfinite(estimate):
        inward, width = estimate, math.sqrt(2 * drop * settled.covariance[at, at]) * scale
    limits = []
    for side in (-1, 1):
        if estimate == side * np.inf:
            limits.append(side * np.inf)
            continue
        # From a value at which the likelihood is still high, away from the estimate until it no longer is.
        inside, step = inward, width
        while profile(inside) < target and abs(inside) < furthest and not np.isfinite(estimate):
            inside, step = inside - side * step, 2 * step
        outside, step = inside + side * width, width
        while profile(outside) >= target and abs(outside) < furthest:
            inside, step = outside, 2 * step
            outside = outside + side * step
        if abs(inside) >= furthest or abs(outside) >= furthest:
            limits.append(math.nan)
            continue
        limits.append(float(brentq(lambda held: profile(held) - target, inside, outside, xtol=1e-10, rtol=1e-12)))
    with np.errstate(over="ignore"):  # a ratio beyond 1e308 is infinite
        low, high = np.exp(np.array(limits) / scale)
    return float(low), float(high)


def _notes(settled: Settled) -> tuple[str, ...]:
    if settled.likelihood is None:
        return ("Nobody at risk has the event: no hazard ratio can be estimated.",)
    found = []
    if settled.aliased:
        found.append(
            f"No ratio of {_listed(settled.aliased)}: among those at risk when somebody has the event, "
            + (
                "it is the same for all."
                if len(settled.aliased) == 1
                else "these are the same for all, or repeat each other, so that they cannot be told apart."
            )
            + " Leave it out, or all but one."
        )
    names = list(settled.design.names)
    for name in settled.separated:
        coef = settled.coef[names.index(name)]
        if coef == -np.inf:
            found.append(
                f"The hazard ratio of {shorten(repr(name))} runs to 0: whenever somebody has the event, nobody with "
                "more of it does. Only an upper limit can be given (profile likelihood)."
            )
        elif coef == np.inf:
            found.append(
                f"The hazard ratio of {shorten(repr(name))} runs to infinity: whenever somebody has the event, it is "
                "among those with the most of it. Only a lower limit can be given (profile likelihood)."
            )
        else:
            found.append(
                f"No ratio of {shorten(repr(name))}: together with other terms it separates those who have the event "
                "from those who have not, and cannot be told from them. Leave one of them out."
            )
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shorten(repr(name), 40) for name in names[:8]) + (", ..." if len(names) > 8 else "")
