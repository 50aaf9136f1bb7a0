"""The share that has had the event by the last reliable age, and the plateau that a model adds where it may."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.stats._curves import Floats, read_blocks
from microconv.stats.competing import aalen_johansen
from microconv.stats.cure import CureFit, Family, mixture_cure
from microconv.stats.survival import kaplan_meier
from microconv.stats.watched import reliable_ages

__all__ = ["CURVES", "FITS", "LEAST_EVENTS", "MOST_OPEN", "NAMES", "PLATEAUS", "Plateaus", "plateaus"]

LEAST_EVENTS = 20
MOST_OPEN = 0.05
NAMES = {"weibull": "Weibull", "generalised_gamma": "generalised gamma"}
PLATEAUS = (
    "share ci_low ci_high delay_median_days delay_p90_days observed_share observed_ci_low observed_ci_high "
    "reliable_days n events method"
).split()
CURVES = "time_days observed observed_ci_low observed_ci_high at_risk fitted".split()
FITS = "family share ci_low ci_high open_latency delay_median_days at_zero mu sigma q log_likelihood note".split()
_OTHER: dict[Family, Family] = {"weibull": "generalised_gamma", "generalised_gamma": "weibull"}
_LATE = 0.005
_POINTS = 120
_MOST_TIMES = 2_000  # of events and of censored; more are grouped, which moves an estimate by hundredths of its error


@dataclass(frozen=True)
class Plateaus:
    """``table``, ``curves``, ``fits`` (see ``mc.eventual_conversion``) and each pattern's model, None where refused."""

    table: pd.DataFrame
    curves: pd.DataFrame
    fits: pd.DataFrame
    models: tuple[CureFit | None, ...]


def plateaus(rt: RiskTable, cause: Hashable, family: Family = "weibull", confidence: float = 0.95) -> Plateaus:
    """How many have had the event by the last reliable age, and how many ever will, where a model may say so?

    One row per pattern; who ends otherwise than by ``cause`` never has the event. The plateau is refused (NaN, the
    reason in ``method``) on fewer than 20 events; where by either fit more than 5 % of those who ever have the event
    have not by the last reliable age; where Weibull and generalised gamma differ by more than half the interval; where
    the fit leaves the interval of the observed share, or in the later half of the reliable ages there are more events
    than it can explain (p below .005: what decides a plateau is whether it still rises). Where every interval has
    ended the observed share is the answer.
    """
    by = list(rt.pattern_cols)
    ages = reliable_ages(rt)
    rows, curves, fits, models = [], [], [], []
    sizes, days = ages["n"].to_numpy(dtype=float), ages["reliable_days"].to_numpy(dtype=float)
    complete = (ages["ended"] & ages["last"]).to_numpy()
    for i, (curve, block) in enumerate(zip(_observed(rt, cause, confidence), rt.blocks(), strict=True)):
        own = RiskTable(rt.frame.iloc[block].reset_index(drop=True), rt.pattern_cols, rt.causes)
        d = own.frame[own.event_cols[own.causes.index(cause)]].sum()
        row = dict.fromkeys(PLATEAUS, math.nan) | _at_reliable_age(curve, float(days[i]), float(sizes[i]), confidence)
        row |= {"n": round(float(sizes[i])), "events": round(float(d))}
        model = None
        if complete[i]:
            row |= _complete(row, curve)
        else:
            model, tried, row["method"] = _modelled(own, cause, family, confidence, row)
            fits += tried
            if model is not None:
                row |= dict(model.table.iloc[0][PLATEAUS[:5]])
        rows.append(row)
        models.append(model)
        curves.append(_drawn(curve, model))
    names = ages[by]
    table = pd.concat([names, pd.DataFrame(rows, columns=PLATEAUS)], axis=1)
    where = np.repeat(np.arange(len(curves)), [len(curve) for curve in curves])
    drawn = pd.concat([names.iloc[where].reset_index(drop=True), pd.concat(curves, ignore_index=True)], axis=1)
    judged = pd.concat([fit.table for fit in fits], ignore_index=True) if fits else pd.DataFrame(columns=[*by, *FITS])
    return Plateaus(table, drawn, judged[[*by, *FITS]], tuple(models))


def _complete(row: dict[str, Any], curve: pd.DataFrame) -> dict[str, object]:
    """Nobody is left: the observed share is the share."""
    return {
        "share": row["observed_share"],
        "ci_low": row["observed_ci_low"],
        "ci_high": row["observed_ci_high"],
        "delay_median_days": _delay(curve, 0.5),
        "delay_p90_days": _delay(curve, 0.9),
        "method": "observed: every journey has ended",
    }


def _modelled(
    rt: RiskTable, cause: Hashable, family: Family, confidence: float, row: dict[str, Any]
) -> tuple[CureFit | None, list[CureFit], str]:
    """The model of one pattern, or none; all fits that were tried; the method, or why it is refused."""
    days = row["reliable_days"]
    if row["events"] < LEAST_EVENTS:
        return None, [], f"refused: only {row['events']} of the {LEAST_EVENTS} conversions it takes"
    if math.isnan(days):
        return None, [], "refused: no age has enough users watched for it"
    first = mixture_cure(rt, family, cause=cause, confidence=None, max_times=_MOST_TIMES)
    if note := first.table["note"].iloc[0]:
        return None, [first], f"refused: {NAMES[family]} fit: {note}"
    if why := _not_over(first, days):
        return None, [first], why
    check = mixture_cure(rt, _OTHER[family], cause=cause, confidence=None, max_times=_MOST_TIMES)
    if note := check.table["note"].iloc[0]:
        return None, [first, check], f"refused: {NAMES[_OTHER[family]]} fit: {note}"
    if why := _not_over(check, days):
        return None, [first, check], why
    model = mixture_cure(rt, family, cause=cause, confidence=confidence, max_times=_MOST_TIMES)
    fit, other = model.table.iloc[0], check.table.iloc[0]
    if not abs(fit["share"] - other["share"]) <= (fit["ci_high"] - fit["ci_low"]) / 2:
        return None, [model, check], (
            f"refused: the families disagree: {NAMES[family]} {fit['share']:.1%}, {NAMES[_OTHER[family]]} "
            f"{other['share']:.1%}, more than half the interval apart"
        )  # fmt: skip
    by_then = float(model.gain(-1.0, days)["probability"].iloc[0])
    if not row["observed_ci_low"] <= by_then <= row["observed_ci_high"]:
        return None, [model, check], (
            f"refused: the fit misses what was observed: {by_then:.1%} against {row['observed_share']:.1%} "
            f"after {days:.3g} days"
        )  # fmt: skip
    late = model.expected_events(rt, cause, after_days=days / 2).iloc[0]
    if _poisson_tail(late["events"], late["expected"]) < _LATE:
        return None, [model, check], (
            f"refused: the fit misses the late conversions: {late['events']:.0f} after {days / 2:.3g} days, where it "
            f"expects {late['expected']:.1f}"
        )  # fmt: skip
    return model, [model, check], f"mixture cure, {NAMES[family]} delay"


def _poisson_tail(count: float, mean: float) -> float:
    """The chance of so many or more."""
    from scipy.special import gammainc

    return float(gammainc(count, mean)) if count > 0 else 1.0


def _observed(rt: RiskTable, cause: Hashable, confidence: float) -> list[pd.DataFrame]:
    """The nonparametric curve of each pattern: ``time_days, observed, observed_ci_low, observed_ci_high, at_risk``."""
    if len(rt.causes) > 1:
        curve = aalen_johansen(rt, confidence)
        curve = curve[curve["cause"] == cause].reset_index(drop=True)
        values = {"observed": curve["probability"], "low": curve["ci_low"], "high": curve["ci_high"]}
    else:
        curve = kaplan_meier(rt, confidence)
        values = {"observed": 1 - curve["survival"], "low": 1 - curve["ci_high"], "high": 1 - curve["ci_low"]}
    frame = pd.DataFrame(
        {
            "time_days": rt.frame["time_days"].to_numpy(),
            "observed": values["observed"].to_numpy(),
            "observed_ci_low": values["low"].to_numpy(),
            "observed_ci_high": values["high"].to_numpy(),
            "at_risk": rt.frame["n"].to_numpy(),
        }
    )
    return [frame.iloc[block.rows].reset_index(drop=True) for block in read_blocks(rt)]


def _at_reliable_age(curve: pd.DataFrame, days: float, n: float, confidence: float) -> dict[str, object]:
    """The observed share by the last reliable age, with limits where nobody or everybody has had the event as well."""
    if math.isnan(days):
        return {}
    row = curve[curve["time_days"] <= days].iloc[-1]
    share, low, high = (float(row[name]) for name in ("observed", "observed_ci_low", "observed_ci_high"))
    # All or none is no proof: the rule of three, over as many as have been watched that long.
    watched = float(row["at_risk"]) if share <= 0 else n
    if share <= 0:
        low, high = 0.0, min(1.0, -math.log(1 - confidence) / max(watched, 1.0))
    elif share >= 1:
        low, high = max(0.0, 1 + math.log(1 - confidence) / watched), 1.0
    return {"reliable_days": days, "observed_share": share, "observed_ci_low": low, "observed_ci_high": high}


def _not_over(fit: CureFit, days: float) -> str:
    still_open = float(fit.latency_survival(days)["open_latency"].iloc[0])
    if still_open <= MOST_OPEN:
        return ""
    return (
        f"refused: the delay is not over: by the {NAMES[fit.family]} fit {still_open:.1%} of those who ever convert "
        f"have not after {days:.3g} days"
    )


def _delay(curve: pd.DataFrame, level: float) -> float:
    """The days by which this share of those observed to have the event has it."""
    total = float(curve["observed"].iloc[-1])
    if total <= 0:
        return math.nan
    reached = np.flatnonzero(curve["observed"].to_numpy() >= level * total - 1e-12)
    return float(curve["time_days"].iloc[reached[0]])


def _drawn(curve: pd.DataFrame, model: CureFit | None) -> pd.DataFrame:
    """The curve at a few hundred times: even ones, and quantiles of the steps, so that a steep start stays steep."""
    time = curve["time_days"].to_numpy()
    steps = time[np.diff(curve["observed"].to_numpy(), prepend=0.0) > 0]
    quantiles: Floats = np.quantile(steps, np.linspace(0, 1, _POINTS)) if len(steps) else time[:1]
    times = np.unique(np.concatenate([np.linspace(0.0, time[-1], _POINTS + 1), quantiles, [time[-1]]]))
    at = np.searchsorted(time, times, side="right") - 1
    next_row = np.searchsorted(time, times, side="left")
    columns = ["observed", "observed_ci_low", "observed_ci_high"]
    drawn = curve[columns].iloc[np.maximum(at, 0)].reset_index(drop=True)
    drawn[at < 0] = 0.0
    drawn.insert(0, "time_days", times)
    drawn["at_risk"] = curve["at_risk"].to_numpy()[np.minimum(next_row, len(time) - 1)]
    drawn["fitted"] = np.nan if model is None else model.gain(-1.0, times)["probability"].to_numpy()
    return drawn[CURVES]
