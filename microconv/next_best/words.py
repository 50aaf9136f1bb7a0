"""What a policy means in words, what it rests on, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from microconv.durations import format_duration
from microconv.errors import shorten
from microconv.next_best.policy import NOTHING, Naming

if TYPE_CHECKING:
    from microconv.value.asking import ValueQuestion

__all__ = ["assumptions", "left_out_said", "meaning", "offers_said"]


def meaning(question: ValueQuestion, table: pd.DataFrame, naming: Naming, family: int) -> str:
    """Two or three plain sentences."""
    target = shorten(question.hazards.rule.target.name, 40)
    horizon = format_duration(question.horizon)
    if table.empty:
        return f"No state has enough users who did a micro and went on to {target} to say what to offer next."
    finest = table[table["told_apart"] == len(naming.micros)]
    named = table[table["best"] != NOTHING]
    said = (
        f"Of {len(table):,} states of visitors (coarser ones included) {len(named):,} have a micro whose doing raises "
        f"the chance of {target} within {horizon}; in the others nothing is known to help, and nothing is recommended."
    )
    if len(named):
        top = finest[finest["best"] != NOTHING].nlargest(1, "gain") if len(finest) else named
        best = (top if len(top) else named.nlargest(1, "gain")).iloc[0]
        said += (
            f" The largest gain: {shorten(best['best'], 40)} where {shorten(best['state'], 80)}: "
            f"{100 * best['gain']:.1f} points of chance ({100 * best['ci_low']:.1f} to {100 * best['ci_high']:.1f}) "
            "if it is done."
        )
    return said + f" The limits hold for all {family:,} pairs of state and micro at once."


def assumptions(question: ValueQuestion, naming: Naming, confidence: float, critical: float, family: int) -> list[str]:
    """What must hold."""
    adjusted = ", ".join(naming.attributes) or "no attribute"
    return [
        "Doers of a micro are compared with users in the same state (micros done, segment, landmark) who have not done "
        f"it. Who differs in what the log does not show, other than {adjusted} and the micros done, is not made up "
        "for: a recommendation is as good as that, until offers are drawn by lot.",
        "A gain is that of doing the micro, for users like those who did it from that state. Of an offer only those "
        "who take it up gain; what offering brings is the gain times the uptake, which only offers by lot show.",
        f"Limits are simultaneous at {confidence:.0%} over {family:,} pairs of state and micro, of all levels (largest "
        f"deviation over joint replicates of user buckets, {critical:.2f} standard errors)."
        if family
        else "No limits: no state has enough users.",
        "The gain shown is shrunken towards the micro's mean over states of the same level (empirical Bayes); the "
        "limits are those of the estimate before shrinking. A micro is recommended where both the lower limit and the "
        "shrunken gain are above 0.",
        "Effects are total: the micros that follow take their own course in both cases. Competing ends prevent the "
        "macro.",
    ]


def offers_said(check: pd.DataFrame, uptake: pd.DataFrame, horizon: str) -> list[str]:
    """What offers by lot say of the policy, in words."""
    policy = check[check["rule"] == "policy"].iloc[0]
    fixed = check[check["rule"] != "policy"].dropna(subset=["value"])
    if fixed.empty or pd.isna(policy["value"]):
        return ["Offers in the log do not show the value of the policy: some segment never got what it would offer."]
    best = fixed.nlargest(1, "value").iloc[0]
    return [
        f"By the offers drawn by lot at entry, the policy's first offers bring {policy['value']:.1%} conversions "
        f"within {horizon} of entry, the best fixed rule ({best['rule']}) {best['value']:.1%}: a difference of "
        f"{100 * best['difference']:.1f} points ({100 * best['difference_ci_low']:.1f} to "
        f"{100 * best['difference_ci_high']:.1f}). The policy was found in the same log, and the best fixed rule is "
        "the best of those tried in it: check on later users.",
        *([] if uptake.empty else ["Uptake, and gain times uptake, stand in .uptake."]),
    ]


def left_out_said(structural: Sequence[str], few: Sequence[str], dropped: Sequence[str]) -> list[str]:
    """Which micros are no candidates, and why."""
    said = []
    if structural:
        said.append(f"Not offered, because (nearly) every conversion passes them: {', '.join(structural)}.")
    if few:
        said.append(f"Too few doers or conversions in every state to say anything of: {', '.join(few)}.")
    if dropped:
        said.append(
            f"States tell apart the micros most users do; left out: {', '.join(dropped)}. Name others with micros=."
        )
    return said
