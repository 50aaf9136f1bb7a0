"""mc.funnel: every column against a brute-force reference, its rules by example, what it refuses and in which words."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from reference.funnel_tables import DAY, between_rows, funnel_rows
from reference.funnels import Counted, Funnel, Item, count_users
from reference.logs import SECOND, log_of, random_events, told_events, told_log
from reference.rules import Case, cases

import microconv as mc

COLUMNS = (
    "step name users rate ci_low ci_high step_rate step_ci_low step_ci_high open censored_rate median_days p90_days"
).split()


def users_of(log: mc.EventLog, steps: Sequence[Any], **asked: Any) -> list[int]:
    return [int(n) for n in mc.funnel(log, steps, **asked).table["users"]]


def assert_rows_equal(table: pd.DataFrame, expected: Sequence[dict[str, float]]) -> None:
    assert len(table) == len(expected)
    for row, wanted in zip(table.to_dict("records"), expected, strict=True):
        for column, value in wanted.items():
            assert row[column] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), (row, column, value)


# Every column --------------------------------------------------------------------------------------------------------


@given(cases(), st.integers(0, 2**32 - 1), st.integers(0, 4), st.sampled_from([[], ["device"], ["device", "x"]]))
@settings(max_examples=15)
def test_every_column_equals_the_reference(case: Case, seed: int, more: int, by: list[str]) -> None:
    events = random_events(random.Random(seed), 25, names="ABCDX", most=6, span=7)
    until = max(event.time for event in events) + more * SECOND
    try:
        result = mc.funnel(log_of(events, until), case.steps, **case.asked, by=by)
    except mc.ParameterError:
        reject()
    rule = case.reference()
    users = count_users(events, rule, until, by)
    assert_rows_equal(result.total if by else result.table, funnel_rows(users, rule, until, rule.window))
    if not by:
        assert_rows_equal(result.between, between_rows(users, rule))
        return
    parts: dict[tuple[str, ...], list[Counted]] = {}
    for user in users:
        parts.setdefault(user.segment, []).append(user)
    assert_rows_equal(
        result.table, [row for key in sorted(parts) for row in funnel_rows(parts[key], rule, until, rule.window)]
    )
    assert_rows_equal(result.between, [row for key in sorted(parts) for row in between_rows(parts[key], rule)])
    segments = [tuple(row[column] for column in by) for row in result.table.to_dict("records")]
    assert segments == [key for key in sorted(parts) for _ in rule.steps]


def test_the_columns_are_the_contract() -> None:
    log = told_log("A0 B1", "A0/x")
    assert list(mc.funnel(log, ["A", "B"]).table.columns) == COLUMNS
    parts = mc.funnel(log, ["A", "B"], by="item")
    assert list(parts.table.columns) == ["item", *COLUMNS]
    assert list(parts.total.columns) == COLUMNS
    assert parts.table["item"].tolist() == ["(missing)", "(missing)", "x", "x"]


def test_parts_add_up_to_the_whole() -> None:
    events = random_events(random.Random(5), 200)
    result = mc.funnel(log_of(events), ["A", "B", "C"], window="3s", by=["device", "x"])
    summed = result.table.groupby("step")[["users", "open"]].sum()
    assert summed["users"].tolist() == result.total["users"].tolist()
    assert summed["open"].tolist() == result.total["open"].tolist()


def test_censored_rate_by_hand() -> None:
    """Waits for B: 1 and 1 of 5 at risk, one censored at 2, 4 of 2 at risk: 1 - 3/5 * 1/2; the raw rate is 3/5."""
    log = told_log("A0 B1", "A9 B10", "A8", "A0", "A1 B5", until=10)
    table = mc.funnel(log, ["A", "B"], window="5s").table
    assert table["censored_rate"].tolist() == [1.0, pytest.approx(0.7)]
    assert table["rate"].tolist() == [1.0, pytest.approx(0.6)]
    assert table["open"].tolist() == [0, 1]
    assert table["median_days"][1] == pytest.approx(1 * SECOND / DAY)
    assert table["p90_days"][1] == pytest.approx((1 + 0.8 * 3) * SECOND / DAY)


def test_without_window_the_censored_rate_is_read_at_the_plans_horizon() -> None:
    log = told_log("A0 B1", "A9 B10", "A8", "A0", "A1 B9", until=10)
    open_ended = mc.funnel(log, ["A", "B"])
    assert math.isnan(open_ended.table["censored_rate"][1])
    assert any("censored_rate" in line for line in open_ended.assumptions)
    plan = mc.Plan.model_validate({"macros": [{"name": "b", "event": "B"}], "horizon": "5s"})
    table = mc.funnel(replace(log, plan=plan), ["A", "B"]).table
    assert table["users"].tolist() == [5, 3]  # nobody is too late
    assert table["censored_rate"][1] == pytest.approx(1 - 3 / 5)  # but the B after 8 s is not within 5 s
    assert table["open"].tolist() == [0, 2]


def test_between_has_the_quantiles_of_each_step() -> None:
    log = told_log("A0 B1 C4", "A0 B3 C4", "A0 B2")
    between = mc.funnel(log, ["A", "B", "C"]).between
    assert between["name"].tolist() == ["B", "C"]
    assert between["since"].tolist() == ["A", "B"]
    assert (between["p50_days"] * DAY / SECOND).tolist() == pytest.approx([2.0, 2.0])
    assert (between["p10_days"] * DAY / SECOND).tolist() == pytest.approx([1.2, 1.2])


# Rules by example ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "steps", "asked", "reached"),
    [
        ("A0 B3", "AB", {"window": "3s"}, 2),  # the window's end is in it
        ("A0 B3.000001", "AB", {"window": "3s"}, 1),
        ("A0 B0", "AB", {"window": "3s"}, 2),  # of one instant the steps come in their order
        ("A0 C1 B2", "ABC", {"window": "3s"}, 2),
        ("A0 A5 B6", "AB", {"window": "3s"}, 2),  # every A starts an attempt
        ("A0 A5 B6", "AB", {"window": "3s", "reentry": "first"}, 1),
        ("A0 B1 A2 C3", "ABC", {"window": "9s"}, 3),  # a later A does not undo what an earlier one reached
        ("A0", "AA", {}, 1),  # no event serves two steps
        ("A0 A0", "AA", {}, 2),
        ("A0 B1 A2", "ABA", {}, 3),
        ("A0 A1 B2", "AAB", {"window": "2s"}, 3),
        ("A0 X1 B2", "AB", {"order": "strict"}, 1),
        ("A0 X1 A2 B3", "AB", {"order": "strict"}, 2),
        ("A0 X0 B0", "AB", {"order": "strict"}, 2),  # of one instant the steps come first
        ("A0 X0 B1", "AB", {"order": "strict"}, 1),
        ("A0 A1 B2", "AB", {"order": "strict", "reentry": "first"}, 1),
        ("C0 B1 A2", "ABC", {"order": "any", "window": "2s"}, 3),
        ("C0 B1 A3", "ABC", {"order": "any", "window": "2s"}, 2),
        ("B0 A3 B4", "AB", {"order": "any", "window": "2s", "reentry": "first"}, 0),  # the only attempt ends before A
        ("A0 B2 C4", "ABC", {"within_step": "2s"}, 3),
        ("A0 B2 C5", "ABC", {"within_step": "2s"}, 2),
        ("A0 B3 C9", "ABC", {"within_step": {"B": "3s"}}, 3),
        ("A0 B1 B5 C6", "ABC", {"within_step": {3: "2s"}}, 3),  # timed from any B that the attempt reached
        ("A0 C2", "ABC", {"optional": ["B"]}, 2),
        ("A0 C2 B3", "ABC", {"optional": ["B"]}, 2),  # a B after the C is not on the way
        ("A0 B1 C2", "ABC", {"optional": [2]}, 3),
        ("A0 X1 B2", "AB", {"exclude": ["X"]}, 1),
        ("A0 B2 X2", "AB", {"exclude": ["X"]}, 2),  # of one instant the steps come before what excludes
        ("A0 X0 B2", "AB", {"exclude": ["X"]}, 1),
        ("X0 A1 B2", "AB", {"exclude": "X"}, 2),
        ("A0 B1 X2 C3 A4", "ABC", {"exclude": ["X"]}, 2),  # steps already reached still count
        ("A0/i B1/j B2/i", "AB", {"same": "item", "window": "1s"}, 1),
        ("A0/i B1/j B2/i", "AB", {"same": "item", "window": "2s"}, 2),
        ("A0 B1", "AB", {"same": "item"}, 0),  # without the property there is no step
        ("A0/i A1/j B2/j", "AB", {"same": "item", "reentry": "first"}, 1),
    ],
)
def test_rules_by_example(story: str, steps: str, asked: dict[str, Any], reached: int) -> None:
    assert sum(users_of(told_log(story), list(steps), **asked)) == reached


def test_the_latest_of_equally_far_attempts_counts() -> None:
    table = mc.funnel(told_log("A0 B1 A5 B9"), ["A", "B"], window="9s").table
    assert table["median_days"][1] == pytest.approx(4 * SECOND / DAY)
    first = mc.funnel(told_log("A0 B1 A5 B9"), ["A", "B"], window="9s", reentry="first").table
    assert first["median_days"][1] == pytest.approx(1 * SECOND / DAY)


@pytest.mark.parametrize(
    ("story", "asked", "is_open"),
    [
        ("A0", {"window": "10s"}, 0),  # the window's last moment has been observed
        ("A0", {"window": "10001ms"}, 1),
        ("A0", {}, 1),
        ("A0 X5", {"exclude": ["X"]}, 0),
        ("A0 X5 A6", {"exclude": ["X"]}, 1),
        ("A0 B1", {}, 0),
        ("A0", {"within_step": "5s"}, 0),
        ("A6", {"within_step": "5s"}, 1),
        ("A6 X7", {"order": "strict"}, 0),
        ("A6", {"order": "strict"}, 1),
        ("A0 A6", {"window": "5s", "reentry": "first"}, 0),
    ],
)
def test_who_is_still_open(story: str, asked: dict[str, Any], is_open: int) -> None:
    assert mc.funnel(told_log(story, until=10), ["A", "B"], **asked).table["open"].tolist() == [0, is_open]


# Steps ---------------------------------------------------------------------------------------------------------------


def test_a_step_is_a_plan_name_else_an_event() -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["a", "a", "a", "b", "b", "c"],
            "time": pd.date_range("2026-01-01", periods=6, freq="h", tz="UTC"),
            "event": ["video", "video", "buy", "video", "buy", "video"],
            "percent": [10, 80, None, 50, None, 90],
        }
    )
    before = frame.copy()
    plan = {
        "macros": [{"name": "purchase", "event": "buy"}],
        "micros": [
            {"name": "watched", "event": "video", "where": "percent >= 75"},
            {"name": "second", "event": "video", "nth": 2},
            {"name": "long", "event": "video", "total": {"column": "percent", "at_least": 60}},
        ],
    }
    log = mc.read_events(frame, plan=plan)
    assert users_of(log, ["watched", "purchase"]) == [2, 1]
    assert users_of(log, ["video", "buy"]) == [3, 2]
    assert users_of(log, ["second", "purchase"]) == [1, 1]
    assert users_of(log, ["long", "purchase"]) == [2, 1]
    assert users_of(log, [{"event": "video", "where": "percent < 60"}, "buy"]) == [2, 2]
    named = mc.funnel(log, [{"name": "any video", "event": "video"}, {"event": "buy", "where": "percent is null"}])
    assert named.table["name"].tolist() == ["any video", "buy where percent is null"]
    pd.testing.assert_frame_equal(frame, before)


def test_fifty_steps() -> None:
    names = [f"step {k}" for k in range(50)]
    rows = [(f"u{u}", name, SECOND * k) for u in range(5) for k, name in enumerate(names[: 10 * u + 10])]
    frame = pd.DataFrame(rows, columns=["user_id", "event", "time"])
    log = mc.read_events(frame, time_unit="us")
    expected = [sum(k < 10 * u + 10 for u in range(5)) for k in range(50)]
    assert users_of(log, names, window="48s") == [*expected[:49], 0]
    assert users_of(log, names, order="any", window="1h") == expected
    assert users_of(log, names, order="strict", within_step="1s") == expected


def test_twelve_times_the_same_step() -> None:
    log = told_log(" ".join(f"A{k}" for k in range(9)), " ".join(["A0"] * 12))
    assert users_of(log, ["A"] * 12) == [2] * 9 + [1] * 3


def test_a_step_that_never_occurs_has_no_users() -> None:
    result = mc.funnel(told_log("A0 B1", "A0"), ["A", "Bee", "B"], window="3s")
    assert result.table["users"].tolist() == [2, 0, 0]
    assert result.table["rate"].tolist() == [1.0, 0.0, 0.0]
    assert math.isnan(result.table["step_rate"][2])
    assert result.table["censored_rate"].tolist() == [1.0, 0.0, 0.0]
    assert any("'Bee'" in warning for warning in result.warnings)


@pytest.mark.parametrize("asked", [{}, {"window": "3s"}, {"order": "any"}, {"order": "strict"}, {"by": "item"}])
def test_a_first_step_that_never_occurs(asked: dict[str, Any]) -> None:
    result = mc.funnel(told_log("A0 B1"), ["Z", "B"], **asked)
    total = result.total if "by" in asked else result.table
    assert total["users"].tolist() == [0, 0]
    assert total["rate"].isna().all()
    assert total["median_days"].isna().all()
    assert len(result.table) == (0 if "by" in asked else 2)
    assert "No user did the first step" in result.meaning


def test_a_funnel_of_one_step() -> None:
    table = mc.funnel(told_log("A0", "A1", "B0"), ["A"], window="3s").table
    assert table["users"].tolist() == [2]
    assert table["censored_rate"].tolist() == [1.0]


def test_hostile_names_are_names() -> None:
    names = ["it's", 'a "quoted" one', "->", "'; drop table x; --", "<b>", "汉字 🎉", "50% of {all}"]
    rows = [("o'hara", name, SECOND * k) for k, name in enumerate(names)] + [("🎉", names[0], 0)]
    log = mc.read_events(pd.DataFrame(rows, columns=["user_id", "event", "time"]), time_unit="us")
    result = mc.funnel(log, names)
    assert result.table["users"].tolist() == [2, *[1] * (len(names) - 1)]
    assert result.lost(2).to_pandas()["user_id"].tolist() == ["🎉"]


# Who was lost --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optional", [(), (2,)])
def test_lost_agrees_with_the_counts(optional: tuple[int, ...]) -> None:
    events = random_events(random.Random(11), 150)
    until = max(event.time for event in events)
    result = mc.funnel(log_of(events), ["A", "B", "C"], window="4s", optional=optional)
    rule = Funnel(tuple(Item(name) for name in "ABC"), window=4 * SECOND, optional=frozenset(k - 1 for k in optional))
    users = count_users(events, rule, until)
    for step in (2, 3):
        before = 1 if step == 2 or optional else 2
        gone = result.lost(step).to_pandas().sort_values("user_id")
        expected = [u for u in users if before - 1 in u.reached and step - 1 not in u.reached]
        assert gone["user_id"].tolist() == [u.user for u in expected]
        assert len(gone) == result.table["users"][before - 1] - result.table["users"][step - 1]
        assert gone["open"].tolist() == [u.open for u in expected]
        assert gone["last_step"].tolist() == [u.level for u in expected]
        for told, when in (
            ("started", [u.start for u in expected]),
            ("last_step_at", [max(u.reached.values()) for u in expected]),
        ):
            assert [int(t.timestamp() * SECOND) for t in gone[told]] == when
    pd.testing.assert_frame_equal(
        result.lost("B").to_pandas().sort_values("user_id", ignore_index=True),
        result.lost(2).to_pandas().sort_values("user_id", ignore_index=True),
    )


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (1, "from 2 to 3"),
        (4, "from 2 to 3"),
        (True, "from 2 to 3"),
        ("Bee", "Unknown step 'Bee'"),
        ("A", "Give the step's number"),
    ],
)
def test_lost_refuses_steps_that_are_none(step: Any, message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.funnel(told_log("A0 B1 A2"), ["A", "B", "A"]).lost(step)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "asked", "message"),
    [
        ([], {}, "list of at least one step"),
        ("A", {}, "list of at least one step"),
        (None, {}, "list of at least one step"),
        (7, {}, "list of at least one step"),
        ({"event": "A"}, {}, "list of at least one step"),
        (["A", ""], {}, "has no name"),
        (["A", 3], {}, "neither a name nor a mapping"),
        ([{"evnt": "A"}], {}, "Did you mean 'event'"),
        ([{"name": "A"}], {}, "event"),
        ([{"event": "A", "where": "itm = 'x'"}], {}, "Did you mean 'item'"),
        ([{"event": "A", "where": "item ="}], {}, "where"),
        ([{"event": "A", "nth": 0}], {}, "nth"),
        ([{"event": "A", "total": {"column": "sum", "at_least": 3}}], {}, "Unknown column 'sum'"),
        (["A", "B"], {"window": 3}, "window=3 has no unit"),
        (["A", "B"], {"window": "3 fortnights"}, "window='3 fortnights' is not a duration"),
        (["A", "B"], {"window": "0s"}, "longer than zero"),
        (["A", "B"], {"order": "orderd"}, "Did you mean 'ordered'"),
        (["A", "B"], {"order": ""}, "Unknown order ''"),
        (["A", "B"], {"reentry": "last"}, "Known: 'latest', 'first'"),
        (["A", "B"], {"within_step": 5}, "within_step=5 has no unit"),
        (["A", "B"], {"within_step": {"C": "5s"}}, "within_step: Unknown step 'C'"),
        (["A", "B"], {"within_step": {1: "5s"}}, "nothing comes before the first step"),
        (["A", "B"], {"within_step": {3: "5s"}}, "there is no step 3; the steps are 1 to 2"),
        (["A", "B", "B"], {"within_step": {"B": "5s"}}, "is the name of steps 2, 3. Give the step's number"),
        (["A", "B"], {"within_step": "5s", "order": "any"}, "within_step has no meaning with order='any'"),
        (["A", "B"], {"optional": ["A"]}, "'A' starts the funnel and cannot be optional"),
        (["A", "B"], {"optional": ["Bee"]}, "optional: Unknown step 'Bee'"),
        (["A", "B"], {"optional": 1.5}, "optional=1.5 must be a list"),
        (["A", "B", "B"], {"optional": [2]}, "One event could be both the optional step 2"),
        (["A", "B"], {"exclude": ["A"]}, "both the step 'A' and the exclusion 'A'"),
        (["A", "B"], {"exclude": [{"event": "B", "where": "item = 'x'"}]}, "and the exclusion"),
        (["A", "B"], {"exclude": 4}, "neither a name nor a mapping"),
        (["A", "B"], {"same": "session"}, "same: Unknown column 'session'"),
        (["A", "B"], {"by": "itm"}, "by: Unknown column 'itm'. Did you mean 'item'"),
        (["A", "B"], {"by": ["item", 3]}, "by: Unknown column 3"),
        (["A", "B"], {"confidence": 95}, "confidence"),
        (["A", "B"], {"semantics": "amplitud"}, "Did you mean 'amplitude'"),
        (["A", {"event": "A", "where": "item = 'x'"}], {"order": "any"}, "steps that no event could share"),
    ],
)
def test_what_is_refused_and_how_to_mend_it(steps: Any, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError) as error:
        mc.funnel(told_log("A0/x B1"), steps, **asked)
    assert message in str(error.value)


def test_too_many_segments_are_refused() -> None:
    events = told_events(*[f"A0/{k}" for k in range(201)])
    with pytest.raises(mc.ParameterError, match="201 segments, more than 200"):
        mc.funnel(log_of(events), ["A"], by="item")


def test_too_many_overlapping_steps_are_refused() -> None:
    steps = [{"event": "A", "where": f"item != '{k}'"} for k in range(7)]
    with pytest.raises(mc.ParameterError, match="One event could be any of 7 steps"):
        mc.funnel(told_log("A0/x"), steps)
    apart = [{"event": "A", "where": f"item = '{k}'"} for k in range(7)]
    assert users_of(told_log("A0/0 A1/1"), apart) == [1, 1, 0, 0, 0, 0, 0]


# What the result says ------------------------------------------------------------------------------------------------


def test_the_result_says_what_was_asked_and_in_words() -> None:
    result = mc.funnel(
        told_log("A0/i B1/i C2/i", "A0/i B1/i", "A0/i", until=100),
        ["A", "B", "C"],
        window="1min",
        within_step={"C": "30s"},
        optional=[],
        exclude=["X"],
        same="item",
    )
    assert result.parameters["window"] == "1min"
    assert result.parameters["within_step"] == [None, None, "30s"]
    assert result.parameters["exclude"] == ["X"]
    json.dumps(result.to_dict(), allow_nan=False)
    assert "Of 3 users who did A, 1 got to C: 33.3%" in result.meaning
    said = " ".join(result.assumptions)
    for words in ("Window 1min", "'C' at most 30s", "An attempt ends at 'X'", "the same 'item'", "No event serves two"):
        assert words in said
    assert "serves all the steps" in " ".join(mc.funnel(told_log("A0"), ["A"], semantics="clickhouse").assumptions)


def test_confidence_widens_the_interval() -> None:
    log = told_log("A0 B1", "A0", "A0", "A0")
    narrow, wide = (mc.funnel(log, ["A", "B"], confidence=c).table for c in (0.5, 0.99))
    assert wide["ci_low"][1] < narrow["ci_low"][1] < 0.25 < narrow["ci_high"][1] < wide["ci_high"][1]


# Real input ----------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_loan_log(real_data: Path) -> None:
    """A bank's 262,200 events with two offsets and 13,995 ties at one instant; checked by other programs."""
    columns = {"user_id": "case_id", "event": "activity", "time": "timestamp"}
    log = mc.read_events(real_data / "bpi2012_loan_events.csv.gz", columns=columns)
    steps = ["A_SUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "O_SENT", "O_SENT_BACK", "A_ACTIVATED"]
    assert users_of(log, steps) == [13087, 7367, 5113, 5015, 3254, 2246]
