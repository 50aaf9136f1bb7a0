"""mc.forecast: how many users of each entry cohort will have converted by the horizon, given those still open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY, Duration, format_duration, moment_to_micros, to_micros
from microconv.errors import ParameterError, unknown_name
from microconv.journeys import journey_rule
from microconv.reduce.held_back import became_of, first_start, known_at
from microconv.reduce.risk import PART_OF_THE_USERS, JourneyRule, journeys, population, risk_table
from microconv.results import Result
from microconv.stats.backtest import BACKTEST, RELIABILITY, judge
from microconv.stats.competing import aalen_johansen, probability_at
from microconv.stats.forecasting import COHORTS, OPEN, Setting, forecast_counts
from microconv.stats.log_rank import logrank
from microconv.steps import Step, label, segment_columns

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["forecast"]

_PERIODS = {"day": "entry_day", "week": "entry_week", "month": "entry_month"}
_MOST_COHORTS = 2_000
_DRIFT = 0.01
_MEND = f"shorten the horizon, or {PART_OF_THE_USERS}"


@dataclass(frozen=True)
class _Judged:
    """The back-test: how long was held back, its frames, and why there is none."""

    holdback: int
    reliability: pd.DataFrame
    backtest: pd.DataFrame
    whole: pd.DataFrame
    why_not: str = ""


def forecast(
    log: EventLog,
    *,
    horizon: Duration | None = None,
    cohort: Literal["day", "week", "month"] = "week",
    by: str | Sequence[str] | None = None,
    holdback: Duration | None = None,
    target: Step | None = None,
    origin: Step = "entry",
    competing: Sequence[Step] | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
) -> Result:
    """How many users of each entry cohort will have converted by the horizon, given those still open?

    * ``horizon``: the age (``"30D"``) by which a conversion counts; None takes the plan's.
    * ``cohort``: users who entered in one ``"day"``, ``"week"`` (from Monday) or ``"month"`` of zone ``tz``.
    * ``by``: attributes at entry; each segment has a curve of its own.
    * ``holdback``: the back-test forgets this much time at the end of the log; None: the horizon, at most a third of
      the log; ``"0D"``: no back-test.
    * ``target``, ``origin``, ``competing``, ``confidence``: as in ``mc.time_to_conversion``.
    * ``max_rows``: beyond so many counts, the times of censored users are put together. Beyond so many times with a
      conversion or another end there is an error.

    A user is open who has not converted nor ended otherwise and is younger than the horizon at ``observed_until``; the
    plan's ``censor`` events end observation, and of those users nothing is expected. The chance of who is open at age
    t is ``(F(H) - F(t)) / S(t)``: ``F`` the cumulative incidence of the target (Aalen-Johansen), ``S`` the survival of
    any end, pooled over the cohorts of the segment; summed at the exact ages. Where nobody was watched as far as H, a
    mixture-cure model continues the curve if ``mc.eventual_conversion`` would state it; else nothing is forecast.
    The interval is a prediction interval: it holds the error of the curve (Greenwood's, shared by all open users)
    and the luck of those users, not a change of behaviour between cohorts.

    ``.table``, per segment and cohort: ``cohort`` (its first day), ``users = converted + ended + lost + expired +
    open`` (other ends; observation ended; the horizon passed), ``expected`` (further conversions), ``total`` with
    ``ci_low, ci_high``, ``rate`` (of users) with ``rate_ci_low, rate_ci_high``, ``mature`` (nobody is open),
    ``method``. ``.cohorts``: over all segments. ``.total``: all. ``.open``: the ``chance`` by the horizon of who is
    open at ``age_days``. ``.backtest``, per cohort: of ``n`` open when the held-back time began, conversions
    ``predicted`` (by the horizon, or by the end of the log) with ``ci_low, ci_high``, ``actual``, ``error, inside``;
    ``.backtest_total``: all; ``.reliability``: predicted and observed share by bins of the predicted chance.

    Raises ``ParameterError`` for parameters that do not fit the log, nobody at risk, a holdback as long as the log, and
    more than ``max_rows`` event times.

    >>> import microconv as mc
    >>> found = mc.forecast(mc.sample_log(), horizon="30D", cohort="month")
    >>> found.table[["cohort", "users", "converted", "open", "expected", "mature"]].round(1)
           cohort  users  converted  open  expected  mature
    0  2026-01-01   1357        133     0       0.0    True
    1  2026-02-01   1381        120     0       0.0    True
    2  2026-03-01   1564        125     0       0.0    True
    3  2026-04-01   1463        121  1166      12.5   False
    4  2026-05-01    238          8   230       8.0   False
    """
    if cohort not in _PERIODS:
        raise ParameterError(unknown_name("cohort", cohort, _PERIODS))
    period = _PERIODS[cohort]
    if period in log.columns:
        raise ParameterError(f"The log has a column named {period!r}, which is the name of entry cohorts. Rename it.")
    rule = journey_rule(log, target, origin, competing, horizon, tz=tz)
    rule = replace(rule, horizon=_horizon(log, rule))
    # Who is lost to observation must be told from who is still open: here the plan's censor events are ends.
    told = replace(rule, competing=(*rule.competing, *rule.censor), censor=())
    taken = [*COHORTS, *OPEN, *BACKTEST, *RELIABILITY, *_PERIODS.values(), "time_days", "n", "entered", "censored"]
    segments = segment_columns(log, by, [*taken, "person_time_days", *[f"d_{cause}" for cause in told.causes]])
    users = journeys(log, told, [*segments, period], tz)
    people = population(log, users, len(segments) + 1)
    if people["at_risk"] == 0:
        raise ParameterError(
            f"No user is ever at risk: of {people['users']:,} users none reaches the origin {label(origin)!r} "
            "before the journey ends. Check its spelling, or choose another origin."
        )
    if people["segments"] > _MOST_COHORTS:
        raise ParameterError(
            f"There are {people['segments']:,} cohorts (by={segments}, cohort={cohort!r}), over {_MOST_COHORTS:,}. "
            "Choose longer cohorts or a coarser attribute."
        )
    assert rule.horizon is not None
    columns = [*segments, "cohort"]
    setting = Setting(
        target=rule.target.name,
        ends=tuple(end.name for end in rule.competing),
        lost=tuple(end.name for end in rule.censor),
        horizon_days=rule.horizon / MICROS_PER_DAY,
        confidence=confidence,
    )
    counts, kept = risk_table(log, users, told, columns, max_rows, mend=_MEND)
    found = forecast_counts(counts, segments, setting)
    tested = _backtest(log, users, told, segments, setting, holdback, max_rows)
    drift = _drift(counts, segments, setting)
    return Result(
        name="forecast",
        table=found.table,
        meaning=_meaning(found.total, tested, rule, label(origin)),
        parameters={
            "target": rule.target.name,
            "origin": label(origin),
            "horizon": format_duration(rule.horizon),
            "cohort": cohort,
            "by": segments,
            "holdback": format_duration(tested.holdback) if tested.holdback else None,
            "competing": list(setting.ends),
            "censor": list(setting.lost),
            "tz": tz,
            "confidence": confidence,
        },
        assumptions=_assumptions(log, rule, people, kept, label(origin), cohort, tz),
        warnings=[*log.notes, *_few(found.notes), *drift, *([tested.why_not] if tested.why_not else [])],
        extra={
            "cohorts": found.cohorts,
            "total": found.total,
            "open": found.open,
            "backtest": tested.backtest,
            "backtest_total": tested.whole,
            "reliability": tested.reliability,
        },
        provenance=log.provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_forecast

    return plot_forecast(result, ax)


def _few(notes: list[str], most: int = 3) -> list[str]:
    """The first notes on segments, and how many there are more."""
    more = len(notes) - most
    return [*notes[:most], f"... and {more} more notes like these on other segments."] if more > 0 else notes


def _horizon(log: EventLog, rule: JourneyRule) -> int:
    if rule.horizon is not None:
        return rule.horizon
    if log.plan is None or log.plan.horizon is None:
        raise ParameterError("forecast needs a horizon: give horizon='30D', or a plan with a horizon.")
    return to_micros(log.plan.horizon, "horizon")


def _backtest(
    log: EventLog,
    users: ir.Table,
    told: JourneyRule,
    segments: list[str],
    setting: Setting,
    holdback: Duration | None,
    max_rows: int,
) -> _Judged:
    """Forecast from what was known before the held-back time, and what then happened."""
    until, first = moment_to_micros(log.observed_until), first_start(log, users)
    assert first is not None  # somebody is at risk
    assert told.horizon is not None
    span = until - first
    if holdback is None:
        held = min(told.horizon, _rounded(span // 3))
    else:
        held = to_micros(holdback, "holdback", zero=True)
        if held >= span:
            raise ParameterError(
                f"holdback={holdback!r} holds back the whole log, which is {span / MICROS_PER_DAY:.3g} days long from "
                "the first time zero to its end. Choose a shorter one, such as "
                f"{format_duration(max(_rounded(span // 3), 1))!r}, or '0D' for no back-test."
            )
    frames = pd.DataFrame(columns=RELIABILITY), pd.DataFrame(columns=BACKTEST), pd.DataFrame(columns=BACKTEST[1:])
    if held == 0:
        short = "" if holdback is not None else "The log is too short to hold back time: there is no back-test."
        return _Judged(0, *frames, why_not=short)
    columns = [*segments, "cohort"]
    before = known_at(log, users, until - held)
    outcome = became_of(log, users, columns, until - held, until, told.horizon, max_rows)
    if outcome.empty:
        return _Judged(held, *frames, why_not="Nobody was open when the held-back time began: there is no back-test.")
    known, _ = risk_table(log, before, told, columns, max_rows, mend=_MEND)
    reliability, cohorts, whole = judge(known, outcome, segments, setting)
    left = int(whole["not_judged"].iloc[0])
    note = ""
    if left:
        note = (
            f"Back-test: {left:,} of {left + int(whole['n'].iloc[0]):,} open users are not judged, because when the "
            "held-back time began nobody had been watched to the age at which the log ends for them."
        )
    return _Judged(held, reliability, cohorts, whole, why_not=note)


def _rounded(micros: int) -> int:
    """Down to whole days, or hours, minutes, seconds where it is shorter."""
    for unit in (MICROS_PER_DAY, MICROS_PER_DAY // 24, MICROS_PER_DAY // 1_440, 1_000_000):
        if micros >= unit:
            return micros // unit * unit
    return 0


def _drift(counts: RiskTable, segments: list[str], setting: Setting) -> list[str]:
    """A warning where the later half of the users converts otherwise than the earlier half, within segments."""
    frame = counts.frame
    sizes = frame.groupby("cohort", sort=True)["entered"].sum()
    middle = (sizes.cumsum() - sizes / 2) / sizes.sum()
    if len(sizes) < 2:
        return []
    half = frame["cohort"].map((middle <= 0.5).map({True: "earlier", False: "later"}))
    if half.nunique() < 2:
        return []
    ends = [setting.target, *setting.ends]
    lost = frame["censored"] + frame[[f"d_{name}" for name in setting.lost]].sum(axis=1)
    halves = RiskTable.from_counts(frame.assign(half_=half, censored=lost), (*segments, "half_"), ends)
    test = logrank(halves, "half_", segments, cause=setting.target)
    if not test.p_value < _DRIFT:
        return []
    pooled = halves.pool("half_")
    day = min(float(pooled.frame["time_days"].iloc[rows].max()) for rows in pooled.blocks())
    read = probability_at(aalen_johansen(pooled), day)
    early, late = (float(read.loc[(read["half_"] == name) & (read["cause"] == setting.target), "probability"].iloc[0])
                   for name in ("earlier", "later"))  # fmt: skip
    return [
        f"Conversion changes between cohorts (log-rank test, p = {test.p_value:.2g}): within {day:.3g} days "
        f"{early:.1%} of the earlier half of users convert and {late:.1%} of the later half. The forecast takes all "
        "cohorts for alike: it and its intervals are off as far as this change goes on. Forecast from a log of recent "
        "users."
    ]


def _meaning(total: pd.DataFrame, tested: _Judged, rule: JourneyRule, origin: str) -> str:
    row, within = total.iloc[0], format_duration(rule.horizon or 0)
    since = "entry" if rule.origin is None else f"the first {origin}"
    text = (
        f"{row['converted']:,} of {row['users']:,} users have done {rule.target.name} within {within} of {since}; "
        f"{row['open']:,} are still open."
    )
    if row["open"] and row["expected"] == row["expected"]:
        text += (
            f" Of those {row['expected']:,.1f} more are expected ({row['ci_low'] - row['converted']:,.0f} to "
            f"{row['ci_high'] - row['converted']:,.0f}), {row['total']:,.0f} in all, {row['rate']:.1%} of users."
        )
    elif row["open"]:
        text += " How many of those will convert is not forecast, at least not for all; see the warnings."
    judged = tested.backtest[tested.backtest["n"] > 0] if len(tested.backtest) else tested.backtest
    if len(judged):
        whole = tested.whole.iloc[0]
        text += (
            f" Back-test, the last {format_duration(tested.holdback)} held back: of {whole['n']:,} then open, "
            f"{whole['predicted']:,.1f} conversions were predicted ({whole['ci_low']:,.0f} to {whole['ci_high']:,.0f}) "
            f"and {whole['actual']:,} came; in {int(judged['inside'].sum())} of {len(judged)} cohorts the number lay "
            "in its interval."
        )
    return text


def _assumptions(
    log: EventLog, rule: JourneyRule, people: dict[str, int], kept: str, origin: str, cohort: str, tz: str
) -> list[str]:
    zero = "the first event of a user" if rule.origin is None else f"the first {origin}"
    said = [
        f"Time zero is {zero}; a {rule.target.name} up to and including {format_duration(rule.horizon or 0)} later "
        f"counts. Cohorts are by {cohort} of the first event, in {tz}.",
        f"Open are users younger than that at {log.observed_until:%Y-%m-%d %H:%M} UTC. They are taken to go on as "
        "users of the same segment did at the same age: later cohorts convert like earlier ones.",
        "Intervals are for the number of conversions that will be seen: the error of the curve and the chance of "
        "each user, not a change between cohorts.",
        f"Counts are exact in time, with {kept}.",
    ]
    if rule.competing:
        names = ", ".join(end.name for end in rule.competing)
        said.append(f"Who ends otherwise ({names}) is not open any more, and open users may end so before converting.")
    if rule.censor:
        said.append(
            f"Of users whose observation has ended ({', '.join(item.name for item in rule.censor)}) nothing is "
            "expected; in the back-test a conversion after that is not seen, and is not predicted."
        )
    if left := people["users"] - people["at_risk"]:
        said.append(
            f"{left:,} of {people['users']:,} users never come to the origin within their journey and are left out."
        )
    return said
