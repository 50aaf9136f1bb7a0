"""Competing clocks: exact continuous-time simulation of micros, macro and ends, all users at once.

Between two changes (an occurrence, a cut point of a base rate, an effect that fades) all rates of a user are constant,
so the next occurrence is exponential with their sum, and which one it is falls by their shares. Only elementary
arithmetic is used on the way, so that every machine gives the same times for a seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microconv.simulate.model import Model

__all__ = ["CENSORED", "Expected", "Journeys", "expect", "simulate_journeys"]

CENSORED = -1


@dataclass(frozen=True, eq=False)
class Journeys:
    """What became of each user, in days since entry.

    ``done_at`` (micros, users) is infinite for never; ``cause`` is the process that ended the journey, or ``CENSORED``.
    ``macro_user``, ``macro_at``: every macro (several a user where it does not end the journey).
    """

    done_at: np.ndarray
    stop: np.ndarray
    cause: np.ndarray
    macro_user: np.ndarray
    macro_at: np.ndarray


@dataclass(frozen=True, eq=False)
class Expected:
    """Given the paths of the micros, by user: the probability of a first macro, and the money expected of it."""

    probability: np.ndarray
    value: np.ndarray


def simulate_journeys(model: Model, ratio: np.ndarray, stop: np.ndarray, rng: np.random.Generator) -> Journeys:
    """Run every user from entry to the end of the journey or to ``stop`` (days since entry)."""
    users = len(stop)
    done_at = np.full((model.micros, users), np.inf)
    end, cause = stop.astype(float), np.full(users, CENSORED)
    macros: list[tuple[np.ndarray, np.ndarray]] = []
    age = np.zeros(users)
    active = np.flatnonzero(stop > 0)
    while active.size:
        rates, boundary = _rates(model, ratio, done_at, age, stop, active)
        which, at = _next(rates, age[active], boundary, rng)
        age[active] = at
        for micro in range(model.micros):
            done_at[micro, active[which == micro]] = at[which == micro]
        converted = which == model.macro
        macros.append((active[converted], at[converted]))
        ended = which > model.macro if not model.macro_ends else which >= model.macro
        end[active[ended]], cause[active[ended]] = at[ended], which[ended]
        active = active[~ended & (at < stop[active])]
    none = np.zeros(0, dtype=np.int64), np.zeros(0)
    user, when = (np.concatenate(parts) for parts in zip(none, *macros, strict=True))
    order = np.lexsort((when, user))
    return Journeys(done_at, end, cause, user[order], when[order])


def expect(
    model: Model,
    ratio: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    done_at: np.ndarray,
    rng: np.random.Generator,
    *,
    trait_value: np.ndarray,
    never: int | None = None,
) -> Expected:
    """The chance of the macro between ``start`` and ``stop`` (ages in days), from the state ``done_at``.

    Micros and competing ends are drawn; the macro is not, its chance along each path is computed, which leaves far less
    noise. Nobody is censored. ``never`` is a micro that does not happen any more.
    """
    done_at = done_at.copy()
    survival, value = np.ones(len(start)), np.zeros(len(start))
    age = start.astype(float)
    active = np.flatnonzero(start < stop)
    off = [model.macro, *model.censoring_ends, *([never] if never is not None else [])]
    while active.size:
        rates, boundary = _rates(model, ratio, done_at, age, stop, active)
        hazard = rates[model.macro].copy()
        worth = trait_value[active] * model.mean_value
        for micro in range(model.micros):
            worth = worth * np.where(done_at[micro, active] <= age[active], model.value_ratio[micro], 1.0)
        rates[off] = 0.0
        which, at = _next(rates, age[active], boundary, rng)
        left = survival[active] * np.exp(-hazard * (at - age[active]))
        value[active] += (survival[active] - left) * worth
        survival[active], age[active] = left, at
        for micro in range(model.micros):
            done_at[micro, active[which == micro]] = at[which == micro]
        active = active[~(which > model.macro) & (at < stop[active])]
    return Expected(1.0 - survival, value)


def _rates(
    model: Model, ratio: np.ndarray, done_at: np.ndarray, age: np.ndarray, stop: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All rates of the active users now (processes, users), and until when they hold."""
    now = age[active]
    interval = np.searchsorted(model.cuts, now, side="right")
    rates = model.base.T[:, interval] * ratio[:, active]
    boundary = np.minimum(np.append(model.cuts, np.inf)[interval], stop[active])
    done = [done_at[micro, active] <= now for micro in range(model.micros)]
    for micro, since in enumerate(done):
        acting = since
        if np.isfinite(model.fade[micro]):
            fades = done_at[micro, active] + model.fade[micro]
            acting = since & (now < fades)
            boundary = np.where(acting, np.minimum(boundary, fades), boundary)
        for process in np.flatnonzero(model.effect[micro] != 1.0):
            rates[process] *= np.where(acting, model.effect[micro, process], 1.0)
    for process in np.flatnonzero(model.requires >= 0):
        rates[process] *= done[model.requires[process]]
    for micro, since in enumerate(done):
        rates[micro] *= ~since
    return rates, boundary


def _next(
    rates: np.ndarray, now: np.ndarray, boundary: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which process occurs next and when; ``CENSORED`` at the boundary where none does before it."""
    cumulative = np.cumsum(rates, axis=0)
    total = cumulative[-1]
    wait = rng.standard_exponential(len(now))
    # A product below the total even after rounding, so that a process of rate 0 is never chosen.
    target = np.minimum(rng.random(len(now)) * total, np.nextafter(total, 0.0))
    with np.errstate(divide="ignore"):
        at = now + wait / total
    before = at < boundary
    which = np.where(before, (target >= cumulative).sum(axis=0), CENSORED)
    return which, np.where(before, at, boundary)
