"""The examples in the docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import microconv

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(microconv.__path__, "microconv.") if "_bundled" not in module.name
)


@pytest.mark.parametrize("name", ["microconv", *MODULES])
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write files
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {name} differ: see above"


def test_modules_are_found() -> None:
    assert {"microconv.errors", "microconv.counts"} <= set(MODULES)
