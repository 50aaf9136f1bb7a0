"""The tables of counts that ``reduce`` makes and ``stats`` reads. They are frozen and they add up."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, unknown_name

if TYPE_CHECKING:
    from typing import Self

__all__ = ["RiskTable"]


@dataclass(frozen=True)
class RiskTable:
    """Counts at risk by time and pattern: all that survival estimates need to know about the users.

    A risk interval is (start, stop]: its user is at risk just after ``start`` up to and including ``stop``. Time 0
    is the origin, and who enters at 0 is at risk at 0 as well, so that an outcome at the very moment of
    entry counts (as in R's ``survfit`` on right-censored times).

    ``frame`` has a row per time and pattern where something happens, patterns first, sorted by pattern and time:

    * the ``pattern_cols``, one value each (a segment, or which micros are done);
    * ``time_days`` (float, days since the origin);
    * ``n`` (number at risk just before or at that time), ``d_<cause>`` (events by cause at that time), ``censored``
      (intervals that end there without an event), ``entered`` (intervals that start there);
    * ``person_time_days`` (time at risk since the pattern's row before).

    An interval that ends where another of the same pattern starts is one interval: the two cancel, so that splitting
    intervals anywhere (but at the origin) leaves the table as it was.
    """

    frame: pd.DataFrame
    pattern_cols: tuple[str, ...]
    causes: tuple[Hashable, ...]

    @property
    def event_cols(self) -> list[str]:
        """The columns of events, one per cause, in the order of ``causes``."""
        return [f"d_{cause}" for cause in self.causes]

    @classmethod
    def from_intervals(
        cls,
        frame: pd.DataFrame,
        start_col: str,
        stop_col: str,
        cause_col: str,
        pattern_cols: Sequence[str] = (),
        weight_col: str | None = None,
    ) -> Self:
        """Count risk intervals (start, stop], one per row, in days.

        ``cause_col`` holds why the interval ended: 0, False or null is censored, anything else names an event's cause.
        ``weight_col`` counts a row that many times (fractions allowed). Raises ``ParameterError`` on a
        missing column, a time that is no finite number, a stop before its start or at it (0 to 0, an
        outcome at the moment of entry, is allowed) and a negative weight.
        """
        patterns = tuple(pattern_cols)
        for column in (start_col, stop_col, cause_col, *patterns, *([weight_col] if weight_col else [])):
            if column not in frame.columns:
                raise ParameterError(unknown_name("column", column, map(str, frame.columns)))
        start = _finite(frame[start_col], start_col)
        stop = _finite(frame[stop_col], stop_col)
        weight = _finite(frame[weight_col], weight_col) if weight_col else np.ones(len(frame))
        _refuse(frame, (stop < start) | ((stop == start) & (stop != 0)), f"{stop_col!r} must be after {start_col!r}")
        _refuse(frame, weight < 0, f"the weight {weight_col!r} must not be negative")
        cause = frame[cause_col].astype(object)
        ended = (cause.notna() & (cause != 0) & (cause != False)).to_numpy()  # noqa: E712 - False == 0, "" is a label
        causes = tuple(sorted(pd.unique(cause[ended]), key=lambda label: (str(type(label)), label)))
        pattern = frame[list(patterns)]
        columns = {"time_days": stop, "censored": np.where(ended, 0.0, weight), "entered": np.zeros(len(frame))}
        for label in causes:
            columns[f"d_{label}"] = np.where(ended & (cause == label).to_numpy(), weight, 0.0)
        left = pattern.assign(**columns)
        came = pattern.assign(time_days=start, entered=weight)
        return cls.from_counts(pd.concat([came, left]).fillna({c: 0.0 for c in columns}), patterns, causes)

    @classmethod
    def from_counts(
        cls, frame: pd.DataFrame, pattern_cols: Sequence[str] = (), causes: Sequence[Hashable] = ()
    ) -> Self:
        """Build the table from counts of ``entered``, ``censored`` and ``d_<cause>`` by pattern and ``time_days``.

        Rows may repeat a time: they are summed. ``n`` and ``person_time_days`` follow from the counts.
        """
        patterns, events = list(pattern_cols), [f"d_{cause}" for cause in causes]
        counted = ["entered", "censored", *events]
        keys = [*patterns, "time_days"]
        table = (
            frame[keys + counted]
            .astype({column: float for column in counted})
            .groupby(keys, dropna=False, observed=True, sort=True)
            .sum()
            .reset_index()
        )
        both = np.where(table["time_days"] == 0, 0.0, np.minimum(table["entered"], table["censored"]))
        table["entered"] -= both
        table["censored"] -= both
        table = table[(table[counted] != 0).any(axis=1)].reset_index(drop=True)
        table["n"], table["person_time_days"] = _at_risk(table, patterns, events)
        columns = [*patterns, "time_days", "n", *events, "censored", "entered", "person_time_days"]
        return cls(table[columns], tuple(patterns), tuple(causes))

    def __add__(self, other: RiskTable) -> RiskTable:
        """The table of both groups of users together."""
        if not isinstance(other, RiskTable):
            return NotImplemented
        if self.pattern_cols != other.pattern_cols:
            raise ParameterError(
                f"Risk tables with patterns {self.pattern_cols} and {other.pattern_cols} do not add: pool them first."
            )
        causes = tuple(dict.fromkeys([*self.causes, *other.causes]))
        both = pd.concat([self.frame, other.frame], ignore_index=True)
        for cause in causes:
            both[f"d_{cause}"] = both[f"d_{cause}"].fillna(0.0)
        return RiskTable.from_counts(both, self.pattern_cols, causes)

    def pool(self, keep: Sequence[str] = ()) -> RiskTable:
        """The same counts with only the patterns in ``keep`` told apart."""
        for column in keep:
            if column not in self.pattern_cols:
                raise ParameterError(unknown_name("pattern column", column, self.pattern_cols))
        return RiskTable.from_counts(self.frame, tuple(keep), self.causes)


def _at_risk(table: pd.DataFrame, patterns: list[str], events: list[str]) -> tuple[pd.Series, pd.Series]:
    """Numbers at risk and person-time by prefix sums within each pattern."""
    net = table["entered"] - table["censored"] - table[events].sum(axis=1)
    block = (
        table.groupby(patterns, dropna=False, observed=True, sort=False).ngroup()
        if patterns
        else pd.Series(0, index=table.index)
    )
    # Fractional weights leave rounding dust where the risk set is empty; counts do not.
    before = (net.groupby(block).cumsum() - net).round(9)
    at_risk = before + np.where(table["time_days"] == 0, table["entered"], 0.0)
    if (before < -1e-6).any():
        row = table.loc[before.idxmin()]
        raise ParameterError(f"More intervals end than have started by time {row['time_days']}: the counts do not add up.")
    return at_risk, before * table["time_days"].groupby(block).diff().fillna(0.0)


def _finite(column: pd.Series, name: str | None) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    _refuse(column.to_frame(), ~np.isfinite(values), f"{name!r} must be a finite number of days")
    return values


def _refuse(frame: pd.DataFrame, bad: np.ndarray, rule: str) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ParameterError(f"{rule}: {int(bad.sum())} rows break this, the first is {frame.iloc[first].to_dict()}.")
