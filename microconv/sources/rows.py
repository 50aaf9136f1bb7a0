"""The exact reader of delimited text: every line becomes part of a row or is reported, and reading goes on.

A torn quote swallows the lines after it. When the record that begins on a line turns out to be no row, only that line
is given up and the next one is tried as the beginning of a record, so that one torn quote costs one line.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

__all__ = ["parse_rows"]

_LONGEST = 4_000_000  # bytes a quoted record may run on over line ends before its quote counts as torn

Row = list[str | None]
Report = Callable[[int, str, str], None]


def parse_rows(
    numbered: Iterable[list[tuple[int, bytes]]], width: int, delimiter: str, report: Report
) -> Iterator[list[Row]]:
    """Rows of ``width`` fields in batches, empty fields as None; ``report(number, why, line)`` gets all other lines."""
    source = iter(numbered)
    waiting: list[tuple[int, bytes]] = []
    ended = False
    while not ended or waiting:
        block = next(source, None)
        ended = block is None
        waiting += block or []
        with _long_fields():
            rows, used = _batch(waiting, width, delimiter, report, ended)
        waiting = waiting[used:]
        if rows:
            yield rows


def _batch(
    lines: list[tuple[int, bytes]], width: int, delimiter: str, report: Report, ended: bool
) -> tuple[list[Row], int]:
    """The rows of as many lines as can be told, and the number of those lines."""
    rows: list[Row] = []
    place = 0
    while place < len(lines):
        number, line = lines[place]
        if b'"' in line:
            fields, used, why = _quoted(lines, place, width, delimiter, ended)
            if not used:
                return rows, place  # the record may end in the next block
        else:
            fields, used, why = _plain(line, width, delimiter), 1, ""
        if fields is None or len(fields) != width:
            if fields is not None or why or line.strip(b" \r\n"):
                report(number, why or _why(fields, width), line.decode("utf-8", "replace"))
        else:
            rows.append([field or None for field in fields])
        place += used
    return rows, place


def _plain(line: bytes, width: int, delimiter: str) -> list[str] | None:
    if not line.strip(b" \r\n"):
        return None
    try:
        return _trimmed(line.decode().rstrip("\r\n").split(delimiter), width)
    except UnicodeDecodeError:
        return None


def _trimmed(fields: list[str], width: int) -> list[str]:
    """One empty field too many is a delimiter at the end of the line."""
    return fields[:width] if len(fields) == width + 1 and not fields[-1] else fields


def _why(fields: list[str] | None, width: int) -> str:
    if fields is None:
        return "not UTF-8"
    return f"{len(fields)} field{'s' * (len(fields) != 1)} instead of {width}"


def _quoted(
    lines: list[tuple[int, bytes]], place: int, width: int, delimiter: str, ended: bool
) -> tuple[list[str] | None, int, str]:
    """The record that begins at ``place``: its fields, its number of lines (0: more are needed), what is wrong."""
    why = "broken quotes"
    for skip_space in (False, True):
        taken = 0
        size = 0

        def feed() -> Iterator[str]:
            nonlocal taken, size
            for at in range(place, len(lines)):
                line = lines[at][1]
                taken += 1
                size += len(line)
                if size > _LONGEST:
                    return
                yield line.decode()

        try:
            fields = next(csv.reader(feed(), delimiter=delimiter, strict=True, skipinitialspace=skip_space))
        except csv.Error:
            if place + taken == len(lines) and not ended and size <= _LONGEST:
                return None, 0, ""
            continue
        except UnicodeDecodeError:
            if taken == 1:
                return None, 1, "not UTF-8"
            continue
        fields = _trimmed(fields, width)
        if len(fields) == width:
            return fields, taken, ""
        if taken == 1:
            why = _why(fields, width)
    return None, 1, why


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let Python's reader take fields of any length, for the moment."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)
