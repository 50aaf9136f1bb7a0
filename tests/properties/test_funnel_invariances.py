"""What must not move a funnel: the order of the rows, names of users, the calendar, zones, types, other events."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from reference.funnels import Event
from reference.logs import BASE, SECOND, frame_of, log_of, random_events
from reference.rules import Case, cases

import microconv as mc

seeds = st.integers(0, 2**32 - 1)


def events_of(seed: int, names: str = "ABCDX") -> tuple[list[Event], int]:
    """A random log and the end of its observation."""
    events = random_events(random.Random(seed), 20, names=names, most=7, span=6)
    return events, max(event.time for event in events) + SECOND


def counted(events: list[Event], until: int, case: Case, by: list[str]) -> mc.Result:
    try:
        return mc.funnel(log_of(events, until), case.steps, **case.asked, by=by)
    except mc.ParameterError:
        reject()


def assert_same(one: mc.Result, other: mc.Result) -> None:
    pd.testing.assert_frame_equal(one.table, other.table, rtol=1e-12)
    pd.testing.assert_frame_equal(one.between, other.between, rtol=1e-12)


def shuffled(events: list[Event], rng: random.Random) -> list[Event]:
    return rng.sample(events, len(events))


def relabelled(events: list[Event], rng: random.Random) -> list[Event]:
    users = sorted({event.user for event in events})
    names = dict(zip(users, rng.sample([f"{n} o'{n}" for n in range(1000)], len(users)), strict=True))
    return [replace(event, user=names[event.user]) for event in events]


@pytest.mark.parametrize("change", [shuffled, relabelled])
@given(cases(), seeds, st.sampled_from([[], ["device"]]))
@settings(max_examples=6)
def test_rows_in_any_order_and_users_of_any_name(
    change: Callable[[list[Event], random.Random], list[Event]], case: Case, seed: int, by: list[str]
) -> None:
    events, until = events_of(seed)
    assert_same(counted(events, until, case, by), counted(change(events, random.Random(seed)), until, case, by))


@given(cases(), seeds, st.integers(-(10**15), 10**15))
@settings(max_examples=6)
def test_a_shift_in_time(case: Case, seed: int, shift: int) -> None:
    events, until = events_of(seed)
    moved = [replace(event, time=event.time + shift) for event in events]
    assert_same(counted(events, until, case, []), counted(moved, until + shift, case, []))


@given(cases(orders=("ordered", "any")), seeds)
@settings(max_examples=6)
def test_an_irrelevant_event(case: Case, seed: int) -> None:
    """Of any user, at any time of the observation; an order of strict is about such events, so it is left out."""
    events, until = events_of(seed)
    rng = random.Random(seed)
    strangers = [
        Event(
            len(events) + i, f"u{rng.randrange(30):03d}", BASE + rng.randrange(6) * SECOND, "Z", dict(events[0].columns)
        )
        for i in range(40)
    ]
    assert_same(counted(events, until, case, []), counted([*events, *strangers], until, case, []))


@given(cases(), seeds)
@settings(max_examples=3)
def test_the_zone_in_which_times_are_written(case: Case, seed: int) -> None:
    """As instants of UTC, as instants of another zone, as wall-clock times of a zone, as text with an offset."""
    events, until = events_of(seed)
    frame = frame_of(events)
    end = pd.Timestamp(until, unit="us", tz="UTC").isoformat()
    spellings: list[tuple[pd.Series, dict[str, Any]]] = [
        (frame["time"], {}),
        (frame["time"].dt.tz_convert("Asia/Kolkata"), {}),
        (frame["time"].dt.tz_convert("Asia/Kolkata").dt.tz_localize(None), {"tz": "Asia/Kolkata"}),
        (frame["time"].dt.tz_convert("America/New_York").map(lambda moment: moment.isoformat()), {}),
    ]
    results = []
    for times, asked in spellings:
        log = mc.read_events(frame.assign(time=times), observed_until=end, **asked)
        try:
            results.append(mc.funnel(log, case.steps, **case.asked))
        except mc.ParameterError:
            reject()
    for result in results[1:]:
        assert_same(results[0], result)


@given(cases(), seeds)
@settings(max_examples=3)
def test_user_ids_as_numbers_or_as_text(case: Case, seed: int) -> None:
    events, until = events_of(seed)
    frame = frame_of(events)
    end = pd.Timestamp(until, unit="us", tz="UTC").isoformat()
    numbers = frame["user_id"].str[1:].astype("int64") + 2**40
    results = []
    for ids in (numbers, numbers.astype("string")):
        log = mc.read_events(frame.assign(user_id=ids), observed_until=end)
        try:
            results.append(mc.funnel(log, case.steps, **case.asked))
        except mc.ParameterError:
            reject()
    assert_same(*results)
    if len(case.steps) > 1:
        lost = [sorted(result.lost(2).to_pandas()["user_id"]) for result in results]
        assert lost[0] == lost[1]
        assert all(isinstance(user, str) for user in lost[0])
