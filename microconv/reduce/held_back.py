"""What was known of each user at an earlier moment, and what became of those who were still open then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.durations import MICROS_PER_DAY
from microconv.errors import ParameterError

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["became_of", "first_start", "known_at"]

_GRID = 10_000


def first_start(log: EventLog, users: ir.Table) -> int | None:
    """The earliest time zero of ``journeys``, in microseconds; None where nobody is at risk."""
    first = log.engine.fetch(users.agg(first=users.start.min()))["first"][0]
    return None if pd.isna(first) else int(first)


def known_at(log: EventLog, users: ir.Table, moment: int) -> ir.Table:
    """``journeys`` as they were known at ``moment`` (microseconds): later users and later ends had not been seen."""
    seen = users.filter(users.start <= moment)
    ended = seen.stop <= moment
    seen = seen.mutate(
        stop=ended.ifelse(seen.stop, ibis.literal(moment, "int64")), cause=ended.ifelse(seen.cause, 0).cast("int16")
    )
    return log.engine.materialise(seen)


def became_of(
    log: EventLog, users: ir.Table, by: Sequence[str], moment: int, until: int, horizon: int, max_rows: int
) -> pd.DataFrame:
    """Users open at ``moment``: the ``by`` columns, ``age_days``, ``until_days``, ``users``, ``converted``.

    Open is who had started, had not ended and was younger than ``horizon``. ``converted`` counts those who did the
    target by the horizon, as far as it lies before ``until``; ``until_days`` is the age to which that is known. Ages
    are exact; beyond ``max_rows`` they are grouped in ten-thousandths of the horizon, at their mean.
    """
    keys = [f"by_{i}" for i in range(len(by))]
    age = moment - users.start
    still = users.filter((users.start <= moment) & (users.stop > moment) & (age < horizon))
    end = ibis.least(still.start + horizon, ibis.literal(until, "int64"))
    converted = ((still.cause == 1) & (still.stop <= end)).cast("int64")
    seen = still.select(*keys, age=moment - still.start, until=end - still.start, converted=converted)
    cells = log.engine.materialise(_cells(seen, [*keys, "age", "until"]))
    if int(log.engine.fetch(cells.agg(rows=cells.count()))["rows"][0]) > max_rows:
        width = max(horizon // _GRID, 1)
        coarse = seen.mutate(slice=(seen.age / width).floor().cast("int64"))
        grouped = coarse.group_by([*keys, "slice"]).agg(
            age=coarse.age.mean(), until=coarse.until.mean(), users=coarse.count(), converted=coarse.converted.sum()
        )
        cells = log.engine.materialise(grouped.drop("slice"))
        rows = int(log.engine.fetch(cells.agg(rows=cells.count()))["rows"][0])
        if rows > max_rows:
            raise ParameterError(
                f"The open users fall into {rows:,} cohorts and ages, more than max_rows={max_rows:,}. "
                "Raise max_rows, choose longer cohorts or a coarser by=."
            )
    found = log.engine.fetch(cells.order_by([*keys, "age", "until"]))
    names = dict(zip(keys, by, strict=True))
    return pd.DataFrame(
        {
            **{names[key]: found[key] for key in keys},
            "age_days": found["age"].to_numpy(dtype=float) / MICROS_PER_DAY,
            "until_days": found["until"].to_numpy(dtype=float) / MICROS_PER_DAY,
            "users": found["users"].to_numpy(dtype=float),
            "converted": found["converted"].to_numpy(dtype=float),
        }
    )


def _cells(seen: ir.Table, keys: list[str]) -> ir.Table:
    return seen.group_by(keys).agg(users=seen.count(), converted=seen.converted.sum())
