"""The tracking plan of a simulated world, as the mapping that a plan file holds."""

from __future__ import annotations

from typing import Any

from microconv.durations import format_duration, to_micros
from microconv.simulate.processes import Micro
from microconv.simulate.rows import SESSION_TIMEOUT
from microconv.simulate.world import World

__all__ = ["plan_mapping"]


def plan_mapping(world: World) -> dict[str, Any]:
    """Macros, micros, ends, segments and durations of the world."""
    macro: dict[str, Any] = {"name": world.macro.name, "event": world.macro.name}
    if world.macro.value is not None:
        macro |= {"value": "value", "currency": world.macro.value.currency}
    horizon = format_duration(to_micros(world.horizon))
    plan: dict[str, Any] = {"macros": [macro]}
    micros = [_micro(micro) for micro in world.micros if micro.in_plan]
    micros += [dict(item) for item in world.also_in_plan]
    if micros:
        plan["micros"] = micros
    if world.competing:
        plan["competing"] = [end.name for end in world.competing]
    if world.censoring:
        plan["censor"] = [end.name for end in world.censoring]
    if world.segments:
        plan["segments"] = list(world.segments)
    return plan | {"horizon": horizon, "lookback": horizon, "session_timeout": SESSION_TIMEOUT}


def _micro(micro: Micro) -> dict[str, Any]:
    item: dict[str, Any] = {"name": micro.name, "kind": micro.kind, "event": micro.event_name}
    optional = {"where": micro.where, "nth": micro.nth, "kpi": micro.kpi}
    return item | {key: value for key, value in optional.items() if value is not None}
