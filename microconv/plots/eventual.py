"""How many convert in the end: what was observed, how far it carries, and the plateau, or that none is stated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.axis import TimeAxis, time_axis
from microconv.plots.segments import Shown, choose
from microconv.plots.style import (
    GRID,
    PALETTE,
    below,
    darker,
    heading,
    new_axes,
    nothing,
    numbers,
    percent,
    percent_axis,
    safe,
    styled,
)
from microconv.plots.survival import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_eventual_conversion"]

_MOST_SEGMENTS = 6
_MOST_BANDS = 2
_LINE = 12.5


def plot_eventual_conversion(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.eventual_conversion``: observed curves up to the last reliable age, paler beyond it, the
    fitted ones dashed, and right of them the plateau with its interval, or a hollow mark where none is stated.

    The six largest segments are drawn; a line says if there are more.
    """
    table, curves = result.table, result.extra["curves"]
    segments = list(table.columns[: list(table.columns).index("share")])
    title = f"How many do {safe(result.parameters.get('target', 'the conversion'), 40)} in the end"
    with styled():
        known = table[table["n"].notna()]
        if known.empty or curves["observed"].notna().sum() == 0:
            return nothing(ax, title, "Nobody was at risk, or too few to be shown: there is nothing to draw.")
        shown = choose(known, segments, size="n", most=_MOST_SEGMENTS)
        rows = [part.iloc[0] for part in shown.parts]
        own = [_own(curves, segments, row) for row in rows]
        notes = _notes(rows, shown, named=bool(segments))
        longest = max(len(label) for label in shown.labels)
        ax = ax if ax is not None else new_axes(8.2 + 0.09 * longest, 4.2 + _LINE * len(notes) / 72)
        axis = time_axis(max(float(curve["time_days"].max()) for curve in own))
        for i, (row, curve) in enumerate(zip(rows, own, strict=True)):
            _curve(ax, row, curve, axis, i, band=len(own) <= _MOST_BANDS)
        _axes(ax, axis, rows, own, result)
        _plateaus(ax, rows, shown, axis, named=bool(segments))
        for i, note in enumerate(notes):
            below(ax, note, 42 + _LINE * i)
        by = f", by {safe(', '.join(segments), 40)}" if segments else ""
        heading(ax, title + by, _subtitle(result, rows))
    return ax


def _subtitle(result: Result, rows: list[pd.Series]) -> str:
    confidence = 100 * float(result.parameters.get("confidence", 0.95))
    said = "Observed share (solid up to the last reliable age)"
    if any(row["share"] == row["share"] for row in rows):
        return f"{said}, model (dashed), and where it ends, with {confidence:g}% interval"
    band = f", with {confidence:g}% interval" if len(rows) <= _MOST_BANDS else ""
    return f"{said}{band}; no eventual share is stated"


def _own(curves: pd.DataFrame, segments: list[str], row: pd.Series) -> pd.DataFrame:
    mine = np.ones(len(curves), dtype=bool)
    for name in segments:
        mine &= (curves[name].isna() if pd.isna(row[name]) else curves[name] == row[name]).to_numpy(dtype=bool)
    return curves[mine & curves["observed"].notna().to_numpy()]


def _curve(ax: Axes, row: pd.Series, curve: pd.DataFrame, axis: TimeAxis, i: int, *, band: bool) -> None:
    color = PALETTE[i % len(PALETTE)]
    at, share = numbers(curve["time_days"]) * axis.per_day, numbers(curve["observed"])
    reliable = float(row["reliable_days"]) * axis.per_day if pd.notna(row["reliable_days"]) else 0.0
    inside = at <= reliable * (1 + 1e-9)
    ax.step(at, share, where="post", color=color, alpha=0.35, linewidth=1.1, zorder=3)
    ax.step(at[inside], share[inside], where="post", color=color, linewidth=1.9, zorder=5)
    if band:
        low, high = numbers(curve["observed_ci_low"]), numbers(curve["observed_ci_high"])
        ax.fill_between(
            at[inside], low[inside], high[inside], step="post", color=color, alpha=0.14, linewidth=0, zorder=2
        )
    fitted = numbers(curve["fitted"])
    if np.isfinite(fitted).any():
        ax.plot(at, fitted, color=darker(color), linestyle=(0, (4, 2)), linewidth=1.1, zorder=6)
    if inside.any():
        ax.plot(at[inside][-1], share[inside][-1], marker="o", markersize=5, color=color, zorder=7)


def _axes(ax: Axes, axis: TimeAxis, rows: list[pd.Series], own: list[pd.DataFrame], result: Result) -> None:
    tops = [float(curve["observed"].max()) for curve in own]
    tops += [min(float(row[name]), 2.0 * max(tops)) for row in rows for name in ("ci_high", "observed_ci_high")
             if pd.notna(row[name])]  # fmt: skip
    ax.set_ylim(0, min(max(1.08 * max(tops), 1e-6), 1.02))
    ax.set_xlim(0, axis.end)
    ax.set_xticks(axis.ticks)
    percent_axis(ax.yaxis)
    ax.set_ylabel("share converted")
    ax.set_xlabel(f"{axis.unit} since {safe(result.parameters.get('origin', 'entry'), 30)}")
    ax.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", length=3)


def _plateaus(ax: Axes, rows: list[pd.Series], shown: Shown, axis: TimeAxis, *, named: bool) -> None:
    """Right of the time axis: a bar from limit to limit and the share in words; a dash where none is stated."""
    top = ax.get_ylim()[1]
    ends = [float(row["share"] if pd.notna(row["share"]) else _or_zero(row["observed_share"])) for row in rows]
    heights = spread([min(end / top, 1.0) for end in ends], 0.055)
    place: Any = ax.get_yaxis_transform()
    width = 0.018
    for i, (row, label, height) in enumerate(zip(rows, shown.labels, heights, strict=True)):
        color = PALETTE[i % len(PALETTE)]
        x = 1.02 + width * i
        if pd.notna(row["share"]):
            ax.plot([x, x], [row["ci_low"], min(row["ci_high"], top)], color=color, linewidth=4, alpha=0.35,
                    transform=place, clip_on=False, solid_capstyle="butt")  # fmt: skip
            ax.plot(x, row["share"], marker="D", markersize=5, color=darker(color), transform=place, clip_on=False)
            words = f"{percent(row['share'])}  ({percent(row['ci_low'])} to {percent(row['ci_high'])})"
        else:
            words = "not stated"
            if pd.notna(row["observed_share"]):
                words = f"{percent(row['observed_share'])} so far, end not stated"
        ax.annotate(
            f"{label}  {words}" if named else words,
            (1.03 + width * len(rows), height),
            xycoords="axes fraction",
            va="center",
            size=9,
            color=darker(color),
            weight="bold" if pd.notna(row["share"]) else "normal",
            annotation_clip=False,
        )


def _or_zero(value: float) -> float:
    return value if value == value else 0.0


def _notes(rows: list[pd.Series], shown: Shown, *, named: bool) -> list[str]:
    """Why no plateau is stated, once per reason, and what was left out."""
    said = []
    for row, label in zip(rows, shown.labels, strict=True):
        method = str(row["method"])
        if method.startswith("refused: "):
            said.append(f"{label}: {method[9:]}." if named else f"No eventual share is stated: {method[9:]}.")
    if len(said) > 3:
        said = [*said[:2], f"... and {len(said) - 2} more segments without an eventual share; see the table."]
    return [safe(note, 130) for note in [*said, *([shown.note] if shown.note else [])]]
