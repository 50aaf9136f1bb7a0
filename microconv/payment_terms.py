"""How money is counted, as a caller says it: checked, and put in the reductions' terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from microconv.durations import Duration, to_micros
from microconv.reduce.money import RevenueTerms
from microconv.steps import Step, as_item

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["PaymentTerms"]


@dataclass(frozen=True)
class PaymentTerms:
    """How money is counted, as the caller said it."""

    refunds: Step | Sequence[Step] = ()
    margin: float = 1.0
    discount_rate: float = 0.0
    revenue: str = "first"
    within: Duration | None = None
    value: str | None = None
    currency: str | None = None
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def listed_refunds(self) -> list[Step]:
        """The refunds as a list."""
        return [self.refunds] if isinstance(self.refunds, str | Mapping) else list(self.refunds)

    def checked(self, log: EventLog) -> RevenueTerms:
        """The same in the reduction's terms. Raises ``ParameterError``."""
        return RevenueTerms(
            margin=self.margin,
            discount_rate=self.discount_rate,
            revenue=self.revenue,  # type: ignore[arg-type]
            refunds=tuple(as_item(log, step, "refund") for step in self.listed_refunds),
            within=to_micros(self.within, "revenue_within") if self.within is not None else None,
            value=self.value,
            currency=self.currency,
            rates=self.rates,
        )
