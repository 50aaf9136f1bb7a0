"""Users by what they had done at one moment: their state, their latest consent, and what such users went on to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY
from microconv.reduce.behaviour import Known, activity, at_risk_at
from microconv.reduce.items import TIME, with_time
from microconv.reduce.revenue import payments
from microconv.reduce.risk import JourneyRule, risk_table

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["AGE_BANDS", "STATE", "consenting", "known_at", "purchases", "states_of", "what_followed", "with_chance"]

AGE_BANDS = (7, 30)  # days since entry: the upper ends of all bands but the last
STATE = ("done", "age_band")  # done: a bit for each item, in order


def known_at(log: EventLog, rule: JourneyRule, items: Sequence[Item], moment: int, until: int) -> Known:
    """The users at risk at a moment with what they had done by then, their ``done`` and ``age_band``, and what followed
    by ``until`` (``start, enter, stop, cause``).
    """
    users = at_risk_at(log, rule, moment, until)
    waiting = log.engine.materialise(users.filter(users.start.notnull()).mutate(mark=users.start))
    known = activity(log, waiting, items)
    table = known.table
    done: ir.IntegerValue = ibis.literal(0, "int64")
    for i in range(len(items)):
        done = done + (table[f"n_{i}"] > 0).ifelse(2**i, 0).cast("int64")
    band: ir.IntegerValue = ibis.literal(0, "int64")
    for days in AGE_BANDS:
        band = band + (table.mark - table.entry > days * MICROS_PER_DAY).cast("int64")
    return replace(known, table=log.engine.materialise(table.mutate(done=done, age_band=band)))


def what_followed(
    log: EventLog, rule: JourneyRule, items: Sequence[Item], moments: Sequence[int], max_rows: int
) -> RiskTable:
    """From each of some moments to the next (or a horizon later), by the state at the moment, as one risk table.

    ``moments`` are at least a horizon apart, so that no time of a user counts twice.
    """
    assert rule.horizon is not None
    parts = []
    for moment in moments:
        table = known_at(log, rule, items, moment, moment + rule.horizon).table
        columns = {f"by_{i}": table[name] for i, name in enumerate(STATE)}
        parts.append(table.select("user_id", "start", "enter", "stop", cause=table.cause.cast("int16"), **columns))
    together = log.engine.materialise(ibis.union(*parts) if len(parts) > 1 else parts[0])
    counts, _ = risk_table(log, together, rule, list(STATE), max_rows)
    return counts


def states_of(log: EventLog, users: ir.Table) -> pd.DataFrame:
    """How many users are in each state: ``done, age_band, users``."""
    frame = log.engine.fetch(users.group_by(list(STATE)).agg(users=users.count()))
    return frame.sort_values(list(STATE), ignore_index=True).astype("int64")


def with_chance(log: EventLog, users: ir.Table, chances: pd.DataFrame) -> ir.Table:
    """``users`` with the ``chance`` of their state."""
    given = pd.DataFrame(
        {
            "_done": chances["done"].to_numpy(np.int64),
            "_band": chances["age_band"].to_numpy(np.int64),
            "chance": chances["chance"].to_numpy(np.float64),
        }
    )
    known = ibis.memtable(given)
    joined = users.join(known, [users.done == known["_done"], users.age_band == known["_band"]])
    return log.engine.materialise(joined.drop("_done", "_band"))


def consenting(log: EventLog, users: ir.Table, column: str, granted: Sequence[str], moment: int) -> ir.Table:
    """``users`` with ``_consent``: whether the latest value of a column by the moment is one of ``granted`` (in any
    case). No value is no consent; of values at one instant every one must grant it.
    """
    timed = with_time(log.engine, log.table)
    said = timed.filter(timed[column].notnull(), timed[TIME] <= moment)
    words = log.engine.trim(said[column].cast("string")).lower()
    said = said.select(_user=said.user_id, _at=said[TIME], _yes=words.isin(list(granted)), _word=words)
    said = log.engine.materialise(said.filter(said["_word"] != "").drop("_word"))
    last = said.group_by("_user").agg(_last=said["_at"].max()).rename(_who="_user")
    latest = said.join(last, [said["_user"] == last["_who"], said["_at"] == last["_last"]])
    each = latest.group_by("_user").agg(_consent=latest["_yes"].cast("int64").min() > 0)
    each = log.engine.materialise(each)
    joined = users.left_join(each, users.user_id == each["_user"]).drop("_user")
    return log.engine.materialise(joined.mutate(_consent=joined["_consent"].fill_null(False)))


def purchases(log: EventLog, target: Item, moment: int) -> Mapping[str, float | str | None]:
    """How many purchases there were by a moment, what they came to (refunds subtracted), and that squared: ``n, total,
    squares`` in units of ``currency``.
    """
    paid = payments(log, target)
    table = paid.table.filter(paid.table["at"] <= moment)
    each = table.group_by(["user_id", "bought"]).agg(cents=table.cents.sum().cast("float64"))
    row = log.engine.fetch(
        each.agg(n=each.count(), total=each.cents.sum(), squares=(each.cents * each.cents).sum())
    ).iloc[0]
    n = int(row["n"])
    return {
        "n": n,
        "total": float(row["total"]) / 100 if n else 0.0,
        "squares": float(row["squares"]) / 10_000 if n else 0.0,
        "currency": paid.account.currency,
    }
