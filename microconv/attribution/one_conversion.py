"""One conversion divided among the touches before it, by each model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from microconv.attribution.definitions import CHAINS
from microconv.attribution.surviving import fitted_to, half_life_of
from microconv.attribution.words import BASELINE, OVERLAP, UNATTRIBUTED
from microconv.durations import days, format_duration
from microconv.errors import ParameterError
from microconv.path_table import rule_shares

if TYPE_CHECKING:
    from microconv.attribution.asking import Question
    from microconv.log import EventLog
    from microconv.reduce.path_of_user import Conversion, Touch, UserPaths
    from microconv.reduce.path_rules import PathRule

__all__ = ["BY_CHANNEL", "Divided", "Part", "divide"]

# Models that give to channels: touches of one channel are alike to them.
BY_CHANNEL = ("linear_unique", "any_touch", "shapley", *CHAINS)


@dataclass(frozen=True)
class Part:
    """What ``touch`` (None: no touch, as ``channel`` says) has of the conversion by ``model``; ``place`` on the path,
    from 0 (None: before the path, where only survival looks).
    """

    model: str
    touch: Touch | None
    place: int | None
    channel: str
    share: float


@dataclass(frozen=True)
class Divided:
    """All parts, by model; what to beware of; the half-life that survival has."""

    parts: tuple[Part, ...]
    notes: list[str] = field(default_factory=list)
    survival_half_life: str = ""


def divide(log: EventLog, question: Question, paths: UserPaths, which: int) -> Divided:
    """The conversion number ``which`` (from 0) of a user, by every model that can divide a single one.

    Raises ``ParameterError`` where no model can.
    """
    chosen, rule, conversion = question.choices, question.rule, paths.conversions[which]
    effects = _effects(log, question) if conversion.path else {}
    parts: list[Part] = []
    notes, half_life = [], ""
    for model in chosen.models:
        if model == "survival":
            found, said, half_life = _by_hazards(log, question, paths, conversion)
            parts += found
            notes += said
        elif model == "shapley" and chosen.game == "rate":
            notes.append(
                "shapley is left out: with game='rate' it compares how often all paths convert, and no part of that "
                "belongs to a single conversion. game='conversions' has one."
            )
        elif not conversion.path:
            parts.append(Part(model, None, None, UNATTRIBUTED, 1.0))
        else:
            parts += _shared(model, conversion, _shares(model, conversion, rule, effects))
    if not parts:
        raise ParameterError(f"No model that was asked for can divide a single conversion. {' '.join(notes)}")
    return Divided(tuple(parts), notes, half_life)


def _shared(model: str, conversion: Conversion, shares: Sequence[float]) -> list[Part]:
    found = [
        Part(model, touch, place, touch.channel, share)
        for place, (touch, share) in enumerate(zip(conversion.path, shares, strict=True))
    ]
    if model == "any_touch":
        found.append(Part(model, None, None, OVERLAP, 1.0 - len({touch.channel for touch in conversion.path})))
    return found


def _shares(
    model: str, conversion: Conversion, rule: PathRule, effects: Mapping[str, Mapping[str, float]]
) -> list[float]:
    """The share of each touch of the path, by any model but survival."""
    names = tuple(touch.channel for touch in conversion.path)
    if model in ("time_decay", "time_decay_steps"):
        return _faded([conversion.at - touch.at for touch in conversion.path], rule.half_life, model)
    if model not in BY_CHANNEL:
        return rule_shares(model, names, rule.direct, rule.position)
    many = Counter(names)
    if model == "any_touch":
        return [1.0 / many[name] for name in names]
    weights = effects.get(model, dict.fromkeys(many, 1.0))  # shapley and linear_unique: alike
    whole = sum(weights[name] for name in many)
    return [weights[name] / whole / many[name] for name in names]


def _faded(ages: Sequence[int], half_life: int, model: str) -> list[float]:
    """Weights that halve with age; measured from the youngest, so that they do not all vanish."""
    spans: Callable[[int], float] = (
        (lambda age: age // half_life) if model == "time_decay_steps" else (lambda age: age / half_life)
    )
    youngest = spans(min(ages))
    weights = [2.0 ** -(spans(age) - youngest) for age in ages]
    return [weight / sum(weights) for weight in weights]


def _effects(log: EventLog, question: Question) -> dict[str, dict[str, float]]:
    """By chain, the removal effect of each channel in the whole log."""
    from microconv.reduce.paths import path_sums
    from microconv.stats import removal_effects

    orders = question.choices.orders
    if not orders:
        return {}
    sums = path_sums(log, replace(question.rule, terms=None), orders=orders).sums
    found = {}
    for model in question.choices.models:
        if model in CHAINS:
            frame = removal_effects(sums.transitions[CHAINS[model]], sums.channels, CHAINS[model])
            found[model] = dict(zip(frame["channel"], frame["removal_effect"], strict=True))
    return found


def _by_hazards(
    log: EventLog, question: Question, paths: UserPaths, conversion: Conversion
) -> tuple[list[Part], list[str], str]:
    """The parts of survival, what to beware of, and its half-life."""
    risk = paths.risk if paths.risk is not None and paths.risk.stop == conversion.at else None
    outside = Part("survival", None, None, UNATTRIBUTED, 1.0)
    if risk is None and len(question.half_lives) == 1:  # known without the rates
        return [outside], [], format_duration(question.half_lives[0])
    fitted, notes = fitted_to(log, replace(question, rule=replace(question.rule, terms=None)))
    if fitted is None:
        return [], notes, ""
    half_life = half_life_of(fitted)
    if risk is None:
        return [outside], notes, half_life
    acting = [touch for touch in paths.touches if touch.at <= conversion.at]
    pairs = [(touch.channel, days(conversion.at - touch.at)) for touch in acting]
    shares = fitted.shares(risk.entry, days(risk.stop - risk.start), pairs)["share"].tolist()
    if shares[0] != shares[0]:
        said = "survival is left out: the sample of conversions that it was fitted to has none like this one."
        return [], [*notes, said], ""
    places = {touch.number: place for place, touch in enumerate(conversion.path)}
    parts = [
        Part("survival", touch, places.get(touch.number), touch.channel, share)
        for touch, share in zip(acting, shares[1:], strict=True)
    ]
    return [*parts, Part("survival", None, None, BASELINE, shares[0])], notes, half_life
