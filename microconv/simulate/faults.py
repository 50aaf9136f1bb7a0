"""What tracking got wrong: rows that come late, come twice, or have lost a cell."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from microconv.errors import ParameterError
from microconv.simulate.tracking import Faults

__all__ = ["spoil"]

_HOUR = 3_600_000_000
_CELLS = {"missing_user": "user_id", "missing_time": "time", "missing_event": "event"}


def spoil(
    table: pa.Table, is_page: np.ndarray, faults: Faults, rng: np.random.Generator
) -> tuple[pa.Table, dict[str, int]]:
    """The table in the order in which its rows arrive, with its faults, and how many rows each fault has.

    Faults do not overlap: a row has one at most.
    """
    rows = table.num_rows
    time = table["time"].cast(pa.int64()).to_numpy()
    whole = np.ones(rows, dtype=bool)
    counts: dict[str, int] = {}
    for fault, column in _CELLS.items():
        chosen = _choose(whole & is_page, fault, getattr(faults, fault), rows, rng)
        whole[chosen], counts[fault] = False, len(chosen)
        if len(chosen):
            gone = np.zeros(rows, dtype=bool)
            gone[chosen] = True
            cell = pc.if_else(pa.array(gone), pa.scalar(None, table[column].type), table[column])
            table = table.set_column(table.column_names.index(column), column, cell)
    latest = time[whole].max(initial=np.iinfo(np.int64).min)
    late = _choose(whole & (time < latest), "late", faults.late, rows, rng)
    is_late = np.zeros(rows, dtype=bool)
    is_late[late] = True
    arrival = time.copy()
    if len(late):
        # Late means after at least one row of a later time.
        punctual = np.sort(time[whole & ~is_late])
        overtaken_by = punctual[np.searchsorted(punctual, time[late], side="right")]
        delay = np.ceil(rng.standard_exponential(len(late)) * faults.late_by_hours * _HOUR).astype(np.int64)
        arrival[late] = np.maximum(time[late] + delay, overtaken_by)
    twice = _choose(whole & ~is_late, "duplicates", faults.duplicates, rows, rng)
    counts |= {"late": len(late), "duplicates": len(twice)}
    source = np.concatenate([np.arange(rows), twice])
    copied = np.concatenate([np.zeros(rows), np.ones(len(twice))])
    order = np.lexsort((copied, source, is_late[source], arrival[source]))
    return table.take(pa.array(source[order])), counts


def _choose(allowed: np.ndarray, fault: str, share: float, rows: int, rng: np.random.Generator) -> np.ndarray:
    wanted = round(share * rows)
    where = np.flatnonzero(allowed)
    if wanted > len(where):
        raise ParameterError(
            f"Faults: {fault}={share} asks for {wanted:,} of {rows:,} rows, but only {len(where):,} can have it "
            "(a row has one fault at most; cells go missing in page views only). Ask for less."
        )
    return rng.permutation(where)[:wanted] if wanted else where[:0]
