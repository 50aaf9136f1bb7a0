"""The chance to convert in each state, and what it comes to for a list of users."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.reduce.audience import AGE_BANDS
from microconv.stats._curves import Floats
from microconv.stats.group_rates import rate_at
from microconv.stats.proportions import wilson

__all__ = ["Chances", "band_name", "expected", "state_chances", "worth"]

_MOST = 2  # so many different micros of no mark are told apart in a coarser state
_LEVELS = 4
_HARDLY = 1e-6


@dataclass(frozen=True, eq=False)
class Chances:
    """``table``: ``done, age_band, users, chance, se, ci_low, ci_high, seen`` (users that were in the very state) and
    ``own_weight`` (how much of the chance is the state's own, not its parents').

    ``chains``: each state's key at every level; ``weights``: of what each level's rate counts; ``rates``: ``rate, se,
    seen`` by level and key.
    """

    table: pd.DataFrame
    chains: list[tuple[tuple[int, str], ...]]
    weights: Floats
    rates: dict[tuple[int, str], tuple[float, float, float]]

    def error(self, amounts: Floats) -> float:
        """The standard error of the sum of the states' chances times ``amounts``; a parent holds its children."""
        part: dict[tuple[int, str], float] = defaultdict(float)
        nested: set[tuple[tuple[int, str], tuple[int, str]]] = set()
        for amount, chain, weights in zip(amounts, self.chains, self.weights, strict=True):
            if amount:
                for key, weight in zip(chain, weights, strict=True):
                    part[key] += amount * weight
                nested |= {(chain[a], chain[b]) for b in range(_LEVELS) for a in range(b)}
        variance = sum(share**2 * self.rates[key][1] ** 2 for key, share in part.items())
        for child, parent in nested:
            _, se, seen = self.rates[child]
            if seen > 0:
                variance += 2 * part[child] * part[parent] * seen / self.rates[parent][2] * se**2
        return math.sqrt(max(variance, 0.0))


def state_chances(
    counts: RiskTable,
    states: pd.DataFrame,
    marks: int,
    horizon_days: float,
    cause: Hashable,
    prior: int,
    confidence: float = 0.95,
) -> Chances:
    """The chance of each of ``states`` (``done, age_band, users``), from what users in it went on to do.

    A state's rate is drawn towards that of its parent as if ``prior`` conversions more had been seen, and as many users
    as go with them at the parent's chance: a coarser state (``marks``: the bits of ``done`` that stay; of the others
    only how many), its age band, all.
    """
    frame = counts.frame
    keys = [_keys(level, frame, marks) for level in range(_LEVELS)]
    wanted = [_keys(level, states, marks) for level in range(_LEVELS)]
    rates: dict[tuple[int, str], tuple[float, float, float]] = {}
    chains, all_weights, rows = [], [], []
    for i in range(len(states)):
        chain = tuple((level, wanted[level][i]) for level in range(_LEVELS))
        for level, key in chain:
            if (level, key) not in rates:
                mine = frame[keys[level] == key]
                rate, se = np.nan, np.nan
                if len(mine):
                    rate, se, _ = rate_at(RiskTable.from_counts(mine, (), counts.causes), horizon_days, cause)
                known = rate == rate and se == se
                rates[level, key] = (rate, se, float(mine["entered"].sum())) if known else (0.0, 0.0, 0.0)
        weights = np.zeros(_LEVELS)
        chance = 0.0
        for level, key in reversed(chain):
            rate, _, seen = rates[level, key]
            own = 1.0
            if level < _LEVELS - 1:
                like = prior / max(chance, _HARDLY)
                own = seen / (seen + like)
            weights *= 1 - own
            weights[level] = own
            chance += own * (rate - chance)
        chains.append(chain)
        all_weights.append(weights)
        rows.append((chance, rates[chain[0]][2], weights[0]))
    found = Chances(states, chains, np.array(all_weights), rates)
    table = states.reset_index(drop=True)
    table[["chance", "seen", "own_weight"]] = rows
    table["se"] = [found.error(row) for row in np.eye(len(states))]
    p, spread = table["chance"].to_numpy(), table["se"].to_numpy()
    # Wilson's limits for as many users as would have such an error; where hardly any event was seen, for those seen.
    like = np.divide(p * (1 - p), spread**2, out=np.zeros_like(p), where=spread > 0)
    like = np.maximum(like, table["seen"].to_numpy())
    table["ci_low"], table["ci_high"] = wilson(p * like, like, confidence)
    return replace(found, table=table)


def _keys(level: int, frame: pd.DataFrame, marks: int) -> np.ndarray:
    """States as text, coarser from level to level."""
    done, band = frame["done"].to_numpy(np.int64), frame["age_band"].to_numpy(np.int64)
    if level == 0:
        names = [f"{d}/{b}" for d, b in zip(done, band, strict=True)]
    elif level == 1:
        others = [min(int(d & ~marks).bit_count(), _MOST) for d in done]
        names = [f"{d & marks}+{o}/{b}" for d, o, b in zip(done, others, band, strict=True)]
    else:
        names = [str(b) if level == 2 else "all" for b in band]
    return np.array(names, dtype=object)


def expected(found: Chances, users: Floats, confidence: float) -> dict[str, float]:
    """How many of ``users`` (by state) are expected to convert, the interval of that expectation, and the range in
    which the number itself will lie, chance included.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    chance = found.table["chance"].to_numpy()
    number, most = float(users @ chance), float(users.sum())
    se = found.error(users)
    spread, wide = z * se, z * math.sqrt(se**2 + float(users @ (chance * (1 - chance))))
    return {
        "expected_conversions": number,
        "se": se,
        "ci_low": max(number - spread, 0.0),
        "ci_high": min(number + spread, most),
        "range_low": max(number - wide, 0.0),
        "range_high": min(number + wide, most),
    }


def band_name(band: int) -> str:
    """An age band in words."""
    edges = [0, *AGE_BANDS]
    return f"over {edges[-1]} days" if band == len(AGE_BANDS) else f"{edges[band]} to {edges[band + 1]} days"


def worth(
    found: Mapping[str, float], paid: Mapping[str, float | str | None] | None, confidence: float
) -> dict[str, float | str | None]:
    """What the expected conversions come to at the mean value of past ones, with the error of both; NaN without money
    or with fewer than two past purchases.
    """
    nothing = dict.fromkeys(("mean_value", "expected_value", "value_ci_low", "value_ci_high"), math.nan)
    if paid is None or float(paid["n"] or 0) < 2:
        return {**nothing, "currency": None if paid is None else paid["currency"]}
    n, total, squares = (float(paid[name] or 0) for name in ("n", "total", "squares"))
    mean = total / n
    variance = max(squares / n - mean**2, 0.0) / (n - 1)
    value = mean * found["expected_conversions"]
    error = math.sqrt(mean**2 * found["se"] ** 2 + found["expected_conversions"] ** 2 * variance)
    spread = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return {
        "mean_value": mean,
        "expected_value": value,
        "value_ci_low": max(value - spread, 0.0),
        "value_ci_high": value + spread,
        "currency": paid["currency"],
    }
