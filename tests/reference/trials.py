"""Sequential trials user by user, written from their definition: no sums are shared between users.

Times are half microseconds since time zero, as in ``reference.states``.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from reference.states import HALF_DAYS, Traveller

__all__ = ["Control", "Intensity", "Sums", "controls_of", "cuts_of", "doers_of", "moment", "one_arm_each"]

State = tuple[int, ...]


@dataclass(frozen=True)
class Intensity:
    """How fast the micro is done: rate per day by time, times a factor by cell and moments passed."""

    cuts: Sequence[int]
    rates: Sequence[float]
    factor: Callable[[str, State], float]

    def rate(self, after: int) -> float:
        """Just after a time."""
        return self.rates[sum(after >= cut for cut in self.cuts)]


@dataclass
class Sums:
    """By (bucket, landmark, interval): time at risk in days, ends by cause, and money."""

    time: dict[tuple[int, int, int], float] = field(default_factory=lambda: defaultdict(float))
    ends: dict[tuple[int, int, int, int], float] = field(default_factory=lambda: defaultdict(float))
    money: dict[tuple[int, int, int], float] = field(default_factory=lambda: defaultdict(float))
    weight_at_horizon: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def end(self, place: tuple[int, int, int], cause: int, weight: float, cents: float) -> None:
        self.ends[(*place, cause)] += weight
        if cause == 1:
            self.money[place] += weight * cents


@dataclass(frozen=True)
class Control:
    """A user at a landmark."""

    user: Traveller
    landmark: int
    state: State


def moment(user: Traveller, micro: int) -> float:
    """When a micro counts as done; infinite if not before the user's end."""
    done = user.done[micro]
    if done is None:
        return math.inf
    at = max(done, user.enter or 1)
    return at if at < user.stop else math.inf


def state_before(user: Traveller, focal: int, when: int) -> State:
    return tuple(int(i != focal and moment(user, i) < when) for i in range(len(user.done)))


def cuts_of(times: Sequence[int], bins: int) -> list[int]:
    """The times at which so many of all have passed; none at the last, or after it."""
    ordered = sorted(times)
    found = {ordered[math.ceil(len(ordered) * k / bins) - 1] for k in range(1, bins)} if ordered else set()
    return sorted(cut for cut in found if cut < ordered[-1])


def doers_of(users: Sequence[Traveller], focal: int) -> list[Traveller]:
    """Who does it while at risk, and not before time zero."""
    return [user for user in users if user.enter < moment(user, focal) < math.inf and (user.done[focal] or 0) >= 0]


def controls_of(users: Sequence[Traveller], focal: int, starts: Sequence[int]) -> list[Control]:
    """Who is at risk and no doer, at each landmark."""
    return [
        Control(user, landmark, state_before(user, focal, start))
        for landmark, start in enumerate(starts)
        for user in users
        if user.enter < start < user.stop and moment(user, focal) > start
    ]


def bucket_of(user: Traveller) -> int:
    return int(hashlib.md5(user.user.encode()).hexdigest()[:2], 16)


def one_arm_each(
    users: Sequence[Traveller],
    focal: int,
    horizon: int,
    starts: Sequence[int],
    cuts: Sequence[int],
    edges: tuple[Sequence[int], Sequence[int]],
    intensity: Intensity,
    cents: dict[str, float],
    latest: int,
    view: Callable[[State], State],
) -> tuple[Sums, Sums, dict[tuple[int, str, State], tuple[int, int]]]:
    """The doers' sums, the controls', and doers and controls by (landmark, cell, state).

    ``edges``: of intervals, the doers' since the action, the controls' since time zero; ``cuts`` between trials;
    ``view``: the state that passed moments make.
    """
    support: dict[tuple[int, str, State], list[int]] = defaultdict(lambda: [0, 0])
    entered = []
    for user in doers_of(users, focal):
        at = int(moment(user, focal))
        if at <= latest:
            landmark = sum(at > cut for cut in cuts)
            key = (landmark, user.segment[0], view(state_before(user, focal, at)))
            entered.append((user, at, key))
            support[key][0] += 1
    controls = controls_of(users, focal, starts)
    for one in controls:
        key = (one.landmark, one.user.segment[0], view(one.state))
        if key in support:
            support[key][1] += 1
    done, never = Sums(), Sums()
    for user, at, key in entered:
        if support[key][1]:
            _follow(done, user, key[0], at, min(user.stop, at + horizon), edges[0], at, lambda _: 0.0, 1.0, cents)
            if user.stop > at + horizon or (user.stop == at + horizon and not user.cause):
                done.weight_at_horizon[user.user] += 1
    for one in controls:
        count = support.get((one.landmark, one.user.segment[0], view(one.state)), (0, 0))
        if count[0]:
            user, start = one.user, starts[one.landmark]
            end = min(user.stop, moment(user, focal), start + horizon)
            weight = count[0] / count[1]
            rate = _rate_of(user, focal, intensity)
            last = _follow(never, user, one.landmark, start, int(end), edges[1], 0, rate, weight, cents, intensity.cuts)
            if end == start + horizon and not (user.stop == end and user.cause):
                never.weight_at_horizon[user.user] += last
    return done, never, {key: (count[0], count[1]) for key, count in support.items()}


def _rate_of(user: Traveller, focal: int, intensity: Intensity) -> Callable[[int], float]:
    """The user's own intensity of doing the micro, just after a time."""

    def rate(after: int) -> float:
        state = tuple(int(i != focal and moment(user, i) <= after) for i in range(len(user.done)))
        return intensity.rate(after) * intensity.factor(user.segment[0], state)

    return rate


def _follow(
    sums: Sums,
    user: Traveller,
    landmark: int,
    begin: int,
    end: int,
    edges: Sequence[int],
    zero: int,
    rate: Callable[[int], float],
    weight: float,
    cents: dict[str, float],
    cuts: Sequence[int] = (),
) -> float:
    """Add what happens in (begin, end], piece by piece of a constant rate; the weight at the end."""
    inside = {int(moment(user, i)) for i in range(len(user.done)) if moment(user, i) < math.inf}
    inside |= {edge + zero for edge in edges} | set(cuts)
    points = [begin, *sorted(point for point in inside if begin < point < end), end]
    bucket = bucket_of(user)
    for start, stop in pairwise(points):
        place = (bucket, landmark, bisect_left(edges, stop - zero) - 1)
        days, growth = (stop - start) / HALF_DAYS, rate(start)
        sums.time[place] += weight * (math.expm1(growth * days) / growth if growth else days)
        weight *= math.exp(growth * days)
    if user.stop == end and user.cause:
        sums.end((bucket, landmark, bisect_left(edges, end - zero) - 1), user.cause, weight, cents.get(user.user, 0.0))
    return weight
