"""The tracking plan: which events are macro- and micro-conversions, and on which conditions."""

from __future__ import annotations

from microconv.plan.checks import check_events
from microconv.plan.models import KINDS, Behaviour, End, Item, Macro, Micro, Plan, Total

__all__ = ["KINDS", "Behaviour", "End", "Item", "Macro", "Micro", "Plan", "Total", "check_events"]
