"""What the regressions on counts share: which terms can be estimated, errors, intervals, the table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, unknown_name
from microconv.stats._covariates import Design
from microconv.stats._curves import Floats, z_value
from microconv.stats._maximum import Likelihood, Maximum, likelihood_ratio_p, maximise, profile_limit

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Estimated", "Fit", "estimate"]

_FAR = 40.0  # of the linear predictor: e^40 to one is certainty
_ALIASED = 1e-9  # of a term's information that the terms before it leave


@dataclass(frozen=True)
class Estimated:
    """A maximum and what could not be estimated, in the scale of the design."""

    best: Maximum
    free: np.ndarray
    held: Floats
    aliased: np.ndarray


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted regression of the hazard on counts.

    ``.table``: a row per term: ``term, coef, se, hazard_ratio, ci_low, ci_high, p_value, interval`` (``wald``,
    ``robust``, ``profile`` for a separated term, else ``none``). ``covariance``: of the coefficients (robust where
    asked for), NaN for terms without an estimate. ``log_likelihood`` at the estimates, ``null_log_likelihood`` with all
    coefficients 0.

    ``separated``: terms whose coefficient is infinite (in one of their states nobody, or everybody, has the event):
    their hazard ratio is 0 or infinite with a one-sided limit, and the others are estimated in that limit.
    ``aliased``: terms the data say nothing about (constant wherever events happen, or determined by the
    terms before them): NaN.

    ``design``: ``term, column, level, reference, center``. ``steps``: the baseline hazard in pieces, for
    errors by user (see the function that made the fit).
    """

    design: pd.DataFrame
    coefficients: Floats
    covariance: Floats
    log_likelihood: float
    null_log_likelihood: float
    separated: tuple[str, ...]
    aliased: tuple[str, ...]
    confidence: float
    steps: pd.DataFrame = field(repr=False)
    robust_errors: bool = False
    _likelihood: Likelihood | None = field(default=None, repr=False)
    _estimated: Estimated | None = field(default=None, repr=False)
    _scale: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    _naive: Floats = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    @property
    def terms(self) -> list[str]:
        """The names of the terms."""
        return [str(term) for term in self.design["term"]]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per term; see the class."""
        z = z_value(self.confidence)
        se = np.sqrt(np.diag(self.covariance))
        table = pd.DataFrame({"term": self.terms, "coef": self.coefficients, "se": se})
        with np.errstate(over="ignore"):
            table["hazard_ratio"] = np.exp(self.coefficients)
            table["ci_low"] = np.exp(self.coefficients - z * se)
            table["ci_high"] = np.exp(self.coefficients + z * se)
        table["p_value"] = [_two_sided(coef / error) for coef, error in zip(self.coefficients, se, strict=True)]
        table["interval"] = np.where(np.isfinite(se), "robust" if self.robust_errors else "wald", "none")
        for number, term in enumerate(self.terms):
            if term in self.separated:
                low, high = self.profile_interval(term)
                table.loc[number, ["ci_low", "ci_high"]] = low, high
                table.loc[number, "p_value"] = self.likelihood_ratio_p(term)
                table.loc[number, "interval"] = "profile"
        return table

    def profile_interval(self, term: str) -> tuple[float, float]:
        """The hazard ratios at which the profile likelihood of a term has fallen by half a chi-squared quantile.

        For a separated term one limit is 0 or infinite. NaN for an aliased one.
        """
        number, best, free = self._of(term)
        if best is None:
            return math.nan, math.nan
        assert self._likelihood is not None
        assert self._estimated is not None
        chi2 = z_value(self.confidence) ** 2
        scale = float(self._scale[number])
        limits = []
        for upper in (False, True):
            held = self._estimated.held[number]
            if held and (held > 0) == upper:
                limits.append(math.inf if upper else 0.0)
                continue
            width = _FAR * 0.9 if held else float(math.sqrt(chi2 / best.information[number, number])) + 1e-3
            limit = profile_limit(self._likelihood, best, free, number, upper, chi2, width) / scale
            limits.append(math.exp(limit) if limit < 700 else math.inf)
        return limits[0], limits[1]

    def likelihood_ratio_p(self, term: str) -> float:
        """The p-value of a term by the likelihood ratio. NaN for an aliased one."""
        number, best, free = self._of(term)
        if best is None:
            return math.nan
        assert self._likelihood is not None
        return likelihood_ratio_p(self._likelihood, best, free, number)

    def _of(self, term: str) -> tuple[int, Maximum | None, np.ndarray]:
        if term not in self.terms:
            raise ParameterError(unknown_name("term", term, self.terms))
        number = self.terms.index(term)
        if self._estimated is None or self._estimated.aliased[number]:
            return number, None, np.zeros(len(self.terms), dtype=bool)
        return number, self._estimated.best, self._estimated.free

    def robust(self, products: Floats) -> Self:
        """The same fit with errors by user: ``products`` is the sum over users of the outer products of their scores.

        The scores are those of the terms less their ``design.center``, as ``steps`` has it. Lin and Wei (1989).
        """
        k = len(self.terms)
        if np.shape(products) != (k, k):
            raise ParameterError(f"products has the shape {np.shape(products)}, but there are {k} terms.")
        covariance = np.full((k, k), np.nan)
        known = np.ix_(np.isfinite(np.diag(self._naive)), np.isfinite(np.diag(self._naive)))
        covariance[known] = self._naive[known] @ np.asarray(products, dtype=float)[known] @ self._naive[known]
        found = replace(self, covariance=covariance, robust_errors=True)
        return found


def _two_sided(z: float) -> float:
    if math.isnan(z):
        return math.nan
    return math.erfc(abs(z) / math.sqrt(2))


def estimate(likelihood: Likelihood, design: Design, monotone: Floats) -> Estimated:
    """Maximise over the terms that can be estimated. ``monotone``: +1 or -1 for a term that goes to infinity."""
    k = len(design.names)
    held = np.where(monotone != 0, _FAR * np.sign(monotone), 0.0) * np.where(design.scale > 0, design.scale, 1.0)
    start = held.copy()
    open_ = (design.scale > 0) & (monotone == 0)
    value, gradient, information = likelihood(start)
    free, left = np.zeros(k, dtype=bool), information.copy()
    for number in np.flatnonzero(open_):
        # What of this term's information the free terms before it leave (a step of Cholesky's decomposition).
        if (
            left[number, number] > _ALIASED * max(information[number, number], 1e-12)
            and information[number, number] > 1e-12
        ):
            free[number] = True
            left = left - np.outer(left[:, number], left[number]) / left[number, number]
    best = maximise(likelihood, start, free) if free.any() else Maximum(start, value, gradient, information)
    return Estimated(best, free, held, ~free & (monotone == 0))


def coefficients_of(found: Estimated, design: Design) -> tuple[Floats, Floats]:
    """Coefficients and covariance in the terms' own scale."""
    k = len(design.names)
    scale = np.where(design.scale > 0, design.scale, 1.0)
    infinite = np.where(found.held > 0, np.inf, -np.inf)
    coefficients = np.where(found.free, found.best.at / scale, np.where(found.aliased, np.nan, infinite))
    covariance = np.full((k, k), np.nan)
    if found.free.any():
        at = np.ix_(found.free, found.free)
        covariance[at] = np.linalg.inv(found.best.information[at]) / np.outer(scale[found.free], scale[found.free])
    return coefficients, covariance
