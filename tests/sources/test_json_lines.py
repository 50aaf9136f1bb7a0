"""JSON lines: ids exact, nested values kept, every line that is no object counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv.errors import SourceError
from microconv.sources import open_source

IDS = ("user_id", "time", "event", "event_id")


def rows_of(raw):
    return raw.table.to_pyarrow().to_pylist()


def written(folder: Path, *lines: str | bytes, name: str = "events.jsonl", end: bytes = b"\n") -> Path:
    path = folder / name
    path.write_bytes(end.join(line.encode() if isinstance(line, str) else line for line in lines))
    return path


def lost(raw) -> int:
    return sum(bad.rows for bad in raw.malformed)


def test_ids_are_the_text_they_are_and_numbers_are_numbers(tmp_path):
    raw = open_source(
        written(
            tmp_path,
            '{"user_id": 9007199254740993, "time": 1702643009060308, "event": "a", "n": 1, "x": 1, "ok": true}',
            '{"user_id": "007", "time": "1702643009060308", "event": "b", "n": 2, "x": 1.5, "ok": null}',
            '{"user_id": 18446744073709551615, "time": 17.5, "event": 5, "n": null, "mixed": 5}',
            '{"user_id": true, "mixed": "five", "text": "12"}',
        ),
        text_columns=IDS,
    )
    assert raw.table.columns == ("user_id", "time", "event", "n", "x", "ok", "mixed", "text")
    kinds = {name: str(kind) for name, kind in raw.table.schema().items() if not kind.is_string()}
    assert kinds == {"n": "int64", "x": "float64", "ok": "boolean"}
    rows = {row["user_id"]: row for row in rows_of(raw)}
    assert set(rows) == {"9007199254740993", "007", "18446744073709551615", "true"}
    assert rows["9007199254740993"]["time"] == "1702643009060308"
    assert rows["18446744073709551615"]["event"] == "5"
    assert rows["true"]["mixed"] == "five"
    assert raw.malformed == ()


def test_nested_values_stay_as_json_text(tmp_path):
    raw = open_source(
        written(tmp_path, '{"user_id":"a","items":[{"id":1},{"id":"x"}],"p":{"a.b":{"c":[]}}}'), text_columns=IDS
    )
    (row,) = rows_of(raw)
    assert json.loads(row["items"]) == [{"id": 1}, {"id": "x"}]
    assert json.loads(row["p"]) == {"a.b": {"c": []}}


def test_strange_keys_are_columns(tmp_path):
    keys = ["a.b", "", 'qu"ote', "o'hara", "a/b~c", "0", "Event", "event", "über", "$x", "[*]", "nl\n", "\0"]
    raw = open_source(written(tmp_path, json.dumps({key: f"v{n}" for n, key in enumerate(keys)})), text_columns=IDS)
    (row,) = rows_of(raw)
    assert list(row.values()) == [f"v{n}" for n in range(len(keys))]
    assert list(row) == [
        "a.b",
        "column1",
        'qu"ote',
        "o'hara",
        "a/b~c",
        "0",
        "Event",
        "event_1",
        "über",
        "$x",
        "[*]",
        "nl\n",
        "\ufffd",
    ]


@pytest.mark.parametrize(
    "line",
    [
        '{"user_id": "a"',
        '{"user_id": "a"} {"user_id": "b"}',
        "[1, 2]",
        '"text"',
        "17",
        "null",
        "{'user_id': 1}",
        b'{"user_id": "\xff"}',
        '{"user_id": "\\ud800"}',
        "user_id,time",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_that_is_no_object_is_counted_and_shown(tmp_path, line, packed):
    path = written(tmp_path, '{"user_id": "x"}', "", line, '{"user_id": "y"}', "   ", "")
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    raw = open_source(path, text_columns=IDS)
    assert sorted(row["user_id"] for row in rows_of(raw)) == ["x", "y"]
    (bad,) = raw.malformed
    assert (bad.reason, bad.rows) == ("malformed JSON", 1)
    assert bad.example.startswith("events.jsonl line 3: not ")


@pytest.mark.parametrize("depth", [1_000, 200_000])
def test_deep_nesting_does_not_crash(tmp_path, depth):
    deep = '{"a":' * depth + "1" + "}" * depth
    raw = open_source(
        written(tmp_path, f'{{"user_id":"x","deep":{deep}}}', '{"user_id":"y"}', "[" * depth), text_columns=IDS
    )
    assert {row["user_id"]: len(row["deep"] or "") for row in rows_of(raw)} == {"x": len(deep), "y": 0}
    assert lost(raw) == 1


def test_an_array_of_objects_is_read_too(tmp_path):
    members = [{"user_id": n, "event": "e", "p": {"x": [n]}} for n in range(3_000)]
    path = written(tmp_path, "\ufeff" + json.dumps(members, indent=1), name="events.json")
    raw = open_source(path, text_columns=IDS)
    assert sorted(int(row["user_id"]) for row in rows_of(raw)) == list(range(3_000))
    with pytest.raises(SourceError, match="is not a valid JSON array"):
        open_source(written(tmp_path, '[{"user_id": 1}, {"user_id"', name="torn.json"))


def test_files_with_other_keys_and_line_ends_come_together(tmp_path):
    written(tmp_path, b'\xef\xbb\xbf{"user_id":"a","n":1}', '{"user_id":"b"}', name="1.jsonl", end=b"\r\n")
    written(tmp_path, '{"n":2.5,"user_id":"c","z":[]}', "oops", name="2.ndjson")
    written(tmp_path, "", name="3.json")
    raw = open_source(tmp_path, text_columns=IDS)
    assert {row["user_id"]: row["n"] for row in rows_of(raw)} == {"a": 1.0, "b": None, "c": 2.5}
    assert lost(raw) == 1


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="is empty"):
        open_source(written(tmp_path, "\n \n"))
    with pytest.raises(
        SourceError, match=r"holds no JSON object: 2 lines are no JSON objects \(events.jsonl line 1: not"
    ):
        open_source(written(tmp_path, "nope", "nope"))
    with pytest.raises(SourceError, match="2,001 different keys"):
        open_source(written(tmp_path, *(json.dumps({f"k{n}": 1}) for n in range(2_001))))


def test_objects_without_keys_are_rows_where_others_have_keys(tmp_path):
    raw = open_source(written(tmp_path, "{}", '{"user_id": "a"}'), text_columns=IDS)
    assert sorted(str(row["user_id"]) for row in rows_of(raw)) == ["None", "a"]


value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def shown(item):
    """What a column that holds values of several kinds says of one."""
    if item is None or isinstance(item, str):
        return item
    return json.loads(json.dumps(item))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(value, st.fixed_dictionaries({"user_id": value, "k": value})), min_size=1, max_size=8))
def test_rows_and_malformed_lines_add_up(tmp_path_factory, items):
    objects = [item for item in items if isinstance(item, dict)]
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    path = written(tmp_path_factory.mktemp("json"), '{"user_id": "first"}', *lines)
    raw = open_source(path, text_columns=("user_id", "k"))
    got = [row["user_id"] for row in rows_of(raw)]
    assert len(got) == 1 + len(objects)
    assert len(got) + lost(raw) == 1 + len(items)
    want = [shown(item.get("user_id")) for item in objects] + ["first"]
    as_text = [None if item is None else item if isinstance(item, str) else json.dumps(item) for item in want]
    same = [json.dumps(json.loads(text)) if text and text[0] in "[{" and text not in as_text else text for text in got]
    assert sorted(map(str, same)) == sorted(map(str, as_text))
