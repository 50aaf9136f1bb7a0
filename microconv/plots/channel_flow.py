"""The flow of paths: from the first touch through the channels to conversion, or to none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.plots.style import ACCENT, INK, PALETTE, below, heading, new_axes, nothing, safe, styled
from microconv.plots.transitions import CONVERSION, NULL, START, busiest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_channel_flow"]

_MOST = 8
_LOST = "#B9BEC4"
_GAP, _BAR = 0.025, 0.035


def plot_channel_flow(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``result.transitions`` as a flow: where paths begin, at the left; each channel as high as it has touches; at
    the right what became of the paths whose last touch it was. At most eight channels, the most touched.
    """
    unit = result.parameters.get("unit", "channel")
    step = "touch" if unit == "channel" else unit
    title = f"From the first {step} to {safe(result.parameters.get('target', 'conversion'), 40)}"
    with styled():
        frame = result.extra.get("transitions")
        if frame is None or frame.empty:
            return nothing(ax, title, "No chain was asked for: ask for model='markov'.")
        names = busiest(frame, _MOST)
        if not names:
            return nothing(ax, title, "No path has a touch.")
        flow = _flow(frame, names)
        ax = ax if ax is not None else new_axes(9.4, 2.4 + 0.4 * len(names))
        scale = (1 - _GAP * (len(names) - 1)) / flow["touches"].sum()
        sizes = flow * scale
        ends = sizes[["converted", "lost"]].sum()
        left, middle, right = _stacked(sizes["started"]), _stacked(sizes["touches"]), _stacked(ends)
        right = right.copy()
        bottoms = right + ends.to_numpy()
        for i, name in enumerate(names):
            row = dict(zip(sizes.columns, sizes.iloc[i], strict=True))
            color = PALETTE[i % len(PALETTE)]
            top, bottom = middle[i], middle[i] + row["touches"]
            _ribbon(ax, 0.0, left[i], 1.0, top, row["started"], color, 0.35)
            ax.fill_between([1.0, 1.0 + _BAR], top, bottom, color=color, linewidth=0)
            leaves = bottom - row["lost"] - row["converted"]
            for end, (what, look, alpha) in enumerate((("converted", color, 0.75), ("lost", _LOST, 0.4))):
                _ribbon(ax, 1.0 + _BAR, leaves, 2.0, right[end], row[what], look, alpha)
                leaves += row[what]
                right[end] += row[what]
            words = f"{safe(name, 24)}  {flow['touches'].iloc[i]:,.0f}"
            box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.0}
            ax.text(1.02 + _BAR, (top + bottom) / 2, words, va="center", fontsize=8.5, color=INK, bbox=box)
        totals = flow[["converted", "lost"]].sum()
        for end, (word, color) in enumerate((("converted", ACCENT), ("no conversion", _LOST))):
            low, high = bottoms[end] - ends.iloc[end], bottoms[end]
            ax.fill_between([2.0, 2.0 + _BAR], low, high, color=color, linewidth=0)
            label = f"{word}\n{totals.iloc[end]:,.0f} paths"
            ax.text(2.03 + _BAR, (low + high) / 2, label, va="center", fontsize=9, color=INK)
        begun = f"first {step}\n{flow['started'].sum():,.0f} paths"
        ax.text(-0.03, 0.5, begun, ha="right", va="center", fontsize=9, color=INK)
        ax.set(xlim=(-0.36, 2.42), ylim=(1.01, -0.01), xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_visible(False)
        hidden = len(busiest(frame)) - len(names)
        if hidden:
            below(ax, f"{hidden} more {unit}s, less frequent, are in the table only.", 8)
        middle_words = "all touches by channel" if unit == "channel" else f"all {unit}s"
        heading(ax, title, f"Left: first {step}s. Middle: {middle_words}. Right: paths by their last {step}")
    return ax


def _flow(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """By channel: paths that start with it, its touches, paths that end with it, converted or lost."""
    paths = frame.pivot_table(index="source", columns="target", values="paths", aggfunc="sum").fillna(0.0)
    into = paths.reindex(columns=names, fill_value=0.0)
    out = paths.reindex(index=names, fill_value=0.0)
    started = into.reindex(index=[START], fill_value=0.0).iloc[0]
    ends = out.reindex(columns=[CONVERSION, NULL], fill_value=0.0)
    return pd.DataFrame(
        {"started": started, "touches": into.sum(), "converted": ends[CONVERSION], "lost": ends[NULL]}, index=names
    )


def _stacked(sizes: pd.Series) -> np.ndarray:
    """Where each piece begins when they stand on each other with gaps, the whole in the middle of 0 to 1."""
    heights = sizes.to_numpy(dtype=float)
    whole = heights.sum() + _GAP * (len(heights) - 1)
    return np.asarray((1 - whole) / 2 + np.concatenate([[0.0], np.cumsum(heights[:-1] + _GAP)]))


def _ribbon(ax: Axes, x0: float, y0: float, x1: float, y1: float, size: float, color: str, alpha: float) -> None:
    """A band of constant height from one place to another, level at both ends."""
    if size <= 0:
        return
    part = np.linspace(0.0, 1.0, 40)
    rise = part**2 * (3 - 2 * part)
    low = y0 + (y1 - y0) * rise
    ax.fill_between(x0 + (x1 - x0) * part, low, low + size, color=color, alpha=alpha, linewidth=0)
