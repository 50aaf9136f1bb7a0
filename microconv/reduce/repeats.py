"""Ordered funnels in which one event could serve two steps: a step named twice, or conditions that overlap.

Here a user's events of one instant are looked at together: an attempt may climb several steps at that instant if each
step finds an event of its own (Hall's condition: any m of the steps find at least m events between them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import ibis
import ibis.expr.types as ir

from microconv.log import EventLog
from microconv.plan import Item
from microconv.reduce.chains import AT, NEVER, SAME, START, USER, FunnelRule, by_key, excluded_events, union, with_same
from microconv.reduce.items import TIME, flagged, with_time

__all__ = ["arrivals_with_repeats"]

_DEEP = 8  # steps that one query may hold, each inside the next: compilers of SQL recurse, and give up at some depth


def arrivals_with_repeats(log: EventLog, rule: FunnelRule) -> list[ir.Table]:
    """For each step its arrivals ``user_id, _same, start, at``; no event serves two steps of one attempt.

    Arrivals at an optional step say in ``_own`` whether the attempt is the latest there, from which it may go on.
    """
    rows = _instants(log, rule)
    by_time = {"group_by": rule.keys, "order_by": AT}
    before = ibis.window(**by_time, rows=(None, -1))
    rows = rows.mutate(_ended=rows[AT].max(where=rows._excluded > 0).over(before), _opens=_opens(rows, rule))
    for step in range(len(rule.steps)):
        start = (
            _latest_start(rows, rule, partial(_climbed, rule, step), step)
            if step == 0 or any(step in group for group in rule.overlaps)
            else _next_start(rows, rule, step)
        )
        rows = rows.mutate(**{f"_start_{step}": start})
        started = rows[f"_start_{step}"]
        carried = {f"_from_{step}": started.max().over(before)}
        for limit in {limit for limit in rule.within if limit is not None}:
            carried[f"_from_{step}_{limit}"] = started.max().over(ibis.range_window(**by_time, preceding=(limit, 1)))
        rows = rows.mutate(**carried)
        if step % _DEEP == _DEEP - 1:
            rows = log.engine.materialise(rows)
    rows = log.engine.materialise(rows)
    found = []
    for step in range(len(rule.steps)):
        reached = rows.filter(rows[f"_start_{step}"].notnull())
        reached = reached.select(*rule.keys, AT, **{START: reached[f"_start_{step}"]})
        if step in rule.optional:
            passed = [_passing(rows, rule, step, later) for later in range(step + 1, len(rule.steps))]
            reached = union([reached.mutate(_own=ibis.literal(True)), *passed])
        if not rule.has_within:
            own = {"_own": reached["_own"].any()} if step in rule.optional else {}
            reached = reached.group_by([*rule.keys, START]).agg(**{AT: reached[AT].min()}, **own)
        found.append(reached)
    return found


def _passing(rows: ir.Table, rule: FunnelRule, step: int, later: int) -> ir.Table:
    """Attempts that did an optional step on their way to a later one within one instant, where a later one stopped."""
    start = _latest_start(rows, rule, lambda b: _climbed(rule, step, b) + _climbed(rule, later, step), step)
    rows = rows.mutate(_passing=start)
    mine = rows.filter(rows["_passing"].notnull(), rows["_passing"] == rows[f"_start_{later}"])
    return mine.select(*rule.keys, AT, **{START: mine["_passing"]}, _own=ibis.literal(False))


def _opens(rows: ir.Table, rule: FunnelRule) -> ir.BooleanValue:
    """Whether attempts may start at an instant: at the user's first first step, with the smallest property."""
    if rule.reentry != "first":
        return ibis.literal(True)
    starts = rows[_count((0,))] > 0
    order = [starts.desc(), rows[AT], *([rows[SAME]] if rule.same is not None else [])]
    return starts & (ibis.row_number().over(ibis.window(group_by=rows[USER], order_by=order)) == 0)


def _latest_start(rows: ir.Table, rule: FunnelRule, climbed: Callable[[int], list[int]], step: int) -> ir.IntegerValue:
    """The latest attempt that does ``climbed(b)`` in this instant, from step b below ``step`` (-1: its start)."""
    nothing = ibis.null("int64")
    found = [(_climbs(rows, rule, climbed(-1)) & rows._opens).ifelse(rows[AT], nothing)]
    for below in range(step):
        start = _in_time(rows, rule, below, climbed(below)[0])
        found.append(_climbs(rows, rule, climbed(below)).ifelse(start, nothing))
    return _latest(found)


def _next_start(rows: ir.Table, rule: FunnelRule, step: int) -> ir.IntegerValue:
    """The same for a step whose events serve no other: whoever is at a step before, earlier or by now, may go on."""
    found = [rows[f"_start_{below}"] for below in rule.before(step)]
    found += [_in_time(rows, rule, below, step) for below in rule.before(step)]
    return (rows[_count((step,))] > 0).ifelse(_latest(found), ibis.null("int64"))


def _in_time(rows: ir.Table, rule: FunnelRule, below: int, climbed: int) -> ir.IntegerValue:
    """The latest attempt that was at ``below`` before this instant and may still do ``climbed`` in it."""
    limit = rule.within[climbed]
    start = rows[f"_from_{below}" if limit is None else f"_from_{below}_{limit}"]
    good = start.notnull() & (rows._ended.isnull() | (rows._ended < start))
    if rule.window is not None:
        good &= rows[AT] - start <= rule.window
    return good.fill_null(False).ifelse(start, ibis.null("int64"))


def _latest(moments: Sequence[ir.IntegerValue]) -> ir.IntegerValue:
    """The latest of some moments, of which any may be null."""
    if len(moments) == 1:
        return moments[0]
    return ibis.greatest(*[moment.fill_null(NEVER) for moment in moments]).nullif(NEVER)


def _climbed(rule: FunnelRule, step: int, below: int) -> list[int]:
    """The steps that an attempt at ``below`` must do to be at ``step``: optional ones between are skipped."""
    return [j for j in range(below + 1, step) if j not in rule.optional] + [step]


def _climbs(rows: ir.Table, rule: FunnelRule, climbed: Sequence[int]) -> ir.BooleanValue:
    """Whether this instant has a different event for each of some steps, one after the other."""
    possible = ibis.literal(True)
    for group in _groups(rule):
        for chosen, least in _demands(rule, tuple(j for j in group if j in climbed)):
            possible &= rows[_count(chosen)] >= least
    return possible


def _groups(rule: FunnelRule) -> list[tuple[int, ...]]:
    grouped = {j for group in rule.overlaps for j in group}
    return [*rule.overlaps, *[(j,) for j in range(len(rule.steps)) if j not in grouped]]


def _demands(rule: FunnelRule, wanted: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """Sets of steps and how many events must be any of them, for ``wanted`` steps to find an event each."""
    if not wanted:
        return []
    if len({_what(rule.steps[j]) for j in wanted}) == 1:  # the same step again: counting its events is enough
        return [(wanted[:1], len(wanted))]
    return [(chosen, size) for size in range(1, len(wanted) + 1) for chosen in combinations(wanted, size)]


def _what(step: Item) -> tuple[object, ...]:
    return (step.event, step.where, getattr(step, "nth", None), str(getattr(step, "total", None)))


def _count(steps: tuple[int, ...]) -> str:
    return "_n_" + "_".join(map(str, steps))


def _instants(log: EventLog, rule: FunnelRule) -> ir.Table:
    """One row per user and instant: for the sets of steps that matter, how many events are any of them."""
    timed = with_time(log.engine, log.table)
    ties = rule.tie_columns(timed)
    for j, step in enumerate(rule.steps):
        timed = flagged(step, timed, f"_is_{j}", ties)
    timed = with_same(timed, rule)
    flags = [timed[f"_is_{j}"] for j in range(len(rule.steps))]
    sets: set[tuple[int, ...]] = {(j,) for j in range(len(rule.steps))}
    for group in rule.overlaps:
        if len({_what(rule.steps[j]) for j in group}) == 1:
            continue
        sets |= {chosen for size in range(2, len(group) + 1) for part in combinations(group, size)
                 for chosen, _ in _demands(rule, part)}  # fmt: skip
    counts = {}
    for chosen in sorted(sets):
        anyone = flags[chosen[0]]
        for j in chosen[1:]:
            anyone = anyone | flags[j]
        counts[_count(chosen)] = anyone.cast("int64").sum()
    relevant = flags[0]
    for flag in flags[1:]:
        relevant = relevant | flag
    instants = timed.filter(relevant).group_by([*rule.keys, TIME]).agg(**counts).rename({AT: TIME})
    instants = instants.mutate(_excluded=ibis.literal(0, "int64"))
    excluded = by_key(excluded_events(log, rule), instants, rule)
    if excluded is None:
        return instants
    zero = {name: ibis.literal(0, "int64") for name in counts}
    ends = excluded.mutate(**zero, _excluded=ibis.literal(1, "int64"))
    both = instants.union(ends.select(*instants.columns))
    totals = {name: both[name].sum().cast("int64") for name in [*counts, "_excluded"]}
    return both.group_by([*rule.keys, AT]).agg(**totals)
