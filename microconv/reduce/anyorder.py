"""Funnels whose steps may come in any order: step k is reached when steps 1 to k are all done within the window."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from microconv.log import EventLog
from microconv.reduce.chains import (
    AT,
    NEVER,
    SAME,
    START,
    USER,
    FunnelRule,
    by_key,
    excluded_events,
    step_events,
    union,
)

__all__ = ["arrivals_any_order"]


def arrivals_any_order(log: EventLog, rule: FunnelRule) -> list[ir.Table]:
    """For each step k, when an attempt has done all of the steps up to k; the attempt starts with the first of them."""
    parts = []
    for step, events in enumerate(step_events(log, rule)):
        # A step named m times needs m different events: its m-th naming counts from the m-th event backwards.
        again = next((group.index(step) for group in rule.overlaps if step in group), 0)
        by_time = ibis.window(group_by=[events[key] for key in rule.keys], order_by=events[AT])
        value = events[AT] if again == 0 else events[AT].lag(again).over(by_time)
        parts.append(events.mutate(_value=value, _step=ibis.literal(step, "int16")))
    rows = union(parts)
    return _from_first(log, rows, rule) if rule.reentry == "first" else _from_any(log, rows, rule)


def _needed(rule: FunnelRule, step: int) -> list[int]:
    return [earlier for earlier in range(step) if earlier not in rule.optional] + [step]


def _from_any(log: EventLog, rows: ir.Table, rule: FunnelRule) -> list[ir.Table]:
    """Looking back from each event: the latest time of each step, the earliest of which starts the latest attempt."""
    nothing = ibis.null("int64")
    excluded = by_key(excluded_events(log, rule), rows, rule)
    if excluded is not None:
        rows = rows.union(excluded.mutate(_value=nothing, _step=ibis.literal(-1, "int16")))
    keys = [rows[key] for key in rule.keys]
    so_far = ibis.range_window(group_by=keys, order_by=rows[AT], preceding=None, following=0)
    latest = {
        f"_last_{j}": rows._value.max(where=rows._step == j).over(so_far).fill_null(NEVER)
        for j in range(len(rule.steps))
    }
    before = ibis.range_window(group_by=keys, order_by=rows[AT], preceding=(None, 1))
    ended = rows[AT].max(where=rows._step == -1).over(before) if excluded is not None else nothing
    seen = log.engine.materialise(rows.mutate(**latest, _ended=ended))
    found = []
    for step in range(len(rule.steps)):
        needed = [seen[f"_last_{j}"] for j in _needed(rule, step)]
        start = needed[0] if len(needed) == 1 else ibis.least(*needed)
        done = seen.filter(seen["_step"] >= 0).select(*rule.keys, AT, "_ended", **{START: start})
        done = done.filter(done[START] > NEVER, done._ended.isnull() | (done._ended < done[START]))
        if rule.window is not None:
            done = done.filter(done[AT] - done[START] <= rule.window)
        found.append(log.engine.materialise(done.group_by([*rule.keys, START]).agg(**{AT: done[AT].min()})))
    return found


def _from_first(log: EventLog, rows: ir.Table, rule: FunnelRule) -> list[ir.Table]:
    """Looking on from the user's first event that is any step; of several at once that with the smallest property."""
    first = {
        f"_first_{j}": rows[AT].min(where=(rows._step == j) & rows._value.notnull()) for j in range(len(rule.steps))
    }
    once = rows.group_by(rule.keys).agg(**{START: rows[AT].min()}, **first)
    if rule.same is not None:
        ranked = once.mutate(_rank=ibis.row_number().over(ibis.window(group_by=USER, order_by=[START, SAME])))
        once = ranked.filter(ranked["_rank"] == 0).drop("_rank")
    excluded = by_key(excluded_events(log, rule), rows, rule)
    if excluded is not None:
        after = excluded.join(once.select(*rule.keys, START), rule.keys)
        after = after.filter(after[AT] >= after[START])
        ends = after.group_by(rule.keys).agg(_ends=after[AT].min())
        once = once.left_join(ends, rule.keys).drop(*[f"{key}_right" for key in rule.keys])
    else:
        once = once.mutate(_ends=ibis.null("int64"))
    found = []
    for step in range(len(rule.steps)):
        needed = [once[f"_first_{j}"] for j in _needed(rule, step)]
        done = once.mutate(**{AT: needed[0] if len(needed) == 1 else ibis.greatest(*needed)})
        for j in _needed(rule, step):
            done = done.filter(done[f"_first_{j}"].notnull())
        done = done.filter(done._ends.isnull() | (done._ends >= done[AT]))
        if rule.window is not None:
            done = done.filter(done[AT] - done[START] <= rule.window)
        found.append(done.select(*rule.keys, START, AT))
    return found
