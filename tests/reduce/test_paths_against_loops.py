"""Paths of touches and their sums against plain loops over each user's events."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import microconv as mc
from microconv.log import EventLog
from microconv.path_sums import CONVERSION, NULL
from microconv.plan import End
from microconv.reduce.money import RevenueTerms
from microconv.reduce.path_rules import PathRule
from microconv.reduce.paths import Paths, path_sums

CHANNELS = ("direct", "email", "search", "social")
TARGET = End(name="purchase", event="purchase")
RULES = (
    "first", "last", "last_non_direct", "linear", "linear_unique", "position", "time_decay", "time_decay_steps",
    "any_touch",
)  # fmt: skip
START = pd.Timestamp("2026-03-01", tz="UTC")
SPAN = 40  # microseconds: ties abound, and a limit that is off by one microsecond shows
PLAN = {
    "macros": [{"name": "purchase", "event": "purchase", "value": "value", "currency": "EUR"}],
    "censor": ["stop"],
}
RULE = PathRule(target=TARGET, direct=("direct",), half_life=3, terms=RevenueTerms(value="value"))


def frame_of(seed: int, users: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = users * 7
    event = rng.choice(
        ["visit", "visit", "visit", "visit", "purchase", "purchase", "stop"], rows, p=[0.2] * 4 + [0.13, 0.05, 0.02]
    )
    channel = np.where(event == "stop", None, rng.choice(np.array([*CHANNELS, None], dtype=object), rows))
    return pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, users, rows)],
            "time": START + pd.to_timedelta(rng.integers(0, SPAN, rows), unit="us"),
            "event": event,
            "channel": channel,
            "value": np.where(event == "purchase", rng.choice([9.99, 20.0, 0.5], rows), np.nan),
        }
    )


def log_of(frame: pd.DataFrame) -> EventLog:
    plan = PLAN if (frame["event"] == "stop").any() else {"macros": PLAN["macros"]}
    return mc.read_events(frame, plan=plan, observed_until=START + pd.Timedelta(SPAN + 2, unit="us"))


def changed(path: list[tuple[int, str]], transforms: Sequence[tuple[Any, ...]]) -> list[tuple[int, str]]:
    """A path of times and channels after the transforms."""
    for name, *takes in transforms:
        names = [channel for _, channel in path]
        if name == "exposure":
            path = [touch for i, touch in enumerate(path) if i == 0 or names[i - 1] != names[i]]
        elif name == "unique":
            path = [touch for i, touch in enumerate(path) if names[i] not in names[:i]]
        elif name == "first":
            path = path[:1]
        elif name == "frequency":
            path = [(t, f"{c}({names.count(c)})") for i, (t, c) in enumerate(path) if c not in names[:i]]
        elif name == "drop":
            path = [touch for touch in path if touch[1] not in takes]
        elif name == "keep_last":
            path = path[-takes[0] :]
        elif name == "drop_if_last" and any(channel not in takes for channel in names):
            while path[-1][1] in takes:
                path = path[:-1]
    return path


def shares(path: list[tuple[int, str]], end: int, rule: PathRule) -> dict[str, list[float]]:
    """What each rule gives to each touch."""
    n, names = len(path), [channel for _, channel in path]
    fresh = [float(names[i] not in names[:i]) for i in range(n)]
    others = [i for i in range(n) if names[i].split("(")[0] not in rule.direct]  # counted or not
    first, middle, last = rule.position
    weights = [1.0] if n == 1 else [first, *[middle / (n - 2)] * (n - 2), last] if n > 2 else [first, last]
    if not sum(weights):
        weights = [1.0] * n
    ages = [(end - at) / rule.half_life for at, _ in path]
    smooth, stepped = [2.0**-age for age in ages], [2.0 ** -math.floor(age) for age in ages]
    return {
        "first": [float(i == 0) for i in range(n)],
        "last": [float(i == n - 1) for i in range(n)],
        "last_non_direct": [float(i == (others[-1] if others else n - 1)) for i in range(n)],
        "linear": [1 / n] * n,
        "linear_unique": [one / sum(fresh) for one in fresh],
        "position": [weight / sum(weights) for weight in weights],
        "time_decay": [weight / sum(smooth) for weight in smooth],
        "time_decay_steps": [weight / sum(stepped) for weight in stepped],
        "any_touch": fresh,
    }


@cache
def bucket_of(user: str) -> int:
    """DuckDB's own hash says which group a user belongs to: any grouping by user would do."""
    ((bucket,),) = duckdb.execute("SELECT (hash($1) >> 1) % 256", [user]).fetchall()
    return int(bucket)


def by_loops(frame: pd.DataFrame, rule: PathRule, orders: Sequence[int]) -> dict[str, Any]:
    """Every sum, one user after another: dictionaries by bucket and names of channels."""
    until = SPAN + 2
    back = math.inf if rule.lookback is None else rule.lookback
    sums: dict[str, Any] = {name: Counter() for name in ("totals", "credits", "sets", "touches", "account")}
    sums["transitions"] = {order: Counter() for order in orders}
    order_of = {name: (-i if rule.reverse else i) for i, name in enumerate(CHANNELS)}
    for user, own in frame.groupby("user_id"):
        bucket = bucket_of(str(user))
        rows = [(int((t - START) / pd.Timedelta(1, unit="us")), e, c, v) for t, e, c, v in
                own[["time", "event", "channel", "value"]].itertuples(index=False)]  # fmt: skip
        stop = min((t for t, e, _, _ in rows if e == "stop"), default=until)
        touches = sorted(
            ((t, c) for t, e, c, _ in rows if e != "purchase" and c is not None and t <= stop),
            key=lambda touch: (touch[0], order_of[touch[1]]),
        )
        bought = [(t, round(100 * v)) for t, e, _, v in rows if e == "purchase" and t <= stop]
        times = sorted({t for t, _ in bought})
        if rule.repeat == "first":
            times = times[:1]
            touches = [touch for touch in touches if not times or touch[0] <= times[0]]
        many = {c: 1 if rule.repeat == "first" else sum(t == c for t, _ in bought) for c in times}
        cents: Counter[int] = Counter()
        for t, paid in bought:
            if earlier := [c for c in times if c <= t]:
                cents[earlier[-1]] += paid
        paths: list[tuple[int | None, bool, list[tuple[int, str]]]] = []
        free = list(touches)
        for i, c in enumerate(times):
            since = times[i - 1] if rule.reset and i else -math.inf
            paths.append(
                (
                    c,
                    False,
                    [touch for touch in touches if max(since, -math.inf) < touch[0] <= c and touch[0] >= c - back],
                )
            )
        on = {id(touch) for _, _, path in paths for touch in path}
        free = [touch for touch in touches if id(touch) not in on]
        pieces: list[list[tuple[int, str]]] = []
        for i, touch in enumerate(free):
            before = free[i - 1] if i else None
            apart = before is None or touch[0] - before[0] > back or any(before[0] <= c < touch[0] for c in times)
            pieces = [*pieces, [touch]] if apart else [*pieces[:-1], [*pieces[-1], touch]]
        for piece in pieces:
            last = piece is pieces[-1] and not any(c >= piece[-1][0] for c in times)
            paths.append((None, last and piece[-1][0] + back > stop, piece))
        for c, still, path in paths:
            if path:
                fate = "censored" if still else "null" if c is None else "converted"
                sums["account"][fate, "paths"] += 1
                sums["account"][fate, "touches"] += len(path)
            path = changed(path, rule.transforms)
            count, value = (many[c], cents[c] / 100) if c is not None else (0, 0.0)
            sums["totals"][bucket, "conversions"] += count
            sums["totals"][bucket, "value"] += value
            if not path:
                sums["totals"][bucket, "untouched"] += count
                sums["totals"][bucket, "untouched_value"] += value
                continue
            if still:
                sums["totals"][bucket, "censored"] += 1
                continue
            names = [channel for _, channel in path]
            null, weight = int(c is None), count or 1
            sums["totals"][bucket, "nulls"] += null
            members = (bucket, frozenset(names))
            for column, number in (("conversions", count), ("value", value), ("nulls", null)):
                sums["sets"][(*members, column)] += number
            for channel in names:
                sums["touches"][bucket, channel] += 1
            if c is not None:
                for name, given in shares(path, c, rule).items():
                    for channel, share in zip(names, given, strict=True):
                        sums["credits"][bucket, channel, name] += share * count
                        sums["credits"][bucket, channel, f"{name}_value"] += share * value
            for order in orders:
                states = [tuple(names[max(0, i - order) : i]) for i in range(len(names) + 1)]
                for here, there in itertools.pairwise(states):
                    sums["transitions"][order][bucket, here, there, "paths"] += weight
                end = "conversion" if c is not None else "null"
                sums["transitions"][order][bucket, states[-1], end, "paths"] += weight
                sums["transitions"][order][bucket, states[-1], end, "value"] += value
    return sums


def named(found: Paths, orders: Sequence[int]) -> dict[str, Any]:
    """What the engine found, by names as in ``by_loops``."""
    sums, base = found.sums, found.sums.base

    def state(number: int) -> Any:
        if number in (CONVERSION, NULL):
            return "conversion" if number == CONVERSION else "null"
        names = []
        while number:
            number, digit = divmod(number, base)
            names.append(sums.channels[digit - 1])
        return tuple(reversed(names))

    def long(table: pd.DataFrame, keys: dict[str, Any]) -> dict[tuple[Any, ...], float]:
        told: dict[tuple[Any, ...], float] = {}
        for row in table.to_dict("records"):
            key = tuple(how(row[name]) for name, how in keys.items())
            for column in set(table.columns) - set(keys):
                assert (*key, column) not in told
                told[(*key, column)] = row[column]
        return told

    def channel(number: int) -> str:
        return sums.channels[number - 1]

    def members(bits: int) -> frozenset[str]:
        return frozenset(name for i, name in enumerate(sums.channels) if bits >> i & 1)

    assert sums.sets is not None
    assert sums.touches is not None
    touched = long(sums.touches, {"bucket": int, "channel": channel})
    return {
        "totals": long(sums.totals, {"bucket": int}),
        "credits": long(sums.credits, {"bucket": int, "channel": channel}),
        "sets": long(sums.sets, {"bucket": int, "members": members}),
        "touches": {key[:2]: number for key, number in touched.items()},
        "transitions": {
            order: long(sums.transitions[order], {"bucket": int, "source": state, "target": state}) for order in orders
        },
    }


def close(found: dict[Any, float], wanted: Counter[Any]) -> None:
    """The same numbers, zeros left out."""
    one = {key: number for key, number in found.items() if abs(number) > 1e-12}
    two = {key: number for key, number in wanted.items() if abs(number) > 1e-12}
    assert one.keys() == two.keys()
    for key, number in two.items():
        assert one[key] == pytest.approx(number, rel=1e-9), key


def compare(frame: pd.DataFrame, rule: PathRule, orders: Sequence[int] = (1, 2, 3)) -> Paths:
    found = path_sums(log_of(frame), rule, rules=RULES, orders=orders, sets=True)
    told, wanted = named(found, orders), by_loops(frame, rule, orders)
    for name in ("totals", "credits", "sets", "touches"):
        close(told[name], wanted[name])
    for order in orders:
        close(told["transitions"][order], wanted["transitions"][order])
    return found


LOOKBACKS = st.sampled_from([None, 1, 3, 7, 20])
TRANSFORMS = st.sampled_from(
    [
        (),
        (("exposure",),),
        (("unique",),),
        (("first",),),
        (("frequency",),),
        (("drop", "direct", "email"),),
        (("drop_if_last", "direct"),),
        (("keep_last", 2),),
        (("drop", "social"), ("exposure",), ("keep_last", 3)),
        (("drop_if_last", "direct", "email"), ("unique",)),
        (("exposure",), ("frequency",)),
    ]
)
POSITIONS = st.sampled_from([(0.4, 0.2, 0.4), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.3, 0.0, 0.7)])


# An example is a whole log: one that fails is small enough to read as it is.
@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.integers(0, 10_000),
    LOOKBACKS,
    st.booleans(),
    st.sampled_from(["each", "first"]),
    st.booleans(),
    TRANSFORMS,
    POSITIONS,
)
def test_every_sum_is_that_of_the_loops(
    seed: int,
    lookback: int | None,
    reset: bool,
    repeat: str,
    reverse: bool,
    transforms: tuple[tuple[Any, ...], ...],
    position: tuple[float, float, float],
) -> None:
    rule = replace(
        RULE, lookback=lookback, reset=reset, repeat=repeat, reverse=reverse, transforms=transforms, position=position
    )
    compare(frame_of(seed), rule)


def test_row_order_does_not_matter() -> None:
    frame = frame_of(3)
    rule = replace(RULE, lookback=5)
    one, two = (path_sums(log_of(each), rule, rules=RULES, orders=(2,), sets=True) for each in (frame, frame[::-1]))
    pd.testing.assert_frame_equal(one.sums.credits, two.sums.credits, rtol=1e-12)
    pd.testing.assert_frame_equal(one.sums.transitions[2], two.sums.transitions[2])
    pd.testing.assert_frame_equal(one.sums.totals, two.sums.totals)
    pd.testing.assert_frame_equal(one.account, two.account)


@pytest.mark.parametrize("lookback", [None, 4])
def test_each_touch_is_on_one_path_and_the_account_says_which(lookback: int | None) -> None:
    frame = frame_of(8)
    rule = replace(RULE, lookback=lookback)
    found = path_sums(log_of(frame), rule)
    wanted = by_loops(frame, rule, ())["account"]
    account = found.account.set_index("fate")
    fates = ("converted", "null", "censored")
    assert list(account["touches"][:3]) == [wanted[fate, "touches"] for fate in fates]
    assert list(account["paths"][:3]) == [wanted[fate, "paths"] for fate in fates]


@pytest.mark.parametrize(("gap", "touched"), [(30, True), (31, False)])
def test_a_touch_exactly_at_the_lookback_counts(gap: int, touched: bool) -> None:
    rows = [("a", 1, "visit", "email", None), ("a", 1 + gap, "purchase", None, 5.0), ("b", 0, "visit", "email", None)]
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "channel", "value"])
    frame["time"] = START + pd.to_timedelta(frame["time"], unit="us")
    totals = compare(frame, replace(RULE, lookback=30), (1,)).sums.totals
    assert totals["conversions"].sum() == 1
    assert totals["untouched"].sum() == (0 if touched else 1)


def test_a_touch_at_the_instant_of_the_conversion_comes_before_it() -> None:
    rows = [("a", 5, "purchase", None, 5.0), ("a", 5, "visit", "email", None), ("a", 5, "visit", "search", None)]
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "channel", "value"])
    frame["time"] = START + pd.to_timedelta(frame["time"], unit="us")
    found = compare(frame, replace(RULE, lookback=1), (1,))
    assert found.tie_rate == 1
    last = found.sums.credits.set_index("channel")["last"]
    assert last[found.sums.channels.index("search") + 1] == 1
    turned = path_sums(log_of(frame), replace(RULE, lookback=1, reverse=True), rules=("last",))
    assert turned.sums.credits.set_index("channel")["last"][turned.sums.channels.index("email") + 1] == 1
