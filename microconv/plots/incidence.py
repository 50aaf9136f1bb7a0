"""What becomes of all users over time: the target, other ends and who is still open, stacked up to one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.plots.axis import TimeAxis, time_axis
from microconv.plots.segments import choose
from microconv.plots.style import (
    INK,
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
from microconv.plots.survival import extent, since, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_causes"]

_OPEN = "#ECEEF1"  # nothing has happened: hardly a colour
_STILL = "still open"
_MOST_SEGMENTS = 12
_PER_ROW = 4  # keys in a row above the bars
_LOW = 0.25  # ends that together stay below this are drawn on an axis that is cut, and says so


def plot_causes(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``.causes`` of ``mc.time_to_conversion``: how every user's time ends, or that it has not yet.

    Of one group, the cumulative incidence of every end over time, stacked, with those still open on top: the layers add
    up to all users at each time. Of several segments, a bar each at the horizon. Where hardly anybody ends, the axis is
    cut above the ends, and the label says so. Without other ends there is one layer, from ``.table``.
    """
    causes = _causes(result)
    segments = list(causes.columns[: list(causes.columns).index("cause")])
    target = safe(result.parameters.get("target", "conversion"), 40)
    title = f"What becomes of users: {target} and other ends"
    with styled():
        if causes["probability"].notna().sum() == 0:
            return nothing(ax, title, "Nobody was at risk, or too few to be shown: there is nothing to draw.")
        if segments:
            return _bars(result, causes, segments, title, ax)
        return _areas(result, causes, title, ax)


def _causes(result: Result) -> pd.DataFrame:
    if "causes" in result.extra:
        return result.extra["causes"]
    table = result.table
    at = list(table.columns).index("time_days")
    found = table[[*table.columns[:at], "time_days", "probability"]].copy()
    found.insert(at, "cause", result.parameters.get("target", "conversion"))
    return found


def _layers(causes: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(causes["cause"].astype(str)))


def _areas(result: Result, causes: pd.DataFrame, title: str, ax: Axes | None) -> Axes:
    known = causes[causes["probability"].notna()]
    axis = time_axis(extent(result, known))
    wide = known.assign(cause=known["cause"].astype(str)).pivot_table(
        index="time_days", columns="cause", values="probability", aggfunc="last"
    )
    names = _layers(causes)
    wide = wide[names].ffill().fillna(0.0)
    wide = wide[wide.index * axis.per_day <= axis.end * (1 + 1e-9)]
    if wide.empty:
        return nothing(ax, title, "Nothing was observed within the horizon: there is nothing to draw.")
    wide = _thin(wide, axis)
    at = np.concatenate([[0.0], wide.index.to_numpy() * axis.per_day])
    heights = np.vstack([np.zeros(len(names)), wide.to_numpy()]).cumsum(axis=1)
    ax = ax if ax is not None else new_axes(8.4, 4.4)
    total = float(heights[-1, -1])
    top = 1.0 if total >= _LOW else min(1.0, 1.35 * max(total, 1e-6))
    floor = np.zeros(len(at))
    for number, _ in enumerate(names):
        ax.fill_between(at, floor, heights[:, number], step="post", color=PALETTE[number % len(PALETTE)], linewidth=0)
        floor = heights[:, number]
    ax.fill_between(at, floor, 1.0, step="post", color=_OPEN, linewidth=0)
    ax.set_ylim(0, top)
    ax.set_xlim(0, axis.end)
    ax.set_xticks(axis.ticks)
    ax.set_xlabel(f"{axis.unit} since {since(result)}")
    ax.set_ylabel("share of users" if result.parameters.get("repeat") != "each" else "share of waits")
    percent_axis(ax.yaxis)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)
    _names(ax, names, heights[-1], top)
    cut = "" if top == 1.0 else f"; the axis is cut at {percent(top, 0)}"
    heading(ax, title, f"Cumulative incidence of every end, stacked (Aalen-Johansen){cut}")
    if at[-1] < axis.end * (1 - 1e-9):
        below(ax, "White: nobody was observed that long.", 42)
    return ax


def _thin(wide: pd.DataFrame, axis: TimeAxis, most: int = 4_000) -> pd.DataFrame:
    if len(wide) <= most:
        return wide
    slices = np.floor(wide.index.to_numpy() * axis.per_day / axis.end * most)
    return wide[np.append(slices[1:] != slices[:-1], True)]


def _names(ax: Axes, names: list[str], heights: np.ndarray, top: float) -> None:
    """The name and share of each layer at its right end, apart from each other."""
    edges = np.concatenate([[0.0], heights, [1.0]])
    shares = np.diff(edges)
    middles = [(min(low, top) + min(high, top)) / 2 / top for low, high in itertools.pairwise(edges)]
    colors = [darker(PALETTE[i % len(PALETTE)]) for i in range(len(names))] + [MUTED]
    for label, middle, height, share, color in zip(
        [*names, _STILL], middles, spread(middles, 0.055), shares, colors, strict=True
    ):
        ax.annotate(
            "",
            (1.0, middle),
            xytext=(1.022, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8},
            annotation_clip=False,
        )
        ax.annotate(
            f"{safe(label, 26)}  {percent(max(float(share), 0.0))}",
            (1.026, height),
            xycoords="axes fraction",
            va="center",
            size=9,
            color=color,
            weight="bold",
            annotation_clip=False,
        )


def _bars(result: Result, causes: pd.DataFrame, segments: list[str], title: str, ax: Axes | None) -> Axes:
    """A stacked bar per segment at the horizon, else at the last time that each was observed."""
    day = _read_at(result)
    sizes = result.table.groupby(segments, sort=False, dropna=False)["at_risk"].max().reset_index()
    chosen = choose(sizes, segments, size="at_risk", most=_MOST_SEGMENTS)
    names = _layers(causes)
    shares = []
    for part in chosen.parts:
        mine = causes.merge(part[segments], on=segments)
        shares.append([_value(mine[mine["cause"].astype(str) == name], day) for name in names])
    known = [i for i, row in enumerate(shares) if np.isfinite(row).all()]
    if not known:
        return nothing(ax, title, "No segment was observed up to the horizon: there is nothing to draw.")
    ax = ax if ax is not None else new_axes(8.4, 1.9 + 0.36 * len(known))
    total = max(sum(shares[i]) for i in known)
    top = 1.0 if total >= _LOW else min(1.0, 1.35 * max(total, 1e-6))
    for row, i in enumerate(known):
        left = 0.0
        for number, share in enumerate(shares[i]):
            ax.barh(row, share, left=left, height=0.62, color=PALETTE[number % len(PALETTE)], linewidth=0)
            if share / top > 0.07:
                ax.text(left + share / 2, row, percent(share), ha="center", va="center", size=8.5, color="white")
            left += share
        ax.barh(row, max(1.0 - left, 0.0), left=left, height=0.62, color=_OPEN, linewidth=0)
        if top - left > 0.2 * top:
            rest = f"{percent(max(1.0 - left, 0.0))} {_STILL} "
            ax.text(top, row, rest, ha="right", va="center", size=8.5, color=MUTED)
    ax.set_yticks(range(len(known)), [chosen.labels[i] for i in known])
    ax.invert_yaxis()
    ax.set_xlim(0, top)
    percent_axis(ax.xaxis)
    ax.set_xlabel("share of users" if result.parameters.get("repeat") != "each" else "share of waits")
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    _legend(ax, names)
    cut = "" if top == 1.0 else f"; the axis is cut at {percent(top, 0)}"
    when = f"{day:.4g} days after {since(result)}" if day is not None else "at the end of observation"
    heading(
        ax,
        title,
        f"Cumulative incidence of every end, {when}{cut}",
        lift=4 + 14 * math.ceil((len(names) + 1) / _PER_ROW),
    )
    missing = len(chosen.parts) - len(known)
    notes = [chosen.note] if chosen.note else []
    if missing:
        notes.append(f"{missing} segments were not observed so long.")
    if notes:
        below(ax, " ".join(notes), 42)
    return ax


def _legend(ax: Axes, names: list[str]) -> None:
    from matplotlib.patches import Patch

    colors = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    keys = [Patch(color=color, label=safe(name, 22)) for color, name in zip(colors, names, strict=True)]
    ax.legend(
        handles=[*keys, Patch(color=_OPEN, label=_STILL)],
        loc="lower left",
        bbox_to_anchor=(-0.008, 1.0),
        ncols=_PER_ROW,
        frameon=False,
        fontsize=8.5,
        handlelength=1.0,
        handleheight=1.0,
        borderaxespad=0.0,
        columnspacing=1.4,
    )


def _read_at(result: Result) -> float | None:
    for name in ("naive", "summary"):
        frame = result.extra.get(name)
        if frame is not None and "horizon_days" in frame and frame["horizon_days"].notna().any():
            return float(frame["horizon_days"].dropna().iloc[0])
    return None


def _value(curve: pd.DataFrame, day: float | None) -> float:
    """A cumulative incidence at a day; NaN where it was not observed so long."""
    time, share = numbers(curve["time_days"]), numbers(curve["probability"])
    if day is None:
        return float(share[-1]) if len(share) else float("nan")
    if not len(time) or time[-1] < day - 1e-9:
        return float(share[-1]) if len(share) and share[-1] >= 1 - 1e-9 else float("nan")
    at = int(np.searchsorted(time, day + 1e-9, side="right")) - 1
    return float(share[at]) if at >= 0 else 0.0
