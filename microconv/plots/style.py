"""What all figures share: colours, text that cannot break a figure, axes of a quiet look, a figure that says
"nothing".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "ACCENT",
    "FAINT",
    "GRID",
    "INK",
    "LINES",
    "MUTED",
    "PALETTE",
    "below",
    "darker",
    "fit",
    "heading",
    "new_axes",
    "nothing",
    "numbers",
    "percent",
    "percent_axis",
    "safe",
    "styled",
]

# Okabe and Ito's colours that carry a line on white, told apart by readers with any colour vision, and by grey value.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#A3387C", "#56B4E9", "#7A5C00", "#E69F00", "#4D4D4D")
# With more than four lines colour alone is too little: the others are dashed.
LINES: tuple[Any, ...] = (*["-"] * 4, *[(0, (5, 1.5))] * 4)
ACCENT = PALETTE[0]
FAINT = "#7FB3D5"  # the accent, paler: what is still open
INK, MUTED, GRID = "#222222", "#5F6368", "#E3E5E8"

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#9AA0A6",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 9.5,
    "hatch.linewidth": 0.6,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.color": MUTED,
    "ytick.labelsize": 9,
}
_OTHER_SCRIPTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "Noto Sans SC",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "WenQuanYi Zen Hei",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


@contextmanager
def styled() -> Iterator[None]:
    """The kit's style inside the block; the caller's own settings are back after it."""
    import matplotlib as mpl
    import seaborn as sns

    with mpl.rc_context(), sns.axes_style("white"):
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["font.family"] = list(_families())
        yield


def new_axes(width: float, height: float) -> Axes:
    """One axes on a figure of its own, in inches; the layout makes room for what stands around it."""
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def safe(text: object, width: int = 40) -> str:
    """A name fit for a figure: one line, at most ``width`` characters, only what the font can draw.

    Line breaks and control characters become spaces, characters without a glyph a box, and a dollar sign starts no
    formula. A longer name loses its middle, so that names that differ only at the end stay apart.
    """
    raw = str(text)
    if len(raw) > 4 * width:  # a name of 10 kB need not be looked at whole
        raw = raw[: 2 * width] + "…" + raw[-2 * width :]
    glyphs = _glyphs()
    clean = []
    for character in raw:
        if unicodedata.category(character)[0] in "CZ":
            clean.append(" ")
        else:
            clean.append(character if ord(character) in glyphs else "□")
    line = " ".join("".join(clean).split()) or "(blank)"
    if len(line) > width:
        tail = (width - 1) // 3
        line = line[: width - 1 - tail].rstrip() + "…" + line[-tail:].lstrip()
    return line.replace("$", r"\$")


@cache
def _families() -> tuple[str, ...]:
    """DejaVu Sans, which comes with matplotlib, and for other scripts what this machine has."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *[family for family in _OTHER_SCRIPTS if family in installed])


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    charmaps = [FT2Font(findfont(FontProperties(family=family))).get_charmap() for family in _families()]
    return frozenset().union(*charmaps)


def heading(ax: Axes, title: str, subtitle: str = "", lift: float = 0.0) -> None:
    """A title in ink and a line below it in grey, both at the left edge; ``lift`` leaves points for what stands
    between.
    """
    up = 6 + lift
    if subtitle:
        _note(ax, subtitle, (0, up), "bottom", size=9, color=MUTED)
        up += 15
    _note(ax, title, (0, up), "bottom", size=11.5, color=INK, weight="bold")


def below(ax: Axes, text: str, points: float) -> None:
    """A grey line of text under the axes, ``points`` down from its lower edge."""
    ax.annotate(
        text,
        (0, 0),
        xycoords="axes fraction",
        xytext=(0, -points),
        textcoords="offset points",
        va="top",
        size=8.5,
        color=MUTED,
        annotation_clip=False,
    )


def _note(ax: Axes, text: str, offset: tuple[float, float], va: Any, **look: Any) -> None:
    ax.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=offset,
        textcoords="offset points",
        va=va,
        annotation_clip=False,
        **look,
    )


def nothing(ax: Axes | None, title: str, why: str) -> Axes:
    """A figure that says in words that there is nothing to draw."""
    ax = ax if ax is not None else new_axes(6.4, 2.2)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    heading(ax, title)
    ax.text(0.0, 0.97, fit(why, 80), transform=ax.transAxes, va="top", color=MUTED)
    return ax


def fit(text: str, width: int) -> str:
    """Text broken into lines of at most ``width`` characters."""
    import textwrap

    return textwrap.fill(text, width)


def darker(color: str) -> str:
    """A colour for letters, which need more contrast than lines."""
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(0.72 * part):02X}" for part in parts)


def numbers(column: pd.Series) -> np.ndarray:
    """A column as floats; what is suppressed or missing is NaN."""
    return column.to_numpy(dtype=float, na_value=float("nan"))


def percent(share: float, digits: int = 1) -> str:
    """A share as text: ``0.1234`` is ``12.3%``; tiny shares keep two meaningful digits."""
    if share != share:
        return "–"
    value = 100 * share
    if value == 0 or abs(value) >= 1:
        return f"{value:.{digits}f}%"
    if abs(value) < 0.001:
        return "<0.001%"
    return f"{value:.2g}%"


def percent_axis(axis: Axis) -> None:
    """Write the ticks of a share as percent, with decimals only where they say something."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))
