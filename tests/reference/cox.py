"""Cox's partial likelihood, its fit and errors by user in plain loops over event times and users.

Efron (1977) and Breslow (1974) for ties; scores by user as in Lin and Wei (1989), for Efron's ties as in Therneau and
Grambsch (2000), section 4.3: of d who fail together, the l-th step leaves the share l / d of each of them out.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Fit", "Row", "evaluate", "fit", "monotone", "robust"]


@dataclass(frozen=True)
class Row:
    """(start, stop] of one user with fixed covariates ``z``; ``event``: it ends with the event that is modelled."""

    start: float
    stop: float
    event: bool
    z: tuple[float, ...]
    user: Hashable = None
    stratum: Hashable = None

    def covers(self, time: float) -> bool:
        return self.start < time <= self.stop or self.start == time == 0


@dataclass(frozen=True)
class Fit:
    """Where the likelihood is largest, with the information there."""

    beta: np.ndarray
    information: np.ndarray
    log_likelihood: float
    null: float
    score: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        return np.linalg.inv(self.information)


def events(rows: Sequence[Row]) -> list[tuple[Hashable, float]]:
    return sorted({(str(row.stratum), row.stop) for row in rows if row.event})


def step(rows: Sequence[Row], stratum: Hashable, time: float) -> tuple[list[Row], list[Row]]:
    """Who is at risk at an event time of a stratum, and who of them fails."""
    here = [row for row in rows if str(row.stratum) == stratum and row.covers(time)]
    return here, [row for row in here if row.event and row.stop == time]


def evaluate(rows: Sequence[Row], beta: np.ndarray, ties: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Log partial likelihood, score and information."""
    k = len(beta)
    value, score, information = 0.0, np.zeros(k), np.zeros((k, k))
    for stratum, time in events(rows):
        here, failing = step(rows, stratum, time)
        for number, row in enumerate(failing):
            share = number / len(failing) if ties == "efron" else 0.0
            s0, s1, s2 = 0.0, np.zeros(k), np.zeros((k, k))
            for other in here:
                z = np.array(other.z)
                weight = math.exp(float(beta @ z)) * (1 - share if other in failing else 1.0)
                s0, s1, s2 = s0 + weight, s1 + weight * z, s2 + weight * np.outer(z, z)
            mean = s1 / s0
            value += float(beta @ np.array(row.z)) - math.log(s0)
            score += np.array(row.z) - mean
            information += s2 / s0 - np.outer(mean, mean)
    return value, score, information


def fit(rows: Sequence[Row], k: int, ties: str = "efron", steps: int = 60) -> Fit | None:
    """Newton's method with step halving; None where it does not come to rest at a strict maximum."""
    beta = np.zeros(k)
    null, score, information = evaluate(rows, beta, ties)
    value = null
    for _ in range(steps):
        if np.linalg.matrix_rank(information, tol=1e-9) < k:
            return None
        move = np.linalg.solve(information, score)
        for _ in range(30):
            if np.abs(beta + move).max() < 30:
                tried, tried_score, tried_information = evaluate(rows, beta + move, ties)
                if tried >= value - 1e-12:
                    break
            move = move / 2
        else:
            return None
        beta, value, score, information = beta + move, tried, tried_score, tried_information
        if np.abs(move).max() < 1e-12 * max(1.0, np.abs(beta).max()):
            break
    settled = np.abs(score).max() < 1e-7 and np.abs(beta).max() < 15
    return Fit(beta, information, value, null, score) if settled else None


def robust(rows: Sequence[Row], beta: np.ndarray, information: np.ndarray, ties: str = "efron") -> np.ndarray:
    """The sandwich covariance with scores summed by user."""
    k = len(beta)
    scores: dict[Hashable, np.ndarray] = {row.user: np.zeros(k) for row in rows}
    for stratum, time in events(rows):
        here, failing = step(rows, stratum, time)
        d = len(failing)
        for number in range(d):
            share = number / d if ties == "efron" else 0.0
            weights = [
                math.exp(float(beta @ np.array(other.z))) * (1 - share if other in failing else 1.0) for other in here
            ]
            s0 = sum(weights)
            mean = sum(w * np.array(other.z) for w, other in zip(weights, here, strict=True)) / s0
            for w, other in zip(weights, here, strict=True):
                z = np.array(other.z)
                scores[other.user] -= (z - mean) * w / s0
                if other in failing:
                    scores[other.user] += (z - mean) / d
    middle = sum(np.outer(one, one) for one in scores.values())
    bread = np.linalg.inv(information)
    return bread @ middle @ bread


def monotone(rows: Sequence[Row], k: int) -> set[int]:
    """The coefficients that the data push to infinity, by linear programmes on the risk sets.

    A direction b in which, at each event time, nobody at risk has a larger b'z than whoever fails never lowers the
    likelihood; it raises it for ever unless it changes nothing. A coefficient without a finite estimate is one that
    such a direction moves.
    """
    from scipy.optimize import linprog

    differences = []
    for stratum, time in events(rows):
        here, failing = step(rows, stratum, time)
        for row in failing:
            differences += [tuple(np.subtract(other.z, row.z)) for other in here if other.z != row.z]
    if not differences:
        return set(range(k))
    matrix = np.array(sorted(set(differences)), dtype=float)
    found = set()
    for term in range(k):
        for sign in (1, -1):
            best = linprog(-sign * np.eye(k)[term], A_ub=matrix, b_ub=np.zeros(len(matrix)), bounds=[(-1, 1)] * k)
            if best.status == 0 and -best.fun > 1e-7:
                found.add(term)
    return found
