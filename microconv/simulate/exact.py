"""The exact chance to convert: forward equations of the Markov chain on (micros done) x (levels of the traits).

On an interval where base rates are constant the equations are linear, and their solution is a power series, summed to
machine precision. Effects that fade depend on more than the state: they, and worlds of too many states, have no exact
answer here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from microconv.simulate.model import Model, TraitModel

__all__ = ["MAX_STATES", "Chain", "Curve", "cells_of", "chain_of", "exact_curve"]

MAX_STATES = 400_000
_SMALLEST_TERM = 1e-17


@dataclass(frozen=True, eq=False)
class Chain:
    """The states that matter: weights of the cells of traits, and by interval and process the rate in (cell, state)."""

    weights: np.ndarray
    micros: tuple[int, ...]
    causes: tuple[int, ...]
    cuts: np.ndarray
    flows: tuple[tuple[np.ndarray, ...], ...]  # per interval: first the micros, then the causes


@dataclass(frozen=True, eq=False)
class Curve:
    """Probabilities at ages: by each cause (cumulative incidence), and of the macro if other ends only censored."""

    times_days: np.ndarray
    incidence: np.ndarray  # (times, causes)
    net: np.ndarray


def chain_of(model: Model) -> Chain | None:
    """The chain of a model, or None where it is not one, or too large."""
    micros = _relevant(model)
    if any(np.isfinite(model.fade[micro]) for micro in micros):
        return None
    causes = (model.macro, *model.competing_ends)
    wanted = [*micros, *causes]
    traits = [trait for trait in model.traits if (trait.ratio[:, wanted] != 1.0).any()]
    cells = int(np.prod([len(trait.levels) for trait in traits], dtype=np.int64))
    if cells * 2 ** len(micros) > MAX_STATES:
        return None
    weights, ratio = cells_of(traits, len(model.names))
    states = np.arange(2 ** len(micros))
    done = {micro: (states >> bit & 1).astype(bool) for bit, micro in enumerate(micros)}
    shapes = []
    for process in wanted:
        factor = np.ones(len(states))
        for micro in micros:
            factor = factor * np.where(done[micro], model.effect[micro, process], 1.0)
        if model.requires[process] >= 0:
            factor = factor * done[int(model.requires[process])]
        if process in done:
            factor = factor * ~done[process]
        shapes.append(ratio[:, process][:, None] * factor)
    flows = tuple(
        tuple(row[process] * shape for process, shape in zip(wanted, shapes, strict=True)) for row in model.base
    )
    return Chain(weights, micros, causes, model.cuts, flows)


def _relevant(model: Model) -> tuple[int, ...]:
    """The micros that change the chance of the macro, themselves or through others."""
    reached = {model.macro, *model.competing_ends}
    while True:
        more = {
            micro
            for micro in range(model.micros)
            for process in reached
            if model.effect[micro, process] != 1.0 or model.requires[process] == micro
        }
        if more <= reached:
            return tuple(sorted(reached - {model.macro, *model.competing_ends}))
        reached |= more


def cells_of(traits: Sequence[TraitModel], processes: int) -> tuple[np.ndarray, np.ndarray]:
    """Every combination of levels: its share and its ratios (cells, processes)."""
    weights, ratios = [], []
    for levels in product(*[range(len(trait.levels)) for trait in traits]):
        weight, ratio = 1.0, np.ones(processes)
        for trait, level in zip(traits, levels, strict=True):
            weight, ratio = weight * trait.shares[level], ratio * trait.ratio[level]
        weights.append(weight)
        ratios.append(ratio)
    return np.array(weights), np.array(ratios)


def exact_curve(chain: Chain, times_days: Sequence[float]) -> Curve:
    """The probabilities at sorted ages since entry, for a user drawn at random."""
    present = np.zeros((len(chain.weights), 2 ** len(chain.micros)))
    present[:, 0] = chain.weights
    gone = np.zeros(len(chain.causes))
    stops = sorted({*times_days, *[cut for cut in chain.cuts if cut < max(times_days, default=0.0)]})
    at, cumulative, seen = 0.0, 0.0, {0.0: (gone.copy(), 0.0)}
    for stop in stops:
        flows = chain.flows[int(np.searchsorted(chain.cuts, at, side="right"))]
        fastest = float(np.sum(flows, axis=0).max())
        steps = max(1, int(np.ceil((stop - at) * fastest * 6))) if stop > at else 0
        for _ in range(steps):
            # Simpson's rule on the macro's hazard among those still at risk, for the net probability.
            half = (stop - at) / steps / 2
            before = _hazard(present, flows, len(chain.micros))
            present, first = _advance(present, flows, len(chain.micros), half)
            middle = _hazard(present, flows, len(chain.micros))
            present, second = _advance(present, flows, len(chain.micros), half)
            gone += first + second
            cumulative += half / 3 * (before + 4 * middle + _hazard(present, flows, len(chain.micros)))
        at = stop
        seen[stop] = (gone.copy(), cumulative)
    rows = [seen[time] for time in times_days]
    incidence = np.array([row[0] for row in rows]).reshape(len(rows), len(chain.causes))
    net = -np.expm1(-np.array([row[1] for row in rows])) if len(chain.causes) > 1 else incidence[:, 0]
    return Curve(np.array(times_days, dtype=float), incidence, net)


def _hazard(present: np.ndarray, flows: Sequence[np.ndarray], micros: int) -> float:
    return float((present * flows[micros]).sum() / present.sum())


def _advance(
    present: np.ndarray, flows: Sequence[np.ndarray], micros: int, length: float
) -> tuple[np.ndarray, np.ndarray]:
    """Who is in which state after ``length`` days, and how many left by each cause meanwhile."""
    leaving = np.sum(flows, axis=0)
    term, total = present, present.copy()
    gone = np.zeros(len(flows) - micros)
    order = 0
    while np.abs(term).max() > _SMALLEST_TERM:
        order += 1
        gone += np.array([(term * flow).sum() for flow in flows[micros:]]) * length / order
        change = -term * leaving
        for bit in range(micros):
            moved = (term * flows[bit]).reshape(len(term), -1, 2, 2**bit)
            change.reshape(len(term), -1, 2, 2**bit)[:, :, 1] += moved[:, :, 0]
        term = change * (length / order)
        total += term
    return total, gone
