"""How money is counted, and the account of what was done with each payment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.plan import Item
from microconv.reduce.items import is_plain

__all__ = [
    "AFTER",
    "BEFORE",
    "CENTS",
    "COUNTED",
    "FATES",
    "LATER",
    "NO_VALUE",
    "Account",
    "RevenueTerms",
    "currency_code",
    "some",
]

CENTS = 100  # parts of one unit of money, whatever smaller coins its currency has
# What becomes of a payment, in the order in which it is judged.
COUNTED, NO_VALUE, BEFORE, AFTER, LATER = (
    "counted", "without a value", "before the first conversion", "after the window", "of a later conversion",
)  # fmt: skip
FATES = (COUNTED, NO_VALUE, BEFORE, AFTER, LATER)


@dataclass(frozen=True)
class RevenueTerms:
    """How money is counted.

    * ``margin``: the share of each payment that is earned (above 0, up to 1). ``discount_rate``: per year of 365.25
      days from the user's first conversion on (0.1: money a year later is worth 1 / 1.1 of it).
    * ``revenue``: ``"all"`` payments from the first conversion on, or those of the ``"first"`` conversion (all at its
      instant) with their refunds. ``within``: microseconds after the first conversion, its end included.
    * ``refunds``: events whose value, of either sign, was paid back. A target event below zero is a refund as well.
    * ``value``: the column of the money (default: the target's own). ``currency``: what money is reported in (default:
      the target's, else the only one of the log's column ``currency``); ``rates``: one unit of another in it.
    """

    margin: float = 1.0
    discount_rate: float = 0.0
    revenue: Literal["all", "first"] = "all"
    refunds: tuple[Item, ...] = ()
    within: int | None = None
    value: str | None = None
    currency: str | None = None
    rates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _is_number(self.margin) or not 0 < self.margin <= 1:
            raise ParameterError(
                f"margin={shorten(repr(self.margin))} must be a fraction above 0 and up to 1 (30 % is 0.3)."
            )
        if not _is_number(self.discount_rate) or self.discount_rate < 0:
            raise ParameterError(
                f"discount_rate={shorten(repr(self.discount_rate))} must be a fraction per year, 0 or more (0.1: 10 %)."
            )
        if self.revenue not in ("all", "first"):
            raise ParameterError(unknown_name("revenue", self.revenue, ("all", "first")))
        if isinstance(self.refunds, Item):
            object.__setattr__(self, "refunds", (self.refunds,))
        for item in self.refunds:
            if not is_plain(item):
                raise ParameterError(
                    f"The refund {item.name!r} is defined by nth or total and happens once. Name the event itself."
                )
        whole = isinstance(self.within, int) and not isinstance(self.within, bool)
        if self.within is not None and (not whole or self.within <= 0):
            raise ParameterError(f"within={shorten(repr(self.within))} must be a whole number of microseconds above 0.")
        if self.currency is not None:
            currency_code(self.currency, "currency")
        if not isinstance(self.rates, Mapping):
            raise ParameterError(f"rates={shorten(repr(self.rates))} must be a mapping, such as {{'USD': 0.92}}.")
        for code, rate in self.rates.items():
            currency_code(code, "rates")
            if not _is_number(rate) or rate <= 0:
                raise ParameterError(
                    f"rates: {code!r} is {shorten(repr(rate))}. Say what one {code} is worth: {{{code!r}: 0.92}}."
                )


@dataclass(frozen=True, eq=False)
class Account:
    """What was done with each payment, so that no money is lost in silence.

    ``frame``: ``fate, events, refunds`` (how many of the events), ``cents`` (hundredths of ``currency``, margin taken
    and discounted; 0 where there is no value). ``by_currency``: ``currency, rate, events, hundredths`` as paid, before
    rate and margin. ``conversions``: users who ever converted; ``open_conversions``: those of them whose window
    (``within``) is not over yet, so that more may come.
    """

    currency: str
    frame: pd.DataFrame
    by_currency: pd.DataFrame
    conversions: int
    open_conversions: int

    @property
    def cents(self) -> int:
        """The money that counts."""
        return self._of(COUNTED, "cents")

    def _of(self, fate: str, column: str) -> int:
        return int(self.frame.loc[self.frame["fate"] == fate, column].sum())

    @property
    def empty(self) -> bool:
        """Whether there are payments, and none that has a value."""
        return len(self.by_currency) == 0 and self._of(NO_VALUE, "events") > 0

    def notes(self) -> list[str]:
        """What a reader must know of the money: what is missing, left out, converted or still to come."""
        unit = self.currency or "units"
        found = []
        if missing := self._of(NO_VALUE, "events"):
            found.append(f"{some(missing, 'payment')} without a value count as none.")
        for fate in (BEFORE, AFTER, LATER):
            if events := self._of(fate, "events"):
                found.append(
                    f"Left out: {some(events, 'payment')} {fate} ({self._of(fate, 'cents') / CENTS:,.2f} {unit})."
                )
        if refunds := self._of(COUNTED, "refunds"):
            found.append(f"{some(refunds, 'refund')} subtracted.")
        for row in self.by_currency.to_dict("records"):
            if row["currency"] != self.currency:
                moved = some(row["events"], "payment")
                found.append(f"{moved} in {row['currency']} converted at {row['rate']:g} {unit} for one.")
        if self.open_conversions:
            found.append(
                f"{self.open_conversions:,} of {some(self.conversions, 'conversion')} so recent that more payments (or "
                "refunds) may come within the window."
            )
        return found


def some(number: int, what: str) -> str:
    """A count with its word: "1 payment", "2,000 payments"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def currency_code(code: object, what: str) -> str:
    """A currency as three capital letters (ISO 4217). Raises ``ParameterError`` that names the parameter ``what``."""
    if not isinstance(code, str) or len(code) != 3 or not (code.isascii() and code.isalpha() and code.isupper()):
        raise ParameterError(
            f"{what}: {shorten(repr(code))} is not a currency. Write its three capital letters, such as 'EUR'."
        )
    return code


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
