"""What the estimators read, counted in the engine once: all that can happen, by state and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from microconv.exposures import ExposureTable
from microconv.reduce.entrants import age_limit
from microconv.reduce.process_counts import count_processes, process_cuts
from microconv.reduce.states import HALVES_PER_DAY, Layout, in_state, moments

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People
    from microconv.value.asking import ValueQuestion

__all__ = ["Counted", "count"]


@dataclass(frozen=True, eq=False)
class Counted:
    """States of some layout, counted. ``marked``: users with the moments of the layout; ``doers``: by column who moves
    up from level 0, and when; ``age_limit_days``: the age that at least ``min_cell`` users were watched to.
    """

    people: People
    layout: Layout
    marked: ir.Table
    exposures: ExposureTable
    doers: Mapping[str, pd.DataFrame]
    in_state: pd.DataFrame
    age_limit_days: float


def count(people: People, layout: Layout, question: ValueQuestion) -> Counted:
    """Count the states of ``layout``."""
    marked = moments(people, layout)
    cuts = process_cuts(people, marked, layout, question.hazards.bins)
    limit = age_limit(people, question.min_cell)
    latest = max(limit - 2 * question.horizon, 0)
    counted = count_processes(people, layout, marked, cuts, latest)
    return Counted(
        people=people,
        layout=layout,
        marked=marked,
        exposures=counted.exposures,
        doers=counted.doers,
        in_state=in_state(people, marked, layout),
        age_limit_days=limit / HALVES_PER_DAY,
    )
