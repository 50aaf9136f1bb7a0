"""Pictures of results: each function draws a result's frames on matplotlib axes. No statistics in here."""

from __future__ import annotations

from microconv.plots.funnels import plot_funnel
from microconv.plots.quality import plot_quality
from microconv.plots.survival import plot_time_to_conversion

__all__ = ["plot_funnel", "plot_quality", "plot_time_to_conversion"]
