"""Parameters are checked before anything runs: names, types, values; the message says how to mend them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import microconv as mc
from microconv.notebooks import NotebookError, StartError, check_parameters, copy_notebook, declared_parameters, start
from microconv.notebooks.files import find_notebook
from microconv.notebooks.parameters import from_text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"evnts": "x"}, "'evnts'. Did you mean 'events'?"),
        ({"window": 7}, "window=7 is a whole number, but window must be text .* -r window TEXT"),
        ({"window": "7"}, "window='7' is not a duration"),
        ({"window": "-3D"}, "window='-3D'"),
        ({"horizon": None}, 'For none write horizon = ""'),
        ({"horizon": "0D"}, "longer than zero"),
        ({"min_cell": "10"}, "min_cell='10' is text, but min_cell must be a whole number"),
        ({"min_cell": True}, "min_cell=True is True or False, but"),
        ({"min_cell": -1}, "min_cell=-1 must be a whole number of people, 0 or more"),
        ({"steps": "a, b"}, r"steps='a, b' is text, but steps must be a list .* -y 'steps: \[first, second\]'"),
        ({"steps": ["a", 3]}, "steps: 3 is no name"),
        ({"columns": ["a"]}, r"-y 'columns: \{user_id: visitorid\}'"),
        ({"columns": {"user_id": 3}}, "must map a name to a column"),
        ({"order": "sideways"}, "Unknown order 'sideways'. Known: 'ordered', 'any', 'strict'"),
        ({"semantics": "mixpanell"}, "Did you mean 'mixpanel'"),
        ({"time_unit": "sec"}, "Unknown time_unit 'sec'"),
        ({"start": "yesterday"}, "start='yesterday' is not a time"),
        ({"start": "2026-02-01", "end": "2026-01-01"}, "is not before end"),
        ({"events": " "}, "events is empty"),
        ({"output_dir": ""}, "output_dir is empty"),
        ({"tz": "a\0b"}, "null character"),
    ],
)
def test_wrong_parameters(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        check_parameters("funnel", given)


def test_truth_values_are_no_text() -> None:
    with pytest.raises(
        mc.ParameterError, match="takes only True and False for truth values: -p ignore_competing False"
    ):
        check_parameters("time_to_conversion", {"ignore_competing": "false"})


def test_defaults_fill_what_is_not_given() -> None:
    values = check_parameters("funnel", {"window": "2h"})
    assert values["window"] == "2h"
    assert {name: value for name, value in values.items() if name != "window"} == {
        name: parameter.default for name, parameter in declared_parameters("funnel").items() if name != "window"
    }


def notebook_globals(*cells: str, **values: Any) -> dict[str, Any]:
    """What ``globals()`` is in a kernel that has run these cells."""
    return {"In": ["", *cells], "_i1": "x", "exit": object(), "mc": mc, **values}


PARAMETERS = 'events: str = "sample"  # where\nwindow: str = "7D"  # how long'
START = 'import microconv as mc\nrun = notebooks.start("funnel", globals())'


@pytest.mark.parametrize(
    "cells",
    [
        (PARAMETERS, START),
        (PARAMETERS, '# Parameters\nevents = "x.csv"\n', START),
        ("%pip install x", PARAMETERS, START, "y = 3", "result = 1", START),  # run again, with more in the kernel
        ("import os\nhelper = os.getcwd()", PARAMETERS, START),
        (PARAMETERS, "for i in range(3):\n    wndow = i", START),
    ],
)
def test_in_a_notebook_only_parameter_cells_are_judged(cells: tuple[str, ...]) -> None:
    values = check_parameters("funnel", notebook_globals(*cells, window="3D", y=3, result=1, helper="h", wndow=2))
    assert values["window"] == "3D"


@pytest.mark.parametrize(
    "cells",
    [
        (PARAMETERS, '# Parameters\nwndow = "3D"\n', START),  # papermill's, with nothing but the misspelt name
        ('events: str = "sample"\nwndow: str = "3D"', START),  # misspelt in the cell itself
        ('wndow = "3D"', PARAMETERS, START),
        (PARAMETERS, START, 'events: str = "a"\nwndow: str = "3D"', START),  # edited and run again
    ],
)
def test_a_misspelt_parameter_in_a_notebook_is_seen(cells: tuple[str, ...]) -> None:
    with pytest.raises(mc.ParameterError, match=r"'wndow'\. Did you mean 'window'"):
        check_parameters("funnel", notebook_globals(*cells, wndow="3D"))


def test_text_becomes_what_the_notebook_declares() -> None:
    texts = {"steps": "[a, b]", "columns": "{user_id: visitor}", "window": "007", "min_cell": "3"}
    assert from_text("funnel", texts) == {
        "steps": ["a", "b"],
        "columns": {"user_id": "visitor"},
        "window": "007",
        "min_cell": 3,
    }
    with pytest.raises(mc.ParameterError, match="cannot be read as a list"):
        from_text("funnel", {"steps": "[a"})
    with pytest.raises(mc.ParameterError, match="Did you mean 'steps'"):
        from_text("funnel", {"step": "[a]"})


def test_start_errors_show_their_message_alone(tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        start("funnel", {"window": "7"})
    (line,) = caught.value._render_traceback_()
    assert line.startswith("The notebook stops here: window='7' is not a duration.")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"events": str(tmp_path / "none.csv")}, "There is no file"),
        ({"segment": "devise"}, "segment: Unknown column 'devise'. Did you mean 'device'"),
        (
            {"steps": ["add_to_car", "purchase"]},
            "steps: Unknown plan item or event 'add_to_car'. Did you mean 'add_to_cart'",
        ),
        ({"start": "2030-01-01"}, "No event is left"),
    ]
    for given, message in cases:
        with pytest.raises(StartError, match=message):
            start("funnel", {"output_dir": str(tmp_path), **given})


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(StartError, match="cannot be written"):
        start("funnel", {"output_dir": str(tmp_path / "file" / "below")})


def test_a_name_like_no_other_is_let_through(tmp_path: Path) -> None:
    run = start("funnel", {"output_dir": str(tmp_path), "steps": ["session_start", "zzz"]})
    assert mc.funnel(run.log, run.steps, window="7D").table["users"].tolist()[1] == 0


def test_steps_come_from_the_plan_or_must_be_given(tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text(
        "user_id,time,event\na,2026-01-01T00:00Z,look\na,2026-01-02T00:00Z,basket\na,2026-01-03T00:00Z,buy\n"
    )
    given = {"events": str(events), "output_dir": str(tmp_path)}
    with pytest.raises(StartError, match=r"steps is empty and there is no plan.*'basket', 'buy', 'look'"):
        start("funnel", given)
    with pytest.raises(StartError, match="target is empty and there is no plan"):
        start("time_to_conversion", given)
    plan = tmp_path / "plan.yaml"
    plan.write_text("macros: [{name: bought, event: buy}]\nmicros:\n  - {name: looked, event: look}\n"
                    "  - {name: basket, kind: intent, event: basket}\nhorizon: 9D\n")  # fmt: skip
    run = start("funnel", {**given, "plan": str(plan), "window": ""})
    assert (run.steps, run.window, run.horizon) == (["basket", "bought"], "9D", "9D")
    assert start("funnel", {**given, "plan": str(plan), "window": "none"}).window is None


def test_notebooks_are_found_by_name_or_path(tmp_path: Path) -> None:
    with pytest.raises(mc.ParameterError, match="Did you mean 'funnel'"):
        find_notebook("funel")
    copy = copy_notebook("funnel", tmp_path)
    assert copy == tmp_path / "funnel.ipynb"
    assert find_notebook(copy) == copy
    assert list(declared_parameters(copy)) == list(declared_parameters("funnel"))


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    target = tmp_path / "mine.ipynb"
    assert copy_notebook("funnel", target) == target
    target.write_text("my work")
    with pytest.raises(mc.ParameterError, match="exists already"):
        copy_notebook("funnel", target)
    assert target.read_text() == "my work"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("x = 3", "must be one line such as"),
        ("x: Path = 3", "Unknown type 'Path'"),
    ],
)
def test_a_notebook_of_another_form(tmp_path: Path, cell: str, message: str) -> None:
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]})])
    path = tmp_path / "other.ipynb"
    nbformat.write(notebook, path)
    with pytest.raises(NotebookError, match=message):
        declared_parameters(path)
    path.write_text("{}")
    with pytest.raises(NotebookError, match="is not a notebook that can be read"):
        declared_parameters(path)


def test_an_installed_package_finds_its_own_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from microconv.notebooks import files

    package = tmp_path / "site-packages" / "microconv"
    monkeypatch.setattr(files, "__file__", str(package / "notebooks" / "files.py"))
    with pytest.raises(NotebookError, match="Install microconv anew"):
        files.list_notebooks()
    bundled = package / "_bundled" / "notebooks"
    bundled.mkdir(parents=True)
    (bundled / "zebra.ipynb").write_text("{}")
    (bundled / "funnel.ipynb").write_text("{}")
    assert files.list_notebooks() == {"funnel": bundled / "funnel.ipynb", "zebra": bundled / "zebra.ipynb"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"margin": 1.5}, "margin=1.5 must be a fraction"),
        ({"discount_rate": -0.1}, "discount_rate=-0.1 must be"),
        ({"rates": {"USD": 0}}, "rates: 'USD' is 0"),
        ({"occurrences": 0}, "occurrences=0 must be"),
        ({"method": "hazrd"}, "Did you mean 'hazard'"),
        ({"since": ["7"]}, "since='7' is not a duration"),
        ({"activity": ["visit"]}, "activity: Unknown plan item or event 'visit'. Did you mean 'visits'"),
        ({"refunds": "purchases"}, "refunds: .*Did you mean 'purchase'"),
    ],
)
def test_the_value_notebook_stops_at_what_cannot_be(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError, match=message):
        start("micro_conversion_value", {"output_dir": str(tmp_path), **given})


def test_a_value_that_has_no_answer_is_said_and_forgets_an_earlier_one(tmp_path: Path) -> None:
    plan, folder = tmp_path / "plan.yaml", tmp_path / "out"
    plan.write_text("macros: [{name: bought, event: purchase}]\nhorizon: 2D\n")
    run = start("micro_conversion_value", {"output_dir": str(folder), "plan": str(plan)})
    (folder / "result.json").write_text("{}")
    none = run.ask(mc.micro_value)
    assert repr(none).startswith("No micro value here: There is no micro to value")
    assert repr(run.explain(none)) == ""
    assert repr(run.save(none)).startswith("Nothing is saved in")
    assert not list(folder.iterdir())
