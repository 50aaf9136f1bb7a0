"""The chance to convert given open so far: equal to curves that start there, with the exact error of sums."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as sp

from microconv import RiskTable
from microconv.stats import aalen_johansen, probability_at
from microconv.stats.conditional import Conditional, Sum, count_limits
from microconv.stats.forecasting import Setting, forecast_counts


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    buys, ends, watched = rng.exponential(30, n), rng.exponential(60, n), rng.uniform(0, 40, n)
    stop = np.ceil(np.minimum(np.minimum(buys, ends), watched))  # whole days: ties
    cause = np.where(buys <= np.minimum(ends, watched), "buy", np.where(ends <= watched, "end", None))
    return pd.DataFrame({"start": 0.0, "stop": stop, "cause": cause})


@pytest.fixture(scope="module")
def table() -> RiskTable:
    return RiskTable.from_intervals(rows(200, 0), "start", "stop", "cause")


class TestConditional:
    @pytest.mark.parametrize("age", [0, 3, 11, 25])
    def test_one_user_is_the_aalen_johansen_curve_from_that_age_on(self, table: RiskTable, age: int) -> None:
        curve = Conditional.of(table, "buy", ["end"])
        found = curve.sum(np.ones(1), np.array([float(age)]), np.array([30.0]))
        # Who is open at an age has not ended at it: the conditional curve begins just after.
        from_then = probability_at(aalen_johansen(table, start_days=age + 0.5 if age else 0), 30.0)
        expected = from_then[from_then["cause"] == "buy"].iloc[0]
        assert found.mean == pytest.approx(expected["probability"], rel=1e-12)
        assert math.sqrt(found.error) == pytest.approx(expected["se"], rel=1e-9)
        assert found.chance == pytest.approx(found.mean * (1 - found.mean))

    def test_the_error_of_a_sum_is_the_delta_method_over_all_increments(self, table: RiskTable) -> None:
        curve = Conditional.of(table, "buy", ["end"])
        rng = np.random.default_rng(1)
        users, ages = rng.integers(1, 5, 30).astype(float), np.sort(rng.uniform(0, 25, 30))
        until = np.minimum(ages + 10, 30)

        def total(a: np.ndarray, b: np.ndarray) -> float:
            survival = np.cumprod(1 - a - b)
            incidence = np.cumsum(np.append(1.0, survival[:-1]) * a)
            return float(users @ replace(curve, a=a, b=b, survival=survival, incidence=incidence).chance(ages, until))

        variance, step = 0.0, 1e-6
        for k in range(len(curve.a)):
            move = np.zeros(len(curve.a))
            move[k] = step
            in_a = (total(curve.a + move, curve.b) - total(curve.a - move, curve.b)) / (2 * step)
            in_b = (total(curve.a, curve.b + move) - total(curve.a, curve.b - move)) / (2 * step)
            a, b, n = curve.a[k], curve.b[k], curve.n[k]
            variance += (in_a**2 * a + in_b**2 * b - (in_a * a + in_b * b) ** 2) / n
        found = curve.sum(users, ages, until)
        assert found.error == pytest.approx(variance, rel=1e-6)
        assert found.mean == pytest.approx(total(curve.a, curve.b))

    def test_nobody_is_expected_after_the_last_event_but_the_limit_is_not_zero(self) -> None:
        frame = pd.DataFrame({"start": 0, "stop": [1.0] * 5 + [20.0] * 95, "cause": ["buy"] * 5 + [None] * 95})
        curve = Conditional.of(RiskTable.from_intervals(frame, "start", "stop", "cause"), "buy")
        assert curve.sum(np.ones(1), np.array([2.0]), np.array([20.0])).mean == 0
        # 95 users for 19 days without an event: at most three in that time.
        assert curve.unseen(20.0, 0.95) == pytest.approx(-math.log(0.05) / 95)

    def test_a_curve_that_ends_at_zero_is_known_for_ever(self) -> None:
        frame = pd.DataFrame({"start": 0, "stop": [1.0, 2.0], "cause": "buy"})
        curve = Conditional.of(RiskTable.from_intervals(frame, "start", "stop", "cause"), "buy")
        assert curve.known_days == math.inf
        assert curve.chance(np.array([0.0, 1.5]), np.array([50.0, 50.0])) == pytest.approx([1.0, 1.0])


class TestCountLimits:
    def test_poisson_binomial_and_negative_binomial_quantiles(self) -> None:
        assert count_limits(Sum(8.0, 8.0), 1_000, 0.95) == tuple(sp.poisson.ppf([0.025, 0.975], 8.0))
        binomial = sp.binom(20, 0.3)
        assert count_limits(Sum(6.0, 4.2), 20, 0.95) == tuple(binomial.ppf([0.025, 0.975]))
        negative = sp.nbinom(4, 4 / (4 + 8.0))
        assert count_limits(Sum(8.0, 8.0, 16.0), 1_000, 0.95) == tuple(negative.ppf([0.025, 0.975]))

    def test_the_mean_lies_within_and_nothing_exceeds_the_open_users(self) -> None:
        assert count_limits(Sum(0.01, 0.01), 5, 0.95) == (0.0, 1.0)
        assert count_limits(Sum(3.5, 1.0, 9.0), 4, 0.95)[1] == 4.0
        assert count_limits(Sum(), 4, 0.95) == (0.0, 0.0)

    def test_intervals_hold_what_then_happens(self) -> None:
        """Planted: prediction intervals of cohorts and of the total, over logs with ends beside the target."""
        total, cohorts = 0, []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            n, horizon = 800, 30.0
            entry, who = rng.uniform(0, 60, n), rng.random(n)
            buys = np.where(who < 0.3, 6 * rng.exponential(size=n) ** 1.25, np.inf)
            ends = np.where((who >= 0.3) & (who < 0.6), 15 * rng.exponential(size=n), np.inf)
            stop = np.minimum.reduce([buys, ends, 60 - entry, np.full(n, horizon)])
            cause = np.where(buys <= stop, "buy", np.where(ends <= stop, "end", None))
            cohort = (entry // 10).astype(int).astype(str)
            frame = pd.DataFrame({"start": 0.0, "stop": stop, "cause": cause, "cohort": cohort})
            rt = RiskTable.from_intervals(frame, "start", "stop", "cause", ["cohort"])
            found = forecast_counts(rt, (), Setting("buy", ("end",), (), horizon, 0.95))
            truth = pd.Series(buys <= horizon).groupby(cohort).sum()
            still = found.table[found.table["open"] > 0]
            came = truth[still["cohort"]].to_numpy()
            cohorts += list((still["ci_low"] <= came) & (came <= still["ci_high"]))
            total += found.total["ci_low"].iloc[0] <= truth.sum() <= found.total["ci_high"].iloc[0]
        assert sp.binomtest(total, 60, 0.95).pvalue > 0.001
        assert sp.binomtest(sum(cohorts), len(cohorts), 0.95, alternative="less").pvalue > 0.001
