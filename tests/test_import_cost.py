"""``import microconv`` is cheap: little more than pandas, and none of the heavy libraries."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest

import microconv

HEAVY = ["lifelines", "matplotlib", "mistune", "papermill", "pyspark", "scipy", "seaborn", "statsmodels"]
AT_MOST = 1.5  # times the cost of `import pandas`
ROUNDS = 5


def _in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _seconds(module: str) -> float:
    """Processor time of one import in a new interpreter; less noisy than the clock on a busy machine."""
    code = f"import time; start = time.process_time(); import {module}; print(time.process_time() - start)"
    return float(_in_new_process(code))


def _heavy_after(code: str) -> list[str]:
    return _in_new_process(f"import sys; {code}; print(*(set(sys.modules) & set({HEAVY})))").split()


def test_the_import_costs_little_more_than_pandas() -> None:
    for module in ("pandas", "microconv"):
        _seconds(module)  # the first import writes bytecode and fills the disk cache
    pairs = [(_seconds("pandas"), _seconds("microconv")) for _ in range(ROUNDS)]  # in turns: load hits both
    pandas, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert ours <= AT_MOST * pandas, f"import microconv {ours:.3f} s, import pandas {pandas:.3f} s"


def test_the_import_loads_no_heavy_library() -> None:
    assert _heavy_after("import microconv") == []


def test_the_check_can_fail() -> None:
    assert _heavy_after("import scipy") == ["scipy"]


@pytest.mark.parametrize("name", [name for name in microconv.__all__ if name != "__version__"])
def test_a_public_name_exists_and_loads_no_heavy_library(name: str) -> None:
    assert _heavy_after(f"import microconv; microconv.{name}") == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'funel'"):
        _ = microconv.funel
