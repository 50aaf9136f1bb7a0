"""Counts of everything that happens in a state: ends of journeys and moves to another state, with the time at risk.

A move is a column of the state going up by one level. It is counted in the state just before; of micros done at one
instant, each is counted in the state before them all. Times are half microseconds, as in ``reduce.states``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.counts import group_codes
from microconv.errors import ParameterError, unknown_name
from microconv.exposures import ExposureTable
from microconv.reduce.state_counts import event_times, exposures_of, interval
from microconv.reduce.states import (
    CENSORED,
    ENTERED,
    EVENT,
    HALVES_PER_DAY,
    NEVER,
    Layout,
    StateColumn,
    half_microseconds,
    summed,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People

__all__ = [
    "ProcessCounts",
    "by_time_since",
    "count_processes",
    "doers",
    "process_counts",
    "process_cuts",
    "since_cuts",
    "with_early",
]

_KEYS = ["cell", "state", "seen", "bin"]


@dataclass(frozen=True, eq=False)
class ProcessCounts:
    """``exposures``: events and time at risk by interval and pattern (state before, cell). Its causes are those of the
    people (the target first), then ``"+" + column`` for each column of the layout; micros done before time zero change
    the state just after it, and are no moves.

    ``doers``: by column, who moves up in it from level 0 while at risk: a row per bin of action times, state just
    before and cell: ``bin``, ``age_days`` (their mean time of action since time zero), ``users``, the columns of the
    state, the attributes.
    """

    exposures: ExposureTable
    doers: Mapping[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class _Move:
    """Users for whom one moment raises its column.

    ``state``: the number of the state before, others of the same instant in order; ``seen``: the state before them all.
    ``passive``: the state changes, but nothing happens that would be counted.
    """

    users: ir.Table
    at: ir.IntegerValue
    state: ir.IntegerValue
    seen: ir.IntegerValue
    column: int
    passive: ir.BooleanValue


def process_cuts(people: People, marked: ir.Table, layout: Layout, bins: int) -> list[int]:
    """Times that end the intervals in which rates are taken as constant: about ``bins`` in all.

    Half of them at quantiles of the target's events, half at quantiles of the moves. What happens at time zero, or just
    after it, has an interval of its own.
    """
    macro = marked.filter(marked.cause == 1).select(at=marked.stop)
    moved = ibis.union(*[one.users.select(at=one.at) for one in _moves(people, marked, layout)])
    times = macro.union(moved)
    at_once = people.engine.fetch(times.agg(n=(times["at"] <= 1).cast("int64").sum()))["n"][0]
    first = [1] if at_once is not None and not pd.isna(at_once) and at_once > 0 else []
    parts = [part.filter(part["at"] > 1) for part in (macro, moved)]
    later = {cut for part in parts for cut in event_times(people, part, bins // 2 + 1)}
    return [*first, *sorted(later)]


def count_processes(
    people: People, layout: Layout, marked: ir.Table, cuts: Sequence[int], latest: int | None = None
) -> ProcessCounts:
    """Ends, moves and exact time at risk by state, cell and interval, and who moves: one pass over the users.

    ``cuts`` end the intervals (a, b] of the exposures, and bins of the doers' ages too: between them, where rates are
    constant, the mean age stands well for all. ``latest`` ends one bin more of the doers' ages.
    """
    ends = sorted({*cuts, *([latest] if latest is not None and latest > 0 else [])})
    frame = _counted(people, layout, marked, ends)
    moved = EVENT + len(people.causes)
    found = {}
    for number, name in enumerate(layout.names):
        rows = frame[frame["what"] == moved + number]
        first = layout.levels(rows["seen"].to_numpy())[name] == 0
        found[name] = _doers(people, layout, rows[first])
    # Each bin lies within one interval.
    frame["bin"] = np.searchsorted(list(cuts), np.array([0, *ends])[frame["bin"]], side="right")
    return ProcessCounts(_exposures(people, layout, frame, cuts), found)


def process_counts(people: People, layout: Layout, marked: ir.Table, cuts: Sequence[int]) -> ExposureTable:
    """The exposures of ``count_processes`` alone."""
    return count_processes(people, layout, marked, cuts).exposures


def doers(
    people: People, layout: Layout, marked: ir.Table, column: str, bins: int = 40, *, latest: int | None = None
) -> pd.DataFrame:
    """The doers of one column, as ``ProcessCounts`` holds them, in ``bins`` of action times of about equal number.

    ``latest`` ends one bin more. Raises ``ParameterError`` on an unknown column.
    """
    if column not in layout.names:
        raise ParameterError(unknown_name("column", column, layout.names))
    number = layout.names.index(column)
    acts = ibis.union(*[one.users.select(at=one.at) for one in _moves(people, marked, layout, number)])
    ends = {*event_times(people, acts, bins), *([latest] if latest is not None and latest > 0 else [])}
    rows = _counted(people, layout, marked, sorted(ends), number)
    rows = rows[rows["what"] == EVENT + len(people.causes) + number]
    return _doers(people, layout, rows[layout.levels(rows["seen"].to_numpy())[column] == 0])


def _counted(
    people: People, layout: Layout, marked: ir.Table, ends: Sequence[int], only: int | None = None
) -> pd.DataFrame:
    """Entries, exits and moves (``only``: the moves of that column): ``_KEYS, what, n`` and ``time``, the exact sum."""
    at = _moments(marked, layout)
    first, last = (layout.code([m <= marked.enter for m in at]), layout.code([m < marked.stop for m in at]))
    parts = []
    if only is None:
        parts.append(_row(marked, first, None, marked.enter, ibis.literal(ENTERED, "int16")))
        parts.append(_row(marked, last, None, marked.stop, CENSORED + marked.cause))
    moved = EVENT + len(people.causes)
    for one in _moves(people, marked, layout, only):
        what = one.passive.ifelse(moved + len(layout.columns) + one.column, moved + one.column)
        parts.append(_row(one.users, one.state, one.seen, one.at, what))
    rows = ibis.union(*parts)
    frame = people.engine.fetch(summed(rows.mutate(bin=interval(rows["at"], list(ends))), _KEYS))
    frame = frame.astype(dict.fromkeys([*_KEYS, "what", "n"], "int64"))
    frame["time"] = half_microseconds(frame)
    return frame.sort_values([*_KEYS, "what"], ignore_index=True)


def _exposures(people: People, layout: Layout, frame: pd.DataFrame, cuts: Sequence[int]) -> ExposureTable:
    """The rows of ``_counted`` as exposures; a change of state is an exit from one state and an entry into another."""
    what, moved = frame["what"].to_numpy(), EVENT + len(people.causes)
    changed = frame[what >= moved]
    step = np.array(_steps(layout), dtype=np.int64)[(changed["what"] - moved) % len(layout.columns)]
    edges = pd.concat([frame, changed.assign(state=changed["state"] + step, what=ENTERED)], ignore_index=True)
    events = {name: frame[what == EVENT + cause] for cause, name in enumerate(people.causes)}
    for number, name in enumerate(layout.names):
        events[f"+{name}"] = frame[what == moved + number].assign(state=lambda rows: rows["seen"])
    table = exposures_of(people, layout, edges, events, list(cuts))
    # Between moments of one instant lie states in which nobody spends time.
    code = group_codes(table.frame[list(table.pattern_cols)])
    counted = table.frame[[*table.event_cols, "person_time_days"]].sum(axis=1)
    kept = np.bincount(code, counted)[code] > 0
    return replace(table, frame=table.frame[kept].reset_index(drop=True))


def _doers(people: People, layout: Layout, moves: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``_counted`` that are moves from level 0, by what they mean."""
    summed_up = moves.groupby(["bin", "cell", "seen"])[["n", "time"]].sum().reset_index()
    age = [time / many / HALVES_PER_DAY for time, many in zip(summed_up["time"], summed_up["n"], strict=True)]
    told = pd.DataFrame({"bin": summed_up["bin"], "age_days": np.array(age, dtype=float), "users": summed_up["n"]})
    states = pd.DataFrame(layout.decode(summed_up["seen"].to_numpy(np.int64)), index=told.index)
    cells = people.cells.loc[summed_up["cell"].to_numpy()].reset_index(drop=True)
    return pd.concat([told, states, cells], axis=1)


def by_time_since(layout: Layout, column: str, delays: Sequence[int]) -> Layout:
    """``layout`` with a micro's column told apart by how long ago it was done, in microseconds: its level is 1 up to
    the first of ``delays``, 2 up to the next, and so on. Raises ``ParameterError`` on a column of several micros.
    """
    if column not in layout.names:
        raise ParameterError(unknown_name("column", column, layout.names))
    number = layout.names.index(column)
    own = layout.columns[number]
    if len(own.passed) != 1:
        raise ParameterError(f"The column {column!r} counts several moments: time since it has no beginning.")
    first, many = own.passed[0], len(layout.moments)
    later = tuple(range(many, many + len(delays)))
    columns = list(layout.columns)
    columns[number] = StateColumn(column, (first, *later), len(delays) + 1)
    micro = layout.moments[first][0]
    return Layout((*layout.moments, *((micro, delay) for delay in delays)), tuple(columns))


def since_cuts(people: People, layout: Layout, marked: ir.Table, column: str, horizon: int, bins: int = 6) -> list[int]:
    """Delays (microseconds) for ``by_time_since``: they cut the conversions within ``horizon`` (microseconds) of the
    micro into ``bins`` of about equal number.
    """
    moment = marked[f"m_{layout.columns[layout.names.index(column)].passed[0]}"]
    ended = marked.filter((marked.cause == 1) & (moment < NEVER) & (marked.stop - moment <= 2 * horizon))
    waits = event_times(people, ended.select(at=ended.stop - moment), bins)
    return sorted({max(wait // 2, 1) for wait in waits})


def _moments(marked: ir.Table, layout: Layout) -> list[ir.IntegerValue]:
    return [marked[f"m_{i}"] for i in range(len(layout.moments))]


def _steps(layout: Layout) -> list[int]:
    """By how much the number of the state grows when a column goes up by one level."""
    found, base = [], 1
    for column in layout.columns:
        found.append(base)
        base *= column.most + 1
    return found


def _row(
    users: ir.Table, state: ir.IntegerValue, seen: ir.IntegerValue | None, at: ir.Value, what: ir.IntegerValue
) -> ir.Table:
    seen = state if seen is None else seen
    return users.select("cell", state=state.cast("int64"), seen=seen.cast("int64"), at=at, what=what.cast("int16"))


def _moves(people: People, marked: ir.Table, layout: Layout, only: int | None = None) -> list[_Move]:
    """Each moment that raises a column (``only``: of that one), among the users for whom it does."""
    users, early = with_early(people, marked, layout)
    at = _moments(users, layout)
    of = {i: number for number, column in enumerate(layout.columns) for i in column.passed}
    found = []
    for number, column in enumerate(layout.columns):
        if only is not None and number != only:
            continue
        for i in column.passed:
            moment = at[i]
            before = [m < moment for m in at]
            # Of moments at one instant columns follow one another, and within a column level follows level.
            in_order = list(before)
            for j, other in of.items():
                if j != i and other <= number:
                    sooner = _first(j, i, early) if other == number else ibis.literal(True)
                    in_order[j] = before[j] | ((at[j] == moment) & sooner)
            seen = [in_order[j] if of.get(j) == number else b for j, b in enumerate(before)]
            some = (moment < NEVER) & (moment > users.enter)
            if len(column.passed) > column.most:
                level = sum((in_order[j].cast("int64") for j in column.passed), ibis.literal(0, "int64"))
                some = some & (level < column.most)
            # What only grows older does not happen.
            passive = early[i] if not layout.moments[i][1] else ibis.literal(True)
            found.append(_Move(users.filter(some), moment, layout.code(in_order), layout.code(seen), number, passive))
    return found


def _first(j: int, i: int, early: Sequence[ir.BooleanValue]) -> ir.BooleanValue:
    """Whether moment j of an instant is put before moment i: what was done before time zero came first."""
    return ~early[i] | early[j] if j < i else early[j] & ~early[i]


def with_early(people: People, marked: ir.Table, layout: Layout) -> tuple[ir.Table, list[ir.BooleanValue]]:
    """``marked``, and for each moment whether it had passed before time zero."""
    table = people.table
    done = {f"e_{i}": (table[f"done_{i}"] < 0).fill_null(False) for i in {micro for micro, _ in layout.moments}}
    some = people.engine.fetch(table.agg(**{name: flag.any() for name, flag in done.items()})).iloc[0]
    known = {name: flag for name, flag in done.items() if some[name] is not None and bool(some[name])}
    if not known:
        return marked, [ibis.literal(False)] * len(layout.moments)
    flags = table.select(_user=table.user_id, **known)
    joined = marked.join(flags, marked.user_id == flags["_user"]).drop("_user")
    early = []
    for micro, delay in layout.moments:
        name = f"e_{micro}"
        early.append(joined[name] if name in known and delay == 0 else ibis.literal(False))
    return joined, early
