"""What a file format and an export layout are made of, and the workplace that reading happens in."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microconv.engine import Engine
from microconv.errors import SourceError, shorten
from microconv.sources.raw import Malformed

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.sources.paths import SourceFile

__all__ = [
    "Format",
    "Layout",
    "Shaped",
    "Staged",
    "Work",
    "failing_clearly",
    "identifier",
    "literal",
    "parquet_scan",
    "unique",
]


@dataclass(frozen=True)
class Work:
    """Where a source is read: the DuckDB that parses, a folder for what it writes, the columns that must stay text."""

    engine: Engine
    folder: Path
    text_columns: frozenset[str]

    @classmethod
    def on(cls, engine: Engine, text_columns: Sequence[str] = (), owner: Any = None) -> Work:
        """A workplace on ``engine``; its folder goes away with the connection that will scan it, ``owner``."""
        own = owner is None or owner is engine.backend
        folder = Path(tempfile.mkdtemp(prefix="microconv-", dir=engine.temp_directory if own else None))
        weakref.finalize(engine.backend if own else owner, shutil.rmtree, folder, ignore_errors=True)
        return cls(engine, folder, frozenset(text_columns))

    def execute(self, query: str) -> Any:
        """Run SQL in the DuckDB that parses."""
        return self.engine.backend.con.execute(query)

    def fresh_path(self) -> Path:
        """A path in the folder that no file has yet."""
        handle, name = tempfile.mkstemp(suffix=".parquet", dir=self.folder)
        open(handle, "wb").close()
        return Path(name)

    def write(self, query: str) -> tuple[Path, int]:
        """Stream the rows of a query to a Parquet file: its path and its number of rows."""
        path = self.fresh_path()
        rows = self.execute(f"COPY ({query}) TO {literal(path)} (FORMAT parquet)").fetchone()[0]
        return path, int(rows)


@dataclass(frozen=True)
class Staged:
    """A source as Parquet files (matched by column name), the types its text columns deserve, what was malformed."""

    files: tuple[Path, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    malformed: tuple[Malformed, ...] = ()
    hive: bool = False


@dataclass(frozen=True)
class Format:
    """A kind of file: how it is named and how files of it become Parquet that can be scanned again and again."""

    name: str
    about: str
    suffixes: tuple[str, ...]
    read: Callable[[Sequence[SourceFile], Work], Staged]


@dataclass(frozen=True)
class Shaped:
    """An export's table as ``reshape`` leaves it, and what the user should be told of it."""

    table: ir.Table
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What an export of some tool looks like once it is a table: its columns, and how to tell it from others.

    ``columns`` maps canonical names to the export's; ``detect`` sees the column names of a source whose format was not
    stated; ``reshape`` may turn the table into one that has ``columns`` (pick parameters by name, pick a time), inside
    the engine and without dropping a row; ``time_unit`` is the unit of a time that is a number.
    """

    name: str
    about: str
    columns: Mapping[str, str]
    detect: Callable[[Sequence[str]], bool]
    reshape: Callable[[Engine, ir.Table], Shaped] | None = None
    time_unit: str | None = None


def literal(value: object) -> str:
    """A text literal of DuckDB's SQL, in which the letter zero has to be spelled out."""
    text = "'" + str(value).replace("'", "''") + "'"
    return "(" + text.replace("\0", "' || chr(0) || '") + ")" if "\0" in text else text


def identifier(name: str) -> str:
    """A column name as DuckDB's SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def parquet_scan(files: Sequence[Path]) -> str:
    """SQL that reads Parquet files together, matching columns by name."""
    return f"read_parquet([{', '.join(literal(plain_path(path)) for path in files)}], union_by_name = true)"


def plain_path(path: Path) -> str:
    """A path in which DuckDB sees no glob."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def unique(names: Sequence[str]) -> list[str]:
    """Names that differ even when case is ignored, as every engine needs: a repeated one gets ``_1``, ``_2``, ..."""
    names = [name.replace("\0", "\ufffd") for name in names]
    taken: set[str] = {name.casefold() for name in names}
    seen: set[str] = set()
    result = []
    for position, name in enumerate(names):
        chosen, turn = name or f"column{position}", 0
        while chosen.casefold() in seen or (turn and chosen.casefold() in taken):
            turn += 1
            chosen = f"{name or f'column{position}'}_{turn}"
        seen.add(chosen.casefold())
        result.append(chosen)
    return result


@contextmanager
def failing_clearly(what: str) -> Iterator[None]:
    """Turn what DuckDB, Arrow and the file system raise into a ``SourceError`` that begins with ``what``."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError, EOFError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(lines) or repr(error)
        raise SourceError(f"{what}: {shorten(reason, 300)}") from error
