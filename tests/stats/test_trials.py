"""The effect by sequential trials: from sums whose answer is known, and on simulated worlds with a decoy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.errors import ParameterError
from microconv.journeys import journey_rule
from microconv.log import EventLog
from microconv.reduce.entrants import people
from microconv.reduce.process_counts import process_counts, process_cuts
from microconv.reduce.revenue import payments, revenue_of
from microconv.reduce.states import HALVES_PER_DAY, done_or_not, moments
from microconv.reduce.trials import Weighting, bucketed, trial_sums
from microconv.simulate import SimulatedLog, confounded_world, strong_world
from microconv.stats import intensities, trials
from microconv.stats.effects import Effect
from microconv.trial_sums import Arm, TrialSums

BUCKETS = 16
NO_SUPPORT = pd.DataFrame({"landmark": [0], "doers": [10], "controls": [40], "compared": [20]})


def arm(edges: list[float], rates: np.ndarray, time: np.ndarray, cents: float = 0.0) -> Arm:
    """Events by (landmark, interval, cause) as ``rates`` give for ``time`` by (landmark, interval), split by bucket."""
    share = np.random.default_rng(len(edges)).dirichlet(np.full(BUCKETS, 50.0))
    events = rates * time[..., None]
    return Arm(
        np.array(edges),
        np.multiply.outer(share, time),
        np.multiply.outer(share, events),
        np.multiply.outer(share, events[..., 0] * cents),
        30.0,
    )


def known_sums(with_money: bool = True) -> TrialSums:
    """Two trials at days 1 and 3 with 100 and 300 doers, horizon 4 days, and hazards that are known."""
    done = np.array([[[0.5, 0.1], [0.2, 0.0]], [[0.3, 0.1], [0.1, 0.2]]])
    never = np.array([[[0.05, 0.1], [0.1, 0.0], [0.2, 0.1]], [[9.9, 9.9], [0.02, 0.1], [0.3, 0.0]]])
    time = np.array([[50.0, 20.0], [130.0, 70.0]])
    return TrialSums(
        column="cart",
        horizon_days=4.0,
        causes=("purchase", "unsubscribe"),
        landmarks_days=np.array([1.0, 3.0]),
        entered=np.multiply.outer(np.full(BUCKETS, 1 / BUCKETS), [100.0, 300.0]),
        done=arm([0.0, 1.5, 4.0], done, time, 1_000.0),
        never=arm([1.0, 2.5, 4.5, 7.0], never, np.array([[40.0, 30.0, 9.0], [0.0, 80.0, 90.0]]), 800.0),
        doers=500,
        too_late=60,
        without_controls=40,
        support=NO_SUPPORT,
        with_money=with_money,
    )


def incidence(begin: float, until: float, edges: list[float], rates: list[list[float]]) -> float:
    """The chance of the first cause in (begin, until] under hazards constant within intervals, in tiny steps."""
    steps = 200_000
    middle = begin + (np.arange(steps) + 0.5) * (until - begin) / steps
    hazard = np.array(rates)[np.searchsorted(edges, middle) - 1]
    lost = np.cumsum(hazard.sum(axis=1)) * (until - begin) / steps
    survival = np.exp(-(lost - hazard.sum(axis=1) * (until - begin) / steps / 2))
    return float((survival * hazard[:, 0]).sum() * (until - begin) / steps)


def test_hazards_of_each_trial_become_chances_and_are_averaged_by_doers() -> None:
    effect = trials(known_sums(), at_days=[1.0, 2.0])
    for row, time in enumerate([1.0, 2.0, 4.0]):
        done = 0.25 * incidence(0, time, [0, 1.5, 4], [[0.5, 0.1], [0.2, 0]]) + 0.75 * incidence(
            0, time, [0, 1.5, 4], [[0.3, 0.1], [0.1, 0.2]]
        )
        never = 0.25 * incidence(1, 1 + time, [1, 2.5, 4.5, 7], [[0.05, 0.1], [0.1, 0], [0.2, 0.1]])
        never += 0.75 * incidence(3, 3 + time, [1, 2.5, 4.5, 7], [[9.9, 9.9], [0.02, 0.1], [0.3, 0]])
        found = effect.by_time.iloc[row]
        assert found["within_days"] == time
        assert (found["done"], found["never"]) == pytest.approx((done, never), abs=1e-9)
        assert found["incremental"] == pytest.approx(done - never, abs=1e-9)
        # Every purchase brings 1,000 to doers and 800 to controls.
        assert found["incremental_value"] == pytest.approx(1_000 * done - 800 * never, abs=1e-6)
    assert effect.incremental == pytest.approx(effect.done - effect.never)
    assert (effect.value_done, effect.value_never) == pytest.approx((1_000 * effect.done, 800 * effect.never))
    assert (effect.users, effect.left_out) == (400, 100 / 500)
    assert (effect.effective_done, effect.effective_never) == (30, 30)
    assert effect.detail["trials"] == 2
    assert effect.detail["sampled"] == 0.5
    assert effect.detail["buckets"] == BUCKETS


def test_errors_are_those_of_other_logs() -> None:
    """The spread of replicates against the spread over logs drawn anew, user by user."""
    rng = np.random.default_rng(5)

    def drawn(users: int = 4_000) -> TrialSums:
        bucket = rng.integers(0, 256, users)
        end = rng.exponential(1 / np.array([[0.2], [0.1]]), (2, users))
        arms = []
        for times in end:
            stay, bought = np.minimum(times, 4.0), times <= 4.0
            place = [np.bincount(bucket, one, 256)[:, None, None] for one in (stay, bought, bought * 500.0)]
            arms.append(Arm(np.array([0.0, 4.0]), place[0], place[1][..., None], place[2], 1.0))
        arms[1] = replace(arms[1], edges=np.array([1.0, 5.0]))
        entered = np.bincount(bucket, minlength=256)[:, None].astype(float)
        return TrialSums("cart", 4.0, ("p",), np.array([1.0]), entered, *arms, users, 0, 0, NO_SUPPORT, True)

    effects = [trials(drawn(), replicates=300) for _ in range(120)]
    estimates = np.array([[one.done, one.never, one.incremental, one.incremental_value] for one in effects])
    truth = 1 - np.exp(-0.8), 1 - np.exp(-0.4)
    spread = estimates.std(axis=0, ddof=1)
    wanted = np.array([*truth, truth[0] - truth[1], 500 * (truth[0] - truth[1])])
    assert (np.abs(estimates.mean(axis=0) - wanted) < 3.3 * spread / 120**0.5).all()
    told = np.mean([[*np.sqrt(np.diag(one.covariance)), one.se, one.value_se] for one in effects], axis=0)
    np.testing.assert_allclose(told, spread, rtol=3.3 / (2 * 119) ** 0.5)
    # Both arms of a user share a bucket but not their fate.
    assert np.mean([one.covariance[0, 1] for one in effects]) == pytest.approx(0, abs=0.1 * told[0] * told[1])


def test_trials_that_nobody_is_followed_in_are_left_out() -> None:
    sums = known_sums()
    never = sums.never.time.copy()
    never[:, 1, 2] = 0.0
    effect = trials(replace(sums, never=replace(sums.never, time=never)))
    assert (effect.users, effect.detail["unfollowed"], effect.detail["trials"]) == (100, 300, 1)
    assert effect.left_out == pytest.approx(400 / 500)
    done = incidence(0, 4, [0, 1.5, 4], [[0.5, 0.1], [0.2, 0]])
    assert effect.done == pytest.approx(done, abs=1e-9)


def test_doers_who_all_met_an_end_are_followed_to_the_end() -> None:
    sums = known_sums()
    time, events = sums.done.time.copy(), sums.done.events.copy()
    time[:, 0, 1], events[:, 0, 1] = 0.0, 0.0
    events[:, 0, 0, 0] = 100 / BUCKETS
    whole = trials(replace(sums, done=replace(sums.done, time=time, events=events)))
    assert whole.detail["trials"] == 2
    events[:, 0, 0, 0] = 90 / BUCKETS  # ten were not observed for longer
    assert trials(replace(sums, done=replace(sums.done, time=time, events=events))).detail["trials"] == 1


def test_nobody_compared() -> None:
    sums = known_sums()
    effect = trials(replace(sums, entered=np.zeros_like(sums.entered), without_controls=440), at_days=[1.0])
    assert np.isnan([effect.done, effect.never, effect.incremental, effect.se, effect.incremental_value]).all()
    assert np.isnan(effect.covariance).all()
    assert effect.by_time["within_days"].tolist() == [1.0, 4.0]
    assert effect.by_time.drop(columns="within_days").isna().all(axis=None)
    assert (effect.users, effect.left_out) == (0, 1)


def test_without_money() -> None:
    effect = trials(known_sums(with_money=False))
    assert np.isnan([effect.value_done, effect.value_never, effect.incremental_value, effect.value_se]).all()
    assert effect.se > 0


def test_the_same_seed_gives_the_same_errors() -> None:
    one, same, other = (trials(known_sums(), seed=seed) for seed in (1, 1, 2))
    assert one.se == same.se
    assert one.se != other.se
    assert one.incremental == other.incremental


@pytest.mark.parametrize("at_days", [[0.0], [4.1], [-1.0], [np.nan]])
def test_times_beyond_the_horizon(at_days: list[float]) -> None:
    with pytest.raises(ParameterError, match="up to the horizon of 4 days"):
        trials(known_sums(), at_days=at_days)


# --- Planted truth ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated() -> SimulatedLog:
    return mc.simulate(12_000, 1, world=confounded_world())


@pytest.fixture(scope="module")
def truth(simulated: SimulatedLog) -> pd.DataFrame:
    return simulated.truth.incremental("30D", replicates=5).set_index("micro")


def estimate(
    log: EventLog, micro: str, adjust: list[str], *, weighted: bool = True, days: int = 30, **options: Any
) -> Effect:
    """The effect within 30 days, with the intensity fitted to the same log."""
    assert log.plan is not None
    names = [one.name for one in log.plan.micros]
    layout = done_or_not(names)
    who = people(log, journey_rule(log, None, "entry", None, None), log.plan.micros, adjust)
    marked = bucketed(who, moments(who, layout))
    cuts = process_cuts(who, marked, layout, 24)
    fit = intensities(process_counts(who, layout, marked, cuts), dict.fromkeys(names, 1), adjust)
    base, factor = fit.rate_factors(f"+{micro}")
    place, _ = fit.grid.place(who.cells.assign(**dict.fromkeys(names, 0)))
    sums = trial_sums(
        who,
        marked,
        layout,
        micro,
        horizon=days * HALVES_PER_DAY,
        age_limit=90 * HALVES_PER_DAY,
        weighting=Weighting(cuts, base * weighted, factor[place]),
        **options,
    )
    return trials(sums, replicates=300)


@pytest.mark.slow
@pytest.mark.parametrize("micro", ["add_to_cart", "newsletter_signup", "share"])
def test_planted_effects_are_found(simulated: SimulatedLog, truth: pd.DataFrame, micro: str) -> None:
    effect = estimate(simulated.read(), micro, ["interest", "device"])
    planted = truth.loc[micro]
    errors = np.sqrt(np.diag(effect.covariance))
    assert effect.done == pytest.approx(planted["probability_done"], abs=3.3 * errors[0])
    assert effect.never == pytest.approx(planted["probability_never"], abs=3.3 * errors[1])
    assert effect.incremental == pytest.approx(planted["incremental"], abs=3.3 * effect.se)
    assert effect.se < 0.015
    assert effect.left_out < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("micro", ["guide_downloaded", "share"])
def test_planted_revenue_is_found(micro: str) -> None:
    """Baskets differ by device, and are larger after the guide."""
    simulated = mc.simulate(12_000, 2, world=strong_world())
    planted = simulated.truth.incremental("14D", replicates=5).set_index("micro").loc[micro]
    log = simulated.read()
    assert log.plan is not None
    paid = revenue_of(payments(log, log.plan.macros[0]))
    effect = estimate(log, micro, ["interest", "device"], days=14, paid=paid)
    assert effect.incremental_value / 100 == pytest.approx(
        planted["incremental_value"], abs=3.3 * effect.value_se / 100
    )
    assert effect.value_done / 100 == pytest.approx(planted["value_done"], rel=0.05)
    assert effect.value_never / 100 == pytest.approx(planted["value_never"], rel=0.08)
    if micro == "guide_downloaded":
        assert effect.incremental_value > 15 * effect.value_se


@pytest.mark.slow
def test_a_decoy_looks_real_without_the_weights_or_without_the_strata(simulated: SimulatedLog) -> None:
    log = simulated.read()
    honest = estimate(log, "share", ["interest", "device"])
    unweighted = estimate(log, "share", ["interest", "device"], weighted=False)
    crude = estimate(log, "share", [])
    assert abs(honest.incremental) < 2 * honest.se
    assert unweighted.incremental > 0.05
    assert unweighted.incremental > 5 * unweighted.se
    assert crude.incremental > 0.1


@pytest.mark.slow
def test_a_sample_of_the_controls_tells_the_same(simulated: SimulatedLog) -> None:
    log = simulated.read()
    whole = estimate(log, "newsletter_signup", ["interest", "device"])
    some = estimate(log, "newsletter_signup", ["interest", "device"], max_controls=30_000)
    assert some.detail["sampled"] < 0.5
    assert whole.detail["sampled"] == 1
    assert some.done == pytest.approx(whole.done, abs=0.002)  # a stratum without controls more or less
    assert some.incremental == pytest.approx(whole.incremental, abs=2 * whole.se)
