"""Reductions: from events to small tables of counts, written in Ibis alone, so that every engine runs them unchanged."""
