"""Survival attribution: the additive hazard as one of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from microconv.durations import MICROS_PER_DAY, format_duration

if TYPE_CHECKING:
    from microconv.attribution.asking import Question
    from microconv.log import EventLog
    from microconv.stats.additive import AdditiveHazards

__all__ = ["Survived", "by_hazards", "fitted_to", "half_life_of"]

_OFTEN_AT_ONCE = 0.05


@dataclass(frozen=True)
class Survived:
    """The rows of the model, the ``half_life`` that it has, what its touches do, and what to beware of; no rows where
    it has no answer and others have.
    """

    table: pd.DataFrame
    half_life: str
    coefficients: pd.DataFrame
    warnings: list[str]

    def below(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of other models with these below them."""
        return pd.concat([table, self.table], ignore_index=True) if len(self.table) else table


def by_hazards(log: EventLog, question: Question, noise: float = 0.0) -> Survived:
    """The model ``survival`` on a log; with ``noise`` beside touches at random moments, see ``reduce.touches``."""
    chosen, rule = question.choices, question.rule
    fitted, warnings = fitted_to(log, question, noise)
    if fitted is None:
        return Survived(pd.DataFrame(), "", pd.DataFrame(), warnings)
    table = fitted.credits(confidence=chosen.confidence, replicates=chosen.replicates, seed=chosen.seed)
    if rule.terms is None:
        table = table.assign(value=float("nan"), value_ci_low=float("nan"), value_ci_high=float("nan"))
    return Survived(table, half_life_of(fitted), fitted.coefficients, warnings)


def fitted_to(log: EventLog, question: Question, noise: float = 0.0) -> tuple[AdditiveHazards | None, list[str]]:
    """The rates of conversion that a log shows, and what to beware of; none where other models are asked for too and
    there is no time between touches and conversions.
    """
    from microconv.reduce.touch_exposures import touch_exposures
    from microconv.stats import additive_hazards

    sums = touch_exposures(log, question.rule, question.half_lives, noise=noise)
    if len(question.choices.models) > 1 and not sums.at_risk.filter(like="days_").to_numpy().sum() > 0:
        return None, ["survival is left out: every user's first touch is the last thing that is known of them."]
    fitted = additive_hazards(sums)
    return fitted, _warnings(fitted, question.rule.transforms != ())


def half_life_of(fitted: AdditiveHazards) -> str:
    """How long the effect of a touch takes to halve."""
    return format_duration(round(fitted.half_life_days * MICROS_PER_DAY))


def _warnings(fitted: AdditiveHazards, changed: bool) -> list[str]:
    said = []
    if fitted.untold:
        names = ", ".join(repr(name) for name in fitted.untold)
        said.append(
            f"survival: {names} only ever came first, so that what they do cannot be told from who comes by them; it "
            "is in (baseline)."
        )
    if fitted.entangled:
        names = ", ".join(repr(name) for name in fitted.entangled)
        said.append(f"survival: {names} are always touched together with others and cannot be told apart from them.")
    sums = fitted.sums
    if sums.sampled < 1:
        said.append(f"survival: fitted to a sample of {sums.sampled:.1%} of the conversions, and to all time at risk.")
    told = float(sums.totals["told"].sum())
    if told and sums.at_once / told > _OFTEN_AT_ONCE:
        said.append(
            f"survival: {sums.at_once:,} conversions come at the very instant of a touch. No rate can say what a touch "
            "does at once; look at how times are recorded."
        )
    if changed:
        said.append("survival takes the touches as they are: transforms do not change it.")
    return said
