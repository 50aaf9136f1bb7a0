"""The effect of a micro by sequential trials: the doers' chance of the macro against that of others like them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten
from microconv.stats.effects import BY_TIME, Effect
from microconv.stats.resample import poisson_weights, resampled
from microconv.trial_sums import Arm, TrialSums

__all__ = ["replicated", "trials"]

Floats = npt.NDArray[np.float64]


def trials(sums: TrialSums, *, at_days: Sequence[float] = (), replicates: int = 1_000, seed: int = 0) -> Effect:
    """The total effect of a micro on its doers, from sums of sequential trials (``reduce.trials.trial_sums``).

    In each trial and arm, events over person-time by interval are the hazards of the macro and of competing ends, which
    give the chance of the macro by each time (cumulative incidence). Trials are then averaged by their doers; not
    before, because later doers have other hazards and are followed for less long. Revenue takes the place of the number
    of converters for the expected revenue, in the unit of ``sums``.

    ``at_days``: times since the action at which ``by_time`` is read besides the horizon. Standard errors: the spread of
    ``replicates`` with Poisson weights on buckets of users, the weights of controls held fixed.

    ``detail`` of the result: ``trials`` (how many), ``buckets`` (for a t interval), ``too_late``, ``without_controls``
    and ``unfollowed`` (doers left out: acted too late to be observed for the horizon, nobody like them, in a trial that
    nobody is followed to the horizon in), ``controls`` and ``sampled`` (control trials, and the share taken),
    ``support`` (by landmark and stratum).

    All estimates are NaN where no trial is followed to the horizon in both arms. Raises ``ParameterError`` on times
    beyond the horizon. Hernan et al. 2008; Gran et al. 2010; Robins and Finkelstein 2000.
    """
    times = _times(at_days, sums.horizon_days)
    followed = _in_both(sums)
    entered = sums.entered * followed
    unfollowed = float(sums.entered.sum() - entered.sum())
    estimate = _by_time(sums, entered, times, np.ones((1, len(entered))))[0]
    estimate[...] = estimate if entered.any() else np.nan
    drawn = _by_time(sums, entered, times, poisson_weights(len(entered), replicates, seed))
    # A replicate that draws none of few doers says nothing.
    drawn = drawn[np.isfinite(drawn).all(axis=(1, 2))]
    known = len(drawn) > 1
    covariance = np.cov(drawn[:, -1, :2].T) if known else np.full((2, 2), np.nan)
    increments = drawn[..., [1, 3]] - drawn[..., [0, 2]]
    errors = increments.std(axis=0, ddof=1) if known else np.full((len(times), 2), np.nan)
    never, done, value_never, value_done = estimate.T
    if not sums.with_money:
        value_never, value_done, errors[:, 1] = np.nan * value_never, np.nan * value_done, np.nan
    columns = (times, done, never, done - never, errors[:, 0], value_done - value_never, errors[:, 1])
    by_time = pd.DataFrame(dict(zip(BY_TIME, columns, strict=True)))
    last = by_time.iloc[-1]
    return Effect(
        done=float(done[-1]),
        never=float(never[-1]),
        incremental=float(last["incremental"]),
        se=float(last["se"]),
        covariance=covariance[::-1, ::-1],
        users=float(entered.sum()),
        left_out=(sums.too_late + sums.without_controls + unfollowed) / sums.doers if sums.doers else np.nan,
        effective_done=sums.done.at_horizon,
        effective_never=sums.never.at_horizon,
        value_done=float(value_done[-1]),
        value_never=float(value_never[-1]),
        incremental_value=float(last["incremental_value"]),
        value_se=float(last["value_se"]),
        by_time=by_time,
        detail=_detail(sums, followed, unfollowed),
    )


def replicated(sums: TrialSums, weights: Floats) -> tuple[Floats, Floats, float]:
    """The chance of the macro by the horizon, never and done, in the log and in each replicate, and of how many doers.

    ``weights``: by (replicate, bucket), as ``poisson_weights`` gives them. The same weights for several micros or
    groups of users make their replicates belong together, which is what simultaneous limits need. Shapes: (2,) and
    (replicates, 2); NaN where nobody is followed to the horizon, or a replicate draws no doer.
    """
    entered = sums.entered * _in_both(sums)
    last = [sums.horizon_days]
    if not entered.any():
        return np.full(2, np.nan), np.full((len(weights), 2), np.nan), 0.0
    estimate = _by_time(sums, entered, last, np.ones((1, len(entered))))[0, 0, :2]
    return estimate, _by_time(sums, entered, last, weights)[:, 0, :2], float(entered.sum())


def _in_both(sums: TrialSums) -> npt.NDArray[np.bool_]:
    """Which trials are followed to the horizon in both arms."""
    followed = _followed(sums.done, sums, np.zeros_like(sums.landmarks_days), complete=True)
    return followed & _followed(sums.never, sums, sums.landmarks_days, complete=False)


def _detail(sums: TrialSums, followed: npt.NDArray[np.bool_], unfollowed: float) -> dict[str, Any]:
    return {
        "trials": int(followed.sum()),
        "buckets": len(sums.entered),
        "too_late": sums.too_late,
        "without_controls": sums.without_controls,
        "unfollowed": int(unfollowed),
        "controls": int(sums.support["controls"].sum()),
        "sampled": sums.sampled,
        "support": sums.support,
    }


def _times(at_days: Sequence[float], horizon: float) -> list[float]:
    times = sorted({float(time) for time in at_days} | {horizon})
    if not all(0 < time <= horizon for time in times):
        raise ParameterError(
            f"at_days={shorten(repr(list(at_days)))} must be days after the action, above 0 and up to the horizon of "
            f"{horizon:g} days."
        )
    return times


def _widths(arm: Arm, begin: Floats, time: float) -> Floats:
    """By (trial, interval): how many days of the interval lie between ``begin`` and ``time`` after it."""
    begin = begin[:, None]
    return np.maximum(np.minimum(arm.edges[1:], begin + time) - np.maximum(arm.edges[:-1], begin), 0.0)


def _followed(arm: Arm, sums: TrialSums, begin: Floats, *, complete: bool) -> npt.NDArray[np.bool_]:
    """Which trials have somebody at risk in every interval up to the horizon; ``complete``: or all met an end."""
    needed = _widths(arm, begin, sums.horizon_days) > 1e-12 * sums.horizon_days
    watched = ((arm.time.sum(axis=0) > 0) | ~needed).all(axis=1)
    if complete:
        watched |= arm.events.sum(axis=(0, 2, 3)) >= sums.entered.sum(axis=0)
    return np.asarray(watched & (sums.entered.sum(axis=0) > 0))


def _by_time(sums: TrialSums, entered: Floats, times: Sequence[float], weights: Floats) -> Floats:
    """By (replicate, time): the chance never and done, the expected revenue never and done."""
    doers = resampled(weights, entered)
    with np.errstate(invalid="ignore"):
        share = doers / doers.sum(axis=1, keepdims=True)
    share[~doers.any(axis=1)] = np.nan
    never = _arm_by_time(sums.never, sums.landmarks_days, times, weights, share)
    done = _arm_by_time(sums.done, np.zeros_like(sums.landmarks_days), times, weights, share)
    return np.stack([never[0], done[0], never[1], done[1]], axis=-1)


def _arm_by_time(
    arm: Arm, begin: Floats, times: Sequence[float], weights: Floats, share: Floats
) -> tuple[Floats, Floats]:
    """By (replicate, time), averaged over trials by ``share``: the chance of the macro, and the expected revenue."""
    time = resampled(weights, arm.time)

    def rate(counted: Floats) -> Floats:
        return np.divide(resampled(weights, counted), time, out=np.zeros_like(time), where=time > 0)

    target, every, money = rate(arm.events[..., 0]), rate(arm.events.sum(axis=-1)), rate(arm.money)
    spent = every * _widths(arm, begin, times[-1])
    staying = np.exp(spent - np.cumsum(spent, axis=-1))  # at the start of each interval
    chances, revenues = [], []
    for moment in times:
        width = _widths(arm, begin, moment)
        lost = every * width
        # The time that one person spends at risk within an interval, among all who enter the trial.
        at_risk = staying * width * np.divide(-np.expm1(-lost), lost, out=np.ones_like(lost), where=lost > 0)
        chances.append(((at_risk * target).sum(axis=-1) * share).sum(axis=-1))
        revenues.append(((at_risk * money).sum(axis=-1) * share).sum(axis=-1))
    return np.stack(chances, axis=-1), np.stack(revenues, axis=-1)
