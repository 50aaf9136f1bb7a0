"""Estimators on tables of counts: numbers in, small pandas frames with intervals out; no user is ever seen.

To add one: a file of its own, its public name in the table below and the same name in its ``__all__``. The file must
not bear the name of the function, because importing ``stats.x`` would put the module where the function stood.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "aalen_johansen": "microconv.stats.competing",
    "adjust_p_values": "microconv.stats.multiplicity",
    "cox": "microconv.stats.cox_fit",
    "CoxFit": "microconv.stats.cox_fit",
    "credit": "microconv.stats.crediting",
    "CureFit": "microconv.stats.cure",
    "Effect": "microconv.stats.effects",
    "gray_test": "microconv.stats.gray",
    "Intensities": "microconv.stats.intensity_fit",
    "intensities": "microconv.stats.intensity_fit",
    "kaplan_meier": "microconv.stats.survival",
    "LogRank": "microconv.stats.log_rank",
    "logrank": "microconv.stats.log_rank",
    "mixture_cure": "microconv.stats.cure",
    "nelson_aalen": "microconv.stats.hazards",
    "pairwise_logrank": "microconv.stats.pairs",
    "piecewise_exponential": "microconv.stats.piecewise",
    "PiecewiseFit": "microconv.stats.piecewise",
    "probability_at": "microconv.stats.competing",
    "proportionality": "microconv.stats.ph_check",
    "quantiles": "microconv.stats.times",
    "rmst": "microconv.stats.times",
    "rmst_differences": "microconv.stats.pairs",
    "survival_at": "microconv.stats.survival",
    "mean_worth": "microconv.stats.worth",
    "MeanWorth": "microconv.stats.worth",
    "total_effect": "microconv.stats.gcomputation",
    "time_lost": "microconv.stats.competing",
    "time_lost_differences": "microconv.stats.pairs",
    "trials": "microconv.stats.sequential",
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
