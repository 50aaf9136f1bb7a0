"""mc.retention: which share of each entry cohort came back, day by day or week by week, in a stated time zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, PlanError, shorten, unknown_name
from microconv.judging import TimeReading
from microconv.reduce.items import matches
from microconv.reduce.retention import Followed, RetentionRule, cohort_sizes, followed, returned
from microconv.results import Result
from microconv.stats.proportions import wilson
from microconv.steps import Step, as_item, label, segment_columns

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["retention"]

COLUMNS = ("cohort", "period", "users", "observed", "returned", "rate", "ci_low", "ci_high", "open", "censored")
_LAST = {"D": 30, "W": 12, "M": 12}  # what is shown unless asked for more
_NAMED = {"D": (1, 7, 30), "W": (1, 4, 12), "M": (1, 3, 12)}  # periods that the words name
_MOST_PERIODS, _MOST_SEGMENTS, _MOST_CELLS = 3_660, 200, 1_000_000
_FEW = 10


def retention(
    log: EventLog,
    *,
    event: Step | None = None,
    origin: Step = "entry",
    cohort: str = "week",
    period: str = "D",
    calendar: bool = False,
    periods: int | None = None,
    by: str | Sequence[str] | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
) -> Result:
    """Which share of the users who entered in the same week came back on each later day, counting open days as open.

    * ``event``: what counts as coming back: None any event, else a plan name, an event name or
      ``{"event": ..., "where": ...}``.
    * ``origin``: time zero: ``"entry"`` (the user's first event) or a step, whose first occurrence starts the count.
    * ``cohort``: who is counted together: users whose time zero falls on the same ``"day"``, in the same ``"week"``
      (from Monday) or ``"month"`` of zone ``tz``.
    * ``period``: ``"D"``, ``"W"`` or ``"M"``. Period 0 begins with the **local day** of time zero, and period k is the
      k-th local calendar day after it (not 24 hours), the k-th span of 7 local days (``"W"``) or of 30 (``"M"``),
      each counted from the user's own first day. With ``calendar=True`` weeks run from Monday and months are calendar
      months: period 0 is the one of time zero, however little of it was left.
    * ``periods``: the last period shown; None: day 30, week 12, month 12, or as far as anybody was observed.
    * ``by``: attributes at entry, one block of cohorts per combination; no value is ``(missing)``.
    * ``tz``: the reporting time zone, such as ``"Europe/Berlin"``: an event belongs to the day that clocks show there.

    A user has come back in a period who did the event in it, at time zero or later (once or often). Only users for
    whom all of the period was observed are counted in the rate. The others are not lost: they are open where the
    period was not over at ``observed_until``, censored where one of the plan's ``censor`` events came before its end.

    ``.table``, per segment: ``cohort`` (the first day, as text), ``period``, ``users`` (of the cohort), ``observed``
    (for whom all of the period was), ``returned`` (of those), ``rate`` = returned / observed with Wilson's ``ci_low,
    ci_high``, then ``open`` and ``censored``, who make up the rest. A cell with ``open`` above 0 is not final; one
    without ``observed`` has no rate. Cohorts of nobody have no rows. ``.total``: the same per segment and period, all
    cohorts together.

    Raises ``ParameterError`` for parameters that do not fit the log.

    >>> import microconv as mc
    >>> found = mc.retention(mc.sample_log(), period="W", tz="Europe/Berlin", periods=3)
    >>> found.total[["period", "users", "observed", "returned", "rate"]].round(3)
       period  users  observed  returned   rate
    0       0   6003      5653      5653  1.000
    1       1   6003      5310       958  0.180
    2       2   6003      4953       732  0.148
    3       3   6003      4586       672  0.147
    """
    wilson([1], [2], confidence)  # its words on a confidence that is none
    rule = _rule(log, event, origin, cohort, period, calendar, tz)
    segments = segment_columns(log, by, COLUMNS)
    last = _last(periods, period)
    people = followed(log, rule, segments)
    if people.users == people.left_out:
        raise ParameterError(
            f"No user reaches the origin {label(origin)!r} while observed ({people.users:,} users). Check its "
            "spelling, or choose another origin."
        )
    sizes = cohort_sizes(log, people, len(segments))
    if periods is None:
        last = max(0, min(last, int(sizes["complete"].max()) - 1))
    many = _segments(sizes, segments)
    back = returned(log, people, rule, len(segments), last)
    table = _cells(sizes, back, segments, rule, last, confidence)
    total = _pooled(table, segments, confidence)
    return Result(
        name="retention",
        table=table,
        meaning=_meaning(total, segments, rule),
        parameters={
            "event": rule.event.name if rule.event is not None else None,
            "origin": label(origin),
            "cohort": cohort,
            "period": period,
            "calendar": calendar,
            "periods": last,
            "by": segments,
            "tz": tz,
            "confidence": confidence,
        },
        assumptions=_assumptions(log, rule, people),
        warnings=_warnings(table, total, rule, many),
        extra={"total": total},
        provenance=log.provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_retention

    return plot_retention(result, ax)


def _rule(
    log: EventLog, event: Step | None, origin: Step, cohort: str, period: str, calendar: bool, tz: str
) -> RetentionRule:
    for name, value, allowed in (("cohort", cohort, ("day", "week", "month")), ("period", period, tuple(_LAST))):
        if value not in allowed:
            raise ParameterError(unknown_name(name, value, allowed))
    if not isinstance(calendar, bool):
        raise ParameterError(f"calendar={shorten(repr(calendar))} must be True or False.")
    if not isinstance(tz, str):
        raise ParameterError(f"tz={shorten(repr(tz))} is not the name of a time zone. Write it as 'Europe/Berlin'.")
    TimeReading(tz=tz)  # refuses a zone that does not exist
    return RetentionRule(
        event=_item(log, event, "event") if event is not None else None,
        origin=None if origin == "entry" else _item(log, origin, "origin"),
        censor=tuple(log.plan.censor) if log.plan is not None else (),
        cohort=cohort,
        period=period,
        calendar=calendar,
        tz=tz,
    )


def _item(log: EventLog, step: Step, what: str) -> Item:
    """A step as a plan item whose columns the log has; a bare name must be one of the plan's or an event's."""
    item = as_item(log, step, what)
    total = getattr(item, "total", None)
    if total is not None:
        log.require_columns([total.column], f"{what} {shorten(repr(item.name))}")
    try:
        matches(item, log.table)
    except PlanError as error:
        raise ParameterError(f"{what} {shorten(repr(item.name))}: {error}") from error
    planned = [one.name for one in log.plan.items] if log.plan is not None else []
    if isinstance(step, str) and step not in planned and not _occurs(log, step):
        raise ParameterError(unknown_name(what, step, [*planned, *log.event_counts.index]))
    return item


def _occurs(log: EventLog, event: str) -> bool:
    found = log.table.filter(log.table.event == event).limit(1)
    return len(log.engine.fetch(found.select("event"))) > 0


def _last(periods: int | None, period: str) -> int:
    if periods is None:
        return _LAST[period]
    if isinstance(periods, bool) or not isinstance(periods, int) or not 0 <= periods <= _MOST_PERIODS:
        raise ParameterError(
            f"periods={shorten(repr(periods))} must be a whole number, 0 to {_MOST_PERIODS:,}: the last period shown."
        )
    return periods


def _segments(sizes: pd.DataFrame, segments: list[str]) -> int:
    if not segments:
        return 1
    many = len(sizes[[f"by_{i}" for i in range(len(segments))]].drop_duplicates())
    if many > _MOST_SEGMENTS:
        raise ParameterError(f"by={segments} has {many:,} segments, over {_MOST_SEGMENTS}. Choose a coarser attribute.")
    return many


def _cells(
    sizes: pd.DataFrame, back: pd.DataFrame, segments: list[str], rule: RetentionRule, last: int, confidence: float
) -> pd.DataFrame:
    """One row per segment, cohort and period."""
    keys = [*[f"by_{i}" for i in range(len(segments))], "cohort"]
    blocks = sizes.groupby(keys, sort=True)["users"].sum().reset_index()
    if len(blocks) * (last + 1) > _MOST_CELLS:
        raise ParameterError(
            f"{len(blocks):,} cohorts of {last + 1:,} periods are more than {_MOST_CELLS:,} cells. Use longer cohorts "
            "(cohort='month'), fewer periods=, or fewer segments."
        )
    place = pd.MultiIndex.from_frame(blocks[keys])
    shape = (len(blocks), last + 1)
    row = place.get_indexer(pd.MultiIndex.from_frame(sizes[keys]))
    over, observed = (_through(row, sizes["users"], sizes[name], shape) for name in ("over", "complete"))
    came = np.zeros(shape, dtype=np.int64)
    if len(back):
        row = place.get_indexer(pd.MultiIndex.from_frame(back[keys]))
        came[row, back["period"].to_numpy()] = back["users"].to_numpy()
    repeated = blocks.loc[blocks.index.repeat(last + 1)].reset_index(drop=True)
    table = pd.DataFrame({name: repeated[f"by_{i}"] for i, name in enumerate(segments)}, index=repeated.index)
    table["cohort"] = _dates(repeated["cohort"], rule.cohort)
    table["period"] = np.tile(np.arange(last + 1), len(blocks))
    table["users"] = repeated["users"].astype("int64")
    table["observed"], table["returned"] = observed.ravel(), came.ravel()
    table["open"] = table["users"] - over.ravel()
    return _rated(table, confidence)[[*segments, *COLUMNS]]


def _through(row: np.ndarray, users: pd.Series, periods: pd.Series, shape: tuple[int, int]) -> np.ndarray:
    """How many users of each row got through each period, from how many periods each of them got through."""
    found = np.zeros(shape, dtype=np.int64)
    most = np.minimum(periods.to_numpy(), shape[1])
    some = most > 0
    np.add.at(found, (row[some], most[some] - 1), users.to_numpy()[some])
    return found[:, ::-1].cumsum(axis=1)[:, ::-1]


def _pooled(table: pd.DataFrame, segments: list[str], confidence: float) -> pd.DataFrame:
    """All cohorts together, per segment and period."""
    keys = [*segments, "period"]
    total = table.groupby(keys, sort=True)[["users", "observed", "returned", "open"]].sum().reset_index()
    return _rated(total, confidence)[[*segments, *COLUMNS[1:]]]


def _rated(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    low, high = wilson(table["returned"], table["observed"], confidence)
    rate = table["returned"] / table["observed"].where(table["observed"] > 0)
    censored = table["users"] - table["observed"] - table["open"]
    return table.assign(rate=rate.astype(float), ci_low=low, ci_high=high, censored=censored)


def _dates(numbers: pd.Series, cohort: str) -> list[str]:
    """The first day of each cohort as ISO text."""
    if cohort == "month":
        return [f"{number // 12:04d}-{number % 12 + 1:02d}-01" for number in numbers]
    epoch = dt.date(1970, 1, 1)
    return [(epoch + dt.timedelta(days=int(number))).isoformat() for number in numbers]


def _unit(rule: RetentionRule) -> str:
    return {"D": "day", "W": "week", "M": "month"}[rule.period]


def _did(rule: RetentionRule) -> str:
    return f"did {rule.event.name}" if rule.event is not None else "came back"


def _meaning(total: pd.DataFrame, segments: list[str], rule: RetentionRule) -> str:
    """Two or three sentences that a marketer can read."""
    users = int(total.loc[total["period"] == 0, "users"].sum())
    unit, since = _unit(rule), f"the first {rule.origin.name}" if rule.origin is not None else "entry"
    who = f"{users:,} {'user' if users == 1 else 'users'}"
    start = f"{who} in cohorts by {rule.cohort} of {since}, days in zone {rule.tz}."
    known = total[(total["period"] > 0) & (total["observed"] > 0)]
    if known.empty:
        return f"{start} No {unit} after the first was observed to its end: nothing can be said of coming back yet."
    if segments:
        named = [k for k in _NAMED[rule.period] if (known["period"] == k).any()]
        at = known[known["period"] == (named[min(1, len(named) - 1)] if named else known["period"].min())]
        ordered = at.sort_values("rate", kind="stable")
        top, bottom = ordered.iloc[-1], ordered.iloc[0]
        return (
            f"{start} {_when(rule, top).capitalize()}, the share who {_did(rule)} is highest in "
            f"{_segment(top, segments)} ({_rate(top)}) and lowest in {_segment(bottom, segments)} ({_rate(bottom)})."
        )
    rows = [known[known["period"] == k].iloc[0] for k in _NAMED[rule.period] if (known["period"] == k).any()]
    rows = rows or [known.iloc[0]]
    said = "; ".join(f"{_when(rule, row)} {_rate(row)} of {int(row['observed']):,}" for row in rows)
    return f"{start} Of those for whom all of the {unit} was observed, these shares {_did(rule)}: {said}."


def _when(rule: RetentionRule, row: pd.Series) -> str:
    return f"{'on' if rule.period == 'D' else 'in'} {_unit(rule)} {int(row['period'])}"


def _segment(row: pd.Series, segments: list[str]) -> str:
    return ", ".join(f"{column} {row[column]}" for column in segments)


def _rate(row: pd.Series) -> str:
    return f"{row['rate']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%})"


def _assumptions(log: EventLog, rule: RetentionRule, people: Followed) -> list[str]:
    unit = _unit(rule)
    zero = f"the user's first {rule.origin.name}" if rule.origin is not None else "the user's first event in the log"
    if rule.period == "D":
        counted = "Day k is the k-th local calendar day after that of time zero, not the k-th 24 hours."
    elif rule.calendar:
        starts = "weeks run from Monday" if rule.period == "W" else "months are calendar months"
        counted = f"Periods follow the calendar: {starts}; period 0 is the rest of the {unit} that time zero falls in."
    else:
        counted = (
            f"Period k is the k-th span of {rule.span} local calendar days, counted from each user's own first day."
        )
    what = f"{rule.event.name}" if rule.event is not None else "any event"
    said = [
        f"Time zero is {zero}. Days, weeks (from Monday) and months are those of zone {rule.tz}.",
        counted,
        f"Coming back in a period is {what} in it, at time zero or later, once or often; period 0 holds time zero.",
        f"A {unit} counts only for users for whom all of it was observed (until {log.observed_until:%Y-%m-%d %H:%M} "
        "UTC); the others are open or censored, neither back nor lost.",
        "Later periods rest on older cohorts: along a row of .total the users change.",
    ]
    if rule.origin is None:
        said.append(
            "Who was active before the log begins seems to enter with its first event and fills the first cohort; "
            "log.filter(start=...) leaves such users out."
        )
    if rule.censor:
        names = ", ".join(item.name for item in rule.censor)
        said.append(f"Events that end observation: {names}; from the period in which one falls the user is censored.")
    if people.left_out:
        said.append(
            f"{people.left_out:,} of {people.users:,} users never come to the origin while observed and are left out."
        )
    return said


def _warnings(table: pd.DataFrame, total: pd.DataFrame, rule: RetentionRule, segments: int) -> list[str]:
    said = []
    unit = _unit(rule)
    if (table["observed"] == 0).all():
        said.append(f"No {unit} was observed to its end for anybody: no cell has a rate.")
    elif (table.loc[table["period"] > 0, "returned"] == 0).all() and (table["period"] > 0).any():
        said.append(f"Nobody {_did(rule)} in any {unit} after the first that is over.")
    some = (total["observed"] > 0) & (total["observed"] < _FEW)
    if some.any():
        first = int(total.loc[some, "period"].min())
        where = " in some segments" if segments > 1 else ""
        said.append(f"From {unit} {first} on fewer than {_FEW} users are observed{where}: such rates say little.")
    return said
