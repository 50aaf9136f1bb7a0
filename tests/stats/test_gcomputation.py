"""The total effect: against matrix exponentials, finite differences, the exact chain of a world and simulated logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference.chains import known, solved

import microconv as mc
from microconv import stats
from microconv.errors import ParameterError
from microconv.journeys import journey_rule
from microconv.reduce.entrants import people
from microconv.reduce.process_counts import count_processes, process_cuts
from microconv.reduce.revenue import payments, worth_by_pattern
from microconv.reduce.states import HALVES_PER_DAY, done_or_not, moments
from microconv.simulate import World, confounded_world, strong_world
from microconv.simulate.exact import chain_of, exact_curve
from microconv.simulate.model import model_of
from microconv.stats._chain import Columns, solve
from microconv.stats._generator import arm_of
from microconv.stats.effects import BY_TIME, Effect
from microconv.stats.intensity_fit import Intensities
from microconv.stats.worth import MeanWorth

COLUMNS = {"video": 1, "cart": 1, "visits": 3}
CUTS = (1 / 72, 0.6, 4.0)
BASE = {
    "buy": (40.0, 1.0, 0.1, 0.02),
    "leave": (5.0, 0.5, 0.1, 0.1),
    "+video": (300.0, 1.0, 0.1, 0.05),
    "+cart": (60.0, 0.8, 0.1, 0.03),
    "+visits": (0.5, 0.9, 0.4, 0.2),
}
RATIO = {
    "buy": {"video": 1.5, "cart": 4.0, "visits": 1.3},
    "leave": {"video": 0.7, "visits": 0.9},
    "+cart": {"video": 3.0},
    "+visits": {"cart": 1.4},
}


def rate(process: str, state: Mapping[str, int], cell: str, interval: int) -> float:
    found = BASE[process][interval] * (1.8 if cell == "high" else 1.0)
    for name, level in state.items():
        if process != f"+{name}":
            found *= RATIO.get(process, {}).get(name, 1.0) ** level
    return found


@pytest.fixture(scope="module")
def chain() -> Intensities:
    return known(COLUMNS, ["high", "low"], CUTS, ["buy", "leave"], rate, days=2e3)


DOERS = pd.DataFrame(
    {
        "age_days": [0.001, 0.2, 0.2, 0.2, 3.0, 9.0, 40.0],
        "users": [40, 25, 10, 5, 12, 6, 3],
        "cart": [0, 0, 1, 1, 0, 1, 0],
        "visits": [0, 1, 0, 3, 2, 2, 1],
        "segment": ["low", "high", "low", "high", "low", "low", "high"],
    }
)
HORIZON = 5.0
MONEY = np.random.default_rng(1).uniform(20, 90, (2, 16))


def by_hand(chain: Intensities, doers: pd.DataFrame, horizon: float, since: tuple[float, ...] = ()) -> np.ndarray:
    """For each doer the chance in both arms: (doers, arms)."""
    cells = list(chain.cells["segment"])
    rows = []
    for row in doers.to_dict("records"):
        start = {"video": 0, **{name: row[name] for name in chain.columns if name != "video"}}
        age = row["age_days"]
        cell = cells.index(row["segment"])
        ends = [solved(chain, "video", start, cell, age, age + horizon, done, since) for done in (True, False)]
        rows.append([end[-2] for end in ends])
    return np.array(rows)


def test_chances_are_those_of_matrix_exponentials(chain: Intensities) -> None:
    found = stats.total_effect(chain, DOERS, "video", HORIZON, at_days=[0.5, 2.0])
    weight = DOERS["users"] / DOERS["users"].sum()
    assert list(found.by_time["within_days"]) == [0.5, 2.0, 5.0]
    for row in found.by_time.to_dict("records"):
        done, never = weight @ by_hand(chain, DOERS, row["within_days"])
        assert (row["done"], row["never"]) == pytest.approx((done, never), abs=2e-7)
        assert row["incremental"] == pytest.approx(done - never, abs=2e-7)
    last = found.by_time.iloc[-1]
    assert (found.done, found.never, found.incremental, found.se) == tuple(last[list(BY_TIME[1:5])])
    assert np.isnan([found.incremental_value, found.value_se]).all()
    assert found.users == DOERS["users"].sum()
    assert found.left_out == 0


def test_money_is_worth_times_the_chance_to_convert_in_each_state(chain: Intensities) -> None:
    found = stats.total_effect(chain, DOERS, "video", HORIZON, value=np.full((2, 16), 30.0))
    assert found.value_done == pytest.approx(30 * found.done, rel=1e-6)
    assert found.incremental_value == pytest.approx(30 * found.incremental, rel=1e-6)
    assert found.value_se == pytest.approx(30 * found.se, rel=1e-6)
    # Of a chance to convert in one state alone the money is that chance.
    split = [np.where(np.arange(16) == state, 1.0, 0.0) * np.ones((2, 1)) for state in range(16)]
    parts = [stats.total_effect(chain, DOERS, "video", HORIZON, value=part).value_never for part in split]
    assert sum(parts) == pytest.approx(found.never, abs=1e-6)
    mixed = stats.total_effect(chain, DOERS, "video", HORIZON, value=np.ones((2, 1)) * np.arange(16.0))
    assert mixed.value_never == pytest.approx(sum(state * part for state, part in enumerate(parts)), abs=1e-5)


def moved(chain: Intensities, name: str, parameter: int, by: float) -> Intensities:
    """The same intensities with one parameter of one process changed."""
    one = chain.process(name)
    many = int(one.fit.known.sum())
    intercept, coef = one.fit.intercept.copy(), one.fit.coef.copy()
    if parameter < many:
        intercept[np.flatnonzero(one.fit.known)[parameter]] += by
    else:
        coef[parameter - many] += by
    fit = replace(one.fit, intercept=intercept, coef=coef)
    return replace(chain, processes={**chain.processes, name: replace(one, fit=fit)})


def test_errors_are_those_of_finite_differences(chain: Intensities) -> None:
    worth = MeanWorth(MONEY, np.zeros((16, 0)), np.zeros((2, 0)), np.array([[0.01]]), pd.DataFrame())

    def effect(one: Intensities, money: np.ndarray = MONEY) -> np.ndarray:
        found = stats.total_effect(one, DOERS, "video", HORIZON, value=money)
        return np.array([found.done, found.never, found.value_done, found.value_never])

    covariance = np.zeros((4, 4))
    for name, one in chain.processes.items():
        size = int(one.fit.known.sum()) + len(one.fit.coef)
        slopes = [
            (effect(moved(chain, str(name), k, 1e-4)) - effect(moved(chain, str(name), k, -1e-4))) / 2e-4
            for k in range(size)
        ]
        covariance += np.array(slopes).T @ one.fit.covariance @ np.array(slopes)
    weight = DOERS["users"].to_numpy() / DOERS["users"].sum()
    each = by_hand(chain, DOERS, HORIZON)
    sampling = np.cov(each.T, aweights=weight, bias=True) / DOERS["users"].sum()
    found = stats.total_effect(chain, DOERS, "video", HORIZON, value=worth)
    # Slopes are integrals over steps: to within some thousandths.
    many = stats.total_effect(chain, DOERS.assign(users=DOERS["users"] * 1e12), "video", HORIZON, value=MONEY)
    assert many.covariance == pytest.approx(covariance[:2, :2], rel=5e-3)
    assert found.covariance - many.covariance == pytest.approx(sampling, rel=1e-6)
    assert found.se**2 == pytest.approx(np.array([1, -1]) @ found.covariance @ np.array([1, -1]))
    slope = np.array([0, 0, 1, -1])
    assert many.value_se**2 == pytest.approx(slope @ covariance @ slope, rel=5e-3)
    # And with a worth whose scale is uncertain.
    known_worth = stats.total_effect(chain, DOERS, "video", HORIZON, value=MONEY)
    assert known_worth.value_se > many.value_se
    assert found.value_se**2 - known_worth.value_se**2 == pytest.approx(0.01 * found.incremental_value**2, rel=5e-3)


def test_few_bins_of_age_do(chain: Intensities) -> None:
    rng = np.random.default_rng(7)
    age = np.sort(rng.exponential(6.0, 500))
    doers = pd.DataFrame({"age_days": age, "users": 1, "cart": 0, "visits": rng.integers(0, 3, 500), "segment": "low"})
    exact = stats.total_effect(chain, doers, "video", HORIZON, ages=500)
    assert stats.total_effect(chain, doers, "video", HORIZON).incremental == pytest.approx(exact.incremental, abs=5e-4)
    assert exact.detail["ages"] == 500


def test_doers_beyond_the_age_limit_are_left_out(chain: Intensities) -> None:
    found = stats.total_effect(chain, DOERS, "video", HORIZON, age_limit_days=14.0)
    near = stats.total_effect(chain, DOERS[DOERS["age_days"] <= 9], "video", HORIZON)
    assert found.left_out == pytest.approx(3 / 101)
    assert found.incremental == near.incremental
    nobody = stats.total_effect(chain, DOERS, "video", HORIZON, age_limit_days=1.0)
    assert nobody.left_out == 1
    assert np.isnan([nobody.incremental, nobody.se]).all()
    assert np.isnan(nobody.risk_ratio()).all()
    # At risk at the horizon: 2,000 days in each of 2 cells and 8 states, in the interval from 4 to the limit of 14.
    only = stats.total_effect(chain, DOERS[DOERS["age_days"] == 9], "video", HORIZON, age_limit_days=14.0)
    assert only.effective_done == only.effective_never == pytest.approx(8 * 2e3 / 10)


def test_an_impossible_question(chain: Intensities) -> None:
    for message, options in (
        ("'vide'.*'video'", {"column": "vide"}),
        ("horizon_days=0", {"horizon_days": 0}),
        ("none beyond the horizon", {"at_days": [6.0]}),
        ("shape", {"value": np.ones((2, 3))}),
    ):
        with pytest.raises(ParameterError, match=message):
            stats.total_effect(chain, DOERS, **({"column": "video", "horizon_days": HORIZON} | options))
    with pytest.raises(ParameterError, match="attributes that nobody"):
        stats.total_effect(chain, DOERS.assign(segment="none"), "video", HORIZON)


# --- Time since the action ---


SINCE = (0.4, 2.0)


@pytest.fixture(scope="module")
def fading() -> Intensities:
    def fading_rate(process: str, state: Mapping[str, int], cell: str, interval: int) -> float:
        if process == "+video" and state["video"]:
            return 0.0
        found = BASE[process][interval] * (1.8 if cell == "high" else 1.0) * (3.0 if state["cart"] else 1.0)
        return found * (1.0, 5.0, 2.0, 0.8)[state["video"]] if process in ("buy", "+cart") else found

    return known({"cart": 1, "video": 3}, ["high", "low"], CUTS, ["buy", "leave"], fading_rate, 2e3, {"video": SINCE})


def test_rates_that_change_with_the_time_since_the_action(fading: Intensities) -> None:
    doers = DOERS.drop(columns="visits")
    for horizon in (0.3, 1.5, 5.0):
        found = stats.total_effect(fading, doers, "video", horizon)
        weight = doers["users"] / doers["users"].sum()
        done, never = weight @ by_hand(fading, doers, horizon, SINCE)
        assert (found.done, found.never) == pytest.approx((done, never), abs=2e-7)
        many = stats.total_effect(fading, doers.assign(users=doers["users"] * 1e12), "video", horizon)
        covariance = np.zeros((2, 2))
        for name, one in fading.processes.items():
            sizes = int(one.fit.known.sum()) + len(one.fit.coef)
            ends = [
                [stats.total_effect(moved(fading, str(name), k, by), doers, "video", horizon) for by in (1e-4, -1e-4)]
                for k in range(sizes)
            ]
            slopes = np.array([[up.done - down.done, up.never - down.never] for up, down in ends]) / 2e-4
            covariance += slopes.T @ one.fit.covariance @ slopes
        assert many.covariance == pytest.approx(covariance, rel=5e-3)
    assert found.detail["since_days"] == SINCE


def test_only_the_column_in_question_can_grow_older(fading: Intensities) -> None:
    with pytest.raises(ParameterError, match=r"'video'.*'cart'"):
        stats.total_effect(fading, DOERS, "cart", HORIZON)
    with pytest.raises(ParameterError, match="as many ascending days as the column has levels above 1, 2"):
        known({"cart": 1, "video": 3}, ["low"], CUTS, ["buy"], lambda *_: 0.1, since={"video": (2.0, 1.0)})
    with pytest.raises(ParameterError, match="'vide'"):
        known({"cart": 1, "video": 3}, ["low"], CUTS, ["buy"], lambda *_: 0.1, since={"vide": SINCE})


# --- Worlds ----------------------------------------------------------------------------------------------------------


def of_world(world: World) -> Intensities:
    """The planted rates of a world; a segment is interest and device."""
    micros = {micro.name: micro for micro in world.micros}
    needs = {end.name: end.requires for end in world.competing}
    assert world.intent is not None
    device = next(trait for trait in world.traits if trait.column == "device")

    def planted(process: str, state: Mapping[str, int], cell: str, interval: int) -> float:
        name = process.removeprefix("+")
        ends = {end.name: end for end in world.competing}
        part = micros.get(name) or ends.get(name) or world.macro
        found = part.rate_per_day
        assert isinstance(found, float)
        interest, on = cell.split()
        if interest == "high" and name not in ends:
            found *= part.intent_effect  # type: ignore[union-attr]
        found *= device.effects.get(name, {}).get(on, 1.0)
        for other, level in state.items():
            if level and other != name:
                found *= micros[other].hazard_ratio if name == world.macro.name else micros[other].causes.get(name, 1.0)
        return 0.0 if needs.get(name) and not state[needs[name]] else found

    cells = [f"{interest} {on}" for interest in ("low", "high") for on in device.shares]
    causes = [world.macro.name, *[end.name for end in world.competing]]
    return known(dict.fromkeys(micros, 1), cells, [3.0], causes, planted)


@pytest.mark.parametrize("world", [strong_world(), confounded_world()], ids=lambda world: world.name)
def test_chances_from_entry_on_are_those_of_the_exact_chain(world: World) -> None:
    chain = of_world(world)
    times = [1.0, 10.0, 30.0]
    expected = exact_curve(chain_of(model_of(world)), times).incidence[:, 0]  # type: ignore[arg-type]
    levels = {name: np.arange(most + 1) for name, most in chain.columns.items()}
    arm = arm_of(chain, np.arange(4), levels, None, None)
    share = {"low": 0.7, "high": 0.3, "desktop": 0.4, "mobile": 0.6}
    starts = np.zeros((arm.rows, 1))
    for number, cell in enumerate(chain.cells["segment"]):
        interest, on = cell.split()
        starts[number * len(arm.states), 0] = share[interest] * share[on]
    output = np.arange(3)
    asked = Columns(np.zeros(1), np.zeros(3, dtype=int), np.array(times), output, np.zeros(3, dtype=bool))
    assert starts[:, 0] @ solve([arm], [0.0], asked, starts, 3).value == pytest.approx(expected, abs=1e-6)


def test_the_planted_rates_give_the_planted_effects() -> None:
    world = strong_world()
    chain = of_world(world)
    log = mc.simulate(4_000, 3, world=world)
    users = log.users
    truth = log.truth.incremental("14D", replicates=12).set_index("micro")
    names = [micro.name for micro in world.micros]
    for name in names:
        at = users[f"{name}_days"]
        # Competing ends, too, end the journey before the action.
        acts = users[at.notna() & ((at < users["stop_days"]) | users["cause"].eq("censored"))]
        doers = pd.DataFrame(
            {
                "age_days": acts[f"{name}_days"],
                "users": 1,
                **{
                    other: (acts[f"{other}_days"] < acts[f"{name}_days"]).astype(int)
                    for other in names
                    if other != name
                },
                "segment": acts["interest"].astype(str) + " " + acts["device"].astype(str),
            }
        )
        found = stats.total_effect(chain, doers, name, 14.0, ages=len(doers))
        assert len(doers) == truth.loc[name, "doers"]
        for mine, planted in ((found.done, "probability_done"), (found.never, "probability_never")):
            assert mine == pytest.approx(truth.loc[name, planted], abs=4 * 0.5 / np.sqrt(12 * len(doers)))
        assert found.incremental == pytest.approx(truth.loc[name, "incremental"], abs=4 * truth.loc[name, "se"])


def estimated(world: World, users: int, seed: int, horizon: float) -> tuple[dict[str, Effect], Any]:
    """Every micro's effect from a simulated log, adjusted for what the log shows, and the truth."""
    simulated = mc.simulate(users, seed, world=world)
    log = mc.read_events(simulated.events, plan=simulated.plan_mapping, observed_until=simulated.observed_until)
    assert log.plan is not None
    names = [micro.name for micro in log.plan.micros]
    rule, layout = journey_rule(log, None, "entry", None, None), done_or_not(names)
    who = people(log, rule, log.plan.micros, ["interest", "device"])
    marked = moments(who, layout)
    limit = float(log.engine.fetch(who.table.agg(last=who.table.stop.max()))["last"][0]) / HALVES_PER_DAY
    latest = int((limit - horizon) * HALVES_PER_DAY)
    counted = count_processes(who, layout, marked, process_cuts(who, marked, layout, 24), latest)
    fitted = stats.intensities(counted.exposures, dict.fromkeys(names, 1), ["interest", "device"])
    worth = stats.mean_worth(worth_by_pattern(who, marked, layout, payments(log, rule.target)), fitted)
    found = {
        name: stats.total_effect(fitted, counted.doers[name], name, horizon, value=worth, age_limit_days=limit)
        for name in names
    }
    truth = simulated.truth.incremental(f"{horizon:g}D", until_age=f"{limit - horizon:.6f}D", replicates=4)
    return found, truth.set_index("micro")


@pytest.mark.parametrize(
    ("world", "horizon"), [(strong_world(), 14.0), (confounded_world(), 30.0)], ids=["strong", "confounded"]
)
def test_planted_effects_are_found_again(world: World, horizon: float) -> None:
    found, truth = estimated(world, 20_000, 6, horizon)
    errors = np.array([one.incremental - truth.loc[name, "incremental"] for name, one in found.items()])
    assert np.abs(errors).max() < 0.012
    assert np.abs(errors).mean() < 0.006
    for name, one in found.items():
        assert one.users == pytest.approx(truth.loc[name, "doers"], abs=2)
        cents = one.incremental_value - 100 * truth.loc[name, "incremental_value"]
        assert abs(cents) < 3.3 * np.hypot(one.value_se, 100 * truth.loc[name, "value_se"])
        assert 0.002 < one.se < 0.01


def test_who_does_it_on_entering_is_a_doer_like_others() -> None:
    """Two fifths do it at time zero, where nobody has spent any time yet; the others now and then."""
    rng = np.random.default_rng(3)
    many = 8_000
    action = np.where(rng.random(many) < 0.4, 0.0, rng.exponential(1 / 0.02, many))
    before, after = rng.exponential(1 / 0.05, many), rng.exponential(1 / 0.15, many)
    macro = np.where(before < action, before, action + after)
    user = np.array([f"u{number}" for number in range(many)])
    parts = [pd.DataFrame({"user_id": user, "at": 0.0, "event": np.where(action == 0, "form", "visit")})]
    for at, event, seen in ((action, "form", (action > 0) & (action < macro)), (macro, "buy", macro < 60)):
        parts.append(pd.DataFrame({"user_id": user, "at": at, "event": event})[seen & (at < 60)])
    events = pd.concat(parts)
    start = pd.Timestamp("2026-01-01", tz="UTC")
    events["time"] = start + pd.to_timedelta((events.pop("at") * 86_400e6).round(), unit="us")
    plan = {"macros": [{"name": "buy", "event": "buy"}], "micros": [{"name": "form", "kind": "form", "event": "form"}]}
    log = mc.read_events(events, plan=plan, observed_until=start + pd.Timedelta("60D"))
    assert log.plan is not None
    who = people(log, journey_rule(log, None, "entry", None, None), log.plan.micros, [])
    layout = done_or_not(["form"])
    marked = moments(who, layout)
    latest = int(46 * HALVES_PER_DAY)
    counted = count_processes(who, layout, marked, process_cuts(who, marked, layout, 20), latest)
    at_once = counted.doers["form"].iloc[0]
    assert at_once["users"] == (action == 0).sum()
    fitted = stats.intensities(counted.exposures, {"form": 1})
    found = stats.total_effect(fitted, counted.doers["form"], "form", 14.0, age_limit_days=60.0)
    assert abs(found.done - (1 - np.exp(-0.15 * 14))) < 3.3 * np.sqrt(found.covariance[0, 0])
    assert abs(found.never - (1 - np.exp(-0.05 * 14))) < 3.3 * np.sqrt(found.covariance[1, 1])
    late = (action < macro) & (action < 60) & (action > 46)
    assert found.left_out == pytest.approx(late.sum() / ((action < macro) & (action < 60)).sum())
