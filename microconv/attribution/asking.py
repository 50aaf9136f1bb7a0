"""What a caller may ask of ``mc.attribution``, checked and put in the reductions' terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from microconv.attribution.definitions import CHAINS, GAMES, asked_models, definition
from microconv.durations import Duration, format_duration, to_micros
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.path_changes import Transform, checked_transforms
from microconv.reduce.items import is_plain
from microconv.reduce.money import RevenueTerms
from microconv.reduce.path_rules import RULES, PathRule
from microconv.steps import Step, as_item, label, segment_columns

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.payment_terms import PaymentTerms
    from microconv.plan import Item

__all__ = ["AUTO", "Choices", "Question", "ask", "asked", "choices"]

AUTO = "auto"
_TAKEN = (
    "channel", "model", "conversions", "ci_low", "ci_high", "value", "value_ci_low", "value_ci_high", "share", "rank",
    "rank_stability",
)  # fmt: skip
# What time decay takes where the survival model chooses, and what that chooses from.
_HALF_LIVES = ("7D", "1D", "3D", "14D", "30D")


@dataclass(frozen=True)
class Choices:
    """What a model takes, whether paths come from events or were aggregated before."""

    models: tuple[str, ...]
    direct: tuple[str, ...]
    position: tuple[float, float, float]
    game: str
    confidence: float
    replicates: int
    seed: int

    @property
    def rules(self) -> tuple[str, ...]:
        """The models that divide each conversion on its own."""
        return tuple(name for name in self.models if name in RULES)

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders of the chains."""
        return tuple(CHAINS[name] for name in self.models if name in CHAINS)

    def definitions(self, half_life: str, survival_half_life: str = "") -> dict[str, str]:
        """Each model in words."""
        first, middle, last = self.position
        values = {
            "direct": ", ".join(repr(name) for name in self.direct) or "nothing",
            "first": first,
            "middle": middle,
            "last": last,
            "half_life": half_life,
            "survival_half_life": survival_half_life,
            "game": GAMES[self.game],
        }
        return {name: definition(name, **values) for name in self.models}


@dataclass(frozen=True)
class Question:
    """A checked question about a log. ``half_lives``: those that the survival model chooses from, in microseconds;
    ``by``: an attribute at entry whose levels are also answered apart.
    """

    choices: Choices
    rule: PathRule
    half_lives: tuple[int, ...]
    check: bool
    by: str | None


def choices(
    model: str | Sequence[str],
    *,
    timed: bool,
    direct: str | Sequence[str],
    position: Sequence[float],
    game: str,
    confidence: float,
    replicates: int,
    seed: int,
) -> Choices:
    """Check what every model takes. Raises ``ParameterError``."""
    models = asked_models(model, timed)
    if game not in GAMES:
        raise ParameterError(unknown_name("game", game, GAMES))
    for name, number, least in (("replicates", replicates, 100), ("seed", seed, 0)):
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or (number < least and not (name == "replicates" and number == 0)):
            allowed = "100 or more, or 0 for no intervals" if name == "replicates" else "0 or more"
            raise ParameterError(f"{name}={shorten(repr(number))} must be a whole number, {allowed}.")
    return Choices(
        models=models,
        direct=(direct,) if isinstance(direct, str) else tuple(direct),
        position=_weights(position),
        game=game,
        confidence=confidence,
        replicates=replicates,
        seed=seed,
    )


def _weights(position: Sequence[float]) -> tuple[float, float, float]:
    wrong = ParameterError(
        f"position={shorten(repr(position))} must be three weights of 0 or more, not all 0: of the first touch, of "
        "those between and of the last, such as (0.4, 0.2, 0.4)."
    )
    try:
        given = [float(weight) for weight in position]
    except (TypeError, ValueError):
        raise wrong from None
    if len(given) != 3 or not all(math.isfinite(weight) and weight >= 0 for weight in given) or not sum(given):
        raise wrong
    first, middle, last = (weight / sum(given) for weight in given)
    return first, middle, last


def ask(
    log: EventLog,
    chosen: Choices,
    *,
    target: Step | None,
    touch: Step | None,
    channel: str,
    lookback: Duration | None,
    reset: bool,
    repeat: Literal["each", "first"],
    transforms: Transform | Sequence[Transform],
    half_life: Duration,
    check: bool,
    by: str | None,
    worth: Step | None,
    worth_within: Duration | None,
    terms: PaymentTerms,
) -> Question:
    """Check what only a log takes. Raises ``ParameterError``."""
    goal = _target(log, target, repeat)
    for name, value in (("reset", reset), ("check", check)):
        if not isinstance(value, bool):
            raise ParameterError(f"{name}={shorten(repr(value))} must be True or False.")
    by_data = half_life == AUTO
    if by_data and "survival" not in chosen.models:
        raise ParameterError("half_life='auto' is chosen by the survival model only. Ask for it, or give a duration.")
    half_lives = tuple(to_micros(each, "half_life") for each in (_HALF_LIVES if by_data else (half_life,)))
    rule = PathRule(
        target=goal,
        touch=as_item(log, touch, "touch") if touch is not None else None,
        channel=_channel(log, channel),
        lookback=_lookback(log, lookback),
        reset=reset,
        repeat=repeat,
        transforms=checked_transforms(transforms),
        direct=chosen.direct,
        position=chosen.position,
        half_life=half_lives[0],
        terms=_money(log, goal, worth, terms),
        worth=as_item(log, worth, "worth") if worth is not None else None,
        worth_within=to_micros(worth_within, "worth_within") if worth_within is not None else None,
    )
    return Question(
        chosen,
        rule,
        half_lives if by_data else half_lives[:1],
        check,
        segment_columns(log, by, _TAKEN)[0] if by is not None else None,
    )


def _money(log: EventLog, goal: Item, worth: Step | None, terms: PaymentTerms) -> RevenueTerms | None:
    """How money is counted; None where nothing says which column holds it."""
    checked = terms.checked(log)
    paying = as_item(log, worth, "worth") if worth is not None else goal
    if checked.value is None and getattr(paying, "value", None) is None:
        return None
    return checked


def _target(log: EventLog, target: Step | None, repeat: str) -> Item:
    if repeat not in ("each", "first"):
        raise ParameterError(unknown_name("repeat", repeat, ("each", "first")))
    if target is None:
        goal: Item = log.require_plan("attribution without target=").macros[0]
    else:
        goal = as_item(log, target, "target")
        known = [item.name for item in log.plan.items] if log.plan is not None else []
        events = list(log.event_counts.index)
        if isinstance(target, str) and target not in known and target not in events:
            raise ParameterError(unknown_name("target", target, [*known, *events]))
    if repeat == "each" and not is_plain(goal):
        raise ParameterError(
            f"The target {goal.name!r} (nth or total) happens once by definition. Pass repeat='first', or name the "
            "event itself."
        )
    return goal


def _channel(log: EventLog, channel: str) -> str:
    if channel == "ga4":
        log.require_columns(["source", "medium"], "channel='ga4'")
    else:
        log.require_columns([channel], "channel")
    return channel


def _lookback(log: EventLog, lookback: Duration | None) -> int | None:
    """As given, else the plan's, else its horizon; ``"none"``: no limit."""
    if lookback == "none":
        return None
    plan = log.plan
    given: Any = lookback if lookback is not None else (plan.lookback or plan.horizon) if plan is not None else None
    if given is None:
        raise ParameterError(
            "attribution needs a lookback: how far before a conversion a touch may count. Pass lookback='30D' (or "
            "'none' for no limit), or put lookback: 30D into the plan."
        )
    return to_micros(given, "lookback")


def asked(question: Question, terms: PaymentTerms) -> dict[str, Any]:
    """What was asked of a log, as ``Result.parameters`` says it."""
    rule = question.rule
    return {
        "target": rule.target.name,
        "touch": rule.touch.name if rule.touch is not None else None,
        "channel": rule.channel,
        "lookback": format_duration(rule.lookback) if rule.lookback is not None else "none",
        "reset": rule.reset,
        "repeat": rule.repeat,
        "transforms": [list(transform) for transform in rule.transforms],
        "half_life": format_duration(rule.half_life) if len(question.half_lives) == 1 else "auto",
        "by": question.by,
        "check": question.check,
        "worth": rule.worth.name if rule.worth is not None else None,
        "worth_within": format_duration(rule.worth_within) if rule.worth_within is not None else None,
        "refunds": [label(step) for step in terms.listed_refunds],
        "margin": terms.margin,
        "discount_rate": terms.discount_rate,
        "currency": terms.currency or getattr(rule.worth or rule.target, "currency", None),
        "rates": dict(terms.rates),
    }
