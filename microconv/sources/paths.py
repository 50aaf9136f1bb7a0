"""Which files a path, glob, folder or list of them names, and how to open one."""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from microconv.errors import SourceError, nearest, shorten

__all__ = ["SAMPLE", "Files", "SourceFile", "blocks", "head", "is_gzip", "reading", "resolve", "suffix_of"]

_BLOCK = 4 << 20
SAMPLE = 1 << 18  # bytes that tell a file's layout
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class SourceFile:
    """One file, and the values that the names of its folders give to all its rows (``country=DE/``)."""

    path: Path
    partition: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether the file holds not a single byte."""
        return self.path.stat().st_size == 0


@dataclass(frozen=True)
class Files:
    """The files of a source and the words that name them together."""

    files: tuple[SourceFile, ...]
    description: str


def resolve(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], suffixes: Sequence[str]) -> Files:
    """The files that ``source`` names. ``suffixes`` choose the files of a folder.

    Raises ``SourceError`` when nothing is there, with the nearest name that is.
    """
    if isinstance(source, str | os.PathLike):
        found = _named(os.fspath(source), suffixes)
        alone = len(found) == 1 and found[0].path == Path(os.fspath(source)).expanduser()
        words = shorten(os.fspath(source), 200)
        return Files(tuple(found), words if alone else f"{words} ({len(found)} file{'s' * (len(found) != 1)})")
    if not source:
        raise SourceError("The list of files is empty. Give at least one path.")
    files: list[SourceFile] = []
    for part in source:
        files += [file for file in _named(os.fspath(part), suffixes) if file not in files]
    return Files(tuple(files), f"{len(files)} files from {shorten(files[0].path, 150)} on")


def suffix_of(path: Path) -> str:
    """A file's suffix in small letters; ``.gz`` at its end does not count."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _named(text: str, suffixes: Sequence[str]) -> list[SourceFile]:
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return [SourceFile(path)]
        if path.is_dir():
            return _inside(path, suffixes)
        if path.exists():
            return [SourceFile(path)]  # a pipe or device: opening it will say
    except (OSError, ValueError) as error:
        raise SourceError(f"{shorten(repr(text), 120)} cannot be a path: {error}.") from error
    if glob.has_magic(text):
        return _matching(path, suffixes)
    raise SourceError(_not_found(path))


def _inside(folder: Path, suffixes: Sequence[str]) -> list[SourceFile]:
    files, others = [], []
    for place, subfolders, names in os.walk(folder, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "_")))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith((".", "_")):
                continue
            if suffix_of(path) in suffixes:
                files.append(SourceFile(path, _partition(path.relative_to(folder))))
            else:
                others.append(name)
    if not files:
        held = f" It holds {', '.join(map(repr, others[:5]))}." if others else " It is empty."
        raise SourceError(f"The folder {str(folder)!r} has no file that ends in {', '.join(suffixes)}.{held}")
    return files


def _refuse(error: OSError) -> None:
    raise SourceError(f"{error.filename!r} cannot be read: {error.strerror}.") from error


def _matching(pattern: Path, suffixes: Sequence[str]) -> list[SourceFile]:
    fixed = next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))
    files: list[SourceFile] = []
    for name in sorted(glob.glob(str(pattern), recursive=True)):
        path = Path(name)
        if path.is_file():
            files.append(SourceFile(path, _partition(path.relative_to(fixed))))
    if not files:
        folders = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
        for folder in folders:
            for file in _inside(folder, suffixes):
                files.append(SourceFile(file.path, _partition(file.path.relative_to(fixed))))
    if not files:
        there = f" {_listing(fixed)}" if fixed.is_dir() else f" There is no folder {str(fixed)!r}."
        raise SourceError(f"No file matches {shorten(str(pattern), 200)!r}.{there}")
    return files


def _partition(relative: Path) -> dict[str, str]:
    """``country=DE/month=01/part.csv`` says the country and month of all rows of that file."""
    pairs = (part.partition("=") for part in relative.parts[:-1])
    return {key: value for key, sign, value in pairs if key and sign}


def _not_found(path: Path) -> str:
    parent = path.parent
    if parent.is_dir():
        close = nearest(path.name, os.listdir(parent)) if os.access(parent, os.R_OK) else None
        guess = f" Did you mean {close!r}?" if close else f" {_listing(parent)}"
        return f"There is no file {shorten(path.name, 120)!r} in {str(parent.resolve())!r}.{guess}"
    while not parent.is_dir():
        parent = parent.parent
    return (
        f"There is no file {shorten(str(path), 200)!r}: its folder does not exist (nearest: {str(parent.resolve())!r})."
    )


def _listing(folder: Path) -> str:
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if not names:
        return "That folder is empty."
    return (
        f"That folder has {', '.join(repr(shorten(name, 60)) for name in names[:8])}{' ...' if len(names) > 8 else ''}."
    )


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does, whatever its name says."""
    with reading(path), path.open("rb") as stream:
        return stream.read(2) == _GZIP


def head(path: Path, size: int = SAMPLE) -> bytes:
    """The first bytes of a file, unpacked."""
    with reading(path), _opened(path) as stream:
        return stream.read(size)


def blocks(path: Path) -> Iterator[list[bytes]]:
    """A file's lines, unpacked, endings kept, a few megabytes at a time; CR, LF and CRLF all end a line."""
    pending: list[bytes] = []
    with reading(path), _opened(path) as stream:
        while chunk := stream.read(_BLOCK):
            pending.append(chunk)
            if b"\n" not in chunk and b"\r" not in chunk:
                continue
            lines = b"".join(pending).splitlines(keepends=True)
            # The last line may go on in the next chunk, and a CR may be half a CRLF.
            pending = [lines.pop()]
            if lines:
                yield lines
    if pending:
        yield b"".join(pending).splitlines(keepends=True)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say as a ``SourceError`` why a file cannot be opened or unpacked."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(
            f"{str(path)!r} is damaged: its gzip stream is broken or ends early ({error}). Fetch the file again."
        ) from error
    except OSError as error:
        raise SourceError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]
