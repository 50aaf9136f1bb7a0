"""The paths of one user, touch by touch: what each of the user's conversions is divided among."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from microconv.path_table import kept
from microconv.reduce.touch_exposures import at_risk
from microconv.reduce.touches import NoTouchError, Touches, conversions_of, touches_of

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.reduce.path_rules import PathRule

__all__ = ["AtRisk", "Conversion", "Touch", "UserPaths", "converting_users", "paths_of_user", "similar_users"]

_NEAR = 5  # users that an error names


@dataclass(frozen=True)
class Touch:
    """At ``at`` (microseconds since 1970) a touch of ``channel``; ``number``: which of the user's touches, from 0."""

    at: int
    channel: str
    number: int


@dataclass(frozen=True)
class Conversion:
    """A moment with ``events`` conversions, which pay ``cents`` together, and the touches on their path, in order."""

    at: int
    events: int
    cents: int
    path: tuple[Touch, ...]


@dataclass(frozen=True)
class AtRisk:
    """The user's time from the first touch to the first conversion; ``entry`` is the channel of the first touch."""

    entry: str
    start: int
    stop: int


@dataclass(frozen=True)
class UserPaths:
    """``conversions`` and ``touches`` of a user, in time order. ``risk``: the time at risk of an additive hazard; None
    if no conversion ends it.
    """

    conversions: tuple[Conversion, ...]
    touches: tuple[Touch, ...]
    risk: AtRisk | None


def paths_of_user(log: EventLog, rule: PathRule, user: str, *, risk: bool = True) -> UserPaths | None:
    """A user's conversions with the touches on their paths, made by ``rule`` as ``path_sums`` makes them; None for a
    user without an event. Only this user's rows are read. ``risk``: whether the time at risk is asked for.
    """
    engine = log.engine
    mine = engine.materialise(log.table.filter(log.table.user_id.cast("string") == user))
    if not int(engine.fetch(mine.agg(rows=mine.count()))["rows"][0]):
        return None
    own = replace(log, table=mine)
    touches: tuple[Touch, ...] = ()
    at_stake = None
    try:
        made = touches_of(own, rule)
    except NoTouchError:  # this user has none, others have
        goals = conversions_of(own, rule)
    else:
        goals, touches = made.conversions, _touches(made, rule)
        at_stake = _risk(own, made, rule) if risk else None
    moments = engine.fetch(goals.select("at", "conversions", "cents")).astype("int64").sort_values("at")
    found = []
    before: int | None = None
    for at, events, cents in moments.itertuples(index=False):
        path = [touch for touch in touches if _counts(touch.at, at, before, rule)]
        found.append(Conversion(int(at), int(events), int(cents), _transformed(path, rule)))
        before = at
    return UserPaths(tuple(found), touches, at_stake)


def similar_users(log: EventLog, user: str) -> list[str]:
    """Users whose names come nearest to one that does not exist, the nearest first."""
    names = log.table.select(name=log.table.user_id.cast("string")).distinct()
    apart = names.mutate(apart=names.name.levenshtein(user))
    return [str(name) for name in log.engine.fetch(apart.order_by(["apart", "name"]).limit(_NEAR))["name"]]


def converting_users(log: EventLog, rule: PathRule) -> list[str]:
    """Some users who have a conversion, by name."""
    users = conversions_of(log, rule).select("user_id").distinct()
    named = users.select(name=users.user_id.cast("string"))
    return [str(name) for name in log.engine.fetch(named.order_by("name").limit(_NEAR))["name"]]


def _counts(touch: int, conversion: int, before: int | None, rule: PathRule) -> bool:
    """Whether a touch is on the path of a conversion that follows another one at ``before``."""
    near = touch <= conversion and (rule.lookback is None or conversion - touch <= rule.lookback)
    return near and not (rule.reset and before is not None and touch <= before)


def _touches(made: Touches, rule: PathRule) -> tuple[Touch, ...]:
    frame = made.engine.fetch(made.touches.select("at", "channel")).astype("int64")
    frame = frame.sort_values(["at", "channel"], ascending=[True, not rule.reverse])
    rows = enumerate(frame.itertuples(index=False))
    return tuple(Touch(int(at), made.channels[channel - 1], number) for number, (at, channel) in rows)


def _risk(own: EventLog, made: Touches, rule: PathRule) -> AtRisk | None:
    users = at_risk(own, made, rule, None)
    rows = made.engine.fetch(users.filter(users.won).select("entry", "start", "stop")).astype("int64")
    if rows.empty:
        return None
    entry, start, stop = (int(number) for number in rows.iloc[0])
    return AtRisk(made.channels[entry - 1], start, stop)


def _transformed(path: list[Touch], rule: PathRule) -> tuple[Touch, ...]:
    """The path after ``rule.transforms``, one after another."""
    for name, *takes in rule.transforms:
        places = kept(str(name), tuple(touch.channel for touch in path), takes)
        path = [replace(path[place], channel=channel) for place, channel in places]
        # New names may put touches of one instant in another order.
        path.sort(key=lambda touch: touch.channel, reverse=rule.reverse)
        path.sort(key=lambda touch: touch.at)
    return tuple(path)
