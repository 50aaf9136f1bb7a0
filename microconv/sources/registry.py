"""The formats and layouts that ``read_events`` knows. A new one is a file of its own and one entry here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from microconv.errors import ParameterError, SourceError, unknown_name
from microconv.sources import delimited, ga4, json_lines, parquet
from microconv.sources.base import Format, Layout
from microconv.sources.paths import Files, suffix_of

__all__ = ["FORMATS", "LAYOUTS", "choose_format", "choose_layout", "file_suffixes", "named"]

FORMATS: tuple[Format, ...] = (delimited.FORMAT, parquet.FORMAT, json_lines.FORMAT)
LAYOUTS: tuple[Layout, ...] = (ga4.LAYOUT,)

_HINTS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "Read it with pandas.read_excel and pass the frame."),
    **dict.fromkeys((".feather", ".arrow", ".ipc"), "Read it with pyarrow.feather.read_table and pass the table."),
    ".orc": "Read it with pyarrow.orc.read_table and pass the table.",
    **dict.fromkeys((".db", ".duckdb", ".ddb"), "Pass a DuckDB file as 'duckdb:///path/to/file'."),
    **dict.fromkeys((".sqlite", ".sqlite3"), "Pass it as 'sqlite:///path/to/file'."),
    **dict.fromkeys((".zip", ".bz2", ".xz", ".zst"), "Unpack it first; .gz can stay packed."),
}


def named(format: str) -> Format | Layout | None:
    """The format or layout of that name; None for ``"auto"``. Raises ``ParameterError`` with the nearest name."""
    if format == "auto":
        return None
    known: list[Format | Layout] = [*FORMATS, *LAYOUTS]
    for one in known:
        if one.name == format:
            return one
    raise ParameterError(unknown_name("format", format, ["auto", *(one.name for one in known)]))


def file_suffixes() -> list[str]:
    """Every suffix that tells a format."""
    return [suffix for one in FORMATS for suffix in one.suffixes]


def choose_format(files: Files) -> Format:
    """The one format that the files' names tell."""
    found = Counter(suffix_of(file.path) for file in files.files)
    by_suffix = {suffix: one for one in FORMATS for suffix in one.suffixes}
    for suffix in found:
        if suffix not in by_suffix:
            example = next(file.path.name for file in files.files if suffix_of(file.path) == suffix)
            hint = _HINTS.get(suffix, f"Say which it is: format='{FORMATS[0].name}', for example.")
            raise SourceError(
                f"The format of {example!r} cannot be told from its name. Known: {', '.join(by_suffix)} "
                f"(also with .gz where text). {hint}"
            )
    formats = {by_suffix[suffix].name: by_suffix[suffix] for suffix in found}
    if len(formats) > 1:
        listing = ", ".join(f"{n} {suffix}" for suffix, n in found.items())
        raise SourceError(
            f"{files.description}: files of several formats ({listing}). Give the files of one, as a glob or list."
        )
    return next(iter(formats.values()))


def choose_layout(chosen: Format | Layout | None, columns: Sequence[str]) -> Layout | None:
    """The layout that was asked for, or the one that recognises the columns when none was."""
    if chosen is None:
        return next((layout for layout in LAYOUTS if layout.detect(columns)), None)
    return chosen if isinstance(chosen, Layout) else None
