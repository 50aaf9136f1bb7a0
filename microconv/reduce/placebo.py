"""What cannot have an effect: a placebo micro timed by the user's own activity, and another outcome than the macro.

The placebo is the first of the user's events on which a coin falls that knows nothing of the user. Each event has the
same chance whatever comes later, so that the placebo comes as a micro does: more often to who is more active, and never
because of what follows. (One event drawn evenly among all up to the end of the journey would not do: who converts soon
has few events, so that the draw is likelier to fall on each, and the placebo seems to bring the conversion about.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import numpy as np

from microconv.errors import ParameterError, shorten
from microconv.reduce.items import TIME, is_plain, matches, with_time
from microconv.reduce.risk import JourneyRule, journeys
from microconv.reduce.states import Layout, StateColumn

if TYPE_CHECKING:
    import pandas as pd

    from microconv.log import EventLog
    from microconv.plan import Item
    from microconv.reduce.entrants import People

__all__ = ["NoPlaceboError", "Placebo", "beside_placebo", "negative_control", "with_placebo"]

_DIGITS = 8  # hexadecimal digits of a coin


class NoPlaceboError(ParameterError):
    """The users have no events by which a placebo could be timed."""


@dataclass(frozen=True)
class Placebo:
    """How the placebo was drawn: ``chance`` of each moment; ``moments`` there were, of ``candidates`` users, of whom
    ``users`` have it. ``micro``: its number, so that its column is ``done_<micro>``.
    """

    micro: int
    chance: float
    moments: int
    candidates: int
    users: int


def with_placebo(
    people: People,
    log: EventLog,
    rule: JourneyRule,
    *,
    tz: str = "UTC",
    events: Sequence[Item] = (),
    share: float = 0.3,
    seed: int = 0,
) -> tuple[People, Placebo]:
    """The same people with one micro more, which can have no effect: done at one of the user's own events.

    ``people`` are of ``log``, ``rule`` and ``tz``. Its moments are those of the user's events (of ``events``, plain
    items; none named: of any) after the user came under observation and before the journey ends, except where a micro
    of ``people`` is done: its effect would be the placebo's. The chance of each is such that about ``share`` of the
    users who have a moment get the placebo; the coin is a hash of the user's id, the time since time zero and ``seed``,
    the same on every engine and in any order of rows. Computed within the engine.

    An effect of the placebo on the macro is confounding by activity that the analysis does not adjust for; a sound one
    finds none, chance aside. Raises ``ParameterError``, also where no user has such an event.
    """
    _check(events, share, seed)
    engine = people.engine
    done = sorted((name for name in people.table.columns if name.startswith("done_")), key=lambda name: int(name[5:]))
    starts = journeys(log, rule, (), tz).select(_id="user_id", _start="start")
    users = people.table.join(starts, people.table.user_id == starts["_id"])
    users = users.select("user_id", "enter", "stop", *done, _start=users["_start"])
    timed = with_time(engine, log.table)
    if events:
        timed = timed.filter(reduce(or_, [matches(item, timed) for item in events]))
    happened = timed.select(_user=timed.user_id, _at=timed[TIME])
    rows = users.join(happened, users.user_id == happened["_user"])
    at = 2 * (rows["_at"] - rows["_start"])
    own = (at > rows.enter) & (at < rows.stop)
    for name in done:
        own = own & (rows[name].isnull() | (rows[name] != at))
    moments = rows.filter(own.fill_null(False)).select("user_id", at=at).distinct()
    text = moments.user_id.cast("string") + "|" + moments["at"].cast("string") + f"|{seed}"
    moments = engine.materialise(moments.mutate(coin=engine.digest(text).left(_DIGITS)))
    by_user = moments.group_by("user_id").agg(moments=moments.count())
    counted = engine.fetch(by_user.group_by("moments").agg(users=by_user.count()))
    chance = _chance(counted, share)
    chosen = moments if chance >= 1 else moments.filter(moments.coin < f"{int(chance * 16**_DIGITS):0{_DIGITS}x}")
    first = chosen.group_by("user_id").agg(_done=chosen["at"].min()).rename(_user="user_id")
    joined = people.table.left_join(first, people.table.user_id == first["_user"])
    name = f"done_{len(done)}"
    table = engine.materialise(joined.mutate(**{name: joined["_done"]}).drop("_user", "_done"))
    drawn = Placebo(
        micro=len(done),
        chance=chance,
        moments=int((counted["moments"] * counted["users"]).sum()),
        candidates=int(counted["users"].sum()),
        users=int(engine.fetch(table.agg(n=table[name].count()))["n"][0]),
    )
    return replace(people, table=table), drawn


def beside_placebo(layout: Layout, placebo: Placebo, name: str = "placebo") -> Layout:
    """``layout`` with a column for the placebo, done or not. Raises ``ParameterError`` where the name is taken."""
    if name in layout.names:
        raise ParameterError(f"{name!r} is the name of a column already. Give the placebo another one.")
    column = StateColumn(name, (len(layout.moments),))
    return Layout((*layout.moments, (placebo.micro, 0)), (*layout.columns, column))


def negative_control(rule: JourneyRule, outcome: Item, micros: Sequence[Item] = ()) -> JourneyRule:
    """The same journeys towards an outcome that the micros cannot move, such as a visit to the page of imprint.

    The macro is no end any more: were it one, a micro that brings it about would keep users from the outcome. An effect
    on the outcome is confounding. Raises ``ParameterError`` where the outcome is the macro or one of the ``micros``.
    """
    if _same(outcome, rule.target):
        raise ParameterError(
            f"The negative control {shorten(repr(outcome.name))} is the macro itself. Name an outcome that the micros "
            "cannot move."
        )
    for micro in micros:
        if _same(outcome, micro):
            raise ParameterError(
                f"The negative control {shorten(repr(outcome.name))} is one of the micros. Leave it out of micros=, or "
                "name another outcome."
            )
    return replace(rule, target=outcome, competing=tuple(end for end in rule.competing if not _same(outcome, end)))


def _same(one: Item, other: Item) -> bool:
    return all(getattr(one, key, None) == getattr(other, key, None) for key in ("event", "where", "nth", "total"))


def _chance(counted: pd.DataFrame, share: float) -> float:
    """The chance of each moment with which ``share`` of the users with a moment get one, on average."""
    if counted.empty:
        raise NoPlaceboError(
            "No user has an event of their own between coming under observation and the end of the journey that is not "
            "a micro, so there is nothing to time a placebo by. Name fewer micros or other events."
        )
    if share == 1:
        return 1.0
    moments, users = counted["moments"].to_numpy(dtype=float), counted["users"].to_numpy(dtype=float)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        expected = users @ (1 - (1 - middle) ** moments) / users.sum()
        low, high = (middle, high) if expected < share else (low, middle)
    return high


def _check(events: Sequence[Item], share: float, seed: int) -> None:
    for item in events:
        if not is_plain(item):
            raise ParameterError(
                f"events: {shorten(repr(item.name))} happens once. Name events that happen again and again."
            )
    plain = isinstance(share, int | float | np.number) and not isinstance(share, bool)
    if not plain or not 0 < share <= 1:
        raise ParameterError(f"share={shorten(repr(share))} must lie above 0 and up to 1, such as 0.3.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ParameterError(f"seed={shorten(repr(seed))} must be a whole number, 0 or more.")
