"""What a caller may write for the target, the origin and other ends of journeys, turned into the reduction's rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from microconv.durations import Duration, format_duration, to_micros
from microconv.errors import ParameterError, PlanError, shorten, unknown_name
from microconv.judging import TimeReading
from microconv.reduce.items import is_plain, matches
from microconv.reduce.occurrences import ENTRY_PERIODS
from microconv.reduce.risk import JourneyRule
from microconv.reduce.waits import BUCKET, NUMBER
from microconv.steps import Step, as_item, segment_columns

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["journey_rule", "segments_of"]


def journey_rule(
    log: EventLog,
    target: Step | None,
    origin: Step,
    competing: Sequence[Step] | None,
    horizon: Duration | None,
    *,
    origin_col: str | None = None,
    landmark: Duration | None = None,
    from_age: Duration | None = None,
    repeat: Literal["first", "each"] = "first",
    tz: str = "UTC",
) -> JourneyRule:
    """Check the parameters of ``time_to_conversion`` and put them in the reduction's terms."""
    TimeReading(tz=tz)  # refuses a zone that does not exist
    if target is None:
        goal: Item = log.require_plan("time_to_conversion without target=").macros[0]
    else:
        goal = _item(log, target, "target")
    start = None if origin == "entry" else _item(log, origin, "origin")
    if start is not None and _what(start) == _what(goal):
        raise ParameterError(f"origin and target are both {goal.name!r}. Measure from entry or from another event.")
    if isinstance(origin, str) and start is not None:
        known = [item.name for item in log.plan.items] if log.plan is not None else []
        if origin not in known and not _occurs(log, origin):
            raise ParameterError(unknown_name("origin", origin, ["entry", *known, *log.event_counts.index]))
    censor = tuple(log.plan.censor) if log.plan is not None else ()
    if competing is None:
        planned = log.plan.competing if log.plan is not None else ()
        ends: tuple[Item, ...] = tuple(end for end in planned if _what(end) != _what(goal))
    else:
        ends = _named_ends(log, goal, competing)
    for end in (*ends, *censor):
        if start is not None and _what(end) == _what(start):
            raise ParameterError(
                f"origin={start.name!r} is itself an end of the journey ({end.name!r}): nobody would be at risk after "
                f"it. Choose another origin{', or pass competing=()' if end in ends else ''}."
            )
    rule = JourneyRule(
        target=goal,
        origin=start,
        competing=ends,
        censor=censor,
        horizon=to_micros(horizon, "horizon") if horizon is not None else None,
        origin_col=origin_col,
        landmark=to_micros(landmark, "landmark") if landmark is not None else None,
        from_age=to_micros(from_age, "from_age") if from_age is not None else None,
        repeat=repeat,
        tz=tz,
    )
    _check_clock(log, rule)
    return rule


def _check_clock(log: EventLog, rule: JourneyRule) -> None:
    if rule.repeat not in ("first", "each"):
        raise ParameterError(unknown_name("repeat", rule.repeat, ("first", "each")))
    if rule.repeat == "each":
        if not is_plain(rule.target):
            raise ParameterError(
                f"repeat='each' needs a target that can happen again, but {rule.target.name!r} (nth or total) happens "
                "once by definition. Name the event itself, with where= if need be."
            )
        for name, value, why in (
            ("origin_col", rule.origin_col, "conversions before the first recorded event are unknown"),
            ("landmark", rule.landmark, "the clock starts anew at each conversion"),
            ("from_age", rule.from_age, "the clock starts anew at each conversion"),
        ):
            if value is not None:
                raise ParameterError(f"repeat='each' and {name}= do not go together: {why}. Use repeat='first'.")
    if rule.origin_col is not None:
        log.require_columns([rule.origin_col], "origin_col")
        if rule.origin is not None:
            raise ParameterError(
                f"origin={rule.origin.name!r} and origin_col={rule.origin_col!r} both set time zero. Give one of them."
            )
    if rule.from_age is None:
        return
    if rule.landmark is not None:
        raise ParameterError(
            "landmark= and from_age= both leave out the first days: landmark= starts the clock anew there, from_age= "
            "keeps it. Give one of them."
        )
    if rule.horizon is not None and rule.from_age >= rule.horizon:
        raise ParameterError(
            f"from_age={format_duration(rule.from_age)!r} leaves nothing before "
            f"horizon={format_duration(rule.horizon)!r}. Choose an earlier age or a longer horizon."
        )


def segments_of(
    log: EventLog, by: str | Sequence[str] | None, rule: JourneyRule, taken: Sequence[str]
) -> tuple[list[str], JourneyRule]:
    """The columns of ``by``, and the rule that knows which of them are micros, done or not by the landmark.

    A name that is a column of the log is the column. Raises ``ParameterError`` on a micro without a landmark.
    """
    columns, taken = [by] if isinstance(by, str) else list(by or ()), [*taken, BUCKET]
    plan = log.plan
    micros = {item.name: item for item in plan.micros} if plan is not None else {}
    done, own = [], []
    for column in columns:
        if column in log.columns or column in ENTRY_PERIODS or not isinstance(column, str):
            continue
        if column == NUMBER:
            if rule.repeat != "each":
                raise ParameterError(f"by={NUMBER!r} needs repeat='each': with 'first' there is one conversion a user.")
            own.append(column)
            continue
        if column in micros and rule.landmark is not None:
            done.append(micros[column])
        elif column in micros or column in log.event_counts.index:
            raise ParameterError(_immortal(column, column in micros, rule.landmark is not None))
    names = [*own, *[item.name for item in done]]
    segment_columns(log, [column for column in columns if column not in names], taken)
    for name in names:
        if name in taken or columns.count(name) > 1:
            raise ParameterError(f"by={columns!r}: {name!r} is given twice or is the name of a column of the result.")
    return columns, replace(rule, done=tuple(done))


def _immortal(name: str, micro: bool, landmark: bool) -> str:
    if landmark:
        return (
            f"by: {name!r} is an event, neither a column nor a micro of the plan. Name it among the plan's micros to "
            "tell users apart by whether they had done it at the landmark."
        )
    named = "" if micro else " (once the plan names it as a micro)"
    return (
        f"by: {name!r} is something users do later, not what was known of them at entry. Only who has not converted "
        "yet has time to do it, so that doers and others would differ even if it had no effect (immortal time). Use "
        f"landmark='7D' to compare by what was done by then{named}, or mc.hazard_ratios for its effect over time."
    )


def _named_ends(log: EventLog, goal: Item, competing: Sequence[Step]) -> tuple[Item, ...]:
    if isinstance(competing, str | Mapping) or not isinstance(competing, Iterable):
        raise ParameterError(f"competing={shorten(repr(competing))} must be a list of names, such as ['unsubscribe'].")
    ends = tuple(_item(log, step, "competing") for step in competing)
    names = [goal.name, *[end.name for end in ends]]
    for i, end in enumerate(ends):
        if end.name in names[: i + 1]:
            what = "the target" if end.name == goal.name else "there twice"
            raise ParameterError(f"competing: {end.name!r} is {what}. Name each end of a journey once.")
    return ends


def _item(log: EventLog, step: Step, what: str) -> Item:
    """A step as a plan item whose columns the log has."""
    item = as_item(log, step, what)
    total = getattr(item, "total", None)
    if total is not None:
        log.require_columns([total.column], f"{what} {shorten(repr(item.name))}")
    try:
        matches(item, log.table)
    except PlanError as error:
        raise ParameterError(f"{what} {shorten(repr(item.name))}: {error}") from error
    return item


def _what(item: Item) -> tuple[object, ...]:
    """What an item is, whatever it is called."""
    return item.event, item.condition, getattr(item, "nth", None) or 1, str(getattr(item, "total", None))


def _occurs(log: EventLog, event: str) -> bool:
    found = log.table.filter(log.table.event == event).limit(1)
    return len(log.engine.fetch(found.select("event"))) > 0
