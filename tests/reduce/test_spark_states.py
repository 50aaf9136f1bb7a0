"""States, exposures and per-user scores are the same on DuckDB and on Spark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.journeys import journey_rule
from microconv.log import EventLog
from microconv.reduce import states
from microconv.reduce.entrants import People, people
from microconv.reduce.others import beside_others, in_order
from microconv.reduce.state_counts import event_cuts, exact_counts, exposure_counts
from microconv.reduce.states import (
    Layout,
    counted_states,
    done_or_not,
    edges,
    in_state,
    moments,
    since_states,
    totals,
)

pytestmark = pytest.mark.spark

PLAN: dict[str, Any] = {
    "macros": [{"name": "purchase", "event": "purchase"}],
    "micros": [
        {"name": "signup", "kind": "form", "event": "signup"},
        {"name": "watched", "kind": "engagement", "event": "video", "where": "percent >= 50"},
        {"name": "third_view", "kind": "engagement", "event": "view", "nth": 3},
    ],
    "competing": ["unsubscribe"],
    "censor": ["deleted"],
}
EVENTS = ["view", "view", "view", "signup", "video", "cart", "purchase", "unsubscribe", "deleted"]
NAMES = ("signup", "watched", "third_view")
BY = ("device", "entry_week", "percent")


def _frame(rows: int = 600, users: int = 110, seed: int = 3) -> pd.DataFrame:
    """Events at whole hours, so that ties abound, with a microsecond here and there and some attributes missing."""
    rng = np.random.default_rng(seed)
    chance = np.array([6, 6, 6, 4, 4, 5, 3, 0.4, 0.3])
    return pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, users, rows)],
            "time": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(rng.integers(0, 24 * 40, rows), unit="h")
            + pd.to_timedelta(rng.choice([0, 0, 0, 1, 999_999], rows), unit="us"),
            "event": rng.choice(EVENTS, rows, p=chance / chance.sum()),
            "percent": rng.choice([10.0, 50.0, 75.5, np.nan], rows, p=[0.3, 0.3, 0.3, 0.1]),
            "device": rng.choice(np.array(["mobile", "desktop", None], dtype=object), rows),
        }
    )


@pytest.fixture(scope="module")
def both(spark: Any) -> dict[str, EventLog]:
    """The same events, read on each engine."""
    frame = _frame()
    spark._session.createDataFrame(frame).createOrReplaceTempView("states_events")
    return {
        "duckdb": mc.read_events(frame, plan=PLAN),
        "spark": mc.read_events(spark.table("states_events"), plan=PLAN),
    }


@pytest.fixture(scope="module")
def users(both: dict[str, EventLog]) -> dict[str, People]:
    def of(log: EventLog) -> People:
        rule = journey_rule(log, None, "entry", None, "30D")
        assert log.plan is not None
        return people(log, rule, log.plan.micros, BY, tz="Europe/Berlin", washout=86_400_000_000)

    return {engine: of(log) for engine, log in both.items()}


def _same(users: dict[str, People], reduce: Callable[[People], pd.DataFrame]) -> pd.DataFrame:
    one, other = (reduce(users[engine]) for engine in ("duckdb", "spark"))
    keys = list(one.columns)
    one, other = (frame.sort_values(keys).reset_index(drop=True) for frame in (one, other))
    pd.testing.assert_frame_equal(one, other, check_dtype=False, check_exact=True)
    assert len(one) > 0
    return one


def test_people(users: dict[str, People]) -> None:
    one, other = users["duckdb"], users["spark"]
    for name in ("users", "at_risk", "never_at_risk", "washed_out", "without_number"):
        assert getattr(one, name) == getattr(other, name), name
    assert min(one.washed_out, one.without_number) > 0
    pd.testing.assert_frame_equal(one.cells, other.cells, check_dtype=False)
    found = _same(users, lambda who: who.engine.fetch(who.table))
    assert found["done_1"].notna().any()


def test_exact_counts_compacted_and_not(users: dict[str, People]) -> None:
    layout = done_or_not(NAMES)

    def reduce(who: People, spare: int) -> pd.DataFrame:
        edged = who.engine.materialise(edges(moments(who, layout), layout))
        total = totals(who.engine, edged, len(who.causes))
        found = exact_counts(who, edged, layout, total, total.edges - spare)
        assert found.table is not None
        assert ("last event time" in found.kept) == (spare > 0)
        return found.table.frame

    whole = _same(users, lambda who: reduce(who, 0))
    small = _same(users, lambda who: reduce(who, 1))
    assert len(small) < len(whole)


def test_totals_users_and_exposures(users: dict[str, People]) -> None:
    layout = since_states(NAMES, 1, [86_400_000_000], ("not yet", "first day", "later"))

    def marked(who: People) -> Any:
        return moments(who, layout)

    def exposures(who: People) -> pd.DataFrame:
        edged = who.engine.materialise(edges(marked(who), layout))
        return exposure_counts(who, edged, layout, event_cuts(who, edged, 5)).frame

    _same(users, lambda who: totals(who.engine, edges(marked(who), layout), len(who.causes)).patterns)
    _same(users, lambda who: in_state(who, marked(who), layout))
    found = _same(users, exposures)
    assert found["from_days"].nunique() >= 5


def test_moments_in_order_and_one_micro_beside_the_number_of_others(
    users: dict[str, People], monkeypatch: pytest.MonkeyPatch
) -> None:
    def changes(who: People, layout: Layout) -> pd.DataFrame:
        return who.engine.fetch(edges(moments(who, layout), layout, ["user_id"]))

    def beside(who: People) -> pd.DataFrame:
        mine = beside_others(in_order(who, len(NAMES), 3), 1, 3)
        return changes(mine, counted_states([NAMES[1], "1st", "2nd", "3rd"], 0, "others", ["0", "1", "2", "3"]))

    found = _same(users, beside)
    assert found["state"].max() == 2 * 2 + 1
    compared = _same(users, lambda who: changes(who, done_or_not(NAMES)))
    monkeypatch.setattr(states, "_FEW_MOMENTS", 1)
    in_turn = _same(users, lambda who: changes(who, done_or_not(NAMES)))
    pd.testing.assert_frame_equal(in_turn, compared)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"robust": True}, {"method": "piecewise", "robust": True}])
def test_hazard_ratios(both: dict[str, EventLog], options: dict[str, Any]) -> None:
    one, other = (mc.hazard_ratios(both[engine], adjust=["device"], **options) for engine in ("duckdb", "spark"))
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=False, rtol=1e-9)
    assert one.meaning == other.meaning
    assert one.warnings == other.warnings
    assert one.table["hazard_ratio"].notna().all()
