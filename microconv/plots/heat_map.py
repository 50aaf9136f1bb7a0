"""Shares by row and column as a heat map with the numbers in its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from microconv.plots.style import INK, percent, safe
from microconv.plots.transitions import blues

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["heat_map"]

_DARK = 0.7  # of the largest share: letters on a darker cell are white


def heat_map(ax: Axes, share: np.ndarray, rows: Sequence[object], columns: Sequence[object]) -> float:
    """Draw shares (NaN and 0: an empty cell) by row and column; how many points the column names need above."""
    known = np.nan_to_num(share.astype(float))
    largest = max(float(known.max(initial=0.0)), 1e-9)
    ax.imshow(known, cmap=blues(), vmin=0.0, vmax=largest, aspect="auto")
    for (i, j), value in np.ndenumerate(known):
        if value > 0:
            color = "white" if value > _DARK * largest else INK
            ax.text(j, i, percent(float(value), 0), ha="center", va="center", fontsize=8, color=color)
    labels = [safe(name, 18) for name in columns]
    ax.set_xticks(range(len(columns)), labels, rotation=60, ha="left", rotation_mode="anchor")
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(rows)), [safe(name, 40) for name in rows])
    ax.tick_params(length=0, labelcolor=INK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return 12 + 4.5 * max(map(len, labels))
