"""Format ``csv``: delimited text with a header line (CSV, TSV, semicolons, pipes; also as .gz).

DuckDB reads a sound file as a stream. It has been seen to drop the rest of a file with a torn quote without a word, so
the rows it returns are compared with the lines of the file; when they differ, or when it meets a fault, the file is
read again line by line, which counts every line that is no row and goes on after it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from microconv.errors import SourceError, shorten
from microconv.sources.base import Format, Staged, Work, identifier, literal, parquet_scan, plain_path, unique
from microconv.sources.malformed import Faults
from microconv.sources.paths import SAMPLE, SourceFile, blocks, head, is_gzip
from microconv.sources.rows import parse_rows
from microconv.sources.shapes import infer_types

__all__ = ["FORMAT"]

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 200


@dataclass(frozen=True)
class _Head:
    """What the first lines say: the delimiter, the columns, and how many lines the header takes."""

    delimiter: str
    columns: tuple[str, ...]
    lines: int
    blank_lines: int


def _read(files: Sequence[SourceFile], work: Work) -> Staged:
    faults = Faults("malformed row")
    staged = []
    for file in files:
        if len(files) > 1 and file.is_empty:
            continue  # an empty part among others, as Spark writes them, holds no row
        found = _sniff(file.path, work.text_columns)
        path = _stream(file, found, work)
        staged.append(path if path is not None else _line_by_line(file, found, work, faults))
    if not staged:
        raise SourceError(f"All {len(files)} files are empty, from {str(files[0].path)!r} on.")
    types = infer_types(work, parquet_scan(staged), work.text_columns)
    return Staged(tuple(staged), types, faults.found())


def _sniff(path: Path, text_columns: frozenset[str]) -> _Head:
    sample = head(path)
    if not sample.strip():
        raise SourceError(f"{str(path)!r} is empty. Give a file with a header line and at least one event.")
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(f"{str(path)!r} is UTF-16 text. Save it as UTF-8.")
    raw = sample.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    lines = [line.decode("utf-8", "replace") for line in (raw if len(sample) < SAMPLE else raw[:-1] or raw)]
    blank = next(position for position, line in enumerate(lines) if line.strip())
    lines = lines[blank:]
    ranked = [(_agreement(lines, delimiter), delimiter) for delimiter in _DELIMITERS]
    delimiter = max(ranked, key=lambda pair: pair[0])[1]
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise SourceError(
            f"{str(path)!r}: the header line is damaged ({error}): {shorten(lines[0].strip(), 120)!r}."
        ) from error
    repeated = [name for name in names if name in text_columns and names.count(name) > 1]
    if repeated:
        raise SourceError(
            f"{str(path)!r} has {names.count(repeated[0])} columns named {repeated[0]!r}. Rename all but one."
        )
    return _Head(delimiter, tuple(unique(names)), reader.line_num, blank)


def _agreement(lines: Sequence[str], delimiter: str) -> tuple[bool, float, int]:
    """How well a delimiter explains the sample: more than one column, and rows as wide as the header."""
    widths = []
    try:
        for record in csv.reader(lines, delimiter=delimiter):
            if record:
                widths.append(len(record))
            if len(widths) > _SAMPLE_RECORDS:
                break
    except csv.Error:  # a field past Python's limit: what was read so far must do
        pass
    if not widths:
        return (False, 0.0, 0)
    return (widths[0] > 1, sum(width == widths[0] for width in widths) / len(widths), widths[0])


def _stream(file: SourceFile, found: _Head, work: Work) -> Path | None:
    """The file as DuckDB reads it, or None when that is not certainly every row."""
    import duckdb

    if found.blank_lines:
        return None
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in found.columns)
    scan = (
        f"read_csv({literal(plain_path(file.path))}, columns = {{{columns}}}, delim = {literal(found.delimiter)}, "
        "quote = '\"', escape = '\"', header = true, auto_detect = false, skip = 0, comment = '', "
        f"compression = '{'gzip' if is_gzip(file.path) else 'none'}')"
    )
    try:
        path, rows = work.write(f"SELECT *{_partition_columns(file.partition, found.columns)} FROM {scan}")
    except (duckdb.InvalidInputException, duckdb.ConversionException):
        return None  # the exact reader says which lines are at fault
    lines = sum(_filled(block) for block in blocks(file.path)) - found.lines
    if rows != lines and rows + _line_breaks(path, work) != lines:
        path.unlink()
        return None
    return path


def _filled(lines: Sequence[bytes]) -> int:
    return len(lines) - lines.count(b"\n") - lines.count(b"\r\n") - lines.count(b"\r")


def _line_breaks(path: Path, work: Work) -> int:
    """How many line breaks the fields hold."""
    scan = parquet_scan([path])
    names = [row[0] for row in work.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()]
    breaks = " + ".join(
        f"coalesce(strlen({one}) - strlen(replace(replace({one}, chr(10), ''), chr(13), ''))"
        f" - (strlen({one}) - strlen(replace({one}, chr(13) || chr(10), ''))) // 2, 0)"
        for one in map(identifier, names)
    )
    return int(work.execute(f"SELECT coalesce(sum({breaks}), 0) FROM {scan}").fetchone()[0])


def _partition_columns(partition: Mapping[str, str], columns: Sequence[str]) -> str:
    own = {name.casefold() for name in columns}
    added = {key: value for key, value in partition.items() if key.casefold() not in own}
    return "".join(f", {literal(value)} AS {identifier(key)}" for key, value in added.items())


def _line_by_line(file: SourceFile, found: _Head, work: Work, faults: Faults) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = {name.casefold() for name in found.columns}
    added = {key: value for key, value in file.partition.items() if key.casefold() not in own}
    schema = pa.schema([(name, pa.string()) for name in (*found.columns, *added)])
    path = work.fresh_path()
    with pq.ParquetWriter(path, schema) as writer:
        for rows in parse_rows(
            _after_header(file.path, found), len(found.columns), found.delimiter, faults.of(file.path)
        ):
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            columns += [pa.repeat(pa.scalar(value, pa.string()), len(rows)) for value in added.values()]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return path


def _after_header(path: Path, found: _Head) -> Iterator[list[tuple[int, bytes]]]:
    """The lines after the header, with their number in the file."""
    number, skipped = 1, found.blank_lines + found.lines
    for lines in blocks(path):
        numbered = list(enumerate(lines, number))
        number += len(lines)
        yield numbered[max(skipped + 1 - numbered[0][0], 0) :]


FORMAT = Format("csv", "delimited text with a header line", (".csv", ".tsv", ".tab", ".psv"), _read)
