"""The columns of a funnel's tables from the counted attempts, each from its formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reference.funnels import Counted, Funnel

DAY = 86_400_000_000


def funnel_rows(
    users: Sequence[Counted], rule: Funnel, until: int, limit: int | None, z: float = 1.959963984540054
) -> list[dict[str, float]]:
    """The rows of the funnel's table for some users, step by step."""
    rows = []
    counts = [sum(step in user.reached for user in users) for step in range(len(rule.steps))]
    for step in range(len(rule.steps)):
        before = next((s for s in range(step - 1, -1, -1) if s not in rule.optional), 0)
        waits = [(user.reached[step] - user.start) / DAY for user in users if step in user.reached]
        low, high = wilson(counts[step], counts[0], z)
        step_low, step_high = wilson(counts[step], counts[before], z)
        rows.append(
            {
                "step": step + 1,
                "users": counts[step],
                "rate": counts[step] / counts[0] if counts[0] else math.nan,
                "ci_low": low,
                "ci_high": high,
                "step_rate": counts[step] / counts[before] if counts[before] else math.nan,
                "step_ci_low": step_low,
                "step_ci_high": step_high,
                "open": sum(user.open and step not in user.reached for user in users),
                "censored_rate": censored_rate(users, step, until, limit),
                "median_days": float(np.percentile(waits, 50)) if waits else math.nan,
                "p90_days": float(np.percentile(waits, 90)) if waits else math.nan,
            }
        )
    return rows


def wilson(successes: int, n: int, z: float) -> tuple[float, float]:
    """Wilson's interval, from its formula."""
    if n == 0:
        return math.nan, math.nan
    p = successes / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def censored_rate(users: Sequence[Counted], step: int, until: int, limit: int | None) -> float:
    """1 - Kaplan-Meier at the limit, from the counted attempts' starts."""
    if limit is None or not users:
        return math.nan
    if step == 0:
        return 1.0
    observed = []  # time, whether the step came then
    for user in users:
        wait = user.reached[step] - user.start if step in user.reached else None
        if wait is not None and wait <= limit:
            observed.append((wait, True))
        elif wait is None and user.running:
            observed.append((min(until - user.start, limit), False))
        else:  # known not to come within the limit
            observed.append((limit, False))
    survival = 1.0
    for time in sorted({time for time, came in observed if came}):
        at_risk = sum(other >= time for other, _ in observed)
        survival *= 1 - sum(other == time and came for other, came in observed) / at_risk
    return 1 - survival


def between_rows(users: Sequence[Counted], rule: Funnel) -> list[dict[str, float]]:
    """Quantiles of the time from the step before (the last that may not be left out), in days."""
    rows = []
    for step in range(1, len(rule.steps)):
        before = next(s for s in range(step - 1, -1, -1) if s not in rule.optional)
        waits = [
            (u.reached[step] - u.reached[before]) / DAY for u in users if step in u.reached and before in u.reached
        ]
        row = {f"p{p}_days": float(np.percentile(waits, p)) if waits else math.nan for p in (10, 25, 50, 75, 90)}
        rows.append({"step": step + 1, **row})
    return rows
