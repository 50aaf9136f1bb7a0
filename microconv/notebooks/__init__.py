"""The notebooks of this package: find, copy, check and run them, and what they use while they run."""

from __future__ import annotations

from microconv.notebooks.files import NotebookError, copy_notebook, find_notebook, list_notebooks
from microconv.notebooks.parameters import Parameter, StartError, check_parameters, declared_parameters, from_text
from microconv.notebooks.running import run_notebook
from microconv.notebooks.session import Session, start
from microconv.notebooks.shown import Picture, Shown

__all__ = [
    "NotebookError",
    "Parameter",
    "Picture",
    "Session",
    "Shown",
    "StartError",
    "check_parameters",
    "copy_notebook",
    "declared_parameters",
    "find_notebook",
    "from_text",
    "list_notebooks",
    "run_notebook",
    "start",
]
