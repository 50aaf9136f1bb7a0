"""A reduction as SQL: what an engine would be asked, to read, to check, or to run elsewhere."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import pandas as pd

from microconv.durations import Duration
from microconv.engine import sketch_engine, to_datetime
from microconv.errors import ParameterError, unknown_name
from microconv.log import EventLog
from microconv.plan import Plan
from microconv.reading import load_plan
from microconv.reduce.funnels import attempts
from microconv.reduce.occurrences import occurrences
from microconv.reduce.risk import journeys
from microconv.steps import Step, funnel_rule

__all__ = ["REDUCTIONS", "reduction_sql"]

REDUCTIONS = ("occurrences", "funnel", "journeys")


def reduction_sql(
    reduction: str,
    *,
    dialect: str = "duckdb",
    plan: Plan | Mapping[str, Any] | str | Path | None = None,
    steps: Sequence[Step] = (),
    window: Duration | None = None,
    by: Sequence[str] = (),
    table: str = "events",
    columns: Mapping[str, str] | None = None,
    observed_from: str | dt.datetime = "1970-01-01",
    observed_until: str | dt.datetime = "2100-01-01",
) -> str:
    """The SQL of a reduction over a table of events, in one statement.

    * ``reduction``: ``"occurrences"`` (when each user first did each plan item), ``"funnel"`` (each user's counted
      attempt; needs
      ``steps``) or ``"journeys"`` (each user's time at risk and how it ended; needs ``plan``).
    * ``dialect``: ``"duckdb"``, ``"spark"``, ``"databricks"``, ``"bigquery"``, ``"snowflake"``, ``"postgres"`` or
      ``"clickhouse"``.
    * ``table`` must have ``user_id`` (text), ``time`` (timestamp, UTC), ``event`` (text), and what the plan and ``by``
      name;
      ``columns`` gives the types of the latter where they are not text (``{"percent": "float64"}``).

    Raises ``ParameterError`` on an unknown reduction or dialect, or one that cannot express it.
    """
    if reduction not in REDUCTIONS:
        raise ParameterError(unknown_name("reduction", reduction, REDUCTIONS))
    engine = sketch_engine(dialect)
    chosen = load_plan(plan) if plan is not None else None
    types = {"user_id": "string", "time": "timestamp('UTC')", "event": "string"}
    types |= dict.fromkeys(by, "string") | _plan_columns(chosen) | dict(columns or {})
    log = EventLog(
        engine=engine,
        table=ibis.table(types, name=table),
        accounting=pd.DataFrame({"reason": ["accepted"], "rows": [0], "example": [""]}),
        observed_from=to_datetime(observed_from, "observed_from"),
        observed_until=to_datetime(observed_until, "observed_until"),
        source=table,
        plan=chosen,
    )
    try:
        if reduction == "occurrences":
            return engine.sql(occurrences(log, log.require_plan("occurrences").items))
        if reduction == "funnel":
            rule = funnel_rule(
                log, steps, window=window, order="ordered", reentry="latest",
                within_step=None, optional=(), exclude=(), same=None,
            )  # fmt: skip
            return engine.sql(attempts(log, rule, by))
        from microconv.conversion import journey_rule

        log.require_plan("journeys")
        return engine.sql(journeys(log, journey_rule(log, None, "entry", None, None), by))
    except ibis.common.exceptions.IbisError as error:
        raise ParameterError(f"{dialect} cannot express the reduction {reduction!r}: {error}") from error


def _plan_columns(plan: Plan | None) -> dict[str, str]:
    """Columns that the plan reads, with the type their use suggests."""
    from microconv import conditions

    found: dict[str, str] = {}
    for item in plan.items if plan is not None else ():
        if item.where:
            found |= {column: found.get(column, "string") for column in conditions.parse(item.where).columns}
        total, value = getattr(item, "total", None), getattr(item, "value", None)
        found |= {column: "float64" for column in (total.column if total else None, value) if column}
    return found
