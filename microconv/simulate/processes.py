"""What happens in a simulated world: the micros, the macro, other ends, and the traits that users bring along.

Everything is a counting process in continuous time since entry. A process has a base rate (piecewise constant) that is
multiplied by ratios: of the user's traits, of observed and hidden intent, and of the micros already done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from microconv.errors import ParameterError, shorten
from microconv.simulate.checks import check_known, check_name, check_number, check_ratios, check_share, check_shares

__all__ = ["KINDS", "End", "Eventual", "Intent", "Macro", "Micro", "OrderValue", "Steps", "Trait", "as_steps"]

KINDS = ("engagement", "form", "content", "social", "identity", "intent", "survey")


@dataclass(frozen=True)
class Steps:
    """A rate per day that is constant between cut points of the time since entry.

    ``per_day`` has one value more than ``cuts_days``; value i holds on (cut i-1, cut i].
    """

    cuts_days: tuple[float, ...]
    per_day: tuple[float, ...]

    def __post_init__(self) -> None:
        for cut in self.cuts_days:
            check_number("Steps: cuts_days", cut)
        for rate in self.per_day:
            check_number("Steps: per_day", rate, zero=True)
        if any(after <= before for before, after in zip(self.cuts_days, self.cuts_days[1:], strict=False)):
            raise ParameterError(f"Steps: cuts_days={self.cuts_days} must grow from each to the next.")
        if len(self.per_day) != len(self.cuts_days) + 1:
            raise ParameterError(
                f"Steps: {len(self.cuts_days)} cut points make {len(self.cuts_days) + 1} intervals, "
                f"but per_day={self.per_day} has {len(self.per_day)} rates."
            )

    def at(self, age_days: float) -> float:
        """The rate per day just after an age."""
        return self.per_day[sum(cut <= age_days for cut in self.cuts_days)]


@dataclass(frozen=True)
class Eventual:
    """In place of the macro's rate: a share of the users converts in the end, the others never.

    Those who do wait a Weibull time since entry: by day t, ``1 - exp(-(t / scale_days) ** shape)`` of them have
    converted. ``share`` is that of low intent and level ratios of 1; effects on the macro multiply the share.
    """

    share: float = 0.4
    scale_days: float = 10.0
    shape: float = 0.8

    def __post_init__(self) -> None:
        check_share("Eventual: share", self.share)
        check_number("Eventual: scale_days", self.scale_days)
        check_number("Eventual: shape", self.shape)


def as_steps(rate: float | Steps | Eventual) -> Steps:
    """A constant rate as ``Steps`` without a cut; what comes once or never has no rate among the clocks."""
    if isinstance(rate, Eventual):
        return Steps((), (0.0,))
    return rate if isinstance(rate, Steps) else Steps((), (float(rate),))


def _check_rate(what: str, rate: object) -> None:
    if not isinstance(rate, Steps):
        check_number(what, rate, zero=True)


@dataclass(frozen=True)
class OrderValue:
    """The money of a macro: log-normal around ``median``, in ``currency``; a share of the orders is paid back."""

    median: float = 60.0
    sigma: float = 0.6
    currency: str = "EUR"
    refund_share: float = 0.0
    refund_after_days: float = 10.0

    def __post_init__(self) -> None:
        check_number("OrderValue: median", self.median)
        check_number("OrderValue: sigma", self.sigma, zero=True)
        check_name("OrderValue: currency", self.currency)
        check_share("OrderValue: refund_share", self.refund_share)
        check_number("OrderValue: refund_after_days", self.refund_after_days)


@dataclass(frozen=True)
class Macro:
    """The macro-conversion: its base rate per day by time since entry and what intent does to it.

    ``rate_per_day=Eventual(...)`` plants the share that converts in the end; then micros have no effect on the macro,
    and nothing competes with it. ``ends_journey=False`` lets the user go on and convert again; probabilities always
    speak of the first. ``requires``: a micro that must come first, such as a checkout; until then the rate is 0.
    """

    name: str = "purchase"
    rate_per_day: float | Steps | Eventual = 0.01
    intent_effect: float = 1.0
    hidden_intent_effect: float = 1.0
    value: OrderValue | None = field(default_factory=OrderValue)
    ends_journey: bool = True
    requires: str | None = None

    def __post_init__(self) -> None:
        check_name("Macro: name", self.name)
        if isinstance(self.rate_per_day, Eventual):
            if not self.ends_journey:
                raise ParameterError(
                    f"Macro({self.name!r}): ends_journey=False lets it come again, but an Eventual macro comes once. "
                    "Leave ends_journey at True, or plant a rate per day."
                )
            if self.requires is not None:
                raise ParameterError(
                    f"Macro({self.name!r}): requires={self.requires!r} holds a rate back, but an Eventual macro has "
                    "none. Leave it out, or plant a rate per day."
                )
        else:
            _check_rate(f"Macro({self.name!r}): rate_per_day", self.rate_per_day)
        for option in ("intent_effect", "hidden_intent_effect"):
            check_number(f"Macro({self.name!r}): {option}", getattr(self, option))


@dataclass(frozen=True)
class Micro:
    """A micro-conversion: how often it happens, to whom, and what it does.

    * ``rate_per_day``: base rate of its first occurrence, for low intent and level ratios of 1.
    * ``hazard_ratio``: times the macro's rate from just after the micro; 1 is a decoy.
    * ``causes``: other processes whose rate it multiplies, such as ``{"add_to_cart": 4.0}``.
    * ``intent_effect``, ``hidden_intent_effect``: its own rate with high over low intent.
    * ``requires``: a micro that must come first. ``fade_days``: after that its ratios are 1 again.
    * ``value_ratio``: times the order value. ``repeats_per_day``: further occurrences after the first, without effect.
    * ``event``, ``where``, ``nth``: how the plan finds it; ``columns``: what its rows carry (of several, one is drawn).
    """

    name: str
    kind: str = "engagement"
    rate_per_day: float | Steps = 0.02
    hazard_ratio: float = 1.0
    intent_effect: float = 1.0
    hidden_intent_effect: float = 1.0
    causes: Mapping[str, float] = field(default_factory=dict)
    requires: str | None = None
    fade_days: float | None = None
    value_ratio: float = 1.0
    repeats_per_day: float = 0.0
    event: str | None = None
    where: str | None = None
    nth: int | None = None
    columns: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    page: str | None = None
    carries_item: bool = False
    in_plan: bool = True
    kpi: str | None = None

    def __post_init__(self) -> None:
        check_name("Micro: name", self.name)
        what = f"Micro({shorten(repr(self.name), 40)})"
        check_known(f"kind of {what}", self.kind, KINDS)
        _check_rate(f"{what}: rate_per_day", self.rate_per_day)
        for option in ("hazard_ratio", "intent_effect", "hidden_intent_effect", "value_ratio"):
            check_number(f"{what}: {option}", getattr(self, option))
        check_number(f"{what}: repeats_per_day", self.repeats_per_day, zero=True)
        check_ratios(f"{what}: causes", self.causes, zero=True)
        if self.fade_days is not None:
            check_number(f"{what}: fade_days", self.fade_days)

    @property
    def event_name(self) -> str:
        """The event that its rows carry."""
        return self.event if self.event is not None else self.name


@dataclass(frozen=True)
class End:
    """Another end of a journey, or of its observation: its rate, and a micro that must come first."""

    name: str
    rate_per_day: float | Steps = 0.001
    requires: str | None = None

    def __post_init__(self) -> None:
        check_name("End: name", self.name)
        _check_rate(f"End({self.name!r}): rate_per_day", self.rate_per_day)


@dataclass(frozen=True)
class Intent:
    """How much a user wants to buy: a share has high intent, the others low."""

    column: str
    share_high: float = 0.3
    low: str = "low"
    high: str = "high"

    def __post_init__(self) -> None:
        check_name("Intent: column", self.column)
        check_share(f"Intent({self.column!r}): share_high", self.share_high)
        if self.low == self.high:
            raise ParameterError(f"Intent({self.column!r}): low and high are both {self.low!r}. Name them apart.")


@dataclass(frozen=True)
class Trait:
    """An attribute fixed at entry and written to the log: shares of its levels, and ratios by process and level.

    ``effects={"purchase": {"mobile": 0.7}}``: on mobile the purchase rate is 0.7 times that of levels not named.
    Keys are micros, the macro, ends, ``"visits"`` (return visits) and ``"order_value"``.
    """

    column: str
    shares: Mapping[str, float]
    effects: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("Trait: column", self.column)
        check_shares(f"Trait({self.column!r}): shares", self.shares)
        for process, ratios in self.effects.items():
            check_ratios(f"Trait({self.column!r}): effects[{process!r}]", ratios)
            for level in ratios:
                check_known(f"level of Trait({self.column!r}) in effects[{process!r}]", level, self.shares)
