"""Credited value conserves the revenue of every simulated log to the cent: several purchases, refunds, two
currencies, margins and windows.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microconv as mc
from microconv import stats
from microconv.journeys import journey_rule
from microconv.plan import End
from microconv.reduce.entrants import people
from microconv.reduce.revenue import RevenueTerms, outside_journeys, payments, revenue_by_pattern
from microconv.reduce.states import done_or_not, moments
from microconv.simulate import OrderValue, World, confounded_world, null_world, strong_world, web_shop

WORLDS = {"null": null_world, "confounded": confounded_world, "strong": strong_world, "web shop": web_shop}
REFUND = End(name="refund", event="refund")


def world(name: str, refund_share: float, again: bool) -> World:
    found = WORLDS[name]()
    macro = replace(found.macro, value=OrderValue(60.0, 0.9, refund_share=refund_share), ends_journey=not again)
    return replace(found, macro=macro)


def cents(frame: pd.DataFrame, rate: float, margin: float, within: int | None) -> int:
    """What counts of a simulated log, event by event: from the first purchase on, within the window."""
    first = frame[frame["event"] == "purchase"].groupby("user_id")["time"].min()
    money = frame[frame["event"].isin(["purchase", "refund"])]
    begun = money["user_id"].map(first)
    ends = begun + pd.Timedelta(within, unit="us") if within is not None else pd.Timestamp.max.tz_localize("UTC")
    money = money[(money["time"] >= begun) & (money["time"] <= ends)]
    worth = [
        value * (100 * (rate if currency == "USD" else 1.0) * margin)
        for value, currency in zip(money["value"], money["currency"], strict=True)
    ]
    return sum(int(Decimal(value).quantize(Decimal(1), ROUND_HALF_UP)) for value in worth)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    name=st.sampled_from(list(WORLDS)),
    refund_share=st.sampled_from([0.0, 0.3]),
    again=st.booleans(),
    options=st.sampled_from([{}, {"margin": 0.37}, {"within": 5 * 86_400_000_000}]),
    ratio=st.floats(0.3, 9.0),
)
def test_every_cent_is_credited_once(
    seed: int, name: str, refund_share: float, again: bool, options: dict[str, Any], ratio: float
) -> None:
    simulated = mc.simulate(users=250, seed=seed, world=world(name, refund_share, again))
    events = simulated.events.copy()
    # Every third order is paid in dollars, and its refund paid back in them.
    dollars = events["currency"].notna() & events["user_id"].astype(str).str[-1].isin(list("0369"))
    events.loc[dollars, "currency"] = "USD"
    log = mc.read_events(events, plan=simulated.plan)
    assert log.plan is not None
    terms = RevenueTerms(refunds=(REFUND,), rates={"USD": 0.9}, **options)
    target, micros = log.plan.macros[0], log.plan.micros
    paid = payments(log, target, terms)
    expected = cents(events, 0.9, options.get("margin", 1.0), options.get("within"))
    assert paid.account.cents == expected
    layout = done_or_not([micro.name for micro in micros])
    who = people(log, journey_rule(log, None, "entry", None, None), micros, ())
    table = revenue_by_pattern(who, moments(who, layout), layout, paid)
    ratios = {micro.name: ratio ** (1 if i % 2 else -1) for i, micro in enumerate(micros)}
    credited = stats.credit(table, ratios)
    outside = outside_journeys(who, paid)["cents"].iloc[0]
    assert credited["credited_cents"].sum() + outside == expected
    by_count = stats.credit(table, ratios, amount="conversions")
    assert by_count["credited_conversions"].sum() == table["conversions"].sum()


def test_the_logs_above_do_hold_refunds_and_several_purchases() -> None:
    simulated = mc.simulate(users=250, seed=1, world=world("strong", 0.3, True))
    log = mc.read_events(simulated.events, plan=simulated.plan)
    assert log.plan is not None
    account = payments(log, log.plan.macros[0], RevenueTerms(refunds=(REFUND,))).account
    counted = account.frame.iloc[0]
    assert counted["refunds"] > 5
    assert counted["events"] - counted["refunds"] > account.conversions > 20
    with_all, without = account.cents, payments(log, log.plan.macros[0], RevenueTerms()).account.cents
    assert with_all == pytest.approx(without, rel=0.9)
    assert with_all < without
