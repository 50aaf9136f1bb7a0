"""Write the map of the package into CONTRIBUTING.md, a line per file from its docstring: ``python .ci/map.py``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "CONTRIBUTING.md"
_BEGIN, _END = "<!-- map: written by .ci/map.py -->\n", "<!-- end of map -->\n"


def lines() -> list[str]:
    """A line per file of the package: its path and the first paragraph of its docstring."""
    files = sorted(path for path in (ROOT / "microconv").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return [f"- `{path.relative_to(ROOT).as_posix()}`: {_purpose(path)}" for path in files]


def _purpose(path: Path) -> str:
    if path.name == "py.typed":
        return "Tells type checkers that the package has types."
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.suffix == ".py" else None
    if not docstring:
        raise SystemExit(f"{path.relative_to(ROOT)} does not say what it is for: begin it with a docstring.")
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(docstring.split("\n\n")[0].split()))


def with_map(guide: str) -> str:
    """The guide with today's map."""
    before, _, rest = guide.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + "\n" + "\n".join(lines()) + "\n\n" + _END + after


if __name__ == "__main__":
    GUIDE.write_text(with_map(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
