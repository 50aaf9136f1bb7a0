"""Conversions divided by the parts of an additive rate, with intervals from its linear form over buckets of users."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.stats._additive_design import Terms
from microconv.stats.attribution import COLUMNS, UNATTRIBUTED
from microconv.stats.path_bootstrap import rank_stability, ranks
from microconv.stats.resample import poisson_weights, resampled, t_limits
from microconv.touch_sums import TouchSums

__all__ = ["BASELINE", "MODEL", "Division", "credit_table"]

Floats = npt.NDArray[np.float64]
BASELINE, MODEL = "(baseline)", "survival"


@dataclass(frozen=True, eq=False)
class Division:
    """``z``: (conversion, term), scaled; ``parts``: of each term, in conversions; ``moves``: (bucket, term), how the
    parts move with the weight of a bucket; ``shift``: how far a part that is held at 0 would like to go below it (and
    the others with it); ``told``: which terms the data tell from the others.
    """

    terms: Terms
    z: Any
    parts: Floats
    moves: Floats
    shift: Floats
    told: npt.NDArray[np.bool_]

    def spread(self) -> Floats:
        """The standard error of each part."""
        return _spread(self.moves)

    def of(self, amount: Floats) -> tuple[Floats, Floats, Floats]:
        """An amount at each conversion, divided: by output (the channels that have a term, then the baseline), how each
        moves with the weight of a bucket (bucket, output), and with the shift.
        """
        first, size = self.terms.baseline, len(self.parts)
        outputs = size - first + 1
        where = np.concatenate([np.full(first, outputs - 1), np.arange(outputs - 1)])
        belongs = np.zeros((size, outputs))
        belongs[np.arange(size), where] = 1.0
        if not len(amount):
            return np.zeros(outputs), np.zeros((len(self.terms.buckets), outputs)), np.zeros(outputs)
        rate = self.z @ self.parts
        shares = (self.z @ (self.parts[:, None] * belongs)) / rate[:, None]  # (conversion, output), rows sum to 1
        divided = shares * amount[:, None]
        direct = np.zeros((len(self.terms.buckets), outputs))
        np.add.at(direct, self.terms.bucket, divided)
        per_part = self.z.T @ (amount / rate)
        slopes = belongs * per_part[:, None] - self.z.T @ (divided / rate[:, None])  # (term, output)
        return divided.sum(axis=0), direct + self.moves @ slopes, self.shift @ slopes


def credit_table(
    division: Division, sums: TouchSums, channels: npt.NDArray[np.int64], confidence: float, replicates: int, seed: int
) -> pd.DataFrame:
    """``AdditiveHazards.credits``."""
    names = [*sums.channels, BASELINE, UNATTRIBUTED]
    place = np.concatenate([channels - 1, [len(sums.channels), len(sums.channels) + 1]])
    buckets = len(division.terms.buckets)
    told = np.concatenate([division.told[division.terms.baseline :], [True, True]])
    whole = float(sums.totals["conversions"].sum())
    columns: dict[str, Any] = {"channel": pd.Series(names, dtype=object), "model": MODEL}
    few = -math.log1p(-confidence)
    stability, placed = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for column, all_of, prefix in (("conversions", "told", ""), ("value", "told_value", "value_")):
        credit, moves, shift = division.of(sums.conversions[column].to_numpy(dtype=float))
        rest = np.zeros(buckets)
        at = np.searchsorted(division.terms.buckets, sums.totals["bucket"].to_numpy(dtype=np.int64))
        np.add.at(rest, at, (sums.totals[column] - sums.totals[all_of]).to_numpy(dtype=float))
        credit, moves, shift = np.append(credit, rest.sum()), np.column_stack([moves, rest]), np.append(shift, 0.0)
        total = float(sums.totals[column].sum())
        if total:
            # Scaled to what was counted: the uncertainty of the division, not of the volume.
            moves = moves - np.outer(moves.sum(axis=1), credit / total)
        one = few if column == "conversions" else few * total / whole if whole else math.nan
        error = np.where(told, _spread(moves), np.nan)
        limits = [_limits(credit[i], error[i], shift[i], total, one, buckets, confidence) for i in range(len(credit))]
        columns |= {column: _spread_out(credit, place, len(names))}
        columns |= {f"{prefix}ci_low": _spread_out(np.array([low for low, _ in limits]), place, len(names))}
        columns |= {f"{prefix}ci_high": _spread_out(np.array([high for _, high in limits]), place, len(names))}
        if column == "conversions" and total and len(channels):
            placed[channels - 1] = ranks(credit[:-2], total)
            if buckets > 1 and replicates:
                weights = poisson_weights(buckets, replicates, seed)
                drawn = np.maximum(credit[:-2] + resampled(weights - 1.0, moves[:, :-2]), 0.0)
                stability[channels - 1] = rank_stability(credit[:-2], drawn, total)
    columns["share"] = columns["conversions"] / whole if whole else np.nan
    return pd.DataFrame(columns | {"rank": placed, "rank_stability": stability})[list(COLUMNS)]


def _spread(moves: Floats) -> Floats:
    """The standard error of sums over buckets, from how they move with the weight of each."""
    count = len(moves)
    if count < 2:
        return np.full(moves.shape[1], np.nan)
    found: Floats = moves.std(axis=0, ddof=1) * math.sqrt(count)
    return found


def _limits(
    credit: float, error: float, shift: float, total: float, few: float, buckets: int, confidence: float
) -> tuple[float, float]:
    """The interval of a part of the total: symmetric, as a rate that adds may be anything from 0 on (on a scale of
    logarithms a channel without effect would never have 0 within its limits), and cut at 0 and at the total.
    """
    if buckets < 2 or not total > 0:
        return math.nan, math.nan
    low, high = t_limits(credit + min(shift, 0.0), error, buckets, confidence=confidence)
    if credit <= 0 and not math.isnan(high):
        return 0.0, min(max(high, few), total)
    return max(low, 0.0), min(high, total)


def _spread_out(values: Floats, place: npt.NDArray[np.int64], size: int) -> Floats:
    found = np.full(size, np.nan)
    found[place] = values
    return found
