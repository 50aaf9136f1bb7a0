"""Credited value: the revenue earned at conversions, divided among the micros that were done before.

At a conversion with the micros M done and their ratios r, the game is v(S) = product of r over S: how many times as
many conversions come with S done as with nothing. Its Shapley value, as a share of v(M) and with q = 1 / r, is

    share_j = (1 - q_j) * integral over u in (0, 1) of product over i in M without j of (u + (1 - u) q_i) du

and the product of all q is what nothing done would have brought: ``(no micro)``. The shares add up to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name

__all__ = ["NO_MICRO", "credit", "largest_remainder"]

NO_MICRO = "(no micro)"
_CHUNK = 2_000_000  # numbers that are held at once while ratios are drawn anew


def credit(
    revenue: pd.DataFrame,
    ratios: Mapping[str, float | Sequence[float]],
    *,
    amount: str = "cents",
    covariance: np.ndarray | pd.DataFrame | None = None,
    draws: int = 1_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """How much of the revenue (or of the conversions) each micro is credited with; the parts sum to the whole.

    * ``revenue``: a row per pattern of micros done, as ``reduce.revenue.revenue_by_pattern`` gives it: a column of
      levels (0: not done) for each name in ``ratios``, and ``amount``, whole numbers. Other columns are pooled.
    * ``ratios``: by micro its adjusted ratio, above 0 (infinite: no conversion comes without it, which takes all); for
      a column of several levels one for each level from 1 on, against level 0.
    * ``covariance``: of the logarithms of the ratios, in their order (levels one after another). With it come limits,
      from ``draws`` of the ratios by ``seed``: percentiles, in the unit of ``amount``; the revenue itself is a fact.

    Returns a row per micro and a last one, ``(no micro)``: ``micro, credited_<amount>`` (whole numbers that sum to the
    revenue exactly: what rounding leaves goes to the largest remainders, of equal ones to the first), ``share`` (of
    the revenue; NaN where that is 0), ``negative`` (a ratio below 1 takes away), ``ci_low, ci_high``.

    Without interactions between micros this is exact (METHODS: Shapley's value of a multiplicative game). Raises
    ``ParameterError`` for ratios that are none, levels without one, and amounts that are no whole numbers.
    """
    factors, sizes = _inverses(ratios)
    names = list(ratios)
    states, total = _patterns(revenue, names, sizes, amount)
    money = np.array([float(value) for value in total])
    # fsum rounds once, so that the order of patterns cannot decide who gets the last cent.
    parts = [math.fsum(column) for column in (_shares(_looked_up(states, factors)) * money[:, None]).T]
    credited = largest_remainder(parts, sum(int(value) for value in total))
    whole = sum(credited)
    table = pd.DataFrame({"micro": [*names, NO_MICRO], f"credited_{amount}": np.array(credited, dtype="int64")})
    table["share"] = [part / whole if whole else math.nan for part in credited]
    table["negative"] = [part < 0 for part in credited]
    table["ci_low"], table["ci_high"] = np.nan, np.nan
    if covariance is not None:
        if not 0 < confidence < 1:
            raise ParameterError(f"confidence={confidence!r} must lie between 0 and 1, such as 0.95.")
        drawn = _drawn(states, money, factors, covariance, draws, seed)
        tail = (1 - confidence) / 2
        table["ci_low"], table["ci_high"] = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return table


def largest_remainder(parts: Sequence[float], total: int) -> list[int]:
    """Parts as whole numbers that sum to ``total``: rounded down, then one more for the largest remainders; of equal
    ones for the first.
    """
    floors = [math.floor(part) for part in parts]
    left = total - sum(floors)
    if not parts:
        return []
    # Rounding errors of huge sums may leave more than one each, or less than nothing.
    each, left = divmod(left, len(parts))
    order = sorted(range(len(parts)), key=lambda i: (floors[i] - parts[i], i))
    more = set(order[:left])
    return [floor + each + (i in more) for i, floor in enumerate(floors)]


def _inverses(ratios: Mapping[str, float | Sequence[float]]) -> tuple[list[np.ndarray], list[int]]:
    """By column 1 / ratio of each level from 0 on, and the number of levels above 0."""
    factors, sizes = [], []
    for name, given in ratios.items():
        levels = np.atleast_1d(np.asarray(given, dtype=float))
        if levels.ndim != 1 or not len(levels) or np.isnan(levels).any() or (levels <= 0).any():
            raise ParameterError(
                f"ratios: {shorten(repr(name))} has {shorten(repr(given))}. A ratio is a number above 0 (1: no effect) "
                "or one for each level."
            )
        factors.append(np.concatenate([[1.0], 1.0 / levels]))
        sizes.append(len(levels))
    return factors, sizes


def _patterns(
    revenue: pd.DataFrame, names: Sequence[str], sizes: Sequence[int], amount: str
) -> tuple[np.ndarray, list[int]]:
    """The patterns that occur, levels by column, and the amount of each as unbounded whole numbers."""
    for name in (*names, amount):
        if name not in revenue.columns:
            raise ParameterError(unknown_name("column of the revenue", name, revenue.columns))
    if not pd.api.types.is_integer_dtype(revenue[amount].dtype) or revenue[amount].isna().any():
        raise ParameterError(f"{amount!r} must hold whole numbers (hundredths of the currency, or counts).")
    for name, size in zip(names, sizes, strict=True):
        levels = revenue[name]
        if not pd.api.types.is_integer_dtype(levels.dtype) or not levels.between(0, size).all():
            raise ParameterError(
                f"{name!r} has levels up to {shorten(levels.max())}, but ratios= has {size} above level 0. Give one "
                "ratio for each level."
            )
    if not names:
        return np.zeros((1, 0), dtype=np.int64), [sum(int(value) for value in revenue[amount])]
    found: dict[tuple[int, ...], int] = {}
    for state, value in zip(revenue[list(names)].to_numpy(dtype=np.int64), revenue[amount], strict=True):
        key = tuple(int(level) for level in state)
        found[key] = found.get(key, 0) + int(value)
    states = sorted(found)
    return np.array(states, dtype=np.int64).reshape(-1, len(names)), [found[state] for state in states]


def _shares(inverse: np.ndarray) -> np.ndarray:
    """Rows of 1 / ratio (1 where a micro is not done) as rows of shares, with that of nothing done as last column."""
    micros = inverse.shape[-1]
    nothing = inverse.prod(axis=-1)[..., None]
    if micros == 0:
        return nothing
    nodes, weights = np.polynomial.legendre.leggauss(micros // 2 + 1)  # exact for the degree micros - 1
    shares = np.zeros(inverse.shape)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        factor = node + (1 - node) * inverse  # above 0: nodes lie inside (0, 1)
        # Of all but one factor the product, without division: from the left times from the right.
        left = np.cumprod(factor[..., :-1], axis=-1)
        right = np.cumprod(factor[..., :0:-1], axis=-1)[..., ::-1]
        rest = np.ones(inverse.shape)
        rest[..., 1:] *= left
        rest[..., :-1] *= right
        shares += weight * rest
    return np.concatenate([(1 - inverse) * shares, nothing], axis=-1)


def _looked_up(states: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
    columns = [factor[states[:, j]] for j, factor in enumerate(factors)]
    return np.stack(columns, axis=-1) if columns else np.ones((len(states), 0))


def _drawn(
    states: np.ndarray,
    total: np.ndarray,
    factors: Sequence[np.ndarray],
    covariance: np.ndarray | pd.DataFrame,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Credited amounts (unrounded) under ``draws`` of the ratios: a row per draw."""
    matrix = np.asarray(covariance, dtype=float)
    size = sum(len(factor) - 1 for factor in factors)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ParameterError(f"covariance must be a finite {size} x {size} matrix, one row per ratio in their order.")
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 100:
        raise ParameterError(f"draws={shorten(repr(draws))} must be a whole number of 100 or more.")
    # Eigenvectors, because a ratio that is held fixed has no error and leaves the matrix singular.
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    normal = np.random.default_rng(seed).standard_normal((draws, size))
    shift = np.exp(-normal @ (vectors * np.sqrt(np.clip(values, 0, None))).T)
    found = np.zeros((draws, len(factors) + 1))
    step = max(1, _CHUNK // max(1, states.size))
    for begin in range(0, draws, step):
        part = shift[begin : begin + step]
        columns, place = [], 0
        for j, factor in enumerate(factors):
            width = len(factor) - 1
            moved = np.concatenate([np.ones((len(part), 1)), factor[1:] * part[:, place : place + width]], axis=1)
            columns.append(moved[:, states[:, j]])
            place += width
        inverse = np.stack(columns, axis=-1) if columns else np.ones((len(part), len(states), 0))
        found[begin : begin + step] = np.einsum("dpj,p->dj", _shares(inverse), total)
    return found
