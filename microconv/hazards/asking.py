"""What a caller may ask of ``mc.hazard_ratios``, checked and put in the reduction's terms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from microconv.durations import Duration, format_duration, to_micros
from microconv.errors import ParameterError, PlanError, shorten, unknown_name
from microconv.journeys import journey_rule
from microconv.reduce.entrants import is_number
from microconv.reduce.items import matches
from microconv.reduce.occurrences import ENTRY_PERIODS
from microconv.reduce.risk import JourneyRule
from microconv.stats.proportions import wilson
from microconv.steps import Step, as_item

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["OTHERS", "Question", "ask"]

OTHERS = "other micros done"  # the column of the fallback, beside the plan's names
_TAKEN = ("time_days", "n", "censored", "entered", "person_time_days", "from_days", "to_days", "cell", "state", OTHERS)
_MOST_BINS = 200


@dataclass(frozen=True)
class Question:
    """A checked question. ``numbers`` are the attributes that enter as one linear term."""

    rule: JourneyRule
    micros: tuple[Item, ...]
    adjust: tuple[str, ...]
    strata: tuple[str, ...]
    numbers: tuple[str, ...]
    method: str
    ties: str
    robust: bool
    since: tuple[int, ...]
    reference: Mapping[str, Any]
    bins: int
    washout: int | None
    tz: str
    confidence: float
    max_rows: int
    max_patterns: int
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The micros' names."""
        return tuple(micro.name for micro in self.micros)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each micro in the plan; "micro" where the plan says none."""
        return {micro.name: getattr(micro, "kind", None) or "micro" for micro in self.micros}


def ask(
    log: EventLog,
    *,
    micros: Sequence[Step] | Step | None,
    adjust: str | Sequence[str],
    strata: str | Sequence[str],
    method: str,
    target: Step | None,
    origin: Step,
    competing: Sequence[Step] | None,
    horizon: Duration | None,
    ties: str,
    robust: bool,
    since: Duration | Sequence[Duration],
    reference: Mapping[str, Any] | None,
    bins: int,
    washout: Duration | None,
    tz: str,
    confidence: float,
    max_rows: int,
    max_patterns: int,
) -> Question:
    """Check the parameters of ``mc.hazard_ratios``. Raises ``ParameterError``."""
    wilson([1], [2], confidence)  # its words on a confidence that is none
    for name, value, allowed in (("method", method, ("cox", "piecewise")), ("ties", ties, ("efron", "breslow"))):
        if value not in allowed:
            raise ParameterError(unknown_name(name, value, allowed))
    if not isinstance(robust, bool):
        raise ParameterError(f"robust={shorten(repr(robust))} must be True or False.")
    _whole("bins", bins, 2, _MOST_BINS)
    _whole("max_rows", max_rows, 1)
    _whole("max_patterns", max_patterns, 2)
    if target is None:
        log.require_plan("hazard_ratios without target=")
    elif isinstance(target, str):
        _known(log, target, "target")
    rule = journey_rule(log, target, origin, competing, horizon, tz=tz)
    chosen, structural = _micros(log, rule, micros)
    adjusted, stratified = _columns(log, adjust, "adjust"), _columns(log, strata, "strata")
    for column in (*adjusted, *stratified):
        if column in adjusted and column in stratified:
            raise ParameterError(f"{column!r} is both in adjust= and in strata=. Name it in one of them.")
        if column in _TAKEN or column in [item.name for item in chosen]:
            raise ParameterError(
                f"The attribute {column!r} has the name of a micro or of a column of counts. "
                f"Rename it when reading: columns={{'my_{column}': {column!r}}}."
            )
    for item in chosen:
        if item.name in _TAKEN or item.name.startswith("d_"):
            raise ParameterError(f"The micro {item.name!r} has the name of a column of counts. Rename it in the plan.")
    if not chosen and not adjusted:
        raise ParameterError(
            "There is nothing to compare: micros= names none" + _but(structural) + " and adjust= is empty. Name "
            "micros (micros=['signup']) or attributes (adjust=['device'])."
        )
    numbers = tuple(column for column in adjusted if is_number(log, column))
    return Question(
        rule=rule,
        micros=chosen,
        adjust=adjusted,
        strata=stratified,
        numbers=numbers,
        method=method,
        ties=ties,
        robust=robust,
        since=_since(since, chosen),
        reference=_reference(reference, adjusted, numbers),
        bins=bins,
        washout=to_micros(washout, "washout") if washout is not None else None,
        tz=tz,
        confidence=float(confidence),
        max_rows=max_rows,
        max_patterns=max_patterns,
        left_out=tuple(structural),
    )


def _whole(name: str, value: object, least: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upper = f" to {most:,}" if most is not None else " or more"
        raise ParameterError(f"{name}={shorten(repr(value))} must be a whole number, {least}{upper}.")


def _but(structural: Sequence[str]) -> str:
    return (
        f" ({', '.join(map(repr, structural))} of the plan are the target, an end or the origin)" if structural else ""
    )


def _columns(log: EventLog, given: str | Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise ParameterError(f"{what}={shorten(repr(given))} must be a list of columns, such as ['device'].")
    columns = (given,) if isinstance(given, str) else tuple(given)
    log.require_columns([c for c in columns if not (isinstance(c, str) and c in ENTRY_PERIODS)], what)
    for column in columns:
        if columns.count(column) > 1:
            raise ParameterError(f"{what}={list(columns)!r} names {column!r} twice. Name it once.")
    return columns


def _micros(
    log: EventLog, rule: JourneyRule, given: Sequence[Step] | Step | None
) -> tuple[tuple[Item, ...], list[str]]:
    """The micros, and of the plan's those that are left out because they are part of what is explained."""
    ends = (*rule.competing, *rule.censor, *([rule.origin] if rule.origin is not None else []))
    if given is None:
        planned = log.require_plan("hazard_ratios without micros=").micros
        kept = [
            micro
            for micro in planned
            if micro.event is None or (micro.event != rule.target.event and not any(_same(micro, end) for end in ends))
        ]
        return tuple(kept), [micro.name for micro in planned if micro not in kept]
    if isinstance(given, str | Mapping):
        given = [given]
    if not isinstance(given, Iterable):
        raise ParameterError(f"micros={shorten(repr(given))} must be a list of names, such as ['signup'].")
    found = tuple(_micro(log, step) for step in given)
    names = [item.name for item in found]
    for item in found:
        if names.count(item.name) > 1:
            raise ParameterError(f"micros names {item.name!r} twice. Name each micro once.")
        if item.name == rule.target.name or _same(item, rule.target):
            raise ParameterError(
                f"The micro {item.name!r} is the target itself. Leave it out of micros=, or choose another target=."
            )
        for end in ends:
            if _same(item, end):
                raise ParameterError(
                    f"The micro {item.name!r} is where journeys begin or end ({end.name!r}): nobody at risk could be "
                    "told apart by it. Leave it out of micros=, or pass another origin= or competing=()."
                )
    return found, []


def _micro(log: EventLog, step: Step) -> Item:
    item = as_item(log, step, "micro")
    total = getattr(item, "total", None)
    if total is not None:
        log.require_columns([total.column], f"micro {shorten(repr(item.name))}")
    try:
        matches(item, log.table)
    except PlanError as error:
        raise ParameterError(f"micro {shorten(repr(item.name))}: {error}") from error
    if isinstance(step, str):
        _known(log, step, "micro")
    return item


def _known(log: EventLog, name: str, what: str) -> None:
    planned = [one.name for one in log.plan.items] if log.plan is not None else []
    if name not in planned and not _occurs(log, name):
        raise ParameterError(unknown_name(what, name, dict.fromkeys([*planned, *log.event_counts.index])))


def _occurs(log: EventLog, event: str) -> bool:
    found = log.table.filter(log.table.event == event).limit(1)
    return len(log.engine.fetch(found.select("event"))) > 0


def _same(one: Item, other: Item) -> bool:
    """Whether two items happen at the same events, whatever they are called."""
    return _what(one) == _what(other)


def _what(item: Item) -> tuple[object, ...]:
    return item.event, item.condition, getattr(item, "nth", None) or 1, str(getattr(item, "total", None))


def _since(given: Duration | Sequence[Duration], micros: Sequence[Item]) -> tuple[int, ...]:
    listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    cuts = [to_micros(cut, "since") for cut in listed]
    if cuts and not micros:
        raise ParameterError("since= asks how long ago a micro was done, but micros= names none.")
    for before, after in itertools.pairwise(cuts):
        if after <= before:
            raise ParameterError(
                f"since={list(map(format_duration, cuts))} must grow, such as ['1D', '7D']: up to a day after the "
                "micro, up to a week, later."
            )
    return tuple(cuts)


def _reference(given: Mapping[str, Any] | None, adjust: Sequence[str], numbers: Sequence[str]) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ParameterError(f"reference={shorten(repr(given))} must be a mapping, such as {{'device': 'mobile'}}.")
    for column in given:
        if column not in adjust:
            raise ParameterError(unknown_name("attribute of reference=", column, adjust, "Name it in adjust= too."))
        if column in numbers:
            raise ParameterError(f"reference: {column!r} is a number, one linear term, and has no reference level.")
    return {column: str(level).lower() if isinstance(level, bool) else str(level) for column, level in given.items()}
