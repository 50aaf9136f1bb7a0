"""The notebooks as files: parameters that papermill understands, kernels that start, small outputs of no machine."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from microconv.notebooks import declared_parameters, list_notebooks
from microconv.notebooks.files import read_cells

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SHARED = ["events", "plan", "output_dir", "horizon", "segment", "start", "end"]
READING = ["columns", "time_unit", "time_format", "tz", "observed_until", "memory_limit", "temp_directory", "min_cell"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_all_are_there() -> None:
    wanted = {"tracking_quality", "funnel", "time_to_conversion", "micro_conversion_value", "attribution"}
    wanted |= {"segment_behaviour"}
    assert wanted == {path.stem for path in NOTEBOOKS}


def test_kernel_and_language_are_named(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info.name == "python"


def test_parameters_have_the_form_that_papermill_reads(path: Path) -> None:
    (cell,) = [cell for cell in read_cells(path) if "parameters" in cell["tags"]]
    for line in cell["source"].splitlines():
        assert line.count("=") == 1, line
        assert re.fullmatch(r"\w+: (str|int|float|bool|list|dict) = .+  # .{10,}", line), line
    declared = declared_parameters(path)
    assert list(declared)[: len(SHARED)] == SHARED
    assert list(declared)[-len(READING) :] == READING
    assert declared["events"].default == "sample"
    assert declared["output_dir"].default == f"microconv-output/{path.stem}"


def test_papermill_help_lists_every_parameter(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "papermill", "--help-notebook", str(path)], capture_output=True, text=True, check=True
    )
    for name, parameter in declared_parameters(path).items():
        assert f"  {name}: {parameter.type} (default" in run.stdout
        assert parameter.help in run.stdout
    assert "Unknown type" not in run.stdout


def test_no_functions_few_cells_no_paths(path: Path, notebook: Any) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= 12
    for cell in code:
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While}
        assert cell.execution_count, f"{cell.id} was not executed"
    start = code[1].source
    assert f'notebooks.start("{path.stem}", globals())' in start


def test_order_of_the_story(notebook: Any) -> None:
    heads = [cell.source.splitlines()[0] for cell in notebook.cells if cell.cell_type == "markdown"]
    assert heads[0].startswith("# ")
    assert heads[0].endswith("?")
    wanted = ["## Parameters", "## What was read", "## How to read it, and what it does not say", "## Files"]
    assert [head for head in heads if head in wanted] == wanted


def test_outputs_are_small_clean_and_of_no_machine(path: Path, notebook: Any) -> None:
    assert path.stat().st_size < 600_000
    text = path.read_text(encoding="utf-8")
    assert str(Path(__file__).parents[2]) not in text
    assert not re.search(r"/(home|root|Users|tmp|private)/", re.sub(r'"image/png": ".*?"', "", text))
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type in ("display_data", "execute_result"), f"{cell.id}: {output}"
    assert '"user_id=' not in text  # no example of a rejected row


PICTURES = {"time_to_conversion": 8, "micro_conversion_value": 3, "attribution": 4, "segment_behaviour": 6}


def test_each_has_its_pictures_and_tables(path: Path, notebook: Any) -> None:
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.data]
    assert kinds.count("image/png") == PICTURES.get(path.stem, 1)
    assert kinds.count("text/html") >= 4


def test_the_list_is_in_reading_order() -> None:
    assert list(list_notebooks()) == [
        "tracking_quality",
        "funnel",
        "time_to_conversion",
        "micro_conversion_value",
        "attribution",
        "segment_behaviour",
    ]


def test_cells_have_steady_ids(notebook: Any) -> None:
    ids = [cell["id"] for cell in json.loads(nbformat.writes(notebook))["cells"]]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z-]+-\d\d", one) for one in ids)
