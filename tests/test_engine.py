"""The door to Ibis: exact microseconds, times as text, limits that reach DuckDB, folders that go away."""

from __future__ import annotations

import datetime as dt
import gc
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pandas as pd
import pytest

from microconv.durations import moment_to_micros
from microconv.engine import DIALECTS, Engine, duckdb_engine, engine_of, has_offset, sketch_engine, to_datetime
from microconv.errors import ParameterError, SourceError


@pytest.fixture(scope="module")
def duck() -> Engine:
    return duckdb_engine(memory_limit="1GB", threads=1)


def utc(text: str) -> int:
    return moment_to_micros(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC))


# --- Times ---------------------------------------------------------------------------------------------------------

MICROS = [
    0, 1, -1, 999_999, -999_999, 1_767_225_600_123_456, -1_767_225_600_123_457, utc("1900-01-01"),
    utc("0001-01-01"), utc("9999-12-31T23:59:59.999999"), 2**53 + 1, -(2**53) - 1,
]  # fmt: skip


def round_trip(engine: Engine, table: Any) -> pd.DataFrame:
    time = engine.from_micros(table.micros)
    return engine.fetch(table.select("micros", back=engine.micros(time), text=time.cast("string")))


def test_micros_and_back_are_exact_long_before_1970_and_long_after(duck: Engine) -> None:
    table = duck.backend.create_table("micros", pd.DataFrame({"micros": MICROS}))
    found = round_trip(duck, table)
    assert found["back"].tolist() == found["micros"].tolist()
    texts = dict(zip(found["micros"], found["text"], strict=True))
    assert texts[-1].startswith("1969-12-31 23:59:59.999999")
    assert texts[utc("0001-01-01")].startswith("0001-01-01 00:00:00")


def test_a_time_without_zone_is_read_as_utc_whatever_the_session_of_the_caller(duck: Engine) -> None:
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'America/New_York'")
    table = connection.create_table("t", pd.DataFrame({"t": [pd.Timestamp("2026-01-01 12:00")]}))
    engine = engine_of(table)
    assert engine.fetch(table.select(m=engine.micros(table.t)))["m"].tolist() == [utc("2026-01-01T12:00")]


NOON = utc("2026-01-31T12:00")
HALF = 500_000
# What a text means in UTC; None is what no engine may take for a time.
SPELLINGS: dict[str, int | None] = {
    "2026-01-31": utc("2026-01-31"),
    "2026-01-31 12:00": NOON,
    "2026-01-31T12:00:00": NOON,
    "2026-01-31 12:00:00.5": NOON + HALF,
    "2026-01-31 12:00:00,5": NOON + HALF,  # as Python's logging writes it
    "2026-01-31T12:00:00Z": NOON,
    "2026-01-31T12:00:00z": NOON,
    "2026-01-31T12:00Z": NOON,
    "2026-01-31T12:00:00 UTC": NOON,
    "2026-01-31 12:00:00 GMT": NOON,
    "2026-01-31T13:00:00+01:00": NOON,
    "2026-01-31T13:00:00+0100": NOON,
    "2026-01-31T13:00:00+01": NOON,
    "2026-01-31T13:00:00 +01:00": NOON,
    "2026-01-31 13:00:00 +01": NOON,
    "2026-01-31 13:00+01:00": NOON,
    "2026-01-31 13:00+01": NOON,
    "2026-01-31 06:30 -0530": NOON,
    "2026-02-01T02:00:00+14:00": NOON,
    "2026-01-31T12:00:00.123456Z": NOON + 123_456,
    "2026-01-31T12:00:00.123456789Z": NOON + 123_456,
    "2026-01-31T12:00:00.123456789": NOON + 123_456,
    "2026-01-31T14:00:00.1234567+02:00": NOON + 123_456,
    "  2026-01-31 12:00:00  ": NOON,
    "2026-1-5 7:08": utc("2026-01-05T07:08"),
    "2026/01/31 12:00:00": NOON,
    "2026/1/31": utc("2026-01-31"),
    "1969-12-31T23:59:59.999999Z": -1,
    "1900-01-01": utc("1900-01-01"),
    "0001-01-01": utc("0001-01-01"),
    "9999-12-31T23:59:59.999999Z": utc("9999-12-31T23:59:59.999999"),
    **dict.fromkeys(
        [
            "", " ", "now", "today", "epoch", "infinity", "-infinity", "NaN", "null", "1767225600", "1767225600.5",
            "2026", "2026-01", "2026-W05-1", "2026-031", "20260131", "20260131T120000Z", "12:00:00", "T12:00",
            "2026-02-30", "2026-13-01", "2026-00-10", "2026-01-31 25:00:00", "2026-01-31 12:60", "2026-01-31 12:00:60",
            "2026-06-30T23:59:60Z", "2026-01-31T24:00:00", "2026-01-31T12", "2026-01-31T12Z", "2026-01-31Z",
            "31.01.2026", "01/31/2026", "Jan 31 2026", "2026-01/31", "2026-01-31x", "2026-01-31 12:00:00x",
            "2026-01-31 12:00:00 PM", "2026-01-31 12:00:00 Europe/Berlin", "2026-01-31 12:00:00 PST",
            "2026-01-31T12:00:00+25:00", "2026-01-31T12:00:00+01:99", "2026-01-31T12:00:00+1:00",
            "2026-01-31 12:00:00+01:00:00", "2026-01-31T12:00:00−01:00", "2026-01-31  12:00", "2026-01-31\t12:00:00",
            "２０２６-01-31", "10000-01-01", "+10000-01-01", "-2026-01-31", "0044-03-15 (BC)", "'; DROP TABLE t; --",
        ]
    ),
}  # fmt: skip


def parsed(engine: Engine, table: Any, tz: str = "UTC") -> dict[str, int | None]:
    micros = engine.micros(engine.parse_time(table.text, tz))
    # As text: a null among whole numbers would make floats of them.
    frame = engine.fetch(table.select("text", micros=micros.cast("string")))
    return {
        text: int(value) if isinstance(value, str) else None
        for text, value in zip(frame["text"], frame["micros"], strict=True)
    }


def spellings(backend: Any, name: str, texts: list[str]) -> Any:
    return backend.create_table(name, pd.DataFrame({"text": texts}))


def test_text_is_a_time_or_not(duck: Engine) -> None:
    assert parsed(duck, spellings(duck.backend, "spellings", list(SPELLINGS))) == SPELLINGS


def test_whether_a_text_names_its_offset(duck: Engine) -> None:
    table = spellings(duck.backend, "offsets", list(SPELLINGS))
    found = duck.fetch(table.filter(has_offset(table.text)))["text"]
    stated = {
        text for text in SPELLINGS if text.strip().upper().endswith(("Z", "UTC", "GMT")) or "+" in text or " -0" in text
    }
    valid = {text for text, micros in SPELLINGS.items() if micros is not None}
    assert set(found) & valid == stated & valid


def test_local_times_take_the_zone_and_stated_offsets_do_not(duck: Engine) -> None:
    texts = ["2026-01-31 12:00", "2026-07-31", "2026-01-31 12:00Z", "2026-01-31T12:00:00+05:00"]
    found = parsed(duck, spellings(duck.backend, "local", texts), "Europe/Berlin")
    expected = ["2026-01-31T11:00", "2026-07-30T22:00", "2026-01-31T12:00", "2026-01-31T07:00"]
    assert [found[text] for text in texts] == [utc(text) for text in expected]


# Wall clocks that daylight saving skips (moved on by as much) or shows twice (the later is taken).
CLOCK_CHANGES = [
    ("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:30"),
    ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T01:30"),
    ("Europe/Berlin", "2026-10-25T01:59", "2026-10-24T23:59"),
    ("Europe/Berlin", "2026-10-25T03:00", "2026-10-25T02:00"),
    ("America/New_York", "2026-03-08T02:15", "2026-03-08T07:15"),
    ("America/New_York", "2026-11-01T01:15", "2026-11-01T06:15"),
    ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T15:15"),
    ("Antarctica/Troll", "2026-10-25T02:30", "2026-10-25T02:30"),
    ("Asia/Kolkata", "2026-06-01T00:00", "2026-05-31T18:30"),
]


@pytest.mark.parametrize(("zone", "local", "expected"), CLOCK_CHANGES)
def test_clock_changes_lose_nothing(duck: Engine, zone: str, local: str, expected: str) -> None:
    time = duck.local_to_utc(ibis.literal(dt.datetime.fromisoformat(local)), zone)
    assert duck.backend.execute(duck.micros(time)) == utc(expected)
    assert moment_to_micros(to_datetime(local, "a", zone)) == utc(expected)


@pytest.mark.spark
def test_spark_reads_the_same_times(duck: Engine, spark: Any) -> None:
    there = Engine(spark, "pyspark")
    texts = spark._session.createDataFrame(pd.DataFrame({"text": list(SPELLINGS)}))
    texts.createOrReplaceTempView("spellings")
    assert parsed(there, spark.table("spellings")) == SPELLINGS
    local = [
        text for text, micros in SPELLINGS.items() if micros is not None and "0001" not in text and "1900" not in text
    ]
    here = spellings(duck.backend, "berlin", local)
    assert {t: m for t, m in parsed(there, spark.table("spellings"), "Europe/Berlin").items() if t in local} == parsed(
        duck, here, "Europe/Berlin"
    )
    for zone, wall, expected in [CLOCK_CHANGES[i] for i in (0, 1, 6, 7)]:
        table = spark._session.createDataFrame(pd.DataFrame({"text": [wall]}))
        table.createOrReplaceTempView("wall")
        assert parsed(there, spark.table("wall"), zone) == {wall: utc(expected)}, zone
    micros = [m for m in MICROS if abs(m) < 2**53]
    spark._session.createDataFrame(pd.DataFrame({"micros": micros})).createOrReplaceTempView("micros")
    found = round_trip(there, spark.table("micros"))
    assert found["back"].tolist() == found["micros"].tolist()


def digests(engine: Engine, table: Any) -> dict[str, str]:
    found = engine.fetch(table.select("name", digest=engine.digest(table.name)))
    return dict(zip(found["name"], found["digest"], strict=True))


USERS = ["a", "", "u1", "Zoë", "漢字 ' \\"]
MD5 = {name: hashlib.md5(name.encode()).hexdigest() for name in USERS}


def test_digests_are_md5_of_the_text(duck: Engine) -> None:
    assert digests(duck, duck.backend.create_table("digested", pd.DataFrame({"name": USERS}))) == MD5
    number = duck.backend.execute(duck.digest(ibis.literal(17)))
    assert number == hashlib.md5(b"17").hexdigest()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_digests_are_hexadecimal_digits_in_every_dialect(dialect: str) -> None:
    engine = sketch_engine(dialect)
    sql = engine.sql(ibis.table({"name": "string"}, name="users").select(digest=engine.digest(ibis._.name)))
    assert "MD5(" in sql.upper()
    assert ("HEX(" in sql) == (dialect in ("bigquery", "clickhouse"))  # there md5 returns bytes


@pytest.mark.spark
def test_digests_on_spark(spark: Any) -> None:
    spark._session.createDataFrame(pd.DataFrame({"name": USERS})).createOrReplaceTempView("digested")
    assert digests(Engine(spark, "pyspark"), spark.table("digested")) == MD5


@pytest.mark.spark
def test_spark_keeps_tables_made_of_frames(spark: Any) -> None:
    spark._session.createDataFrame(pd.DataFrame({"key": [1, 2, 2]})).createOrReplaceTempView("keys")
    engine = Engine(spark, "pyspark")

    def kept() -> Any:
        keys, names = spark.table("keys"), ibis.memtable(pd.DataFrame({"key": [1, 2], "name": ["one", "two"]}))
        return engine.materialise(keys.join(names, "key").union(keys.mutate(name=ibis.literal("any"))))

    table = kept()
    gc.collect()  # the frame is gone, what was made of it stays
    found = engine.fetch(engine.materialise(table.group_by("name").agg(keys=table.count())).order_by("name"))
    assert found.to_dict("list") == {"name": ["any", "one", "two"], "keys": [3, 1, 2]}


def test_patterns_of_the_caller(duck: Engine) -> None:
    texts = ["31/01/2026 12:00", "31.01.2026", "01/31/2026", "2026-01-31 12:00", "epoch", "31/01/2026 13:00 +0100"]
    table = spellings(duck.backend, "patterns", texts)
    formats = ("%d/%m/%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y %H:%M %z")
    found = duck.fetch(table.select("text", m=duck.micros(duck.parse_time(table.text, "Europe/Berlin", formats))))
    got = {text: None if pd.isna(m) else int(m) for text, m in zip(found["text"], found["m"], strict=True)}
    assert got == {
        "31/01/2026 12:00": utc("2026-01-31T11:00"),
        "31.01.2026": utc("2026-01-30T23:00"),
        "01/31/2026": None,
        "2026-01-31 12:00": utc("2026-01-31T11:00"),
        "epoch": None,
        "31/01/2026 13:00 +0100": NOON,
    }
    with pytest.raises(ParameterError, match=r"time_format='%d/%Q' is no strptime pattern"):
        duck.parse_time(table.text, "UTC", ("%d/%Q",))


def test_engines_that_cannot_parse_text_say_so() -> None:
    text = ibis.table({"t": "string"}, name="x").t
    with pytest.raises(SourceError, match="cannot be parsed inside snowflake"):
        sketch_engine("snowflake").parse_time(text, "UTC")
    time = ibis.table({"t": "timestamp"}, name="x").t
    with pytest.raises(ParameterError, match="cannot be applied inside postgres"):
        sketch_engine("postgres").local_to_utc(time, "Europe/Berlin")


# --- Moments that the caller gives -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31", "2026-01-31T00:00"),
        (" 2026-01-31 12:00 ", "2026-01-31T12:00"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00"),
        (dt.date(2026, 1, 31), "2026-01-31T00:00"),
        (dt.datetime(2026, 1, 31, 12), "2026-01-31T12:00"),
        (dt.datetime(2026, 1, 31, 12, tzinfo=ZoneInfo("Asia/Tokyo")), "2026-01-31T03:00"),
        (pd.Timestamp("2026-01-31T12:00:00.123456789", tz="UTC"), "2026-01-31T12:00:00.123456"),
    ],
)
def test_moments(value: Any, expected: str) -> None:
    found = to_datetime(value, "start")
    assert found == dt.datetime.fromisoformat(expected).replace(tzinfo=dt.UTC)
    assert found.utcoffset() == dt.timedelta(0)
    assert type(found) is dt.datetime


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-02-30", 20260131, None, pd.NaT, 1.5, "0001-01-01T00:00+14:00"]
)
def test_what_is_no_moment(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"start=.* is not a time\. Write it as '2026-01-31'"):
        to_datetime(value, "start")


# --- Limits, folders, other engines ----------------------------------------------------------------------------------


def setting(engine: Engine, name: str) -> Any:
    return engine.backend.raw_sql(f"SELECT current_setting('{name}')").fetchone()[0]


def test_limits_reach_duckdb(tmp_path: Path) -> None:
    engine = duckdb_engine(memory_limit="300MB", temp_directory=tmp_path / "spill", threads=1)
    assert setting(engine, "memory_limit") == "286.1 MiB"
    assert setting(engine, "threads") == 1
    assert Path(setting(engine, "temp_directory")) == tmp_path / "spill"
    assert setting(engine, "TimeZone") == "UTC"
    assert engine.temp_directory == tmp_path / "spill"
    free = duckdb_engine()
    assert setting(free, "memory_limit") != setting(engine, "memory_limit")


def test_a_sort_larger_than_the_limit_spills_into_the_folder_of_the_caller(tmp_path: Path) -> None:
    engine = duckdb_engine(memory_limit="60MB", temp_directory=tmp_path, threads=1)
    rows = 4_000_000
    engine.backend.raw_sql(
        f"CREATE TABLE big AS SELECT hash(range) AS a, range AS b, hash(range + 1) AS c FROM range({rows})"
    )
    spilled = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert spilled > 20_000_000  # 96 MB of rows that do not compress
    table = engine.backend.table("big")
    numbered = table.mutate(place=ibis.row_number().over(ibis.window(order_by=table.a)))
    found = engine.fetch(
        numbered.agg(rows=numbered.count(), last=numbered.place.max(), sum=numbered.b.sum().cast("int64"))
    )
    assert found.iloc[0].tolist() == [rows, rows - 1, rows * (rows - 1) // 2]


def test_folders_go_away_with_the_engine_and_the_callers_stays(tmp_path: Path) -> None:
    own, given = duckdb_engine(threads=1), duckdb_engine(temp_directory=tmp_path, threads=1)
    folder = own.temp_directory
    assert folder is not None
    assert folder.is_dir()
    for engine in (own, given):
        engine.backend.raw_sql("CREATE TABLE t AS SELECT * FROM range(10)")
    del own, given, engine
    gc.collect()
    assert not folder.exists()
    assert tmp_path.is_dir()


def test_no_folder_is_left_when_python_ends(tmp_path: Path) -> None:
    program = (
        "import pandas as pd, microconv as mc\n"
        "frame = pd.DataFrame({'user_id': [1], 'time': ['2026-01-01T00:00Z'], 'event': ['x']})\n"
        "log = mc.read_events(frame)\n"
        "print(log.engine.temp_directory)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == tmp_path
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("microconv")] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_limit": "lots"}, "memory_limit='lots' is no amount of memory"),
        ({"memory_limit": "2"}, "is no amount of memory"),
        ({"memory_limit": 2}, "is no amount of memory"),
        ({"memory_limit": "0GB"}, "is no amount of memory"),
        ({"memory_limit": "-1GB"}, "is no amount of memory"),
        ({"threads": 0}, "threads=0 must be a whole number from 1"),
        ({"threads": True}, "threads=True must be"),
        ({"threads": 2.0}, "threads=2.0 must be"),
        ({"threads": 10**9}, "threads=1000000000 must be"),
        ({"temp_directory": "/proc/nowhere"}, "temp_directory='/proc/nowhere' cannot be written"),
        ({"temp_directory": __file__}, "cannot be written"),
    ],
)
def test_impossible_limits(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        duckdb_engine(**options)


def test_engines_by_name() -> None:
    assert sketch_engine("spark").dialect == "pyspark"
    for dialect in DIALECTS:
        assert sketch_engine(dialect).dialect == dialect
    with pytest.raises(ParameterError, match=r"Unknown dialect 'snowflak'. Did you mean 'snowflake'"):
        sketch_engine("snowflak")


def test_an_engine_that_cannot_hold_events_is_named() -> None:
    table = ibis.sqlite.connect().create_table("t", pd.DataFrame({"a": [1]}))
    with pytest.raises(SourceError, match=r"Unknown engine 'sqlite'.*Export the table to Parquet"):
        engine_of(table)


def test_materialised_tables_live_as_long_as_they_are_used() -> None:
    engine = duckdb_engine(threads=1)
    table = engine.backend.create_table("t", pd.DataFrame({"a": range(5)}))
    kept = engine.materialise(table.filter(table.a > 1))
    derived = kept.mutate(b=kept.a * 2).filter(kept.a > 2)
    before = len(engine.backend.list_tables())
    del kept
    gc.collect()
    assert engine.fetch(derived)["b"].tolist() == [6, 8]
    del derived
    gc.collect()
    assert len(engine.backend.list_tables()) == before - 1
    assert sketch_engine("duckdb").materialise(table) is table


@pytest.mark.spark
def test_spark_trims_blanks_and_no_letters(spark: Any) -> None:
    texts = ["video", "vf", " \tfive\r\n", "f v", "", None]
    spark._session.createDataFrame([(text,) for text in texts], schema="text string").createOrReplaceTempView("trimmed")
    table = spark.table("trimmed")
    engine = engine_of(table)
    found = engine.fetch(table.select("text", clean=engine.trim(table.text)))
    assert dict(zip(found["text"], found["clean"], strict=True)) == {
        text: text.strip() if text is not None else None for text in texts
    }
