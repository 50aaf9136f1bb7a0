"""Sums over paths by plain loops, from paths that a test writes down."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pandas as pd

from microconv.path_sums import CONVERSION, NULL, START, PathSums

Path = tuple[tuple[str, ...], float, float, float, int]  # touches, conversions, value, nulls, bucket


def _frame(rows: dict[tuple[Any, ...], list[float]], keys: list[str], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame([[*key, *row] for key, row in rows.items()], columns=[*keys, *columns])
    return table.astype(dict.fromkeys(keys, "int64") | dict.fromkeys(columns, "float64"))


def state(touches: tuple[int, ...], order: int, base: int) -> int:
    """The number of the state after these touches."""
    last = touches[-order:][::-1]
    return sum(number * base**back for back, number in enumerate(last))


def rules(path: tuple[int, ...]) -> dict[str, dict[int, float]]:
    """What some rules give each channel of a path."""
    n, unique = len(path), set(path)
    position = defaultdict(float)
    weights = [1.0] if n == 1 else [0.5, 0.5] if n == 2 else [0.4, *[0.2 / (n - 2)] * (n - 2), 0.4]
    for number, weight in zip(path, weights, strict=True):
        position[number] += weight
    return {
        "first": {path[0]: 1.0},
        "last": {path[-1]: 1.0},
        "linear": {number: path.count(number) / n for number in unique},
        "linear_unique": {number: 1 / len(unique) for number in unique},
        "position": dict(position),
        "any_touch": dict.fromkeys(unique, 1.0),
    }


def path_sums(paths: Iterable[Path], channels: tuple[str, ...], orders: tuple[int, ...] = (1, 2, 3)) -> PathSums:
    """The sums of these paths."""
    base = len(channels) + 1
    names = ("first", "last", "linear", "linear_unique", "position", "any_touch")
    totals: dict[Any, list[float]] = defaultdict(lambda: [0.0] * 6)
    credits: dict[Any, list[float]] = defaultdict(lambda: [0.0] * (2 * len(names)))
    steps: dict[int, dict[Any, list[float]]] = {order: defaultdict(lambda: [0.0, 0.0]) for order in orders}
    sets: dict[Any, list[float]] = defaultdict(lambda: [0.0] * 3)
    for touches, conversions, value, nulls, bucket in paths:
        path = tuple(channels.index(name) + 1 for name in touches)
        row = totals[bucket,]
        row[0] += conversions
        row[1] += value
        if not path:
            row[2] += conversions
            row[3] += value
            continue
        row[4] += nulls
        for place, name in enumerate(names):
            for number, share in rules(path)[name].items():
                credits[bucket, number][2 * place] += conversions * share
                credits[bucket, number][2 * place + 1] += value * share
        for order, found in steps.items():
            states = [START, *(state(path[: i + 1], order, base) for i in range(len(path)))]
            for source, target in itertools.pairwise(states):
                found[bucket, source, target][0] += conversions + nulls
            found[bucket, states[-1], CONVERSION][0] += conversions
            found[bucket, states[-1], CONVERSION][1] += value
            found[bucket, states[-1], NULL][0] += nulls
        members = sum(1 << (number - 1) for number in set(path))
        for column, amount in enumerate((conversions, value, nulls)):
            sets[bucket, members][column] += amount
    columns = ["conversions", "value", "untouched", "untouched_value", "nulls", "censored"]
    return PathSums(
        channels=channels,
        totals=_frame(totals, ["bucket"], columns),
        credits=_frame(credits, ["bucket", "channel"], [part for name in names for part in (name, f"{name}_value")]),
        transitions={
            order: _frame(found, ["bucket", "source", "target"], ["paths", "value"]) for order, found in steps.items()
        },
        sets=_frame(sets, ["bucket", "members"], ["conversions", "value", "nulls"]),
    )
