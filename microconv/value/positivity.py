"""Is there anybody to compare the doers of a micro with: users who had done as much, but not it, and are at risk?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from microconv.stats.intensity_fit import Intensities

__all__ = ["alike_at_risk"]


def alike_at_risk(
    fitted: Intensities, doers: pd.DataFrame, column: str, horizon_days: float, age_limit_days: float
) -> float:
    """How many users are at risk, on average over the horizon and the doers, who have not done the micro but at least
    all else that the doer had done?

    ``doers``: as in ``stats.total_effect``. Where there is hardly anybody (a second step that always follows the first
    within minutes) the rates "had they never done it" are those of states that nobody stays in: the model's word alone.
    Attributes do not count, as the model takes them to act alike in all states. NaN without doers.
    """
    grid = fitted.grid
    kept = doers[doers["age_days"] + horizon_days <= age_limit_days * (1 + 1e-12)]
    users, age = (kept[name].to_numpy(dtype=float) for name in ("users", "age_days"))
    if not users.sum():
        return float("nan")
    _, state = grid.place(kept.assign(**{column: 0}))
    levels = np.array([grid.level(name) for name in grid.columns])
    without = grid.level(column) == 0
    time = fitted.person_time.sum(axis=0)
    cuts = np.array([0.0, *fitted.cuts])
    edges = np.append(cuts, max(age_limit_days if np.isfinite(age_limit_days) else 0.0, age.max() + horizon_days))
    edges[-1] = max(edges[-1], cuts[-1] * (1 + 1e-9) + 1e-9)
    total = 0.0
    for one in np.unique(state):
        as_much = without & (levels >= levels[:, [one]]).all(axis=0)
        so_far = np.concatenate([[0.0], np.cumsum(time[as_much].sum(axis=0))])
        here = state == one
        spent = np.interp(age[here] + horizon_days, edges, so_far) - np.interp(age[here], edges, so_far)
        total += float(users[here] @ spent) / horizon_days
    return total / float(users.sum())
