"""Where the notebooks are, and copies of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from microconv.errors import MicroconvError, ParameterError, unknown_name

__all__ = ["NotebookError", "copy_notebook", "find_notebook", "list_notebooks", "read_cells"]

# The order in which they are read, and in which the report has them; others follow by name.
_ORDER = (
    "tracking_quality",
    "funnel",
    "time_to_conversion",
    "micro_conversion_value",
    "attribution",
    "segment_behaviour",
)


class NotebookError(MicroconvError):
    """A notebook is missing, is no notebook of ours, or stopped while it ran."""


def _folder() -> Path:
    package = Path(__file__).resolve().parent.parent
    places = [package / "_bundled" / "notebooks", package.parent / "notebooks"]
    for place in places:
        if any(place.glob("*.ipynb")):
            return place
    raise NotebookError(
        f"The notebooks are neither in {str(places[0])!r} nor in {str(places[1])!r}. Install microconv anew."
    )


def list_notebooks() -> dict[str, Path]:
    """The notebooks by name: inside an installed package, beside it in a checkout.

    >>> from microconv.notebooks import list_notebooks
    >>> list(list_notebooks())[:2]
    ['tracking_quality', 'funnel']
    """
    found = {path.stem: path for path in sorted(_folder().glob("*.ipynb"))}
    return {name: found[name] for name in (*[n for n in _ORDER if n in found], *[n for n in found if n not in _ORDER])}


def find_notebook(notebook: str | Path) -> Path:
    """A notebook by its name (``"funnel"``) or its path. Raises ``ParameterError`` with the nearest name."""
    path = Path(notebook)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    known = list_notebooks()
    if str(notebook) in known:
        return known[str(notebook)]
    raise ParameterError(unknown_name("notebook", str(notebook), known, "Or give the path of an .ipynb file."))


def copy_notebook(notebook: str | Path, to: str | Path = ".") -> Path:
    """Copy a notebook into a folder, or to a path that ends in ``.ipynb``; never overwrites. Returns where it is."""
    source, target = find_notebook(notebook), Path(to)
    if target.suffix != ".ipynb":
        target = target / source.name
    if target.exists():
        raise ParameterError(f"{str(target)!r} exists already and is left as it is. Name another file or folder.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise ParameterError(
            f"Cannot write {str(target)!r}: {error.strerror or error}. Name a folder you may write to."
        ) from error
    return target


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, each with ``type``, ``source`` and ``tags``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [
            {
                "type": cell["cell_type"],
                "source": "".join(cell["source"]),
                "tags": cell.get("metadata", {}).get("tags", []),
            }
            for cell in content["cells"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{str(path)!r} is not a notebook that can be read: {error}.") from error
