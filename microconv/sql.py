"""A reduction as SQL: what an engine would be asked, to read, to check, or to run elsewhere."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import pandas as pd

from microconv import conditions
from microconv.durations import Duration
from microconv.engine import sketch_engine, to_datetime
from microconv.errors import ParameterError, PlanError, unknown_name
from microconv.journeys import journey_rule
from microconv.log import EventLog
from microconv.plan import Item, Micro, Plan
from microconv.reading import load_plan
from microconv.reduce.funnels import attempts
from microconv.reduce.occurrences import occurrences
from microconv.reduce.risk import journeys
from microconv.steps import Step, funnel_rule, label

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
      ``columns`` gives the types of the latter (``{"percent": "float64"}``) where their use does not tell: what is
      compared with a number is one, what is summed is one, all else is text.

    Raises ``ParameterError`` on an unknown reduction or dialect, or one that cannot express it.
    """
    if reduction not in REDUCTIONS:
        raise ParameterError(unknown_name("reduction", reduction, REDUCTIONS))
    engine = sketch_engine(dialect)
    chosen = load_plan(plan) if plan is not None else None
    own = {"user_id": "string", "time": "timestamp('UTC')", "event": "string"}
    read = _read_columns([*(chosen.items if chosen is not None else ()), *_step_items(steps)])
    types = dict.fromkeys(by, "string") | read | _checked(columns or {})
    types = own | {column: kind for column, kind in types.items() if column not in own}
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
        log.require_plan("journeys")
        return engine.sql(journeys(log, journey_rule(log, None, "entry", None, None), by))
    except ibis.common.exceptions.IbisError as error:
        raise ParameterError(f"{dialect} cannot express the reduction {reduction!r}: {error}") from error


def _step_items(steps: Sequence[Step]) -> list[Item]:
    """The steps that bring conditions of their own; what is wrong with any step is said where the rule is made."""
    found: list[Item] = []
    for step in steps if not isinstance(steps, str | Mapping) else ():
        if isinstance(step, Mapping):
            try:
                found.append(Micro(**{"name": label(step), **step}))
            except (PlanError, TypeError):
                continue
    return found


def _checked(columns: Mapping[str, str]) -> dict[str, str]:
    for column, kind in columns.items():
        try:
            ibis.dtype(kind)
        except Exception as error:  # its parser has errors of its own
            raise ParameterError(
                f"columns={{{column!r}: {kind!r}}}: that is no type. Write 'string', 'int64', 'float64', 'boolean', "
                "'date' or 'timestamp'."
            ) from error
    return dict(columns)


def _read_columns(items: Iterable[Item]) -> dict[str, str]:
    """The columns that plan items read, with the type that their use suggests."""
    found: dict[str, str] = {}
    for item in items:
        if item.condition is not None:
            for column, kind in _compared(item.condition):
                found[column] = kind or found.get(column, "string")
    for item in items:
        if (total := getattr(item, "total", None)) is not None:
            found[total.column] = "float64"
    return found


def _compared(condition: conditions.Condition) -> Iterator[tuple[str, str | None]]:
    """Each column of a condition, with the type of what it is compared with; None where that says nothing."""
    kinds = {"number": "float64", "boolean": "boolean"}
    if isinstance(condition, conditions.And | conditions.Or):
        for part in condition.parts:
            yield from _compared(part)
    elif isinstance(condition, conditions.Not):
        yield from _compared(condition.part)
    elif isinstance(condition, conditions.Column):
        yield condition.name, "boolean"
    elif isinstance(condition, conditions.In):
        yield condition.column.name, kinds.get(condition.options[0].family)
    elif isinstance(condition, conditions.Compare):
        sides = (condition.left, condition.right)
        for side, other in zip(sides, reversed(sides), strict=True):
            if isinstance(side, conditions.Column):
                yield side.name, kinds.get(other.family) if isinstance(other, conditions.Literal) else None
    else:
        yield from ((column, None) for column in condition.columns)
