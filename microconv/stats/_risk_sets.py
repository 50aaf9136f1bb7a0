"""Who is at risk and who fails at each event time, by pattern: sums over risk sets without a table of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.stats._curves import Floats

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Ints", "RiskSets", "Spans", "risk_sets"]

Ints = npt.NDArray[np.int64]

_DUST = 1e-12  # what sums of fractional weights leave where nobody is at risk, as a part of all who entered
_COLUMNS = 8  # summed at a time, to bound memory


@dataclass(frozen=True, eq=False)
class Spans:
    """How much of each pattern is at risk from event ``first`` up to, not including, event ``last``.

    Sums over patterns at every event, and over events for every pattern, by a tree over the events: a span is cut into
    at most two nodes of each size 1, 2, 4, ..., so that the cost is that of the spans times the logarithm of the
    number of events, however long the spans and however many the patterns. Nothing is ever subtracted, so
    that no digit is lost where some are weighted by millions and others are not.
    """

    events: int
    patterns: int
    pattern: Ints
    first: Ints
    last: Ints
    amount: Floats

    @cached_property
    def _leaves(self) -> int:
        return 1 << max(self.events - 1, 1).bit_length()

    @cached_property
    def _nodes(self) -> Any:
        """The tree's nodes by patterns, sparse."""
        from scipy.sparse import csr_matrix

        low, high = self.first + self._leaves, self.last + self._leaves
        pattern, amount = self.pattern, self.amount
        node, of, how_much = [], [], []
        while len(low):
            odd, end = (low & 1) == 1, (high & 1) == 1
            node += [low[odd], high[end] - 1]
            of += [pattern[odd], pattern[end]]
            how_much += [amount[odd], amount[end]]
            low, high = (low + odd) >> 1, (high - end) >> 1
            more = low < high
            low, high, pattern, amount = low[more], high[more], pattern[more], amount[more]
        shape = (2 * self._leaves, self.patterns)
        if not node:
            return csr_matrix(shape)
        return csr_matrix((np.concatenate(how_much), (np.concatenate(node), np.concatenate(of))), shape=shape)

    @cached_property
    def _turned(self) -> Any:
        return self._nodes.T.tocsr()

    def over_patterns(self, values: Floats) -> Floats:
        """For every event the sum over patterns of the amount at risk times ``values`` (patterns by columns)."""
        found = np.empty((self.events, values.shape[1]))
        for at in range(0, values.shape[1], _COLUMNS):
            tree = self._nodes @ np.ascontiguousarray(values[:, at : at + _COLUMNS])
            size = 1
            while size < self._leaves:
                below = tree[2 * size : 4 * size].reshape(size, 2, -1)
                below += tree[size : 2 * size, None]
                size *= 2
            found[:, at : at + _COLUMNS] = tree[self._leaves : self._leaves + self.events]
        return found

    def over_events(self, values: Floats) -> Floats:
        """For every pattern the sum over events of the amount at risk times ``values`` (events by columns)."""
        found = np.empty((self.patterns, values.shape[1]))
        for at in range(0, values.shape[1], _COLUMNS):
            part = values[:, at : at + _COLUMNS]
            tree = np.zeros((2 * self._leaves, part.shape[1]))
            tree[self._leaves : self._leaves + self.events] = part
            size = self._leaves // 2
            while size:
                tree[size : 2 * size] = tree[2 * size : 4 * size].reshape(size, 2, -1).sum(axis=1)
                size //= 2
            found[:, at : at + _COLUMNS] = self._turned @ tree
        return found

    def highest(self, rank: Ints) -> Ints:
        """For every event the highest ``rank`` of a pattern at risk, -1 where nobody is."""
        nodes = self._nodes
        tree = np.full(2 * self._leaves, -1, dtype=np.int64)
        some = np.flatnonzero(np.diff(nodes.indptr))
        if len(some):
            tree[some] = np.maximum.reduceat(rank[nodes.indices], nodes.indptr[some])
        size = 1
        while size < self._leaves:
            below = tree[2 * size : 4 * size].reshape(size, 2)
            np.maximum(below, tree[size : 2 * size, None], out=below)
            size *= 2
        return tree[self._leaves : self._leaves + self.events]


@dataclass(frozen=True, eq=False)
class RiskSets:
    """The events of a model by stratum and time, and who was at risk at them.

    ``rest`` is what is at risk at each event but does not fail there; ``failing_event``, ``failing_pattern`` and
    ``failing`` are the events by pattern. ``stratum`` and ``time`` tell the events apart. ``at_risk``: those who fail
    are at risk beside ``rest`` (False where ``rest`` is time at risk, which holds theirs as well).
    """

    rest: Spans
    failing_event: Ints
    failing_pattern: Ints
    failing: Floats
    stratum: Ints
    time: Floats
    at_risk: bool = True

    @property
    def events(self) -> int:
        """How many event times there are, over all strata."""
        return len(self.time)

    @property
    def patterns(self) -> int:
        """How many patterns there are."""
        return self.rest.patterns

    @cached_property
    def d(self) -> Floats:
        """How many fail at each event."""
        return np.bincount(self.failing_event, self.failing, minlength=self.events).astype(float)

    @cached_property
    def d_pattern(self) -> Floats:
        """How many of each pattern fail."""
        return np.bincount(self.failing_pattern, self.failing, minlength=self.patterns).astype(float)

    @cached_property
    def fails(self) -> Any:
        """Events by patterns, sparse: how many fail."""
        from scipy.sparse import csr_matrix

        places = (self.failing_event, self.failing_pattern)
        return csr_matrix((self.failing, places), shape=(self.events, self.patterns))

    def highest(self, rank: Ints) -> Ints:
        """For every event the highest ``rank`` among patterns at risk."""
        top = self.rest.highest(rank)
        if self.at_risk:
            np.maximum.at(top, self.failing_event, rank[self.failing_pattern])
        return top

    def within_levels(self, of_pattern: Ints, of_event: Ints) -> Self:
        """The same where an event is compared only with patterns of its own level."""
        width = int(max(of_pattern.max(), of_event.max())) + 1
        group = self.stratum * width + of_event
        order = np.lexsort((np.arange(self.events), group))
        # By stratum and level, within these as before. A span lies within one stratum, and a pattern on one level.
        key = group[order] * (self.events + 1) + order
        home = self.stratum[self.rest.first] * width + of_pattern[self.rest.pattern]
        first = np.searchsorted(key, home * (self.events + 1) + self.rest.first)
        last = np.searchsorted(key, home * (self.events + 1) + self.rest.last)
        place = np.empty(self.events, dtype=np.int64)
        place[order] = np.arange(self.events)
        return type(self)(
            self._spans(first, last, self.events),
            place[self.failing_event],
            self.failing_pattern,
            self.failing,
            group[order],
            self.time[order],
            self.at_risk,
        )

    def only(self, kept: npt.NDArray[np.bool_]) -> Self:
        """The same without the other events."""
        if kept.all():
            return self
        place = np.concatenate([[0], np.cumsum(kept)])
        mine = kept[self.failing_event]
        return type(self)(
            self._spans(place[self.rest.first], place[self.rest.last], int(kept.sum())),
            place[self.failing_event[mine]],
            self.failing_pattern[mine],
            self.failing[mine],
            self.stratum[kept],
            self.time[kept],
            self.at_risk,
        )

    def _spans(self, first: Ints, last: Ints, events: int) -> Spans:
        some = first < last
        return Spans(events, self.patterns, self.rest.pattern[some], first[some], last[some], self.rest.amount[some])


def risk_sets(rt: RiskTable, strata: Sequence[str], cause: Hashable | None) -> tuple[RiskSets, pd.DataFrame]:
    """The risk sets at the events of ``cause`` (None: of any), with the pattern columns of each pattern.

    The number of a stratum is its place in ``group_codes`` of the patterns' ``strata`` columns.
    """
    frame, blocks = rt.frame, rt.blocks()
    starts = np.array([block.start for block in blocks], dtype=np.int64)
    pattern = np.repeat(np.arange(len(blocks)), [block.stop - block.start for block in blocks])
    heads = frame[list(rt.pattern_cols)].iloc[starts].reset_index(drop=True)
    stratum = group_codes(heads[list(strata)])
    by_cause = frame[rt.event_cols].to_numpy(dtype=float).reshape(len(frame), len(rt.causes))
    d = by_cause.sum(axis=1) if cause is None else by_cause[:, rt.causes.index(cause)]
    time, n = frame["time_days"].to_numpy(dtype=float), frame["n"].to_numpy(dtype=float)
    leaving = by_cause.sum(axis=1) + frame["censored"].to_numpy(dtype=float)
    entered = frame["entered"].to_numpy(dtype=float)
    dust = _DUST * np.bincount(pattern, entered, minlength=len(blocks))[pattern]

    times, place = np.unique(time, return_inverse=True)
    key = stratum[pattern] * len(times) + place
    failing = np.flatnonzero(d > 0)
    events, event = np.unique(key[failing], return_inverse=True)
    at = np.searchsorted(events, key)
    here = np.zeros(len(key), dtype=np.int64)
    if len(events):
        here[:] = events[np.minimum(at, len(events) - 1)] == key
    # Until the pattern's next row, or to the end of its stratum.
    until = np.searchsorted(events, (stratum[pattern] + 1) * len(times))
    goes_on = np.flatnonzero(pattern[1:] == pattern[:-1])
    until[goes_on] = at[goes_on + 1]
    stay, after = n - d, n - leaving + np.where(time == 0, 0.0, entered)
    first, last = np.concatenate([at, at + here]), np.concatenate([at + here, until])
    amount = np.concatenate([np.where(stay > dust, stay, 0.0), np.where(after > dust, after, 0.0)])
    some = (first < last) & (amount > 0)
    whose = np.concatenate([pattern, pattern])
    spans = Spans(len(events), len(blocks), whose[some], first[some], last[some], amount[some])
    stratum_of, time_of = events // max(len(times), 1), times[events % max(len(times), 1)]
    return RiskSets(spans, event.astype(np.int64), pattern[failing], d[failing], stratum_of, time_of), heads
