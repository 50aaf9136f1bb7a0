"""Curves of time to conversion: cumulative incidence in steps, bands, and the numbers at risk under them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.axis import TimeAxis, time_axis
from microconv.plots.segments import Shown, choose
from microconv.plots.style import (
    GRID,
    INK,
    LINES,
    MUTED,
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = [
    "ROW",
    "days_of",
    "draw_curve",
    "extent",
    "frame_curves",
    "plot_time_to_conversion",
    "risk_rows",
    "since",
    "spread",
    "whom",
]

_MOST_SEGMENTS = 8
_MOST_BANDS = 4
_MOST_POINTS = 4_000
_DAY_UNITS = {"D": 1.0, "h": 24.0, "min": 1_440.0, "s": 86_400.0, "ms": 86_400_000.0, "us": 86_400_000_000.0}
_NUMBERS = 8.5  # size of the numbers at risk, and the height of a row in em
ROW = 1.55 * _NUMBERS


def plot_time_to_conversion(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.time_to_conversion``: the share converted by each time, one step curve per segment.

    Bands are the table's intervals (up to four segments; with more they would hide each other). Under the curves stands
    the number still at risk just before each tick, one row per segment. The eight largest segments are drawn; a
    line says if there are more.
    """
    table = result.table
    segments = list(table.columns[: list(table.columns).index("time_days")])
    title = f"Time to {safe(result.parameters.get('target', 'conversion'), 40)}"
    known = table[table["probability"].notna()]
    with styled():
        if known.empty:
            return nothing(ax, title, "Nobody was at risk, or too few to be shown: there is nothing to draw.")
        shown = choose(table, segments, size="at_risk", most=_MOST_SEGMENTS)
        extra = 15 * (1 if shown.note else 0) + ROW * len(shown.labels)
        longest = max(len(label) for label in shown.labels)
        ax = ax if ax is not None else new_axes(8.4 + 0.09 * longest, 4.3 + extra / 72)
        axis = time_axis(extent(result, known))
        for i, part in enumerate(shown.parts):
            color, line = PALETTE[i % len(PALETTE)], LINES[i % len(LINES)]
            begin = days_of(result.parameters.get("from_age")) * axis.per_day
            draw_curve(ax, part, axis, color, line, band=len(shown.parts) <= _MOST_BANDS, begin=begin)
        frame_curves(ax, axis, shown, result, band=len(shown.parts) <= _MOST_BANDS)
        _ends(ax, shown, axis, named=bool(segments))
        foot = risk_rows(ax, shown, axis, PALETTE, named=bool(segments))
        if shown.note:
            below(ax, shown.note, foot)
        by = f", by {safe(', '.join(segments), 40)}" if segments else ""
        heading(ax, title + by, _subtitle(result, len(shown.parts)))
    return ax


def _subtitle(result: Result, parts: int) -> str:
    confidence = 100 * float(result.parameters.get("confidence", 0.95))
    bands = f", with {confidence:g}% intervals" if parts <= _MOST_BANDS else ""
    beside = ", beside other ends" if result.parameters.get("competing") else ""
    if result.parameters.get("repeat") == "each":
        return f"Share of waits ended by each time since {since(result)}{beside}{bands}"
    return f"Share of {whom(result)} converted by each time since {since(result)}{beside}{bands}"


def whom(result: Result) -> str:
    """Of whom the shares are."""
    if result.parameters.get("from_age"):
        return f"users still open at {result.parameters['from_age']}"
    return "users still open then" if result.parameters.get("landmark") else "users"


def since(result: Result) -> str:
    """Time zero in words."""
    told = result.parameters
    origin = str(told.get("origin", "entry"))
    zero = "entry" if origin == "entry" else f"the first {safe(origin, 30)}"
    if told.get("origin_col"):
        zero = safe(told["origin_col"], 30)
    if told.get("repeat") == "each":
        return f"{zero} or the conversion before"
    return f"{told['landmark']} after {zero}" if told.get("landmark") else zero


def extent(result: Result, table: pd.DataFrame) -> float:
    """To the horizon where one was asked for, else as far as anybody was observed."""
    return days_of(result.parameters.get("horizon")) or float(table["time_days"].max())


def days_of(written: object) -> float:
    """A duration as ``parameters`` has it, in days; 0 for none."""
    for unit in ("min", "ms", "us", "D", "h", "s") if written else ():
        number = str(written).removesuffix(unit)
        if number != str(written) and number.replace(".", "", 1).isdigit():
            return float(number) / _DAY_UNITS[unit]
    return 0.0


def draw_curve(
    ax: Axes,
    part: pd.DataFrame,
    axis: TimeAxis,
    color: str,
    line: Any,
    *,
    band: bool,
    begin: float = 0.0,
    width: float = 1.7,
) -> None:
    """The steps of one curve from ``begin`` (in the axis' unit) on, with its band."""
    inside = part["probability"].notna() & (part["time_days"] * axis.per_day <= axis.end * (1 + 1e-9))
    drawn = _thin(part[inside], axis)
    at = np.concatenate([[begin], np.maximum(numbers(drawn["time_days"]) * axis.per_day, begin)])
    share, low, high = (
        np.concatenate([[0.0], numbers(drawn[column])]) for column in ("probability", "ci_low", "ci_high")
    )
    ax.step(at, share, where="post", color=color, linestyle=line, linewidth=width, zorder=4)
    if band:
        ax.fill_between(at, low, high, step="post", color=color, alpha=0.14, linewidth=0, zorder=2)


def _thin(part: pd.DataFrame, axis: TimeAxis) -> pd.DataFrame:
    """The last row of each of a few thousand slices of the axis: more than the picture has dots."""
    if len(part) <= _MOST_POINTS:
        return part
    slices = np.floor(part["time_days"].to_numpy() * axis.per_day / axis.end * _MOST_POINTS)
    return part[np.append(slices[1:] != slices[:-1], True)]


def frame_curves(ax: Axes, axis: TimeAxis, shown: Shown, result: Result, *, band: bool) -> None:
    """Limits, ticks, labels and grid for curves of shares, so that numbers under the ticks do not touch."""
    top = max(_top(part, band) for part in shown.parts)
    ax.set_ylim(0, min(max(top * 1.08, 1e-6), 1.0))
    ax.set_xlim(0, axis.end)
    ax.set_xticks(_ticks_that_fit(ax, axis, shown))
    percent_axis(ax.yaxis)
    ax.set_ylabel("share converted" if result.parameters.get("repeat") != "each" else "share of waits ended")
    ax.set_xlabel(f"{axis.unit} since {since(result)}")
    ax.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.tick_params(axis="x", length=3)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _top(part: pd.DataFrame, band: bool) -> float:
    """The highest point to show; a band that opens wide over its last few users does not squeeze the curves."""
    highest = float(part["probability"].max())
    limit = float(part["ci_high"].max())
    if not band or math.isnan(limit):  # no limits where all converted at once
        return highest
    return min(limit, 2.5 * highest) if highest > 0 else limit


def _ticks_that_fit(ax: Axes, axis: TimeAxis, shown: Shown) -> list[float]:
    """Every tick, or every second, third ...: the numbers at risk under them must not touch."""
    longest = max(len(f"{size:,.0f}") for size in shown.sizes) + 1.5
    room = 72 * _inches(ax)
    for every in range(1, len(axis.ticks) + 1):
        ticks = axis.ticks[::every]
        if len(ticks) < 2 or room * (ticks[1] - ticks[0]) / axis.end >= 0.62 * _NUMBERS * longest:
            return ticks
    return axis.ticks[:1]


def _inches(ax: Axes) -> float:
    """How wide the axes will be, roughly: the layout has not run yet."""
    figure = ax.get_figure()
    assert figure is not None
    width = float(ax.get_window_extent().width / figure.dpi)
    return width - 1.2 if figure.get_layout_engine() is not None else width


def _ends(ax: Axes, shown: Shown, axis: TimeAxis, *, named: bool) -> None:
    """The name and last value of each curve, right of the data, set apart where curves end close together."""
    ends = [_last(part, axis) for part in shown.parts]
    top = ax.get_ylim()[1]
    heights = spread([share / top for _, share in ends], 0.052)
    for i, (label, (at, share), height) in enumerate(zip(shown.labels, ends, heights, strict=True)):
        color = PALETTE[i % len(PALETTE)]
        if at < axis.end * (1 - 1e-9):  # nobody was watched longer: a dotted line is no curve
            ax.hlines(share, at, axis.end, color=color, linestyle=":", linewidth=0.9, zorder=3)
        ax.annotate(
            "",
            (1.0, min(share / top, 1.0)),
            xytext=(1.022, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8},
            annotation_clip=False,
        )
        ax.annotate(
            f"{label}  {percent(share)}" if named else percent(share),
            (1.026, height),
            xycoords="axes fraction",
            va="center",
            size=9,
            color=darker(color),
            weight="bold",
            annotation_clip=False,
        )


def _last(part: pd.DataFrame, axis: TimeAxis) -> tuple[float, float]:
    """Where a curve ends inside the axis: the time in its unit, and the share."""
    inside = part[part["probability"].notna() & (part["time_days"] * axis.per_day <= axis.end * (1 + 1e-9))]
    if inside.empty:
        return 0.0, 0.0
    return float(inside["time_days"].iloc[-1]) * axis.per_day, float(inside["probability"].iloc[-1])


def spread(heights: list[float], gap: float) -> list[float]:
    """The heights, moved as little as need be so that neighbours are ``gap`` apart and all lie within 0 and 1.

    >>> [round(height, 3) for height in spread([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups: list[tuple[float, int]] = []  # the middle of a pile of labels, and how many it holds
    for i in order:
        groups.append((heights[i], 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2 - 1e-12:
            (high, n), (low, m) = groups.pop(), groups.pop()
            groups.append(((high * n + low * m) / (n + m), n + m))
    placed = [middle + gap * (k - (n - 1) / 2) for middle, n in groups for k in range(n)]
    for k in range(len(placed)):  # up from the floor, then down from the ceiling
        placed[k] = max(placed[k], 0.0 if k == 0 else placed[k - 1] + gap)
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], 1.0 if k == len(placed) - 1 else placed[k + 1] - gap)
    moved = dict(zip(order, placed, strict=True))
    return [moved[i] for i in range(len(heights))]


def risk_rows(ax: Axes, shown: Shown, axis: TimeAxis, colors: Sequence[str], *, named: bool, after: str = "0") -> float:
    """Rows of numbers under the ticks, ``after`` the last time of a curve that text; how far below the axes they end,
    in points.
    """
    down = 42.0
    below(ax, "Number at risk", down)
    down += ROW
    ticks: list[Any] = list(ax.get_xticks())
    for i, (label, part) in enumerate(zip(shown.labels, shown.parts, strict=True)):
        color = colors[i % len(colors)]
        if named:
            ax.annotate(
                label,
                (0, 0),
                xycoords="axes fraction",
                xytext=(-26, -down),
                textcoords="offset points",
                ha="right",
                va="top",
                size=_NUMBERS,
                color=darker(color),
                weight="bold",
                annotation_clip=False,
            )
        for tick, number in zip(ticks, at_risk(part, [tick / axis.per_day for tick in ticks]), strict=True):
            beyond = tick > float(part["time_days"].iloc[-1]) * axis.per_day * (1 + 1e-9)
            text = after if beyond else "–" if number != number else f"{number:,.0f}"
            ax.annotate(
                text,
                (tick, 0),
                xycoords=ax.get_xaxis_transform(),
                xytext=(0, -down),
                textcoords="offset points",
                ha="center",
                va="top",
                size=_NUMBERS,
                color=INK if named else MUTED,
                annotation_clip=False,
            )
        down += ROW
    return down + 4


def at_risk(part: pd.DataFrame, days: list[float]) -> list[float]:
    """How many were at risk just before each time: the number of the next row; none after the last row."""
    times, waiting = numbers(part["time_days"]), numbers(part["at_risk"])
    at = np.searchsorted(times, np.asarray(days) * (1 - 1e-12), side="left")
    return [float(waiting[i]) if i < len(waiting) else 0.0 for i in at]
