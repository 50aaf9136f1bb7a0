"""Touches as exposures: every sum against a plain loop over users; the same on Spark; what must not matter does not."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.errors import ParameterError
from microconv.log import EventLog
from microconv.plan import End
from microconv.reduce.money import RevenueTerms
from microconv.reduce.path_rules import PathRule
from microconv.reduce.touch_exposures import touch_exposures
from microconv.touch_sums import TouchSums

START = pd.Timestamp("2026-03-01", tz="UTC")
HOUR, DAY = 3_600_000_000, 86_400_000_000
SPAN = 20 * 24  # hours
UNTIL = START + pd.Timedelta(SPAN + 5, unit="h")
VISIT = End(name="visit", event="visit")
PLAN: dict[str, Any] = {
    "macros": [{"name": "purchase", "event": "purchase", "value": "value", "currency": "EUR"}],
    "competing": ["cancel"],
    "censor": ["stop"],
}
RULE = PathRule(target=End(name="purchase", event="purchase"), terms=RevenueTerms(value="value"))
HALVES = (DAY, 7 * DAY)
CHANNELS = ("direct", "email", "search", "social")


def frame_of(seed: int, users: int = 250) -> pd.DataFrame:
    """Events every four hours, so that ties of everything with everything abound."""
    rng = np.random.default_rng(seed)
    rows = users * 6
    event = rng.choice(
        ["visit", "visit", "visit", "purchase", "cancel", "stop"], rows, p=[0.3, 0.3, 0.2, 0.15, 0.03, 0.02]
    )
    channel = np.where(event == "visit", rng.choice(np.array([*CHANNELS, None], dtype=object), rows), None)
    return pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, users, rows)],
            "time": START + pd.to_timedelta(4 * rng.integers(0, SPAN // 4, rows), unit="h"),
            "event": event,
            "channel": channel,
            "value": np.where(event == "purchase", rng.choice([9.99, 20.0, 0.5], rows), np.nan),
        }
    )


def log_of(frame: pd.DataFrame, **reading: Any) -> EventLog:
    return mc.read_events(frame, plan=PLAN, observed_until=UNTIL, **reading)


def by_loops(frame: pd.DataFrame, sums: TouchSums, *, reverse: bool = False, repeat: str = "each") -> dict[str, Any]:
    """The sums, one user after another, in hours."""
    cuts = [cut * 24 for cut in sums.cuts_days]
    totals: dict[int, np.ndarray] = {}
    at_risk: dict[tuple[int, int], np.ndarray] = {}
    exposures: dict[tuple[int, int], np.ndarray] = {}
    conversions: dict[str, tuple[Any, ...]] = {}
    acting: dict[tuple[str, int], list[float]] = {}
    at_once = 0
    for user, own in frame.groupby("user_id"):
        bucket = int(hashlib.md5(str(user).encode()).hexdigest()[:2], 16)
        rows = [
            (round((at - START) / pd.Timedelta(1, unit="h")), event, channel, value)
            for at, event, channel, value in own[["time", "event", "channel", "value"]].itertuples(index=False)
        ]
        stop = min([at for at, event, _, _ in rows if event == "stop"] + [SPAN + 5])
        cancel = min([at for at, event, _, _ in rows if event == "cancel"] + [SPAN + 5])
        goals = sorted(at for at, event, _, _ in rows if event == "purchase" and at <= stop)
        counted = sorted(set(goals))[:1] if repeat == "first" else sorted(set(goals))
        paid = [(at, value) for at, event, _, value in rows if event == "purchase" and at <= stop]
        worth = dict.fromkeys(counted, 0.0)
        for at, value in paid:
            if before := [goal for goal in counted if goal <= at]:
                worth[before[-1]] += value
        many = {goal: 1 if repeat == "first" else goals.count(goal) for goal in counted}
        row = totals.setdefault(bucket, np.zeros(4))
        row[:2] += sum(many.values()), sum(worth.values())
        touches = [(at, CHANNELS.index(c) + 1) for at, event, c, _ in rows if event == "visit" and c is not None]
        touches = sorted((at, number) for at, number in touches if at <= stop)
        if not touches:
            continue
        first = touches[0][0]
        entry = (max if reverse else min)(number for at, number in touches if at == first)
        end = min([stop, cancel, *goals[:1]])
        if first > end:
            continue
        won = bool(goals) and goals[0] == end
        spent = at_risk.setdefault((bucket, entry), np.zeros(len(cuts) + 2))
        spent[0] += 1
        for k, (low, high) in enumerate(zip([0, *cuts], [*cuts, math.inf], strict=True)):
            spent[k + 1] += max(min(end - first, high) - low, 0) / 24
        for at, number in touches:
            if at <= end:
                row_of = exposures.setdefault((bucket, number), np.zeros(2 + len(HALVES)))
                row_of[:2] += 1, at > first or number != entry
                for i, half in enumerate(HALVES):
                    days = half / DAY
                    row_of[2 + i] += days / math.log(2) * (1 - 2 ** -((end - at) / 24 / days))
        if won:
            row[2:] += many[end], worth[end]
            interval = sum(end - first > cut + 1e-6 for cut in cuts)
            conversions[str(user)] = (bucket, entry, interval, 1.0, many[end], worth[end])
            at_once += any(at == end for at, _ in touches)
            for at, number in touches:
                if at <= end:
                    found = acting.setdefault((str(user), number), [0.0] * len(HALVES))
                    for i, half in enumerate(HALVES):
                        found[i] += 2 ** -((end - at) * HOUR / half)
    order = sorted(conversions, key=lambda user: (conversions[user][0], user))
    return {
        "totals": [[key, *value] for key, value in sorted(totals.items()) if value[0]],
        "at_risk": [[*key, *value] for key, value in sorted(at_risk.items())],
        "exposures": [[*key, *value] for key, value in sorted(exposures.items())],
        "conversions": [conversions[user] for user in order],
        "acting": sorted([order.index(user), number, *value] for (user, number), value in acting.items()),
        "at_once": at_once,
    }


def check(sums: TouchSums, expected: dict[str, Any]) -> None:
    for name in ("totals", "at_risk", "exposures", "conversions", "acting"):
        frame = getattr(sums, name)
        if name == "acting":
            frame = frame.sort_values(["row", "channel"])
        np.testing.assert_allclose(
            frame.to_numpy(dtype=float), np.array(expected[name], dtype=float), rtol=1e-9, atol=1e-9
        )
    assert sums.at_once == expected["at_once"] > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("reverse", "repeat"), [(False, "each"), (True, "first")])
def test_every_sum_is_that_of_a_loop_over_users(seed: int, reverse: bool, repeat: str) -> None:
    frame = frame_of(seed)
    sums = touch_exposures(log_of(frame), replace(RULE, reverse=reverse, repeat=repeat), HALVES, intervals=4)
    assert sums.channels == CHANNELS
    assert len(sums.cuts_days) == 3
    assert sums.sampled == 1
    check(sums, by_loops(frame, sums, reverse=reverse, repeat=repeat))


def test_neither_the_order_of_rows_nor_the_names_of_channels_matter() -> None:
    frame = frame_of(9)
    plain = touch_exposures(log_of(frame), RULE, HALVES)
    shuffled = touch_exposures(log_of(frame.sample(frac=1, random_state=1)), RULE, HALVES)
    renamed = touch_exposures(log_of(frame.assign(channel="x " + frame["channel"])), RULE, HALVES)
    for name in ("totals", "at_risk", "exposures", "conversions", "acting"):
        for other in (shuffled, renamed):
            pd.testing.assert_frame_equal(getattr(plain, name), getattr(other, name), rtol=1e-12)


def test_without_competing_ends_users_stay_at_risk() -> None:
    frame = frame_of(3)
    ended = touch_exposures(log_of(frame), RULE, HALVES)
    alone = touch_exposures(log_of(frame), replace(RULE, touch=VISIT), HALVES, competing=())
    plan = {key: value for key, value in PLAN.items() if key != "competing"}
    same = touch_exposures(mc.read_events(frame, plan=plan, observed_until=UNTIL), replace(RULE, touch=VISIT), HALVES)
    pd.testing.assert_frame_equal(alone.at_risk, same.at_risk)
    assert alone.at_risk["users"].sum() >= ended.at_risk["users"].sum()
    assert len(alone.conversions) > len(ended.conversions)


def test_a_sample_of_conversions_stands_for_all_of_them() -> None:
    log = log_of(frame_of(5, users=3_000))
    whole, part = touch_exposures(log, RULE, HALVES), touch_exposures(log, RULE, HALVES, most=600)
    assert part.sampled < 1
    assert 400 < len(part.conversions) < 800 < len(whole.conversions)
    pd.testing.assert_frame_equal(whole.totals, part.totals)
    pd.testing.assert_frame_equal(whole.exposures, part.exposures)
    assert part.conversions["weight"].sum() == pytest.approx(len(whole.conversions))
    for column in ("conversions", "value"):
        assert part.conversions[column].sum() == pytest.approx(whole.conversions[column].sum())
    assert part.acting["row"].nunique() == len(part.conversions)


def test_where_younger_conversions_are_left_out_observation_ends_earlier() -> None:
    frame, week = frame_of(6), 7 * DAY
    sums = touch_exposures(log_of(frame), replace(RULE, worth=RULE.target, worth_within=week), HALVES)
    until = UNTIL - pd.Timedelta(7, unit="D")
    earlier = mc.read_events(frame[frame["time"] <= until], plan=PLAN, observed_until=until)
    plain = touch_exposures(earlier, RULE, HALVES)
    for name in ("at_risk", "exposures", "acting"):
        pd.testing.assert_frame_equal(getattr(sums, name), getattr(plain, name), rtol=1e-12)
    assert sums.totals["conversions"].sum() == plain.totals["conversions"].sum()


def test_half_lives_are_above_zero() -> None:
    with pytest.raises(ParameterError, match="half_lives"):
        touch_exposures(log_of(frame_of(1)), RULE, [0])


@pytest.mark.spark
def test_spark_counts_the_same(spark: Any) -> None:
    frame = frame_of(2, users=80)
    plain = touch_exposures(log_of(frame), RULE, HALVES)
    spark._session.createDataFrame(frame).createOrReplaceTempView("touch_exposure_events")
    other = touch_exposures(log_of(spark.table("touch_exposure_events")), RULE, HALVES)
    for name in ("totals", "at_risk", "exposures", "conversions", "acting"):
        pd.testing.assert_frame_equal(getattr(plain, name), getattr(other, name), rtol=1e-12)
