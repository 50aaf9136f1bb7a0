"""A table with a row per session and no times, as counts: of a column's levels by outcome, and of micros by stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

from microconv import conditions
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.reduce.bands import band_cuts, band_names

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine

__all__ = ["Levels", "Rows", "by_outcome", "overview", "reads", "rows_of", "strata_counts"]

_MISSING = "(missing)"
_BINS = 500  # a number's values are told apart so finely
_RARE = 20  # levels of text with fewer rows are one
_MOST_STRATA = 100_000


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows whose outcome is known, in the engine: ``converted``, ``m_i`` (whether the i-th micro was done) and the
    columns ``c_j`` named by ``columns``, NaN as null.
    """

    engine: Engine
    table: ir.Table
    micros: tuple[str, ...]
    columns: tuple[str, ...]
    kinds: Mapping[str, str]

    def place(self, column: str) -> str:
        """What a column is called in the table."""
        return f"c_{self.columns.index(column)}"


@dataclass(frozen=True, eq=False)
class Levels:
    """A column's levels by outcome: ``converted, others`` and, of a number, ``smallest, largest`` (of a bin of its
    values), in order. ``kind``: ``"number"`` or ``"text"``; ``positive``: which levels are above zero; ``missing``:
    whether the last row is of what is missing.
    """

    kind: str
    frame: pd.DataFrame
    missing: bool
    positive: np.ndarray


def rows_of(
    engine: Engine,
    table: ir.Table,
    outcome: Mapping[str, Any],
    micros: Sequence[Mapping[str, Any]],
    adjust: Sequence[str],
) -> Rows:
    """Read what each row did. ``outcome`` and the micros have a ``name`` and a ``where`` (or None: the column of that
    name is true or above zero). Raises ``ParameterError`` and ``PlanError`` for columns that cannot be read so.
    """
    named = [name for one in micros for name in reads(one)]
    columns = tuple(dict.fromkeys([*named, *adjust]))
    known = _known(table, outcome)
    kept = table.filter(known.notnull())
    held = {"converted": _known(kept, outcome)}
    held |= {f"m_{i}": _known(kept, micro).fill_null(False) for i, micro in enumerate(micros)}
    values = {name: conditions.Column(name).expression(kept) for name in columns}
    held |= {f"c_{j}": value for j, value in enumerate(values.values())}
    kinds = {name: "number" if value.type().is_numeric() else "text" for name, value in values.items()}
    found = engine.materialise(kept.select(**held))
    return Rows(engine, found, tuple(one["name"] for one in micros), columns, kinds)


def overview(rows: Rows, table: ir.Table) -> dict[str, int]:
    """``read`` (rows), ``rows`` (whose outcome is known), ``converted``, ``repeats`` (rows that equal another)."""
    counts = rows.engine.fetch(rows.table.agg(rows=rows.table.count(), converted=rows.table.converted.sum()))
    read = rows.engine.fetch(table.agg(rows=table.count()))["rows"][0]
    distinct = table.distinct()
    different = rows.engine.fetch(distinct.agg(rows=distinct.count()))["rows"][0]
    return {
        "read": int(read),
        "rows": int(counts["rows"][0]),
        "converted": int(counts["converted"].fillna(0)[0]),
        "repeats": int(read - different),
    }


def by_outcome(rows: Rows, column: str) -> Levels:
    """How many of those who converted, and of the others, have each level of a column.

    Values of a number are told apart in bins of 1/500 of the rows, equal ones never apart, zero and below apart from
    above; text by its levels, of which those of fewer than 20 rows are one.
    """
    table = rows.table.select("converted", value=rows.table[rows.place(column)])
    number = rows.kinds[column] == "number"
    if number:
        table = table.filter(table.value.notnull())
        rank = (ibis.percent_rank().over(order_by=table.value) * _BINS).floor().cast("int64")
        table = table.mutate(level=rank, above=table.value > 0, value=table.value.cast("float64"))
        value = table.value
        grouped = table.group_by("level", "above").agg(
            converted=table.converted.cast("int64").sum(), rows=table.count(), smallest=value.min(), largest=value.max()
        )
    else:
        table = table.filter(table.value.notnull()).mutate(level=table.value.cast("string"))
        grouped = table.group_by("level").agg(converted=table.converted.cast("int64").sum(), rows=table.count())
        few = grouped.rows < _RARE
        grouped = grouped.mutate(rare=few, level=few.ifelse("", grouped.level))
        grouped = grouped.group_by("level", "rare").agg(converted=grouped.converted.sum(), rows=grouped.rows.sum())
    frame = rows.engine.fetch(grouped).sort_values("largest" if number else "level", ignore_index=True)
    lacking = rows.table.filter(rows.table[rows.place(column)].isnull())
    gone = rows.engine.fetch(
        lacking.agg(converted=lacking.converted.cast("int64").sum().fill_null(0), rows=lacking.count())
    ).iloc[0]
    frame = frame.assign(others=frame["rows"] - frame["converted"])
    positive = frame["above"].to_numpy(bool) if number else np.zeros(len(frame), dtype=bool)
    keep = ["converted", "others", *(["smallest", "largest"] if number else [])]
    missing = int(gone["rows"]) > 0
    if missing:
        converted = int(gone["converted"])
        last = {"converted": converted, "others": int(gone["rows"]) - converted, "smallest": np.nan, "largest": np.nan}
        frame = pd.concat([frame[keep], pd.DataFrame([last])[keep]], ignore_index=True)
        positive = np.append(positive, False)
    return Levels(rows.kinds[column], frame[keep], missing, positive)


def strata_counts(rows: Rows, adjust: Mapping[str, Levels]) -> pd.DataFrame:
    """By stratum of ``adjust`` (a number with more than six values in four bands): ``n, converted``, and of each micro
    ``done_i`` and ``done_converted_i``. Raises ``ParameterError`` for too many strata.
    """
    table = rows.table
    keys = {f"a_{j}": _stratum(rows, name, levels) for j, (name, levels) in enumerate(adjust.items())}
    table = table.mutate(**keys)
    sums = {"n": table.count(), "converted": table.converted.cast("int64").sum()}
    for i in range(len(rows.micros)):
        done = table[f"m_{i}"]
        sums[f"done_{i}"] = done.cast("int64").sum()
        sums[f"done_converted_{i}"] = (done & table.converted).cast("int64").sum()
    grouped = table.group_by(list(keys)).agg(**sums) if keys else table.agg(**sums)
    frame = rows.engine.fetch(grouped.limit(_MOST_STRATA + 1))
    if len(frame) > _MOST_STRATA:
        raise ParameterError(
            f"adjust= has more than {_MOST_STRATA:,} combinations of levels, so that nearly every row stands alone. "
            "Adjust for fewer or coarser columns."
        )
    named = dict(zip(keys, adjust, strict=True))
    return frame.rename(columns=named).sort_values(list(adjust), ignore_index=True) if keys else frame


def _stratum(rows: Rows, column: str, levels: Levels) -> ir.StringValue:
    value = rows.table[rows.place(column)]
    if levels.kind == "text":
        return value.cast("string").fill_null(_MISSING)
    known = levels.frame[levels.frame["largest"].notna()]
    largest, sizes = known["largest"].to_numpy(float), (known["converted"] + known["others"]).to_numpy(float)
    if not len(largest):
        return ibis.literal(_MISSING)
    number = value.cast("float64")
    cuts = band_cuts(largest, sizes)
    if cuts is None and (known["smallest"] == known["largest"]).all():
        each = [(number == one, f"{one:g}") for one in largest]
        return ibis.cases(*each, else_=_MISSING)
    # A few bins of many values: each is as rare as the bins are fine.
    cuts = cuts or band_cuts(largest, sizes, few=1) or [float(largest[0])]
    names = band_names(cuts)
    bands = [(number <= cut, name) for cut, name in zip(cuts, names[:-1], strict=True)]
    return ibis.cases((number.isnull(), _MISSING), *bands, else_=names[-1])


def reads(micro: Mapping[str, Any]) -> list[str]:
    """The columns by which it is known whether a micro was done."""
    return [micro["name"]] if micro["where"] is None else sorted(conditions.parse(micro["where"]).columns)


def _known(table: ir.Table, one: Mapping[str, Any]) -> ir.BooleanValue:
    """Whether a row did it; null where that is not known."""
    if one["where"] is not None:
        return conditions.parse(one["where"]).to_ibis(table)
    name = one["name"]
    if name not in table.columns:
        raise ParameterError(unknown_name("column", name, table.columns))
    value = conditions.Column(name).expression(table)
    if value.type().is_boolean():
        return value
    if value.type().is_numeric():
        return value > 0
    raise ParameterError(
        f"The column {shorten(repr(name))} is of type {value.type()}: it must hold true or false, or a number that is "
        "above zero where it was done. Say which values count: {'name': 'of Italy', 'where': \"country = 'IT'\"}."
    )
