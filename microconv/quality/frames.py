"""The frames behind the checks: days, event names, plan items, rejected rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.reduce import quality as reductions

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["days_frame", "events_frame", "plan_frame", "rejected_frame", "segments_frame"]

_LONGEST_SPAN, _MOST_SEGMENTS = 3_660, 200
_LOW, _WEEKS = 0.25, 4


def days_frame(log: EventLog) -> pd.DataFrame:
    """Events by day, all days from the first to the last; only days with events where that would be over ten years."""
    counted = log.engine.fetch(reductions.by_day(log))
    first, last = int(counted["day"].iloc[0]), int(counted["day"].iloc[-1])
    if last - first < _LONGEST_SPAN:
        counted = (
            counted.set_index("day").reindex(range(first, last + 1), fill_value=0).rename_axis("day").reset_index()
        )
    events = counted["events"].to_numpy(dtype="int64")
    usual = _usual(counted["day"].to_numpy(dtype="int64"), events)
    low = (events > 0) & (events < _LOW * usual)
    low[[0, -1]] = False  # the first and the last day are seldom whole
    mark = np.select([low, (events == 0) & (usual == 0), events == 0], ["low", "off", "none"], "")
    day = np.array(counted["day"], dtype="datetime64[D]").astype("datetime64[s]")
    return pd.DataFrame({"day": day, "events": events, "mark": mark})


def _usual(day: np.ndarray, events: np.ndarray) -> np.ndarray:
    """The median of the same weekday in the four weeks before and after; NaN where there are fewer than three such
    days.
    """
    by_day = pd.Series(events.astype(float), index=day)
    around = [by_day.reindex(day + 7 * week).to_numpy() for week in range(-_WEEKS, _WEEKS + 1) if week]
    frame = pd.DataFrame(np.column_stack(around))
    return frame.median(axis=1).where(frame.notna().sum(axis=1) >= 3).to_numpy()


def events_frame(log: EventLog) -> pd.DataFrame:
    frame = log.engine.fetch(reductions.by_event(log))
    table = pd.DataFrame(
        {
            "event": frame["event"],
            "rows": frame["rows"].astype("int64"),
            "share": frame["rows"] / log.rows_accepted,
            "users": frame["users"].astype("int64"),
            "first": pd.to_datetime(frame["first"], unit="us", utc=True).dt.floor("s"),
            "last": pd.to_datetime(frame["last"], unit="us", utc=True).dt.floor("s"),
        }
    )
    if log.plan is not None:
        table["in_plan"] = table["event"].isin([item.event for item in log.plan.items if item.event is not None])
    return table


def plan_frame(log: EventLog) -> pd.DataFrame:
    plan = log.require_plan("the plan's check")
    roles = [
        (role, item)
        for role, items in (
            ("macro", plan.macros),
            ("micro", plan.micros),
            ("competing", plan.competing),
            ("censor", plan.censor),
        )
        for item in items
    ]
    done = reductions.items_done(log, [item for _, item in roles])
    return pd.DataFrame(
        {
            "item": [item.name for _, item in roles],
            "role": [role for role, _ in roles],
            "event": [item.event for _, item in roles],
            "users": [int(done[str(i)] or 0) for i in range(len(roles))],
        }
    )


def rejected_frame(log: EventLog) -> pd.DataFrame:
    refused = log.accounting[log.accounting["reason"] != "accepted"].reset_index(drop=True)
    return refused.assign(share=refused["rows"] / log.rows_read)[["reason", "rows", "share"]]


def segments_frame(log: EventLog, users: Any, column: str, within: int | None) -> pd.DataFrame:
    """``segment, users, share, mature_share`` by a column's value at entry, the largest first."""
    frame = log.engine.fetch(reductions.by_segment(log, users, column, within)).head(_MOST_SEGMENTS)
    return pd.DataFrame(
        {
            column: frame["segment"],
            "users": frame["users"].astype("int64"),
            "share": frame["users"] / frame["everybody"],
            "mature_share": frame["mature"] / frame["users"] if within is not None else float("nan"),
        }
    )
