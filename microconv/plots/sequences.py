"""Sequences of micros against what order by chance would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from microconv.plots.style import ACCENT, GRID, INK, MUTED, below, heading, new_axes, nothing, numbers, safe, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_micro_patterns"]

_MOST = 20


def plot_micro_patterns(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.micro_patterns``: per sequence a dot for its lift with the interval (on a scale of ratios;
    1: as often as chance gives) and how many users did it. The 20 sequences with the most users.
    """
    title = "Sequences of micros, against order by chance"
    with styled():
        table = result.table[np.isfinite(numbers(result.table["users"])) & np.isfinite(numbers(result.table["lift"]))]
        if table.empty:
            return nothing(ax, title, "There is no sequence of micros that enough users did.")
        shown = table.head(_MOST)
        ax = ax if ax is not None else new_axes(9.6, 1.7 + 0.36 * len(shown))
        rows = np.arange(len(shown))
        lift, low, high = (numbers(shown[name]) for name in ("lift", "ci_low", "ci_high"))
        ax.set_xscale("log")
        left, right = float(np.nanmin(np.append(low, 0.5))), float(np.nanmax(np.append(high, 2.0)))
        ax.set_xlim(left * 0.95, right * 1.6)
        ax.axvline(1.0, color=MUTED, linewidth=1.0, zorder=1)
        for y in rows[:-1]:
            ax.axhline(y + 0.5, color=GRID, linewidth=0.8, zorder=0)
        ax.hlines(rows, low, high, color=ACCENT, linewidth=1.9, zorder=3)
        ax.plot(lift, rows, "o", color=ACCENT, markersize=6.5, zorder=4)
        for y, users in zip(range(len(rows)), shown["users"], strict=True):
            ax.text(right * 1.55, y, f"{users:,.0f}", ha="right", va="center", fontsize=8.5, color=MUTED)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_yticks(rows, [safe(name.replace(" > ", " → "), 60) for name in shown["sequence"]])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.spines["left"].set_visible(False)
        ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 3, 4, 6, 10, 20) if left * 0.95 <= tick <= right * 1.05]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("lift: times as frequent as if every order were equally likely; right: users")
        ax.xaxis.label.set_color(MUTED)
        if len(table) > len(shown):
            below(ax, f"The {len(shown)} most frequent of {len(table)} sequences; the others are in the table.", 44)
        heading(ax, title, "First times of the micros before the conversion; other micros may lie between")
    return ax
