"""Format ``jsonl``: one JSON object a line, or one array of objects; nested values stay, as JSON text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from microconv.errors import SourceError, shorten
from microconv.sources.base import (
    Format,
    Staged,
    Work,
    failing_clearly,
    identifier,
    literal,
    parquet_scan,
    plain_path,
    unique,
)
from microconv.sources.malformed import Faults
from microconv.sources.paths import SourceFile, blocks, head, is_gzip
from microconv.sources.shapes import NUMBERS, infer_types

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMAT"]

_MOST_KEYS = 2_000
_WHOLE = {"BIGINT", "UBIGINT"}
_BOM = b"\xef\xbb\xbf"
# json_type raises an error for text that is no JSON, even inside a CASE that should spare it: give it none.
_IS_OBJECT = "coalesce(json_type(CASE WHEN json_valid(line) THEN line END) = 'OBJECT', false)"


def _read(files: Sequence[SourceFile], work: Work) -> Staged:
    faults = Faults("malformed JSON")
    staged: list[Path] = []
    kinds: dict[str, set[str]] = {}
    for file in files:
        if len(files) > 1 and file.is_empty:
            continue
        lines = _lines(file.path, work, faults)
        path, of_columns = _objects(file, lines, work, faults)
        lines.unlink()
        if path is None:
            continue
        staged.append(path)
        for name, found in of_columns.items():
            kinds[name] = kinds.get(name, set()) | found
    if not staged:
        what = "it is" if len(files) == 1 else "all are"
        said = f"{faults.lines:,} lines are no JSON objects ({faults.example})" if faults.lines else f"{what} empty"
        raise SourceError(f"{str(files[0].path)!r} holds no JSON object: {said}.")
    numbers = {name for name, found in kinds.items() if found <= {*_WHOLE, "DOUBLE"}} - work.text_columns
    types = infer_types(work, parquet_scan(staged), {name for name in kinds if name not in numbers}, NUMBERS)
    types |= {
        name: "boolean" for name, found in kinds.items() if found == {"BOOLEAN"} and name not in work.text_columns
    }
    return Staged(tuple(staged), types, faults.found())


def _lines(path: Path, work: Work, faults: Faults) -> Path:
    """The lines that are text, with their numbers, as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = head(path).removeprefix(_BOM).lstrip()
    if not start:
        raise SourceError(f"{str(path)!r} is empty. Give a file with one JSON object a line.")
    if start.startswith(b"["):
        return _array(path, work)
    target = work.fresh_path()
    schema = pa.schema([("number", pa.int64()), ("line", pa.string())])
    # Without a dictionary, for DuckDB runs functions over all of a dictionary, sound lines or not.
    with pq.ParquetWriter(target, schema, use_dictionary=False) as writer:
        for numbers, lines in _numbered(path):
            writer.write_table(_as_text(path, numbers, lines, schema, faults))
    return target


def _numbered(path: Path) -> Iterator[tuple[list[int], list[bytes]]]:
    """Lines that are not blank, and their place in the file, from 1."""
    number = 1
    for lines in blocks(path):
        if number == 1:
            lines[0] = lines[0].removeprefix(_BOM)
        kept = [(at, line) for at, line in enumerate(lines, number) if line.strip()]
        number += len(lines)
        yield [at for at, _ in kept], [line for _, line in kept]


def _as_text(path: Path, numbers: list[int], lines: list[bytes], schema: pa.Schema, faults: Faults) -> pa.Table:
    import pyarrow as pa

    try:
        text = pa.array(lines, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:  # some line is not UTF-8: find out which
        sound = []
        for number, line in zip(numbers, lines, strict=True):
            try:
                sound.append((number, line.decode()))
            except UnicodeDecodeError:
                faults.add(path, number, "not UTF-8", line.decode("utf-8", "replace"))
        numbers = [number for number, _ in sound]
        text = pa.array([line for _, line in sound], pa.string())
    return pa.Table.from_arrays([pa.array(numbers, pa.int64()), text], schema=schema)


def _array(path: Path, work: Work) -> Path:
    """The members of one JSON array. A fault in it leaves no way to tell where the next member begins."""
    scan = (
        f"read_json_objects({literal(plain_path(path))}, format = 'array', "
        f"compression = '{'gzip' if is_gzip(path) else 'uncompressed'}')"
    )
    with failing_clearly(f"{str(path)!r} is not a valid JSON array"):
        target, _ = work.write(f"SELECT row_number() OVER () AS number, json::VARCHAR AS line FROM {scan}")
    return target


def _objects(file: SourceFile, lines: Path, work: Work, faults: Faults) -> tuple[Path | None, dict[str, set[str]]]:
    """One column for each key of the objects, as text, and the JSON types that its values have."""
    scan = parquet_scan([lines])
    bad = work.execute(
        f"SELECT count(*), min(number), arg_min(line[:1000], number) FROM {scan} WHERE NOT ({_IS_OBJECT})"
    ).fetchone()
    if bad[0]:
        faults.add(file.path, bad[1], "not a JSON object", bad[2])
        faults.lines += bad[0] - 1
    objects = f"(SELECT number, line FROM {scan} WHERE {_IS_OBJECT})"
    found = work.execute(
        "SELECT key FROM (SELECT number, unnest(json_keys(line)) AS key, "
        "generate_subscripts(json_keys(line), 1) AS place "
        f"FROM {objects}) GROUP BY key ORDER BY min(number), min(place), key"
    ).fetchall()
    if len(found) > _MOST_KEYS:
        raise SourceError(
            f"{str(file.path)!r} has {len(found):,} different keys such as {shorten(repr(found[0][0]), 60)} and "
            f"{shorten(repr(found[-1][0]), 60)}: too many to be columns. Put what varies into one nested object."
        )
    if not found:
        without = work.execute(f"SELECT count(*), min(number) FROM {objects}").fetchone()
        if without[0]:
            faults.add(file.path, without[1], "an object without keys", "{}")
            faults.lines += without[0] - 1
        return None, {}
    keys = [row[0] for row in found]
    names = unique(keys)
    pointers = ", ".join(literal("/" + key.replace("~", "~0").replace("/", "~1")) for key in keys)
    kinds: dict[str, set[str]] = {name: set() for name in names}
    for place, kind in work.execute(
        f"SELECT DISTINCT unnest(range({len(keys)})), unnest(json_type(line, [{pointers}])) FROM {objects}"
    ).fetchall():
        if kind not in (None, "NULL"):
            kinds[names[place]].add(kind)
    chosen = ", ".join(f"found[{place}] AS {identifier(name)}" for place, name in enumerate(names, 1))
    own = {name.casefold() for name in names}
    added = "".join(
        f", {literal(value)} AS {identifier(key)}" for key, value in file.partition.items() if key.casefold() not in own
    )
    path, _ = work.write(f"SELECT {chosen}{added} FROM (SELECT line ->> [{pointers}] AS found FROM {objects})")
    return path, kinds


FORMAT = Format("jsonl", "one JSON object a line, or an array of objects", (".jsonl", ".ndjson", ".json"), _read)
