"""Touches and conversions of each user in their order, and for each touch whether it is on the path of one.

A user is one number and so is a moment with its channel: one sort by two numbers puts everything in order, where rows
of text would cost several times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import ibis

from microconv.durations import micros_to_moment
from microconv.errors import ParameterError
from microconv.reduce.touches import Touches, conversions_of, touch_events

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.reduce.path_rules import PathRule

__all__ = [
    "DIGIT",
    "DIGITS",
    "LOST",
    "OPEN",
    "TIED",
    "WON",
    "Marks",
    "begins",
    "in_order",
    "marks_of",
    "tied_touches",
    "with_fate",
]

# What a path ended in.
WON, LOST, OPEN = 1, 2, 3
BITS = 10  # of a key are the channel: there is room for 285 years
CHANNEL = 2**BITS - 1
_GOAL = CHANNEL  # in place of a channel; so a conversion comes after the touches of its instant
_TURNED = 1_000  # less the channel, where names go from z to a
DIGIT = 15  # bits of a step are one channel: of four, with three before
DIGITS = 2**DIGIT - 1
TIED = 2**60  # added to the step of a touch that shares its instant with the one before, of another channel
_PART = 1_500_000  # touches that are put in order at once


@dataclass(frozen=True, eq=False)
class Marks:
    """``rows``: ``who`` (``Engine.person``), ``key`` (moment and channel); ``goals``: ``who, at, conversions, cents``;
    ``ends``: ``_who, _end``, if the plan ends observations. ``count`` of the touches and ``channels`` by number. Times
    are in microseconds since just before the first touch or conversion, so that all are above 0.
    """

    engine: Engine
    channels: tuple[str, ...]
    count: int
    rows: ir.Table
    goals: ir.Table
    ends: ir.Table | None
    until: int

    def parts(self) -> Iterator[Marks]:
        """The same by parts of the users (whole buckets), so that memory does not grow with their number."""
        parts = min(-(-self.count // _PART), 256) if self.engine.dialect == "duckdb" else 1
        if parts <= 1:
            yield self
            return
        bounds = [round(256 * part / parts) for part in range(parts + 1)]
        for first, end in pairwise(bounds):
            mine = [
                table.filter(self.engine.person_bucket(table.who).between(first, end - 1))
                for table in (self.rows, self.goals)
            ]
            yield replace(self, rows=mine[0], goals=mine[1])


def marks_of(log: EventLog, rule: PathRule, noise: float = 0.0) -> Marks:
    """Touches and conversions of a log. ``noise``: see ``touches_of``. Raises ``ParameterError``."""
    touches = touch_events(log, rule, noise)
    engine, rows, hits = touches.engine, touches.touches, touches.conversions
    code = (_TURNED - rows.channel if rule.reverse else rows.channel).cast("int64")
    hits = engine.materialise(hits.select(user_id=engine.person(hits.user_id), at=hits["at"]))
    base = _before_all(touches, engine.fetch(hits.agg(first=hits["at"].min(), last=hits["at"].max())))
    goals = conversions_of(log, rule, hits, engine.person)  # before the many touches are there: less memory at once
    # Kept apart: in a union of what is not computed yet the log would be read, and kept, with all its columns.
    rows = engine.materialise(rows.select(who=engine.person(rows.user_id), key=((rows["at"] - base) << BITS) + code))
    ends = touches.ends
    return Marks(
        engine=engine,
        channels=touches.channels,
        count=touches.count,
        rows=ibis.union(rows, hits.select(who="user_id", key=((hits["at"] - base) << BITS) + _GOAL)),
        goals=goals.mutate(at=goals["at"] - base).rename(who="user_id"),
        ends=ends.select(_who=engine.person(ends["_who"]), _end=ends["_end"] - base) if ends is not None else None,
        until=touches.until - base,
    )


def _before_all(touches: Touches, hits: pd.DataFrame) -> int:
    """A moment just before the first touch and the first conversion. Raises ``ParameterError`` beyond 285 years."""
    known = hits.dropna()  # empty without a conversion
    first, last = min([touches.first, *known["first"]]), max([touches.last, *known["last"]])
    if last - first >= 2 ** (63 - BITS) - 2:
        raise ParameterError(
            f"Touches and conversions reach from {micros_to_moment(int(first)):%Y-%m-%d} to "
            f"{micros_to_moment(int(last)):%Y-%m-%d}, more than 285 years. Leave out the events with wrong times: "
            "log.filter(\"time >= '2020-01-01'\")."
        )
    return int(first) - 1


def in_order(marks: Marks, rule: PathRule, order: int) -> ir.Table:
    """Every touch: ``who, at``; ``goal``, the time of the user's next conversion (null: none); and ``step``: the
    channel and the ``order`` channels before it on its path (0: none), each in ``DIGIT`` bits, and ``TIED``.
    """
    rows = _beside_others(marks, rule, order)
    at, goal = rows.key >> BITS, rows.goal
    won = ibis.literal(False) if rule.lookback is None else (goal - at <= rule.lookback).fill_null(False)
    step, along, later = _channel(rows.key, rule), ibis.literal(True), at
    for i in range(1, order + 1):
        key = rows[f"before_{i}"]
        touch, moment, channel = (key & CHANNEL) != _GOAL, key >> BITS, _channel(key, rule)
        if rule.lookback is not None:  # to the conversion of this path, or to the touch after
            touch = touch & (won.ifelse(goal, later) - moment <= rule.lookback)
        along = (along & touch).fill_null(False)
        step = step + along.ifelse(channel << (DIGIT * i), 0)
        if i == 1:
            tied = (along & (moment == at) & (channel != _channel(rows.key, rule))).fill_null(False)
            step = step + tied.ifelse(ibis.literal(TIED, "int64"), 0)
        later = moment
    return marks.engine.materialise(rows.select("who", "goal", at=at, step=step))


def tied_touches(engine: Engine, rows: ir.Table) -> int:
    """How many touches share user and instant with a touch of another channel; ``rows``: of ``in_order``."""
    tied = rows.filter(rows.step >= TIED).select(_who="who", _at="at").distinct()
    rows = rows.join(tied, [rows.who == tied["_who"], rows["at"] == tied["_at"]])
    return int(engine.fetch(rows.agg(n=rows.count()))["n"][0])


def begins(rows: ir.Table) -> ir.BooleanValue:
    """Whether a touch of ``in_order`` is the first of its path."""
    return (rows.step >> DIGIT) & DIGITS == 0


def with_fate(marks: Marks, rows: ir.Table, rule: PathRule) -> ir.Table:
    """Touches of ``in_order`` and what their path ended in; a user's last is open while a conversion may come."""
    win, lose, still = (ibis.literal(fate, "int8") for fate in (WON, LOST, OPEN))
    if rule.lookback is None:
        return rows.mutate(fate=rows.goal.notnull().ifelse(win, still))
    ending = rows.filter(rows.goal.isnull())
    ending = ending.group_by("who").agg(
        _start=ending["at"].max(where=begins(ending)), _until=ending["at"].max() + rule.lookback
    )
    until: ir.IntegerValue = ibis.literal(marks.until, "int64")
    if marks.ends is not None:
        ending = ending.left_join(marks.ends, ending.who == marks.ends["_who"]).drop("_who")
        until = ending["_end"].fill_null(until)
    ending = ending.filter(ending["_until"] > until).select("_start", _open=ending.who)
    if marks.engine.dialect != "duckdb":  # which alone joins a table with sums of itself without a copy
        ending = marks.engine.materialise(ending)
    rows = rows.left_join(ending, rows.who == ending["_open"])
    won = (rows.goal - rows["at"] <= rule.lookback).fill_null(False)
    is_open = (rows.goal.isnull() & (rows["at"] >= rows["_start"])).fill_null(False)
    return rows.mutate(fate=ibis.cases((won, win), (is_open, still), else_=lose)).drop("_start", "_open")


def _beside_others(marks: Marks, rule: PathRule, order: int) -> ir.Table:
    """Every touch with the ``order`` marks before it (``before_i``) and the time of the next conversion (``goal``)."""
    rows = marks.rows
    window = ibis.window(group_by=rows.who, order_by=rows.key)
    ahead = ibis.window(group_by=rows.who, order_by=rows.key, rows=(0, None))
    so_far = ibis.window(group_by=rows.who, order_by=rows.key, rows=(None, 0))
    moment = ((rows.key & CHANNEL) == _GOAL).ifelse(rows.key >> BITS, ibis.null("int64"))
    more = {f"before_{i}": rows.key.lag(i).over(window) for i in range(1, order + 1)}
    if rule.repeat == "first":
        more["done"] = moment.min().over(so_far)
    rows = rows.mutate(goal=moment.min().over(ahead), **more)
    rows = rows.filter((rows.key & CHANNEL) != _GOAL)
    return rows.filter(rows.done.isnull()) if rule.repeat == "first" else rows


def _channel(key: ir.IntegerValue, rule: PathRule) -> ir.IntegerValue:
    code = key & CHANNEL
    return _TURNED - code if rule.reverse else code
