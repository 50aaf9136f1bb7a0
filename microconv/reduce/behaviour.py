"""What users had done by a landmark (an age, or one moment for all), as counts, and who is at risk from there on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.durations import moment_to_micros, to_micros
from microconv.plan import KINDS, Behaviour, Item
from microconv.reduce.items import TIME, is_plain, matches, occurring, tie_columns, with_time
from microconv.reduce.occurrences import occurrences
from microconv.reduce.risk import LEFT_OUT, JourneyRule, journeys

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = [
    "LEVELS",
    "Known",
    "activity",
    "at_risk_after",
    "at_risk_at",
    "fits",
    "grouped",
    "patterns",
    "profile",
    "scores",
    "with_group",
]

LEVELS = (1, 2, 4)  # how often a micro was done is told apart as never, once, two or three times, more often
_WHY = {reason: number for number, reason in enumerate(LEFT_OUT)}


@dataclass(frozen=True, eq=False)
class Known:
    """``table``: a row per user: ``user_id, mark`` (the landmark, microseconds since 1970), ``n_<i>`` and ``last_<i>``
    (how often item i was done by then, and when last), ``days`` with an event, ``seen`` (the last event), and what
    came with ``users``. The micros are the first of ``items``, the target the last.
    """

    table: ir.Table
    items: tuple[Item, ...]

    def place(self, name: str) -> list[int]:
        """The items that a name, or a kind, stands for."""
        named = [i for i, item in enumerate(self.items) if item.name == name]
        if named or name not in KINDS:
            return named
        return [i for i, item in enumerate(self.items) if getattr(item, "kind", None) == name]


def at_risk_after(log: EventLog, rule: JourneyRule, following: bool) -> ir.Table:
    """``user_id, entry, start, enter, stop, cause, why``, as ``journeys`` with a landmark: time zero is the landmark.

    ``following``: users who reached the target before the landmark stay, at risk of the next time after it.
    """
    assert rule.landmark is not None
    if not following:
        return journeys(log, rule, ())
    users = log.engine.materialise(occurrences(log, (*rule.competing, *rule.censor)))
    marked = users.mutate(mark=users.entry + rule.landmark)
    return _followed(log, rule, marked, moment_to_micros(log.observed_until))


def at_risk_at(log: EventLog, rule: JourneyRule, moment: int, until: int) -> ir.Table:
    """The same for one moment for all (microseconds since 1970), with the users who had entered by then; nothing after
    ``until`` is looked at.
    """
    users = log.engine.materialise(occurrences(log, (*rule.competing, *rule.censor)))
    marked = users.filter(users.entry <= moment).mutate(mark=ibis.literal(moment, "int64"))
    return _followed(log, rule, marked, until)


def _followed(log: EventLog, rule: JourneyRule, users: ir.Table, end: int) -> ir.Table:
    """``users`` (with ``mark`` and the ends of the rule) from their mark to the next target, another end or ``end``."""
    many = len(rule.competing)
    until: ir.IntegerValue = ibis.literal(end, "int64")
    for i in range(many, many + len(rule.censor)):
        until = ibis.least(until, users[f"at_{i}"].fill_null(until))
    stop, cause = until, ibis.literal(0, "int16")
    for i in reversed(range(many)):
        at = users[f"at_{i}"]
        sooner = (at <= stop).fill_null(False)
        stop, cause = sooner.ifelse(at, stop), sooner.ifelse(i + 2, cause)
    ended = log.engine.materialise(users.select("user_id", "entry", "mark", stop=stop, cause=cause.cast("int16")))
    timed = with_time(log.engine, log.table)
    hits = occurring(rule.target, timed, tie_columns(timed, [rule.target]))
    hits = hits.select(_user=hits.user_id, _at=hits[TIME])
    marks = ended.select("user_id", "mark")
    mine = marks.join(hits, marks.user_id == hits["_user"])
    nexts = mine.filter(mine["_at"] > mine.mark).group_by("_user").agg(_next=mine["_at"].min())
    nexts = log.engine.materialise(nexts)
    both = ended.left_join(nexts, ended.user_id == nexts["_user"]).drop("_user")
    sooner = (both["_next"] <= both.stop).fill_null(False)
    both = both.mutate(stop=sooner.ifelse(both["_next"], both.stop), cause=sooner.ifelse(1, both.cause).cast("int16"))
    other, open_ = _WHY["other end before the landmark"], _WHY["censored before the landmark"]
    why = (both.stop <= both.mark).ifelse((both.cause == 0).ifelse(open_, other), 0)
    start = (why == 0).ifelse(both.mark, ibis.null("int64"))
    table = both.select("user_id", "entry", "stop", "cause", start=start, why=why.cast("int16"))
    return log.engine.materialise(table.mutate(enter=table.start))


def activity(
    log: EventLog, users: ir.Table, items: Sequence[Item], *, value: str | None = None, tz: str = "UTC"
) -> Known:
    """What ``users`` (``user_id, mark``, ...) had done by their landmark, its very instant included.

    ``value``: the column of the last item's money: ``cents``, the whole hundredths of it that came by the landmark.
    Users without an event by then are left out.
    """
    timed = with_time(log.engine, log.table)
    marks = users.select(_user=users.user_id, mark=users.mark)
    seen = timed.join(marks, timed.user_id == marks["_user"])
    seen = seen.filter(seen[TIME] <= seen.mark)
    day = log.engine.local_day(seen[TIME], tz)
    found = {"days": day.nunique(), "seen": seen[TIME].max()}
    for i, item in enumerate(items):
        if is_plain(item):
            hit = matches(item, seen)
            found |= {f"n_{i}": hit.cast("int64").sum(), f"last_{i}": seen[TIME].max(where=hit)}
    if value is not None:
        number = seen[value].cast("float64")
        usable = matches(items[-1], seen) & ~number.isnan() & ~number.isinf()
        found["cents"] = ibis.ifelse(usable, (number * 100).round(), 0.0).cast("int64").sum().fill_null(0)
    table = seen.group_by("user_id").agg(**found)
    table = log.engine.materialise(table.rename(_user="user_id"))
    whole = users.join(table, users.user_id == table["_user"]).drop("_user")
    once = [i for i, item in enumerate(items) if not is_plain(item)]
    if once:  # these happen once, at a moment that the user's whole history decides
        first = occurrences(log, [items[i] for i in once]).drop("entry").rename(_user="user_id")
        first = log.engine.materialise(first)
        whole = whole.join(first, whole.user_id == first["_user"]).drop("_user")
        for place, i in enumerate(once):
            at = whole[f"at_{place}"]
            done = (at <= whole.mark).fill_null(False)
            last = done.ifelse(at, ibis.null("int64"))
            whole = whole.mutate(**{f"n_{i}": done.cast("int64"), f"last_{i}": last}).drop(f"at_{place}")
    return Known(log.engine.materialise(whole), tuple(items))


def fits(known: Known, rule: Behaviour, micros: int) -> ir.BooleanValue:
    """Whether a user fits a behaviour at the landmark; ``micros`` is how many of the first items are micros."""
    table = known.table
    parts: list[ir.BooleanValue] = [ibis.literal(True)]
    within = to_micros(rule.within, "within") if rule.within is not None else None
    for name in rule.did:
        some: list[ir.BooleanValue] = [ibis.literal(False)]
        for i in known.place(name):
            done = table[f"n_{i}"] > 0
            if within is not None:
                done = done & (table.mark - table[f"last_{i}"] <= within).fill_null(False)
            some.append(done)
        parts.append(reduce(or_, some))
    parts += [table[f"n_{i}"] == 0 for name in rule.did_not for i in known.place(name)]
    different: ir.IntegerValue = reduce(
        lambda a, b: a + b, [(table[f"n_{i}"] > 0).cast("int64") for i in range(micros)], ibis.literal(0, "int64")
    )
    if rule.min_micros is not None:
        parts.append(different >= rule.min_micros)
    if rule.max_micros is not None:
        parts.append(different <= rule.max_micros)
    if rule.min_days is not None:
        parts.append(table.days >= rule.min_days)
    if rule.quiet is not None:
        parts.append(table.mark - table.seen >= to_micros(rule.quiet, "quiet"))
    return reduce(and_, parts)


def patterns(log: EventLog, known: Known, micros: Sequence[int], cuts: Sequence[int] = LEVELS) -> pd.DataFrame:
    """How many users did each micro how often: ``l_<i>`` (the level: how many of ``cuts`` were reached), ``users``."""
    table = with_levels(known.table, micros, cuts)
    keys = [f"l_{i}" for i in micros]
    frame = log.engine.fetch(table.group_by(keys).agg(users=table.count()))
    return frame.sort_values(keys, ignore_index=True).astype("int64")


def with_levels(table: ir.Table, micros: Sequence[int], cuts: Sequence[int]) -> ir.Table:
    """``table`` with ``l_<i>``, how many of ``cuts`` the number of times micro i was done reaches."""
    found = {}
    for i in micros:
        reached = [(table[f"n_{i}"] >= cut).cast("int64") for cut in cuts]
        found[f"l_{i}"] = reduce(lambda a, b: a + b, reached)
    return table.mutate(**found)


def with_group(
    log: EventLog, known: Known, micros: Sequence[int], cuts: Sequence[int], groups: pd.DataFrame
) -> ir.Table:
    """The users with the ``_group`` that ``groups`` gives their pattern."""
    table = log.engine.materialise(with_levels(known.table, micros, cuts))
    named = {f"_l{i}": groups[f"l_{i}"].to_numpy(np.int64) for i in micros}
    given = ibis.memtable(pd.DataFrame({**named, "_group": groups["_group"].to_numpy(np.int64)}))
    joined = table.join(given, [table[f"l_{i}"] == given[f"_l{i}"] for i in micros])
    return log.engine.materialise(joined.drop(*named))


def scores(known: Known, measures: Mapping[str, tuple[str, bool]], parts: int) -> ir.Table:
    """The users with a score from 1 to ``parts`` per measure: ``name -> (column, whether more is better)``.

    Users with equal values have the same score: that of the share of users with less.
    """
    table = known.table
    many = table.count().over(ibis.window()).cast("int64")
    found = {}
    for name, (column, better) in measures.items():
        order = table[column] if better else -table[column]
        below = ibis.rank().over(ibis.window(order_by=order)).cast("int64")
        found[name] = ((below * parts) // many + 1).cast("int64")
    return table.mutate(**found)


def grouped(log: EventLog, known: Known, rules: Sequence[Behaviour], micros: int) -> ir.Table:
    """The users with ``_group``: the place of the first behaviour they fit; those who fit none have the last."""
    number: ir.IntegerValue = ibis.literal(len(rules), "int64")
    for i in reversed(range(len(rules))):
        number = fits(known, rules[i], micros).ifelse(i, number).cast("int64")
    return log.engine.materialise(known.table.mutate(_group=number))


def profile(log: EventLog, users: ir.Table, micros: Sequence[int]) -> pd.DataFrame:
    """``_group, users`` and ``did_<i>``: how many users of each group had done micro i by the landmark."""
    did = {f"did_{i}": (users[f"n_{i}"] > 0).cast("int64").sum() for i in micros}
    return log.engine.fetch(users.group_by("_group").agg(users=users.count(), **did)).sort_values("_group")
