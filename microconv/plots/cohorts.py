"""Entry cohorts on one axis of age: each curve ends where too few of its cohort are watched, pale for the old ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from microconv.plots.axis import TimeAxis, time_axis
from microconv.plots.segments import Shown
from microconv.plots.style import below, heading, new_axes, nothing, numbers, percent, safe, styled
from microconv.plots.survival import ROW, draw_curve, extent, frame_curves, risk_rows, since, whom

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_cohorts"]

_MOST = 12
_FEW = 30  # at risk: from there on the line is thin
_LEAST = 10  # at risk: from there on a single conversion is a spike, and there is no line
_OLD, _YOUNG = (178, 201, 214), (8, 48, 107)  # from a pale to a deep blue, told apart by grey value too


def plot_cohorts(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``mc.time_to_conversion`` by entry day, week or month: one curve per cohort over age.

    Old cohorts are pale, young ones dark. A curve is thin where fewer than thirty are at risk, and ends, with a dot, at
    the last age that ten were still at risk at (a cohort that never had ten: that anybody was). The dotted line is how
    far all cohorts are known, and compared. Under the curves stands who was still at risk at each age, one row per
    cohort. The twelve youngest cohorts are drawn; a line says if there are more.
    """
    table = result.table
    cohort = str(table.columns[0])
    known = table[table["probability"].notna() & table["at_risk"].notna()]
    title = f"Time to {safe(result.parameters.get('target', 'conversion'), 40)}, by {cohort.replace('_', ' ')}"
    with styled():
        if known.empty:
            return nothing(ax, title, "Nobody was at risk, or too few to be shown: there is nothing to draw.")
        shown, note = _choose(known, cohort)
        extra = 15 + ROW * len(shown.labels)
        ax = ax if ax is not None else new_axes(8.4, 4.3 + extra / 72)
        lines = replace(shown, parts=[_while_enough(part) for part in shown.parts])
        axis = time_axis(min(extent(result, known), max(float(part["time_days"].iloc[-1]) for part in lines.parts)))
        colors = _ramp(len(lines.parts))
        for part, color in zip(lines.parts, colors, strict=True):
            _draw(ax, part, axis, color)
        frame_curves(ax, axis, lines, result, band=False)
        _common(ax, result, axis.per_day, axis.end)
        _ends(ax, lines, colors, axis.per_day, axis.end)
        foot = risk_rows(ax, shown, axis, colors, named=True, after="")
        below(ax, note, foot)
        beside = ", beside other ends" if result.parameters.get("competing") else ""
        heading(
            ax,
            title,
            f"Share of {whom(result)} converted by each time since {since(result)}{beside}",
        )
    return ax


def _while_enough(part: pd.DataFrame) -> pd.DataFrame:
    """The curve up to the last age that enough were at risk at; late entry may have few at risk before that too."""
    enough = np.flatnonzero(numbers(part["at_risk"]) >= _LEAST)
    return part.iloc[: enough[-1] + 1] if len(enough) else part


def _draw(ax: Axes, part: pd.DataFrame, axis: TimeAxis, color: str) -> None:
    """The curve, thin where few are at risk, and a dot at its end."""
    many = part[part["at_risk"] >= _FEW]
    if len(many):
        draw_curve(ax, many, axis, color, "-", band=False)
    draw_curve(ax, part, axis, color, "-", band=False, width=0.7)
    inside = part[part["time_days"] * axis.per_day <= axis.end * (1 + 1e-9)]
    if len(inside):
        last = inside.iloc[-1]
        end = float(last["time_days"]) * axis.per_day
        ax.plot(end, float(last["probability"]), "o", color=color, markersize=4.5, zorder=5, clip_on=False)


def _choose(known: pd.DataFrame, cohort: str) -> tuple[Shown, str]:
    names = sorted(known[cohort].astype(str).unique())
    kept = names[-_MOST:]
    parts = [known[known[cohort].astype(str) == name] for name in kept]
    sizes = [float(np.nanmax(numbers(part["at_risk"]))) for part in parts]
    note = f"Thin: fewer than {_FEW} at risk; no line where fewer than {_LEAST} are."
    if min(sizes) < _LEAST:
        note += " Smaller cohorts are drawn to their end."
    if len(names) > _MOST:
        note += f" The {_MOST} youngest of {len(names)} cohorts; the others are in the table."
    return Shown([safe(name, 20) for name in kept], parts, sizes, note), note


def _ramp(count: int) -> list[str]:
    """Colours from pale to deep, one per cohort."""
    steps = np.linspace(0.0, 1.0, count) if count > 1 else np.ones(1)
    mixed = [[round(o + (y - o) * step) for o, y in zip(_OLD, _YOUNG, strict=True)] for step in steps]
    return ["#{:02X}{:02X}{:02X}".format(*rgb) for rgb in mixed]


def _common(ax: Axes, result: Result, per_day: float, end: float) -> None:
    """How far all cohorts are known."""
    day = result.parameters.get("compared_to_days")
    if day is None or day * per_day >= end * (1 - 1e-9):
        return
    ax.axvline(day * per_day, color="#9AA0A6", linestyle=":", linewidth=1.0, zorder=1)
    ax.annotate(
        "compared up to here",
        (day * per_day, 1.0),
        xycoords=ax.get_xaxis_transform(),
        xytext=(4, -3),
        textcoords="offset points",
        va="top",
        size=8,
        color="#5F6368",
    )


def _ends(ax: Axes, shown: Shown, colors: list[str], per_day: float, end: float) -> None:
    """The last value of the oldest and of the youngest cohort, beside their dots."""
    from matplotlib.patheffects import withStroke

    ends = {}
    for at in sorted({0, len(shown.parts) - 1}):
        part = shown.parts[at]
        inside = part[part["time_days"] * per_day <= end * (1 + 1e-9)]
        if len(inside):
            ends[at] = float(inside["time_days"].iloc[-1]) * per_day, float(inside["probability"].iloc[-1])
    for at, (x, y) in ends.items():
        other = [place for key, place in ends.items() if key != at]
        close = any(abs(x - x2) < 0.12 * end and abs(y - y2) < 0.06 * ax.get_ylim()[1] for x2, y2 in other)
        higher = [y > y2 or (y == y2 and at == 0) for _, y2 in other]
        ax.annotate(
            percent(y),
            (x, y),
            xytext=(6, (6 if all(higher) else -6) if close else 0),
            textcoords="offset points",
            va="center",
            size=8.5,
            weight="bold",
            color=colors[at] if at else "#5E7683",
            annotation_clip=False,
            zorder=7,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
