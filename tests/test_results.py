"""Result: what is saved, shown and copied of any analysis."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import os
import pickle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.results import Result

HOSTILE = "<script>alert(1)</script> & \"'"


def draw(result: Result, ax: Any) -> Any:
    ax = ax if ax is not None else plt.subplots()[1]
    ax.plot(result.table["estimate"])
    return ax


def result_of(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "name": "demo",
        "table": pd.DataFrame({"segment": ["a", HOSTILE], "estimate": [0.123456, np.nan], "n": [50, 40]}),
        "meaning": f"Half of {HOSTILE} do.",
        "parameters": {"window": "7D", "by": ["device"]},
        "assumptions": ["None."],
        "warnings": [HOSTILE],
        "extra": {"summary": pd.DataFrame({"n": [90]})},
        "provenance": {"fingerprint": "abc", "rows_read": 10},
        "plot_with": draw,
    }
    return Result(**{**fields, **changes})


def read_json(folder: Path) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads((folder / "result.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_saved_files(tmp_path: Path) -> None:
    result = result_of()
    folder = result.save(tmp_path / "deep" / "er")
    assert sorted(os.listdir(folder)) == ["figure.png", "result.json", "summary.csv", "table.csv", "table.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "table.parquet"), result.table)
    assert pd.read_csv(folder / "table.csv")["segment"].tolist() == ["a", HOSTILE]
    assert pd.read_csv(folder / "summary.csv")["n"].tolist() == [90]
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    held = read_json(folder)
    assert held["parameters"] == {"window": "7D", "by": ["device"]}
    assert held["provenance"] == {"fingerprint": "abc", "rows_read": 10}
    assert held["rows"] == {"table": 2, "summary": 1}
    assert held["warnings"] == [HOSTILE]
    assert {"microconv", "pandas", "duckdb"} <= held["versions"].keys()
    assert held["versions"]["pandas"] == pd.__version__
    for name in os.listdir(folder):
        assert (folder / name).stat().st_mode & 0o444 == 0o444  # not the mode of a temporary file


def test_who_reads_while_another_saves_sees_a_whole_file(tmp_path: Path) -> None:
    result_of().save(tmp_path)
    old = tmp_path / "opened before"
    os.link(tmp_path / "table.csv", old)
    before = old.read_text()
    result_of(table=pd.DataFrame({"estimate": [1.0]})).save(tmp_path)
    assert old.read_text() == before  # a new file has taken the name; the old one was not written into
    assert (tmp_path / "table.csv").read_text() == "estimate\n1.0\n"


def test_saving_again_replaces_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result_of().save(tmp_path)
    before = (tmp_path / "table.csv").read_text()

    def torn(self: pd.DataFrame, path: Path, **_: Any) -> None:
        Path(path).write_text("half a ta")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", torn)
    with pytest.raises(mc.ParameterError, match=r"Cannot write the result to .*No space left on device"):
        result_of(table=pd.DataFrame({"estimate": [1.0]})).save(tmp_path)
    assert (tmp_path / "table.csv").read_text() == before
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_figure_that_fails_is_closed_and_no_file_is_left(tmp_path: Path) -> None:
    def fails(result: Result, ax: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        result_of(plot_with=fails).save(tmp_path)
    assert "figure.png" not in os.listdir(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below", "/proc/nowhere/at/all"):
        with pytest.raises(mc.ParameterError, match=r"Cannot write the result to.*Name a folder you may write to"):
            result_of().save(folder)
    with pytest.raises(mc.ParameterError, match="folder=None is no path"):
        result_of().save(None)  # type: ignore[arg-type]


def test_json_holds_any_value_as_json_can(tmp_path: Path) -> None:
    values = {
        "nan": float("nan"),
        "infinite": np.inf,
        "na": pd.NA,
        "nat": pd.NaT,
        "float": np.float64(0.5),
        "integer": np.int64(7),
        "truth": np.bool_(True),
        "none": None,
        "array": np.array([1, 2]),
        "tuple": (1, {"x": np.float32(2)}),
        "set": {"b", "a"},
        "moment": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "timestamp": pd.Timestamp("2026-01-01", tz="UTC"),
        "date": dt.date(2026, 1, 1),
        "duration": dt.timedelta(hours=1),
        "path": Path("a/b"),
        7: "key",
        "surrogate": "\ud800",
        "emoji": "💥",
    }
    folder = result_of(parameters=values).save(tmp_path)
    assert read_json(folder)["parameters"] == {
        "nan": None,
        "infinite": None,
        "na": None,
        "nat": None,
        "float": 0.5,
        "integer": 7,
        "truth": True,
        "none": None,
        "array": [1, 2],
        "tuple": [1, {"x": 2.0}],
        "set": ["a", "b"],
        "moment": "2026-01-01T00:00:00+00:00",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "date": "2026-01-01",
        "duration": "1:00:00",
        "path": str(Path("a/b")),
        "7": "key",
        "surrogate": "\ud800",  # as JSON spells it
        "emoji": "💥",
    }


def test_html_escapes_names_and_words() -> None:
    table = pd.DataFrame({HOSTILE: [HOSTILE] * 30, "estimate": [np.nan] * 30})
    text = result_of(table=table)._repr_html_()
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") >= 22  # the meaning, a warning, the column, twenty rows
    assert "20 of 30 rows." in text
    assert "NaN" not in text


def test_frames_are_attributes_and_an_unknown_one_says_which_there_are() -> None:
    result = result_of()
    assert result.summary["n"].tolist() == [90]
    with pytest.raises(AttributeError, match=r"Unknown attribute of this result 'sumary'. Did you mean 'summary'"):
        _ = result.sumary
    assert not hasattr(result, "_missing")
    assert not hasattr(result, "__array__")


def test_copies_and_pickles() -> None:
    result = result_of()
    for again in (
        copy.copy(result),
        copy.deepcopy(result),
        pickle.loads(pickle.dumps(result)),
        dataclasses.replace(result, name="other"),
    ):
        pd.testing.assert_frame_equal(again.summary, result.summary)
        assert again.meaning == result.meaning
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.name = "changed"  # type: ignore[misc]
    assert result in (result,)
    assert result != result_of()
    assert len({result, result}) == 1


def test_a_result_without_a_picture(tmp_path: Path) -> None:
    result = result_of(plot_with=None)
    with pytest.raises(mc.ParameterError, match="The result 'demo' has no picture"):
        result.plot()
    assert "figure.png" not in os.listdir(result.save(tmp_path))


def test_plot_draws_on_the_axes_it_is_given() -> None:
    figure, ax = plt.subplots()
    assert result_of().plot(ax) is ax
    plt.close(figure)


def test_small_cells_are_blank_in_what_is_saved_not_in_memory(tmp_path: Path) -> None:
    table = pd.DataFrame({"segment": ["a", "b", "c"], "n": [9, 10, 0], "estimate": [0.1, 0.2, np.nan]})
    result = result_of(table=table, extra={})
    saved = pd.read_csv(result.save(tmp_path) / "table.csv")
    assert saved["n"].fillna(-1).tolist() == [-1, 10, 0]
    assert saved["estimate"].fillna(-1).tolist() == [-1, 0.2, -1]
    assert result.table["n"].tolist() == [9, 10, 0]
    assert any("fewer than 10" in warning for warning in read_json(tmp_path)["warnings"])
    whole = pd.read_csv(result.save(tmp_path / "all", min_cell=0) / "table.csv")
    assert whole["n"].tolist() == [9, 10, 0]
    assert read_json(tmp_path / "all")["min_cell"] == 0
    for wrong in (-1, True, 2.5, "10"):
        with pytest.raises(mc.ParameterError, match="min_cell"):
            result.save(tmp_path, min_cell=wrong)  # type: ignore[arg-type]
