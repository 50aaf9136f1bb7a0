"""Pictures of results: each function draws a result's frames on matplotlib axes. No statistics in here."""

from __future__ import annotations

from microconv.plots.attribution import plot_attribution
from microconv.plots.behaviour import plot_audience, plot_behaviour, plot_behaviour_profile
from microconv.plots.channel_flow import plot_channel_flow
from microconv.plots.cohorts import plot_cohorts
from microconv.plots.cross_section import plot_cross_section
from microconv.plots.eventual import plot_eventual_conversion
from microconv.plots.explained import plot_explained_conversion
from microconv.plots.fallacies import plot_fallacy_check
from microconv.plots.forecast import plot_forecast
from microconv.plots.funnels import plot_funnel
from microconv.plots.hazards import plot_hazard_ratios
from microconv.plots.incidence import plot_causes
from microconv.plots.next_best import plot_next_best
from microconv.plots.quality import plot_quality
from microconv.plots.retention import plot_retention
from microconv.plots.sensitivity import plot_sensitivity
from microconv.plots.sequences import plot_micro_patterns
from microconv.plots.survival import plot_time_to_conversion
from microconv.plots.transitions import plot_transitions
from microconv.plots.value import plot_micro_value
from microconv.plots.value_by_time import plot_value_by_time

__all__ = [
    "plot_attribution",
    "plot_audience",
    "plot_behaviour",
    "plot_behaviour_profile",
    "plot_causes",
    "plot_channel_flow",
    "plot_cohorts",
    "plot_cross_section",
    "plot_eventual_conversion",
    "plot_explained_conversion",
    "plot_fallacy_check",
    "plot_forecast",
    "plot_funnel",
    "plot_hazard_ratios",
    "plot_micro_patterns",
    "plot_micro_value",
    "plot_next_best",
    "plot_quality",
    "plot_retention",
    "plot_sensitivity",
    "plot_time_to_conversion",
    "plot_transitions",
    "plot_value_by_time",
]
