"""CSV: every line of the file is a row, or is counted with a reason and an example."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv.errors import SourceError
from microconv.sources import open_source

IDS = ("user_id", "time", "event", "event_id")


def rows_of(raw):
    return raw.table.to_pyarrow().to_pylist()


def written(folder: Path, data: bytes | str, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def lost(raw) -> int:
    return sum(bad.rows for bad in raw.malformed)


def test_named_columns_stay_text_and_others_get_the_type_of_all_their_values(tmp_path):
    data = (
        "user_id,time,event,percent,price,code,ok,day,at,note,long,hex,version\n"
        "007,1.70E9,view,75,1.5,0042,true,2024-01-31,2024-01-31T10:00:00,x,12345678901234567890,12e5,1.2.3\n"
        "12,1.70E9,view,,2,7,FALSE,,2024-01-31 10:00:00.5,,1,13e5,2\n"
    )
    raw = open_source(written(tmp_path, data), text_columns=IDS)
    kinds = {name: str(kind) for name, kind in raw.table.schema().items() if not kind.is_string()}
    assert kinds == {
        "percent": "int64",
        "price": "float64",
        "ok": "boolean",
        "day": "date",
        "at": "timestamp",
    }
    first = next(row for row in rows_of(raw) if row["user_id"] == "007")
    assert (first["time"], first["code"], first["long"]) == ("1.70E9", "0042", "12345678901234567890")
    assert (first["percent"], first["price"], first["ok"]) == (75, 1.5, True)
    assert raw.columnar
    assert raw.malformed == ()


def test_one_late_value_decides_the_type_of_a_column(tmp_path):
    lines = ["user_id,amount,code"] + [f"u{i},{i},{i}" for i in range(12_000)] + ["u,1.5,late"]
    raw = open_source(written(tmp_path, "\n".join(lines)), text_columns=IDS)
    assert str(raw.table.amount.type()) == "float64"
    assert raw.table.code.type().is_string()
    assert raw.table.code.nunique().execute() == 12_001


def test_words_for_nothing_among_numbers_are_missing(tmp_path):
    raw = open_source(written(tmp_path, "user_id,amount\na,5\nb,NaN\nc,NA\nd,null\ne,\n"), text_columns=IDS)
    assert str(raw.table.amount.type()) == "int64"
    assert raw.table.amount.notnull().sum().execute() == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([["user_id", "time", "event"], ["a,b", "2024-01-01", "x;y|z\t"], ["c", "2024-01-02", "1,5"]])
    raw = open_source(written(tmp_path, out.getvalue()), text_columns=IDS)
    assert raw.table.columns == ("user_id", "time", "event")
    assert sorted(row["event"] for row in rows_of(raw)) == ["1,5", "x;y|z\t"]


def test_hostile_values_arrive_as_they_are(tmp_path):
    values = [
        'says "hi", twice',
        "line\nbreak",
        "cr\r\nlf",
        "💥 emoji",
        "x" * 10_240,
        "a -> b",
        "<script>alert(1)</script>",
        "'; DROP TABLE events; --",
        " padded ",
        "#comment",
        "\\N\\",
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["user_id", "event"])
    writer.writerows([value, value] for value in values)
    raw = open_source(written(tmp_path, out.getvalue()), text_columns=IDS)
    assert sorted(row["user_id"] for row in rows_of(raw)) == sorted(values)
    assert raw.malformed == ()


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (b"\xef\xbb\xbfuser_id,event\r\na,b\r\n", ("user_id", "event")),
        (b"user id , Ereignis \xc3\xbc\na,b\n", ("user id", "Ereignis ü")),
        (b"a.b,c.d.e\na,b\n", ("a.b", "c.d.e")),
        (b'"quoted ""name""","two\nlines"\na,b\n', ('quoted "name"', "two\nlines")),
        (b"id,note,Note,note\na,b,c,d\n", ("id", "note", "Note_1", "note_2")),
        (b",event\na,b\n", ("column0", "event")),
        (b"\n\nuser_id,event\na,b\n", ("user_id", "event")),
        (b"user_id,event\ra,b\r", ("user_id", "event")),
    ],
)
def test_headers(tmp_path, data, columns):
    raw = open_source(written(tmp_path, data), text_columns=IDS)
    assert raw.table.columns == columns
    assert list(rows_of(raw)[0].values())[:2] == ["a", "b"]
    assert len(rows_of(raw)) == 1
    assert raw.malformed == ()


def test_a_needed_column_that_occurs_twice_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"2 columns named 'user_id'\. Rename"):
        open_source(written(tmp_path, "user_id,user_id,event\n1,2,x\n"), text_columns=IDS)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"b,2024", "2 fields instead of 3"),
        (b"b,2024,view,4,5", "5 fields instead of 3"),
        (b'b,"2024,view', "broken quotes"),
        (b'b,"2024"x,view', "broken quotes"),
        (b"b\xff,2024,view", "not UTF-8"),
        (b'"b\xff",2024,view', "not UTF-8"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_one_torn_line_costs_one_row_and_is_shown(tmp_path, line, why, packed, ending):
    sound = [b"%d,2024,view" % n for n in range(50)]
    data = ending.join([b"user_id,time,event", *sound[:20], line, *sound[20:], b""])
    path = written(tmp_path, gzip.compress(data) if packed else data, "events.csv.gz" if packed else "events.csv")
    raw = open_source(path, text_columns=IDS)
    assert {row["user_id"] for row in rows_of(raw)} == {str(n) for n in range(50)}
    (bad,) = raw.malformed
    assert (bad.reason, bad.rows) == ("malformed row", 1)
    assert bad.example.startswith(f"{path.name} line 22: {why}")


def test_a_torn_quote_in_a_packed_file_loses_nothing_after_it(tmp_path):
    # DuckDB 1.5 returns no row and no error here when it reads on one thread.
    lines = ["user_id,time,event", 'a,"torn,view', *(f"{n},2024,view" for n in range(5_000))]
    raw = open_source(written(tmp_path, gzip.compress("\n".join(lines).encode()), "e.csv.gz"), text_columns=IDS)
    assert len(rows_of(raw)) == 5_000
    assert lost(raw) == 1


def test_line_ends_may_be_mixed_and_blank_lines_are_no_rows(tmp_path):
    raw = open_source(written(tmp_path, b"user_id,event\r\na,x\nb,y\r\n\n\n  \nc,z"), text_columns=IDS)
    assert sorted(row["user_id"] for row in rows_of(raw)) == ["a", "b", "c"]
    assert raw.malformed == ()


def test_a_line_longer_than_any_buffer_is_a_row(tmp_path):
    long = "x" * 3_000_000
    raw = open_source(written(tmp_path, f'user_id,event\n{long},view\n"{long}",view\n'), text_columns=IDS)
    assert [len(row["user_id"]) for row in rows_of(raw)] == [3_000_000] * 2
    assert csv.field_size_limit() == 131_072


def test_a_header_alone_is_an_empty_table_and_no_byte_is_an_error(tmp_path):
    raw = open_source(written(tmp_path, "user_id,time,event"), text_columns=IDS)
    assert raw.table.columns == IDS[:3]
    assert rows_of(raw) == []
    for nothing in (b"", b"\n\n", gzip.compress(b"")):
        with pytest.raises(SourceError, match="is empty"):
            open_source(written(tmp_path, nothing))


def test_columns_may_change_between_files_but_not_within_one(tmp_path):
    written(tmp_path, "user_id,time,event\na,2024,x\n", "1.csv")
    written(tmp_path, "event;user_id;price\ny;b;2,5\n", "2.csv")
    written(tmp_path, "user_id,time,event\nc,2024,z\nuser_id,time,event,price\nd,2024,z,3\n", "3.csv")
    written(tmp_path, b"", "4.csv")
    raw = open_source(str(tmp_path / "*.csv"), text_columns=IDS)
    assert {row["user_id"]: row["price"] for row in rows_of(raw)} == {"a": None, "b": "2,5", "c": None}
    assert lost(raw) == 2
    assert raw.malformed[0].example.startswith("3.csv line 3: 4 fields instead of 3")
    assert raw.description == f"{tmp_path}/*.csv (4 files)"


def test_folders_may_carry_columns(tmp_path):
    for country, month in (("DE", "01"), ("FR", "02")):
        (tmp_path / f"country={country}" / f"month={month}").mkdir(parents=True)
        written(tmp_path, f"user_id,event\n{country},x\n", f"country={country}/month={month}/part.csv")
    raw = open_source(tmp_path, text_columns=IDS)
    assert {(row["user_id"], row["country"], row["month"]) for row in rows_of(raw)} == {
        ("DE", "DE", "01"),
        ("FR", "FR", "02"),
    }


def test_a_packed_file_is_known_by_its_bytes_not_by_its_name(tmp_path):
    data = b"user_id,event\na,x\n"
    assert len(rows_of(open_source(written(tmp_path, gzip.compress(data), "packed.csv")))) == 1
    assert len(rows_of(open_source(written(tmp_path, data, "plain.csv.gz")))) == 1
    assert (
        len(rows_of(open_source(written(tmp_path, gzip.compress(data[:16]) + gzip.compress(data[16:]), "two.csv.gz"))))
        == 1
    )


def test_a_gzip_stream_that_ends_early_is_damaged(tmp_path):
    whole = gzip.compress(b"user_id,event\n" + b"".join(b"%d,view\n" % n for n in range(100_000)))
    for data in (whole[: len(whole) // 2], whole[:-4], whole[: len(whole) // 2] + b"\0" * 99):
        with pytest.raises(SourceError, match="is damaged: its gzip stream is broken or ends early"):
            open_source(written(tmp_path, data, "events.csv.gz"))


def test_utf16_and_a_torn_header_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"is UTF-16 text\. Save it as UTF-8"):
        open_source(written(tmp_path, "user_id,event\na,b\n".encode("utf-16")))
    with pytest.raises(SourceError, match="the header line is damaged"):
        open_source(written(tmp_path, 'user_id,"event\na,b\n'))


def test_paths_with_glob_letters_and_quotes_are_plain_paths(tmp_path):
    folder = tmp_path / "o'hara [1] {x} $y"
    folder.mkdir()
    assert len(rows_of(open_source(written(folder, "user_id,event\na,x\n", "a[2]b.csv")))) == 1


# A letter, what CSV treats specially, and what text may hold.
cell = st.text(st.sampled_from("ab\",\n\r;é💥 '\\<"), max_size=6)


@st.composite
def tables(draw):
    width = draw(st.integers(2, 4))
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=12))
    return width, [row for row in rows if any(row)]


def as_csv(width, rows, ending="\n") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([[f"c{n}" for n in range(width)], *rows])
    return out.getvalue().encode()


@settings(max_examples=25, deadline=None)
@given(tables(), st.sampled_from(["\n", "\r\n"]))
def test_what_was_written_is_read(tmp_path_factory, table, ending):
    width, rows = table
    path = written(tmp_path_factory.mktemp("csv"), as_csv(width, rows, ending))
    raw = open_source(path, text_columns=[f"c{n}" for n in range(width)])
    assert raw.malformed == ()
    got = sorted([value or "" for value in row.values()] for row in rows_of(raw))
    assert got == sorted(rows)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_and_malformed_lines_add_up_to_the_lines_of_a_corrupted_file(tmp_path_factory, data):
    count = data.draw(st.integers(1, 15))
    lines = bytearray(b"".join(b'u%d,"2024-01-%02d",view\n' % (n, n + 1) for n in range(count)))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(lines) - 1))
        piece = data.draw(st.sampled_from([b"", b'"', b",", b"\xff", b"x", b'""', b'",', b"\n"]))
        lines[place : place + data.draw(st.integers(0, 2))] = piece
    body = bytes(lines)
    path = written(tmp_path_factory.mktemp("csv"), b"user_id,time,event\n" + body)
    raw = open_source(path, text_columns=IDS)
    rows = rows_of(raw)
    breaks = sum(str(value).count("\n") for row in rows for value in row.values())
    filled = sum(1 for line in body.split(b"\n") if line.strip(b" \r"))
    blank = len(body.split(b"\n")) - filled
    # A line break inside a quoted field makes two lines one row; such a line may even be blank.
    assert len(rows) + lost(raw) + breaks - blank <= filled <= len(rows) + lost(raw) + breaks
    if not breaks:
        assert len(rows) + lost(raw) == filled
