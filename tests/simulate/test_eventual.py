"""A planted share that converts in the end: as large and as late as planted, with everything else as ever."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import RATE_ERRORS
from scipy import stats

import microconv as mc
from microconv.simulate import (
    Calendar,
    End,
    Eventual,
    Intent,
    Macro,
    Micro,
    SimulatedLog,
    Trait,
    World,
    null_world,
    strong_world,
)

USERS = 20_000
PLANTED = Eventual(share=0.3, scale_days=6.0, shape=0.7)
WORLD = World(
    "eventual",
    Macro(rate_per_day=PLANTED, intent_effect=2.0),
    (Micro("share", rate_per_day=0.05, intent_effect=3.0),),
    intent=Intent("interest", 0.25),
    traits=(Trait("device", {"desktop": 0.4, "mobile": 0.6}, {"purchase": {"mobile": 0.5}}),),
    calendar=Calendar(entries_over="1D", follow_up="400D"),
)


@pytest.fixture(scope="module")
def log() -> SimulatedLog:
    return mc.simulate(USERS, 1, world=WORLD)


def test_the_share_of_each_kind_of_user(log: SimulatedLog) -> None:
    for (interest, device), users in log.users.groupby(["interest", "device"]):
        share = 0.3 * (2.0 if interest == "high" else 1.0) * (0.5 if device == "mobile" else 1.0)
        seen = (users["cause"] == "purchase").mean()
        assert abs(seen - share) < RATE_ERRORS * math.sqrt(share * (1 - share) / len(users)), (interest, device)
    mixed = 0.3 * (0.75 + 0.25 * 2.0) * (0.4 + 0.6 * 0.5)
    assert log.truth.eventual_share == pytest.approx(mixed, abs=1e-14)


def test_the_delay_is_weibull(log: SimulatedLog) -> None:
    waited = log.users.loc[log.users["cause"] == "purchase", "stop_days"]
    assert stats.kstest(waited, stats.weibull_min(0.7, scale=6.0).cdf).pvalue > 0.01
    curve = log.truth.curve([0.0, 1.0, 6.0, 60.0])
    expected = log.truth.eventual_share * -np.expm1(-((np.array([0.0, 1.0, 6.0, 60.0]) / 6.0) ** 0.7))
    assert curve["probability"].tolist() == pytest.approx(expected.tolist(), abs=1e-14)
    assert set(curve["method"]) == {"exact"}
    for row in curve.iloc[1:].to_dict("records"):
        seen = (log.users["stop_days"] <= row["time_days"]) & (log.users["cause"] == "purchase")
        chance = row["probability"]
        assert abs(seen.mean() - chance) < RATE_ERRORS * math.sqrt(chance * (1 - chance) / USERS)


def test_micros_go_on_as_planted_and_stop_at_the_macro(log: SimulatedLog) -> None:
    users = log.users
    done = users["share_days"].notna()
    at_risk = users["share_days"].fillna(users["stop_days"])
    rate = 0.05 * np.where(users["interest"] == "high", 3.0, 1.0)
    assert abs(int(done.sum()) - (at_risk * rate).sum()) < RATE_ERRORS * math.sqrt(done.sum())
    assert (users.loc[done, "share_days"] <= users.loc[done, "stop_days"]).all()
    bought = log.events[log.events["event"] == "purchase"]
    assert len(bought) == (users["cause"] == "purchase").sum()
    assert (bought["value"] > 0).all()


def test_observation_may_end_before_the_macro() -> None:
    world = replace(WORLD, censoring=(End("account_deleted", 0.2),), calendar=Calendar("2026-01-05", "20D", "1D"))
    users = mc.simulate(5_000, 2, world=world).users
    assert set(users["cause"]) == {"purchase", "account_deleted", "censored"}
    # Who converts waits as planted; who leaves first leaves at the planted rate.
    left = users["cause"] == "account_deleted"
    assert abs(int(left.sum()) - 0.2 * users["stop_days"].sum()) < RATE_ERRORS * math.sqrt(left.sum())


def test_the_log_reads_as_any_other(log: SimulatedLog) -> None:
    found = mc.time_to_conversion(log.read(), horizon="30D")
    assert found.summary["probability"].iloc[0] == pytest.approx(log.truth.probability("30D"), abs=0.01)
    data = log.truth.to_dict()
    assert data["macro"]["eventual"] == {"share": 0.3, "scale_days": 6.0, "shape": 0.7}
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_other_worlds_have_no_eventual_share() -> None:
    assert math.isnan(mc.simulate(10, world="null").truth.eventual_share)


def test_what_a_micro_adds_is_refused(log: SimulatedLog) -> None:
    with pytest.raises(mc.ParameterError, match="no micro adds anything"):
        log.truth.incremental("30D")


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Eventual(share=40), r"Eventual: share=40 must be a fraction from 0 to 1"),
    (lambda: Eventual(scale_days=0), r"Eventual: scale_days=0 must be a number above 0"),
    (lambda: Eventual(shape=-1), r"Eventual: shape=-1"),
    (lambda: Macro(rate_per_day=Eventual(), ends_journey=False), r"an Eventual macro comes once"),
    (lambda: replace(strong_world(), macro=Macro(rate_per_day=Eventual())), r"hazard_ratio=6 has no rate to multiply"),
    (
        lambda: replace(null_world(), macro=Macro(rate_per_day=Eventual()), competing=(End("gone", 0.1),)),
        r"competing end 'gone' beside an Eventual macro",
    ),
    (
        lambda: replace(WORLD, macro=Macro(rate_per_day=Eventual(0.6), intent_effect=2.0)),
        r"share=0\.6 times the effects on 'purchase' comes to 1\.2",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_impossible_options(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        make()
