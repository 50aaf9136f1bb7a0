"""Tables that an engine already holds: Ibis tables, and URLs that ``ibis.connect`` takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis

from microconv.engine import DIALECTS, Engine, engine_of
from microconv.errors import ParameterError, SourceError, shorten, unknown_name
from microconv.sources.base import Staged, Work, failing_clearly
from microconv.sources.frames import stage_arrow

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["connect", "engine_for", "find_table", "holder", "is_url", "masked", "stage_foreign", "tune"]

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")
_FILE_SCHEMES = ("duckdb", "sqlite")
_REMOTE_FILES = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "ftp", "file")


def is_url(source: object) -> bool:
    """Whether ``source`` is written as a URL."""
    return isinstance(source, str) and _URL.match(source) is not None


def masked(url: str) -> str:
    """The URL without password and options, for messages and results."""
    plain = re.sub(r"//([^/@:]*):[^@]*@", r"//\1:***@", url)
    return shorten(plain.split("?")[0], 200)


def connect(url: str) -> Any:
    """The Ibis connection behind a URL. Embedded databases are opened for reading only, and never created.

    Raises ``SourceError`` when the driver is not installed (with what to install) or the database does not answer.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme in _REMOTE_FILES:
        raise SourceError(
            f"{masked(url)!r} is a file elsewhere; microconv reads files from disk and tables of databases. "
            "Download it, or pass an Ibis table, such as ibis.duckdb.connect().read_parquet(url)."
        )
    options = {}
    path = rest.split("?")[0]
    if scheme in _FILE_SCHEMES and path and not path.startswith("md:"):
        _check_database(path, masked(url))
        options = {"read_only": True} if scheme == "duckdb" and "read_only" not in rest else {}
    try:
        try:
            return ibis.connect(url, **options)
        except Exception as error:
            if "different configuration" not in str(error):
                raise
            return ibis.connect(url)  # this process holds the database open for writing: share it
    except ImportError as error:
        extra = {"postgresql": "postgres"}.get(scheme, scheme)
        raise SourceError(
            f'{masked(url)!r} needs a driver that is not installed: pip install "ibis-framework[{extra}]". '
            f"({shorten(error)})"
        ) from error
    except Exception as error:  # every driver has its own errors
        said = str(error).replace(url, masked(url))
        if "Don't know how to connect" in said:
            raise SourceError(
                unknown_name("kind of URL", scheme, DIALECTS, "Ibis has no engine of that name.")
            ) from None
        raise SourceError(f"{masked(url)!r} cannot be opened: {shorten(said, 300)}") from None


def _check_database(path: str, shown: str) -> None:
    from microconv.sources.paths import resolve

    place = Path(path).expanduser()
    if place.is_dir():
        raise SourceError(f"{shown!r} names a folder, not a database file.")
    try:
        resolve(str(place), ())
    except SourceError as error:
        raise SourceError(f"{shown!r}: {error}") from None


def find_table(backend: Any, table: str | None, shown: str) -> tuple[ir.Table, str]:
    """The table of that name (``schema.name`` reaches other schemas), or the only one there is, and its name."""
    with failing_clearly(f"{shown!r} cannot be read"):
        if table is not None:
            names, database = _names(backend, table)
            name = table.rsplit(".", 1)[-1] if database else table
            if name in names:
                return backend.table(name, database=database), table
            listed = names if database is None else [f"{database}.{one}" for one in names]
            raise SourceError(f"{shown!r}: " + unknown_name("table", table, listed))
        names = list(backend.list_tables())
    if len(names) == 1:
        return backend.table(names[0]), names[0]
    if not names:
        raise SourceError(f"{shown!r} has no tables. Name one of another schema with table='schema.name'.")
    listing = ", ".join(repr(shorten(name, 60)) for name in sorted(names)[:20])
    raise SourceError(f"{shown!r} has {len(names)} tables: {listing}. Say which with table=.")


def _names(backend: Any, table: str) -> tuple[list[str], str | None]:
    names = list(backend.list_tables())
    database, dot, _ = table.rpartition(".")
    if table in names or not dot:
        return names, None
    try:
        return list(backend.list_tables(database=database)), database
    except Exception as error:  # every driver has its own errors
        raise SourceError(
            f"There is no schema {database!r} to look for table {table!r} in: {shorten(error, 200)}"
        ) from error


def engine_for(backend: Any) -> Engine:
    """The engine of a connection that the caller passes as ``backend=``."""
    if not isinstance(backend, ibis.backends.BaseBackend):
        raise ParameterError(
            f"backend={shorten(repr(backend))} is not an Ibis connection. "
            "Make one with ibis.duckdb.connect() or ibis.connect(url)."
        )
    if backend.name not in DIALECTS:
        raise ParameterError(
            unknown_name("engine", backend.name, DIALECTS, "Leave backend= out to use the embedded DuckDB.")
        )
    if backend.name == "duckdb":
        backend.raw_sql("SET TimeZone = 'UTC'")
    return Engine(backend, backend.name)


def tune(backend: Any, settings: Mapping[str, Any]) -> None:
    """Give a DuckDB that a URL opened the caller's limits."""
    for name, value in settings.items():
        text = str(value).replace("'", "''")
        with failing_clearly(f"DuckDB refuses {name}={value!r}"):
            backend.raw_sql(f"SET {name} = '{text}'")


def stage_foreign(table: ir.Table, work: Work) -> Staged:
    """Copy a table of an engine that cannot run the reductions (SQLite, an Ibis memtable, ...) as a stream."""
    backends, _ = table._find_backends()
    if backends:
        return stage_arrow(backends[0].to_pyarrow_batches(table), "Ibis table", work)
    path = work.fresh_path()
    with failing_clearly("The Ibis table cannot be read"):
        work.engine.backend.to_parquet(table, path)
    return Staged((path,))


def holder(table: ir.Table) -> Engine | None:
    """The engine that holds an Ibis table and can run the reductions, or None when the table must be copied."""
    try:
        backends, has_unbound = table._find_backends()
    except Exception as error:
        raise SourceError(f"The Ibis table cannot be used: {shorten(error, 200)}") from error
    if has_unbound:
        raise SourceError("The Ibis table is not bound to an engine. Make it with connection.table(name).")
    if len(backends) > 1:
        raise SourceError("The Ibis table joins tables of several engines. Bring them into one first.")
    return engine_of(table) if backends and backends[0].name in DIALECTS else None
