"""Late entry, landmarks and repeat conversions give the same counts on DuckDB and on Spark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.journeys import journey_rule, segments_of
from microconv.log import EventLog
from microconv.reduce.risk import journeys, left_out, population, risk_table
from microconv.reduce.waits import users_by

pytestmark = pytest.mark.spark

PLAN = {
    "macros": [{"name": "purchase", "event": "purchase"}],
    "micros": [{"name": "signup", "kind": "form", "event": "signup"}],
    "competing": ["unsubscribe"],
    "censor": ["deleted"],
}
EVENTS = ["view", "view", "signup", "purchase", "purchase", "unsubscribe", "deleted"]


@pytest.fixture(scope="module")
def both(spark: Any) -> dict[str, EventLog]:
    rng = np.random.default_rng(5)
    rows, users = 500, 80
    frame = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, users, rows)],
            "time": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(rng.integers(0, 24 * 40, rows), unit="h")
            + pd.to_timedelta(rng.choice([0, 0, 1, 999_999], rows), unit="us"),
            "event": rng.choice(EVENTS, rows, p=np.array([6, 6, 4, 3, 3, 0.5, 0.3]) / 22.8),
            "device": rng.choice(np.array(["mobile", "desktop", None], dtype=object), rows),
        }
    )
    first = frame.groupby("user_id")["time"].transform("min")
    back = pd.to_timedelta(rng.choice([-30, -3, 0, 0, 5, 50, 200], rows), unit="h")
    known = first - back
    frame["signed_at"] = known
    frame["signed_text"] = [None if n % 7 == 0 else t.isoformat() for n, t in enumerate(known)]
    frame["signed_local"] = [t.tz_localize(None).isoformat(sep=" ") for t in known]
    frame["signed_on"] = [f"{t:%Y-%m-%d}" if n % 5 else "soon" for n, t in enumerate(known)]
    session = spark._session
    session.createDataFrame(frame).createOrReplaceTempView("late_events")
    return {
        "duckdb": mc.read_events(frame, plan=PLAN),
        "spark": mc.read_events(spark.table("late_events"), plan=PLAN),
    }


CLOCKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "timestamps": ({"origin_col": "signed_at"}, ["device"]),
    "text with an offset": ({"origin_col": "signed_text", "horizon": "20D"}, ["device"]),
    "local text": ({"origin_col": "signed_local", "tz": "America/New_York"}, []),
    "dates": ({"origin_col": "signed_on", "tz": "Asia/Kathmandu", "from_age": "12h"}, ["entry_week"]),
    "landmark": ({"landmark": "60h", "horizon": "20D"}, ["signup", "device"]),
    "late landmark": ({"landmark": "60h", "origin_col": "signed_at"}, ["device", "signup"]),
    "from an age": ({"from_age": "30h"}, ["device"]),
    "each": ({"repeat": "each"}, ["device", "conversion_number"]),
    "each, from a signup": ({"repeat": "each", "origin": "signup", "horizon": "9D"}, []),
}


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("max_rows", [1_000_000, 75])
def test_the_same_counts(both: dict[str, EventLog], name: str, max_rows: int) -> None:
    options, by = CLOCKS[name]
    options = {"origin": "entry", **options}
    found = {}
    for engine, log in both.items():
        rule = journey_rule(log, None, options["origin"], None, options.get("horizon"), **{
            key: value for key, value in options.items() if key not in ("origin", "horizon")
        })  # fmt: skip
        segments, rule = segments_of(log, by, rule, [])
        users = journeys(log, rule, segments, "Europe/Berlin")
        frame = log.engine.fetch(users)
        frame = frame.sort_values(list(frame.columns)).reset_index(drop=True)
        try:
            counts = risk_table(log, users, rule, segments, max_rows)
        except mc.ParameterError as error:  # too many rows even when compacted: equally many on both
            counts = str(error)
        found[engine] = frame, left_out(log, users), population(log, users, len(by)), users_by(log, users, by), counts
    one, other = found["duckdb"], found["spark"]
    pd.testing.assert_frame_equal(one[0], other[0], check_dtype=False, check_exact=True)
    assert one[1:] == other[1:]
    assert one[2]["at_risk"] > 10
    if max_rows > 75:
        table = one[4][0]
        assert table.frame["d_purchase"].sum() > 5
        if options.get("origin_col") or "landmark" in options or "from_age" in options:
            assert sum(one[1].values()) > 0


@pytest.mark.parametrize("options", [{}, {"competing": ()}, {"origin_col": "signed_at"}], ids=str)
def test_curves_summed_in_the_engine(both: dict[str, EventLog], options: dict[str, Any]) -> None:
    one, other = (
        mc.time_to_conversion(log, by="device", horizon="20D", max_rows=1, **options) for log in both.values()
    )
    assert one.risk_table is None
    pd.testing.assert_frame_equal(one.table, other.table, rtol=1e-9, check_dtype=False)
    assert one.extra.keys() == other.extra.keys()
    for name, frame in one.extra.items():
        pd.testing.assert_frame_equal(frame, other.extra[name], rtol=1e-8, atol=1e-10, check_dtype=False)
