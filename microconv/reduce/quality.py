"""What there is to know about the events themselves: per user, per event, per day, per plan item, by order of
arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import ibis

from microconv.durations import MICROS_PER_DAY, moment_to_micros
from microconv.reduce.items import TIME, matches, with_time
from microconv.reduce.occurrences import MISSING, at_entry, occurrences

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

    from microconv.log import EventLog
    from microconv.plan import Item, Macro

__all__ = [
    "MINUTE",
    "activity",
    "arrival_order",
    "by_day",
    "by_event",
    "by_segment",
    "entries",
    "items_done",
    "missing_at_entry",
    "totals",
    "user_activity",
    "value_gaps",
]

MINUTE = 60_000_000
_MOST_EVENTS = 10_000


def user_activity(log: EventLog, macros: Sequence[Macro], named: Sequence[str], burst: int) -> ir.Table:
    """One row per user: ``entry, last`` and ``macro_at`` (the first of ``macros``; microseconds since 1970),
    ``events``, ``tied`` (that share their instant with another), ``ordered`` (that come right after another of
    ``named`` at the same instant), ``repeated`` (beyond the first of one name at one instant), ``fast`` (1: ever
    ``burst`` events in less than a minute). One sorted scan of the events; the table is kept in the engine.
    """
    timed = with_time(log.engine, log.table)
    hits = [matches(macro, timed) for macro in macros]
    is_macro = reduce(lambda a, b: a | b, hits) if hits else ibis.literal(False)
    other = (~timed.event.isin(list(named))).ifelse(1, 0) if named else ibis.literal(1, "int8")
    rows = timed.select("user_id", "event", TIME, macro=is_macro.ifelse(1, 0), other=other)
    in_order = ibis.window(group_by=rows.user_id, order_by=[rows[TIME], rows.other, rows.event])
    beside = rows.mutate(
        before=rows[TIME].lag().over(in_order),
        after=rows[TIME].lead().over(in_order),
        name_before=rows.event.lag().over(in_order),
        burst_start=rows[TIME].lag(burst - 1).over(in_order),
    )
    same = (beside.before == beside[TIME]).fill_null(False)
    repeated = same & (beside.name_before == beside.event)
    # The names of the plan come first at an instant: what stands before one of them is one of them.
    ordered = same & (beside.other == 0) & (beside.name_before != beside.event)
    tied = same | (beside.after == beside[TIME]).fill_null(False)
    fast = (beside[TIME] - beside.burst_start < MINUTE).fill_null(False)
    users = beside.group_by("user_id").agg(
        entry=beside[TIME].min(),
        last=beside[TIME].max(),
        macro_at=beside[TIME].min(where=beside.macro == 1),
        events=beside.count(),
        tied=tied.ifelse(1, 0).sum().cast("int64"),
        ordered=ordered.ifelse(1, 0).sum().cast("int64"),
        repeated=repeated.ifelse(1, 0).sum().cast("int64"),
        fast=fast.ifelse(1, 0).max(),
    )
    return log.engine.materialise(users)


def activity(users: ir.Table) -> ir.Table:
    """How many users have so many events: ``events, fast, users``, by ``events``."""
    return users.group_by(["events", "fast"]).agg(users=users.count()).order_by(["events", "fast"])


def totals(users: ir.Table) -> ir.Table:
    """One row over ``user_activity``: users, tied and repeated events, last moment, users with a macro, and at their
    entry.
    """
    at_once = (users.macro_at == users.entry).fill_null(False)
    return users.agg(
        users=users.count(),
        tied=users.tied.sum().cast("int64"),
        ordered=users.ordered.sum().cast("int64"),
        repeated=users.repeated.sum().cast("int64"),
        last=users["last"].max(),
        converted=users.macro_at.notnull().cast("int64").sum(),
        at_once=at_once.cast("int64").sum(),
    )


def entries(log: EventLog, users: ir.Table, horizon: int) -> ir.Table:
    """One row: ``users`` and ``mature``, those whose whole ``horizon`` (microseconds) after entry was observed."""
    latest = ibis.literal(moment_to_micros(log.observed_until) - horizon, "int64")
    return users.agg(users=users.count(), mature=(users.entry <= latest).cast("int64").sum())


def by_event(log: EventLog) -> ir.Table:
    """``event, rows, users, first, last`` (microseconds since 1970), the most frequent first; at most 10,000 names."""
    timed = with_time(log.engine, log.table)
    counted = timed.group_by("event").agg(
        rows=timed.count(), users=timed.user_id.nunique(), first=timed[TIME].min(), last=timed[TIME].max()
    )
    return counted.order_by([counted.rows.desc(), counted.event]).limit(_MOST_EVENTS)


def by_day(log: EventLog) -> ir.Table:
    """``day`` (whole days since 1970, UTC) and ``events``; days without events are absent."""
    timed = with_time(log.engine, log.table)
    days = timed.select(day=(timed[TIME] // MICROS_PER_DAY).cast("int64"))
    return days.group_by("day").agg(events=days.count()).order_by("day")


def by_segment(log: EventLog, users: ir.Table, column: str, horizon: int | None) -> ir.Table:
    """``segment`` (a column's value at entry), ``users, mature`` and, the same in each row, ``everybody``; the
    largest first.
    """
    known = at_entry(log, users.select("user_id", "entry"), [column])
    latest = ibis.literal(moment_to_micros(log.observed_until) - (horizon or 0), "int64")
    counted = known.group_by(known.by_0.name("segment")).agg(
        users=known.count(), mature=(known.entry <= latest).cast("int64").sum()
    )
    whole = counted.mutate(everybody=counted.users.sum().over(ibis.window()))
    return whole.order_by([whole.users.desc(), whole.segment])


def items_done(log: EventLog, items: Sequence[Item]) -> pd.Series:
    """How many users ever did each item, by its place in ``items`` (as text)."""
    done = occurrences(log, items)
    counts = {str(i): done[f"at_{i}"].notnull().cast("int64").sum() for i in range(len(items))}
    return log.engine.fetch(done.agg(**counts)).iloc[0]


def missing_at_entry(log: EventLog, users: ir.Table, columns: Sequence[str]) -> pd.Series:
    """How many users have no value at entry, by the column's place in ``columns`` (as text)."""
    known = at_entry(log, users.select("user_id", "entry"), columns)
    counts = {str(i): (known[f"by_{i}"] == MISSING).cast("int64").sum() for i in range(len(columns))}
    return log.engine.fetch(known.agg(**counts)).iloc[0]


def value_gaps(log: EventLog, macros: Sequence[Macro]) -> pd.DataFrame:
    """For each macro with a value column, in their order: ``rows``, ``missing`` and ``negative`` values."""
    timed = with_time(log.engine, log.table)
    counts: dict[str, ir.Value] = {}
    for i, macro in enumerate(macros):
        mine, value = matches(macro, timed), timed[str(macro.value)]
        counts[f"rows_{i}"] = mine.cast("int64").sum()
        counts[f"missing_{i}"] = (mine & value.isnull()).cast("int64").sum()
        counts[f"negative_{i}"] = (mine & (value.try_cast("float64") < 0).fill_null(False)).cast("int64").sum()
    import pandas as pd

    row = log.engine.fetch(timed.agg(**counts)).iloc[0]
    columns = ("rows", "missing", "negative")
    return pd.DataFrame([{name: int(row[f"{name}_{i}"] or 0) for name in columns} for i in range(len(macros))])


def arrival_order(log: EventLog, arrival: str) -> ir.Table:
    """One row: ``rows`` with an arrival time, ``behind`` (older than an event of the user that arrived before),
    ``late`` (a day).
    """
    timed = with_time(log.engine, log.table)
    rows = timed.select("user_id", TIME, arrived=log.engine.micros(timed[arrival]))
    rows = rows.filter(rows.arrived.notnull())
    so_far = ibis.window(group_by=rows.user_id, order_by=[rows.arrived, rows[TIME]], rows=(None, 0))
    ranked = rows.mutate(newest=rows[TIME].max().over(so_far))
    return ranked.agg(
        rows=ranked.count(),
        behind=(ranked[TIME] < ranked.newest).cast("int64").sum(),
        late=(ranked.arrived - ranked[TIME] > MICROS_PER_DAY).cast("int64").sum(),
    )
