"""How far each attempt at a funnel gets: one small table of arrivals per step.

An attempt starts at a first step. An *arrival* is ``(user_id, _same, start, at)``: the attempt that began at ``start``
reaches the step at ``at``. At each step only the latest start that can arrive matters: whatever an earlier attempt can
still do from there, the later one can do too, with more of its window left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import ibis

from microconv.reduce.items import TIME, flagged, occurring, tie_columns, with_time

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = [
    "NEVER",
    "FunnelRule",
    "arrivals",
    "by_key",
    "excluded_events",
    "last_event_number",
    "step_events",
    "union",
    "with_same",
]

_PART_ROWS = 5_000_000
USER, SAME, START, AT, NUMBER = "user_id", "_same", "start", "at", "_number"
NEVER = -(
    1 << 62
)  # before any event, where a null would do: engines differ in what least() and greatest() make of nulls


@dataclass(frozen=True)
class FunnelRule:
    """What a funnel counts, with every duration in microseconds; steps are numbered from 0.

    ``within[j]`` limits step j from the step before. ``overlaps``: groups of steps that one event could serve, of which
    it shall serve only one.
    """

    steps: tuple[Item, ...]
    window: int | None
    within: tuple[int | None, ...]
    order: Literal["ordered", "any", "strict"] = "ordered"
    reentry: Literal["latest", "first"] = "latest"
    optional: frozenset[int] = frozenset()
    exclude: tuple[Item, ...] = ()
    same: str | None = None
    overlaps: tuple[tuple[int, ...], ...] = field(default=())

    def before(self, step: int) -> list[int]:
        """The steps from which ``step`` may be reached: the last required one and the optional ones after it."""
        found = []
        for earlier in range(step - 1, -1, -1):
            found.append(earlier)
            if earlier not in self.optional:
                break
        return found

    def after(self, step: int) -> list[int]:
        """The steps that may come next after ``step``: those up to the first that may not be left out."""
        return [later for later in range(step + 1, len(self.steps)) if step in self.before(later)]

    @property
    def keys(self) -> list[str]:
        """What an attempt belongs to: a user, and the value of the property held constant."""
        return [USER] if self.same is None else [USER, SAME]

    def tie_columns(self, table: ir.Table) -> list[str]:
        """The columns that put events of one instant in order where an order is needed."""
        return tie_columns(table, self.steps, [self.same] if self.same is not None else [])

    @property
    def has_within(self) -> bool:
        """Whether any step is limited from the step before it."""
        return any(limit is not None for limit in self.within)


def step_events(log: EventLog, rule: FunnelRule) -> list[ir.Table]:
    """For each step its events: ``user_id, _same, at``, and the event's ``_number`` when order is strict."""
    if rule.order == "strict":
        numbered = _numbered(log, rule)
        found = [numbered.filter(numbered[f"_is_{j}"]) for j in range(len(rule.steps))]
        return [with_same(events, rule).select(*rule.keys, TIME, NUMBER).rename({AT: TIME}) for events in found]
    timed = with_time(log.engine, log.table)
    ties = rule.tie_columns(timed)
    found = [occurring(step, timed, ties) for step in rule.steps]
    return [with_same(events, rule).select(*rule.keys, TIME).rename({AT: TIME}) for events in found]


def with_same(timed: ir.Table, rule: FunnelRule) -> ir.Table:
    """The events that have the property held constant, with its value as text in ``_same``."""
    if rule.same is None:
        return timed
    return timed.filter(timed[rule.same].notnull()).mutate(**{SAME: timed[rule.same].cast("string")})


def _numbered(log: EventLog, rule: FunnelRule) -> ir.Table:
    """The steps' events, numbered among all of the user's; at one instant the steps come first, in their order."""
    timed = with_time(log.engine, log.table)
    ties = rule.tie_columns(timed)
    for j, step in enumerate(rule.steps):
        timed = flagged(step, timed, f"_is_{j}", ties)
    ranks = [(timed[f"_is_{j}"], j) for j in range(len(rule.steps))]
    timed = timed.mutate(_rank=ibis.cases(*ranks, else_=len(ranks)))
    order = ibis.window(group_by=USER, order_by=[TIME, "_rank", *ties])
    numbered = timed.mutate(**{NUMBER: ibis.row_number().over(order)})
    return log.engine.materialise(numbered.filter(numbered["_rank"] < len(ranks)))


def last_event_number(log: EventLog) -> ir.Table:
    """The number of each user's last event, as ``strict`` numbers them."""
    return log.table.group_by(USER).agg(last=log.table.count() - 1)


def excluded_events(log: EventLog, rule: FunnelRule) -> ir.Table | None:
    """The events that end a user's attempts: ``user_id, at``."""
    if not rule.exclude:
        return None
    timed = with_time(log.engine, log.table)
    return union([occurring(item, timed).select(USER, TIME).rename({AT: TIME}) for item in rule.exclude])


def union(tables: Sequence[ir.Table]) -> ir.Table:
    """All rows of one or more tables."""
    return ibis.union(*tables) if len(tables) > 1 else tables[0]


def arrivals(log: EventLog, rule: FunnelRule) -> list[ir.Table]:
    """For each step its arrivals ``user_id, _same, start, at`` (and ``_number`` when strict)."""
    if rule.order == "any":
        from microconv.reduce.anyorder import arrivals_any_order

        return arrivals_any_order(log, rule)
    if rule.order == "ordered" and rule.overlaps:
        from microconv.reduce.repeats import arrivals_with_repeats

        return arrivals_with_repeats(log, rule)
    events = step_events(log, rule)
    first = events[0].mutate(**{START: events[0][AT]})
    if rule.reentry == "first":
        first = _first_only(first, rule)
    excluded = by_key(excluded_events(log, rule), first, rule)
    found = [first]
    for step in range(1, len(rule.steps)):
        sources = [found[earlier] for earlier in rule.before(step)]
        link = _linked_strictly if rule.order == "strict" else _linked
        # The first link sorts by far the most rows; users are independent, so it can be made of them in parts.
        parts = _parts(log.rows_accepted) if step == 1 else 1
        linked = []
        for part in range(parts):
            mine, theirs = [_part(table, part, parts) for table in sources], _part(events[step], part, parts)
            linked.append(log.engine.materialise(link(mine, theirs, excluded, rule, step)))
        found.append(union(linked))
    return found


def _parts(rows: int) -> int:
    """In how many parts users are taken: powers of two, so that memory stays within bounds and scans stay few."""
    return 1 if rows <= _PART_ROWS else 2 if rows <= 4 * _PART_ROWS else 4


def _part(table: ir.Table, part: int, parts: int) -> ir.Table:
    return table if parts == 1 else table.filter((table[USER].hash() & (parts - 1)) == part)


def _first_only(first: ir.Table, rule: FunnelRule) -> ir.Table:
    """The user's first first step; of several at one instant that with the smallest property."""
    if rule.order != "strict" and rule.same is None:
        return first.group_by(USER).agg(**{START: first[START].min(), AT: first[AT].min()})
    order = [NUMBER] if rule.order == "strict" else [AT, SAME]
    ranked = first.mutate(_rank=ibis.row_number().over(ibis.window(group_by=USER, order_by=order)))
    return ranked.filter(ranked["_rank"] == 0).drop("_rank")


def by_key(excluded: ir.Table | None, first: ir.Table, rule: FunnelRule) -> ir.Table | None:
    """An exclusion ends all of the user's attempts, whatever property they hold constant."""
    if excluded is None or rule.same is None:
        return excluded
    keys = first.select(*rule.keys).distinct()
    return excluded.join(keys, USER).select(*rule.keys, AT)


def _linked(
    sources: Sequence[ir.Table], events: ir.Table, excluded: ir.Table | None, rule: FunnelRule, step: int
) -> ir.Table:
    """Arrivals at a step: each of its events takes the latest attempt that is at a step before and still in time."""
    # One number orders the rows: at one instant the step before comes first, then this step, then what excludes. Rows
    # are many here and every column of theirs is sorted, so there is none that another tells: who is at the first step
    # has just started.
    nothing = ibis.null("int64")
    from_first = rule.before(step) == [0]
    parts = []
    for kind, tables in enumerate((sources, [events], [excluded] if excluded is not None else [])):
        for table in tables:
            start = {} if from_first else {START: table[START] if kind == 0 else nothing}
            parts.append(table.select(*rule.keys, _order=table[AT] * 4 + kind, **start))
    rows = ibis.union(*parts)
    keys = [rows[key] for key in rule.keys]
    kind = rows["_order"] % 4
    start = (kind == 0).ifelse(rows["_order"] // 4, nothing) if from_first else rows[START]
    so_far = ibis.window(group_by=keys, order_by=rows["_order"], rows=(None, 0))
    within = rule.within[step]
    in_reach = (
        so_far
        if within is None
        else ibis.range_window(group_by=keys, order_by=rows["_order"], preceding=4 * within + 1, following=0)
    )
    latest = rows.mutate(_from=start.max().over(in_reach))
    if excluded is not None:
        latest = latest.mutate(_ended=(kind == 2).ifelse(rows["_order"] // 4, nothing).max().over(so_far))
    reached = latest.filter(latest["_order"] % 4 == 1, latest["_from"].notnull())
    reached = reached.mutate(**{AT: reached["_order"] // 4})
    if excluded is not None:
        reached = reached.filter(reached["_ended"].isnull() | (reached["_ended"] < reached["_from"]))
    if rule.window is not None:
        reached = reached.filter(reached[AT] - reached["_from"] <= rule.window)
    if rule.has_within:  # every arrival counts: the next step is timed from it
        return reached.select(*rule.keys, AT, **{START: reached["_from"]}).distinct()
    return reached.group_by([*rule.keys, reached["_from"].name(START)]).agg(**{AT: reached[AT].min()})


def _linked_strictly(
    sources: Sequence[ir.Table], events: ir.Table, excluded: ir.Table | None, rule: FunnelRule, step: int
) -> ir.Table:
    """Arrivals at a step whose event directly follows the step before; an exclusion between would not be direct."""
    before = union([source.select(*rule.keys, START, AT, NUMBER) for source in sources])
    before = before.select(*rule.keys, START, previous=before[AT], _next=before[NUMBER] + 1)
    pairs = events.join(before, [*[events[key] == before[key] for key in rule.keys], events[NUMBER] == before["_next"]])
    if rule.window is not None:
        pairs = pairs.filter(pairs[AT] - pairs[START] <= rule.window)
    if rule.within[step] is not None:
        pairs = pairs.filter(pairs[AT] - pairs.previous <= rule.within[step])
    return pairs.select(*rule.keys, START, AT, NUMBER).distinct()
