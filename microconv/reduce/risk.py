"""Risk tables: from each user's journey to counts at risk, events by cause and censored, by exact time and segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY, moment_to_micros
from microconv.errors import ParameterError
from microconv.reduce.occurrences import at_entry, occurrences

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["JourneyRule", "journeys", "population", "risk_table"]


@dataclass(frozen=True)
class JourneyRule:
    """Whose time is counted: from ``origin`` (None: entry) to ``target`` or a competing end; ``censor`` ends it."""

    target: Item
    origin: Item | None = None
    competing: tuple[Item, ...] = ()
    censor: tuple[Item, ...] = ()
    horizon: int | None = None

    @property
    def causes(self) -> tuple[str, ...]:
        """The names of the ends, the target first."""
        return (self.target.name, *[item.name for item in self.competing])


def journeys(log: EventLog, rule: JourneyRule, by: Sequence[str] = (), tz: str = "UTC") -> ir.Table:
    """One row per user: ``user_id, entry, start, enter, stop`` (microseconds since 1970), ``cause``, ``by_0`` ....

    ``start`` is time zero; the user is at risk from ``enter`` on (later than ``start`` where recording began later).
    ``cause`` is 1 for the target, 2, 3, ... for the competing ends in their order, 0 for censored. Of ends at one
    instant
    the first in that order counts. ``start`` is null for users who never reach the origin, or only after their journey
    has ended: they are never at risk.
    """
    ends = (rule.target, *rule.competing)
    items = (*ends, *rule.censor, *([rule.origin] if rule.origin is not None else []))
    users = log.engine.materialise(occurrences(log, items))
    until = ibis.literal(moment_to_micros(log.observed_until), "int64")
    for i in range(len(ends), len(ends) + len(rule.censor)):
        until = ibis.least(until, users[f"at_{i}"].fill_null(until))
    stop, cause = until, ibis.literal(0, "int16")
    for i in reversed(range(len(ends))):
        at = users[f"at_{i}"]
        sooner = (at <= stop).fill_null(False)
        stop, cause = sooner.ifelse(at, stop), sooner.ifelse(i + 1, cause)
    start = users[f"at_{len(items) - 1}"] if rule.origin is not None else users.entry
    followed = users.select("user_id", "entry", start=start, stop=stop, cause=cause)
    followed = followed.mutate(
        start=(followed.start <= followed.stop).fill_null(False).ifelse(followed.start, ibis.null("int64"))
    )
    followed = followed.mutate(enter=followed.start)
    return log.engine.materialise(at_entry(log, followed, by, tz))


def population(log: EventLog, users: ir.Table, by: int = 0) -> dict[str, int]:
    """How many ``users`` there are in ``journeys``, how many of them are ever ``at_risk``, in how many ``segments``."""
    at_risk = users.start.notnull()
    counted = users.agg(users=users.count(), at_risk=at_risk.cast("int64").sum())
    row = log.engine.fetch(counted).iloc[0]
    found = {"users": int(row["users"]), "at_risk": int(row["at_risk"] or 0), "segments": 1}
    if by:
        segments = users.filter(at_risk).select(*[f"by_{i}" for i in range(by)]).distinct()
        found["segments"] = _rows(log, segments)
    return found


def risk_table(
    log: EventLog, users: ir.Table, rule: JourneyRule, by: Sequence[str], max_rows: int
) -> tuple[RiskTable, str]:
    """The exact counts of ``journeys``, time in days since the start, and a word on how censored times are kept.

    Up to ``max_rows`` distinct times and segments each censored time is kept as it is. Beyond that, a censored user is
    counted at the last event time before it: what estimates need, the numbers at risk at event times, stays exact.
    """
    keys = [f"by_{i}" for i in range(len(by))]
    at_risk = users.filter(users.start.notnull())
    waited = at_risk.stop - at_risk.start
    cause = at_risk.cause
    if rule.horizon is not None:
        cause = (waited <= rule.horizon).ifelse(cause, 0)
        waited = ibis.least(waited, ibis.literal(rule.horizon, "int64"))
    spells = at_risk.select(*keys, waited=waited, cause=cause)
    exits = spells.group_by([*keys, "waited", "cause"]).agg(users=spells.count())
    exits = log.engine.materialise(exits)
    kept = "each censored time as it is"
    if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1:
        raise ParameterError(f"max_rows={max_rows!r} must be a whole number of at least 1.")
    if _rows(log, exits) > max_rows:
        kept = "censored users at the last event time before (numbers at risk at event times are exact)"
        # Each segment's last time stays: it says how far its curve is known.
        exits = exits.mutate(last=exits.waited.max().over(ibis.window(group_by=keys)))
        fixed = (exits.cause > 0) | (exits.waited == exits.last)
        exits = exits.mutate(fixed=fixed.ifelse(exits.waited, ibis.null("int64")))
        # Any segment's times count: a comparison of segments reads all their numbers at risk at each event.
        so_far = ibis.range_window(order_by=exits.waited, preceding=None, following=0)
        exits = exits.mutate(waited=exits.fixed.fill_null(exits.fixed.max().over(so_far).fill_null(0)))
        exits = log.engine.materialise(exits.group_by([*keys, "waited", "cause"]).agg(users=exits.users.sum()))
        if (rows := _rows(log, exits)) > max_rows:
            raise ParameterError(
                f"The exact table of counts has {rows:,} rows, more than max_rows={max_rows:,}. "
                "Raise max_rows, shorten the horizon or compare fewer segments."
            )
    frame = log.engine.fetch(exits)
    return _to_risk_table(frame, keys, by, rule), kept


def _rows(log: EventLog, table: ir.Table) -> int:
    return int(log.engine.fetch(table.agg(rows=table.count()))["rows"][0])


def _to_risk_table(frame: pd.DataFrame, keys: list[str], by: Sequence[str], rule: JourneyRule) -> RiskTable:
    """Exits by time, segment and cause, with everybody entering at 0, as a ``RiskTable`` in days."""
    users = frame["users"].to_numpy(dtype=float)
    exits = frame[keys].rename(columns=dict(zip(keys, by, strict=True)))
    exits = exits.assign(time_days=frame["waited"].to_numpy() / MICROS_PER_DAY, entered=0.0)
    for number, name in enumerate(("censored", *[f"d_{cause}" for cause in rule.causes])):
        exits[name] = np.where(frame["cause"] == number, users, 0.0)
    entered = pd.DataFrame({**{column: exits[column] for column in by}, "entered": users, "time_days": 0.0})
    if by:
        entered = entered.groupby(list(by), as_index=False, sort=False).agg({"entered": "sum", "time_days": "first"})
    both = pd.concat([entered, exits], ignore_index=True)
    counted = ["entered", "censored", *[f"d_{cause}" for cause in rule.causes]]
    both[counted] = both[counted].fillna(0.0)
    return RiskTable.from_counts(both, tuple(by), rule.causes)
