"""Reductions: from events to small tables of counts, written in Ibis alone, so that all engines run them unchanged."""
