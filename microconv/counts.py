"""The tables of counts that ``reduce`` makes and ``stats`` reads. They are frozen and they add up."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name

if TYPE_CHECKING:
    from typing import Self

__all__ = ["RiskTable", "as_names", "group_codes"]

_OWN_COLUMNS = ("time_days", "n", "censored", "entered", "person_time_days")
# Sums of fractional weights leave rounding dust where a risk set is empty. Counts smaller than this part of all that
# entered are dust; whole numbers have none.
_DUST = 1e-12
_BOOKKEEPING = 1e-9


@dataclass(frozen=True, eq=False)
class RiskTable:
    """Counts at risk by time and pattern: all that survival estimates need to know about the users.

    A risk interval is (start, stop]: its user is at risk just after ``start`` up to and including ``stop``. Time 0
    is the origin, and who enters at 0 is at risk at 0 as well, so that an outcome at the very moment of
    entry counts (as in R's ``survfit`` on right-censored times).

    ``frame`` has a row per time and pattern where something happens, patterns first, sorted by pattern and time:

    * the ``pattern_cols``, one value each (a segment, or which micros are done; null is a value of its own, the last);
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
        missing column, a time that is no finite number of days or lies before the origin, a stop before its start or
        at it (0 to 0, an outcome at the moment of entry, is allowed), a negative weight, and causes
        that cannot be told apart in a column name (1 and ``"1"``).

        >>> users = pd.DataFrame({"start": [0, 0, 1], "stop": [2, 3, 3], "cause": ["purchase", None, "purchase"]})
        >>> RiskTable.from_intervals(users, "start", "stop", "cause").frame
           time_days    n  d_purchase  censored  entered  person_time_days
        0        0.0  2.0         0.0       0.0      2.0               0.0
        1        1.0  2.0         0.0       0.0      1.0               2.0
        2        2.0  3.0         1.0       0.0      0.0               3.0
        3        3.0  2.0         1.0       1.0      0.0               2.0
        """
        patterns = as_names(pattern_cols)
        _require(frame, [start_col, stop_col, cause_col, *patterns, *([weight_col] if weight_col is not None else [])])
        start = _finite(frame, start_col)
        stop = _finite(frame, stop_col)
        weight = _finite(frame, weight_col) if weight_col is not None else np.ones(len(frame))
        _refuse(frame, start < 0, f"{start_col!r} must not lie before the origin, day 0")
        _refuse(frame, stop < start, f"{stop_col!r} must not lie before {start_col!r}")
        _refuse(
            frame,
            (stop == start) & (stop != 0),
            f"{stop_col!r} must be after {start_col!r}, because an interval (start, stop] of no length holds no time",
        )
        _refuse(frame, weight < 0, f"the weight {weight_col!r} must not be negative")
        code, causes = _cause_codes(frame[cause_col])
        zero = np.zeros(len(frame))
        columns = {
            "time_days": np.concatenate([start, stop]),
            "entered": np.concatenate([weight, zero]),
            "censored": np.concatenate([zero, np.where(code < 0, weight, 0.0)]),
        }
        for number, cause in enumerate(causes):
            columns[f"d_{cause}"] = np.concatenate([zero, np.where(code == number, weight, 0.0)])
        twice = pd.concat([frame[list(patterns)]] * 2, ignore_index=True)
        _refuse_own_names(patterns, causes)
        return cls.from_counts(pd.concat([twice, pd.DataFrame(columns)], axis=1), patterns, causes)

    @classmethod
    def from_counts(
        cls, frame: pd.DataFrame, pattern_cols: Sequence[str] = (), causes: Sequence[Hashable] = ()
    ) -> Self:
        """Build the table from counts of ``entered``, ``censored`` and ``d_<cause>`` by pattern and ``time_days``.

        Rows may repeat a time: they are summed. ``n`` and ``person_time_days`` follow from the counts. Raises
        ``ParameterError`` on a missing column, an impossible time or count, and where more leave than were at risk.
        """
        patterns, labels = as_names(pattern_cols), tuple(_plain(cause) for cause in causes)
        _refuse_own_names(patterns, labels)
        events = [f"d_{cause}" for cause in labels]
        counted = ["entered", "censored", *events]
        _require(frame, [*patterns, "time_days", *counted])
        time = _finite(frame, "time_days") + 0.0  # -0.0 and 0.0 are one time
        _refuse(frame, time < 0, "'time_days' must not lie before the origin, day 0")
        counts = pd.DataFrame({column: _finite(frame, column) for column in counted}, index=range(len(frame)))
        _refuse(frame, (counts < 0).any(axis=1).to_numpy(), "counts must not be negative")

        pattern = group_codes(frame[list(patterns)])
        order = np.lexsort((time, pattern))
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(pattern[order]) != 0) | (np.diff(time[order]) != 0)
        first = order[new]
        if new.all():  # nothing to add up, as in most tables of exact times
            counts = counts.iloc[order].reset_index(drop=True)
        else:
            row = np.empty(len(order), dtype=np.int64)
            row[order] = np.cumsum(new) - 1
            # groupby().sum() compensates rounding, so that the order of the rows does not show in weighted counts.
            counts = counts.groupby(row).sum()
        table = pd.concat([frame[list(patterns)].iloc[first].reset_index(drop=True), counts], axis=1)
        table["time_days"] = time[first]
        table, block = _cancel(table, pattern[first], counted)
        table["n"], table["person_time_days"] = _at_risk(table, block, events, patterns)
        columns = [*patterns, "time_days", "n", *events, "censored", "entered", "person_time_days"]
        return cls(table[columns], patterns, labels)

    def blocks(self) -> list[slice]:
        """The rows of ``frame`` of each pattern, in order."""
        return list(self._blocks)

    @cached_property
    def _blocks(self) -> list[slice]:
        if self.frame.empty:
            return []
        pattern = group_codes(self.frame[list(self.pattern_cols)])
        edges = np.flatnonzero(np.diff(pattern)) + 1
        starts, stops = [0, *edges.tolist()], [*edges.tolist(), len(self.frame)]
        return [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]

    def __add__(self, other: RiskTable) -> RiskTable:
        """The table of both groups of users together."""
        if not isinstance(other, RiskTable):
            return NotImplemented
        if self.pattern_cols != other.pattern_cols:
            raise ParameterError(
                f"Risk tables with patterns {self.pattern_cols} and {other.pattern_cols} do not add: pool them first."
            )
        causes = tuple(dict.fromkeys([*self.causes, *other.causes]))
        if self.causes == _sorted(self.causes) and other.causes == _sorted(other.causes):
            causes = _sorted(causes)
        kept = {cause: cause for cause in causes}  # True and 1 are one label
        renamed = other.frame.rename(columns={f"d_{cause}": f"d_{kept[cause]}" for cause in other.causes})
        mine = self.frame.rename(columns={f"d_{cause}": f"d_{kept[cause]}" for cause in self.causes})
        parts = [part for part in (mine, renamed) if not part.empty] or [mine]
        both = pd.concat(parts, ignore_index=True).reindex(
            columns=[*self.pattern_cols, "time_days", "entered", "censored", *(f"d_{cause}" for cause in causes)]
        )
        events = [f"d_{cause}" for cause in causes]
        both[events] = both[events].fillna(0.0)
        return RiskTable.from_counts(both, self.pattern_cols, causes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RiskTable):
            return NotImplemented
        same = (self.pattern_cols, self.causes) == (other.pattern_cols, other.causes)
        return same and self.frame.equals(other.frame)

    __hash__ = None  # type: ignore[assignment]

    def pool(self, keep: str | Sequence[str] = ()) -> RiskTable:
        """The same counts with only the patterns in ``keep`` told apart."""
        kept = as_names(keep)
        for column in kept:
            if column not in self.pattern_cols:
                raise ParameterError(unknown_name("pattern column", column, self.pattern_cols))
        return RiskTable.from_counts(self.frame, kept, self.causes)


def as_names(columns: str | Sequence[str]) -> tuple[str, ...]:
    """One column name or several, as a tuple; a name twice is an error."""
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(f"The column {name!r} is named twice in {names!r}. Name it once.")
    return names


def group_codes(keys: pd.DataFrame) -> np.ndarray:
    """The number of each row's combination of values, in sorted order (nulls last), counted from 0."""
    code = np.zeros(len(keys), dtype=np.int64)
    for name in keys.columns:
        try:
            values, uniques = pd.factorize(keys[name], use_na_sentinel=True)
        except TypeError as error:
            raise ParameterError(f"Values of {name!r} cannot be told apart: {error}. Use text or numbers.") from error
        rank = np.empty(len(uniques) + 1, dtype=np.int64)
        rank[_sorting(uniques)] = np.arange(len(uniques))
        rank[-1] = len(uniques)  # null has code -1
        code, _ = pd.factorize(code * len(rank) + rank[values], sort=True)
    return code.astype(np.int64)


def _sorting(uniques: Any) -> np.ndarray:
    try:
        return np.asarray(pd.Index(uniques).argsort())
    except TypeError:  # numbers beside text
        return np.array(sorted(range(len(uniques)), key=lambda at: _sort_key(uniques[at])), dtype=np.int64)


def _sort_key(label: object) -> tuple[str, Any]:
    return ("", label) if isinstance(label, numbers.Real) else (type(label).__name__, str(label))


def _sorted(causes: Iterable[Hashable]) -> tuple[Hashable, ...]:
    return tuple(sorted(causes, key=_sort_key))


def _plain(label: Any) -> Any:
    """A label as a plain Python value: 1.0, from a column of whole numbers with nulls, is 1."""
    if isinstance(label, np.generic):
        label = label.item()
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _cause_codes(column: pd.Series) -> tuple[np.ndarray, tuple[Hashable, ...]]:
    """The number of each row's cause (-1: censored), and the causes, sorted."""
    try:
        codes, uniques = pd.factorize(column, use_na_sentinel=True)
    except TypeError as error:
        raise ParameterError(f"The causes in {column.name!r} cannot be told apart: {error}.") from error
    labels = [_plain(label) for label in uniques]
    for label in labels:
        if isinstance(label, str) and label.strip().casefold() in {"", "0", "0.0", "false"}:
            raise ParameterError(
                f"{column.name!r} holds the text {label!r}, which would be a cause of its own. "
                "If it means censored, give 0, False or null."
            )
    causes = _sorted(label for label in labels if label != 0)
    place = {cause: number for number, cause in enumerate(causes)}
    number_of = np.array([-1 if label == 0 else place[label] for label in labels] + [-1], dtype=np.int64)
    return number_of[codes], causes


def _refuse_own_names(patterns: tuple[str, ...], causes: tuple[Hashable, ...]) -> None:
    seen: dict[str, Hashable] = {}
    for cause in causes:
        column = f"d_{cause}"
        if column in seen:
            raise ParameterError(
                f"The causes {seen[column]!r} and {cause!r} would share the column {column!r}. Rename one of them."
            )
        seen[column] = cause
    for name in patterns:
        if name in _OWN_COLUMNS or name in seen:
            raise ParameterError(
                f"The pattern column {name!r} has the name of a column of counts. Rename it; taken are "
                f"{', '.join([*_OWN_COLUMNS, *seen])}."
            )


def _cancel(table: pd.DataFrame, block: np.ndarray, counted: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Entries against endings without an event at the same time, and the rows where then nothing happens left out."""
    entered, censored = table["entered"].to_numpy(), table["censored"].to_numpy()
    both = np.where(table["time_days"].to_numpy() == 0, 0.0, np.minimum(entered, censored))
    some = (table[counted].to_numpy() != 0).any(axis=1)
    if not both.any() and some.all():
        return table, block
    dust = _DUST * np.bincount(block, entered)[block] if len(table) else np.zeros(0)
    for column in ("entered", "censored"):
        rest = table[column].to_numpy() - both
        table[column] = np.where((both > 0) & (rest <= dust), 0.0, rest)
    some = (table[counted] != 0).to_numpy().any(axis=1)
    return table.iloc[np.flatnonzero(some)].reset_index(drop=True), block[some]


def _at_risk(
    table: pd.DataFrame, block: np.ndarray, events: list[str], patterns: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers at risk and person-time by prefix sums within each pattern."""
    time, entered = table["time_days"].to_numpy(), table["entered"].to_numpy()
    leaving = table[events].to_numpy().sum(axis=1) + table["censored"].to_numpy()
    total = np.bincount(block, entered)[block] if len(table) else np.zeros(0)
    after = pd.Series(entered - leaving).groupby(block).cumsum().to_numpy()
    first = np.ones(len(table), dtype=bool)
    first[1:] = np.diff(block) != 0
    before = np.where(first, 0.0, np.roll(after, 1)) if len(table) else after
    n = before + np.where(time == 0, entered, 0.0)
    short = (n - leaving < -_BOOKKEEPING * total) | (after < -_BOOKKEEPING * total)
    if short.any():
        row = table.iloc[int(np.flatnonzero(short)[0])]
        where = "".join(f", {name}={shorten(repr(row[name]))}" for name in patterns)
        raise ParameterError(
            f"The counts do not add up: at day {row['time_days']}{where} more intervals end than are at risk. "
            "Every interval must be counted as entered before it ends."
        )
    n = np.where(np.abs(n - leaving) <= _DUST * total, leaving, np.maximum(n, leaving))
    width = np.where(first, 0.0, np.diff(time, prepend=0.0)) if len(table) else time
    return n, np.maximum(before, 0.0) * width


def _require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        found = int((frame.columns == column).sum())
        if found == 0:
            raise ParameterError(unknown_name("column", column, map(str, frame.columns)))
        if found > 1:
            raise ParameterError(f"The frame has {found} columns named {column!r}. Rename all but one.")


def _finite(frame: pd.DataFrame, name: str) -> np.ndarray:
    column = frame[name]
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise ParameterError(
            f"{name!r} holds {column.dtype}, but must be a plain number of days: subtract the origin "
            "and divide by pandas.Timedelta('1D')."
        )
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    _refuse(frame, ~np.isfinite(values), f"{name!r} must be a finite number (times are days)")
    return values


def _refuse(frame: pd.DataFrame, bad: np.ndarray, rule: str) -> None:
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    labels = ", ".join(shorten(repr(label), 40) for label in frame.index[rows[:5]].tolist())
    more = ", ..." if len(rows) > 5 else ""
    example = {key: shorten(value, 40) for key, value in frame.iloc[int(rows[0])].to_dict().items()}
    raise ParameterError(
        f"{rule}: {len(rows)} of {len(frame)} rows break this (index {labels}{more}); the first is {example}."
    )
