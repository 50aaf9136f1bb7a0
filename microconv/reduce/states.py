"""Which micros a user has done at each moment: from journeys to spells in states, and what is counted of them.

A spell is (start, stop] in one state. It is never built: users enter a state and leave it, and every count of spells
is a sum over these entries and exits, so that an engine needs no sort. Times are whole **half microseconds** since time
zero, because a micro done at time zero or before counts from half a microsecond after it: who converts at time zero
does so in the state "nothing done", like everybody at risk then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from operator import add
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.reduce.entrants import People

__all__ = [
    "CENSORED",
    "ENTERED",
    "EVENT",
    "HALVES_PER_DAY",
    "NEVER",
    "Layout",
    "StateColumn",
    "Totals",
    "counted_states",
    "done_or_not",
    "edges",
    "in_state",
    "moments",
    "since_states",
    "totals",
]

HALVES_PER_DAY = 2 * MICROS_PER_DAY
ENTERED, CENSORED, EVENT = 0, 1, 2  # what happens at an edge; EVENT is the target, EVENT + 1 the first competing end
NEVER = 2**62  # a moment that does not come
_SECOND = 2_000_000  # half microseconds
_FEW_MOMENTS = 8  # up to here each moment is asked about each other, which needs no sort


@dataclass(frozen=True)
class StateColumn:
    """One column of a state: how many of some moments have passed, up to ``most``, shown as number or by ``labels``."""

    name: str
    passed: tuple[int, ...]
    most: int = 1
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Layout:
    """What tells states apart. ``moments`` are (micro, delay in microseconds): so long after the micro was done."""

    moments: tuple[tuple[int, int], ...]
    columns: tuple[StateColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def steps(self) -> tuple[int, ...] | None:
        """By how much each moment raises the number of the state, where that is the same in all states; else None."""
        found, base = [0] * len(self.moments), 1
        for column in self.columns:
            if len(column.passed) > column.most:
                return None
            for moment in column.passed:
                found[moment] += base
            base *= column.most + 1
        return tuple(found)

    @property
    def size(self) -> int:
        """How many states are possible."""
        return prod(column.most + 1 for column in self.columns)

    def code(self, passed: Sequence[ir.BooleanValue]) -> ir.IntegerValue:
        """The number of the state in which these moments have passed."""
        parts, base = [], 1
        for column in self.columns:
            level = reduce(add, [passed[i].cast("int64") for i in column.passed], ibis.literal(0, "int64"))
            if len(column.passed) > column.most:
                level = ibis.least(level, ibis.literal(column.most, "int64"))
            parts.append(level * base)
            base *= column.most + 1
        return reduce(add, parts, ibis.literal(0, "int64"))

    def levels(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """The level of each column in states, by their numbers."""
        found, rest = {}, np.asarray(codes, dtype=np.int64)
        for column in self.columns:
            rest, found[column.name] = np.divmod(rest, column.most + 1)
        return found

    def decode(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """The same as values of pattern columns: numbers, or labels where a column has them."""
        found: dict[str, np.ndarray] = self.levels(codes)
        for column in self.columns:
            if column.labels is not None:
                found[column.name] = np.array(column.labels, dtype=object)[found[column.name]]
        return found


def done_or_not(names: Sequence[str]) -> Layout:
    """Each micro done (1) or not (0)."""
    return Layout(tuple((i, 0) for i in range(len(names))), tuple(StateColumn(n, (i,)) for i, n in enumerate(names)))


def since_states(names: Sequence[str], micro: int, delays: Sequence[int], labels: Sequence[str]) -> Layout:
    """One micro by how long ago it was done (``labels``: not yet, then each stretch), the others done or not."""
    plain = done_or_not(names)
    later = tuple(range(len(names), len(names) + len(delays)))
    columns = list(plain.columns)
    columns[micro] = StateColumn(names[micro], (micro, *later), len(delays) + 1, tuple(labels))
    return Layout((*plain.moments, *((micro, delay) for delay in delays)), tuple(columns))


def counted_states(names: Sequence[str], micro: int | None, others: str, labels: Sequence[str]) -> Layout:
    """One micro (None: none) done or not, and how many of the others are done, up to the last of ``labels``."""
    rest = tuple(i for i in range(len(names)) if i != micro)
    columns = () if micro is None else (StateColumn(names[micro], (micro,)),)
    counted = StateColumn(others, rest, len(labels) - 1, tuple(labels))
    return Layout(tuple((i, 0) for i in range(len(names))), (*columns, counted))


def moments(people: People, layout: Layout) -> ir.Table:
    """One row per user at risk: ``user_id, cell, enter, stop, cause`` and ``m_<i>``, when each moment of the layout
    passes.

    A moment that passes when the user enters is put at ``enter`` (just after it, at time zero); one that passes at
    ``stop`` or later, or never, is far in the future.
    """
    users = people.table
    # Who enters at time zero was at risk there, before anything counted as done.
    first = (users.enter == 0).ifelse(1, users.enter)
    found = {}
    for i, (micro, delay) in enumerate(layout.moments):
        done = users[f"done_{micro}"]
        at = ibis.greatest(done + 2 * delay, first)  # engines pass over the null of who never did it
        happens = done.notnull() & (at < users.stop)
        found[f"m_{i}"] = happens.ifelse(at, ibis.literal(NEVER, "int64"))
    return people.engine.materialise(users.select("user_id", "cell", "enter", "stop", "cause", **found))


def edges(marked: ir.Table, layout: Layout, more: Sequence[str] = ()) -> ir.Table:
    """Every entry into a state and every exit from one: ``cell, state, at, what`` and the columns ``more``.

    ``what`` is ENTERED, CENSORED (the state ends without an event, also where another follows), or EVENT and up.
    """
    at = [marked[f"m_{i}"] for i in range(len(layout.moments))]
    keep = ("cell", *more)
    first = layout.code([m <= marked.enter for m in at])
    last = layout.code([m < marked.stop for m in at])
    ends = [
        _rows(marked, keep, first, marked.enter, ENTERED),
        _rows(marked, keep, last, marked.stop, CENSORED + marked.cause),
    ]
    steps = layout.steps
    if steps is not None and len(at) > _FEW_MOMENTS:
        return ibis.union(*ends, *_changes_in_order(marked, keep, first, steps))
    return ibis.union(*ends, *_changes_one_by_one(marked, keep, at, layout))


def _rows(table: ir.Table, keep: Sequence[str], state: ir.Value, time: ir.Value, what: Any) -> ir.Table:
    """Edges in one form."""
    kind = what.cast("int16") if hasattr(what, "cast") else ibis.literal(what, "int16")
    return table.select(**{name: table[name] for name in keep}, state=state.cast("int64"), at=time, what=kind)


def _changes_one_by_one(
    marked: ir.Table, keep: Sequence[str], at: Sequence[ir.IntegerValue], layout: Layout
) -> list[ir.Table]:
    """Where the state changes, each moment compared with all others."""
    parts = []
    for i, moment in enumerate(at):
        before, after = layout.code([m < moment for m in at]), layout.code([m <= moment for m in at])
        some = (moment < NEVER) & (moment > marked.enter) & (before != after)
        for other in at[:i]:  # of moments at one time the first tells of the change
            some = some & (other != moment)
        changed = marked.filter(some)
        parts += [_rows(changed, keep, before, moment, CENSORED), _rows(changed, keep, after, moment, ENTERED)]
    return parts


def _changes_in_order(
    marked: ir.Table, keep: Sequence[str], first: ir.IntegerValue, steps: Sequence[int]
) -> list[ir.Table]:
    """The same from each user's moments in order: work in proportion to the moments, not to their square."""
    told = marked.mutate(first=first)
    who = {name: told[name] for name in dict.fromkeys(("user_id", *keep))}
    moved = []
    for i, step in enumerate(steps):
        moment = told[f"m_{i}"]
        some = told.filter((moment < NEVER) & (moment > told.enter))
        moved.append(some.select(**who, first=some["first"], at=moment, step=ibis.literal(step, "int64")))
    together = ibis.union(*moved)
    summed_up = together.group_by([*who, "first", "at"]).agg(step=together.step.sum().cast("int64"))
    so_far = ibis.window(group_by="user_id", order_by="at", rows=(None, 0))
    after = summed_up["first"] + summed_up.step.sum().over(so_far)
    changed = summed_up.mutate(after=after, before=after - summed_up.step)
    return [
        _rows(changed, keep, changed[state], changed["at"], what)
        for state, what in (("before", CENSORED), ("after", ENTERED))
    ]


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over all time. ``patterns``: ``cell, state``, events ``d_1`` (the target), ..., ``person_days``.

    ``edges`` is how many rows the exact table of counts can have at most.
    """

    patterns: pd.DataFrame
    edges: int


def totals(engine: Engine, edged: ir.Table, causes: int) -> Totals:
    """Events and exact person-time by pattern; its rows say how many patterns there are."""
    frame = engine.fetch(summed(edged, ["cell", "state"]))
    sign = np.where(frame["what"] == ENTERED, -1, 1)
    frame["person"] = sign * half_microseconds(frame)
    for cause in range(1, causes + 1):
        frame[f"d_{cause}"] = frame["n"].where(frame["what"] == CENSORED + cause, 0)
    columns = ["person", *[f"d_{cause}" for cause in range(1, causes + 1)]]
    patterns = frame.groupby(["cell", "state"], sort=True)[columns].sum().reset_index()
    patterns["person_days"] = patterns.pop("person").astype(float) / HALVES_PER_DAY
    return Totals(patterns, int(frame["n"].sum()))


def summed(edged: ir.Table, keys: Sequence[str]) -> ir.Table:
    """By ``keys`` and ``what``: how many edges (``n``), and the exact sum of their times in two whole numbers."""
    seconds = (edged.at // _SECOND).cast("int64")
    split = edged.mutate(seconds=seconds, rest=edged.at - seconds * _SECOND)
    # Half microseconds of 100 million users over a year do not fit into 64 bits; whole seconds and the rest do.
    return split.group_by([*keys, "what"]).agg(n=split.count(), seconds=split.seconds.sum(), rest=split.rest.sum())


def half_microseconds(frame: pd.DataFrame) -> pd.Series:
    """The exact sums of times in ``summed``, as Python's unbounded whole numbers."""
    return frame["seconds"].astype("int64").astype(object) * _SECOND + frame["rest"].astype("int64").astype(object)


def in_state(people: People, marked: ir.Table, layout: Layout) -> pd.DataFrame:
    """Per cell: ``users``, and for each column and level above 0 ``in_<column>_<level>``: how many were ever at risk in
    it. The moments of a column must follow one another.
    """
    at = [marked[f"m_{i}"] for i in range(len(layout.moments))]
    found = {}
    for number, column in enumerate(layout.columns):
        for level, i in enumerate(column.passed[: column.most], 1):
            last = level == len(column.passed)
            until = ibis.literal(NEVER, "int64") if last else at[column.passed[level]]
            found[f"in_{number}_{level}"] = (at[i] < until).cast("int64").sum()
    return people.engine.fetch(marked.group_by("cell").agg(users=marked.count(), **found)).sort_values("cell")
