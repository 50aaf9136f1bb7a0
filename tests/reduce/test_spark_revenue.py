"""Payments, their account and money by pattern are the same on DuckDB and on Spark, to the cent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.journeys import journey_rule
from microconv.log import EventLog
from microconv.plan import End, Micro
from microconv.reduce.entrants import people
from microconv.reduce.orders import refunded_orders
from microconv.reduce.revenue import (
    RevenueTerms,
    outside_journeys,
    payments,
    revenue_by_pattern,
    revenue_of,
    worth_by_pattern,
)
from microconv.reduce.states import done_or_not, moments

pytestmark = pytest.mark.spark

PLAN: dict[str, Any] = {
    "macros": [{"name": "purchase", "event": "purchase", "value": "value", "currency": "EUR"}],
    "micros": [{"name": "signup", "event": "signup"}, {"name": "third_view", "event": "view", "nth": 3}],
    "competing": ["unsubscribe"],
}
EVENTS = ["view", "view", "view", "signup", "purchase", "purchase", "refund", "unsubscribe"]
DAY = 86_400_000_000
REFUND = End(name="refund", event="refund")
TERMS = [
    RevenueTerms(refunds=(REFUND,), rates={"USD": 0.9173}),
    RevenueTerms(refunds=(REFUND,), rates={"USD": 0.9173}, margin=0.35, discount_rate=0.08, within=9 * DAY),
    RevenueTerms(rates={"USD": 0.9173}, revenue="first"),
]


def _frame(rows: int = 700, users: int = 90, seed: int = 4) -> pd.DataFrame:
    """Events at whole hours, so that ties abound; halves of cents, values below zero, missing ones and two
    currencies.
    """
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, users, rows)],
            "time": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 24 * 25, rows), unit="h"),
            "event": rng.choice(EVENTS, rows),
            "value": rng.choice([9.99, 20.125, 33.335, 0.285, -4.5, np.nan], rows),
            "currency": rng.choice(np.array(["EUR", "usd ", None], dtype=object), rows),
            "device": rng.choice(np.array(["mobile", "desktop", None], dtype=object), rows),
            "order": rng.choice(np.array([f"o{n}" for n in range(120)] + [None], dtype=object), rows),
        }
    )


@pytest.fixture(scope="module")
def both(spark: Any) -> dict[str, EventLog]:
    """The same events, read on each engine."""
    frame = _frame()
    spark._session.createDataFrame(frame).createOrReplaceTempView("revenue_events")
    return {
        "duckdb": mc.read_events(frame, plan=PLAN),
        "spark": mc.read_events(spark.table("revenue_events"), plan=PLAN),
    }


def _same(both: dict[str, EventLog], reduce: Callable[[EventLog], pd.DataFrame], exact: bool = True) -> pd.DataFrame:
    one, other = (reduce(both[engine]) for engine in ("duckdb", "spark"))
    keys = list(one.columns)
    one, other = (frame.sort_values(keys).reset_index(drop=True) for frame in (one, other))
    pd.testing.assert_frame_equal(one, other, check_dtype=False, check_exact=exact)
    assert len(one) > 0
    return one


@pytest.mark.parametrize("terms", TERMS)
def test_payments_account_and_users(both: dict[str, EventLog], terms: RevenueTerms) -> None:
    def paid(log: EventLog) -> Any:
        assert log.plan is not None
        return payments(log, log.plan.macros[0], terms)

    found = _same(both, lambda log: log.engine.fetch(paid(log).table))
    assert (found["cents"] < 0).any()
    _same(both, lambda log: paid(log).account.frame)
    _same(both, lambda log: paid(log).account.by_currency)
    _same(both, lambda log: log.engine.fetch(revenue_of(paid(log))))
    assert paid(both["duckdb"]).account.notes() == paid(both["spark"]).account.notes()


def test_an_nth_purchase(both: dict[str, EventLog]) -> None:
    target = Micro(name="second", event="purchase", nth=2)
    terms = RevenueTerms(value="value", currency="EUR", rates={"USD": 0.9173})
    _same(both, lambda log: log.engine.fetch(payments(log, target, terms).table))


def test_money_by_pattern(both: dict[str, EventLog]) -> None:
    layout = done_or_not(("signup", "third_view"))

    def counted(log: EventLog, what: str) -> pd.DataFrame:
        assert log.plan is not None
        who = people(log, journey_rule(log, None, "entry", None, None), log.plan.micros, ("device",))
        paid = payments(log, log.plan.macros[0], TERMS[0])
        if what == "outside":
            return outside_journeys(who, paid)
        reduction = revenue_by_pattern if what == "by purchase" else worth_by_pattern
        return reduction(who, moments(who, layout), layout, paid)

    found = _same(both, lambda log: counted(log, "by purchase"))
    assert found[["signup", "third_view"]].drop_duplicates().shape[0] == 4
    _same(both, lambda log: counted(log, "by conversion"), exact=False)
    _same(both, lambda log: counted(log, "outside"))


def test_refunded_orders(both: dict[str, EventLog]) -> None:
    def orders(log: EventLog) -> Any:
        assert log.plan is not None
        return refunded_orders(log, log.plan.macros[0], RevenueTerms(refunds=(REFUND,)), "order")

    found = _same(both, lambda log: orders(log).frame)
    assert found["refunded"].notna().all()
    one, other = orders(both["duckdb"]), orders(both["spark"])
    for name in ("unnamed", "unmatched", "several_currencies"):
        assert getattr(one, name) == getattr(other, name) > 0, name
