"""Files for others to take: whole or not at all, with money to the cent and names that nothing runs as a formula."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pandas as pd

from microconv.errors import ParameterError, shorten
from microconv.results import write_whole

__all__ = ["Exported", "check_name", "money_text", "shown", "to_cents", "write_rows", "write_text"]

_FORMULA = re.compile(r"^[=+\-@\t\r]")


@dataclass(frozen=True)
class Exported:
    """The files written, and what is not in them: ``left_out`` has ``name`` and ``why``."""

    files: tuple[Path, ...]
    left_out: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(file.name for file in self.files) or "no file"
        return f"<Exported: {names}; {len(self.left_out)} left out>"


def to_cents(amount: float) -> int:
    """An amount of money in whole hundredths, half a hundredth away from zero."""
    return int((Decimal(repr(float(amount))) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def money_text(cents: int) -> str:
    """Hundredths as a number with two decimals, exactly."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def write_rows(folder: str | os.PathLike[str], name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    """Write a CSV file whole or not at all. Raises ``ParameterError`` when it cannot be written."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return write_text(folder, name, text.getvalue())


def check_name(name: object, what: str, longest: int | None = None) -> str:
    """A name that a platform takes: text without control characters, of at most ``longest`` characters."""
    if not isinstance(name, str) or not name.strip() or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise ParameterError(f"{what} {shorten(repr(name))} must be text on one line. Give it a name in names=.")
    if longest is not None and len(name) > longest:
        raise ParameterError(
            f"{what} {shorten(repr(name))} has {len(name)} characters, and at most {longest} are taken. Give it a "
            "shorter name in names=."
        )
    return name


def write_text(folder: str | os.PathLike[str], name: str, text: str) -> Path:
    """Write a text file whole or not at all. Raises ``ParameterError`` when it cannot be written."""
    if not isinstance(folder, str | os.PathLike):
        raise ParameterError(f"folder={folder!r} is no path. Name a folder you may write to.")
    target = Path(folder) / name
    raw = text.encode("utf-8", "backslashreplace")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, lambda path: path.write_bytes(raw))
    except OSError as error:
        raise ParameterError(
            f"Cannot write {str(target)!r}: {error.strerror or error}. Name a folder you may write to."
        ) from error
    return target


def shown(text: object) -> str:
    """Text that a spreadsheet shows and does not run."""
    plain = str(text)
    return f"'{plain}" if _FORMULA.match(plain) else plain
