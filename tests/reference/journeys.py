"""Journeys, counts at risk and curves in plain Python, user by user and time by time, written from their definitions.

Times are whole microseconds. Nothing here is shared with the package, and nothing is fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reference.funnels import Event

MISSING = "(missing)"


@dataclass(frozen=True)
class Thing:
    """Something a user does: an event on a condition, its n-th time, or the moment a sum of a column is reached."""

    event: str | None
    where: Callable[[dict[str, Any]], bool | None] | None = None
    nth: int | None = None
    total: tuple[str, float] | None = None

    def first(self, events: Sequence[Event]) -> int | None:
        """When one user first did it; ``events`` are all of that user's."""
        mine = [
            e for e in events if self.event in (None, e.event) and (not self.where or self.where(e.columns) is True)
        ]
        mine.sort(key=self._order)
        if self.nth is not None:
            return mine[self.nth - 1].time if len(mine) >= self.nth else None
        if self.total is None:
            return mine[0].time if mine else None
        column, enough = self.total
        reached = 0.0
        for event in mine:
            amount = event.columns[column]
            reached += 0.0 if amount is None or math.isnan(amount) else amount
            if reached >= enough and amount is not None:
                return event.time
        return None

    def _order(self, event: Event) -> tuple[Any, ...]:
        """At one instant by id, name and amount, so that the order of rows says nothing of a refund beside a sale."""
        amount = event.columns[self.total[0]] if self.total else None
        return event.time, event.columns.get("event_id", ""), event.event, amount is None, amount


@dataclass(frozen=True)
class Rule:
    """Whose time is counted, until what; ``origin`` None is the first event."""

    target: Thing
    origin: Thing | None = None
    competing: tuple[Thing, ...] = ()
    censor: tuple[Thing, ...] = ()


@dataclass(frozen=True)
class Journey:
    """One user: ``start`` None for who is never at risk; ``cause`` 0 is censored, 1 the target, 2 ... other ends."""

    user: str
    entry: int
    start: int | None
    stop: int
    cause: int
    segment: tuple[str, ...]


def by_user(events: Iterable[Event]) -> dict[str, list[Event]]:
    users: dict[str, list[Event]] = {}
    for event in events:
        users.setdefault(event.user, []).append(event)
    return users


def attribute(events: Sequence[Event], entry: int, column: str) -> str:
    """The smallest value among the events at the very moment of entry, as text."""
    known = [str(e.columns[column]) for e in events if e.time == entry and e.columns[column] not in (None, "")]
    return min(known, default=MISSING)


def journeys(events: Iterable[Event], rule: Rule, until: int, by: Sequence[str] = ()) -> list[Journey]:
    found = []
    for user, mine in by_user(events).items():
        entry = min(event.time for event in mine)
        stop = min([until, *(at for thing in rule.censor if (at := thing.first(mine)) is not None)])
        cause = 0
        for number, thing in enumerate((rule.target, *rule.competing), 1):
            at = thing.first(mine)
            # An end at the very moment when observation ends is still seen; of two at one instant the first counts.
            if at is not None and (at < stop or (at == stop and cause == 0)):
                stop, cause = at, number
        start = entry if rule.origin is None else rule.origin.first(mine)
        segment = tuple(attribute(mine, entry, column) for column in by)
        found.append(Journey(user, entry, start if start is not None and start <= stop else None, stop, cause, segment))
    return sorted(found, key=lambda journey: journey.user)


def spells(found: Iterable[Journey], horizon: int | None = None) -> list[tuple[tuple[str, ...], int, int]]:
    """(segment, time waited, cause) of everybody at risk; the horizon cuts, and what happens exactly there counts."""
    rows = []
    for one in found:
        if one.start is None:
            continue
        waited = one.stop - one.start
        rows.append(
            (one.segment, waited, one.cause) if horizon is None or waited <= horizon else (one.segment, horizon, 0)
        )
    return rows


def counts(rows: Sequence[tuple[tuple[str, ...], int, int]], causes: int) -> list[tuple[Any, ...]]:
    """(segment, time, at risk, events by cause ..., censored) at every time at which somebody leaves."""
    table = []
    for segment in sorted({row[0] for row in rows}):
        mine = [(waited, cause) for key, waited, cause in rows if key == segment]
        for time in sorted({waited for waited, _ in mine}):
            at_risk = sum(waited >= time for waited, _ in mine)
            ends = [sum(row == (time, cause) for row in mine) for cause in range(1, causes + 1)]
            table.append((segment, time, at_risk, *ends, sum(row == (time, 0) for row in mine)))
    return table


@dataclass(frozen=True)
class Point:
    """A curve just after one time: survival of all ends, its Greenwood sum, and the share that had the target."""

    time: int
    at_risk: int
    events: int
    censored: int
    survival: float
    greenwood: float
    incidence: float


def curve(rows: Sequence[tuple[int, int]]) -> list[Point]:
    """Kaplan-Meier of any end, and Aalen-Johansen of cause 1, from (waited, cause) of each user."""
    points, survival, greenwood, incidence = [], 1.0, 0.0, 0.0
    for time in sorted({waited for waited, _ in rows}):
        n = sum(waited >= time for waited, _ in rows)
        d = sum(waited == time and cause > 0 for waited, cause in rows)
        mine = sum(waited == time and cause == 1 for waited, cause in rows)
        incidence += survival * mine / n
        survival *= 1 - d / n
        greenwood += d / (n * (n - d)) if d < n else 0.0
        points.append(Point(time, n, mine, sum(r == (time, 0) for r in rows), survival, greenwood, incidence))
    return points


def area(rows: Sequence[tuple[int, int]], tau: int) -> float:
    """The area under 1 - incidence of cause 1 up to ``tau``, in microseconds."""
    total, last, height = 0.0, 0, 1.0
    for point in curve(rows):
        if point.time > tau:
            break
        total += height * (point.time - last)
        last, height = point.time, 1 - point.incidence
    return total + height * (tau - last)
