"""Credited value: the revenue that was earned, divided among the micros on the way; nothing is lost or made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.reduce.money import CENTS
from microconv.reduce.revenue import Payments, outside_journeys, revenue_by_pattern
from microconv.reduce.states import done_or_not, moments
from microconv.stats.crediting import NO_MICRO, credit
from microconv.value.naive import Naive

if TYPE_CHECKING:
    from microconv.reduce.entrants import People
    from microconv.value.asking import ValueQuestion
    from microconv.value.estimating import Fitted

__all__ = ["credited_value"]


def credited_value(
    users: People, fits: Mapping[str, Fitted], found: Mapping[str, Naive], question: ValueQuestion, paid: Payments
) -> tuple[pd.DataFrame, float]:
    """``micro, credited_value, share, ci_low, ci_high, negative``: a row per micro and ``(no micro)``; and how much of
    the latter was paid by users whose journey did not end in the macro (another end came first).

    A step that every conversion passes takes no part in the division: without it there is nothing to compare with, and
    it would take all.
    """
    layout = done_or_not([item.name for item in question.items])
    revenue = revenue_by_pattern(users, moments(users, layout), layout, paid)
    dividing = [name for name in question.micros if not found[name].structural]
    ratios, covariance = _ratios(fits, dividing)
    table = credit(revenue, ratios, covariance=covariance, seed=question.seed, confidence=question.hazards.confidence)
    known = table.set_index("micro").reindex([*question.micros, NO_MICRO])
    frame = pd.DataFrame(
        {
            "micro": known.index,
            "credited_value": known["credited_cents"].fillna(0).to_numpy(dtype=np.int64) / CENTS,
            "share": known["share"].fillna(0.0).to_numpy(),
            "ci_low": known["ci_low"].to_numpy(dtype=float) / CENTS,
            "ci_high": known["ci_high"].to_numpy(dtype=float) / CENTS,
            "negative": known["negative"].eq(True).to_numpy(),
        }
    )
    rest = int(outside_journeys(users, paid)["cents"].iloc[0])
    last = frame["micro"] == NO_MICRO
    cents = np.rint(frame["credited_value"] * CENTS).astype(np.int64) + rest * last
    frame["credited_value"] = cents / CENTS
    frame.loc[last, ["ci_low", "ci_high"]] += rest / CENTS
    if cents.sum():
        frame["share"] = cents / cents.sum()
    return frame, rest / CENTS


def _ratios(fits: Mapping[str, Fitted], micros: list[str]) -> tuple[dict[str, float], np.ndarray]:
    """What each micro multiplies the macro's rate by, all others alike, and the covariance of the logarithms."""
    covariance = np.zeros((len(micros), len(micros)))
    ratios: dict[str, float] = {}
    places: dict[str, tuple[int, int]] = {}
    for name in micros:
        found = fits[name].intensities
        process = found.process(found.causes[0])
        at = process.terms.index(name)
        ratios[name] = float(np.exp(process.fit.coef[at] / process.scale[at]))
        places[name] = (id(found), int(process.fit.known.sum()) + at)
    for i, one in enumerate(micros):
        found = fits[one].intensities
        matrix = found.process(found.causes[0]).fit.covariance
        for j, other in enumerate(micros):
            if places[one][0] == places[other][0]:  # micros of different fits: taken as independent
                covariance[i, j] = matrix[places[one][1], places[other][1]]
    return ratios, covariance
