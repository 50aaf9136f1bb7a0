"""Format ``parquet``: scanned where it lies, so that an analysis reads only the columns and rows it needs."""

from __future__ import annotations

from collections.abc import Sequence

from microconv.errors import SourceError
from microconv.sources.base import Format, Staged, Work
from microconv.sources.paths import SourceFile, reading

__all__ = ["FORMAT"]

_MAGIC = (b"PAR1", b"PARE")


def _read(files: Sequence[SourceFile], work: Work) -> Staged:
    for file in files:
        _check(file)
    return Staged(tuple(file.path for file in files), hive=any(file.partition for file in files))


def _check(file: SourceFile) -> None:
    """Find a file that is no Parquet, or only the beginning of one, before an engine trips over it."""
    with reading(file.path), file.path.open("rb") as stream:
        first = stream.read(4)
        size = stream.seek(0, 2)
        stream.seek(max(size - 4, 0))
        last = stream.read(4)
    if size == 0:
        raise SourceError(f"{str(file.path)!r} is empty (0 bytes). Fetch the file again.")
    if first not in _MAGIC:
        raise SourceError(f"{str(file.path)!r} is damaged or not Parquet: it begins with {first!r} instead of b'PAR1'.")
    if last not in _MAGIC or size < 12:
        raise SourceError(
            f"{str(file.path)!r} is damaged or not Parquet: its end is missing ({size:,} bytes are there). "
            "Fetch the file again."
        )


FORMAT = Format("parquet", "Apache Parquet", (".parquet", ".pq", ".parq"), _read)
