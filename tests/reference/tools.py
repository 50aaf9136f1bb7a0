"""How other tools walk through one user's events, each written once more from what its documentation or program says.

``events`` are ``(time, name)`` in order of time; each function returns the number of steps reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

Events = Sequence[tuple[int, str]]


def mixpanel(events: Events, steps: Sequence[str], window: int) -> int:
    """The first first step, then the first of each following step, all within the window of that first step."""
    starts = [time for time, name in events if name == steps[0]]
    if not starts:
        return 0
    level, at = 1, starts[0]
    for step in steps[1:]:
        following = [time for time, name in events if name == step and at <= time <= starts[0] + window]
        if not following:
            break
        level, at = level + 1, following[0]
    return level


def amplitude(events: Events, steps: Sequence[str], window: int) -> int:
    """The longest of the walks from every first step."""
    starts = [i for i, (_, name) in enumerate(events) if name == steps[0]]
    return max((mixpanel(events[i:], steps, window) for i in starts), default=0)


def posthog(events: Events, steps: Sequence[str], window: int) -> int:
    """One slot a step holds the start of the newest attempt that got there, and the events that it used."""
    slots: dict[int, tuple[int, frozenset[int]]] = {}
    furthest = 0
    numbered = [(time, number, name) for number, (time, name) in enumerate(events) if name in steps]
    for time, together in groupby(numbered, key=lambda event: event[0]):
        instant = list(together)
        alike = len({name for *_, name in instant}) == 1
        matches = [(k, number) for _, number, name in instant for k, step in enumerate(steps, start=1) if step == name]
        # One event, or several alike: each takes the later steps first, so that it serves one; else in order of steps.
        matches.sort(key=(lambda match: (match[1], -match[0])) if alike else (lambda match: match[0]))
        for k, number in matches:
            start, used = (time, frozenset[int]()) if k == 1 else slots.get(k - 1, (None, frozenset()))
            if start is None or time - start > window or number in used or slots.get(k, (None,))[0] == start:
                continue
            slots[k] = (start, used | {number})
            furthest = max(furthest, k)
        if furthest == len(steps):
            break
    return furthest


def retentioneering(events: Events, steps: Sequence[str]) -> int:
    """For each step the first of its rows that comes after the row of the step before."""
    row = -1
    for level, step in enumerate(steps):
        following = [i for i, (_, name) in enumerate(events) if name == step and i > row]
        if not following:
            return level
        row = following[0]
    return len(steps)
