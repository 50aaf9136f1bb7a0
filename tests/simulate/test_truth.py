"""The truth that is computed equals formulas, and what simulated users did."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from planted import RATE_ERRORS
from scipy.integrate import quad

import microconv as mc
from microconv.simulate import (
    Calendar,
    End,
    Intent,
    Macro,
    Micro,
    OrderValue,
    Trait,
    Truth,
    World,
    confounded_world,
    null_world,
    strong_world,
    web_shop,
)

LONG = Calendar(entries_over="1D", follow_up="90D")


def truth_of(world: World, users: int = 200) -> Truth:
    return mc.simulate(users, 1, world=world).truth


# The chance to convert


def test_constant_hazard() -> None:
    truth = truth_of(null_world())
    table = truth.curve([0, 1, 30])
    assert table["probability"].tolist() == pytest.approx([0, 1 - math.exp(-0.012), 1 - math.exp(-0.36)], abs=1e-14)
    assert truth.probability("30D") == pytest.approx(1 - math.exp(-0.36), abs=1e-14)
    assert set(table["method"]) == {"exact"}


def test_one_micro_by_formula() -> None:
    a, b, r, t = 0.1, 0.03, 5.0, 20.0
    truth = truth_of(World(macro=Macro(rate_per_day=b), micros=(Micro("cart", rate_per_day=a, hazard_ratio=r),)))
    # Nobody has done it yet, or it was done at s and the hazard is r b from then on.
    late = a * (math.exp(-r * b * t) - math.exp(-(a + b) * t)) / (a + b - r * b)
    survival = math.exp(-(a + b) * t) + late
    assert truth.probability("20D") == pytest.approx(1 - survival, abs=1e-13)


def test_competing_end_by_formula() -> None:
    b, c, t = 0.02, 0.05, 30.0
    table = truth_of(World(macro=Macro(rate_per_day=b), competing=(End("unsubscribe", c),))).curve([t])
    gone = 1 - math.exp(-(b + c) * t)
    assert table["probability"][0] == pytest.approx(b / (b + c) * gone, abs=1e-13)
    assert table["unsubscribe"][0] == pytest.approx(c / (b + c) * gone, abs=1e-13)
    assert table["net_probability"][0] == pytest.approx(1 - math.exp(-b * t), abs=1e-9)


def test_levels_of_traits_are_mixed() -> None:
    trait = Trait("device", {"desktop": 0.25, "mobile": 0.75}, {"purchase": {"mobile": 0.4}})
    world = World(
        macro=Macro(rate_per_day=0.05, hidden_intent_effect=3.0),
        hidden_intent=Intent("hidden", 0.2),
        traits=(trait,),
    )
    expected = sum(
        share * hidden * (1 - math.exp(-0.05 * ratio * effect * 10))
        for share, ratio in ((0.25, 1.0), (0.75, 0.4))
        for hidden, effect in ((0.8, 1.0), (0.2, 3.0))
    )
    assert truth_of(world).probability("10D") == pytest.approx(expected, abs=1e-14)


def test_an_effect_that_fades_is_answered_by_simulation_with_its_error() -> None:
    a, b, r, d, t = 0.08, 0.02, 6.0, 4.0, 25.0
    micro = Micro("guide", rate_per_day=a, hazard_ratio=r, fade_days=d)
    table = truth_of(World(macro=Macro(rate_per_day=b), micros=(micro,))).curve([t])

    def done_at(s: float) -> float:
        return a * math.exp(-(a + b) * s) * math.exp(-b * ((r - 1) * min(t - s, d) + t - s))

    survival = math.exp(-(a + b) * t) + quad(done_at, 0, t, points=[t - d])[0]
    assert table["method"][0] == "monte carlo"
    assert 0 < table["se"][0] < 1e-3
    assert abs(table["probability"][0] - (1 - survival)) < RATE_ERRORS * table["se"][0]


@pytest.mark.parametrize(
    "world", [null_world(), confounded_world(2.0), strong_world(), web_shop()], ids=lambda w: w.name
)
def test_simulated_users_convert_as_computed(world: World) -> None:
    lean = replace(world, visits=None, also_in_plan=(), censoring=(), calendar=LONG)
    log = mc.simulate(20_000, 3, world=lean)
    days = [1.0, 7.0, 30.0, 90.0]
    for row in log.truth.curve(days).to_dict("records"):
        for cause in [world.macro.name, *[end.name for end in world.competing]]:
            expected = row["probability" if cause == world.macro.name else cause]
            seen = ((log.users["cause"] == cause) & (log.users["stop_days"] <= row["time_days"])).mean()
            assert abs(seen - expected) < RATE_ERRORS * math.sqrt(max(expected, 1e-4) / 20_000), (cause, row)


def test_in_the_shop_two_thirds_of_the_purchases_within_30_days_fall_on_the_first() -> None:
    truth = truth_of(replace(web_shop(), visits=None, also_in_plan=()))
    assert truth.probability("1D") / truth.probability("30D") == pytest.approx(2 / 3, abs=0.03)
    assert 0.05 < truth.probability("30D") < 0.12


def test_ages_in_any_order_and_impossible_ones() -> None:
    truth = truth_of(null_world())
    assert truth.curve([30, 1, 30])["time_days"].tolist() == [30, 1, 30]
    with pytest.raises(mc.ParameterError, match="ages of 0 or more"):
        truth.curve([-1.0])
    with pytest.raises(mc.ParameterError, match="has no unit"):
        truth.probability(30)  # type: ignore[arg-type]


# What a micro adds


def test_a_single_micro_adds_what_the_formula_says() -> None:
    b, r, h = 0.02, 3.0, 30.0
    world = World(
        macro=Macro(rate_per_day=b, value=OrderValue(50.0, 0.5)),
        micros=(Micro("guide", rate_per_day=0.05, hazard_ratio=r, value_ratio=1.5),),
    )
    row = truth_of(world, 500).incremental("30D").iloc[0]
    done, never, basket = 1 - math.exp(-r * b * h), 1 - math.exp(-b * h), 50 * math.exp(0.125)
    assert row["probability_done"] == pytest.approx(done, abs=1e-12)
    assert row["probability_never"] == pytest.approx(never, abs=1e-12)
    assert row["incremental"] == pytest.approx(done - never, abs=1e-12)
    assert row["incremental_value"] == pytest.approx(basket * (1.5 * done - never), abs=1e-9)
    assert row["se"] < 1e-12


def test_a_micro_that_works_through_another_adds_something_a_decoy_nothing() -> None:
    truth = truth_of(strong_world(), 4_000)
    table = truth.incremental("30D", micros=["newsletter_signup", "share"]).set_index("micro")
    assert table.loc["newsletter_signup", "incremental"] > 0.05
    assert abs(table.loc["share", "incremental"]) < RATE_ERRORS * table.loc["share", "se"]


def test_mediation_by_formula() -> None:
    b, r, a, k, h = 0.01, 6.0, 0.03, 4.0, 20.0
    micros = (
        Micro("newsletter", rate_per_day=0.05, causes={"cart": k}),
        Micro("cart", rate_per_day=a, hazard_ratio=r),
    )
    table = truth_of(World(macro=Macro(rate_per_day=b), micros=micros), 5_000)
    users = mc.simulate(5_000, 1, world=table.world).users
    signed = users["newsletter_days"].notna()
    had_cart = (users.loc[signed, "cart_days"] < users.loc[signed, "newsletter_days"]).mean()

    def converts(rate: float) -> float:
        late = rate * (math.exp(-r * b * h) - math.exp(-(rate + b) * h)) / (rate + b - r * b)
        return 1 - math.exp(-(rate + b) * h) - late

    row = table.incremental("20D", micros=["newsletter"]).iloc[0]
    expected = (1 - had_cart) * (
        converts(k * a) - converts(a)
    )  # with a cart in the basket already, nothing is left to do
    assert row["doers"] == signed.sum()
    assert abs(row["incremental"] - expected) < RATE_ERRORS * row["se"]
    assert row["se"] < 0.002


def test_doers_of_the_log_convert_as_the_done_arm_says() -> None:
    world = replace(strong_world(), calendar=LONG, competing=())
    log = mc.simulate(20_000, 5, world=world)
    table = log.truth.incremental("30D", until_age="60D", replicates=4).set_index("micro")
    for micro in world.micros:
        at = log.users[f"{micro.name}_days"]
        doers = log.users[at <= 60]
        after = doers["stop_days"] - at[at <= 60]
        share = ((doers["cause"] == "purchase") & (after <= 30)).mean()
        expected = table.loc[micro.name, "probability_done"]
        assert table.loc[micro.name, "doers"] == len(doers)
        assert abs(share - expected) < RATE_ERRORS * math.sqrt(expected * (1 - expected) / len(doers)), micro.name


def test_competing_ends_run_in_both_arms() -> None:
    b, c, h = 0.02, 0.1, 30.0
    world = World(
        macro=Macro(rate_per_day=b),
        micros=(Micro("letter", rate_per_day=0.1, causes={"unsubscribe": 3.0}),),
        competing=(End("unsubscribe", c),),
    )
    row = truth_of(world, 3_000).incremental("30D", replicates=40).iloc[0]
    done = b / (b + 3 * c) * (1 - math.exp(-(b + 3 * c) * h))
    never = b / (b + c) * (1 - math.exp(-(b + c) * h))
    assert row["incremental"] < 0
    assert abs(row["incremental"] - (done - never)) < RATE_ERRORS * row["se"]


def test_a_micro_that_nobody_did_adds_nan() -> None:
    world = World(micros=(Micro("never", rate_per_day=0.0),))
    row = truth_of(world).incremental("30D").iloc[0]
    assert row["doers"] == 0
    assert np.isnan(row["incremental"])


def test_the_same_question_gives_the_same_answer() -> None:
    truth = truth_of(strong_world())
    first, again = (truth.incremental("7D", replicates=3) for _ in range(2))
    assert first.equals(again)
    with pytest.raises(mc.ParameterError, match="Did you mean 'share'"):
        truth.incremental("7D", micros=["shares"])
    with pytest.raises(mc.ParameterError, match="at least 2"):
        truth.incremental("7D", replicates=1)


def test_the_truth_is_plain_data() -> None:
    for world in (web_shop(), World(micros=(Micro("guide", fade_days=2.0),))):
        truth = truth_of(replace(world, visits=None, also_in_plan=()))
        data = truth.to_dict()
        assert json.loads(json.dumps(data, allow_nan=False)) == data
    shop = truth_of(web_shop()).to_dict()
    assert shop["hazard_ratios"]["add_to_cart"] == 5.0
    assert shop["hazard_ratios"]["third_visit"] == 1.0
    assert shop["micros"]["newsletter_signup"]["causes"] == {"add_to_cart": 4.0}
    assert shop["hidden_intent"]["share_high"] == 0.4
    assert [row["time_days"] for row in shop["probability"]][:2] == [1.0, 7.0]
