"""In which order users first did the micros, counted by order; and how long it took from each to the target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.counts import RiskTable
from microconv.reduce.risk import JourneyRule, TooManyRows, journeys, risk_table

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["MICRO", "leads", "orders_of", "ranked"]

MICRO = "micro"  # the place of the micro, as pattern column of the lead times


def ranked(log: EventLog, rule: JourneyRule, micros: Sequence[Item]) -> ir.Table:
    """Users of ``journeys`` at risk, with ``also_<i>``, when micro i was first done before the journey's end (null:
    not), and ``r_<i>``, its place in the user's order (0: not done; micros of one instant share a place).

    At the instant of the target a micro is not done before it; at another end it is.
    """
    users = journeys(log, rule, (), "UTC", micros)
    users = users.filter(users.start.notnull())
    many = range(len(micros))
    at = {}
    for i in many:
        moment = users[f"also_{i}"]
        before = (moment < users.stop) | ((moment == users.stop) & (users.cause != 1))
        at[f"also_{i}"] = (before & (moment >= users.start)).fill_null(False).ifelse(moment, ibis.null("int64"))
    users = log.engine.materialise(users.mutate(**at))
    places = {}
    for i in many:
        mine = users[f"also_{i}"]
        earlier = [(users[f"also_{j}"] < mine).fill_null(False).cast("int64") for j in many if j != i]
        place: ir.IntegerValue = reduce(lambda a, b: a + b, earlier, ibis.literal(1, "int64"))
        places[f"r_{i}"] = mine.notnull().ifelse(place, 0).cast("int64")
    return log.engine.materialise(users.mutate(**places))


def orders_of(log: EventLog, users: ir.Table, micros: int, max_rows: int) -> pd.DataFrame:
    """How many users did the micros in each order: ``r_<i>``, ``converted`` (1: the journey ended in the target),
    ``users``. Raises ``TooManyRows`` over ``max_rows`` orders.
    """
    keys = [f"r_{i}" for i in range(micros)]
    table = users.mutate(converted=(users.cause == 1).cast("int64"))
    counted = log.engine.materialise(table.group_by([*keys, "converted"]).agg(users=table.count()))
    rows = int(log.engine.fetch(counted.agg(n=counted.count()))["n"][0])
    if rows > max_rows:
        raise TooManyRows(
            f"The micros were done in {rows:,} different orders, over max_rows={max_rows:,}. Name fewer micros= or "
            "raise max_rows."
        )
    return log.engine.fetch(counted).sort_values([*keys, "converted"], ignore_index=True).astype("int64")


def leads(log: EventLog, users: ir.Table, rule: JourneyRule, micros: int, max_rows: int) -> RiskTable:
    """From the first time of each micro to the end of the journey, as one risk table by ``micro``."""
    parts = []
    for i in range(micros):
        done = users.filter(users[f"also_{i}"].notnull())
        at = done[f"also_{i}"]
        parts.append(
            done.select(
                "user_id",
                start=at,
                enter=at,
                stop=done.stop,
                cause=done.cause.cast("int16"),
                by_0=ibis.literal(i, "int64"),
            )
        )
    together = log.engine.materialise(ibis.union(*parts) if len(parts) > 1 else parts[0])
    counts, _ = risk_table(log, together, rule, [MICRO], max_rows, mend="shorten the horizon or name fewer micros")
    return counts
