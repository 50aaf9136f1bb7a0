"""Touches and conversions: which events are which, numbered users and channels, and which touch is on which path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import ibis

from microconv.durations import moment_to_micros
from microconv.errors import ParameterError, shorten
from microconv.reduce.channel_groups import GROUP, with_channel_group
from microconv.reduce.items import TIME, matches, occurring, tie_columns, with_time
from microconv.reduce.revenue import payments

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.reduce.path_rules import PathRule

__all__ = ["NOISE", "NoTouchError", "Touches", "conversions_of", "touches_of"]

NOISE = "(random)"  # the channel of touches at random moments
_DIGITS = "0123456789abcdef"

_MOST_CHANNELS = 500


class NoTouchError(ParameterError):
    """No event of the log carries a channel."""


@dataclass(frozen=True, eq=False)
class Touches:
    """``touches``: ``user_id, at, channel`` (its number, from 1 in the order of ``channels``); ``conversions``:
    ``user_id, at, conversions`` (how many at this instant) and ``cents``; ``ends``: ``_who, _end``: users whose
    observation an event ended before ``until``, if the plan has such events. Times in microseconds since 1970.
    """

    engine: Engine
    channels: tuple[str, ...]
    touches: ir.Table
    conversions: ir.Table
    ends: ir.Table | None
    until: int
    tie_rate: float


def touches_of(log: EventLog, rule: PathRule, noise: float = 0.0) -> Touches:
    """The touches and the conversions of a log.

    With ``noise`` there is one more channel, ``NOISE``, of touches that cannot have an effect: for that share of all
    touches one of the same user at a moment drawn evenly from the user's first touch to the end of the log (by a hash).

    Raises ``NoTouchError`` where no event carries a channel and ``ParameterError`` where there are too many channels.
    """
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
    ends = _ends(log)
    rows = engine.materialise(_observed(rows, ends))
    if noise:
        rows = engine.materialise(ibis.union(rows, _observed(_random(log, rows, noise), ends)))
    counts = engine.fetch(rows.group_by("_name").agg(touches=rows.count()))
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
    known = ibis.memtable({"_known": names, "_number": list(range(1, len(names) + 1))})
    coded = rows.join(known, rows["_name"] == known["_known"])
    coded = engine.materialise(coded.select("user_id", at=coded["_at"], channel=coded["_number"].cast("int32")))
    return Touches(
        engine=engine,
        channels=tuple(names),
        touches=coded,
        conversions=_conversions(log, rule, ends),
        ends=ends,
        until=moment_to_micros(log.observed_until),
        tie_rate=_tie_rate(engine, coded),
    )


def conversions_of(log: EventLog, rule: PathRule) -> ir.Table:
    """``Touches.conversions`` alone, of a log that may have no touch."""
    return _conversions(log, rule, _ends(log))


def _random(log: EventLog, rows: ir.Table, share: float) -> ir.Table:
    """Touches of ``NOISE``, as many as ``share`` of the touches."""
    first = rows["_at"].min().over(ibis.window(group_by=rows.user_id))
    text = rows.user_id.cast("string") + ":" + rows["_at"].cast("string") + ":" + rows["_name"]
    rows = log.engine.materialise(rows.mutate(_first=first, _digest=log.engine.digest(text)))

    def part(begin: int) -> ir.FloatingValue:
        digits = [ibis.literal(_DIGITS).find(rows["_digest"].substr(begin + i, 1)).cast("int64") for i in range(6)]
        return sum((digit * 16 ** (5 - i) for i, digit in enumerate(digits)), ibis.literal(0)) / float(16**6)

    span = ibis.literal(moment_to_micros(log.observed_until), "int64") - rows["_first"]
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


def _conversions(log: EventLog, rule: PathRule, ends: ir.Table | None) -> ir.Table:
    """``user_id, at, conversions, cents``: a row per user and instant with a conversion."""
    engine = log.engine
    timed = with_time(engine, log.table)
    hits = occurring(rule.target, timed, tie_columns(timed, [rule.target]))
    hits = _observed(hits.select("user_id", _at=hits[TIME]), ends)
    if rule.repeat == "first":
        once = (hits.count() > 0).cast("int64")  # a literal 1 would have 32 bits on Spark
        found = hits.group_by("user_id").agg(at=hits["_at"].min(), conversions=once)
    else:
        found = hits.group_by(["user_id", hits["_at"].name("at")]).agg(conversions=hits.count().cast("int64"))
    if rule.worth is not None and rule.worth_within is not None:  # those whose money is all in
        found = found.filter(found["at"] + rule.worth_within <= moment_to_micros(log.observed_until))
    found = engine.materialise(found.select("user_id", "at", "conversions"))
    if rule.terms is None:
        return engine.materialise(found.mutate(cents=found["at"] * 0))  # a literal 0 would have 32 bits on Spark
    return engine.materialise(_with_money(log, rule, found))


def _with_money(log: EventLog, rule: PathRule, found: ir.Table) -> ir.Table:
    """Each payment to the latest conversion at or before its purchase."""
    assert rule.terms is not None  # asked for by the caller
    paid = payments(log, rule.worth if rule.worth is not None else rule.target, rule.terms).table
    # Of a conversion and a purchase at one instant the conversion comes first.
    rows = ibis.union(
        found.select("user_id", "at", kind=ibis.literal(0, "int8"), cents=ibis.literal(0, "int64")),
        paid.select("user_id", at=paid.bought, kind=ibis.literal(1, "int8"), cents=paid.cents),
    )
    rows = log.engine.materialise(rows)
    so_far = ibis.window(group_by="user_id", order_by=["at", "kind"], rows=(None, 0))
    nothing = ibis.null("int64")
    rows = rows.mutate(_of=(rows.kind == 0).ifelse(rows["at"], nothing).max().over(so_far))
    mine = rows.filter((rows.kind == 1) & rows["_of"].notnull())
    if rule.worth_within is not None:
        mine = mine.filter(mine["at"] <= mine["_of"] + rule.worth_within)
    sums = mine.group_by(["user_id", "_of"]).agg(cents=mine.cents.sum().cast("int64")).rename(_who="user_id")
    joined = found.left_join(sums, [found.user_id == sums["_who"], found["at"] == sums["_of"]])
    return joined.select("user_id", "at", "conversions", cents=joined.cents.fill_null(0))


def _tie_rate(engine: Engine, touches: ir.Table) -> float:
    """The share of touches that share user and instant with a touch of another channel."""
    instants = touches.group_by(["user_id", "at"]).agg(
        touches=touches.count(), low=touches.channel.min(), high=touches.channel.max()
    )
    tied = instants.touches.sum(where=instants.low != instants.high).fill_null(0)
    frame = engine.fetch(instants.agg(tied=tied, touches=instants.touches.sum()))
    return float(frame["tied"][0]) / float(frame["touches"][0])
