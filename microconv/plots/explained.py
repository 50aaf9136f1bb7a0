"""One conversion: its touches in time order against the models, each cell what the touch gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.plots.style import INK, MUTED, below, heading, new_axes, nothing, numbers, percent, safe, styled
from microconv.plots.transitions import blues

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["plot_explained_conversion"]

_MOST_TOUCHES = 20
_ABOUT = ("touch", "time", "channel", "age_days", "users")
# The least share that has its number in the picture.
_SEEN = 0.005


def plot_explained_conversion(result: Result, ax: Axes | None = None) -> Axes:
    """Draw ``result.side_by_side``: a row for each touch before the conversion (the latest at the bottom) and a column
    for each model, coloured by the share that the touch gets. Below a line, what is no touch. At most 20 touches, the
    latest.
    """
    asked = result.parameters
    title = f"What each touch gets of one conversion: {safe(asked.get('target', ''), 30)}"
    with styled():
        frame = result.extra["side_by_side"]
        frame = frame[frame["channel"] != "(overlap)"]
        models = [name for name in frame.columns if name not in _ABOUT]
        shares = frame[models].apply(numbers).to_numpy(dtype=float).reshape(len(frame), len(models))
        if not np.isfinite(shares).any():
            return nothing(ax, title, "There is no share to show: it is about one person, and was suppressed.")
        touched = frame["time"].notna().to_numpy()
        # Touches before the path that nothing is left of by now, and more touches than can be read.
        shown = ~touched | frame["touch"].notna().to_numpy() | (np.nan_to_num(shares).max(axis=1) >= _SEEN)
        shown[np.flatnonzero(shown & touched)[:-_MOST_TOUCHES]] = False
        hidden = int((~shown).sum())
        frame, shares, touched = frame[shown], shares[shown], touched[shown]
        labels = [_label(row) for row in frame.to_dict("records")]
        width = max(0.68 * len(models), 4.4) + 0.4 + 0.08 * max(map(len, labels))
        ax = ax if ax is not None else new_axes(width, 1.9 + 0.42 * len(labels))
        ax.imshow(np.nan_to_num(shares), cmap=blues(), vmin=0.0, vmax=1.0, aspect="auto")
        for (i, j), share in np.ndenumerate(shares):
            if share >= _SEEN or (share >= 0 and not touched[i]):
                color = "white" if share > 0.85 else INK
                ax.text(j, i, percent(share, 0), ha="center", va="center", fontsize=8.5, color=color)
        names = [safe(name.replace("_", " "), 20) for name in models]
        ax.set_xticks(range(len(models)), names, rotation=50, ha="left", rotation_mode="anchor")
        ax.xaxis.tick_top()
        ax.set_yticks(range(len(labels)), labels)
        ax.tick_params(length=0, labelcolor=INK)
        for spine in ax.spines.values():
            spine.set_visible(False)
        for x in range(len(models) + 1):
            ax.axvline(x - 0.5, color="white", linewidth=1.5)
        for y in range(len(labels) - 1):
            ax.axhline(y + 0.5, color=MUTED if touched[y] and not touched[y + 1] else "#E3E5E8", linewidth=0.8)
        if hidden:
            below(ax, f"Earlier touches that are not shown, but are in the table: {hidden}.", 10)
        heading(ax, title, _subtitle(result), lift=10 + 4.2 * max(map(len, names)))
    return ax


def _label(row: dict[object, object]) -> str:
    name, age = safe(row["channel"], 24), row["age_days"]
    if pd.isna(age):  # type: ignore[call-overload]
        return name
    before = "" if not pd.isna(row["touch"]) else "before the path, "  # type: ignore[call-overload]
    return f"{name}  ({before}{_short(float(age))})"  # type: ignore[arg-type]


def _short(age_days: float) -> str:
    """An age in a unit that suits it, short."""
    for unit, size in (("d", 1.0), ("h", 1 / 24), ("min", 1 / 1440), ("s", 1 / 86_400)):
        if age_days >= 2 * size:
            return f"−{age_days / size:,.1f} {unit}" if age_days < 10 * size else f"−{age_days / size:,.0f} {unit}"
    return "same instant" if age_days < 1e-9 else "−<2 s"


def _subtitle(result: Result) -> str:
    asked = result.parameters
    listed = result.extra["conversions"]
    when = f"{pd.Timestamp(listed['time'].iloc[int(asked['conversion']) - 1]):%Y-%m-%d %H:%M} UTC"
    return f"Conversion {asked['conversion']} of {len(listed)} of {safe(asked['user_id'], 20)}, {when}"
