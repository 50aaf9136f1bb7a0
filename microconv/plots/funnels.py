"""Funnels as pictures: bars with intervals and what is still open; several segments as dots on shared rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.segments import Shown, choose
from microconv.plots.style import (
    ACCENT,
    FAINT,
    GRID,
    INK,
    LINES,
    MUTED,
    PALETTE,
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

__all__ = ["plot_funnel"]

_COLUMNS = (
    ("users", "users", 52),
    ("of step 1", "rate", 108),
    ("of step before", "step_rate", 186),
    ("open", "open", 232),
)
_OPEN: dict[str, Any] = {"facecolor": "white", "edgecolor": FAINT, "hatch": "/////"}
_DIAMOND: dict[str, Any] = {"markersize": 5, "color": "white", "markeredgecolor": INK, "markeredgewidth": 1.1}
_NAME_WIDTH = 34
_MOST_SEGMENTS = 6
_CROWDED = 20
_ORDERS = {"ordered": "in order", "strict": "in strict order", "any": "in any order"}


def plot_funnel(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.funnel``: one row per step, the share of step 1 that reached it with its interval.

    Without segments: bars, with the users whose attempt is still open as a paler, hatched extension, the
    censoring-aware rate as a diamond, and the numbers in columns beside the bars. With segments: a line of dots per
    segment (the six largest; a line below says so).
    """
    table = result.table
    segments = list(table.columns[: list(table.columns).index("step")])
    with styled():
        if table.empty or not (numbers(table["users"]) > 0).any():
            return nothing(
                ax, _title(result), "Nobody did the first step, or too few to be shown: there is nothing to draw."
            )
        if segments:
            return _lines(result, segments, ax)
        return _bars(result, ax)


def _title(result: Result) -> str:
    names = result.table["name"].tolist() if "name" in result.table else []
    return f"Funnel from {safe(names[0], 24)} to {safe(names[-1], 24)}" if len(names) > 1 else "Funnel"


def _subtitle(result: Result) -> str:
    parameters = result.parameters
    window = parameters.get("window")
    order = _ORDERS.get(str(parameters.get("order")), "")
    parts = [order, f"within {window}" if window else "no time limit", f"{_confidence(result)} intervals"]
    return "Users who reached each step, " + ", ".join(part for part in parts if part)


def _confidence(result: Result) -> str:
    return f"{100 * float(result.parameters.get('confidence', 0.95)):g}%"


def _bars(result: Result, ax: Axes | None) -> Axes:
    table = result.table
    rows = len(table)
    ax = ax if ax is not None else new_axes(9.2, 1.7 + 0.34 * rows)
    y = np.arange(rows)
    rate = numbers(table["rate"])
    still = np.nan_to_num(numbers(table["open"]) / numbers(table["users"])[0])
    ax.barh(y, rate, height=0.68, color=ACCENT, zorder=2)
    if still.any():
        ax.barh(y, still, left=rate, height=0.68, **_OPEN, linewidth=0.8, zorder=2)
    low, high = numbers(table["ci_low"]), numbers(table["ci_high"])
    wide = np.isfinite(low) & np.isfinite(high) & (y > 0)
    for color, width in (("white", 3.2), (INK, 1.4)):  # a white rim keeps the whisker apart from the bar
        ax.hlines(y[wide], low[wide], high[wide], color=color, linewidth=width, zorder=4)
        for edge in (low, high):
            ax.vlines(edge[wide], y[wide] - 0.13, y[wide] + 0.13, color=color, linewidth=width, zorder=4)
    aware = numbers(table["censored_rate"])
    told = np.isfinite(aware) & (still > 0) & (y > 0)
    if told.any():
        ax.plot(aware[told], y[told], "D", **_DIAMOND, zorder=5)
    _rows(ax, [f"{safe(name, _NAME_WIDTH)}  {i}" for i, name in zip(table["step"], table["name"], strict=True)])
    ax.set_xlim(0, 1)
    _share_axis(ax)
    _numbers(ax, table)
    _legend(ax, bool(still.any()), bool(told.any()), result)
    heading(ax, _title(result), _subtitle(result), lift=16)
    return ax


def _rows(ax: Axes, labels: list[str]) -> None:
    ax.set_ylim(len(labels) - 0.45, -0.6)
    ax.set_yticks(range(len(labels)), labels, color=INK)
    ax.tick_params(axis="y", length=0)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)


def _share_axis(ax: Axes) -> None:
    percent_axis(ax.xaxis)
    ax.set_xlabel("share of users who did step 1")
    ax.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)


def _numbers(ax: Axes, table: pd.DataFrame) -> None:
    """The columns beside the bars, right-aligned, under their heads."""
    for head, column, right in _COLUMNS:
        ax.annotate(
            head,
            (1, 1),
            xycoords="axes fraction",
            xytext=(right, 5),
            textcoords="offset points",
            ha="right",
            va="bottom",
            size=8.5,
            color=MUTED,
            annotation_clip=False,
        )
        for row, value in enumerate(table[column]):
            text = _cell(column, value, row)
            ax.annotate(
                text,
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(right, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                size=9,
                color=INK if column == "users" else MUTED,
                annotation_clip=False,
            )


def _cell(column: str, value: Any, row: int) -> str:
    if pd.isna(value):
        return "–"
    if column in ("users", "open"):
        return "" if column == "open" and row == 0 else f"{int(value):,}"
    return "" if column == "step_rate" and row == 0 else percent(float(value))


def _legend(ax: Axes, still: bool, aware: bool, result: Result) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=ACCENT, label="reached")]
    if still:
        handles.append(Patch(**_OPEN, label="not yet, still open"))
    interval = f"{_confidence(result)} interval"
    handles.append(Line2D([], [], color=INK, marker="|", markersize=6, linewidth=1.4, label=interval))
    if aware:
        handles.append(
            Line2D([], [], linestyle="", marker="D", **_DIAMOND, label="rate with open users counted as open")
        )
    _under(ax, handles, 36)


def _under(ax: Axes, handles: list[Any], points: float) -> None:
    """A legend in one row below the axis label, at the left edge."""
    from matplotlib.transforms import ScaledTranslation

    figure = ax.get_figure()
    assert figure is not None
    shift = ScaledTranslation(0, -points / 72, figure.dpi_scale_trans)
    legend = ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=ax.transAxes + shift,
        frameon=False,
        ncols=len(handles),
        fontsize=8.5,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.6,
        columnspacing=1.6,
    )
    legend.set_zorder(6)


def _lines(result: Result, segments: list[str], ax: Axes | None) -> Axes:
    """One line of dots per segment; the dots of a row are set apart so that no interval hides another."""
    table = result.table
    shown = choose(table, segments, size="users", most=_MOST_SEGMENTS)
    names = table[["step", "name"]].drop_duplicates("step").sort_values("step")
    rows, parts = len(names), len(shown.labels)
    crowded = rows > _CROWDED
    height = 0.34 if crowded else 0.22 + 0.13 * parts
    ax = ax if ax is not None else new_axes(8.6, 1.9 + max(height, 0.34) * rows)
    offsets = np.zeros(parts) if crowded else (np.arange(parts) - (parts - 1) / 2) * 0.72 / max(parts, 2)
    for i, (label, part) in enumerate(zip(shown.labels, shown.parts, strict=True)):
        y = part["step"].to_numpy() - 1 + offsets[i]
        rate = numbers(part["rate"])
        color = PALETTE[i % len(PALETTE)]
        ax.plot(rate, y, color=color, linestyle=LINES[i % len(LINES)], linewidth=0.9, alpha=0.55, zorder=2)
        if not crowded:
            ax.hlines(y, part["ci_low"], part["ci_high"], color=color, linewidth=1.6, zorder=3)
        ax.plot(rate, y, "o", color=color, markersize=4.5, zorder=4, label=label)
    for row in range(1, rows):
        ax.axhline(row - 0.5, color=GRID, linewidth=0.8, zorder=0)
    _rows(ax, [f"{safe(name, _NAME_WIDTH)}  {i}" for i, name in names.itertuples(index=False)])
    ax.set_ylim(rows - 0.4, -0.6)
    ax.set_xlim(-0.01, 1.02)
    _share_axis(ax)
    ax.set_xlabel("share of the segment's users who did step 1")
    _segment_legend(ax, shown, segments)
    unsaid = "Too many steps to draw intervals; they are in the table." if crowded else ""
    if shown.note or unsaid:
        below(ax, "\n".join(note for note in (shown.note, unsaid) if note), 36)
    heading(ax, f"{_title(result)}, by {safe(', '.join(segments), 40)}", _subtitle(result))
    return ax


def _segment_legend(ax: Axes, shown: Shown, segments: list[str]) -> None:
    """Names, colours and sizes of the segments, right of the data and in its order."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=PALETTE[i % len(PALETTE)],
            linestyle=LINES[i % len(LINES)],
            marker="o",
            markersize=4.5,
            linewidth=1.2,
        )
        for i in range(len(shown.labels))
    ]
    labels = [f"{label} ({size:,.0f})" for label, size in zip(shown.labels, shown.sizes, strict=True)]
    legend = ax.legend(
        handles,
        labels,
        title=f"{safe(', '.join(segments), 24)} (users)",
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        borderaxespad=0,
        alignment="left",
        handlelength=2.6,
    )
    legend.get_title().set_color(MUTED)
