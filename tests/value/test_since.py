"""since= of mc.micro_value: effects that fade, on logs whose truth is planted, and by hand from the parts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.durations import MICROS_PER_DAY
from microconv.reduce.entrants import age_limit, people
from microconv.reduce.process_counts import by_time_since, count_processes, process_cuts
from microconv.reduce.states import HALVES_PER_DAY, done_or_not, moments
from microconv.simulate import Calendar, Macro, Micro, OrderValue, SimulatedLog, World
from microconv.stats import total_effect
from microconv.stats.intensity_fit import intensities
from microconv.value.asking import ask

HORIZON = "14D"
CALENDAR = Calendar(entries_over="60D", follow_up="30D")


def world_of(fade_days: float | None) -> World:
    return World(
        "guides",
        Macro("purchase", 0.01, value=OrderValue(60.0, 0.6)),
        (
            Micro("guide", "content", 0.03, 8.0 if fade_days else 3.0, fade_days=fade_days),
            Micro("cart", "intent", 0.03, 3.0),
        ),
        horizon=HORIZON,
        calendar=CALENDAR,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fading() -> SimulatedLog:
    return mc.simulate(8_000, 7, world=world_of(3.0))


@pytest.fixture(scope="module")
def told(fading: SimulatedLog) -> mc.Result:
    return mc.micro_value(fading.read(), horizon=HORIZON, since="auto")


@pytest.fixture(scope="module")
def plain(fading: SimulatedLog) -> mc.Result:
    return mc.micro_value(fading.read(), horizon=HORIZON)


def row_of(result: mc.Result, micro: str, method: str) -> pd.Series:
    return result.methods.set_index(["micro", "method"]).loc[(micro, method)]


def test_a_fading_effect_is_found_where_one_factor_misses_it(
    fading: SimulatedLog, plain: mc.Result, told: mc.Result
) -> None:
    truth = fading.truth.incremental(HORIZON, replicates=20).set_index("micro").loc["guide"]
    one, aged, trials = (
        row_of(plain, "guide", "hazard"),
        row_of(told, "guide", "hazard"),
        row_of(told, "guide", "trials"),
    )
    assert truth["incremental"] - one["incremental"] > 4 * one["se"]
    assert abs(aged["incremental"] - truth["incremental"]) < 3 * aged["se"]
    assert abs(aged["incremental_value"] - truth["incremental_value"]) < 3 * aged["value_se"]
    assert abs(aged["incremental"] - trials["incremental"]) < 1.96 * trials["se"]
    assert aged["se"] < 1.5 * one["se"]


def test_the_trials_are_as_they_were(plain: mc.Result, told: mc.Result) -> None:
    trials = [result.methods.query("method == 'trials'").reset_index(drop=True) for result in (plain, told)]
    pd.testing.assert_frame_equal(*trials)


def test_that_methods_disagree_leads_to_since(plain: mc.Result, told: mc.Result) -> None:
    said = [warning for warning in plain.warnings if "the two methods disagree" in warning]
    assert any(warning.startswith("guide") and "since='auto'" in warning for warning in said)
    assert not any("guide: the two methods disagree" in warning for warning in told.warnings)


def test_it_says_what_was_used(plain: mc.Result, told: mc.Result) -> None:
    assert (plain.parameters["since"], told.parameters["since"]) == ([], "auto")
    assert any("the same at all times after it" in text for text in plain.assumptions)
    assert any("told apart by the time since it (cuts: chosen" in text for text in told.assumptions)
    assert "since" not in plain.extra
    guide = told.since[told.since["micro"] == "guide"]
    early, late = (guide["since_to_days"] <= 2.0, guide["since_from_days"] >= 4.0)
    assert early.any()
    assert late.any()
    # 8-fold for three days, nothing after.
    assert guide.loc[early, "ci_low"].min() > 4
    assert guide.loc[late, "ci_low"].max() < 1.2
    assert guide["since_from_days"].iloc[0] == 0
    assert np.isinf(guide["since_to_days"].iloc[-1])


def test_without_fading_it_says_the_same() -> None:
    log = mc.simulate(6_000, 8, world=world_of(None)).read()
    one, aged = (mc.micro_value(log, horizon=HORIZON, check=False, since=since) for since in ((), ["2D", "6D"]))
    for micro in ("guide", "cart"):
        first, second = row_of(one, micro, "hazard"), row_of(aged, micro, "hazard")
        assert abs(first["incremental"] - second["incremental"]) < 0.5 * first["se"]
        assert abs(first["incremental_value"] - second["incremental_value"]) < 0.5 * first["value_se"]
        assert second["se"] == pytest.approx(first["se"], rel=0.2)


def test_cuts_by_hand_are_the_parts_put_together(fading: SimulatedLog) -> None:
    log = fading.read()
    days = [1.0, 3.0]
    shared: dict[str, Any] = {
        "target": None, "origin": "entry", "competing": None, "bins": 30, "washout": None, "tz": "UTC",
        "confidence": 0.95, "max_rows": 1_000_000, "max_patterns": 5_000,
    }  # fmt: skip
    asked = ask(
        log, micros=None, horizon=HORIZON, adjust=(), activity=(), occurrences=1, at=(), since=["1D", "3D"],
        method="hazard", check=False, by=None, min_cell=10, seed=0, max_controls=1_000, **shared,
    )  # fmt: skip
    users = people(log, asked.hazards.rule, asked.items, (), tz="UTC")
    layout = done_or_not(["guide", "cart"])
    cuts = process_cuts(users, moments(users, layout), layout, 30)
    since = by_time_since(layout, "guide", [round(day * MICROS_PER_DAY) for day in days])
    limit = age_limit(users, 10)
    counted = count_processes(users, since, moments(users, since), cuts, limit - 2 * asked.horizon)
    fitted = intensities(counted.exposures, {"guide": 3, "cart": 1}, since={"guide": days})
    effect = total_effect(fitted, counted.doers["guide"], "guide", 14.0, age_limit_days=limit / HALVES_PER_DAY)
    row = row_of(mc.micro_value(log, horizon=HORIZON, since=["1D", "3D"], check=False), "guide", "hazard")
    assert row["incremental"] == pytest.approx(effect.incremental, rel=1e-9)
    assert row["se"] == pytest.approx(effect.se, rel=1e-9)


def test_one_cut_needs_no_list(fading: SimulatedLog) -> None:
    given: dict[str, Any] = {"horizon": HORIZON, "check": False, "micros": ["guide", "cart"]}
    log = fading.read()
    alone, listed = (mc.micro_value(log, since=since, **given) for since in (timedelta(days=3), ["3D"]))
    pd.testing.assert_frame_equal(alone.table, listed.table)
    assert alone.parameters["since"] == ["3D"]


def test_the_order_of_rows_changes_nothing(fading: SimulatedLog, told: mc.Result) -> None:
    shuffled = fading.events.sample(frac=1.0, random_state=5)
    log = mc.read_events(shuffled, plan=fading.plan, observed_until=fading.observed_until)
    again = mc.micro_value(log, horizon=HORIZON, since="auto")
    pd.testing.assert_frame_equal(again.table, told.table)
    pd.testing.assert_frame_equal(again.since, told.since)


def test_of_a_rare_micro_the_time_since_is_not_told_apart(fading: SimulatedLog) -> None:
    users = fading.users["user_id"].tolist()[:150]
    result = mc.micro_value(fading.read().filter(users=users), horizon="2D", since="auto", min_cell=5, check=False)
    one = mc.micro_value(fading.read().filter(users=users), horizon="2D", min_cell=5, check=False)
    assert result.since.empty
    assert any("since='auto': fewer than 40 conversions" in warning for warning in result.warnings)
    pd.testing.assert_frame_equal(result.table, one.table)


def test_segments_checks_and_occurrences_go_with_it(fading: SimulatedLog) -> None:
    events = fading.events.assign(half=np.where(fading.events["user_id"].str[-1].isin(list("02468")), "even", "odd"))
    log = mc.read_events(events, plan=fading.plan, observed_until=fading.observed_until)
    given: dict[str, Any] = {"horizon": HORIZON, "check": False, "since": ["1D", "3D"]}
    result = mc.micro_value(log, by="half", placebo=True, negative_control={"event": "cart"}, micros="guide", **given)
    even = log.filter(users=fading.users.loc[fading.users["user_id"].str[-1].isin(list("02468")), "user_id"].tolist())
    alone = mc.micro_value(even, micros="guide", **given).table.iloc[0]
    segment = result.segments.set_index("half").loc["even"]
    assert segment["incremental"] == pytest.approx(alone["incremental"], abs=1e-9)
    assert set(result.checks["check"]) == {"placebo", "negative control"}
    again = mc.micro_value(log, occurrences=2, **given)
    assert "guide #2" in again.table["micro"].tolist()


def test_it_concerns_the_hazard_method_only(fading: SimulatedLog) -> None:
    result = mc.micro_value(
        fading.read(), horizon=HORIZON, since="auto", method="trials", check=False, micros="guide", max_controls=1_000
    )
    assert result.since.empty
    assert any("since= concerns the hazard method" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("since", "message"),
    [
        (["1D", "14D"], "since='14D' lies at or beyond horizon='14D'"),
        ("20D", "since='20D' lies at or beyond"),
        (["3D", "1D"], "must grow"),
        (["3D", "3D"], "must grow"),
        (["3D", "72h"], "must grow"),
        (3, "since=3 has no unit"),
        ([1, 2], "since=1 has no unit"),
        ("automatic", "is not a duration"),
        (["1D", "auto"], "Pass since='auto' alone"),
        (True, "since=True is not a duration"),
        (None, "since=None is not a duration"),
        ("0D", "must be longer than zero"),
    ],
)
def test_bad_cuts(fading: SimulatedLog, since: Any, message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.micro_value(fading.read(), horizon=HORIZON, since=since)


def test_too_many_patterns_are_said_in_time(fading: SimulatedLog) -> None:
    with pytest.raises(mc.ParameterError, match=r"since= makes 8 patterns .* over max_patterns=7"):
        mc.micro_value(fading.read(), horizon=HORIZON, since=["1D", "3D"], check=False, max_patterns=7)
