"""What a newcomer meets: the README's commands, the dependencies, the wheel, the map of files."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

import microconv

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "microconv"
# Only what touches events may know Ibis.
KNOWS_IBIS = ("conditions", "engine", "judging", "log", "reading", "reduce", "sources", "sql")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads(_text("pyproject.toml"))["project"]


def _imports(path: Path) -> Iterator[str]:
    """The modules that a file imports when it runs, wherever in the file; not what it names for its types only."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


# The README's commands


def test_the_readme_has_two_commands_of_one_line() -> None:
    found = _load(ROOT / ".ci" / "readme_command.py").commands(_text("README.md"))
    assert found == {
        "report": "pip install . && microconv report",
        "test": 'pip install ".[test]" && pytest -n auto',
    }


@pytest.mark.parametrize(
    "block",
    ["", "```bash\npip install .\nmicroconv report\n```\n", "```bash\npip install . && microconv report\n```\n"],
    ids=["none", "two lines", "one of two"],
)
def test_a_readme_without_them_stops_ci(block: str) -> None:
    with pytest.raises(SystemExit, match="one one-line"):
        _load(ROOT / ".ci" / "readme_command.py").commands(f"# Title\n\n{block}")


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", _text("README.md"), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out
    assert (tmp_path / "out" / "conversion" / "result.json").is_file()


def test_every_plan_of_the_readme_is_valid() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", _text("README.md"), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        assert microconv.Plan.from_yaml_text(block).macros


def test_the_commands_of_the_readme_exist(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from microconv.cli import main

    listed = re.findall(r"^\| `microconv (\w+)", _text("README.md"), flags=re.MULTILINE)
    assert len(listed) >= 7
    for command in listed:
        monkeypatch.setattr(sys, "argv", ["microconv", command, "--help"])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0
        assert f"microconv {command}" in capsys.readouterr().out


# Dependencies


def test_every_dependency_has_a_lower_bound(project: dict[str, Any]) -> None:
    lowest = _load(ROOT / ".ci" / "lowest.py").lowest(list(project["optional-dependencies"]))
    assert {"pandas", "duckdb", "pytest", "pyspark", "ruff"} <= set(lowest)


def test_every_cap_says_why_and_until_when() -> None:
    lines = _text("pyproject.toml").splitlines()
    capped = [number for number, line in enumerate(lines) if re.match(r'\s+"[\w\[\]-]+>=[^"]*,<', line)]
    assert [re.match(r'\s+"([\w-]+)', lines[number])[1] for number in capped] == ["duckdb", "pandas", "sqlglot", "ruff"]
    for number in capped:
        start = number
        while lines[start - 1].strip().startswith("#"):
            start -= 1
        comment = " ".join(line.strip(" #") for line in lines[start:number])
        assert re.search(r"Cap: .+\. Lift .+\.", comment), f"line {number + 1}: {lines[number].strip()} has no reason"


def test_what_the_package_imports_is_declared(project: dict[str, Any]) -> None:
    optional = project["optional-dependencies"]
    asked = [*project["dependencies"], *optional["spark"], *optional["bigquery"]]
    declared = {Requirement(line).name.lower() for line in asked}
    owners = packages_distributions()
    for path in PACKAGE.rglob("*.py"):
        for module in _imports(path):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or top == "microconv":
                continue
            names = {name.lower().replace("_", "-") for name in owners.get(top, [top])}
            assert names & declared, f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml does not ask for"


def test_only_what_touches_events_knows_ibis() -> None:
    knowing = {
        path.relative_to(PACKAGE).with_suffix("").parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(module.partition(".")[0] in ("ibis", "duckdb", "sqlglot", "pyspark") for module in _imports(path))
    }
    assert knowing <= set(KNOWS_IBIS)


# The map, and what no file may say


def test_the_map_of_the_package_is_true() -> None:
    written = set(re.findall(r"^- `microconv/[^`]+`: .+$", _text("CONTRIBUTING.md"), flags=re.MULTILINE))
    true = set(_load(ROOT / ".ci" / "map.py").lines())
    assert {"missing": true - written, "gone": written - true} == {"missing": set(), "gone": set()}, (
        "run: python .ci/map.py"
    )


def test_the_rest_of_the_map_exists() -> None:
    listed = re.findall(r"^- `((?!microconv/)[^`]+)`: ", _text("CONTRIBUTING.md"), flags=re.MULTILINE)
    assert len(listed) >= 5
    assert [path for path in listed if not (ROOT / path).exists()] == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    forbidden = {
        "a registry": re.compile(rb"index-url|find-links|pypi\.org/simple|files\.pythonhosted"),
        "this checkout": re.compile(re.escape(os.fsencode(ROOT)) + rb"\b"),
        "a home": re.compile(rb"(?<![\w.])/(home|Users|root)/\w"),
    }
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project and what is a by-product is not known")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    files = [path for path in (ROOT / os.fsdecode(name) for name in names if name) if path.is_file()]
    assert len(files) > 10
    found = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in files
        if path != Path(__file__).resolve() and path.suffix not in (".parquet", ".gz", ".png")
        for what, pattern in forbidden.items()
        if pattern.search(path.read_bytes())
    ]
    assert found == []


# The wheel


def _pip(*arguments: str, env: dict[str, str] | None = None) -> None:
    pip = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(pip, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_carries_notebooks_and_sample_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("notebooks", "sample_data"):
        files = [path for path in (ROOT / folder).iterdir() if path.is_file() and not path.name.startswith(".")]
        assert files, f"{folder}/ is empty"
        assert {f"microconv/_bundled/{folder}/{path.name}" for path in files} <= names
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        template = f"/data/share/jupyter/notebook_templates/microconv/{notebook.name}"
        assert any(name.endswith(template) for name in names)
    assert "microconv/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests")]


@pytest.mark.slow
@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_an_installed_package_finds_the_sample_data(wheel: Path, tmp_path: Path, editable: bool) -> None:
    """In a new environment beside this one's libraries, run from a folder that is no checkout."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=os.name != "nt")
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = tmp_path / "env" / scripts / "python"
    what = ["--editable", str(ROOT)] if editable else [str(wheel)]
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    # An editable install builds with this environment's hatchling: nothing is downloaded.
    beside = {**os.environ, "PYTHONPATH": os.pathsep.join(libraries)}
    _pip(
        "--python", str(python), "install", "--no-deps", "--no-build-isolation", "--ignore-installed", *what, env=beside
    )
    code = (
        f"import sys; sys.path += {libraries!r}\n"
        "import microconv, pathlib\n"
        "print(pathlib.Path(microconv.__file__).resolve())\n"
        "print(microconv.sample_log().rows_accepted)\n"
    )
    done = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, rows = done.stdout.split("\n")[:2]
    assert Path(where).is_relative_to(ROOT if editable else tmp_path)
    assert int(rows) > 1_000
    (command,) = (tmp_path / "env" / scripts).glob("microconv*")
    assert command.is_file()
