"""Hazard ratios as a forest: one row per micro and attribute, on a log axis, with the numbers beside the marks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PALETTE,
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

__all__ = ["plot_hazard_ratios"]

_MOST_ROWS = 60
_NAME_WIDTH = 38
_SQUEEZE = 8.0  # an interval reaches at most so many times beyond the outermost estimate; the rest is an arrow
_TICKS = (1.0, 2.0, 5.0)
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
        left, right = _extent(ratio, low, high)
        ax.set_xscale("log")
        ax.set_xlim(left, right)
        ax.axvline(1.0, color=MUTED, linewidth=1.0, zorder=1)
        for i, y in enumerate(rows):
            color = ACCENT if micro[i] else _ATTRIBUTE
            _mark(ax, y, (ratio[i], low[i], high[i]), (left, right), color)
        _rows(ax, rows, [safe(term, _NAME_WIDTH) for term in shown["term"]])
        _axis(ax, left, right)
        _beside(ax, shown, rows)
        if len(table) > len(shown):
            below(ax, f"The first {len(shown)} of {len(table)} rows; the others are in the table.", 44)
        heading(ax, title, _subtitle(result), lift=16)
    return ax


def _subtitle(result: Result) -> str:
    confidence = 100 * float(result.parameters.get("confidence", 0.95))
    kind = "per-user robust " if result.parameters.get("robust") else ""
    beside = result.parameters.get("adjust")
    adjusted = f", adjusted for {safe(', '.join(map(str, beside)), 40)}" if beside else ""
    return f"Hazard ratio once the micro is done, with {confidence:g}% {kind}intervals{adjusted}"


def _extent(ratio: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """The ends of the axis: all estimates, and intervals as far as they do not squeeze these."""
    known = ratio[np.isfinite(ratio) & (ratio > 0)]
    least, most = (min(1.0, known.min()), max(1.0, known.max())) if len(known) else (1.0, 1.0)
    downs = low[np.isfinite(low) & (low > 0)]
    ups = high[np.isfinite(high) & (high > 0)]
    start = max(min(downs.min(), least), least / _SQUEEZE) if len(downs) else least
    end = min(max(ups.max(), most), most * _SQUEEZE) if len(ups) else most
    start, end = min(start, 0.8), max(end, 1.25)
    room = (end / start) ** 0.05
    return start / room, end * room


def _mark(ax: Axes, y: float, term: tuple[float, float, float], ends: tuple[float, float], color: str) -> None:
    ratio, low, high = term
    left, right = ends
    if not math.isnan(low) and not math.isnan(high):
        ax.hlines(y, max(low, left), min(high, right), color=color, linewidth=1.7, zorder=3)
        arrow: dict[str, Any] = {"color": color, "markersize": 5.5, "clip_on": False, "zorder": 4, "linestyle": ""}
        if low < left:
            ax.plot([left], [y], marker="<", **arrow)
        if high > right:
            ax.plot([right], [y], marker=">", **arrow)
    if math.isfinite(ratio) and left <= ratio <= right:
        ax.plot([ratio], [y], "o", color=color, markersize=6, markeredgecolor="white", markeredgewidth=0.8, zorder=5)


def _rows(ax: Axes, rows: np.ndarray, labels: list[str]) -> None:
    ax.set_ylim(rows[-1] + 0.6, -0.6)
    ax.set_yticks(rows, labels, color=INK)
    ax.tick_params(axis="y", length=0)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    for y in rows:
        ax.axhline(y, color=GRID, linewidth=0.7, zorder=0)


def _axis(ax: Axes, left: float, right: float) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    ticks = _ticks(left, right)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", length=3)
    ax.set_xlabel("slower  ←  hazard ratio (log scale)  →  faster")
    ax.xaxis.label.set_color(MUTED)


def _ticks(left: float, right: float) -> list[float]:
    """Round ratios within the axis: by 1, 2 and 5, by tens where those would crowd, finer where it is narrow."""
    if right / left < 3:
        steps = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5]
        inside = [tick for tick in steps if left <= tick <= right]
        return [
            tick for i, tick in enumerate(inside) if tick == 1.0 or len(inside) <= 9 or i % 2 == inside.index(1.0) % 2
        ]
    powers = range(math.floor(math.log10(left)), math.ceil(math.log10(right)) + 1)
    fine = [round(step * 10.0**p, 12) for p in powers for step in _TICKS]
    inside = [tick for tick in fine if left <= tick <= right]
    if len(inside) <= 10:
        return inside
    tens = [tick for tick in inside if math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-9)]
    every = -(-len(tens) // 10)
    origin = tens.index(1.0) if 1.0 in tens else 0
    return [tick for i, tick in enumerate(tens) if (i - origin) % every == 0]


def _beside(ax: Axes, shown: pd.DataFrame, rows: np.ndarray) -> None:
    """Ratio with interval, events and users in columns right of the marks, under their heads."""
    cells = {
        "hazard ratio": [_ratio(row) for row in shown.to_dict("records")],
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


def _ratio(row: dict[Any, Any]) -> str:
    if pd.isna(row["hazard_ratio"]):
        return "not estimated"
    if pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return f"{_number(row['hazard_ratio'])} (no interval)"
    return f"{_number(row['hazard_ratio'])} ({_number(row['ci_low'])}–{_number(row['ci_high'])})"


def _number(value: Any) -> str:
    """A ratio in about three meaningful digits."""
    number = float(value)
    if math.isinf(number):
        return "∞"
    if number == 0:
        return "0"
    if number >= 1000 or number < 0.001:
        return f"{number:.1e}".replace("e-0", "e-").replace("e+0", "e")
    return (
        f"{number:.0f}"
        if number >= 100
        else f"{number:.1f}"
        if number >= 10
        else f"{number:.2f}"
        if number >= 0.1
        else f"{number:.3f}"
    )
