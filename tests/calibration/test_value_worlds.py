"""The worlds have the worth that is committed, and the formulas in common use are what their names say."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from calibration.naive_formulas import FORMULAS, formulas, who_did_and_converted
from calibration.value_truth import (
    MOST_ERROR,
    compute_micros,
    compute_strength,
    hidden_strength,
    simulated,
    true_value,
    truth_of,
    wald,
)
from calibration.value_worlds import MACRO, WORLDS

BASKET = 60 * math.exp(0.6**2 / 2)
ERRORS = 4.5  # a handful of honest comparisons, each of a mean over few batches with its own estimated error


@pytest.mark.parametrize("name", WORLDS)
def test_the_committed_truth_is_that_of_the_world_of_today(name: str) -> None:
    again = compute_micros(name, batches=8, users=2_500)
    assert list(again) == list(truth_of(name).index) == list(WORLDS[name].micros)
    for micro, row in again.items():
        committed = truth_of(name).loc[micro]
        for key in ("done", "never", "incremental", "value_done", "value_never", "incremental_value"):
            # Exact where nothing is left to chance: then the errors of both are rounding.
            error = ERRORS * math.hypot(row[f"{key}_se"], committed[f"{key}_se"]) + 2e-6
            assert abs(row[key] - committed[key]) < error, (micro, key)


def test_the_error_of_the_truth_is_far_below_what_a_log_can_tell() -> None:
    for name in WORLDS:
        assert truth_of(name)["incremental_se"].max() < MOST_ERROR
        assert truth_of(name)["incremental_value_se"].max() < MOST_ERROR * BASKET
        assert (truth_of(name)["doers"] > 200_000).all()


def test_effects_are_planted_as_the_worlds_say() -> None:
    for name, made in WORLDS.items():
        assert made.world.name in (name, "strong")
        for micro in made.micros:
            effect, error = (true_value(name, micro, key) for key in ("incremental", "incremental_se"))
            assert abs(effect) < 4 * error + 1e-9 if micro in made.decoys else effect > 0.05, (name, micro)
    assert true_value("zero", "share", "done") == pytest.approx(1 - math.exp(-0.06 * 14), abs=1e-6)
    assert true_value("zero", "share", "value_done") == pytest.approx(BASKET * (1 - math.exp(-0.06 * 14)), abs=1e-4)
    # Nothing but the purchase is left after the checkout, and nothing comes without it.
    assert true_value("structural", "checkout", "incremental") == pytest.approx(1 - math.exp(-0.25 * 14), abs=1e-6)
    assert true_value("structural", "checkout", "never") == 0


def test_an_effect_that_fades_by_formula() -> None:
    """Without other micros: three days at eight times the rate, eleven at the rate itself."""
    alone = WORLDS["fading"].world
    alone = replace(alone, micros=alone.micros[:1])
    row = mc.simulate(2_000, 1, world=alone).truth.incremental("14D", replicates=2).iloc[0]
    assert row["incremental"] == pytest.approx(math.exp(-0.01 * 14) - math.exp(-0.01 * (8 * 3 + 11)), abs=1e-12)


def test_the_hidden_confounder_is_as_strong_as_planted() -> None:
    with_micro, with_macro = hidden_strength("hidden")
    assert with_micro == 3.0
    # The ratio of chances is below that of the rates, but the micros that it brings come on top.
    assert 3.0 < with_macro < 4.0
    again = compute_strength("hidden", users=4_000)
    assert again["with_macro"] == pytest.approx(with_macro, rel=0.05)


def test_the_experiment_tells_the_effect_among_those_whom_it_moves() -> None:
    found = wald("encouragement")
    assert found["effect"] == pytest.approx(found["compliers"], abs=2e-4)
    assert found["value"] == pytest.approx(BASKET * found["effect"], rel=1e-9)
    assert found["first_stage"] == pytest.approx(0.5, abs=0.02)
    # In a log: who did it in each arm, and who converted.
    log = simulated("encouragement", 3, 60_000)
    users = log.users
    did = users["newsletter_signup_days"].notna()
    bought = (users["cause"] == MACRO) & (users["stop_days"] <= 14)
    by = pd.DataFrame({"arm": users["variant"].astype(str), "did": did, "bought": bought}).groupby("arm").mean()
    first, reduced = by.loc["nudged"] - by.loc["control"]
    assert abs(first - found["first_stage"]) < 0.015
    assert abs(reduced / first - found["effect"]) < 0.03


# The formulas in common use.


def test_who_did_and_converted_by_hand() -> None:
    day = pd.Timedelta(days=1)
    start = pd.Timestamp("2026-03-01", tz="UTC")
    rows = [
        ("before", 0, "visit"), ("before", 1, "share"), ("before", 2, "purchase"),
        ("after", 0, "visit"), ("after", 1, "purchase"), ("after", 2, "share"),
        ("late", 0, "visit"), ("late", 1, "share"), ("late", 9, "purchase"),
        ("too late", 0, "visit"), ("too late", 8, "share"),
        ("at once", 0, "share"), ("at once", 0, "purchase"),
        ("again", 0, "visit"), ("again", 3, "purchase"), ("again", 4, "share"), ("again", 5, "purchase"),
        ("nothing", 0, "visit"),
    ]  # fmt: skip
    events = pd.DataFrame(
        [(user, start + at * day, event) for user, at, event in rows], columns=["user_id", "time", "event"]
    )
    events["value"] = np.where(events["event"] == "purchase", 10.0, np.nan)
    events.loc[events["user_id"] == "again", "value"] *= 2
    counted, value = who_did_and_converted(events, ["share"], "purchase", 7.0)
    assert counted.loc["share"].to_dict() == {"did_converted": 1, "did_not": 1, "never_converted": 3, "never_not": 2}
    assert value == pytest.approx(80 / 6)


def test_the_formulas_by_hand() -> None:
    counted = pd.DataFrame(
        {"did_converted": [30, 5], "did_not": [70, 5], "never_converted": [40, 0], "never_not": [160, 10]},
        index=["share", "checkout"],
    )
    table = formulas(counted, 50.0)
    assert list(table.columns) == list(FORMULAS)
    share, checkout = table.loc["share"], table.loc["checkout"]
    assert share["naive_value"] == pytest.approx(15.0)
    assert share["naive_lift"] == pytest.approx(0.10)
    assert share["lift"] == pytest.approx(1.5)
    assert share["odds_ratio"] == pytest.approx((30 * 160) / (70 * 40))
    yes = np.repeat([1, 1, 0, 0], [30, 70, 40, 160]), np.repeat([1, 0, 1, 0], [30, 70, 40, 160])
    assert share["phi"] == pytest.approx(np.corrcoef(*yes)[0, 1])
    assert np.isinf(checkout[["odds_ratio", "lift"]]).all()


def test_without_any_effect_the_formulas_say_what_they_are_known_to_say() -> None:
    """By formula: micro at rate m, macro at rate b, nothing else, a window of h days."""
    m, b, h = 0.08, 0.06, 14.0
    gone = 1 - math.exp(-(m + b) * h)
    never_bought, neither = b / (m + b) * gone, math.exp(-(m + b) * h)
    did_bought = (1 - math.exp(-b * h)) - never_bought
    did_not = 1 - never_bought - neither - did_bought
    expected = formulas(
        pd.DataFrame({"did_converted": [did_bought], "did_not": [did_not], "never_converted": [never_bought],
                      "never_not": [neither]}),
        BASKET,
    ).iloc[0]  # fmt: skip
    assert expected[["odds_ratio", "phi", "lift"]].round(2).tolist() == [0.26, -0.32, 0.56]
    assert expected["naive_value"] > 25
    # The other two micros are there, but change nothing.
    log = simulated("zero", 1, 40_000)
    counted, value = who_did_and_converted(log.events, WORLDS["zero"].micros, MACRO, h)
    assert counted.to_numpy().sum(axis=1).tolist() == [40_000] * 3
    found = formulas(counted, value).loc["newsletter_signup"]
    assert abs(found["odds_ratio"] - expected["odds_ratio"]) < 0.03
    assert abs(found["phi"] - expected["phi"]) < 0.015
    assert abs(found["lift"] - expected["lift"]) < 0.025
    assert abs(found["naive_value"] - expected["naive_value"]) < 1.5


def test_a_confounded_decoy_looks_strong_to_every_formula() -> None:
    log = simulated("observed", 2, 20_000)
    counted, value = who_did_and_converted(log.events, WORLDS["observed"].micros, MACRO, 30.0)
    share = formulas(counted, value).loc["share"]
    assert abs(true_value("observed", "share", "incremental_value")) < 0.05
    assert share["naive_value"] > 25
    assert share["naive_lift"] > 0.15
    assert share["odds_ratio"] > 2
    assert share["lift"] > 1.6
    assert share["phi"] > 0.15
    # ... in an order of the micros that is not the true one.
    effects = truth_of("observed")["incremental"]
    assert all(a > b for a, b in pairwise(effects))
    assert share["naive_value"] > formulas(counted, value).loc["newsletter_signup", "naive_value"]
