"""Frames of pandas, Polars and PyArrow, and DuckDB relations.

They are copied once to Parquet, so that later changes of the caller's object do not change the log, and are known by
the names of their modules, so that nothing is imported that is not loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from microconv.errors import SourceError, shorten
from microconv.sources.base import Staged, Work, failing_clearly, identifier, unique
from microconv.sources.values import as_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["kind_of", "stage_arrow", "stage_frame"]

_EXACT = 2**53
_KINDS = {
    ("pandas", "DataFrame"): "pandas frame",
    ("polars", "DataFrame"): "Polars frame",
    ("polars", "LazyFrame"): "lazy Polars frame",
    ("pyarrow", "Table"): "PyArrow table",
    ("pyarrow", "RecordBatch"): "PyArrow record batch",
    ("pyarrow", "RecordBatchReader"): "PyArrow reader",
    ("pyarrow", "Dataset"): "PyArrow dataset",
    ("duckdb", "DuckDBPyRelation"): "DuckDB relation",
    ("_duckdb", "DuckDBPyRelation"): "DuckDB relation",
}


def kind_of(source: Any) -> str | None:
    """What kind of frame ``source`` is, or None."""
    for cls in type(source).__mro__:
        kind = _KINDS.get((cls.__module__.split(".")[0], cls.__name__))
        if kind:
            return kind
    return "Arrow stream" if hasattr(source, "__arrow_c_stream__") else None


def stage_frame(source: Any, kind: str, work: Work) -> Staged:
    """Copy a frame to Parquet. Raises ``SourceError`` for repeated column names and values that no column can hold."""
    with failing_clearly(f"The {kind} cannot be read"):
        if kind == "DuckDB relation":
            return _relation(source, work)
        if kind == "lazy Polars frame":
            return _lazy(source, work)
        return stage_arrow(_arrow(source, kind, work), kind, work)


def stage_arrow(data: Any, kind: str, work: Work) -> Staged:
    """Copy an Arrow table, reader or dataset to Parquet as a stream."""
    names = list(data.schema.names)
    _check_names(names, kind)
    connection = work.engine.backend.con
    view = f"microconv_{work.fresh_path().stem}"
    connection.register(view, data)
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {identifier(view)}").fetchall()
        path, _ = work.write(f"SELECT {_typed(described, work)} FROM {identifier(view)}")
    finally:
        connection.unregister(view)
    return Staged((path,))


def _check_names(names: Sequence[str], kind: str) -> None:
    if not names:
        raise SourceError(f"The {kind} has no columns.")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise SourceError(
            f"The {kind} has {names.count(repeated[0])} columns named {shorten(repr(repeated[0]))}. Rename all but one."
        )


def _typed(described: Sequence[Sequence[Any]], work: Work) -> str:
    """The columns to select, in types that Parquet keeps exactly."""
    chosen = []
    for name, kind, *_ in described:
        column = identifier(name)
        if kind == '"NULL"' or (kind in ("HUGEINT", "UHUGEINT", "BIGNUM") and name in work.text_columns):
            chosen.append(f"{column}::VARCHAR AS {column}")
        else:
            chosen.append(column)
    return ", ".join(chosen)


def _relation(relation: Any, work: Work) -> Staged:
    # The relation's connection cannot be reached from here: it writes, out of core, and our engine reads.
    names = list(relation.columns)
    _check_names(names, "DuckDB relation")
    described = list(zip(names, map(str, relation.types), strict=True))
    path = work.fresh_path()
    relation.project(_typed(described, work)).write_parquet(str(path))
    return Staged((path,))


def _lazy(frame: Any, work: Work) -> Staged:
    pl = sys.modules["polars"]  # whoever hands over a Polars frame has it loaded
    try:
        if any(kind == pl.Object for kind in frame.collect_schema().values()):
            return stage_arrow(_polars(frame.collect()), "lazy Polars frame", work)
        path = work.fresh_path()
        frame.sink_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"The lazy Polars frame cannot be computed: {shorten(error, 300)}") from error
    return Staged((path,))


def _arrow(source: Any, kind: str, work: Work) -> Any:
    if kind == "pandas frame":
        return _pandas(source, work)
    if kind == "Polars frame":
        return _polars(source)
    if kind == "PyArrow record batch":
        import pyarrow as pa

        return pa.Table.from_batches([source])
    if kind == "Arrow stream":
        import pyarrow as pa

        return pa.RecordBatchReader.from_stream(source)
    return source


def _polars(frame: Any) -> pa.Table:
    pl = sys.modules["polars"]
    objects = [name for name, kind in frame.schema.items() if kind == pl.Object]
    # Arrow would get the addresses of such objects, not their values.
    texts = [pl.Series(name, [as_text(value) for value in frame[name].to_list()], dtype=pl.String) for name in objects]
    return frame.with_columns(texts).to_arrow()


def _pandas(frame: pd.DataFrame, work: Work) -> pa.Table:
    """The columns of a pandas frame as Arrow; its index is not read."""
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    _check_names(names, "pandas frame")
    arrays = [_series(frame.iloc[:, place], name in work.text_columns) for place, name in enumerate(names)]
    return pa.Table.from_arrays(arrays, names=unique(names))


def _series(series: pd.Series[Any], exact: bool) -> pa.Array | pa.ChunkedArray:
    import pyarrow as pa
    from pandas.api.types import infer_dtype, is_float_dtype

    if exact and not len(series) and is_float_dtype(series.dtype):
        return pa.array([], pa.string())  # pandas calls any empty column floats
    if series.dtype == object:
        held = infer_dtype(series, skipna=True)
        plain = held in ("string", "integer", "empty") or (held not in ("datetime", "mixed-integer") and not exact)
    else:
        plain = True
    if plain:
        try:
            array = pa.array(series, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):  # values of several kinds: as text, below
            plain = False
        else:
            plain = not isinstance(array.type, pa.BaseExtensionType) and not pa.types.is_null(array.type)
    if not plain:
        return pa.array([as_text(value) for value in series], pa.string())
    if exact and is_float_dtype(series.dtype) and _whole(array):
        return array.cast(pa.int64())
    return array


def _whole(array: pa.Array) -> bool:
    """Whether floats are whole numbers that a missing value made floats."""
    import pyarrow.compute as pc

    if array.null_count == len(array) or not pc.all(pc.less(pc.abs(array), float(_EXACT))).as_py():
        return False
    return bool(pc.all(pc.equal(pc.floor(array), array)).as_py())
