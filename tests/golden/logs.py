"""Survival data as event logs: who enters, what is done when, and how it ends, each told as an event of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

import microconv as mc
from microconv.log import EventLog

__all__ = ["log_of_intervals", "log_of_subjects"]

START = pd.Timestamp("2026-01-01T00:00:00Z")


def log_of_subjects(
    days: Sequence[float],
    end: Sequence[str | None],
    *,
    micros: Mapping[str, Sequence[float]] | None = None,
    attributes: Mapping[str, Sequence[Any]] | None = None,
    goal: str | None = None,
    competing: Sequence[str] = (),
    since: Sequence[float] | None = None,
) -> EventLog:
    """One user a subject: enters at a moment of its own, does micros so many days later (NaN: never), and ends.

    ``end`` names the event at the end, after ``days``; None is censored there, by the plan's ``censor`` event "left".
    Every subject has that one, also at the moment of any other end, so that ties between the two are part of each log.
    The attributes stand at the event of entry alone. ``since``: the age at which each is first seen, if not 0; the
    column "began" then holds the moment of age 0.
    """
    count = len(days)
    # 37.5 minutes apart and not in the order of the ids: calendar time says nothing.
    zero = START + pd.to_timedelta(np.random.default_rng(3).permutation(count) * 2250, unit="s")
    entry = zero if since is None else zero + whole_micros(since)
    known = {**(attributes or {}), **({"began": zero} if since is not None else {})}
    ids = np.array([f"s{i}" for i in range(count)])
    until = zero + whole_micros(days)
    parts = [pd.DataFrame({"user_id": ids, "time": entry, "event": "entered", **known})]
    parts.append(pd.DataFrame({"user_id": ids, "time": until, "event": "left"}))
    ended = np.array([one is not None for one in end])
    named = [one for one in end if one is not None]
    parts.append(pd.DataFrame({"user_id": ids[ended], "time": until[ended], "event": named}))
    for micro, at in (micros or {}).items():
        done = ~np.isnan(np.asarray(at, dtype=float))
        moment = zero[done] + whole_micros(np.asarray(at, dtype=float)[done])
        parts.append(pd.DataFrame({"user_id": ids[done], "time": moment, "event": micro}))
    frame = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=1)
    plan = {
        "macros": [{"name": goal or named[0], "event": goal or named[0]}],
        "micros": [{"name": micro, "event": micro} for micro in micros or {}],
        "competing": list(competing),
        "censor": ["left"],
    }
    return mc.read_events(frame, plan=plan, observed_until=frame["time"].max() + pd.Timedelta("1D"))


def whole_micros(days: Sequence[float]) -> pd.TimedeltaIndex:
    """Days to the microsecond: 0.9 days are 77,760 seconds, not a little less."""
    return pd.to_timedelta(np.round(np.asarray(days, dtype=float) * 86_400e6).astype("int64"), unit="us")


def log_of_intervals(
    rows: pd.DataFrame,
    id_col: str,
    start_col: str,
    stop_col: str,
    event_col: str,
    state_col: str,
    attributes: list[str],
) -> EventLog:
    """Rows (start, stop] of a state that begins at most once (0, then 1), as a log in which it is a micro.

    The micro has the state's name, the macro is "died".
    """
    rows = rows.sort_values([id_col, stop_col])
    last = rows.drop_duplicates(id_col, keep="last").set_index(id_col)
    first = rows.drop_duplicates(id_col).set_index(id_col)
    assert (first[start_col] == 0).all()
    began = rows[rows[state_col] == 1].groupby(id_col)[start_col].min().reindex(last.index)
    return log_of_subjects(
        last[stop_col].to_numpy(),
        ["died" if died else None for died in last[event_col]],
        micros={state_col: began.to_numpy()},
        attributes={name: first[name].to_numpy() for name in attributes},
    )
