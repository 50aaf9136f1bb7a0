"""Errors of curves by cluster: the infinitesimal jackknife from counts, for users who are counted more than once.

A cluster (a user, or a bucket of users) moves an estimate by the sum of what its rows move it. Each such sum is a step
function of the cluster's own rows and, for who is at risk, of one curve for all. So its square over all clusters is
summed row by row, without a table of clusters by times.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.errors import MicroconvWarning, ParameterError, unknown_name
from microconv.stats._curves import Block, Floats

__all__ = [
    "ClusterRows",
    "by_cluster",
    "causes_of",
    "cluster_rows",
    "incidence_variance",
    "log_survival_variances",
    "per_stay",
    "without_cluster",
]

# Sandwich errors of fewer clusters are too small by a tenth and more.
_FEW = 20


@dataclass(frozen=True)
class ClusterRows:
    """The counts of one pattern by cluster, sorted by cluster and time.

    ``place`` is the number of the pattern's last time at or before the row's, -1 before the first. ``came`` are those
    who enter after day 0, ``change`` is by how many the row alters the number at risk.
    """

    cluster: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    by_cause: Floats
    came: Floats
    left: Floats
    change: Floats

    @property
    def size(self) -> int:
        """How many clusters are at risk in the pattern's time."""
        return len(np.unique(self.cluster[self.place >= 0]))

    def moves(self, per_event: Floats, at_risk: Floats) -> Floats:
        """What each row moves a sum: ``per_event`` (time x cause) for its events; for the time at risk of those who
        come, plus, and of those who leave, minus the running sum ``at_risk`` (time)."""
        known = self.place >= 0
        at = np.maximum(self.place, 0)
        moved = (self.by_cause * per_event[at]).sum(axis=1) + at_risk[at] * (self.came - self.left)
        return np.where(known, moved, 0.0)

    def influence(self, per_event: Floats, at_risk: Floats) -> pd.Series:
        """The sum over all rows of each cluster that is ever at risk, by the number of the cluster."""
        known = self.place >= 0
        return pd.Series(self.moves(per_event, at_risk)[known]).groupby(self.cluster[known]).sum()

    def sum_of_squares(self, moves: Sequence[Floats], factors: Sequence[Floats]) -> Floats:
        """The sum over clusters, after each time, of (sum of factor x running sum of moves) squared."""
        running = pd.DataFrame(np.column_stack(moves)).groupby(self.cluster).cumsum().to_numpy()
        new = np.ones(len(running), dtype=bool)
        new[1:] = np.diff(self.cluster) != 0
        before = np.where(new[:, None], 0.0, np.roll(running, 1, axis=0))
        times = len(factors[0])
        total = np.zeros(times)
        for a in range(len(moves)):
            for b in range(a + 1):
                gained = running[:, a] * running[:, b] - before[:, a] * before[:, b]
                product = np.cumsum(np.bincount(self.place + 1, gained, times + 1))[1:]
                total += (1 if a == b else 2) * factors[a] * factors[b] * product
        return np.maximum(total, 0.0)


def without_cluster(rt: RiskTable, cluster: str | None) -> RiskTable:
    """``rt`` with the clusters pooled, as the estimate needs it."""
    if cluster is None:
        return rt
    if not isinstance(cluster, str) or cluster not in rt.pattern_cols:
        raise ParameterError(
            unknown_name("pattern column", cluster, rt.pattern_cols, "cluster= names the one that tells users apart.")
        )
    return rt.pool([name for name in rt.pattern_cols if name != cluster])


def cluster_rows(rt: RiskTable, cluster: str, blocks: Sequence[Block], stacklevel: int = 4) -> list[ClusterRows]:
    """The rows of ``rt`` by cluster, for each of ``blocks``, which are those of ``without_cluster(rt, cluster)``.

    Warns where a pattern has few clusters, because errors by cluster then come out too small.
    """
    frame = rt.frame
    pattern = group_codes(frame[[name for name in rt.pattern_cols if name != cluster]])
    number = group_codes(frame[[cluster]])
    time = frame["time_days"].to_numpy()
    order = np.lexsort((time, number, pattern))
    edges = np.searchsorted(pattern[order], np.arange(len(blocks) + 1))
    entered, censored = frame["entered"].to_numpy(), frame["censored"].to_numpy()
    by_cause = frame[rt.event_cols].to_numpy(dtype=float).reshape(len(frame), len(rt.causes))
    left = by_cause.sum(axis=1) + censored
    found = []
    for block, first, stop in zip(blocks, edges[:-1], edges[1:], strict=True):
        rows = order[first:stop]
        found.append(
            ClusterRows(
                cluster=number[rows],
                place=np.searchsorted(block.time, time[rows], side="right") - 1,
                by_cause=by_cause[rows],
                came=np.where(time[rows] > 0, entered[rows], 0.0),
                left=left[rows],
                change=entered[rows] - left[rows],
            )
        )
    sizes = [rows.size for rows in found]
    if min(sizes) < _FEW:
        few = sum(size < _FEW for size in sizes)
        warnings.warn(
            f"{few} of {len(sizes)} patterns have fewer than {_FEW} clusters {cluster!r} (the smallest {min(sizes)}): "
            "their errors by cluster are too small, and unknown (NaN) for one cluster.",
            MicroconvWarning,
            stacklevel=stacklevel,
        )
    return found


def log_survival_variances(
    blocks: Sequence[Block], rt: RiskTable, cluster: str | None, cause: Hashable | None = None
) -> list[Floats]:
    """The variance of log survival after each time of each block: Greenwood's, or by cluster."""
    if cluster is None:
        return [block.greenwood for block in blocks]
    mine = causes_of(rt, cause)
    parts = cluster_rows(rt, cluster, blocks)
    return [_log_survival(part, block, mine) for part, block in zip(parts, blocks, strict=True)]


def by_cluster(influence: pd.Series) -> float:
    """The standard error of a number that each cluster moves by ``influence``; NaN for one cluster."""
    return float(np.sqrt((influence**2).sum())) if len(influence) > 1 else math.nan


def causes_of(rt: RiskTable, cause: Hashable | None) -> Floats:
    """1 for each cause that counts as the event, 0 for those that censor."""
    return np.array([1.0 if cause is None or label == cause else 0.0 for label in rt.causes])


def per_stay(block: Block) -> Floats:
    """What an event moves minus log survival: one over those who stay; 0 where nobody does."""
    return np.divide(1.0, block.stay, out=np.zeros_like(block.stay), where=block.stay > 0)


def _log_survival(rows: ClusterRows, block: Block, mine: Floats) -> Floats:
    if rows.size < 2:
        return np.full(len(block.time), np.nan)
    moves = rows.moves(per_stay(block)[:, None] * mine, block.greenwood)
    return rows.sum_of_squares([moves, rows.change], [np.ones(len(block.time)), -block.greenwood])


def incidence_variance(rows: ClusterRows, block: Block, at: int) -> Floats:
    """The variance by cluster of the cumulative incidence P of cause number ``at`` after each time.

    A cluster moves P(t) by the sum over u <= t of S(u-) (its events of the cause - its risk x a) / n, less the sum of
    what it moves log survival at u, times P(t) - P(u). The second sum is split at the difference.
    """
    if rows.size < 2:
        return np.full(len(block.time), np.nan)
    n = np.where(block.n > 0, block.n, 1.0)
    before = np.concatenate([[1.0], block.survival[:-1]])[: len(n)]
    a = block.by_cause[:, at] / n
    probability = np.cumsum(before * a)
    stay, greenwood = per_stay(block), block.greenwood
    per_event = np.repeat((probability * stay)[:, None], block.by_cause.shape[1], axis=1)
    per_event[:, at] += before / n
    at_risk = np.cumsum(before * a / n + probability * np.diff(greenwood, prepend=0.0))
    all_causes = np.ones(block.by_cause.shape[1])
    moves = [rows.moves(per_event, at_risk), rows.moves(stay[:, None] * all_causes, greenwood), rows.change]
    return rows.sum_of_squares(moves, [np.ones(len(n)), -probability, probability * greenwood - at_risk])
