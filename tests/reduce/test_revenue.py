"""Payments, their account, and money by what was done before: against loops over users, with ties everywhere."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import states as plain
from reference.journeys import Rule, Thing
from reference.logs import BASE, SECOND, log_of, told_events
from reference.revenue import Money, by_pattern, paid_by, shop_events

from microconv import stats
from microconv.errors import ParameterError
from microconv.log import EventLog
from microconv.plan import End, Macro, Micro
from microconv.reduce.entrants import people
from microconv.reduce.revenue import (
    Payments,
    RevenueTerms,
    outside_journeys,
    payments,
    revenue_by_pattern,
    revenue_of,
    worth_by_pattern,
)
from microconv.reduce.risk import JourneyRule
from microconv.reduce.states import Layout, StateColumn, done_or_not, moments

seeds = st.integers(0, 2**32 - 1)
EUR = Macro(name="goal", event="A", value="amount", currency="EUR")
REFUND = End(name="refund", event="R")
MICROS = (Micro(name="B", event="B"), Micro(name="X", event="X"), Micro(name="second B", event="B", nth=2))
THINGS = (Thing("B"), Thing("X"), Thing("B", nth=2))
NAMES = ("B", "X", "second B")
TARGETS = [
    (EUR, Thing("A")),
    (EUR.model_copy(update={"where": "device = 'mobile'"}), Thing("A", lambda c: c["device"] == "mobile")),
    (Micro(name="goal", event="A", nth=2), Thing("A", nth=2)),
]


@st.composite
def terms(draw: st.DrawFn) -> tuple[RevenueTerms, Money]:
    """Terms for the package and the same for the loop."""
    refunds = draw(st.booleans())
    within = draw(st.sampled_from([None, 1, 4]))
    rates = draw(st.sampled_from([None, {"USD": 0.9, "GBP": 1.15}]))
    span = within * SECOND if within is not None else None
    margin, discount = draw(st.sampled_from([1.0, 0.3])), draw(st.sampled_from([0.0, 0.5]))
    first = draw(st.booleans())
    mine = RevenueTerms(
        margin=margin,
        discount_rate=discount,
        revenue="first" if first else "all",
        refunds=(REFUND,) if refunds else (),
        within=span,
        value="amount",
        currency="EUR",
        rates=rates or {},
    )
    return mine, Money(margin, discount, first, ("R",) if refunds else (), span, rates)


def rows_of(log: EventLog, paid: Payments) -> list[tuple[Any, ...]]:
    frame = log.engine.fetch(paid.table)
    return sorted(frame[["user_id", "at", "cents", "first", "bought"]].itertuples(index=False, name=None))


@given(seeds, terms(), st.sampled_from(TARGETS))
@settings(max_examples=25)
def test_payments_and_their_account_are_those_of_a_loop(
    seed: int, drawn: tuple[RevenueTerms, Money], goal: tuple[Any, Thing]
) -> None:
    mine, theirs = drawn
    target, thing = goal
    found = ("EUR", " usd", "GBP", None) if mine.rates else ("EUR", "eur ", None)
    events = shop_events(random.Random(seed), 15, found)
    log = log_of(events)
    paid = payments(log, target, mine)
    expected, fates = paid_by(events, thing, theirs)
    assert rows_of(log, paid) == sorted((p.user, p.at, p.cents, p.first, p.bought) for p in expected)
    account = paid.account
    assert dict(zip(account.frame["fate"], account.frame["events"], strict=True)) == {"counted": 0} | fates
    assert account.cents == sum(p.cents for p in expected)
    assert account.currency == "EUR"
    valued = sum(n for fate, n in fates.items() if fate != "without a value")
    assert account.by_currency["events"].sum() == valued
    assert set(account.by_currency["currency"]) <= {"EUR", "USD", "GBP"}
    users = log.engine.fetch(revenue_of(paid))
    sums: dict[str, int] = {}
    for payment in expected:
        sums[payment.user] = sums.get(payment.user, 0) + payment.cents
    assert dict(zip(users["user_id"], users["cents"], strict=True)) == sums


def both(
    seed: int, origin: bool, by: tuple[str, ...], mine: RevenueTerms, theirs: Money
) -> tuple[Any, Payments, list[plain.Traveller], list[Any]]:
    rng = random.Random(seed)
    events = shop_events(rng, 25, ("EUR", "USD") if mine.rates else ("EUR",))
    until = max(e.time for e in events) + rng.choice([0, 2]) * SECOND
    start, visit = (Micro(name="visit", event="X"), Thing("X")) if origin else (None, None)
    rule = JourneyRule(target=EUR, origin=start, competing=(End(name="rival", event="C"),))
    travellers = plain.travellers(events, Rule(Thing("A"), visit, (Thing("C"),), ()), THINGS, until, by, early=True)
    log = log_of(events, until)
    who = people(log, rule, MICROS, by)
    expected, _ = paid_by(events, Thing("A"), theirs)
    return who, payments(log, EUR, mine), travellers, expected


@given(seeds, terms(), st.booleans(), st.sampled_from([(), ("device",)]))
@settings(max_examples=20)
def test_money_by_pattern_is_that_of_a_loop_and_adds_up(
    seed: int, drawn: tuple[RevenueTerms, Money], origin: bool, by: tuple[str, ...]
) -> None:
    who, paid, travellers, expected = both(seed, origin, by, *drawn)
    layout = done_or_not(NAMES)
    marked = moments(who, layout)
    table = revenue_by_pattern(who, marked, layout, paid)
    assert list(table.columns) == [*NAMES, *by, "conversions", "payments", "cents"]
    mine = {
        (tuple(row[c] for c in by), tuple(int(row[n]) for n in NAMES)): (
            int(row["conversions"]), int(row["payments"]), int(row["cents"])
        )
        for row in table.to_dict("records")
    }  # fmt: skip
    assert mine == by_pattern(expected, travellers)
    # With what is paid outside of these journeys it is all the money there is.
    rest = outside_journeys(who, paid).iloc[0]
    assert table["cents"].sum() + rest["cents"] == paid.account.cents
    converted = {one.user for one in travellers if one.cause == 1}
    assert rest["users"] == len({p.user for p in expected} - converted)
    # The same money, left with the first conversion.
    worth = worth_by_pattern(who, marked, layout, paid)
    assert worth["cents"].sum() == table["cents"].sum()
    assert worth["conversions"].sum() == table["conversions"].sum() == len(converted)
    sums = {user: sum(p.cents for p in expected if p.user == user) for user in converted}
    assert worth["cents_squared"].sum() == pytest.approx(sum(cents**2 for cents in sums.values()))
    assert len(worth) <= len(table)
    counts = revenue_by_pattern(who, marked, layout, None)
    assert counts["conversions"].sum() == len(converted)
    assert "cents" not in counts


@given(seeds, terms(), st.tuples(*[st.floats(0.3, 6.0)] * 3))
@settings(max_examples=15)
def test_credited_value_conserves_the_revenue_of_any_log(
    seed: int, drawn: tuple[RevenueTerms, Money], ratios: tuple[float, ...]
) -> None:
    who, paid, travellers, expected = both(seed, False, ("device",), *drawn)
    layout = done_or_not(NAMES)
    table = revenue_by_pattern(who, moments(who, layout), layout, paid)
    credited = stats.credit(table, dict(zip(NAMES, ratios, strict=True)))
    converted = {one.user for one in travellers if one.cause == 1}
    assert credited["credited_cents"].sum() == sum(p.cents for p in expected if p.user in converted)


@given(seeds, terms(), st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_row_order_names_of_users_and_other_events_change_nothing(
    seed: int, drawn: tuple[RevenueTerms, Money], shuffle: Any
) -> None:
    mine, _ = drawn
    events = shop_events(random.Random(seed), 20, ("EUR", "USD") if mine.rates else ("EUR",))
    layout = done_or_not(NAMES)
    rule = JourneyRule(target=EUR, competing=(End(name="rival", event="C"),))

    def table(rows: list[Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
        log = log_of(rows, BASE + 20 * SECOND)
        who, paid = people(log, rule, MICROS, ("device",)), payments(log, EUR, mine)
        return revenue_by_pattern(who, moments(who, layout), layout, paid), paid.account.frame

    expected = table(events)
    mixed = [replace(event, user=f"user {event.user[::-1]}") for event in events]
    shuffle.shuffle(mixed)
    noise = [
        replace(event, row=len(events) + i, event="other", time=event.time + SECOND // 2)
        for i, event in enumerate(events)
    ]
    for rows in (mixed, events + noise):
        for one, other in zip(table(rows), expected, strict=True):
            pd.testing.assert_frame_equal(one, other)


def shop(*rows: tuple[str, float, str, float | None, str | None], columns: tuple[str, ...] = ()) -> EventLog:
    """A log from (user, second, event, amount, currency)."""
    story = told_events(*[f"{event}{second}" for _, second, event, _, _ in rows])
    events = [
        replace(event, user=user, columns={"amount": amount, "currency": code})
        for event, (user, _, _, amount, code) in zip(story, rows, strict=True)
    ]
    if "currency" not in columns and columns:
        for event in events:
            del event.columns["currency"]
    return log_of(events, BASE + 100 * SECOND)


def test_refunds_and_later_purchases_of_one_user() -> None:
    """Bought 10.00 and, after the newsletter (B), 20.00; 5.00 of the second came back, and 1.00 of the first before."""
    log = shop(
        ("u", 1, "V", None, None), ("u", 2, "A", 10.0, "EUR"), ("u", 3, "R", 1.0, "EUR"), ("u", 4, "B", None, None),
        ("u", 5, "A", 20.0, "EUR"), ("u", 6, "R", -5.0, "EUR"),
    )  # fmt: skip
    layout = done_or_not(["B"])
    who = people(log, JourneyRule(target=EUR), MICROS[:1], ())
    paid = payments(log, EUR, RevenueTerms(refunds=(REFUND,)))
    table = revenue_by_pattern(who, moments(who, layout), layout, paid)
    assert table.to_dict("list") == {"B": [0, 1], "conversions": [1, 0], "payments": [2, 2], "cents": [900, 1500]}
    worth = worth_by_pattern(who, moments(who, layout), layout, paid)
    assert worth[["B", "conversions", "cents"]].to_dict("list") == {"B": [0], "conversions": [1], "cents": [2400]}
    first = payments(log, EUR, RevenueTerms(refunds=(REFUND,), revenue="first"))
    assert first.account.cents == 900
    assert any("Left out: 2 payments of a later conversion (15.00 EUR)" in note for note in first.account.notes())


def test_a_state_of_levels_and_grouped_micros() -> None:
    log = shop(
        ("u", 1, "V", None, None), ("u", 2, "B", None, None), ("u", 3, "B", None, None), ("u", 4, "A", 7.0, None)
    )
    layout = Layout(((0, 0), (2, 0)), (StateColumn("times", (0, 1), 2, ("none", "once", "twice")),))
    who = people(log, JourneyRule(target=EUR), MICROS, ())
    table = revenue_by_pattern(who, moments(who, layout), layout, payments(log, EUR))
    assert table.to_dict("list") == {"times": ["twice"], "conversions": [1], "payments": [1], "cents": [700]}


def test_a_micro_at_the_instant_of_the_purchase_is_not_done_before() -> None:
    log = shop(("u", 1, "B", None, None), ("u", 2, "X", None, None), ("u", 2, "A", 3.0, None), ("u", 3, "A", 4.0, None))
    layout = done_or_not(["B", "X"])
    who = people(log, JourneyRule(target=EUR), MICROS[:2], ())
    table = revenue_by_pattern(who, moments(who, layout), layout, payments(log, EUR))
    assert table[["B", "X", "cents"]].to_numpy().tolist() == [[1, 0, 300], [1, 1, 400]]


def test_late_conversions_are_said_to_be_open() -> None:
    log = shop(("u", 1, "A", 1.0, None), ("v", 90, "A", 1.0, None))
    paid = payments(log, EUR, RevenueTerms(within=20 * SECOND))
    assert (paid.account.conversions, paid.account.open_conversions) == (2, 1)
    assert any("1 of 2 conversions so recent" in note for note in paid.account.notes())
    assert payments(log, EUR).account.open_conversions == 0


def test_discounting_and_margin() -> None:
    year = 365.25 * 86_400
    log = shop(("u", 0, "A", 100.0, None), ("u", year, "A", 100.0, None))
    log = replace(log, observed_until=log.observed_until + pd.Timedelta(days=900))
    paid = payments(log, EUR, RevenueTerms(margin=0.3, discount_rate=0.25))
    assert [row[2] for row in rows_of(log, paid)] == [3_000, 2_400]


def test_currencies_are_never_mixed_silently() -> None:
    mixed = shop(
        ("u", 1, "A", 10.0, "EUR"), ("v", 1, "A", 10.0, "USD"), ("w", 1, "A", 10.0, "USD"), ("x", 2, "B", 1.0, "JPY")
    )
    with pytest.raises(ParameterError, match=r"EUR \(1 payment\), USD \(2 payments\).*reported in EUR.*rates=\{'USD'"):
        payments(mixed, EUR)
    unsaid = EUR.model_copy(update={"currency": None})
    with pytest.raises(ParameterError, match="nothing says what money to report in"):
        payments(mixed, unsaid, RevenueTerms(rates={"USD": 0.9}))
    paid = payments(mixed, unsaid, RevenueTerms(rates={"EUR": 1.25}, currency="USD"))
    assert (paid.account.cents, paid.account.currency) == (3_250, "USD")
    assert any("1 payment in EUR converted at 1.25 USD for one" in note for note in paid.account.notes())
    with pytest.raises(ParameterError, match="one EUR is one EUR, not 2"):
        payments(mixed, EUR, RevenueTerms(rates={"USD": 0.9, "EUR": 2.0}))
    # The plan's currency is not what the payments are in: that is no reason to relabel them.
    dollars = shop(("u", 1, "A", 10.0, "USD"))
    with pytest.raises(ParameterError, match="reported in EUR"):
        payments(dollars, EUR)
    assert payments(dollars, unsaid).account.currency == "USD"
    half = shop(("u", 1, "A", 10.0, "USD"), ("v", 1, "A", 10.0, None))
    with pytest.raises(ParameterError, match="1 payment without"):
        payments(half, unsaid)
    assert payments(half, unsaid, RevenueTerms(currency="USD")).account.cents == 2_000


def test_a_log_without_currencies_has_the_plans_or_none() -> None:
    log = shop(("u", 1, "A", 10.0, None), columns=("amount",))
    assert payments(log, EUR).account.currency == "EUR"
    assert payments(log, EUR.model_copy(update={"currency": None})).account.currency == ""


def test_nobody_buys() -> None:
    log = shop(("u", 1, "B", None, None), ("u", 2, "R", 5.0, "EUR"))
    paid = payments(log, EUR, RevenueTerms(refunds=(REFUND,)))
    assert paid.account.frame.to_dict("list") == {
        "fate": ["counted", "before the first conversion"], "events": [0, 1], "refunds": [0, 1], "cents": [0, -500],
    }  # fmt: skip
    layout = done_or_not(["B"])
    who = people(log, JourneyRule(target=EUR), MICROS[:1], ())
    table = revenue_by_pattern(who, moments(who, layout), layout, paid)
    assert list(table.columns) == ["B", "conversions", "payments", "cents"]
    assert stats.credit(table, {"B": 2.0})["credited_cents"].tolist() == [0, 0]
    assert outside_journeys(who, paid).iloc[0].tolist() == [0, 0, 0]


def test_missing_values_are_counted_and_said() -> None:
    log = shop(("u", 1, "A", None, "EUR"), ("u", 2, "A", float("inf"), "EUR"), ("u", 3, "A", 2.0, "EUR"))
    account = payments(log, EUR).account
    assert account.cents == 200
    assert "2 payments without a value count as none." in account.notes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": 0}, "margin=0"),
        ({"margin": 30}, "fraction above 0"),
        ({"margin": True}, "margin=True"),
        ({"discount_rate": -0.1}, "discount_rate=-0.1"),
        ({"discount_rate": float("nan")}, "discount_rate=nan"),
        ({"revenue": "last"}, "Unknown revenue 'last'"),
        ({"within": 0}, "within=0"),
        ({"within": "30D"}, "microseconds"),
        ({"currency": "euro"}, "'euro' is not a currency"),
        ({"rates": {"usd": 1.0}}, "'usd' is not a currency"),
        ({"rates": {"USD": 0}}, "rates: 'USD' is 0"),
        ({"rates": [1]}, "must be a mapping"),
        ({"refunds": (Micro(name="r", event="R", nth=2),)}, "happens once"),
    ],
)
def test_terms_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        RevenueTerms(**options)


def test_one_refund_is_as_good_as_a_list() -> None:
    assert RevenueTerms(refunds=REFUND).refunds == (REFUND,)  # type: ignore[arg-type]


def test_money_needs_a_column_of_numbers() -> None:
    log = shop(("u", 1, "A", 1.0, "EUR"))
    with pytest.raises(ParameterError, match="has no value"):
        payments(log, Micro(name="goal", event="A"))
    with pytest.raises(ParameterError, match="must hold numbers"):
        payments(log, EUR, RevenueTerms(value="currency"))
    with pytest.raises(ParameterError, match="Did you mean 'amount'"):
        payments(log, EUR, RevenueTerms(value="amounts"))
