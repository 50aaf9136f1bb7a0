"""What cannot have an effect: a placebo micro, and an outcome that the micros cannot move."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.errors import shorten
from microconv.reduce.bands import banded
from microconv.reduce.entrants import People, people
from microconv.reduce.placebo import NoPlaceboError, beside_placebo, negative_control, with_placebo
from microconv.value.counting import count
from microconv.value.estimating import Fitted, estimate_all, fit
from microconv.value.naive import naive
from microconv.value.tables import NOT_ESTIMATED, limits, unfit, unknown

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item
    from microconv.stats.effects import Effect
    from microconv.value.asking import ValueQuestion

__all__ = ["CHECKS", "negative_control_rows", "placebo_row", "said_of"]

PLACEBO = "(placebo)"
CHECKS = (
    "check", "micro", "outcome", "users", "incremental", "se", "ci_low", "ci_high", "clear_of_zero", "why",
)  # fmt: skip


def placebo_row(log: EventLog, users: People, question: ValueQuestion) -> dict[str, Any]:
    """The effect of a micro that can have none: timed at random among the user's own events."""
    target = question.hazards.rule.target.name
    try:
        drawn, placebo = with_placebo(users, log, question.hazards.rule, tz=question.hazards.tz, seed=question.seed)
    except NoPlaceboError as none:  # a check that cannot be made is told, and takes nothing else with it
        return _row("placebo", PLACEBO, target, 0, None, (NOT_ESTIMATED, str(none)), question)
    layout = beside_placebo(question.layout(), placebo, PLACEBO)
    fitted = fit(count(drawn, layout, question))
    effect = estimate_all({PLACEBO: fitted}, question, question.method, None, None)[PLACEBO]
    return _row("placebo", PLACEBO, target, placebo.users, effect, ("", ""), question)


def negative_control_rows(log: EventLog, question: ValueQuestion, outcome: Item) -> list[dict[str, Any]]:
    """The effect of every micro on an outcome that it cannot move."""
    shared = question.hazards
    rule = negative_control(shared.rule, outcome, question.items[: len(question.micros)])
    asked = replace(question, hazards=replace(shared, rule=rule))
    users = people(
        log, rule, question.items, question.attributes, tz=shared.tz, washout=shared.washout,
        max_cells=shared.max_patterns,
    )  # fmt: skip
    users = banded(users, shared.numbers)
    rows = []
    fitted: Fitted | None = None
    for micro in question.micros:
        if fitted is None or micro not in fitted.counted.layout.names:
            fitted = fit(count(users, asked.layout(micro), asked))
        counted = fitted.counted
        one = naive(counted.exposures, counted.in_state, counted.layout, [micro])[micro]
        reason = unfit(one, asked)
        effect = None if reason[0] else estimate_all({micro: fitted}, asked, asked.method, None, None)[micro]
        rows.append(_row("negative control", micro, outcome.name, one.doers, effect, reason, asked))
    return rows


def _row(
    check: str,
    micro: str,
    outcome: str,
    users: int,
    effect: Effect | None,
    reason: tuple[str, str],
    question: ValueQuestion,
) -> dict[str, Any]:
    label, why = reason if reason[0] else unknown(effect, question)
    row: dict[str, Any] = dict.fromkeys(CHECKS, np.nan)
    row |= {"check": check, "micro": micro, "outcome": outcome, "users": users, "why": why, "clear_of_zero": False}
    if not label:
        assert effect is not None
        low, high = limits(effect.incremental, effect.se, question.hazards.confidence)
        row |= {"incremental": effect.incremental, "se": effect.se, "ci_low": low, "ci_high": high}
        row["clear_of_zero"] = low > 0 or high < 0
    return row


def said_of(checks: pd.DataFrame) -> list[str]:
    """A sentence for each check that finds what cannot be."""
    found = [
        f"The {row['check']} on {shorten(row['outcome'], 40)} says nothing: {row['why'].rstrip('.')}."
        for row in checks[checks["check"].eq("placebo") & checks["incremental"].isna()].to_dict("records")
    ]
    for row in checks[checks["clear_of_zero"].eq(True)].to_dict("records"):
        size = f"{100 * row['incremental']:.1f} points ({100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f})"
        if row["check"] == "placebo":
            found.append(
                f"The placebo, an event drawn at random from the user's own, seems to add {size}: keen users do more "
                "of everything, and that is not adjusted for. Expect the micros' effects to be off by as much; name "
                "prior activity in activity=."
            )
        else:
            found.append(
                f"{shorten(row['micro'], 40)} seems to change {shorten(row['outcome'], 40)} by {size}, which it "
                "cannot: who does it differs in ways that are not adjusted for."
            )
    return found
