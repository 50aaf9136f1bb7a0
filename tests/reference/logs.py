"""Small random logs, full of ties, and the same log in an engine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import pandas as pd

from microconv.durations import micros_to_moment
from microconv.engine import Engine, duckdb_engine
from microconv.log import EventLog
from reference.funnels import Event

SECOND = 1_000_000
BASE = 1_767_225_600 * SECOND  # 2026-01-01


def random_events(
    rng: random.Random, users: int, *, names: str = "ABCX", most: int = 8, span: int = 9, ids: bool = False
) -> list[Event]:
    """Up to ``most`` events a user, at whole seconds of a short span, so that ties abound."""
    events: list[Event] = []
    for user in range(users):
        for _ in range(rng.randint(1, most)):
            columns: dict[str, Any] = {
                "x": rng.choice([None, 0, 1, 1, 2]),
                "amount": rng.choice([None, 1.0, 2.0, 4.0]),
                "item": rng.choice([None, "i", "i", "j"]),
                "device": rng.choice([None, "desktop", "mobile"]),
            }
            time = BASE + rng.randrange(span) * SECOND
            events.append(Event(len(events), f"u{user:03d}", time, rng.choice(names), columns))
    if ids:
        places = rng.sample(range(len(events)), len(events))
        for event, place in zip(events, places, strict=True):
            event.columns["event_id"] = f"e{place:05d}"
    return events


@cache
def engine() -> Engine:
    """One embedded engine for all small logs."""
    return duckdb_engine(memory_limit="1GB", threads=1)


def frame_of(events: Sequence[Event]) -> pd.DataFrame:
    """The events as a caller would have them."""
    frame = pd.DataFrame(
        {
            "user_id": [e.user for e in events],
            "time": pd.to_datetime([e.time for e in events], unit="us", utc=True).astype("datetime64[us, UTC]"),
            "event": [e.event for e in events],
        }
    )
    for column in events[0].columns if events else ():
        kind = {"x": "Int64", "amount": "Float64"}.get(column, "string")
        frame[column] = pd.array([e.columns[column] for e in events], dtype=kind)
    return frame


def log_of(events: Sequence[Event], until: int | None = None, engine_: Engine | None = None) -> EventLog:
    """A log without the cost of reading: what ``read_events`` would make of the events."""
    holder = engine_ or engine()
    times = [event.time for event in events]
    accounting = pd.DataFrame({"reason": ["accepted"], "rows": [len(events)], "example": [""]})
    return EventLog(
        engine=holder,
        table=holder.backend.create_table(_fresh_name(), frame_of(events), temp=True),
        accounting=accounting,
        observed_from=micros_to_moment(min(times)),
        observed_until=micros_to_moment(until if until is not None else max(times)),
        source="a random log",
    )


_made = 0


def _fresh_name() -> str:
    global _made  # noqa: PLW0603 - a counter
    _made += 1
    return f"small_{_made}"


def told_events(*stories: str) -> list[Event]:
    """One user a story: ``A0 B2.5 C3/x`` is an A at second 0, a B at 2.5, and a C at 3 with the item x."""
    events: list[Event] = []
    for number, story in enumerate(stories):
        for word in story.split():
            told, _, item = word.partition("/")
            time = BASE + round(float(told[1:]) * SECOND)
            events.append(Event(len(events), f"u{number}", time, told[0], {"item": item or None}))
    return events


def told_log(*stories: str, until: float | None = None) -> EventLog:
    """The log of some stories, observed until so many seconds."""
    return log_of(told_events(*stories), BASE + round(until * SECOND) if until is not None else None)
