"""Groups of alike patterns: weighted k-means on counts, with as many groups as come back in other samples of users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten

__all__ = ["Clusters", "adjusted_rand", "cluster_patterns"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_STABLE = 0.75  # below it a partition is not found again well enough to speak of (Hennig 2007)
_AS_GOOD = 0.02
_MORE = 1.1  # columns that have nothing to do with each other can be cut reliably too, and are no groups
_ITERATIONS = 100
_DRAWN = 20_000  # users drawn for what independent columns would give


@dataclass(frozen=True, eq=False)
class Clusters:
    """``label`` per pattern (0: the cluster with the most users), ``centres`` and the overall ``mean`` in units of
    each column's standard deviation, and ``stability``, a row per number of clusters tried: ``clusters, stability``
    (mean adjusted Rand index), ``stability_se``, ``smallest_share``, ``explained`` (share of the spread between
    clusters), ``explained_independent`` (the same had the columns nothing to do with each other), ``chosen``.
    """

    label: Ints
    centres: Floats
    stability: pd.DataFrame

    @property
    def many(self) -> int:
        """How many clusters were chosen; 1: no partition was stable."""
        return len(self.centres)


def cluster_patterns(
    levels: npt.ArrayLike,
    weights: npt.ArrayLike,
    *,
    clusters: int | None = None,
    most: int = 8,
    least_share: float = 0.02,
    resamples: int = 20,
    seed: int = 0,
) -> Clusters:
    """Which patterns go together, and how many groups of them can be told apart reliably?

    * ``levels``: a row per pattern, a column per feature; ``weights``: how many users have the pattern.
    * ``clusters``: how many; None: chosen from 2 to ``most``.
    * ``least_share``: a partition with a smaller cluster is not chosen.

    Columns are scaled by their standard deviation over users. Weighted k-means (Lloyd's, the best of several starts
    by k-means++; Arthur and Vassilvitskii 2007). For each number of clusters, ``resamples`` samples of as many users
    are drawn with replacement (a multinomial draw of the weights), clustered, and all patterns are given to the
    nearest centre: the adjusted Rand index (Hubert and Arabie 1985) with the clusters of all users, weighted by users,
    says how well the partition comes back (Hennig 2007). Chosen is the largest number whose mean index is within 0.02
    of the best, among those with 0.75 or more, no cluster too small, and a tenth more of the spread between clusters
    than independent columns with the same levels have; otherwise one cluster. The same ``seed`` gives the same
    clusters; the order of rows does not matter.

    Raises ``ParameterError`` on shapes that do not fit, fewer than two patterns, and impossible numbers.
    """
    x, w = _read(levels, weights)
    for name, value, least in (("most", most, 2), ("resamples", resamples, 2), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ParameterError(f"{name}={shorten(repr(value))} must be a whole number, {least} or more.")
    if clusters is not None and (
        isinstance(clusters, bool) or not isinstance(clusters, int) or not 2 <= clusters <= len(x)
    ):
        raise ParameterError(
            f"clusters={shorten(repr(clusters))} must be a whole number from 2 to the number of different patterns, "
            f"{len(x):,}."
        )
    order = np.lexsort(x.T[::-1])
    scaled, sizes = _scaled(x[order], w[order])
    tried = [clusters] if clusters is not None else list(range(2, min(most, len(x)) + 1))
    independent, drawn = _independent(scaled, sizes, seed)
    rows, found = [], {}
    for k in tried:
        label, centres = _best(scaled, sizes, k, np.random.default_rng([seed, k]))
        found[k] = (label, centres)
        indices = [
            _again(scaled, sizes, label, k, np.random.default_rng([seed, k, number])) for number in range(resamples)
        ]
        share = np.bincount(label, sizes, k) / sizes.sum()
        other, _ = _best(independent, drawn, k, np.random.default_rng([seed, k]))
        rows.append(
            {
                "clusters": k,
                "stability": float(np.mean(indices)),
                "stability_se": float(np.std(indices, ddof=1) / np.sqrt(resamples)),
                "smallest_share": float(share.min()),
                "explained": _explained(scaled, sizes, label, k),
                "explained_independent": _explained(independent, drawn, other, k),
            }
        )
    table = pd.DataFrame(rows)
    chosen = clusters if clusters is not None else _choose(table, least_share)
    table["chosen"] = table["clusters"] == chosen
    label, centres = found.get(chosen, (np.zeros(len(x), dtype=np.int64), np.zeros((1, x.shape[1]))))
    ranked = np.argsort(-np.bincount(label, sizes, len(centres)), kind="stable")
    place = np.empty_like(ranked)
    place[ranked] = np.arange(len(ranked))
    back = np.empty(len(x), dtype=np.int64)
    back[order] = place[label]
    return Clusters(back, centres[ranked], table)


def adjusted_rand(one: npt.ArrayLike, other: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """How alike are two partitions of the same users: 1 the same, 0 as chance has it.

    ``weights``: how many users each row stands for. Hubert and Arabie (1985); 1 where both have one group.

    >>> round(adjusted_rand([0, 0, 1, 1], [0, 0, 1, 2]), 4)
    0.5714
    """
    a, b = np.unique(one, return_inverse=True)[1], np.unique(other, return_inverse=True)[1]
    w = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=float)
    cells = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(cells, (a, b), w)

    def pairs(n: Floats) -> float:
        return float((n * (n - 1)).sum() / 2)

    rows, columns, both = pairs(cells.sum(axis=1)), pairs(cells.sum(axis=0)), pairs(cells)
    total = pairs(np.array([w.sum()]))
    expected = rows * columns / total if total > 0 else 0.0
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else float((both - expected) / (largest - expected))


def _read(levels: npt.ArrayLike, weights: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, w = np.asarray(levels, dtype=float), np.asarray(weights, dtype=float)
    if x.ndim != 2 or w.shape != (len(x),) or not x.shape[1]:
        raise ParameterError(
            f"levels has the shape {x.shape} and weights {w.shape}: pass a row and a weight a pattern."
        )
    if not np.isfinite(x).all() or not np.isfinite(w).all() or (w <= 0).any():
        raise ParameterError("levels must be finite numbers, and weights above 0.")
    if len(np.unique(x, axis=0)) < len(x):
        raise ParameterError("Some rows of levels are the same pattern: add up their weights.")
    if len(x) < 2:
        raise ParameterError("There is one pattern only: nothing tells users apart.")
    return x, w


def _scaled(x: Floats, w: Floats) -> tuple[Floats, Floats]:
    mean = w @ x / w.sum()
    spread = np.sqrt(w @ (x - mean) ** 2 / w.sum())
    return (x - mean) / np.where(spread > 0, spread, 1.0), w


def _independent(x: Floats, w: Floats, seed: int) -> tuple[Floats, Floats]:
    """Patterns of users whose columns are drawn apart from each other, each with its own distribution."""
    rng = np.random.default_rng([seed, 0])
    many = int(min(max(w.sum(), 2), _DRAWN))
    columns = [rng.choice(x[:, j], many, p=w / w.sum()) for j in range(x.shape[1])]
    drawn, count = np.unique(np.column_stack(columns), axis=0, return_counts=True)
    return drawn, count.astype(float)


def _best(x: Floats, w: Floats, k: int, rng: np.random.Generator, starts: int = 24) -> tuple[Ints, Floats]:
    """The best of several starts."""
    if k >= len(x):
        return np.arange(len(x)), x.copy()
    runs = [_lloyd(x, w, _plus_plus(x, w, k, rng)) for _ in range(starts)]
    label, centres, _ = min(runs, key=lambda run: run[2])
    return label, centres


def _plus_plus(x: Floats, w: Floats, k: int, rng: np.random.Generator) -> Floats:
    chosen = [int(rng.choice(len(x), p=w / w.sum()))]
    nearest = ((x - x[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(k - 1):
        chance = w * nearest
        total = chance.sum()
        pick = int(rng.choice(len(x), p=chance / total)) if total > 0 else int(rng.integers(len(x)))
        chosen.append(pick)
        nearest = np.minimum(nearest, ((x - x[pick]) ** 2).sum(axis=1))
    return x[chosen]


def _lloyd(x: Floats, w: Floats, centres: Floats) -> tuple[Ints, Floats, float]:
    label = np.full(len(x), -1)
    for _ in range(_ITERATIONS):
        distance = _distances(x, centres)
        new = distance.argmin(axis=1)
        if (new == label).all():
            break
        label = new
        size = np.bincount(label, w, len(centres))
        sums = np.column_stack([np.bincount(label, w * column, len(centres)) for column in x.T])
        centres = np.where(size[:, None] > 0, sums / np.maximum(size, 1e-300)[:, None], centres)
    return label, centres, float(w @ _distances(x, centres)[np.arange(len(x)), label])


def _distances(x: Floats, centres: Floats) -> Floats:
    squared = (x**2).sum(axis=1)[:, None] - 2 * x @ centres.T + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(squared, 0.0))


def _again(x: Floats, w: Floats, label: Ints, k: int, rng: np.random.Generator) -> float:
    """How well the partition comes back from another sample of as many users."""
    many = max(round(float(w.sum())), 2)
    drawn = rng.multinomial(many, w / w.sum()).astype(float)
    some = drawn > 0
    _, centres = _best(x[some], drawn[some], min(k, int(some.sum())), rng, starts=3)
    return adjusted_rand(label, _distances(x, centres).argmin(axis=1), w)


def _explained(x: Floats, w: Floats, label: Ints, k: int) -> float:
    mean = w @ x / w.sum()
    total = float(w @ ((x - mean) ** 2).sum(axis=1))
    size = np.bincount(label, w, k)
    means = np.column_stack([np.bincount(label, w * column, k) for column in x.T]) / np.maximum(size, 1e-300)[:, None]
    return float(size @ ((means - mean) ** 2).sum(axis=1)) / total if total > 0 else 0.0


def _choose(table: pd.DataFrame, least_share: float) -> int:
    fit = table[
        (table["smallest_share"] >= least_share) & (table["explained"] >= _MORE * table["explained_independent"])
    ]
    if fit.empty or fit["stability"].max() < _STABLE:
        return 1
    good = fit[fit["stability"] >= fit["stability"].max() - _AS_GOOD]
    return int(good["clusters"].max())
