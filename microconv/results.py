"""Result: what every analysis returns. A tidy table, what it means, what it assumes, a picture, files."""

from __future__ import annotations

import datetime as dt
import html
import json
import math
import numbers
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, unknown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Result", "write_whole"]

_VERSIONED = ("microconv", "pandas", "numpy", "ibis-framework", "duckdb")
_SIZES = ("n", "users", "at_risk")  # how many people a row is about: the first of these that a frame has
# Numbers that say where a row stands, not how many or how often.
_PLACES = ("step", "period", "time_days", "horizon_days", "landmark_days")


@dataclass(frozen=True, eq=False)
class Result:
    """The answer of one analysis.

    ``table`` is a tidy frame with fixed column names; ``extra`` holds further frames by name, also read as attributes
    (``result.summary``); ``meaning`` is two or three plain sentences; ``plot_with(result, ax)`` draws ``table``.
    """

    name: str
    table: pd.DataFrame
    meaning: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    assumptions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    extra: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    plot_with: Callable[[Result, Any], Axes] | None = field(default=None, repr=False, compare=False)

    def __getattr__(self, name: str) -> pd.DataFrame:
        extra = self.__dict__.get("extra", {})
        if name.startswith("_") or name not in extra:
            raise AttributeError(unknown_name("attribute of this result", name, ["table", *extra]))
        return extra[name]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the table; the axes are returned so that the caller can go on with them."""
        if self.plot_with is None:
            raise ParameterError(f"The result {self.name!r} has no picture; read its .table.")
        return self.plot_with(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """What ``result.json`` holds: parameters, words, provenance (fingerprint, row counts, versions), no table."""
        return {
            "name": self.name,
            "meaning": self.meaning,
            "parameters": dict(self.parameters),
            "assumptions": list(self.assumptions),
            "warnings": list(self.warnings),
            "provenance": dict(self.provenance),
            "rows": {"table": len(self.table), **{name: len(frame) for name, frame in self.extra.items()}},
            "versions": _versions(),
        }

    def suppressed(self, min_cell: int = 10) -> Result:
        """The same result without the numbers of rows about fewer than ``min_cell`` people (but more than none).

        The size of a row is its ``n``, else ``users``, else ``at_risk``. Frames without a size lose the numbers of
        the rows that the table loses, where they have its names and steps. ``.warnings`` says how many rows; 0 and 1
        suppress nothing.
        """
        if isinstance(min_cell, bool) or not isinstance(min_cell, int) or min_cell < 0:
            raise ParameterError(f"min_cell={min_cell!r} must be a whole number of people, 0 or more.")
        small = _small(self.table, min_cell)
        keys = [column for column in self.table if column == "step" or _is_name(self.table[column])]
        gone = self.table.loc[small, keys].drop_duplicates() if small is not None else self.table.loc[[], keys]
        table, hidden = _blank(self.table, small)
        extra = {}
        for name, frame in self.extra.items():
            rows = _small(frame, min_cell)
            if rows is None and keys and len(gone) and set(keys) <= set(frame.columns):
                rows = frame[keys].merge(gone, how="left", on=keys, indicator="_from")["_from"].eq("both").to_numpy()
            extra[name], count = _blank(frame, rows)
            hidden += count
        rows = "1 row" if hidden == 1 else f"{hidden} rows"
        note = f"{rows} about fewer than {min_cell} users suppressed in what is written and shown."
        return replace(self, table=table, extra=extra, warnings=[*self.warnings, note]) if hidden else self

    def save(self, folder: str | os.PathLike[str], *, min_cell: int = 10) -> Path:
        """Write ``table.parquet``, ``table.csv``, ``figure.png``, ``result.json`` and one CSV per extra frame.

        Each file appears whole or not at all. Numbers about fewer than ``min_cell`` people are left blank
        (``suppressed``; 0 writes all). Raises ``ParameterError`` when the folder cannot be written.
        """
        self.suppressed(min_cell)._write_files(folder, min_cell)
        return Path(folder)

    def _write_files(self, folder: str | os.PathLike[str], min_cell: int) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise ParameterError(f"folder={folder!r} is no path. Name a folder you may write to.")
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            write_whole(target / "table.parquet", lambda path: self.table.to_parquet(path, index=False))
            write_whole(target / "table.csv", lambda path: self.table.to_csv(path, index=False))
            for name, frame in self.extra.items():
                write_whole(target / f"{name}.csv", partial(frame.to_csv, index=False))
            if self.plot_with is not None:
                write_whole(target / "figure.png", self._save_figure)
            said = _plain({**self.to_dict(), "min_cell": min_cell})
            text = json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            # A lone half of a surrogate pair, which a hostile name may hold, has no UTF-8.
            raw = text.encode("utf-8", "backslashreplace")
            write_whole(target / "result.json", lambda path: path.write_bytes(raw))
        except OSError as error:
            reason = error.strerror or error
            raise ParameterError(
                f"Cannot write the result to {str(target)!r}: {reason}. Name a folder you may write to."
            ) from error

    def _save_figure(self, path: Path) -> None:
        import matplotlib.pyplot as plt

        figure = self.plot().get_figure(root=True)
        assert figure is not None  # axes that were just drawn on stand in a figure
        try:
            figure.savefig(path, format="png", dpi=150, bbox_inches="tight")
        finally:
            plt.close(figure)

    def _repr_html_(self) -> str:
        shown = self.table.head(20)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.warnings)
        cut = f"<p>{len(shown)} of {len(self.table)} rows.</p>" if len(shown) < len(self.table) else ""
        return (
            f"<div class='microconv'><p>{html.escape(self.meaning)}</p>"
            + (f"<ul class='warnings'>{notes}</ul>" if notes else "")
            + shown.to_html(index=False, border=0, escape=True, na_rep="", float_format=lambda x: f"{x:.4g}")
            + cut
            + "</div>"
        )


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column.dtype)) and not pd.api.types.is_bool_dtype(column.dtype)


def _is_name(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column.dtype)  # truth values count as numbers here


def _small(frame: pd.DataFrame, min_cell: int) -> Any:
    """Which rows are about too few people; None for a frame that does not say how many."""
    size = next((column for column in _SIZES if column in frame and _is_number(frame[column])), None)
    if size is None:
        return None
    few = (frame[size] > 0) & (frame[size] < min_cell)
    return few.fillna(False).to_numpy(dtype=bool)  # a row about nobody in particular, such as a rest


def _blank(frame: pd.DataFrame, rows: Any) -> tuple[pd.DataFrame, int]:
    """The frame without the numbers of some rows, and how many rows that are; whole numbers stay whole."""
    if rows is None or not rows.any():
        return frame, 0
    columns = [column for column in frame if column not in _PLACES and _is_number(frame[column])]
    whole = {column: "Int64" for column in columns if pd.api.types.is_integer_dtype(frame[column].dtype)}
    blanked = frame.astype(whole)
    blanked.loc[rows, columns] = None
    return blanked, int(rows.sum())


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and other missing values are null, times ISO-8601, anything unknown its text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(held) for held in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if value is pd.NaT or value is pd.NA:
        return None
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _versions() -> dict[str, str]:
    found = {}
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_whole(path: Path, writer: Callable[[Path], Any]) -> None:
    """Write to a neighbour and rename, so that a reader never sees half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    neighbour = Path(name)
    try:
        writer(neighbour)
        os.chmod(neighbour, 0o644)
        os.replace(neighbour, path)
    finally:
        neighbour.unlink(missing_ok=True)
