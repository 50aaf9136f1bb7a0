"""The most likely parts of an additive rate: sum of w log(z x) less sum of x, over x of 0 or more (concave)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from microconv.errors import ParameterError

__all__ = ["gradient", "information", "log_likelihood", "maximum", "pseudo_inverse", "violation"]

Floats = npt.NDArray[np.float64]
_WARM = 25  # steps of expectation and maximisation before Newton's
_MOST = 500
_SETTLED = 1e-10  # of the conversions: how far a part may still be from its condition
_NULL = 1e-10  # directions whose information is less than this share are not told by the data
_HALVINGS = 30


def log_likelihood(z: Any, weight: Floats, x: Floats) -> float:
    """Of parts ``x``, each in the conversions that it brings: columns of ``z`` are divided by their exposure."""
    rate = z @ x
    if (rate <= 0).any():
        return -np.inf
    return float(weight @ np.log(rate) - x.sum())


def gradient(z: Any, weight: Floats, x: Floats) -> Floats:
    """Its derivatives: observed over expected conversions of each part, less one."""
    found: Floats = z.T @ (weight / (z @ x)) - 1.0
    return found


def information(z: Any, weight: Floats, x: Floats) -> Floats:
    """Its second derivatives, negative."""
    scaled = z.multiply((np.sqrt(weight) / (z @ x))[:, None]).tocsr()
    found: Floats = (scaled.T @ scaled).toarray()
    return found


def violation(slope: Floats, x: Floats, total: float) -> float:
    """How far ``x`` is from the conditions of a maximum (Karush, Kuhn, Tucker), as a share of the conversions: the
    slope times the part is 0, and no slope at a part of 0 is above 0.
    """
    away = np.maximum(np.abs(slope * x), np.maximum(slope, 0.0) * np.where(x > 0, 0.0, 1.0))
    return float(away.max(initial=0.0)) / max(total, 1.0)


def maximum(z: Any, weight: Floats) -> Floats:
    """The parts of the maximum; they sum to the conversions. Raises ``ParameterError`` where it is not found.

    Steps of expectation and maximisation never leave the region and always climb; Newton's within the parts that are
    not held at 0 finish, and where such a step does not climb the other kind stands in for it.
    """
    total = float(weight.sum())
    x = np.full(z.shape[1], total / max(z.shape[1], 1))
    if not total:
        return np.zeros(z.shape[1])
    for _ in range(_WARM):
        x = x * (gradient(z, weight, x) + 1.0)
    for _ in range(_MOST):
        slope = gradient(z, weight, x)
        if violation(slope, x, total) <= _SETTLED:
            return x
        moved = _newton(z, weight, x, slope, total)
        x = moved if moved is not None else x * (slope + 1.0)
    raise ParameterError(
        f"The additive hazard did not settle after {_MOST} steps. Give fewer channels, or a shorter half_life."
    )


def _newton(z: Any, weight: Floats, x: Floats, slope: Floats, total: float) -> Floats | None:
    """Newton's step for the parts that are free, cut at 0; None where it does not climb."""
    held = (x <= 1e-9 * total) & (slope <= 0)
    free = np.flatnonzero(~held)
    if not len(free):
        return None
    start = np.where(held, 0.0, x)
    value = log_likelihood(z, weight, start)
    if not np.isfinite(value):
        return None
    slope = gradient(z, weight, start)
    step = np.zeros_like(x)
    step[free] = pseudo_inverse(information(z[:, free], weight, start[free])) @ slope[free]
    before, size = log_likelihood(z, weight, x), 1.0
    for _ in range(_HALVINGS):
        candidate = np.maximum(start + size * step, 0.0)
        if log_likelihood(z, weight, candidate) >= before - 1e-12 * abs(before) and (candidate != x).any():
            return candidate
        size /= 2
    return None


def pseudo_inverse(matrix: Floats) -> Floats:
    """The inverse, where the data tell; 0 in directions where they do not, so that equal columns share alike."""
    size = np.diag(matrix)
    scale = np.divide(1.0, np.sqrt(size), out=np.zeros(len(size)), where=size > 0)
    values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
    told = values > _NULL * max(values.max(initial=0.0), 1e-300)
    found: Floats = ((vectors[:, told] / values[told]) @ vectors[:, told].T) * np.outer(scale, scale)
    return found
