"""What a result of time to conversion says in words: the meaning, the assumptions, the warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.conversion.comparisons import material
from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY, format_duration
from microconv.errors import nearest, shorten
from microconv.reduce.risk import JourneyRule
from microconv.reduce.waits import BUCKETS, NUMBER, OWN
from microconv.stats._curves import read_blocks

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["Found", "assumptions", "meaning", "spelled", "warnings_of"]

_FEW = 10  # at risk: fewer say little
_FEW_CLUSTERS = 20  # users: errors from fewer are too small by a tenth and more


@dataclass(frozen=True)
class Found:
    """What the words are about."""

    log: EventLog
    rule: JourneyRule
    by: list[str]
    read_at: int | None
    people: dict[str, int]
    left_out: dict[str, int]
    kept: str
    counts: RiskTable | None
    summary: pd.DataFrame
    naive: pd.DataFrame | None = None
    pairs: int = 0
    compared_to: float | None = None

    @property
    def since(self) -> str:
        """Time zero in a word or two."""
        rule = self.rule
        zero = rule.origin_col if rule.origin_col is not None else rule.origin.name if rule.origin else "entry"
        return f"{format_duration(rule.landmark)} after {zero}" if rule.landmark is not None else zero

    @property
    def horizon(self) -> str:
        """How far probabilities are read."""
        assert self.read_at is not None
        return format_duration(self.read_at)


def meaning(found: Found) -> str:
    """Two or three sentences that a marketer can read."""
    summary, rule, by = found.summary, found.rule, found.by
    users, events = int(summary["n"].sum()), int(summary["events"].sum())
    who, seen = "users", f"after {found.since} while observed"
    if rule.landmark is not None:
        who, seen = f"users still at risk {found.since}", "while observed"
    if rule.horizon is not None:
        length = format_duration(rule.horizon)
        seen = f"within the next {length}" if rule.landmark is not None else f"within {length} of {found.since}"
    text = f"{events:,} of {users:,} {who} did {rule.target.name} {seen}."
    if rule.repeat == "each":
        text = _repeats(found)
    if found.read_at is not None:
        within = f"the next {found.horizon}" if rule.landmark is not None else found.horizon
        ended = "convert" if rule.repeat == "first" else f"of waits end with {rule.target.name}"
        given = f" who had not by {format_duration(rule.from_age)}" if rule.from_age is not None else ""
        known = summary[summary["probability"].notna()]
        if len(summary) == 1 and len(known):
            one = known.iloc[0]
            text += (
                f" Counting those whose time is not up as open, {one['probability']:.1%} ({_limits(one)})"
                f"{given and f' of those{given}'} {ended} within {within}."
            )
        elif len(known):
            ordered = known.sort_values("probability", kind="stable")
            top, bottom = ordered.iloc[-1], ordered.iloc[0]
            text += (
                f" Within {within} it is most in {_named(top, by)} ({top['probability']:.1%}, {_limits(top)}) and "
                f"least in {_named(bottom, by)} ({bottom['probability']:.1%}, {_limits(bottom)})."
            )
    for p in (0.5, 0.25, 0.1):
        name = f"p{round(100 * p)}"
        if len(summary) == 1 and np.isfinite(summary[f"{name}_days"].iloc[0]):
            at = spelled(summary[f"{name}_days"].iloc[0])
            whom = "all users" if rule.from_age is None and rule.landmark is None else "these users"
            zero = found.since if rule.landmark is None else "the landmark"
            text += (
                f" {p:.0%} of {whom} have converted {at} after {zero}."
                if rule.repeat == "first"
                else f" {p:.0%} of all waits have ended with {rule.target.name} {at} after they began."
            )
            break
    return text


def _repeats(found: Found) -> str:
    summary, rule = found.summary, found.rule
    within = (
        f" within {format_duration(rule.horizon)} of their start" if rule.horizon is not None else " while observed"
    )
    return (
        f"Each {rule.target.name} starts the clock anew: {int(summary['events'].sum()):,} of "
        f"{int(summary['waits'].sum()):,} waits of {found.people['at_risk']:,} users ended with it{within}."
    )


def spelled(days: float) -> str:
    """A time in days in a unit that suits it."""
    for unit, size in (("days", 1.0), ("hours", 1 / 24), ("minutes", 1 / 1440)):
        if days >= 2 * size:
            return f"{days / size:.1f} {unit}"
    return f"{days * 86_400:.0f} seconds"


def _limits(row: pd.Series) -> str:
    if np.isnan(row["ci_low"]) or np.isnan(row["ci_high"]):
        return "too few users for an interval"
    return f"{row['ci_low']:.1%} to {row['ci_high']:.1%}"


def _named(row: pd.Series, by: list[str]) -> str:
    return ", ".join(f"{column} {row[column]}" for column in by)


def assumptions(found: Found) -> list[str]:
    """What the numbers rest on, with the users whom each choice leaves out."""
    log, rule = found.log, found.rule
    said = [
        _zero(rule),
        f"Users not converted by {log.observed_until:%Y-%m-%d %H:%M} UTC are censored: nothing is said of them after.",
        "Censoring is taken to be unrelated to converting (later entrants convert like earlier ones).",
        f"Counts are exact in time, with {found.kept}.",
    ]
    if rule.competing:
        names = ", ".join(end.name for end in rule.competing)
        said.append(
            f"Other ends of a journey: {names}. The curve is the cumulative incidence beside them (Aalen-Johansen)."
        )
    if rule.censor:
        said.append(f"Events that end observation: {', '.join(item.name for item in rule.censor)}.")
    said += _late(found) + _landmark(found) + _each(found)
    if left := found.left_out.get("never at the origin", 0):
        said.append(
            f"{left:,} of {found.people['users']:,} users never come to the origin within their journey and are left "
            "out."
        )
    if found.compared_to is not None:
        said.append(
            f"Entry cohorts are compared over their first {spelled(found.compared_to)} only, as far as each of them "
            "was observed, and each pair as far as both were (compared_days); beyond that the curves stand alone."
        )
    if found.pairs:
        pairs = "pair of segments" if found.pairs == 1 else "pairs of segments"
        said.append(
            f"p-values adjusted in .pairs are Holm's over the family of {found.pairs:,} {pairs}"
            f"{' (log-rank and mean days are two families)' if found.read_at is not None else ''}."
        )
    return said


def _zero(rule: JourneyRule) -> str:
    first = "first" if rule.repeat == "first" else "next"
    clock = f"the clock stops at the {first} {rule.target.name}."
    if rule.origin_col is not None:
        return (
            f"Time zero is the time in {rule.origin_col} at a user's first event (in zone {rule.tz} where it names "
            f"none); {clock}"
        )
    if rule.landmark is not None:
        origin = rule.origin.name if rule.origin is not None else "entry"
        return f"Time zero is {format_duration(rule.landmark)} after {origin}; {clock}"
    zero = "the first event of a user" if rule.origin is None else f"the first {rule.origin.name}"
    return f"Time zero is {zero}; {clock} A conversion at the very moment of entry counts, at time 0."


def _late(found: Found) -> list[str]:
    rule, left, users = found.rule, found.left_out, f"{found.people['users']:,} users"
    said = []
    if rule.origin_col is not None:
        said.append(
            "Users are at risk from their first recorded event on (late entry), for before it nobody would have known "
            f"of them; who has a later {rule.origin_col} is at risk from that on."
        )
    if rule.from_age is not None:
        said.append(
            f"Only ages after {format_duration(rule.from_age)} count: all numbers are of users who had not ended by "
            "then."
        )
    if rule.late and rule.competing and found.by:
        said.append("Gray's test is not defined where users come late and is left out.")
    for reason, words in (
        ("no time in the origin column", f"have no readable time in {rule.origin_col} at their first event"),
        ("ended before the origin", f"ended before their {rule.origin_col} (a negative duration)"),
        ("ended at the first event", "ended at their first recorded event, so that they were never watched at risk"),
        ("ended before from_age", "ended, or were watched no longer than, that age"),
        ("first seen after the horizon", "were first seen after the horizon"),
    ):
        if number := left.get(reason, 0):
            said.append(f"{number:,} of {users} {words}; they are left out.")
    return said


def _landmark(found: Found) -> list[str]:
    rule, left = found.rule, found.left_out
    if rule.landmark is None:
        return []
    mark, parts = format_duration(rule.landmark), []
    for reason, words in (
        ("target before the landmark", f"had done {rule.target.name}"),
        ("other end before the landmark", "had ended otherwise"),
        ("censored before the landmark", "were not observed so long"),
        ("first seen after the landmark", "were first seen later"),
    ):
        if number := left.get(reason, 0):
            parts.append(f"{number:,} {words}")
    lost = f"lost before it: {', '.join(parts)}" if parts else "nobody was lost before it"
    said = [
        f"Landmark {mark}: of {found.people['users']:,} users {found.people['at_risk']:,} were still at risk then, and "
        f"the clock starts there ({lost}). Nothing is said of who converts sooner."
    ]
    if rule.done:
        names = ", ".join(item.name for item in rule.done)
        said.append(
            f"{names}: done by the landmark or not; what users do later does not move them. The comparison is not "
            "adjusted for why some did it."
        )
    if rule.done and rule.origin_col is not None:
        said.append("What was done before the first recorded event is unknown and counts as not done.")
    return said


def _each(found: Found) -> list[str]:
    rule = found.rule
    if rule.repeat != "each":
        return []
    own = found.people["at_risk"] <= OWN
    groups = "each user" if own else f"each of {BUCKETS} groups of users by hash"
    said = [
        f"Every {rule.target.name} ends a wait and starts the next, up to another end or the end of observation; "
        "conversions of one user at one instant count as one. First and later waits are counted together unless "
        f"by={NUMBER!r} tells them apart; users who convert often have more of them.",
        f"Errors are by user, who has several waits: infinitesimal jackknife over {groups}. The log-rank test takes "
        "waits to be independent and is left out.",
    ]
    if NUMBER in found.by and rule.competing:
        said.append("Mean days of first and later waits are not compared beside other ends.")
    return said


def _nobody(log: EventLog, target: Item) -> str:
    text = f"Nobody did {shorten(repr(target.name))} while at risk."
    if target.event is None or target.event in log.event_counts.index:
        return text
    close = nearest(target.event, log.event_counts.index)
    guess = f" Did you mean {shorten(repr(close))}?" if close else " Check its spelling among the log's events."
    return f"{text} No event is named {shorten(repr(target.event))}.{guess}"


def warnings_of(found: Found) -> list[str]:
    """What a reader must know before using the numbers."""
    log, rule, summary = found.log, found.rule, found.summary
    said = list(log.notes)
    if summary["events"].sum() == 0:
        said.append(_nobody(log, rule.target))
    elif (few := int((summary["events"] < 10).sum())) and len(summary) > 1:
        said.append(f"{few} of {len(summary)} segments have fewer than ten conversions: their intervals are wide.")
    if found.read_at is not None and (short := int(summary["probability"].isna().sum())):
        said.append(
            f"{short} of {len(summary)} curves end before {found.horizon}: nobody was observed that long, "
            "so no probability is given there. Choose a shorter horizon."
        )
    said += _thin(found) + _naive(found) + _young(found)
    if rule.repeat == "each" and (few := int((summary["n"] < _FEW_CLUSTERS).sum())):
        said.append(
            f"{few} of {len(summary)} curves rest on fewer than {_FEW_CLUSTERS} users: their errors by user are too "
            "small."
        )
    if (number := found.left_out.get("ended before the origin", 0)) and rule.origin_col is not None:
        said.append(
            f"{number:,} users ended before their {rule.origin_col}, which cannot be: check the column and its time "
            "zone."
        )
    return said


def _young(found: Found) -> list[str]:
    """One cohort that is a day old leaves a day to compare all of them over."""
    if found.compared_to is None or found.read_at is None:
        return []
    if found.compared_to >= found.read_at / MICROS_PER_DAY / 2:
        return []
    return [
        f"The youngest cohorts are young: .tests compares all cohorts over {spelled(found.compared_to)} only. To "
        f"compare them over {found.horizon}, leave out those not observed so long, such as with log.filter(end=...)."
    ]


def _naive(found: Found) -> list[str]:
    if found.naive is None:
        return []
    wrong = material(found.naive)
    if wrong.empty:
        return []
    worst = wrong.iloc[int(wrong["difference"].to_numpy().argmax())]
    where = f" in {_named(worst, found.by)}" if found.by else ""
    return [
        f"Other ends matter: treating them as censoring (naive 1 - Kaplan-Meier) would say {worst['naive']:.1%} "
        f"instead of {worst['probability']:.1%} by day {worst['horizon_days']:.4g}{where}. Read .table and .causes, "
        "not the naive number."
    ]


def _thin(found: Found) -> list[str]:
    """Late entry can leave a handful at risk at young ages, whose events then move the whole curve (or end it)."""
    if not found.rule.late or found.counts is None:
        return []
    said, latest, worst, where = [], 0.0, 1.0, ""
    for block, place in zip(read_blocks(found.counts), found.counts.blocks(), strict=True):
        if not len(block.n) or block.n.max() < _FEW:
            continue
        few = (block.events > 0) & (block.n < _FEW) & (np.maximum.accumulate(block.n[::-1])[::-1] >= _FEW)
        if not few.any():
            continue
        kept = float(np.prod(np.maximum(1 - block.events[few] / block.n[few], 0.0)))
        latest = max(latest, float(block.time[few][-1]))
        if kept < worst or not where:
            worst = kept
            row = found.counts.frame.iloc[place.start]
            where = f" in {_named(row, found.by)}" if found.by else ""
    if latest > 0 or worst < 1:
        age = format_duration(_rounded_up(latest))
        ended = " and ends there, as if everybody had converted" if worst == 0 else ""
        said.append(
            f"At young ages fewer than {_FEW} users were at risk when some ended, because most were first seen later: "
            f"the curve drops by {1 - worst:.0%} on their word alone{where}{ended}. from_age={age!r} leaves those ages "
            "out."
        )
    return said


def _rounded_up(day: float) -> int:
    """A duration just above some days, in microseconds: whole seconds, minutes, hours or days."""
    micros = day * MICROS_PER_DAY
    for unit, limit in ((1_000_000, 180), (60_000_000, 180), (3_600_000_000, 72)):
        if micros < unit * limit:
            return (math.floor(micros / unit) + 1) * unit
    return (math.floor(day) + 1) * MICROS_PER_DAY
