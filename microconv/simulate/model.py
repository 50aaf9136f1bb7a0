"""A world as arrays: base rates by interval and process, ratios of traits and of done micros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from microconv.simulate.processes import End, Eventual, Macro, Micro, OrderValue, Steps, as_steps
from microconv.simulate.world import World

__all__ = ["Model", "TraitModel", "merge_steps", "model_of"]


@dataclass(frozen=True, eq=False)
class TraitModel:
    """One attribute: its levels, their shares, and by level the ratios of processes, of visits and of order values."""

    column: str
    levels: tuple[str, ...]
    shares: np.ndarray
    ratio: np.ndarray  # (levels, processes)
    visits: np.ndarray
    value: np.ndarray
    hidden: bool


@dataclass(frozen=True, eq=False)
class Model:
    """Processes in order: micros, the macro, competing ends, censoring ends. Rates are per day."""

    names: tuple[str, ...]
    micros: int
    competing: int
    cuts: np.ndarray  # inner cut points, in days since entry
    base: np.ndarray  # (intervals, processes)
    effect: np.ndarray  # (micros, processes)
    requires: np.ndarray  # (processes,), -1 for none
    fade: np.ndarray  # (micros,), infinite for none
    value_ratio: np.ndarray  # (micros,)
    traits: tuple[TraitModel, ...]
    value: OrderValue | None
    macro_ends: bool
    eventual: Eventual | None = None  # then the macro's rate is 0 and its ratios multiply the share

    @property
    def macro(self) -> int:
        """The number of the macro's process."""
        return self.micros

    @property
    def competing_ends(self) -> range:
        """The numbers of the competing ends."""
        return range(self.micros + 1, self.micros + 1 + self.competing)

    @property
    def censoring_ends(self) -> range:
        """The numbers of the ends of observation."""
        return range(self.micros + 1 + self.competing, len(self.names))

    @property
    def mean_value(self) -> float:
        """The mean order value before any ratio; NaN in a world without money."""
        return self.value.median * float(np.exp(self.value.sigma**2 / 2)) if self.value else float("nan")

    def draw(self, rng: np.random.Generator, users: int) -> np.ndarray:
        """The level of every trait for each user: (users, traits)."""
        codes = np.zeros((users, len(self.traits)), dtype=np.int64)
        for number, trait in enumerate(self.traits):
            edges = np.cumsum(trait.shares)
            codes[:, number] = np.minimum(np.searchsorted(edges, rng.random(users), side="right"), len(edges) - 1)
        return codes

    def ratios(self, codes: np.ndarray) -> np.ndarray:
        """The product of the traits' ratios: (processes, users)."""
        product = np.ones((len(self.names), len(codes)))
        for number, trait in enumerate(self.traits):
            product *= trait.ratio.T[:, codes[:, number]]
        return product

    def visit_ratio(self, codes: np.ndarray) -> np.ndarray:
        """The product of the traits' ratios on return visits, by user."""
        return _product([trait.visits for trait in self.traits], codes)

    def trait_value(self, codes: np.ndarray) -> np.ndarray:
        """The product of the traits' ratios on order values, by user."""
        return _product([trait.value for trait in self.traits], codes)


def _product(ratios: Sequence[np.ndarray], codes: np.ndarray) -> np.ndarray:
    product = np.ones(len(codes))
    for number, ratio in enumerate(ratios):
        product *= ratio[codes[:, number]]
    return product


def merge_steps(rates: Sequence[Steps]) -> tuple[np.ndarray, np.ndarray]:
    """All cut points together, and each rate on the intervals between them: (intervals, rates)."""
    cuts = sorted({cut for steps in rates for cut in steps.cuts_days})
    return np.array(cuts, dtype=float), np.array([[steps.at(start) for steps in rates] for start in [0.0, *cuts]])


def model_of(world: World) -> Model:
    """The arrays that the simulation and the exact truth work with."""
    names = world.process_names
    place = {name: number for number, name in enumerate(names)}
    ends = (*world.competing, *world.censoring)
    processes: tuple[Micro | Macro | End, ...] = (*world.micros, world.macro, *ends)
    cuts, base = merge_steps([as_steps(process.rate_per_day) for process in processes])
    micros = len(world.micros)
    effect = np.ones((micros, len(names)))
    for number, micro in enumerate(world.micros):
        effect[number, micros] = micro.hazard_ratio
        for caused, ratio in micro.causes.items():
            effect[number, place[caused]] = ratio
    needs = [*[micro.requires for micro in world.micros], world.macro.requires, *[end.requires for end in ends]]
    return Model(
        names=names,
        micros=micros,
        competing=len(world.competing),
        cuts=cuts,
        base=base,
        effect=effect,
        requires=np.array([-1 if need is None else place[need] for need in needs]),
        fade=np.array([np.inf if micro.fade_days is None else micro.fade_days for micro in world.micros]),
        value_ratio=np.array([micro.value_ratio for micro in world.micros]),
        traits=_traits(world, place),
        value=world.macro.value,
        macro_ends=world.macro.ends_journey,
        eventual=world.macro.rate_per_day if isinstance(world.macro.rate_per_day, Eventual) else None,
    )


def _traits(world: World, place: Mapping[str, int]) -> tuple[TraitModel, ...]:
    found: list[TraitModel] = []
    parts: tuple[Micro | Macro, ...] = (*world.micros, world.macro)
    for intent, option, hidden in (
        (world.intent, "intent_effect", False),
        (world.hidden_intent, "hidden_intent_effect", True),
    ):
        if intent is not None:
            ratio = np.ones((2, len(place)))
            for part in parts:
                ratio[1, place[part.name]] = getattr(part, option)
            visits = np.array([1.0, getattr(world.visits, option) if world.visits else 1.0])
            shares = np.array([1 - intent.share_high, intent.share_high])
            found.append(
                TraitModel(intent.column, (intent.low, intent.high), shares, ratio, visits, np.ones(2), hidden)
            )
    for trait in world.traits:
        levels = tuple(trait.shares)
        by_process = {
            process: np.array([float(ratios.get(level, 1.0)) for level in levels])
            for process, ratios in trait.effects.items()
        }
        ratio = np.ones((len(levels), len(place)))
        for process, by_level in by_process.items():
            if process in place:
                ratio[:, place[process]] = by_level
        none = np.ones(len(levels))
        shares = np.array(list(trait.shares.values()), dtype=float)
        visits, value = by_process.get("visits", none), by_process.get("order_value", none)
        found.append(TraitModel(trait.column, levels, shares, ratio, visits, value, False))
    return tuple(found)
