"""Sums over those at risk at each event time, from counts: what a partial likelihood is made of."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from microconv.counts import RiskTable
from microconv.stats._curves import Floats, read_blocks
from microconv.stats._groups import at_risk

__all__ = ["RiskSets", "risk_sets"]

_DENSE = 40_000_000  # cells of times x patterns that are kept as a matrix: 320 MB


@dataclass(frozen=True)
class RiskSets:
    """One stratum: event times, and who of its patterns is at risk and fails at them.

    ``patterns`` numbers the patterns as the design does. ``n`` (times x patterns) holds those at risk, or is None
    where that would be too large: then ``change`` (time, pattern, by how many more are at risk after it) stands for it.
    ``failed`` are the cells with events: time, pattern, how many.
    """

    stratum: int
    time: Floats
    events: Floats
    patterns: npt.NDArray[np.int64]
    n: Floats | None
    change: tuple[Floats, npt.NDArray[np.int64], Floats]
    failed: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]

    def at_risk_sums(self, values: Floats) -> Floats:
        """For each event time the sum of ``values`` (patterns x columns) over those at risk."""
        mine = values[self.patterns]
        if self.n is not None:
            return self.n @ mine
        when, who, more = self.change
        place = np.searchsorted(when, self.time, side="left")
        result = np.empty((len(self.time), values.shape[1]))
        for column in range(values.shape[1]):
            running = np.concatenate([[0.0], np.cumsum(more * mine[who, column])])
            result[:, column] = running[place]
        return result

    def failed_sums(self, values: Floats) -> Floats:
        """The same over those who fail at each event time."""
        at, who, count = self.failed
        mine = values[self.patterns]
        result = np.zeros((len(self.time), values.shape[1]))
        for column in range(values.shape[1]):
            result[:, column] = np.bincount(at, count * mine[who, column], minlength=len(self.time))
        return result

    def exposure(self, steps: Floats, moved: Floats) -> tuple[Floats, Floats]:
        """For each pattern the sums over event times of its users at risk times ``steps``, and times ``moved``."""
        if self.n is not None:
            return self.n.T @ steps, self.n.T @ moved
        when, who, more = self.change
        place = np.searchsorted(self.time, when, side="right")
        size = len(self.patterns)
        # Whoever is there from some time on meets all steps after it.
        later = np.column_stack([steps, moved])
        after = np.vstack([np.cumsum(later[::-1], axis=0)[::-1], np.zeros((1, later.shape[1]))])[place]
        sums = [
            np.bincount(who, more * after[:, column], minlength=size).astype(float) for column in range(later.shape[1])
        ]
        return sums[0], np.column_stack(sums[1:])


def risk_sets(rt: RiskTable, stratum: npt.NDArray[np.int64], cause: Hashable | None) -> list[RiskSets]:
    """The risk sets of each stratum at the times where somebody in it has the event; ``stratum`` of each pattern."""
    blocks = read_blocks(rt, cause)
    found = []
    for number in range(int(stratum.max()) + 1):
        members = np.flatnonzero(stratum == number)
        mine = [blocks[at] for at in members]
        times = np.unique(np.concatenate([block.time[block.events > 0] for block in mine]))
        if not len(times):
            continue
        at, who, count = [], [], []
        for place, block in enumerate(mine):
            rows = np.flatnonzero(block.events > 0)
            at.append(np.searchsorted(times, block.time[rows]))
            who.append(np.full(len(rows), place))
            count.append(block.events[rows])
        failed = (np.concatenate(at), np.concatenate(who).astype(np.int64), np.concatenate(count))
        dense = len(times) * len(mine) <= _DENSE and len(times) * len(mine) <= 64 * len(rt.frame) + 1_000_000
        n = np.column_stack([at_risk(block, times) for block in mine]) if dense else None
        change = (np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0))
        if n is None:
            when = np.concatenate([block.time for block in mine])
            more = np.concatenate([block.entered - block.events - block.censored for block in mine])
            by = np.repeat(np.arange(len(mine)), [len(block.time) for block in mine])
            # Who enters at 0 is at risk at 0: just before it.
            first = [np.where(block.time == 0, block.entered, 0.0) for block in mine]
            early = np.concatenate(first)
            when = np.concatenate([np.full(len(when), -1.0), when])
            by, more = np.concatenate([by, by]), np.concatenate([early, more - early])
            kept = more != 0
            order = np.argsort(when[kept], kind="stable")
            change = (when[kept][order], by[kept][order], more[kept][order])
        events = np.bincount(failed[0], failed[2], minlength=len(times)).astype(float)
        found.append(RiskSets(number, times, events, members, n, change, failed))
    return found
