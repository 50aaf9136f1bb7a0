"""Cohorts with what has converted and what is still expected, and how predictions fared on held-back time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.plots.style import (
    ACCENT,
    FAINT,
    GRID,
    INK,
    MUTED,
    PALETTE,
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

__all__ = ["plot_forecast", "plot_reliability"]

_MOST_COHORTS = 60
_MOST_LABELS = 14


def plot_forecast(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the cohorts of ``mc.forecast``: converted so far, expected on top of it, and the interval of the total.

    On a figure of its own the back-test stands beside it (``plot_reliability``), where there is one. The axes of the
    cohorts are returned. The last 60 cohorts are drawn.
    """
    cohorts = result.extra["cohorts"]
    target = safe(result.parameters.get("target", "conversion"), 30)
    horizon = safe(result.parameters.get("horizon", "the horizon"))
    title = f"{target} within {horizon}, by entry {safe(result.parameters.get('cohort', 'cohort'))}"
    with styled():
        drawn = cohorts[cohorts["converted"].notna()].tail(_MOST_COHORTS)
        if drawn.empty:
            return nothing(ax, title, "No cohort is large enough to be shown: there is nothing to draw.")
        reliability = result.extra["reliability"]
        judged = reliability[reliability["observed"].notna()] if len(reliability) else reliability
        if ax is None and len(judged):
            import matplotlib.pyplot as plt

            _, (ax, beside) = plt.subplots(1, 2, figsize=(12.6, 4.4), layout="constrained", width_ratios=(1.75, 1.0))
            plot_reliability(result, beside)
        ax = ax if ax is not None else new_axes(8.2, 4.4)
        _bars(ax, drawn)
        cut = f"; the last {_MOST_COHORTS} of {len(cohorts)} cohorts" if len(cohorts) > len(drawn) else ""
        confidence = 100 * float(result.parameters.get("confidence", 0.95))
        heading(ax, title, f"Conversions so far and expected, with {confidence:g}% prediction intervals{cut}")
    return ax


def _bars(ax: Axes, cohorts: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    at = np.arange(len(cohorts))
    done, expected = numbers(cohorts["converted"]), numbers(cohorts["expected"])
    still_open = numbers(cohorts["open"]) > 0
    unknown = still_open & ~np.isfinite(expected)
    width = 0.74
    ax.bar(at, done, width, color=ACCENT, zorder=3, label="converted so far")
    some = still_open & ~unknown
    if some.any():
        ax.bar(at[some], expected[some], width, bottom=done[some], color=FAINT, hatch="////", edgecolor="white",
               linewidth=0, zorder=3, label="expected of those still open")  # fmt: skip
        low, high = numbers(cohorts["ci_low"])[some], numbers(cohorts["ci_high"])[some]
        ax.vlines(at[some], low, high, color=INK, linewidth=1.3, zorder=5, label="interval of the total")
    top = np.nanmax(np.concatenate([done, np.nan_to_num(numbers(cohorts["ci_high"])), [1.0]]))
    if unknown.any():
        ax.scatter(at[unknown], done[unknown] + 0.03 * top, marker="$?$", s=42, color=MUTED, zorder=5,
                   label="open, not forecast")  # fmt: skip
    ax.set_ylim(0, 1.12 * top)
    ax.set_xlim(-0.6, len(at) - 0.4)
    every = -(-len(at) // _MOST_LABELS)
    ax.set_xticks(at[::every], [safe(name, 16) for name in cohorts["cohort"].to_numpy()[::every]])
    long = len(at[::every]) > 5
    ax.tick_params(axis="x", length=0, rotation=40 if long else 0)
    if long:
        for text in ax.get_xticklabels():
            text.set_horizontalalignment("right")
            text.set_rotation_mode("anchor")
    ax.set_ylabel("users converted")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    ax.set_xlabel("entry cohort, by its first day")
    ax.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    if some.any() or unknown.any():
        order = ("converted so far", "expected of those still open", "interval of the total", "open, not forecast")
        handles = {str(label): handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        said = [name for name in order if name in handles]
        ax.legend(
            [handles[name] for name in said],
            said,
            loc="upper left",
            bbox_to_anchor=(0, 1.0),
            frameon=False,
            fontsize=8.5,
            ncols=3,
            handlelength=1.4,
        )
        ax.set_ylim(0, 1.22 * top)


def plot_reliability(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the back-test of ``mc.forecast``: the share that converted against the predicted chance, by bins of it.

    Points on the diagonal were predicted right; each bar is the interval of the observed share.
    """
    from matplotlib.ticker import MaxNLocator

    reliability = result.extra["reliability"]
    title = "Back-test: predicted and observed"
    with styled():
        known = reliability[reliability["observed"].notna()] if len(reliability) else reliability
        if known.empty:
            return nothing(ax, title, "No time was held back, or nobody was open then: there is nothing to draw.")
        ax = ax if ax is not None else new_axes(5.0, 4.4)
        predicted, observed = numbers(known["predicted"]), numbers(known["observed"])
        low, high = numbers(known["ci_low"]), numbers(known["ci_high"])
        top = 1.12 * max(float(high.max()), float(predicted.max()), 1e-6)
        top = min(top, 2.2 * max(float(observed.max()), float(predicted.max()), 1e-6)) if observed.max() > 0 else top
        ax.plot([0, top], [0, top], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
        ax.vlines(predicted, low, np.minimum(high, top), color=ACCENT, alpha=0.45, linewidth=1.6, zorder=3)
        ax.plot(predicted, observed, "o", color=PALETTE[0], markersize=5.5, zorder=4, clip_on=False)
        widest = 1.1 * float(predicted.max()) or top  # nobody converted before: every chance is 0
        ax.set_xlim(-0.02 * widest, widest)  # room for a point at 0, too little for a tick below it
        ax.set_ylim(0, top)
        percent_axis(ax.xaxis)
        percent_axis(ax.yaxis)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.set_xlabel("predicted chance")
        ax.set_ylabel("share that converted")
        ax.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
        ax.set_axisbelow(True)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        held = result.parameters.get("holdback")
        heading(ax, title, f"Users open when the last {safe(held)} began, in bins of their chance")
    return ax
