"""Run a notebook with parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from microconv.errors import ParameterError, shorten
from microconv.notebooks.files import NotebookError, find_notebook
from microconv.notebooks.parameters import check_parameters, from_text

__all__ = ["run_notebook"]


def run_notebook(
    notebook: str | Path, parameters: Mapping[str, Any] | None = None, *, output: str | Path, progress: bool = True
) -> Path:
    """Run a notebook through papermill in the current folder and write it, executed, to ``output``.

    ``parameters`` are checked before anything runs; text for a parameter of another type is read as on a command line
    (``"[view, cart]"``). ``progress`` shows a bar of cells. Raises ``ParameterError``, and ``NotebookError`` when a
    cell fails (the executed part is in ``output``).
    """
    source, target = find_notebook(notebook), Path(output)
    values = from_text(source, dict(parameters or {}))
    check_parameters(source, values)
    if target.exists() and source.samefile(target):
        raise ParameterError(f"output={str(target)!r} is the notebook itself. Name another file.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    except OSError as error:
        raise ParameterError(
            f"Cannot write {str(target)!r}: {error.strerror or error}. Name a file you may write."
        ) from error
    _execute(source, target, values, progress)
    return target


def _execute(source: Path, target: Path, values: dict[str, Any], progress: bool) -> None:
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from papermill.exceptions import PapermillExecutionError

    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=values,
            kernel_name="python3",
            progress_bar=progress,
            log_output=False,
            # The kernel's own remarks (on encryption between processes of one machine) are not the reader's.
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"The notebook {source.stem!r} stopped: {shorten(error.evalue, 2_000)}\n"
            f"The cells up to there are in {str(target)!r}."
        ) from error
    except NoSuchKernel as error:
        raise NotebookError(
            "Jupyter knows no kernel named python3. Make one: python -m ipykernel install --sys-prefix"
        ) from error
