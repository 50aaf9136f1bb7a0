"""The total effect of a micro from fitted intensities: each doer followed on, as they did it and as if never."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._chain import Columns, Slopes, Solved, solve
from microconv.stats._curves import Floats
from microconv.stats._generator import Arm, arm_of
from microconv.stats.effects import BY_TIME, Effect
from microconv.stats.intensity_fit import Intensities
from microconv.stats.worth import MeanWorth

__all__ = ["total_effect"]

_AGES = 24  # bins of the doers' ages, of about equal number


@dataclass(frozen=True, eq=False)
class _Doers:
    """Doers in groups: cell and state of the grid, number of their age in ``ages``, how many."""

    cell: np.ndarray
    state: np.ndarray
    age: np.ndarray
    users: Floats
    ages: Floats

    @property
    def share(self) -> Floats:
        """What part of all doers each group is."""
        return self.users / self.users.sum()


def total_effect(
    fitted: Intensities,
    doers: pd.DataFrame,
    column: str,
    horizon_days: float,
    *,
    value: MeanWorth | Floats | None = None,
    at_days: Sequence[float] = (),
    age_limit_days: float = np.inf,
    ages: int = _AGES,
) -> Effect:
    """How much more often do those who did a micro reach the macro within the horizon, than had they never done it?

    ``doers``: who went from level 0 to 1 of ``column`` while at risk: ``age_days`` (time of action since time zero),
    ``users``, the other columns of the state just before, the attributes. Times are in days. Doers who are older at the
    horizon than ``age_limit_days``, the age that users were observed to, are left out.

    Each doer is followed from the action on in two arms, by the backward equations of the Markov chain of states: one
    in which the column is up, one in which it cannot move. Whatever else happens, other micros and competing ends,
    takes its course by the intensities of its arm: the effect is a total one. Doers' ages are put into ``ages`` bins.
    Where the intensities tell the time since the micro apart (``since``), rates change as time goes on after it.

    ``value``: mean revenue of a conversion by (cell, state), as ``mean_worth`` or as numbers: with it, expected revenue
    in place of the chance. ``at_days``: times since the action for ``by_time``, besides the horizon.

    Errors: delta method over all coefficients and interval rates of all processes, and over the mean revenue, plus the
    sampling of the doers. The effective numbers are of users at risk when doers reach the horizon (harmonic mean): who
    has done it, who has not. Holds if rates depend on what is in the state, the attributes and time alone.

    Raises ``ParameterError`` on an unknown column or a horizon that is none. Robins (1986), g-computation; Aalen,
    Borgan and Gjessing (2008).
    """
    grid = fitted.grid
    if column not in grid.columns:
        raise ParameterError(unknown_name("column", column, grid.columns))
    if [name for name in fitted.since if name != column]:
        raise ParameterError(
            f"Time since {next(iter(fitted.since))!r} is told apart, which the effect of {column!r} cannot follow: fit "
            "intensities with since= of the same column, or without."
        )
    times = _times(horizon_days, at_days)
    kept, left_out = _within(doers, float(horizon_days), age_limit_days)
    if not len(kept):
        return _nobody(left_out)
    who = _grouped(fitted, kept.assign(**{column: 0}), ages)
    money = value.mean if isinstance(value, MeanWorth) else value
    if money is not None and np.shape(money) != (len(grid.cells), grid.states):
        raise ParameterError(f"value has the shape {np.shape(money)}, not (cells, states): an array of revenue.")
    kinds = 1 if money is None else 2
    asked = _columns(who, times, kinds)
    cells, where = np.unique(who.cell, return_inverse=True)
    results: list[Floats] = []
    slopes: list[Floats] = []
    worth: list[Floats] = []
    since = (0.0, *fitted.since.get(column, ()))
    for up in (True, False):
        arms = _arms(fitted, cells, column, up, money)
        row = where * len(arms[0].states) + arms[0].place[who.state + int(up) * grid.step(column)]
        starts = np.zeros((arms[0].rows, len(who.ages)))
        np.add.at(starts, (row, who.age), who.share)
        solved = solve(arms, since, asked, starts, len(times) * kinds)
        results.append(_of_groups(solved, row, who, len(times) * kinds))
        each = list(zip(arms, solved.slopes, strict=False))  # stages beyond the horizon are not reached
        slopes.append(sum((_by_parameter(fitted, *one) for one in each), np.zeros(())))
        worth.append(sum((_of_worth(value, *one) for one in each), np.zeros(())))
    mean = np.array([who.share @ result for result in results])
    spread = np.array(results) - mean[:, None]
    sampling = np.einsum("agk,bgk,g->kab", spread, spread, who.share) / who.users.sum()
    fit = np.einsum("akp,pq,bkq->kab", np.array(slopes), _covariance(fitted), np.array(slopes))
    if isinstance(value, MeanWorth):
        fit += np.einsum("akp,pq,bkq->kab", np.array(worth), value.covariance, np.array(worth))
    detail: dict[str, Any] = {
        "method": "hazard",
        "ages": len(who.ages),
        "cells": len(cells),
        "states": grid.states,
        "since_days": since[1:],
    }
    effective = _effective(fitted, who, column, float(horizon_days), age_limit_days)
    return _effect(mean, fit + sampling, times, who, left_out, effective, detail)


def _arms(fitted: Intensities, cells: np.ndarray, column: str, up: bool, money: Floats | None) -> list[Arm]:
    """The chain in one arm; where rates depend on the time since the action, one for each stretch of it."""
    levels = {name: np.arange(most + 1) for name, most in fitted.columns.items()}
    if not up:
        return [arm_of(fitted, cells, levels | {column: np.zeros(1, dtype=np.int64)}, column, money)]
    if column not in fitted.since:
        return [arm_of(fitted, cells, levels | {column: levels[column][1:]}, None, money)]
    return [arm_of(fitted, cells, levels | {column: np.array([level])}, column, money) for level in levels[column][1:]]


def _times(horizon_days: float, at_days: Sequence[float]) -> Floats:
    times = np.array(sorted({*map(float, at_days), float(horizon_days)}))
    if not (np.isfinite(times).all() and times[0] > 0 and times[-1] == float(horizon_days)):
        raise ParameterError(
            f"horizon_days={shorten(repr(horizon_days))}, at_days={shorten(repr(at_days))} must be numbers of days "
            "above 0, none beyond the horizon."
        )
    return times


def _within(doers: pd.DataFrame, horizon: float, limit: float) -> tuple[pd.DataFrame, float]:
    """Doers who reach the horizon by the age limit, and the share of the others."""
    users = doers["users"].to_numpy(dtype=float)
    inside = (doers["age_days"].to_numpy(dtype=float) + horizon <= limit * (1 + 1e-12)) & (users > 0)
    total = users.sum()
    return doers[inside], float(1 - users[inside].sum() / total) if total > 0 else np.nan


def _grouped(fitted: Intensities, doers: pd.DataFrame, ages: int) -> _Doers:
    """The doers by cell, state and bin of age; the age of a bin is its doers' mean."""
    cell, state = fitted.grid.place(doers)
    if (cell < 0).any():
        raise ParameterError("Some doers have attributes that nobody at risk has: make both from the same users.")
    age, users = doers["age_days"].to_numpy(dtype=float), doers["users"].to_numpy(dtype=float)
    known, which = np.unique(age, return_inverse=True)
    if len(known) > ages:
        weight = np.bincount(which, users)
        middle = (np.cumsum(weight) - weight / 2) / weight.sum()
        _, bins = np.unique(np.floor(middle * ages), return_inverse=True)
        which = bins[which]
    mean = np.bincount(which, users * age) / np.bincount(which, users)
    keys, group = np.unique(np.column_stack([cell, state, which]), axis=0, return_inverse=True)
    return _Doers(keys[:, 0], keys[:, 1], keys[:, 2], np.bincount(group.reshape(-1), users).astype(float), mean)


def _columns(who: _Doers, times: Floats, kinds: int) -> Columns:
    """Every age with every time, for the chance and then for the money; outputs are in the order of times."""
    many = len(times)
    start = np.tile(np.arange(len(who.ages)), many * kinds)
    output = np.repeat(np.arange(many * kinds), len(who.ages))
    return Columns(who.ages, start, times[output % many], output, output >= many)


def _of_groups(solved: Solved, row: np.ndarray, who: _Doers, outputs: int) -> Floats:
    """What each group of doers has: (groups, outputs)."""
    return solved.value.reshape(len(solved.value), outputs, len(who.ages))[row, :, who.age]


def _by_parameter(fitted: Intensities, arm: Arm, slopes: Slopes) -> Floats:
    """The slope of every output with every parameter of every process: (outputs, parameters)."""
    parts = []
    for name, one in fitted.processes.items():
        parameters = int(one.fit.known.sum()) + len(one.fit.coef)
        if name not in slopes.by_interval:
            outputs = slopes.worth[0].shape[1]
            parts.append(np.zeros((outputs, parameters)))
            continue
        own = [
            slopes.by_interval[name][one.fit.known],
            one.by_state[arm.states].T @ slopes.by_state[name],
            one.by_cell[arm.cells].T @ slopes.by_cell[name],
        ]
        parts.append(np.vstack(own).T)
    return np.hstack(parts)


def _covariance(fitted: Intensities) -> Floats:
    """Of the parameters of all processes, which share none."""
    from scipy.linalg import block_diag

    return np.asarray(block_diag(*[one.fit.covariance for one in fitted.processes.values()]), dtype=float)


def _of_worth(value: MeanWorth | Floats | None, arm: Arm, slopes: Slopes) -> Floats:
    """The slope of every output with the parameters of the mean revenue: (outputs, parameters)."""
    if not isinstance(value, MeanWorth):
        return np.zeros((slopes.worth[0].shape[1], 0))
    by_state, by_cell = slopes.worth
    constant = by_state.sum(axis=0)[None, :]
    return np.vstack([constant, value.by_state[arm.states].T @ by_state, value.by_cell[arm.cells].T @ by_cell]).T


def _effective(fitted: Intensities, who: _Doers, column: str, horizon: float, limit: float) -> tuple[float, float]:
    """How many users are at risk when a doer reaches the horizon: those who have done it, those who have not.

    The mean over an interval; for the last, which has no end, up to the age limit.
    """
    ends = who.ages + horizon
    last = limit if np.isfinite(limit) else float(ends.max())
    edges = np.array([0.0, *fitted.cuts, max(last, *fitted.cuts, 0.0)])
    width = np.diff(edges)
    at = np.searchsorted(np.array(fitted.cuts), ends, side="left")
    cells = np.unique(who.cell)
    up = fitted.grid.level(column) > 0
    weight = np.bincount(who.age, who.share)
    found = []
    for states in (up, ~up):
        time = fitted.person_time[np.ix_(cells, np.flatnonzero(states))].sum(axis=(0, 1))
        present = np.divide(time, width, out=np.zeros_like(time), where=width > 0)[at]
        found.append(float(1 / (weight / present).sum()) if (present > 0).all() else 0.0)
    return found[0], found[1]


def _effect(
    mean: Floats,
    covariance: Floats,
    times: Floats,
    who: _Doers,
    left_out: float,
    effective: tuple[float, float],
    detail: dict[str, Any],
) -> Effect:
    """The numbers of both arms, (arm, output), as an effect; ``covariance`` is of the arms, by output."""
    many = len(times)
    difference = mean[0] - mean[1]
    variance = covariance[:, 0, 0] + covariance[:, 1, 1] - 2 * covariance[:, 0, 1]
    se = np.sqrt(np.maximum(variance, 0.0))
    with_money = mean.shape[1] > many
    money = slice(many, None) if with_money else slice(0, 0)
    unknown = np.full(many, np.nan)
    rows = (
        times, mean[0][:many], mean[1][:many], difference[:many], se[:many],
        difference[money] if with_money else unknown, se[money] if with_money else unknown,
    )  # fmt: skip
    values: dict[Hashable, float] = {}
    if with_money:
        values = {
            "value_done": float(mean[0, -1]),
            "value_never": float(mean[1, -1]),
            "incremental_value": float(difference[-1]),
            "value_se": float(se[-1]),
        }
    return Effect(
        done=float(mean[0, many - 1]),
        never=float(mean[1, many - 1]),
        incremental=float(difference[many - 1]),
        se=float(se[many - 1]),
        covariance=covariance[many - 1],
        users=float(who.users.sum()),
        left_out=left_out,
        effective_done=effective[0],
        effective_never=effective[1],
        by_time=pd.DataFrame(dict(zip(BY_TIME, rows, strict=True))),
        detail=detail,
        **values,  # type: ignore[arg-type]
    )


def _nobody(left_out: float) -> Effect:
    nothing = np.full((2, 2), np.nan)
    return Effect(np.nan, np.nan, np.nan, np.nan, nothing, 0.0, left_out, 0.0, 0.0)
