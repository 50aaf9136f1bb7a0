"""The share without the event over time: Kaplan-Meier with log-log Greenwood intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import ParameterError
from microconv.stats._curves import Floats, curve_at, curve_blocks, patterns_of, survival_with_limits, z_value
from microconv.stats.clusters import log_survival_variances, without_cluster

__all__ = ["kaplan_meier", "survival_at"]

_COLUMNS = ["time_days", "survival", "se", "ci_low", "ci_high", "at_risk", "events", "censored"]


def kaplan_meier(
    rt: RiskTable,
    confidence: float = 0.95,
    *,
    cause: Hashable | None = None,
    start_days: float = 0.0,
    cluster: str | None = None,
) -> pd.DataFrame:
    """Which share has not had the event by each time?

    At risk are the users of ``rt.n``: who entered before a time (at 0: by that time) and has not left before it. The
    event is any cause of ``rt``, or ``cause`` alone: then the other causes censor, and ``1 - survival`` is no share
    of users (see ``aalen_johansen``). With ``start_days`` the curve is conditional on no event before that day: it
    starts there at 1, events on that very day count.

    ``cluster`` names the pattern column that tells users (or buckets of users) apart who are counted more than once,
    as with repeat conversions: it is pooled for the curve, and the error is the infinitesimal jackknife by cluster
    instead of Greenwood's, as R's ``survfit(cluster=, robust=TRUE)``; NaN for one cluster.

    Returns one block of rows per pattern, pattern columns first, a row per time of ``rt``: ``time_days``, ``survival``
    just after it, ``se``, ``ci_low``, ``ci_high`` (log-log), ``at_risk``, ``events``, ``censored`` (all float). Before
    the first event the interval is (1, 1), which is not certainty; where survival is 0, error and interval are NaN.
    A weight counts as that many users.

    Raises ``ParameterError`` on an empty table, an unknown cause or cluster column, an impossible confidence or start.
    Warns with ``MicroconvWarning`` where late entry lets the curve reach 0 while users are observed later, and where a
    pattern has few clusters. Kaplan and Meier
    (1958), as R's ``survfit(conf.type="log-log")``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 2, 5], "bought": [True, True, False, False]})
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "bought")
    >>> kaplan_meier(rt)[["time_days", "survival", "at_risk", "events", "censored"]]
       time_days  survival  at_risk  events  censored
    0        0.0      1.00      4.0     0.0       0.0
    1        1.0      0.75      4.0     1.0       0.0
    2        2.0      0.50      3.0     1.0       1.0
    3        5.0      0.50      1.0     0.0       1.0
    """
    z = z_value(confidence)
    pooled = without_cluster(rt, cluster)
    blocks = curve_blocks(pooled, cause, start_days)
    variances = log_survival_variances(blocks, rt, cluster, cause)
    table = patterns_of(pooled, np.concatenate([block.rows for block in blocks]), _COLUMNS)
    curves = [survival_with_limits(block, variance, z) for block, variance in zip(blocks, variances, strict=True)]
    for column, parts in zip(_COLUMNS[1:5], zip(*curves, strict=True), strict=True):
        table[column] = np.concatenate(parts)
    table["at_risk"] = np.concatenate([block.n for block in blocks])
    table["events"] = np.concatenate([block.events for block in blocks])
    table["censored"] = np.concatenate([block.censored for block in blocks])
    return table


def survival_at(curve: pd.DataFrame, times: float | Sequence[float] | Floats) -> pd.DataFrame:
    """What does a Kaplan-Meier curve read at ``times`` (days)?

    ``curve`` comes from ``kaplan_meier``. Returns a row per pattern and time: pattern columns, ``time_days``,
    ``survival``, ``se``, ``ci_low``, ``ci_high``. Before the first row survival is 1. After the last row, where nobody
    was observed any more, all four are NaN, unless survival had come to 0.
    """
    for column in _COLUMNS[:5]:
        if column not in curve.columns:
            raise ParameterError(f"The curve has no column {column!r}: give the frame that kaplan_meier returned.")
    complete = (curve["survival"] <= 0).to_numpy()
    return curve_at(curve, times, {"survival": 1.0, "se": 0.0, "ci_low": 1.0, "ci_high": 1.0}, complete)
