"""What a caller may ask of users' behaviour at a landmark, checked, and the groups that come without a plan's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from microconv.durations import Duration, format_duration
from microconv.errors import ParameterError, PlanError, shorten, unknown_name
from microconv.journeys import journey_rule
from microconv.plan import KINDS, Behaviour, Item
from microconv.reduce.risk import JourneyRule
from microconv.stats._curves import z_value
from microconv.steps import Step

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Plan

__all__ = ["HOW", "OTHERS", "Asked", "as_behaviour", "ask", "describe", "standard_groups"]

HOW = ("rules", "rfm", "clusters")
OUTCOMES = ("first", "next")
OTHERS = "others"


@dataclass(frozen=True)
class Asked:
    """A checked question; ``items`` are the micros, then the target."""

    rule: JourneyRule
    micros: tuple[Item, ...]
    how: str
    outcome: str
    groups: tuple[Behaviour, ...]
    not_known: tuple[str, ...]  # standard groups that the plan has no micro for
    own: bool  # whether the groups are the plan's or the caller's own
    value: str | None
    tz: str
    confidence: float

    @property
    def items(self) -> tuple[Item, ...]:
        """The micros, then the target."""
        return (*self.micros, self.rule.target)


def ask(
    log: EventLog,
    *,
    at: Duration,
    target: Step | None,
    how: str,
    horizon: Duration | None,
    outcome: str | None,
    groups: Sequence[Behaviour | dict[str, Any]] | None,
    tz: str,
    confidence: float,
) -> Asked:
    """Check the parameters of ``behaviour_segments``. Raises ``ParameterError``."""
    plan = log.require_plan("behaviour_segments")
    z_value(confidence)
    if how not in HOW:
        raise ParameterError(unknown_name("how", how, HOW))
    if outcome is None:
        outcome = "first" if how == "clusters" else "next"
    if outcome not in OUTCOMES:
        raise ParameterError(unknown_name("outcome", outcome, OUTCOMES))
    if horizon is None:
        horizon = plan.horizon
    if horizon is None:
        raise ParameterError(
            "behaviour_segments needs a horizon: how long after the landmark a conversion counts. Pass horizon='30D', "
            "or write horizon: 30D into the plan."
        )
    rule = journey_rule(log, target, "entry", None, horizon, landmark=at, tz=tz)
    assert rule.landmark is not None
    micros = tuple(micro for micro in plan.micros if micro.name != rule.target.name)
    if not micros:
        raise ParameterError("The plan has no micros, so there is no behaviour to tell users apart by. Add some.")
    if groups is not None and how != "rules":
        raise ParameterError(f"groups= are rules, but how={how!r}. Leave them out, or use how='rules'.")
    found: tuple[Behaviour, ...] = ()
    missing: tuple[str, ...] = ()
    own = how == "rules" and bool(groups is not None or plan.behaviour)
    if own:
        given: Sequence[Any] = groups if groups is not None else plan.behaviour
        found = tuple(as_behaviour(one, [*micros, rule.target]) for one in given)
        names = [one.name for one in found]
        for name in names:
            if names.count(name) > 1 or name == OTHERS:
                raise ParameterError(f"groups: the name {shorten(repr(name))} is given twice, or is {OTHERS!r}.")
        if not found:
            raise ParameterError("groups=[] names no group. Leave it out for the standard ones.")
    elif how == "rules":
        found, missing = standard_groups(plan, rule.target.name, rule.landmark, outcome)
    value = getattr(rule.target, "value", None)
    return Asked(rule, micros, how, outcome, found, missing, own, value, tz, confidence)


def as_behaviour(group: Behaviour | dict[str, Any], items: Sequence[Item]) -> Behaviour:
    """A group as the plan has it, whose names are items or kinds. Raises ``ParameterError``."""
    try:
        found = group if isinstance(group, Behaviour) else Behaviour.model_validate(group)
    except PlanError as error:
        raise ParameterError(f"The group {shorten(repr(group))}: {error}") from error
    known = [*[item.name for item in items], *KINDS]
    for name in (*found.did, *found.did_not):
        if name not in known:
            raise ParameterError(f"The group {found.name!r}: " + unknown_name("micro, macro or kind", name, known))
    return found


def standard_groups(
    plan: Plan, target: str, at: int, outcome: str = "next"
) -> tuple[tuple[Behaviour, ...], tuple[str, ...]]:
    """The groups that every plan has, in the order in which they are tried, and those it has no micro for.

    ``at``: the age of the landmark in microseconds; who is lapsing was quiet for half of it.
    """
    kinds = {micro.kind for micro in plan.micros if micro.name != target}
    half = format_duration(max(at // 2, 1))
    before = ["intent"] if "intent" in kinds else []
    forms = [kind for kind in ("form",) if kind in kinds]
    drafts: list[tuple[dict[str, Any], str | None]] = [
        ({"name": "high intent", "did": ["intent"], "did_not": [target], "min_micros": 3}, "intent"),
        ({"name": "cart abandoners", "did": ["intent"], "did_not": [target]}, "intent"),
        ({"name": "subscribers who have not bought", "did": ["form"], "did_not": [target]}, "form"),
        ({"name": "loyal", "min_days": 3, "min_micros": 1}, None),
        ({"name": "lapsing", "min_days": 2, "quiet": half}, None),
        ({"name": "window shoppers", "did_not": [target, *before, *forms]}, None),
        ({"name": "customers", "did": [target]}, None),
    ]
    if outcome == "first":  # nobody at risk has reached it
        drafts = drafts[:-1]
        for draft, _ in drafts:
            kept = [name for name in draft.get("did_not", []) if name != target]
            draft["did_not"] = kept
    groups = tuple(
        Behaviour.model_validate(draft if set(draft) != {"name", "did_not"} or draft["did_not"] else
                                 {"name": draft["name"], "max_micros": len(plan.micros)})
        for draft, kind in drafts
        if kind is None or kind in kinds
    )  # fmt: skip
    return groups, tuple(str(draft["name"]) for draft, kind in drafts if kind is not None and kind not in kinds)


def describe(group: Behaviour) -> str:
    """A behaviour in words."""
    said = []
    if group.did:
        when = f" in the last {group.within}" if group.within is not None else ""
        said.append(f"did {', '.join(group.did)}{when}")
    if group.did_not:
        said.append(f"did not {', '.join(group.did_not)}")
    if group.min_micros is not None:
        said.append(f"at least {group.min_micros} different micros")
    if group.max_micros is not None:
        said.append(f"at most {group.max_micros} different micros")
    if group.min_days is not None:
        said.append(f"active on at least {group.min_days} days")
    if group.quiet is not None:
        said.append(f"no event for {group.quiet}")
    return "; ".join(said)
