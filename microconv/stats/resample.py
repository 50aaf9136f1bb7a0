"""Resampling of sums by bucket of users: replicates of Poisson weights, and intervals from their spread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import z_value

__all__ = ["poisson_weights", "resampled", "t_limits"]

Floats = npt.NDArray[np.float64]
_WIDEST = 600.0  # beyond e^600 the limits are 0 and 1 to the last digit, and numbers run out
_SCALES = ("identity", "log", "logit")


def poisson_weights(buckets: int, replicates: int = 1_000, seed: int = 0) -> Floats:
    """Weights of buckets, one row per replicate: how often each is drawn, Poisson with mean 1.

    Users fall into buckets by hash, so that buckets are independent and alike; the sums of a replicate are what a log
    of other users would have had. The same ``seed`` gives the same weights.

    Raises ``ParameterError`` on fewer than two buckets or replicates.
    """
    _whole("buckets", buckets, 2)
    _whole("replicates", replicates, 2)
    _whole("seed", seed, 0)
    return np.random.default_rng(int(seed)).poisson(1.0, (int(replicates), int(buckets))).astype(float)


def resampled(weights: Floats, sums: Floats) -> Floats:
    """The sums of each replicate: axes (bucket, ...) become (replicate, ...)."""
    sums = np.asarray(sums, dtype=float)
    return (weights @ sums.reshape(len(sums), -1)).reshape(len(weights), *sums.shape[1:])


def t_limits(
    estimate: float, se: float, buckets: int, *, confidence: float = 0.95, scale: str = "identity"
) -> tuple[float, float]:
    """The t interval of an estimate whose standard error is the spread of its replicates over ``buckets`` buckets.

    ``scale``: on which it is symmetric: ``"identity"``, ``"log"`` (positive numbers) or ``"logit"`` (chances); ``se``
    is of the estimate itself. NaN where the estimate lies on the edge of its scale, or the error is not known. Raises
    ``ParameterError``.

    >>> low, high = t_limits(0.2, 0.02, 256, scale="logit")
    >>> round(low, 4), round(high, 4)
    (0.1635, 0.2423)
    """
    from scipy.special import stdtrit  # the quantile of t alone; scipy.stats takes ten times as long to import

    if scale not in _SCALES:
        raise ParameterError(unknown_name("scale", scale, _SCALES))
    _whole("buckets", buckets, 2)
    z_value(confidence)  # its words on a confidence that is none
    width = float(stdtrit(buckets - 1, 0.5 + confidence / 2)) * se
    top = {"identity": np.inf, "log": np.inf, "logit": 1.0}[scale]
    if not np.isfinite(width) or (scale != "identity" and not 0 < estimate < top):
        return np.nan, np.nan
    if scale == "identity":
        return float(estimate - width), float(estimate + width)
    if scale == "log":
        factor = np.exp(min(width / estimate, _WIDEST))
        return float(estimate / factor), float(estimate * factor)
    odds, factor = estimate / (1 - estimate), np.exp(min(width / (estimate * (1 - estimate)), _WIDEST))
    low, high = odds / factor, odds * factor
    return float(low / (1 + low)), float(high / (1 + high))


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ParameterError(f"{name}={shorten(repr(value))} must be a whole number, {least} or more.")
