"""Which segments a figure shows, in which order and under which names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from microconv.plots.style import numbers, safe

__all__ = ["Shown", "choose"]


@dataclass(frozen=True)
class Shown:
    """The segments of a figure: their labels, rows and sizes in users, and what must be said of the others."""

    labels: list[str]
    parts: list[pd.DataFrame]
    sizes: list[float]
    note: str


def choose(table: pd.DataFrame, segments: list[str], *, size: str, most: int) -> Shown:
    """The ``most`` largest segments in the table's order, by the largest value of column ``size``; the rest is said
    in a note.

    A segment without any size is suppressed and cannot be drawn."""

    def largest(part: pd.DataFrame) -> float:
        known = numbers(part[size])
        return float(np.nanmax(known)) if np.isfinite(known).any() else float("nan")

    if not segments:
        return Shown([""], [table], [largest(table)], "")
    keys = segments[0] if len(segments) == 1 else segments
    found = [(key, part) for key, part in table.groupby(keys, sort=False, dropna=False, observed=True)]
    sizes = np.array([largest(part) for _, part in found])
    drawable = int(np.isfinite(sizes).sum())
    ranked = np.argsort(-np.nan_to_num(sizes, nan=-1.0), kind="stable")
    kept = sorted(ranked[: min(most, drawable)])
    labels = [_label(found[i][0]) for i in kept]
    said = []
    if drawable > most:
        said.append(f"The {most} largest of {len(found)} segments; the others are in the table.")
    if drawable < len(found):
        said.append(f"{len(found) - drawable} of {len(found)} segments are too small to be shown.")
    note = " ".join(said)
    return Shown(labels, [found[i][1] for i in kept], [float(sizes[i]) for i in kept], note)


def _label(key: object) -> str:
    values = key if isinstance(key, tuple) else (key,)
    width = 26 if len(values) == 1 else 16
    words = ["(missing)" if value is None or value != value else safe(value, width) for value in values]
    text = ", ".join(words)
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves labels with an underscore out of legends
