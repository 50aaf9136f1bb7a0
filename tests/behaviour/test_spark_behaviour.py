"""Behaviour by a landmark is the same on DuckDB and on Spark."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import microconv as mc

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def logs(spark: Any) -> list[Any]:
    made = mc.simulate(500, 3)
    columns = ["user_id", "time", "event", "value", "percent", "engagement_seconds", "device", "country", "channel"]
    events = made.events[columns]
    texts = {name: events[name].fillna("") for name in ("device", "country", "channel")}
    events = events.assign(**texts)
    spark._session.createDataFrame(events).createOrReplaceTempView("behaviour_events")
    return [
        mc.read_events(source, plan=made.plan, observed_until=made.observed_until)
        for source in (events, spark.table("behaviour_events"))
    ]


@pytest.mark.parametrize("how", ["rules", "rfm", "clusters"])
def test_segments_by_behaviour(logs: list[Any], how: str) -> None:
    one, other = (
        mc.behaviour_segments(log, at="7D", how=how, clusters=3 if how == "clusters" else None) for log in logs
    )
    for name in ("table", "profile", "left_out", "tests"):
        pd.testing.assert_frame_equal(
            getattr(one, name), getattr(other, name), check_dtype=False, rtol=1e-9, atol=1e-12, obj=name
        )
    assert one.meaning == other.meaning


def test_an_audience(logs: list[Any]) -> None:
    one, other = (mc.audience(log, {"name": "some", "min_micros": 1}, horizon="14D", consent=None) for log in logs)
    for name in ("table", "states"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_dtype=False, rtol=1e-9, obj=name)
    lists = [set(found.engine.fetch(found.members)["user_id"]) for found in (one, other)]
    assert lists[0] == lists[1]


def test_sequences_of_micros(logs: list[Any]) -> None:
    names = ["add_to_cart", "newsletter_signup", "third_visit"]
    one, other = (mc.micro_patterns(log, micros=names) for log in logs)
    for name in ("table", "transitions", "lead_times"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_dtype=False, rtol=1e-9, obj=name)
