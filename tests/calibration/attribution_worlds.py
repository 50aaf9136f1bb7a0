"""Worlds for attribution: conversions whose cause is known, and regular customers among rare touches and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from touch_worlds import FOUR, PLAN, START, simulated

import microconv as mc
from microconv.log import EventLog

__all__ = ["RULES", "WORLDS", "AttributionWorld"]

Floats = npt.NDArray[np.float64]

# Models that divide each log alone: the truth is what they give the whole population.
RULES = ("first", "last", "linear", "linear_unique", "position", "time_decay", "time_decay_steps", "any_touch")
_CHAINS = ("markov", "markov2", "markov3")
_DAYS = 90.0


@dataclass(frozen=True)
class AttributionWorld:
    """``read``: the log of so many users and a seed; ``users``: as many as intervals are tried with; ``models``: those
    that are asked, with ``options`` of ``mc.attribution``; ``null``: a channel without effect; ``caused``: whether the
    simulation draws what brings each conversion; ``rates``: whether Shapley's game of rates is asked too.
    """

    says: str
    users: int
    read: Callable[[int, int], EventLog] = field(repr=False)
    models: tuple[str, ...]
    null: str
    options: Mapping[str, str] = field(default_factory=dict)
    caused: bool = False
    rates: bool = False


def _causes(users: int, seed: int) -> EventLog:
    return simulated(FOUR, users, seed).log(threads=1)


def _habits(users: int, seed: int) -> EventLog:
    """Users with a bent of their own (many do nothing, a few buy again and again, and spend alike each time), a channel
    that most of their touches come by, touches that bring a purchase now and then, purchases that nothing brought, and
    a display that touches everybody at random and does nothing.
    """
    rng = np.random.default_rng([seed, 1])
    channels = np.array(["affiliate", "direct", "email", "search"], dtype=object)
    chance = np.array([0.10, 0.06, 0.12, 0.08])  # that a touch brings a purchase, for the average user
    bent, basket = rng.gamma(0.8, 1.25, users), rng.gamma(9, 40 / 9, users)
    favourite = rng.choice(4, users, p=[0.03, 0.27, 0.25, 0.45])
    user = np.repeat(np.arange(users), rng.poisson(2.5 * bent))
    of = np.where(rng.random(len(user)) < 0.6, favourite[user], rng.choice(4, len(user), p=[0.03, 0.37, 0.2, 0.4]))
    at = rng.uniform(0, _DAYS, len(user))
    brings = rng.random(len(user)) < chance[of] * np.minimum(0.4 + 0.6 * bent[user], 3.0)
    alone = np.repeat(np.arange(users), rng.poisson(0.02 * bent))
    seen = np.repeat(np.arange(users), rng.poisson(0.8, users))
    buyer = np.concatenate([user[brings], alone])
    bought = np.concatenate([at[brings] + rng.exponential(0.5, int(brings.sum())), rng.uniform(0, _DAYS, len(alone))])
    touched, when = np.concatenate([user, seen]), np.concatenate([at, rng.uniform(0, _DAYS, len(seen))])
    rows, after = len(touched), len(buyer)
    days = np.concatenate([when, bought])
    frame = pd.DataFrame(
        {
            "user_id": np.char.add("u", np.concatenate([touched, buyer]).astype(str)).astype(object),
            "time": START + pd.to_timedelta(np.round(days * 86_400e6).astype("int64"), unit="us"),
            "event": np.repeat(np.array(["visit", "purchase"], dtype=object), [rows, after]),
            "channel": np.concatenate([channels[of], np.full(len(seen), "display"), np.full(after, None)]),
            "value": np.concatenate([np.full(rows, np.nan), np.round(basket[buyer] * rng.gamma(6, 1 / 6, after), 2)]),
        }
    )
    until = START + pd.Timedelta(_DAYS, unit="D")
    return mc.read_events(frame[days < _DAYS], plan={**PLAN, "lookback": "14D"}, observed_until=until, threads=1)


WORLDS = {
    "causes": AttributionWorld(
        says="Each conversion has a cause that the simulation draws: a touch that fades, or the baseline, by channel "
        "of entry. Email touches often those who come anyway; display does nothing.",
        users=2_000,
        read=_causes,
        models=(*RULES, *_CHAINS, "shapley", "survival"),
        null="display",
        options={"half_life": "3D"},
        caused=True,
    ),
    "causes, many users": AttributionWorld(
        says="As before. Shapley's game of rates needs conversions on paths of each channel alone.",
        users=8_000,
        read=_causes,
        models=("shapley",),
        null="display",
        rates=True,
    ),
    "habits": AttributionWorld(
        says="Regular customers who buy again, and spend alike each time; an affiliate with few touches; purchases "
        "without a touch; a display that touches everybody at random and does nothing.",
        users=4_000,
        read=_habits,
        models=(*RULES, "last_non_direct", *_CHAINS, "shapley"),
        null="display",
    ),
}
