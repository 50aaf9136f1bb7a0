"""The two figures of the value worlds: how far off the formulas in common use are, and the coverage of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from calibration.coverage import BAND
from calibration.showing import LEFT, colour, coverage_axis, label, point
from calibration.value_estimates import EFFECT, METHODS, RATIO, VALUE
from calibration.value_showing import MOST_MEAN_ERROR
from calibration.value_worlds import WORLDS

__all__ = ["coverage_figure", "formulas_figure"]

# World and micro, by what is true of them: enough of each to see, few enough to read.
_ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    "does nothing": (
        ("zero", "newsletter_signup"),
        ("real", "share"),
        ("observed", "share"),
        ("structural", "share"),
        ("mediated", "share"),
    ),
    "works": (
        ("mediated", "newsletter_signup"),
        ("observed", "newsletter_signup"),
        ("real", "guide_downloaded"),
        ("real", "add_to_cart"),
        ("observed", "add_to_cart"),
        ("structural", "add_to_cart"),
    ),
    "does nothing, hidden confounder": (("hidden", "share"),),
}
_WHERE = {
    "zero": "everybody alike",
    "real": "most happens on day 1",
    "observed": "the interested do more",
    "structural": "checkout comes first",
    "mediated": "strong effects beside it",
    "hidden": "the interested do more",
}
_THROUGH = {
    ("mediated", "newsletter_signup"): "works through the cart",
    ("structural", "add_to_cart"): "leads to checkout",
}


def formulas_figure(table: pd.DataFrame, path: Path) -> None:
    """What the formulas say against what is true, from ``value_formulas.csv``, with ours beside them."""
    from matplotlib.figure import Figure

    from microconv.plots.style import GRID, INK, PALETTE, styled

    said = table.set_index(["world", "micro", "quantity"])
    places, headings, bottom = _places(_ROWS)
    top, foot, row = 1.30, 0.62, 0.27
    height = top + foot + row * bottom
    panels: list[tuple[str, str, list[tuple[str, str]], str, float]] = [
        ("Value of one, in EUR", "value of a purchase x\nshare of doers who convert",
         [("naive_value", "o")], VALUE, 0.0),
        ("Chance to convert, points", "share who convert: those who did it\nless those who never did",
         [("naive_lift", "o")], EFFECT, 0.0),
        ("Times as likely to convert", "odds ratio, and lift (hollow):\nconvert after it / convert without it",
         [("odds_ratio", "o"), ("lift", "D")], RATIO, 1.0),
    ]  # fmt: skip
    with styled():
        drawn = Figure(figsize=(11.5, height))
        axes = drawn.subplots(1, 3, sharey=True, width_ratios=(1.1, 1.1, 1.0))
        drawn.subplots_adjust(left=0.265, right=0.985, top=1 - top / height, bottom=foot / height, wspace=0.10)
        for ax, (title, formula, marks, ours, nothing) in zip(axes, panels, strict=True):
            ax.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=30)
            ax.text(0, 1.015, formula, transform=ax.transAxes, fontsize=8.5, color=PALETTE[1], va="bottom")
            ax.axvline(nothing, color="#9AA0A6", linewidth=1, zorder=1)
            for place, y in places.items():
                ax.axhline(y, color=GRID, linewidth=0.7, zorder=0)
                truth = float(said.loc[(*place, f"{ours}, trials"), "truth"])
                for quantity, mark in marks:
                    _mark(ax, said.loc[(*place, quantity)], y, truth, PALETTE[1], mark)
                for method, mark, aside in (("hazard", "o", -0.14), ("trials", "s", 0.14)):
                    _mark(ax, said.loc[(*place, f"{ours}, {method}")], y + aside, None, PALETTE[0], mark)
                ax.plot([truth, truth], [y - 0.34, y + 0.34], color=INK, linewidth=2.2, zorder=3, solid_capstyle="butt")
            ax.set_ylim(bottom - 0.2, -0.8)
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
            ax.set_yticks([])
        axes[1].set_xticks([-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3], ["−30", "−20", "−10", "0", "+10", "+20", "+30"])
        axes[2].set_xscale("log")
        axes[2].set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
        axes[2].minorticks_off()
        axes[0].set_xlim(left=-4)
        _row_names(drawn, axes[0], places, headings)
        _head(drawn, height, "Formulas in common use find value where there is none, and miss it where it is",
              "Simulated shops whose truth is known; mean over "
              f"{int(table['logs'].max()):,} logs of 20,000 users each")  # fmt: skip
        _formulas_legend(drawn, foot / height)
        drawn.savefig(path, dpi=130, metadata={"Software": None})


def _mark(ax: Any, row: Mapping[str, Any], y: float, truth: float | None, shade: str, mark: str) -> None:
    """A mean with its spread over the logs; from the truth a line leads to what is wrong."""
    mean, spread = float(row["mean"]), float(row["spread"])
    if truth is not None:
        ax.plot([truth, mean], [y, y], color=shade, linewidth=1.4, alpha=0.45, zorder=2, solid_capstyle="butt")
    if math.isfinite(spread):
        ax.plot([mean - spread, mean + spread], [y, y], color=shade, linewidth=1, alpha=0.7, zorder=3)
    small = truth is None
    ax.plot(
        mean, y, marker=mark, markersize=5.0 if small else 7.0 if mark == "o" else 5.6, color=shade, zorder=4,
        markerfacecolor="white" if mark == "D" else shade, markeredgewidth=1.4 if mark == "D" else 0.5,
        linestyle="none",
    )  # fmt: skip


def _places(
    listed: Mapping[str, Sequence[tuple[str, str]]],
) -> tuple[dict[tuple[str, str], float], dict[str, float], float]:
    """Where each row and each heading stands, and where the last ends."""
    places: dict[tuple[str, str], float] = {}
    headings: dict[str, float] = {}
    y = 0.0
    for heading, members in listed.items():
        headings[heading] = y
        for member in members:
            y += 1
            places[member] = y
        y += 1.35
    return places, headings, y


def _row_names(drawn: Any, ax: Any, places: Mapping[tuple[str, str], float], headings: Mapping[str, float]) -> None:
    """From the left edge of the figure: the micro, and what the world around it is like."""
    from matplotlib.transforms import blended_transform_factory

    from microconv.plots.style import INK, MUTED

    across = blended_transform_factory(drawn.transFigure, ax.transData)
    look = {"transform": across, "ha": "left", "va": "center", "clip_on": False}
    for text, y in headings.items():
        ax.text(0.012, y, text, color=INK, fontsize=9.5, fontweight="bold", **look)
    for (world, micro), y in places.items():
        ax.text(0.022, y, micro, color=INK, fontsize=9, **look)
        ax.text(0.138, y, _THROUGH.get((world, micro), _WHERE[world]), color=MUTED, fontsize=8.5, **look)


def _head(drawn: Any, height: float, title: str, below: str) -> None:
    from microconv.plots.style import INK, MUTED

    drawn.text(0.012, 1 - 0.27 / height, title, fontsize=13, fontweight="bold", va="center", color=INK)
    drawn.text(0.012, 1 - 0.54 / height, below, fontsize=9, va="center", color=MUTED)


def _formulas_legend(drawn: Any, foot: float) -> None:
    from matplotlib.lines import Line2D

    from microconv.plots.style import INK, PALETTE

    marks = [
        Line2D([], [], color=INK, linewidth=2.2, marker="|", markersize=11, markeredgewidth=2.2, linestyle="none",
               label="truth"),
        Line2D([], [], color=PALETTE[1], marker="o", markersize=7, linestyle="none", label="formula in common use"),
        Line2D([], [], color=PALETTE[0], marker="o", markersize=5, linestyle="none", label="microconv, hazard"),
        Line2D([], [], color=PALETTE[0], marker="s", markersize=5, linestyle="none", label="microconv, trials"),
    ]  # fmt: skip
    drawn.legend(
        handles=marks, loc="lower left", bbox_to_anchor=(0.255, 0.0), frameon=False, fontsize=9.5, ncols=4,
        handletextpad=0.2, columnspacing=1.8,
    )  # fmt: skip


def coverage_figure(table: pd.DataFrame, path: Path) -> None:
    """The coverage of both methods by world and micro, and how far off a log is, from ``value_coverage.csv``."""
    from matplotlib.figure import Figure

    from microconv.plots.style import GRID, INK, MUTED, styled

    panels = [f"{quantity}, {method}" for quantity in (EFFECT, VALUE) for method in METHODS]
    shown = table[table["quantity"].isin(panels)]
    present = [name for name in WORLDS if name in set(shown["world"])]
    listed = {
        name: [(name, micro) for micro in shown.loc[shown["world"] == name, "term"].drop_duplicates()]
        for name in present
    }
    places, headings, bottom = _places(listed)
    top, foot, row = 1.25, 0.75, 0.2
    height = top + foot + row * bottom
    with styled():
        drawn = Figure(figsize=(11.5, height))
        axes = drawn.subplots(1, 5, sharey=True)
        drawn.subplots_adjust(left=0.16, right=0.985, top=1 - top / height, bottom=foot / height, wspace=0.10)
        for ax, quantity in zip(axes[:4], panels, strict=True):
            coverage_axis(ax, list(places.values()), bottom)
            ax.set_title(quantity.replace(", ", "\n"), loc="left", fontsize=10, fontweight="bold", color=INK, pad=6)
            for found in shown[shown["quantity"] == quantity].to_dict("records"):
                point(ax, found, places[found["world"], found["term"]])
        _errors(axes[4], shown, places, GRID, INK)
        for name, y in headings.items():
            label(axes[0], y, name, color=INK, fontsize=9, fontweight="bold")
        for (_, micro), y in places.items():
            label(axes[0], y, micro, color=INK, fontsize=8.5)
        logs = int((shown["logs"] + shown["without"]).max())
        _head(drawn, height, "What a micro is worth: how often 95 % intervals hold the truth",
              f"{logs:,} simulated logs per world; lines: 99.9 % interval of the coverage; band: {100 * BAND[0]:g} to "
              f"{100 * BAND[1]:g} %; arrows: below {100 * LEFT:g} %; orange: not claimed")  # fmt: skip
        drawn.supxlabel("logs whose interval holds the truth, in %", fontsize=9.5, color=MUTED, x=0.48, y=0.2 / height)
        drawn.savefig(path, dpi=130, metadata={"Software": None})


def _errors(ax: Any, table: pd.DataFrame, places: Mapping[tuple[str, str], float], grid: str, ink: str) -> None:
    """How many points a log is off on average: hazard (circles) and trials (squares)."""
    ax.set_title("mean error,\npoints", loc="left", fontsize=10, fontweight="bold", color=ink, pad=6)
    most = 2 * MOST_MEAN_ERROR
    ax.axvspan(0, MOST_MEAN_ERROR, color="#E6F1E9", linewidth=0, zorder=0)
    for y in places.values():
        ax.axhline(y, color=grid, linewidth=0.6, zorder=0)
    for method, mark in zip(METHODS, ("o", "s"), strict=True):
        for row in table[table["quantity"] == f"{EFFECT}, {method}"].to_dict("records"):
            y, shade = places[row["world"], row["term"]], colour(row["claimed"])
            off = row["mean_error"] > most
            ax.plot(min(row["mean_error"], most), y, marker=">" if off else mark, markersize=4.2, color=shade, zorder=3)
    ax.set_xlim(0, most * 1.03)
    ax.set_xticks([0, 0.006, 0.012, 0.018, 0.024], ["0", "0.6", "1.2", "1.8", "2.4"])
    ax.set_xlabel("circles: hazard, squares: trials", fontsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
