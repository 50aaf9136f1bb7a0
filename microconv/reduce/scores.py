"""Per-user scores of a fitted hazard model, summed in the engine: the second pass behind robust errors.

A user's score is the sum over the user's events of ``Z - Zbar + w (Z e0 - e1)``, less the sum over the user's spells of
``w (Z (A0(stop) - A0(start)) - (A1(stop) - A1(start)))``. Here w = exp(beta'Z), A0 is the cumulative baseline hazard
and A1 the same with each step times Zbar, and e0, e1 take back what Efron's method does not count for those who
fail at a tied time (Lin and Wei 1989; R's ``residuals(fit, type = "score", collapse = id)``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.reduce.states import ENTERED, EVENT, HALVES_PER_DAY, Layout, edges

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People

__all__ = ["score_products"]


def score_products(
    people: People, marked: ir.Table, layout: Layout, patterns: pd.DataFrame, pieces: pd.DataFrame, terms: int
) -> np.ndarray:
    """The sum over users of the outer products of their scores: the middle of the sandwich, terms by terms.

    * ``marked``: ``moments`` of ``layout``.
    * ``patterns``: one row per pattern: ``cell, state, stratum, weight`` (w) and ``z_0``, ....
    * ``pieces``: A0 and A1 as functions of time: ``stratum, from`` (half microseconds; the piece holds from there on),
      ``a0, a1_0, ..`` at ``from``, ``rate, rate_0, ..`` (growth of both per day) and, for events in the piece,
      ``zbar_0, .., e0, e1_0, ..``. Before the first piece A0 and A1 are 0.
    """
    if terms == 0 or pieces.empty:
        return np.zeros((terms, terms))
    engine = people.engine
    z = [f"z_{k}" for k in range(terms)]
    edged = edges(marked, layout, ["user_id"])
    known = ibis.memtable(patterns[["cell", "state", "stratum", "weight", *z]].reset_index(drop=True))
    read = edged.join(known, [edged.cell == known.cell, edged.state == known.state])
    read = engine.materialise(read.select("user_id", "stratum", "weight", "what", "at", *z))
    table = pieces.sort_values(["stratum", "from"], ignore_index=True)
    table = table.assign(piece=table.groupby("stratum").cumcount() + 1)
    places = _places(read, ibis.memtable(table[["stratum", "from"]]))
    placed = read.join(places, [read.stratum == places.of, read["at"] == places.when])
    # Who enters at time zero is at risk at it: nothing of the hazard lies behind.
    number = ((placed["at"] == 0) & (placed.what == ENTERED)).ifelse(0, placed.piece)
    placed = placed.select("user_id", "stratum", "weight", "what", "at", *z, piece=number.cast("int64")).view()
    values = ibis.memtable(table.rename(columns={"stratum": "_stratum", "piece": "_piece", "from": "_from"}))
    placed = placed.left_join(values, [placed.stratum == values["_stratum"], placed.piece == values["_piece"]])
    return _products(people, placed, terms)


def _places(read: ir.Table, starts: ir.Table) -> ir.Table:
    """For each stratum and time of an edge (``of, when``), in which piece it lies: 0 is before the first."""
    times = read.select("stratum", "at").distinct().mutate(here=ibis.literal(0, "int64"))
    marks = starts.select("stratum", at=starts["from"].cast("int64"), here=ibis.literal(1, "int64"))
    both = times.union(marks)
    so_far = ibis.range_window(group_by=both.stratum, order_by=both["at"], preceding=None, following=0)
    counted = both.mutate(piece=both.here.sum().over(so_far))
    only = counted.filter(counted.here == 0)
    return only.select(of=only.stratum, when=only["at"], piece=only.piece)


def _products(people: People, placed: ir.Table, terms: int) -> np.ndarray:
    """Scores by user, and the sums of their products over users."""
    # As floats before they are divided: Spark rounds a whole number over a decimal one.
    days = ((placed["at"] - placed["_from"]).cast("float64") / HALVES_PER_DAY).fill_null(0.0)
    sign = (placed.what == ENTERED).ifelse(1.0, -1.0)
    event = (placed.what == EVENT).ifelse(1.0, 0.0)
    a0 = placed.a0.fill_null(0.0) + placed.rate.fill_null(0.0) * days
    parts = {}
    for k in range(terms):
        z = placed[f"z_{k}"]
        a1 = placed[f"a1_{k}"].fill_null(0.0) + placed[f"rate_{k}"].fill_null(0.0) * days
        tied = placed.weight * (z * placed.e0.fill_null(0.0) - placed[f"e1_{k}"].fill_null(0.0))
        at_event = z - placed[f"zbar_{k}"].fill_null(0.0) + tied
        parts[f"u_{k}"] = (sign * placed.weight * (z * a0 - a1) + event * at_event).sum()
    scores = people.engine.materialise(placed.group_by("user_id").agg(**parts))
    pairs = [(j, k) for j in range(terms) for k in range(j, terms)]
    sums = {f"b_{j}_{k}": (scores[f"u_{j}"] * scores[f"u_{k}"]).sum() for j, k in pairs}
    row = people.engine.fetch(scores.agg(**sums)).iloc[0]
    found = np.zeros((terms, terms))
    for j, k in pairs:
        # Threads add up in any order: beyond twelve digits the sum would differ from run to run.
        found[j, k] = found[k, j] = float(f"{float(row[f'b_{j}_{k}']):.12g}")
    return found
