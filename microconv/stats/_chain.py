"""The Markov chain of states in one arm: chances by backward equations, and by how much each rate moves them.

Rates are constant within an interval, so that each step is a power series in the rates, summed until what is left is
below ``_LEFT``; no step is longer than the mean stay in the shortest-lived state. Columns of a start at one age with an
end at another share the work: each takes part in a step for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from microconv.stats._curves import Floats
from microconv.stats.intensity_fit import Intensities

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Arm", "Columns", "Slopes", "Solved", "arm_of"]

_LEFT = 1e-7
# Beyond so many stays within an interval, which only states can have that nobody is seen in, a stay is cut short.
_MOST_STAYS = 64.0


@dataclass(frozen=True, eq=False)
class _Flow:
    """A process within an arm: ``rows`` it leaves, the row it leads to is ``jump`` further on (0: an end)."""

    name: Hashable
    rows: np.ndarray
    jump: int
    factor: Floats


@dataclass(frozen=True, eq=False)
class Arm:
    """The chain on (cell, state): row ``cell * len(states) + place``; two more rows take up chances and money.

    ``states``: the number in the grid of each state of the arm; ``place``: the other way round, -1 where it is none.
    ``worth``: the money that the macro brings in each row. ``base``: by process and interval, in the order of flows.
    """

    cells: np.ndarray
    states: np.ndarray
    place: np.ndarray
    cuts: Floats
    flows: tuple[_Flow, ...]
    base: Floats
    worth: Floats | None
    pattern: csr_array = field(repr=False)
    share: Floats = field(repr=False)

    @property
    def rows(self) -> int:
        """How many (cell, state) there are."""
        return len(self.cells) * len(self.states)

    def matrix(self, interval: int, length: float) -> tuple[csr_array, float]:
        """The generator in an interval of this length, and its largest rate of leaving."""
        from scipy.sparse import csr_array

        data = self.share @ self.base[:, interval]
        row = np.repeat(np.arange(self.rows + 2), np.diff(self.pattern.indptr))
        leaving = np.zeros(self.rows + 2)
        diagonal = self.pattern.indices == row
        leaving[row[diagonal]] = -data[diagonal]
        most = _MOST_STAYS / length
        if leaving.max() > most:
            slower = np.minimum(1.0, most / np.maximum(leaving, most))
            data = data * slower[row]
        found = csr_array((data, self.pattern.indices, self.pattern.indptr), shape=self.pattern.shape)
        return found, float(min(leaving.max(), most))


def arm_of(
    fitted: Intensities, cells: np.ndarray, levels: dict[str, np.ndarray], frozen: str | None, worth: Floats | None
) -> Arm:
    """The chain with each column of the state limited to ``levels``; the move of ``frozen`` does not happen."""
    from scipy.sparse import coo_array

    grid = fitted.grid
    names = list(grid.columns)
    shape = tuple(len(levels[name]) for name in reversed(names))
    axes = np.meshgrid(*[levels[name] * grid.step(name) for name in reversed(names)], indexing="ij", sparse=True)
    states = np.broadcast_to(sum(axes, np.zeros((1,) * len(names), dtype=np.int64)), shape).reshape(-1)
    place = np.full(grid.states, -1, dtype=np.int64)
    place[states] = np.arange(len(states))
    flows, base = [], []
    offset = np.arange(len(cells)) * len(states)
    for name in (*fitted.causes, *fitted.moves):
        one = fitted.process(name)
        jump, here = 0, np.arange(len(states))
        if one.column is not None:
            if one.column == frozen or len(levels[one.column]) < 2:
                continue
            here = np.flatnonzero(grid.level(one.column)[states] < levels[one.column].max())
            jump = int(np.prod([len(levels[other]) for other in names[: names.index(one.column)]], dtype=np.int64))
        factor = one.factor[np.ix_(cells, states[here])].reshape(-1)
        flows.append(_Flow(name, (offset[:, None] + here).reshape(-1), jump, factor))
        base.append(one.base)
    rows = len(cells) * len(states)
    money = None if worth is None else worth[np.ix_(cells, states)].reshape(-1)
    # What is in row i, column j of the generator, as shares of the processes' base rates.
    at: list[tuple[np.ndarray, np.ndarray, int, Floats]] = []
    for number, flow in enumerate(flows):
        at.append((flow.rows, flow.rows, number, -flow.factor))
        if flow.jump:
            at.append((flow.rows, flow.rows + flow.jump, number, flow.factor))
        elif number == 0:
            at.append((flow.rows, np.full(len(flow.rows), rows), number, flow.factor))
            if money is not None:
                at.append((flow.rows, np.full(len(flow.rows), rows + 1), number, flow.factor * money))
    row = np.concatenate([one[0] for one in at])
    column = np.concatenate([one[1] for one in at])
    entry = row * (rows + 2) + column
    known, which = np.unique(entry, return_inverse=True)
    share = np.zeros((len(known), len(flows)))
    np.add.at(
        share,
        (which, np.concatenate([np.full(len(one[0]), one[2]) for one in at])),
        np.concatenate([one[3] for one in at]),
    )
    pattern = coo_array(
        (np.ones(len(known)), (known // (rows + 2), known % (rows + 2))), shape=(rows + 2, rows + 2)
    ).tocsr()
    return Arm(
        cells, states, place, np.array(fitted.cuts, dtype=float), tuple(flows), np.array(base), money, pattern, share
    )


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
    """``value``: (rows, columns), what each column asks for, from each row; ``slopes`` for the starts given."""

    value: Floats
    slopes: Slopes


@dataclass(frozen=True)
class _Step:
    low: float
    high: float
    interval: int
    matrix: csr_array
    fastest: float


def _steps(arm: Arm, first: float, last: float) -> Iterator[_Step]:
    """Stretches of constant rates between two ages, none longer than the shortest stay."""
    inner = arm.cuts[(arm.cuts > first) & (arm.cuts < last)]
    edges = np.array([first, *inner, last])
    for low, high in pairwise(edges):
        interval = int(np.searchsorted(arm.cuts, low, side="right"))
        matrix, fastest = arm.matrix(interval, high - low)
        many = max(1, int(np.ceil(fastest * (high - low))))
        inside = np.linspace(low, high, many + 1)
        for one, other in pairwise(inside):
            yield _Step(float(one), float(other), interval, matrix, fastest)


def _series(matrix: csr_array, values: Floats, length: Floats, fastest: float) -> Floats:
    """``exp(matrix * length) @ values``, each column with a length of its own."""
    total, term, size = values.copy(), values, 1.0
    longest = float(length.max(initial=0.0)) * fastest
    order = 0
    while size > _LEFT:
        order += 1
        size *= longest / order
        term = matrix @ term
        term *= length / order
        total += term
    return total


def solve(arm: Arm, columns: Columns, starts: Floats, outputs: int) -> Solved:
    """What every column asks for, from every row, and the slopes of its mean over ``starts`` (rows, ages)."""
    first, last = float(columns.begin.min()), float(columns.end.max())
    steps = list(_steps(arm, first, last))
    passed = _occupied(arm, columns, starts, steps)
    value = np.zeros((arm.rows + 2, len(columns.start)))
    value[arm.rows, ~columns.money] = 1.0
    value[arm.rows + 1, columns.money] = 1.0
    slopes = _nothing(arm, outputs)
    begin, end = columns.begin, columns.end
    for number in range(len(steps) - 1, -1, -1):
        step = steps[number]
        low, high = np.maximum(begin, step.low), np.minimum(end, step.high)
        active = np.flatnonzero(high > low)
        if not len(active):
            continue
        after = value[:, active]
        before = _series(step.matrix, after, (high - low)[active], step.fastest)
        value[:, active] = before
        ages, entered, left = passed[number]
        which = np.searchsorted(ages, columns.start[active])
        width = (high - low)[active]
        # A column that ends within the step is followed to its end only.
        whole = step.high - low[active]
        there = entered[:, which] + (left - entered)[:, which] * (width / whole / 2)
        there *= width
        middle = (before[: arm.rows] + after[: arm.rows]) / 2
        _add(arm, slopes, step.interval, there, middle, columns, active, outputs)
    return Solved(value[: arm.rows], slopes)


def _occupied(
    arm: Arm, columns: Columns, starts: Floats, steps: Sequence[_Step]
) -> list[tuple[np.ndarray, Floats, Floats]]:
    """For each step: the ages that are under way in it, and who is in each row at its begin and at its end."""
    last = np.full(len(columns.ages), -np.inf)
    np.maximum.at(last, columns.start, columns.end)
    now = np.zeros((arm.rows, len(columns.ages)))
    waiting = np.ones(len(columns.ages), dtype=bool)
    found = []
    for step in steps:
        ages = np.flatnonzero((columns.ages < step.high) & (last > step.low))
        fresh = ages[waiting[ages]]
        now[:, fresh] = starts[:, fresh]
        waiting[fresh] = False
        entered = now[:, ages]
        forward = step.matrix[: arm.rows, : arm.rows].T.tocsr()
        length = step.high - np.maximum(columns.ages[ages], step.low)
        now[:, ages] = _series(forward, entered, length, step.fastest)
        found.append((ages, entered, now[:, ages]))
    return found


def _nothing(arm: Arm, outputs: int) -> Slopes:
    names = [flow.name for flow in arm.flows]
    cells, states = len(arm.cells), len(arm.states)
    return Slopes(
        {name: np.zeros((arm.base.shape[1], outputs)) for name in names},
        {name: np.zeros((states, outputs)) for name in names},
        {name: np.zeros((cells, outputs)) for name in names},
        (np.zeros((states, outputs)), np.zeros((cells, outputs))),
    )


def _add(
    arm: Arm,
    slopes: Slopes,
    interval: int,
    there: Floats,
    middle: Floats,
    columns: Columns,
    active: np.ndarray,
    outputs: int,
) -> None:
    """Time spent in a row times rate times what a jump from it gains: the slope with the logarithm of the rate."""
    belongs = np.zeros((len(active), outputs))
    belongs[np.arange(len(active)), columns.output[active]] = 1.0
    stays = (there * middle) @ belongs
    cells, states = len(arm.cells), len(arm.states)
    for number, flow in enumerate(arm.flows):
        rate = flow.factor * arm.base[number, interval]
        if flow.jump:
            gain = (there[flow.rows] * middle[flow.rows + flow.jump]) @ belongs - stays[flow.rows]
            full = np.zeros((arm.rows, outputs))
            full[flow.rows] = rate[:, None] * gain
        else:
            reached = np.zeros_like(stays)
            if number == 0:
                money = columns.money[active]
                reached = there @ (belongs * ~money[:, None])
                if arm.worth is not None and money.any():
                    paid = (there @ (belongs * money[:, None])) * arm.worth[:, None]
                    reached += paid
                    earned = (rate[:, None] * paid).reshape(cells, states, outputs)
                    slopes.worth[0][...] += earned.sum(axis=0)
                    slopes.worth[1][...] += earned.sum(axis=1)
            full = rate[:, None] * (reached - stays)
        grown = full.reshape(cells, states, outputs)
        slopes.by_state[flow.name] += grown.sum(axis=0)
        slopes.by_cell[flow.name] += grown.sum(axis=1)
        slopes.by_interval[flow.name][interval] += grown.sum(axis=(0, 1))
