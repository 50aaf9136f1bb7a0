"""Paths and their sums in the engine, against loops over the events of each user, with ties everywhere."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import path_builder
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.paths import Event, Found, changed, paths_of, shares

import microconv as mc
from microconv.errors import ParameterError
from microconv.path_changes import checked_transforms
from microconv.path_sums import CONVERSION, NULL, PathSums
from microconv.plan import Macro
from microconv.reduce.money import RevenueTerms
from microconv.reduce.path_rules import RULES, PathRule
from microconv.reduce.paths import Paths, path_sums

SECOND = 1_000_000
START_OF_LOG = pd.Timestamp("2026-01-01", tz="UTC")
NAMES = ("ad", "direct", "mail")
BUY = Macro(name="buy", event="buy", value="value", currency="EUR")
Users = dict[str, list[Event]]


def told(users: Users, until: int, others: Sequence[tuple[str, int, str]] = (), plan: Any = None) -> mc.EventLog:
    """A log of these users, observed for ``until`` seconds; ``others``: user, second and name of further events."""
    rows = [
        (user, event.at, "visit" if event.channel else "buy", event.channel, None if event.channel else event.cents)
        for user, events in users.items()
        for event in events
    ]
    rows += [(user, at, name, None, None) for user, at, name in (("nobody", 0, "look"), *others)]
    frame = pd.DataFrame(rows, columns=["user_id", "at", "event", "channel", "cents"])
    frame["time"] = START_OF_LOG + pd.to_timedelta(frame.pop("at"), unit="s")
    frame["value"] = frame.pop("cents").astype("Float64") / 100
    frame["channel"] = frame["channel"].astype("string")
    return mc.read_events(frame, plan=plan, observed_until=START_OF_LOG + pd.Timedelta(seconds=until))


def random_users(seed: int, span: int = 12) -> Users:
    rng = random.Random(seed)
    return {
        f"u{user}": [
            Event(rng.randrange(span), rng.choice([*NAMES, *NAMES, None]), rng.randrange(1, 500))
            for _ in range(rng.randint(1, 7))
        ]
        for user in range(rng.randint(1, 40))
    }


def plain(users: Users, **rule: Any) -> list[Found]:
    return [path for events in users.values() for path in paths_of(events, **rule)]


def summed(found: list[Found], transforms: tuple[tuple[Any, ...], ...] = ()) -> PathSums:
    """The sums of paths that loops found, through ``path_builder``."""
    paths = []
    for path in found:
        if not path.open:
            names = tuple(name for _, name in changed(path.touches, transforms))
            paths.append((names, path.conversions, path.cents / 100, int(path.at is None), 0))
    kept = [path for path in paths if path[0] or path[1]]  # an empty null path is no path
    return path_builder.path_sums(kept, tuple(sorted({name for names, *_ in kept for name in names})))


def compact(frame: pd.DataFrame, keys: list[str]) -> dict[Any, list[float]]:
    """By key what is in the other columns, buckets added up, zeros left out."""
    rows = frame.drop(columns="bucket").groupby(keys).sum() if keys else frame.drop(columns="bucket").sum().to_frame().T
    return {key: list(row) for key, row in zip(rows.index, rows.to_numpy(), strict=True) if any(row)}


def by_name(sums: PathSums, frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """States and channels by name, as channels that no path is left with have numbers too."""
    base = sums.base
    names = {number + 1: name for number, name in enumerate(sums.channels)}

    def state(code: int) -> str:
        if code < 0:
            return {CONVERSION: "won", NULL: "lost"}[code]
        digits = []
        while code:
            code, digit = divmod(code, base)
            digits.append(names.get(digit, "-"))
        return ">".join(reversed(digits)) or "start"

    return frame.assign(**{column: frame[column].map(lambda code: state(int(code))) for column in columns})


def assert_same_sums(made: PathSums, expected: PathSums, orders: tuple[int, ...] = (1, 2, 3)) -> None:
    for order in orders:
        keys = ["source", "target"]
        mine = compact(by_name(made, made.transitions[order], keys), keys)
        theirs = compact(by_name(expected, expected.transitions[order], keys), keys)
        assert mine.keys() == theirs.keys()
        for key, row in mine.items():
            assert row == pytest.approx(theirs[key], abs=1e-9)
    for name in ("conversions", "value", "untouched", "untouched_value", "nulls"):
        total = expected.totals[name].sum() if len(expected.totals) else 0
        assert made.totals[name].sum() == pytest.approx(total, abs=1e-9)


rules = st.fixed_dictionaries(
    {
        "lookback": st.sampled_from([None, 1, 3, 6]),
        "reset": st.booleans(),
        "first": st.booleans(),
        "reverse": st.booleans(),
    }
)


def rule_of(given: dict[str, Any], **more: Any) -> PathRule:
    back = given["lookback"]
    return PathRule(
        BUY,
        lookback=back * SECOND if back is not None else None,
        reset=given["reset"],
        repeat="first" if given["first"] else "each",
        reverse=given["reverse"],
        terms=RevenueTerms(revenue="first" if given["first"] else "all"),
        direct=("direct",),
        half_life=2 * SECOND,
        **more,
    )


# What an example costs is the engine's answer, however many users it has: many users, fewer examples.
@settings(max_examples=32, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rule=rules)
def test_paths_are_those_of_a_loop_over_users(seed: int, rule: dict[str, Any]) -> None:
    users = random_users(seed)
    if not any(event.channel for events in users.values() for event in events):
        return
    found = plain(users, until=15, **rule)
    made = path_sums(told(users, 15), rule_of(rule), orders=(1, 2, 3), sets=True)
    expected = summed(found)
    assert_same_sums(made.sums, expected)
    kinds = {"won": 0, "lost": 0, "open": 0}
    for path in found:
        if path.touches:
            kinds["won" if path.at is not None else "open" if path.open else "lost"] += 1
    assert made.account["paths"].tolist() == list(kinds.values())
    touched = sum(len(path.touches) for path in found)
    assert made.account["touches"].sum() == touched
    sets = {
        frozenset(name for bit, name in enumerate(made.sums.channels) if int(members) >> bit & 1): row
        for members, row in compact(made.sums.sets, ["members"]).items()
    }
    wanted = {
        frozenset(name for bit, name in enumerate(expected.channels) if int(members) >> bit & 1): row
        for members, row in compact(expected.sets, ["members"]).items()
    }
    assert sets.keys() == wanted.keys()
    for key, row in sets.items():
        assert row == pytest.approx(wanted[key], abs=1e-9)


@settings(max_examples=16, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rule=rules, position=st.sampled_from([(0.4, 0.2, 0.4), (0, 1, 0), (1, 0, 0)]))
def test_rules_divide_as_loops_do(seed: int, rule: dict[str, Any], position: tuple[float, float, float]) -> None:
    users = random_users(seed)
    if not any(event.channel for events in users.values() for event in events):
        return
    made = path_sums(told(users, 15), rule_of(rule, position=position), rules=RULES)
    expected: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for path in plain(users, until=15, **rule):
        if path.at is None or not path.touches:
            continue
        for name in RULES:
            parts = shares(path.touches, name, at=path.at, direct=("direct",), position=position, half_life=2)
            for (_, channel), part in zip(path.touches, parts, strict=True):
                expected[name, channel][0] += part * path.conversions
                expected[name, channel][1] += part * path.cents / 100
    credits = made.sums.credits.groupby("channel").sum()
    for number, channel in enumerate(made.sums.channels):
        for name in RULES:
            mine = [credits[column].get(number + 1, 0.0) for column in (name, f"{name}_value")]
            assert mine == pytest.approx(expected[name, channel], abs=1e-9), (name, channel)


transforms = st.lists(
    st.sampled_from(
        [("exposure",), ("unique",), ("first",), ("frequency",), ("drop", "ad"), ("drop_if_last", "direct"),
         ("drop_if_last", "direct", "mail"), ("keep_last", 1), ("keep_last", 2)]
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@settings(max_examples=24, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rule=rules, steps=transforms)
def test_transforms_change_paths_as_loops_do(seed: int, rule: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    users = random_users(seed)
    if not any(event.channel for events in users.values() for event in events):
        return
    made = path_sums(told(users, 15), rule_of(rule, transforms=tuple(steps)), orders=(1, 2))
    assert_same_sums(made.sums, summed(plain(users, until=15, **rule), tuple(steps)), orders=(1, 2))


def counted(users: Users, until: int = 100, **more: Any) -> Paths:
    rule = PathRule(BUY, terms=RevenueTerms(), **{"lookback": 10 * SECOND, **more})
    return path_sums(told(users, until), rule, orders=(1,))


def test_the_lookback_is_exact_to_the_microsecond() -> None:
    users = {"a": [Event(0, "ad"), Event(10, None, 700)]}
    assert counted(users).sums.totals["untouched"].sum() == 0
    assert counted(users, lookback=10 * SECOND - 1).sums.totals["untouched"].sum() == 1


def test_a_touch_at_the_instant_of_the_conversion_comes_before_it() -> None:
    assert counted({"a": [Event(5, "ad"), Event(5, None, 700)]}).sums.totals["untouched"].sum() == 0


def test_a_path_is_open_until_its_time_is_up() -> None:
    users = {"a": [Event(0, "ad"), Event(5, "mail")]}
    assert counted(users, until=14).account["paths"].tolist() == [0, 0, 1]
    assert counted(users, until=15).account["paths"].tolist() == [0, 1, 0]


def test_a_censoring_event_ends_what_is_seen() -> None:
    users = {"a": [Event(0, "ad"), Event(20, "mail"), Event(21, None, 100)], "b": [Event(0, "ad")]}
    plan = mc.Plan(macros=[{"name": "buy", "event": "buy"}], censor=[{"name": "gone", "event": "gone"}])
    log = told(users, 100, [("a", 15, "gone"), ("b", 5, "gone")], plan)
    made = path_sums(log, PathRule(plan.macros[0], lookback=10 * SECOND), orders=(1,))
    # The conversion came after the end; b left before the time was up, a after it.
    assert made.sums.totals["conversions"].sum() == 0
    assert made.account["paths"].tolist() == [0, 1, 1]


def test_row_order_and_other_events_change_nothing() -> None:
    users = random_users(7)
    rule = rule_of({"lookback": 3, "reset": True, "first": False, "reverse": False})
    turned = {user: events[::-1] for user, events in reversed(users.items())}
    logs = (told(users, 15), told(turned, 15, [(user, 4, "noise") for user in users]))
    one, other = (path_sums(log, rule, rules=RULES, orders=(1, 2), sets=True).sums for log in logs)
    for name in ("totals", "credits", "sets", "touches"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=name != "credits")
    for order in (1, 2):
        pd.testing.assert_frame_equal(one.transitions[order], other.transitions[order])


def test_money_after_a_micro_belongs_to_it_within_its_time() -> None:
    users = {"a": [Event(0, "ad"), Event(9, None, 700), Event(30, None, 500)], "b": [Event(0, "mail")]}
    log = told(users, 100, [("a", 5, "signup"), ("b", 95, "signup")])
    signup = Macro(name="signup", event="signup")
    rule = PathRule(signup, lookback=10 * SECOND, terms=RevenueTerms(value="value"), worth=BUY)
    assert path_sums(log, rule).sums.totals[["conversions", "value"]].sum().tolist() == [2, 12.0]
    within = path_sums(log, replace(rule, worth_within=10 * SECOND)).sums.totals
    assert within[["conversions", "value"]].sum().tolist() == [1, 7.0]  # the second signup is too young to be known


def test_ties_are_counted_and_can_be_turned_round() -> None:
    users = {"a": [Event(0, "mail"), Event(0, "ad"), Event(3, "ad"), Event(4, None, 100)]}
    made = counted(users)
    assert made.tie_rate == pytest.approx(2 / 3)
    first = made.sums.transitions[1].query("source == 0")["target"].tolist()
    assert [made.sums.channels[number - 1] for number in first] == ["ad"]
    turned = counted(users, reverse=True).sums
    assert [turned.channels[number - 1] for number in turned.transitions[1].query("source == 0")["target"]] == ["mail"]


def test_no_channel_and_too_many_are_refused() -> None:
    with pytest.raises(ParameterError, match="No event carries a channel"):
        counted({"a": [Event(0, None, 100)]})
    with pytest.raises(ParameterError, match="has 501 values"):
        counted({"a": [Event(i % 50, f"campaign {i}") for i in range(501)]})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("exposures", "Did you mean 'exposure'"),
        (["drop"], r"takes channels: write \('drop', 'direct'\)"),
        ([("keep_last", 0)], r"takes a number: write \('keep_last', 3\)"),
        ([("unique", "ad")], "takes nothing: write 'unique'"),
    ],
)
def test_transforms_that_are_none(given: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        checked_transforms(given)
