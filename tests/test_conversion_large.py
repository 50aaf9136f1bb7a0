"""Beyond max_rows event times the engine sums the curves: the same numbers at every point that is handed over."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.logs import SECOND, log_of, random_events

import microconv as mc
from microconv.conversion import TimeToConversion, large

seeds = st.integers(0, 2**32 - 1)


def same(small: TimeToConversion, whole: TimeToConversion, by: list[str]) -> None:
    """Every number of the large path is that of the exact one."""
    assert small.risk_table is None
    keys = [*by, "time_days"]
    columns = [*keys, "probability", "ci_low", "ci_high", "at_risk"]
    merged = small.table[columns].merge(whole.table[columns], on=keys, how="left", suffixes=("", "_whole"))
    for column in columns[len(keys) :]:
        np.testing.assert_allclose(merged[column], merged[f"{column}_whole"], rtol=1e-9, atol=1e-12)
    for column in ("events", "censored"):
        sums = [f.groupby(by)[column].sum() if by else f[column].sum() for f in (small.table, whole.table)]
        np.testing.assert_array_equal(*sums)
    pd.testing.assert_frame_equal(small.summary, whole.summary, rtol=1e-7, atol=1e-12, check_dtype=False)
    if "tests" in whole.extra:
        expected = whole.tests[whole.tests["test"] == "log-rank"].reset_index(drop=True)
        pd.testing.assert_frame_equal(small.tests, expected, rtol=1e-7, check_dtype=False)
    if "pairs" in small.extra:
        pd.testing.assert_frame_equal(small.pairs, whole.pairs[list(small.pairs.columns)], rtol=1e-6, atol=1e-12)
    if "causes" in whole.extra:
        keys = [*by, "cause", "time_days"]
        merged = small.causes.merge(whole.causes, on=keys, how="left", suffixes=("", "_whole"))
        for column in ("probability", "se", "ci_low", "ci_high", "at_risk"):
            near = 1e-8 if column == "se" else 1e-12  # the root of a rounding error
            np.testing.assert_allclose(merged[column], merged[f"{column}_whole"], rtol=1e-8, atol=near)
        assert merged["probability"].notna().all()


@given(
    seeds,
    st.sampled_from([(), ("C",), ("C", "X")]),
    st.sampled_from([[], ["device"], ["device", "item"]]),
    st.sampled_from([{}, {"landmark": "2s"}, {"from_age": "2s"}, {"origin": "B"}]),
    st.none() | st.integers(3, 60),
)
@settings(max_examples=25)
def test_the_numbers_are_those_of_the_exact_table(
    seed: int, ends: tuple[str, ...], by: list[str], clock: dict[str, Any], horizon: int | None
) -> None:
    events = random_events(random.Random(seed), 60, span=60, most=4)
    log = log_of(events, max(e.time for e in events) + SECOND)
    horizon_text = f"{horizon}s" if horizon is not None else None
    options: dict[str, Any] = {"target": "A", "competing": list(ends), "by": by, "horizon": horizon_text, **clock}
    try:
        whole = mc.time_to_conversion(log, **options)
    except mc.ParameterError:
        return
    small = mc.time_to_conversion(log, max_rows=1, **options)
    if small.risk_table is not None:  # one row of counts is not beyond one
        return
    same(small, whole, by)


def big(users: int = 3_000, seed: int = 0) -> mc.EventLog:
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 30, users)
    waits = rng.exponential(np.where(np.arange(users) % 2, 20.0, 30.0))
    goes = rng.exponential(60.0, users)
    rows = pd.DataFrame({"user_id": np.arange(users), "day": start, "event": "visit"})
    rows["device"] = np.where(rows["user_id"] % 2, "mobile", "desktop")
    bought = pd.DataFrame({"user_id": np.arange(users), "day": start + waits, "event": "purchase"})
    left = pd.DataFrame({"user_id": np.arange(users), "day": start + goes, "event": "unsubscribe"})
    frame = pd.concat([rows, bought, left])
    frame = frame[frame["day"] < 60]
    frame["time"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    plan = {"macros": [{"name": "buy", "event": "purchase"}], "competing": ["unsubscribe"], "horizon": "20D"}
    return mc.read_events(frame, plan=plan, observed_until="2026-03-02")


@pytest.mark.parametrize("competing", [None, ()])
@pytest.mark.parametrize("by", [[], ["device"]])
def test_a_grid_of_a_larger_log(monkeypatch: pytest.MonkeyPatch, competing: Any, by: list[str]) -> None:
    monkeypatch.setattr(large, "_POINTS", 100)
    log = big()
    whole = mc.time_to_conversion(log, by=by, competing=competing)
    small = mc.time_to_conversion(log, by=by, competing=competing, max_rows=500)
    same(small, whole, by)
    assert 80 <= len(small.table) <= 120
    assert small.summary["p50_days"].notna().any() or small.summary["p25_days"].notna().any()
    text = " ".join(small.assumptions)
    assert "event times in the engine" in text
    assert f".table has {len(small.table):,} points of the curves, exact at each" in text
    small.plot()
    small.plot_causes()
    import matplotlib.pyplot as plt

    plt.close("all")


def test_cohorts_are_compared_as_far_as_each_was_observed() -> None:
    log = big()
    whole = mc.time_to_conversion(log, by="entry_week", competing=())
    small = mc.time_to_conversion(log, by="entry_week", competing=(), max_rows=500)
    assert small.parameters["compared_to_days"] == pytest.approx(whole.parameters["compared_to_days"])
    pd.testing.assert_frame_equal(small.tests, whole.tests, rtol=1e-8, check_dtype=False)
    assert "pairs" not in small.extra


def test_late_entry() -> None:
    log = big()
    users = log.engine.fetch(log.table.select("user_id", "time", "event"))
    first = users[users["event"] == "visit"].assign(signed=lambda f: f["time"] - pd.to_timedelta(f["user_id"] % 9, "D"))
    frame = users.merge(first[["user_id", "signed"]], on="user_id")
    again = mc.read_events(frame, plan=log.plan, observed_until="2026-03-02")
    whole = mc.time_to_conversion(again, origin_col="signed")
    small = mc.time_to_conversion(again, origin_col="signed", max_rows=500)
    same(small, whole, [])


def test_repeats_need_the_table() -> None:
    with pytest.raises(mc.ParameterError, match="more than max_rows=500"):
        mc.time_to_conversion(big(), repeat="each", max_rows=500)


def test_more_segments_than_are_tested_are_drawn_alone() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for i in range(400):
        rows.append((i, 0.0, "visit", f"city {i % 25}"))
        rows.append((i, rng.exponential(5), "purchase", None))
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event", "city"])
    frame["time"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    log = mc.read_events(frame, observed_until="2026-03-01")
    small = mc.time_to_conversion(log, target="purchase", by="city", max_rows=100)
    assert len(small.summary) == 25
    assert "tests" not in small.extra
