"""Tables of databases: Ibis tables and URLs."""

from __future__ import annotations

import sqlite3

import duckdb
import ibis
import pytest

from microconv.errors import ParameterError, SourceError
from microconv.sources import open_source


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE events AS SELECT 'u' || range AS user_id, TIMESTAMP '2024-01-01' AS time, 'x' AS event "
            "FROM range(5);"
            "CREATE VIEW seen AS FROM events; CREATE SCHEMA raw; CREATE TABLE raw.hits AS FROM events LIMIT 2"
        )
    return path


def test_a_table_of_a_duckdb_file(database):
    before = database.read_bytes()
    raw = open_source(f"duckdb://{database}", table="events", memory_limit="300MB", threads=1)
    assert raw.table.count().execute() == 5
    assert raw.engine.dialect == "duckdb"
    assert raw.columnar
    assert raw.engine.backend.con.execute("SELECT current_setting('threads')").fetchone() == (1,)
    assert raw.description == f"table 'events' of duckdb://{database}"
    assert open_source(f"duckdb://{database}", table="raw.hits").table.count().execute() == 2
    assert database.read_bytes() == before


def test_which_table_must_be_clear(database):
    url = f"duckdb://{database}"
    with pytest.raises(SourceError, match=r"has 2 tables: 'events', 'seen'\. Say which with table="):
        open_source(url)
    with pytest.raises(SourceError, match=r"Unknown table 'event'\. Did you mean 'events'\?"):
        open_source(url, table="event")
    with pytest.raises(SourceError, match=r"Unknown table 'raw.hit'\. Did you mean 'raw.hits'\?"):
        open_source(url, table="raw.hit")
    with pytest.raises(SourceError, match=r"Unknown table 'nowhere\.hits'"):
        open_source(url, table="nowhere.hits")


def test_the_only_table_needs_no_name(tmp_path):
    with duckdb.connect(tmp_path / "one.db") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS user_id")
    assert open_source(f"duckdb://{tmp_path}/one.db").table.columns == ("user_id",)


def test_a_database_that_this_process_has_open_is_shared(database):
    with duckdb.connect(database) as connection:
        connection.execute("INSERT INTO events SELECT * FROM events")
        assert open_source(f"duckdb://{database}", table="events").table.count().execute() == 10


def test_a_database_that_does_not_exist_is_not_made(tmp_path, database):
    with pytest.raises(SourceError, match=r"no file 'shp.duckdb' in .* Did you mean 'shop.duckdb'\?"):
        open_source(f"duckdb://{tmp_path}/shp.duckdb")
    with pytest.raises(SourceError, match=r"no file 'shop\.sqlite'"):
        open_source(f"sqlite://{tmp_path}/shop.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.duckdb"]
    (tmp_path / "no.duckdb").write_text("this is no database" * 1000)
    with pytest.raises(SourceError, match=r"no.duckdb' cannot be opened"):
        open_source(f"duckdb://{tmp_path}/no.duckdb")


def test_an_engine_without_the_reductions_is_copied(tmp_path):
    with sqlite3.connect(tmp_path / "app.sqlite") as connection:
        connection.execute("CREATE TABLE events (user_id TEXT, time TEXT, event TEXT, n INTEGER)")
        connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?)", [("007", "2024-01-01", "x", 1), (None, "", "", None)]
        )
    connection.close()
    raw = open_source(f"sqlite://{tmp_path}/app.sqlite")
    assert raw.engine.dialect == "duckdb"
    assert {tuple(row.values()) for row in raw.table.to_pyarrow().to_pylist()} == {
        ("007", "2024-01-01", "x", 1),
        (None, "", "", None),
    }


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://root:hunter2@db/shop?ssl=1", r'pip install "ibis-framework\[mysql\]"'),
        ("duckdbb:///x.db", r"Unknown kind of URL 'duckdbb'\. Did you mean 'duckdb'\?"),
        ("https://user:hunter2@example.com/events.parquet", "is a file elsewhere"),
        ("s3://bucket/events/*.parquet", "is a file elsewhere"),
    ],
)
def test_urls_that_cannot_be_opened_say_why_and_keep_passwords(url, message):
    with pytest.raises(SourceError, match=message) as caught:
        open_source(url, table="t")
    assert "hunter2" not in str(caught.value)


def test_an_ibis_table_stays_where_it_is(database):
    backend = ibis.duckdb.connect(database)
    table = backend.table("events").mutate(extra=1)
    raw = open_source(table)
    assert raw.engine.backend is backend
    assert raw.table is table
    assert open_source(table, backend=backend).table is table


def test_parameters_that_do_not_fit_the_source_are_refused(database, tmp_path):
    backend = ibis.duckdb.connect(database)
    table = backend.table("events")
    with pytest.raises(ParameterError, match="not the engine that holds"):
        open_source(table, backend=ibis.duckdb.connect())
    with pytest.raises(ParameterError, match="memory_limit: set these on the connection"):
        open_source(table, memory_limit="1GB")
    with pytest.raises(ParameterError, match="memory_limit, threads: these are limits of the embedded DuckDB"):
        open_source("x.csv", backend=backend, memory_limit="1GB", threads=1)
    with pytest.raises(ParameterError, match="table='t' is for the URL of a database"):
        open_source(table, table="t")
    with pytest.raises(ParameterError, match="name two engines"):
        open_source(f"duckdb://{database}", table="events", backend=backend)
    with pytest.raises(ParameterError, match="is not an Ibis connection"):
        open_source("x.csv", backend=duckdb.connect())
    with pytest.raises(ParameterError, match="Unknown engine 'sqlite'"):
        open_source("x.csv", backend=ibis.sqlite.connect())
    with pytest.raises(SourceError, match="not bound to an engine"):
        open_source(ibis.table({"user_id": "string"}, name="t"))
    with pytest.raises(SourceError, match="several engines"):
        open_source(table.join(ibis.sqlite.connect().create_table("u", schema=table.schema()), "user_id"))


@pytest.mark.spark
def test_another_engine_gets_what_was_parsed_with_its_types(spark, tmp_path):
    (tmp_path / "events.csv").write_text("user_id,time,event,percent,ok\n007,2024-01-01,view,75,true\ntorn\n")
    raw = open_source(tmp_path / "events.csv", backend=spark, text_columns=("user_id", "time", "event"))
    assert raw.engine.dialect == "pyspark"
    assert raw.malformed[0].rows == 1
    assert raw.table.to_pyarrow().to_pylist() == [
        {"user_id": "007", "time": "2024-01-01", "event": "view", "percent": 75, "ok": True}
    ]
