"""mc.eventual_conversion: how many will have converted in the end, as far as the log can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from microconv.errors import ParameterError, shorten
from microconv.journeys import journey_rule
from microconv.reduce.risk import PART_OF_THE_USERS, JourneyRule, journeys, population, risk_table
from microconv.results import Result
from microconv.stats.plateau import CURVES, FITS, LEAST_EVENTS, MOST_OPEN, NAMES, PLATEAUS, plateaus
from microconv.stats.watched import LEAST_SHARE, LEAST_USERS
from microconv.steps import Step, label, segment_columns

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["eventual_conversion"]

_MOST_SEGMENTS = 200


def eventual_conversion(
    log: EventLog,
    *,
    by: str | Sequence[str] | None = None,
    target: Step | None = None,
    origin: Step = "entry",
    competing: Sequence[Step] | None = None,
    tz: str = "UTC",
    family: Literal["weibull", "generalised_gamma"] = "weibull",
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
) -> Result:
    """How many users will have converted in the end: what was observed, and what a model says of the rest.

    * ``by``: attributes at entry, one row per combination; ``entry_day``, ``entry_week``, ``entry_month`` (in zone
      ``tz``) are entry cohorts.
    * ``target``, ``origin``, ``competing``, ``confidence``: as in ``mc.time_to_conversion``.
    * ``max_rows``: beyond so many counts, the times of censored users are put together. Beyond so many times with a
      conversion or another end there is an error: the model needs them all.
    * ``family``: of the delay of those who convert in the end; the other family checks it.

    At risk: every user from the origin on, up to and including the first of the target, a competing end, one of the
    plan's ``censor`` events and ``observed_until``; the last two censor. Who ends otherwise never converts.

    Two statements, kept apart. The **fact**: ``observed_share``, converted by ``reliable_days``, the largest age that
    enough users (10, and 2 % of the segment) have been watched for: 1 - Kaplan-Meier, Aalen-Johansen with competing
    ends, with log-log interval. The **model**: ``share``, the plateau of a mixture-cure fit, with a profile-likelihood
    interval. It is refused (NaN; ``method`` and ``.warnings`` say why) where the log cannot carry it: fewer than 20
    conversions; by either family more than 5 % of those who ever convert have not by ``reliable_days``; the families
    differ by more than half the interval; the fit misses the observed share or the late conversions. Where every
    journey has ended there is nothing left to model, and the share is the observed one. The interval holds under its
    family. The refusals find a slow tail only where the log shows it: of simulated logs with a log-logistic or a
    log-normal delay they caught a fifth to a third, and of the others the interval held the truth in two thirds
    (``tests/calibration/coverage.md``): prefer the fact where much of the delay may lie beyond the log.

    ``.table``, per segment: ``share, ci_low, ci_high, delay_median_days, delay_p90_days`` (of those who convert in the
    end), ``observed_share, observed_ci_low, observed_ci_high, reliable_days, n, events, method``. ``.curves``: the
    observed curve and the fitted one (NaN where refused) over time. ``.fits``: the fits that were judged, refused or
    not; a share that ``method`` refuses is not to be quoted from there.

    Raises ``ParameterError`` for parameters that do not fit the log, nobody at risk, over 200 segments, and more than
    ``max_rows`` event times. The model is Boag's (1949) and Farewell's (1982), ``mc.stats.mixture_cure``.

    >>> import microconv as mc
    >>> found = mc.eventual_conversion(mc.sample_log())
    >>> found.table[["observed_share", "reliable_days", "share"]].round(3)
       observed_share  reliable_days  share
    0           0.146        117.785    NaN
    """
    if family not in NAMES:
        raise ParameterError(f"family={shorten(repr(family))} must be one of {', '.join(map(repr, NAMES))}.")
    rule = journey_rule(log, target, origin, competing, None, tz=tz)
    taken = [*PLATEAUS, *CURVES, *FITS, "entered", "censored", "person_time_days"]
    segments = segment_columns(log, by, [*taken, *[f"d_{cause}" for cause in rule.causes]])
    users = journeys(log, rule, segments, tz)
    people = population(log, users, len(segments))
    if people["at_risk"] == 0:
        raise ParameterError(
            f"No user is ever at risk: of {people['users']:,} users none reaches the origin {label(origin)!r} "
            "before the journey ends. Check its spelling, or choose another origin."
        )
    if people["segments"] > _MOST_SEGMENTS:
        raise ParameterError(
            f"by={segments} has {people['segments']:,} segments, over {_MOST_SEGMENTS}. Choose a coarser attribute."
        )
    counts, kept = risk_table(log, users, rule, segments, max_rows, mend=PART_OF_THE_USERS)
    found = plateaus(counts, rule.target.name, family, confidence)
    return Result(
        name="eventual_conversion",
        table=found.table,
        meaning=_meaning(found.table, segments, rule, label(origin)),
        parameters={
            "target": rule.target.name,
            "origin": label(origin),
            "by": segments,
            "competing": [item.name for item in rule.competing],
            "censor": [item.name for item in rule.censor],
            "tz": tz,
            "family": family,
            "confidence": confidence,
        },
        assumptions=_assumptions(log, rule, people, kept, label(origin), family),
        warnings=[*log.notes, *_refusals(found.table, segments)],
        extra={"curves": found.curves, "fits": found.fits},
        provenance=log.provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_eventual_conversion

    return plot_eventual_conversion(result, ax)


def _meaning(table: pd.DataFrame, by: list[str], rule: JourneyRule, origin: str) -> str:
    since = "entry" if rule.origin is None else f"the first {origin}"
    text = f"{int(table['events'].sum()):,} of {int(table['n'].sum()):,} users did {rule.target.name} while observed."
    known = table[table["observed_share"].notna()]
    stated = table[table["share"].notna()]
    if len(table) == 1:
        row = table.iloc[0]
        if len(known):
            text += (
                f" Observed: {row['observed_share']:.1%} ({row['observed_ci_low']:.1%} to "
                f"{row['observed_ci_high']:.1%}) {_within(row['reliable_days'])} {since}, the longest that "
                "enough users have been watched for."
            )
        if len(stated) and str(row["method"]).startswith("observed"):
            return f"{text} Every journey has ended: nobody is left who could convert."
        if len(stated):
            return (
                f"{text} By the model ({row['method']}), {row['share']:.1%} ({row['ci_low']:.1%} to "
                f"{row['ci_high']:.1%}) convert in the end, half of those within {row['delay_median_days']:.3g} days."
            )
        return f"{text} How many convert in the end is not stated: {str(row['method']).removeprefix('refused: ')}."
    if len(stated) == 0:
        return f"{text} How many convert in the end is not stated for any of {len(table)} segments; see the warnings."
    ordered = stated.sort_values("share", kind="stable")
    top, bottom = ordered.iloc[-1], ordered.iloc[0]
    text += f" How many convert in the end is stated for {len(stated)} of {len(table)} segments"
    if len(stated) == 1:
        return f"{text}: {_spelled(top)} in {_named(top, by)}."
    counted = int(stated["method"].astype(str).str.startswith("observed").sum())
    if counted == len(stated):
        text += ", as observed, because every journey has ended"
    else:
        text += ", by a model" if counted == 0 else f", by a model for {len(stated) - counted} of them"
    if top["share"] == bottom["share"]:
        return f"{text}: {top['share']:.1%} in each."
    return f"{text}: most in {_named(top, by)}, {_spelled(top)}, least in {_named(bottom, by)}, {_spelled(bottom)}."


def _within(days: float) -> str:
    return f"within {days:.3g} days of" if days > 0 else "at the very moment of"


def _spelled(row: pd.Series) -> str:
    return f"{row['share']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%})"


def _named(row: pd.Series, by: list[str]) -> str:
    return ", ".join(f"{column} {shorten(row[column], 40)}" for column in by)


def _refusals(table: pd.DataFrame, by: list[str]) -> list[str]:
    """In plain words, why no plateau is stated; reasons that several segments share are said once."""
    plain = {
        "refused: the delay": "conversions were still coming in when observation ended, and a curve that still rises "
        "can end anywhere. Wait, or read the observed share",
        "refused: the families": "two models that fit what was observed end at different shares, so that the model "
        "and not the log would decide",
        "refused: the fit misses": "neither the model's curve nor its end follows what was observed",
    }
    found = []
    refused = table[table["method"].str.startswith("refused")]
    for start in dict.fromkeys(str(method)[:14] for method in refused["method"]):
        mine = refused[refused["method"].str.startswith(start)]
        words = next((text for key, text in plain.items() if key.startswith(start) or start in key), "")
        first = mine.iloc[0]
        which = f"for {len(mine)} of {len(table)} segments" if by else ""
        example = f"{_named(first, by)}: " if by else ""
        reason = str(first["method"]).removeprefix("refused: ")
        said = f"No eventual share is stated{f' {which}' if which else ''} ({example}{reason})."
        found.append(f"{said[:-1]}: {words}." if words else said)
    return found


def _assumptions(
    log: EventLog, rule: JourneyRule, people: dict[str, int], kept: str, origin: str, family: str
) -> list[str]:
    zero = "the first event of a user" if rule.origin is None else f"the first {origin}"
    said = [
        f"Time zero is {zero}; the clock stops at the first {rule.target.name}. A conversion at the very moment of "
        "time zero counts, as a group of its own without delay.",
        f"Users not converted by {log.observed_until:%Y-%m-%d %H:%M} UTC are censored. Censoring is taken to be "
        "unrelated to converting (later entrants convert like earlier ones).",
        f"The observed share is read at the largest age that at least {LEAST_USERS} users and {LEAST_SHARE:.0%} of a "
        "segment have been watched for.",
        f"The eventual share is a model's: some never convert, the delay of the others is {NAMES[family]}. It is "
        f"stated only on {LEAST_EVENTS} or more conversions, with at most {MOST_OPEN:.0%} of the delay still to come, "
        "and if the other family agrees; its interval holds under its family.",
        f"Counts are exact in time, with {kept}.",
    ]
    if rule.competing:
        names = ", ".join(end.name for end in rule.competing)
        said.append(f"Who ends otherwise ({names}) never converts, and counts so for as long as others are watched.")
    if rule.censor:
        said.append(f"Events that end observation: {', '.join(item.name for item in rule.censor)}.")
    if left := people["users"] - people["at_risk"]:
        said.append(
            f"{left:,} of {people['users']:,} users never come to the origin within their journey and are left out."
        )
    return said
