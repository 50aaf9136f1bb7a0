"""Refunded orders against a loop over events."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from reference.funnels import Event
from reference.logs import log_of
from reference.revenue import shop_events

from microconv.plan import End, Macro
from microconv.reduce.orders import refunded_orders
from microconv.reduce.revenue import RevenueTerms

GOAL = Macro(name="goal", event="A", value="amount", currency="EUR")
TERMS = RevenueTerms(refunds=(End(name="refund", event="R"),))


def loop(events: list[Event]) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """(order, currency, bought, refunded, paid, left) of refunded orders, and what is left out."""
    orders: dict[str, list[Event]] = {}
    counts = {"unnamed": 0, "unmatched": 0, "several_currencies": 0}
    for event in events:
        amount, order = event.columns["amount"], (event.columns["order"] or "").strip()
        if event.event not in "AR" or amount is None or amount != amount:
            continue
        if order:
            orders.setdefault(order, []).append(event)
        elif event.event == "R" or amount < 0:
            counts["unnamed"] += 1
    rows = []
    for order, mine in orders.items():
        back = [e for e in mine if e.event == "R" or e.columns["amount"] < 0]
        paid = [e for e in mine if e not in back]
        if not back:
            continue
        if not paid or max(e.time for e in back) < min(e.time for e in paid):
            counts["unmatched"] += 1
        elif len({e.columns["currency"] for e in mine}) > 1:
            counts["several_currencies"] += 1
        else:
            whole = sum(_cents(e.columns["amount"]) for e in paid)
            rest = whole - sum(_cents(abs(e.columns["amount"])) for e in back)
            times = min(e.time for e in paid), max(e.time for e in back)
            rows.append((order, mine[0].columns["currency"] or "", *times, whole, rest))
    return sorted(rows, key=lambda row: (row[2], row[0])), counts


def _cents(amount: float) -> int:
    """Half a cent counts as one; no amount here is so near to a half that the multiplication decides."""
    return int(amount * 100 + 0.5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_refunded_orders_are_those_of_a_loop(seed: int) -> None:
    rng = random.Random(seed)
    events = [
        replace(event, columns=event.columns | {"order": rng.choice([None, "", " o1 ", *[f"o{n}" for n in range(12)]])})
        for event in shop_events(rng, 12, ("EUR", "EUR", "EUR", None))
    ]
    found = refunded_orders(log_of(events), GOAL, TERMS, "order")
    rows, counts = loop(events)
    assert list(found.frame.drop(columns="user").itertuples(index=False, name=None)) == rows
    assert {name: getattr(found, name) for name in counts} == counts
    # Of an order that several users share, the first by name stands for all.
    owners = {
        row[0]: min(e.user for e in events if _counts(e) and (e.columns["order"] or "").strip() == row[0])
        for row in rows
    }
    names = sorted(set(owners.values()))
    assert found.frame["user"].tolist() == [names.index(owners[row[0]]) for row in rows]


def _counts(event: Event) -> bool:
    amount = event.columns["amount"]
    return event.event in "AR" and amount is not None and amount == amount
