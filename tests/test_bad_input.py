"""Bad input: each kind is answered with a clear message or counted for one stated reason; no row is lost."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import warnings
from pathlib import Path

import duckdb
import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import microconv as mc

PLAN = {"macros": [{"name": "purchase", "event": "purchase"}]}
NAMES = ['say "hi"', "a -> b", "<script>alert(1)</script>", "'; DROP TABLE events; --", "ü, ö", "x\ny", "100 %", "{0}"]


def events(**columns):
    """Three sound events, with columns replaced."""
    return pd.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "time": ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"],
            "event": ["view", "purchase", "view"],
            **columns,
        }
    )


def read(source, **options):
    """A log, and what was warned of while reading."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", mc.MicroconvWarning)
        log = mc.read_events(source, **options)
    return log, [str(warning.message) for warning in caught]


def reasons(log):
    return {row.reason: row.rows for row in log.accounting.itertuples()}


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- nothing there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz", "e.parquet", "e.jsonl"])
def test_an_empty_file(tmp_path, name):
    with pytest.raises(mc.SourceError, match=f"{name}' is empty"):
        mc.read_events(written(tmp_path, name, b""))


def test_a_header_without_rows(tmp_path):
    path = written(tmp_path, "e.csv", "user_id,time,event\n")
    with pytest.raises(mc.SourceError, match=r"e\.csv holds no rows\. Give a source with at least one event"):
        mc.read_events(path)
    for empty in (
        events().iloc[:0],
        pd.DataFrame({"user_id": [], "time": [], "event": []}),
        pl.from_pandas(events()).clear(),
    ):
        with pytest.raises(mc.SourceError, match=r"frame holds no rows"):
            mc.read_events(empty)


def test_a_misspelt_path(tmp_path):
    written(tmp_path, "events.csv", "user_id,time,event\n")
    with pytest.raises(mc.SourceError, match=r"Did you mean 'events\.csv'\?"):
        mc.read_events(tmp_path / "event.csv")


# --- columns -------------------------------------------------------------------------------------------------------


def test_a_missing_column_names_what_is_there_and_how_to_map_it():
    frame = events().rename(columns={"user_id": "visitorid", "time": "timestamp"})
    with pytest.raises(mc.SourceError) as caught:
        mc.read_events(frame)
    text = str(caught.value)
    assert "no column 'user_id' and no column 'time'" in text
    assert "'visitorid', 'timestamp', 'event'" in text
    assert "columns={'user_id': 'visitorid', 'time': 'timestamp'}" in text
    log, _ = read(frame, columns={"user_id": "visitorid", "time": "timestamp"})
    assert log.rows_accepted == 3
    with pytest.raises(mc.SourceError, match=r"Unknown column 'visitor_id'\. Did you mean 'visitorid'\?"):
        mc.read_events(frame, columns={"user_id": "visitor_id"})


def test_a_column_that_occurs_twice(tmp_path):
    twice = pd.concat([events(), events()[["user_id"]]], axis=1)
    with pytest.raises(mc.SourceError, match="2 columns named 'user_id'"):
        mc.read_events(twice)
    with pytest.raises(mc.SourceError, match="2 columns named 'user_id'"):
        mc.read_events(written(tmp_path, "e.csv", "user_id,time,event,user_id\na,2024-01-01Z,x,b\n"))


# --- times ---------------------------------------------------------------------------------------------------------


def test_all_times_unparsable():
    with pytest.raises(mc.SourceError) as caught:
        mc.read_events(events(time=["yesterday", "31/01/2024", "n/a"]))
    text = str(caught.value)
    assert text.startswith("None of the 3 rows of the pandas frame is usable. unparsable time: 3 (for example user_id=")
    assert "time_format=" in text
    assert "time_unit=" in text


def test_numbers_as_times_need_their_unit():
    with pytest.raises(mc.SourceError, match=r"holds numbers\. Say their unit since 1970: time_unit="):
        mc.read_events(events(time=[1, 2, 3]))
    with pytest.raises(mc.ParameterError, match="Unknown time_unit 'sec'"):
        mc.read_events(events(time=[1, 2, 3]), time_unit="sec")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "pandas", "polars"])
def test_mixed_time_formats_and_offsets(tmp_path, kind):
    good = {
        "2024-01-31T12:00:00+01:00": "2024-01-31T11:00:00",
        "2024-01-31T12:00:00.123456Z": "2024-01-31T12:00:00.123456",
        "2024-01-31 12:00:00": "2024-01-31T12:00:00",
        "2024-01-31T12:00+0530": "2024-01-31T06:30:00",
        "2024-01-31 12:00:00 UTC": "2024-01-31T12:00:00",
        "2024-01-31T12:00:00-08": "2024-01-31T20:00:00",
        "2024-01-31": "2024-01-31T00:00:00",
    }
    bad = ["31/01/2024 12:00", "2024-02-30", "infinity", "epoch", "now", "1706702400", "2024-01-31T25:00:00Z"]
    missing = ["", "  "]
    texts = [*good, *bad, *missing]
    frame = pd.DataFrame({"user_id": [f"u{n}" for n in range(len(texts))], "time": texts, "event": "view"})
    source = {
        "csv": lambda: written(tmp_path, "e.csv", frame.to_csv(index=False)),
        "jsonl": lambda: written(tmp_path, "e.jsonl", frame.to_json(orient="records", lines=True)),
        "pandas": lambda: frame,
        "polars": lambda: pl.from_pandas(frame),
    }[kind]()
    log, said = read(source)
    got = {row.user_id: row.time for row in log.events.to_pandas().itertuples()}
    assert got == {f"u{n}": pd.Timestamp(utc, tz="UTC") for n, utc in enumerate(good.values())}
    assert reasons(log) == {"accepted": 7, "unparsable time": 7, "missing time": 2}
    assert any("2 of 7 times name no time zone and are taken as UTC" in one for one in said)
    assert any("9 of 16 rows rejected" in one for one in said)


def test_python_times_of_several_zones_in_one_column():
    berlin = dt.timezone(dt.timedelta(hours=1))
    frame = events(
        time=pd.Series(
            [dt.datetime(2024, 1, 1, 1, tzinfo=berlin), "2024-01-01T00:00:00Z", pd.Timestamp("2024-01-01")],
            dtype=object,
        )
    )
    log, _ = read(frame, tz="UTC")
    assert log.observed_from == log.observed_until == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def test_times_that_daylight_saving_skips_or_repeats_are_kept():
    log, said = read(
        events(time=["2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-07-01 12:00"]), tz="Europe/Berlin"
    )
    assert reasons(log) == {"accepted": 3}
    assert said == []
    assert sorted(log.events.to_pandas()["time"]) == [
        pd.Timestamp("2024-03-31T01:30Z"),
        pd.Timestamp("2024-07-01T10:00Z"),
        pd.Timestamp("2024-10-27T01:30Z"),
    ]
    with pytest.raises(mc.ParameterError, match=r"Did you mean 'Europe/Berlin'\?"):
        mc.read_events(events(), tz="Europe/Berln")


def test_times_in_the_future_are_so_only_against_a_stated_end():
    frame = events(time=["2024-01-01", "2999-01-01", "2024-01-02"])
    log, _ = read(frame, tz="UTC")
    assert reasons(log) == {"accepted": 3}
    log, _ = read(frame, tz="UTC", observed_until="2024-06-01")
    assert reasons(log) == {"accepted": 2, "time in the future": 1}
    assert log.observed_until == dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
    with pytest.raises(mc.SourceError, match=r"time in the future: 3 .* later than observed_until"):
        mc.read_events(frame, tz="UTC", observed_until="1999-01-01")


# --- users and events ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "parquet", "pandas", "polars", "arrow", "relation", "ibis"])
def test_hostile_users_and_events_stay_what_they_are(tmp_path, kind):
    users = [
        'o"brien',
        "it's",
        "💥",
        "x" * 10_240,
        "007",
        "1e5",
        " a ",
        "a,b;c\td",
        "null",
        "two\nlines",
        "<b>",
        "'--",
        None,
        "",
    ]
    names = [*NAMES, *[f"e{n}" for n in range(len(users) - len(NAMES))]]
    frame = pd.DataFrame({"user_id": users, "time": "2024-01-01T00:00:00Z", "event": names})
    table = pa.Table.from_pandas(frame)
    text = frame.to_csv(index=False)
    connection = duckdb.connect()
    source = {
        "csv": lambda: written(tmp_path, "e.csv", text),
        "csv.gz": lambda: written(tmp_path, "e.csv.gz", gzip.compress(text.encode())),
        "jsonl": lambda: written(tmp_path, "e.jsonl", "\n".join(map(json.dumps, frame.to_dict("records")))),
        "parquet": lambda: pq.write_table(table, tmp_path / "e.parquet") or tmp_path / "e.parquet",
        "pandas": lambda: frame,
        "polars": lambda: pl.from_pandas(frame),
        "arrow": lambda: table,
        "relation": lambda: connection.from_arrow(table),
        "ibis": lambda: ibis.duckdb.connect().create_table("e", table),
    }[kind]()
    log, _ = read(source)
    assert reasons(log) == {"accepted": len(users) - 2, "missing user_id": 2}
    got = log.events.to_pandas()
    assert sorted(zip(got["user_id"], got["event"], strict=True)) == sorted(zip(users[:-2], names[:-2], strict=True))
    rejected = written(tmp_path, "rejected.csv", "")
    assert log.write_rejected(rejected) == rejected
    assert len(pd.read_csv(rejected)) == 2


def test_hostile_event_names_go_through_an_analysis_and_stay_text(tmp_path):
    rows = [(f"u{n}", f"2024-01-{day + 1:02d}T00:00:00Z", name) for n in range(30) for day, name in enumerate(NAMES)]
    log, _ = read(pd.DataFrame(rows, columns=["user_id", "time", "event"]))
    result = mc.funnel(log, NAMES, window="30D")
    assert list(result.table["users"]) == [30] * len(NAMES)
    assert list(result.table["name"]) == NAMES
    assert "<script>" not in result._repr_html_()
    assert "<script>" not in log._repr_html_()
    assert json.loads((result.save(tmp_path / "out") / "result.json").read_text())["rows"]["table"] == len(NAMES)


def test_ids_that_a_missing_value_made_floats_are_whole_in_every_source(tmp_path):
    frame = events(user_id=[17.0, None, 18.0])
    pq.write_table(
        pa.table({**{name: frame[name] for name in frame}, "user_id": [17.0, float("nan"), 18.0]}),
        tmp_path / "e.parquet",
    )
    for source in (frame, tmp_path / "e.parquet", pl.from_pandas(frame)):
        log, _ = read(source)
        assert sorted(log.events.to_pandas()["user_id"]) == ["17", "18"]
        assert reasons(log) == {"accepted": 2, "missing user_id": 1}


def test_the_callers_frame_is_left_alone():
    frame = events(user_id=pd.Series([1, "b", None], dtype=object))
    before = frame.copy(deep=True)
    read(frame)
    pd.testing.assert_frame_equal(frame, before)


# --- files that are damaged ----------------------------------------------------------------------------------------


def test_a_parquet_file_cut_in_half(tmp_path):
    pq.write_table(pa.Table.from_pandas(events()), tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(mc.SourceError, match=r"half\.parquet' is damaged or not Parquet: its end is missing"):
        mc.read_events(written(tmp_path, "half.parquet", data[: len(data) // 2]))


def test_a_parquet_file_damaged_in_the_middle(tmp_path):
    many = pa.table(
        {"user_id": [f"u{n * 7919 % 10_007}" for n in range(50_000)], "time": range(50_000), "event": ["e"] * 50_000}
    )
    pq.write_table(many, tmp_path / "e.parquet", use_dictionary=False)
    data = bytearray((tmp_path / "e.parquet").read_bytes())
    data[1_000:50_000] = b"\x55" * 49_000
    with pytest.raises(mc.SourceError, match=r"e\.parquet cannot be read"):
        mc.read_events(written(tmp_path, "e.parquet", bytes(data)), time_unit="s")


def test_torn_lines_are_in_the_account(tmp_path):
    sound = [f"u{n},2024-01-01T00:00:00Z,view" for n in range(10)]
    torn = ["u,2024", 'u,"2024,view', "a,b,c,d,e"]
    path = written(
        tmp_path, "e.csv", "\n".join(["user_id,time,event", *sound[:5], *torn, *sound[5:], "late,never,view"])
    )
    log, said = read(path)
    assert reasons(log) == {"accepted": 10, "unparsable time": 1, "malformed row": 3}
    assert log.rows_read == 14
    example = log.accounting.set_index("reason")["example"]["malformed row"]
    assert example.startswith("e.csv line 7: 2 fields instead of 3")
    assert any("4 of 14 rows rejected (unparsable time: 1, malformed row: 3)" in one for one in said)


def test_only_torn_lines(tmp_path):
    with pytest.raises(
        mc.SourceError, match=r"None of the 2 rows .* malformed row: 2 \(for example e\.csv line 2: 1 field"
    ):
        mc.read_events(written(tmp_path, "e.csv", "user_id,time,event\nx\ny\n"))


@hypothesis_settings(max_examples=25)
@given(st.data())
def test_rows_read_are_always_accepted_plus_rejected(tmp_path_factory, data):
    cell = st.sampled_from(["a", "", "b,c", '"', "2024-01-01", "2024-01-01T00:00:00Z", "x", "\xff", "1", "NaN"])
    lines = data.draw(st.lists(st.tuples(cell, cell, cell).map(",".join), max_size=8))
    path = tmp_path_factory.mktemp("csv") / "e.csv"
    text = "\n".join(["user_id,time,event", "u,2024-01-01T00:00:00Z,view", *lines])
    path.write_bytes(text.encode("latin-1"))
    log, _ = read(path)
    assert log.rows_read == log.rows_accepted + log.rows_rejected
    assert log.rows_accepted == log.events.count().execute()
    inside = sum(str(value).count("\n") for row in log.events.to_pandas().itertuples() for value in row)
    if log.rejected is not None:
        inside += sum(str(value).count("\n") for row in log.rejected.to_pandas().itertuples() for value in row)
    assert log.rows_read + inside == 1 + sum(1 for line in lines if line.strip())


# --- plan, output --------------------------------------------------------------------------------------------------


def test_a_plan_with_a_misspelt_event_or_key():
    _, said = read(events(), plan={"macros": [{"name": "sale", "event": "purchse"}]})
    assert said == ["The macro 'sale' never occurs: no event is named 'purchse'. Did you mean 'purchase'?"]
    with pytest.raises(mc.PlanError, match="macros"):
        mc.read_events(events(), plan={"macro": PLAN["macros"]})
    with pytest.raises(mc.PlanError):
        mc.read_events(events(), plan="no_such_plan.yaml")
    with pytest.raises(mc.PlanError, match=r"Unknown column 'revenu'\. Did you mean 'revenue'\?"):
        mc.read_events(events(revenue=1.0), plan={"macros": [{"name": "p", "event": "purchase", "value": "revenu"}]})


def test_values_that_are_no_numbers_are_counted(tmp_path):
    text = 'user_id,time,event,amount\na,2024-01-01Z,x,"1,5"\nb,2024-01-02T00:00Z,x,2\nc,2024-01-02T00:00Z,x,\n'
    log, said = read(written(tmp_path, "e.csv", text), columns={"value": "amount"})
    assert any("not numbers and count as missing (for example '1,5')" in one for one in said)
    assert log.rows_read == 3


def test_an_output_folder_that_cannot_be_written(tmp_path):
    log, _ = read(events(), plan=PLAN)
    result = mc.funnel(log, ["view", "purchase"], window="7D")
    for folder in (written(tmp_path, "file", "") / "out", Path("/proc/nowhere")):
        with pytest.raises(mc.ParameterError, match=r"Cannot write the result to .*Name a folder you may write to"):
            result.save(folder)
    with pytest.raises(mc.ParameterError, match="temp_directory="):
        mc.read_events(events(), temp_directory=tmp_path / "file" / "spill")


def test_impossible_limits():
    with pytest.raises(mc.ParameterError, match="threads=0"):
        mc.read_events(events(), threads=0)
    with pytest.raises(mc.ParameterError, match="memory_limit='lots'"):
        mc.read_events(events(), memory_limit="lots")
    with pytest.raises(mc.SourceError, match=r"cannot be read. Give a path"):
        mc.read_events(17)
