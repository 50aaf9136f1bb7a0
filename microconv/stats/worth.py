"""What a conversion brings on average, by what was done before it and by attributes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, unknown_name
from microconv.stats._curves import Floats
from microconv.stats._log_linear import fit_log_linear
from microconv.stats.intensity_fit import PRIOR_SD, Grid, Intensities, cell_terms, state_terms

__all__ = ["MeanWorth", "mean_worth"]


@dataclass(frozen=True, eq=False)
class MeanWorth:
    """The mean revenue of a conversion: ``mean`` by (cell, state) of the intensities' grid.

    Log-linear: a constant, then the terms ``by_state`` (states, terms) and ``by_cell`` (cells, terms); ``covariance``
    is of these parameters, robust. ``table``: ``term, coef, se, ratio``. ``below_zero``: levels (``column=level``) in
    which conversions cost more than they bring (refunds), whose mean no product of ratios can be: read as next to
    nothing.
    """

    mean: Floats
    by_state: Floats = field(repr=False)
    by_cell: Floats = field(repr=False)
    covariance: Floats = field(repr=False)
    table: pd.DataFrame
    below_zero: tuple[str, ...] = ()


def mean_worth(sums: pd.DataFrame, fitted: Intensities, *, prior_sd: float = PRIOR_SD) -> MeanWorth:
    """What does a conversion bring on average, in each state and cell of ``fitted``?

    ``sums``: a row per pattern at the conversion: the columns of the state, the attributes, ``conversions``, and the
    sums over them of what each brings and of its square, ``cents`` and ``cents_squared``. The answer is in the same
    unit.

    The mean is a product of ratios, one for each level of each column and attribute, fitted as a Poisson regression of
    money on conversions, which asks nothing of the spread of orders; errors are robust, from the squares. ``prior_sd``
    keeps ratios finite as in ``intensities``. Revenue of zero or less in all has no ratios: the mean is one for all.
    Nor has a level that brings less than zero: its money counts as zero, and all means are scaled so that they sum to
    the whole.

    Raises ``ParameterError`` on missing columns. Wooldridge (1999), quasi-likelihood.
    """
    grid = fitted.grid
    for column in (*grid.columns, *grid.cells.columns, "conversions", "cents", "cents_squared"):
        if column not in sums.columns:
            raise ParameterError(unknown_name("column", str(column), map(str, sums.columns)))
    cell, state = grid.place(sums)
    known = (cell >= 0) & (sums["conversions"].to_numpy(float) > 0)
    cell, state, rows = cell[known], state[known], sums[known]
    many, money, squares = (rows[name].to_numpy(float) for name in ("conversions", "cents", "cents_squared"))
    terms, by_state = state_terms(grid, None)
    more, by_cell, scale = cell_terms(grid, np.bincount(cell, many, minlength=len(grid.cells)).astype(float))
    if not money.sum() > 0:
        terms, more, scale, by_state, by_cell = [], [], scale[:0], by_state[:, :0], by_cell[:, :0]
    x = np.hstack([by_state[state], by_cell[cell]])
    mean = float(money.sum() / many.sum()) if len(many) else 0.0
    values, covariance = np.full((len(grid.cells), grid.states), mean), np.zeros((1 + x.shape[1],) * 2)
    if mean <= 0:
        return MeanWorth(values, by_state, by_cell, covariance, _table([], np.zeros(0), np.zeros(0)))
    money, squares, below = _not_below_zero(rows, grid, money, squares)
    fit = fit_log_linear((money / mean)[:, None], many[:, None], x, 1 / prior_sd**2)
    split = by_state.shape[1]
    eta = (by_cell @ fit.coef[split:])[:, None] + by_state @ fit.coef[:split] + fit.intercept[0]
    values = mean * np.exp(eta)
    here = values[cell, state]
    spread = np.maximum(squares - 2 * here * money + many * here**2, 0.0) / mean**2
    full = np.column_stack([np.ones(len(x)), x])
    covariance = fit.covariance @ ((full.T * spread) @ full) @ fit.covariance
    scales = np.concatenate([np.ones(split), scale])
    # A level without any conversion (before a checkout) has no variance, and rounding may take it below zero.
    se = np.sqrt(np.maximum(np.diag(covariance)[1:], 0.0)) / scales
    return MeanWorth(values, by_state, by_cell, covariance, _table([*terms, *more], fit.coef / scales, se), below)


def _not_below_zero(
    rows: pd.DataFrame, grid: Grid, money: Floats, squares: Floats
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """The money (and squares) of each row with every level's sum at zero or above, and the levels that were below.

    Where a level's sum is negative the likelihood climbs for ever as its ratio goes to zero.
    """
    whole, named, below = money.sum(), [*grid.columns, *grid.cells.columns], dict[str, None]()
    levels = {f"{name}={level}": rows[name].to_numpy() == level for name in named for level in rows[name].unique()}
    money = money.copy()
    while found := [name for name, here in levels.items() if money[here].sum() < 0]:
        for name in found:
            money[levels[name]] = 0.0
            below[name] = None
    if below:
        scale = whole / money.sum()
        money, squares = money * scale, np.where(money == 0, 0.0, squares * scale**2)
    return money, squares, tuple(below)


def _table(terms: list[str], coef: Floats, se: Floats) -> pd.DataFrame:
    return pd.DataFrame({"term": terms, "coef": coef, "se": se, "ratio": np.exp(coef)})
