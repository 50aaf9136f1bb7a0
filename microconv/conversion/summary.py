"""The curve of a conversion and what one line per segment says of it: at the horizon, quantiles, restricted mean."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY
from microconv.errors import MicroconvWarning
from microconv.reduce.risk import JourneyRule
from microconv.stats.competing import aalen_johansen, probability_at, time_lost
from microconv.stats.survival import kaplan_meier, survival_at
from microconv.stats.times import quantiles, rmst

__all__ = [
    "AT_HORIZON",
    "COLUMNS",
    "LEVELS",
    "MEAN",
    "curves",
    "limit_of_all",
    "limit_of_none",
    "pooled",
    "quiet",
    "summarise",
]

LEVELS = (0.1, 0.25, 0.5, 0.75)
AT_HORIZON = ("horizon_days", "probability", "ci_low", "ci_high")  # NaN where nothing says how far to read
MEAN = ("rmst_days", "rmst_ci_low_days", "rmst_ci_high_days")
_FLAT = 1.5e-8  # sums of fractions this near are one value
COLUMNS = (
    "time_days probability ci_low ci_high at_risk events censored n waits entered person_time_days observed_days "
    "horizon_days rmst_days rmst_ci_low_days rmst_ci_high_days "
    + " ".join(f"p{p}_days p{p}_ci_low_days p{p}_ci_high_days" for p in (10, 25, 50, 75))
).split()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the estimators' own warnings: the result says the same in its words, in ``.warnings``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)
        yield


def pooled(counts: RiskTable, rule: JourneyRule) -> RiskTable:
    """The counts by segment, without the groups of users that errors need."""
    if rule.cluster is None:
        return counts
    return counts.pool([column for column in counts.pattern_cols if column != rule.cluster])


def curves(counts: RiskTable, rule: JourneyRule, confidence: float) -> pd.DataFrame:
    """The contract's table: the target's cumulative incidence with the numbers at risk."""
    whole = pooled(counts, rule)
    by = list(whole.pattern_cols)
    columns = [*by, "time_days", "probability", "ci_low", "ci_high", "at_risk", "events", "censored"]
    if not rule.competing:
        curve = kaplan_meier(counts, confidence, cluster=rule.cluster)
        flipped = curve.assign(
            probability=1 - curve["survival"], ci_low=1 - curve["ci_high"], ci_high=1 - curve["ci_low"]
        )
        return flipped[columns].reset_index(drop=True)
    curve = aalen_johansen(counts, confidence, cluster=rule.cluster)
    mine = curve[curve["cause"] == rule.target.name].reset_index(drop=True)
    frame = whole.frame.reset_index(drop=True)
    mine = mine.assign(at_risk=frame["n"], events=frame[f"d_{rule.target.name}"], censored=frame["censored"])
    return mine[columns]


def summarise(
    counts: RiskTable,
    rule: JourneyRule,
    read_at: int | None,
    confidence: float,
    users: Mapping[tuple[str, ...], int] | None = None,
) -> pd.DataFrame:
    """One row per segment: size, events, the probability at the horizon, quantiles and restricted mean of the time.

    ``users`` says how many each segment has where ``counts`` do not: where users are counted more than once, and under
    late entry, where who leaves at the age at which another comes cancels out of a risk table.
    """
    whole, target = pooled(counts, rule), rule.target.name
    by = list(whole.pattern_cols)
    blocks = [whole.frame.iloc[place] for place in whole.blocks()]
    summary = pd.DataFrame({column: [block[column].iloc[0] for block in blocks] for column in by})
    entered = [int(block["entered"].sum()) for block in blocks]
    if users is None:
        summary["n"] = entered
    else:
        summary["n"] = [users[tuple(block[column].iloc[0] for column in by)] for block in blocks]
    if rule.cluster is not None:
        summary["waits"] = entered
    summary["events"] = [int(block[f"d_{target}"].sum()) for block in blocks]
    for end in rule.competing:
        summary[f"events_{end.name}"] = [int(block[f"d_{end.name}"].sum()) for block in blocks]
    ended = summary[["events", *[f"events_{end.name}" for end in rule.competing]]].sum(axis=1)
    summary["censored"] = summary["waits" if rule.cluster is not None else "n"] - ended
    summary["observed_days"] = [float(block["time_days"].iloc[-1]) for block in blocks]
    summary[list(AT_HORIZON)] = math.nan  # the columns do not depend on whether there is a horizon
    if read_at is not None:
        summary["horizon_days"] = read_at / MICROS_PER_DAY
        for name, values in _at_horizon(counts, rule, read_at / MICROS_PER_DAY, confidence).items():
            summary[name] = values
    for name, values in _quantiles(counts, rule, confidence).items():
        summary[name] = values
    summary[list(MEAN)] = math.nan
    if read_at is not None:
        for name, values in _mean(counts, rule, read_at / MICROS_PER_DAY, confidence).items():
            summary[name] = values
    return summary


def _mean(counts: RiskTable, rule: JourneyRule, day: float, confidence: float) -> dict[str, np.ndarray]:
    """The area above the curve up to the horizon: days without conversion; who ends otherwise never converts."""
    if rule.competing:
        lost = time_lost(counts, day, confidence, cluster=rule.cluster)
        lost = lost[lost["cause"] == rule.target.name]
        mean, low, high = day - lost["estimate"], day - lost["ci_high"], day - lost["ci_low"]
    else:
        area = rmst(counts, day, confidence, cluster=rule.cluster)
        mean, low, high = area["estimate"], area["ci_low"], area["ci_high"]
    return dict(zip(MEAN, (mean.to_numpy(), low.to_numpy(), high.to_numpy()), strict=True))


def _at_horizon(counts: RiskTable, rule: JourneyRule, day: float, confidence: float) -> dict[str, np.ndarray]:
    """The share converted by the horizon; NaN for segments not observed that long.

    Where nobody has converted the upper limit is -ln(1 - confidence) over the users known not to have. Where everybody
    has, the share of those left before the last conversions that could have stayed has that limit.
    """
    if rule.competing:
        read = probability_at(aalen_johansen(counts, confidence, cluster=rule.cluster), [day])
        read = read[read["cause"] == rule.target.name]
        low, high, probability = read["ci_low"], read["ci_high"], read["probability"]
    else:
        read = survival_at(kaplan_meier(counts, confidence, cluster=rule.cluster), [day])
        low, high, probability = 1 - read["ci_high"], 1 - read["ci_low"], 1 - read["survival"]
    found = {
        "probability": probability.to_numpy(), "ci_low": low.to_numpy().copy(), "ci_high": high.to_numpy().copy()
    }  # fmt: skip
    whole = pooled(counts, rule)
    for row, place in enumerate(whole.blocks()):
        if found["probability"][row] == 0:
            found["ci_high"][row] = limit_of_none(_known(whole.frame.iloc[place], rule, day), confidence)
        elif found["probability"][row] == 1 and np.isnan(found["ci_low"][row]):
            found["ci_low"][row] = limit_of_all(curves(counts, rule, confidence).iloc[place], confidence)
            found["ci_high"][row] = 1.0
    return found


def limit_of_none(known: float, confidence: float) -> float:
    """The upper limit where none of so many converted: no conversion is no proof that there is none (rule of three)."""
    return min(1.0, -math.log(1 - confidence) / known) if known > 0 else 1.0


def limit_of_all(curve: pd.DataFrame, confidence: float) -> float:
    """The lower limit where all converted, of which no error can be computed; that is no proof of certainty either."""
    at = int(np.flatnonzero(curve["probability"] == 1)[0])
    before = float(curve["ci_low"].iloc[at - 1]) if at > 0 else 0.0
    return 1 - (1 - before) * limit_of_none(float(curve["at_risk"].iloc[at]), confidence)


def _known(block: pd.DataFrame, rule: JourneyRule, day: float) -> float:
    """How many are known not to have converted by a day; who was watched for a part of the time is that part."""
    if not rule.late:
        return float(block["entered"].sum() - block.loc[block["time_days"] < day - 1e-9, "censored"].sum())
    time, n = block["time_days"].to_numpy(), block["n"].to_numpy()
    spans = np.diff(np.minimum(time, day), prepend=0.0)
    first = (rule.from_age or 0) / MICROS_PER_DAY
    return float((spans * n).sum() / (day - first))


def _quantiles(counts: RiskTable, rule: JourneyRule, confidence: float) -> dict[str, np.ndarray]:
    """The days by which 10, 25, 50 and 75 % of all users have converted; NaN where the curve does not come that far."""
    if not rule.competing:
        found = quantiles(counts, LEVELS, confidence, cluster=rule.cluster)
    else:
        curve = aalen_johansen(counts, confidence, cluster=rule.cluster)
        curve = curve[curve["cause"] == rule.target.name]
        keys = [curve[column] for column in counts.pattern_cols if column != rule.cluster]
        parts = [part for _, part in curve.groupby(keys, sort=False, dropna=False)] if keys else [curve]
        found = pd.DataFrame(
            [
                {
                    "probability": p,
                    "time_days": _reached(part, "probability", p),
                    "ci_low_days": _reached(part, "ci_high", p),
                    "ci_high_days": _reached(part, "ci_low", p),
                }
                for part in parts
                for p in LEVELS
            ]
        )
    columns = {}
    for p in LEVELS:
        mine, name = found[found["probability"] == p], f"p{round(100 * p)}"
        columns[f"{name}_days"] = mine["time_days"].to_numpy()
        columns[f"{name}_ci_low_days"] = mine["ci_low_days"].to_numpy()
        columns[f"{name}_ci_high_days"] = mine["ci_high_days"].to_numpy()
    return columns


def _reached(curve: pd.DataFrame, column: str, level: float) -> float:
    """When a cumulative incidence, or a limit of it, reaches a level; the middle of a stretch that is flat at it.

    As ``stats.quantiles`` has it for Kaplan-Meier curves.
    """
    time, share = curve["time_days"].to_numpy(), curve[column].to_numpy()
    last, known = float(time[-1]), ~np.isnan(share)
    time, share = time[known], share[known]
    reached = np.flatnonzero(share >= level - _FLAT)
    passed = np.flatnonzero(share > level + _FLAT)
    if len(reached) == 0:
        return math.nan
    if len(passed) > 0:
        return float(time[reached[0]] + time[passed[0]]) / 2
    return (float(time[reached[0]]) + last) / 2 if known[-1] else math.nan
