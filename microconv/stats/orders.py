"""Orders in which things were done, from counts of orders: sequences against chance, and what comes after what."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import ParameterError, shorten
from microconv.stats._curves import z_value
from microconv.stats.competing import aalen_johansen
from microconv.stats.group_rates import rate_at
from microconv.stats.multiplicity import adjust_p_values
from microconv.stats.proportions import wilson

__all__ = ["CONVERSION", "NULL", "START", "lead_times", "sequences", "transitions"]

START, CONVERSION, NULL = "(start)", "(conversion)", "(null)"
_PARTS = (0.25, 0.5, 0.75, 0.9)


def sequences(
    orders: pd.DataFrame, names: Sequence[str], lengths: Sequence[int] = (2, 3), confidence: float = 0.95
) -> pd.DataFrame:
    """Which orders of two or three things are more frequent than if order were chance?

    ``orders``: a row per order, ``r_<i>`` (the place of thing i in it; 0: not done; equal: at one instant),
    ``converted`` and ``users``. Of the users who did all things of a sequence, each at a moment of its own, a share of
    1 / length! would have done them in this order if every order were equally likely: the exact permutation
    expectation. Other things may lie between.

    A row per sequence that somebody did: ``sequence, length, users`` (in this order), ``did_all`` (in any), ``share``,
    ``expected`` (users), ``lift`` with ``ci_low, ci_high`` (Wilson's, of the share), ``p_value`` (exact binomial) and
    ``q_value`` (Benjamini-Hochberg over all sequences), ``converted`` (share of ``users``); the most users first.
    """
    from scipy.stats import binomtest

    z_value(confidence)
    if any(isinstance(one, bool) or not isinstance(one, int) or not 2 <= one <= 4 for one in lengths) or not lengths:
        raise ParameterError(f"lengths={shorten(repr(lengths))} must be whole numbers from 2 to 4, such as (2, 3).")
    place = orders[[f"r_{i}" for i in range(len(names))]].to_numpy(np.int64)
    users, converted = orders["users"].to_numpy(np.int64), orders["converted"].to_numpy(np.int64)
    rows = []
    for length in sorted(set(lengths)):
        for some in itertools.combinations(range(len(names)), length):
            mine = place[:, some]
            all_done = (mine > 0).all(axis=1)
            apart = all_done & (np.diff(np.sort(mine, axis=1), axis=1) > 0).all(axis=1)
            n = int(users[apart].sum())
            for order in itertools.permutations(range(length)) if n else ():
                so = apart & (np.diff(mine[:, order], axis=1) > 0).all(axis=1)
                k = int(users[so].sum())
                if not k:
                    continue
                chance = 1 / math.factorial(length)
                rows.append(
                    {
                        "sequence": " > ".join(names[some[i]] for i in order),
                        "length": length,
                        "users": k,
                        "did_all": n,
                        "share": k / n,
                        "expected": n * chance,
                        "lift": k / n / chance,
                        "p_value": float(binomtest(k, n, chance).pvalue),
                        "converted": float(users[so] @ converted[so]) / k,
                    }
                )
    columns = (
        "sequence", "length", "users", "did_all", "share", "expected", "lift", "ci_low", "ci_high", "p_value",
        "q_value", "converted",
    )  # fmt: skip
    if not rows:
        return pd.DataFrame(columns=list(columns))
    table = pd.DataFrame(rows)
    low, high = wilson(table["users"], table["did_all"], confidence)
    ways = table["length"].map(math.factorial)
    table["ci_low"], table["ci_high"] = low * ways, high * ways
    table["q_value"] = adjust_p_values(table["p_value"], "bh")
    return table.sort_values(["users", "sequence"], ascending=[False, True], ignore_index=True)[list(columns)]


def transitions(orders: pd.DataFrame, names: Sequence[str], confidence: float = 0.95) -> pd.DataFrame:
    """What comes next after each thing: ``source, target, paths`` (users), ``share`` of the source's, ``ci_low,
    ci_high`` (Wilson's).

    ``orders`` as in ``sequences``; things of one instant follow each other in the order of ``names``. Each user goes
    from ``(start)`` through the things to ``(conversion)`` or ``(null)``.
    """
    steps: Counter[tuple[str, str]] = Counter()
    columns = [f"r_{i}" for i in range(len(names))]
    for row in orders[[*columns, "converted", "users"]].to_numpy(np.int64):
        place = row[: len(names)]
        done = sorted((int(place[i]), i) for i in range(len(names)) if place[i] > 0)
        path = [START, *[names[i] for _, i in done], CONVERSION if row[-2] else NULL]
        for step in itertools.pairwise(path):
            steps[step] += int(row[-1])
    rank = {name: i for i, name in enumerate([START, *names, CONVERSION, NULL])}
    rows = sorted(steps.items(), key=lambda item: (rank[item[0][0]], rank[item[0][1]]))
    table = pd.DataFrame([(a, b, n) for (a, b), n in rows], columns=["source", "target", "paths"])
    whole = table.groupby("source")["paths"].transform("sum")
    low, high = wilson(table["paths"], whole, confidence)
    return table.assign(share=table["paths"] / whole, ci_low=low, ci_high=high)


def lead_times(
    counts: RiskTable, column: str, names: Sequence[str], horizon_days: float, cause: str, confidence: float = 0.95
) -> pd.DataFrame:
    """How long from each thing to the event, among those who have it within the horizon, censored users heeded?

    ``counts``: time since the thing, ``column`` its place in ``names``. The lead time's distribution is the cumulative
    incidence up to the horizon divided by its value there. A row per thing: ``micro, users, events, rate`` with
    ``rate_ci_low, rate_ci_high`` (within the horizon), ``p25_days, median_days, p75_days, p90_days``, and
    ``median_ci_low_days, median_ci_high_days``: Woodruff's (1952) limits, the quantiles at 1/2 -+ z sqrt(1/4 / events).
    """
    z = z_value(confidence)
    rows = []
    for value, mine in counts.frame.groupby(column, sort=True):
        own = RiskTable.from_counts(mine, (), counts.causes)
        rate, _, (low, high) = rate_at(own, horizon_days, cause, confidence)
        events = float(mine[f"d_{cause}"].sum())
        curve = aalen_johansen(own, confidence)
        curve = curve[(curve["cause"] == cause) & (curve["time_days"] <= horizon_days)]
        spread = z * math.sqrt(0.25 / events) if events else math.nan
        found = [_reach(curve, rate, part) for part in (*_PARTS, 0.5 - spread, 0.5 + spread)]
        rows.append((names[int(str(value))], mine["entered"].sum(), events, rate, low, high, *found))
    columns = [
        "micro", "users", "events", "rate", "rate_ci_low", "rate_ci_high", "p25_days", "median_days", "p75_days",
        "p90_days", "median_ci_low_days", "median_ci_high_days",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"users": "int64", "events": "int64"})


def _reach(curve: pd.DataFrame, rate: float, part: float) -> float:
    """When the curve comes to a part of its last value; NaN for parts outside 0 to 1 and where there is none."""
    if not rate > 0 or not 0 < part < 1:
        return math.nan
    times = curve["time_days"][curve["probability"] >= part * rate * (1 - 1e-12)]
    return float(times.iloc[0])
