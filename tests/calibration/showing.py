"""The table as text and as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from calibration.coverage import BAND, MANY_LOGS, MOST_WITHOUT
from calibration.outside import DELAYS, SHARE
from calibration.worlds import WORLDS

__all__ = ["LEFT", "colour", "coverage_axis", "figure", "label", "markdown", "point", "rows"]

_COLUMNS = (
    "world quantity term truth logs without covered coverage cp_low cp_high mean_estimate bias mean_se spread claimed"
    " verdict"
).split()
LEFT = 0.80  # coverage below it is drawn at the edge, with its number
_ROW, _TOP, _BOTTOM = 0.185, 1.05, 0.75  # inches


def markdown(table: pd.DataFrame) -> str:
    """``coverage.md`` from the rows of ``coverage.csv``."""
    claimed, beside = table[table["claimed"] != "no"], table[table["claimed"] == "no"]
    failing = claimed[claimed["verdict"] != "holds"]
    logs = int((table["logs"] + table["without"]).max())
    result = "All of them hold." if failing.empty else f"{len(failing)} of them fail."
    band = f"{100 * BAND[0]:g} to {100 * BAND[1]:g} %"
    return f"""# Coverage of 95 % intervals

How often the 95 % intervals that microconv gives hold the truth, over {logs:,} simulated logs of each kind and world,
whose truth is known exactly. Made by `python tests/calibration/run.py --logs {logs}`; the numbers: `coverage.csv`.

![Coverage by world and quantity](coverage.png)

Rule: over {MANY_LOGS:,} logs or more the coverage lies in {band}; over fewer its 99.9 % interval
(Clopper and Pearson) meets {band}. A row fails, too, if more than {100 * MOST_WITHOUT:g} % of the logs give no
interval (`without`). Of {len(claimed)} rows coverage is claimed. {result}

- **null**: no micro does anything. **confounded**: a visible trait (`interest`) raises the macro and the micros, so
  that micros look strong until it is adjusted for. **strong**: ratios of 6 and 3, a decoy, and a micro that works
  through another.
- Truth: planted hazard ratios; else the exact chance to convert (`Truth.curve`), its integral, its inversion.
- Users enter over 60 days and are followed for 5 to 65 days; another end (`unsubscribe`) competes where a row says
  Aalen-Johansen, any end or hazard ratio.
- The eventual share is claimed under its family only: a share that never converts, a Weibull delay for the others, and
  observation (for 1 to 61 days) until the delay is over. Where that is not so, nothing is claimed.{_outside(table)}
- Quantiles are times at which something happened. With few distinct times (whole days) their intervals are
  conservative: at least 95 % is claimed there, and more is no failure.
- `mean_se` (half an interval over 1.96) should equal `spread` (the standard deviation of the estimates over the logs).
  Both, and `mean_estimate`, are on the scale on which the interval is symmetric (log for ratios, log(-log(1 - p)) for
  chances); the mean is given back on the scale of the truth.
- Rows without a claim are naive formulas, or questions left unadjusted, on the same logs, or an eventual share outside
  its family. Odds ratios are held against the hazard ratio, as which they are read. Where such a row holds, its bias is
  small there, or hidden by another.

## In short

Lowest and highest coverage over the terms.

{_short(table)}

## Claimed

{rows(claimed, _COLUMNS)}

## Not claimed: what naive formulas give, and a model whose assumption is wrong

{rows(beside, _COLUMNS)}
"""


def _outside(table: pd.DataFrame) -> str:
    """How the eventual share fares where its family is wrong: how often it is refused, and what the rest is worth."""
    said = []
    for delay in DELAYS:
        mine = table[table["quantity"].str.contains(delay.name, regex=False)]
        for row in mine.to_dict("records"):
            text = f"{delay.name}: refused in {row['without'] / (row['logs'] + row['without']):.0%} of the logs"
            if row["logs"]:
                text += (
                    f"; where stated, the interval held\n    the truth in {row['coverage']:.0%} and the mean was "
                    f"{row['mean_estimate']:.1%}."
                )
            said.append(f"\n  - {text}")
    if not said:
        return ""
    lead = (
        f" Two delays with slow tails\n  show it: {SHARE:.0%} convert in the end, half of those within "
        f"{DELAYS[0].median_days:g} days, some 3 % of them beyond all observation. A\n  refused share has no interval "
        "(`without`)."
    )
    return lead + "".join(said)


def _short(table: pd.DataFrame) -> str:
    lines = ["| quantity | " + " | ".join(WORLDS) + " | claimed |", "|---|" + "---|" * (len(WORLDS) + 1)]
    for claim in ("yes", "at least", "no"):
        mine = table[table["claimed"] == claim]
        for quantity in mine["quantity"].drop_duplicates():
            cells = []
            for world in WORLDS:
                of = mine[(mine["quantity"] == quantity) & (mine["world"] == world)]["coverage"]
                low, high = of.min(), of.max()
                cells.append("" if of.empty else f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}")
            lines.append(f"| {quantity} | " + " | ".join(cells) + f" | {claim} |")
    return "\n".join(lines)


def rows(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Rows of a table of coverages as Markdown; columns of text are flushed left."""
    text = [table[column].map(lambda value: isinstance(value, str)).all() for column in columns]
    lines = ["| " + " | ".join(columns) + " |", "|" + "".join("---|" if left else "---:|" for left in text)]
    for row in table[list(columns)].to_dict("records"):
        lines.append("| " + " | ".join(_cell(column, row[column]) for column in columns) + " |")
    return "\n".join(lines)


def _cell(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isnan(value):
        return ""
    if column in ("coverage", "cp_low", "cp_high"):
        return f"{value:.1%}"
    return f"{value:,}" if column in ("logs", "without", "covered") else f"{value:.4g}"


def figure(table: pd.DataFrame, path: Path) -> None:
    """The coverage of every row with its 99.9 % interval, a panel per world, against the band."""
    from matplotlib.figure import Figure

    from microconv.plots.style import INK, MUTED, styled

    places, headings, bottom = _places(table)
    height = _TOP + _BOTTOM + _ROW * bottom
    with styled():
        drawn = Figure(figsize=(11.5, height))
        axes = drawn.subplots(1, len(WORLDS), sharey=True)
        drawn.subplots_adjust(left=0.365, right=0.985, top=1 - _TOP / height, bottom=_BOTTOM / height, wspace=0.07)
        for ax, world in zip(axes, WORLDS, strict=True):
            coverage_axis(ax, list(places.values()), bottom)
            for row in table[table["world"] == world].to_dict("records"):
                point(ax, row, places[row["claimed"], row["quantity"], row["term"]])
            ax.set_title(world, loc="left", fontsize=11, fontweight="bold", color=INK, pad=6)
        first = axes[0]
        for (_, _, term), y in places.items():
            label(first, y, term, color=INK, fontsize=8.5)
        for (claim, quantity), y in headings.items():
            label(first, y, quantity, color=INK if claim != "no" else colour("no"), fontsize=8.5, fontweight="bold")
        logs = int((table["logs"] + table["without"]).max())
        drawn.text(
            0.012, 1 - 0.30 / height, "How often 95 % intervals hold the truth",
            fontsize=13, fontweight="bold", va="center", color=INK,
        )  # fmt: skip
        drawn.text(
            0.012, 1 - 0.57 / height,
            f"{logs:,} simulated logs per world; lines: 99.9 % interval of the coverage; band: {100 * BAND[0]:g} to "
            f"{100 * BAND[1]:g} %; arrows: below {100 * LEFT:g} %",
            fontsize=9, va="center", color=MUTED,
        )  # fmt: skip
        _legend(drawn, height)
        drawn.supxlabel("logs whose interval holds the truth, in %", fontsize=9.5, color=INK, x=0.675, y=0.22 / height)
        drawn.savefig(path, dpi=130, metadata={"Software": None})


def _places(
    table: pd.DataFrame,
) -> tuple[dict[tuple[str, str, str], float], dict[tuple[str, str], float], float]:
    """Where each row and each heading stands: claimed first, terms in the order in which they are met."""
    places: dict[tuple[str, str, str], float] = {}
    headings: dict[tuple[str, str], float] = {}
    y = 0.0
    for claim in ("yes", "at least", "no"):
        mine = table[table["claimed"] == claim]
        for quantity in mine["quantity"].drop_duplicates():
            headings[claim, quantity] = y
            for term in mine.loc[mine["quantity"] == quantity, "term"].drop_duplicates():
                y += 1
                places[claim, quantity, term] = y
            y += 1.35
    return places, headings, y


def coverage_axis(ax: Any, rows_at: Sequence[float], bottom: float) -> None:
    """Make ``ax`` a panel of coverages, with a line for each row and the band in which 95 % should lie."""
    from microconv.plots.style import GRID

    ax.axvspan(*BAND, color="#E6F1E9", linewidth=0, zorder=0)
    ax.axvline(0.95, color="#9CC7AC", linewidth=1, zorder=1)
    for y in rows_at:
        ax.axhline(y, color=GRID, linewidth=0.6, zorder=0)
    ax.set_xlim(LEFT - 0.012, 1.004)
    ax.set_ylim(bottom - 0.2, -0.8)
    ax.set_xticks([0.80, 0.85, 0.90, 0.95, 1.0], ["80", "85", "90", "95", "100"])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_yticks([])


def colour(claim: str) -> str:
    """The colour of what is claimed, and of what is not."""
    from microconv.plots.style import PALETTE

    return {"yes": PALETTE[0], "at least": PALETTE[2], "no": PALETTE[1]}[claim]


def point(ax: Any, row: dict[str, Any], y: float) -> None:
    """A coverage with its interval; at the edge, with its number, where it is too low to be drawn."""
    shade, coverage = colour(row["claimed"]), row["coverage"]
    if math.isnan(coverage):
        return
    if row["cp_high"] > LEFT:
        ax.plot([max(row["cp_low"], LEFT), row["cp_high"]], [y, y], color=shade, linewidth=1.1, alpha=0.65, zorder=2)
    if coverage < LEFT:
        ax.plot(LEFT - 0.004, y, marker="<", markersize=4.5, color=shade, zorder=3, clip_on=False)
    else:
        failing = row["claimed"] != "no" and row["verdict"] != "holds"
        ax.plot(
            coverage, y, marker="X" if failing else "o", markersize=6.5 if failing else 4.2, color=shade, zorder=3,
            linestyle="none",
        )  # fmt: skip
    said = [f"{100 * coverage:.0f} %"] if coverage < LEFT else []
    missing = row["without"] / (row["logs"] + row["without"])
    if missing > MOST_WITHOUT:  # else the eye takes the others for all
        said.append(f"({100 * missing:.0f} % refused)")
    after = max(row["cp_high"], LEFT) + 0.005
    ax.text(after, y, " ".join(said), fontsize=7.5, color=shade, va="center", ha="left", zorder=3)


def label(ax: Any, y: float, text: str, **look: Any) -> None:
    """A text to the left of a row."""
    ax.text(-0.03, y, text, transform=ax.get_yaxis_transform(), ha="right", va="center", clip_on=False, **look)


def _legend(drawn: Any, height: float) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="o", linestyle="none", markersize=4.5, color=colour(claim), label=label)
        for claim, label in (
            ("yes", "claimed: 95 %"),
            ("at least", "claimed: at least 95 %"),
            ("no", "not claimed: naive, unadjusted, wrong family"),
        )
    ]
    drawn.legend(
        handles=marks, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.10 / height), frameon=False, fontsize=9, ncols=3,
        handletextpad=0.2, columnspacing=1.2,
    )  # fmt: skip
