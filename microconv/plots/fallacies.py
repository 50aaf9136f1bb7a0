"""Naive against proper: each micro's ratio as ever done, at landmarks and counted in time, on one log axis."""

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
    darker,
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

__all__ = ["plot_fallacy_check"]

_MOST_MICROS = 10
_NAME_WIDTH = 40
_ROW = 0.21  # inches of a comparison
_NAME, _GAP = 1.0, 0.35  # rows for the name of a micro; the room between micros
_LANDMARK = "#8A9097"
# Colour and marker of each kind of comparison: the naive one stands out as a cross.
_LOOKS: dict[str, tuple[str, str, float]] = {
    "ever did": (PALETTE[1], "X", 8.5),
    "landmark": (_LANDMARK, "o", 4.5),
    "time-varying": (ACCENT, "o", 7.0),
    "time-varying, adjusted": (PALETTE[2], "D", 6.0),
}


def plot_fallacy_check(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.fallacy_check``: per micro one line per comparison, a mark and its interval on a log axis.

    A cross is the naive comparison of users who ever did it; grey dots are landmarks; the blue dot is counted in
    time, the green diamond adjusted as well. The band of a micro is shaded where naive and proper disagree. At most
    ten micros are drawn; a line says if there are more. What leaves the picture, as a ratio that runs to infinity does,
    ends in an arrow.
    """
    target = safe(result.parameters.get("target", "conversion"), 40)
    title = f"Users who ever did it, against counting in time: {target}"
    table = result.table
    with styled():
        if not table["hazard_ratio"].notna().any():
            return nothing(ax, title, "No micro could be compared: there is nothing to draw.")
        micros = list(dict.fromkeys(table["micro"]))
        shown = table[table["micro"].isin(micros[:_MOST_MICROS])].reset_index(drop=True)
        rows = _places(shown)
        ax = ax if ax is not None else new_axes(9.4, 1.5 + _ROW * (rows[-1] + 1.4 + _NAME))
        ratio, low, high = (numbers(shown[name]) for name in ("hazard_ratio", "ci_low", "ci_high"))
        ends = ratio_extent(ratio, low, high)
        ax.set_xscale("log")
        ax.set_xlim(*ends)
        ax.set_ylim(rows[-1] + 0.8, -0.6 - _NAME)
        _bands(ax, shown, rows, result)
        ax.axvline(1.0, color=MUTED, linewidth=1.0, zorder=1)
        for i, y in enumerate(rows):
            color, marker, size = _LOOKS[_kind(shown["comparison"][i])]
            ratio_mark(ax, y, (ratio[i], low[i], high[i]), ends, color, marker=marker, size=size)
        _names(ax, shown, rows)
        ratio_axis(ax, *ends)
        _beside(ax, shown, rows)
        if len(micros) > _MOST_MICROS:
            below(ax, f"The first {_MOST_MICROS} of {len(micros)} micros; the others are in the table.", 44)
        heading(ax, title, _subtitle(result), lift=16)
    return ax


def _subtitle(result: Result) -> str:
    confidence = 100 * float(result.parameters.get("confidence", 0.95))
    shaded = ""
    verdicts = result.extra.get("verdicts")
    if verdicts is not None and verdicts["disagree"].eq(True).any():
        shaded = "; shaded where the naive comparison misleads"
    return f"Hazard ratios with {confidence:g}% intervals{shaded}"


def _kind(comparison: str) -> str:
    return "landmark" if comparison.startswith("landmark") else comparison


def _places(shown: pd.DataFrame) -> np.ndarray:
    """Where each row stands: one below the other, with room for the name of each micro."""
    new = (shown["micro"] != shown["micro"].shift()).to_numpy()
    return np.arange(len(shown)) + (_NAME + _GAP) * (np.cumsum(new) - 1)


def _bands(ax: Axes, shown: pd.DataFrame, rows: np.ndarray, result: Result) -> None:
    verdicts = result.extra.get("verdicts")
    wrong = set() if verdicts is None else set(verdicts.loc[verdicts["disagree"].eq(True), "micro"])
    for micro, places in pd.Series(rows).groupby(shown["micro"], sort=False):
        if micro in wrong:
            ax.axhspan(places.min() - 0.5 - _NAME, places.max() + 0.6, color="#FDF1E7", linewidth=0, zorder=0)
        for y in places:
            ax.axhline(y, color=GRID, linewidth=0.6, zorder=0.5)


def _names(ax: Axes, shown: pd.DataFrame, rows: np.ndarray) -> None:
    """Each comparison at its row, in its colour; the micro's name above the first."""
    comparisons = [str(name) for name in shown["comparison"]]
    ax.set_yticks(rows, comparisons)
    ax.tick_params(axis="y", length=0, labelsize=8.5)
    for label, comparison in zip(ax.get_yticklabels(), comparisons, strict=True):
        color = _LOOKS[_kind(comparison)][0]
        label.set_color(MUTED if color == _LANDMARK else darker(color))
        label.set_fontweight("normal" if color == _LANDMARK else "bold")
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    for i in np.flatnonzero((shown["micro"] != shown["micro"].shift()).to_numpy()):
        ax.annotate(
            safe(shown["micro"][i], _NAME_WIDTH),
            (0, rows[i] - 0.5 - _NAME / 2),
            xycoords=("axes fraction", "data"),
            xytext=(5, -1),
            textcoords="offset points",
            va="center",
            size=9.5,
            weight="bold",
            color=INK,
            zorder=6,
        )


def _beside(ax: Axes, shown: pd.DataFrame, rows: np.ndarray) -> None:
    """Ratio with interval, and how many did it, in columns right of the marks."""
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "annotation_clip": False}
    cells = {
        "hazard ratio": ([ratio_text(row) for row in shown.to_dict("records")], 124, INK),
        "who did it": (["–" if pd.isna(users) else f"{int(users):,}" for users in shown["users"]], 184, MUTED),
    }
    for head, (texts, at, color) in cells.items():
        ax.annotate(head, (1, 1), xycoords="axes fraction", xytext=(at, 5), va="bottom", size=8.5, color=MUTED, **look)
        for y, text in zip(rows, texts, strict=True):
            where: Any = ("axes fraction", "data")
            ax.annotate(text, (1, y), xycoords=where, xytext=(at, 0), va="center", size=8.5, color=color, **look)
