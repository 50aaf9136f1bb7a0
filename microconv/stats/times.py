"""The time to the event in one number: quantiles and the restricted mean, with intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import MicroconvWarning, ParameterError, shorten
from microconv.stats._curves import (
    Block,
    Floats,
    as_days,
    curve_blocks,
    patterns_of,
    survival_with_limits,
    z_value,
)
from microconv.stats.clusters import (
    ClusterRows,
    by_cluster,
    causes_of,
    cluster_rows,
    log_survival_variances,
    per_stay,
    without_cluster,
)

__all__ = ["quantiles", "rmst"]

_QUANTILES = ["probability", "time_days", "ci_low_days", "ci_high_days"]
_MEAN = ["estimate", "se", "ci_low", "ci_high"]

# Survival is a product of fractions: two values this near are one (the tolerance of R's quantile.survfit).
_TOLERANCE = float(np.sqrt(np.finfo(float).eps))


def quantiles(
    rt: RiskTable,
    probabilities: float | Sequence[float] = (0.25, 0.5, 0.75),
    confidence: float = 0.95,
    *,
    cause: Hashable | None = None,
    start_days: float = 0.0,
    cluster: str | None = None,
) -> pd.DataFrame:
    """By which day have 25 %, 50 %, 75 % of the users had the event?

    At risk, censored, ``cause``, ``start_days`` and ``cluster`` are as in ``kaplan_meier``. Returns a row per pattern
    and probability: pattern columns, ``probability``, ``time_days``, ``ci_low_days``, ``ci_high_days`` (float days
    since the origin), NaN where the curve or its limit does not come that far. Where the curve is flat at exactly the
    probability, the middle of the flat part is given. The limits are the quantiles of the log-log limits of the curve
    (Brookmeyer and Crowley 1982), as R's ``quantile(survfit(conf.type="log-log"))``; where a limit of the curve turns
    back, its first crossing counts. They are conservative for few distinct times.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 2, 5], "bought": [True, True, False, False]})
    >>> quantiles(RiskTable.from_intervals(users, "start", "stop", "bought"), [0.2, 0.5, 0.8])
       probability  time_days  ci_low_days  ci_high_days
    0          0.2        1.0          1.0           NaN
    1          0.5        3.5          1.0           NaN
    2          0.8        NaN          1.0           NaN
    """
    z = z_value(confidence)
    wanted = np.atleast_1d(np.asarray(probabilities, dtype=float))
    if wanted.ndim != 1 or wanted.size == 0 or not ((wanted >= 0) & (wanted <= 1)).all():
        raise ParameterError(f"probabilities={shorten(repr(probabilities))} must lie between 0 and 1, such as 0.5.")
    found: list[list[float]] = []
    pooled = without_cluster(rt, cluster)
    blocks = curve_blocks(pooled, cause, start_days)
    for block, variance in zip(blocks, log_survival_variances(blocks, rt, cluster, cause), strict=True):
        survival, _, low, high = survival_with_limits(block, variance, z)
        found.extend([_reach(block, curve, p) for curve in (survival, low, high)] for p in wanted)
    table = patterns_of(pooled, np.repeat(_first_rows(pooled), len(wanted)), _QUANTILES).drop(columns="time_days")
    table["probability"] = np.tile(wanted, len(found) // max(len(wanted), 1))
    for column, values in zip(_QUANTILES[1:], zip(*found, strict=True), strict=True):
        table[column] = values
    return table


def _reach(block: Block, survival: Floats, probability: float) -> float:
    """The first time that ``1 - survival`` reaches ``probability``; the middle of a stretch that is flat at it."""
    known = ~np.isnan(survival)
    time = np.concatenate([[block.start], block.time[known]])
    share = np.concatenate([[0.0], 1 - survival[known]])
    if probability == 0:
        return float(time[0])
    reached = np.flatnonzero(share >= probability - _TOLERANCE)
    passed = np.flatnonzero(share > probability + _TOLERANCE)
    if len(reached) == 0:
        return math.nan
    if len(passed) > 0:
        return float(time[reached[0]] + time[passed[0]]) / 2
    # Flat at the probability up to the end of observation. A limit that is undefined at the end has no such middle.
    return float(time[reached[0]] + block.time[-1]) / 2 if known[-1:].all() and len(known) else math.nan


def rmst(
    rt: RiskTable,
    tau: float,
    confidence: float = 0.95,
    *,
    cause: Hashable | None = None,
    start_days: float = 0.0,
    cluster: str | None = None,
) -> pd.DataFrame:
    """How many of the days up to ``tau`` pass, on average, before the event (restricted mean survival time)?

    The area under the Kaplan-Meier curve from ``start_days`` to ``tau`` (days). At risk, censored, ``cause`` and
    ``cluster`` are as in ``kaplan_meier``. Returns a row per pattern: pattern columns, ``estimate``, ``se``,
    ``ci_low``, ``ci_high`` in days. The error is that of the estimate (Greenwood, or by cluster), not the spread of the
    users' times; the interval is estimate +- z se and may pass ``tau`` when hardly anybody has had the event. Where
    observation ends before ``tau`` with users still at risk, the area is unknown: NaN, with a ``MicroconvWarning``.
    Raises ``ParameterError`` on a ``tau`` that is no number of days after the start. As R's ``survRM2`` and
    ``print(survfit, rmean=tau)``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 2, 5], "bought": [True, True, False, False]})
    >>> rmst(RiskTable.from_intervals(users, "start", "stop", "bought"), tau=4).round(4)
       estimate      se  ci_low  ci_high
    0      2.75  0.6495   1.477    4.023
    """
    z, start = z_value(confidence), as_days(start_days, "start_days")
    if as_days(tau, "tau") <= start:
        raise ParameterError(f"tau={tau!r} must be later than start_days={start:g}.")
    pooled = without_cluster(rt, cluster)
    blocks = curve_blocks(pooled, cause, start)
    table = patterns_of(pooled, _first_rows(pooled), _MEAN)
    table["estimate"] = [area(block, tau) for block in blocks]
    if cluster is None:
        errors = [math.sqrt(area_variance(block, tau)) for block in blocks]
    else:
        rows = cluster_rows(rt, cluster, blocks, stacklevel=3)
        mine = causes_of(rt, cause)
        errors = [by_cluster(area_influence(part, block, tau, mine)) for part, block in zip(rows, blocks, strict=True)]
    table["se"] = np.where(table["estimate"].isna(), np.nan, errors)
    table["ci_low"], table["ci_high"] = table["estimate"] - z * table["se"], table["estimate"] + z * table["se"]
    short = int(table["estimate"].isna().sum())
    if short:
        warnings.warn(
            f"Observation ends before tau={tau:g} days in {short} of {len(table)} patterns, with users still at risk: "
            "their restricted mean is unknown (NaN). Choose a tau that every pattern reaches.",
            MicroconvWarning,
            stacklevel=2,
        )
    return table


def area(block: Block, tau: float) -> float:
    """The area under the curve up to ``tau``; NaN where the curve does not come that far."""
    survival = block.survival
    if not len(block.time) or (tau > block.time[-1] and survival[-1] > 0):
        return math.nan
    within = block.time <= tau
    edges = np.concatenate([[block.start], block.time[within], [tau]])
    return float((np.diff(edges) * np.concatenate([[1.0], survival[within]])).sum())


def _area_after(block: Block, tau: float) -> Floats:
    """The area under the curve from each time to ``tau``; 0 from there on."""
    width = np.diff(np.minimum(np.append(block.time, np.inf), tau))
    return np.cumsum((width * block.survival)[::-1])[::-1]


def area_variance(block: Block, tau: float) -> float:
    """Greenwood's variance of the area up to ``tau``."""
    return float((_area_after(block, tau) ** 2 * np.diff(block.greenwood, prepend=0.0)).sum())


def area_influence(rows: ClusterRows, block: Block, tau: float, mine: Floats) -> pd.Series:
    """By how much each cluster moves the area up to ``tau``; ``mine`` is 1 for the causes that are the event."""
    after = _area_after(block, tau)
    at_risk = np.cumsum(after * np.diff(block.greenwood, prepend=0.0))
    return -rows.influence((after * per_stay(block))[:, None] * mine, at_risk)


def _first_rows(rt: RiskTable) -> np.ndarray:
    return np.array([rows.start for rows in rt.blocks()], dtype=np.int64)
