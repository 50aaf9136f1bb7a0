"""Touches and conversions: which events are which, channels as numbers, and what each conversion paid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import ibis

from microconv.durations import moment_to_micros
from microconv.errors import ParameterError, shorten
from microconv.path_sums import refuse_reserved
from microconv.reduce.channel_groups import GROUP, with_channel_group
from microconv.reduce.items import TIME, matches, occurring, tie_columns, with_time
from microconv.reduce.revenue import payments

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.reduce.path_rules import PathRule

__all__ = ["NOISE", "NoTouchError", "Touches", "conversions_of", "touch_events", "touches_of"]

NOISE = "(random)"  # the channel of touches at random moments
_DIGITS = "0123456789abcdef"

_MOST_CHANNELS = 500


class NoTouchError(ParameterError):
    """No event of the log carries a channel."""


@dataclass(frozen=True, eq=False)
class Touches:
    """``touches``: ``user_id, at, channel`` (its number, from 1 in the order of ``channels``), ``count`` of them, the
    ``first`` and the ``last`` moment;
    ``conversions``: ``user_id, at, conversions`` (how many at this instant) and ``cents``; ``ends``: ``_who, _end``:
    users whose observation an event ended before ``until``, if the plan has such events. Times in microseconds since
    1970.
    """

    engine: Engine
    channels: tuple[str, ...]
    count: int
    first: int
    last: int
    touches: ir.Table
    conversions: ir.Table
    ends: ir.Table | None
    until: int


def touches_of(log: EventLog, rule: PathRule, noise: float = 0.0) -> Touches:
    """The touches and the conversions of a log.

    With ``noise`` there is one more channel, ``NOISE``, of touches that cannot have an effect: for that share of all
    touches one of the same user at a moment drawn evenly from the user's first touch to the end of the log (by a hash).

    Raises ``NoTouchError`` where no event carries a channel and ``ParameterError`` where there are too many channels.
    """
    found = touch_events(log, rule, noise)
    kept = log.engine.materialise(found.touches)
    return replace(found, touches=kept, conversions=conversions_of(log, rule, found.conversions))


def touch_events(log: EventLog, rule: PathRule, noise: float = 0.0) -> Touches:
    """The same before anything is computed or added up: ``conversions``: ``user_id, at``, a row per event."""
    engine = log.engine
    timed = with_time(engine, log.table)
    if rule.channel == "ga4":  # named touches without source and medium came directly
        timed = with_channel_group(engine, timed, direct=rule.touch is not None)
    is_target = matches(rule.target, timed)
    chosen = ~is_target if rule.touch is None else matches(rule.touch, timed) & ~is_target
    named = timed[GROUP if rule.channel == "ga4" else rule.channel]
    name = engine.trim(named.cast("string")).nullif("")
    rows = timed.select("user_id", _at=timed[TIME], _name=name, _chosen=chosen)
    rows = rows.filter(rows["_chosen"] & rows["_name"].notnull()).drop("_chosen")
    ends, until = _ends(log), _told_until(log, rule)
    rows = _observed(rows, ends)
    if rule.worth_within is not None:
        rows = rows.filter(rows["_at"] <= until)
    if noise:
        rows = engine.materialise(rows)
        rows = engine.materialise(ibis.union(rows, _observed(_random(log, rows, noise, until), ends)))
    counts = engine.fetch(
        rows.group_by("_name").agg(touches=rows.count(), first=rows["_at"].min(), last=rows["_at"].max())
    )
    names = sorted(map(str, counts["_name"]))
    if not names:
        raise NoTouchError(
            f"No event carries a channel (channel={rule.channel!r}), so there are no touches. Name the column that "
            "holds the channel, or the events that are touches."
        )
    if len(names) > _MOST_CHANNELS:
        raise ParameterError(
            f"channel={rule.channel!r} has {len(names):,} values, such as {shorten(repr(names[0]), 40)}: more than "
            f"{_MOST_CHANNELS} channels. Name a column of channels, or group them (channel='ga4')."
        )
    refuse_reserved(name for name in names if not noise or name != NOISE)
    known = ibis.memtable({"_known": names, "_number": list(range(1, len(names) + 1))})
    coded = rows.join(known, rows["_name"] == known["_known"])
    return Touches(
        engine=engine,
        channels=tuple(names),
        count=int(counts["touches"].sum()),
        first=int(counts["first"].min()),
        last=int(counts["last"].max()),
        touches=coded.select("user_id", at=coded["_at"], channel=coded["_number"].cast("int32")),
        conversions=_hits(log, rule, ends),
        ends=ends,
        until=until,
    )


def _told_until(log: EventLog, rule: PathRule) -> int:
    """The end of observation, or so long before it that the money of every conversion is in."""
    return moment_to_micros(log.observed_until) - (rule.worth_within or 0)


def _random(log: EventLog, rows: ir.Table, share: float, until: int) -> ir.Table:
    """Touches of ``NOISE``, as many as ``share`` of the touches."""
    first = rows["_at"].min().over(ibis.window(group_by=rows.user_id))
    text = rows.user_id.cast("string") + ":" + rows["_at"].cast("string") + ":" + rows["_name"]
    rows = log.engine.materialise(rows.mutate(_first=first, _digest=log.engine.digest(text)))

    def part(begin: int) -> ir.FloatingValue:
        digits = [ibis.literal(_DIGITS).find(rows["_digest"].substr(begin + i, 1)).cast("int64") for i in range(6)]
        return sum((digit * 16 ** (5 - i) for i, digit in enumerate(digits)), ibis.literal(0)) / float(16**6)

    span = ibis.literal(until, "int64") - rows["_first"]
    at = rows["_first"] + (part(8) * span.cast("float64")).floor().cast("int64")
    drawn = rows.filter(part(0) < share)
    return drawn.select("user_id", _at=at, _name=ibis.literal(NOISE))


def _ends(log: EventLog) -> ir.Table | None:
    """``_who, _end``: users whose observation an event of the plan's ``censor`` ends, and when."""
    censor = log.plan.censor if log.plan is not None else ()
    if not censor:
        return None
    timed = with_time(log.engine, log.table)
    ending = timed.filter(reduce(or_, [matches(item, timed) for item in censor]))
    ends = ending.group_by("user_id").agg(_end=ending[TIME].min())
    return log.engine.materialise(ends.rename(_who="user_id"))


def _observed(rows: ir.Table, ends: ir.Table | None) -> ir.Table:
    """The rows up to the end of their user's observation."""
    if ends is None:
        return rows
    joined = rows.left_join(ends, rows.user_id == ends["_who"])
    return joined.filter(joined["_end"].isnull() | (joined["_at"] <= joined["_end"])).drop("_who", "_end")


def _hits(log: EventLog, rule: PathRule, ends: ir.Table | None) -> ir.Table:
    """``user_id, at``: the events of the target that count."""
    timed = with_time(log.engine, log.table)
    hits = occurring(rule.target, timed, tie_columns(timed, [rule.target]))
    hits = _observed(hits.select("user_id", _at=hits[TIME]), ends).rename(at="_at")
    return hits.filter(hits["at"] <= _told_until(log, rule)) if rule.worth_within is not None else hits


def conversions_of(
    log: EventLog,
    rule: PathRule,
    hits: ir.Table | None = None,
    person: Callable[[ir.Value], ir.Value] = lambda user: user,
) -> ir.Table:
    """``user_id, at, conversions, cents``: a row per user and instant with a conversion.

    ``hits``: ``user_id, at``, a row per event of the target (None: those of the log); ``person``: what ``user_id`` of
    the log is there.
    """
    engine = log.engine
    hits = hits if hits is not None else _hits(log, rule, _ends(log))
    if rule.repeat == "first":
        once = (hits.count() > 0).cast("int64")  # a literal 1 would have 32 bits on Spark
        found = hits.group_by("user_id").agg(at=hits["at"].min(), conversions=once)
    else:
        found = hits.group_by(["user_id", "at"]).agg(conversions=hits.count().cast("int64"))
    found = engine.materialise(found.select("user_id", "at", "conversions"))
    if rule.terms is None:
        return engine.materialise(found.mutate(cents=found["at"] * 0))  # a literal 0 would have 32 bits on Spark
    paid = payments(log, rule.worth if rule.worth is not None else rule.target, rule.terms).table
    paid = _observed(paid.select("user_id", "bought", "cents", _at="at"), _ends(log))
    paid = paid.select("bought", "cents", user_id=person(paid.user_id))
    return engine.materialise(_with_money(engine, rule, found, paid))


def _with_money(engine: Engine, rule: PathRule, found: ir.Table, paid: ir.Table) -> ir.Table:
    """Each payment to the latest conversion at or before its purchase."""
    # Of a conversion and a purchase at one instant the conversion comes first.
    rows = ibis.union(
        found.select("user_id", "at", kind=ibis.literal(0, "int8"), cents=ibis.literal(0, "int64")),
        paid.select("user_id", at=paid.bought, kind=ibis.literal(1, "int8"), cents=paid.cents),
    )
    rows = engine.materialise(rows)
    so_far = ibis.window(group_by="user_id", order_by=["at", "kind"], rows=(None, 0))
    nothing = ibis.null("int64")
    rows = rows.mutate(_of=(rows.kind == 0).ifelse(rows["at"], nothing).max().over(so_far))
    mine = rows.filter((rows.kind == 1) & rows["_of"].notnull())
    if rule.worth_within is not None:
        mine = mine.filter(mine["at"] <= mine["_of"] + rule.worth_within)
    sums = mine.group_by(["user_id", "_of"]).agg(cents=mine.cents.sum().cast("int64")).rename(_who="user_id")
    joined = found.left_join(sums, [found.user_id == sums["_who"], found["at"] == sums["_of"]])
    return joined.select("user_id", "at", "conversions", cents=joined.cents.fill_null(0))
