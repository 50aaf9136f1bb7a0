"""The rows of a simulated log: journeys, sessions, pages, money, calendar, and that a seed decides them all."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from planted import RATE_ERRORS
from scipy import stats

import microconv as mc
from microconv.simulate import (
    Calendar,
    End,
    Macro,
    Micro,
    OrderValue,
    SimulatedLog,
    Visits,
    World,
    strong_world,
)


@pytest.fixture(scope="module")
def shop() -> SimulatedLog:
    return mc.simulate(4_000, 21)


def _first(log: SimulatedLog, event: str) -> pd.Series:
    """When each user of ``log.users`` first did an event, in days since entry."""
    at = log.events[log.events["event"] == event].groupby("user_id")["time"].min()
    users = log.users.set_index("user_id")
    return ((at - users["entry"]) / pd.Timedelta("1D")).reindex(users.index)


# Journeys


def test_events_tell_what_the_users_did_to_the_microsecond(shop: SimulatedLog) -> None:
    users = shop.users.set_index("user_id")
    assert shop.events.groupby("user_id")["time"].min().equals(users["entry"].rename("time"))
    for event in ("newsletter_signup", "add_to_cart", "account_created", "guide_downloaded", "share"):
        pd.testing.assert_series_equal(_first(shop, event), users[f"{event}_days"], check_names=False, atol=2e-11)
    for end in ("purchase", "unsubscribe", "account_deleted"):
        when = users["stop_days"].where(users["cause"] == end)
        pd.testing.assert_series_equal(_first(shop, end), when, check_names=False, atol=2e-11)
    watched = shop.events[(shop.events["event"] == "video_progress") & (shop.events["percent"] >= 75)]
    assert watched["user_id"].nunique() == users["watched_75_days"].notna().sum()


def test_the_macro_ends_the_journey(shop: SimulatedLog) -> None:
    last = shop.events.groupby("user_id").tail(1).set_index("user_id")["event"]
    users = shop.users.set_index("user_id")
    for end in ("purchase", "unsubscribe", "account_deleted"):
        assert (users["cause"] == end).sum() > 5
        assert (last[users["cause"] == end] == end).all()


def test_a_macro_may_come_again() -> None:
    world = World(macro=Macro(rate_per_day=0.1, ends_journey=False), competing=(End("unsubscribe", 0.01),))
    log = mc.simulate(3_000, 22, world=world)
    bought = log.events[log.events["event"] == "purchase"]
    expected = 0.1 * log.users["stop_days"].sum()
    assert bought["user_id"].duplicated().any()
    assert abs(len(bought) - expected) < RATE_ERRORS * math.sqrt(expected)
    assert set(log.users["cause"]) == {"censored", "unsubscribe"}


def test_repeats_come_after_the_first_and_change_nothing() -> None:
    def world(rate: float) -> World:
        return World(micros=(Micro("guide", rate_per_day=0.05, hazard_ratio=2.0, repeats_per_day=rate),))

    once, often = (mc.simulate(3_000, 23, world=world(rate)) for rate in (0.0, 0.2))
    pd.testing.assert_frame_equal(once.users, often.users)
    counts = [int((log.events["event"] == "guide").sum()) for log in (once, often)]
    done = once.users[once.users["guide_days"].notna()]
    expected = 0.2 * (done["stop_days"] - done["guide_days"]).sum()
    assert counts[0] == len(done)
    assert abs(counts[1] - counts[0] - expected) < RATE_ERRORS * math.sqrt(expected)


# Calendar and censoring


def test_entries_are_even_and_everybody_is_observed_until_one_moment() -> None:
    calendar = Calendar("2026-03-01", "40D", "5D")
    log = mc.simulate(5_000, 24, world="null", calendar=calendar)
    start, until = pd.Timestamp("2026-03-01", tz="UTC"), pd.Timestamp("2026-04-15", tz="UTC")
    assert log.observed_until == until
    share = (log.users["entry"] - start) / pd.Timedelta("40D")
    assert share.between(0, 1, inclusive="left").all()
    assert stats.kstest(share, "uniform").pvalue > 0.001
    assert log.users["entry"].is_monotonic_increasing
    censored = log.users[log.users["cause"] == "censored"]
    left = (until - censored["entry"]) / pd.Timedelta("1D")
    np.testing.assert_allclose(censored["stop_days"], left, rtol=1e-12)
    assert log.events["time"].max() <= until
    assert log.events["time"].is_monotonic_increasing


def test_a_daily_rhythm_gathers_entries_in_the_evening() -> None:
    log = mc.simulate(20_000, 25, world="null", calendar=Calendar(entries_over="30D", daily_rhythm=1.0))
    hour = log.users["entry"].dt.hour + log.users["entry"].dt.minute / 60
    # The density is 1 + cos(2 pi (h - 20) / 24), so the mean of that cosine is a half.
    assert abs(np.cos((hour - 20) / 24 * 2 * np.pi).mean() - 0.5) < RATE_ERRORS * 0.5 / math.sqrt(20_000) + 1e-3
    assert log.users["entry"].dt.date.nunique() == 30


# Sessions and pages


def test_a_session_begins_after_half_an_hour_without_an_event(shop: SimulatedLog) -> None:
    events = shop.events.sort_values(["user_id", "time"], kind="stable")
    gap = events.groupby("user_id")["time"].diff()
    opens = gap.isna() | (gap > pd.Timedelta("30min"))
    assert (opens == (events["event"] == "session_start")).all()
    assert (events["session_id"] != events["session_id"].shift()).eq(opens).all()
    assert events.groupby("session_id")["user_id"].nunique().max() == 1


def test_every_session_opens_with_its_start_and_a_page_view_at_one_instant(shop: SimulatedLog) -> None:
    by_session = shop.events.groupby("session_id")
    first, second = by_session.nth(0), by_session.nth(1)
    assert (first["event"] == "session_start").all()
    assert (second["event"] == "page_view").all()
    assert first["time"].to_numpy().tolist() == second["time"].to_numpy().tolist()


def test_visits_are_as_many_and_as_long_as_asked() -> None:
    world = World(macro=Macro(rate_per_day=0.001), visits=Visits(0.2, pages=3.0, seconds_per_page=40.0))
    log = mc.simulate(3_000, 26, world=world)
    sessions = (log.events["event"] == "session_start").sum() - 3_000
    # A return visit within half an hour of another, or of the first, is no session of its own.
    expected = 0.2 * log.users["stop_days"].sum()
    assert 0.97 * expected < sessions < expected + RATE_ERRORS * math.sqrt(expected)
    pages = log.events[log.events["event"] == "page_view"]
    visits = int((pages["engagement_seconds"] == 0).sum())
    assert len(pages) / visits == pytest.approx(3.0, rel=0.02)
    assert pages.loc[pages["engagement_seconds"] > 0, "engagement_seconds"].mean() == pytest.approx(40.0, rel=0.02)


def test_a_lean_world_has_an_entry_row_and_no_pages() -> None:
    log = mc.simulate(500, 27, world="strong")
    assert "page_view" not in set(log.events["event"])
    assert log.events.groupby("user_id")["event"].first().eq("session_start").all()
    assert not {"page", "item", "consent", "engagement_seconds"} & set(log.events.columns)


def test_a_touch_is_a_session_start_and_the_first_comes_by_the_channel_of_the_user(shop: SimulatedLog) -> None:
    touches = shop.events[shop.events["channel"].notna()]
    assert (touches["event"] == "session_start").all()
    assert len(touches) == (shop.events["event"] == "session_start").sum()
    first = touches.groupby("user_id")["channel"].first()
    assert first.tolist() == shop.users["channel"].tolist()
    assert touches.groupby("user_id")["channel"].nunique().max() > 1


def test_a_purchase_is_of_the_last_cart_and_a_cart_of_the_last_product_seen(shop: SimulatedLog) -> None:
    checked = {"add_to_cart": 0, "purchase": 0}
    for _, rows in shop.events.groupby("user_id"):
        seen = cart = None
        for event, page, item in zip(rows["event"], rows["page"], rows["item"], strict=True):
            if event == "page_view" and page == "/product":
                seen = item
            if event == "add_to_cart":
                assert seen is None or item == seen
                checked["add_to_cart"] += seen is not None
                cart = item
            if event == "purchase":
                assert cart is None or item == cart
                checked["purchase"] += cart is not None
    assert min(checked.values()) > 50
    assert shop.events.loc[shop.events["event"] == "add_to_cart", "item"].notna().all()


# Money


def test_order_values_are_log_normal_with_the_ratios_of_traits_and_micros() -> None:
    world = World(
        macro=Macro(rate_per_day=0.05, value=OrderValue(80.0, 0.4, "CHF")),
        micros=(Micro("guide", rate_per_day=0.05, value_ratio=1.5),),
    )
    log = mc.simulate(6_000, 28, world=world)
    bought = log.events[log.events["event"] == "purchase"].set_index("user_id")
    users = log.users.set_index("user_id").loc[bought.index]
    ratio = np.where(users["guide_days"].notna(), 1.5, 1.0)
    scaled = np.log(bought["value"] / (80.0 * ratio)) / 0.4
    assert stats.kstest(scaled, "norm").pvalue > 0.001
    assert set(bought["currency"]) == {"CHF"}
    assert log.events.loc[log.events["event"] != "purchase", ["value", "currency"]].isna().all(axis=None)


def test_refunds_pay_back_an_order_later() -> None:
    value = OrderValue(50.0, 0.5, refund_share=0.3, refund_after_days=5.0)
    log = mc.simulate(4_000, 29, world=World(macro=Macro(rate_per_day=0.1, value=value)))
    orders = log.events[log.events["event"] == "purchase"].set_index("user_id")
    refunds = log.events[log.events["event"] == "refund"].set_index("user_id")
    assert 0.2 < len(refunds) / len(orders) < 0.3
    assert (refunds["value"] == -orders.loc[refunds.index, "value"]).all()
    assert (refunds["time"] > orders.loc[refunds.index, "time"]).all()
    assert refunds["session_id"].isna().all()
    none = mc.simulate(500, 29, world=World(macro=Macro(rate_per_day=0.1, value=None)))
    assert not {"value", "currency"} & set(none.events.columns)


# Same input, same output


def test_a_seed_decides_everything_and_the_global_generator_nothing() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = mc.simulate(500, 30)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    again, other = mc.simulate(500, 30), mc.simulate(500, 31)
    pd.testing.assert_frame_equal(first.events, again.events)
    pd.testing.assert_frame_equal(first.users, again.users)
    assert first.truth.to_dict() == again.truth.to_dict()
    assert not first.users["entry"].equals(other.users["entry"])


def test_one_user_and_a_world_without_micros() -> None:
    log = mc.simulate(1, 0, world=World())
    assert log.events["event"].iloc[0] == "session_start"
    assert len(log.users) == 1


def test_the_plan_fits_the_log(shop: SimulatedLog) -> None:
    plan = shop.plan
    assert [macro.name for macro in plan.macros] == ["purchase"]
    named = {item.event for item in (*plan.macros, *plan.micros, *plan.competing, *plan.censor) if item.event}
    assert named <= set(shop.events["event"])
    assert set(plan.segments) <= set(shop.events.columns)
    lean = mc.simulate(200, 0, world=strong_world()).plan_mapping
    assert [item["name"] for item in lean["micros"]] == [micro.name for micro in strong_world().micros]
    assert "censor" not in lean
    chain = (
        Micro("share", "social"),
        Micro("second_share", "social", event="share", nth=2, requires="share"),
    )
    log = mc.simulate(2_000, 0, world=World(micros=chain))
    assert log.plan.micros[1].nth == 2
    second = log.events[log.events["event"] == "share"].groupby("user_id")["time"].nth(1)
    assert len(second) == log.users["second_share_days"].notna().sum()


def test_the_log_can_be_read_with_its_plan(shop: SimulatedLog) -> None:
    log = shop.read()
    assert log.rows_accepted == len(shop.events)
    assert log.observed_until == shop.observed_until
    assert log.plan == shop.plan
