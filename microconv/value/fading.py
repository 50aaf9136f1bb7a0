"""Rates by the time since a micro, for the hazard method where the pull of a micro fades (or takes time to come)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.durations import format_duration
from microconv.errors import ParameterError, shorten
from microconv.reduce.process_counts import by_time_since, count_processes, since_cuts
from microconv.reduce.states import HALVES_PER_DAY, NEVER, moments
from microconv.stats.intensity_fit import Intensities

if TYPE_CHECKING:
    from microconv.stats.effects import Effect
    from microconv.value.asking import ValueQuestion
    from microconv.value.counting import Counted

__all__ = ["aged", "delays_of", "ratios_since", "said_of_since", "since_table"]

_STRETCHES = 6  # of the time since a micro, where the cuts are chosen
_SINCE = ("since_from_days", "since_to_days", "hazard_ratio", "ci_low", "ci_high")
_PER_STRETCH = 20  # conversions: with fewer, the ratio of a stretch has an error of more than a fifth


def delays_of(counted: Counted, micro: str, question: ValueQuestion) -> tuple[int, ...]:
    """The times since the micro, in microseconds, at which its pull may change: as asked, or chosen so that about as
    many conversions within the horizon of it lie in each stretch, ``_PER_STRETCH`` or more; empty where they are fewer.
    """
    if not isinstance(question.since, str):
        return question.since
    marked, layout = counted.marked, counted.layout
    done = marked[f"m_{layout.columns[layout.names.index(micro)].passed[0]}"]
    after = marked.filter((marked.cause == 1) & (done < NEVER) & (marked.stop - done <= 2 * question.horizon))
    events = int(counted.people.engine.fetch(after.agg(n=after.count()))["n"].iloc[0])
    stretches = min(_STRETCHES, events // _PER_STRETCH)
    if stretches < 2:
        return ()
    return tuple(since_cuts(counted.people, layout, marked, micro, question.horizon, stretches))


def aged(
    counted: Counted, cuts: Sequence[float], micro: str, delays: Sequence[int], question: ValueQuestion
) -> Counted:
    """``counted`` anew with the micro told apart by the time since it; ``cuts`` (days) end the intervals of time.

    Raises ``ParameterError`` where states and attributes make more than ``max_patterns`` patterns.
    """
    people = counted.people
    layout = by_time_since(counted.layout, micro, delays)
    patterns, most = layout.size * len(people.cells), question.hazards.max_patterns
    if patterns > most:
        raise ParameterError(
            f"since= makes {patterns:,} patterns of the time since {shorten(micro, 40)}, the other micros and the "
            f"attributes, over max_patterns={most:,}. Name fewer micros, cuts or attributes, or raise max_patterns."
        )
    marked = moments(people, layout)
    latest = max(round(counted.age_limit_days * HALVES_PER_DAY) - 2 * question.horizon, 0)
    found = count_processes(people, layout, marked, [round(cut * HALVES_PER_DAY) for cut in cuts], latest)
    return replace(counted, layout=layout, marked=marked, exposures=found.exposures, doers=found.doers)


def since_table(effects: Mapping[str, Effect]) -> pd.DataFrame:
    """``ratios_since`` of every micro that was told apart, with its name in front."""
    parts = [effect.detail["since"].assign(micro=name) for name, effect in effects.items() if "since" in effect.detail]
    columns = ["micro", *_SINCE]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def ratios_since(found: Intensities, micro: str, confidence: float) -> pd.DataFrame:
    """By stretch of the time since the micro the ratio of the macro's rate to that without it: ``since_from_days,
    since_to_days, hazard_ratio, ci_low, ci_high``.
    """
    from microconv.stats._curves import z_value

    table = found.process(found.causes[0]).table.set_index("term")
    starts = [0.0, *found.since[micro]]
    rows = table.loc[[f"{micro}={level}" for level in range(1, len(starts) + 1)]]
    half = z_value(confidence) * rows["se"].to_numpy(float)
    coef = rows["coef"].to_numpy(float)
    return pd.DataFrame(
        {
            "since_from_days": starts,
            "since_to_days": [*starts[1:], np.inf],
            "hazard_ratio": np.exp(coef),
            "ci_low": np.exp(coef - half),
            "ci_high": np.exp(coef + half),
        }
    )


def said_of_since(effects: Mapping[str, Effect], question: ValueQuestion) -> list[str]:
    """Which micros the data were too few for, or that nothing was fitted by time since."""
    if not question.since:
        return []
    if question.method != "hazard" and not question.check:
        return ["since= concerns the hazard method, which was not asked for: trials compare by time since the action."]
    plain = [shorten(name, 40) for name, effect in effects.items() if not effect.detail.get("since_days")]
    if not plain:
        return []
    return [
        f"since='auto': fewer than {2 * _PER_STRETCH} conversions came within {format_duration(question.horizon)} of "
        f"{', '.join(plain)}, too few to tell the time since apart: one factor each, the same at all times."
    ]
