"""When users entered, first did each plan item, and what was known of them at entry: against plain Python."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.funnels import Event
from reference.journeys import MISSING, Thing, attribute, by_user
from reference.logs import BASE, SECOND, engine, log_of, random_events

import microconv as mc
from microconv.log import EventLog
from microconv.plan import Item, Micro
from microconv.reduce.occurrences import at_entry, earliest, occurrences

seeds = st.integers(0, 2**32 - 1)

# The same thing in the plan's words and in plain Python.
THINGS: dict[str, tuple[dict[str, Any], Thing]] = {
    "plain": ({"event": "A"}, Thing("A")),
    "never": ({"event": "Z"}, Thing("Z")),
    "where": ({"event": "B", "where": "x > 0"}, Thing("B", lambda c: c["x"] is not None and c["x"] > 0)),
    "missing": ({"event": "A", "where": "device is null"}, Thing("A", lambda c: c["device"] is None)),
    "second": ({"event": "A", "nth": 2}, Thing("A", nth=2)),
    "fourth": ({"event": "C", "nth": 4}, Thing("C", nth=4)),
    "second of some": (
        {"event": "C", "where": "item = 'i'", "nth": 2},
        Thing("C", lambda c: c["item"] == "i", nth=2),
    ),
    "total": ({"event": "B", "total": {"column": "amount", "at_least": 3}}, Thing("B", total=("amount", 3.0))),
    "total of all": ({"total": {"column": "amount", "at_least": 6.5}}, Thing(None, total=("amount", 6.5))),
    "total of some": (
        {"where": "x in (0, 1)", "total": {"column": "amount", "at_least": 2}},
        Thing(None, lambda c: c["x"] in (0, 1), total=("amount", 2.0)),
    ),
}
ITEMS: list[Item] = [Micro(name=name, **spelled) for name, (spelled, _) in THINGS.items()]


def with_refunds(events: list[Event], rng: random.Random) -> list[Event]:
    """The events with some amounts negative, so that a running total also falls."""
    return [
        replace(
            e, columns={**e.columns, "amount": rng.choice([-2.0, -4.0]) if rng.random() < 0.2 else e.columns["amount"]}
        )
        for e in events
    ]


def fetched(log: EventLog, table: Any) -> list[dict[str, Any]]:
    frame = log.engine.fetch(table).sort_values("user_id")
    return [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


@given(seeds, st.booleans())
@settings(max_examples=30)
def test_first_times_are_those_of_a_loop(seed: int, ids: bool) -> None:
    rng = random.Random(seed)
    events = with_refunds(random_events(rng, 12, ids=ids), rng)
    log = log_of(events)
    users = by_user(events)
    for row in fetched(log, occurrences(log, ITEMS)):
        mine = users.pop(row["user_id"])
        assert row["entry"] == min(e.time for e in mine)
        for i, (name, (_, thing)) in enumerate(THINGS.items()):
            assert row[f"at_{i}"] == thing.first(mine), (name, [(e.time - BASE, e.event, e.columns) for e in mine])
    assert not users


@given(seeds)
@settings(max_examples=15)
def test_attributes_at_entry_are_those_of_a_loop(seed: int) -> None:
    rng = random.Random(seed)
    columns = ["device", "item", "x", "event"]
    events = random_events(rng, 12, span=4)
    events = [replace(e, columns={**e.columns, "item": rng.choice([e.columns["item"], ""])}) for e in events]
    log = log_of(events)
    users = by_user([replace(e, columns={**e.columns, "event": e.event}) for e in events])
    for row in fetched(log, at_entry(log, occurrences(log, []), columns)):
        mine = users.pop(row["user_id"])
        expected = [attribute(mine, row["entry"], column) for column in columns]
        assert [row[f"by_{i}"] for i in range(len(columns))] == expected
    assert not users


def test_the_order_of_rows_does_not_matter() -> None:
    rng = random.Random(4)
    events = with_refunds(random_events(rng, 60, span=3), rng)
    shuffled = list(events)
    rng.shuffle(shuffled)
    one, other = (log_of(rows) for rows in (events, shuffled))
    tables = [fetched(log, at_entry(log, occurrences(log, ITEMS), ["device", "item"])) for log in (one, other)]
    assert tables[0] == tables[1]
    assert any(row["at_8"] is not None for row in tables[0])


def log_of_frame(frame: Any) -> EventLog:
    return mc.read_events(frame, tz="UTC")


def rows_of(**columns: list[Any]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    made = {
        "user_id": ["a"] * count,
        "time": [f"2026-01-01T00:00:{i:02d}Z" for i in range(count)],
        "event": ["e"] * count,
    }
    return pd.DataFrame({**made, **columns})


def test_nan_adds_nothing_to_a_total() -> None:
    import polars as pl

    frame = pl.from_pandas(rows_of(event=["e"] * 4)).with_columns(seconds=pl.Series([float("nan"), 200.0, 99.0, 1.0]))
    log = log_of_frame(frame)
    item = Micro(name="five_minutes", event="e", total={"column": "seconds", "at_least": 300})
    assert fetched(log, occurrences(log, [item]))[0]["at_0"] == 1_767_225_603 * SECOND


def test_a_rounding_error_keeps_no_total_from_being_reached() -> None:
    assert 0.7 + 0.2 + 0.1 < 1
    log = log_of_frame(rows_of(share=[0.7, 0.2, 0.1, 5.0]))
    item = Micro(name="all", event="e", total={"column": "share", "at_least": 1})
    assert fetched(log, occurrences(log, [item]))[0]["at_0"] == 1_767_225_602 * SECOND


def test_nan_and_empty_text_at_entry_are_missing() -> None:
    import polars as pl

    frame = pl.from_pandas(rows_of(user_id=["a", "b", "c"], city=["", None, "Bonn"])).with_columns(
        score=pl.Series([float("nan"), 2.5, None])
    )
    log = log_of_frame(frame)
    found = fetched(log, at_entry(log, occurrences(log, []), ["city", "score"]))
    assert [row["by_0"] for row in found] == [MISSING, MISSING, "Bonn"]
    assert [row["by_1"] for row in found] == [MISSING, "2.5", MISSING]


# Names that the reductions use beside the events' own columns; a source may have them too.
HOSTILE = [
    "_t", "_number", "_sum", "_reached", "_rank", "_reason", "_time_text", "_naive", "_blank", "_user", "_at",
    "entry", "entered", "entered_user", "start", "stop", "cause", "at_0", "by_0", "waited", "users", "named",
]  # fmt: skip


def test_source_columns_with_inner_names_change_nothing() -> None:
    rng = random.Random(11)
    events = random_events(rng, 40)
    frame = pd.DataFrame(
        {
            "user_id": [e.user for e in events],
            "time": pd.to_datetime([e.time for e in events], unit="us", utc=True),
            "event": [e.event for e in events],
            **{column: [e.columns[column] for e in events] for column in ("x", "amount", "item", "device")},
        }
    )
    hostile = frame.assign(**{name: [f"{name} {i % 3}" for i in range(len(frame))] for name in HOSTILE})
    plain, log = mc.read_events(frame), mc.read_events(hostile)
    assert fetched(plain, occurrences(plain, ITEMS)) == fetched(log, occurrences(log, ITEMS))
    by = fetched(log, at_entry(log, occurrences(log, []), ["entered", "start", "by_0", "source__t"]))
    entries = hostile.sort_values(["time"]).groupby("user_id")
    for row in by:
        first = entries.get_group(row["user_id"])
        first = first[first["time"] == first["time"].min()]
        assert [row[f"by_{i}"] for i in range(4)] == [min(first[c]) for c in ("entered", "start", "by_0", "_t")]
    options: dict[str, Any] = {"target": "C", "origin": "A", "by": "device", "horizon": "5s"}
    pd.testing.assert_frame_equal(
        mc.time_to_conversion(plain, **options).table, mc.time_to_conversion(log, **options).table
    )
    kept = log.filter(users=["u001"], where="entry = 'entry 0' or entry != ''")
    assert set(log.engine.fetch(kept.events)["user_id"]) == {"u001"}


@pytest.mark.parametrize(
    ("moments", "expected"),
    [((3, 1, 2), 1), ((None, 4), 4), ((4, None), 4), ((None, None), None), ((None, 7, None, 5), 5), ((2,), 2)],
)
def test_earliest(moments: tuple[int | None, ...], expected: int | None) -> None:
    import ibis

    values = [ibis.literal(moment, "int64") for moment in moments]
    found = engine().backend.execute(earliest(*values))
    assert (None if pd.isna(found) else int(found)) == expected
