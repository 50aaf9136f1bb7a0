"""Who is at risk, from when to when, when each micro was done, and what was known of them at entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.durations import moment_to_micros
from microconv.errors import ParameterError
from microconv.reduce.items import TIME, with_time
from microconv.reduce.occurrences import ENTRY_PERIODS
from microconv.reduce.risk import JourneyRule, journeys

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["People", "age_limit", "is_number", "people"]


@dataclass(frozen=True, eq=False)
class People:
    """``table``: one row per user at risk, times in half microseconds since time zero: ``user_id, cell, enter, stop``,
    ``cause`` (0: censored) and ``done_<i>``, when micro i was first done (null: never; before time zero: negative).

    ``cells``: the attributes' values, one row per combination; ``cell`` is its row.
    """

    engine: Engine
    table: ir.Table
    cells: pd.DataFrame
    causes: tuple[str, ...]
    users: int
    never_at_risk: int
    washed_out: int
    without_number: int

    @property
    def at_risk(self) -> int:
        """How many users are at risk at some time."""
        return self.users - self.never_at_risk - self.washed_out - self.without_number


def is_number(log: EventLog, column: str) -> bool:
    """Whether an attribute is a number in the log (a truth value is none)."""
    if column in ENTRY_PERIODS and column not in log.columns:
        return False
    kind = log.table[column].type()
    return bool(kind.is_numeric() and not kind.is_boolean())


def people(
    log: EventLog,
    rule: JourneyRule,
    micros: Sequence[Item],
    attributes: Sequence[str],
    *,
    tz: str = "UTC",
    washout: int | None = None,
    max_cells: int = 5_000,
) -> People:
    """The users of the log, with their risk interval, their micros and their attributes at entry.

    A number is the smallest at the moment of entry; users without one are left out and counted. ``washout`` leaves
    out users who entered within so many microseconds of the log's first event. Raises ``ParameterError`` where the
    attributes have more than ``max_cells`` combinations.
    """
    texts = [column for column in attributes if not is_number(log, column)]
    numbers = [column for column in attributes if is_number(log, column)]
    users = journeys(log, rule, texts, tz, micros)
    if numbers:
        users = _with_numbers(log, users, numbers)
    since = users.start
    stop = users.stop
    cause = users.cause
    if rule.horizon is not None:
        last = since + rule.horizon
        cause = (stop <= last).ifelse(cause, 0)
        stop = ibis.least(stop, last)
    late = ibis.literal(False)
    if washout is not None:
        late = users.entry < moment_to_micros(log.observed_from) + washout
    # Who enters at time zero is at risk there; later, an interval (enter, stop] of no length holds no time.
    ever = ((users.enter < stop) | ((users.enter == since) & (stop == since))).fill_null(False)
    known = ibis.literal(True)
    for i in range(len(numbers)):
        known = known & users[f"num_{i}"].notnull()
    keys = {f"by_{i}": users[f"by_{i}"] for i in range(len(texts))}
    keys |= {f"num_{i}": users[f"num_{i}"] for i in range(len(numbers))}
    found = users.select(
        "user_id",
        **keys,
        enter=2 * (users.enter - since),
        stop=2 * (stop - since),
        cause=cause.cast("int16"),
        ever=ever,
        late=late,
        known=known,
        **{f"done_{i}": 2 * (users[f"also_{i}"] - since) for i in range(len(micros))},
    )
    found = log.engine.materialise(found)
    count = log.engine.fetch(
        found.agg(
            users=found.count(),
            never=(~found.ever).cast("int64").sum(),
            late=(found.ever & found.late).cast("int64").sum(),
            unknown=(found.ever & ~found.late & ~found.known).cast("int64").sum(),
        )
    ).iloc[0]
    kept = found.filter(found.ever & ~found.late & found.known).drop("ever", "late", "known")
    order = {column: f"by_{i}" for i, column in enumerate(texts)} | {c: f"num_{i}" for i, c in enumerate(numbers)}
    table, cells = _cells(log.engine, kept, {column: order[column] for column in attributes}, max_cells)
    return People(
        engine=log.engine,
        table=table,
        cells=cells,
        causes=rule.causes,
        users=int(count["users"]),
        never_at_risk=int(count["never"] or 0),
        washed_out=int(count["late"] or 0),
        without_number=int(count["unknown"] or 0),
    )


def age_limit(people: People, least: int) -> int:
    """The age (half microseconds since time zero) that ``least`` users were observed to, whatever ended it."""
    last = people.table.order_by(ibis.desc("stop")).limit(max(least, 1))
    return int(people.engine.fetch(last.agg(stop=last["stop"].min()))["stop"][0])


def _with_numbers(log: EventLog, users: ir.Table, columns: Sequence[str]) -> ir.Table:
    """``users`` with ``num_<i>``: the smallest number at the moment of entry; null where there is none."""
    timed = with_time(log.engine, log.table)
    events = timed.select(
        _user=timed.user_id, _at=timed[TIME], **{f"num_{i}": _number(timed[c]) for i, c in enumerate(columns)}
    )
    keys = users.select("user_id", "entry")
    first = keys.join(events, [keys.user_id == events["_user"], keys.entry == events["_at"]])
    known = first.group_by("_user").agg(**{f"num_{i}": first[f"num_{i}"].min() for i in range(len(columns))})
    return users.join(known, users.user_id == known["_user"]).drop("_user")


def _number(value: ir.Value) -> ir.FloatingValue:
    """A number as a float; NaN and the infinite say nothing. Minus zero is zero."""
    number = value.cast("float64")
    usable = ~number.isnan() & ~number.isinf()
    return ibis.ifelse(usable, number + 0.0, ibis.null("float64"))


def _cells(engine: Engine, users: ir.Table, columns: dict[str, str], max_cells: int) -> tuple[ir.Table, pd.DataFrame]:
    """The users with the number of their combination of attributes, and the combinations in order."""
    names = list(columns.values())
    if not names:
        table = users.mutate(cell=ibis.literal(0, "int64"))
        return table, pd.DataFrame(index=pd.RangeIndex(1))
    distinct = engine.materialise(users.select(*names).distinct())
    if (many := int(engine.fetch(distinct.agg(n=distinct.count()))["n"][0])) > max_cells:
        raise ParameterError(
            f"The attributes {', '.join(map(repr, columns))} have {many:,} combinations of values, over max_patterns="
            f"{max_cells:,}. Adjust for fewer or coarser attributes (a number with many values in a few bands), or "
            "raise max_patterns."
        )
    number = ibis.row_number().over(ibis.window(order_by=[distinct[name] for name in names]))
    numbered = engine.materialise(distinct.mutate(cell=number.cast("int64")))
    renamed = numbered.rename({f"_{name}": name for name in names})
    table = users.join(renamed, [users[name] == renamed[f"_{name}"] for name in names])
    cells = engine.fetch(numbered).sort_values("cell")
    cells.index = pd.Index(np.asarray(cells["cell"], dtype=np.int64))
    frame = pd.DataFrame({column: cells[name] for column, name in columns.items()}, index=cells.index)
    return table.drop(*names, *[f"_{name}" for name in names]), frame
