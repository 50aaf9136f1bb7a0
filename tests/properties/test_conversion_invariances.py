"""What must not move the answer of ``mc.time_to_conversion``: through ``mc.read_events``, on logs full of ties."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.logs import frame_of, random_events

import microconv as mc
from microconv.conversion import TimeToConversion

seeds = st.integers(0, 2**32 - 1)
PLAN = {
    "macros": [{"name": "goal", "event": "A", "where": "x is null or x < 2"}],
    "micros": [
        {"name": "second", "event": "B", "nth": 2},
        {"name": "spent", "total": {"column": "amount", "at_least": 3}},
    ],
    "competing": ["C"],
    "censor": [{"name": "gone", "event": "X", "where": "item = 'j'"}],
    "horizon": "5s",
}
UNTIL = pd.Timestamp("2026-01-01T00:00:20Z")
OPTIONS = ({"by": ["device", "item"]}, {"origin": "spent", "by": "device"}, {"origin": "second", "competing": ()})


def random_frame(seed: int, users: int = 30) -> pd.DataFrame:
    """Microsecond times, integer seconds with a few exact ties and a few that differ by a microsecond."""
    rng = random.Random(seed)
    frame = frame_of(random_events(rng, users))
    frame["time"] += pd.to_timedelta([rng.choice([0, 0, 0, 1]) for _ in range(len(frame))], unit="us")
    return frame


def answers(source: Any, until: Any = UNTIL, **options: Any) -> list[TimeToConversion]:
    log = mc.read_events(source, plan=options.pop("plan", PLAN), observed_until=until, **options)
    assert log.rows_rejected == 0
    return [mc.time_to_conversion(log, **asked) for asked in OPTIONS]


def assert_same(one: list[TimeToConversion], other: list[TimeToConversion]) -> None:
    for left, right in zip(one, other, strict=True):
        assert left.risk_table == right.risk_table
        pd.testing.assert_frame_equal(left.table, right.table, check_exact=True)
        pd.testing.assert_frame_equal(left.summary, right.summary, check_exact=True)
        assert left.extra.keys() == right.extra.keys()
        assert left.meaning == right.meaning


@given(seeds, seeds)
@settings(max_examples=3)
def test_row_order(seed: int, order: int) -> None:
    frame = random_frame(seed)
    assert_same(answers(frame), answers(frame.sample(frac=1, random_state=order % 2**31)))


@given(seeds)
@settings(max_examples=3)
def test_user_labels(seed: int) -> None:
    frame = random_frame(seed)
    names = frame["user_id"].unique()
    random.Random(seed).shuffle(names)
    hostile = dict(zip(names, [f"{name}'\"💥 <b>" for name in reversed(names)], strict=True))
    assert_same(answers(frame), answers(frame.assign(user_id=frame["user_id"].map(hostile))))


@given(seeds)
@settings(max_examples=3)
def test_whole_numbers_and_text_as_ids(seed: int) -> None:
    frame = random_frame(seed)
    numbers = frame["user_id"].str.removeprefix("u").astype(int)
    same = [numbers, numbers.astype(str), numbers.astype(float), numbers.astype("Int32")]
    expected = answers(frame)
    for ids in same:
        assert_same(expected, answers(frame.assign(user_id=ids)))


@given(seeds, st.sampled_from(["-60 days 7 us", "1 us", "3300 days", "-2000 days"]))
@settings(max_examples=3)
def test_time_shift(seed: int, by: str) -> None:
    frame, shift = random_frame(seed), pd.Timedelta(by)
    moved = answers(frame.assign(time=frame["time"] + shift), UNTIL + shift)
    assert_same(answers(frame), moved)


@given(seeds)
@settings(max_examples=3)
def test_irrelevant_events(seed: int) -> None:
    """Events that no item names, not before the user's entry, and without values of what users are told apart by."""
    frame, rng = random_frame(seed), random.Random(seed)
    extra = frame.sample(frac=0.5, random_state=rng.randrange(2**31)).assign(event="scrolled")
    extra[["x", "amount", "item", "device"]] = None
    extra["time"] += pd.to_timedelta([rng.randrange(3_000_000) for _ in range(len(extra))], unit="us")
    assert_same(answers(frame), answers(pd.concat([frame, extra.astype(frame.dtypes)])))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu"])
def test_the_time_zone_of_the_input(zone: str) -> None:
    frame = random_frame(5)
    expected = answers(frame)
    local = frame["time"].dt.tz_convert(zone)
    assert_same(expected, answers(frame.assign(time=local)))
    assert_same(expected, answers(frame.assign(time=local.dt.tz_localize(None)), tz=zone))
    texts = local.map(lambda t: t.isoformat())
    assert_same(expected, answers(frame.assign(time=texts)))
    mixed = [t.isoformat() if i % 2 else t.tz_convert("UTC").isoformat() for i, t in enumerate(local)]
    assert_same(expected, answers(frame.assign(time=mixed)))


def test_the_spelling_of_the_input(tmp_path: Path) -> None:
    """The same events as numbers, frames and files."""
    import polars as pl
    import pyarrow as pa

    frame = random_frame(6)
    expected = answers(frame)
    micros = frame["time"].dt.as_unit("us").astype("int64")
    assert_same(expected, answers(frame.assign(time=micros), time_unit="us"))
    assert_same(expected, answers(frame.assign(time=micros * 1_000), time_unit="ns"))
    assert_same(expected, answers(frame.assign(time=micros / 1_000), time_unit="ms"))
    assert_same(expected, answers(frame.assign(time=[f"{t / 1e6:.6f}" for t in micros]), time_unit="s"))
    assert_same(expected, answers(pl.from_pandas(frame)))
    assert_same(expected, answers(pa.Table.from_pandas(frame)))
    frame.to_parquet(tmp_path / "e.parquet", index=False)
    frame.to_csv(tmp_path / "e.csv", index=False)
    frame.to_json(tmp_path / "e.jsonl", orient="records", lines=True, date_format="iso", date_unit="us")
    for name in ("e.parquet", "e.csv", "e.jsonl"):
        assert_same(expected, answers(tmp_path / name))


def test_users_who_never_come_near_a_segment_do_not_move_it() -> None:
    frame = random_frame(7)
    whole = mc.time_to_conversion(mc.read_events(frame, observed_until=UNTIL), target="A", by="device")
    for segment in ("desktop", "mobile"):
        log = mc.read_events(frame, observed_until=UNTIL)
        entries = log.engine.fetch(log.events).sort_values(["time", "device"]).drop_duplicates("user_id")
        users = entries.loc[entries["device"] == segment, "user_id"].tolist()
        alone = mc.time_to_conversion(log.filter(users=users), target="A").table
        mine = whole.table[whole.table["device"] == segment].drop(columns="device").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, alone)
