"""States by micros: the gain of doing each, and what is recommended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from microconv.plots.style import INK, MUTED, below, heading, new_axes, nothing, numbers, safe, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_next_best"]

_MOST = 24  # states
_LIGHT = 0.65  # of the largest gain: letters on a darker cell are white


def plot_next_best(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``result.gains`` of ``mc.next_best_micro``: a row per state (finest first, at most 24, those of most users),
    a column per micro, the shrunken gain in points of chance; recommended cells have a frame and bold numbers.
    """
    parameters = result.parameters
    title = f"What to offer next: gain in the chance of {safe(parameters.get('target', 'the macro'), 30)}"
    with styled():
        gains = result.extra["gains"]
        gains = gains[np.isfinite(numbers(gains["gain"]))] if len(gains) else gains
        if gains.empty:
            return nothing(ax, title, "No state has enough users who did a micro and converted.")
        table = result.table
        finest = table[table["told_apart"] == table["told_apart"].max()]
        known = finest[finest.index.isin(gains["state_number"])]
        shown = known.assign(_users=numbers(known["users"])).nlargest(_MOST, "_users").sort_index()
        micros = [name for name in parameters["micros"] if name in set(gains["micro"])]
        cells = gains.pivot_table(index="state_number", columns="micro", values="gain", aggfunc="first")
        values = 100 * cells.reindex(index=shown.index, columns=micros).to_numpy(dtype=float, na_value=np.nan)
        ax = ax if ax is not None else new_axes(5.2 + 1.05 * len(micros), 1.9 + 0.36 * len(shown))
        largest = max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-9)
        ax.imshow(np.ma.masked_invalid(values), cmap=_colours(), vmin=-largest, vmax=largest, aspect="auto")
        best = list(shown["best"])
        for (i, j), value in np.ndenumerate(values):
            chosen = best[i] == micros[j]
            if not np.isfinite(value):
                ax.text(j, i, "·", ha="center", va="center", color=MUTED)
                continue
            color = "white" if abs(value) > _LIGHT * largest else INK
            weight = "bold" if chosen else "normal"
            ax.text(
                j,
                i,
                f"{round(value, 1) + 0.0:+.1f}",
                ha="center",
                va="center",
                fontsize=9,
                color=color,
                fontweight=weight,
            )
            if chosen:
                ax.add_patch(_frame(j, i))
        labels = [safe(name, 20) for name in micros]
        ax.set_xticks(range(len(micros)), labels, rotation=30, ha="left", rotation_mode="anchor")
        ax.xaxis.tick_top()
        ax.set_yticks(range(len(shown)), [safe(name, 52) for name in shown["state"]])
        ax.set_ylim(len(shown) - 0.45, -0.55)
        ax.tick_params(length=0, labelcolor=INK)
        for spine in ax.spines.values():
            spine.set_visible(False)
        words = "Framed: recommended, its limits (for all pairs at once) lie above 0. Dot: too few, or done already."
        if len(finest) > len(shown):
            words += f" {len(shown)} of {len(finest)} states."
        below(ax, words, 14)
        heading(
            ax, title, f"Points of chance within {parameters.get('horizon')} of doing it, if it is done",
            lift=16 + 2.6 * max(map(len, labels)),
        )  # fmt: skip
    return ax


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor=INK, linewidth=2.0, zorder=5)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    # Orange below 0, white, blue above: told apart by readers who see no red or no green.
    return LinearSegmentedColormap.from_list("gains", ["#B35806", "#FDD9B0", "#FFFFFF", "#B9D4EA", "#2166AC"])
