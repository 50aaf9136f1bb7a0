"""The terms of an additive hazard, each in units of the conversions that it would bring: columns that sum to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError
from microconv.touch_sums import TouchSums

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["OTHERS", "Terms", "terms_of"]

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
OTHERS = 0  # channels of entry too rare for a baseline of their own


@dataclass(frozen=True, eq=False)
class Terms:
    """Terms of the rate: first the baseline by channel of entry and interval, then the channels that can be told.

    ``cells``: ``entry`` (``OTHERS``: all that have no baseline of their own) and ``interval`` of each baseline term;
    ``channels``: numbers of the channels that have a term. ``exposure``: (bucket, term), person-time or decayed
    exposure in days; ``z``: (conversion, term), what acts at each conversion. ``buckets``: which; ``bucket``: the place
    of each conversion's among them.
    """

    own: frozenset[int]
    cells: pd.DataFrame
    channels: Whole
    exposure: Floats
    z: Any
    buckets: Whole
    bucket: Whole

    @property
    def baseline(self) -> int:
        """How many terms are of the baseline."""
        return len(self.cells)


def terms_of(sums: TouchSums, which: int, least: int) -> Terms:
    """The terms for the half-life number ``which``; channels of entry with fewer than ``least`` conversions share one
    baseline. Raises ``ParameterError`` where nobody was at risk for any time.
    """
    from scipy.sparse import csr_array, hstack

    rows, bins = sums.conversions, len(sums.cuts_days) + 1
    buckets = np.union1d(sums.totals["bucket"], sums.at_risk["bucket"]).astype(np.int64)
    own, days = _person_time(sums, buckets, least, bins)
    known = [OTHERS, *sorted(own)]
    spent = days.sum(axis=0) > 0  # (entry, interval)
    place = np.full(spent.shape, -1)
    place[spent] = np.arange(spent.sum())
    entry = _places(rows["entry"].to_numpy(), known)
    cell = place[entry, rows["interval"].to_numpy(dtype=np.int64)]
    at = np.argwhere(spent)
    cells = pd.DataFrame({"entry": np.array(known)[at[:, 0]], "interval": at[:, 1]})
    base = csr_array((np.ones(len(rows)), (np.arange(len(rows)), cell)), shape=(len(rows), len(cells)))
    channels, exposure = _told(sums, which, buckets)
    return Terms(
        own=frozenset(own),
        cells=cells,
        channels=channels,
        exposure=np.hstack([days[:, spent], exposure]),
        z=hstack([base, _acting(sums, which, channels)], format="csr"),
        buckets=buckets,
        bucket=np.searchsorted(buckets, rows["bucket"].to_numpy(dtype=np.int64)),
    )


def _person_time(sums: TouchSums, buckets: Whole, least: int, bins: int) -> tuple[set[int], Floats]:
    """The channels of entry with a baseline of their own, and days by (bucket, entry, interval), ``OTHERS`` first."""
    frame = sums.at_risk
    columns = [f"days_{k}" for k in range(bins)]
    spent = frame.groupby("entry")[columns].sum()
    counts = sums.conversions["entry"].value_counts()
    # Conversions at the very first instant need somebody at risk right after it.
    own = {int(entry) for entry in spent.index[spent["days_0"] > 0] if counts.get(entry, 0) >= least}
    rest = spent.index.difference(list(own))
    if len(rest) and counts.reindex(rest).sum() > 0 and not spent.loc[rest, "days_0"].sum() > 0:
        own = set()
    if len(sums.conversions) and not spent["days_0"].sum() > 0:
        raise ParameterError(
            "Nobody was at risk for any time: every user's first touch is the last thing that is known of them. An "
            "additive hazard needs touches before the conversions, not at their instant."
        )
    known = [OTHERS, *sorted(own)]
    days = np.zeros((len(buckets), len(known), bins))
    where = np.searchsorted(buckets, frame["bucket"].to_numpy(dtype=np.int64))
    np.add.at(days, (where, _places(frame["entry"].to_numpy(), known)), frame[columns].to_numpy(dtype=float))
    return own, days


def _places(entry: Whole, known: Sequence[int]) -> Whole:
    """The place of each channel of entry among those with a baseline of their own; 0 for the others."""
    place = np.zeros(int(max(entry.max(initial=0), *known)) + 1, dtype=np.int64)
    place[list(known)] = np.arange(len(known))
    found: Whole = place[entry]
    return found


def _told(sums: TouchSums, which: int, buckets: Whole) -> tuple[Whole, Floats]:
    """Channels whose touches can be told from who their users are, and their exposure by (bucket, channel)."""
    frame, k = sums.exposures, len(sums.channels)
    found = np.zeros((len(buckets), k))
    where = np.searchsorted(buckets, frame["bucket"].to_numpy(dtype=np.int64))
    place = (where, frame["channel"].to_numpy(dtype=np.int64) - 1)
    np.add.at(found, place, frame[f"exposure_{which}"].to_numpy(dtype=float))
    later = np.bincount(place[1], frame["later"].to_numpy(dtype=float), minlength=k)
    told = np.flatnonzero((later > 0) & (found.sum(axis=0) > 0))
    return told + 1, found[:, told]


def _acting(sums: TouchSums, which: int, channels: Whole) -> csr_array:
    """(conversion, channel): what acts at each conversion."""
    from scipy.sparse import csr_array

    frame = sums.acting[sums.acting["channel"].isin(channels)]
    at = (frame["row"].to_numpy(dtype=np.int64), np.searchsorted(channels, frame["channel"].to_numpy(dtype=np.int64)))
    shape = (len(sums.conversions), len(channels))
    return csr_array((frame[f"acting_{which}"].to_numpy(dtype=float), at), shape=shape)
