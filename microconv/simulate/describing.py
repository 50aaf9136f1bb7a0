"""A world as plain data, for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from microconv.simulate.processes import Eventual, Macro, Micro, Steps, as_steps
from microconv.simulate.world import World

__all__ = ["describe"]


def describe(world: World) -> dict[str, Any]:
    """All that is planted in a world."""
    return {
        "world": world.name,
        "macro": {
            "name": world.macro.name,
            **_macro_rate(world.macro.rate_per_day),
            "order_value": None if world.macro.value is None else asdict(world.macro.value),
            "ends_journey": world.macro.ends_journey,
            # Named only where it is set, so that older worlds are described in the same words.
            **({"requires": world.macro.requires} if world.macro.requires is not None else {}),
        },
        "micros": {micro.name: _micro(micro) for micro in world.micros},
        "ends": {
            end.name: {"kind": kind, "rate_per_day": _rate(end.rate_per_day), "requires": end.requires}
            for kind, ends in (("competing", world.competing), ("censoring", world.censoring))
            for end in ends
        },
        "intent": _intent(world, "intent"),
        "hidden_intent": _intent(world, "hidden_intent"),
        "traits": {
            trait.column: {
                "shares": dict(trait.shares),
                "effects": {process: dict(ratios) for process, ratios in trait.effects.items()},
            }
            for trait in world.traits
        },
    }


def _macro_rate(rate: float | Steps | Eventual) -> dict[str, Any]:
    return {"eventual": asdict(rate)} if isinstance(rate, Eventual) else {"rate_per_day": _rate(rate)}


def _rate(rate: float | Steps) -> dict[str, list[float]]:
    steps = as_steps(rate)
    return {"cuts_days": list(steps.cuts_days), "per_day": list(steps.per_day)}


def _micro(micro: Micro) -> dict[str, Any]:
    return {
        "kind": micro.kind,
        "rate_per_day": _rate(micro.rate_per_day),
        "hazard_ratio": float(micro.hazard_ratio),
        "causes": dict(micro.causes),
        "requires": micro.requires,
        "fade_days": micro.fade_days,
        "value_ratio": float(micro.value_ratio),
    }


def _intent(world: World, which: str) -> dict[str, Any] | None:
    intent = getattr(world, which)
    if intent is None:
        return None
    parts: tuple[Micro | Macro, ...] = (*world.micros, world.macro)
    effects = {part.name: float(getattr(part, f"{which}_effect")) for part in parts}
    if world.visits is not None:
        effects["visits"] = float(getattr(world.visits, f"{which}_effect"))
    return {"column": intent.column, "share_high": intent.share_high, "effects": effects}
