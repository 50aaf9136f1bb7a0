"""How the effect of each micro builds up after the action: a line with its band per micro, on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from microconv.plots.style import GRID, LINES, MUTED, PALETTE, below, heading, new_axes, nothing, numbers, safe, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["end_labels", "plot_value_by_time"]

_MOST = 6
_NAME_WIDTH = 26


def plot_value_by_time(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``by_time`` of ``mc.micro_value``, by the method of its table: points of probability that the action adds,
    within each time after it. At most six micros, those with the largest effect at the horizon.
    """
    frame = result.extra.get("by_time")
    method = result.parameters.get("method")
    title = "How the effect builds up after the action"
    with styled():
        if frame is None or not len(frame):
            return nothing(ax, title, "No micro is estimated: there is nothing to draw.")
        known = result.table.loc[result.table["incremental"].notna(), "micro"]
        frame = frame[(frame["method"] == method) & frame["micro"].isin(known)]
        if not len(frame):
            return nothing(ax, title, "No micro is estimated: there is nothing to draw.")
        last = frame.groupby("micro")["incremental"].last()
        order = last.loc[last.abs().sort_values(ascending=False, kind="stable").index][:_MOST]
        order = order.sort_values(ascending=False, kind="stable")
        ax = ax if ax is not None else new_axes(9.4, 4.6)
        ax.axhline(0.0, color=MUTED, linewidth=1.0, zorder=1)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ends = []
        for i, name in enumerate(order.index):
            rows = frame[frame["micro"] == name].sort_values("within_days")
            days = np.concatenate([[0.0], numbers(rows["within_days"])])
            lines = [100 * np.concatenate([[0.0], numbers(rows[c])]) for c in ("incremental", "ci_low", "ci_high")]
            ax.fill_between(days, lines[1], lines[2], color=PALETTE[i], alpha=0.15, linewidth=0)
            ax.plot(days, lines[0], color=PALETTE[i], linestyle=LINES[i], linewidth=1.9, marker="o", markersize=3.5)
            ends.append((float(lines[0][-1]), safe(name, _NAME_WIDTH), PALETTE[i]))
        end_labels(ax, ends, float(frame["within_days"].max()))
        ax.set_xlim(0, float(frame["within_days"].max()))
        ax.set_xlabel("days since the action")
        ax.set_ylabel("points of probability added")
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_color(MUTED)
        if len(last) > _MOST:
            below(ax, f"The {_MOST} largest of {len(last)} micros; the others are in the table.", 44)
        heading(ax, title, f"Chance of {safe(result.parameters.get('target', ''), 40)}, done less never done")
    return ax


def end_labels(ax: Axes, ends: list[tuple[float, str, str]], x: float) -> None:
    """Names right of the ends of their lines (height, name, colour; from the top down), apart where they would
    overlap, and pushed up where they would leave the axes.
    """
    low, high = ax.get_ylim()
    step = (high - low) * 0.055
    at: list[float] = []
    for value, _, _ in ends:
        at.append(min(value, at[-1] - step) if at else value)
    for i in reversed(range(len(at))):
        at[i] = max(at[i], low + step / 2 if i == len(at) - 1 else at[i + 1] + step)
    for place, (_, name, color) in zip(at, ends, strict=True):
        ax.annotate(
            name, (x, place), (8, 0), textcoords="offset points", va="center", color=color, fontsize=9,
            annotation_clip=False,
        )  # fmt: skip
