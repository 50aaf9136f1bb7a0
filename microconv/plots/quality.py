"""The picture of a log's quality: events by day, with days that have none or far fewer than usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.style import ACCENT, GRID, INK, MUTED, PALETTE, heading, new_axes, nothing, numbers, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_quality"]

_BARS, _FEW = 200, 9
_WARN = PALETTE[1]


def plot_quality(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``result.days`` of ``log.quality()``: accepted events by day (UTC), with days that have none or too few."""
    days = result.extra["days"]
    with styled():
        if days.empty or not days["events"].gt(0).any():
            return nothing(ax, "Events by day", "No event was accepted, so there is nothing to draw.")
        ax = ax if ax is not None else new_axes(9.2, 3.2)
        return _draw(ax, days)


def _draw(ax: Axes, days: pd.DataFrame) -> Axes:
    from matplotlib import dates as untyped
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    dates: Any = untyped  # its classes have no types

    at = pd.to_datetime(days["day"]).to_numpy()
    events = numbers(days["events"])
    mark = days["mark"].to_numpy()
    if len(days) <= _BARS:
        ax.bar(at, events, width=np.timedelta64(20, "h"), color=np.where(mark == "low", _WARN, ACCENT), zorder=3)
    else:
        ax.fill_between(at, events, step="mid", color=ACCENT, linewidth=0, zorder=3)
        low = mark == "low"
        ax.plot(at[low], events[low], "o", color=_WARN, markersize=3.5, zorder=4)
    half = np.timedelta64(12, "h")
    for first, last in runs(mark == "none"):
        ax.axvspan(at[first] - half, at[last] + half, color=_WARN, alpha=0.22, linewidth=0, zorder=1)
    ax.set_ylim(0, max(float(np.nanmax(events)) * 1.06, 1.0))
    around = half * (2 if len(days) > _FEW else 6)
    ax.set_xlim(at[0] - around, at[-1] + around)
    locator: Any = dates.AutoDateLocator(minticks=3, maxticks=9) if len(days) > _FEW else dates.DayLocator()
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_ylabel("accepted events per day")
    ax.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    _legend(ax, mark)
    empty, low_days = int((mark == "none").sum()), int((mark == "low").sum())
    span = f"{len(days):,} {'day' if len(days) == 1 else 'days'} (UTC)"
    heading(ax, "Events by day", f"{span}, {empty:,} without events, {low_days:,} far below the usual")
    return ax


def _legend(ax: Axes, mark: Any) -> None:
    from matplotlib.patches import Patch

    handles = []
    if (mark == "low").any():
        handles.append(Patch(color=_WARN, label="under a quarter of\nthat weekday's usual"))
    if (mark == "none").any():
        handles.append(Patch(color=_WARN, alpha=0.22, label="no events"))
    if handles:
        legend = ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.01, 1),
            frameon=False,
            fontsize=8.5,
            borderaxespad=0,
            labelcolor=INK,
        )
        legend.set_zorder(5)
    ax.tick_params(axis="x", colors=MUTED)


def runs(flags: Any) -> list[tuple[int, int]]:
    """First and last place of each run of true values.

    >>> runs([True, True, False, True])
    [(0, 1), (3, 3)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags, dtype=bool), [False]]).astype(int)))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]
