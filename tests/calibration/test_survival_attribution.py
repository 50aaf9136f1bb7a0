"""Coverage of survival attribution over many logs with planted causes."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy.stats import beta
from touch_worlds import FOUR, simulated

from microconv.plan import End
from microconv.reduce.money import RevenueTerms
from microconv.reduce.path_rules import PathRule
from microconv.reduce.touch_exposures import touch_exposures
from microconv.stats import additive_hazards

pytestmark = pytest.mark.calibration

LOGS, USERS = 120, 2_000
RULE = PathRule(target=End(name="purchase", event="purchase"), terms=RevenueTerms(value="value"))
EFFECTIVE = ["email", "search", "social"]


def test_intervals_hold_the_planted_parts() -> None:
    """Of conversions, money and coefficients; a channel without effect lies at the bound, where limits are too wide
    rather than too narrow, and so does the baseline, which has the rest.
    """
    planted = simulated(FOUR, 1_000_000, seed=999_999).truth()
    share = planted / planted.sum()
    rows, errors = [], []
    for seed in range(LOGS):
        one = simulated(FOUR, USERS, seed)
        fit = additive_hazards(touch_exposures(one.log(), RULE, [3 * 86_400_000_000]))
        credits, coef = (frame.set_index("channel") for frame in (fit.credits(), fit.coefficients))
        credits = credits.loc[share.index]
        money = share * one.frame["value"].sum()
        covered = {
            "conversions": (credits["ci_low"] <= share * len(one.cause))
            & (share * len(one.cause) <= credits["ci_high"]),
            "value": (credits["value_ci_low"] <= money) & (money <= credits["value_ci_high"]),
            "coef": (coef["ci_low"] <= FOUR.coef) & (coef["ci_high"] >= FOUR.coef),
        }
        rows.append(pd.DataFrame(covered).stack())
        errors.append((credits["conversions"] - one.truth()) / len(one.cause))
    held = pd.DataFrame(rows).sum()
    for (channel, _), hits in held.items():
        low, high = beta.ppf(0.0005, hits, LOGS - hits + 1), beta.ppf(0.9995, hits + 1, max(LOGS - hits, 1e-9))
        assert high >= 0.93, (held / LOGS).to_string()
        assert low <= 0.97 or channel not in EFFECTIVE
    assert pd.DataFrame(errors).mean().abs().max() < 0.01
