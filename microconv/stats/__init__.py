"""Estimators on tables of counts: numbers in, small pandas frames with intervals out; no user is ever seen.

To add one: a file of its own, its public name in the table below and the same name in its ``__all__``. The file must
not bear the name of the function, because importing ``stats.x`` would put the module where the function stood.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "aalen_johansen": "microconv.stats.competing",
    "additive_hazards": "microconv.stats.additive",
    "AdditiveHazards": "microconv.stats.additive",
    "adjust_p_values": "microconv.stats.multiplicity",
    "bounding_factor": "microconv.stats.sensitivity",
    "chain_conversion_rate": "microconv.stats.markov",
    "confounded_effect": "microconv.stats.sensitivity",
    "confounding_statement": "microconv.stats.sensitivity",
    "cox": "microconv.stats.cox_fit",
    "CoxFit": "microconv.stats.cox_fit",
    "credit": "microconv.stats.crediting",
    "credited": "microconv.stats.attribution",
    "CureFit": "microconv.stats.cure",
    "e_value": "microconv.stats.sensitivity",
    "Effect": "microconv.stats.effects",
    "Encouragement": "microconv.stats.encouragement",
    "encouragement_effect": "microconv.stats.encouragement",
    "gray_test": "microconv.stats.gray",
    "heterogeneity": "microconv.stats.shrinkage",
    "hidden_confounding": "microconv.stats.sensitivity",
    "Intensities": "microconv.stats.intensity_fit",
    "intensities": "microconv.stats.intensity_fit",
    "honest_separation": "microconv.stats.leakage",
    "inverse_probability": "microconv.stats.weighting",
    "kaplan_meier": "microconv.stats.survival",
    "LogRank": "microconv.stats.log_rank",
    "logrank": "microconv.stats.log_rank",
    "mantel_haenszel": "microconv.stats.standardise",
    "mean_worth": "microconv.stats.worth",
    "MeanWorth": "microconv.stats.worth",
    "mixture_cure": "microconv.stats.cure",
    "nelson_aalen": "microconv.stats.hazards",
    "outcome_regression": "microconv.stats.weighting",
    "pairwise_logrank": "microconv.stats.pairs",
    "piecewise_exponential": "microconv.stats.piecewise",
    "PiecewiseFit": "microconv.stats.piecewise",
    "probability_at": "microconv.stats.competing",
    "proportionality": "microconv.stats.ph_check",
    "quantiles": "microconv.stats.times",
    "removal_effects": "microconv.stats.markov",
    "rmst": "microconv.stats.times",
    "rmst_differences": "microconv.stats.pairs",
    "Separation": "microconv.stats.leakage",
    "separation": "microconv.stats.leakage",
    "shapley": "microconv.stats.shapley_values",
    "shrink": "microconv.stats.shrinkage",
    "Shrunk": "microconv.stats.shrinkage",
    "standardised": "microconv.stats.standardise",
    "Standardised": "microconv.stats.standardise",
    "survival_at": "microconv.stats.survival",
    "time_lost": "microconv.stats.competing",
    "time_lost_differences": "microconv.stats.pairs",
    "total_effect": "microconv.stats.gcomputation",
    "trials": "microconv.stats.sequential",
    "Weighted": "microconv.stats.weighting",
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
