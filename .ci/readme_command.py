"""Print a command of the README, so that CI runs what newcomers read: ``python .ci/readme_command.py report|test``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
_LAST_PROGRAM = {"report": "microconv report", "test": "pytest -n auto"}


def commands(text: str) -> dict[str, str]:
    """The README's ```bash blocks by what their last program does; each block is one line."""
    blocks = [block.strip() for block in re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)]
    found = {}
    for block in blocks:
        for name, program in _LAST_PROGRAM.items():
            if "\n" not in block and block.rpartition("&&")[2].strip() == program:
                found[name] = block
    if len(blocks) != len(_LAST_PROGRAM) or set(found) != set(_LAST_PROGRAM):
        raise SystemExit(f"The README needs one one-line ```bash block for each of {_LAST_PROGRAM}; it has {blocks}.")
    return found


if __name__ == "__main__":
    print(commands(README.read_text(encoding="utf-8"))[sys.argv[1]])
