"""What is left of each effect if a trait that the log does not show raised both the micro and the macro."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from microconv.plots.style import GRID, LINES, MUTED, PALETTE, below, heading, new_axes, nothing, numbers, safe, styled
from microconv.plots.value_by_time import end_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_sensitivity"]

_MOST = 6
_NAME_WIDTH = 26


def plot_sensitivity(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``strengths`` of ``mc.micro_value``: a line per micro whose interval is above zero, the least that its
    effect can be by the strength of a hidden trait, with the limit that chance allows as a band below. At most six.
    """
    title = "How strong would a hidden trait have to be?"
    frame = result.extra.get("strengths")
    with styled():
        if frame is None or not len(frame):
            return nothing(ax, title, "No micro is estimated: there is nothing to draw.")
        sure = result.table[result.table["ci_low"] > 0].sort_values("incremental", ascending=False, kind="stable")
        names = [name for name in sure["micro"] if name in set(frame["micro"])]
        if not names:
            return nothing(ax, title, "No effect is above zero for certain: there is nothing to explain away.")
        ax = ax if ax is not None else new_axes(9.4, 4.6)
        ax.axhline(0.0, color=MUTED, linewidth=1.0, zorder=1)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ends, right, lowest = [], 1.0, 0.0
        for i, name in enumerate(names[:_MOST]):
            rows = frame[frame["micro"] == name].sort_values("with_micro")
            strength, least, limit = (numbers(rows[c]) for c in ("with_micro", "incremental_low", "ci_low"))
            ax.fill_between(strength, 100 * limit, 100 * least, color=PALETTE[i], alpha=0.15, linewidth=0)
            ax.plot(
                strength, 100 * least, color=PALETTE[i], linestyle=LINES[i], linewidth=1.9, marker="o", markersize=3.5
            )
            ends.append((100 * float(least[-1]), safe(name, _NAME_WIDTH), PALETTE[i]))
            right = max(right, float(strength.max()))
            lowest = min(lowest, 100 * float(np.nanmin(least)))
        top = 100 * float(sure["incremental"].max())
        floor = max(lowest, -0.6 * top)
        ax.set_ylim(floor - 0.04 * top, 1.08 * top)
        ax.set_xlim(1.0, right)
        end_labels(ax, sorted(((max(y, floor), name, color) for y, name, color in ends), reverse=True), right)
        ax.set_xlabel("strength of the hidden trait: ratio of its share among doers, and of the chances it makes")
        ax.set_ylabel("points of probability that are left, at least")
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_color(MUTED)
        if len(names) > _MOST:
            below(ax, f"The {_MOST} largest of {len(names)} effects above zero; the others are in the table.", 44)
        heading(
            ax, title, "Where a line reaches zero, such a trait could explain the whole effect; the band adds chance"
        )
    return ax
