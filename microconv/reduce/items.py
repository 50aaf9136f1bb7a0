"""Which events are a plan item: its event, its condition, its n-th occurrence, the moment a total is reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import ibis

from microconv import conditions

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.plan import Item, Total

__all__ = ["TIME", "flagged", "is_plain", "matches", "occurring", "tie_columns", "with_time"]

TIME = "_t"  # microseconds since 1970, beside the events' own columns


def with_time(engine: Engine, table: ir.Table) -> ir.Table:
    """The events with their time as whole microseconds in ``_t``."""
    return table.mutate(**{TIME: engine.micros(table.time)})


def is_plain(item: Item) -> bool:
    """Whether each event can be judged on its own, without the user's earlier events."""
    return getattr(item, "nth", None) is None and getattr(item, "total", None) is None


def matches(item: Item, table: ir.Table) -> ir.BooleanValue:
    """Whether an event has the item's name and meets its condition (never null)."""
    event, where = getattr(item, "event", None), item.where
    named = table.event == event if event is not None else ibis.literal(True)
    return named & conditions.matches(conditions.parse(where), table) if where else named


def tie_columns(table: ir.Table, items: Iterable[Item], more: Iterable[str] = ()) -> list[str]:
    """The columns that put events of one instant in order where an order is needed, so that row order cannot matter.

    The event's id if there is one, its name, then all columns that ``items`` read, and ``more``.
    """
    read = set(more)
    for item in items:
        read |= item.condition.columns if item.condition is not None else set()
        total = getattr(item, "total", None)
        read |= {total.column} if total is not None else set()
    names = ["event_id", "event", *sorted(read - {"event_id", "event"})]
    return [name for name in names if name in table.columns]


def occurring(item: Item, timed: ir.Table, ties: Sequence[str] = ()) -> ir.Table:
    """The events at which the item happens; ``timed`` comes from ``with_time``, ``ties`` from ``tie_columns``.

    A plain item happens at every event that matches. One with ``nth`` happens once, at the user's n-th match; one with
    ``total`` once, at the first event where the running sum of its column reaches ``at_least``.
    """
    hits = timed.filter(matches(item, timed))
    if is_plain(item):
        return hits
    order = [TIME, *ties]
    nth, total = getattr(item, "nth", None), getattr(item, "total", None)
    if total is None:
        numbered = hits.mutate(_number=ibis.row_number().over(ibis.window(group_by="user_id", order_by=order)))
        return numbered.filter(numbered._number + 1 == nth).drop("_number")
    hits = hits.filter(_amount(hits, total).notnull())
    running = ibis.window(group_by="user_id", order_by=order, rows=(None, 0))
    summed = hits.mutate(_sum=_amount(hits, total).sum().over(running))
    reached = summed.filter(_enough(summed._sum, total))
    numbered = reached.mutate(_number=ibis.row_number().over(ibis.window(group_by="user_id", order_by=order)))
    return numbered.filter(numbered._number == 0).drop("_sum", "_number")


def flagged(item: Item, timed: ir.Table, name: str, ties: Sequence[str]) -> ir.Table:
    """All events, with a column that says whether the item happens there (as ``occurring``)."""
    match = matches(item, timed)
    if is_plain(item):
        return timed.mutate(**{name: match})
    so_far = ibis.window(group_by="user_id", order_by=[TIME, *ties], rows=(None, 0))
    nth, total = getattr(item, "nth", None), getattr(item, "total", None)
    if total is None:
        number = match.cast("int64").sum().over(so_far)
        return timed.mutate(**{name: match & (number == nth)})
    counted = match & _amount(timed, total).notnull()
    amount = counted.ifelse(_amount(timed, total), 0.0)
    reached = timed.mutate(_reached=counted & _enough(amount.sum().over(so_far), total))
    order = reached._reached.cast("int64").sum().over(so_far)
    return reached.mutate(**{name: reached._reached & (order == 1)}).drop("_reached")


def _amount(events: ir.Table, total: Total) -> ir.FloatingValue:
    """What each event adds; NaN, which would swallow the sum, adds nothing."""
    amount = events[total.column].cast("float64")
    return ibis.ifelse(amount.isnan(), ibis.null("float64"), amount)


def _enough(summed: ir.FloatingValue, total: Total) -> ir.BooleanValue:
    """Whether a sum is there: 0.7 + 0.2 + 0.1 is 1, though as floats it falls short by a rounding error."""
    return summed >= total.at_least * (1 - 1e-9)
