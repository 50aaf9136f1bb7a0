"""Print the lowest versions that pyproject.toml allows, as a pip constraints file.

``python .ci/lowest.py test > lowest.txt && pip install -c lowest.txt ".[test]"`` installs them.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest(extras: list[str]) -> dict[str, str]:
    """The lowest allowed version of each package that microconv and these extras ask for."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    found = {}
    for requirement in map(Requirement, asked):
        bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        if len(bounds) != 1:
            raise SystemExit(f"{requirement} in pyproject.toml needs exactly one lower bound (>=).")
        found[requirement.name] = bounds[0]
    return found


if __name__ == "__main__":
    for name, version in lowest(sys.argv[1:]).items():
        print(f"{name}=={version}")
