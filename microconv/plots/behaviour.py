"""Segments by behaviour: how many of each convert, and what sets each apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from microconv.plots.heat_map import heat_map
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
    percent,
    percent_axis,
    safe,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_audience", "plot_behaviour", "plot_behaviour_profile"]

_MOST = 30
_MOST_STATES = 20
_SHRUNK = "#8A8F94"


def plot_behaviour(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.behaviour_segments``: per segment a dot for its rate with the interval, a diamond for the
    shrunken rate by which the rows are ranked, and how many users it has; the line is the rate of all.
    """
    parameters = result.parameters
    title = f"{safe(parameters.get('target', 'conversion'), 30)} after {parameters.get('at')}, by behaviour until then"
    with styled():
        table = result.table[np.isfinite(numbers(result.table["rate"]))]
        if table.empty:
            return nothing(ax, title, "No segment has a rate: nobody was watched as long as the horizon.")
        shown = table.sort_values("shrunk_rate", ascending=False, kind="stable").head(_MOST)
        ax = ax if ax is not None else new_axes(8.6, 1.8 + 0.42 * len(shown))
        rows = np.arange(len(shown))
        rate, low, high, shrunk = (numbers(shown[name]) for name in ("rate", "ci_low", "ci_high", "shrunk_rate"))
        users = numbers(table["users"])
        ax.axvline(float(users @ numbers(table["shrunk_rate"]) / users.sum()), color=MUTED, linewidth=1.0, zorder=1)
        for y in rows[:-1]:
            ax.axhline(y + 0.5, color=GRID, linewidth=0.8, zorder=0)
        ax.hlines(rows, low, high, color=ACCENT, linewidth=1.9, zorder=3)
        ax.plot(shrunk, rows, "D", color=_SHRUNK, markersize=5.5, zorder=4, label="shrunken rate", linestyle="")
        ax.plot(rate, rows, "o", color=ACCENT, markersize=7, zorder=5, label="rate with interval", linestyle="")
        right = float(np.nanmax(np.append(high, shrunk))) or 0.01
        ax.set_xlim(-0.02 * right, 1.2 * right)
        for y, count, share in zip(range(len(rows)), shown["users"], shown["share"], strict=True):
            words = f"{count:,.0f} ({percent(float(share), 0)})"
            ax.text(1.19 * right, y, words, ha="right", va="center", fontsize=8.5, color=MUTED)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_yticks(rows, [safe(name, 44) for name in shown["segment"]])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.spines["left"].set_visible(False)
        percent_axis(ax.xaxis)
        ax.set_xlabel(f"converted within {parameters.get('horizon')} after the landmark; right: users")
        ax.xaxis.label.set_color(MUTED)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=9, handletextpad=0.3)
        if len(table) > len(shown):
            below(ax, f"The first {len(shown)} of {len(table)} segments; the others are in the table.", 44)
        heading(ax, title, "Users still to convert at the landmark; the grey line is the rate of all of them", lift=24)
    return ax


def plot_behaviour_profile(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``result.profile``: the share of each segment's users (row) who had done each micro (column)."""
    title = f"What users had done by {result.parameters.get('at')}"
    with styled():
        frame = result.extra["profile"]
        names = [name for name in result.table["segment"] if name in set(frame["segment"])][:_MOST]
        micros = list(dict.fromkeys(frame["micro"]))
        if not names:
            return nothing(ax, title, "There is no segment to show.")
        share = frame.pivot_table(index="segment", columns="micro", values="share").reindex(index=names, columns=micros)
        values = share.to_numpy(dtype=float, na_value=np.nan)
        ax = ax if ax is not None else new_axes(4.2 + 0.75 * len(micros), 1.9 + 0.42 * len(names))
        lift = heat_map(ax, values, names, micros)
        heading(ax, title, "Share of the segment's users who had done the micro by the landmark", lift=lift)
    return ax


def plot_audience(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``result.states`` of ``mc.audience``: the chance of each state with its interval, and how many users of the
    list are in it; hollow dots are chances that are mostly a coarser state's. At most 20 states, those with
    the most users.
    """
    parameters = result.parameters
    title = f"Who is in the audience '{safe(parameters.get('rule'), 40)}'"
    with styled():
        frame = result.extra["states"]
        frame = frame[np.isfinite(numbers(frame["users"])) & np.isfinite(numbers(frame["chance"]))]
        if frame.empty:
            return nothing(ax, title, "No state is large enough to be shown.")
        shown = frame.head(_MOST_STATES)
        ax = ax if ax is not None else new_axes(9.4, 1.8 + 0.36 * len(shown))
        rows = np.arange(len(shown))
        chance, low, high = (numbers(shown[name]) for name in ("chance", "ci_low", "ci_high"))
        ax.hlines(rows, low, high, color=ACCENT, linewidth=1.6, zorder=3)
        for y, value, own in zip(range(len(rows)), chance, shown["own_weight"], strict=True):
            ax.plot(
                value, y, "o", color=ACCENT if own >= 0.5 else "white", markeredgecolor=ACCENT, markersize=6, zorder=4
            )
        right = float(np.nanmax(np.append(high, chance))) or 0.01
        ax.set_xlim(-0.02 * right, 1.15 * right)
        for y, count in zip(range(len(rows)), shown["users"], strict=True):
            ax.text(1.14 * right, y, f"{count:,.0f}", ha="right", va="center", fontsize=8.5, color=MUTED)
            ax.axhline(y + 0.5, color=GRID, linewidth=0.8, zorder=0)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        names = [f"{safe(row.state, 46)}, {row.age}" for row in shown.itertuples()]
        ax.set_yticks(rows, names)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.spines["left"].set_visible(False)
        percent_axis(ax.xaxis)
        ax.set_xlabel(f"chance to convert within {parameters.get('horizon')}; right: users in the list")
        ax.xaxis.label.set_color(MUTED)
        if len(frame) > len(shown):
            below(ax, f"The {len(shown)} largest of {len(frame)} states; the others are in the table.", 44)
        heading(ax, title, "By micros done and time since entry; hollow: rare, mostly the chance of a coarser state")
    return ax
