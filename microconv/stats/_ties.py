"""Efron's steps at a tied event time: of d who fail together, the l-th step leaves the share l / d of each out."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from microconv.stats._curves import Floats

__all__ = ["Steps", "efron_shares", "tied_steps"]

Steps = tuple[npt.NDArray[np.int64], Floats, Floats]

_DIRECT = 64  # up to here every step is taken by itself
_BLOCK = 32
_NODES = 12


def tied_steps(d: Floats, ties: str) -> Steps:
    """The steps of all event times: which time, which share of those who fail is still at risk, how many steps alike.

    Breslow's method takes one step that stands for all d, with nobody left out.
    """
    every = np.arange(len(d), dtype=np.int64)
    if ties == "breslow" or not len(d) or d.max() <= 1:
        return every, np.ones(len(d)), d
    times, shares, weights = [], [], []
    sizes, which = np.unique(d, return_inverse=True)
    order = np.argsort(which, kind="stable")
    edges = np.searchsorted(which[order], np.arange(len(sizes) + 1))
    for number, size in enumerate(sizes):
        rows = order[edges[number] : edges[number + 1]]
        share, weight = efron_shares(float(size))
        times.append(np.repeat(rows, len(share)))
        shares.append(np.tile(1 - share, len(rows)))
        weights.append(np.tile(weight, len(rows)))
    return np.concatenate(times), np.concatenate(shares), np.concatenate(weights)


@lru_cache(maxsize=4096)
def efron_shares(d: float) -> tuple[Floats, Floats]:
    """The shares l / d for l = 0, 1, ... below d, and how many steps each stands for; the latter add up to d.

    A fraction (from weights) is a last step of that size. Of many steps a few stand for all: between the last ones,
    taken singly, and the first, blocks that double in length are replaced by the nodes of their own Gauss quadrature,
    exact for polynomials of degree 23. What is summed is a smooth function of the distance to l = d (a logarithm or a
    power of it plus a constant that is not negative), so that no digit of double precision is lost.
    """
    whole = math.ceil(d - 1e-9)
    size = np.minimum(1.0, d - np.arange(max(whole - _BLOCK, 0), whole))
    if whole <= _DIRECT:
        steps = np.arange(whole, dtype=float)
        return steps / d, np.minimum(1.0, d - steps)
    parts = [(np.arange(whole - _BLOCK, whole, dtype=float), size)]
    stop, length = whole - _BLOCK, _BLOCK
    while stop > 0:
        length = min(length, stop)
        node, weight = _gauss(length)
        parts.append((stop - length + node, weight))
        stop -= length
        length *= 2
    at = np.concatenate([part[0] for part in parts])
    return at / d, np.concatenate([part[1] for part in parts])


@lru_cache(maxsize=4096)
def _gauss(length: int) -> tuple[Floats, Floats]:
    """Nodes and weights for sums over 0, 1, ..., length - 1 (Gauss quadrature of discrete Chebyshev polynomials)."""
    if length <= _NODES:
        return np.arange(length, dtype=float), np.ones(length)
    k = np.arange(1, _NODES, dtype=float)
    beside = np.sqrt(k**2 * (float(length) ** 2 - k**2) / (4 * (4 * k**2 - 1)))
    values, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return values + (length - 1) / 2, length * vectors[0] ** 2
