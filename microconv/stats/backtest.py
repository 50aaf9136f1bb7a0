"""Predicted chances held against what then happened: by cohort, and by bins of the chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.stats.conditional import Conditional, Sum, count_limits
from microconv.stats.forecasting import Setting
from microconv.stats.proportions import wilson

__all__ = ["BACKTEST", "RELIABILITY", "judge"]

BACKTEST = ["cohort", "n", "predicted", "ci_low", "ci_high", "actual", "error", "inside", "not_judged"]
RELIABILITY = ["bin", "chance_low", "chance_high", "n", "predicted", "observed", "ci_low", "ci_high", "mean_age_days"]
_BINS = 10
_LEAST = 20
_NEAR = 1e-9


def judge(
    known: RiskTable, outcome: pd.DataFrame, by: Sequence[str], setting: Setting
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Forecast from what was ``known`` at a moment, and compare with what became of those open then.

    ``outcome``: ``by`` and ``cohort``, ``age_days``, ``until_days``, ``users``, ``converted``, a row per cell. Nobody
    is judged beyond ``until_days``, what was then observed, nor where the curve known at the moment does not reach.
    Events that end observation count as ends here: what is predicted is what the log will show.

    Returns the frames ``reliability`` (bins of the predicted chance), ``backtest`` (a row per cohort, over all
    segments) and one row for all cohorts together, whose errors are shared.
    """
    keys = group_codes(known.frame[list(by)]) if by else np.zeros(len(known.frame), dtype=np.int64)
    curves: dict[tuple[object, ...], Conditional] = {}
    for key in range(int(keys.max()) + 1):
        mine = RiskTable(known.frame[keys == key].reset_index(drop=True), known.pattern_cols, known.causes)
        name = tuple(mine.frame[column].iloc[0] for column in by)
        curves[name] = Conditional.of(mine, setting.target, [*setting.ends, *setting.lost])
    sums: dict[str, Sum] = {}
    cells, everybody = [], []
    for name, part in _parts(outcome, by):
        curve = curves[name]
        judged = part["until_days"].to_numpy() <= curve.known_days + _NEAR
        part = part.assign(judged=judged, chance=np.nan)
        seen = part[judged]
        ages, until, users = (seen[column].to_numpy(dtype=float) for column in ("age_days", "until_days", "users"))
        part.loc[judged, "chance"] = curve.chance(ages, until)
        cells.append(part)
        everybody.append(curve.sum(users, ages, until))
        for cohort in seen["cohort"].unique():
            its = (seen["cohort"] == cohort).to_numpy()
            sums[cohort] = sums.get(cohort, Sum()) + curve.sum(users[its], ages[its], until[its])
    if not cells:
        return tuple(pd.DataFrame(columns=names) for names in (RELIABILITY, BACKTEST, BACKTEST[1:]))  # type: ignore[return-value]
    both = pd.concat(cells, ignore_index=True)
    unseen = max(curve.unseen(float(both["until_days"].max()), setting.confidence) for curve in curves.values())
    rows = [
        {"cohort": cohort} | _row(both[both["cohort"] == cohort], sums.get(cohort, Sum()), unseen, setting.confidence)
        for cohort in sorted(both["cohort"].unique())
    ]
    whole = pd.DataFrame([_row(both, sum(everybody, Sum()), unseen, setting.confidence)], columns=BACKTEST[1:])
    return _reliability(both[both["judged"]], setting.confidence), pd.DataFrame(rows, columns=BACKTEST), whole


def _parts(outcome: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
    if not by:
        return [((), outcome)] if len(outcome) else []
    grouped = outcome.groupby(list(by), sort=True, dropna=False)
    return [(name if isinstance(name, tuple) else (name,), part) for name, part in grouped]


def _row(cells: pd.DataFrame, found: Sum, unseen: float, confidence: float) -> dict[str, object]:
    judged = cells[cells["judged"]]
    n, actual = float(judged["users"].sum()), float(judged["converted"].sum())
    if n == 0:
        found = Sum(math.nan, math.nan, math.nan)
    low, high = count_limits(found, n, confidence)
    if found.mean == 0:  # nobody had converted so late before: the rule of three
        high = count_limits(Sum(n * unseen, n * unseen), n, confidence)[1]
    return {
        "n": round(n),
        "predicted": found.mean,
        "ci_low": low,
        "ci_high": high,
        "actual": round(actual),
        "error": actual - found.mean,
        "inside": bool(low <= actual <= high),
        "not_judged": round(float(cells["users"].sum()) - n),
    }


def _reliability(cells: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Up to ten bins of about as many users, in order of their predicted chance."""
    cells = cells.sort_values(["chance", "age_days"], kind="stable")
    users = cells["users"].to_numpy(dtype=float)
    total = users.sum()
    if total == 0:
        return pd.DataFrame(columns=RELIABILITY)
    bins = int(min(_BINS, max(total // _LEAST, 1)))
    chance = cells["chance"].to_numpy(dtype=float)
    place = np.minimum(((np.cumsum(users) - users / 2) / total * bins).astype(int), bins - 1)
    # Equal chances belong into one bin.
    place = pd.Series(place).groupby(chance).transform("min").to_numpy()
    rows = []
    for number, found in enumerate(np.unique(place), start=1):
        part = cells[place == found]
        weight = part["users"].to_numpy(dtype=float)
        n, converted = float(weight.sum()), float(part["converted"].sum())
        low, high = wilson([converted], [n], confidence)
        rows.append(
            {
                "bin": number,
                "chance_low": float(part["chance"].min()),
                "chance_high": float(part["chance"].max()),
                "n": round(n),
                "predicted": float(weight @ part["chance"].to_numpy()) / n,
                "observed": converted / n,
                "ci_low": float(low[0]),
                "ci_high": float(high[0]),
                "mean_age_days": float(weight @ part["age_days"].to_numpy()) / n,
            }
        )
    return pd.DataFrame(rows, columns=RELIABILITY)
