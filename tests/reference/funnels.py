"""A funnel by exhaustive search, event by event and user by user, written from the words of its definition.

Times are whole microseconds. Nothing here is shared with the package, and nothing is fast: every chain of distinct
events is tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

MISSING = "(missing)"


@dataclass(frozen=True)
class Event:
    """One row; ``row`` tells events apart that are otherwise the same."""

    row: int
    user: str
    time: int
    event: str
    columns: dict[str, Any] = field(default_factory=dict, compare=False)

    def __hash__(self) -> int:
        return self.row


@dataclass(frozen=True)
class Item:
    """A step or an exclusion: the events that meet ``where``, or their ``nth``, or where ``total`` is reached."""

    event: str | None
    where: Callable[[dict[str, Any]], bool | None] | None = None
    nth: int | None = None
    total: tuple[str, float] | None = None

    def matches(self, event: Event) -> bool:
        named = self.event is None or event.event == self.event
        return named and (self.where is None or self.where(event.columns) is True)


@dataclass(frozen=True)
class Funnel:
    """The parameters of ``mc.funnel``, durations in microseconds; step numbers count from 0 here.

    ``ties``: the columns by which events of one instant are told apart where an order among them is needed.
    ``distinct``: False lets one event serve several steps.
    """

    steps: tuple[Item, ...]
    window: int | None = None
    order: str = "ordered"
    reentry: str = "latest"
    within: tuple[int | None, ...] = ()
    optional: frozenset[int] = frozenset()
    exclude: tuple[Item, ...] = ()
    same: str | None = None
    ties: tuple[str, ...] = ()
    distinct: bool = True

    def limit(self, step: int) -> int | None:
        return self.within[step] if self.within else None

    @property
    def has_within(self) -> bool:
        return any(limit is not None for limit in self.within)

    def follows(self, step: int) -> Iterator[int]:
        """The steps that may come next after ``step``: those up to the first that may not be left out."""
        for later in range(step + 1, len(self.steps)):
            yield later
            if later not in self.optional:
                return


@dataclass
class Attempt:
    """All that one attempt did: ``reached[k]`` is when it first got to step k, ``arrivals`` all ways to get there."""

    start: int
    value: str
    reached: dict[int, int] = field(default_factory=dict)
    arrivals: set[tuple[int, int, int]] = field(default_factory=set)  # step, time, row
    running: bool = False

    @property
    def level(self) -> int:
        return max(self.reached) + 1


@dataclass
class Counted:
    """What is counted of one user; ``reached`` holds times by step."""

    user: str
    start: int
    level: int
    reached: dict[int, int]
    running: bool
    open: bool
    segment: tuple[str, ...] = ()


def tie_key(event: Event, ties: Sequence[str]) -> tuple[Any, ...]:
    """The order of events: by time, then event_id and name, then the columns that matter; missing values last."""
    columns = {"event": event.event, **event.columns}
    names = (["event_id"] if "event_id" in columns else []) + ["event", *sorted(set(ties) - {"event", "event_id"})]
    return (event.time, *((columns.get(name) is None, columns.get(name)) for name in names))


def happenings(item: Item, events: Sequence[Event], ties: Sequence[str]) -> list[Event]:
    """The events of one user at which an item happens."""
    matching = sorted((e for e in events if item.matches(e)), key=lambda e: tie_key(e, ties))
    if item.nth is not None:
        return matching[item.nth - 1 : item.nth]
    if item.total is not None:
        column, at_least = item.total
        running = 0.0
        for event in matching:
            value = event.columns.get(column)
            if value is None or math.isnan(value):
                continue
            running += value
            if running >= at_least:
                return [event]
        return []
    return matching


def property_of(event: Event, rule: Funnel) -> str | None:
    """The value that the steps of an attempt must share, as text; the same for all where nothing must be shared."""
    if rule.same is None:
        return ""
    value = event.columns.get(rule.same)
    return None if value is None else str(value)


def count_user(events: Sequence[Event], rule: Funnel, until: int) -> Counted | None:
    """The counted attempt of a user, None if no attempt got to step 1."""
    steps = [
        [e for e in happenings(item, events, rule.ties) if property_of(e, rule) is not None] for item in rule.steps
    ]
    ends = sorted(e.time for item in rule.exclude for e in happenings(item, events, rule.ties))
    search = {"ordered": ordered_attempts, "strict": strict_attempts, "any": any_attempts}[rule.order]
    attempts = search(events, steps, ends, rule, until)
    started = [attempt for attempt in attempts if 0 in attempt.reached]
    if not started:
        return None
    best = max((attempt.level, attempt.start) for attempt in started)
    counted = min((a for a in started if (a.level, a.start) == best), key=lambda a: a.value)
    reached = dict(counted.reached)
    if rule.order != "any":  # an optional step counts if the attempt could go on from it to what it did after it
        for step in rule.optional & set(reached):
            for later, time in counted.reached.items():
                if later > step and time < counted.reached[step]:
                    reached.pop(step, None)
    return Counted(
        user=events[0].user,
        start=counted.start,
        level=counted.level,
        reached=reached,
        running=counted.running,
        open=any(attempt.running for attempt in attempts),
    )


def starts(steps: Sequence[Sequence[Event]], rule: Funnel, which: Sequence[int]) -> list[Event]:
    """The events that start attempts: all of some steps, or only the first (at one instant by the property)."""
    found = [event for step in which for event in steps[step]]
    if rule.reentry == "first" and found:
        first = min((event.time, property_of(event, rule)) for event in found)
        found = [event for event in found if (event.time, property_of(event, rule)) == first]
    return found


def in_window(time: int, start: int, rule: Funnel) -> bool:
    return rule.window is None or time - start <= rule.window


def excluded(time: int, start: int, ends: Sequence[int]) -> bool:
    """Whether an exclusion has ended the attempt before ``time``; at one instant the steps come first."""
    return any(start <= end < time for end in ends)


def window_runs(start: int, ends: Sequence[int], rule: Funnel, until: int) -> bool:
    return (rule.window is None or start + rule.window > until) and not any(end >= start for end in ends)


def limits_run(attempt: Attempt, rule: Funnel, until: int, own: set[tuple[int, int, int]]) -> bool:
    """Whether some arrival of the attempt may still go on, given the limits from step to step."""
    for step, time, row in attempt.arrivals:
        if (step, time, row) not in own:
            continue
        limits = [rule.limit(later) for later in rule.follows(step)]
        if not limits or any(limit is None or time + limit > until for limit in limits):
            return True
    return False


def ordered_attempts(
    events: Sequence[Event], steps: Sequence[Sequence[Event]], ends: Sequence[int], rule: Funnel, until: int
) -> list[Attempt]:
    """Every chain of distinct events through the steps, from every start."""
    attempts: dict[tuple[int, str], Attempt] = {}

    def extend(attempt: Attempt, chain: tuple[Event, ...], step: int) -> None:
        last = chain[-1]
        attempt.reached[step] = min(attempt.reached.get(step, last.time), last.time)
        attempt.arrivals.add((step, last.time, last.row))
        for later in rule.follows(step):
            for event in steps[later]:
                wait, limit = event.time - last.time, rule.limit(later)
                if (
                    wait >= 0
                    and (event not in chain or not rule.distinct)
                    and property_of(event, rule) == attempt.value
                    and in_window(event.time, attempt.start, rule)
                    and (limit is None or wait <= limit)
                    and not excluded(event.time, attempt.start, ends)
                ):
                    extend(attempt, (*chain, event), later)

    for event in starts(steps, rule, [0]):
        value = property_of(event, rule)
        assert value is not None
        extend(attempts.setdefault((event.time, value), Attempt(event.time, value)), (event,), 0)
    latest: dict[tuple[str, int, int, int], int] = {}
    for attempt in attempts.values():
        for arrival in attempt.arrivals:
            key = (attempt.value, *arrival)
            latest[key] = max(latest.get(key, attempt.start), attempt.start)
    for attempt in attempts.values():
        # What may still follow from an arrival belongs to the latest attempt that made it.
        own = {arrival for arrival in attempt.arrivals if latest[(attempt.value, *arrival)] == attempt.start}
        attempt.running = window_runs(attempt.start, ends, rule, until)
        if rule.has_within:
            attempt.running = attempt.running and limits_run(attempt, rule, until, own)
    return list(attempts.values())


def strict_attempts(
    events: Sequence[Event], steps: Sequence[Sequence[Event]], ends: Sequence[int], rule: Funnel, until: int
) -> list[Attempt]:
    """As ordered, but each step is the very next event; of one instant the steps come first, in their order."""
    happening = [set(happenings(item, events, rule.ties)) for item in rule.steps]

    def rank(event: Event) -> int:
        return next((i for i, own in enumerate(happening) if event in own), len(steps))

    line = sorted(events, key=lambda e: (e.time, rank(e), tie_key(e, rule.ties)))
    place = {event: i for i, event in enumerate(line)}
    first = sorted(steps[0], key=lambda e: place[e])
    if rule.reentry == "first":
        first = first[:1]
    attempts: dict[tuple[int, str], Attempt] = {}
    for start in first:
        value = property_of(start, rule)
        assert value is not None
        attempt = attempts.setdefault((start.time, value), Attempt(start.time, value))
        frontier = {(0, start)}
        while frontier:
            step, event = frontier.pop()
            attempt.reached[step] = min(attempt.reached.get(step, event.time), event.time)
            attempt.arrivals.add((step, event.time, event.row))
            if place[event] + 1 == len(line):
                continue
            following = line[place[event] + 1]
            for later in rule.follows(step):
                limit = rule.limit(later)
                if (
                    following in steps[later]
                    and property_of(following, rule) == value
                    and in_window(following.time, start.time, rule)
                    and (limit is None or following.time - event.time <= limit)
                ):
                    frontier.add((later, following))
    for attempt in attempts.values():
        own = {arrival for arrival in attempt.arrivals if arrival[2] == line[-1].row}
        attempt.running = window_runs(attempt.start, ends, rule, until) and limits_run(attempt, rule, until, own)
    return list(attempts.values())


def any_attempts(
    events: Sequence[Event], steps: Sequence[Sequence[Event]], ends: Sequence[int], rule: Funnel, until: int
) -> list[Attempt]:
    """An attempt is all that happens from one step's event on, within the window; step k needs all steps up to k."""
    attempts: dict[tuple[int, str], Attempt] = {}
    for start in starts(steps, rule, range(len(steps))):
        value = property_of(start, rule)
        assert value is not None
        attempt = attempts.setdefault((start.time, value), Attempt(start.time, value))
        usable = [
            [
                e
                for e in own
                if e.time >= start.time
                and property_of(e, rule) == value
                and in_window(e.time, start.time, rule)
                and not excluded(e.time, start.time, ends)
            ]
            for own in steps
        ]
        for step in range(len(steps)):
            needed = [s for s in range(step) if s not in rule.optional] + [step]
            for time in sorted({e.time for own in usable for e in own}):
                if each_has_its_own([[e for e in usable[s] if e.time <= time] for s in needed]):
                    attempt.reached[step] = time
                    break
        attempt.running = window_runs(start.time, ends, rule, until)
    return list(attempts.values())


def each_has_its_own(choices: Sequence[Sequence[Event]]) -> bool:
    """Whether a different event can be chosen from each list."""
    return any(len(set(chosen)) == len(choices) for chosen in itertools.product(*choices))


def entry_segment(events: Sequence[Event], by: Sequence[str]) -> tuple[str, ...]:
    """Attributes at the user's first event; of several at that instant the smallest text."""
    first = min(event.time for event in events)
    found = []
    for column in by:
        texts = [str(e.columns[column]) for e in events if e.time == first and e.columns.get(column) is not None]
        found.append(min(texts, default=MISSING))
    return tuple(found)


def count_users(events: Sequence[Event], rule: Funnel, until: int, by: Sequence[str] = ()) -> list[Counted]:
    """The counted attempt of every user who did step 1."""
    users: dict[str, list[Event]] = {}
    for event in events:
        users.setdefault(event.user, []).append(event)
    counted = []
    for user in sorted(users):
        one = count_user(users[user], rule, until)
        if one is not None:
            one.segment = entry_segment(users[user], by)
            counted.append(one)
    return counted
