"""What a mixture-cure likelihood needs of a risk table: events with their intervals, and who was left, by time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from microconv.stats._curves import Block, Floats

__all__ = ["CureCounts", "at_risk_of", "cure_counts"]

_GROUPS = 2_048


@dataclass(frozen=True)
class CureCounts:
    """The likelihood's data: ``at_zero`` events at time 0; ``events`` at ``low`` = ``high`` (exact) or within (low,
    high]; ``left`` users (negative where they enter) whose observation ends without the event at ``time``.
    """

    n: float
    at_zero: float
    low: Floats
    high: Floats
    events: Floats
    time: Floats
    left: Floats

    @property
    def total(self) -> float:
        """All events."""
        return self.at_zero + float(self.events.sum())

    def thinned(self, most: int) -> CureCounts:
        """The same with at most so many times: events in quantile bins, by the bins' probability; the others on a
        grid, each shared out between its two neighbours so that the mean time stays.
        """
        found = self
        if len(self.events) > most:
            cuts = np.quantile(self.high, np.arange(1, _GROUPS + 1) / _GROUPS, method="higher")
            low, high, events = _grouped(self.high, self.events, np.unique(cuts))
            found = replace(found, low=low, high=high, events=events)
        if len(self.time) > most:
            nodes = np.unique(np.quantile(self.time, np.linspace(0, 1, _GROUPS + 1)))
            at = np.clip(np.searchsorted(nodes, self.time, side="right") - 1, 0, len(nodes) - 2)
            share = (self.time - nodes[at]) / (nodes[at + 1] - nodes[at])
            left = np.zeros(len(nodes))
            np.add.at(left, at, self.left * (1 - share))
            np.add.at(left, at + 1, self.left * share)
            found = replace(found, time=nodes, left=left)
        return found


def at_risk_of(block: Block, at: int | None) -> tuple[Floats, Floats]:
    """At each time how many are at risk of the event, for any cause (``at=None``) or one beside others; the events.

    Who ends otherwise never has the event, and so counts as not having had it for as long as observation would have
    gone on. How long that is the table need not say: with F the Aalen-Johansen curve of the event and S the survival of
    any cause, both just before t, ``n (1 - F) / S`` is the number that would still be watched (Geskus 2011: with these
    weights the product-limit estimate is Aalen-Johansen's, late entry included).
    """
    if at is None:
        return block.n, block.events
    n, events = block.n, block.by_cause[:, at]
    before = np.concatenate([[1.0], block.survival[:-1]])[: len(n)]
    fraction = np.divide(events, n, out=np.zeros_like(n), where=n > 0)
    incidence = np.concatenate([[0.0], np.cumsum(fraction * before)[:-1]])[: len(n)]
    stay = np.maximum(1 - incidence, 0.0)
    return n * np.divide(stay, before, out=np.zeros_like(n), where=before > 0), events


def cure_counts(block: Block, at: int | None, cuts: Floats | None) -> CureCounts:
    """The counts of one pattern, for any cause (``at=None``) or for one beside others (``at_risk_of``)."""
    n, events = at_risk_of(block, at)
    left = n - events - np.append(n[1:], 0.0)
    # A difference of large sums: what is no more than rounding is nobody.
    left = np.where(np.abs(left) < 1e-12 * max(float(n.max(initial=0.0)), 1.0), 0.0, left)
    later, gone = (events > 0) & (block.time > 0), left != 0
    when, d = block.time[later], events[later]
    low, high, grouped = (when, when, d) if cuts is None else _grouped(when, d, cuts)
    return CureCounts(
        n=float(block.entered.sum()),
        at_zero=float(events[block.time == 0].sum()),
        time=block.time[gone],
        left=left[gone],
        low=low,
        high=high,
        events=grouped,
    )


def _grouped(when: Floats, events: Floats, cuts: Floats) -> tuple[Floats, Floats, Floats]:
    """Events within the intervals (a, b] that the cuts make; the last has no end."""
    at = np.searchsorted(cuts, when, side="left")
    edges = np.concatenate([[0.0], cuts, [np.inf]])
    count = np.bincount(at, events, len(edges) - 1)
    some = count > 0
    return edges[:-1][some], edges[1:][some], count[some].astype(float)
