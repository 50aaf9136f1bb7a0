"""Fixtures that many tests share. What a machine cannot run is skipped with the reason, never silently."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A slow machine is no failure, and a failure must come back: its example is printed as a line to paste.
# A change is judged on the same examples each time; who works on it, on new ones.
hypothesis.settings.register_profile(
    "microconv", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("microconv")
# At most so many examples of each property, for runs that ask whether everything runs rather than whether it is right.
_MOST_EXAMPLES = os.environ.get("MICROCONV_MOST_EXAMPLES")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, modules with long ones come first: at the end nobody waits for one."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        long = {item.path for item in items if item.get_closest_marker("slow") is not None}
        items.sort(key=lambda item: item.path not in long)  # a module stays whole, for the sake of its fixtures
    if _MOST_EXAMPLES is not None:
        for item in items:
            function = getattr(getattr(item, "obj", None), "__func__", getattr(item, "obj", None))
            if getattr(function, "is_hypothesis_test", False):
                asked = function._hypothesis_internal_use_settings  # its own number goes before that of a profile
                function._hypothesis_internal_use_settings = hypothesis.settings(
                    asked, max_examples=min(asked.max_examples, int(_MOST_EXAMPLES))
                )


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    """No test sees a figure that another left open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout that the tests belong to."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real logs; they are not part of the project."""
    folder = os.environ.get("MICROCONV_REAL_DATA")
    if not folder:
        pytest.skip("MICROCONV_REAL_DATA does not name the folder of real logs")
    if not Path(folder).is_dir():
        pytest.fail(f"MICROCONV_REAL_DATA names {folder}, which is no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of a real browser, for what a page does in one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("MICROCONV_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium: install it, or name its program in MICROCONV_CHROMIUM")
    return program


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An Ibis backend on a local Spark."""
    pytest.importorskip("pyspark", reason="the spark extra is not installed")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("no Java: Spark 4 needs Java 17 or 21")
    import ibis
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("microconv-tests")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.driver.memory": "1g",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("spark-warehouse")),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield ibis.pyspark.connect(session)
    session.stop()
