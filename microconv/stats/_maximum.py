"""Where a likelihood of counts is largest, also where that is at infinity or not at a single point.

Directions that change nothing (a constant, terms that repeat each other) are taken out first. Directions in which the
likelihood rises for ever (separation) are found by linear programmes; in the limit an event is compared only with those
who are as far along such a direction as whoever fails, and that likelihood is fitted for the rest (Geyer 2009,
"Likelihood inference in exponential families and directions of recession").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microconv.errors import ParameterError
from microconv.stats._curves import Floats
from microconv.stats._likelihood import Likelihood
from microconv.stats._separation import Recession, levels_along

__all__ = ["Maximum", "complement", "maximise"]

_CONSTANT = 1e-11  # variance within risk sets, as a part of the sum of squares, below which a covariate is constant
_COLLINEAR = 1e-9  # eigenvalue of the information, scaled like a correlation, below which it is zero
_STEP = 1e-10  # of the coefficients of covariates within [-1, 1]; Newton's next step is of the order of its square
_ROUNDING = 1e-7  # steps below this that no longer shrink are rounding
_FLAT = 1e-12  # as _COLLINEAR, at the maximum
_LEAP = 8.0  # the most by which one iteration may move a linear predictor
_LATE = 12  # iterations after which a fit that still moves is asked whether it is separated
_FAR = 30.0  # or the width of the linear predictors that raises the question


@dataclass(frozen=True, eq=False)
class Maximum:
    """The largest value of a likelihood and where it is.

    ``likelihood``: the one that is maximised, in the limit along ``directions`` where there are any; ``basis``: an
    orthogonal basis of the coefficients that are determined; ``beta``: within them; ``aliased``: a basis of the
    directions that change nothing from the beginning; ``information``: at ``beta``.
    """

    likelihood: Likelihood
    beta: Floats
    value: float
    information: Floats
    basis: Floats
    aliased: Floats
    directions: tuple[Floats, ...]

    @property
    def covariance(self) -> Floats:
        """The inverse of the information, within what is determined."""
        inner = self.basis.T @ self.information @ self.basis
        scale = 1 / np.sqrt(np.diag(inner))
        inverse = np.linalg.inv(inner * np.outer(scale, scale)) * np.outer(scale, scale)
        found: Floats = self.basis @ inverse @ self.basis.T
        return found

    @property
    def determined(self) -> np.ndarray:
        """Which coefficients have a finite estimate of their own."""
        projected = self.basis @ self.basis.T
        return np.abs(projected - np.eye(len(projected))).max(axis=1, initial=0.0) < 1e-6


def maximise(likelihood: Likelihood, max_iterations: int, start: Floats | None = None) -> Maximum:
    """The maximum of a likelihood with at least one event."""
    k = likelihood.size
    aliased = _free_directions(likelihood)
    basis = complement(aliased, k)
    directions: list[Floats] = []
    beta = np.zeros(k) if start is None else basis @ (basis.T @ start)
    found = None if _suspicious(likelihood) else _climb(likelihood, basis, beta, max_iterations, doubtful=True)
    while found is None:
        along = Recession(likelihood, basis).direction()
        if along is not None:
            directions.append(along)
            likelihood = likelihood.within_levels(*levels_along(likelihood, along))
            basis = complement(_free_directions(likelihood), k)
        found = _climb(likelihood, basis, np.zeros(k), max_iterations, doubtful=along is not None)
        if found is None and along is None:
            raise ParameterError(
                f"The fit did not settle within max_iterations={max_iterations} steps. Give more, or look for a "
                "covariate with extreme values."
            )
    beta, value, information = found
    return Maximum(likelihood, beta, value, information, basis, aliased, tuple(directions))


def complement(directions: Floats, k: int) -> Floats:
    """An orthogonal basis of what is at right angles to ``directions`` (orthogonal columns of length ``k``)."""
    if not directions.shape[1]:
        return np.eye(k)
    left, _, _ = np.linalg.svd(directions, full_matrices=True)
    found: Floats = left[:, directions.shape[1] :]
    return found


def _free_directions(likelihood: Likelihood) -> Floats:
    """A basis (in columns) of the coefficients that change nothing: constant within every risk set."""
    k = likelihood.size
    if likelihood.sets.events == 0 or k == 0:
        return np.eye(k)
    _, _, information = likelihood.derivatives(np.zeros(k))
    size = np.abs(likelihood.z).max(axis=0, initial=0.0) ** 2 * likelihood.sets.d.sum()
    variance = np.diag(information)
    constant = variance <= _CONSTANT * size
    scale = 1 / np.sqrt(np.where(constant, 1.0, variance))
    scaled = information * np.outer(scale, scale)
    scaled[constant], scaled[:, constant] = 0.0, 0.0
    values, vectors = np.linalg.eigh(scaled)
    free = vectors[:, values < _COLLINEAR] * scale[:, None]
    if not free.shape[1]:
        return free
    orthogonal, _ = np.linalg.qr(free)
    # A term that takes part by rounding alone takes no part.
    orthogonal[np.abs(orthogonal).max(axis=1) < 1e-7] = 0.0
    found: Floats = np.linalg.qr(orthogonal)[0]
    return found


def _suspicious(likelihood: Likelihood) -> bool:
    """Whether everybody who fails is at one end of some covariate: the commonest kind of separation."""
    failing = likelihood.z[likelihood.sets.d_pattern > 0]
    low, high = likelihood.z.min(axis=0), likelihood.z.max(axis=0)
    return bool((((failing == low).all(axis=0) | (failing == high).all(axis=0)) & (low < high)).any())


def _climb(
    likelihood: Likelihood, basis: Floats, start: Floats, max_iterations: int, *, doubtful: bool
) -> tuple[Floats, float, Floats] | None:
    """The maximum by Newton's method; None where that does not settle, or only because all is flat far out."""
    found = _newton(likelihood, basis, start, max_iterations, doubtful=doubtful)
    return None if found is None or _flat(found[2], basis) else found


def _newton(
    likelihood: Likelihood, basis: Floats, start: Floats, max_iterations: int, *, doubtful: bool
) -> tuple[Floats, float, Floats] | None:
    """Newton's method with step halving; None where it has not settled, or looks as if it never would."""
    beta = start
    value, score, information = likelihood.derivatives(beta)
    before = np.inf
    for iteration in range(1, max_iterations + 1):
        if not basis.shape[1]:
            return beta, value, information
        step = _step(score, information, basis) if np.isfinite(value) else None
        if step is None:
            return None
        moved, gain = float(np.abs(likelihood.z @ step).max()), float(score @ step)
        if moved > _LEAP:
            step, moved = step * (_LEAP / moved), _LEAP
        # Close to the maximum the gain is below what the value can show: the step is right there.
        if gain > 1e-7 * (1 + abs(value)):
            for _ in range(40):
                if likelihood.value(beta + step) >= value:
                    break
                step, moved = step / 2, moved / 2
        beta = beta + step
        value, score, information = likelihood.derivatives(beta)
        small = np.abs(step).max() <= _STEP * (1 + np.abs(beta).max()) and moved <= 10 * _STEP
        if small or (moved < _ROUNDING and moved > before / 2):
            return beta, value, information
        before = moved
        if doubtful and moved > 0.1 and (iteration >= _LATE or np.ptp(likelihood.z @ beta) > _FAR):
            return None
    return None


def _flat(information: Floats, basis: Floats) -> bool:
    """Whether the likelihood is flat in some direction as far as double precision can tell: no maximum, but a limit."""
    inner = basis.T @ information @ basis
    scale = 1 / np.sqrt(np.maximum(np.diag(inner), np.finfo(float).tiny))
    return bool(len(inner)) and float(np.linalg.eigvalsh(inner * np.outer(scale, scale))[0]) < _FLAT


def _step(score: Floats, information: Floats, basis: Floats) -> Floats | None:
    """Newton's step within ``basis``; None where the information is no longer positive."""
    inner = basis.T @ information @ basis
    variance = np.diag(inner)
    if not (variance > 0).all():
        return None
    scale = 1 / np.sqrt(variance)
    try:
        lower = np.linalg.cholesky(inner * np.outer(scale, scale))
    except np.linalg.LinAlgError:
        return None
    half = np.linalg.solve(lower, scale * (basis.T @ score))
    step: Floats = basis @ (scale * np.linalg.solve(lower.T, half))
    return step
