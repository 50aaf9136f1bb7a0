"""What a micro's value says in words: the meaning, the assumptions, a warning for all that may mislead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.durations import format_duration
from microconv.errors import shorten
from microconv.value.naive import Naive
from microconv.value.tables import NO_MICRO, NOT_ESTIMATED, STRUCTURAL

if TYPE_CHECKING:
    from microconv.value.asking import ValueQuestion

__all__ = ["Said", "assumptions", "meaning", "next_steps", "warnings_of"]


@dataclass(frozen=True, eq=False)
class Said:
    """What the words are about. ``money`` is the currency's name, or "" where the plan names no value."""

    question: ValueQuestion
    table: pd.DataFrame
    naive: Mapping[str, Naive]
    apart: pd.DataFrame
    credited: pd.DataFrame
    money: str
    has_value: bool
    further: Sequence[str] = ()

    @property
    def target(self) -> str:
        """The name of the macro."""
        return self.question.hazards.rule.target.name

    @property
    def horizon(self) -> str:
        """The horizon as text."""
        return format_duration(self.question.horizon)

    @property
    def estimated(self) -> pd.DataFrame:
        """The rows with an incremental effect, the largest first."""
        known = self.table[self.table["incremental"].notna()]
        return known.sort_values("incremental_value" if self.has_value else "incremental", ascending=False)


def _amount(said: Said, value: float) -> str:
    return f"{value:,.2f} {said.money}".strip()


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"


def _effect(said: Said, row: pd.Series) -> str:
    chance = f"{_points(row['incremental'])} ({100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f})"
    if not said.has_value:
        return chance
    money = f"{_amount(said, row['incremental_value'])} ({row['value_ci_low']:,.2f} to {row['value_ci_high']:,.2f})"
    return f"{chance}, worth {money}"


def meaning(said: Said) -> str:
    """Two or three sentences that a marketer can read."""
    known = said.estimated
    if known.empty:
        return f"Of no micro-conversion can be said what it adds to {shorten(said.target, 40)}: see the column why."
    shown = known[known["ci_low"] > 0]
    best = (shown if len(shown) else known).iloc[0]
    name, target = shorten(best["micro"], 40), shorten(said.target, 40)
    if len(shown):
        text = (
            f"{name} adds most: among users who did it the chance of {target} within {said.horizon} is higher by "
            f"{_effect(said, best)} than had they never done it."
        )
        if said.has_value and not best["value_ci_low"] > 0:
            text += " In money nothing is shown."
    else:
        text = (
            f"No micro-conversion is shown to add to {target}. At most, by {name}, the chance within {said.horizon} "
            f"changes by {_effect(said, best)} among users who did it, against never having done it."
        )
    nothing = known[(known["ci_low"] <= 0) & (known["ci_high"] >= 0)]
    if len(nothing):
        names = ", ".join(shorten(name, 40) for name in nothing["micro"])
        text += f" No effect can be told from zero for {names}."
    if said.has_value:
        most = known.iloc[int(np.argmax(known["naive_bias"].abs().to_numpy(float)))]
        over = "more" if most["naive_bias"] > 0 else "less"
        text += (
            f" The usual goal value would say {_amount(said, most['naive_value'])} for {shorten(most['micro'], 40)}, "
            f"{_amount(said, abs(most['naive_bias']))} {over} than it adds."
        )
    return text


def assumptions(said: Said) -> list[str]:
    """What must hold for the numbers to mean what they say."""
    question = said.question
    adjusted = [*question.hazards.adjust, *question.activities]
    found = [
        f"incremental: among users who did it before {shorten(said.target, 40)}, the chance within {said.horizon} of "
        "the action less the same had they never done it, other micros and other ends taking their own course in each "
        "case: a total effect. Effects of different micros overlap and must not be added.",
        "naive: the value of a conversion times the share of doers who convert. It counts who would have bought "
        "anyway. credited: the revenue that was earned, divided among the micros done before each purchase; it sums "
        f"to the revenue, with {NO_MICRO} for what is due to none.",
        (
            f"Adjusted for {', '.join(shorten(name, 40) for name in adjusted)}, the other micros done before, and time "
            "since entry. What else drives both the micro and the macro is in the effect: e_value says how strong it "
            "would have to be to explain the effect away."
            if adjusted
            else "Nothing but the other micros done before and time since entry is adjusted for: the effect predicts, "
            "it is no cause. Name attributes in adjust= and prior activity in activity=."
        ),
        (
            "Method hazard: rates of the macro, of other ends and of each micro by interval of time, micros done and "
            f"attributes (one factor each), carried forward from the action in both cases. {_since(question)}"
            if question.method == "hazard"
            else "Method trials: doers against users at risk who had not done it, alike in attributes and in micros "
            "done, from the moment of the action on; users who do it later are censored and weighted for."
        ),
        "Events after the macro never count. Users who have not converted yet are at risk, not lost.",
    ]
    if question.hazards.rule.competing:
        names = ", ".join(end.name for end in question.hazards.rule.competing)
        found.append(f"Other ends compete ({names}): after them nobody converts.")
    return found


def _since(question: ValueQuestion) -> str:
    """How the hazard method takes the pull of the micro after the action."""
    if not question.since:
        return "The pull of a micro is taken to be the same at all times after it (since= tells it apart)."
    cuts = (
        "chosen from the conversions"
        if isinstance(question.since, str)
        else ", ".join(format_duration(cut) for cut in question.since)
    )
    return f"The pull of the micro in question is told apart by the time since it (cuts: {cuts}; see since)."


def warnings_of(said: Said) -> list[str]:
    """All that may mislead, one sentence each."""
    found = list(said.further)
    for row in said.apart.to_dict("records"):
        found.append(
            f"{shorten(row['micro'], 40)}: the two methods disagree (hazard {_points(row['hazard'])}, trials "
            f"{_points(row['trials'])}). The hazard method takes each micro's pull to be the same "
            + (
                "for everybody; look at by_time and at segments, and trust neither alone."
                if said.question.since
                else "at all times and for everybody; try since='auto' (does the pull fade?), look at by_time and at "
                "segments, and trust neither alone."
            )
            + (
                f" At the horizon one of them has the information of {row['thinnest']:.1f} users only."
                if row["thinnest"] < max(said.question.min_cell, 1)
                else ""
            )
        )
    for row in said.table.to_dict("records"):
        if row["label"] == STRUCTURAL:
            found.append(
                f"{shorten(row['micro'], 40)} is a step on the way to {shorten(said.target, 40)}, not a driver: "
                f"{row['why']}. What would have happened without it cannot be seen, so nothing is estimated."
            )
        elif row["label"] == NOT_ESTIMATED:
            found.append(f"{shorten(row['micro'], 40)} is not estimated: {row['why']}.")
        elif row["left_out"] > 0.2:
            found.append(
                f"{shorten(row['micro'], 40)}: {row['left_out']:.0%} of its doers are left out, because they acted too "
                f"late to be observed for {said.horizon}, or nobody like them did not do it."
            )
    for name in said.estimated["micro"]:
        one = said.naive[name]
        if one.nearly_structural:
            found.append(
                f"{shorten(name, 40)}: only {one.others_converted:,} of {one.followed + one.others_converted:,} "
                f"conversions come without it. If it is a step on the way to {shorten(said.target, 40)} that is not "
                "always recorded, its effect says nothing."
            )
    for name in said.credited.loc[said.credited["ci_high"] < 0, "micro"]:
        found.append(
            f"{shorten(name, 40)} is credited a negative value, and not by chance: users who did it bought more "
            "slowly, or more was refunded to them than they had paid."
        )
    return found


def next_steps(table: pd.DataFrame, checks: pd.DataFrame | None = None) -> pd.DataFrame:
    """What to do next in plain words, one row per micro: ``micro, next_step``. ``checks``: as in the result."""
    placebo = (
        checks[checks["check"].eq("placebo") & checks["clear_of_zero"].eq(True)] if checks is not None else table[:0]
    )
    seems = float(placebo["incremental"].max()) if len(placebo) else 0.0
    rows = []
    for row in table[table["micro"] != NO_MICRO].to_dict("records"):
        rows.append({"micro": row["micro"], "next_step": _next(row, seems)})
    return pd.DataFrame(rows, columns=["micro", "next_step"])


def _next(row: Mapping[Any, Any], placebo: float) -> str:
    """``placebo``: what a micro without any effect seems to add."""
    names = ("incremental", "ci_low", "ci_high", "e_value_limit", "value_ci_low", "value_ci_high")
    numbers = {name: float(row[name]) for name in names}
    if row["label"] == STRUCTURAL:
        return "Remove obstacles on the way to it; do not bid on it as if it caused purchases."
    if not np.isfinite(numbers["incremental"]):
        return f"Nothing can be decided from this log: {row['why']}."
    if numbers["ci_high"] < 0:
        return "Goes with fewer conversions: find out whether it distracts before promoting it."
    if numbers["ci_low"] <= 0 < numbers["value_ci_low"]:
        return (
            "Its doers pay more, but that more of them convert is not shown: wait for more data before paying for it."
        )
    if numbers["ci_low"] <= 0:
        return "Do not pay for it on its own account: no effect can be told from zero."
    if placebo >= numbers["ci_low"]:
        return (
            "Do not promote it on this evidence: a placebo seems to add about as much. Name prior activity in "
            "activity=, or run an experiment."
        )
    if numbers["value_ci_high"] < 0:
        return "Goes with more conversions, but less money: look at refunds and at the size of orders first."
    if numbers["value_ci_low"] <= 0:
        return "Promote it for conversions at most: that it brings money is not shown."
    hidden = (
        f"a trait that the log does not show would have to go with both the micro and the macro by risk ratios of "
        f"{numbers['e_value_limit']:.2f} each to explain it away"
    )
    if placebo > 0:
        return (
            f"Promote it with care: {_points(placebo)} a placebo seems to add as well. Name prior activity in "
            "activity=, or run an experiment."
        )
    if row["label"] == "predictive":
        return (
            "Promising, but adjusted for nothing: name attributes in adjust= and prior activity in activity= first; "
            f"{hidden}."
        )
    sure = "An experiment would make it certain" if numbers["e_value_limit"] < 1.5 else "Fairly robust"
    return f"Worth promoting. {sure}: {hidden}."
