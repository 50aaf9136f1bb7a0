"""Parquet: scanned where it lies; a damaged file is named before an engine trips over it."""

from __future__ import annotations

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from microconv.errors import SourceError
from microconv.sources import open_source

DATA = pa.table({"user_id": [1, 2, 3], "time": [1.5, 2.5, 3.5], "event": ["a", "b", "c"], "wide": ["x" * 99] * 3})


def test_only_the_columns_and_rows_that_are_needed_are_scanned(tmp_path):
    pq.write_table(DATA, tmp_path / "e.parquet")
    raw = open_source(tmp_path / "e.parquet", text_columns=("user_id",))
    assert raw.columnar
    assert str(raw.table.user_id.type()) == "int64"
    needed = raw.table.filter(raw.table.time > 2).event.count()
    plan = raw.engine.backend.con.execute("EXPLAIN " + ibis.to_sql(needed, dialect="duckdb")).fetchall()[0][1]
    assert "READ_PARQUET" in plan
    assert "Filters" in plan
    assert "wide" not in plan
    assert needed.execute() == 2


def test_files_come_together_by_column_name_and_folders_carry_columns(tmp_path):
    for year in (2023, 2024):
        (tmp_path / f"year={year}").mkdir()
    pq.write_table(DATA, tmp_path / "year=2023" / "a.parquet")
    pq.write_table(pa.table({"event": ["z"], "user_id": [9], "extra": [True]}), tmp_path / "year=2024" / "b.pq")
    (tmp_path / "_SUCCESS").write_text("")
    for source in (tmp_path, str(tmp_path / "*" / "*"), f"{tmp_path}/**/*.p*", f"{tmp_path}/year=*"):
        rows = open_source(source).table.to_pyarrow().to_pylist()
        assert {(row["user_id"], row["year"], row["extra"]) for row in rows} == {
            (1, 2023, None),
            (2, 2023, None),
            (3, 2023, None),
            (9, 2024, True),
        }
    listed = open_source([tmp_path / "year=2023" / "a.parquet", str(tmp_path / "year=2024" / "b.pq")])
    assert listed.table.count().execute() == 4
    assert "year" not in listed.table.columns


def test_a_damaged_file_is_named(tmp_path):
    good, path = tmp_path / "good.parquet", tmp_path / "events.parquet"
    pq.write_table(DATA, good)
    data = good.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        SourceError, match=r"events.parquet' is damaged or not Parquet: its end is missing \([\d,]+ bytes"
    ):
        open_source(path)
    path.write_bytes(b"user_id,time\n" * 9)
    with pytest.raises(SourceError, match=r"is damaged or not Parquet: it begins with b'user'"):
        open_source(path)
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"is empty \(0 bytes\)"):
        open_source([good, path])
    footer = 8 + int.from_bytes(data[-8:-4], "little")
    path.write_bytes(data[:-footer] + b"\0" * (footer - 8) + data[-8:])
    with pytest.raises(SourceError, match="cannot be read as parquet: "):
        open_source(path)


def test_another_name_needs_the_format_said(tmp_path):
    pq.write_table(DATA, tmp_path / "part-0000")
    with pytest.raises(SourceError, match=r"format of 'part-0000' cannot be told.*format='csv'"):
        open_source(tmp_path / "part-0000")
    assert open_source(tmp_path / "part-0000", format="parquet").table.count().execute() == 3


def test_a_connection_of_the_caller_reads_the_file(tmp_path):
    pq.write_table(DATA, tmp_path / "it's [1].parquet")
    backend = ibis.duckdb.connect()
    raw = open_source(tmp_path / "it's [1].parquet", backend=backend)
    assert raw.engine.backend is backend
    assert raw.table.count().execute() == 3
    assert isinstance(raw.table.op(), ibis.expr.operations.DatabaseTable)
