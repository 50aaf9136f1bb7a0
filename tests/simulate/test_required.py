"""A macro that waits for a micro, as a purchase for the checkout: none before it, and the rate as planted after it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from planted import RATE_ERRORS, observed_and_expected

import microconv as mc
from microconv.simulate import Calendar, Macro, Micro, OrderValue, World

START, BUY, HELP = 0.1, 0.3, 3.0
WORLD = World(
    "checkout first",
    Macro(rate_per_day=BUY, requires="checkout", value=OrderValue(40.0, 0.5)),
    (Micro("checkout", rate_per_day=START), Micro("cart", rate_per_day=0.08, causes={"checkout": HELP})),
    calendar=Calendar(entries_over="1D", follow_up="60D"),
)
ALONE = replace(WORLD, micros=WORLD.micros[:1])


def in_two_stages(first: float, then: float, days: float) -> float:
    """The chance that two waits in a row, exponential with these rates, are over by a day."""
    return 1 - (then * math.exp(-first * days) - first * math.exp(-then * days)) / (then - first)


def test_the_chance_to_convert_by_formula() -> None:
    truth = mc.simulate(50, 1, world=ALONE).truth
    curve = truth.curve([0.0, 1.0, 10.0, 40.0])
    expected = [in_two_stages(START, BUY, day) for day in curve["time_days"]]
    assert curve["probability"].tolist() == pytest.approx(expected, abs=1e-13)
    assert set(curve["method"]) == {"exact"}


def test_nobody_converts_before_it_and_after_it_as_often_as_planted() -> None:
    log = mc.simulate(20_000, 2, world=WORLD)
    bought = log.users[log.users["cause"] == "purchase"]
    assert (bought["checkout_days"] < bought["stop_days"]).all()
    for process in ("checkout", "cart", "purchase"):
        observed, expected = observed_and_expected(log, process)
        assert expected > 3_000
        assert abs(observed - expected) < RATE_ERRORS * math.sqrt(expected), process
    chance = log.truth.probability("20D")
    seen = (bought["stop_days"] <= 20).mean() * len(bought) / 20_000
    assert abs(seen - chance) < RATE_ERRORS * math.sqrt(chance * (1 - chance) / 20_000)


def test_without_it_nothing_is_left_and_what_leads_to_it_counts() -> None:
    table = mc.simulate(5_000, 3, world=WORLD).truth.incremental("14D", replicates=6).set_index("micro")
    checkout = table.loc["checkout"]
    assert checkout["probability_never"] == 0
    assert checkout["incremental"] == pytest.approx(1 - math.exp(-BUY * 14), abs=1e-12)
    assert checkout["incremental_value"] == pytest.approx(40 * math.exp(0.125) * (1 - math.exp(-BUY * 14)), abs=1e-9)
    # The cart does nothing but speed up the checkout of those who have not been there.
    users = mc.simulate(5_000, 3, world=WORLD).users
    doers = users[users["cart_days"].notna()]
    fresh = (~(doers["checkout_days"] < doers["cart_days"])).mean()
    gain = fresh * (in_two_stages(HELP * START, BUY, 14) - in_two_stages(START, BUY, 14))
    assert abs(table.loc["cart", "incremental"] - gain) < RATE_ERRORS * table.loc["cart", "se"]
    assert table.loc["cart", "se"] < 0.005


def test_it_is_described_where_it_is_planted_and_only_there() -> None:
    described = mc.simulate(50, 1, world=WORLD).truth.to_dict()
    assert described["macro"]["requires"] == "checkout"
    assert "requires" not in mc.simulate(50, 1, world="strong").truth.to_dict()["macro"]


def test_journeys_without_it_are_those_of_before() -> None:
    free = replace(WORLD, macro=replace(WORLD.macro, requires=None))
    log = mc.simulate(2_000, 4, world=free)
    bought = log.users[log.users["cause"] == "purchase"]
    assert (~np.isfinite(bought["checkout_days"].astype(float))).sum() > 500
