"""What a result saves: every file whole, small cells left blank, words that every reader can read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import microconv as mc

TABLE = pd.DataFrame(
    {
        "device": ["desktop", "desktop", "mobile", "mobile"],
        "step": [1, 2, 1, 2],
        "name": ["look", "buy", "look", "buy"],
        "users": [50, 12, 9, 0],
        "rate": [1.0, 0.24, 1.0, 0.0],
        "known": [True, True, False, False],
    }
)
BETWEEN = pd.DataFrame(
    {"device": ["desktop", "mobile"], "step": [1, 1], "name": ["look", "look"], "p50_days": [1.0, 2.0]}
)
SUMMARY = pd.DataFrame({"device": ["desktop", "mobile"], "n": [50, 9], "users": [99, 99], "p_value": [0.1, 0.2]})
TESTS = pd.DataFrame({"chi2": [3.0], "p_value": [0.2]})


@pytest.fixture
def result() -> mc.Result:
    extra = {"between": BETWEEN, "summary": SUMMARY, "tests": TESTS}
    return mc.Result("toy", TABLE, "A toy.", extra=extra, warnings=["first"])


def test_small_cells_lose_their_numbers_and_nothing_else(result: mc.Result) -> None:
    small = result.suppressed(10)
    assert small.table["users"].tolist()[:2] == [50, 12]
    assert pd.isna(small.table["users"][2])
    assert small.table["users"][3] == 0  # nobody is nobody's secret
    assert pd.isna(small.table["rate"][2])
    assert small.table["step"].tolist() == [1, 2, 1, 2]
    assert small.table["known"].tolist() == [True, True, False, False]
    assert small.table["name"].tolist() == TABLE["name"].tolist()


def test_frames_without_a_size_follow_the_table(result: mc.Result) -> None:
    small = result.suppressed(10)
    assert small.between["p50_days"].tolist()[0] == 1.0
    assert pd.isna(small.between["p50_days"][1])
    assert pd.isna(small.summary["p_value"][1])  # by its n, not by its users
    assert small.summary["n"][0] == 50
    pd.testing.assert_frame_equal(small.tests, TESTS)
    assert small.warnings == ["first", "3 rows about fewer than 10 users are suppressed in what is written and shown."]


def test_the_result_itself_keeps_everything(result: mc.Result) -> None:
    result.suppressed(10)
    pd.testing.assert_frame_equal(result.table, TABLE)
    assert result.suppressed(0) is result
    assert result.suppressed(1) is result
    assert result.suppressed(9) is result


def test_saved_files_are_suppressed_by_default(result: mc.Result, tmp_path: Path) -> None:
    assert result.save(tmp_path / "out") == tmp_path / "out"
    saved = pd.read_csv(tmp_path / "out" / "table.csv")
    assert saved["users"].isna().tolist() == [False, False, True, False]
    assert (tmp_path / "out" / "table.csv").read_text().splitlines()[1] == "desktop,1,look,50,1.0,True"  # whole numbers
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out" / "table.parquet"), result.suppressed(10).table, check_dtype=False
    )
    said = json.loads((tmp_path / "out" / "result.json").read_text())
    assert said["min_cell"] == 10
    assert "suppressed" in said["warnings"][-1]


def test_all_is_saved_when_asked(result: mc.Result, tmp_path: Path) -> None:
    result.save(tmp_path, min_cell=0)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), TABLE)
    assert json.loads((tmp_path / "result.json").read_text())["warnings"] == ["first"]


@pytest.mark.parametrize("min_cell", [-1, 2.5, True, "10"])
def test_impossible_cell_sizes(result: mc.Result, min_cell: object, tmp_path: Path) -> None:
    with pytest.raises(mc.ParameterError, match="must be a whole number of people, 0 or more"):
        result.save(tmp_path / "out", min_cell=min_cell)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(result: mc.Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(mc.ParameterError, match=r"Cannot write the result to .*Name a folder you may write to"):
        result.save(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "no folder"


def test_no_half_written_file_is_left(result: mc.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result.save(tmp_path, min_cell=0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half(self: pd.DataFrame, path: Path, **_: object) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    with pytest.raises(mc.ParameterError, match="No space left on device"):
        result.save(tmp_path, min_cell=0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_html_escapes_what_comes_from_events() -> None:
    table = pd.DataFrame({"name": ["<script>alert(1)</script>"], "users": [3]})
    shown = mc.Result("toy", table, "Said by <b>who</b>.", warnings=["<i>"])._repr_html_()
    assert "<script>" not in shown
    assert "<b>who" not in shown
    assert "<i>" not in shown
