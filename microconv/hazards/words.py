"""What a result of hazard ratios says in words: the meaning, the assumptions, the warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.durations import format_duration
from microconv.errors import nearest, shorten
from microconv.hazards.tables import MIN_CELL, MIN_EVENTS

if TYPE_CHECKING:
    from microconv.hazards.asking import Question
    from microconv.hazards.models import Model
    from microconv.log import EventLog
    from microconv.reduce.entrants import People

__all__ = ["Told", "assumptions", "meaning", "warnings_of"]

_FINDING = 0.05


@dataclass(frozen=True, eq=False)
class Told:
    """What the words are about. ``patterns``: how many there were, where that was too many for one model."""

    log: EventLog
    question: Question
    people: People
    model: Model
    table: pd.DataFrame
    proportionality: pd.DataFrame | None = None
    fading: pd.DataFrame | None = None
    patterns: int | None = None
    silent: Mapping[str, object] = field(default_factory=dict)
    separated: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The name of what is waited for."""
        return self.question.rule.target.name

    @property
    def since(self) -> str:
        """Time zero in a word."""
        origin = self.question.rule.origin
        return "entry" if origin is None else origin.name


def meaning(told: Told) -> str:
    """Two or three sentences that a marketer can read."""
    question, table = told.question, told.table
    horizon = question.rule.horizon
    within = f" within {format_duration(horizon)} of {told.since}" if horizon is not None else " while observed"
    text = f"{told.model.counted.events:,} of {told.people.at_risk:,} users did {told.target}{within}."
    micros = table[table["kind"] != "attribute"]
    known = micros[micros["q_value"].notna()]
    if len(known) == 0:
        shown = table[(table["kind"] == "attribute") & table["p_value"].notna()]
        if len(micros) or shown.empty:
            return f"{text} No hazard ratio of a micro-conversion could be judged; the warnings say why."
        return f"{text} {_attributes(shown)} That tells who converts faster, not why."
    found = known[known["q_value"] < _FINDING].copy()
    found["size"] = np.abs(np.log(found["hazard_ratio"].clip(1e-12, 1e12)))
    found = found.sort_values("size", ascending=False, kind="stable")
    alike = f" and alike in {_listed(question.adjust)}" if question.adjust else ""
    who = f"users at the same time since {told.since} who have not done it{alike}"
    if found.empty:
        text += (
            f" For none of {len(known)} micro-conversions is it shown that {told.target} comes faster or slower once "
            f"it is done, against {who}."
        )
    else:
        first = found.iloc[0]
        rest = [f"{row['term']} ({_ratio(row['hazard_ratio'])})" for _, row in found.iloc[1:4].iterrows()]
        text += (
            f" Once {first['term']} is done, {told.target} comes at {_ratio(first['hazard_ratio'])} times the rate "
            f"({_ratio(first['ci_low'])} to {_ratio(first['ci_high'])}) of {who}."
            + (f" Also told apart from no difference: {_listed(rest)}." if rest else "")
        )
        if quiet := len(known) - len(found):
            text += f" For {quiet} of {len(known)} micro-conversions no difference is shown."
    word = f"adjusted for {_listed(question.adjust)}" if question.adjust else "predictive"
    return f"{text} This is {word}, not proof that the micro-conversion causes it."


def _attributes(shown: pd.DataFrame) -> str:
    clearest = shown.sort_values("p_value", kind="stable").iloc[0]
    return (
        f"The clearest attribute is {clearest['term']}, with a hazard ratio of {_ratio(clearest['hazard_ratio'])} "
        f"({_ratio(clearest['ci_low'])} to {_ratio(clearest['ci_high'])}) against {clearest['reference']}."
    )


def _ratio(value: float) -> str:
    if math.isinf(value):
        return "infinitely many"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 or value == 0 else "less than 0.01"


def _listed(names: object) -> str:
    words = [shorten(str(name), 60) for name in names]  # type: ignore[attr-defined]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def assumptions(told: Told) -> list[str]:
    """What the numbers rest on."""
    question, rule, people = told.question, told.question.rule, told.people
    zero = "the first event of a user" if rule.origin is None else f"the first {rule.origin.name}"
    said = [
        f"Time zero is {zero}; the clock stops at the first {told.target}. Users are compared at the same time since "
        "then.",
        "A micro counts as done from just after its first time; before that its user counts as one who has not done "
        "it, so that waiting time is not credited to it.",
        _method(told),
        "The ratio of a micro is taken to be the same at all times"
        + (" since it was done (since= says how it differs)" if not question.since else "")
        + (", with the other micros as they are at that time." if len(question.micros) > 1 else "."),
        f"Users without {told.target} by {told.log.observed_until:%Y-%m-%d %H:%M} UTC are censored: nothing is said of "
        "them after. Censoring is taken to be unrelated to converting.",
    ]
    if rule.competing:
        said.append(
            f"Other ends of a journey ({_listed(end.name for end in rule.competing)}) censor: the ratios are of the "
            f"rate of {told.target} among those still on their way (cause-specific), not of the share that converts."
        )
    if rule.censor:
        said.append(f"Events that end observation: {_listed(item.name for item in rule.censor)}.")
    said.append(
        f"The ratios are adjusted for {_listed(question.adjust)} at entry and for nothing else: whatever else makes "
        "users do a micro and convert is in them."
        if question.adjust
        else "Nothing is adjusted for (adjust=()): the ratios are predictive. Whoever means to convert may do more of "
        "everything, and that is in them."
    )
    if question.strata:
        said.append(
            f"Every stratum of {_listed(question.strata)} has its own course over time; only alike are compared."
        )
    elif "entry_week" not in question.adjust:
        said.append("The calendar (season, campaigns) is not adjusted for; strata=['entry_week'] does it.")
    said.append(
        "Errors are per user (robust: they hold where the model is only nearly right)."
        if question.robust
        else "Errors are the model's; robust=True gives per-user errors that hold where it is only nearly right."
    )
    micros = int((told.table["kind"] != "attribute").sum())
    if micros > 1:
        said.append(f"q_value is the p-value adjusted for {micros} micros looked at (Benjamini and Hochberg).")
    if question.left_out:
        said.append(
            f"Left out of the plan's micros, because they are the target's own event, an end or the origin: "
            f"{_listed(question.left_out)}."
        )
    return [*said, *_population(told, people)]


def _population(told: Told, people: People) -> list[str]:
    said = []
    if told.question.washout is not None:
        of = people.users - people.never_at_risk
        said.append(
            f"{people.washed_out:,} of {of:,} users ({people.washed_out / max(of, 1):.1%}) entered within "
            f"{format_duration(told.question.washout)} of the log's first event and are left out: what they had done "
            "before the log began is unknown."
        )
    else:
        said.append(
            "What users had done before the log began is unknown, and taken as not done; washout='7D' leaves out who "
            "entered in the log's first week."
        )
    if people.without_number:
        said.append(
            f"{people.without_number:,} users have no number in {_listed(told.question.numbers)} at entry and are left "
            "out."
        )
    if people.never_at_risk:
        said.append(
            f"{people.never_at_risk:,} of {people.users:,} users never come to the origin within their journey, or are "
            "never at risk after it, and are left out."
        )
    return said


def _method(told: Told) -> str:
    counted, question = told.model.counted, told.question
    if counted.risk_table is not None:
        ties = question.ties.capitalize()
        text = f"Cox's partial likelihood on exact counts ({ties}'s ties), with {counted.kept}."
    else:
        assert counted.exposures is not None
        many = len(counted.exposures.cuts) + 1
        why = (
            "as asked"
            if question.method == "piecewise"
            else f"because the exact table of counts has more than max_rows={question.max_rows:,} rows"
        )
        text = (
            f"Piecewise-exponential model, {why}: the rate is taken as constant within each of {many} intervals "
            "between quantiles of the event times; the state just before each event and the time at risk are exact."
        )
    if told.patterns is not None:
        text += (
            " Each micro has a model of its own, with how many of the other micros are done (0, 1, 2, 3 or more) in "
            "place of which; the attributes' ratios come from the model with the number of micros done."
        )
    return text


def warnings_of(told: Told) -> list[str]:
    """What a reader must know before reading the numbers."""
    found = list(told.log.notes)
    question, table = told.question, told.table
    if told.model.counted.events == 0:
        found.append(_nobody(told))
    if told.patterns is not None:
        found.append(
            f"{len(question.micros)} micros and the attributes make {told.patterns:,} patterns, over max_patterns="
            f"{question.max_patterns:,}: instead of one model there is one per micro, with the number of other micros "
            "done. Name fewer micros or coarser attributes for the full model."
        )
    for column, value in told.silent.items():
        found.append(_silent(told, column, value))
    found += _separation(told)
    found += _without_information(told)
    found += _few(table)
    if question.robust and len(modelled := table.loc[table["interval"] == "wald", "term"]):
        found.append(
            f"Errors of {_listed(modelled)} are the model's, not per user: where terms have no finite estimate, one "
            "within the other, per-user errors cannot be summed. Leave those terms out."
        )
    found += _proportional(told)
    found += _fading(told)
    return found


def _silent(told: Told, column: str, value: object) -> str:
    name = shorten(repr(column), 60)
    if column not in told.question.names:
        return (
            f"The attribute {name} is {shorten(repr(value), 60)} for everybody: it tells nobody apart and is left out."
        )
    if value == 0:
        return f"The micro {name} is never done while its user is at risk (not before {told.target}): it has no ratio."
    return f"The micro {name} is done by everybody from time zero on: nobody is without it, so it has no ratio."


def _separation(told: Told) -> list[str]:
    said = []
    rows = told.table.set_index("term")
    for term in told.separated:
        if term not in rows.index:
            continue
        row = rows.loc[term]
        if row["hazard_ratio"] == 0 or row["events"] == 0:
            said.append(
                f"Nobody did {told.target} once {shorten(term, 60)!r} held ({row['users']:,} users): the ratio has no "
                "finite estimate (it runs to 0), only an upper limit where there are users enough."
            )
        elif row["hazard_ratio"] == math.inf:
            said.append(
                f"Without {shorten(term, 60)!r} nobody at risk did {told.target} beside those with it: it always comes "
                "before, perhaps as a step on the way. The ratio has no finite estimate (it runs to infinity)."
            )
        else:
            said.append(
                f"{shorten(term, 60)!r} has no finite ratio of its own: together with the other terms it separates who "
                "converts from who does not, or repeats them. Leave one of them out."
            )
    return said


def _without_information(told: Told) -> list[str]:
    """On terms without a ratio of which nothing was said so far, such as where all convert at the moment of entry."""
    rows = told.table[told.table["hazard_ratio"].isna() & ~told.table["term"].isin([*told.separated, *told.silent])]
    if rows.empty or told.model.counted.events == 0:
        return []
    same = "it is" if len(rows) == 1 else "each of them is"
    apart = "it cannot be told apart from other terms" if len(rows) == 1 else "they repeat each other or other terms"
    return [
        f"No ratio for {_listed(rows['term'])}: among those at risk when somebody does {told.target} {same} the same "
        f"for all, or {apart}. Leave out what repeats another."
    ]


def _few(table: pd.DataFrame) -> list[str]:
    said = []
    profile = table.loc[table["interval"] == "profile", "term"]
    if len(profile):
        said.append(
            f"Fewer than {MIN_EVENTS} conversions with or without {_listed(profile)}: the interval is that of the "
            "profile likelihood and the p-value that of the likelihood ratio."
        )
    small = table[(table["interval"] == "none") & table["hazard_ratio"].notna() & (table["users"] < MIN_CELL)]
    if len(small):
        said.append(f"No interval for {_listed(small['term'])}: fewer than {MIN_CELL} users were ever at risk there.")
    return said


def _proportional(told: Told) -> list[str]:
    frame = told.proportionality
    if frame is None or frame.empty:
        return []
    failing = frame[frame["q_value"] < _FINDING]
    if failing.empty:
        return []
    return [
        f"The ratio of {_listed(failing['term'])} changes with time since {told.since} (proportional hazards fail, q < "
        f"{_FINDING:g}): read it as an average over the time observed. since=('1D', '7D') shows whether the pull of a "
        "micro fades, strata= lets an attribute have a course of its own."
    ]


def _fading(told: Told) -> list[str]:
    frame = told.fading
    if frame is None or frame.empty:
        return []
    found = frame[frame["q_value"] < _FINDING]
    return (
        [f"The pull of {_listed(found['micro'])} is not the same at all times since it was done: read .since."]
        if len(found)
        else []
    )


def _nobody(told: Told) -> str:
    item, log = told.question.rule.target, told.log
    text = f"Nobody did {shorten(repr(item.name))} while at risk: there is no ratio to estimate."
    if item.event is None or item.event in log.event_counts.index:
        return text
    close = nearest(item.event, log.event_counts.index)
    guess = f" Did you mean {shorten(repr(close))}?" if close else " Check its spelling among the log's events."
    return f"{text} No event is named {shorten(repr(item.event))}.{guess}"
