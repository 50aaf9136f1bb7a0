"""The gains, and so the policy, are the same on DuckDB and on Spark."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from crossing_world import crossing_log

import microconv as mc

pytestmark = pytest.mark.spark


def test_the_policy(spark: Any) -> None:
    log = crossing_log(400, 6)
    events = log.engine.fetch(log.table)[["user_id", "time", "event", "device"]]
    spark._session.createDataFrame(events).createOrReplaceTempView("next_best_events")
    one, other = [
        mc.next_best_micro(
            mc.read_events(source, plan=log.plan, observed_until=log.observed_until),
            by="device",
            micros=["guide", "app_install"],
            since_entry="7D",
        )
        for source in (events, spark.table("next_best_events"))
    ]
    pd.testing.assert_frame_equal(one.gains, other.gains, check_dtype=False, rtol=1e-9, atol=1e-12)
    assert one.policy["states"] == other.policy["states"]
