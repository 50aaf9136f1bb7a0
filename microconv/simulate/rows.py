"""Journeys as rows: who did what when, gathered into sessions.

As web trackers do it, a session begins after 30 minutes without an event, and its ``session_start`` carries the very
time of the event that opened it (with a page view of that page). Nothing is ever placed before the event it belongs to,
so that no row foretells another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microconv.durations import MICROS_PER_DAY, to_micros
from microconv.simulate.clocks import CENSORED, Journeys
from microconv.simulate.model import Model
from microconv.simulate.visits import PageViews
from microconv.simulate.world import World

__all__ = ["PAGE_VIEW", "REFUND", "SESSION_START", "SESSION_TIMEOUT", "Rows", "first_process", "gather_rows"]

SESSION_TIMEOUT = "30min"
# What a row is: one of these, or first_process + the number of a process.
SESSION_START, PAGE_VIEW, REFUND = 0, 1, 2
first_process = 3
_MARKER = -1  # the entry of a user in a world without page views; it opens a session and is then dropped


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows sorted by user, time and kind. ``opener`` is the kind that opened the row's session, where that matters."""

    user: np.ndarray
    us: np.ndarray  # microseconds since 1970
    kind: np.ndarray
    opener: np.ndarray
    value: np.ndarray
    seconds: np.ndarray
    session: np.ndarray  # -1 for none

    def __len__(self) -> int:
        return len(self.user)

    def take(self, order: np.ndarray) -> Rows:
        """The rows in another order."""
        parts = (self.user, self.us, self.kind, self.opener, self.value, self.seconds, self.session)
        return Rows(*[part[order] for part in parts])


def gather_rows(
    world: World,
    model: Model,
    journeys: Journeys,
    entry_us: np.ndarray,
    codes: np.ndarray,
    pages: list[PageViews],
    rng: np.random.Generator,
) -> Rows:
    """All rows of all users. ``pages`` is empty in a world without page views."""
    parts = [_rows(entry_us, view.user, view.at, PAGE_VIEW, seconds=view.seconds) for view in pages]
    if not pages:
        everybody = np.arange(len(entry_us))
        parts.append(_rows(entry_us, everybody, np.zeros(len(everybody)), _MARKER))
    for number, micro in enumerate(world.micros):
        at = journeys.done_at[number]
        user = np.flatnonzero(np.isfinite(at))
        parts.append(_rows(entry_us, user, at[user], first_process + number))
        if micro.repeats_per_day > 0:
            length = journeys.stop[user] - at[user]
            again = np.repeat(user, rng.poisson(micro.repeats_per_day * length))
            later = at[again] + rng.random(len(again)) * (journeys.stop[again] - at[again])
            parts.append(_rows(entry_us, again, later, first_process + number))
    worth = order_values(model, journeys, codes, rng)
    parts.append(_rows(entry_us, journeys.macro_user, journeys.macro_at, first_process + model.macro, value=worth))
    ended = np.flatnonzero((journeys.cause != CENSORED) & (journeys.cause != model.macro))
    parts.append(_rows(entry_us, ended, journeys.stop[ended], first_process + journeys.cause[ended]))
    return _append(_into_sessions(_concatenate(parts)), _refunds(world, journeys, entry_us, worth, rng))


def order_values(model: Model, journeys: Journeys, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The money of each macro, to the cent; NaN in a world without money."""
    user, at = journeys.macro_user, journeys.macro_at
    if model.value is None:
        return np.full(len(user), np.nan)
    worth = model.value.median * np.exp(model.value.sigma * rng.standard_normal(len(user)))
    worth = worth * model.trait_value(codes[user])
    for micro in range(model.micros):
        worth = worth * np.where(journeys.done_at[micro, user] < at, model.value_ratio[micro], 1.0)
    return np.round(worth, 2)


def _refunds(
    world: World, journeys: Journeys, entry_us: np.ndarray, worth: np.ndarray, rng: np.random.Generator
) -> Rows:
    value = world.macro.value
    share, after = (value.refund_share, value.refund_after_days) if value else (0.0, 1.0)
    paid_back = rng.random(len(worth)) < share
    later = journeys.macro_at + rng.standard_exponential(len(worth)) * after
    seen = paid_back & (entry_us[journeys.macro_user] + later * MICROS_PER_DAY < world.calendar.until_us)
    return _rows(entry_us, journeys.macro_user[seen], later[seen], REFUND, value=-worth[seen])


def _rows(
    entry_us: np.ndarray,
    user: np.ndarray,
    at: np.ndarray,
    kind: int | np.ndarray,
    *,
    value: np.ndarray | None = None,
    seconds: np.ndarray | None = None,
) -> Rows:
    blank = np.full(len(user), np.nan)
    return Rows(
        user=user.astype(np.int64),
        us=entry_us[user] + np.floor(at * MICROS_PER_DAY).astype(np.int64),
        kind=np.full(len(user), kind, dtype=np.int64) if isinstance(kind, int) else kind.astype(np.int64),
        opener=np.full(len(user), PAGE_VIEW),
        value=blank if value is None else value,
        seconds=blank if seconds is None else seconds,
        session=np.full(len(user), -1),
    )


def _concatenate(parts: list[Rows]) -> Rows:
    names = ("user", "us", "kind", "opener", "value", "seconds", "session")
    return Rows(*[np.concatenate([getattr(part, name) for part in parts]) for name in names])


def _append(rows: Rows, more: Rows) -> Rows:
    both = _concatenate([rows, more])
    return both.take(np.lexsort((both.us, both.user))) if len(more) else both


def _into_sessions(rows: Rows) -> Rows:
    """The rows sorted, numbered by session, with the session starts and first page views that belong to them."""
    rows = rows.take(np.lexsort((rows.kind, rows.us, rows.user)))
    opens = np.ones(len(rows), dtype=bool)
    opens[1:] = (np.diff(rows.user) != 0) | (np.diff(rows.us) > to_micros(SESSION_TIMEOUT))
    session = np.cumsum(opens) - 1
    rows = Rows(rows.user, rows.us, rows.kind, rows.opener, rows.value, rows.seconds, session)
    opened_by = rows.kind[opens]
    starts = _inserted(rows.take(np.flatnonzero(opens)), SESSION_START, opened_by)
    has_pages = bool((rows.kind == PAGE_VIEW).any())
    unviewed = np.flatnonzero(opens & (rows.kind != PAGE_VIEW)) if has_pages else np.zeros(0, dtype=np.int64)
    views = _inserted(rows.take(unviewed), PAGE_VIEW, rows.kind[unviewed])
    rows = rows.take(np.flatnonzero(rows.kind != _MARKER))
    rows = _concatenate([starts, views, rows])
    return rows.take(np.lexsort((rows.kind, rows.us, rows.session)))


def _inserted(firsts: Rows, kind: int, opener: np.ndarray) -> Rows:
    blank = np.full(len(firsts), np.nan)
    seconds = np.zeros(len(firsts)) if kind == PAGE_VIEW else blank
    return Rows(firsts.user, firsts.us, np.full(len(firsts), kind), opener, blank, seconds, firsts.session)
