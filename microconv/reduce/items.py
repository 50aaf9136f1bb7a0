"""Which events are a plan item: its event, its condition, its n-th occurrence, the moment a total is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from microconv import conditions

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.plan import Item

__all__ = ["TIME", "is_plain", "matches", "occurring", "with_time"]

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


def occurring(item: Item, timed: ir.Table) -> ir.Table:
    """The events at which the item happens; ``timed`` comes from ``with_time``.

    A plain item happens at every event that matches. One with ``nth`` happens once, at the user's n-th match; one with
    ``total`` once, at the first event where the running sum of its column reaches ``at_least``.
    """
    hits = timed.filter(matches(item, timed))
    if is_plain(item):
        return hits
    by_time = ibis.window(group_by=hits.user_id, order_by=hits[TIME])
    nth, total = getattr(item, "nth", None), getattr(item, "total", None)
    if total is None:
        numbered = hits.mutate(_number=ibis.row_number().over(by_time))
        return numbered.filter(numbered._number + 1 == nth).drop("_number")
    hits = hits.filter(hits[total.column].notnull())
    running = ibis.window(group_by=hits.user_id, order_by=hits[TIME], rows=(None, 0))
    summed = hits.mutate(_sum=hits[total.column].cast("float64").sum().over(running))
    reached = summed.filter(summed._sum >= total.at_least)
    first = ibis.window(group_by=reached.user_id, order_by=reached[TIME])
    numbered = reached.mutate(_number=ibis.row_number().over(first))
    return numbered.filter(numbered._number == 0).drop("_sum", "_number")
