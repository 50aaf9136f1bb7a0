"""People told apart more coarsely: numbers cut into a few bands, or the users of one level alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import ibis
import numpy as np
import pandas as pd

from microconv.reduce.entrants import People

__all__ = ["band_cuts", "band_names", "banded", "of_level"]

_FEW = 6  # so many different values are levels of their own
_SHARES = (0.25, 0.5, 0.75)


def banded(people: People, columns: Sequence[str]) -> People:
    """The same people with ``columns`` (numbers) as text: each value, or four bands of about as many users each.

    Bands are cut at observed values, and equal values stay together, so that there can be fewer than four.
    """
    columns = [column for column in columns if column in people.cells]
    if not columns:
        return people
    table = people.table
    counted = people.engine.fetch(table.group_by("cell").agg(users=table.count())).set_index("cell")["users"]
    users = counted.reindex(people.cells.index).fillna(0).to_numpy(dtype=float)
    cells = people.cells.copy()
    for column in columns:
        cells[column] = _levels(cells[column].to_numpy(dtype=float), users)
    coarse = cells.drop_duplicates(ignore_index=True)
    place = pd.Series(coarse.index, index=pd.MultiIndex.from_frame(coarse))
    into = place.reindex(pd.MultiIndex.from_frame(cells)).to_numpy(dtype=np.int64)
    return _recoded(people, into, coarse)


def of_level(people: People, column: str, level: object) -> People:
    """The users with one value of an attribute; their other attributes tell them apart as before."""
    kept = (people.cells[column] == level).to_numpy()
    into = np.where(kept, np.cumsum(kept) - 1, -1)
    found = _recoded(people, into, people.cells[kept].reset_index(drop=True))
    users = int(people.engine.fetch(found.table.agg(n=found.table.count()))["n"][0])
    return replace(found, users=users, never_at_risk=0, washed_out=0, without_number=0)


def _recoded(people: People, into: np.ndarray, cells: pd.DataFrame) -> People:
    """The people whose cell goes on (``into`` is 0 or more), with its new number."""
    table = people.table
    mapping = pd.DataFrame({"_cell": people.cells.index.to_numpy(np.int64), "_into": into.astype(np.int64)})
    known = ibis.memtable(mapping[mapping["_into"] >= 0].reset_index(drop=True))
    joined = table.join(known, table.cell == known["_cell"])
    moved = joined.mutate(cell=joined["_into"]).drop("_cell", "_into")
    return replace(people, table=people.engine.materialise(moved), cells=cells)


def _levels(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    cuts = band_cuts(values, users)
    if cuts is None:
        return np.array([f"{value:g}" for value in values], dtype=object)
    return np.array(band_names(cuts), dtype=object)[np.searchsorted(cuts, values, side="left")]


def band_cuts(values: np.ndarray, users: np.ndarray, few: int = _FEW) -> list[float] | None:
    """The upper ends, themselves within, of all bands but the last; None where each of a ``few`` values is a level."""
    distinct = np.unique(values)
    if len(distinct) <= few:
        return None
    order = np.argsort(values, kind="stable")
    so_far = np.cumsum(users[order]) / users.sum()
    cuts = sorted({float(values[order][np.searchsorted(so_far, share - 1e-12)]) for share in _SHARES} - {distinct[-1]})
    return cuts or [float(distinct[-2])]  # most users have the largest value


def band_names(cuts: Sequence[float]) -> list[str]:
    """What the bands between cuts are called, one more than there are cuts."""
    texts = [f"up to {cuts[0]:g}"]
    texts += [f"over {low:g} to {high:g}" for low, high in itertools.pairwise(cuts)]
    return [*texts, f"over {cuts[-1]:g}"]
