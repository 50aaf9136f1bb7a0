"""Who came back in which local period, user by user, with Python's own calendar."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from reference.funnels import Event
from reference.journeys import Thing, by_user

__all__ = ["Cell", "cells"]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
INSTANT = dt.timedelta(microseconds=1)


@dataclass
class Cell:
    """What is counted of a cohort in a period."""

    users: int = 0
    observed: int = 0
    returned: int = 0
    open: int = 0
    censored: int = 0


def moment(micros: int) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=micros)


def first_day(day: dt.date, unit: str) -> dt.date:
    """The first day of the day's week or month."""
    if unit == "month":
        return day.replace(day=1)
    return day - dt.timedelta(days=day.weekday()) if unit == "week" else day


def starts_of(day: dt.date, period: str, calendar: bool) -> Callable[[int], dt.date]:
    """On which local day period k begins for a user of that first day."""

    def months(k: int) -> dt.date:
        month = day.year * 12 + day.month - 1 + k
        return dt.date(month // 12, month % 12 + 1, 1)

    if calendar and period == "M":
        return months
    span = {"D": 1, "W": 7, "M": 30}[period]
    first = first_day(day, "week") if calendar and period == "W" else day
    return lambda k: first + dt.timedelta(days=span * k)


def cells(
    events: Iterable[Event],
    until: int,
    *,
    event: Thing | None,
    origin: Thing | None,
    censor: tuple[Thing, ...],
    cohort: str,
    period: str,
    calendar: bool,
    tz: str,
    last: int,
) -> dict[tuple[str, int], Cell]:
    """By cohort (its first day) and period, up to the ``last``; all moments of a period must be seen to count."""
    zone, found = ZoneInfo(tz), dict[tuple[str, int], Cell]()
    for mine in by_user(events).values():
        zero = min(e.time for e in mine) if origin is None else origin.first(mine)
        gone = min([until, *(at for thing in censor if (at := thing.first(mine)) is not None)])
        if zero is None or zero > gone:
            continue
        day = moment(zero).astimezone(zone).date()
        begins = starts_of(day, period, calendar)
        label = first_day(day, cohort).isoformat()
        for k in range(last + 1):
            low, high = (dt.datetime.combine(begins(at), dt.time(), zone).astimezone(dt.UTC) for at in (k, k + 1))
            cell = found.setdefault((label, k), Cell())
            cell.users += 1
            if high - INSTANT > moment(until):
                cell.open += 1
            elif high - INSTANT > moment(gone):
                cell.censored += 1
            else:
                cell.observed += 1
                came = [e.time for e in mine if event is None or (event.event == e.event)]
                cell.returned += any(at >= zero and low <= moment(at) < high for at in came)
    return found
