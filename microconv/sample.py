"""The bundled sample data: a simulated shop whose truth is known."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from microconv.errors import MicroconvWarning, SourceError

if TYPE_CHECKING:
    import pandas as pd

    from microconv.log import EventLog

__all__ = ["SamplePaths", "sample_log", "sample_paths", "sample_truth"]


class SamplePaths(NamedTuple):
    """Where the files of the sample data are."""

    events: Path
    plan: Path
    truth: Path


def sample_paths() -> SamplePaths:
    """Where the sample data is: in the package where it was installed, beside it in a checkout.

    Raises ``SourceError`` where neither holds it.
    """
    package = Path(__file__).resolve().parent
    places = [package / "_bundled" / "sample_data", package.parent / "sample_data"]
    for place in places:
        paths = SamplePaths(place / "events.parquet", place / "plan.yaml", place / "truth.json")
        if all(path.is_file() for path in paths):
            return paths
    raise SourceError(
        f"The sample data is neither in {str(places[0])!r} nor in {str(places[1])!r}. "
        "Make it with: microconv simulate --output sample_data"
    )


def sample_log() -> EventLog:
    """The sample shop as an ``EventLog`` with its plan.

    Its faulty rows are there on purpose, so that no warning is given of them; ``.accounting`` and ``.notes`` list them.

    >>> import microconv as mc
    >>> mc.sample_log().plan.macros[0].name
    'purchase'
    """
    from microconv.plan import Plan
    from microconv.reading import read_events

    paths = sample_paths()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".* rows rejected", category=MicroconvWarning)
        return read_events(paths.events, plan=Plan.from_yaml(paths.plan))


def sample_truth(horizon: str) -> pd.DataFrame | None:
    """What each micro of the sample shop truly adds within ``horizon`` of the action (columns of
    ``Truth.incremental``); None where its truth was not computed for that horizon.

    What visits bring about (a third visit, five minutes on site) has no effect of its own.
    """
    import pandas as pd

    truth = json.loads(sample_paths().truth.read_text(encoding="utf-8"))
    if truth["incremental"]["horizon"] != horizon:
        return None
    found = pd.DataFrame(truth["incremental"]["micros"])
    rest = [name for name in truth["hazard_ratios"] if name not in set(found["micro"])]
    nothing = pd.DataFrame({"micro": rest, "incremental": 0.0, "incremental_value": 0.0})
    return pd.concat([found, nothing], ignore_index=True)
