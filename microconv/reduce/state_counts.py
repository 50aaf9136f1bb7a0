"""Tables of counts by state: exact in time while they stay small, else events and person-time by interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.exposures import ExposureTable
from microconv.reduce.states import (
    CENSORED,
    ENTERED,
    EVENT,
    HALVES_PER_DAY,
    Layout,
    Totals,
    half_microseconds,
    summed,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People

__all__ = ["Counts", "event_cuts", "event_times", "exact_counts", "exposure_counts", "exposures_of", "interval"]

_SLICES = 32  # of the event times, between which spells are compacted side by side


@dataclass(frozen=True, eq=False)
class Counts:
    """The exact table, or None where it would be too large; ``kept`` says how times are kept."""

    table: RiskTable | None
    kept: str


def exact_counts(people: People, edged: ir.Table, layout: Layout, total: Totals, max_rows: int) -> Counts:
    """The exact counts of the spells behind ``edges`` (materialised), if they have at most ``max_rows`` rows.

    While every time fits it is kept as it is. Beyond that, an entry or an exit without an event is counted at the
    last event time before it (or just after time zero): the risk sets at event times, all that a Cox model and a
    Kaplan-Meier curve read, stay exact.
    """
    if total.edges <= max_rows:
        return Counts(_risk_table(people, layout, edged), "each time as it is")
    slices = event_times(people, edged.filter(edged.what >= EVENT), _SLICES)
    moved = _compacted(edged, slices)
    if _rows(people, moved.select("cell", "state", "at").distinct()) > max_rows:
        return Counts(None, "")
    kept = "changes of state and censored users at the last event time before (risk sets at event times are exact)"
    return Counts(_risk_table(people, layout, moved), kept)


def event_cuts(people: People, edged: ir.Table, bins: int) -> list[int]:
    """Times (half microseconds) that cut the target's events into ``bins`` of about equal number.

    Where events happen at time zero, when nothing counts as done, that moment is an interval of its own besides.
    """
    happened = edged.filter(edged.what == EVENT)
    first = [1] if _rows(people, happened.filter(happened["at"] == 0)) else []
    return [*first, *event_times(people, happened, bins)]


def event_times(people: People, happened: ir.Table, bins: int) -> list[int]:
    """Event times that cut the events after time zero into ``bins`` of about equal number."""
    by_time = happened.filter(happened["at"] > 0).group_by("at").agg(n=ibis._.count())
    so_far = ibis.window(order_by=by_time["at"], rows=(None, 0))
    ranked = people.engine.materialise(by_time.mutate(rank=by_time.n.sum().over(so_far)))
    events = people.engine.fetch(ranked.agg(n=ranked.n.sum(), last=ranked["at"].max()))
    if not len(events) or pd.isna(events["n"][0]):
        return []
    many, last = int(events["n"][0]), int(events["last"][0])
    wanted = [-(-many * k // bins) for k in range(1, bins)]
    # The first time at which so many events have happened, for each wanted number.
    if not wanted:
        return []
    row = people.engine.fetch(
        ranked.agg(**{f"cut_{k}": ranked["at"].min(where=ranked["rank"] >= rank) for k, rank in enumerate(wanted)})
    ).iloc[0]
    return sorted({int(cut) for cut in row if not pd.isna(cut) and int(cut) < last})


def exposure_counts(people: People, edged: ir.Table, layout: Layout, cuts: list[int]) -> ExposureTable:
    """Events and exact person-time by interval and pattern; ``cuts`` (half microseconds) end the intervals (a, b].

    ``PT(k, p) = width_k N(p) + sum over spells starting in k of (b_k - start) - sum over spells stopping in k of
    (b_k - stop)``, N being the spells open at the interval's start.
    """
    placed = edged.mutate(bin=interval(edged["at"], cuts))
    frame = people.engine.fetch(summed(placed, ["cell", "state", "bin"]))
    frame["time"] = half_microseconds(frame)
    events = {name: frame[frame["what"] == EVENT + cause] for cause, name in enumerate(people.causes)}
    return exposures_of(people, layout, frame, events, cuts)


def exposures_of(
    people: People, layout: Layout, edged: pd.DataFrame, events: Mapping[str, pd.DataFrame], cuts: list[int]
) -> ExposureTable:
    """The exposures of counted edges (``cell, state, bin, what, n`` and ``time``, the exact sum of their times) and of
    counted ``events`` by cause (``cell, state, bin, n``).
    """
    # No time is left after the last edge, so that any end of the last interval will do.
    edges_at = np.array([0, *cuts, max(cuts, default=0)], dtype=object)
    whole = pd.concat([edged, *events.values()])[["cell", "state"]].to_numpy(np.int64)
    patterns, place = np.unique(whole, axis=0, return_inverse=True)
    place = place.reshape(-1)
    shape = (len(patterns), len(cuts) + 1)
    which = (place[: len(edged)], edged["bin"].to_numpy(np.int64))
    sign = np.where(edged["what"] == ENTERED, 1, -1)
    number, time = np.zeros(shape, dtype=object), np.zeros(shape, dtype=object)
    np.add.at(number, which, (sign * edged["n"].to_numpy(np.int64)).astype(object))
    np.add.at(time, which, sign * edged["time"].to_numpy())
    opened = np.cumsum(number, axis=1) - number
    width = edges_at[1:] - edges_at[:-1]
    person = width * opened + number * edges_at[1:] - time
    rows = shape[0] * shape[1]
    found = _patterns(people, layout, np.repeat(patterns, shape[1], axis=0))
    found["from_days"] = np.tile(_days(edges_at[:-1]), shape[0])
    found["to_days"] = np.tile(np.append(_days(edges_at[1:-1]), np.inf), shape[0])
    first = len(edged)
    for name, frame in events.items():
        counted = np.zeros(shape)
        mine = (place[first : first + len(frame)], frame["bin"].to_numpy(np.int64))
        np.add.at(counted, mine, frame["n"].to_numpy(float))
        found[f"d_{name}"] = counted.reshape(rows)
        first += len(frame)
    found["person_time_days"] = _days(person.reshape(rows))
    names = [*layout.names, *people.cells.columns]
    found = found.iloc[np.lexsort((found["from_days"], group_codes(found[names])))].reset_index(drop=True)
    return ExposureTable(found, tuple(names), tuple(events), tuple(_days(edges_at[1:-1])))


def _rows(people: People, table: ir.Table) -> int:
    return int(people.engine.fetch(table.agg(rows=table.count()))["rows"][0])


def _days(halves: np.ndarray) -> np.ndarray:
    return np.asarray([half / HALVES_PER_DAY for half in halves], dtype=float)


def interval(at: ir.IntegerValue, cuts: list[int]) -> ir.IntegerValue:
    """The number of the interval (a, b] that a time lies in."""
    return reduce(add, [(at > cut).cast("int64") for cut in cuts], ibis.literal(0, "int64"))


def _compacted(edged: ir.Table, slices: list[int]) -> ir.Table:
    """Edges without an event moved back to the last event time; ``slices`` are event times."""
    placed = edged.mutate(slice=interval(edged["at"], slices))
    event = (placed.what >= EVENT).ifelse(placed["at"], ibis.null("int64"))
    so_far = ibis.range_window(group_by=placed.slice, order_by=placed["at"], preceding=None, following=0)
    known = placed.mutate(before=event.max().over(so_far))
    start = ibis.literal(1, "int64")
    for k, cut in enumerate(slices, 1):
        start = (known.slice == k).ifelse(ibis.literal(cut, "int64"), start)
    # Time zero is a risk set of its own: what comes after it stays after it.
    moved = ibis.ifelse(known["at"] == 0, ibis.literal(0, "int64"), ibis.greatest(known.before.fill_null(start), 1))
    return known.mutate(at=moved).drop("slice", "before")


def _patterns(people: People, layout: Layout, keys: np.ndarray) -> pd.DataFrame:
    """The pattern columns of rows of (cell, state): the micros, then the attributes."""
    columns = dict(layout.decode(keys[:, 1]))
    for name in people.cells:
        columns[str(name)] = people.cells[name].to_numpy()[keys[:, 0]]
    return pd.DataFrame(columns, index=range(len(keys)))


def _risk_table(people: People, layout: Layout, edged: ir.Table) -> RiskTable:
    # One row per time and pattern, so that nothing is left to add up outside the engine.
    counted = {"entered": ENTERED, "censored": CENSORED}
    counted |= {f"d_{name}": EVENT + cause for cause, name in enumerate(people.causes)}
    number = {f"n_{what}": edged.what.count(where=edged.what == what) for what in counted.values()}
    frame = people.engine.fetch(edged.group_by("cell", "state", "at").agg(**number))
    found = _patterns(people, layout, frame[["cell", "state"]].to_numpy(np.int64))
    found["time_days"] = frame["at"].to_numpy(float) / HALVES_PER_DAY
    for name, what in counted.items():
        found[name] = frame[f"n_{what}"].to_numpy(float)
    return RiskTable.from_counts(found, (*layout.names, *people.cells.columns), people.causes)
