"""What a micro is worth is the same on DuckDB and on Spark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

import microconv as mc
from microconv.simulate import confounded_world

pytestmark = pytest.mark.spark


def test_the_whole_table_by_both_methods(spark: Any) -> None:
    world = confounded_world()
    log = mc.simulate(600, 2, world=replace(world, micros=world.micros[:1]))
    events = log.events[["user_id", "time", "event", "value", "device"]]
    spark._session.createDataFrame(events).createOrReplaceTempView("value_events")
    found = [
        mc.micro_value(
            mc.read_events(source, plan=log.plan, observed_until=log.observed_until),
            micros="add_to_cart",
            horizon="14D",
            adjust="device",
            bins=8,
        )
        for source in (events, spark.table("value_events"))
    ]
    for name in ("table", "methods", "credited", "naive_counts", "revenue", "support"):
        one, other = (getattr(result, name) for result in found)
        pd.testing.assert_frame_equal(one, other, check_dtype=False, rtol=1e-9, atol=1e-12, obj=name)
    assert found[0].meaning == found[1].meaning
    assert found[0].warnings == found[1].warnings
