"""Events and time at risk by interval of time: the counts of a hazard that is constant within intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, as_names, group_codes
from microconv.errors import ParameterError, shorten, unknown_name

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ExposureTable", "inner_cuts", "quantile_cuts"]


@dataclass(frozen=True, eq=False)
class ExposureTable:
    """Events by cause and person-time at risk, by pattern and interval of time since the origin.

    ``frame`` has a row per pattern and interval: the ``pattern_cols``; ``from_days``, ``to_days`` (the interval is
    (from, to], the first holds time 0 too, the last goes on for ever); ``d_<cause>``; ``person_time_days``, exact.
    ``cuts`` are the inner cut points in days.
    """

    frame: pd.DataFrame
    pattern_cols: tuple[str, ...]
    causes: tuple[Hashable, ...]
    cuts: tuple[float, ...]

    @property
    def event_cols(self) -> list[str]:
        """The columns of events, one per cause, in the order of ``causes``."""
        return [f"d_{cause}" for cause in self.causes]

    @classmethod
    def from_risk_table(cls, rt: RiskTable, cuts: Sequence[float]) -> Self:
        """Put the exact counts of ``rt`` into the intervals between 0, ``cuts`` (days) and for ever.

        >>> users = pd.DataFrame({"start": [0, 0, 1], "stop": [2, 3, 3], "cause": ["purchase", None, "purchase"]})
        >>> rt = RiskTable.from_intervals(users, "start", "stop", "cause")
        >>> ExposureTable.from_risk_table(rt, [1.5]).frame
           from_days  to_days  d_purchase  person_time_days
        0        0.0      1.5         0.0               3.5
        1        1.5      inf         2.0               3.5
        """
        inner = inner_cuts(cuts)
        edges = np.array([0.0, *inner, np.inf])
        blocks, bins = rt.blocks(), len(inner) + 1
        time = rt.frame["time_days"].to_numpy(dtype=float)
        spent = rt.frame["person_time_days"].to_numpy(dtype=float)
        events = rt.frame[rt.event_cols].to_numpy(dtype=float).reshape(len(time), len(rt.causes))
        place = np.searchsorted(np.array(inner), time, side="left")
        person_time = np.zeros((len(blocks), bins))
        counted = np.zeros((len(blocks), bins, len(rt.causes)))
        for row, block in enumerate(blocks):
            # Between two rows of a pattern the number at risk does not change, so its time at risk grows evenly.
            until = np.interp([0.0, *inner, time[block][-1]], time[block], np.cumsum(spent[block]))
            person_time[row] = np.maximum(np.diff(until), 0.0)
            np.add.at(counted[row], place[block], events[block])
        first = [block.start for block in blocks for _ in range(bins)]
        frame = rt.frame[list(rt.pattern_cols)].iloc[first].reset_index(drop=True)
        frame["from_days"], frame["to_days"] = np.tile(edges[:-1], len(blocks)), np.tile(edges[1:], len(blocks))
        for number, cause in enumerate(rt.causes):
            frame[f"d_{cause}"] = counted[:, :, number].ravel()
        frame["person_time_days"] = person_time.ravel()
        return cls(frame, rt.pattern_cols, rt.causes, inner)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExposureTable):
            return NotImplemented
        mine, others = (self.pattern_cols, self.causes, self.cuts), (other.pattern_cols, other.causes, other.cuts)
        return mine == others and self.frame.equals(other.frame)

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: ExposureTable) -> ExposureTable:
        """The table of both groups of users together."""
        if not isinstance(other, ExposureTable):
            return NotImplemented
        if (self.pattern_cols, self.cuts) != (other.pattern_cols, other.cuts):
            raise ParameterError(
                f"Exposure tables with patterns {self.pattern_cols} and {other.pattern_cols} and cuts "
                f"{shorten(self.cuts)} and {shorten(other.cuts)} do not add: they must be the same."
            )
        causes = tuple(dict.fromkeys([*self.causes, *other.causes]))
        both = pd.concat([self.frame, other.frame], ignore_index=True)
        events = [f"d_{cause}" for cause in causes]
        both[events] = both[events].fillna(0.0)
        return ExposureTable(both, self.pattern_cols, causes, self.cuts).pool(self.pattern_cols)

    def pool(self, keep: str | Sequence[str] = ()) -> ExposureTable:
        """The same counts with only the patterns in ``keep`` told apart."""
        kept = as_names(keep)
        for column in kept:
            if column not in self.pattern_cols:
                raise ParameterError(unknown_name("pattern column", column, self.pattern_cols))
        keys = [*kept, "from_days", "to_days"]
        counted = [*self.event_cols, "person_time_days"]
        code = group_codes(self.frame[[*kept, "from_days"]])  # null is a value of its own, and stays as it is
        _, first = np.unique(code, return_index=True)
        frame = self.frame[keys].iloc[first].reset_index(drop=True)
        frame[counted] = self.frame[counted].groupby(code).sum().to_numpy()
        return ExposureTable(frame, kept, self.causes, self.cuts)


def inner_cuts(cuts: Sequence[float]) -> tuple[float, ...]:
    """Cut points as floats, checked: finite, above 0, ascending."""
    try:
        values = np.asarray(list(cuts), dtype=float)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if values.ndim != 1 or not np.isfinite(values).all() or (values <= 0).any() or (np.diff(values) <= 0).any():
        raise ParameterError(
            f"cuts={shorten(repr(cuts))} must be ascending numbers of days above 0, such as [1, 7, 14]."
        )
    return tuple(values.tolist())


def quantile_cuts(rt: RiskTable, intervals: int = 20, *, cause: Hashable | None = None) -> tuple[float, ...]:
    """Event times that cut the events (of ``cause``, None: of any) into so many intervals of about equal number.

    Fewer where many events share a time. The last event time is no cut, so that no interval is without an event.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 2, 3, 5, 8], "bought": 1})
    >>> quantile_cuts(RiskTable.from_intervals(users, "start", "stop", "bought"), 3)
    (2.0, 3.0)
    """
    if isinstance(intervals, bool) or not isinstance(intervals, int | np.integer) or intervals < 1:
        raise ParameterError(f"intervals={shorten(repr(intervals))} must be a whole number, 1 or more, such as 20.")
    columns = rt.event_cols if cause is None or not rt.causes else [f"d_{cause}"]
    d = rt.frame[columns].to_numpy(dtype=float).sum(axis=1)
    times, place = np.unique(rt.frame["time_days"].to_numpy(dtype=float)[d > 0], return_inverse=True)
    if len(times) < 2:
        return ()
    reached = np.cumsum(np.bincount(place, d[d > 0]))
    wanted = np.arange(1, intervals) / intervals * reached[-1]
    cuts = np.unique(times[np.searchsorted(reached, wanted * (1 - 1e-12))])
    return tuple(cuts[(cuts > 0) & (cuts < times[-1])].tolist())
