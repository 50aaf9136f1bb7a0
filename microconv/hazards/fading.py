"""Does the pull of a micro fade? Its ratio by the time since it was done, and a test that it is constant."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY, format_duration
from microconv.errors import ParameterError
from microconv.hazards.models import count, fit_model
from microconv.hazards.tables import estimate, state_of
from microconv.reduce.states import since_states
from microconv.stats.multiplicity import adjust_p_values

if TYPE_CHECKING:
    from microconv.hazards.asking import Question
    from microconv.hazards.models import Model
    from microconv.reduce.entrants import People

__all__ = ["fading"]

_NOT_YET = "not yet"
_SINCE = (
    "term", "micro", "since_from_days", "since_to_days", "hazard_ratio", "ci_low", "ci_high", "p_value", "events",
    "users", "person_days", "interval",
)  # fmt: skip


def fading(people: People, question: Question) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``since``: per micro and stretch of time since it was done, the ratio against not done (the other micros done or
    not, one model per micro). ``fading``: Wald's test that a micro's ratio is the same in all stretches.
    """
    cuts = [0, *question.since]
    labels = [f"{format_duration(a) if a else '0D'} to {format_duration(b)}" for a, b in itertools.pairwise(cuts)]
    labels.append(f"after {format_duration(cuts[-1])}")
    rows: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for i, micro in enumerate(question.names):
        layout = since_states(question.names, i, question.since, (_NOT_YET, *labels))
        asked = replace(question, reference={**question.reference, micro: _NOT_YET})
        counted = count(people, layout, asked, question.max_patterns)
        if isinstance(counted, int):
            raise ParameterError(
                f"since= makes {counted:,} patterns of micro {micro!r}, the other micros and the attributes, over "
                f"max_patterns={question.max_patterns:,}. Name fewer micros or cuts, or raise max_patterns."
            )
        model = fit_model(people, counted, asked)
        terms = []
        for level, label in enumerate(labels, 1):
            held = state_of(model, micro, level)
            term = f"{micro}={label}"
            found: dict[str, Any] = dict.fromkeys(("hazard_ratio", "ci_low", "ci_high", "p_value"), np.nan)
            found["interval"] = "none"
            found |= estimate(model, term, held)
            rows.append(
                {
                    "term": f"{micro}, {label}",
                    "micro": micro,
                    "since_from_days": cuts[level - 1] / MICROS_PER_DAY,
                    "since_to_days": cuts[level] / MICROS_PER_DAY if level < len(cuts) else np.inf,
                    **found,
                    "events": held.events,
                    "users": held.users,
                    "person_days": held.person_days,
                }
            )
            if np.isfinite(found["hazard_ratio"]) and found["hazard_ratio"] > 0 and held.events > 0:
                terms.append(term)
        tests.append({"micro": micro, **_constant(model, terms)})
    tested = pd.DataFrame(tests, columns=["micro", "chi2", "degrees_of_freedom", "p_value"])
    tested["q_value"] = adjust_p_values(tested["p_value"].to_numpy(float), "bh")
    return pd.DataFrame(rows, columns=list(_SINCE)), tested


def _constant(model: Model, terms: list[str]) -> dict[str, float]:
    """Wald's test that these terms have one coefficient."""
    if model.fit is None or len(terms) < 2:
        return {"chi2": np.nan, "degrees_of_freedom": max(len(terms) - 1, 0), "p_value": np.nan}
    from scipy.stats import chi2

    named = list(model.fit.table["term"])
    at = [named.index(term) for term in terms]
    coef = model.fit.table["coef"].to_numpy(float)[at]
    covariance = np.asarray(model.fit.covariance, dtype=float)[np.ix_(at, at)]
    contrast = np.hstack([-np.ones((len(at) - 1, 1)), np.eye(len(at) - 1)])
    difference = contrast @ coef
    value = float(difference @ np.linalg.solve(contrast @ covariance @ contrast.T, difference))
    freedom = len(at) - 1
    return {"chi2": value, "degrees_of_freedom": freedom, "p_value": float(chi2.sf(value, freedom))}
