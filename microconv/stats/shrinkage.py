"""Many estimates of one kind (segments, occurrences): do they differ at all, and what is each one best taken for?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import Floats, z_value

__all__ = ["Heterogeneity", "Shrunk", "heterogeneity", "shrink"]

METHODS = ("reml", "dl")
SCALES = ("identity", "logit", "cloglog")
_ITERATIONS = 200


@dataclass(frozen=True)
class Heterogeneity:
    """Cochran's ``q`` with its ``degrees_of_freedom`` and ``p_value`` (that all estimates are of one number), and the
    share of their spread that is more than chance (``i2``, from q; Higgins and Thompson 2002). NaN below two.
    """

    q: float
    degrees_of_freedom: int
    p_value: float
    i2: float


@dataclass(frozen=True)
class Shrunk:
    """``table``, in the order of the estimates: ``estimate, se, shrunk, shrunk_se, weight`` (how much of the estimate's
    own distance from the common mean is kept; 0 without an estimate), ``ci_low, ci_high`` (of the raw estimate).

    ``mean, mean_se`` and ``tau2`` (the variance between the true values) are on the ``scale`` of the model.
    """

    table: pd.DataFrame
    mean: float
    mean_se: float
    tau2: float
    heterogeneity: Heterogeneity
    scale: str


def heterogeneity(estimates: npt.ArrayLike, se: npt.ArrayLike) -> Heterogeneity:
    """Do estimates differ from each other by more than chance?

    ``se``: their standard errors; the estimates must be independent of each other, as those of disjoint segments are.
    NaN in either leaves an estimate out. Cochran (1954). Raises ``ParameterError``.

    >>> found = heterogeneity([28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18])
    >>> round(found.q, 3), found.degrees_of_freedom, found.i2
    (4.707, 7, 0.0)
    """
    from scipy.stats import chi2

    y, variance = _read(estimates, se)
    known = ~np.isnan(y)
    y, w = y[known], 1 / variance[known]
    freedom = len(y) - 1
    if freedom < 1:
        return Heterogeneity(np.nan, max(freedom, 0), np.nan, np.nan)
    q = float(w @ (y - w @ y / w.sum()) ** 2)
    return Heterogeneity(q, freedom, float(chi2.sf(q, freedom)), max(0.0, 1 - freedom / q) if q > 0 else 0.0)


def shrink(
    estimates: npt.ArrayLike,
    se: npt.ArrayLike,
    *,
    method: str = "reml",
    scale: str = "identity",
    weights: npt.ArrayLike | None = None,
    total: float | None = None,
    confidence: float = 0.95,
) -> Shrunk:
    """What is each of many noisy estimates best taken for, now that the others are known?

    * ``estimates, se``: of disjoint groups, so independent. NaN: not known; its best guess is the common mean.
    * ``method``: how the variance between the true values is found: ``"reml"`` (restricted maximum likelihood) or
      ``"dl"`` (DerSimonian and Laird 1986, from Cochran's Q).
    * ``scale``: of the normal model. ``"logit"`` is for chances, ``"cloglog"`` for chances of the event by a time;
      standard errors are moved there by the delta method. Chances of 0 or 1 have no place there and are refused.
    * ``weights`` and ``total``: what the shrunken values must average to, weighted (the groups' sizes, and the value of
      all users together): they are moved together, on the scale of the model, until they do.

    Empirical Bayes with a normal prior (Efron and Morris 1975; Morris 1983): each estimate keeps ``weight`` = tau2 /
    (tau2 + se^2) of its distance from the mean. ``shrunk_se`` holds the error of the mean but not that of tau2, and of
    the raw estimate's bias towards the mean nothing: over all groups the shrunken values are nearer the truth, and
    intervals of each group are those of its raw estimate, which is why no others are given. Raises ``ParameterError``.
    """
    z = z_value(confidence)
    if method not in METHODS:
        raise ParameterError(unknown_name("method", method, METHODS))
    if scale not in SCALES:
        raise ParameterError(unknown_name("scale", scale, SCALES))
    if (weights is None) != (total is None):
        raise ParameterError("weights= and total= belong together: pass both, or neither.")
    raw, raw_variance = _read(estimates, se)
    y, variance = _to_scale(raw, raw_variance, scale)
    known = ~np.isnan(y)
    if not known.any():
        raise ParameterError("None of the estimates is known, so there is nothing to shrink to.")
    tau2 = _between(y[known], variance[known], method)
    precision = 1 / (variance[known] + tau2)
    mean = float(precision @ y[known] / precision.sum())
    mean_variance = float(1 / precision.sum())
    kept = np.where(known, tau2 / (tau2 + np.where(known, variance, 1.0)), 0.0)
    found = np.where(known, kept * np.nan_to_num(y) + (1 - kept) * mean, mean)
    own = np.where(known, kept * np.nan_to_num(variance), tau2)
    error = np.sqrt(own + (1 - kept) ** 2 * mean_variance)
    if weights is not None and total is not None:
        found = found + _shift(found, weights, total, scale)
    back, slope = _from_scale(found, scale)
    raw_low, raw_high = _limits(raw, raw_variance, y, variance, z, scale)
    table = pd.DataFrame(
        {
            "estimate": raw,
            "se": np.sqrt(raw_variance),
            "shrunk": back,
            "shrunk_se": error * slope,
            "weight": kept,
            "ci_low": raw_low,
            "ci_high": raw_high,
        }
    )
    on_scale = np.sqrt(variance)
    return Shrunk(table, mean, float(np.sqrt(mean_variance)), tau2, heterogeneity(y, on_scale), scale)


def _read(estimates: npt.ArrayLike, se: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Estimates and variances; NaN in both where either is missing."""
    try:
        y, s = np.asarray(estimates, dtype=float), np.asarray(se, dtype=float)
    except (TypeError, ValueError) as error:
        raise ParameterError("estimates and se must hold numbers, NaN where there is none.") from error
    if y.ndim != 1 or y.shape != s.shape:
        raise ParameterError(f"estimates has the shape {y.shape} and se {s.shape}: pass one standard error for each.")
    if np.isinf(y).any() or (s <= 0).any():
        wrong = y[np.isinf(y)][0] if np.isinf(y).any() else s[s <= 0][0]
        raise ParameterError(
            f"{wrong:g} among estimates and se: estimates must be finite and standard errors above 0 (NaN: not known)."
        )
    unknown = np.isnan(y) | np.isnan(s) | np.isinf(s)
    return np.where(unknown, np.nan, y), np.where(unknown, np.nan, s**2)


def _between(y: Floats, variance: Floats, method: str) -> float:
    """The variance between the true values, at least 0."""
    if len(y) < 2:
        return 0.0
    w = 1 / variance
    mean = w @ y / w.sum()
    moment = max(0.0, float((w @ (y - mean) ** 2 - (len(y) - 1)) / (w.sum() - w @ w / w.sum())))
    if method == "dl":
        return moment
    from scipy.optimize import minimize_scalar

    def loss(tau2: float) -> float:
        p = 1 / (variance + tau2)
        return float(-np.log(p).sum() + np.log(p.sum()) + p @ (y - p @ y / p.sum()) ** 2)

    # The likelihood may have a second peak at 0: the best of a grid, then refined around it.
    unit = float(np.median(variance)) + moment
    grid = np.concatenate([[0.0], unit * np.geomspace(1e-6, 1e6, 97)])
    best = int(np.argmin([loss(point) for point in grid]))
    if best == 0:
        return 0.0
    bounds = (grid[best - 1], grid[min(best + 1, len(grid) - 1)])
    peak = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8 * bounds[1]}).x)
    return _polished(y, variance, peak)


def _polished(y: Floats, variance: Floats, tau2: float) -> float:
    """The same by Fisher scoring, which sees the peak more sharply than the likelihood itself, flat there, does."""
    for _ in range(_ITERATIONS):
        p = 1 / (variance + tau2)
        residual = y - p @ y / p.sum()
        score = p**2 @ residual**2 - p.sum() + p @ p / p.sum()
        information = p @ p - 2 * (p**3).sum() / p.sum() + (p @ p / p.sum()) ** 2
        step = score / information
        if tau2 + step <= 0:
            return 0.0
        tau2 += step
        if abs(step) <= 1e-13 * tau2:
            break
    return float(tau2)


def _to_scale(y: Floats, variance: Floats, scale: str) -> tuple[Floats, Floats]:
    if scale == "identity":
        return y, variance
    if ((y <= 0) | (y >= 1)).any():
        raise ParameterError(
            f"estimates holds {y[(y <= 0) | (y >= 1)][0]:g}: scale={scale!r} wants chances above 0 and below 1. Where "
            "nobody or everybody converted count half a user more of each kind, or use scale='identity'."
        )
    inside = ~np.isnan(y)
    p = np.where(inside, y, 0.5)
    moved, slope = (
        (np.log(p / (1 - p)), 1 / (p * (1 - p)))
        if scale == "logit"
        else (np.log(-np.log1p(-p)), -1 / ((1 - p) * np.log1p(-p)))
    )
    return np.where(inside, moved, np.nan), np.where(inside, variance * slope**2, np.nan)


def _from_scale(moved: Floats, scale: str) -> tuple[Floats, Floats]:
    """The values, and the slope of the value in the scale of the model."""
    if scale == "identity":
        return moved, np.ones_like(moved)
    if scale == "logit":
        p = 1 / (1 + np.exp(-moved))
        return p, p * (1 - p)
    hazard = np.exp(moved)
    return -np.expm1(-hazard), hazard * np.exp(-hazard)


def _limits(
    raw: Floats, raw_variance: Floats, y: Floats, variance: Floats, z: float, scale: str
) -> tuple[Floats, Floats]:
    """The interval of each raw estimate, symmetric on the scale of the model; NaN where it has no place there."""
    if scale == "identity":
        width = z * np.sqrt(raw_variance)
        return raw - width, raw + width
    width = z * np.sqrt(variance)
    return _from_scale(y - width, scale)[0], _from_scale(y + width, scale)[0]


def _shift(found: Floats, weights: npt.ArrayLike, total: float, scale: str) -> float:
    """By how much all values must move for their weighted mean to be the total."""
    share = np.asarray(weights, dtype=float)
    if share.shape != found.shape or not np.isfinite(share).all() or (share < 0).any() or not share.sum() > 0:
        raise ParameterError(f"weights={shorten(repr(weights))} must hold a size of 0 or more for each estimate.")
    share = share / share.sum()
    if not isinstance(total, int | float | np.number) or not np.isfinite(total):
        raise ParameterError(f"total={shorten(repr(total))} must be the value of all groups together.")
    if scale == "identity":
        return float(total - share @ found)
    if not 0 < total < 1:
        raise ParameterError(f"total={total:g} is no chance above 0 and below 1, as scale={scale!r} wants.")
    from scipy.optimize import brentq

    return float(brentq(lambda by: share @ _from_scale(found + by, scale)[0] - total, -60, 60, xtol=1e-13))
