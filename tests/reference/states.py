"""Who was at risk in which state when, user by user, written from the definitions.

Moments are counted in half microseconds since time zero, so that the instant just after zero has a number of its own:
a micro done at or before time zero counts from 1 on, and whoever converts at zero converts with nothing done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from reference.funnels import Event
from reference.journeys import Rule, Thing, by_user, journeys

__all__ = [
    "HALF_DAYS",
    "Spell",
    "Traveller",
    "at_risk",
    "ended",
    "patterns",
    "spells",
    "split",
    "state_at",
    "travellers",
]

HALF_DAYS = 2 * 86_400_000_000  # so many half microseconds are a day


@dataclass(frozen=True)
class Traveller:
    """One user from time zero on: at risk in (``enter``, ``stop``] (from 0: at 0 as well), micros done at ``done``."""

    user: str
    stop: int
    cause: int
    done: tuple[int | None, ...]
    segment: tuple[str, ...]
    enter: int = 0


@dataclass(frozen=True)
class Spell:
    """A stretch (start, stop] of one user in one state; ``cause`` 0 where it ends without an end of the journey."""

    user: str
    start: int
    stop: int
    cause: int
    state: tuple[bool, ...]
    segment: tuple[str, ...]

    def covers(self, time: int) -> bool:
        return self.start < time <= self.stop or self.start == time == 0


def travellers(
    events: Iterable[Event],
    rule: Rule,
    micros: Sequence[Thing],
    until: int,
    by: Sequence[str] = (),
    horizon: int | None = None,
    early: bool = False,
) -> list[Traveller]:
    """Everybody who is ever at risk; times in half microseconds since the user's own time zero.

    ``early``: micros done before time zero keep their (negative) time.
    """
    events = list(events)
    users = by_user(events)
    found = []
    for one in journeys(events, rule, until, by):
        if one.start is None:
            continue
        stop, cause = one.stop - one.start, one.cause
        if horizon is not None and stop > horizon:
            stop, cause = horizon, 0
        firsts = [micro.first(users[one.user]) for micro in micros]
        # One at or before time zero is done from the instant just after zero.
        since = [None if at is None else 2 * (at - one.start) for at in firsts]
        done = tuple(at if at is None or early else max(at, 0) for at in since)
        found.append(Traveller(one.user, 2 * stop, cause, done, one.segment))
    return found


def state_at(one: Traveller, time: int) -> tuple[bool, ...]:
    """What the user had done just before ``time``: a micro at that very moment is not done yet."""
    return tuple(at is not None and at < time for at in one.done)


def spells(found: Iterable[Traveller]) -> list[Spell]:
    """Each user's time at risk, cut where the state changes."""
    rows = []
    for one in found:
        # A state that begins at ``at`` holds in (at, ...]; at zero it holds from the half microsecond 1 on.
        cuts = sorted({max(at, 1) for at in one.done if at is not None and one.enter < max(at, 1) < one.stop})
        for start, stop in pairwise([one.enter, *cuts, one.stop]):
            state = tuple(at is not None and (max(at, 1) <= start) for at in one.done)
            rows.append(Spell(one.user, start, stop, one.cause if stop == one.stop else 0, state, one.segment))
    return rows


def at_risk(rows: Iterable[Spell], time: int) -> list[Spell]:
    """The spells that hold the moment: one a user at most."""
    return [row for row in rows if row.covers(time)]


def ended(rows: Iterable[Spell], cause: int) -> list[int]:
    """The moments at which a journey ends by this cause, sorted."""
    return sorted({row.stop for row in rows if row.cause == cause})


def split(rows: Iterable[Spell], at: Sequence[int]) -> list[Spell]:
    """The same spells, cut at more moments."""
    found = []
    for row in rows:
        edges = [row.start, *sorted({cut for cut in at if row.start < cut < row.stop}), row.stop]
        for start, stop in pairwise(edges):
            cause = row.cause if stop == row.stop else 0
            found.append(Spell(row.user, start, stop, cause, row.state, row.segment))
    return found


def patterns(rows: Iterable[Spell]) -> set[tuple[Any, ...]]:
    return {(*row.state, *row.segment) for row in rows}
