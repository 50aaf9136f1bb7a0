"""What the policy is worth where the log holds offers that were drawn by lot at entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY
from microconv.errors import ParameterError, shorten
from microconv.next_best.policy import NOTHING
from microconv.policy_scorer import Scorer
from microconv.reduce.risk import JourneyRule, journeys, risk_table
from microconv.stats.competing import aalen_johansen, probability_at
from microconv.stats.policies import rule_values

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.value.asking import ValueQuestion

__all__ = ["check_offers", "no_offer"]

_MAX_ROWS = 2_000_000


def no_offer(log: EventLog, offers: str, micros: Sequence[str]) -> str:
    """The level of the column of offers that stands for no offer. Raises ``ParameterError`` where it is not clear."""
    log.require_columns([offers], "offers")
    levels = log.engine.fetch(log.table.select(level=log.table[offers].cast("string")).distinct())["level"].dropna()
    others = sorted(set(levels) - set(micros))
    if len(others) != 1 or not set(levels) & set(micros):
        raise ParameterError(
            f"offers={offers!r} must hold the micro that was offered to the user at entry, and one other value for no "
            f"offer; values that name no micro of this policy: {shorten(', '.join(map(repr, others)) or 'none')}"
        )
    return str(others[0])


def check_offers(
    log: EventLog, question: ValueQuestion, offers: str, policy: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The value of the policy's offers at entry and of each fixed rule, and the uptake of each offer.

    Offers are taken to be drawn by lot within segments. Values: see ``stats.policies.rule_values``. Uptake: ``micro,
    segment, users, uptake`` (the chance of doing it within the horizon of entry with the offer), ``without``,
    ``difference, ci_low, ci_high``, ``gain`` (the policy's, if done, at entry) and ``expected`` (gain times the
    difference; NaN where the policy offers something else).
    """
    by = list(question.hazards.adjust)
    control = no_offer(log, offers, question.micros)
    shared = question.hazards
    rule = replace(shared.rule, horizon=question.horizon)
    goal = shared.rule.target
    days = question.horizon / MICROS_PER_DAY
    chances = _chances(log, rule, [*by, offers], days, shared.tz, goal.name)
    chances["offer"] = chances["offer"].replace({control: NOTHING})
    scorer = Scorer(policy)
    made = {}
    for _, row in chances.drop_duplicates("segment").iterrows():
        offer = scorer.offer({"done": [], "segment": {name: row[name] for name in by}, "hours_since_entry": 0})
        made[str(row["segment"])] = offer.micro if offer is not None else NOTHING
    offered = [name for name in question.micros if name in set(chances["offer"])]
    values = rule_values(chances, made, [NOTHING, *offered], shared.confidence)
    return values, _uptake(log, question, offers, control, offered, scorer)


def _chances(log: EventLog, rule: JourneyRule, by: Sequence[str], days: float, tz: str, cause: str) -> pd.DataFrame:
    """By segment and offer: ``users``, the ``chance`` of a cause by the horizon, and its ``se``."""
    users = journeys(log, rule, by, tz)
    counts, _ = risk_table(log, users, rule, by, _MAX_ROWS)
    read = probability_at(aalen_johansen(counts), days)
    read = read[read["cause"] == cause]
    keys = {f"by_{i}": name for i, name in enumerate(by)}
    at_risk = users.filter(users.start.notnull())
    many = log.engine.fetch(at_risk.group_by(list(keys)).agg(users=at_risk.count())).rename(columns=keys)
    found = read.merge(many, on=list(by), how="left").rename(columns={"probability": "chance"})
    found["segment"] = [", ".join(map(str, row)) for row in found[list(by)[:-1]].to_numpy()] if len(by) > 1 else "(all)"
    return found.assign(offer=found[by[-1]].astype(str))


def _uptake(
    log: EventLog, question: ValueQuestion, offers: str, control: str, offered: Sequence[str], scorer: Scorer
) -> pd.DataFrame:
    from microconv.stats._curves import z_value

    by = list(question.hazards.adjust)
    shared = question.hazards
    z = z_value(shared.confidence)
    rows = []
    items = {item.name: item for item in question.items}
    for micro in offered:
        ends = (shared.rule.target, *shared.rule.competing)
        rule = replace(shared.rule, target=items[micro], competing=ends, horizon=question.horizon)
        chances = _chances(log, rule, [*by, offers], question.horizon / MICROS_PER_DAY, shared.tz, micro)
        for segment, group in chances.groupby("segment", sort=False):
            arms = {str(row["offer"]): row for _, row in group.iterrows()}
            if micro not in arms or control not in arms:
                continue
            given, none = arms[micro], arms[control]
            first = {name: given[name] for name in by}
            offer = scorer.offer({"done": [], "segment": first, "hours_since_entry": 0})
            difference = float(given["chance"] - none["chance"])
            half = z * float(np.hypot(given["se"], none["se"]))
            gain = offer.gain if offer is not None and offer.micro == micro else np.nan
            rows.append(
                (micro, segment, int(given["users"]), float(given["chance"]), float(none["chance"]), difference,
                 difference - half, difference + half, gain, gain * difference)
            )  # fmt: skip
    columns = ["micro", "segment", "users", "uptake", "without", "difference", "ci_low", "ci_high", "gain", "expected"]
    return pd.DataFrame(rows, columns=columns)
