"""Faults: the lines that a file's own format forbids, counted, with the first as an example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from microconv.errors import shorten
from microconv.sources.raw import Malformed

__all__ = ["Faults"]


class Faults:
    """Counts the malformed lines of one source, for one reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.lines = 0
        self.example = ""

    def add(self, path: Path, number: int, why: str, line: str) -> None:
        """Count one line; ``number`` is its place in the file, from 1."""
        if not self.lines:
            self.example = f"{path.name} line {number:,}: {why}: {shorten(repr(line.strip()), 100)}"
        self.lines += 1

    def of(self, path: Path) -> Callable[[int, str, str], None]:
        """``add`` for the lines of one file."""
        return lambda number, why, line: self.add(path, number, why, line)

    def found(self) -> tuple[Malformed, ...]:
        """What ``RawEvents`` carries: nothing when every line was sound."""
        return (Malformed(self.reason, self.lines, self.example),) if self.lines else ()
