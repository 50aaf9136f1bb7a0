"""How fast each thing happens in each state: one log-linear intensity per process, from counts by interval."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
import pandas as pd

from microconv.counts import group_codes
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.exposures import ExposureTable
from microconv.stats._curves import Floats
from microconv.stats._design import read_design
from microconv.stats._log_linear import LogLinear, fit_log_linear

__all__ = ["MOVE", "PRIOR_SD", "Grid", "Intensities", "Process", "cell_terms", "intensities", "state_terms"]

MOVE = "+"  # what a process is called by which a column of the state goes up: "+" and the column
PRIOR_SD = 10.0


@dataclass(frozen=True, eq=False)
class Grid:
    """The states (each column's levels 0 to ``most``; the first column changes fastest) and the cells of attributes."""

    columns: Mapping[str, int]
    cells: pd.DataFrame

    @property
    def states(self) -> int:
        """How many states are possible."""
        return prod(most + 1 for most in self.columns.values())

    def step(self, column: str) -> int:
        """How much the number of the state grows when the column goes up by a level."""
        names = list(self.columns)
        return prod(self.columns[name] + 1 for name in names[: names.index(column)])

    def level(self, column: str) -> np.ndarray:
        """The level of a column in every state."""
        return np.arange(self.states) // self.step(column) % (self.columns[column] + 1)

    def place(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The cell and the state of rows that have the columns of both; the cell is -1 where it is none of these."""
        state = np.zeros(len(frame), dtype=np.int64)
        for column, most in self.columns.items():
            level = frame[column].to_numpy(dtype=np.int64)
            if len(level) and (level.min() < 0 or level.max() > most):
                raise ParameterError(f"The column {column!r} has levels outside of 0 to {most}.")
            state += level * self.step(column)
        if not len(self.cells.columns):
            return np.zeros(len(frame), dtype=np.int64), state
        both = pd.concat([self.cells, frame[list(self.cells.columns)]], ignore_index=True)
        code = group_codes(both)
        known = np.full(int(code.max(initial=-1)) + 1, -1, dtype=np.int64)
        known[code[: len(self.cells)]] = np.arange(len(self.cells))
        return known[code[len(self.cells) :]], state


@dataclass(frozen=True, eq=False)
class Process:
    """One fitted intensity: ``base[g] * factor[cell, state]`` events per day.

    ``column`` is what goes up (None: an end of the journey). ``by_state`` (states, terms) and ``by_cell`` (cells,
    terms) are the covariates of its terms, in that order in ``fit``; ``possible`` says in which states it can happen.
    """

    name: Hashable
    column: str | None
    fit: LogLinear
    terms: tuple[str, ...]
    by_state: Floats
    by_cell: Floats
    possible: np.ndarray
    events: float
    scale: Floats = field(repr=False)

    @cached_property
    def base(self) -> Floats:
        """Events per day by interval, where nothing is done, at the reference levels."""
        return np.exp(self.fit.intercept)

    @cached_property
    def factor(self) -> Floats:
        """What the rate is multiplied by: (cells, states); 0 where the process cannot happen."""
        many = self.by_state.shape[1]
        eta = (self.by_cell @ self.fit.coef[many:])[:, None] + (self.by_state @ self.fit.coef[:many])[None, :]
        return np.exp(eta) * self.possible

    @property
    def table(self) -> pd.DataFrame:
        """The coefficients: ``process, term, coef, se, ratio``."""
        first = int(self.fit.known.sum())
        variance = np.diag(self.fit.covariance)[first:]
        coef = self.fit.coef / self.scale
        return pd.DataFrame(
            {
                "process": str(self.name),
                "term": list(self.terms),
                "coef": coef,
                "se": np.sqrt(variance) / self.scale,
                "ratio": np.exp(coef),
            }
        )


@dataclass(frozen=True, eq=False)
class Intensities:
    """The fitted processes, by name: the ends of the journey (``causes``; the first is the macro), then the moves.

    ``person_time``: days at risk by (cell, state, interval); intervals end at ``cuts`` (days). ``since``: columns whose
    levels above 1 are of the time since the micro, and the days at which they begin.
    """

    grid: Grid
    cuts: tuple[float, ...]
    causes: tuple[Hashable, ...]
    moves: tuple[Hashable, ...]
    processes: Mapping[Hashable, Process] = field(repr=False)
    since: Mapping[str, tuple[float, ...]]
    person_time: Floats = field(repr=False)

    @property
    def columns(self) -> Mapping[str, int]:
        """The columns of the state and their highest levels."""
        return self.grid.columns

    @property
    def cells(self) -> pd.DataFrame:
        """The combinations of attributes, in the order of the first axis of ``rates``."""
        return self.grid.cells

    @property
    def table(self) -> pd.DataFrame:
        """The coefficients of all processes: ``process, term, coef, se, ratio``."""
        return pd.concat([one.table for one in self.processes.values()], ignore_index=True)

    def process(self, cause: Hashable) -> Process:
        """The process of that name. Raises ``ParameterError``."""
        if cause not in self.processes:
            raise ParameterError(unknown_name("process", cause, map(str, self.processes)))
        return self.processes[cause]

    def rate_factors(self, cause: Hashable) -> tuple[Floats, Floats]:
        """The base rate per day by interval, and the factor by (cell, state); the rate is their product.

        A move has the factor 0 where its column is at its highest level.
        """
        one = self.process(cause)
        return one.base, one.factor

    def rates(self, cause: Hashable) -> Floats:
        """Events per day: (cells, states, intervals)."""
        base, factor = self.rate_factors(cause)
        return factor[:, :, None] * base


def intensities(
    exposures: ExposureTable,
    columns: Mapping[str, int],
    attributes: Sequence[str] = (),
    *,
    since: Mapping[str, Sequence[float]] | None = None,
    prior_sd: float = PRIOR_SD,
) -> Intensities:
    """How fast does each end of the journey come, and each micro, given what is done, attributes and time?

    ``exposures`` has the state's ``columns`` (whole numbers from 0 to the level given) and the ``attributes`` as
    pattern columns, and as causes the ends of the journey and the moves: ``"+"`` and the column that goes up by one
    level. Patterns are of just before an event.

    Each process has a hazard that is constant within intervals, times a ratio for every level above 0 of every column,
    and for every level of the attributes but the first (a number: one linear term). A move does not depend on its own
    column, but for the level that it leaves. Processes are fitted apart: they share no parameter, so that their
    estimates are independent.

    ``since``: columns that grow older by themselves, with the days since their micro at which they do: level 0 is not
    done, 1 up to the first of these days, and so on; the move is the one from 0 to 1.

    ``prior_sd``: a normal prior around 0 on every coefficient (none on the hazards of the intervals) keeps those finite
    that the data put at infinity, such as the ratio of a step without which the next cannot come: what it adds is worth
    about a tenth of an event. Elsewhere it moves a coefficient by ``coef * se^2 / prior_sd^2``: at 10, a ratio of 6
    with a standard error of .2 by 0.0007. ``inf``: no prior.

    Raises ``ParameterError`` on columns that the table does not have. Without the prior, the estimates are those of
    ``piecewise_exponential``; Aalen, Borgan and Gjessing (2008), chapter 5.
    """
    if not prior_sd > 0:
        raise ParameterError(f"prior_sd={shorten(repr(prior_sd))} must be a number above 0, such as 10.")
    for name in (*columns, *attributes):
        if name not in exposures.pattern_cols:
            raise ParameterError(unknown_name("pattern column", name, exposures.pattern_cols))
    ageing = {name: tuple(map(float, days)) for name, days in (since or {}).items()}
    for name, days in ageing.items():
        if name not in columns:
            raise ParameterError(unknown_name("column of since=", name, columns))
        if len(days) + 1 != columns[name] or not (np.diff([0.0, *days]) > 0).all():
            raise ParameterError(
                f"since={{{name!r}: {shorten(repr(days))}}} must be as many ascending days as the column has levels "
                f"above 1, {columns[name] - 1}."
            )
    table = exposures.pool((*columns, *attributes))
    frame = table.frame
    grid = Grid(dict(columns), _distinct(frame, attributes))
    cell, state = grid.place(frame)
    bins = len(table.cuts) + 1
    interval = np.searchsorted(np.array([0.0, *table.cuts]), frame["from_days"].to_numpy(dtype=float))
    shape = (len(grid.cells), grid.states, bins)
    person_time = np.zeros(shape)
    np.add.at(person_time, (cell, state, interval), frame["person_time_days"].to_numpy(dtype=float))
    weight = person_time.sum(axis=(1, 2))
    moves = [cause for cause in table.causes if str(cause).startswith(MOVE) and str(cause)[1:] in columns]
    told = cell_terms(grid, weight)
    found: dict[Hashable, Process] = {}
    for cause in table.causes:
        events = np.zeros(shape)
        np.add.at(events, (cell, state, interval), frame[f"d_{cause}"].to_numpy(dtype=float))
        column = str(cause)[1:] if cause in moves else None
        found[cause] = _process(cause, column, column in ageing, grid, told, events, person_time, prior_sd)
    ends = tuple(cause for cause in table.causes if cause not in moves)
    return Intensities(grid, table.cuts, ends, tuple(moves), found, ageing, person_time)


def _distinct(frame: pd.DataFrame, attributes: Sequence[str]) -> pd.DataFrame:
    """The combinations of attributes, in order."""
    if not len(attributes):
        return pd.DataFrame(index=pd.RangeIndex(1))
    known = frame[list(attributes)]
    _, first = np.unique(group_codes(known), return_index=True)
    return known.iloc[first].reset_index(drop=True)


def _process(
    name: Hashable,
    column: str | None,
    ageing: bool,
    grid: Grid,
    told: tuple[list[str], Floats, Floats],
    events: Floats,
    person_time: Floats,
    prior_sd: float,
) -> Process:
    """One process, fitted where it can happen."""
    possible = np.ones(grid.states, dtype=bool)
    if column is not None:
        possible = grid.level(column) < (1 if ageing else grid.columns[column])
    terms, by_state = state_terms(grid, column, ageing)
    names, by_cell, scales = told
    scale = np.concatenate([np.ones(len(terms)), scales])
    shape = (-1, person_time.shape[2])
    cells, states = len(grid.cells), int(possible.sum())
    x = np.hstack([np.tile(by_state[possible], (cells, 1)), np.repeat(by_cell, states, axis=0)])
    fit = fit_log_linear(
        events[:, possible].reshape(shape), person_time[:, possible].reshape(shape), x, 1 / prior_sd**2
    )
    return Process(
        name=name,
        column=column,
        fit=fit,
        terms=(*terms, *names),
        by_state=by_state,
        by_cell=by_cell,
        possible=possible,
        events=float(events[:, possible].sum()),
        scale=scale,
    )


def state_terms(grid: Grid, column: str | None, ageing: bool = False) -> tuple[list[str], Floats]:
    """A term for every level above 0 of every column, and its covariate by state.

    Of its own ``column`` a move tells apart only which level it leaves: from the highest there is none, and one that
    is ``ageing`` is moved from level 0 only.
    """
    terms, covariates = [], []
    for other, most in grid.columns.items():
        level = grid.level(other)
        levels = range(1, most + 1)
        if other == column:
            levels = range(1, 1 if ageing else most)
        for above in levels:
            terms.append(other if most == 1 else f"{other}={above}")
            covariates.append(level == above)
    by_state = np.column_stack(covariates).astype(float) if terms else np.zeros((grid.states, 0))
    return terms, by_state


def cell_terms(grid: Grid, weight: Floats) -> tuple[list[str], Floats, Floats]:
    """The terms of the attributes that tell cells apart, their covariates by cell, scaled, and the scales.

    ``weight``: how much each cell counts where a number is centred.
    """
    attributes = list(map(str, grid.cells.columns))
    if not attributes:
        return [], np.zeros((len(grid.cells), 0)), np.zeros(0)
    design = read_design(grid.cells, attributes, None, weight)
    by_cell = design.covariates(grid.cells) / design.scale
    apart = (by_cell != by_cell[:1]).any(axis=0)
    names = [term for term, kept in zip(design.names, apart, strict=True) if kept]
    return names, by_cell[:, apart], design.scale[apart]
