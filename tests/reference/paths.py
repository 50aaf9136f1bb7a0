"""Paths of touches by plain loops over the events of one user after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Event", "Found", "changed", "paths_of", "shares"]


@dataclass(frozen=True)
class Event:
    """At second ``at``: a touch of ``channel``, or without one a conversion that pays ``cents``."""

    at: int
    channel: str | None = None
    cents: int = 0


@dataclass(frozen=True)
class Found:
    """A path: its touches (time, channel), how many conversions it ends in (0: none) and what they pay."""

    touches: tuple[tuple[int, str], ...]
    at: int | None
    conversions: int
    cents: int
    open: bool = False


def paths_of(
    events: Sequence[Event],
    *,
    until: int,
    lookback: int | None,
    reset: bool = True,
    first: bool = False,
    reverse: bool = False,
) -> list[Found]:
    """The paths of one user."""
    touches = sorted(
        [(event.at, event.channel) for event in events if event.channel is not None],
        key=lambda touch: (touch[0], [-ord(letter) if reverse else ord(letter) for letter in touch[1]]),
    )
    moments = sorted({event.at for event in events if event.channel is None})
    if first:
        moments = moments[:1]
        touches = [touch for touch in touches if not moments or touch[0] <= moments[0]]
    found, used = [], set()
    before = None
    for moment in moments:
        mine = [
            (number, touch)
            for number, touch in enumerate(touches)
            if touch[0] <= moment
            and (lookback is None or moment - touch[0] <= lookback)
            and (not reset or before is None or touch[0] > before)
        ]
        used |= {number for number, _ in mine}
        here = [event for event in events if event.channel is None and event.at == moment]
        many = 1 if first else len(here)
        cents = sum(event.cents for event in here)
        found.append(Found(tuple(touch for _, touch in mine), moment, many, cents))
        before = moment
    path: list[tuple[int, str]] = []
    for number, touch in enumerate(touches):
        if number in used:
            continue
        if path:
            parted = any(path[-1][0] <= moment < touch[0] for moment in moments)
            if parted or (lookback is not None and touch[0] - path[-1][0] > lookback):
                found.append(_lost(path, moments, until, lookback))
                path = []
        path.append(touch)
    if path:
        found.append(_lost(path, moments, until, lookback))
    return found


def _lost(path: list[tuple[int, str]], moments: list[int], until: int, lookback: int | None) -> Found:
    last = path[-1][0]
    followed = any(moment >= last for moment in moments)
    return Found(tuple(path), None, 0, 0, open=lookback is None or (not followed and last + lookback > until))


def changed(touches: Sequence[tuple[int, str]], transforms: Sequence[tuple[object, ...]]) -> list[tuple[int, str]]:
    """A path after these transforms."""
    path = list(touches)
    for name, *takes in transforms:
        names = [channel for _, channel in path]
        if name == "exposure":
            path = [touch for i, touch in enumerate(path) if i == 0 or touch[1] != path[i - 1][1]]
        elif name == "unique":
            path = [touch for i, touch in enumerate(path) if touch[1] not in names[:i]]
        elif name == "first":
            path = path[:1]
        elif name == "frequency":
            path = [
                (touch[0], f"{touch[1]}({names.count(touch[1])})")
                for i, touch in enumerate(path)
                if touch[1] not in names[:i]
            ]
        elif name == "drop":
            path = [touch for touch in path if touch[1] not in takes]
        elif name == "drop_if_last":
            while path[-1:] and path[-1][1] in takes and any(channel not in takes for channel in names):
                path = path[:-1]
        elif name == "keep_last":
            path = path[-takes[0] :]  # type: ignore[operator,misc]
        else:
            raise AssertionError(name)
    return path


def shares(
    path: Sequence[tuple[int, str]],
    rule: str,
    *,
    at: int,
    direct: Sequence[str] = (),
    position: tuple[float, float, float] = (0.4, 0.2, 0.4),
    half_life: int = 10,
) -> list[float]:
    """What a rule gives to each touch of a path that converts at ``at``."""
    n, names = len(path), [channel for _, channel in path]
    if rule == "first":
        return [1.0 if i == 0 else 0.0 for i in range(n)]
    if rule == "last":
        return [1.0 if i == n - 1 else 0.0 for i in range(n)]
    if rule == "last_non_direct":
        others = [i for i, name in enumerate(names) if name.split("(")[0] not in direct]  # counted or not
        chosen = others[-1] if others else n - 1
        return [1.0 if i == chosen else 0.0 for i in range(n)]
    if rule == "linear":
        return [1 / n] * n
    if rule == "any_touch":
        return [0.0 if name in names[:i] else 1.0 for i, name in enumerate(names)]
    if rule == "linear_unique":
        return [0.0 if name in names[:i] else 1 / len(set(names)) for i, name in enumerate(names)]
    if rule == "position":
        first, middle, last = position
        if n == 1:
            weights = [1.0]
        elif n == 2:
            weights = [first, last]
        else:
            weights = [first, *[middle / (n - 2)] * (n - 2), last]
        if not sum(weights):
            weights = [1.0] * n
    else:
        ages = [(at - moment) / half_life for moment, _ in path]
        weights = [2.0 ** -(int(age) if rule == "time_decay_steps" else age) for age in ages]
    return [weight / sum(weights) for weight in weights]
