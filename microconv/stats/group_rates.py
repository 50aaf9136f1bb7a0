"""What became of groups of users: the rate by a horizon, each group against all others, and shrunken rates."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import ParameterError
from microconv.stats._curves import Floats, z_value
from microconv.stats.competing import aalen_johansen, probability_at
from microconv.stats.log_rank import logrank
from microconv.stats.multiplicity import adjust_p_values
from microconv.stats.shrinkage import shrink

__all__ = ["group_rates", "rate_at"]

_COLUMNS = (
    "users", "events", "share", "rate", "ci_low", "ci_high", "shrunk_rate", "median_days", "difference",
    "difference_ci_low", "difference_ci_high", "p_value", "q_value",
)  # fmt: skip


def group_rates(
    rt: RiskTable, group: str, horizon_days: float, *, cause: Hashable, confidence: float = 0.95
) -> pd.DataFrame:
    """Which share of each group had the event within the horizon, and how far is that from all others?

    The table must end at the horizon (later events are not looked at otherwise). Who is at risk and censored is as in
    ``aalen_johansen``; other causes compete. A row per group, in order: the group column, ``users``, ``events``,
    ``share`` of all users, ``rate`` with ``ci_low, ci_high`` (without an event the rule of three, from those still
    watched at the horizon; NaN where nobody is), ``shrunk_rate`` (empirical Bayes on the scale of the complementary
    log-log, moved so that sizes times rates give the rate of all; for ranking), ``median_days`` (by when half of the
    conversions within the horizon have come, censoring heeded), ``difference`` with its interval (the rate less that
    of all other groups together; the groups are independent), ``p_value`` (log-rank test of the group against all
    others, the event's cause alone) and ``q_value`` (Benjamini-Hochberg over the groups).

    Raises ``ParameterError`` on an unknown group or cause.
    """
    z = z_value(confidence)
    if cause not in rt.causes:
        raise ParameterError(f"cause={cause!r} is none of {rt.causes!r}.")
    counts = rt.pool(group)
    labels = list(dict.fromkeys(counts.frame[group]))
    whole, _, _ = rate_at(counts.pool(), horizon_days, cause, confidence)
    rows = []
    for label in labels:
        mine = counts.frame[counts.frame[group] == label]
        rest = counts.frame[counts.frame[group] != label]
        own = RiskTable.from_counts(mine, (), counts.causes)
        rate, se, limits = rate_at(own, horizon_days, cause, confidence)
        row = {
            group: label,
            "users": float(mine["entered"].sum()),
            "events": float(mine[f"d_{cause}"].sum()),
            "rate": rate,
            "se": se,
            "ci_low": limits[0],
            "ci_high": limits[1],
            "median_days": _half(own, horizon_days, cause, rate, confidence),
            **dict.fromkeys(("difference", "difference_ci_low", "difference_ci_high", "p_value"), np.nan),
        }
        if len(labels) > 1:
            other, other_se, _ = rate_at(
                RiskTable.from_counts(rest, (), counts.causes), horizon_days, cause, confidence
            )
            row["difference"] = rate - other
            spread = z * float(np.hypot(se, other_se))
            if spread > 0:
                row["difference_ci_low"], row["difference_ci_high"] = rate - other - spread, rate - other + spread
            two = counts.frame.assign(**{group: np.where(counts.frame[group] == label, 1, 0)})
            row["p_value"] = logrank(RiskTable.from_counts(two, (group,), counts.causes), group, cause=cause).p_value
        rows.append(row)
    table = pd.DataFrame(rows)
    table["share"] = table["users"] / table["users"].sum()
    table["q_value"] = adjust_p_values(table["p_value"], "bh")
    table["shrunk_rate"] = _shrunken(table, whole)
    return table[[group, *_COLUMNS]]


def rate_at(
    rt: RiskTable, horizon_days: float, cause: Hashable, confidence: float = 0.95
) -> tuple[float, float, tuple[float, float]]:
    """The share of all users that had the event by the horizon, its error and its interval.

    Without an event the interval is that of the rule of three, from those still watched at the horizon, and the error
    that of half an event. NaN where nobody was watched that long.
    """
    curve = aalen_johansen(rt, confidence)
    row = probability_at(curve[curve["cause"] == cause], horizon_days).iloc[0]
    rate, se, low, high = (float(row[name]) for name in ("probability", "se", "ci_low", "ci_high"))
    if rate == 0:
        last = rt.frame[rt.frame["time_days"] >= horizon_days * (1 - 1e-9)]
        watched = float(last["n"].max()) if len(last) else 0.0
        low, high = 0.0, 1 - (1 - confidence) ** (1 / watched) if watched > 0 else np.nan
        # The error of half an event: what stands against another group's is not without error.
        se = float(np.sqrt(0.5 * (watched + 0.5)) / (watched + 1) ** 1.5) if watched > 0 else np.nan
    return rate, se, (low, high)


def _half(rt: RiskTable, horizon_days: float, cause: Hashable, rate: float, confidence: float) -> float:
    """The first time at which the share has come to half of what it is at the horizon."""
    if not rate > 0:
        return np.nan
    curve = aalen_johansen(rt, confidence)
    mine = curve[(curve["cause"] == cause) & (curve["time_days"] <= horizon_days)]
    return float(mine["time_days"][mine["probability"] >= rate / 2 * (1 - 1e-12)].iloc[0])


def _shrunken(table: pd.DataFrame, whole: float) -> Floats:
    users = table["users"].to_numpy()
    rate, se = table["rate"].to_numpy(), table["se"].to_numpy()
    if not 0 < whole < 1 or np.isfinite(rate).sum() < 2:
        return np.asarray(np.where(np.isfinite(rate), rate, np.nan))
    edge = (rate <= 0) | (rate >= 1)
    moved = np.where(edge, (rate * users + 0.5) / (users + 1), rate)
    error = np.where(edge | ~(se > 0), np.sqrt(moved * (1 - moved) / (users + 1)), se)
    found = shrink(moved, np.where(np.isfinite(moved), error, np.nan), scale="cloglog", weights=users, total=whole)
    return found.table["shrunk"].to_numpy()
