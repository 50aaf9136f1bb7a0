"""From the question to the policy: count once, estimate every pair of state and micro, keep what is known at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.durations import MICROS_PER_DAY, format_duration
from microconv.errors import ParameterError
from microconv.next_best.asking import Asked
from microconv.next_best.estimating import estimated_gains, states_of
from microconv.next_best.offers import check_offers
from microconv.next_best.policy import Naming, policy_of, state_table
from microconv.next_best.words import assumptions, left_out_said, meaning, offers_said
from microconv.reduce.entrants import people
from microconv.value.counting import count
from microconv.value.estimating import fit
from microconv.value.naive import naive

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["Answer", "answer"]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the result is made of."""

    table: pd.DataFrame
    meaning: str
    assumptions: list[str]
    warnings: list[str]
    extra: dict[str, pd.DataFrame]
    policy: dict[str, Any]


def answer(log: EventLog, asked: Asked) -> Answer:
    """Everything that ``mc.next_best_micro`` gives."""
    question = asked.question
    shared = question.hazards
    users = people(
        log, shared.rule, question.items, question.attributes, tz=shared.tz, washout=shared.washout,
        max_cells=shared.max_patterns,
    )  # fmt: skip
    if users.at_risk == 0:
        raise ParameterError(
            f"No user is ever at risk: of {users.users:,} users none is left after the washout. Choose a shorter one."
        )
    fitted = fit(count(users, question.layout(), question))
    counted = fitted.counted
    shown = naive(counted.exposures, counted.in_state, counted.layout, question.micros)
    structural = [name for name, one in shown.items() if one.structural or one.nearly_structural]
    states = []
    for micro in question.micros:
        if micro not in structural and shown[micro].doers:
            states += states_of(fitted, micro, question, asked.cuts)
    gains, critical, family = estimated_gains(states, shared.confidence, question.min_cell, question.seed)
    naming = Naming(question.micros, users.cells, asked.cuts)
    table, pairs = state_table(gains, naming)
    days = question.horizon / MICROS_PER_DAY
    about = {
        "target": shared.rule.target.name,
        "horizon": format_duration(question.horizon),
        "horizon_days": days,
        "confidence": shared.confidence,
        "family": family,
        "gain": "chance of the target within the horizon of doing the micro, if it is done, less the same if not",
        "created_from": log.provenance.get("fingerprint"),
    }
    policy = policy_of(gains, naming, about)
    extra = {"gains": pairs}
    few = [name for name in question.micros if name not in structural and name not in set(gains["micro"])]
    warnings = left_out_said(structural, few, asked.dropped)
    if asked.offers is not None:
        values, uptake = check_offers(log, question, asked.offers, policy)
        extra |= {"policy_value": values, "uptake": uptake}
        warnings += offers_said(values, uptake, format_duration(question.horizon))
    if not shared.adjust and asked.offers is None:
        warnings.append(
            "Nothing is adjusted for but the micros done: interest that makes users do more of everything reads as "
            "gain. Name the attributes that show it in by=."
        )
    return Answer(
        table=table,
        meaning=meaning(question, table, naming, family),
        assumptions=assumptions(question, naming, shared.confidence, critical, family),
        warnings=warnings,
        extra=extra,
        policy=policy,
    )
