"""The log shows the rates and ratios that were planted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import RATE_ERRORS, observed_and_expected, ratio_and_error

import microconv as mc
from microconv.simulate import (
    Calendar,
    Intent,
    Macro,
    Micro,
    SimulatedLog,
    Steps,
    World,
    confounded_world,
    web_shop,
)

WORLDS = ["null", "confounded", "strong", "shop"]


@pytest.fixture(scope="module")
def logs() -> dict[str, SimulatedLog]:
    shop = replace(web_shop(), visits=None, also_in_plan=())  # page views would only cost time
    return {name: mc.simulate(20_000, 11, world=shop if name == "shop" else name) for name in WORLDS}


@pytest.mark.parametrize("name", WORLDS)
def test_every_process_occurs_as_often_as_planted(logs: dict[str, SimulatedLog], name: str) -> None:
    world = logs[name].truth.world
    for process in [*[micro.name for micro in world.micros], world.macro.name]:
        observed, expected = observed_and_expected(logs[name], process)
        assert expected > 300
        assert abs(observed - expected) < RATE_ERRORS * math.sqrt(expected), process


@pytest.mark.parametrize("name", WORLDS)
def test_the_macro_is_as_much_faster_after_each_micro_as_planted(logs: dict[str, SimulatedLog], name: str) -> None:
    log = logs[name]
    for micro in log.truth.world.micros:
        ratio, error = ratio_and_error(*observed_and_expected(log, log.truth.world.macro.name, while_done=micro.name))
        assert abs(math.log(ratio / micro.hazard_ratio)) < RATE_ERRORS * error, micro.name


def test_a_micro_raises_the_rate_of_another(logs: dict[str, SimulatedLog]) -> None:
    for name in ("strong", "shop"):
        measured = observed_and_expected(logs[name], "add_to_cart", while_done="newsletter_signup")
        ratio, error = ratio_and_error(*measured)
        assert abs(math.log(ratio / 4.0)) < RATE_ERRORS * error
        # ... and itself does nothing to the macro.
        ratio, error = ratio_and_error(*observed_and_expected(logs[name], "purchase", while_done="newsletter_signup"))
        assert abs(math.log(ratio)) < RATE_ERRORS * error


def test_hidden_intent_confounds_what_the_log_can_show() -> None:
    log = mc.simulate(20_000, 12, world=confounded_world(hidden_effect=4.0))
    hidden = log.truth.world.hidden_intent
    assert hidden is not None
    assert hidden.column not in log.events.columns
    assert not set(log.events.columns) & {"entry", "stop_days", "cause"}
    decoy = {"process": "purchase", "while_done": "share"}
    assert log.truth.hazard_ratios["share"] == 1.0
    ratio, error = ratio_and_error(*observed_and_expected(log, **decoy))
    assert abs(math.log(ratio)) < RATE_ERRORS * error
    # Against the mean rate of all, instead of that of users of the same intent, the decoy seems to help.
    done, without = observed_and_expected(log, **decoy, neglect=(hidden.column,))
    everybody = observed_and_expected(log, "purchase", neglect=(hidden.column,))
    assert (done / without) / (everybody[0] / everybody[1]) > 1 + RATE_ERRORS / math.sqrt(done)


def test_observed_intent_confounds_unless_it_is_adjusted_for(logs: dict[str, SimulatedLog]) -> None:
    log = logs["confounded"]
    assert "interest" in log.events.columns
    done, without = observed_and_expected(log, "purchase", while_done="share", neglect=("interest",))
    everybody = observed_and_expected(log, "purchase", neglect=("interest",))
    assert (done / without) / (everybody[0] / everybody[1]) > 1 + RATE_ERRORS / math.sqrt(done)


def test_what_visits_bring_about_is_a_decoy() -> None:
    """A third visit and five minutes on site foretell nothing, although purchases open visits too."""
    log = mc.simulate(20_000, 20)
    users = log.users.set_index("user_id")
    events = log.events
    third = events[events["event"] == "session_start"].groupby("user_id").nth(2)
    spent = events["engagement_seconds"].fillna(0).groupby(events["user_id"]).cumsum()
    long = events[spent >= 300].groupby("user_id").head(1)
    for rows in (third, long):
        at = rows.set_index("user_id")["time"].reindex(users.index)
        days = ((at - users["entry"]) / pd.Timedelta("1D")).fillna(np.inf).to_numpy()
        observed, expected = observed_and_expected(log, "purchase", after=days)
        assert observed > 100
        assert abs(observed - expected) < RATE_ERRORS * math.sqrt(expected)
        # They are confounded by intent, or nothing could be learned from them.
        columns = ("visit_reason", "hidden_intent")
        done, without = observed_and_expected(log, "purchase", after=days, neglect=columns)
        everybody = observed_and_expected(log, "purchase", neglect=columns)
        assert done / without > everybody[0] / everybody[1]


def test_an_effect_fades() -> None:
    micro = Micro("guide", "content", 0.05, hazard_ratio=8.0, fade_days=3.0)
    world = World(macro=Macro(rate_per_day=0.01), micros=(micro,))
    log = mc.simulate(20_000, 13, world=world)
    ratio, error = ratio_and_error(*observed_and_expected(log, "purchase", while_done="guide"))
    assert abs(math.log(ratio / 8.0)) < RATE_ERRORS * error
    observed, expected = observed_and_expected(log, "purchase")
    assert abs(observed - expected) < RATE_ERRORS * math.sqrt(expected)
    # Later than three days after the guide the macro is as frequent as before it.
    users = log.users[log.users["guide_days"] + 3.0 < log.users["stop_days"]]
    late = float((users["stop_days"] - users["guide_days"] - 3.0).sum()) * 0.01
    assert abs(int((users["cause"] == "purchase").sum()) - late) < RATE_ERRORS * math.sqrt(late)


def test_the_base_rate_changes_at_its_cut_points() -> None:
    steps = Steps((0.5, 2.0), (1.0, 0.0, 0.2))
    log = mc.simulate(20_000, 14, world=World(macro=Macro(rate_per_day=steps)), calendar=Calendar(entries_over="1D"))
    bought = log.users.loc[log.users["cause"] == "purchase", "stop_days"]
    assert not bought.between(0.5, 2.0).any()
    early = 1 - math.exp(-0.5)
    assert abs((bought <= 0.5).mean() * len(bought) / 20_000 - early) < RATE_ERRORS * math.sqrt(early / 20_000)


def test_a_rate_of_zero_never_happens_and_a_requirement_is_kept() -> None:
    micros = (
        Micro("never", rate_per_day=0.0),
        Micro("first", rate_per_day=0.5),
        Micro("second", rate_per_day=1.0, requires="first"),
        Micro("blocked", rate_per_day=1.0, requires="never"),
    )
    users = mc.simulate(3_000, 15, world=World(micros=micros)).users
    assert users[["never_days", "blocked_days"]].isna().all(axis=None)
    second = users["second_days"].notna()
    assert second.sum() > 1_000
    assert (users.loc[second, "second_days"] > users.loc[second, "first_days"]).all()


def test_a_cause_of_zero_prevents() -> None:
    micros = (Micro("quiet", rate_per_day=0.2, causes={"loud": 0.0}), Micro("loud", rate_per_day=0.2))
    users = mc.simulate(3_000, 16, world=World(micros=micros)).users
    both = users[["quiet_days", "loud_days"]].notna().all(axis=1)
    assert both.sum() > 300
    assert (users.loc[both, "loud_days"] < users.loc[both, "quiet_days"]).all()


def test_shares_and_effects_of_traits() -> None:
    log = mc.simulate(20_000, 17, world=replace(web_shop(), visits=None, also_in_plan=()))
    for trait in log.truth.world.traits:
        counted = log.users[trait.column].value_counts()
        for level, share in trait.shares.items():
            assert abs(counted[level] / 20_000 - share) < RATE_ERRORS * math.sqrt(share * (1 - share) / 20_000)
    assert abs((log.users["visit_reason"] == "looking_to_buy").mean() - 0.3) < 0.011
    with_intent = World(macro=Macro(rate_per_day=0.02, intent_effect=3.0), intent=Intent("interest", 0.5))
    log = mc.simulate(20_000, 18, world=with_intent)
    by = log.users.groupby("interest")[["stop_days"]].sum()["stop_days"]
    events = log.users[log.users["cause"] == "purchase"].groupby("interest").size()
    ratio = (events["high"] / by["high"]) / (events["low"] / by["low"])
    assert abs(math.log(ratio / 3.0)) < RATE_ERRORS * math.sqrt((1 / events).sum())


def test_times_are_not_rounded() -> None:
    times = mc.simulate(3_000, 19, world="strong").events["time"].astype("int64").to_numpy()
    for grain in (10, 1_000):
        share = (times % grain == 0).mean()
        assert abs(share - 1 / grain) < 5 * math.sqrt(1 / grain / len(times))
    assert np.diff(np.sort(times)).min() >= 0
