"""When each user entered and first did each plan item, and what was known of the user at entry."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import ibis

from microconv.reduce.items import TIME, is_plain, matches, occurring, tie_columns, with_time

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["ENTRY_PERIODS", "MISSING", "at_entry", "occurrences"]

MISSING = "(missing)"
ENTRY_PERIODS = {"entry_day": "D", "entry_week": "W", "entry_month": "M"}  # attributes that every user has


def occurrences(log: EventLog, items: Sequence[Item]) -> ir.Table:
    """One row per user: ``user_id``, ``entry`` and ``at_0``, ``at_1``, ... for the items, in microseconds since 1970.

    ``entry`` is the user's first event of any name; ``at_<i>`` is when the user first did ``items[i]``, null if never.
    """
    timed = with_time(log.engine, log.table)
    plain = {f"at_{i}": timed[TIME].min(where=matches(item, timed)) for i, item in enumerate(items) if is_plain(item)}
    users = timed.group_by("user_id").agg(entry=timed[TIME].min(), **plain)
    for i, item in enumerate(items):
        if not is_plain(item):
            hits = occurring(item, timed, tie_columns(timed, [item]))
            once = hits.group_by("user_id").agg(**{f"at_{i}": hits[TIME].min()})
            users = users.left_join(once, "user_id").drop("user_id_right")
    return users.select("user_id", "entry", *[f"at_{i}" for i in range(len(items))])


def at_entry(log: EventLog, users: ir.Table, columns: Sequence[str], tz: str = "UTC") -> ir.Table:
    """``users`` (with ``user_id`` and ``entry``) with ``by_0``, ``by_1``, ...: each column as text at the entry.

    Where events at the very moment of entry differ, the smallest value counts, so that row order cannot matter; no
    value at all is ``(missing)``. ``entry_day``, ``entry_week`` (its Monday) and ``entry_month``, where the log has no
    column of that name, are the first day of the entry's period in zone ``tz``.
    """
    if not columns:
        return users
    free = set(ENTRY_PERIODS) - set(log.columns)
    periods = {f"by_{i}": ENTRY_PERIODS[c] for i, c in enumerate(columns) if c in free}
    read = {f"by_{i}": c for i, c in enumerate(columns) if f"by_{i}" not in periods}
    if read:
        timed = with_time(log.engine, log.table)
        events = timed.select(_user=timed.user_id, _at=timed[TIME], **{name: timed[c] for name, c in read.items()})
        keys = users.select("user_id", "entry")
        first = keys.join(events, [keys.user_id == events["_user"], keys.entry == events["_at"]])
        texts = {name: _text(first[name]).min().fill_null(MISSING) for name in read}
        known = first.group_by("_user").agg(**texts)
        users = users.join(known, users.user_id == known["_user"]).drop("_user")
    if periods:
        dates = {name: log.engine.local_date(users.entry, tz, unit) for name, unit in periods.items()}
        users = users.mutate(**dates)
    return users


def _text(value: ir.Value) -> ir.StringValue:
    """A value as text; null for what says nothing: null, NaN, empty text.

    1.0 is written 1: where only some events carry a whole number, whatever stacked the events made floats of it.
    """
    if not value.type().is_floating():
        return value.cast("string").nullif("")
    whole = value.try_cast("int64")
    text = (whole.cast("float64") == value).ifelse(whole.cast("string"), value.cast("string"))
    return ibis.ifelse(value.isnan(), ibis.null("string"), text)


def earliest(*moments: ir.IntegerValue) -> ir.IntegerValue:
    """The smallest of some moments, of which any may be null."""
    return reduce(lambda a, b: (a <= b).ifelse(a, b).fill_null(a).fill_null(b), moments)
