"""A macro that comes once or never: a share converts in the end, after a Weibull time (a mixture-cure world)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from microconv.simulate.clocks import CENSORED, Journeys, simulate_journeys
from microconv.simulate.model import Model
from microconv.simulate.processes import Eventual

__all__ = ["eventual_probability", "simulate_eventual"]


def simulate_eventual(
    model: Model,
    planted: Eventual,
    ratio: np.ndarray,
    stop: np.ndarray,
    rng: np.random.Generator,
    delays: np.random.Generator,
) -> Journeys:
    """Run every user to the macro planted for them, or to ``stop``; micros and censoring ends are clocks as ever."""
    users = len(stop)
    converts = delays.random(users) < planted.share * ratio[model.macro]
    waited = planted.scale_days * delays.standard_exponential(users) ** (1 / planted.shape)
    at = np.where(converts, waited, np.inf)
    run = simulate_journeys(model, ratio, np.minimum(stop, at), rng)
    converted = np.flatnonzero((at < stop) & (run.cause == CENSORED))
    cause = run.cause.copy()
    cause[converted] = model.macro
    return Journeys(run.done_at, run.stop, cause, converted, at[converted])


def eventual_probability(
    planted: Eventual, weights: np.ndarray, ratio: np.ndarray, times_days: Sequence[float]
) -> np.ndarray:
    """The chance of the macro by each age, over cells of users of the given weights and ratios of the share."""
    waited = -np.expm1(-((np.asarray(times_days, dtype=float) / planted.scale_days) ** planted.shape))
    return planted.share * float((weights * ratio).sum()) * waited
