"""What a fallacy check says in words: the meaning, the assumptions, a warning per micro that would mislead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from microconv.durations import format_duration
from microconv.errors import nearest, shorten
from microconv.fallacies.comparing import ADJUSTED, EVER, PROPER, Compared, told_apart

if TYPE_CHECKING:
    from microconv.hazards import HazardRatios
    from microconv.hazards.asking import Question
    from microconv.log import EventLog
    from microconv.reduce.entrants import People

__all__ = ["Said", "assumptions", "meaning", "warnings_of"]


@dataclass(frozen=True, eq=False)
class Said:
    """What the words are about."""

    log: EventLog
    question: Question
    people: People
    table: pd.DataFrame
    verdicts: pd.DataFrame
    found: Sequence[Compared]
    joint: HazardRatios | None

    @property
    def target(self) -> str:
        """The name of what is waited for."""
        return self.question.rule.target.name

    @property
    def events(self) -> int:
        """How many users did it while at risk."""
        return self.found[0].events + self.found[0].other_events

    def row(self, micro: str, comparison: str) -> pd.Series | None:
        """A micro's row of the table."""
        rows = self.table[(self.table["micro"] == micro) & (self.table["comparison"] == comparison)]
        return rows.iloc[0] if len(rows) else None


def meaning(said: Said) -> str:
    """Two or three sentences that a marketer can read."""
    many = len(said.verdicts)
    known = [micro for micro in said.verdicts["micro"] if _known(said, micro)]
    horizon = said.question.rule.horizon
    seen = f"within {format_duration(horizon)} of the start" if horizon is not None else "while observed"
    text = f"{said.events:,} of {said.people.at_risk:,} users did {said.target} {seen}."
    if not known:
        return f"{text} No micro-conversion could be compared both ways; the warnings say why."
    wrong = said.verdicts[said.verdicts["disagree"]]
    of = f"{len(known)} micro-conversions" if many > 1 else "the micro-conversion"
    if wrong.empty:
        which = f"none of {of}" if many > 1 else shorten(known[0], 60)
        says = "does comparing" if many > 1 else "comparing"
        tells = "say something else than" if many > 1 else "tells the same as"
        return (
            f"{text} For {which} {says} users who ever did it with the others {tells} counting from when it is done. "
            "That is luck, not a reason to compare like this: read the time-varying rows."
        )
    worst = _worst(said, wrong)
    which = f"{len(wrong)} of {of}" if many > 1 else shorten(worst, 60)
    naive, proper = said.row(worst, EVER), said.row(worst, PROPER)
    assert naive is not None
    assert proper is not None
    most = f" Most of all {shorten(worst, 60)}: it" if many > 1 else " It"
    return (
        f"{text} For {which} comparing users who ever did it with the others misleads.{most} then seems to go with "
        f"{_ratio(naive)} times the rate of {said.target}; counted from when it is done, it goes with {_ratio(proper)} "
        "times. Read the time-varying rows."
    )


def _known(said: Said, micro: str) -> bool:
    rows = said.row(micro, EVER), said.row(micro, PROPER)
    return all(row is not None and not math.isnan(row["hazard_ratio"]) for row in rows)


def _worst(said: Said, wrong: pd.DataFrame) -> str:
    """The micro whose two ratios lie farthest apart."""
    gap = [
        abs(math.log(max(min(ever, 1e9), 1e-9)) - math.log(max(min(proper, 1e9), 1e-9)))
        for ever, proper in zip(wrong["ever_did"], wrong["time_varying"], strict=True)
    ]
    return str(wrong["micro"].iloc[gap.index(max(gap))])


def _ratio(row: pd.Series) -> str:
    return f"{_number(row['hazard_ratio'])} ({_number(row['ci_low'])} to {_number(row['ci_high'])})"


def _number(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "infinity"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 or value == 0 else "less than 0.01"


def assumptions(said: Said) -> list[str]:
    """What the numbers rest on."""
    rule, people = said.question.rule, said.people
    zero = "the first event of a user" if rule.origin is None else f"the first {rule.origin.name}"
    found = [
        f"Time zero is {zero}; the clock stops at the first {said.target}. Users without it by "
        f"{said.log.observed_until:%Y-%m-%d %H:%M} UTC are censored: nothing is said of them after.",
        '"ever did": doers before their end against all others, from time zero on; its ratio is never larger than '
        "that of the time-varying row beside it, because days without the micro count for it.",
        '"landmark": users still at risk after it, by what they had done up to and including it; nothing later '
        "changes their group.",
        '"time-varying": not done until just after the first time, done from then on. These three are of the micro by '
        "itself, adjusted for nothing: they differ only in how time is counted.",
    ]
    if said.joint is not None:
        beside = ["the other micros as they are at that time"] if len(said.question.micros) > 1 else []
        beside += [f"{', '.join(shorten(name, 60) for name in said.question.adjust)} at entry"] * bool(
            said.question.adjust
        )
        found.append(f'"time-varying, adjusted": the same beside {" and ".join(beside)} (mc.hazard_ratios).')
    found.append(
        "All are associations: who means to convert may do more of everything, and only what is adjusted for is taken "
        "out of the adjusted rows. Intervals are the model's."
    )
    ends = [end.name for end in rule.competing]
    if ends:
        found.append(f"Other ends of a journey ({', '.join(ends)}) censor: the ratios are of rates (cause-specific).")
    if rule.censor:
        found.append(f"Events that end observation: {', '.join(item.name for item in rule.censor)}.")
    if rule.horizon is not None:
        found.append(f"Nothing after {format_duration(rule.horizon)} counts.")
    if len(said.question.micros) > 1:
        found.append(
            f"q_value is adjusted for {len(said.question.micros)} micros within each kind of comparison (Benjamini and "
            "Hochberg)."
        )
    if said.question.left_out:
        left = ", ".join(said.question.left_out)
        found.append(f"Left out of the plan's micros as the target's own event, an end or the origin: {left}.")
    if said.joint is not None:
        found += [f"In the adjusted rows {note}" for note in said.joint.assumptions if "users have no number" in note]
    if people.never_at_risk:
        found.append(
            f"{people.never_at_risk:,} of {people.users:,} users never come to the origin within their journey, or are "
            "never at risk after it, and are left out."
        )
    return found


def warnings_of(said: Said) -> list[str]:
    """What a reader must know before reading the numbers; per micro what the naive comparison gets wrong, and why."""
    found = list(said.log.notes)
    if said.events == 0:
        return [*found, _nobody(said)]
    if said.verdicts["disagree"].any():
        found.append(_why(said.target))
    for place, verdict in enumerate(said.verdicts.to_dict("records")):
        micro = str(verdict["micro"])
        if verdict["disagree"]:
            found.append(_misleading(said, micro, str(verdict["how"]), float(verdict["waiting_share"])))
        found += _unknown(said, micro, said.found[place])
        found += _by_others(said, micro)
    if said.joint is not None:
        notes = set(said.log.notes)
        own = ("The micro ", "Fewer than", "No interval")  # said above, or in the column interval
        more = [note for note in said.joint.warnings if note not in notes and not note.startswith(own)]
        found += [f"The adjusted model (mc.hazard_ratios): {note}" for note in more]
    return found


def _why(target: str) -> str:
    return (
        f'Why "ever did" misleads: to do something before {target}, a user must first go without {target} for long '
        f"enough, and who comes to {target} early has no time for it. Those days of waiting count for the doers, who "
        "could not have come any earlier (immortal time), so that the ratio is too small. Every share, lift or odds "
        "ratio of users who ever did something, such as .rates, has this fault."
    )


def _misleading(said: Said, micro: str, how: str, waiting: float) -> str:
    naive, proper = said.row(micro, EVER), said.row(micro, PROPER)
    assert naive is not None
    assert proper is not None
    text = (
        f"{shorten(micro, 60)}: users who ever did it seem to come to {said.target} at {_ratio(naive)} times the rate "
        f"of the others. Counted from when it is done, it is {_ratio(proper)}{_reading(proper)} ({how})."
    )
    if waiting > 0:
        text += f" {waiting:.0%} of the days that counted for doers lie before they did it."
    adjusted = said.row(micro, ADJUSTED)
    if adjusted is not None and not math.isnan(adjusted["hazard_ratio"]):
        text += f" Adjusted, it is {_ratio(adjusted)}{_reading(adjusted)}."
    return text


def _reading(row: pd.Series) -> str:
    if math.isnan(row["ci_low"]) or math.isnan(row["ci_high"]):
        return ""
    if told_apart(row):
        return ", faster" if row["hazard_ratio"] > 1 else ", slower"
    return ": no difference is shown"


def _by_others(said: Said, micro: str) -> list[str]:
    """Where adjustment takes away, or brings out, what the micro by itself shows."""
    alone, adjusted = said.row(micro, PROPER), said.row(micro, ADJUSTED)
    if alone is None or adjusted is None or alone[["ci_low", "ci_high"]].isna().any():
        return []
    if adjusted[["ci_low", "ci_high"]].isna().any() or told_apart(alone) == told_apart(adjusted):
        return []
    name = shorten(micro, 60)
    if told_apart(alone):
        return [
            f"{name}: by itself {_ratio(alone)}, but {_ratio(adjusted)} once adjusted: what shows by itself may be who "
            "does it, or what else they do."
        ]
    return [f"{name}: by itself {_ratio(alone)}, and only once adjusted a difference shows, {_ratio(adjusted)}."]


def _unknown(said: Said, micro: str, one: Compared) -> list[str]:
    """Why ratios of a micro are missing or infinite."""
    name = shorten(repr(micro), 60)
    if one.users == 0:
        return [f"{name} is never done while its user is at risk (not before {said.target}): it cannot be compared."]
    found = []
    proper = said.row(micro, PROPER)
    assert proper is not None
    if math.isnan(proper["hazard_ratio"]):
        found.append(f"{name} is done by everybody from time zero on, or nobody is left without it: it has no ratio.")
    elif proper["hazard_ratio"] == 0:
        found.append(f"Nobody did {said.target} once {name} was done ({one.users:,} users): its ratio runs to 0.")
    elif math.isinf(proper["hazard_ratio"]):
        found.append(
            f"Nobody at risk did {said.target} without {name} beside those with it: the ratio runs to infinity. "
            "Perhaps it is a step on the way."
        )
    rows = said.table[(said.table["micro"] == micro) & said.table["landmark_days"].notna()]
    empty = rows[rows["hazard_ratio"].isna()]
    if len(empty) and not math.isnan(proper["hazard_ratio"]):
        which = ", ".join(str(comparison).removeprefix("landmark ") for comparison in empty["comparison"])
        found.append(
            f"{name} has no ratio at the landmarks {which}: nobody at risk then had done it, everybody had, or nobody "
            f"did {said.target} after."
        )
    small = rows["interval"].eq("none").any() or proper["interval"] == "none"
    if small and not math.isnan(proper["hazard_ratio"]) and one.users < _FEW:
        found.append(f"Only {one.users:,} users ever did {name}: no interval is given.")
    return found


_FEW = 10


def _nobody(said: Said) -> str:
    item, log = said.question.rule.target, said.log
    text = f"Nobody did {shorten(repr(item.name))} while at risk: there is no ratio to estimate."
    if item.event is None or item.event in log.event_counts.index:
        return text
    close = nearest(item.event, log.event_counts.index)
    guess = f" Did you mean {shorten(repr(close))}?" if close else " Check its spelling among the log's events."
    return f"{text} No event is named {shorten(repr(item.event))}.{guess}"
