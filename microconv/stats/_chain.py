"""Chances by the backward equations of a Markov chain of states, and by how much each rate moves them.

Rates are constant within an interval, so that each step is a power series in the rates, summed until what is left is
below ``_LEFT``; no step is longer than a few stays in the shortest-lived state. Columns of a start at one age with an
end at another share the work: each takes part in a step for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from microconv.stats._curves import Floats
from microconv.stats._generator import Arm

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Columns", "Slopes", "Solved", "solve"]

_LEFT = 1e-7
_LONGEST = 3.0  # mean stays in the shortest-lived state
_TOGETHER = 120_000  # numbers worked on at a time: what a processor keeps at hand


@dataclass(frozen=True, eq=False)
class Columns:
    """What is asked: column k starts at ``ages[start[k]]`` and ends ``length[k]`` days later; ``output[k]`` is the
    question it belongs to, in ascending order, ``money[k]`` whether money is asked for in place of the chance.
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

    def until(self, rows: np.ndarray, which: np.ndarray, part: Floats) -> tuple[Floats, Floats]:
        """In ``rows``, the mean and the change of the ages in places ``which``, each for ``part`` of the step only."""
        mean, change = self.mean[rows][:, which], self.change[rows][:, which]
        short = np.flatnonzero(part < 1 - 1e-9)
        if len(short):  # along the parabola with the same begin, end and mean
            some, f = which[short], part[short]
            first, whole = self.first[rows][:, some], change[:, short]
            slope = 6 * (mean[:, short] - first) - 2 * whole
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
    for rows in _blocks(stages[0], len(columns.start)):
        both = np.concatenate([rows, [len(value) - 2, len(value) - 1]])
        some = value[both]
        for stage, slope in zip(reversed(made), reversed(slopes), strict=True):
            _backward(stage, columns, rows, some, slope)
        value[rows] = some[:-2]
    return Solved(value[:-2], tuple(slopes))


def _blocks(arm: Arm, columns: int) -> list[np.ndarray]:
    """The rows, some cells at a time: no jump leads from one cell to another."""
    many = -(-arm.rows * columns // _TOGETHER)
    parts = np.array_split(np.arange(arm.rows).reshape(len(arm.cells), -1), min(many, len(arm.cells)))
    return [part.reshape(-1) for part in parts]


def _backward(stage: _Stage, columns: Columns, rows: np.ndarray, value: Floats, slopes: Slopes) -> None:
    """Carry ``value`` (``rows`` and the two ends, columns), what is asked for at the end of the stage, back to its
    begin, in place; add to ``slopes``.
    """
    arm = stage.arm
    both = np.concatenate([rows, [arm.rows, arm.rows + 1]])
    begin = stage.begin[columns.start]
    end = np.minimum(stage.end[columns.start], columns.end)
    gains = _Gains(arm, rows, columns, slopes)
    walk = zip(reversed(stage.steps), reversed(stage.passed), strict=True)
    for interval, alike in groupby(walk, key=lambda one: one[0].interval):
        gains.clear()
        matrix = None
        for step, passed in alike:
            low, high = np.maximum(begin, step.low), np.minimum(end, step.high)
            active = np.flatnonzero(high > low)
            if not len(active):
                continue
            if matrix is None:
                matrix = step.matrix[both][:, both]
            width = (high - low)[active]
            after = value[:, active]
            before, mean = _series(matrix, after, width, step.fastest)
            value[:, active] = before
            which = np.searchsorted(passed.ages, columns.start[active])
            # A column that ends before the others of its age is followed to its own end only.
            whole = np.minimum(stage.end[columns.start[active]], step.high) - low[active]
            there, more = passed.until(rows, which, width / whole)
            gains.add(_paired(there * width, more * (width / 12)), _paired(mean, after - before)[:-2], active)
        gains.sum_up(interval)
    gains.spread()


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


def _paired(mean: Floats, change: Floats) -> Floats:
    """Mean and change of each column side by side: (rows, twice the columns)."""
    return np.stack([mean, change], axis=-1).reshape(len(mean), -1)


class _Gains:
    """Time spent in a row times what a jump from it gains, summed over the steps of an interval; times the rate, it is
    the slope with the logarithm of the rate. For some rows, whole cells.

    The integral of a product over a step is that of the means, and a twelfth of the product of the changes: exact for
    straight lines.
    """

    def __init__(self, arm: Arm, rows: np.ndarray, columns: Columns, slopes: Slopes) -> None:
        self._arm, self._rows, self._slopes = arm, rows, slopes
        self._output, self._money = columns.output, columns.money
        outputs = slopes.worth[0].shape[1]
        # By process: where in the rows a jump starts and ends, and how likely it is there as compared with others.
        self._jumps = []
        for flow in arm.flows:
            inside = slice(*np.searchsorted(flow.rows, [rows[0], rows[-1] + 1]))
            here = flow.rows[inside] - rows[0]
            self._jumps.append((here, here + flow.jump, flow.factor[inside]))
        self._earned = np.zeros((len(rows), outputs))
        self._grown = [np.zeros((len(here), outputs)) for here, _, _ in self._jumps]
        self.clear()

    def clear(self) -> None:
        """Start an interval."""
        self._stays = np.zeros_like(self._earned)
        self._reached = np.zeros_like(self._stays)
        self._paid = np.zeros_like(self._stays)
        self._jumped = [np.zeros_like(grown) for grown in self._grown]

    def add(self, there: Floats, ahead: Floats, active: np.ndarray) -> None:
        """One step: means and changes of who is there and of what is ahead, ``_paired``."""
        # Columns are in the order of outputs, so that each output's are a stretch: faster than a product of matrices.
        output, first = np.unique(self._output[active], return_index=True)
        pairs = 2 * first
        self._stays[:, output] += np.add.reduceat(there * ahead, pairs, axis=1)
        for flow, (here, to, _), jumped in zip(self._arm.flows, self._jumps, self._jumped, strict=True):
            if flow.jump:
                jumped[:, output] += np.add.reduceat(there[here] * ahead[to], pairs, axis=1)
        spent = np.add.reduceat(there[:, ::2], first, axis=1)
        money = self._money[active][first]
        self._reached[:, output[~money]] += spent[:, ~money]
        self._paid[:, output[money]] += spent[:, money]

    def sum_up(self, interval: int) -> None:
        """End an interval: its gains, times the rates."""
        arm = self._arm
        for number, (flow, (here, _, factor)) in enumerate(zip(arm.flows, self._jumps, strict=True)):
            rate = (factor * arm.base[number, interval])[:, None]
            reached = self._jumped[number]
            if number == 0:
                reached = self._reached[here]
                if arm.worth is not None:
                    paid = self._paid[here] * arm.worth[self._rows[here]][:, None]
                    reached = reached + paid
                    self._earned[here] += rate * paid
            full = rate * (reached - self._stays[here])
            self._grown[number] += full
            self._slopes.by_interval[flow.name][interval] += full.sum(axis=0)

    def spread(self) -> None:
        """After the last interval: the gains of all into the slopes by state and by cell."""
        every = np.arange(len(self._rows))
        parts = [(every, self._earned, self._slopes.worth)]
        for flow, (here, _, _), grown in zip(self._arm.flows, self._jumps, self._grown, strict=True):
            parts.append((here, grown, (self._slopes.by_state[flow.name], self._slopes.by_cell[flow.name])))
        for here, amount, (by_state, by_cell) in parts:
            cell, state = np.divmod(self._rows[here], len(self._arm.states))
            np.add.at(by_state, state, amount)
            np.add.at(by_cell, cell, amount)
