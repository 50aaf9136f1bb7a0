"""What tests of figures share: a real drawing, its words, and whether they can be read."""

from __future__ import annotations

import itertools

from matplotlib.axes import Axes
from matplotlib.text import Text

from microconv.results import Result


def drawn(result: Result) -> Axes:
    """The axes after a real drawing."""
    ax = result.plot()
    ax.get_figure().canvas.draw()
    return ax


def texts(ax: Axes) -> list[Text]:
    found = [text for text in ax.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return list({id(text): text for text in found}.values())


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in texts(ax)]


def assert_legible(ax: Axes) -> None:
    """No two texts overlap, and none leaves the picture that is saved."""
    renderer = ax.get_figure().canvas.get_renderer()
    low, high = sorted(ax.get_xlim())
    bottom, top = sorted(ax.get_ylim())
    hidden = {
        id(label)
        for axis, first, last in ((ax.xaxis, low, high), (ax.yaxis, bottom, top))
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
        if not first <= tick.get_loc() <= last
    }
    boxes = [(t.get_text(), t.get_window_extent(renderer).shrunk(0.98, 0.9)) for t in texts(ax) if id(t) not in hidden]
    for (one, first_box), (other, second_box) in itertools.combinations(boxes, 2):
        assert not first_box.overlaps(second_box), f"{one!r} overlaps {other!r}"
    whole = ax.get_figure().get_tightbbox(renderer).padded(0.01)
    dpi = ax.get_figure().dpi
    for text, box in boxes:
        assert whole.x0 * dpi - 1 <= box.x0, f"{text!r} is cut off at the left"
        assert box.x1 <= whole.x1 * dpi + 1, f"{text!r} is cut off at the right"
