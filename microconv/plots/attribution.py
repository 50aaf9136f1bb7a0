"""Models of attribution side by side: what each channel gets by each, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.plots.style import (
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

__all__ = ["plot_attribution"]

_MOST_ROWS = 20
# The models that are told apart by colour, in this order; the others are ticks in the range of all.
_NAMED = ("last", "linear", "markov", "survival", "first", "shapley")
_MOST_NAMED = 4
_RANGE = "#D5D8DC"
_SPECIAL = ("(unattributed)", "(baseline)", "(overlap)")


def plot_attribution(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the table of ``mc.attribution``: per channel a dot with its interval for each of up to four models, in a
    band from the least to the most that any model gives. Channels are ordered by the mean over models; what no channel
    has earned stands below them. At most 20 channels.
    """
    table = result.table[result.table["channel"] != "(overlap)"]
    title = f"Which channel earned what: {safe(result.parameters.get('target', 'conversions'), 40)}"
    with styled():
        if table.empty:
            return nothing(ax, title, "There is no channel to show.")
        channels, others = _ordered(table)
        shown = [*channels[:_MOST_ROWS], *others]
        models = _highlighted(table)
        ax = ax if ax is not None else new_axes(9.4, 1.9 + (0.34 + 0.09 * len(models)) * len(shown))
        for y in range(len(shown) - 1):
            ax.axhline(y + 0.5, color=GRID, linewidth=0.8, zorder=0)
        _ranges(ax, table, shown)
        _models(ax, table, shown, models)
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]) if numbers(table["conversions"]).min() < 0 else 0.0)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_yticks(range(len(shown)), [safe(name, 30) for name in shown])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("conversions", color=MUTED)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, frameon=False, fontsize=9, handletextpad=0.3)
        if len(channels) > _MOST_ROWS:
            below(ax, f"The first {_MOST_ROWS} of {len(channels)} channels; the others are in the table.", 44)
        heading(ax, title, _subtitle(result), lift=24)
    return ax


def _ordered(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Channels by their mean over models, the largest first; and the rows that are no channel."""
    mean = table.groupby("channel", sort=False)["conversions"].mean()
    channels = mean[~mean.index.isin(_SPECIAL)].sort_values(ascending=False, kind="stable")
    return [*map(str, channels.index)], [name for name in _SPECIAL if mean.get(name, 0.0) > 0]


def _highlighted(table: pd.DataFrame) -> list[str]:
    present = list(dict.fromkeys(table["model"]))
    first = [name for name in _NAMED if name in present]
    return [*first, *[name for name in present if name not in first]][:_MOST_NAMED]


def _ranges(ax: Axes, table: pd.DataFrame, shown: list[str]) -> None:
    """The least and the most that any model gives to each channel; one that counts twice divides nothing."""
    table = table[table["model"] != "any_touch"]
    if table["model"].nunique() < 2:
        return
    found = table.groupby("channel")["conversions"].agg(["min", "max"]).reindex(shown)
    ax.barh(
        range(len(shown)),
        found["max"] - found["min"],
        left=found["min"],
        height=0.72,
        color=_RANGE,
        zorder=1,
        label="range of all models",
    )


def _models(ax: Axes, table: pd.DataFrame, shown: list[str], models: list[str]) -> None:
    places = (np.arange(len(models)) - (len(models) - 1) / 2) * (0.6 / max(len(models), 2))
    for model, shift, color in zip(models, places, PALETTE, strict=False):
        rows = table[table["model"] == model].set_index("channel").reindex(shown)
        y = np.arange(len(shown)) + shift
        point, low, high = (numbers(rows[name]) for name in ("conversions", "ci_low", "ci_high"))
        ax.hlines(y, low, high, color=color, linewidth=1.7, zorder=3)
        look: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.7, "linestyle": ""}
        ax.plot(point, y, "o", color=color, markersize=6.0, zorder=4, label=model.replace("_", " "), **look)


def _subtitle(result: Result) -> str:
    asked = result.parameters
    lookback = asked.get("lookback")
    window = f"touches up to {lookback} before the conversion" if lookback else "paths as given"
    return f"By model; {window}"
