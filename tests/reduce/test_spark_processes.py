"""Counts of processes and doers are the same on DuckDB and on Spark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.journeys import journey_rule
from microconv.log import EventLog
from microconv.reduce.entrants import People, people
from microconv.reduce.process_counts import count_processes, doers, process_cuts
from microconv.reduce.states import Layout, StateColumn, moments

pytestmark = pytest.mark.spark

PLAN: dict[str, Any] = {
    "macros": [{"name": "purchase", "event": "purchase"}],
    "micros": [
        {"name": "signup", "kind": "form", "event": "signup"},
        {"name": "video", "kind": "engagement", "event": "video"},
        {"name": "second_view", "kind": "engagement", "event": "view", "nth": 2},
        {"name": "third_view", "kind": "engagement", "event": "view", "nth": 3},
    ],
    "competing": ["unsubscribe"],
}
LAYOUT = Layout(
    tuple((i, 0) for i in range(4)),
    (StateColumn("signup", (0,)), StateColumn("video", (1,)), StateColumn("views", (2, 3), 2)),
)


def _frame(rows: int = 600, users: int = 110, seed: int = 4) -> pd.DataFrame:
    """Events at whole hours, so that ties abound, with a microsecond here and there and some attributes missing."""
    rng = np.random.default_rng(seed)
    events = ["view", "signup", "video", "purchase", "unsubscribe", "visit"]
    return pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, users, rows)],
            "time": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(rng.integers(0, 24 * 40, rows), unit="h")
            + pd.to_timedelta(rng.choice([0, 0, 0, 1, 999_999], rows), unit="us"),
            "event": rng.choice(events, rows, p=[0.4, 0.15, 0.15, 0.1, 0.02, 0.18]),
            "device": rng.choice(np.array(["mobile", "desktop", None], dtype=object), rows),
        }
    )


@pytest.fixture(scope="module", params=["entry", "visit"])
def users(spark: Any, request: pytest.FixtureRequest) -> dict[str, People]:
    """The same users on each engine; since their first visit some have done a micro before time zero."""
    frame = _frame()
    spark._session.createDataFrame(frame).createOrReplaceTempView("process_events")
    logs = {
        "duckdb": mc.read_events(frame, plan=PLAN),
        "spark": mc.read_events(spark.table("process_events"), plan=PLAN),
    }

    def of(log: EventLog) -> People:
        assert log.plan is not None
        return people(log, journey_rule(log, None, request.param, None, None), log.plan.micros, ["device"])

    return {engine: of(log) for engine, log in logs.items()}


def _same(users: dict[str, People], reduce: Callable[[People], pd.DataFrame]) -> pd.DataFrame:
    one, other = (reduce(users[engine]) for engine in ("duckdb", "spark"))
    pd.testing.assert_frame_equal(one, other, check_dtype=False, check_exact=True)
    assert len(one) > 0
    return one


def test_processes_and_doers(users: dict[str, People]) -> None:
    cuts = {name: process_cuts(who, moments(who, LAYOUT), LAYOUT, 8) for name, who in users.items()}
    assert cuts["duckdb"] == cuts["spark"]
    found = {
        name: count_processes(who, LAYOUT, moments(who, LAYOUT), cuts[name], latest=10**12)
        for name, who in users.items()
    }
    exposures = _same(users, lambda who: found[_name(users, who)].exposures.frame)
    assert exposures[["d_purchase", "d_+signup", "d_+views"]].to_numpy().sum(axis=0).min() > 0
    for column in LAYOUT.names:
        pd.testing.assert_frame_equal(
            found["duckdb"].doers[column], found["spark"].doers[column], check_dtype=False, check_exact=True
        )
        assert len(found["spark"].doers[column]) > 0
    _same(users, lambda who: doers(who, LAYOUT, moments(who, LAYOUT), "views", 6, latest=10**12))


def _name(users: dict[str, People], who: People) -> str:
    return next(name for name, one in users.items() if one is who)
