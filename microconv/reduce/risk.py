"""Risk tables: from each user's journey to counts at risk, events by cause and censored, by exact time and segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import ibis
import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY, moment_to_micros
from microconv.errors import ParameterError
from microconv.reduce.occurrences import at_entry, occurrences
from microconv.reduce.origins import moment_at_entry
from microconv.reduce.waits import BUCKET, NUMBER, buckets, number_level, waits

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = [
    "ENTERED",
    "LEFT_OUT",
    "PART_OF_THE_USERS",
    "JourneyRule",
    "TooManyRows",
    "journeys",
    "left_out",
    "moves",
    "population",
    "risk_table",
]

_OWN_COLUMNS = ("user_id", "entry", "start", "enter", "stop", "cause", "why", "number")
ENTERED = -1  # in place of a cause, in the counts of who enters
# For analyses that need every time: what makes their table smaller.
PART_OF_THE_USERS = (
    "take a part of the users: log.filter(start=..., end=...) those who entered in a shorter span, "
    "log.filter(users=[...]) a random sample of ids"
)


class TooManyRows(ParameterError):
    """The exact counts have more rows than the caller allows."""


@dataclass(frozen=True)
class JourneyRule:
    """Whose time is counted: from ``origin`` (None: entry) to ``target`` or a competing end; ``censor`` ends it.

    ``origin_col``: time zero is this column's time at entry, and before the entry nobody was watched (late entry).
    ``from_age``: at risk only from this age on (microseconds after time zero). ``landmark``: only who is at risk that
    long after time zero, where the clock starts anew; ``done`` are items that ``by`` may then name. ``repeat``:
    ``"each"`` conversion starts the clock anew. ``tz``: the zone of what has none.
    """

    target: Item
    origin: Item | None = None
    competing: tuple[Item, ...] = ()
    censor: tuple[Item, ...] = ()
    horizon: int | None = None
    origin_col: str | None = None
    from_age: int | None = None
    landmark: int | None = None
    done: tuple[Item, ...] = ()
    repeat: Literal["first", "each"] = "first"
    tz: str = "UTC"

    @property
    def causes(self) -> tuple[str, ...]:
        """The names of the ends, the target first."""
        return (self.target.name, *[item.name for item in self.competing])

    @property
    def late(self) -> bool:
        """Whether somebody may be at risk only from some age on."""
        return self.origin_col is not None or self.from_age is not None

    @property
    def cluster(self) -> str | None:
        """The pattern column of the risk table that tells users apart where they are counted more than once."""
        return BUCKET if self.repeat == "each" else None

    @property
    def chosen(self) -> bool:
        """Whether users may be left out for other reasons than that they never reach the origin."""
        return self.late or self.landmark is not None


# Why a user is never at risk, in the order in which it is judged.
LEFT_OUT = (
    "at risk",
    "never at the origin",  # or only after the journey had ended
    "no time in the origin column",
    "ended before the origin",
    "ended at the first event",  # known only from its end on
    "ended before from_age",
    "first seen after the horizon",
    "first seen after the landmark",
    "target before the landmark",
    "other end before the landmark",
    "censored before the landmark",
)
_WHY = {reason: number for number, reason in enumerate(LEFT_OUT)}


def journeys(
    log: EventLog, rule: JourneyRule, by: Sequence[str] = (), tz: str = "UTC", also: Sequence[Item] = ()
) -> ir.Table:
    """One row per user: ``user_id, entry, start, enter, stop`` (microseconds since 1970), ``cause``, ``by_0`` ....

    ``start`` is time zero; the user is at risk in (enter, stop]. ``enter`` is ``start`` unless recording began later
    (``origin_col``) or ages before ``from_age`` are left out; who enters at ``start`` is at risk at it as well.
    ``cause`` is 1 for the target, 2, 3, ... for the competing ends in their order, 0 for censored. Of ends at one
    instant the first in that order counts. ``start`` is null for users who are never at risk: who never reach the
    origin, or only after their journey has ended. With ``rule.chosen`` there are other reasons, and ``why`` is the
    place of each user's in ``LEFT_OUT``. ``by`` names attributes at entry (``at_entry``), or items of ``rule.done``:
    "yes" for who has done it by the landmark. ``tz`` is the zone of entry periods. ``also`` are further items, whose
    first times, null if never, stand in ``also_0`` ....

    With ``rule.repeat == "each"`` there is a row for each wait for the next conversion (``waits``), whose place among
    the user's is ``number``, and ``by`` may name ``conversion_number``.
    """
    ends = (rule.target, *rule.competing)
    marks = (*rule.censor, *([rule.origin] if rule.origin is not None else []))
    items = (*ends, *marks, *rule.done, *also)
    users = occurrences(log, items)
    if rule.origin_col is not None:
        users = moment_at_entry(log, log.engine.materialise(users), rule.origin_col, "_zero", rule.tz)
    users = log.engine.materialise(users)
    until = ibis.literal(moment_to_micros(log.observed_until), "int64")
    for i in range(len(ends), len(ends) + len(rule.censor)):
        until = ibis.least(until, users[f"at_{i}"].fill_null(until))
    stop, cause = until, ibis.literal(0, "int16")
    for i in reversed(range(1 if rule.repeat == "each" else 0, len(ends))):
        at = users[f"at_{i}"]
        sooner = (at <= stop).fill_null(False)
        stop, cause = sooner.ifelse(at, stop), sooner.ifelse(i + 1, cause)
    if rule.origin_col is not None:
        start = users["_zero"]
    else:
        start = users[f"at_{len(ends) + len(rule.censor)}"] if rule.origin is not None else users.entry
    done = {f"_done_{i}": users[f"at_{len(ends) + len(marks) + i}"] for i in range(len(rule.done))}
    done |= {f"also_{i}": users[f"at_{len(items) - len(also) + i}"] for i in range(len(also))}
    followed = users.select("user_id", "entry", start=start, stop=stop, cause=cause, **done)
    followed = _judged(followed, rule) if rule.chosen else _at_risk(followed)
    return log.engine.materialise(_segmented(log, followed, rule, by, tz))


def _at_risk(users: ir.Table) -> ir.Table:
    started = (users.start <= users.stop).fill_null(False).ifelse(users.start, ibis.null("int64"))
    users = users.mutate(start=started)
    return users.mutate(enter=users.start)


def _judged(users: ir.Table, rule: JourneyRule) -> ir.Table:
    """``start`` and ``enter`` under late entry, ``from_age`` and a landmark, and ``why`` somebody is left out."""
    zero, stop = users.start, users.stop
    enter = ibis.greatest(users.entry, zero) if rule.origin_col is not None else zero
    absent = "no time in the origin column" if rule.origin_col is not None else "never at the origin"
    before = "ended before the origin" if rule.origin_col is not None else "never at the origin"
    reasons: list[tuple[ir.BooleanValue, str | ir.IntegerValue]] = [(zero.isnull(), absent), (stop < zero, before)]
    if rule.origin_col is not None:
        reasons.append(((enter > zero) & (stop <= enter), "ended at the first event"))
    if rule.from_age is not None:
        reasons.append((stop <= zero + rule.from_age, "ended before from_age"))
        enter = ibis.greatest(enter, zero + rule.from_age)
    if rule.landmark is not None:
        mark = zero + rule.landmark
        how = (users.cause == 0).ifelse(_WHY["censored before the landmark"], _WHY["other end before the landmark"])
        how = (users.cause == 1).ifelse(_WHY["target before the landmark"], how)
        reasons += [(stop <= mark, how), (enter > mark, "first seen after the landmark")]
        zero = enter = mark
    if rule.horizon is not None and rule.late:
        reasons.append((enter - zero >= rule.horizon, "first seen after the horizon"))
    why: ir.Value = ibis.literal(0, "int16")
    for holds, reason in reversed(reasons):
        why = holds.fill_null(False).ifelse(_WHY[reason] if isinstance(reason, str) else reason, why)
    users = users.mutate(why=why.cast("int16"), start=zero, enter=enter)
    nothing = ibis.null("int64")
    return users.mutate(
        start=(users.why == 0).ifelse(users.start, nothing), enter=(users.why == 0).ifelse(users.enter, nothing)
    )


def _segmented(log: EventLog, users: ir.Table, rule: JourneyRule, by: Sequence[str], tz: str) -> ir.Table:
    """``users`` with ``by_0`` ...: attributes at entry, and whether items of ``rule.done`` are done by the landmark."""
    place = {item.name: i for i, item in enumerate(rule.done)}
    each = rule.repeat == "each"
    if not place and not each:
        return at_entry(log, users, by, tz)
    own = {*place, *([NUMBER] if each and NUMBER not in log.columns else [])}
    attributes = [column for column in by if column not in own]
    users = at_entry(log, users, attributes, tz)
    if each:
        users = waits(log, log.engine.materialise(users), rule.target)
    known: dict[str, ir.Value] = {column: users[f"by_{i}"] for i, column in enumerate(attributes)}
    if NUMBER in own and each:
        known[NUMBER] = number_level(users.number)
    for name, i in place.items():
        known[name] = (users[f"_done_{i}"] <= users.start).fill_null(False).ifelse("yes", "no")
    kept = [column for column in users.columns if column in _OWN_COLUMNS or column.startswith("also_")]
    return users.select(*kept, **{f"by_{i}": known[column] for i, column in enumerate(by)})


def population(log: EventLog, users: ir.Table, by: int = 0) -> dict[str, int]:
    """How many ``users`` there are in ``journeys``, how many of them are ever ``at_risk``, in how many ``segments``."""
    at_risk = users.start.notnull()
    if "number" in users.columns:  # several rows a user
        counted = users.agg(users=users.user_id.nunique(), at_risk=users.user_id.nunique(where=at_risk))
    else:
        counted = users.agg(users=users.count(), at_risk=at_risk.cast("int64").sum())
    row = log.engine.fetch(counted).iloc[0]
    found = {"users": int(row["users"]), "at_risk": int(row["at_risk"] or 0), "segments": 1}
    if by:
        segments = users.filter(at_risk).select(*[f"by_{i}" for i in range(by)]).distinct()
        found["segments"] = _rows(log, segments)
    return found


def left_out(log: EventLog, users: ir.Table) -> dict[str, int]:
    """How many users of ``journeys`` are never at risk, by reason (of ``LEFT_OUT``)."""
    why = users.why if "why" in users.columns else users.start.isnull().cast("int16")
    counted = log.engine.fetch(users.group_by(why=why).agg(users=users.count()))
    found = {LEFT_OUT[int(row["why"])]: int(row["users"]) for row in counted.to_dict("records")}
    return {reason: found[reason] for reason in LEFT_OUT[1:] if reason in found}


def risk_table(
    log: EventLog,
    users: ir.Table,
    rule: JourneyRule,
    by: Sequence[str],
    max_rows: int,
    *,
    mend: str = "shorten the horizon or compare fewer segments",
) -> tuple[RiskTable, str]:
    """The exact counts of ``journeys``, time in days since the start, and a word on how censored times are kept.

    Where users are counted more than once, the last pattern column is ``rule.cluster``: groups of users.

    Everybody enters at ``enter - start``. Up to ``max_rows`` distinct times and segments each censored time is kept as
    it is. Beyond that, who is censored, or enters late, is counted at the last event time before it: what estimates
    need, the numbers at risk at event times, stays exact. If that is too many too, ``TooManyRows`` says to raise
    ``max_rows`` or to ``mend``.
    """
    exits, keys = moves(log, users, rule, len(by))
    by = [*by, rule.cluster] if rule.cluster is not None else by
    kept = "each censored time as it is"
    if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1:
        raise ParameterError(f"max_rows={max_rows!r} must be a whole number of at least 1.")
    if _rows(log, exits) > max_rows:
        moved = "censored users and late entries" if rule.late else "censored users"
        kept = f"{moved} at the last event time before (numbers at risk at event times are exact)"
        # Each segment's last time stays: it says how far its curve is known.
        exits = exits.mutate(last=exits.waited.max().over(ibis.window(group_by=keys)))
        fixed = (exits.cause > 0) | (exits.waited == exits.last)
        exits = exits.mutate(fixed=fixed.ifelse(exits.waited, ibis.null("int64")))
        # Any segment's times count: a comparison of segments reads all their numbers at risk at each event.
        so_far = ibis.range_window(order_by=exits.waited, preceding=None, following=0)
        earlier = exits.fixed.max().over(so_far).fill_null(0)
        if rule.late:  # who enters after time 0 is not at risk at it: there, just after it
            earlier = (exits.waited > 0).ifelse(ibis.greatest(earlier, 1), earlier)
        exits = exits.mutate(waited=exits.fixed.fill_null(earlier))
        exits = log.engine.materialise(exits.group_by([*keys, "waited", "cause"]).agg(users=exits.users.sum()))
        if (rows := _rows(log, exits)) > max_rows:
            raise TooManyRows(
                f"The exact table of counts has {rows:,} rows, one for each time and segment with a conversion or "
                f"another end: more than max_rows={max_rows:,}. Raise max_rows to {rows:,} or more, if the memory "
                f"holds them, or {mend}."
            )
    frame = log.engine.fetch(exits)
    return _to_risk_table(frame, keys, by, rule), kept


def moves(log: EventLog, users: ir.Table, rule: JourneyRule, by: int) -> tuple[ir.Table, list[str]]:
    """How many of ``journeys`` leave, and with late entry come (``ENTERED``), at each age: ``waited, cause, users``.

    Also gives the columns that tell segments (and groups of users) apart.
    """
    keys = [f"by_{i}" for i in range(by)]
    at_risk = users.filter(users.start.notnull())
    if rule.cluster is not None:
        at_risk, keys = buckets(log, at_risk), [*keys, "_bucket"]
    waited = at_risk.stop - at_risk.start
    cause = at_risk.cause
    if rule.horizon is not None:
        cause = (waited <= rule.horizon).ifelse(cause, 0)
        waited = ibis.least(waited, ibis.literal(rule.horizon, "int64"))
    spells = at_risk.select(*keys, waited=waited, cause=cause.cast("int16"))
    exits = spells.group_by([*keys, "waited", "cause"]).agg(users=spells.count())
    if rule.late:
        ages = at_risk.select(*keys, waited=at_risk.enter - at_risk.start)
        entries = ages.group_by([*keys, "waited"]).agg(users=ages.count()).mutate(cause=ibis.literal(ENTERED, "int16"))
        exits = exits.union(entries.select(*exits.columns))
    return log.engine.materialise(exits), keys


def _rows(log: EventLog, table: ir.Table) -> int:
    return int(log.engine.fetch(table.agg(rows=table.count()))["rows"][0])


def _to_risk_table(frame: pd.DataFrame, keys: list[str], by: Sequence[str], rule: JourneyRule) -> RiskTable:
    """Entries and exits by time, segment and cause as a ``RiskTable`` in days; unless late, everybody enters at 0."""
    users = frame["users"].to_numpy(dtype=float)
    counts = frame[keys].rename(columns=dict(zip(keys, by, strict=True)))
    counts = counts.assign(time_days=frame["waited"].to_numpy() / MICROS_PER_DAY)
    if rule.cluster is not None:
        counts[rule.cluster] = counts[rule.cluster].astype("int64")  # Spark numbers rows in 32 bits
    counts["entered"] = np.where(frame["cause"] == ENTERED, users, 0.0)
    for number, name in enumerate(("censored", *[f"d_{cause}" for cause in rule.causes])):
        counts[name] = np.where(frame["cause"] == number, users, 0.0)
    if not rule.late:
        entered = pd.DataFrame({**{column: counts[column] for column in by}, "entered": users, "time_days": 0.0})
        if by:
            entered = entered.groupby(list(by), as_index=False, sort=False).agg(
                {"entered": "sum", "time_days": "first"}
            )
        counts = pd.concat([entered, counts], ignore_index=True)
        counted = ["entered", "censored", *[f"d_{cause}" for cause in rule.causes]]
        counts[counted] = counts[counted].fillna(0.0)
    return RiskTable.from_counts(counts, tuple(by), rule.causes)
