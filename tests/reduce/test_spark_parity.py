"""Every reduction gives the same counts on DuckDB and on Spark, from the same unchanged expression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.conversion import journey_rule
from microconv.log import EventLog
from microconv.reduce.funnels import attempts, durations, reach_counts, waiting_counts
from microconv.reduce.occurrences import at_entry, occurrences
from microconv.reduce.risk import journeys, population, risk_table
from microconv.steps import funnel_rule

pytestmark = pytest.mark.spark

PLAN = {
    "macros": [{"name": "purchase", "event": "purchase", "value": "value"}],
    "micros": [
        {"name": "signup", "kind": "form", "event": "signup"},
        {"name": "watched", "kind": "engagement", "event": "video", "where": "percent >= 50"},
        {"name": "third_view", "kind": "engagement", "event": "view", "nth": 3},
        {"name": "long_stay", "kind": "engagement", "event": "view", "total": {"column": "percent", "at_least": 150}},
    ],
    "competing": ["unsubscribe"],
    "censor": ["deleted"],
    "horizon": "30D",
}
EVENTS = ["view", "view", "view", "signup", "video", "cart", "purchase", "unsubscribe", "deleted"]


def _frame(rows: int = 700, users: int = 90, seed: int = 0) -> pd.DataFrame:
    """Events at whole hours, so that ties abound, with a microsecond here and there and some attributes missing."""
    rng = np.random.default_rng(seed)
    chance = np.array([6, 6, 6, 4, 4, 5, 3, 0.4, 0.3])
    hours = rng.integers(0, 24 * 60, rows)
    return pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, users, rows)],
            "time": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(hours, unit="h")
            + pd.to_timedelta(rng.choice([0, 0, 0, 1, 999_999], rows), unit="us"),
            "event": rng.choice(EVENTS, rows, p=chance / chance.sum()),
            "percent": rng.integers(0, 100, rows).astype(float),
            "value": rng.integers(1, 100, rows).astype(float),
            "device": rng.choice(np.array(["mobile", "desktop", None], dtype=object), rows),
            "item": rng.choice(np.array(["a", "b", "c", None], dtype=object), rows),
        }
    )


@pytest.fixture(scope="module")
def both(spark: Any) -> dict[str, EventLog]:
    """The same events, read on each engine."""
    frame = _frame()
    session = spark._session
    session.createDataFrame(frame).createOrReplaceTempView("parity_events")
    return {
        "duckdb": mc.read_events(frame, plan=PLAN),
        "spark": mc.read_events(spark.table("parity_events"), plan=PLAN),
    }


def _same(both: dict[str, EventLog], reduce: Callable[[EventLog], pd.DataFrame]) -> pd.DataFrame:
    one, other = (reduce(both[engine]) for engine in ("duckdb", "spark"))
    keys = list(one.columns)
    one, other = (frame.sort_values(keys).reset_index(drop=True) for frame in (one, other))
    pd.testing.assert_frame_equal(one, other, check_dtype=False, check_exact=True)
    assert len(one) > 0
    return one


def test_reading(both: dict[str, EventLog]) -> None:
    for engine in ("duckdb", "spark"):
        assert both[engine].rows_accepted == 700
    assert both["duckdb"].observed_until == both["spark"].observed_until
    assert both["duckdb"].fingerprint == both["spark"].fingerprint
    pd.testing.assert_series_equal(both["duckdb"].event_counts, both["spark"].event_counts)


def test_occurrences(both: dict[str, EventLog]) -> None:
    def reduce(log: EventLog) -> pd.DataFrame:
        assert log.plan is not None
        return log.engine.fetch(at_entry(log, occurrences(log, log.plan.items), ["device", "item"]))

    found = _same(both, reduce)
    assert found["at_3"].notna().any()
    assert found["at_4"].notna().any()


RULES: dict[str, dict[str, Any]] = {
    "ordered": {},
    "first": {"reentry": "first"},
    "strict": {"order": "strict", "steps": ["view", "signup"]},
    "any": {"order": "any"},
    "any, first": {"order": "any", "reentry": "first"},
    "no window": {"window": None},
    "per step": {"within_step": "2D"},
    "optional": {"optional": ["signup"]},
    "exclusion": {"exclude": ["unsubscribe"]},
    "same item": {"same": "item", "steps": ["view", "cart", "purchase"]},
    "repeats": {"steps": ["view", "view", "cart", "view", "purchase"]},
    "overlaps": {"steps": ["view", {"event": "view", "where": "percent > 50"}, "third_view", "purchase"]},
    "any, optional, exclusion": {"order": "any", "optional": ["signup"], "exclude": ["unsubscribe"]},
    "strict, nth": {"order": "strict", "steps": ["view", "third_view"]},
    "repeats, optional, first, same": {
        "steps": ["view", "signup", "view", "purchase"],
        "optional": ["signup"],
        "reentry": "first",
        "same": "item",
    },
    "repeats, per step, exclusion": {"steps": ["view", "view", "purchase"], "within_step": "3D", "exclude": ["signup"]},
}


@pytest.mark.parametrize("name", RULES)
def test_funnels(both: dict[str, EventLog], name: str) -> None:
    options = {
        "steps": ["view", "signup", "cart", "purchase"],
        "window": "14D",
        "order": "ordered",
        "reentry": "latest",
        "within_step": None,
        "optional": (),
        "exclude": (),
        "same": None,
        **RULES[name],
    }
    steps = len(options["steps"])

    users = {engine: attempts(log, funnel_rule(log, **options), ["device"]) for engine, log in both.items()}
    engine_of = {id(log): engine for engine, log in both.items()}

    def mine(log: EventLog) -> Any:
        return users[engine_of[id(log)]]

    found = _same(both, lambda log: log.engine.fetch(mine(log)))
    assert found["level"].max() >= 2
    _same(both, lambda log: reach_counts(log, mine(log), steps, by=1))
    _same(both, lambda log: durations(log, mine(log), [None] * steps, (0.5, 0.9)))
    waits = [waiting_counts(both[e], users[e], steps, 14 * 86_400_000_000, by=1) for e in ("duckdb", "spark")]
    # Logarithms are summed in another order there: equal to rounding, not to the bit.
    pd.testing.assert_frame_equal(*waits, check_dtype=False, rtol=1e-12)


@pytest.mark.parametrize("origin", ["entry", "signup"])
@pytest.mark.parametrize("max_rows", [1_000_000, 60])
def test_risk_tables(both: dict[str, EventLog], origin: str, max_rows: int) -> None:
    def counts(log: EventLog) -> Any:
        rule = journey_rule(log, None, origin, None, "20D")
        users = journeys(log, rule, ["device"])
        assert population(log, users)["at_risk"] > 0
        return risk_table(log, users, rule, ["device"], max_rows)

    (one, kept), (other, kept_too) = counts(both["duckdb"]), counts(both["spark"])
    assert one == other
    assert kept == kept_too
    assert one.causes == ("purchase", "unsubscribe")
