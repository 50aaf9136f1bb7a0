"""open_source: find out what a source is, have it read, and hand over a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis

from microconv.engine import Engine, duckdb_engine
from microconv.errors import ParameterError, SourceError, shorten
from microconv.sources import databases, frames, registry
from microconv.sources.base import Format, Layout, Shaped, Staged, Work, failing_clearly, plain_path
from microconv.sources.paths import resolve
from microconv.sources.raw import RawEvents

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["open_source"]

_ACCEPTED = (
    "a path, glob or list of paths, a pandas, Polars or PyArrow frame, a DuckDB relation, an Ibis table, or the URL of "
    "a database such as 'duckdb:///file.db'"
)
_EXACT = ("user_id", "time", "event", "event_id", "session_id", "anonymous_id")


def open_source(
    source: Any,
    *,
    format: str = "auto",
    table: str | None = None,
    backend: Any = None,
    memory_limit: str | None = None,
    temp_directory: str | Path | None = None,
    threads: int | None = None,
    text_columns: Sequence[str] = (),
) -> RawEvents:
    """Anything that holds events as a table in an engine, with the lines that its format forbids counted.

    * ``source``: see ``read_events``. A folder stands for the files in it. The index of a pandas frame is not read.
    * ``format``: ``"auto"``, a file format (``"csv"``, ``"parquet"``, ``"jsonl"``) or the name of a tool's layout.
    * ``table``: which table, where ``source`` is the URL of a database.
    * ``backend``: an Ibis connection to work in.
    * ``memory_limit``, ``temp_directory``, ``threads``: limits of the embedded DuckDB.
    * ``text_columns``: columns that CSV and JSON lines must give as the text they are; their other columns get the type
      that all values have. Parquet, frames and tables keep their types.

    Raises ``SourceError`` when nothing readable is there, ``ParameterError`` for parameters that do not fit the source.
    """
    chosen = registry.named(format)
    settings = {"memory_limit": memory_limit, "temp_directory": temp_directory, "threads": threads}
    given = {name: value for name, value in settings.items() if value is not None}
    if backend is not None and given:
        raise ParameterError(
            f"{', '.join(given)}: these are limits of the embedded DuckDB. With backend=, set them on that connection."
        )
    exact = tuple(dict.fromkeys([*text_columns, *_layout_text(chosen)]))
    if databases.is_url(source):
        opened = _database(source, table, backend, given)
    elif isinstance(source, ibis.expr.types.Table):
        opened = _ibis_table(source, table, backend, given, exact)
    else:
        opened = _copied(source, chosen, table, backend, given, exact)
    if isinstance(chosen, Format) and not _is_path(source):
        raise ParameterError(
            f"format={format!r} is a kind of file, and the source is {opened.description}. Leave format= out."
        )
    layout = registry.choose_layout(chosen, opened.table.columns)
    if layout is None:
        return opened
    with failing_clearly(f"{opened.description} cannot be read as {layout.name}"):
        shaped = layout.reshape(opened.engine, opened.table) if layout.reshape else Shaped(opened.table)
    guess = f"The columns are those of {layout.about}, and are read so. Say format={layout.name!r} to agree."
    return replace(
        opened,
        table=shaped.table,
        columns=layout.columns,
        time_unit=layout.time_unit,
        notes=(*([guess] if chosen is None else []), *shaped.notes),
    )


def _layout_text(chosen: Format | Layout | None) -> list[str]:
    """What a layout calls the columns that must stay text; before the columns are known, what any layout calls them."""
    layouts = [chosen] if isinstance(chosen, Layout) else [] if chosen else list(registry.LAYOUTS)
    return [layout.columns[name] for layout in layouts for name in _EXACT if name in layout.columns]


def _is_path(source: Any) -> bool:
    parts = source if isinstance(source, list | tuple) else [source]
    return all(isinstance(part, str | os.PathLike) for part in parts) and not databases.is_url(source)


def _database(url: str, table: str | None, backend: Any, settings: Mapping[str, Any]) -> RawEvents:
    if backend is not None:
        raise ParameterError("backend= and a URL name two engines. Pass the table: backend.table('name').")
    connection = databases.connect(url)
    if settings and connection.name != "duckdb":
        raise ParameterError(
            f"{', '.join(settings)}: these are limits of DuckDB, and {databases.masked(url)!r} is another engine."
        )
    databases.tune(connection, settings)
    shown = databases.masked(url)
    found, name = databases.find_table(connection, table, shown)
    return _held(found, f"table {name!r} of {shown}", settings, ())


def _ibis_table(
    source: ir.Table, table: str | None, backend: Any, settings: Mapping[str, Any], exact: Sequence[str]
) -> RawEvents:
    _refuse_table(table)
    home = databases.holder(source)
    if home is not None:
        if backend is not None and backend is not home.backend:
            raise ParameterError("backend= is not the engine that holds the Ibis table. Leave backend= out.")
        if settings:
            raise ParameterError(f"{', '.join(settings)}: set these on the connection that holds the Ibis table.")
    return _held(source, "the Ibis table", settings, exact)


def _held(table: ir.Table, description: str, settings: Mapping[str, Any], exact: Sequence[str]) -> RawEvents:
    """A table where it is, when its engine can run the reductions; else a copy in the embedded DuckDB."""
    home = databases.holder(table)
    if home is not None:
        return RawEvents(home, table, description, columnar=True)
    work = Work.on(duckdb_engine(**settings), exact)
    return _settled(databases.stage_foreign(table, work), work, work.engine, description)


def _copied(
    source: Any,
    chosen: Format | Layout | None,
    table: str | None,
    backend: Any,
    settings: Mapping[str, Any],
    exact: Sequence[str],
) -> RawEvents:
    kind = frames.kind_of(source)
    if kind is None and not _is_path(source):
        raise SourceError(f"{shorten(repr(source), 120)} ({type(source).__name__}) cannot be read. Give {_ACCEPTED}.")
    _refuse_table(table)
    home = databases.engine_for(backend) if backend is not None else duckdb_engine(**settings)
    # Another engine gets what an embedded DuckDB has parsed.
    work = Work.on(home if home.dialect == "duckdb" else duckdb_engine(), exact, owner=home.backend)
    if kind is not None:
        return _settled(frames.stage_frame(source, kind, work), work, home, f"the {kind}")
    files = resolve(source, registry.file_suffixes())
    format = chosen if isinstance(chosen, Format) else registry.choose_format(files)
    with failing_clearly(f"{files.description} cannot be read as {format.name}"):
        staged = format.read(files.files, work)
        return _settled(staged, work, home, files.description)


def _refuse_table(table: str | None) -> None:
    if table is not None:
        raise ParameterError(f"table={table!r} is for the URL of a database; this source is a table by itself.")


def _settled(staged: Staged, work: Work, home: Engine, description: str) -> RawEvents:
    """The staged Parquet files as a table of the engine that will work with them."""
    scan = [plain_path(path) for path in staged.files]
    table = work.engine.backend.read_parquet(scan, union_by_name=True, hive_partitioning=staged.hive)
    if staged.types:
        table = table.mutate(**{name: table[name].try_cast(kind) for name, kind in staged.types.items()})
    if home is not work.engine:
        path = work.fresh_path()
        table.to_parquet(path)
        table = home.backend.read_parquet(str(path))
    return RawEvents(home, table, description, columnar=True, malformed=staged.malformed)
