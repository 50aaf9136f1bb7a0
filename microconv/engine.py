"""The one door to Ibis: connections, DuckDB limits, the few scalar functions that differ between engines, fetching.

Inside reductions a time is a whole number of microseconds since 1970 (UTC), so that no engine rounds it.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis

from microconv.durations import micros_to_moment, moment_to_micros
from microconv.errors import ParameterError, SourceError, shorten, unknown_name

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

__all__ = ["DIALECTS", "Engine", "duckdb_engine", "engine_of", "sketch_engine", "to_datetime"]


@cache
def _builtin(name: str, returns: str, arguments: int = 1) -> Callable[..., Any]:
    """A function that the engine already has, under its own name."""

    def one(value): ...  # type: ignore[no-untyped-def]

    def two(value, other): ...  # type: ignore[no-untyped-def]

    function = one if arguments == 1 else two
    function.__annotations__ = {"return": ibis.dtype(returns)}
    return ibis.udf.scalar.builtin(name=name)(function)


DIALECTS = ("duckdb", "pyspark", "databricks", "bigquery", "snowflake", "postgres", "clickhouse")

# Ibis cannot take microseconds since 1970 from a time on every engine, so each engine's own function is named here.
_TO_MICROS = {
    "duckdb": "epoch_us",
    "pyspark": "unix_micros",
    "databricks": "unix_micros",
    "bigquery": "UNIX_MICROS",
    "clickhouse": "toUnixTimestamp64Micro",
}
_FROM_MICROS = {
    "duckdb": "make_timestamptz",
    "pyspark": "timestamp_micros",
    "databricks": "timestamp_micros",
    "bigquery": "TIMESTAMP_MICROS",
    "clickhouse": "fromUnixTimestamp64Micro",
}
_MD5 = {"duckdb": "md5", "pyspark": "md5", "databricks": "md5", "snowflake": "md5", "postgres": "md5"}
_LOCAL_TO_UTC: dict[str, Callable[[Any, str], Any]] = {
    "duckdb": lambda time, tz: _builtin("timezone", "timestamp('UTC')", 2)(tz, time),
    "pyspark": lambda time, tz: _later(time, tz),
    "databricks": lambda time, tz: _later(time, tz),
    "bigquery": lambda time, tz: _builtin("TIMESTAMP", "timestamp('UTC')", 2)(time, tz),
}
_UTC_TO_LOCAL: dict[str, Callable[[Any, str], Any]] = {
    "duckdb": lambda time, tz: _builtin("timezone", "timestamp", 2)(tz, time),
    "pyspark": lambda time, tz: _builtin("from_utc_timestamp", "timestamp", 2)(time, tz),
    "databricks": lambda time, tz: _builtin("from_utc_timestamp", "timestamp", 2)(time, tz),
    "bigquery": lambda time, tz: _builtin("DATETIME", "timestamp", 2)(time, tz),
}
# Engines differ in what else they take for a time (a trailing zone name that is then ignored, years before Christ, an
# offset of 25 hours), so text must match these first.
_DATE = r"(\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2})"
_CLOCK = r"[T ]([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d*)?)?"
_OFFSET = r"\s*([Zz]|UTC|GMT|[+-](0\d|1[0-5])(:?[0-5]\d)?)"
_ONE_SPELLING = (
    (r"\s*([Zz]|UTC|GMT)$", "+00:00"),
    (r"\s*([+-]\d\d):?(\d\d)$", r"\1:\2"),
    (r"([T ]\d{1,2}:\d\d)\s*([+-]\d\d(:\d\d)?)$", r"\1:00\2"),
    (r"\s+([+-]\d\d)$", r"\1"),
)
_DASHED = (r"^(\d+)/(\d+)/(\d+)", r"\1-\2-\3")
_MEMORY = re.compile(r"(?=.*[1-9])\d*\.?\d+\s*[KMGT]i?B", re.IGNORECASE)


@dataclass(frozen=True)
class Engine:
    """One place that holds events: an Ibis backend, its dialect, and what must be cleaned up after it."""

    backend: Any
    dialect: str
    temp_directory: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def micros(self, time: ir.Value) -> ir.IntegerValue:
        """A time as int64 microseconds since 1970-01-01 UTC; a time without zone is read as UTC."""
        if self.dialect in _TO_MICROS:
            return _builtin(_TO_MICROS[self.dialect], "int64")(time)
        return time.truncate("s").epoch_seconds().cast("int64") * 1_000_000 + time.microsecond().cast("int64")

    def from_micros(self, micros: ir.Value) -> ir.TimestampValue:
        """Microseconds since 1970 as a UTC time."""
        if self.dialect in _FROM_MICROS:
            kind = "timestamp('UTC')" if self.dialect != "pyspark" else "timestamp"
            return _builtin(_FROM_MICROS[self.dialect], kind)(micros)
        return micros.as_timestamp("us")

    def local_to_utc(self, time: ir.Value, tz: str) -> ir.TimestampValue:
        """A wall-clock time of zone ``tz`` as a UTC time.

        A time that daylight saving skips is moved on by as much, not lost; one that occurs twice is read as the later.
        """
        if tz.upper() == "UTC":
            return time
        if self.dialect not in _LOCAL_TO_UTC:
            raise ParameterError(
                f"tz={tz!r} cannot be applied inside {self.dialect}. Convert the time column to UTC first."
            )
        return _LOCAL_TO_UTC[self.dialect](time, tz)

    def local_date(self, micros: ir.Value, tz: str, unit: str = "D") -> ir.StringValue:
        """The day of zone ``tz`` on which a moment falls, or the first of its week (Monday) or month, as ISO text.

        ``unit`` is ``"D"``, ``"W"`` or ``"M"``. Raises ``ParameterError`` where the engine knows no zones.
        """
        time = self._wall_clock(micros, tz)
        if tz.upper() == "UTC" and self.dialect == "duckdb":
            time = time.cast("timestamp")
        return time.truncate(unit).date().cast("string")

    def local_day(self, micros: ir.Value, tz: str) -> ir.IntegerValue:
        """The day of zone ``tz`` on which a moment falls, as a whole number of days since 1970-01-01.

        Raises ``ParameterError`` where the engine knows no zones.
        """
        if tz.upper() != "UTC":
            wall = self._wall_clock(micros, tz)
            # BigQuery counts microseconds of times with a zone only.
            micros = self.micros(wall.cast("timestamp('UTC')") if self.dialect == "bigquery" else wall)
        # By way of seconds: engines divide as floats, and microseconds over a day would round up just before midnight.
        seconds = (micros // 1_000_000).cast("int64")
        return (seconds // 86_400).cast("int64")

    def _wall_clock(self, micros: ir.Value, tz: str) -> ir.TimestampValue:
        """What clocks of zone ``tz`` show at a moment."""
        time = self.from_micros(micros)
        if tz.upper() == "UTC":
            return time
        if self.dialect not in _UTC_TO_LOCAL:
            raise ParameterError(f"tz={tz!r} cannot be applied inside {self.dialect}. Use tz='UTC'.")
        return _UTC_TO_LOCAL[self.dialect](time, tz)

    def parse_time(self, text: ir.StringValue, tz: str, formats: tuple[str, ...] = ()) -> ir.TimestampValue:
        """ISO-8601 text (with or without offset), or text of one of the strptime ``formats``, as UTC; else null."""
        if self.dialect not in ("duckdb", "pyspark", "databricks"):
            raise SourceError(
                f"Times as text cannot be parsed inside {self.dialect}. Cast the time column to a timestamp first."
            )
        text = self.trim(text)
        iso = text.replace(",", ".")
        if self.dialect != "duckdb":
            iso = self._respelled(iso, _DASHED)
        clean = iso
        for rule in _ONE_SPELLING:
            clean = self._respelled(clean, rule)
        nothing = ibis.null("string")
        kind = "timestamp" if self.dialect != "duckdb" else "timestamp('UTC')"
        with_zone = ibis.ifelse(iso.re_search(f"^{_DATE}{_CLOCK}{_OFFSET}$"), clean, nothing).try_cast(kind)
        plain = ibis.ifelse(iso.re_search(f"^{_DATE}({_CLOCK})?$"), iso, nothing).try_cast("timestamp")
        parsed = [with_zone, self.local_to_utc(plain, tz).cast(kind)]
        if formats and self.dialect != "duckdb":
            raise ParameterError(f"time_format= works on DuckDB only, not on {self.dialect}.")
        for pattern in formats:
            self._check_format(pattern)
            # strptime takes the words "infinity" and "epoch" for times.
            digits = ibis.ifelse(text.re_search(r"\d"), text, ibis.null("string"))
            found = _builtin("try_strptime", "timestamp", 2)(digits, pattern)
            # %z makes DuckDB return an instant: its wall clock is already UTC.
            parsed.append((found if "%z" in pattern else self.local_to_utc(found, tz)).cast(kind))
        return ibis.coalesce(*parsed)

    def trim(self, text: ir.StringValue) -> ir.StringValue:
        """Text without the blanks, tabs and line ends around it."""
        if self.dialect in ("pyspark", "databricks"):
            # Ibis 12.0.0 names more blanks than Spark can spell, which then trims the letters v and f as well.
            return _builtin("btrim", "string", 2)(text, " \t\n\r")
        return text.strip()

    def _respelled(self, text: ir.StringValue, rule: tuple[str, str]) -> ir.StringValue:
        pattern, spelling = rule
        return text.re_replace(pattern, spelling if self.dialect == "duckdb" else spelling.replace("\\", "$"))

    def _check_format(self, pattern: str) -> None:
        import duckdb

        try:
            self.backend.con.execute("SELECT try_strptime('', ?)", [pattern])
        except duckdb.Error as error:
            raise ParameterError(
                f"time_format={shorten(repr(pattern))} is no strptime pattern such as '%d/%m/%Y %H:%M': "
                f"{shorten(str(error).splitlines()[0], 200)}"
            ) from error

    def digest(self, value: ir.Value) -> ir.StringValue:
        """The md5 of a value's text as 32 hexadecimal digits, by which users are told apart alike on every engine."""
        text = value.cast("string")
        if self.dialect in _MD5:
            return _builtin(_MD5[self.dialect], "string")(text)
        if self.dialect == "bigquery":
            return _builtin("TO_HEX", "string")(_builtin("MD5", "binary")(text))
        return _builtin("lower", "string")(_builtin("hex", "string")(_builtin("MD5", "binary")(text)))

    def person(self, user_id: ir.StringValue) -> ir.Value:
        """What tells users apart where long tables are sorted by user: on DuckDB a number, which sorts in half the time
        and space of text.

        The number is 63 bits of a hash. That two of a million users share one happens in one log of 18 million.
        """
        if self.dialect != "duckdb":
            return user_id
        return (_builtin("hash", "uint64")(user_id) >> 1).cast("int64")

    def person_bucket(self, person: ir.Value) -> ir.Value:
        """The group of users, of 256, that a ``person`` belongs to: a number, or two hexadecimal digits."""
        if self.dialect != "duckdb":
            return self.digest(person).left(2)
        return (person & 255).cast("int32")

    def materialise(self, expr: ir.Table) -> ir.Table:
        """Compute a table once and keep it in the engine for as long as it is used."""
        if self.backend is None:
            return expr
        if self.dialect == "pyspark":  # Ibis 12 tells it of tables made of frames when it reads them, not for a cache
            for frame in expr.op().find(ibis.expr.operations.InMemoryTable):
                self.backend.to_pyarrow(frame.to_expr().limit(0))
        return expr.cache()

    @contextmanager
    def at_most(self, megabytes: int) -> Iterator[None]:
        """Work within less memory than was allowed: what DuckDB once took it keeps, up to its limit.

        Each thread is left 75 MB, below which its sorts and joins may fail. An engine that somebody else set up stays
        as it is.
        """
        allowed = str(self.settings.get("memory_limit", ""))
        if self.dialect != "duckdb" or not allowed:
            yield
            return
        ((threads,),) = self.backend.con.execute("SELECT current_setting('threads')").fetchall()
        wanted = max(megabytes, 75 * int(threads))
        if wanted * 1_000_000 < _bytes(allowed):
            self.backend.raw_sql(f"SET memory_limit = '{wanted}MB'")
        try:
            yield
        finally:
            self.backend.raw_sql(f"SET memory_limit = '{allowed}'")

    def fetch(self, expr: ir.Table) -> pd.DataFrame:
        """The rows of a small table as a frame; whole numbers stay whole where none is missing."""
        return expr.to_pyarrow().to_pandas()

    def write_csv(self, expr: ir.Table, path: Path) -> None:
        """Write the rows of a table to a CSV file with a header line. Raises ``OSError``."""
        with path.open("wb"):
            pass  # says in the system's words why it cannot be written
        if self.dialect == "duckdb":
            target = str(path).replace("'", "''")
            self.backend.raw_sql(f"COPY ({self.sql(expr)}) TO '{target}' (FORMAT csv, HEADER)")
        else:
            self.fetch(expr).to_csv(path, index=False)

    def sql(self, expr: ir.Expr) -> str:
        """The SQL that ``expr`` becomes in this engine's dialect."""
        dialect = self.dialect
        if dialect == "pyspark":
            try:
                _ = ibis.pyspark  # on first use Ibis sets up what its compiler for Spark reads
            except (ImportError, AttributeError):  # the same SQL, and its compiler does without pyspark
                dialect = "databricks"
        return str(ibis.to_sql(expr, dialect=dialect))


def has_offset(text: ir.StringValue) -> ir.BooleanValue:
    """Whether a time written as text says its distance from UTC."""
    return text.strip().re_search(_CLOCK.replace(r"\.", "[.,]") + _OFFSET + "$")


def _later(time: ir.Value, tz: str) -> ir.TimestampValue:
    """Spark's own resolves a time that occurs twice to the earlier; zones turn back by half an hour, one or two."""
    utc = _builtin("to_utc_timestamp", "timestamp", 2)(time, tz)
    found = utc
    for minutes in (30, 60, 120):
        moved = utc + ibis.interval(minutes=minutes)
        found = (_builtin("from_utc_timestamp", "timestamp", 2)(moved, tz) == time).ifelse(moved, found)
    return found


def duckdb_engine(
    memory_limit: str | None = None, temp_directory: str | Path | None = None, threads: int | None = None
) -> Engine:
    """A fresh embedded DuckDB that works out of core: beyond ``memory_limit`` it spills to ``temp_directory``.

    ``memory_limit`` is text such as ``"2GB"`` (default: a quarter of the machine's memory); ``temp_directory`` defaults
    to a folder of the system's temporary files that goes away with the engine.
    """
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 1_024):
        raise ParameterError(f"threads={shorten(repr(threads))} must be a whole number from 1 to 1,024.")
    # DuckDB takes "0GB" and "-1GB" for no limit at all.
    if memory_limit is not None and not (isinstance(memory_limit, str) and _MEMORY.fullmatch(memory_limit.strip())):
        raise ParameterError(
            f"memory_limit={shorten(repr(memory_limit))} is no amount of memory. Write it as '2GB' or '500MB'."
        )
    if temp_directory is None:
        folder = Path(tempfile.mkdtemp(prefix="microconv-"))
    else:
        folder = Path(temp_directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ParameterError(
                f"temp_directory={str(folder)!r} cannot be written: {error.strerror}. Name a folder you may write to."
            ) from error
    import duckdb

    settings: dict[str, Any] = {"temp_directory": str(folder), "preserve_insertion_order": False}
    if memory_limit is not None:
        settings["memory_limit"] = memory_limit
    else:
        settings["memory_limit"] = _quarter_of_memory()
    if threads is not None:
        settings["threads"] = threads
    try:
        backend = ibis.duckdb.connect(**settings)
    except duckdb.Error as error:
        if temp_directory is None:
            _remove(folder)
        raise ParameterError(
            f"DuckDB refuses memory_limit={memory_limit!r}, threads={threads!r}: {shorten(error, 200)}"
        ) from error
    backend.raw_sql("SET TimeZone = 'UTC'")
    engine = Engine(backend, "duckdb", folder, settings)
    if temp_directory is None:
        weakref.finalize(backend, _remove, folder)
    return engine


def _bytes(memory: str) -> float:
    """An amount of memory such as ``"2GB"`` or ``"500MiB"`` in bytes."""
    parts = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)(i?)B\s*", memory, re.IGNORECASE)
    if parts is None:
        raise ParameterError(f"memory_limit={memory!r} is no amount of memory. Write it as '2GB' or '500MB'.")
    number, prefix, binary = parts.groups()
    return float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " ")


def _quarter_of_memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells its memory; DuckDB needs a number
        total = 8 << 30
    return f"{max(total // 4 >> 20, 512)}MiB"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def engine_of(table: ir.Table) -> Engine:
    """The engine that already holds an Ibis table."""
    backend = table._find_backend(use_default=False)
    if backend.name not in DIALECTS:
        raise SourceError(unknown_name("engine", backend.name, DIALECTS, "Export the table to Parquet and read that."))
    if backend.name == "duckdb":
        backend.raw_sql("SET TimeZone = 'UTC'")
    return Engine(backend, backend.name)


def sketch_engine(dialect: str) -> Engine:
    """An engine that holds nothing and only writes SQL."""
    name = "pyspark" if dialect == "spark" else dialect
    if name not in DIALECTS:
        raise ParameterError(unknown_name("dialect", dialect, [*DIALECTS, "spark"]))
    return Engine(None, name)


def to_datetime(value: str | dt.datetime | dt.date, name: str, zone: str = "UTC") -> dt.datetime:
    """A moment given by the caller as an aware UTC datetime; one that names no zone is of ``zone``."""
    given = value
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise _no_moment(name, given) from None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if not isinstance(value, dt.datetime) or value != value:  # NaT differs from itself
        raise _no_moment(name, given)
    try:
        # Daylight saving, as Engine.local_to_utc resolves it: of two readings the later.
        folds = [value] if value.tzinfo is not None else [value.replace(tzinfo=ZoneInfo(zone), fold=i) for i in (0, 1)]
        return micros_to_moment(max(moment_to_micros(moment) for moment in folds))
    except (ValueError, OverflowError):  # a zone's distance leads out of the years 1 to 9999
        raise _no_moment(name, given) from None


def _no_moment(name: str, value: object) -> ParameterError:
    return ParameterError(
        f"{name}={shorten(repr(value))} is not a time. Write it as '2026-01-31' or '2026-01-31T12:00:00+01:00'."
    )
