"""Limits for many estimates at once, values of rules, and trials kept apart by stratum: against formulas and sums."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from crossing_world import crossing_log
from scipy.stats import norm

from microconv.errors import ParameterError
from microconv.next_best.asking import ask
from microconv.reduce.entrants import people
from microconv.reduce.states import HALVES_PER_DAY
from microconv.reduce.trials import Weighting, bucketed, trial_sums
from microconv.stats.policies import rule_values, simultaneous_limits
from microconv.stats.resample import poisson_weights
from microconv.stats.sequential import replicated, trials
from microconv.trial_sums import TrialSums, pooled
from microconv.value.counting import count
from microconv.value.estimating import cells_of_intensities, fit


def test_independent_estimates_get_sidaks_value_and_equal_ones_that_of_one() -> None:
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(40_000, 8))
    found = simultaneous_limits(np.zeros(8), drawn, 0.95)
    assert found.family == 8
    assert found.critical == pytest.approx(norm.ppf(0.5 + 0.95 ** (1 / 8) / 2), abs=0.04)
    same = simultaneous_limits(np.zeros(8), drawn[:, [0] * 8], 0.95)
    assert same.critical == pytest.approx(norm.ppf(0.975), abs=0.04)
    np.testing.assert_allclose(found.high - found.low, 2 * found.critical * drawn.std(axis=0, ddof=1), rtol=1e-12)


def test_what_is_not_known_is_not_of_the_family() -> None:
    drawn = np.random.default_rng(2).normal(size=(500, 3))
    drawn[:, 1] = 0.0
    found = simultaneous_limits([0.1, 0.2, np.nan], drawn)
    assert found.family == 1
    assert np.isnan(found.low[1:]).all()
    assert np.isfinite(found.low[0])
    assert simultaneous_limits([np.nan], drawn[:, :1]).family == 0


def test_too_few_replicates_and_wrong_shapes_are_told() -> None:
    with pytest.raises(ParameterError, match="too few"):
        simultaneous_limits([0.0], np.zeros((10, 1)))
    with pytest.raises(ParameterError, match="do not fit"):
        simultaneous_limits([0.0, 1.0], np.zeros((200, 1)))


def test_the_value_of_rules_is_inverse_propensity_by_hand() -> None:
    """200 users: the weighted mean over single users, with the share offered within the segment, is the same."""
    rng = np.random.default_rng(3)
    users = pd.DataFrame({"segment": rng.choice(["a", "b"], 200), "offer": rng.choice(["x", "y", "nothing"], 200)})
    users["converted"] = rng.random(200) < 0.4
    chances = users.groupby(["segment", "offer"], as_index=False).agg(
        users=("offer", "size"), chance=("converted", "mean")
    )
    chances["se"] = np.sqrt(chances["chance"] * (1 - chances["chance"]) / chances["users"])
    policy = {"a": "x", "b": "nothing"}
    found = rule_values(chances, policy, ["x", "y", "nothing"]).set_index("rule")
    for rule, made in {"policy": policy, "always y": {"a": "y", "b": "y"}}.items():
        total = 0.0
        for row in users.itertuples():
            same = users[users["segment"] == row.segment]
            if row.offer == made[row.segment]:
                total += row.converted / (same["offer"] == row.offer).mean()
        assert found.loc[rule, "value"] == pytest.approx(total / len(users), rel=1e-12)
    cells = chances.set_index(["segment", "offer"])
    weight = (users["segment"] == "a").mean()
    assert found.loc["always nothing", "difference"] == pytest.approx(
        weight * (cells.loc[("a", "x"), "chance"] - cells.loc[("a", "nothing"), "chance"]), rel=1e-12
    )
    assert found.loc["always nothing", "difference_se"] == pytest.approx(
        weight * np.hypot(cells.loc[("a", "x"), "se"], cells.loc[("a", "nothing"), "se"]), rel=1e-12
    )
    missing = rule_values(chances[chances["offer"] != "x"], policy, ["y"]).set_index("rule")
    assert np.isnan(missing.loc["policy", "value"])


def _sums(apart: bool, cuts: tuple[int, ...] = ()) -> TrialSums:
    log = crossing_log(500, 4)
    asked = ask(
        log, target=None, micros=None, horizon=None, by="device", since_entry=(), offers=None, competing=None,
        washout=None, tz="UTC", confidence=0.95, min_cell=10, seed=0, max_controls=100_000,
    )  # fmt: skip
    question = asked.question
    users = people(log, question.hazards.rule, question.items, question.attributes)
    fitted = fit(count(users, question.layout(), question))
    counted = fitted.counted
    base, factor = fitted.intensities.rate_factors("+guide")
    return trial_sums(
        users,
        bucketed(users, counted.marked),
        counted.layout,
        "guide",
        horizon=2 * question.horizon,
        age_limit=int(counted.age_limit_days * HALVES_PER_DAY),
        weighting=Weighting(
            [round(cut * HALVES_PER_DAY) for cut in fitted.intensities.cuts],
            base,
            factor[cells_of_intensities(users, fitted.intensities)],
        ),
        landmarks=4,
        intervals=6,
        apart=apart,
        cuts=cuts,
    )


def test_strata_kept_apart_add_up_to_the_trials() -> None:
    whole, apart = _sums(False), _sums(True)
    used = apart.support[apart.support["compared"] > 0]
    assert apart.entered.shape[1] == len(used) > whole.entered.shape[1]
    np.testing.assert_array_equal(apart.entered.sum(axis=0), used["doers"].to_numpy(float))
    added = pooled(apart, np.arange(len(used)))
    np.testing.assert_allclose(added.landmarks_days, whole.landmarks_days)
    np.testing.assert_array_equal(added.entered, whole.entered)
    for one, other in ((added.done, whole.done), (added.never, whole.never)):
        np.testing.assert_allclose(one.edges, other.edges)
        np.testing.assert_allclose(one.time, other.time, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(one.events, other.events, rtol=1e-9, atol=1e-9)
    effect = trials(whole, replicates=200, seed=5)
    estimate, drawn, doers = replicated(added, poisson_weights(256, 200, 5))
    assert doers == effect.users
    assert estimate[1] - estimate[0] == pytest.approx(effect.incremental, rel=1e-9)
    assert (drawn[:, 1] - drawn[:, 0]).std(ddof=1) == pytest.approx(effect.se, rel=1e-9)


def test_no_trial_has_doers_on_both_sides_of_a_cut() -> None:
    at = 6 * HALVES_PER_DAY
    cut, plain = _sums(True, (at,)), _sums(True)
    assert len(np.unique(cut.landmarks_days)) > len(np.unique(plain.landmarks_days))
    assert cut.entered.sum() + cut.without_controls == plain.entered.sum() + plain.without_controls
