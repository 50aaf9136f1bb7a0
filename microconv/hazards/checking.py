"""Is one ratio enough: does it hold at all times since time zero?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from microconv.hazards.asking import Question
    from microconv.hazards.models import Model

__all__ = ["proportional_hazards"]

_COLUMNS = ["term", "chi2", "degrees_of_freedom", "p_value", "q_value"]


def proportional_hazards(model: Model, question: Question) -> pd.DataFrame:
    """The score test of each term, and of all (``GLOBAL``), against a coefficient that changes over time.

    ``q_value`` is adjusted for how many terms are tested (Benjamini and Hochberg).
    """
    from microconv.stats import adjust_p_values, proportionality

    counts = model.counted.risk_table if model.counted.risk_table is not None else model.counted.exposures
    if model.fit is None or counts is None:
        return pd.DataFrame(columns=_COLUMNS)
    found = proportionality(counts, model.fit, strata=question.strata, cause=question.rule.target.name)
    single = found["term"] != "GLOBAL"
    return found.assign(q_value=adjust_p_values(found["p_value"].where(single)))
