"""Retention: a heat map of entry cohorts by period, with open cells hatched, or one curve per segment."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.segments import choose
from microconv.plots.style import (
    GRID,
    INK,
    LINES,
    MUTED,
    PALETTE,
    below,
    heading,
    new_axes,
    nothing,
    numbers,
    percent_axis,
    safe,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_retention"]

_MOST_COHORTS, _MOST_PERIODS, _MOST_SEGMENTS, _MOST_BANDS = 40, 31, 8, 3
_UNITS = {"D": "day", "W": "week", "M": "month"}
_ROW, _COLUMN = 0.27, 0.36  # inches
_DARK = 0.55  # from this part of the scale on letters are white


def plot_retention(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``mc.retention``: cohorts as rows, periods as columns, the share who came back in percent in each cell.

    A hatched cell is not final: the period is not over for all users of the cohort. Where it is over for nobody the
    cell is empty. The colours span what comes after period 0; the last row is all cohorts together. With segments,
    one curve per segment of the pooled rates, with intervals (up to three segments). The newest 40 cohorts,
    the first 31 periods and the eight largest segments are drawn; a line says if there are more.
    """
    table = result.table
    unit = _UNITS[str(result.parameters.get("period", "D"))]
    event = result.parameters.get("event")
    what = f"Who did {safe(event, 40)}" if event is not None else "Who came back"
    title = f"{what}, by {unit} since {_since(result)}"
    with styled():
        if table.empty or not (numbers(table["observed"]) > 0).any():
            return nothing(ax, title, f"No {unit} was observed to its end, or too few users to be shown.")
        if result.parameters.get("by"):
            return _curves(result, title, unit, ax)
        return _heat_map(result, title, unit, ax)


def _since(result: Result) -> str:
    return safe(result.parameters.get("origin", "entry"), 30)


def _heat_map(result: Result, title: str, unit: str, ax: Axes | None) -> Axes:
    table = result.table
    cohorts = list(dict.fromkeys(table["cohort"]))
    kept = cohorts[-_MOST_COHORTS:]
    periods = sorted(int(p) for p in table["period"].unique())[:_MOST_PERIODS]
    shown = table[table["cohort"].isin(kept) & table["period"].isin(periods)]
    rate, observed, still, users = (_grid(shown, name, kept, periods) for name in ("rate", "observed", "open", "users"))
    total = result.extra["total"].set_index("period").reindex(periods)
    rate = np.vstack([rate, numbers(total["rate"])])
    rows = np.append(np.arange(len(kept)), len(kept) + 0.35)
    labels = [*_cohort_names(kept, str(result.parameters.get("cohort", "week"))), "all cohorts"]
    ax = ax if ax is not None else new_axes(2.2 + _COLUMN * max(len(periods), 8), 1.45 + _ROW * (len(kept) + 1.35))
    top = _top(rate, periods)
    for i, y in enumerate(rows):
        for j, period in enumerate(periods):
            pooled = i == len(kept)
            open_ = not pooled and bool(still[i, j] > 0)
            _cell(ax, (j, y), rate[i, j], top, still_open=open_, trivial=period == 0 and rate[i, j] == 1)
    _frame(ax, rows, labels, periods)
    ax.set_xlabel(f"{unit} since {_since(result)}")
    sizes = [*users[:, 0], float(numbers(total["users"])[0])]
    _sizes(ax, rows, sizes)
    _notes(ax, bool(((still > 0) & (observed > 0)).any()), len(cohorts), result, periods)
    heading(ax, title, _subtitle(result), lift=17)
    return ax


def _subtitle(result: Result) -> str:
    cohort = result.parameters.get("cohort", "week")
    zone = safe(result.parameters.get("tz", "UTC"), 40)
    counted = " of the calendar" if result.parameters.get("calendar") else ""
    period = {"D": "days", "W": "weeks", "M": "months"}[str(result.parameters.get("period", "D"))]
    return f"Percent of users, by {cohort} of {_since(result)}; {period}{counted} in zone {zone}"


def _grid(table: pd.DataFrame, column: str, cohorts: list[str], periods: list[int]) -> np.ndarray:
    wide = table.pivot(index="cohort", columns="period", values=column).reindex(index=cohorts, columns=periods)
    return wide.astype("Float64").to_numpy(dtype=float, na_value=np.nan)


def _top(rate: np.ndarray, periods: list[int]) -> float:
    """The end of the scale: the highest rate after period 0, which would squeeze all else."""
    later = rate[:, [p > 0 for p in periods]]
    some = later if np.isfinite(later).any() else rate
    return float(np.nanmax(some)) or 1.0


def _cell(
    ax: Axes,
    at: tuple[float, float],
    rate: float,
    top: float,
    *,
    still_open: bool,
    trivial: bool,
) -> None:
    """A rectangle coloured by its rate, with the number; hatched where it is not final, empty where nobody is known."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    x, y = at
    corner = (x - 0.5, y - 0.5)
    if math.isnan(rate):
        return
    palette = LinearSegmentedColormap.from_list("", ["#F3F8FC", "#A9CFE8", "#3E8FC4", "#0B4F86"])
    depth = min(rate / top, 1.0)
    color: Any = "#E9EBEE" if trivial else palette(depth)
    ax.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="white", linewidth=1.0, zorder=2))
    dark = depth >= _DARK and not trivial
    if still_open:
        ink = "#FFFFFF" if dark else "#8FA3B3"
        ax.add_patch(
            Rectangle(
                corner,
                1,
                1,
                facecolor="none",
                edgecolor=ink,
                hatch="/////",
                linewidth=0,
                alpha=0.4 if dark else 0.55,
                zorder=3,
            )
        )
    text = f"{100 * rate:.1f}" if 0 < rate < 0.9995 else f"{100 * rate:.0f}"
    letters = "white" if dark else MUTED if trivial else INK
    ax.text(x, y, text, ha="center", va="center", size=7, color=letters, zorder=4)


def _frame(ax: Axes, rows: np.ndarray, labels: list[str], periods: list[int]) -> None:
    ax.set_xlim(-0.5, len(periods) - 0.5)
    ax.set_ylim(rows[-1] + 0.5, -0.5)
    ax.set_yticks(rows, labels)
    ax.set_xticks(range(len(periods)), [str(period) for period in periods])
    ax.tick_params(axis="both", length=0)
    for label in ax.get_yticklabels():
        label.set_color(INK)
    ax.get_yticklabels()[-1].set_fontweight("bold")
    for spine in ax.spines.values():
        spine.set_visible(False)


def _cohort_names(cohorts: list[str], cohort: str) -> list[str]:
    """Dates as people write them; the year where it changes."""
    found, year = [], None
    for text in cohorts:
        day = dt.date.fromisoformat(text)
        name = f"{day:%b}" if cohort == "month" else f"{day.day} {day:%b}"
        found.append(f"{name} {day.year}" if day.year != year else name)
        year = day.year
    return found


def _sizes(ax: Axes, rows: np.ndarray, sizes: list[float]) -> None:
    """How many users each cohort has, in a column right of the cells."""
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "annotation_clip": False, "color": MUTED}
    ax.annotate("users", (1, 1), xycoords="axes fraction", xytext=(44, 5), va="bottom", size=8.5, **look)
    for y, size in zip(rows, sizes, strict=True):
        text = "–" if math.isnan(size) else f"{size:,.0f}"
        where: Any = ("axes fraction", "data")
        ax.annotate(text, (1, y), xycoords=where, xytext=(44, 0), va="center", size=8.5, **look)


def _notes(ax: Axes, hatched: bool, cohorts: int, result: Result, periods: list[int]) -> None:
    said = []
    if hatched:
        said.append("Hatched: not over for all users of the cohort yet, the rate is of those for whom it is.")
    if cohorts > _MOST_COHORTS:
        said.append(f"The newest {_MOST_COHORTS} of {cohorts:,} cohorts; the others are in the table.")
    if int(result.parameters.get("periods") or 0) > periods[-1]:
        said.append(f"Periods up to {periods[-1]}; the others are in the table.")
    for i, line in enumerate(said):
        below(ax, line, 36 + 13 * i)


def _curves(result: Result, title: str, unit: str, ax: Axes | None) -> Axes:
    """The pooled rates of each segment by period."""
    from matplotlib.ticker import MaxNLocator

    segments = [str(name) for name in result.parameters["by"]]
    total = result.extra["total"]
    later = total[(total["period"] > 0) & (total["observed"] > 0)]
    if later.empty:
        return nothing(ax, title, f"No {unit} after the first was observed to its end.")
    shown = choose(later, segments, size="users", most=_MOST_SEGMENTS)
    ax = ax if ax is not None else new_axes(8.4, 4.2)
    bands = len(shown.parts) <= _MOST_BANDS
    for i, (name, part) in enumerate(zip(shown.labels, shown.parts, strict=True)):
        color, style = PALETTE[i % len(PALETTE)], LINES[i % len(LINES)]
        at, rate = numbers(part["period"]), numbers(part["rate"])
        few = len(at) <= 31
        ax.plot(at, rate, color=color, linestyle=style, linewidth=1.7, label=name, zorder=4,
                marker="o" if few else None, markersize=3.5)  # fmt: skip
        if bands:
            low, high = numbers(part["ci_low"]), numbers(part["ci_high"])
            ax.fill_between(at, low, high, color=color, alpha=0.14, linewidth=0, zorder=2)
    ax.set_ylim(0, None)
    ax.set_xlim(0.5, max(float(later["period"].max()), 1.0) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    percent_axis(ax.yaxis)
    ax.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"{unit} since {_since(result)}")
    ax.set_ylabel("share of users")
    if len(shown.labels) > 1 or segments:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9, borderaxespad=0)
    confidence = 100 * float(result.parameters.get("confidence", 0.95))
    with_bands = f", with {confidence:g}% intervals" if bands else ""
    zone = safe(result.parameters.get("tz", "UTC"), 40)
    heading(
        ax,
        f"{title}, by {safe(', '.join(segments), 40)}",
        f"All cohorts together, only users for whom the {unit} is over{with_bands}; days in zone {zone}",
    )
    if shown.note:
        below(ax, shown.note, 38)
    return ax
