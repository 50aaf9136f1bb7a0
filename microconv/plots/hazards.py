"""Hazard ratios as a forest: one row per micro and attribute, on a log axis, with the numbers beside the marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.ratios import ratio_axis, ratio_extent, ratio_mark, ratio_text
from microconv.plots.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PALETTE,
    below,
    fit,
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

__all__ = ["plot_hazard_ratios"]

_MOST_ROWS = 60
_NAME_WIDTH = 38
_COLUMNS = (("hazard ratio", 128), ("events", 182), ("users", 240))
_ATTRIBUTE = PALETTE[7]


def plot_hazard_ratios(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.hazard_ratios``: a dot and its interval per term, micros first, then attributes.

    The line at 1 is "no difference". An interval that leaves the picture ends in an arrow; a term without an estimate
    has none, and the words beside it say so. At most 60 rows are drawn; a line says if there are more.
    """
    table = result.table
    title = f"What goes with a faster or slower {safe(result.parameters.get('target', 'conversion'), 40)}"
    with styled():
        if table.empty:
            return nothing(ax, title, "No term could be compared: there is nothing to draw.")
        shown = table.head(_MOST_ROWS)
        ratio, low, high = (numbers(shown[name]) for name in ("hazard_ratio", "ci_low", "ci_high"))
        micro = (shown["kind"] != "attribute").to_numpy()
        rows = np.arange(len(shown)) + 0.55 * (~micro & micro.any())
        ax = ax if ax is not None else new_axes(9.4, 1.6 + 0.31 * (rows[-1] + 1))
        left, right = ratio_extent(ratio, low, high)
        ax.set_xscale("log")
        ax.set_xlim(left, right)
        ax.axvline(1.0, color=MUTED, linewidth=1.0, zorder=1)
        for i, y in enumerate(rows):
            color = ACCENT if micro[i] else _ATTRIBUTE
            ratio_mark(ax, y, (ratio[i], low[i], high[i]), (left, right), color)
        _rows(ax, rows, [safe(term, _NAME_WIDTH) for term in shown["term"]])
        ratio_axis(ax, left, right)
        _beside(ax, shown, rows)
        notes = _compared(shown[~micro])
        if len(table) > len(shown):
            notes.append(f"The first {len(shown)} of {len(table)} rows; the others are in the table.")
        if notes:
            below(ax, "\n".join(notes), 44)
        heading(ax, title, _subtitle(result), lift=16)
    return ax


def _compared(attributes: pd.DataFrame) -> list[str]:
    """What the levels of attributes are compared with, as lines of text."""
    if "reference" not in attributes:
        return []
    levels = attributes[attributes["term"].str.contains("=") & (attributes["reference"] != "per unit")]
    named = {str(row["term"]).split("=")[0]: row["reference"] for row in levels.to_dict("records")}
    if not named:
        return []
    said = ", ".join(f"{safe(column, 24)} {safe(level, 24)}" for column, level in named.items())
    return [fit(f"Attributes are compared with {said}.", 110)]


def _subtitle(result: Result) -> str:
    confidence = 100 * float(result.parameters.get("confidence", 0.95))
    kind = "per-user robust " if result.parameters.get("robust") else ""
    beside = result.parameters.get("adjust")
    adjusted = f", adjusted for {safe(', '.join(map(str, beside)), 40)}" if beside else ""
    return f"Hazard ratio once the micro is done, with {confidence:g}% {kind}intervals{adjusted}"


def _rows(ax: Axes, rows: np.ndarray, labels: list[str]) -> None:
    ax.set_ylim(rows[-1] + 0.6, -0.6)
    ax.set_yticks(rows, labels, color=INK)
    ax.tick_params(axis="y", length=0)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    for y in rows:
        ax.axhline(y, color=GRID, linewidth=0.7, zorder=0)


def _beside(ax: Axes, shown: pd.DataFrame, rows: np.ndarray) -> None:
    """Ratio with interval, events and users in columns right of the marks, under their heads."""
    cells = {
        "hazard ratio": [ratio_text(row) for row in shown.to_dict("records")],
        "events": [_whole(value) for value in shown["events"]],
        "users": [_whole(value) for value in shown["users"]],
    }
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "annotation_clip": False}
    for head, at in _COLUMNS:
        ax.annotate(head, (1, 1), xycoords="axes fraction", xytext=(at, 5), va="bottom", size=8.5, color=MUTED, **look)
        for y, text in zip(rows, cells[head], strict=True):
            color = INK if head == "hazard ratio" else MUTED
            ax.annotate(
                text,
                (1, y),
                xycoords=("axes fraction", "data"),
                xytext=(at, 0),
                va="center",
                size=9,
                color=color,
                **look,
            )


def _whole(value: Any) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"
