"""Who came back in which period: users by entry cohort, and how far each of them was observed, in whole local days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.durations import moment_to_micros
from microconv.reduce.items import TIME, occurring, tie_columns, with_time
from microconv.reduce.occurrences import at_entry, occurrences

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["Followed", "RetentionRule", "cohort_sizes", "followed", "returned"]

_SPANS = {"D": 1, "W": 7, "M": 30}


@dataclass(frozen=True)
class RetentionRule:
    """Who comes back by doing ``event`` (None: any event) after ``origin`` (None: entry); ``censor`` ends observation.

    ``cohort`` is ``"day"``, ``"week"`` or ``"month"``; ``period`` is ``"D"``, ``"W"`` or ``"M"``: spans of 1, 7 or 30
    days counted from the day of the origin, or with ``calendar`` days, weeks from Monday and months.
    """

    event: Item | None
    origin: Item | None
    censor: tuple[Item, ...]
    cohort: str
    period: str
    calendar: bool
    tz: str

    @property
    def by_entry(self) -> bool:
        """Whether periods are spans that start on each user's own first day."""
        return not self.calendar and self.period != "D"

    @property
    def span(self) -> int:
        """Days of a period that is counted from a user's own first day."""
        return _SPANS[self.period]


@dataclass(frozen=True, eq=False)
class Followed:
    """``table``: one row per user with an origin: ``user_id, zero, until`` (microseconds), ``cohort`` (a number of
    days or months), ``base`` (the number of period 0), ``over`` (how many periods had ended at ``observed_until``),
    ``complete`` (how many were observed to their end: a censoring event may come first) and ``by_i``.
    """

    table: ir.Table
    users: int
    left_out: int


def followed(log: EventLog, rule: RetentionRule, by: Sequence[str]) -> Followed:
    """From which local day each user is followed, and how many periods were observed whole.

    A period is complete when every moment of its last local day is observed: at or before ``observed_until`` and the
    user's first censoring event.
    """
    marks = (*rule.censor, *([rule.origin] if rule.origin is not None else []))
    users = log.engine.materialise(occurrences(log, marks))
    whole = ibis.literal(moment_to_micros(log.observed_until), "int64")
    until = whole
    for i in range(len(rule.censor)):
        until = ibis.least(until, users[f"at_{i}"].fill_null(until))
    zero = users[f"at_{len(rule.censor)}"] if rule.origin is not None else users.entry
    users = users.select("user_id", "entry", zero=zero, until=until)
    kept = (users.zero <= users.until).fill_null(False)
    found = log.engine.fetch(users.agg(users=users.count(), kept=kept.cast("int64").sum())).iloc[0]
    users = at_entry(log, users.filter(kept), by, rule.tz)
    days = {
        "first": log.engine.local_day(users.zero, rule.tz),
        # The day that is not over: the one of the first moment that nobody saw.
        "open": log.engine.local_day(users.until + 1, rule.tz),
        "now": log.engine.local_day(whole + 1, rule.tz),
    }
    users = log.engine.materialise(users.mutate(**days))
    number = _numbering(rule)
    cohort = {"day": users.first, "week": monday(users.first), "month": month(users.first)}[rule.cohort]
    base = number(users.first)
    kept_columns = {f"by_{i}": users[f"by_{i}"] for i in range(len(by))}
    table = users.select(
        "user_id",
        "zero",
        "until",
        **kept_columns,
        cohort=cohort.cast("int64"),
        base=base.cast("int64"),
        over=_since(number(users.now), base, rule),
        complete=_since(number(users.open), base, rule),
    )
    total = int(found["users"])
    return Followed(log.engine.materialise(table), total, total - int(found["kept"] or 0))


def cohort_sizes(log: EventLog, people: Followed, by: int) -> pd.DataFrame:
    """Users by segment, ``cohort`` and numbers of periods ``over`` and ``complete``."""
    keys = [f"by_{i}" for i in range(by)]
    users = people.table
    return log.engine.fetch(users.group_by([*keys, "cohort", "over", "complete"]).agg(users=users.count()))


def returned(log: EventLog, people: Followed, rule: RetentionRule, by: int, last: int) -> pd.DataFrame:
    """Users by segment, ``cohort`` and ``period`` (up to ``last``) who came back in a period that is complete."""
    keys = [f"by_{i}" for i in range(by)]
    timed = with_time(log.engine, log.table)
    if rule.event is not None:
        timed = occurring(rule.event, timed, tie_columns(timed, [rule.event]))
    events = timed.select(_user=timed.user_id, _at=timed[TIME])
    users = people.table
    both = events.join(users, events["_user"] == users.user_id)
    both = both.filter((both["_at"] >= both.zero) & (both["_at"] <= both.until))
    both = both.mutate(_day=log.engine.local_day(both["_at"], rule.tz))
    both = both.mutate(period=_since(_numbering(rule)(both["_day"]), both.base, rule))
    seen = both.filter((both.period < both.complete) & (both.period <= last))
    once = seen.select("user_id", *keys, "cohort", "period").distinct()
    return log.engine.fetch(once.group_by([*keys, "cohort", "period"]).agg(users=once.count()))


def _numbering(rule: RetentionRule) -> Callable[[ir.IntegerValue], ir.IntegerValue]:
    """What numbers a day's period: its day, the day of its Monday, or its month."""
    if not rule.calendar:
        return lambda day: day
    return {"D": lambda day: day, "W": monday, "M": month}[rule.period]


def _since(number: ir.IntegerValue, base: ir.IntegerValue, rule: RetentionRule) -> ir.IntegerValue:
    """How many periods after the first."""
    passed = number - base
    days = rule.span if not (rule.calendar and rule.period == "M") else 1
    return (passed // days if days > 1 else passed).cast("int64")


def monday(day: ir.IntegerValue) -> ir.IntegerValue:
    """The Monday of a day's week; day 0 was a Thursday."""
    return ((day + 3) // 7).cast("int64") * 7 - 3


def month(day: ir.IntegerValue) -> ir.IntegerValue:
    """The number of a day's month: 12 times the year, and 0 for January.

    In whole numbers, because engines take the month of a time in their session's zone. Years begin in March here, so
    that leap days come last, and the months' lengths follow one pattern (153 days in five months).
    """
    shifted = day + 719_468  # days since 0000-03-01
    era = (shifted // 146_097).cast("int64")  # of 400 years
    of_era = shifted - era * 146_097
    leaps = (of_era // 1_460).cast("int64") - (of_era // 36_524).cast("int64") + (of_era // 146_096).cast("int64")
    year = ((of_era - leaps) // 365).cast("int64")
    of_year = of_era - (365 * year + (year // 4).cast("int64") - (year // 100).cast("int64"))
    return 12 * (year + 400 * era) + ((5 * of_year + 2) // 153).cast("int64") + 2
