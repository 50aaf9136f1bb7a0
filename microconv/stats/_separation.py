"""Directions in which a likelihood of counts rises for ever: found by linear programmes, a few comparisons at a time.

Along a direction b the likelihood never falls if, at each event time, nobody at risk has a larger b'z than whoever
fails there has on average. Of these comparisons only those are put into a programme that an answer has broken.
"""

from __future__ import annotations

import numpy as np

from microconv.stats._curves import Floats
from microconv.stats._likelihood import Likelihood
from microconv.stats._risk_sets import Ints

__all__ = ["Recession", "levels_along"]

_BROKEN = 1e-7  # of covariates within [-1, 1]
_ROUNDS = 200
_READ = 5_000  # events whose comparisons are read in a round, the most broken first
_MORE = 300  # different comparisons added in a round


class Recession:
    """The directions within ``basis`` along which a likelihood never falls."""

    def __init__(self, likelihood: Likelihood, basis: Floats) -> None:
        self._likelihood = likelihood
        self._basis = basis
        self._rows = np.zeros((0, likelihood.size))
        for one in basis.T:
            self._add(one)
            self._add(-one)

    def direction(self) -> Floats | None:
        """One along which the likelihood rises somewhere, None if there is none."""
        for _ in range(_ROUNDS):
            inner = self._rows @ self._basis
            found = _programme(inner.sum(axis=0), inner)
            if inner.shape[0] and float((inner @ found).sum()) < -1e-6:
                along = self._basis @ found
                if not self._add(along):
                    return along / np.abs(self._likelihood.z @ along).max()
                continue
            # Nothing rises as far as is known. Are there directions of which nothing is known?
            _, size, vectors = np.linalg.svd(inner) if inner.shape[0] else (None, np.zeros(0), np.eye(inner.shape[1]))
            rank = int((size > 1e-9).sum())
            unknown = self._basis @ vectors[rank:].T
            broken = [self._add(side * one) for one in unknown.T for side in (1, -1)]
            if not any(broken):
                return None
        return None

    def reach(self, term: int) -> tuple[float, float]:
        """How far down and up such directions move a coefficient, within -1 and 1."""
        ends = []
        for side in (1.0, -1.0):
            end = 0.0
            for _ in range(_ROUNDS):
                found = self._basis @ _programme(side * self._basis[term], self._rows @ self._basis)
                end = float(found[term])
                if abs(end) < 1e-6 or not self._add(found):
                    break
            ends.append(end if abs(end) >= 1e-6 else 0.0)
        return ends[0], ends[1]

    def _add(self, along: Floats) -> bool:
        """The comparisons that a direction breaks, added; whether there were any."""
        likelihood, sets = self._likelihood, self._likelihood.sets
        size = float(np.abs(likelihood.z @ along).max())
        if size == 0:
            return False
        along = along / size
        score = likelihood.z @ along
        order = np.argsort(score, kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        top = sets.highest(rank)
        excess = score[order[np.maximum(top, 0)]] - (sets.fails @ score) / sets.d
        broken = np.flatnonzero((top >= 0) & (excess > _BROKEN))
        if not len(broken):
            return False
        broken = broken[np.argsort(-excess[broken], kind="stable")][:_READ]
        failing = (sets.fails[broken] @ likelihood.z) / sets.d[broken, None]
        rows = np.unique(np.round(likelihood.z[order[top[broken]]] - failing, 12), axis=0)
        worst = np.argsort(-(rows @ along), kind="stable")[:_MORE]
        self._rows = np.unique(np.concatenate([self._rows, rows[worst]]), axis=0)
        return True


def levels_along(likelihood: Likelihood, along: Floats) -> tuple[Ints, Ints]:
    """Patterns and events by how far along a direction they are: equal numbers, equally far."""
    sets = likelihood.sets
    score = likelihood.z @ along
    failing = (sets.fails @ score) / sets.d
    both = np.concatenate([score, failing])
    order = np.argsort(both, kind="stable")
    level = np.empty(len(both), dtype=np.int64)
    level[order] = np.concatenate([[0], np.cumsum(np.diff(both[order]) > 10 * _BROKEN)])
    return level[: len(score)], level[len(score) :]


def _programme(least: Floats, rows: Floats) -> Floats:
    """The x within -1 and 1 with ``rows x <= 0`` at which ``least'x`` is smallest."""
    from scipy.optimize import linprog

    if not rows.shape[0]:
        return -np.sign(least)
    found = linprog(
        least,
        A_ub=rows,
        b_ub=np.zeros(len(rows)),
        bounds=(-1, 1),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    answer: Floats = np.asarray(found.x, dtype=float)
    return answer
