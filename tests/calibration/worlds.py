"""The worlds whose truth the intervals are held against, and that truth: exact, never itself simulated."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.optimize import brentq

import microconv as mc
from microconv.simulate import (
    Calendar,
    End,
    Eventual,
    Macro,
    Micro,
    Trait,
    Truth,
    World,
    confounded_world,
    null_world,
    strong_world,
)

__all__ = [
    "AT_DAYS",
    "MACRO",
    "OTHER_END",
    "WORLDS",
    "any_end",
    "eventual_share",
    "hazard_ratios",
    "micros",
    "probability",
    "quantile",
    "rmst",
    "world",
]

WORLDS = ("null", "confounded", "strong")
MACRO, OTHER_END = "purchase", "unsubscribe"
AT_DAYS = 30.0  # the horizon of the worlds' plans

_MADE = {"null": null_world, "confounded": confounded_world, "strong": strong_world}
# Users enter over 60 days and are censored between day 5 and day 65 of their own.
_CALENDAR = Calendar(entries_over="60D", follow_up="5D")
_OTHER_ENDS = {
    "null": End(OTHER_END, 0.02),
    "confounded": End(OTHER_END, 0.02),
    "strong": End(OTHER_END, 0.04, requires="newsletter_signup"),
}
# The delay is over within two weeks for nearly all; observation ends between day 1 and day 61, so that many are open.
_DELAY = {"scale_days": 4.0, "shape": 0.8}
_EVENTUAL = {
    "null": Macro(rate_per_day=Eventual(0.4, **_DELAY)),
    "confounded": Macro(rate_per_day=Eventual(0.2, **_DELAY), intent_effect=3.0),
    "strong": Macro(rate_per_day=Eventual(0.3, **_DELAY), intent_effect=2.5),
}


@cache
def world(name: str, kind: str) -> World:
    """A world of one of three kinds: ``"alone"`` (conversion is the only end of a journey), ``"beside"`` (another end
    competes) or ``"eventual"`` (a share converts in the end, the others never).
    """
    made = replace(_MADE[name](), competing=(), calendar=_CALENDAR)
    if kind == "beside":
        return replace(made, competing=(_OTHER_ENDS[name],))
    if kind == "eventual":
        return replace(
            made,
            macro=_EVENTUAL[name],
            micros=tuple(replace(micro, hazard_ratio=1.0) for micro in made.micros),
            calendar=Calendar(entries_over="60D", follow_up="1D"),
        )
    return made


@cache
def _truth(name: str, kind: str, device: str | None = None) -> Truth:
    """What is true in a world, or among its users of one device."""
    planted = world(name, kind)
    if device is not None:
        only = [replace(t, shares={device: 1.0}, effects=_of_level(t, device)) for t in planted.traits]
        planted = replace(planted, traits=tuple(only))
    return mc.simulate(1, world=planted).truth


def _of_level(trait: Trait, level: str) -> dict[str, dict[str, float]]:
    return {name: {level: ratios[level]} for name, ratios in trait.effects.items() if level in ratios}


def hazard_ratios(name: str) -> dict[str, float]:
    """By term of a fit that adjusts for everything there is: what the macro's hazard is multiplied by."""
    planted = world(name, "beside")
    ratios = {micro.name: float(micro.hazard_ratio) for micro in planted.micros}
    for trait in planted.traits:
        levels = sorted(trait.shares)
        of = trait.effects.get(MACRO, {})
        for level in levels[1:]:
            ratios[f"{trait.column}={level}"] = of.get(level, 1.0) / of.get(levels[0], 1.0)
    if planted.intent is not None:
        # The reference is the first level in sorted order: "high".
        ratios[f"{planted.intent.column}={planted.intent.low}"] = 1 / planted.macro.intent_effect
    return ratios


@cache
def probability(name: str, kind: str, cause: str = MACRO, device: str | None = None, day: float = AT_DAYS) -> float:
    """The chance of a cause by a day."""
    column = "probability" if cause == MACRO else cause
    return float(_truth(name, kind, device).curve([day])[column].iloc[0])


@cache
def any_end(name: str, kind: str, day: float = AT_DAYS) -> float:
    """The chance of any end of the journey by a day."""
    planted = world(name, kind)
    return sum(probability(name, kind, cause, day=day) for cause in (MACRO, *[end.name for end in planted.competing]))


@cache
def quantile(name: str, kind: str, share: float) -> float:
    """The day by which that share of all users has converted."""
    return float(brentq(lambda day: probability(name, kind, day=float(day)) - share, 1e-9, 400.0, xtol=1e-10))


@cache
def rmst(name: str, kind: str, device: str | None = None) -> float:
    """The mean days before converting, up to the horizon: the horizon minus the area under the curve.

    The curve is smooth where rates are constant, so that Gauss and Legendre's rule is exact to machine precision.
    """
    nodes, weights = np.polynomial.legendre.leggauss(40)
    curve = _truth(name, kind, device).curve(((nodes + 1) / 2 * AT_DAYS).tolist())["probability"].to_numpy()
    return AT_DAYS - float(weights @ curve) * AT_DAYS / 2


def eventual_share(name: str, device: str | None = None) -> float:
    """The share that converts in the end."""
    return _truth(name, "eventual", device).eventual_share


def micros(name: str) -> tuple[Micro, ...]:
    """The micros of a world."""
    return world(name, "beside").micros
