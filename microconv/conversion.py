"""mc.time_to_conversion: how long conversion takes, for whom, and how many have converted by when."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY, Duration, format_duration, to_micros
from microconv.errors import MicroconvWarning, ParameterError, nearest, shorten
from microconv.journeys import journey_rule
from microconv.reduce.risk import JourneyRule, journeys, population, risk_table
from microconv.results import Result
from microconv.stats.competing import aalen_johansen, probability_at, time_lost
from microconv.stats.log_rank import logrank
from microconv.stats.survival import kaplan_meier, survival_at
from microconv.stats.times import quantiles, rmst
from microconv.steps import Step, label, segment_columns

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["TimeToConversion", "journey_rule", "time_to_conversion"]

_QUANTILES = (0.1, 0.25, 0.5, 0.75)
_MOST_SEGMENTS = 200
_FLAT = 1.5e-8  # sums of fractions this near are one value
_COLUMNS = (
    "time_days probability ci_low ci_high at_risk events censored n entered person_time_days observed_days "
    "horizon_days rmst_days rmst_ci_low_days rmst_ci_high_days "
    + " ".join(f"p{p}_days p{p}_ci_low_days p{p}_ci_high_days" for p in (10, 25, 50, 75))
).split()


@dataclass(frozen=True, eq=False)
class TimeToConversion(Result):
    """The curves, with ``risk_table``: the counts at risk by time and segment, in days, that they were made from.

    Risk tables of several logs add up.
    """

    risk_table: RiskTable | None = field(default=None, repr=False)


def time_to_conversion(
    log: EventLog,
    *,
    target: Step | None = None,
    origin: Step = "entry",
    by: str | Sequence[str] | None = None,
    competing: Sequence[Step] | None = None,
    horizon: Duration | None = None,
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
) -> TimeToConversion:
    """How many have converted by each time after entry, counting users whose time is not up as open, not as lost.

    * ``target``: the conversion: a plan name, an event name or ``{"event": ..., "where": ...}``; None is the plan's
      first macro.
    * ``origin``: time zero: ``"entry"`` (the user's first event) or a micro, whose first occurrence starts the clock.
    * ``by``: attributes at entry, one curve per combination; no value is ``(missing)``.
    * ``competing``: events that end a journey otherwise; None takes the plan's, ``()`` none (they are then ignored).
    * ``horizon``: how far the curves go (``"30D"``); None: as far as users were observed.

    * ``confidence``: of all intervals. ``max_rows``: beyond so many counts, the times of censored users are put
      together (``assumptions`` says so; the curve stays exact at every event).

    At risk: every user from the origin on, up to and including the first of the target, a competing end, one of the
    plan's ``censor`` events, ``observed_until`` and the horizon; the last three censor. Of ends at one instant the
    target counts, then the first competing one. Users whose journey had ended before the origin are left out and
    counted in ``assumptions``. Times are exact, to the microsecond.

    ``.table``, per segment: ``time_days, probability`` (1 - Kaplan-Meier; Aalen-Johansen with competing ends) with
    ``ci_low, ci_high`` (log-log), ``at_risk, events, censored``. ``.summary``, per segment: ``n`` users, ``events``,
    ``censored``, ``observed_days``, the ``probability`` at ``horizon_days`` (the horizon, else the plan's), the days by
    which 10, 25, 50, 75 % of all users have converted, and ``rmst_days``, the mean days before converting up to the
    horizon, with intervals; NaN where the curve does not come that far. ``.tests`` (with ``by``): the log-rank test
    between segments. ``.risk_table``: the counts.

    Raises ``ParameterError`` for parameters that do not fit the log, nobody at risk, or over 200 segments. A target
    that never occurs gives zero events and a warning in ``.warnings``. Follows R's
    ``survfit(conf.type = "log-log")`` and ``survdiff``.

    >>> import microconv as mc
    >>> found = mc.time_to_conversion(mc.sample_log(), horizon="14D", by="device")
    >>> found.summary[["device", "n", "events", "probability", "ci_low", "ci_high"]].round(3)
        device     n  events  probability  ci_low  ci_high
    0  desktop  2293     198        0.088   0.077    0.100
    1   mobile  3210     211        0.067   0.059    0.076
    2   tablet   500      40        0.082   0.061    0.110
    """
    rule = journey_rule(log, target, origin, competing, horizon)
    counted = [f"{start}{cause}" for cause in rule.causes for start in ("d_", "events_")]
    segments = segment_columns(log, by, [*_COLUMNS, *counted])
    users = journeys(log, rule, segments)
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
    counts, kept = risk_table(log, users, rule, segments, max_rows)
    read_at = rule.horizon if rule.horizon is not None else _plan_horizon(log)
    table = _curves(counts, rule, confidence)
    summary = _summary(counts, rule, read_at, confidence)
    extra = {"summary": summary}
    if len(counts.blocks()) > 1:
        extra["tests"] = logrank(counts, segments, cause=rule.target.name).table
    return TimeToConversion(
        name="time_to_conversion",
        table=table,
        meaning=_meaning(summary, segments, rule, read_at),
        parameters={
            "target": rule.target.name,
            "origin": label(origin),
            "by": segments,
            "competing": [item.name for item in rule.competing],
            "censor": [item.name for item in rule.censor],
            "horizon": format_duration(rule.horizon) if rule.horizon is not None else None,
            "confidence": confidence,
        },
        assumptions=_assumptions(log, rule, people, kept, label(origin)),
        warnings=_warnings(log, rule, summary, read_at),
        extra=extra,
        provenance=log.provenance,
        plot_with=_plot,
        risk_table=counts,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_time_to_conversion

    return plot_time_to_conversion(result, ax)


def _plan_horizon(log: EventLog) -> int | None:
    horizon = log.plan.horizon if log.plan is not None else None
    return to_micros(horizon, "horizon") if horizon is not None else None


def _curves(counts: RiskTable, rule: JourneyRule, confidence: float) -> pd.DataFrame:
    """The contract's table: the target's cumulative incidence with the numbers at risk."""
    by = list(counts.pattern_cols)
    columns = [*by, "time_days", "probability", "ci_low", "ci_high", "at_risk", "events", "censored"]
    if not rule.competing:
        curve = kaplan_meier(counts, confidence)
        flipped = curve.assign(
            probability=1 - curve["survival"], ci_low=1 - curve["ci_high"], ci_high=1 - curve["ci_low"]
        )
        return flipped[columns].reset_index(drop=True)
    curve = aalen_johansen(counts, confidence)
    mine = curve[curve["cause"] == rule.target.name].reset_index(drop=True)
    frame = counts.frame.reset_index(drop=True)
    mine = mine.assign(at_risk=frame["n"], events=frame[f"d_{rule.target.name}"], censored=frame["censored"])
    return mine[columns]


def _summary(counts: RiskTable, rule: JourneyRule, read_at: int | None, confidence: float) -> pd.DataFrame:
    """One row per segment: size, events, the probability at the horizon, quantiles and restricted mean of the time."""
    by, target = list(counts.pattern_cols), rule.target.name
    blocks = [counts.frame.iloc[place] for place in counts.blocks()]
    summary = pd.DataFrame({column: [block[column].iloc[0] for block in blocks] for column in by})
    summary["n"] = [int(block["entered"].sum()) for block in blocks]
    summary["events"] = [int(block[f"d_{target}"].sum()) for block in blocks]
    for end in rule.competing:
        summary[f"events_{end.name}"] = [int(block[f"d_{end.name}"].sum()) for block in blocks]
    summary["censored"] = [int(block["censored"].sum()) for block in blocks]
    summary["observed_days"] = [float(block["time_days"].iloc[-1]) for block in blocks]
    if read_at is not None:
        summary["horizon_days"] = read_at / MICROS_PER_DAY
        for name, values in _at_horizon(counts, rule, read_at / MICROS_PER_DAY, confidence).items():
            summary[name] = values
    for name, values in _quantiles(counts, rule, confidence).items():
        summary[name] = values
    if read_at is not None:
        for name, values in _mean(counts, rule, read_at / MICROS_PER_DAY, confidence).items():
            summary[name] = values
    return summary


def _mean(counts: RiskTable, rule: JourneyRule, day: float, confidence: float) -> dict[str, np.ndarray]:
    """The area above the curve up to the horizon: days without conversion; who ends otherwise never converts."""
    if rule.competing:
        lost = time_lost(counts, day, confidence)
        lost = lost[lost["cause"] == rule.target.name]
        mean, low, high = day - lost["estimate"], day - lost["ci_high"], day - lost["ci_low"]
    else:
        # Where observation ends before the horizon the mean is NaN; _warnings says so in the result's own words.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MicroconvWarning)
            area = rmst(counts, day, confidence)
        mean, low, high = area["estimate"], area["ci_low"], area["ci_high"]
    return {
        "rmst_days": mean.to_numpy(), "rmst_ci_low_days": low.to_numpy(), "rmst_ci_high_days": high.to_numpy()
    }  # fmt: skip


def _at_horizon(counts: RiskTable, rule: JourneyRule, day: float, confidence: float) -> dict[str, np.ndarray]:
    """The share converted by the horizon; NaN for segments not observed that long.

    Where nobody has converted the upper limit is -ln(1 - confidence) over the users known not to have.
    """
    if rule.competing:
        read = probability_at(aalen_johansen(counts, confidence), [day])
        read = read[read["cause"] == rule.target.name]
        low, high, probability = read["ci_low"], read["ci_high"], read["probability"]
    else:
        read = survival_at(kaplan_meier(counts, confidence), [day])
        low, high, probability = 1 - read["ci_high"], 1 - read["ci_low"], 1 - read["survival"]
    found = {"probability": probability.to_numpy(), "ci_low": low.to_numpy(), "ci_high": high.to_numpy().copy()}
    for row, place in enumerate(counts.blocks()):
        if found["probability"][row] == 0:  # no conversion is no proof that there is none: the rule of three
            block = counts.frame.iloc[place]
            known = block["entered"].sum() - block.loc[block["time_days"] < day - 1e-9, "censored"].sum()
            found["ci_high"][row] = min(1.0, -np.log(1 - confidence) / known)
    return found


def _quantiles(counts: RiskTable, rule: JourneyRule, confidence: float) -> dict[str, np.ndarray]:
    """The days by which 10, 25, 50 and 75 % of all users have converted; NaN where the curve does not come that far."""
    if not rule.competing:
        found = quantiles(counts, _QUANTILES, confidence)
    else:
        curve = aalen_johansen(counts, confidence)
        curve = curve[curve["cause"] == rule.target.name]
        keys = [curve[column] for column in counts.pattern_cols]
        parts = [part for _, part in curve.groupby(keys, sort=False, dropna=False)] if keys else [curve]
        found = pd.DataFrame(
            [
                {
                    "probability": p,
                    "time_days": _reached(part, "probability", p),
                    "ci_low_days": _reached(part, "ci_high", p),
                    "ci_high_days": _reached(part, "ci_low", p),
                }
                for part in parts
                for p in _QUANTILES
            ]
        )
    columns = {}
    for p in _QUANTILES:
        mine, name = found[found["probability"] == p], f"p{round(100 * p)}"
        columns[f"{name}_days"] = mine["time_days"].to_numpy()
        columns[f"{name}_ci_low_days"] = mine["ci_low_days"].to_numpy()
        columns[f"{name}_ci_high_days"] = mine["ci_high_days"].to_numpy()
    return columns


def _reached(curve: pd.DataFrame, column: str, level: float) -> float:
    """When a cumulative incidence, or a limit of it, reaches a level; the middle of a stretch that is flat at it.

    As ``stats.quantiles`` has it for Kaplan-Meier curves.
    """
    time, share = curve["time_days"].to_numpy(), curve[column].to_numpy()
    last, known = float(time[-1]), ~np.isnan(share)
    time, share = time[known], share[known]
    reached = np.flatnonzero(share >= level - _FLAT)
    passed = np.flatnonzero(share > level + _FLAT)
    if len(reached) == 0:
        return math.nan
    if len(passed) > 0:
        return float(time[reached[0]] + time[passed[0]]) / 2
    return (float(time[reached[0]]) + last) / 2 if known[-1] else math.nan


def _meaning(summary: pd.DataFrame, by: list[str], rule: JourneyRule, read_at: int | None) -> str:
    users, events = int(summary["n"].sum()), int(summary["events"].sum())
    since = "entry" if rule.origin is None else rule.origin.name
    text = f"{events:,} of {users:,} users did {rule.target.name} after {since} while observed."
    if read_at is not None:
        within = format_duration(read_at)
        known = summary[summary["probability"].notna()]
        if len(summary) == 1 and len(known):
            one = known.iloc[0]
            text += (
                f" Counting those whose time is not up as open, {one['probability']:.1%} "
                f"({one['ci_low']:.1%} to {one['ci_high']:.1%}) convert within {within}."
            )
        elif len(known):
            ordered = known.sort_values("probability", kind="stable")
            top, bottom = ordered.iloc[-1], ordered.iloc[0]
            text += (
                f" Within {within} it is most in {_named(top, by)} ({top['probability']:.1%}, {top['ci_low']:.1%} to "
                f"{top['ci_high']:.1%}) and least in {_named(bottom, by)} ({bottom['probability']:.1%}, "
                f"{bottom['ci_low']:.1%} to {bottom['ci_high']:.1%})."
            )
    for p in (0.5, 0.25, 0.1):
        name = f"p{round(100 * p)}"
        if len(summary) == 1 and np.isfinite(summary[f"{name}_days"].iloc[0]):
            text += f" {p:.0%} of all users have converted {_spelled(summary[f'{name}_days'].iloc[0])} after {since}."
            break
    return text


def _spelled(days: float) -> str:
    for unit, size in (("days", 1.0), ("hours", 1 / 24), ("minutes", 1 / 1440)):
        if days >= 2 * size:
            return f"{days / size:.1f} {unit}"
    return f"{days * 86_400:.0f} seconds"


def _named(row: pd.Series, by: list[str]) -> str:
    return ", ".join(f"{column} {row[column]}" for column in by)


def _assumptions(log: EventLog, rule: JourneyRule, people: dict[str, int], kept: str, origin: str) -> list[str]:
    said = [
        f"Time zero is {'the first event of a user' if rule.origin is None else f'the first {origin}'}; "
        f"the clock stops at the first {rule.target.name}. A conversion at the very moment of entry counts, at time 0.",
        f"Users not converted by {log.observed_until:%Y-%m-%d %H:%M} UTC are censored: nothing is said of them after.",
        "Censoring is taken to be unrelated to converting (later entrants convert like earlier ones).",
        f"Counts are exact in time, with {kept}.",
    ]
    if rule.competing:
        names = ", ".join(end.name for end in rule.competing)
        said.append(
            f"Other ends of a journey: {names}. The curve is the cumulative incidence beside them (Aalen-Johansen)."
        )
    if rule.censor:
        said.append(f"Events that end observation: {', '.join(item.name for item in rule.censor)}.")
    if left := people["users"] - people["at_risk"]:
        said.append(
            f"{left:,} of {people['users']:,} users never come to the origin within their journey and are left out."
        )
    return said


def _nobody(log: EventLog, target: Item) -> str:
    text = f"Nobody did {shorten(repr(target.name))} while at risk."
    if target.event is None or target.event in log.event_counts.index:
        return text
    close = nearest(target.event, log.event_counts.index)
    guess = f" Did you mean {shorten(repr(close))}?" if close else " Check its spelling among the log's events."
    return f"{text} No event is named {shorten(repr(target.event))}.{guess}"


def _warnings(log: EventLog, rule: JourneyRule, summary: pd.DataFrame, read_at: int | None) -> list[str]:
    found = list(log.notes)
    if summary["events"].sum() == 0:
        found.append(_nobody(log, rule.target))
    elif (few := int((summary["events"] < 10).sum())) and len(summary) > 1:
        found.append(f"{few} of {len(summary)} segments have fewer than ten conversions: their intervals are wide.")
    if read_at is not None and (short := int(summary["probability"].isna().sum())):
        found.append(
            f"{short} of {len(summary)} curves end before {format_duration(read_at)}: nobody was observed that long, "
            "so no probability is given there. Choose a shorter horizon."
        )
    return found
