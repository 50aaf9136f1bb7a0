"""The additive hazard of touches: planted causes, a second opinion, its conditions, its edges, what it keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from touch_worlds import FOUR, TouchLog, simulated

from microconv.errors import ParameterError
from microconv.plan import End
from microconv.reduce.money import RevenueTerms
from microconv.reduce.path_rules import PathRule
from microconv.reduce.paths import path_sums
from microconv.reduce.touch_exposures import touch_exposures
from microconv.stats import additive_hazards, credited
from microconv.touch_sums import TouchSums

DAY = 86_400_000_000
RULE = PathRule(target=End(name="purchase", event="purchase"), lookback=30 * DAY, terms=RevenueTerms(value="value"))
HALVES = (DAY, 3 * DAY, 7 * DAY, 14 * DAY)
THREE = 3.0


@pytest.fixture(scope="module")
def planted() -> TouchLog:
    return simulated(FOUR, 12_000, seed=3)


@pytest.fixture(scope="module")
def sums(planted: TouchLog) -> TouchSums:
    return touch_exposures(planted.log(), RULE, HALVES)


def table_of(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("channel")


def test_planted_coefficients_and_causes_are_found(planted: TouchLog, sums: TouchSums) -> None:
    fit = additive_hazards(sums)
    assert fit.half_life_days == THREE
    found = table_of(fit.coefficients)
    assert np.abs((found["coef"] - FOUR.coef) / found["se"]).max() < 3.3
    np.testing.assert_allclose(found["per_touch"], found["coef"] * 3 / np.log(2))
    credits, truth = table_of(fit.credits()), planted.truth()
    credits = credits.loc[truth.index]
    assert ((credits["ci_low"] <= truth) & (truth <= credits["ci_high"])).all()
    share = truth / truth.sum()
    assert (credits["share"] - share).abs().max() < 0.03


def test_a_channel_without_effect_gets_about_nothing_where_last_touch_gives_it_its_touches(
    planted: TouchLog, sums: TouchSums
) -> None:
    total = sums.totals["conversions"].sum()
    credits = table_of(additive_hazards(sums, half_life_days=THREE).credits())
    assert credits.loc["display", "conversions"] < 0.03 * total
    assert credits.loc["display", "ci_low"] == 0
    last = table_of(credited(path_sums(planted.log(), RULE, rules=("last",)).sums, ["last"], replicates=200))
    assert last.loc["display", "conversions"] > 0.25 * total


def test_parts_add_up_and_the_conditions_of_the_maximum_hold(sums: TouchSums) -> None:
    fit = additive_hazards(sums)
    assert fit.violation < 1e-9
    credits = fit.credits()
    for column in ("conversions", "value"):
        assert credits[column].sum() == pytest.approx(sums.totals[column].sum(), rel=1e-9)
    assert (credits["conversions"] >= 0).all()
    inside = (credits["ci_low"] <= credits["conversions"]) & (credits["conversions"] <= credits["ci_high"])
    assert inside.all()
    # At the maximum what is credited to a channel is what its coefficient brings over its exposure.
    found = fit.coefficients
    brought = found["coef"] * found["exposure_days"]
    np.testing.assert_allclose(credits["conversions"][: len(found)], brought, rtol=1e-7, atol=1e-6)
    rates = fit.baseline
    brought_anyway = (rates["rate_per_day"] * rates["person_days"]).sum()
    assert table_of(credits).loc["(baseline)", "conversions"] == pytest.approx(brought_anyway, rel=1e-7)


def test_no_other_parts_are_more_likely() -> None:
    from scipy.optimize import minimize

    small = touch_exposures(simulated(FOUR, 1_500, seed=8).log(), RULE, [3 * DAY], intervals=3)
    fit = additive_hazards(small)
    days, z = fit.terms.exposure.sum(axis=0), fit.terms.z.toarray()

    def loss(parts: np.ndarray) -> tuple[float, np.ndarray]:
        rate = z @ (parts / days)
        return float(parts.sum() - np.log(rate).sum()), 1.0 - (z / rate[:, None]).sum(axis=0) / days

    start = np.full(len(days), len(z) / len(days))
    other = minimize(
        loss, start, jac=True, bounds=[(1e-9, None)] * len(days), options={"maxiter": 2_000, "ftol": 1e-15}
    )
    assert -other.fun <= fit.log_likelihood + 1e-6
    assert -other.fun == pytest.approx(fit.log_likelihood, abs=1e-3)
    np.testing.assert_allclose(other.x, fit.parts, atol=0.5)


def test_poisson_regression_on_a_fine_grid_agrees() -> None:
    """The same model by statsmodels: conversions in steps of time, identity link, one baseline, no bounds."""
    import statsmodels.api as sm
    from statsmodels.genmod.generalized_linear_model import DomainWarning

    world = replace(FOUR, baseline=(0.01,) * 4, early=1.0, coef=(0.02, 0.03, 0.05, 0.04))
    planted = simulated(world, 2_500, seed=4)
    found = touch_exposures(planted.log(), RULE, [3 * DAY], intervals=1)
    fit = additive_hazards(found, least=10**9)  # one baseline
    assert set(fit.baseline["entry"]) == {"(any)"}
    y, x = _grid(planted, step=0.25)
    with pytest.warns(DomainWarning, match="Identity"):  # rates below 0 are possible there: not in this log
        glm = sm.GLM(y, x, family=sm.families.Poisson(sm.families.links.Identity()))
    result = glm.fit(start_params=np.full(5, y.sum() / x.sum()), tol=1e-12)
    own = table_of(fit.coefficients)
    np.testing.assert_allclose(result.params[1:], own["coef"], rtol=1e-3)
    np.testing.assert_allclose(result.bse[1:], own["se"], rtol=0.15)  # robust here, by the model there
    assert result.params[0] == pytest.approx(fit.baseline["rate_per_day"][0], rel=1e-3)


def _grid(planted: TouchLog, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Conversions and integrals of the covariates by user and step of time since the first touch, by plain loops. The
    last step is of seconds, so that the rate in it is the rate at the conversion.
    """
    frame, world = planted.frame, planted.world
    start = pd.Timestamp("2026-01-01", tz="UTC")
    frame = frame.assign(day=(frame["time"] - start) / pd.Timedelta(1, unit="D"))
    ys, xs = [], []
    for _, own in frame.groupby("user_id"):
        touches, bought = own[own["event"] == "visit"], own.loc[own["event"] == "purchase", "day"]
        first, end = touches["day"].min(), bought.min() if len(bought) else world.days
        edges = np.append(np.arange(first, end - 1e-4, step), [max(end - 1e-4, first), end])
        low, high = edges[:-1], edges[1:]
        x = np.zeros((len(low), 1 + len(world.channels)))
        x[:, 0] = high - low
        for day, channel in zip(touches["day"], touches["channel"], strict=True):
            since, until = np.maximum(low, day) - day, np.maximum(high, day) - day
            acts = (2 ** (-since / 3) - 2 ** (-until / 3)) * 3 / np.log(2)
            x[:, 1 + world.channels.index(channel)] += acts
        y = np.zeros(len(low))
        y[-1] = len(bought)
        ys.append(y)
        xs.append(x)
    return np.concatenate(ys), np.concatenate(xs)


def test_the_end_of_observation_does_not_bias(planted: TouchLog, sums: TouchSums) -> None:
    # A model that took users whose time is not up for failures would see touches do less in a log that ends early.
    shorter = simulated(replace(FOUR, days=26.0), 12_000, seed=5)
    one = table_of(additive_hazards(sums).coefficients)
    two = table_of(additive_hazards(touch_exposures(shorter.log(), RULE, [3 * DAY])).coefficients)
    assert ((one["coef"] - two["coef"]).abs() < 3.3 * np.hypot(one["se"], two["se"])).all()
    assert len(shorter.cause) < 0.8 * len(planted.cause)


def test_a_channel_that_only_ever_comes_first_is_not_told_from_who_comes_by_it() -> None:
    world = replace(FOUR, touches=(0.15, 0.10, 0.05, 0.0))
    found = touch_exposures(simulated(world, 3_000, seed=6).log(), RULE, [3 * DAY])
    fit = additive_hazards(found)
    assert fit.untold == ("social",)
    credits = table_of(fit.credits())
    assert np.isnan(credits.loc["social", ["conversions", "ci_low", "rank"]].astype(float)).all()
    assert np.isnan(table_of(fit.coefficients).loc["social", "coef"])
    assert credits["conversions"].sum() == pytest.approx(found.totals["conversions"].sum())


def test_channels_that_are_always_touched_together_share_alike(planted: TouchLog) -> None:
    search = planted.frame[planted.frame["channel"] == "search"]
    twins = replace(planted, frame=pd.concat([planted.frame, search.assign(channel="twin")], ignore_index=True))
    fit = additive_hazards(touch_exposures(twins.log(), RULE, [3 * DAY]))
    alone = additive_hazards(touch_exposures(planted.log(), RULE, [3 * DAY]))
    assert set(fit.entangled) == {"search", "twin"}
    both, one = table_of(fit.credits()), table_of(alone.credits())
    assert both.loc["search", "conversions"] == pytest.approx(both.loc["twin", "conversions"], rel=1e-6)
    assert both.loc[["search", "twin"], "conversions"].sum() == pytest.approx(
        one.loc["search", "conversions"], rel=1e-6
    )
    assert np.isnan(both.loc["twin", "ci_low"])
    assert both.loc["email", "ci_high"] == pytest.approx(one.loc["email", "ci_high"], rel=1e-6)


def test_names_and_order_do_not_matter(planted: TouchLog, sums: TouchSums) -> None:
    names = {"display": "z", "email": "y", "search": "x", "social": "w"}
    frame = planted.frame.sample(frac=1, random_state=2)
    other = replace(planted, frame=frame.assign(channel=frame["channel"].map(names)))
    one = table_of(additive_hazards(sums).credits()).rename(names)
    two = table_of(additive_hazards(touch_exposures(other.log(), RULE, HALVES)).credits())
    pd.testing.assert_frame_equal(one, two.loc[one.index], rtol=1e-6)


def test_a_sample_of_conversions_finds_the_same_within_its_errors(planted: TouchLog, sums: TouchSums) -> None:
    part = touch_exposures(planted.log(), RULE, [3 * DAY], most=2_000)
    assert part.sampled < 0.5
    one, two = table_of(additive_hazards(sums).credits()), table_of(additive_hazards(part).credits())
    assert two["conversions"].sum() == pytest.approx(one["conversions"].sum())
    assert two["value"].sum() == pytest.approx(one["value"].sum())
    width = two["ci_high"] - two["ci_low"]
    assert ((one["conversions"] - two["conversions"]).abs() < width).all()
    effective = ["email", "search", "social"]
    assert (width[effective] > (one["ci_high"] - one["ci_low"])[effective]).all()


def test_conversions_before_any_touch_and_second_ones_are_not_attributed() -> None:
    planted = simulated(FOUR, 800, seed=2)
    bought = planted.frame[planted.frame["event"] == "purchase"]
    bare = bought.head(10).assign(user_id=[f"bare{n}" for n in range(10)])
    second = bought.head(25).assign(time=bought["time"].head(25) + pd.Timedelta(1, unit="s"))
    frame = pd.concat([planted.frame, bare, second], ignore_index=True)
    sums = touch_exposures(replace(planted, frame=frame).log(), RULE, [3 * DAY])
    credits = table_of(additive_hazards(sums).credits())
    assert credits.loc["(unattributed)", "conversions"] == 35
    assert credits.loc["(unattributed)", "value"] == pytest.approx(bare["value"].sum() + second["value"].sum())
    assert credits["conversions"].sum() == len(bought) + 35


def test_one_conversion_is_divided_among_its_touches(sums: TouchSums) -> None:
    fit = additive_hazards(sums)
    shares = fit.shares("email", 5.0, [("email", 5.0), ("search", 1.0), ("search", 0.0)])
    assert list(shares["channel"]) == ["(baseline)", "email", "search", "search"]
    assert shares["share"].sum() == pytest.approx(1)
    coef = table_of(fit.coefficients)["coef"]
    expected = [coef["email"] * 2 ** (-5 / 3), coef["search"] * 2 ** (-1 / 3), coef["search"]]
    np.testing.assert_allclose(shares["rate_per_day"][1:], expected)
    cell = fit.baseline.query("entry == 'email' and from_days < 5 <= to_days")["rate_per_day"].item()
    assert shares["rate_per_day"][0] == pytest.approx(cell)
    with pytest.raises(ParameterError, match="emial"):
        fit.shares("emial", 5.0, [])


def test_all_conversions_divided_one_by_one_give_the_credits() -> None:
    planted = simulated(FOUR, 600, seed=11)
    fit = additive_hazards(touch_exposures(planted.log(), RULE, [3 * DAY], intervals=3), least=5)
    totals = dict.fromkeys([*FOUR.channels, "(baseline)"], 0.0)
    for _, own in planted.frame.groupby("user_id"):
        bought = own.loc[own["event"] == "purchase", "time"]
        if bought.empty:
            continue
        touches = own[own["event"] == "visit"].sort_values("time")
        ages = (bought.iloc[0] - touches["time"]) / pd.Timedelta(1, unit="D")
        parts = fit.shares(touches["channel"].iloc[0], ages.iloc[0], list(zip(touches["channel"], ages, strict=True)))
        for channel, share in zip(parts["channel"], parts["share"], strict=True):
            totals[channel] += share
    credits = table_of(fit.credits())["conversions"]
    for channel, total in totals.items():
        assert credits[channel] == pytest.approx(total, abs=1e-7)


def test_edges() -> None:
    planted = simulated(FOUR, 300, seed=1)
    with pytest.raises(ParameterError, match="half_life_days"):
        additive_hazards(touch_exposures(planted.log(), RULE, [DAY]), half_life_days=2.0)
    with pytest.raises(ParameterError, match="least"):
        additive_hazards(touch_exposures(planted.log(), RULE, [DAY]), least=0)
    # A purchase of somebody without a touch is the only one.
    visits = planted.frame[planted.frame["event"] == "visit"]
    bare = planted.frame[planted.frame["event"] == "purchase"].head(1).assign(user_id="nobody")
    nothing = additive_hazards(touch_exposures(replace(planted, frame=pd.concat([visits, bare])).log(), RULE, [DAY]))
    credits = table_of(nothing.credits())["conversions"]
    assert credits["(unattributed)"] == 1
    assert credits.drop("(unattributed)").sum() == 0
    # Everybody converts at the instant of their only touch: no time in which a rate could act.
    first = visits.drop_duplicates("user_id")
    at_once = pd.concat([first, first.assign(event="purchase", channel=None, value=1.0)])
    users = at_once.assign(time=pd.Timestamp("2026-01-05", tz="UTC"))
    sums = touch_exposures(replace(planted, frame=users).log(), RULE, [DAY])
    with pytest.raises(ParameterError, match="at risk for any time"):
        additive_hazards(sums)
