"""What must not move the answers about speed and shares: the clock, labels, order, events of no concern, the source."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.results import Result

NO_SHIFT = pd.Timedelta(0)
UNTIL = pd.Timestamp("2026-03-02T00:00:00Z")
PLAN: dict[str, Any] = {
    "macros": [{"name": "goal", "event": "buy", "where": "amount > 0"}],
    "micros": [
        {"name": "signup", "event": "signup"},
        {"name": "third visit", "event": "visit", "nth": 3},
        {"name": "long stay", "total": {"column": "seconds", "at_least": 60}},
    ],
    "competing": ["unsubscribe"],
    "censor": ["deleted"],
    "horizon": "14D",
}


def random_frame(seed: int, users: int = 500) -> pd.DataFrame:
    """Eight weeks of entries, moments to the microsecond and some of them shared; half buy in the end."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, float, str, str | None, float, float]] = []
    for user in range(users):
        entry = rng.uniform(0, 50)
        device = rng.choice(["mobile", "desktop", "tv"], p=[0.6, 0.3, 0.1])
        rows.append((f"u{user}", entry, "visit", device, 0.0, rng.uniform(0, 40)))
        visits = entry + np.cumsum(rng.exponential(2.0, rng.poisson(3)))
        rows += [(f"u{user}", at, "visit", None, 0.0, rng.uniform(0, 40)) for at in visits]
        signup = entry + rng.exponential(6.0)
        rows.append((f"u{user}", signup, "signup", None, 0.0, 0.0))
        if rng.random() < 0.55:
            buy = entry + 3.0 * rng.weibull(0.8)
            amount = 0.0 if rng.random() < 0.1 else 10.0
            rows.append(
                (f"u{user}", visits[0] if len(visits) and rng.random() < 0.1 else buy, "buy", None, amount, 0.0)
            )
        if rng.random() < 0.15:
            rows.append((f"u{user}", entry + rng.exponential(10.0), "unsubscribe", None, 0.0, 0.0))
        if rng.random() < 0.05:
            rows.append((f"u{user}", entry + rng.exponential(10.0), "deleted", None, 0.0, 0.0))
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event", "device", "amount", "seconds"])
    micros = (frame.pop("day") * 86_400e6).round().astype("int64")
    frame["time"] = pd.Timestamp("2026-01-05T00:00:00Z") + pd.to_timedelta(micros, unit="us")
    frame = frame[frame["time"] <= UNTIL]
    return frame[["user_id", "time", "event", "device", "amount", "seconds"]].reset_index(drop=True)


QUESTIONS: dict[str, Callable[[Any], Result]] = {
    "hazard_ratios": lambda log: mc.hazard_ratios(log, adjust=["device"]),
    "hazard_ratios robust": lambda log: mc.hazard_ratios(log, strata=["device"], robust=True, ties="breslow"),
    "hazard_ratios piecewise": lambda log: mc.hazard_ratios(log, adjust=["device"], method="piecewise"),
    "fallacy_check": lambda log: mc.fallacy_check(log),
    "eventual_conversion": lambda log: mc.eventual_conversion(log, by="device"),
    "forecast": lambda log: mc.forecast(log),
    "retention": lambda log: mc.retention(log),
    "time_to_conversion": lambda log: mc.time_to_conversion(log, by="device"),
}


def answer(question: str, source: Any, until: pd.Timestamp = UNTIL, **options: Any) -> Result:
    log = mc.read_events(source, plan=PLAN, observed_until=until, **options)
    assert log.rows_rejected == 0
    return QUESTIONS[question](log)


@cache
def expected(question: str) -> Result:
    return answer(question, random_frame(1))


def assert_same(found: Result, known: Result, shift: pd.Timedelta = NO_SHIFT) -> None:
    """Equal tables, but for the last digits of sums; dates are moved back by the shift first."""
    assert found.extra.keys() == known.extra.keys()
    for name in ("table", *known.extra):
        one, other = (getattr(result, name).reset_index(drop=True) for result in (found, known))
        pd.testing.assert_frame_equal(unshifted(one, shift), other, rtol=1e-7, atol=1e-9, check_dtype=False, obj=name)
    if not shift:
        assert found.meaning == known.meaning
        assert found.warnings == known.warnings


def unshifted(frame: pd.DataFrame, shift: pd.Timedelta) -> pd.DataFrame:
    if not shift:
        return frame
    moved = frame.copy()
    for column in frame:
        if pd.api.types.is_numeric_dtype(frame[column]):
            continue
        dates = pd.to_datetime(frame[column], errors="coerce", format="%Y-%m-%d", utc=False)
        if pd.api.types.is_datetime64_any_dtype(frame[column]):
            moved[column] = frame[column] - shift
        elif len(frame) and dates.notna().all():
            moved[column] = (dates - shift).dt.strftime("%Y-%m-%d")
    return moved


@pytest.mark.parametrize("question", QUESTIONS)
def test_row_order_and_the_names_of_users(question: str) -> None:
    frame = random_frame(1).sample(frac=1, random_state=5)
    names = frame["user_id"].unique()
    other = dict(zip(names, [f"{name}'\"💥<b>" for name in reversed(names)], strict=True))
    assert_same(answer(question, frame.assign(user_id=frame["user_id"].map(other))), expected(question))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("weeks", [-520, 52])
def test_a_shifted_clock(question: str, weeks: int) -> None:
    """By whole weeks, so that weeks of entry begin where they began."""
    frame, shift = random_frame(1), pd.Timedelta(days=7 * weeks)
    moved = answer(question, frame.assign(time=frame["time"] + shift), UNTIL + shift)
    assert_same(moved, expected(question), shift)


@pytest.mark.parametrize("question", ["hazard_ratios", "hazard_ratios robust", "time_to_conversion"])
def test_a_clock_shifted_by_an_odd_time(question: str) -> None:
    """Where no calendar enters, any shift will do."""
    frame, shift = random_frame(1), pd.Timedelta("1234 days 5 h 7 min 11.000013 s")
    moved = answer(question, frame.assign(time=frame["time"] + shift), UNTIL + shift)
    for name in ("table", *(name for name in moved.extra if name in ("summary", "tests"))):
        one, other = getattr(moved, name), getattr(expected(question), name)
        pd.testing.assert_frame_equal(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "retention"])
def test_events_of_no_concern(question: str) -> None:
    """Events that the plan does not name, after the user's entry, without values of what users are told apart by."""
    frame, rng = random_frame(1), np.random.default_rng(2)
    extra = frame.sample(frac=0.5, random_state=3).assign(event="scrolled", device=None, amount=99.0, seconds=np.nan)
    extra["time"] += pd.to_timedelta(rng.integers(0, 10**9, len(extra)), unit="us")
    extra = extra[extra["time"] <= UNTIL]
    found = answer(question, pd.concat([frame, extra], ignore_index=True))
    assert_same(found, expected(question))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_frame_a_file_and_a_table_of_duckdb(question: str, tmp_path: Path) -> None:
    frame = random_frame(1)
    frame.to_parquet(tmp_path / "events.parquet", index=False)
    assert_same(answer(question, tmp_path / "events.parquet"), expected(question))
    connection = duckdb.connect()
    connection.register("frame", frame)
    connection.execute("create table events as select * from frame")
    assert_same(answer(question, connection.table("events")), expected(question))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_same_input_gives_the_same_output(question: str) -> None:
    again = answer(question, random_frame(1))
    known = expected(question)
    pd.testing.assert_frame_equal(again.table, known.table, check_exact=True)
    assert (again.meaning, again.warnings, again.assumptions) == (known.meaning, known.warnings, known.assumptions)
