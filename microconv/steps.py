"""What a caller may write for the steps of a funnel, turned into the rule that the reduction follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from microconv import conditions
from microconv.durations import Duration, to_micros
from microconv.errors import ParameterError, PlanError, shorten, unknown_name
from microconv.plan import Item, Micro
from microconv.reduce.chains import FunnelRule
from microconv.reduce.occurrences import ENTRY_PERIODS

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["Step", "as_item", "funnel_rule", "label", "segment_columns"]

Step: TypeAlias = str | Mapping[str, Any]

_MOST_OVERLAPPING = 6
_STEP_KEYS = ("name", "event", "where", "nth", "total")


def as_item(log: EventLog, step: Step, what: str = "step") -> Item:
    """A plan item by its name, a raw event by its name, or ``{"event": ..., "where": ...}``, as a plan item.

    A name that neither the plan nor the log knows is a step that nobody does; its misspelling is the caller's to see in
    the log's event names.
    """
    if isinstance(step, str):
        if not step.strip():
            raise ParameterError(f"A {what} has no name. Give the name of a plan item or of an event.")
        known = {item.name: item for item in log.plan.items} if log.plan is not None else {}
        if step in known:
            return known[step]
        step = {"event": step}
    if not isinstance(step, Mapping):
        raise ParameterError(
            f"{what} {shorten(repr(step))} is neither a name nor a mapping such as "
            "{'event': 'checkout', 'where': 'amount > 50'}."
        )
    for key in step:
        if key not in _STEP_KEYS:
            raise ParameterError(f"{what} {shorten(repr(dict(step)))}: " + unknown_name("key", key, _STEP_KEYS))
    try:
        return Micro(**{"name": label(step), **step})
    except PlanError as error:
        raise ParameterError(f"{what} {shorten(repr(dict(step)))}: {error}") from error


def segment_columns(log: EventLog, by: str | Sequence[str] | None, taken: Sequence[str]) -> list[str]:
    """The attributes to compare by, as a list; none may have the name of a column of the result.

    ``entry_day``, ``entry_week`` and ``entry_month`` are known of every user.
    """
    columns = [by] if isinstance(by, str) else list(by or ())
    log.require_columns([column for column in columns if column not in ENTRY_PERIODS], "by")
    for column in columns:
        if column in taken or columns.count(column) > 1:
            raise ParameterError(
                f"by={columns!r}: {column!r} is given twice or is the name of a column of the result. "
                f"Rename it when reading: columns={{'my_{column}': {column!r}}}."
            )
    return columns


def label(step: Step) -> str:
    """What a step is called in results."""
    if isinstance(step, str):
        return step
    if step.get("name"):
        return str(step["name"])
    event = str(step.get("event", "any event"))
    return f"{event} where {step['where']}" if step.get("where") else event


def funnel_rule(
    log: EventLog,
    steps: Sequence[Step],
    *,
    window: Duration | None,
    order: Literal["ordered", "any", "strict"],
    reentry: Literal["latest", "first"],
    within_step: Duration | Mapping[str | int, Duration] | None,
    optional: Iterable[str | int],
    exclude: Iterable[Step],
    same: str | None,
    distinct: bool = True,
) -> FunnelRule:
    """Check the parameters of ``mc.funnel`` and put them in the reduction's terms. Raises ``ParameterError``.

    ``distinct=False`` lets one event serve several steps (in order only); it comes from presets.
    """
    for name, value, allowed in (
        ("order", order, ("ordered", "any", "strict")),
        ("reentry", reentry, ("latest", "first")),
    ):
        if value not in allowed:
            raise ParameterError(unknown_name(name, value, allowed))
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not steps:
        raise ParameterError(
            f"steps={shorten(repr(steps))} must be a list of at least one step, such as ['cart', 'buy']."
        )
    items = tuple(as_item(log, step) for step in steps)
    names = [label(step) for step in steps]
    skipped = frozenset(_position(step, names, "optional") for step in _listed(optional, "optional"))
    if 0 in skipped:
        raise ParameterError(f"The first step {names[0]!r} starts the funnel and cannot be optional.")
    ends = tuple(as_item(log, step, "exclude") for step in _listed(exclude, "exclude"))
    if same is not None:
        log.require_columns([same], "same")
    for item in (*items, *ends):
        if item.where:
            try:
                conditions.parse(item.where).to_ibis(log.table)
            except PlanError as error:
                raise ParameterError(f"step {shorten(repr(item.name))}: {error}") from error
        total = getattr(item, "total", None)
        if total is not None:
            log.require_columns([total.column], f"step {item.name!r}")
    for end in ends:
        for item in items:
            if _may_meet(end, item):
                raise ParameterError(f"One event could be both the step {item.name!r} and the exclusion {end.name!r}.")
    rule = FunnelRule(
        steps=items,
        window=to_micros(window, "window") if window is not None else None,
        within=_within(within_step, names),
        order=order,
        reentry=reentry,
        optional=skipped,
        exclude=ends,
        same=same,
        overlaps=_overlaps(items) if distinct or order != "ordered" else (),
    )
    _check_overlaps(rule, names)
    if order == "any" and rule.has_within:
        raise ParameterError("within_step has no meaning with order='any': no step is the one before. Use window.")
    return rule


def _listed(given: Any, what: str) -> list[Any]:
    """One step or several, as a list."""
    if isinstance(given, str | int | Mapping):
        return [given]
    if not isinstance(given, Iterable):
        raise ParameterError(f"{what}={shorten(repr(given))} must be a list of steps.")
    return list(given)


def _position(step: str | int, names: Sequence[str], what: str) -> int:
    if isinstance(step, int) and not isinstance(step, bool):
        if 1 <= step <= len(names):
            return step - 1
        raise ParameterError(f"{what}: there is no step {step}; the steps are 1 to {len(names)}.")
    if names.count(step) > 1:
        places = ", ".join(str(i + 1) for i, name in enumerate(names) if name == step)
        raise ParameterError(f"{what}: {step!r} is the name of steps {places}. Give the step's number.")
    if step not in names:
        raise ParameterError(f"{what}: " + unknown_name("step", step, names))
    return names.index(step)


def _within(limits: Duration | Mapping[str | int, Duration] | None, names: Sequence[str]) -> tuple[int | None, ...]:
    if limits is None:
        return (None,) * len(names)
    if not isinstance(limits, Mapping):
        return (None,) + (to_micros(limits, "within_step"),) * (len(names) - 1)
    found: list[int | None] = [None] * len(names)
    for step, limit in limits.items():
        position = _position(step, names, "within_step")
        if position == 0:
            raise ParameterError(f"within_step: nothing comes before the first step {names[0]!r}.")
        found[position] = to_micros(limit, f"within_step[{step!r}]")
    return tuple(found)


def _may_meet(one: Item, other: Item) -> bool:
    """Whether an event could be both: not with different names, nor with conditions that exclude each other."""
    first, second = getattr(one, "event", None), getattr(other, "event", None)
    if first is not None and second is not None and first != second:
        return False
    numbers = getattr(one, "nth", None), getattr(other, "nth", None)
    if None not in numbers and numbers[0] != numbers[1] and (first, one.where) == (second, other.where):
        return False  # no event is both the first and the second of its kind
    if not one.where or not other.where:
        return True
    return not conditions.disjoint(conditions.parse(one.where), conditions.parse(other.where))


def _overlaps(items: Sequence[Item]) -> tuple[tuple[int, ...], ...]:
    """The groups of steps that one event could serve, joined where they share a step."""
    groups: list[set[int]] = []
    for i, item in enumerate(items):
        mine = {i} | {j for j in range(i) if _may_meet(items[j], item)}
        joined = [group for group in groups if group & mine]
        groups = [group for group in groups if not group & mine] + [mine.union(*joined)]
    return tuple(tuple(sorted(group)) for group in groups if len(group) > 1)


def _check_overlaps(rule: FunnelRule, names: Sequence[str]) -> None:
    for group in rule.overlaps:
        for left_out in rule.optional.intersection(group):
            other = next(j for j in group if j != left_out)
            raise ParameterError(
                f"One event could be both the optional step {left_out + 1} ({names[left_out]!r}) and step {other + 1} "
                f"({names[other]!r}), so it cannot be told which was left out. Give them conditions that exclude each "
                "other, such as page = 'a' and page = 'b'."
            )
        alike = {(s.event, s.where, getattr(s, "nth", None), str(getattr(s, "total", None)))
                 for s in (rule.steps[j] for j in group)}  # fmt: skip
        if len(alike) == 1:
            continue
        listing = ", ".join(repr(names[j]) for j in group)
        if rule.order == "any":
            raise ParameterError(
                f"order='any' needs steps that no event could share, but one could be several of {listing}."
            )
        if len(group) > _MOST_OVERLAPPING and rule.order == "ordered":
            raise ParameterError(
                f"One event could be any of {len(group)} steps ({listing}); at most {_MOST_OVERLAPPING} may overlap. "
                "Write their conditions as column = 'value' with different values, so that they exclude each other."
            )
