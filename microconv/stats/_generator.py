"""The Markov chain of states in one arm: its states and the generator of each interval."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from microconv.stats._curves import Floats
from microconv.stats.intensity_fit import Intensities

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Arm", "arm_of"]

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

        # Not as a product of matrices: waking its threads costs more than the sum.
        data = np.einsum("ef,f->e", self.share, self.base[:, interval])
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
