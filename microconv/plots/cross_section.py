"""What goes with conversion in a table without times: the standardised difference of each micro beside the naive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    below,
    heading,
    new_axes,
    nothing,
    numbers,
    safe,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_cross_section"]

_MOST_ROWS = 40
_NAIVE = "#8A8F94"
_WORDS = {
    "leaks": "leaks the outcome: no driver",
    "structural": "a step that every conversion passes, or none does",
    "not estimated": "not estimated",
}


def plot_cross_section(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.cross_section``: per micro a dot for its standardised difference with the interval and a
    diamond for the naive one, in points; words in place of a micro that leaks the outcome. At most 40 micros.
    """
    table = result.table
    title = f"What goes with {safe(result.parameters.get('outcome', 'conversion'), 40)}, one row per session"
    with styled():
        if table.empty:
            return nothing(ax, title, "There is no micro to show.")
        shown = table.sort_values("difference", ascending=False, na_position="last", kind="stable").head(_MOST_ROWS)
        ax = ax if ax is not None else new_axes(9.0, 1.9 + 0.4 * len(shown))
        rows = np.arange(len(shown))
        point, low, high = (numbers(shown[name]) for name in ("difference", "ci_low", "ci_high"))
        naive = np.where(np.isfinite(point), numbers(shown["naive_difference"]), np.nan)
        left, right = _extent(np.concatenate([point, low, high, naive]))
        ax.axvline(0.0, color=MUTED, linewidth=1.0, zorder=1)
        for y in rows[:-1]:
            ax.axhline(y + 0.5, color=GRID, linewidth=0.8, zorder=0)
        ax.hlines(rows, low, high, color=ACCENT, linewidth=1.9, zorder=3)
        edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.8, "linestyle": ""}
        ax.plot(naive, rows, "D", color=_NAIVE, markersize=6, zorder=4, label="naive", **edge)
        ax.plot(point, rows, "o", color=ACCENT, markersize=7.5, zorder=5, label=_compared(result), **edge)
        for y, label in zip(rows, shown["label"], strict=True):
            if label in _WORDS:
                look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": MUTED, "fontsize": 8.5}
                ax.annotate(_WORDS[label], (0, y), (6, 0), **look)
        _axes(ax, shown, left, right)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=9, handletextpad=0.3)
        if len(table) > len(shown):
            below(ax, f"The first {len(shown)} of {len(table)} micros; the others are in the table.", 44)
        heading(ax, title, "Predictive only: without times nobody knows which came first", lift=24)
    return ax


def _compared(result: Result) -> str:
    strata = result.parameters.get("strata") or []
    if not strata:
        return "difference with interval"
    return f"standardised for {safe(', '.join(map(str, strata)), 50)}, with interval"


def _extent(values: np.ndarray) -> tuple[float, float]:
    known = np.append(values[np.isfinite(values)], 0.0)
    room = 0.06 * float(np.ptp(known)) or 0.05
    return float(known.min()) - room, float(known.max()) + room


def _axes(ax: Axes, shown: pd.DataFrame, left: float, right: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.set_xlim(left, right)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_yticks(np.arange(len(shown)), [safe(name, 34) for name in shown["micro"]])
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(7))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}"))
    ax.tick_params(axis="x", length=3)
    ax.set_xlabel("points: share that converted, with the micro less without it")
    ax.xaxis.label.set_color(MUTED)
