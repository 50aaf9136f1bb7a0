"""Make the small data sets that survival.R reads. Run: python tests/golden/make_survival_data.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


def ties(users: int = 140) -> pd.DataFrame:
    """Whole days with heavy ties, events on day 0, three causes, four groups of unequal size, weights 1 to 4."""
    rng = np.random.default_rng(20261122)
    group = rng.choice(list("abcd"), users, p=[0.45, 0.3, 0.2, 0.05])
    pace = np.select([group == "a", group == "b"], [8.0, 6.0], 4.5)
    return pd.DataFrame(
        {
            "group": group,
            "stratum": rng.choice(["x", "y", "z"], users, p=[0.5, 0.3, 0.2]),
            "time": np.floor(rng.exponential(pace)).astype(int).clip(0, 14),
            "cause": rng.choice([0, 1, 2, 3], users, p=[0.3, 0.4, 0.2, 0.1]),
            "weight": rng.integers(1, 5, users),
        }
    )


def late_entry(users: int = 90) -> pd.DataFrame:
    """Half-days, entry up to day 6, two causes; at least five users from day 0, so that no risk set runs empty."""
    rng = np.random.default_rng(7)
    start = np.where(np.arange(users) < 25, 0.0, rng.integers(0, 13, users) / 2)
    return pd.DataFrame(
        {
            "group": rng.choice(["a", "b", "c"], users),
            "start": start,
            "stop": start + np.ceil(2 * rng.exponential(6.0, users)).clip(1, 24) / 2,
            "cause": rng.choice([0, 1, 2], users, p=[0.3, 0.45, 0.25]),
        }
    )


if __name__ == "__main__":
    ties().to_csv(HERE / "survival_ties.csv", index=False)
    late_entry().to_csv(HERE / "survival_late_entry.csv", index=False)
