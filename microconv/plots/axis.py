"""Time axes in a unit that suits the data, with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["TimeAxis", "time_axis"]

_STEPS = {
    "seconds": (1, 2, 5, 10, 15, 20, 30, 60, 120),
    "minutes": (1, 2, 5, 10, 15, 20, 30, 60),
    "hours": (1, 2, 3, 4, 6, 12, 24),
    "days": (1, 2, 5, 7, 10, 14, 15, 30, 60, 90, 180, 365),
}
_PER_DAY = {"seconds": 86_400.0, "minutes": 1_440.0, "hours": 24.0, "days": 1.0}


@dataclass(frozen=True)
class TimeAxis:
    """A unit, how many of it make a day, where the axis ends and where its ticks stand (both in the unit)."""

    unit: str
    per_day: float
    end: float
    ticks: list[float]


def time_axis(days: float, most_ticks: int = 9) -> TimeAxis:
    """The axis from 0 to ``days``: seconds below three minutes, minutes to three hours, hours to three days, else days.

    >>> axis = time_axis(30.0)
    >>> axis.unit, axis.ticks
    ('days', [0, 5, 10, 15, 20, 25, 30])
    """
    if not math.isfinite(days) or days <= 0:
        days = 1.0
    unit = "seconds" if days * 1_440 < 3 else "minutes" if days * 24 <= 3 else "hours" if days <= 3 else "days"
    end = days * _PER_DAY[unit]
    steps = [step for step in _STEPS[unit] if end / step <= most_ticks - 1]
    fitting = [step for step in steps if end / step > 3 - 1e-9 and math.isclose(end / step, round(end / step))]
    if fitting:
        step = float(fitting[0])
    elif steps:
        step = float(steps[0])
    else:
        step = _round_up(end / (most_ticks - 1))
    count = math.floor(end / step + 1e-9)
    whole = step == int(step)
    return TimeAxis(unit, _PER_DAY[unit], end, [int(i * step) if whole else i * step for i in range(count + 1)])


def _round_up(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    size = 10.0 ** math.floor(math.log10(step))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step * (1 - 1e-12))
