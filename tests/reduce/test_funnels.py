"""The reduction of funnels, user by user, against an exhaustive search and against ClickHouse's own windowFunnel."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from reference.funnels import Counted, Event, Funnel, count_users
from reference.logs import BASE, SECOND, log_of, random_events
from reference.rules import Case, cases, steps_of

from microconv.errors import ParameterError
from microconv.reduce.funnels import attempts
from microconv.steps import funnel_rule

seeds = st.integers(0, 2**32 - 1)


def told(events: Sequence[Event], user: str) -> str:
    """The events of a user, for a failure that explains itself."""
    own = sorted((e for e in events if e.user == user), key=lambda e: (e.time, e.row))
    return "\n".join(f"    {(e.time - BASE) / SECOND:g}s {e.event} {e.columns}" for e in own)


def assert_same_users(found: pd.DataFrame, expected: Sequence[Counted], events: Sequence[Event], steps: int) -> None:
    """Every user's attempt, times and openness, with the events of the first user that differs."""
    by_user = {row["user_id"]: row for row in found.to_dict("records")}
    wanted = {one.user: one for one in expected}
    for user in sorted({e.user for e in events}):
        got, want = by_user.get(user), wanted.get(user)
        assert (got is None) == (want is None), f"{user}: {got} instead of {want}\n{told(events, user)}"
        if got is None or want is None:
            continue
        times = [got[f"at_{k}"] for k in range(1, steps + 1)]
        reached = {k: int(t) for k, t in enumerate(times) if t is not None and not math.isnan(t)}
        assert (got["start"], got["level"], reached) == (want.start, want.level, want.reached), (
            f"{user}: {got} instead of {want}\n{told(events, user)}"
        )
        assert (got["running"], got["open"]) == (want.running, want.open), (
            f"{user}: {got} instead of {want}\n{told(events, user)}"
        )


def counted(case: Case, events: Sequence[Event], until: int, **more: Any) -> pd.DataFrame:
    log = log_of(events, until)
    try:
        rule = funnel_rule(log, case.steps, **case.asked, **more)
    except ParameterError:
        reject()  # a question that cannot be answered; which those are is tested where errors are
    return log.engine.fetch(attempts(log, rule))


@given(cases(), seeds, st.booleans(), st.sampled_from([4, 9]), st.integers(0, 4))
@settings(max_examples=40)
def test_every_user_counts_as_an_exhaustive_search_counts_them(
    case: Case, seed: int, ids: bool, span: int, more: int
) -> None:
    events = random_events(random.Random(seed), 25, names="ABCDX", most=7, span=span, ids=ids)
    until = max(event.time for event in events) + more * SECOND
    expected = count_users(events, case.reference(), until)
    assert_same_users(counted(case, events, until), expected, events, len(case.steps))


@given(cases(orders=("ordered",)), seeds)
@settings(max_examples=10)
def test_one_event_for_several_steps(case: Case, seed: int) -> None:
    events = random_events(random.Random(seed), 25, names="ABCDX", most=6, span=5)
    until = max(event.time for event in events) + SECOND
    expected = count_users(events, case.reference(distinct=False), until)
    assert_same_users(counted(case, events, until, distinct=False), expected, events, len(case.steps))


# ClickHouse -----------------------------------------------------------------------------------------------------------

SQL = {None: "1", "x = 1": "x = 1", "x >= 1": "x >= 1", "x = 0": "x = 0", "x is null": "x IS NULL"}


def window_funnel(events: Sequence[Event], steps: Sequence[dict[str, Any]], window: int, *modes: str) -> dict[str, int]:
    """The level that ClickHouse gives to each user."""
    import chdb

    rows = ", ".join(
        f"('{e.user}', {e.time // SECOND}, '{e.event}', {'NULL' if e.columns['x'] is None else e.columns['x']})"
        for e in events
    )
    conditions = ", ".join(f"e = '{step['event']}' AND ifNull({SQL[step.get('where')]}, 0)" for step in steps)
    asked = "".join(f", '{mode}'" for mode in modes)
    found = chdb.query(
        f"SELECT u, windowFunnel({window}{asked})(t, {conditions}) "
        f"FROM values('u String, t UInt64, e String, x Nullable(Int64)', {rows}) GROUP BY u FORMAT CSV"
    )
    lines = (line.split(",") for line in str(found).strip().splitlines())
    return {user.strip('"'): int(level) for user, level in lines}


def assert_same_levels(
    events: Sequence[Event], steps: Sequence[dict[str, Any]], window: int, modes: Sequence[str], **rule: Any
) -> None:
    log = log_of(events)
    nothing = {"within_step": None, "optional": (), "exclude": (), "same": None}
    asked = {"window": f"{window}s", "order": "ordered", "reentry": "latest", **nothing, **rule}
    ours = log.engine.fetch(attempts(log, funnel_rule(log, steps, **asked))).set_index("user_id")["level"]
    for user, level in window_funnel(events, steps, window, *modes).items():
        assert ours.get(user, 0) == level, f"{user}: not {level}, as ClickHouse has it\n{told(events, user)}"


def without_ties(events: Sequence[Event]) -> list[Event]:
    """The first event of each user's instants."""
    return list({(e.user, e.time): e for e in reversed(events)}.values())


def each_step_once(events: Sequence[Event], steps: str) -> list[Event]:
    """Of each user's events of a step, the first."""
    kept, seen = [], set()
    for event in events:
        if event.event in steps and (event.user, event.event) in seen:
            continue
        seen.add((event.user, event.event))
        kept.append(event)
    return kept


@given(steps_of("ABC", plain=True), seeds, st.sampled_from([1, 3, 20]))
@settings(max_examples=10)
def test_clickhouse_counts_the_same(steps: tuple[dict[str, Any], ...], seed: int, window: int) -> None:
    """Any steps, repeated or overlapping, and ties: its default mode lets an event serve several steps, strict_once
    does not."""
    events = random_events(random.Random(seed), 40, span=6)
    assert_same_levels(events, steps, window, [], distinct=False)
    assert_same_levels(events, steps, window, ["strict_once"])


@given(st.integers(1, 4), seeds, st.sampled_from([1, 3, 20]))
@settings(max_examples=6)
def test_clickhouse_counts_the_same_on_tame_logs(n: int, seed: int, window: int) -> None:
    """Different steps: strict_increase without ties, strict_deduplication where nobody repeats a step, strict_order
    where nobody does, without ties (it ends at the first stranger, and lets steps repeat)."""
    steps = [{"event": name} for name in "ABCD"[:n]]
    events = random_events(random.Random(seed), 40, names="ABCDX", span=9)
    assert_same_levels(without_ties(events), steps, window, ["strict_increase"])
    once = each_step_once(events, "ABCD")
    assert_same_levels(once, steps, window, ["strict_deduplication"])
    assert_same_levels(without_ties(once), steps, window, ["strict_order"], order="strict")


@pytest.mark.parametrize(
    ("story", "mode", "theirs", "ours", "rule"),
    [
        ("A0 X1 A2 B3", "strict_order", 1, 2, {"order": "strict"}),  # they stop at X for good, we start again
        ("A0 B1 B2 C3", "strict_order", 3, 2, {"order": "strict"}),  # they let a step repeat, to us it lies between
        ("A0 B1 B2 C3", "strict_deduplication", 2, 3, {}),  # they stop at the second B
        ("A6 B6", "strict_increase", 1, 2, {}),  # they want B to be later than A, to us as late is late enough
    ],
)
def test_where_clickhouse_is_another_rule(story: str, mode: str, theirs: int, ours: int, rule: dict[str, Any]) -> None:
    events = [
        Event(i, "u", BASE + int(word[1:]) * SECOND, word[0], {"x": None}) for i, word in enumerate(story.split())
    ]
    steps = [{"event": "A"}, {"event": "B"}, {"event": "C"}]
    assert window_funnel(events, steps, 10, mode) == {"u": theirs}
    funnel = Funnel(
        tuple(Case(tuple(steps), 10, "ordered", "latest", (), (), (), None).reference().steps),
        window=10 * SECOND,
        order=rule.get("order", "ordered"),
    )
    assert count_users(events, funnel, BASE)[0].level == ours
    log = log_of(events)
    nothing = {"within_step": None, "optional": (), "exclude": (), "same": None}
    asked = {"window": "10s", "order": "ordered", "reentry": "latest", **nothing, **rule}
    assert log.engine.fetch(attempts(log, funnel_rule(log, steps, **asked)))["level"].tolist() == [ours]
