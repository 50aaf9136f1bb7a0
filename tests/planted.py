"""What a simulated log should show of what was planted: observed against expected occurrences, by brute force."""

from __future__ import annotations

import math

import numpy as np

from microconv.simulate import SimulatedLog, Steps

__all__ = ["RATE_ERRORS", "observed_and_expected", "ratio_and_error"]

# Tests with fixed seeds allow this many standard errors: one in a thousand honest tests would fail.
RATE_ERRORS = 3.3
_MICROSECOND = 1.5e-6 / 86_400


def _rate(rate: float | Steps, ages: np.ndarray) -> np.ndarray:
    if not isinstance(rate, Steps):
        return np.full(ages.shape, float(rate))
    return np.array(rate.per_day)[np.searchsorted(rate.cuts_days, ages, side="right")]


def observed_and_expected(
    log: SimulatedLog,
    process: str,
    *,
    while_done: str | None = None,
    after: np.ndarray | None = None,
    neglect: tuple[str, ...] = (),
) -> tuple[int, float]:
    """Occurrences of a micro or the macro, and how many its planted rates give for the time at risk.

    ``while_done`` counts only time after that micro and leaves its planted ratio out, so that observed / expected
    estimates the ratio. ``after`` counts only time after a moment of each user (days since entry, infinite for never).
    ``neglect`` leaves out the effect of traits (columns).
    """
    world, users = log.truth.world, log.users
    at = {micro.name: users[f"{micro.name}_days"].fillna(np.inf).to_numpy() for micro in world.micros}
    macro = world.macro
    target = macro if process == macro.name else next(micro for micro in world.micros if micro.name == process)
    end = users["stop_days"].to_numpy()
    if process != macro.name:
        end = np.minimum(end, at[process])
    cuts = {cut for part in (target,) if isinstance(part.rate_per_day, Steps) for cut in part.rate_per_day.cuts_days}
    fading = [at[micro.name] + micro.fade_days for micro in world.micros if micro.fade_days is not None]
    moments = [after] if after is not None else []
    edges = [np.zeros(len(users)), *moments, *[np.full(len(users), cut) for cut in cuts], *at.values(), *fading, end]
    bounds = np.sort(np.minimum(np.stack(edges), end), axis=0)
    start, length = bounds[:-1], np.diff(bounds, axis=0)
    middle = start + length / 2
    rate = _rate(target.rate_per_day, middle)
    for intent, option in ((world.intent, "intent_effect"), (world.hidden_intent, "hidden_intent_effect")):
        if intent is not None and intent.column not in neglect:
            rate = rate * np.where(users[intent.column] == intent.high, getattr(target, option), 1.0)
    for trait in world.traits:
        if trait.column not in neglect:
            ratios = trait.effects.get(process, {})
            rate = rate * users[trait.column].map(lambda level, ratios=ratios: ratios.get(level, 1.0)).to_numpy(float)
    for micro in world.micros:
        if micro.name in (process, while_done):
            continue
        ratio = micro.hazard_ratio if process == macro.name else micro.causes.get(process, 1.0)
        until = at[micro.name] + (micro.fade_days if micro.fade_days is not None else math.inf)
        rate = np.where((middle > at[micro.name]) & (middle < until), rate * ratio, rate)
    needed = getattr(target, "requires", None)
    if needed is not None:
        rate = np.where(middle > at[needed], rate, 0.0)
    happened = (users["cause"] == process).to_numpy() if process == macro.name else np.isfinite(at[process])
    counted = np.ones(middle.shape, dtype=bool)
    if while_done is not None:
        effect = next(micro for micro in world.micros if micro.name == while_done)
        until = at[while_done] + (effect.fade_days if effect.fade_days is not None else math.inf)
        counted = (middle > at[while_done]) & (middle < until)
        happened = happened & (end > at[while_done]) & (end <= until)
    if after is not None:
        counted = counted & (middle > after)
        happened = happened & (
            end > after + _MICROSECOND
        )  # events have whole microseconds, and one instant is not after
    return int(happened.sum()), float((rate * length * counted).sum())


def ratio_and_error(observed: int, expected: float) -> tuple[float, float]:
    """Observed over expected, and the standard error of its logarithm."""
    return observed / expected, 1 / math.sqrt(observed)
