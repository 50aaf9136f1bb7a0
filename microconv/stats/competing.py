"""The share that has had each outcome over time, where outcomes exclude each other: Aalen-Johansen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.errors import ParameterError
from microconv.stats._curves import Block, Floats, as_days, curve_at, curve_blocks, log_log_limits, patterns_of, z_value
from microconv.stats.clusters import ClusterRows, by_cluster, cluster_rows, incidence_variance, without_cluster

__all__ = ["aalen_johansen", "probability_at", "time_lost"]

_LOST = ["cause", "estimate", "se", "ci_low", "ci_high"]
_COLUMNS = ["cause", "time_days", "probability", "se", "ci_low", "ci_high"]


def aalen_johansen(
    rt: RiskTable, confidence: float = 0.95, *, start_days: float = 0.0, cluster: str | None = None
) -> pd.DataFrame:
    """Which share has had each outcome by each time, when the other outcomes prevent it (cumulative incidence)?

    At risk are the users of ``rt.n``; every cause ends the time at risk, and the censored say nothing of after. The
    probabilities of all causes and the Kaplan-Meier survival of any cause add up to one. With ``start_days`` they are
    conditional on no event before that day. ``cluster`` names the pattern column that tells users (or buckets of
    users) apart who are counted more than once: it is pooled, and the error is the infinitesimal jackknife by cluster
    (the influences that R's ``survfit`` returns, summed by cluster), also under late entry; NaN for one cluster.

    Returns one block of rows per pattern and cause, pattern columns first: ``cause`` (its label), ``time_days``,
    ``probability`` by that time, ``se``, ``ci_low``, ``ci_high``; no row when ``rt`` has no cause. Ties are exact, no
    time is moved. The error is Greenwood's for several causes (multinomial increments): on right-censored
    times it is that of R's multi-state ``survfit``. Under late entry R's is the infinitesimal jackknife, which needs to
    know who came when and left when, as counts do not: the two differ by some percent, more where few are at risk, to
    either side. There ``cluster`` with a value per user gives R's. The interval is symmetric in
    log(-log(1 - probability)), so that one cause alone gives one minus the Kaplan-Meier interval; (0, 0) before the
    cause's first event, NaN at one.

    Raises ``ParameterError`` on an empty table, an unknown cluster column or an impossible confidence. Warns with
    ``MicroconvWarning`` where late entry ends a curve early, and where a pattern has few clusters. Aalen and Johansen
    (1978).

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 2, 3], "cause": ["purchase", "unsubscribe", "purchase", None]})
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "cause")
    >>> probability_at(aalen_johansen(rt), 2)[["cause", "probability", "se"]].round(4)
             cause  probability      se
    0     purchase         0.50  0.2500
    1  unsubscribe         0.25  0.2165
    """
    z = z_value(confidence)
    pooled = without_cluster(rt, cluster)
    blocks = curve_blocks(pooled, start_days=start_days)
    rows = [block.rows for block in blocks for _ in rt.causes]
    curves = [_incidence(block, at) for block in blocks for at in range(len(rt.causes))]
    if cluster is not None:
        parts = cluster_rows(rt, cluster, blocks, stacklevel=3)
        errors = [
            np.sqrt(incidence_variance(part, block, at))
            for part, block in zip(parts, blocks, strict=True)
            for at in range(len(rt.causes))
        ]
        curves = [(probability, se) for (probability, _), se in zip(curves, errors, strict=True)]
    empty = np.zeros(0)
    table = patterns_of(pooled, np.concatenate([np.zeros(0, dtype=np.int64), *rows]), _COLUMNS)
    labels = np.empty(len(rt.causes), dtype=object)
    labels[:] = rt.causes
    sizes = [len(block.rows) for block in blocks for _ in rt.causes]
    cause = np.repeat(np.tile(labels, len(blocks)), sizes)
    table.insert(len(pooled.pattern_cols), "cause", pd.Series(cause, dtype=object).infer_objects())
    probability = np.concatenate([empty, *(curve[0] for curve in curves)])
    se = np.concatenate([empty, *(curve[1] for curve in curves)])
    logs = np.log1p(-probability, out=np.full_like(probability, -np.inf), where=probability < 1)
    low, high = log_log_limits(logs, se, z)
    table["probability"], table["se"] = probability, se
    table["ci_low"], table["ci_high"] = 0.0 - np.expm1(high), 0.0 - np.expm1(low)
    return table


def _incidence(block: Block, at: int) -> tuple[Floats, Floats]:
    """The cumulative incidence of one cause after each time, and its standard error.

    Forward sums of how P (this cause) and S (no event) move together. At a time with fractions a of this cause and
    A of any, S before it, G the sum of Greenwood before it and K = cov(P, S) / S before it:
    var P grows by 2 a S K + (a S)^2 G + S^2 a (1 - a) / n and K by a S (G - 1 / n).
    """
    n = np.where(block.n > 0, block.n, 1.0)
    a = np.minimum(block.by_cause[:, at] / n, 1.0)
    before = np.concatenate([[1.0], block.survival[:-1]])[: len(n)]
    greenwood = np.concatenate([[0.0], block.greenwood[:-1]])[: len(n)]
    moved = a * before
    covariance = np.cumsum(moved * (greenwood - 1 / n))
    covariance = np.concatenate([[0.0], covariance[:-1]])[: len(n)]
    steps = 2 * moved * covariance + moved**2 * greenwood + before**2 * a * (1 - a) / n
    probability = np.cumsum(moved)
    # A sum of fractions misses 1 by a rounding error, which the logarithm would blow up.
    return np.where(probability > 1 - 1e-12, 1.0, probability), np.sqrt(np.maximum(np.cumsum(steps), 0.0))


def probability_at(curve: pd.DataFrame, times: float | Sequence[float] | Floats) -> pd.DataFrame:
    """What do Aalen-Johansen curves read at ``times`` (days)?

    ``curve`` comes from ``aalen_johansen``. Returns a row per pattern, cause and time: pattern columns, ``cause``,
    ``time_days``, ``probability``, ``se``, ``ci_low``, ``ci_high``. Before the first row the probability is 0. After
    the last row, where nobody was observed any more, all four are NaN, unless everybody had had an outcome.
    """
    for column in _COLUMNS:
        if column not in curve.columns:
            raise ParameterError(f"The curve has no column {column!r}: give the frame that aalen_johansen returned.")
    patterns = list(curve.columns[: curve.columns.get_loc("cause")])
    moment = group_codes(curve[[*patterns, "time_days"]])
    total = np.bincount(moment, curve["probability"].to_numpy(dtype=float))[moment] if len(curve) else np.zeros(0)
    before = {"probability": 0.0, "se": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    return curve_at(curve, times, before, total >= 1 - 1e-9)


def time_lost(rt: RiskTable, tau: float, confidence: float = 0.95, *, cluster: str | None = None) -> pd.DataFrame:
    """How many of the days up to ``tau`` pass, on average, after each outcome (restricted mean time lost)?

    The area under each cause's Aalen-Johansen curve from day 0 to ``tau`` (days); ``tau`` minus it is the mean time
    before that outcome, counting who ends otherwise as never having it. At risk, censored and ``cluster``
    are as in ``aalen_johansen``.

    Returns a row per pattern and cause: pattern columns, ``cause``, ``estimate``, ``se``, ``ci_low``, ``ci_high`` in
    days; NaN where observation ends before ``tau`` with users still at risk. The error is Greenwood's for several
    causes, or by cluster, the interval estimate +- z se. With one cause the estimate is ``tau`` minus ``rmst``. Raises
    ``ParameterError`` on a ``tau`` that is no number of days. As R's ``summary(survfit(...), rmean = tau)`` of several
    states.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 2, 3], "cause": ["purchase", "unsubscribe", "purchase", None]})
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "cause")
    >>> time_lost(rt, 3).round(4)
             cause  estimate      se  ci_low  ci_high
    0     purchase      0.75  0.4146 -0.0626   1.5626
    1  unsubscribe      0.25  0.2165 -0.1743   0.6743
    """
    z, end = z_value(confidence), as_days(tau, "tau")
    pooled = without_cluster(rt, cluster)
    blocks = curve_blocks(pooled)
    areas = [lost_area(block, at, end) for block in blocks for at in range(len(rt.causes))]
    if cluster is not None:
        parts = cluster_rows(rt, cluster, blocks, stacklevel=3)
        moved = [
            lost_influence(part, block, at, end)
            for part, block in zip(parts, blocks, strict=True)
            for at in range(len(rt.causes))
        ]
        areas = [
            (area, by_cluster(values) if math.isfinite(area) else math.nan)
            for (area, _), values in zip(areas, moved, strict=True)
        ]
    first = np.array([block.rows[0] for block in blocks for _ in rt.causes], dtype=np.int64)
    table = patterns_of(pooled, first, _LOST)
    labels = np.empty(len(rt.causes), dtype=object)
    labels[:] = rt.causes
    table["cause"] = pd.Series(np.tile(labels, len(blocks)), dtype=object).infer_objects()
    table["estimate"], table["se"] = [area for area, _ in areas], [se for _, se in areas]
    table["ci_low"], table["ci_high"] = table["estimate"] - z * table["se"], table["estimate"] + z * table["se"]
    return table


def lost_area(block: Block, at: int, tau: float) -> tuple[float, float]:
    """The area under one cause's curve up to ``tau``, and its standard error.

    It is the sum of (tau - t) a S over the times t (a, A, S, n as in ``_incidence``). A little more of this cause at t
    adds (tau - t) S and takes H / (1 - A) from the sum H of what comes later; of another it only takes that.
    """
    if tau > block.time[-1] and block.survival[-1] > 0:
        return math.nan, math.nan
    gain, taken, a, any_cause, n = _area_parts(block, at, tau)
    mine, other = gain - taken, -taken
    rest = any_cause - a
    variance = (mine**2 * a + other**2 * rest - (mine * a + other * rest) ** 2) / n
    return float((gain * a).sum()), float(np.sqrt(max(variance.sum(), 0.0)))


def _area_parts(block: Block, at: int, tau: float) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """(tau - t) S, H / (1 - A), a, A and n of ``lost_area`` at each time; all but n are 0 after ``tau``."""
    within = block.time <= tau
    n = np.where(block.n > 0, block.n, 1.0)
    a = np.where(within, np.minimum(block.by_cause[:, at] / n, 1.0), 0.0)
    any_cause = np.where(within, np.minimum(block.events / n, 1.0), 0.0)
    before = np.concatenate([[1.0], block.survival[:-1]])[: len(n)]
    gain = np.maximum(tau - block.time, 0.0) * before
    later = np.concatenate([np.cumsum((gain * a)[::-1])[::-1][1:], [0.0]])[: len(n)]
    taken = np.divide(later, 1 - any_cause, out=np.zeros_like(later), where=any_cause < 1)
    return gain, taken, a, any_cause, n


def lost_influence(rows: ClusterRows, block: Block, at: int, tau: float) -> pd.Series:
    """By how much each cluster moves the area under one cause's curve up to ``tau``."""
    gain, taken, a, any_cause, n = _area_parts(block, at, tau)
    per_event = np.repeat((-taken / n)[:, None], block.by_cause.shape[1], axis=1)
    per_event[:, at] += gain / n
    return rows.influence(per_event, np.cumsum((gain * a - taken * any_cause) / n))
