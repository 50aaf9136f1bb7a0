"""More Aalen-Johansen curves at 1e-6: two causes in three groups with heavy ties, and curves without censoring before
the end, where every share is a plain proportion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from microconv import RiskTable, stats


@pytest.fixture(scope="module")
def r() -> dict:
    return json.loads((Path(__file__).parents[1] / "golden" / "curves.json").read_text())


def same_states(curve: pd.DataFrame, golden: dict) -> None:
    for at, label in enumerate(golden["states"]):
        rows = curve[curve["cause"] == int(label)].set_index("time_days").loc[golden["time"]]
        np.testing.assert_allclose(rows["probability"], [row[at] for row in golden["pstate"]], rtol=1e-6)
        np.testing.assert_allclose(rows["se"], [row[at] for row in golden["se"]], rtol=1e-6, atol=1e-12)


def test_two_causes_by_group_with_ties(r: dict) -> None:
    frame = pd.DataFrame(r["gray"]["half_days"]).assign(start=0)
    curve = stats.aalen_johansen(RiskTable.from_intervals(frame, "start", "time", "cause", ("group",)))
    for label, golden in r["half_days_states"].items():
        mine = curve[curve["group"] == label].drop(columns="group").reset_index(drop=True)
        same_states(mine, golden)
        read = stats.probability_at(mine, range(1, 9))  # cmprsk's own estimate
        for cause in (1, 2):
            ours = read.loc[read["cause"] == cause, "probability"]
            np.testing.assert_allclose(ours, golden["cuminc"][cause - 1], rtol=1e-6)


def test_proportions_where_nobody_is_censored_before_the_end(r: dict) -> None:
    golden = r["closed"]
    frame = pd.DataFrame(golden["data"]).assign(start=0)
    curve = stats.aalen_johansen(RiskTable.from_intervals(frame, "start", "time", "cause"))
    same_states(curve, golden)
    for cause in (1, 2, 3):
        mine = curve[(curve["cause"] == cause) & (curve["time_days"] < 7)]
        share = np.array([((frame["cause"] == cause) & (frame["time"] <= t)).mean() for t in mine["time_days"]])
        np.testing.assert_allclose(mine["probability"], share, atol=1e-12)
        np.testing.assert_allclose(mine["se"], np.sqrt(share * (1 - share) / len(frame)), atol=1e-12)
