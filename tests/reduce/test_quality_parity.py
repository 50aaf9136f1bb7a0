"""The counts of quality are the same on DuckDB and on Spark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.quality import quality

pytestmark = pytest.mark.spark

PLAN = {
    "macros": [{"name": "purchase", "event": "purchase", "value": "value"}],
    "micros": [
        {"name": "signup", "event": "signup"},
        {"name": "third_view", "event": "view", "nth": 3},
        {"name": "long_stay", "event": "view", "total": {"column": "value", "at_least": 40}},
    ],
    "segments": ["device"],
    "horizon": "10D",
}


def test_both_engines_say_the_same(spark: Any) -> None:
    rng = np.random.default_rng(5)
    rows = 600
    time = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(rng.integers(0, 40 * 24, rows), unit="h")
    frame = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 80, rows)],
            "time": time,
            "event": rng.choice(["view", "view", "signup", "purchase", "other"], rows),
            "value": rng.integers(-3, 30, rows).astype(float),
            "device": rng.choice(np.array(["mobile", "desktop", None], dtype=object), rows),
            "received_at": time + pd.to_timedelta(rng.integers(0, 40, rows), unit="h"),
        }
    )
    spark._session.createDataFrame(frame).createOrReplaceTempView("quality_events")
    one = quality(mc.read_events(frame, plan=PLAN), by="device")
    other = quality(mc.read_events(spark.table("quality_events"), plan=PLAN), by="device")
    kept = ~one.table["check"].isin(["rows read"])  # whose note names the source
    pd.testing.assert_frame_equal(one.table[kept], other.table[kept])
    for name in ("days", "events", "plan", "segments"):
        pd.testing.assert_frame_equal(one.extra[name], other.extra[name], check_dtype=False)
    assert other.table.set_index("check").loc["out of order", "value"] > 0
