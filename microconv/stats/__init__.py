"""Estimators on tables of counts: numbers in, small pandas frames with intervals out; no user is ever seen.

To add one: a file of its own, its public name in the table below and the same name in its ``__all__``. The file must
not bear the name of the function, because importing ``stats.x`` would put the module where the function stood.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "LogRank": "microconv.stats.log_rank",
    "aalen_johansen": "microconv.stats.competing",
    "kaplan_meier": "microconv.stats.survival",
    "logrank": "microconv.stats.log_rank",
    "nelson_aalen": "microconv.stats.hazards",
    "probability_at": "microconv.stats.competing",
    "quantiles": "microconv.stats.times",
    "rmst": "microconv.stats.times",
    "survival_at": "microconv.stats.survival",
    "time_lost": "microconv.stats.competing",
    "wilson": "microconv.stats.proportions",
}

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - made from the table of lazy names


def __getattr__(name: str) -> Any:
    """Import an estimator when it is first asked for, so that ``import microconv.stats`` stays cheap."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
