"""mc.micro_value: three columns that are what they say, on logs whose truth is planted and on logs made by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.log import EventLog
from microconv.simulate import Calendar, Macro, Micro, SimulatedLog, Trait, strong_world

ADJUST = ["device", "interest"]
MONEY = ["incremental_value", "value_ci_low", "value_ci_high"]


@pytest.fixture(scope="module")
def strong() -> SimulatedLog:
    return mc.simulate(6_000, 11, world=replace(strong_world(), calendar=Calendar(entries_over="60D", follow_up="30D")))


@pytest.fixture(scope="module")
def found(strong: SimulatedLog) -> mc.Result:
    return mc.micro_value(strong.read(), horizon="14D", adjust=ADJUST, at="3D")


def frame_of(rows: list[tuple[str, float, str, float | None]]) -> pd.DataFrame:
    """(user, day, event, value) as a log."""
    start = pd.Timestamp("2026-01-01", tz="UTC")
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event", "value"])
    return frame.assign(time=start + pd.to_timedelta(frame.pop("day"), unit="D"))


PLAN: dict[str, Any] = {
    "macros": [{"name": "buy", "event": "buy", "value": "value", "currency": "EUR"}],
    "micros": [{"name": "video", "event": "video"}, {"name": "cart", "event": "cart"}],
    "horizon": "10D",
}


def small_log(plan: dict[str, Any] = PLAN, users: int = 240) -> EventLog:
    """Half of the users watch the video after a day; of these two in three buy, of the others one in three."""
    rows: list[tuple[str, float, str, float | None]] = []
    for i in range(users):
        user = f"u{i:03d}"
        rows.append((user, 0.0, "open", None))
        watched = i % 2 == 0
        if watched:
            rows.append((user, 1.0 + i / users / 10, "video", None))
        if i % 5 == 1:
            rows.append((user, 0.5 + i / users / 10, "cart", None))
        if i % 3 < (2 if watched else 1):
            rows.append((user, 2.0 + (i % 7) / 2 + i / users / 10, "buy", 10.0 + i % 4))
    rows.append(("late", 40.0, "open", None))
    return mc.read_events(frame_of(rows), plan=mc.Plan(**plan))


def joined(log: EventLog, more: pd.DataFrame) -> pd.DataFrame:
    """The log's events and more of them, in one frame."""
    events = log.engine.fetch(log.events)[["user_id", "event", "value", "time"]]
    return pd.concat([frame.astype({"value": float, "time": "datetime64[us, UTC]"}) for frame in (events, more)])


# Planted truth


def test_both_methods_find_what_was_planted(strong: SimulatedLog, found: mc.Result) -> None:
    truth = strong.truth.incremental("14D", replicates=10).set_index("micro")
    for row in found.methods.to_dict("records"):
        planted = truth.loc[row["micro"]]
        assert row["incremental"] == pytest.approx(planted["incremental"], abs=3.5 * row["se"]), row
        assert row["incremental_value"] == pytest.approx(planted["incremental_value"], abs=3.5 * row["value_se"]), row
        assert row["chance_never"] == pytest.approx(planted["probability_never"], abs=0.03), row
        assert 0 < row["se"] < 0.02
    assert len(found.methods) == 2 * 4


def test_naive_is_far_above_and_says_by_how_much(found: mc.Result) -> None:
    table = found.table.set_index("micro").drop(index="(no micro)")
    assert (table["naive_bias"] > 10).all()
    np.testing.assert_allclose(table["naive_value"] - table["incremental_value"], table["naive_bias"])


def test_the_decoy_is_no_driver(found: mc.Result) -> None:
    row = found.table.set_index("micro").loc["share"]
    assert row["ci_low"] < 0 < row["ci_high"]
    assert row["e_value_limit"] == 1
    assert "share" in found.next_steps.set_index("micro").index
    assert "Do not pay" in found.next_steps.set_index("micro").loc["share", "next_step"]


def test_the_effect_builds_up(found: mc.Result) -> None:
    for _, rows in found.by_time[found.by_time["micro"] == "add_to_cart"].groupby("method"):
        assert rows["within_days"].tolist() == [3.0, 14.0]
        assert rows["incremental"].is_monotonic_increasing
        last = found.methods[
            (found.methods["micro"] == "add_to_cart") & (found.methods["method"] == rows["method"].iloc[0])
        ]
        assert rows["incremental"].iloc[-1] == pytest.approx(last["incremental"].iloc[0])


def test_trials_fill_the_table_when_asked(strong: SimulatedLog, found: mc.Result) -> None:
    trials = mc.micro_value(strong.read(), horizon="14D", adjust=ADJUST, method="trials", check=False, micros="share")
    assert trials.methods["method"].tolist() == ["trials"]
    assert trials.table["incremental"].iloc[0] == trials.methods["incremental"].iloc[0]
    assert {"landmark_days", "doers", "controls", "without_controls"} <= set(trials.support.columns)


# Money


def test_credited_value_sums_to_the_revenue_to_the_cent(strong: SimulatedLog, found: mc.Result) -> None:
    revenue = np.rint(strong.events["value"].fillna(0.0) * 100).sum()
    assert np.rint(found.table["credited_value"].sum() * 100) == revenue
    assert np.rint(found.credited["credited_value"].sum() * 100) == revenue


def test_without_money_there_are_chances_only() -> None:
    plan = {**PLAN, "macros": [{"name": "buy", "event": "buy"}]}
    table = mc.micro_value(small_log(plan), check=False).table
    assert table[["naive_value", "credited_value", *MONEY]].isna().all().all()
    assert table["incremental"].notna().all()
    assert "(no micro)" not in table["micro"].tolist()


def test_margin_scales_all_money_and_no_chance() -> None:
    whole, part = (mc.micro_value(small_log(), margin=margin, check=False).table for margin in (1.0, 0.5))
    np.testing.assert_allclose(part["incremental"], whole["incremental"])
    for column in ("naive_value", "credited_value", *MONEY):
        np.testing.assert_allclose(part[column].astype(float), whole[column].astype(float) / 2, atol=0.011)


def test_currencies_are_never_mixed_in_silence() -> None:
    log = small_log()
    events = log.engine.fetch(log.events)
    mixed = events.assign(currency=["USD" if i % 2 else "EUR" for i in range(len(events))])
    log = mc.read_events(mixed, plan=mc.Plan(**PLAN))
    with pytest.raises(mc.ParameterError, match="USD"):
        mc.micro_value(log)
    result = mc.micro_value(log, rates={"USD": 2.0}, check=False)
    paid = events[events["event"] == "buy"]
    worth = np.where(mixed.loc[paid.index, "currency"] == "USD", 2.0, 1.0) * paid["value"]
    assert result.table["credited_value"].sum() == pytest.approx(worth.sum(), abs=1e-9)


# Guards


def test_a_step_that_everybody_takes_is_structural() -> None:
    micros = (Micro("video", rate_per_day=0.05), Micro("checkout", "intent", 0.05))
    world = replace(strong_world(), micros=micros, macro=Macro(rate_per_day=0.1, requires="checkout"), competing=())
    result = mc.micro_value(mc.simulate(2_000, 5, world=world).read(), horizon="14D", adjust="device", check=False)
    table = result.table.set_index("micro")
    assert table.loc["checkout", "label"] == "structural"
    assert np.isnan(table.loc["checkout", "incremental"])
    assert table.loc["checkout", "credited_value"] == 0
    assert table.loc["video", "label"] == "adjusted"
    assert any("step on the way" in warning for warning in result.warnings)


def test_a_micro_of_few_users_is_not_estimated() -> None:
    rows = [("u000", 1.5, "rare", None), ("u002", 1.5, "rare", None)]
    log = small_log()
    events = joined(log, frame_of(rows))
    plan = {**PLAN, "micros": [*PLAN["micros"], {"name": "rare", "event": "rare"}]}
    table = mc.micro_value(mc.read_events(events, plan=mc.Plan(**plan)), check=False).table.set_index("micro")
    assert table.loc["rare", "label"] == "not estimated"
    assert "fewer than min_cell=10" in table.loc["rare", "why"]
    assert np.isnan(table.loc["rare", "incremental"])


def test_events_after_the_macro_never_count() -> None:
    log = small_log()
    events = log.engine.fetch(log.events)[["user_id", "event", "value", "time"]]
    after = events[events["event"] == "buy"].assign(value=0.0)
    after = pd.concat([after.assign(event=name, time=after["time"] + pd.Timedelta("1h")) for name in ("video", "cart")])
    more = mc.read_events(joined(log, after), plan=mc.Plan(**PLAN), observed_until=log.observed_until)
    pd.testing.assert_frame_equal(mc.micro_value(more, check=False).table, mc.micro_value(log, check=False).table)


def test_row_order_names_of_users_and_other_events_change_nothing() -> None:
    log = small_log()
    events = log.engine.fetch(log.events)[["user_id", "event", "value", "time"]]
    opened = events[(events["event"] == "open") & (events["user_id"] != "late")]
    noise = opened.assign(value=0.0, event="scroll", time=lambda rows: rows["time"] + pd.Timedelta("7h"))
    other = joined(log, noise).sample(frac=1.0, random_state=3)
    other["user_id"] = "x" + other["user_id"].str[::-1]
    again = mc.read_events(other, plan=mc.Plan(**PLAN), observed_until=log.observed_until)
    pd.testing.assert_frame_equal(mc.micro_value(again, check=False).table, mc.micro_value(log, check=False).table)


def test_the_label_is_earned() -> None:
    log = small_log()
    assert set(mc.micro_value(log, check=False).table["label"]) == {"predictive", ""}
    events = log.engine.fetch(log.events).assign(device="mobile")
    events.loc[events["user_id"].str[-1].isin(list("123")), "device"] = "desktop"
    told = mc.read_events(events, plan=mc.Plan(**PLAN), observed_until=log.observed_until)
    assert set(mc.micro_value(told, adjust="device", check=False).table["label"]) == {"adjusted", ""}
    assert set(mc.micro_value(log, activity={"event": "video"}, micros="cart", check=False).table["label"]) == {
        "adjusted",
        "",
    }


# Further questions


def test_the_second_video_is_a_micro_of_its_own() -> None:
    log = small_log()
    events = log.engine.fetch(log.events)[["user_id", "event", "value", "time"]]
    again = events[(events["event"] == "video") & (events["user_id"].str[-1].isin(list("048")))]
    again = again.assign(time=again["time"] + pd.Timedelta("6h"))
    log = mc.read_events(joined(log, again.assign(value=0.0)), plan=mc.Plan(**PLAN), observed_until=log.observed_until)
    table = mc.micro_value(log, occurrences=2, check=False).table
    assert table["micro"].tolist() == ["video", "video #2", "cart", "cart #2", "(no micro)"]
    assert table.set_index("micro").loc["video #2", "users"] == len(again)
    assert table.set_index("micro").loc["cart #2", "label"] == "not estimated"


@pytest.mark.slow
def test_many_micros_are_followed_ten_at_a_time(strong: SimulatedLog) -> None:
    names = [micro.name for micro in strong.truth.world.micros]
    more = [{"event": "page_view", "where": f"page == '/{i}'", "name": f"page {i}"} for i in range(8)]
    events = strong.events.copy()
    at = np.flatnonzero(events["event"] == "share")
    extra = [
        events.iloc[at[i::8]].assign(event="page_view", page=f"/{i}", event_id=lambda rows: rows["event_id"] + "+")
        for i in range(8)
    ]
    log = mc.read_events(pd.concat([events, *extra]), plan=strong.plan, observed_until=strong.observed_until)
    few = mc.micro_value(log, micros=names, horizon="14D", check=False).table.set_index("micro")
    many = mc.micro_value(log, micros=[*names, *more], horizon="14D", check=False).table.set_index("micro")
    assert many["incremental"].notna().sum() >= 8
    # What is counted together instead of followed apart hardly moves the others.
    for name in names[:3]:
        assert many.loc[name, "incremental"] == pytest.approx(few.loc[name, "incremental"], abs=0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "trial"}, "Unknown method 'trial'. Did you mean 'trials'"),
        ({"horizon": 14}, "horizon=14"),
        ({"horizon": "14D", "at": "20D"}, "lies beyond horizon"),
        ({"occurrences": 0}, "occurrences=0 must be a whole number"),
        ({"check": "no"}, "check='no' must be True or False"),
        ({"adjust": "devce"}, "devce"),
        ({"activity": "visits"}, "session_start"),
        ({"by": "cart"}, "by='cart' is something users do later"),
        ({"margin": 1.5}, "margin=1.5"),
        ({"min_cell": -1}, "min_cell=-1"),
        ({"micros": "vdeo"}, "Did you mean 'video'"),
        ({"micros": []}, "no micro to value"),
        ({"rates": {"usd": 1.0}}, "usd"),
    ],
)
def test_bad_parameters(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.micro_value(small_log(users=60), **given)


def test_nobody_converts() -> None:
    log = small_log()
    events = log.engine.fetch(log.events)
    with warnings.catch_warnings():  # that the macro never occurs
        warnings.simplefilter("ignore", mc.MicroconvWarning)
        log = mc.read_events(events[events["event"] != "buy"], plan=mc.Plan(**PLAN))
    result = mc.micro_value(log)
    assert result.table["incremental"].isna().all()
    assert "0 conversions came after it" in result.table["why"].iloc[0]
    assert result.table["credited_value"].sum() == 0
    assert result.plot() is not None


# Experiments, placebos, segments


@pytest.fixture(scope="module")
def nudged() -> EventLog:
    """Half of the users are nudged to download the guide, which is drawn by lot."""
    world = strong_world()
    variant = Trait("variant", {"control": 0.5, "nudge": 0.5}, {"guide_downloaded": {"nudge": 4.0}})
    return mc.simulate(5_000, 3, world=replace(world, traits=(*world.traits, variant))).read()


def test_an_experiment_earns_the_word_causal(nudged: EventLog) -> None:
    given: dict[str, Any] = {"horizon": "14D", "adjust": ADJUST, "micros": "guide_downloaded", "check": False}
    result = mc.micro_value(nudged, **given, variant_col="variant", encouraged="guide_downloaded")
    row = result.encouragement.set_index("outcome").loc["converted"]
    assert (row["label"], row["shape"], row["weak"]) == ("causal", "interval", False)
    # By hand: the difference in conversions over the difference in downloads.
    arms = result.arms[result.arms["measure"] == "converted"].set_index("arm")
    gain = arms["outcome"].diff().iloc[-1] / arms["did"].diff().iloc[-1]
    assert row["effect"] == pytest.approx(gain)
    assert 0 < row["ci_low"] < row["effect"] < row["ci_high"]
    assert result.table["label"].iloc[0] == "adjusted"
    assert any("drawn by lot" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"variant_col": "variant"}, "which micro the variants were meant to move"),
        ({"variant_col": "variant", "encouraged": "guide_downloadd"}, "Did you mean 'guide_downloaded'"),
        ({"variant_col": "varient", "encouraged": "share"}, "Did you mean 'variant'"),
        ({"variant_col": "variant", "encouraged": "share", "control": "contrl"}, "Did you mean 'control'"),
        ({"encouraged": "share"}, "name its column in variant_col="),
        ({"negative_control": "purchase"}, "is the macro itself"),
        ({"negative_control": "share"}, "is one of the micros"),
    ],
)
def test_bad_experiments_and_controls(nudged: EventLog, given: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.micro_value(nudged, horizon="14D", micros=["share", "guide_downloaded"], check=False, **given)


def test_what_cannot_have_an_effect_has_none() -> None:
    """The decoy is the outcome that no other micro moves, once interest is adjusted for; before, they seem to."""
    world = strong_world()  # users go on after a purchase, so that a micro cannot move the decoy by way of it
    world = replace(world, macro=replace(world.macro, ends_journey=False), competing=())
    log = mc.simulate(5_000, 4, world=world).read()
    given: dict[str, Any] = {"horizon": "14D", "micros": ["add_to_cart", "guide_downloaded"], "check": False}
    told = mc.micro_value(log, **given, adjust=ADJUST, negative_control="share").checks
    assert (told["incremental"].abs() < 3.5 * told["se"]).all()
    hidden = mc.micro_value(log, **given, negative_control="share")
    assert hidden.checks["clear_of_zero"].all()
    assert any("differs in ways that are not adjusted for" in warning for warning in hidden.warnings)


def test_segments_are_estimated_apart(strong: SimulatedLog) -> None:
    log = strong.read()
    given: dict[str, Any] = {"horizon": "14D", "micros": ["add_to_cart", "share"], "check": False, "adjust": "interest"}
    result = mc.micro_value(log, **given, by="device")
    mobile = log.filter(users=strong.users.loc[strong.users["device"] == "mobile", "user_id"].tolist())
    alone = mc.micro_value(mobile, **given).table.set_index("micro")
    rows = result.segments[result.segments["device"] == "mobile"].set_index("micro")
    for micro in ("add_to_cart", "share"):
        assert rows.loc[micro, "incremental"] == pytest.approx(alone.loc[micro, "incremental"], abs=1e-9)
        assert rows.loc[micro, "users"] == alone.loc[micro, "users"]
    for _, group in result.segments.groupby("micro"):
        assert group["shrunk"].between(group["incremental"].min() - 1e-12, group["incremental"].max() + 1e-12).all()
    assert result.segments["p_value"].between(0, 1).all()
