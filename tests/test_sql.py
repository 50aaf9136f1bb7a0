"""Reductions as SQL: every dialect, and run by DuckDB over a plain table the same rows as the reduction gives."""

from __future__ import annotations

import random
from typing import Any

import duckdb
import pandas as pd
import pytest
import sqlglot
from reference.logs import frame_of, random_events

import microconv as mc
from microconv.engine import DIALECTS
from microconv.journeys import journey_rule
from microconv.reduce.funnels import attempts
from microconv.reduce.occurrences import occurrences
from microconv.reduce.risk import journeys
from microconv.sql import REDUCTIONS, reduction_sql
from microconv.steps import funnel_rule

PLAN = {
    "macros": [{"name": "goal", "event": "A", "where": "x < 2 and not item in ('k', 'l')"}],
    "micros": [
        {"name": "second", "event": "B", "nth": 2},
        {"name": "spent", "total": {"column": "amount", "at_least": 3}},
        {"name": "late", "event": "C", "where": "time >= '2026-01-01T00:00:04Z'"},
    ],
    "competing": ["C"],
    "censor": [{"name": "gone", "event": "X", "where": "item = 'j'"}],
    "horizon": "5s",
}
STEPS: list[Any] = ["B", {"event": "C", "where": "x in (0, 1)"}, "A"]
UNTIL = "2026-01-01T00:00:20Z"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    events = frame_of(random_events(random.Random(1), 80))
    return events.assign(x=events["x"].astype("Float64"), device=events["device"].fillna("none"))


@pytest.fixture(scope="module")
def log(frame: pd.DataFrame) -> mc.EventLog:
    return mc.read_events(frame, plan=PLAN, observed_until=UNTIL)


def by_duckdb(text: str, frame: pd.DataFrame) -> pd.DataFrame:
    connection = duckdb.connect()
    connection.register("held", frame)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE TABLE events AS SELECT * FROM held")
    return connection.execute(text).df()


def assert_same_rows(one: pd.DataFrame, other: pd.DataFrame) -> None:
    left, right = (f.sort_values("user_id").reset_index(drop=True) for f in (one, other))
    assert len(left) > 10
    pd.testing.assert_frame_equal(left, right[left.columns], check_dtype=False)


def test_occurrences(frame: pd.DataFrame, log: mc.EventLog) -> None:
    text = reduction_sql("occurrences", plan=PLAN)
    assert_same_rows(log.engine.fetch(occurrences(log, log.require_plan("test").items)), by_duckdb(text, frame))


def test_journeys(frame: pd.DataFrame, log: mc.EventLog) -> None:
    text = reduction_sql("journeys", plan=PLAN, by=["device"], observed_until=UNTIL)
    expected = journeys(log, journey_rule(log, None, "entry", None, None), ["device"])
    assert_same_rows(log.engine.fetch(expected), by_duckdb(text, frame))


def test_funnel(frame: pd.DataFrame, log: mc.EventLog) -> None:
    text = reduction_sql("funnel", steps=STEPS, window="6s", by=["device"], observed_until=UNTIL)
    rule = funnel_rule(
        log, STEPS, window="6s", order="ordered", reentry="latest", within_step=None, optional=(), exclude=(), same=None
    )
    assert_same_rows(log.engine.fetch(attempts(log, rule, ["device"])), by_duckdb(text, frame))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dialect", [*DIALECTS, "spark"])
def test_every_dialect(reduction: str, dialect: str) -> None:
    text = reduction_sql(
        reduction, dialect=dialect, plan=PLAN, steps=STEPS, window="7D", by=["device"], table="my_events"
    )
    assert "my_events" in text
    read = {"pyspark": "spark"}.get(dialect, dialect)
    statements = sqlglot.parse(text, dialect=read)
    assert len(statements) == 1
    columns = {column.name.lower() for column in statements[0].find_all(sqlglot.exp.Column)}  # type: ignore[union-attr]
    assert {"user_id", "event", "time"} <= columns


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("percent >= 75", "DOUBLE"),
        ("75 <= percent", "DOUBLE"),
        ("not (percent in (1, 2) or page = 'a')", "DOUBLE"),
        ("percent is null or percent > 3", "DOUBLE"),
        ("percent", "BOOLEAN"),
        ("percent = true", "BOOLEAN"),
        ("percent = 'full'", "VARCHAR"),
        ("percent in ('full', 'half')", "VARCHAR"),
        ("percent is not null", "VARCHAR"),
    ],
)
def test_the_use_of_a_column_tells_its_type(where: str, kind: str) -> None:
    """The SQL runs on a table whose column has that type; a wrong one would not compile or not run."""
    plan = {"macros": [{"name": "m", "event": "a", "where": where}]}
    texts = [reduction_sql("occurrences", plan=plan), reduction_sql("funnel", steps=[{"event": "a", "where": where}])]
    for text in texts:
        connection = duckdb.connect()
        connection.execute(
            f"CREATE TABLE events (user_id VARCHAR, time TIMESTAMPTZ, event VARCHAR, page VARCHAR, percent {kind})"
        )
        assert connection.execute(text).fetchall() == []


def test_types_and_sums_that_the_caller_states() -> None:
    plan = {
        "macros": [{"name": "m", "event": "a", "where": "since > '2026-01-31'", "value": "money"}],
        "micros": [{"name": "t", "total": {"column": "seconds", "at_least": 3}}],
    }
    text = reduction_sql("occurrences", plan=plan, columns={"since": "timestamp"})
    assert "TIMESTAMP" in text.upper()
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE events (user_id VARCHAR, time TIMESTAMPTZ, event VARCHAR, since TIMESTAMP, seconds DOUBLE)"
    )
    assert connection.execute(text).fetchall() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "funnels"}, "Unknown reduction 'funnels'. Did you mean 'funnel'"),
        ({"reduction": "occurrences", "dialect": "snowflak"}, "Did you mean 'snowflake'"),
        ({"reduction": "occurrences"}, "occurrences needs a plan"),
        ({"reduction": "journeys"}, "journeys needs a plan"),
        ({"reduction": "funnel"}, "must be a list of at least one step"),
        ({"reduction": "funnel", "steps": "A"}, "must be a list of at least one step"),
        ({"reduction": "funnel", "steps": [{"event": "a", "where": "x >"}]}, "where"),
        ({"reduction": "funnel", "steps": [{"evnt": "a"}]}, "Did you mean 'event'"),
        ({"reduction": "funnel", "steps": ["a"], "window": 7}, "window=7 has no unit"),
        ({"reduction": "journeys", "plan": PLAN, "observed_until": "soon"}, "observed_until='soon' is not a time"),
        (
            {"reduction": "journeys", "plan": PLAN, "columns": {"x": "flaot"}},
            r"columns=\{'x': 'flaot'\}: that is no type",
        ),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        reduction_sql(**options)


def test_hostile_names_are_quoted() -> None:
    name = "a'b\"c; DROP TABLE events; --"
    plan = {"macros": [{"name": name, "event": name, "where": f"`{name}` = '{name.replace(chr(39), chr(39) * 2)}'"}]}
    text = reduction_sql("occurrences", plan=plan)
    connection = duckdb.connect()
    quoted = name.replace('"', '""')
    connection.execute(f'CREATE TABLE events (user_id VARCHAR, time TIMESTAMPTZ, event VARCHAR, "{quoted}" VARCHAR)')
    connection.execute("INSERT INTO events VALUES ('u', '2026-01-01', ?, ?)", [name, name])
    rows = connection.execute(text).fetchall()
    assert len(rows) == 1
    assert rows[0][1] == rows[0][2]
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
