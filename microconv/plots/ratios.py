"""Ratios on a log axis: how far it reaches, its ticks, a mark with its interval, and the numbers as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.style import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ratio_axis", "ratio_extent", "ratio_mark", "ratio_text"]

_SQUEEZE = 8.0  # an interval reaches at most so many times beyond the outermost estimate; the rest is an arrow
_BEYOND = 3.0  # how far the interval of a ratio without a finite estimate is seen beyond its limit
_TICKS = (1.0, 2.0, 5.0)


def ratio_extent(ratio: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """The ends of the axis: all estimates, and intervals as far as they do not squeeze these."""
    # Where a ratio runs to infinity or to 0, its one limit must be seen, with an interval beyond it.
    shown = np.where(np.isposinf(ratio), _BEYOND * low, np.where(ratio == 0, high / _BEYOND, ratio))
    known = shown[np.isfinite(shown) & (shown > 0)]
    least, most = (min(1.0, known.min()), max(1.0, known.max())) if len(known) else (1.0, 1.0)
    downs = low[np.isfinite(low) & (low > 0)]
    ups = high[np.isfinite(high) & (high > 0)]
    start = max(min(downs.min(), least), least / _SQUEEZE) if len(downs) else least
    end = min(max(ups.max(), most), most * _SQUEEZE) if len(ups) else most
    start, end = min(start, 0.8), max(end, 1.25)
    room = (end / start) ** 0.05
    return start / room, end * room


def ratio_mark(
    ax: Axes,
    y: float,
    term: tuple[float, float, float],
    ends: tuple[float, float],
    color: str,
    *,
    marker: str = "o",
    size: float = 6.0,
) -> None:
    """A ratio with its limits at one height; what leaves the axis, also the ratio itself, ends in an arrow."""
    ratio, low, high = term
    left, right = ends
    if math.isnan(low) or math.isnan(high):
        low = high = ratio
    else:
        ax.hlines(y, max(low, left), min(high, right), color=color, linewidth=1.7, zorder=3)
    arrow: dict[str, Any] = {"color": color, "markersize": 5.5, "clip_on": False, "zorder": 4, "linestyle": ""}
    if low < left:
        ax.plot([left], [y], marker="<", **arrow)
    if high > right:
        ax.plot([right], [y], marker=">", **arrow)
    if math.isfinite(ratio) and left <= ratio <= right:
        edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.8}
        ax.plot([ratio], [y], marker, color=color, markersize=size, zorder=5, **edge)


def ratio_axis(ax: Axes, left: float, right: float) -> None:
    """Round ticks below, and what left and right mean."""
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


def ratio_text(row: dict[Any, Any]) -> str:
    """A row's ratio with its interval, as text."""
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
