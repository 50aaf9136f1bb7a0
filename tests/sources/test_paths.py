"""Which files a source names, and what is said when none is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from microconv.errors import ParameterError, SourceError
from microconv.sources import open_source, registry
from microconv.sources.base import Layout, Shaped

CSV = "user_id,time,event\na,2024-01-01,x\n"


def test_a_misspelt_name_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "events.csv").write_text(CSV)
    with pytest.raises(SourceError, match=r"no file 'evnts.csv' in .* Did you mean 'events.csv'\?"):
        open_source(tmp_path / "evnts.csv")
    with pytest.raises(SourceError, match=r"no file 'zzz' in .* That folder has 'events.csv'"):
        open_source(str(tmp_path / "zzz"))
    with pytest.raises(SourceError, match=r"its folder does not exist \(nearest: "):
        open_source(tmp_path / "no" / "such" / "events.csv")
    with pytest.raises(SourceError, match=r"No file matches .*\*.parquet'.* That folder has 'events.csv'"):
        open_source(str(tmp_path / "*.parquet"))
    with pytest.raises(SourceError, match="The list of files is empty"):
        open_source([])
    for impossible in ("a\0b.csv", "x" * 5_000):
        with pytest.raises(SourceError, match=r"cannot be a path|no file"):
            open_source(impossible)


def test_a_folder_without_events_says_what_it_holds(tmp_path):
    with pytest.raises(SourceError, match=r"has no file that ends in .csv, .*\. It is empty"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.csv").write_text(CSV)
    with pytest.raises(SourceError, match=r"It holds 'notes.txt'"):
        open_source(tmp_path)


def test_unknown_kinds_of_files(tmp_path):
    for name, hint in (
        ("e.xlsx", "pandas.read_excel"),
        ("e.dat", "format='csv'"),
        ("e.zip", "Unpack"),
        ("e.duckdb", "duckdb://"),
    ):
        (tmp_path / name).write_text(CSV)
        with pytest.raises(SourceError, match=rf"format of '{name}' cannot be told.*Known: .csv, .*{hint}"):
            open_source(tmp_path / name)
    assert open_source(tmp_path / "e.dat", format="csv").table.count().execute() == 1
    with pytest.raises(ParameterError, match=r"Unknown format 'parqet'\. Did you mean 'parquet'\?"):
        open_source(tmp_path / "e.dat", format="parqet")
    (tmp_path / "E.CSV").write_text(CSV)
    (tmp_path / "e.jsonl").write_text("{}")
    assert open_source(tmp_path / "E.CSV").table.count().execute() == 1
    with pytest.raises(SourceError, match=r"files of several formats \(1 .csv, 1 .jsonl\)"):
        open_source([tmp_path / "E.CSV", tmp_path / "e.jsonl"])


def test_a_file_named_twice_is_read_once(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text(CSV)
    raw = open_source([str(tmp_path / "*.csv"), tmp_path / "a.csv"])
    assert raw.table.count().execute() == 2
    assert raw.description.startswith("2 files from")


@pytest.mark.parametrize("name", ["e.csv", "e.parquet", "e.jsonl"])
def test_a_file_that_may_not_be_read(tmp_path, name, monkeypatch):
    usual = Path.open

    def refuse(path, *arguments, **options):
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return usual(path, *arguments, **options)

    (tmp_path / name).write_text(CSV)
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so the mode of the file shows nothing
    with pytest.raises(SourceError, match=f"{name}' cannot be read: Permission denied"):
        open_source(tmp_path / name)


def test_home_and_the_current_folder_work(tmp_path, monkeypatch):
    (tmp_path / "e.csv").write_text(CSV)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for source in ("~/e.csv", "e.csv", "./e.csv", "*.csv", "."):
        assert open_source(source).table.count().execute() == 1
    monkeypatch.chdir("/")
    raw = open_source(tmp_path / "e.csv")
    assert raw.table.count().execute() == 1


def test_a_new_layout_is_one_entry(tmp_path, monkeypatch):
    layout = Layout(
        "toy",
        "exports of the toy tool",
        columns={"user_id": "who", "time": "when", "event": "what"},
        detect=lambda columns: {"who", "when", "nested"} <= set(columns),
        reshape=lambda engine, table: Shaped(table.mutate(what=table.nested.upper()), (engine.dialect,)),
        time_unit="s",
    )
    monkeypatch.setattr(registry, "LAYOUTS", (layout,))
    (tmp_path / "e.csv").write_text("who,when,nested\n007,1700000000,view\n")
    for name in ("auto", "toy"):
        raw = open_source(tmp_path / "e.csv", format=name)
        assert raw.columns == layout.columns
        assert (raw.time_unit, raw.notes[-1], len(raw.notes)) == ("s", "duckdb", 2 if name == "auto" else 1)
        assert raw.table.to_pyarrow().to_pylist() == [
            {"who": "007", "when": "1700000000", "nested": "view", "what": "VIEW"}
        ]
    assert open_source(tmp_path / "e.csv", format="csv").columns == {}
    with pytest.raises(ParameterError, match="Did you mean 'toy'"):
        open_source(tmp_path / "e.csv", format="toyy")


def test_a_file_format_does_not_fit_a_frame():
    import pandas as pd

    with pytest.raises(ParameterError, match="format='csv' is a kind of file, and the source is the pandas frame"):
        open_source(pd.DataFrame({"a": [1]}), format="csv")
