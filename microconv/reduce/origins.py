"""Time zero from a column: when a user signed up, which may be before the first recorded event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from microconv.errors import ParameterError, shorten
from microconv.reduce.items import TIME, with_time

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog

__all__ = ["moment_at_entry"]


def moment_at_entry(log: EventLog, users: ir.Table, column: str, name: str, tz: str = "UTC") -> ir.Table:
    """``users`` (with ``user_id`` and ``entry``) with ``name``: a column's time at the entry, in microseconds.

    Where events at the very moment of entry differ the earliest counts; null where none says a time. Times of no zone,
    and dates (their midnight), are of zone ``tz``. Raises ``ParameterError`` on a column that holds no times.
    """
    timed = with_time(log.engine, log.table)
    moment = _micros(log.engine, log.table[column], column, tz)
    told = timed.select(_user=timed.user_id, _at=timed[TIME], _moment=moment)
    told = told.filter(told["_moment"].notnull())
    keys = users.select("user_id", "entry")
    first = keys.join(told, [keys.user_id == told["_user"], keys.entry == told["_at"]])
    known = first.group_by("_user").agg(**{name: first["_moment"].min()})
    return users.left_join(known, users.user_id == known["_user"]).drop("_user")


def _micros(engine: Engine, value: ir.Value, column: str, tz: str) -> ir.IntegerValue:
    kind = value.type()
    if kind.is_string():
        return engine.micros(engine.parse_time(value, tz))
    if kind.is_timestamp() and kind.timezone is not None:
        return engine.micros(value)
    if kind.is_timestamp() or kind.is_date():
        return engine.micros(engine.local_to_utc(value.cast("timestamp"), tz))
    raise ParameterError(
        f"origin_col={shorten(repr(column))} holds {kind}, but must hold times: timestamps, dates or ISO-8601 text. "
        "Convert it when the events are made; a number does not say its unit."
    )
