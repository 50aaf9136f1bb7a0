"""Return visits and page views: when they happen. They depend on intent and traits, never on micros or the macro."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microconv.simulate.model import merge_steps
from microconv.simulate.processes import as_steps
from microconv.simulate.tracking import Visits

__all__ = ["PageViews", "bot_pages", "page_views"]

_SECONDS_PER_DAY = 86_400.0
BOT_PAGES = 300
BOT_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class PageViews:
    """Of each: whose, at which age in days, and the seconds since the visit's page view before (0: its first)."""

    user: np.ndarray
    at: np.ndarray
    seconds: np.ndarray


def page_views(visits: Visits, ratio: np.ndarray, stop: np.ndarray, rng: np.random.Generator) -> PageViews:
    """Everybody's first visit at entry, and return visits at the rate ``per_day`` times ``ratio``, until ``stop``."""
    user, start = _visit_starts(visits, ratio, stop, rng)
    pages = rng.geometric(1 / visits.pages, len(user))
    visit = np.repeat(np.arange(len(user)), pages)
    first = np.zeros(len(visit), dtype=bool)
    first[np.cumsum(pages) - pages] = True
    seconds = np.where(first, 0.0, rng.standard_exponential(len(visit)) * visits.seconds_per_page)
    elapsed = np.cumsum(seconds)
    since = elapsed - elapsed[np.cumsum(pages) - pages][visit]
    at = start[visit] + since / _SECONDS_PER_DAY
    kept = (at < stop[user[visit]]) | (at == 0)
    return PageViews(user[visit][kept], at[kept], seconds[kept])


def _visit_starts(
    visits: Visits, ratio: np.ndarray, stop: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    cuts, rates = merge_steps([as_steps(visits.per_day)])
    users, starts = [np.arange(len(stop))], [np.zeros(len(stop))]
    for low, high, rate in zip([0.0, *cuts], [*cuts, np.inf], rates[:, 0], strict=True):
        length = np.clip(np.minimum(stop, high) - low, 0.0, None)
        user = np.repeat(np.arange(len(stop)), rng.poisson(rate * ratio * length))
        users.append(user)
        starts.append(low + rng.random(len(user)) * length[user])
    return np.concatenate(users), np.concatenate(starts)


def bot_pages(first_user: int, bots: int, days: float, rng: np.random.Generator) -> tuple[np.ndarray, PageViews]:
    """When each bot enters (a part of the observed days), and its page views, one every two seconds."""
    last = BOT_PAGES * BOT_SECONDS / _SECONDS_PER_DAY
    entry = rng.random(bots) * max(days - last, 0.0)
    at = np.tile(np.arange(BOT_PAGES) * BOT_SECONDS / _SECONDS_PER_DAY, bots)
    user = first_user + np.repeat(np.arange(bots), BOT_PAGES)
    seconds = np.where(at == 0, 0.0, BOT_SECONDS)
    kept = entry[user - first_user] + at < days
    return entry, PageViews(user[kept], at[kept], seconds[kept])
