"""Funnel counts: each user's counted attempt, then how many reached, are still open, and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.durations import moment_to_micros
from microconv.errors import ParameterError
from microconv.reduce.chains import (
    AT,
    NUMBER,
    SAME,
    START,
    USER,
    FunnelRule,
    arrivals,
    excluded_events,
    last_event_number,
    step_events,
    union,
)
from microconv.reduce.occurrences import at_entry, earliest, occurrences

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["attempts", "durations", "lost_users", "reach_counts", "waiting_counts"]

_LEVEL_BITS = 52  # a level and a start share one int64: 2^52 microseconds are 142 years


def attempts(log: EventLog, rule: FunnelRule, by: Sequence[str] = ()) -> ir.Table:
    """One row per user who did the first step: the attempt that counts.

    ``user_id``, ``start`` (microseconds since 1970), ``level`` (the furthest step, from 1), ``at_1`` ... (when the
    attempt first reached each step, null if not), ``running`` (this attempt may still go on after the end of
    observation), ``open`` (some attempt of the user may), and ``by_0`` ... (the user's attributes at entry).
    The furthest attempt counts; of equally far ones the latest, and of those at one instant that with the smallest
    property. An optional step counts if it was reached no later than what comes after it.
    """
    reached = arrivals(log, rule)
    base, until = moment_to_micros(log.observed_from), moment_to_micros(log.observed_until)
    if (until - base) >> _LEVEL_BITS:
        raise ParameterError("The events span more than 142 years: check for impossible times with log.quality().")
    best = log.engine.materialise(_best(reached, base))
    users = _in_order(_with_arrivals(log, best, reached, rule), rule)
    users = _with_openness(log, users, reached, rule, until)
    if by:
        entry = log.engine.materialise(occurrences(log, ()).semi_join(users, USER))
        users = users.join(at_entry(log, entry, by).drop("entry"), USER)
    return log.engine.materialise(users)


def _best(reached: Sequence[ir.Table], base: int) -> ir.Table:
    """Each user's furthest level, the latest start that came so far, and the latest start of any attempt."""
    # The first step has by far the most events: it is read once, for the newest start.
    users = reached[0].group_by(USER).agg(newest=reached[0][START].max())
    if len(reached) == 1:
        return users.mutate(level=ibis.literal(1, "int64"), start=users.newest)
    further = union(
        [
            table.group_by(USER).agg(_best=ibis.literal(step << _LEVEL_BITS, "int64") + (table[START].max() - base))
            for step, table in enumerate(reached[1:], start=2)
        ]
    )
    further = further.group_by(USER).agg(_best=further._best.max())
    joined = _left(users, further)
    return joined.select(
        USER,
        "newest",
        level=(joined._best // (1 << _LEVEL_BITS)).fill_null(1).cast("int64"),
        start=(joined._best % (1 << _LEVEL_BITS) + base).fill_null(joined.newest).cast("int64"),
    )


def _with_arrivals(log: EventLog, best: ir.Table, reached: Sequence[ir.Table], rule: FunnelRule) -> ir.Table:
    """When the counted attempt reached each step; with ``same`` also its property, ``_same``."""
    # In order, the first step is the start itself; but the property of those who got no further is known only there.
    first = 0 if rule.order == "any" or rule.same is not None else 1
    if first == len(reached):
        return best.mutate(at_1=best.start)
    rows = union(
        [
            table.select(*rule.keys, START, AT, _step=ibis.literal(i + 1, "int16"))
            for i, table in enumerate(reached)
            if i >= first
        ]
    )
    chosen = best.select(_user=best[USER], _start=best[START], level=best.level)
    if rule.order == "any":
        # A later step may complete the set, so smaller sets may be complete by events after the attempt's start.
        mine = rows.join(chosen, (rows[USER] == chosen["_user"]) & (rows[START] >= chosen["_start"]))
        mine = mine.filter(mine[AT] - mine["_start"] <= rule.window) if rule.window is not None else mine
        ends = excluded_events(log, rule) if rule.optional else None
        if ends is not None:  # an optional step may have come when this attempt had ended
            mine = mine.anti_join(ends, [mine[USER] == ends[USER], mine["_start"] <= ends[AT], mine[AT] > ends[AT]])
    else:
        mine = rows.join(chosen, (rows[USER] == chosen["_user"]) & (rows[START] == chosen["_start"]))
    if rule.same is not None:  # one property may have got as far as another at the same start: take the smallest
        tops = mine.filter(mine["_step"] == mine.level)
        tops = tops.group_by(USER).agg(_kept=tops[SAME].min())
        mine = mine.join(tops, USER)
        mine = mine.filter(mine[SAME] == mine["_kept"])
    moments = {f"at_{i + 1}": mine[AT].min(where=mine["_step"] == i + 1) for i in range(first, len(reached))}
    kept = {SAME: mine["_kept"].min()} if rule.same is not None else {}
    users = _left(best, mine.group_by(USER).agg(**moments, **kept))
    return users if rule.order == "any" else users.mutate(at_1=users.start)


def _in_order(users: ir.Table, rule: FunnelRule) -> ir.Table:
    """Mend the times of steps in order, where the arrivals of one step alone do not tell them."""
    if rule.order == "any" or not (rule.optional or rule.overlaps):
        return users
    times: dict[int, ir.IntegerValue] = {}
    for step in range(len(rule.steps) - 1, -1, -1):
        time = users[f"at_{step + 1}"]
        after = rule.after(step)
        if after and step in rule.optional:  # out of order, if what comes after it was reached before
            time = (
                (earliest(*[times[later] for later in after]) < time).fill_null(False).ifelse(ibis.null("int64"), time)
            )
        elif after:  # null here, though further on: a later attempt got here at the same instant, but no further
            time = time.fill_null(earliest(*[times[later] for later in after]))
        times[step] = time
    return users.mutate(**{f"at_{step + 1}": time for step, time in times.items()})


def _with_openness(
    log: EventLog, users: ir.Table, reached: Sequence[ir.Table], rule: FunnelRule, until: int
) -> ir.Table:
    """``running`` and ``open``: whether the counted attempt, and any attempt, may go on after the end."""
    if rule.has_within or rule.order == "strict":
        return _open_by_arrivals(log, users, reached, rule, until)
    if rule.order == "any" and rule.reentry == "latest":  # any step opens an attempt there
        events = union([events.select(USER, AT) for events in step_events(log, rule)])
        users = _left(users.drop("newest"), events.group_by(USER).agg(newest=events[AT].max()))
    excluded = excluded_events(log, rule)
    if excluded is not None:
        users = _left(users, excluded.group_by(USER).agg(_ended=excluded[AT].max()))
    else:
        users = users.mutate(_ended=ibis.null("int64"))

    def runs(start: ir.IntegerValue) -> ir.BooleanValue:
        in_time = start + rule.window > until if rule.window is not None else ibis.literal(True)
        return in_time & (users._ended.isnull() | (users._ended < start).fill_null(True))

    return users.mutate(running=runs(users[START]), open=runs(users.newest)).drop("newest", "_ended", *rule.keys[1:])


def _open_by_arrivals(
    log: EventLog, users: ir.Table, reached: Sequence[ir.Table], rule: FunnelRule, until: int
) -> ir.Table:
    """The same where the next step depends on the last: an attempt runs on from an arrival still in time."""
    rows = union([_still_going(table, rule, step, until) for step, table in enumerate(reached)])
    excluded = excluded_events(log, rule)
    if excluded is not None:
        rows = _left(rows, excluded.group_by(USER).agg(_ended=excluded[AT].max()))
        rows = rows.filter(rows["_ended"].isnull() | (rows["_ended"] < rows[START]))
    if rule.order == "strict":
        rows = rows.join(last_event_number(log), USER)
        rows = rows.filter(rows[NUMBER] == rows["last"])
    alive = log.engine.materialise(rows.select(*rule.keys, START).distinct())
    anyone = alive.select(_user=alive[USER]).distinct()
    users = users.left_join(anyone, users[USER] == anyone["_user"])
    users = users.mutate(open=users["_user"].notnull()).drop("_user")
    alive = alive.rename({f"_{key}": key for key in [*rule.keys, START]})
    users = users.left_join(alive, [users[key] == alive[f"_{key}"] for key in [*rule.keys, START]])
    return users.mutate(running=users[f"_{USER}"].notnull()).drop(*alive.columns, "newest", *rule.keys[1:])


def _left(table: ir.Table, other: ir.Table) -> ir.Table:
    return table.left_join(other, USER).drop(f"{USER}_right")


def _still_going(table: ir.Table, rule: FunnelRule, step: int, until: int) -> ir.Table:
    """The arrivals at a step from which the next step could still come after ``until``."""
    columns = [*rule.keys, START, *([NUMBER] if rule.order == "strict" else [])]
    if "_own" in table.columns:
        table = table.filter(table["_own"])
    if rule.window is not None:
        table = table.filter(table[START] + rule.window > until)
    limits = [rule.within[later] for later in rule.after(step)]
    longest = max((limit for limit in limits if limit is not None), default=None)
    if longest is not None and None not in limits:
        table = table.filter(table[AT] + longest > until)
    return table.select(*columns)


def lost_users(log: EventLog, users: ir.Table, steps: int, before: int, missed: int) -> ir.Table:
    """The users whose counted attempt reached step ``before`` but not ``missed``, with times in UTC."""
    engine = log.engine
    gone = users.filter(users[f"at_{before}"].notnull(), users[f"at_{missed}"].isnull())
    last = ibis.greatest(*[gone[f"at_{k}"].fill_null(gone.start) for k in range(1, steps + 1)])
    return gone.select(
        user_id=gone.user_id.cast("string"),
        started=engine.from_micros(gone.start),
        last_step_at=engine.from_micros(last),
        last_step=gone.level,
        open=gone.open,
    )


def reach_counts(log: EventLog, users: ir.Table, steps: int, by: int = 0) -> pd.DataFrame:
    """Per segment: ``users`` who did step 1, ``reached_<k>`` and ``open_<k>`` (not reached, an attempt still open)."""
    sums = {}
    for k in range(1, steps + 1):
        reached = users[f"at_{k}"].notnull()
        sums[f"reached_{k}"] = reached.cast("int64").sum().fill_null(0)
        sums[f"open_{k}"] = (~reached & users.open).cast("int64").sum().fill_null(0)
    keys = [f"by_{i}" for i in range(by)]
    grouped = users.group_by(keys).agg(users=users.count(), **sums) if keys else users.agg(users=users.count(), **sums)
    return log.engine.fetch(grouped).sort_values(keys or ["users"]).reset_index(drop=True)


def durations(
    log: EventLog, users: ir.Table, since: Sequence[int | None], probabilities: Sequence[float], by: int = 0
) -> pd.DataFrame:
    """Quantiles (microseconds) of the time to each step, among those who reached it; ``q_<k>_<i>`` per segment.

    ``since[k-1]`` is the step from which step k is timed, None the attempt's start.
    """
    wanted = {}
    for k, earlier in enumerate(since, start=1):
        waited = users[f"at_{k}"] - (users[START] if earlier is None else users[f"at_{earlier}"])
        for i, probability in enumerate(probabilities):
            wanted[f"q_{k}_{i}"] = waited.quantile(probability)
    keys = [f"by_{i}" for i in range(by)]
    grouped = users.group_by(keys).agg(**wanted) if keys else users.agg(**wanted)
    frame = log.engine.fetch(grouped)
    return frame.sort_values(keys).reset_index(drop=True) if keys else frame


def waiting_counts(log: EventLog, users: ir.Table, steps: int, limit: int, by: int = 0) -> pd.DataFrame:
    """Per segment and step, what 1 - Kaplan-Meier of reaching it within ``limit`` of the counted attempt's start needs.

    A user whose attempt is still running is censored at the end of observation; one whose attempt has ended without the
    step is known not to reach it. Columns ``by_<i>, step, log_survival, variance`` (Greenwood's sum, for the log-log
    interval) and ``everyone`` (survival is zero); a step that nobody reached has no row.
    The engine sums ln(1 - d/n) over the exact waiting times, so that no user's time leaves it.
    """
    until = moment_to_micros(log.observed_until)
    keys = [f"by_{i}" for i in range(by)]
    if steps == 1:
        return pd.DataFrame(columns=[*keys, "step", "log_survival", "variance", "everyone"])
    parts = []
    for k in range(2, steps + 1):
        waited = users[f"at_{k}"] - users[START]
        reached = (waited <= limit).fill_null(False)
        followed = users.running.ifelse(ibis.least(until - users[START], limit), ibis.literal(limit, "int64"))
        parts.append(
            users.select(
                *keys,
                step=ibis.literal(k, "int16"),
                waited=reached.ifelse(waited, waited.notnull().ifelse(ibis.literal(limit, "int64"), followed)),
                reached=reached.cast("int64"),
            )
        )
    rows = union(parts)
    counts = rows.group_by([*keys, "step", "waited"]).agg(d=rows.reached.sum(), m=rows.count())
    block = [counts[key] for key in [*keys, "step"]]
    gone = counts.m.sum().over(ibis.window(group_by=block, order_by=counts.waited, rows=(None, 0)))
    total = counts.m.sum().over(ibis.window(group_by=block))
    at_risk = counts.mutate(n=(total - gone + counts.m).cast("float64"), d=counts.d.cast("float64"))
    dying = at_risk.filter(at_risk.d > 0)
    left = (dying.d < dying.n).ifelse(1.0 - dying.d / dying.n, ibis.null("float64"))
    grouped = dying.group_by([*keys, "step"]).agg(
        log_survival=left.ln().sum(),
        variance=(dying.d < dying.n).ifelse(dying.d / (dying.n * (dying.n - dying.d)), ibis.null("float64")).sum(),
        everyone=(dying.d == dying.n).max(),
    )
    return log.engine.fetch(grouped).sort_values([*keys, "step"]).reset_index(drop=True)
