"""microconv: honest analysis of micro-conversions. Reduce events to counts, estimate, show."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_PUBLIC = {
    "attribution": "microconv.attribution",
    "audience": "microconv.audience",
    "behaviour_segments": "microconv.behaviour",
    "cross_section": "microconv.cross_section",
    "DIRECT_CHANNELS": "microconv.attribution",
    "EventLog": "microconv.log",
    "export_adjustments": "microconv.value.adjustments",
    "export_values": "microconv.value.exports",
    "eventual_conversion": "microconv.eventual",
    "explain_conversion": "microconv.attribution.explaining",
    "ExposureTable": "microconv.exposures",
    "fallacy_check": "microconv.fallacies",
    "forecast": "microconv.forecast",
    "funnel": "microconv.funnel",
    "hazard_ratios": "microconv.hazards",
    "micro_patterns": "microconv.micro_patterns",
    "micro_value": "microconv.value",
    "MicroconvError": "microconv.errors",
    "MicroconvWarning": "microconv.errors",
    "next_best_micro": "microconv.next_best",
    "ParameterError": "microconv.errors",
    "PathTable": "microconv.path_table",
    "Plan": "microconv.plan",
    "PlanError": "microconv.errors",
    "read_events": "microconv.reading",
    "Result": "microconv.results",
    "retention": "microconv.retention",
    "RiskTable": "microconv.counts",
    "sample_log": "microconv.sample",
    "simulate": "microconv.simulate",
    "SourceError": "microconv.errors",
    "suggest_plan": "microconv.suggest",
    "time_to_conversion": "microconv.conversion",
}
_MODULES = ("stats",)

__all__ = ["__version__", *sorted([*_PUBLIC, *_MODULES])]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import microconv`` stays cheap."""
    if name in _MODULES:
        return importlib.import_module(f"microconv.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'microconv' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps ``mc.simulate`` and ``mc.funnel`` functions after their modules of the same name were imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PUBLIC and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
