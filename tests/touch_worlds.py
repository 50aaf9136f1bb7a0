"""Logs of touches whose conversions have a known cause: a baseline by channel of entry, and touches that fade."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

import microconv as mc
from microconv.log import EventLog

__all__ = ["FOUR", "PLAN", "START", "TouchLog", "TouchWorld", "simulated"]

START = pd.Timestamp("2026-01-01", tz="UTC")
PLAN = {
    "macros": [{"name": "purchase", "event": "purchase", "value": "value", "currency": "EUR"}],
    "lookback": "30D",
}


@dataclass(frozen=True)
class TouchWorld:
    """Users enter by ``entry`` (chances) over ``days_of_entry`` days and are watched until day ``days``; each channel
    touches them ``touches`` times a day; the rate of conversion is ``baseline`` (by channel of entry, times
    ``early`` in the first 3 days) and ``coef`` per day right after a touch, halved each ``half_life`` days.
    """

    channels: tuple[str, ...]
    entry: tuple[float, ...]
    touches: tuple[float, ...]
    baseline: tuple[float, ...]
    coef: tuple[float, ...]
    early: float = 2.0
    half_life: float = 3.0
    days_of_entry: float = 20.0
    days: float = 40.0


# Email touches often those who come anyway; display does nothing.
FOUR = TouchWorld(
    channels=("display", "email", "search", "social"),
    entry=(0.4, 0.1, 0.3, 0.2),
    touches=(0.15, 0.10, 0.05, 0.05),
    baseline=(0.002, 0.02, 0.01, 0.004),
    coef=(0.0, 0.01, 0.05, 0.02),
)


@dataclass(frozen=True)
class TouchLog:
    """``frame``: events. ``cause``: of each conversion the channel whose touch brought it, or ``(baseline)``."""

    world: TouchWorld
    frame: pd.DataFrame = field(repr=False)
    cause: pd.Series = field(repr=False)

    def log(self, threads: int | None = None) -> EventLog:
        until = START + pd.Timedelta(self.world.days, unit="D")
        return mc.read_events(self.frame, plan=PLAN, observed_until=until, threads=threads)

    def truth(self) -> pd.Series:
        """Conversions by what brought them."""
        names = [*self.world.channels, "(baseline)"]
        return self.cause.value_counts().reindex(names, fill_value=0)


def simulated(world: TouchWorld, users: int, seed: int) -> TouchLog:
    """Every source of conversions, the baseline and each touch, has a first event of its own; the earliest is the
    conversion, and its source the cause.
    """
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, world.days_of_entry, users)
    entry = rng.choice(len(world.channels), users, p=world.entry)
    left = world.days - start
    who, when, channel = [np.arange(users)], [np.zeros(users)], [entry]
    for number, rate in enumerate(world.touches):
        many = rng.poisson(rate * left)
        user = np.repeat(np.arange(users), many)
        who.append(user)
        when.append(rng.uniform(0, 1, len(user)) * left[user])
        channel.append(np.full(len(user), number))
    user, age, of = np.concatenate(who), np.concatenate(when), np.concatenate(channel)
    # The integral of the baseline, turned round.
    rate = np.array(world.baseline)[entry]
    need = rng.exponential(1.0, users) / rate
    early = world.early * 3
    base = np.where(need <= early, need / world.early, 3 + (need - early))
    # A touch brings nothing at all with chance exp(-coef * half_life / ln 2).
    most = np.array(world.coef)[of] * world.half_life / np.log(2)
    drawn = rng.exponential(1.0, len(of))
    with np.errstate(divide="ignore", invalid="ignore"):
        wait = np.where(drawn < most, -world.half_life * np.log2(1 - drawn / most), np.inf)
    first = np.full(users, np.inf)
    np.minimum.at(first, user, age + wait)
    converts = np.minimum(first, base)
    cause = np.full(users, -1)
    by = age + wait == converts[user]
    cause[user[by]] = of[by]
    cause[base <= first] = len(world.channels)
    happens = converts <= left
    seen = age <= np.minimum(converts, left)[user]
    at = np.concatenate([start[user[seen]] + age[seen], (start + converts)[happens]])
    names = np.array([*world.channels, "(baseline)"], dtype=object)
    ids = np.array([f"u{number}" for number in range(users)], dtype=object)
    bought = int(happens.sum())
    frame = pd.DataFrame(
        {
            "user_id": np.concatenate([ids[user[seen]], ids[happens]]),
            "time": START + pd.to_timedelta(np.round(at * 86_400e6).astype("int64"), unit="us"),
            "event": ["visit"] * int(seen.sum()) + ["purchase"] * bought,
            "channel": np.concatenate([names[of[seen]], np.full(bought, None)]),
            "value": np.concatenate([np.full(int(seen.sum()), np.nan), np.round(rng.gamma(4, 10, bought), 2)]),
        }
    )
    return TouchLog(world, frame, pd.Series(names[cause[happens]], dtype=object))
