"""Do 95 % intervals hold the truth in 93 to 97 % of 2,000 simulated logs? (One table, a pattern per log.)"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from microconv import RiskTable, stats

LOGS, USERS = 2000, 150
BUY, LEAVE, UNTIL = 0.06, 0.03, 25.0  # hazards a day; observation ends between day 5 and day 25


@pytest.fixture(scope="module")
def logs() -> RiskTable:
    """Exponential times of two causes, late entry for a third of the users, staggered ends of observation."""
    rng = np.random.default_rng(11)
    size = LOGS * USERS
    event = rng.exponential(1 / (BUY + LEAVE), size)
    end = rng.uniform(5, UNTIL, size)
    start = np.where(rng.random(size) < 1 / 3, rng.uniform(0, 4, size), 0.0)
    cause = np.where(event > end, "", np.where(rng.random(size) < BUY / (BUY + LEAVE), "buy", "leave"))
    frame = pd.DataFrame({"log": np.repeat(np.arange(LOGS), USERS), "start": start, "stop": np.minimum(event, end)})
    frame["cause"] = pd.Series(cause).replace("", None)
    return RiskTable.from_intervals(frame[frame["stop"] > frame["start"]], "start", "stop", "cause", ("log",))


def covered(found: pd.DataFrame, truth: float) -> float:
    assert len(found) == LOGS
    return float(((found["ci_low"] <= truth) & (truth <= found["ci_high"])).mean())


def test_kaplan_meier(logs: RiskTable) -> None:
    curve = stats.kaplan_meier(logs)
    for day in (3.0, 12.0):
        at = stats.survival_at(curve, day)
        assert 0.93 < covered(at, math.exp(-(BUY + LEAVE) * day)) < 0.97
        # The error is the spread of the estimate.
        assert at["se"].mean() == pytest.approx(at["survival"].std(), rel=0.06)


def test_aalen_johansen(logs: RiskTable) -> None:
    at = stats.probability_at(stats.aalen_johansen(logs), 12.0)
    for cause, hazard in (("buy", BUY), ("leave", LEAVE)):
        truth = hazard / (BUY + LEAVE) * (1 - math.exp(-(BUY + LEAVE) * 12))
        assert 0.93 < covered(at[at["cause"] == cause], truth) < 0.97


def test_restricted_mean_and_median(logs: RiskTable) -> None:
    hazard = BUY + LEAVE
    assert 0.93 < covered(stats.rmst(logs, 12), (1 - math.exp(-hazard * 12)) / hazard) < 0.97
    median = stats.quantiles(logs, 0.5).rename(columns={"ci_low_days": "ci_low", "ci_high_days": "ci_high"})
    assert 0.93 < covered(median, math.log(2) / hazard) < 0.97
