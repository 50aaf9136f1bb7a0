"""What only prior activity shows: keen users visit more before time zero, act sooner and buy sooner by themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.log import EventLog

START = pd.Timestamp("2026-01-01", tz="UTC")


def keen_world(n: int, seed: int) -> EventLog:
    """Keen users have about twelve visits in the ten days before they sign up, others hardly one. They watch the video
    six times as soon, and buy five times as soon; the video does nothing.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, float, str]] = []
    for i in range(n):
        user, keen, signup = f"u{i:05d}", rng.random() < 0.5, rng.uniform(12, 40)
        visits = signup - rng.uniform(0, 10, rng.poisson(12 if keen else 0.3))
        rows += [(user, float(day), "session_start") for day in visits]
        video = signup + rng.exponential(5 if keen else 30)
        buy = signup + rng.exponential(15 if keen else 80)
        rows += [(user, signup, "signup"), (user, video, "video"), (user, buy, "buy")]
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event"]).query("day < 70")
    frame = frame.assign(time=START + pd.to_timedelta(frame["day"], unit="D")).drop(columns="day")
    plan = {
        "macros": [{"name": "buy", "event": "buy"}],
        "micros": [{"name": "video", "event": "video"}],
        "horizon": "10D",
    }
    return mc.read_events(frame, plan=mc.Plan(**plan), observed_until=START + pd.Timedelta("70D"))


def test_prior_activity_takes_away_what_keen_users_would_have_done_anyway() -> None:
    log = keen_world(4_000, 5)
    plain = mc.micro_value(log, origin="signup").methods.set_index("method")
    adjusted = mc.micro_value(log, origin="signup", activity="visits")
    found = adjusted.methods.set_index("method")
    for method in ("hazard", "trials"):
        assert plain.loc[method, "incremental"] > 0.12  # of users who are told apart by nothing: all bias
        assert plain.loc[method, "ci_low"] > 0.1
        assert found.loc[method, "incremental"] == pytest.approx(0, abs=0.03)
        assert found.loc[method, "ci_low"] < 0 < found.loc[method, "ci_high"]
    assert adjusted.table["label"].tolist() == ["adjusted"]
