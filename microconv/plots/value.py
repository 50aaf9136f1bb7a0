"""What a micro is worth: the naive, the credited and the incremental value of each on one axis, the last with its
interval.
"""

from __future__ import annotations

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

__all__ = ["plot_micro_value"]

_MOST_ROWS = 30
_NAME_WIDTH = 30
_NAIVE, _CREDITED, _TRUTH = "#8A8F94", PALETTE[6], INK
_WORDS = {
    "structural": "a step on the way: every conversion passes it",
    "not estimated": "not estimated",
}


def plot_micro_value(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.micro_value``: per micro a dot for its incremental value with the interval, a diamond for
    the naive and a square for the credited value, all per user who did it; a cross for the truth where
    ``result.truth`` holds one. Without money in the plan the axis shows points of probability, and nothing is credited.
    """
    table = result.table
    table = table[table["micro"] != "(no micro)"]
    unit = result.parameters.get("currency") or ""
    money = bool(table["incremental_value"].notna().any())
    title = f"What each micro-conversion adds to {safe(result.parameters.get('target', 'conversion'), 40)}"
    with styled():
        if table.empty:
            return nothing(ax, title, "There is no micro to show.")
        shown = _ordered(table, money).head(_MOST_ROWS)
        ax = ax if ax is not None else new_axes(9.4, 1.9 + 0.42 * len(shown))
        rows = np.arange(len(shown))
        marks = _marks(shown, money)
        left, right = _extent(marks, _truth(result, shown, money))
        ax.axvline(0.0, color=MUTED, linewidth=1.0, zorder=1)
        for y in rows[:-1]:
            ax.axhline(y + 0.5, color=GRID, linewidth=0.8, zorder=0)
        _draw(ax, rows, marks, (left, right))
        truth = _truth(result, shown, money)
        if np.isfinite(truth).any():
            ax.plot(
                truth, rows, "x", color=_TRUTH, markersize=7, markeredgewidth=1.8, zorder=6, label="truth (planted)"
            )
        for y, label in zip(rows, shown["label"], strict=True):
            if label in _WORDS:
                ax.annotate(
                    _WORDS[label], (0, y), (6, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8.5
                )
        ax.set_xlim(left, right)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_yticks(rows, [safe(name, _NAME_WIDTH) for name in shown["micro"]])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.spines["left"].set_visible(False)
        _axis(ax, money, unit)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=9, handletextpad=0.3)
        if len(table) > len(shown):
            below(ax, f"The first {len(shown)} of {len(table)} micros; the others are in the table.", 44)
        heading(ax, title, _subtitle(result), lift=24)
    return ax


def _ordered(table: pd.DataFrame, money: bool) -> pd.DataFrame:
    """Largest incremental effect first; what is not estimated last."""
    by = "incremental_value" if money else "incremental"
    return table.sort_values(by, ascending=False, na_position="last", kind="stable")


def _marks(shown: pd.DataFrame, money: bool) -> dict[str, np.ndarray]:
    names = (
        ("incremental_value", "value_ci_low", "value_ci_high", "naive_value")
        if money
        else ("incremental", "ci_low", "ci_high", "naive_lift")
    )
    found = dict(zip(("point", "low", "high", "naive"), (numbers(shown[name]) for name in names), strict=True))
    credited = np.full(len(shown), np.nan)
    if money:
        users = numbers(shown["users"])
        with np.errstate(divide="ignore", invalid="ignore"):
            credited = np.where(users > 0, numbers(shown["credited_value"]) / users, np.nan)
    return {**found, "credited": credited}


def _truth(result: Result, shown: pd.DataFrame, money: bool) -> np.ndarray:
    truth = result.extra.get("truth")
    if truth is None:
        return np.full(len(shown), np.nan)
    column = "incremental_value" if money else "incremental"
    return truth.set_index("micro")[column].reindex(shown["micro"]).to_numpy(dtype=float)


def _extent(marks: dict[str, np.ndarray], truth: np.ndarray) -> tuple[float, float]:
    """All points, and intervals as far as they do not squeeze these."""
    points = np.concatenate([marks["point"], marks["naive"], marks["credited"], truth])
    points = points[np.isfinite(points)]
    least, most = (min(0.0, points.min()), max(0.0, points.max())) if len(points) else (0.0, 1.0)
    span = (most - least) or 1.0
    lows, highs = marks["low"][np.isfinite(marks["low"])], marks["high"][np.isfinite(marks["high"])]
    least = min(least, max(lows.min(), least - span)) if len(lows) else least
    most = max(most, min(highs.max(), most + span)) if len(highs) else most
    room = 0.05 * (most - least) or 0.5
    return least - room, most + room


def _draw(ax: Axes, rows: np.ndarray, marks: dict[str, np.ndarray], ends: tuple[float, float]) -> None:
    left, right = ends
    for y, low, high in zip(rows, marks["low"], marks["high"], strict=True):
        if np.isfinite(low) and np.isfinite(high):
            ax.hlines(y, max(low, left), min(high, right), color=ACCENT, linewidth=1.9, zorder=3)
            arrow: dict[str, Any] = {"color": ACCENT, "markersize": 5.5, "clip_on": False, "linestyle": ""}
            if low < left:
                ax.plot([left], [y], marker="<", **arrow)
            if high > right:
                ax.plot([right], [y], marker=">", **arrow)
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.8, "linestyle": ""}
    ax.plot(
        marks["point"], rows, "o", color=ACCENT, markersize=7.5, zorder=5, label="incremental, with interval", **edge
    )
    if np.isfinite(marks["credited"]).any():
        ax.plot(marks["credited"], rows, "s", color=_CREDITED, markersize=6, zorder=4, label="credited", **edge)
    ax.plot(marks["naive"], rows, "D", color=_NAIVE, markersize=6, zorder=4, label="naive (dashboards)", **edge)


def _axis(ax: Axes, money: bool, unit: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(7))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if money else f"{100 * x:g}"))
    ax.tick_params(axis="x", length=3)
    per = "per user who did it"
    ax.set_xlabel(f"{safe(unit, 10)} {per}".strip() if money else f"points of probability {per}")
    ax.xaxis.label.set_color(MUTED)


def _subtitle(result: Result) -> str:
    horizon = result.parameters.get("horizon")
    adjust = result.parameters.get("adjust") or []
    named = f"adjusted for {', '.join(safe(column, 20) for column in adjust)}" if adjust else "not adjusted"
    return f"Within {horizon} of the action; {named}"
