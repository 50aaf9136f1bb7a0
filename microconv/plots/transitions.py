"""Where paths go from each channel: the chain of touches as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.style import (
    ACCENT,
    INK,
    below,
    heading,
    new_axes,
    nothing,
    percent,
    safe,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["CONVERSION", "NULL", "START", "blues", "busiest", "plot_transitions"]

START, CONVERSION, NULL = "(start)", "(conversion)", "(null)"
_MOST = 14


def plot_transitions(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``result.transitions``: from each channel (row), the share of paths that go on to each other, convert or
    end without a conversion. At most 14 channels, the most touched.
    """
    unit = result.parameters.get("unit", "channel")
    title = f"Where paths go from each {unit}"
    with styled():
        frame = result.extra.get("transitions")
        if frame is None or frame.empty:
            return nothing(ax, title, "No chain was asked for: ask for model='markov'.")
        names = busiest(frame, _MOST)
        rows, columns = [START, *names], [*names, CONVERSION, NULL]
        counts = frame.pivot_table(index="source", columns="target", values="paths", aggfunc="sum")
        total = frame.groupby("source")["paths"].sum().reindex(rows).to_numpy(dtype=float)
        counts = counts.reindex(index=rows, columns=columns).fillna(0.0)
        share = counts.to_numpy() / np.maximum(total, 1e-12)[:, None]
        ax = ax if ax is not None else new_axes(3.2 + 0.72 * len(columns), 1.7 + 0.42 * len(rows))
        ax.imshow(share, cmap=blues(), vmin=0.0, vmax=max(share.max(), 1e-9), aspect="auto")
        for (i, j), value in np.ndenumerate(share):
            if value > 0:
                ax.text(
                    j, i, percent(value, 0), ha="center", va="center", fontsize=8,
                    color="white" if value > 0.7 * share.max() else INK,
                )  # fmt: skip
        labels = [safe(name, 16) for name in columns]
        ax.set_xticks(range(len(columns)), labels, rotation=60, ha="left", rotation_mode="anchor")
        ax.xaxis.tick_top()
        ax.set_yticks(range(len(rows)), [safe(name, 24) for name in rows])
        ax.tick_params(length=0, labelcolor=INK)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.axvline(len(names) - 0.5, color="white", linewidth=3)
        ax.axhline(0.5, color="white", linewidth=3)
        hidden = len(busiest(frame)) - len(names)
        if hidden:
            below(ax, f"{hidden} more {unit}s are in the table; their share is missing from the rows.", 12)
        heading(ax, title, f"Share of the steps from the {unit} at the left", lift=12 + 4.5 * max(map(len, labels)))
    return ax


def busiest(frame: pd.DataFrame, most: int | None = None) -> list[str]:
    """The channels of a table of transitions, the one with the most touches first."""
    touches = frame[~frame["target"].isin([CONVERSION, NULL])].groupby("target")["paths"].sum()
    return [str(name) for name in touches.sort_values(ascending=False, kind="stable").index[:most]]


def blues() -> Any:
    """White to the accent, for shares."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#FFFFFF", "#CFE3F1", ACCENT])
