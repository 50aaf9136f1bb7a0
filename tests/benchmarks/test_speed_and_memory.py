"""What the kit costs, always as a ratio to a plain query on the same file in the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.benchmark

EventsFile = Callable[[int], Path]
Compare = Callable[..., Any]


def _say(record_property: Callable[[str, object], None], what: str, found: Any) -> None:
    text = f"{found.ratio:.2f} ({found.seconds:.2f} s to {found.baseline_seconds:.2f} s), peak {found.peak_mb:.0f} MB"
    record_property(what, text)
    print(f"\n{what}: {text}")  # noqa: T201


def test_funnel_costs_at_most_four_sorts(events_file: EventsFile, compare: Compare, record_property: Any) -> None:
    found = compare("funnel", events_file(10_000_000), "sort")
    _say(record_property, "four-step funnel to one sort of its rows", found)
    assert found.ratio <= 4
    assert found.peak_mb < 1000


def test_funnel_costs_at_most_five_sorts_within_users(
    events_file: EventsFile, compare: Compare, record_property: Any
) -> None:
    """A cheaper baseline than is promised: DuckDB need not keep the sorted rows, nor order users among themselves.

    It stands about at 3.3 to 4; the bound is there so that a step back shows.
    """
    found = compare("funnel", events_file(10_000_000), "window_sort")
    _say(record_property, "four-step funnel to one sort within users", found)
    assert found.ratio <= 5


def test_risk_table_costs_at_most_eight_counts(events_file: EventsFile, compare: Compare, record_property: Any) -> None:
    found = compare("risk_table", events_file(10_000_000), "count")
    _say(record_property, "risk table by two attributes to count(*) by user", found)
    assert found.ratio <= 8
    assert found.peak_mb < 2000


def test_hazard_ratios_cost_at_most_twelve_counts(
    events_file: EventsFile, compare: Compare, record_property: Any
) -> None:
    """Four micros and two attributes, from the file to the table."""
    found = compare("hazard_ratios", events_file(10_000_000), "count")
    _say(record_property, "hazard ratios of four micros and two attributes to count(*) by user", found)
    assert found.ratio <= 12
    assert found.peak_mb < 2000


def test_micro_value_costs_at_most_twenty_five_counts(
    events_file: EventsFile, compare: Compare, record_property: Any
) -> None:
    """Six micros, every column of the table, both methods, from the file on."""
    found = compare("micro_value", events_file(10_000_000), "count")
    _say(record_property, "value of six micros to count(*) by user", found)
    assert found.ratio <= 25
    assert found.peak_mb < 2000


def test_markov_chains_cost_at_most_eleven_counts(
    touches_file: EventsFile, compare: Compare, record_property: Any
) -> None:
    """A million users, five million touches, ten channels, from the file to the table by chains of order 1 and 2.

    Eight is wished for. It stands at 8 to 10; the bound is there so that a step back shows.
    """
    found = compare("markov", touches_file(1_000_000), "count")
    _say(record_property, "Markov chains of order 1 and 2 to count(*) by user", found)
    assert found.ratio <= 11
    assert found.peak_mb < 500


def test_intervals_of_attribution_cost_at_most_five_times_the_numbers(
    touches_file: EventsFile, compare: Compare, record_property: Any
) -> None:
    found = compare("markov_bootstrap", touches_file(1_000_000), "markov")
    _say(record_property, "Markov chains with 1,000 replicates to the same without", found)
    assert found.ratio <= 5
    assert found.peak_mb < 500


def test_cox_is_a_hundred_times_faster_than_lifelines(
    alone: Callable[[str, Path], dict[str, float]], tmp_path: Path, record_property: Any
) -> None:
    """On twenty thousand rows without ties, with the same coefficients."""
    theirs = alone("lifelines_cox", tmp_path)
    times = []
    for _ in range(3):
        ours = alone("cox", tmp_path)
        times.append(ours["seconds"])
        for term in ("done", "device", "old"):
            assert ours[term] == pytest.approx(theirs[term], rel=1e-6, abs=1e-9)
    ratio = theirs["seconds"] / sorted(times)[1]
    record_property("lifelines' CoxTimeVaryingFitter to cox on counts", f"{ratio:.0f}")
    print(f"\nlifelines' CoxTimeVaryingFitter to cox on counts: {ratio:.0f}")  # noqa: T201
    assert ratio >= 100


@pytest.mark.parametrize("job", ["funnel", "risk_table", "hazard_ratios"])
def test_ten_times_the_events_cost_at_most_twelve_times_the_time(
    job: str, events_file: EventsFile, compare: Compare, record_property: Any
) -> None:
    found = compare(job, events_file(10_000_000), job, events_file(1_000_000))
    _say(record_property, f"{job} of 10 million events to 1 million", found)
    assert found.ratio <= 12
