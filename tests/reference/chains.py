"""Intensities of known rates, and the same chains solved state by state with matrix exponentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, product

import numpy as np
import pandas as pd
from scipy.linalg import expm

from microconv.exposures import ExposureTable
from microconv.stats import Intensities, intensities

__all__ = ["known", "solved"]

Rate = Callable[[str, Mapping[str, int], str, int], float]


def known(
    columns: Mapping[str, int],
    cells: Sequence[str],
    cuts: Sequence[float],
    causes: Sequence[str],
    rate: Rate,
    days: float = 1e7,
    since: Mapping[str, Sequence[float]] | None = None,
) -> Intensities:
    """The fit to as many events as ``rate(process, levels, cell, interval)`` gives in ``days`` at risk everywhere."""
    edges = [0.0, *cuts, np.inf]
    rows = []
    for levels in product(*[range(most + 1) for most in columns.values()]):
        state = dict(zip(columns, levels, strict=True))
        for cell in cells:
            for g in range(len(edges) - 1):
                row = {**state, "segment": cell, "from_days": edges[g], "to_days": edges[g + 1]}
                for cause in causes:
                    row[f"d_{cause}"] = days * rate(cause, state, cell, g)
                for name, most in columns.items():
                    row[f"d_+{name}"] = days * rate(f"+{name}", state, cell, g) if state[name] < most else 0.0
                rows.append(row | {"person_time_days": days})
    names = (*causes, *[f"+{name}" for name in columns])
    table = ExposureTable(pd.DataFrame(rows), (*columns, "segment"), names, tuple(cuts))
    return intensities(table, columns, ["segment"], since=since)


def solved(
    fitted: Intensities,
    column: str,
    start: Mapping[str, int],
    cell: int,
    age: float,
    until: float,
    done: bool,
    since: Sequence[float] = (),
) -> np.ndarray:
    """From one state at one age: where the chain is by the age ``until``: each state, then each cause.

    ``since``: so long after the age the column, if done, goes up by itself.
    """
    grid, columns = fitted.grid, list(fitted.columns)
    levels = {name: grid.level(name) for name in columns}
    causes = list(fitted.causes)
    size = grid.states + len(causes)
    place = sum(level * grid.step(name) for name, level in ({**start, column: int(done)}).items())
    now = np.zeros(size)
    now[place] = 1.0
    older = [age + days for days in since if done]
    edges = [age, *sorted(cut for cut in {*fitted.cuts, *older} if age < cut < until), until]
    for low, high in pairwise(edges):
        g = int(np.searchsorted(fitted.cuts, low, side="right"))
        if low in older:
            step = grid.step(column)
            now[step : grid.states] = now[: grid.states - step]
            now[:step] = 0.0
        q = np.zeros((size, size))
        for number, cause in enumerate(causes):
            q[: grid.states, grid.states + number] = fitted.rates(cause)[cell, :, g]
        for name in columns:
            if name == column and (not done or since):
                continue
            for state in np.flatnonzero(levels[name] < fitted.columns[name]):
                q[state, state + grid.step(name)] += fitted.rates(f"+{name}")[cell, state, g]
        q -= np.diag(q.sum(axis=1))
        now = now @ expm(q * (high - low))
    return now
