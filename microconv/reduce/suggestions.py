"""What a draft of a plan is made from: events by users, attributes by levels, the usual time to an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from microconv.plan import Micro
from microconv.reduce.occurrences import occurrences

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["attribute_levels", "event_summary", "times_to_event"]


def event_summary(log: EventLog, most: int = 1_000) -> pd.DataFrame:
    """Each event's ``rows``, ``users`` and ``share`` of all users, the most users first (ties by name)."""
    table = log.table
    counted = table.group_by("event").agg(rows=table.count(), users=table.user_id.nunique())
    frame = log.engine.fetch(counted.order_by([counted.users.desc(), counted.event]).limit(most))
    everybody = int(log.engine.fetch(table.agg(users=table.user_id.nunique()))["users"][0])
    return frame.assign(share=frame["users"] / everybody)


def attribute_levels(log: EventLog, columns: Sequence[str]) -> dict[str, int]:
    """For each column the number of its values."""
    counts = {f"own_{i}": log.table[column].nunique() for i, column in enumerate(columns)}
    levels = log.engine.fetch(log.table.agg(**counts)).iloc[0]
    return {column: int(levels[f"own_{i}"]) for i, column in enumerate(columns)}


def times_to_event(log: EventLog, event: str, probability: float) -> float | None:
    """A quantile (microseconds) of the time from entry to an event among those who did it; None when nobody did."""
    users = occurrences(log, [Micro(name="event", event=event)])
    found = log.engine.fetch(users.agg(value=(users.at_0 - users.entry).quantile(probability)))["value"][0]
    return None if pd.isna(found) else float(found)
