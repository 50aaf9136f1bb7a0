"""mc.time_to_conversion: how long conversion takes, for whom, and how many have converted by when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from microconv.conversion.exact import from_counts
from microconv.conversion.large import from_sums
from microconv.conversion.summary import COLUMNS
from microconv.conversion.words import Found, assumptions, meaning, warnings_of
from microconv.counts import RiskTable
from microconv.durations import Duration, format_duration, to_micros
from microconv.errors import ParameterError
from microconv.journeys import journey_rule, segments_of
from microconv.reduce.occurrences import ENTRY_PERIODS
from microconv.reduce.risk import JourneyRule, TooManyRows, journeys, left_out, population
from microconv.results import Result
from microconv.steps import Step, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.log import EventLog

__all__ = ["TimeToConversion", "journey_rule", "time_to_conversion"]

_MOST_SEGMENTS = 200


@dataclass(frozen=True, eq=False)
class TimeToConversion(Result):
    """The curves, with ``risk_table``: the counts at risk by time and segment, in days, that they were made from.

    Risk tables of several logs add up.
    """

    risk_table: RiskTable | None = field(default=None, repr=False)

    def plot_causes(self, ax: Axes | None = None) -> Axes:
        """Draw how users' time ends: every end and who is still open, over time, or by segment at the horizon."""
        from microconv.plots import plot_causes

        return plot_causes(self, ax)


def time_to_conversion(
    log: EventLog,
    *,
    target: Step | None = None,
    origin: Step = "entry",
    origin_col: str | None = None,
    by: str | Sequence[str] | None = None,
    competing: Sequence[Step] | None = None,
    repeat: Literal["first", "each"] = "first",
    horizon: Duration | None = None,
    landmark: Duration | None = None,
    from_age: Duration | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
) -> TimeToConversion:
    """How many have converted by each time after entry, counting users whose time is not up as open, not as lost.

    * ``target``: the conversion: a plan name, an event name or ``{"event": ..., "where": ...}``; None is the plan's
      first macro.
    * ``origin``: time zero: ``"entry"`` (the user's first event) or a micro, whose first occurrence starts the clock.
    * ``origin_col``: time zero is a column's time at the first event instead, such as ``"signed_up_at"`` (a timestamp,
      a date or ISO-8601 text). Recording may have begun later: users are at risk only from their first event on (late
      entry), or from the column's time where that is later.
    * ``by``: attributes at entry, one curve per combination; no value is ``(missing)``. ``entry_day``, ``entry_week``
      and ``entry_month`` are entry cohorts. With ``landmark`` also micros of the plan: done by then, "yes" or "no".
    * ``competing``: events that end a journey otherwise; None takes the plan's, ``()`` none (they are then ignored).
    * ``repeat``: ``"first"`` stops the clock at the first conversion; with ``"each"`` every conversion starts it anew,
      so that a user has a wait to the first, one from the first to the second, and so on, up to a competing end or the
      end of observation. Errors are then by user. ``by="conversion_number"`` tells the first, second and later waits
      apart.
    * ``horizon``: how far the curves go (``"30D"``); None: as far as users were observed.
    * ``landmark``: only users who are still at risk this long (``"7D"``) after time zero, where the clock starts anew.
    * ``from_age``: only ages after this; the curves are of users who had not ended by then, the clock stays.
    * ``tz``: the zone of entry cohorts, and of times in ``origin_col`` that name none.
    * ``confidence``: of all intervals. ``max_rows``: beyond so many counts, the times of censored users are put
      together (``assumptions`` says so; the curve stays exact at every event). Beyond so many event times the engine
      sums the curves and hands over a few thousand of their points, each exact: then there are no ``.risk_table``, no
      ``.naive``, no Gray's test and no log-rank test of pairs, and not more than 20 segments are compared.

    At risk: every user from the origin on, up to and including the first of the target, a competing end, one of the
    plan's ``censor`` events, ``observed_until`` and the horizon; the last three censor. Of ends at one instant the
    target counts, then the first competing one. Users whose journey had ended before the origin are left out and
    counted in ``assumptions``, as are those whom late entry, a landmark or ``from_age`` leaves out. Times are exact, to
    the microsecond.

    ``.table``, per segment: ``time_days, probability`` (1 - Kaplan-Meier; Aalen-Johansen with competing ends) with
    ``ci_low, ci_high`` (log-log), ``at_risk, events, censored``; under late entry ``censored`` is less those who enter
    at the same age, and not below 0 (``.summary`` counts people). ``.summary``, per segment: ``n`` users, ``events``,
    ``censored``, ``observed_days``, the ``probability`` at ``horizon_days`` (the horizon, else the plan's), the days by
    which 10, 25, 50, 75 % of all users have converted, and ``rmst_days``, the mean days before converting up to the
    horizon, with intervals; NaN where the curve does not come that far, and where neither ``horizon`` nor the plan
    says how far. With ``repeat="each"`` there are ``waits``
    beside ``n`` users, and shares, days and numbers at risk are of waits. ``.risk_table``: the counts.

    With competing ends, ``.causes``: the cumulative incidence of every end (``cause, time_days, probability, se,
    ci_low, ci_high, at_risk``), and ``.naive``: at the horizon (else the last day that every segment was observed) what
    1 - Kaplan-Meier would say that takes other ends for censoring, beside the ``probability``, and the ``difference``.
    With ``by``, ``.tests``: the log-rank test between segments, with competing ends for each cause, and Gray's test
    (``test, cause, chi2, degrees_of_freedom, p_value, rho``); ``.pairs`` (up to 20 segments): the log-rank test of each
    pair (``group_a, group_b, chi2, p_value, p_adjusted``) and the difference in mean days, a less b
    (``rmst_difference_days, rmst_ci_low_days, rmst_ci_high_days, rmst_p_value, rmst_p_adjusted``), adjusted by Holm.
    Errors of shares are Greenwood's; those of competing ends under late entry differ by some percent from R's (see
    ``mc.stats.aalen_johansen``).
    Entry cohorts are compared up to the last day that each of them was observed, and no farther (in ``.pairs``: that
    both of the pair were, ``compared_days``). With ``repeat="each"`` there are the differences in mean days alone: the
    tests take waits to be independent.

    Raises ``ParameterError`` for parameters that do not fit the log, nobody at risk, over 200 segments, and for a micro
    in ``by`` without a landmark (who converts early has no time to do it: immortal time). A target that never occurs
    gives zero events and a warning in ``.warnings``. Follows R's ``survfit(conf.type = "log-log")``, ``survdiff`` and
    ``cmprsk::cuminc``.

    >>> import microconv as mc
    >>> found = mc.time_to_conversion(mc.sample_log(), horizon="14D", by="device")
    >>> found.summary[["device", "n", "events", "probability", "ci_low", "ci_high"]].round(3)
        device     n  events  probability  ci_low  ci_high
    0  desktop  2293     198        0.088   0.077    0.100
    1   mobile  3210     211        0.067   0.059    0.076
    2   tablet   500      40        0.082   0.061    0.110
    """
    rule = journey_rule(
        log,
        target,
        origin,
        competing,
        horizon,
        origin_col=origin_col,
        landmark=landmark,
        from_age=from_age,
        repeat=repeat,
        tz=tz,
    )
    counted = [f"{start}{cause}" for cause in rule.causes for start in ("d_", "events_")]
    segments, rule = segments_of(log, by, rule, [*COLUMNS, *counted])
    users = journeys(log, rule, segments, tz)
    people, lost = population(log, users, len(segments)), left_out(log, users)
    if people["at_risk"] == 0:
        raise ParameterError(_nobody_at_risk(rule, people["users"], lost, label(origin)))
    if people["segments"] > _MOST_SEGMENTS:
        raise ParameterError(
            f"by={segments} has {people['segments']:,} segments, over {_MOST_SEGMENTS}. Choose a coarser attribute."
        )
    read_at = rule.horizon if rule.horizon is not None else _plan_horizon(log)
    cohorts = any(column in ENTRY_PERIODS and column not in log.columns for column in segments)
    try:
        made = from_counts(log, users, rule, segments, read_at, confidence, cohorts=cohorts, max_rows=max_rows)
    except TooManyRows:
        if rule.cluster is not None:  # errors by user need the table
            raise
        made = from_sums(log, users, rule, segments, read_at, confidence, cohorts=cohorts)
    extra = {"summary": made.summary, **made.extra}
    found = Found(
        log, rule, segments, read_at, people, lost, made.kept, made.counts, made.summary,
        naive=extra.get("naive"), pairs=len(extra.get("pairs", ())), compared_to=made.compared_to,
    )  # fmt: skip
    return TimeToConversion(
        name="time_to_conversion",
        table=made.table,
        meaning=meaning(found),
        parameters={
            "target": rule.target.name,
            "origin": label(origin),
            "origin_col": rule.origin_col,
            "by": segments,
            "competing": [item.name for item in rule.competing],
            "censor": [item.name for item in rule.censor],
            "horizon": _written(rule.horizon),
            "repeat": rule.repeat,
            "landmark": _written(rule.landmark),
            "from_age": _written(rule.from_age),
            "tz": tz,
            "confidence": confidence,
            "compared_to_days": made.compared_to,
        },
        assumptions=assumptions(found),
        warnings=warnings_of(found),
        extra=extra,
        provenance=log.provenance,
        plot_with=_plot_cohorts if cohorts and len(segments) == 1 else _plot,
        risk_table=made.counts,
    )


def _written(micros: int | None) -> str | None:
    return format_duration(micros) if micros is not None else None


def _nobody_at_risk(rule: JourneyRule, users: int, lost: dict[str, int], origin: str) -> str:
    if not rule.chosen:
        return (
            f"No user is ever at risk: of {users:,} users none reaches the origin {origin!r} "
            "before the journey ends. Check its spelling, or choose another origin."
        )
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in lost.items())
    asked = ", ".join(
        f"{name}={value!r}"
        for name, value in (
            ("origin_col", rule.origin_col),
            ("landmark", _written(rule.landmark)),
            ("from_age", _written(rule.from_age)),
        )
        if value is not None
    )
    return (
        f"No user is ever at risk with {asked}: of {users:,} users {reasons}. Choose a shorter time or another origin."
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_time_to_conversion

    return plot_time_to_conversion(result, ax)


def _plot_cohorts(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_cohorts

    return plot_cohorts(result, ax)


def _plan_horizon(log: EventLog) -> int | None:
    horizon = log.plan.horizon if log.plan is not None else None
    return to_micros(horizon, "horizon") if horizon is not None else None
