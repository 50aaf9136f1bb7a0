"""Frames: values of every kind arrive as exact text or in their own type, and the caller's frame is left alone."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
import uuid
import zoneinfo

import duckdb
import ibis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from microconv.errors import SourceError
from microconv.sources import open_source

IDS = ("user_id", "time", "event", "event_id")
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def opened(frame, **options):
    return open_source(frame, text_columns=IDS, **options)


def column(raw, name):
    return raw.table.to_pyarrow()[name].to_pylist()


def objects(*values):
    return pd.Series(values, dtype=object)


def test_mixed_objects_become_clean_text():
    offset = dt.timezone(dt.timedelta(hours=2))
    identity = uuid.UUID("12345678123456781234567812345678")
    values = [
        (dt.datetime(2024, 1, 1, 12, tzinfo=BERLIN), "2024-01-01T12:00:00+01:00"),
        (dt.datetime(2024, 1, 1, 12, 0, 0, 5, tzinfo=offset), "2024-01-01T12:00:00.000005+02:00"),
        (dt.datetime(2024, 1, 1), "2024-01-01T00:00:00"),
        (pd.Timestamp("2024-01-01 12:00:00.123456789", tz="UTC"), "2024-01-01T12:00:00.123456+00:00"),
        (np.datetime64("2024-01-01T12:00:00"), "2024-01-01T12:00:00.000000"),
        (dt.date(2024, 1, 1), "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("007", "007"),
        (7, "7"),
        (2**70, str(2**70)),
        (17.0, "17"),
        (17.5, "17.5"),
        (np.float64(18.0), "18"),
        (np.int64(9), "9"),
        (decimal.Decimal("19.00"), "19"),
        (decimal.Decimal("1E+3"), "1000"),
        (decimal.Decimal("1.50"), "1.50"),
        (identity, str(identity)),
        (b"bytes\xff", "bytes\\xff"),
        ("💥", "💥"),
        ("\ud800", "\\ud800"),
        (True, "True"),
        (("a", 1), "('a', 1)"),
    ]
    nothing = [None, float("nan"), np.nan, pd.NaT, pd.NA, decimal.Decimal("NaN"), np.datetime64("NaT")]
    frame = pd.DataFrame({"user_id": objects(*(value for value, _ in values), *nothing)})
    before = frame.copy(deep=True)
    raw = opened(frame)
    assert raw.table.user_id.type().is_string()
    got = column(raw, "user_id")
    assert sorted(map(str, got)) == sorted([text for _, text in values] + ["None"] * len(nothing))
    assert got.count(None) == len(nothing)
    pd.testing.assert_frame_equal(frame, before)


def test_whole_floats_that_a_missing_value_made_are_whole_again():
    raw = opened(
        pd.DataFrame({"user_id": [17.0, np.nan, 2**53 - 1], "time": [1.5, 2.0, np.nan], "x": [1.0, np.nan, 2.0]})
    )
    assert {name: str(kind) for name, kind in raw.table.schema().items()} == {
        "user_id": "int64",
        "time": "float64",
        "x": "float64",
    }
    assert set(column(raw, "user_id")) == {17, None, 2**53 - 1}
    assert set(column(raw, "time")) == {1.5, 2.0, None}


def test_typed_columns_keep_their_types():
    frame = pd.DataFrame(
        {
            "user_id": pd.array([1, None], dtype="Int64"),
            "time": pd.to_datetime(["2024-01-01T12:00:00.123456789", None]).tz_localize("Europe/Berlin"),
            "event": pd.Categorical(["a", None]),
            "naive": pd.to_datetime(["2024-01-01", None]),
            "ok": pd.array([True, None], dtype="boolean"),
            "words": pd.array(["x", None], dtype="string"),
            "arrow": pd.Series([1.5, None], dtype=pd.ArrowDtype(pa.float32())),
            "ints": objects(5, None),
            "dates": objects(dt.date(2024, 1, 1), None),
            "dicts": objects({"a": 1}, {"b": "x"}),
            "mixed": objects(1, "x"),
            "stamps": objects(dt.datetime(2024, 1, 1, tzinfo=BERLIN), dt.datetime(2024, 7, 1)),
            "period": pd.period_range("2024", periods=2, freq="M"),
            "sparse": pd.arrays.SparseArray([1, 0]),
            "none": [None, None],
            "bytes": [b"a", None],
        }
    )
    raw = opened(frame)
    kinds = {name: str(kind) for name, kind in raw.table.schema().items()}
    assert (kinds["user_id"], kinds["ok"], kinds["ints"], kinds["dates"], kinds["arrow"]) == (
        "int64",
        "boolean",
        "int64",
        "date",
        "float32",
    )
    assert raw.table.time.type().timezone == "UTC"
    assert all(kinds[name] == "string" for name in ("event", "words", "mixed", "stamps", "period", "none"))
    assert column(raw, "time")[0].microsecond == 123456
    assert sorted(column(raw, "stamps")) == ["2024-01-01T00:00:00+01:00", "2024-07-01T00:00:00"]


def test_column_names_and_index():
    frame = pd.DataFrame({"user_id": ["a"], 5: [1], ("x", "y"): [2], "Event": ["e"], "event": ["f"], "": [3]})
    frame.index = pd.MultiIndex.from_tuples([("p", "q")], names=["event_id", "time"])
    raw = opened(frame)
    assert raw.table.columns == ("user_id", "5", "('x', 'y')", "Event", "event_1", "column5")
    for twice in (pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[1, 2]], columns=[5, "5"])):
        with pytest.raises(SourceError, match=r"The pandas frame has 2 columns named '.'\. Rename all but one"):
            opened(twice)
    with pytest.raises(SourceError, match="The pandas frame has no columns"):
        opened(pd.DataFrame())
    assert opened(pd.DataFrame({"user_id": []})).table.count().execute() == 0


def test_a_frame_changed_later_does_not_change_the_log():
    frame = pd.DataFrame({"user_id": np.arange(3.0), "x": np.arange(3)})
    raw = opened(frame)
    frame.loc[:, "x"] = 9
    assert sorted(column(raw, "x")) == [0, 1, 2]


CONNECTION = duckdb.connect()  # a relation lives no longer than its connection
DATA = pa.table({"user_id": ["a", "b"], "time": [1, 2], "event": ["x", "y"], "none": pa.nulls(2)})


@pytest.mark.parametrize(
    ("make", "description"),
    [
        (lambda: pl.from_arrow(DATA), "the Polars frame"),
        (lambda: pl.from_arrow(DATA).lazy().filter(pl.col("time") > 0), "the lazy Polars frame"),
        (lambda: DATA, "the PyArrow table"),
        (lambda: DATA.to_batches()[0], "the PyArrow record batch"),
        (lambda: pa.RecordBatchReader.from_batches(DATA.schema, DATA.to_batches()), "the PyArrow reader"),
        (lambda: pyarrow.dataset.dataset(DATA), "the PyArrow dataset"),
        (lambda: CONNECTION.from_arrow(DATA), "the DuckDB relation"),
        (lambda: ibis.memtable(DATA.to_pandas()), "the Ibis table"),
    ],
)
def test_every_kind_of_frame(make, description):
    raw = opened(make(), memory_limit="500MB", threads=1)
    assert raw.description == description
    assert raw.columnar
    assert sorted(zip(column(raw, "user_id"), column(raw, "time"), column(raw, "none"), strict=True)) == [
        ("a", 1, None),
        ("b", 2, None),
    ]


def test_anything_that_streams_arrow_is_a_frame():
    class Own:
        def __arrow_c_stream__(self, requested_schema=None):
            return DATA.__arrow_c_stream__(requested_schema)

    assert sorted(column(opened(Own()), "user_id")) == ["a", "b"]


def test_polars_objects_are_text_and_not_addresses():
    identity = uuid.uuid4()
    frame = pl.DataFrame({"user_id": pl.Series([identity, None], dtype=pl.Object), "n": [1, 2]})
    for one in (frame, frame.lazy()):
        assert sorted(map(str, column(opened(one), "user_id"))) == sorted([str(identity), "None"])
    with pytest.raises(SourceError, match=r"The lazy Polars frame cannot be computed: .*nope"):
        opened(pl.LazyFrame({"a": [1]}).select("nope"))


def test_arrow_frames_with_repeated_names_are_refused():
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(SourceError, match="The PyArrow table has 2 columns named 'a'"):
        opened(twice)


def test_a_relation_streams_through_a_file_and_keeps_long_numbers(tmp_path):
    relation = CONNECTION.sql(
        "SELECT 170141183460469231731687303715884105727 AS user_id, TIMESTAMP '2024-01-01' AS time, 1::HUGEINT AS n, "
        "uuid() AS event, 'it''s' AS \"a \"\"b\" FROM range(3)"
    )
    raw = opened(relation, temp_directory=tmp_path)
    assert column(raw, "user_id") == ["170141183460469231731687303715884105727"] * 3
    assert raw.table.columns[-1] == 'a "b'
    assert list(tmp_path.rglob("*.parquet"))
    closed = duckdb.connect()
    relation = closed.sql("SELECT 1 AS user_id")
    closed.close()
    with pytest.raises(SourceError, match="The DuckDB relation cannot be read"):
        opened(relation)


def test_copies_are_removed_with_the_log(tmp_path):
    raw = opened(DATA, temp_directory=tmp_path)
    assert list(tmp_path.rglob("*.parquet"))
    del raw
    import gc

    gc.collect()
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_frame_for_another_duckdb_lives_there():
    backend = ibis.duckdb.connect()
    raw = opened(DATA, backend=backend)
    assert raw.engine.backend is backend
    assert raw.table.count().execute() == 2


@pytest.mark.parametrize("source", [5, None, {"user_id": ["a"]}, pd.Series([1]), [1, 2], b"x.csv", [pd.DataFrame()]])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(SourceError, match=r"cannot be read\. Give a path, glob or list of paths, a pandas"):
        opened(source)


def test_a_file_is_read_without_loading_polars(tmp_path):
    pq.write_table(DATA, tmp_path / "e.parquet")
    code = (
        "import sys; from microconv.sources import open_source; "
        f"open_source({str(tmp_path / 'e.parquet')!r}); sys.exit('polars' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
