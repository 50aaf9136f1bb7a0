"""World: all that is planted, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from microconv.durations import Duration, to_micros
from microconv.errors import ParameterError
from microconv.simulate.checks import check_known, check_share
from microconv.simulate.processes import End, Eventual, Intent, Macro, Micro, Trait
from microconv.simulate.tracking import Calendar, Faults, Identity, Visits

__all__ = ["OWN_EVENTS", "World"]

OWN_EVENTS = ("session_start", "page_view", "refund")
_OWN_KEYS = ("visits", "order_value")
_OWN_COLUMNS = (
    "user_id time event event_id session_id anonymous_id value currency page item consent engagement_seconds source"
    " medium campaign entry stop_days cause"
).split()


@dataclass(frozen=True)
class World:
    """A world whose truth is known. Derive one from another with ``dataclasses.replace(world, calendar=...)``.

    * ``competing`` ends are causes of their own; ``censoring`` ends end the observation of a user.
    * ``intent`` is an attribute of the log, ``hidden_intent`` never is. ``traits`` are attributes of the log.
    * ``visits=None``: no page views and no return visits, for small logs and fast calibration.
    * ``consent_share``: share of users who consented; None leaves the column out.
    * ``also_in_plan``: plan items that visits bring about (a third visit), as mappings; they have no effect.
    """

    name: str = "own"
    macro: Macro = field(default_factory=Macro)
    micros: tuple[Micro, ...] = ()
    intent: Intent | None = None
    hidden_intent: Intent | None = None
    traits: tuple[Trait, ...] = ()
    competing: tuple[End, ...] = ()
    censoring: tuple[End, ...] = ()
    visits: Visits | None = None
    identity: Identity = field(default_factory=Identity)
    consent_share: float | None = None
    calendar: Calendar = field(default_factory=Calendar)
    faults: Faults = field(default_factory=Faults)
    also_in_plan: tuple[Mapping[str, Any], ...] = ()
    segments: tuple[str, ...] = ()
    horizon: Duration = "30D"

    def __post_init__(self) -> None:
        to_micros(self.horizon, "World: horizon")
        if self.consent_share is not None:
            check_share("World: consent_share", self.consent_share)
        self._check_names()
        self._check_links()
        self._check_intent()
        self._check_eventual()
        if self.visits is None and (self.faults.spoils or self.faults.bots or self.also_in_plan):
            raise ParameterError(
                "World: missing cells, bots and also_in_plan need page views, but visits=None. Give visits=Visits()."
            )

    @property
    def process_names(self) -> tuple[str, ...]:
        """All that can happen to a user: the micros, the macro, competing ends, censoring ends."""
        ends = [end.name for end in (*self.competing, *self.censoring)]
        return (*[micro.name for micro in self.micros], self.macro.name, *ends)

    @property
    def columns(self) -> tuple[str, ...]:
        """The attributes that the log shows: intent, then traits."""
        return (*([self.intent.column] if self.intent else []), *[trait.column for trait in self.traits])

    def _check_names(self) -> None:
        names = (*self.process_names, *[str(item.get("name")) for item in self.also_in_plan])
        for name in names:
            if name in (*OWN_EVENTS, *_OWN_KEYS):
                raise ParameterError(f"World: the name {name!r} is taken by the simulation itself. Choose another.")
            if names.count(name) > 1:
                raise ParameterError(f"World: the name {name!r} is given twice. Each process needs its own.")
        hidden = (self.hidden_intent.column,) if self.hidden_intent else ()
        shown = (*self.columns, *hidden)
        extra = {column for micro in self.micros for column in micro.columns}
        for column in (*shown, *extra):
            if column in _OWN_COLUMNS or column in names or (*shown, *extra).count(column) > 1:
                raise ParameterError(f"World: the column {column!r} is taken or given twice. Choose another.")
        for column in self.segments:
            check_known("segment", column, self.columns)

    def _check_links(self) -> None:
        micros = {micro.name: micro for micro in self.micros}
        for micro in self.micros:
            for caused in micro.causes:
                others = [name for name in self.process_names if name not in (micro.name, self.macro.name)]
                check_known(f"process in causes of Micro({micro.name!r})", caused, others)
            seen, needed = {micro.name}, micro.requires
            while needed is not None:
                check_known(f"micro that Micro({micro.name!r}) requires", needed, micros)
                if needed in seen:
                    raise ParameterError(f"World: Micro({micro.name!r}) waits for itself, so it can never happen.")
                seen.add(needed)
                needed = micros[needed].requires
            if micro.nth is not None and micro.nth != 1 + sum(
                micros[name].event_name == micro.event_name for name in seen - {micro.name}
            ):
                raise ParameterError(
                    f"Micro({micro.name!r}): nth={micro.nth} needs {micro.nth - 1} micros of the event "
                    f"{micro.event_name!r} before it, each required by the next."
                )
        if self.macro.requires is not None:
            check_known(f"micro that Macro({self.macro.name!r}) requires", self.macro.requires, micros)
        for end in (*self.competing, *self.censoring):
            if end.requires is not None:
                check_known(f"micro that End({end.name!r}) requires", end.requires, micros)
        for name in self.identity.known_by:
            check_known("event in Identity: known_by", name, self.process_names)
        for trait in self.traits:
            for process in trait.effects:
                check_known(f"process in Trait({trait.column!r}): effects", process, (*self.process_names, *_OWN_KEYS))

    def _check_eventual(self) -> None:
        planted = self.macro.rate_per_day
        if not isinstance(planted, Eventual):
            return
        for micro in self.micros:
            if micro.hazard_ratio != 1:
                raise ParameterError(
                    f"Micro({micro.name!r}): hazard_ratio={micro.hazard_ratio:g} has no rate to multiply, because the "
                    "macro is Eventual. Set it to 1, or plant a rate per day."
                )
        if self.competing:
            raise ParameterError(
                f"World: competing end {self.competing[0].name!r} beside an Eventual macro: who would have converted "
                "in the end is then undefined. Plant a rate per day, or make it a censoring end."
            )
        highest = planted.share
        for intent, effect in (
            (self.intent, self.macro.intent_effect),
            (self.hidden_intent, self.macro.hidden_intent_effect),
        ):
            highest *= max(1.0, effect) if intent is not None else 1.0
        for trait in self.traits:
            ratios = trait.effects.get(self.macro.name, {})
            highest *= max(ratios.get(level, 1.0) for level in trait.shares)
        if highest > 1 + 1e-12:
            raise ParameterError(
                f"Eventual: share={planted.share:g} times the effects on {self.macro.name!r} comes to {highest:g} for "
                "some users, but a share is at most 1. Plant a smaller share or smaller effects."
            )

    def _check_intent(self) -> None:
        parts = (*self.micros, self.macro, *([self.visits] if self.visits else []))
        for option, intent in (("intent_effect", self.intent), ("hidden_intent_effect", self.hidden_intent)):
            users = [part for part in parts if getattr(part, option) != 1]
            if intent is None and users:
                who, missing = getattr(users[0], "name", "visits"), option.removesuffix("_effect")
                raise ParameterError(
                    f"World: {who!r} has {option}={getattr(users[0], option)}, but the world has no {missing}. "
                    f"Give {missing}=Intent('column')."
                )
