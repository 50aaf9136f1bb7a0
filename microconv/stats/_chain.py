"""Chances by the backward equations of a Markov chain of states, and by how much each rate moves them.

Rates are constant within an interval, so that each step is a power series in the rates, summed until what is left is
below ``_LEFT``; no step is longer than a few stays in the shortest-lived state. Columns of a start at one age with an
end at another share the work: each takes part in a step for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from microconv.stats._curves import Floats
from microconv.stats._generator import Arm

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Columns", "Slopes", "Solved", "solve"]

_LEFT = 1e-7
_LONGEST = 3.0  # mean stays in the shortest-lived state
_TOGETHER = 60_000  # numbers worked on at a time: what a processor keeps at hand


@dataclass(frozen=True, eq=False)
class Columns:
    """What is asked: column k starts at ``ages[start[k]]`` and ends ``length[k]`` days later; ``output[k]`` is the
    question it belongs to, ``money[k]`` whether money is asked for in place of the chance.
    """

    ages: Floats
    start: np.ndarray
    length: Floats
    output: np.ndarray
    money: np.ndarray

    def only(self, which: np.ndarray) -> Columns:
        """Some of the columns."""
        return Columns(self.ages, self.start[which], self.length[which], self.output[which], self.money[which])

    @property
    def begin(self) -> Floats:
        """The age at which each column starts."""
        return self.ages[self.start]

    @property
    def end(self) -> Floats:
        """The age at which each column ends."""
        return self.begin + self.length


@dataclass(eq=False)
class Slopes:
    """By how much each output grows with the logarithm of each rate, summed as the coefficients need it.

    By process: ``by_interval`` (intervals, outputs), ``by_state`` (states of the arm, outputs), ``by_cell`` (cells of
    the arm, outputs); ``worth`` the same for the logarithm of the money by state and by cell.
    """

    by_interval: dict[Hashable, Floats]
    by_state: dict[Hashable, Floats]
    by_cell: dict[Hashable, Floats]
    worth: tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class Solved:
    """``value``: (rows, columns), what each column asks for, from each row; ``slopes``: by stage, for the starts."""

    value: Floats
    slopes: tuple[Slopes, ...]


@dataclass(frozen=True)
class _Step:
    low: float
    high: float
    interval: int
    matrix: csr_array
    fastest: float


@dataclass(frozen=True, eq=False)
class _Passed:
    """Who is in each row, (rows, ages), in one step: at its begin, by how much more at its end, and the mean."""

    ages: np.ndarray
    first: Floats
    change: Floats
    mean: Floats

    def until(self, which: np.ndarray, part: Floats) -> tuple[Floats, Floats]:
        """The mean and the change of the ages in places ``which``, each followed for ``part`` of the step only."""
        mean, change = self.mean[:, which], self.change[:, which]
        short = np.flatnonzero(part < 1 - 1e-9)
        if len(short):  # along the parabola with the same begin, end and mean
            some, f = which[short], part[short]
            first, whole = self.first[:, some], self.change[:, some]
            slope = 6 * (self.mean[:, some] - first) - 2 * whole
            bend = whole - slope
            mean[:, short] = first + slope * (f / 2) + bend * (f**2 / 3)
            change[:, short] = slope * f + bend * f**2
        return mean, change


@dataclass(frozen=True, eq=False)
class _Stage:
    """One arm for a while: from ``begin`` to ``end``, by age. ``passed``: who is where, by step (see ``_occupied``)."""

    arm: Arm
    begin: Floats
    end: Floats
    steps: list[_Step]
    passed: list[_Passed]


def _steps(arm: Arm, first: float, last: float) -> Iterator[_Step]:
    """Stretches of constant rates between two ages, none longer than ``_LONGEST`` stays."""
    inner = arm.cuts[(arm.cuts > first) & (arm.cuts < last)]
    edges = np.array([first, *inner, last])
    for low, high in pairwise(edges):
        interval = int(np.searchsorted(arm.cuts, low, side="right"))
        matrix, fastest = arm.matrix(interval, high - low)
        many = max(1, int(np.ceil(fastest * (high - low) / _LONGEST)))
        inside = np.linspace(low, high, many + 1)
        for one, other in pairwise(inside):
            yield _Step(float(one), float(other), interval, matrix, fastest)


def _series(matrix: csr_array, values: Floats, length: Floats, fastest: float) -> tuple[Floats, Floats]:
    """``exp(matrix * length) @ values``, each column with a length of its own, and the mean on the way there."""
    total, mean, term, size = values.copy(), values.copy(), values, 1.0
    longest = float(length.max(initial=0.0)) * fastest
    order = 0
    while size > _LEFT:
        order += 1
        size *= longest / order
        term = matrix @ term
        term *= length / order
        total += term
        mean += term / (order + 1)
    return total, mean


def solve(stages: Sequence[Arm], since: Sequence[float], columns: Columns, starts: Floats, outputs: int) -> Solved:
    """What every column asks for, from every row, and the slopes of its mean over ``starts`` (rows, ages).

    Each column goes through ``stages``, arms with the same rows: the first from its start on, the k-th from
    ``since[k]`` days after it.
    """
    last = np.full(len(columns.ages), -np.inf)
    np.maximum.at(last, columns.start, columns.end)
    now, made = starts, []
    for number, arm in enumerate(stages):
        until = since[number + 1] if number + 1 < len(stages) else np.inf
        begin, end = columns.ages + since[number], np.minimum(columns.ages + until, last)
        if not (end > begin).any():
            break
        steps = list(_steps(arm, float(begin[end > begin].min()), float(end.max())))
        passed, now = _occupied(arm, begin, end, now, steps)
        made.append(_Stage(arm, begin, end, steps, passed))
    value = np.zeros((stages[0].rows + 2, len(columns.start)))
    value[-2, ~columns.money] = 1.0
    value[-1, columns.money] = 1.0
    slopes = [_nothing(stage.arm, outputs) for stage in made]
    parts = np.array_split(np.arange(value.shape[1]), -(-value.size // _TOGETHER))
    for part in parts:
        asked, some = columns.only(part), value[:, part]
        for stage, slope in zip(reversed(made), reversed(slopes), strict=True):
            _backward(stage, asked, some, slope, outputs)
        value[:, part] = some
    return Solved(value[:-2], tuple(slopes))


def _backward(stage: _Stage, columns: Columns, value: Floats, slopes: Slopes, outputs: int) -> None:
    """Carry ``value`` (rows, columns), what is asked for at the end of the stage, back to its begin, in place; add to
    ``slopes``.
    """
    arm = stage.arm
    begin = stage.begin[columns.start]
    end = np.minimum(stage.end[columns.start], columns.end)
    for step, passed in zip(reversed(stage.steps), reversed(stage.passed), strict=True):
        low, high = np.maximum(begin, step.low), np.minimum(end, step.high)
        active = np.flatnonzero(high > low)
        if not len(active):
            continue
        width = (high - low)[active]
        after = value[:, active]
        before, mean = _series(step.matrix, after, width, step.fastest)
        value[:, active] = before
        which = np.searchsorted(passed.ages, columns.start[active])
        # A column that ends before the others of its age is followed to its own end only.
        whole = np.minimum(stage.end[columns.start[active]], step.high) - low[active]
        there, more = passed.until(which, width / whole)
        there *= width
        more *= width / 12
        ahead = _OnTheWay(mean[: arm.rows], after[: arm.rows] - before[: arm.rows])
        _add(arm, slopes, step.interval, _OnTheWay(there, more), ahead, columns, active, outputs)


def _occupied(
    arm: Arm, begin: Floats, end: Floats, starts: Floats, steps: Sequence[_Step]
) -> tuple[list[_Passed], Floats]:
    """Who is in each row in each step, of the ages that are under way in it; and in the end, by age."""
    now = starts.copy()
    found = []
    for step in steps:
        ages = np.flatnonzero((begin < step.high) & (end > step.low))
        entered = now[:, ages]
        forward = step.matrix[: arm.rows, : arm.rows].T.tocsr()
        length = np.minimum(end[ages], step.high) - np.maximum(begin[ages], step.low)
        now[:, ages], mean = _series(forward, entered, length, step.fastest)
        found.append(_Passed(ages, entered, now[:, ages] - entered, mean))
    return found, now


def _nothing(arm: Arm, outputs: int) -> Slopes:
    names = [flow.name for flow in arm.flows]
    cells, states = len(arm.cells), len(arm.states)
    return Slopes(
        {name: np.zeros((arm.base.shape[1], outputs)) for name in names},
        {name: np.zeros((states, outputs)) for name in names},
        {name: np.zeros((cells, outputs)) for name in names},
        (np.zeros((states, outputs)), np.zeros((cells, outputs))),
    )


@dataclass(frozen=True, eq=False)
class _OnTheWay:
    """Means over a step and changes in it, (rows, columns)."""

    mean: Floats
    change: Floats


def _add(
    arm: Arm,
    slopes: Slopes,
    interval: int,
    there: _OnTheWay,
    ahead: _OnTheWay,
    columns: Columns,
    active: np.ndarray,
    outputs: int,
) -> None:
    """Time spent in a row times rate times what a jump from it gains: the slope with the logarithm of the rate.

    The integral of a product over a step is that of the means, and a twelfth of the product of the changes: exact for
    straight lines.
    """
    belongs = np.zeros((len(active), outputs))
    belongs[np.arange(len(active)), columns.output[active]] = 1.0
    stays = (there.mean * ahead.mean + there.change * ahead.change) @ belongs
    cells, states = len(arm.cells), len(arm.states)
    for number, flow in enumerate(arm.flows):
        rate = flow.factor * arm.base[number, interval]
        if flow.jump:
            to = flow.rows + flow.jump
            product = there.mean[flow.rows] * ahead.mean[to] + there.change[flow.rows] * ahead.change[to]
            gain = product @ belongs - stays[flow.rows]
            full = np.zeros((arm.rows, outputs))
            full[flow.rows] = rate[:, None] * gain
        else:
            reached = np.zeros_like(stays)
            if number == 0:
                money = columns.money[active]
                reached = there.mean @ (belongs * ~money[:, None])
                if arm.worth is not None and money.any():
                    paid = (there.mean @ (belongs * money[:, None])) * arm.worth[:, None]
                    reached += paid
                    earned = (rate[:, None] * paid).reshape(cells, states, outputs)
                    slopes.worth[0][...] += earned.sum(axis=0)
                    slopes.worth[1][...] += earned.sum(axis=1)
            full = rate[:, None] * (reached - stays)
        grown = full.reshape(cells, states, outputs)
        slopes.by_state[flow.name] += grown.sum(axis=0)
        slopes.by_cell[flow.name] += grown.sum(axis=1)
        slopes.by_interval[flow.name][interval] += grown.sum(axis=(0, 1))
