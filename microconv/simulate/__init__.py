"""Event logs with planted truth: worlds, competing clocks in continuous time, and what tracking makes of them.

Build a world from small options, or derive one of those given:

    from dataclasses import replace
    from microconv.simulate import Faults, Micro, strong_world

    world = replace(strong_world(), micros=(Micro("add_to_cart", "intent", 0.02, hazard_ratio=3.0),), competing=())
    log = mc.simulate(users=20_000, seed=1, world=world, faults=Faults(late=0.02, duplicates=0.01))
    log.events, log.plan, log.truth
"""

from __future__ import annotations

from microconv.simulate.processes import End, Eventual, Intent, Macro, Micro, OrderValue, Steps, Trait
from microconv.simulate.shop import SAMPLE_SEED, SAMPLE_USERS, write_sample
from microconv.simulate.simulated import SimulatedLog, simulate
from microconv.simulate.tracking import Calendar, Faults, Identity, Visits
from microconv.simulate.truth import Truth
from microconv.simulate.world import World
from microconv.simulate.worlds import confounded_world, null_world, strong_world, web_shop

__all__ = [
    "SAMPLE_SEED",
    "SAMPLE_USERS",
    "Calendar",
    "End",
    "Eventual",
    "Faults",
    "Identity",
    "Intent",
    "Macro",
    "Micro",
    "OrderValue",
    "SimulatedLog",
    "Steps",
    "Trait",
    "Truth",
    "Visits",
    "World",
    "confounded_world",
    "null_world",
    "simulate",
    "strong_world",
    "web_shop",
    "write_sample",
]
