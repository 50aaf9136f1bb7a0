"""What users pay and in which state they were at the purchase, payment by payment, written from the definitions.

Nothing here is shared with the package, and nothing is fast.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from reference.funnels import Event
from reference.journeys import Thing, by_user
from reference.logs import BASE, SECOND
from reference.states import Traveller

__all__ = ["AMOUNTS", "Money", "Paid", "by_pattern", "paid_by", "shop_events"]

AMOUNTS = [None, 0.0, 0.125, 0.285, 19.99, 33.335, 120.0, -7.5, -0.125, float("nan")]
_YEAR = 365.25 * 86_400_000_000


@dataclass(frozen=True)
class Money:
    """The terms: refunds by event name, the window in microseconds, what one unit of a currency is worth."""

    margin: float = 1.0
    discount: float = 0.0
    first_only: bool = False
    refunds: tuple[str, ...] = ()
    within: int | None = None
    rates: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Paid:
    """One payment that counts; ``first`` and ``bought`` are moments."""

    user: str
    at: int
    cents: int
    first: int
    bought: int


def shop_events(
    rng: random.Random, users: int, currencies: Sequence[str | None] = ("EUR",), span: int = 9
) -> list[Event]:
    """Purchases (A), refunds (R), other ends (C) and micros (B, X) at whole seconds of a short span: ties abound."""
    events: list[Event] = []
    for user in range(users):
        for _ in range(rng.randint(1, 9)):
            columns = {
                "amount": rng.choice(AMOUNTS),
                "currency": rng.choice(currencies),
                "device": rng.choice([None, "desktop", "mobile"]),
            }
            time = BASE + rng.randrange(span) * SECOND
            events.append(Event(len(events), f"u{user:03d}", time, rng.choice("AAAARRBBXXC"), columns))
    return events


def paid_by(events: Sequence[Event], target: Thing, money: Money) -> tuple[list[Paid], Counter[str]]:
    """The payments that count, and how many events each fate has."""
    found: list[Paid] = []
    fates: Counter[str] = Counter()
    for user, mine in by_user(events).items():
        first = target.first(mine)
        goal = Thing(target.event, target.where)
        bought = [e.time for e in mine if _hits(goal, e) and not _paid_back(e, money)]
        for event in mine:
            if not (_hits(goal, event) or event.event in money.refunds):
                continue
            amount = event.columns["amount"]
            if amount is None or amount != amount:
                fates["without a value"] += 1
                continue
            if first is None or event.time < first:
                fates["before the first conversion"] += 1
                continue
            if money.within is not None and event.time - first > money.within:
                fates["after the window"] += 1
                continue
            latest = max([time for time in bought if time <= event.time], default=first)
            latest = max(latest, first)
            if money.first_only and latest > first:
                fates["of a later conversion"] += 1
                continue
            fates["counted"] += 1
            if event.event in money.refunds:
                amount = -abs(amount)
            found.append(Paid(user, event.time, _cents(event, amount, first, money), first, latest))
    return found, fates


def by_pattern(
    paid: Sequence[Paid], travellers: Sequence[Traveller]
) -> dict[tuple[tuple[str, ...], tuple[int, ...]], tuple[int, int, int]]:
    """(segment, state) -> conversions, payments and cents, of users whose journey ends in the target."""
    found: dict[tuple[tuple[str, ...], tuple[int, ...]], list[int]] = {}
    for one in travellers:
        if one.cause != 1:
            continue
        found.setdefault((one.segment, _state(one, one.stop)), [0, 0, 0])[0] += 1
        for payment in paid:
            if payment.user == one.user:
                state = _state(one, one.stop + 2 * (payment.bought - payment.first))
                row = found.setdefault((one.segment, state), [0, 0, 0])
                row[1] += 1
                row[2] += payment.cents
    return {key: (row[0], row[1], row[2]) for key, row in found.items()}


def _state(one: Traveller, time: int) -> tuple[int, ...]:
    """What was done just before; a micro before time zero counts from just after it."""
    return tuple(int(at is not None and max(at, 0, one.enter) < time) for at in one.done)


def _hits(goal: Thing, event: Event) -> bool:
    return event.event == goal.event and (goal.where is None or goal.where(event.columns) is True)


def _paid_back(event: Event, money: Money) -> bool:
    amount = event.columns["amount"]
    return event.event in money.refunds or (amount is not None and amount < 0)


def _cents(event: Event, amount: float, first: int, money: Money) -> int:
    rate = (money.rates or {}).get((event.columns["currency"] or "").strip().upper(), 1.0)
    worth = amount * (100 * rate * money.margin) if rate != 1.0 else amount * (100 * money.margin)
    if money.discount:
        worth = worth / (1 + money.discount) ** ((event.time - first) / _YEAR)
    return int(Decimal(worth).quantize(Decimal(1), ROUND_HALF_UP))
