"""Logs whose delay is of no family that is fitted: what the eventual share is worth where its assumption is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

import microconv as mc
from calibration.worlds import MACRO

__all__ = ["DELAYS", "SHARE", "WORLD", "Delay", "log_of"]

# Nothing but time makes these users convert: their rows stand in the table of the null world.
WORLD = "null"
SHARE = 0.5  # of the users convert in the end
# As in the worlds whose family is fitted: users enter over 60 days, and observation ends a day after.
_ENTRIES_OVER, _UNTIL = 60.0, 61.0
_START = pd.Timestamp("2026-01-01", tz="UTC")


@dataclass(frozen=True)
class Delay:
    """Days until those who convert in the end have done so: log-logistic of a shape, or log-normal of a sigma."""

    name: str
    median_days: float
    shape: float | None = None
    sigma: float | None = None

    def quantile(self, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The day by which that share of them has converted."""
        if self.shape is not None:
            return self.median_days * (share / (1 - share)) ** (1 / self.shape)
        assert self.sigma is not None
        return self.median_days * np.exp(self.sigma * ndtri(share))


# Both have their bulk within two weeks and a slow tail: 2.8 and 3.5 % of the delay lies beyond the 61 days.
DELAYS = (
    Delay("log-logistic delay", median_days=4.0, shape=1.3),
    Delay("log-normal delay", median_days=4.0, sigma=1.5),
)


def log_of(delay: Delay, seed: int, users: int) -> mc.EventLog:
    """The log of ``users`` users: one visit each, and the conversions that come before observation ends."""
    rng = np.random.default_rng([seed, DELAYS.index(delay)])
    entry = rng.uniform(0.0, _ENTRIES_OVER, users)
    waits = np.where(rng.random(users) < SHARE, delay.quantile(rng.random(users)), np.inf)
    converted = entry + waits <= _UNTIL
    number = np.arange(users)
    events = pd.DataFrame(
        {
            "user_id": np.char.add("u", np.concatenate([number, number[converted]]).astype(str)),
            "event": np.repeat(["visit", MACRO], [users, converted.sum()]),
            "time": _START + pd.to_timedelta(np.concatenate([entry, (entry + waits)[converted]]), unit="D").round("us"),
        }
    )
    plan = mc.Plan.model_validate({"macros": [{"name": MACRO, "event": MACRO}]})
    return mc.read_events(events, plan=plan, observed_until=_START + pd.Timedelta(days=_UNTIL), threads=1)
