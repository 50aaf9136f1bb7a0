"""Text for figures is short, one line, drawable; axes have round ticks; labels keep their distance."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microconv.plots.axis import time_axis
from microconv.plots.style import PALETTE, percent, safe
from microconv.plots.survival import spread


@given(st.text(), st.integers(5, 60))
def test_safe_text_is_one_short_line(text: str, width: int) -> None:
    shown = safe(text, width)
    assert "\n" not in shown
    assert 0 < len(shown.replace(r"\$", "$")) <= width or text.strip() == "" or shown == "(blank)"
    assert shown.count("$") == shown.count(r"\$")


def test_long_names_keep_their_ends() -> None:
    one, other = safe("a" * 100 + "_one", 20), safe("a" * 100 + "_two", 20)
    assert one != other
    assert one.endswith("_one")
    assert len(one) <= 20


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.1234, "12.3%"), (0.0, "0.0%"), (1.0, "100.0%"), (0.0083, "0.83%"), (0.000001, "<0.001%"), (float("nan"), "–")],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("days", "unit", "ticks"),
    [
        (30.0, "days", [0, 5, 10, 15, 20, 25, 30]),
        (7.0, "days", [0, 1, 2, 3, 4, 5, 6, 7]),
        (1.0, "hours", [0, 3, 6, 9, 12, 15, 18, 21, 24]),
        (0.5, "hours", [0, 2, 4, 6, 8, 10, 12]),
        (30 / 1440, "minutes", [0, 5, 10, 15, 20, 25, 30]),
        (90 / 86400, "seconds", [0, 15, 30, 45, 60, 75, 90]),
        (365.0, "days", [0, 60, 120, 180, 240, 300, 360]),
    ],
)
def test_ticks(days: float, unit: str, ticks: list[int]) -> None:
    axis = time_axis(days)
    assert (axis.unit, axis.ticks) == (unit, ticks)


@given(st.floats(1e-6, 1e5))
def test_any_axis_has_a_few_ticks_inside(days: float) -> None:
    axis = time_axis(days)
    assert 1 <= len(axis.ticks) <= 10
    assert axis.ticks[0] == 0
    assert axis.ticks[-1] <= axis.end * (1 + 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_spread_labels_do_not_touch(heights: list[float]) -> None:
    moved = spread(heights, 0.05)
    ordered = sorted(moved)
    assert all(b - a >= 0.05 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 1 + 1e-9
    ranked = sorted(range(len(heights)), key=lambda i: heights[i])
    assert [moved[i] for i in ranked] == sorted(moved)


def test_colours_differ_in_lightness_from_white() -> None:
    """Contrast of at least 2 to 1 on white, by the formula of WCAG: lines are thick, and labels stand beside them."""
    for colour in PALETTE:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 2.0, colour
