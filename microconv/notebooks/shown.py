"""What notebooks show: tables and words with everything escaped, pictures that need no plotting backend."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.results import Result

__all__ = ["Picture", "Refused", "Shown", "in_words", "milestones", "spelled"]

_SHARES = (
    "share", "mature_share", "rate", "step_rate", "step_ci_low", "step_ci_high", "censored_rate", "probability",
    "observed_share", "observed_ci_low", "observed_ci_high", "rate_ci_low", "rate_ci_high", "naive", "naive_ci_low",
    "naive_ci_high", "difference", "predicted_chance", "observed_rate",
    "touches_share", "credit_share", "removal_effect", "removal_effect_value", "reach", "rank_stability",
    "shrunk_rate", "others_share", "chance", "gain",
)  # fmt: skip
_OTHERWISE = (
    "hazard_ratio",
    "expected",
    "expected_conversions",
    "predicted",
    "rank_stability",
    "per_touch",
)  # estimates whose interval is no share
_P_VALUES = ("p_value", "q_value", "p_adjusted", "rmst_p_value", "rmst_p_adjusted")
_NUMBERS = ("expected", "total", "predicted", "error")  # of people, as estimates
_EXPOSURES = ("person_days", "person_time_days")
_MILESTONES = (
    ("1 minute", 1 / 1440), ("10 minutes", 10 / 1440), ("1 hour", 1 / 24), ("6 hours", 0.25),
    *[(f"{days} days" if days > 1 else "1 day", float(days)) for days in (1, 3, 7, 14, 30, 60, 90, 180, 365)],
)  # fmt: skip
_DPI = 144
_SHORT = 24  # characters that are not worth a second line


class Shown:
    """A table with words around it, as HTML and as plain text. Whatever comes from the events is escaped."""

    def __init__(
        self, frame: pd.DataFrame | None = None, *, head: str = "", notes: Sequence[str] = (), most: int = 40
    ) -> None:
        self.head, self.notes = head, list(notes)
        if frame is not None and len(frame) > most:
            self.notes.append(f"The first {most} of {len(frame):,} rows; the saved table has all.")
            frame = frame.head(most)
        self.frame = None if frame is None else in_words(frame)

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self.head)}</p>"] if self.head else []
        if self.frame is not None:
            parts.append(_table(self.frame))
        if self.notes:
            parts.append("<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in self.notes) + "</ul>")
        return "\n".join(parts)

    def __repr__(self) -> str:
        parts = [self.head] if self.head else []
        if self.frame is not None:
            parts.append(self.frame.to_string(index=False) if len(self.frame) else "(no rows)")
        return "\n".join([*parts, *[f"- {note}" for note in self.notes]])


def _table(frame: pd.DataFrame) -> str:
    """Numbers to the right, words to the left; no styling that a page would have to undo."""
    if frame.empty:
        return "<p>(no rows)</p>"
    right = [bool(frame[column].map(_looks_like_a_number).all()) for column in frame]
    sides = ["right" if flag else "left" for flag in right]
    head = "".join(
        f'<th style="text-align: {side}">{html.escape(str(name))}</th>' for name, side in zip(frame, sides, strict=True)
    )
    rows = [
        "<tr>" + "".join(_cell(str(value), side) for value, side in zip(row, sides, strict=True)) + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def _cell(text: str, side: str) -> str:
    keep = "; white-space: nowrap" if len(text) <= _SHORT else ""
    return f'<td style="text-align: {side}{keep}">{html.escape(text)}</td>'


def _looks_like_a_number(text: str) -> bool:
    return text in ("–", "") or text[0].isdigit() or (text[0] in "-<" and text[1:2].isdigit())


def in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text to read: shares in percent, whole numbers with separators, other numbers to four digits."""
    words = {}
    shares = {*_SHARES, *([] if {*_OTHERWISE} & {*frame.columns} else ["ci_low", "ci_high"])}
    for column in frame:
        name = str(column)
        # A time says its own unit, so that minutes need not be read as 0.004 days.
        timed = name.endswith("_days") and name not in _EXPOSURES
        heading = name.removesuffix("_days").replace("_", " ") if timed else name
        words[heading] = [_word(name, value, shares) for value in frame[column]]
    return pd.DataFrame(words, dtype=str)


def _word(column: str, value: Any, shares: Collection[str]) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if column in shares:
            return f"{100 * value:.1f}%" if value == 0 or abs(value) >= 0.001 else f"{100 * value:.2g}%"
        if column in _NUMBERS:
            return f"{value:,.1f}"
        if column in _EXPOSURES:
            return f"{value:,.0f}" if value >= 10 else f"{value:,.2g}"
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        if column.endswith("_days"):
            return spelled(value)
        if column in _P_VALUES:
            return f"{value:.3f}" if value >= 0.001 else "<0.001"
        return (
            f"{value:,.0f}" if abs(value) < 1e15 and (value.is_integer() or abs(value) >= 9_999.5) else f"{value:,.4g}"
        )
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    text = " ".join(str(value).split())
    return text if len(text) <= 400 else text[:397] + "..."


def spelled(days: float) -> str:
    """A time in the unit that suits it.

    >>> spelled(0.004091), spelled(0.7249), spelled(17.71), spelled(0.0)
    ('5.9 min', '17.4 h', '17.7 days', '0')
    """
    for unit, size in (("days", 1.0), ("h", 1 / 24), ("min", 1 / 1_440), ("s", 1 / 86_400)):
        if abs(days) >= (2 * size if unit == "days" else size):
            return f"{days / size:,.1f}".removesuffix(".0") + f" {unit}"
    return "0" if days == 0 else f"{days * 86_400:.2g} s"


class Refused:
    """An analysis that has no answer on this log, and why."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"

    def __repr__(self) -> str:
        return f"No {self.name.replace('_', ' ')} here: {self.reason}"


class Picture:
    """A figure as PNG, drawn at twice the size of the screen; the figure itself is closed."""

    def __init__(self, result: Result, draw: Callable[[Result], Axes] | None = None) -> None:
        import matplotlib.pyplot as plt

        axes = result.plot() if draw is None else draw(result)
        figure = axes.get_figure(root=True)
        assert figure is not None  # axes that were just drawn on stand in a figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
        plt.close(figure)
        self.png, self.what = _smaller(buffer), f"Picture of {result.name}: {result.meaning}"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        width = int.from_bytes(self.png[16:20], "big")
        return {"image/png": self.png, "text/plain": self.what}, {"image/png": {"width": round(width * 96 / _DPI)}}

    def __repr__(self) -> str:
        return self.what


def _smaller(drawn: io.BytesIO) -> bytes:
    """A picture with a palette: a chart has few colours, and a notebook of many pictures should stay small."""
    from PIL import Image

    packed = io.BytesIO()
    Image.open(drawn).convert("RGB").quantize(colors=96).save(packed, format="png", optimize=True)
    return packed.getvalue()


def milestones(table: pd.DataFrame) -> pd.DataFrame:
    """The share converted by round times, read off the curves of ``time_to_conversion``, one column per segment.

    A time is left out where no curve comes that far; a curve that ends before it has no value there.
    """
    segments = list(table.columns[: list(table.columns).index("time_days")])
    keys = segments[0] if len(segments) == 1 else segments
    parts = (
        [(_label(key), part) for key, part in table.groupby(keys, sort=False, dropna=False)]
        if segments
        else [("all", table)]
    )
    longest = table["time_days"].max()
    times = [(name, days) for name, days in _MILESTONES if days <= longest * (1 + 1e-9)]
    columns: dict[str, list[str]] = {"within": [name for name, _ in times]}
    for label, part in parts:
        columns[label] = [_read_at(part, days) for _, days in times]
    return pd.DataFrame(columns)


def _label(key: object) -> str:
    return ", ".join(str(value) for value in key) if isinstance(key, tuple) else str(key)


def _read_at(part: pd.DataFrame, days: float) -> str:
    times = part["time_days"].to_numpy(dtype=float)
    place = int(np.searchsorted(times, days * (1 + 1e-12), side="right")) - 1
    if place < 0 or days > times[-1] * (1 + 1e-9):
        return "–"
    row = part.iloc[place]
    if pd.isna(row["probability"]):
        return "–"
    return f"{row['probability']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%})"
