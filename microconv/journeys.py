"""What a caller may write for the target, the origin and other ends of journeys, turned into the reduction's rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from microconv.durations import Duration, to_micros
from microconv.errors import ParameterError, PlanError, shorten, unknown_name
from microconv.reduce.items import matches
from microconv.reduce.risk import JourneyRule
from microconv.steps import Step, as_item

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["journey_rule"]


def journey_rule(
    log: EventLog, target: Step | None, origin: Step, competing: Sequence[Step] | None, horizon: Duration | None
) -> JourneyRule:
    """Check the parameters of ``time_to_conversion`` and put them in the reduction's terms."""
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
    return JourneyRule(
        target=goal,
        origin=start,
        competing=ends,
        censor=censor,
        horizon=to_micros(horizon, "horizon") if horizon is not None else None,
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
