"""Sequences of micros: against plain loops over users, order by chance, and lead times that are known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import microconv as mc
from microconv.plots import plot_channel_flow, plot_transitions
from microconv.stats.orders import lead_times, sequences

pytestmark = pytest.mark.filterwarnings("ignore:.*never occurs")

START = pd.Timestamp("2026-03-01", tz="UTC")
NAMES = ("a", "b", "c")
PLAN = {
    "macros": [{"name": "buy", "event": "buy"}],
    "micros": [{"name": name, "event": name} for name in NAMES],
    "competing": ["leave"],
    "horizon": "20D",
}


def made_log(rows: list[tuple[int, float, str]], until: float) -> Any:
    frame = pd.DataFrame(rows, columns=["user_id", "hour", "event"])
    frame["user_id"] = "u" + frame["user_id"].astype(str)
    frame["time"] = START + pd.to_timedelta(frame["hour"], unit="h")
    end = (START + pd.Timedelta(hours=until)).to_pydatetime()
    return mc.read_events(frame.drop(columns="hour"), plan=PLAN, observed_until=end)


def paths(rows: list[tuple[int, int, str]]) -> list[tuple[dict[str, int], bool]]:
    """Each user's first times of the micros before the end, and whether the end is the target."""
    found = []
    for user in sorted({row[0] for row in rows}):
        mine = [(hour, event) for who, hour, event in rows if who == user]
        ends = [(hour, event != "buy", event) for hour, event in mine if event in ("buy", "leave")]
        stop, _, cause = min(ends, default=(10**6, False, ""))
        first: dict[str, int] = {}
        for name in NAMES:
            times = [hour for hour, event in mine if event == name]
            if times and (min(times) < stop or (min(times) == stop and cause != "buy")):
                first[name] = min(times)
        found.append((first, cause == "buy"))
    return found


row = st.tuples(
    st.integers(0, 6), st.integers(0, 30), st.sampled_from(["a", "a", "b", "b", "c", "buy", "leave", "view"])
)


@settings(max_examples=25)
@given(st.lists(row, min_size=1, max_size=40, unique=True))
def test_sequences_and_transitions_are_those_of_plain_loops(rows: list[tuple[int, int, str]]) -> None:
    found = mc.micro_patterns(made_log(rows, 40))
    users = paths(rows)
    expected: dict[str, tuple[int, int]] = {}
    for length in (2, 3):
        for order in itertools.permutations(NAMES, length):
            apart = [one for one, _ in users if set(order) <= set(one) and len({one[n] for n in order}) == length]
            so = [one for one in apart if all(one[x] < one[y] for x, y in itertools.pairwise(order))]
            if so:
                expected[" > ".join(order)] = (len(so), len(apart))
    table = found.table
    assert {one.sequence: (one.users, one.did_all) for one in table.itertuples()} == expected
    for one in table.itertuples():
        assert one.expected == pytest.approx(one.did_all / math.factorial(one.length))
        assert one.ci_low <= one.lift <= one.ci_high
    steps: dict[tuple[str, str], int] = {}
    for first, bought in users:
        path = ["(start)", *sorted(first, key=lambda name: (first[name], name)), "(conversion)" if bought else "(null)"]
        for step in itertools.pairwise(path):
            steps[step] = steps.get(step, 0) + 1
    assert {(one.source, one.target): one.paths for one in found.transitions.itertuples()} == steps
    assert found.transitions.groupby("source")["share"].sum().to_numpy() == pytest.approx(1)


def test_order_by_chance_is_called_different_as_often_as_stated() -> None:
    rng = np.random.default_rng(3)
    false_raw = tests = false_any = 0
    for _ in range(500):
        done = rng.random((300, 4)) < (0.6, 0.5, 0.7, 0.4)
        times = np.where(done, rng.random((300, 4)), np.inf)
        place = np.where(done, times.argsort(axis=1).argsort(axis=1) + 1, 0)
        orders = pd.DataFrame(place, columns=[f"r_{i}" for i in range(4)]).assign(converted=0, users=1)
        table = sequences(orders, list("wxyz"))
        false_raw += int((table["p_value"] < 0.05).sum())
        false_any += int((table["q_value"] < 0.05).any())
        tests += len(table)
    assert false_raw / tests < 0.05  # exact tests of counts are a little careful
    assert false_raw / tests > 0.02
    assert false_any / 500 < 0.05 + 3.3 * math.sqrt(0.05 * 0.95 / 500)


def test_a_planted_order_is_found_and_the_interval_holds_its_lift() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        first = rng.random(400) < 0.7  # a before b in 70 % of users: a lift of 1.4
        orders = pd.DataFrame({"r_0": np.where(first, 1, 2), "r_1": np.where(first, 2, 1), "converted": 0, "users": 1})
        one = sequences(orders, ["a", "b"], (2,)).set_index("sequence").loc["a > b"]
        covered += one["ci_low"] <= 1.4 <= one["ci_high"]
        assert one["q_value"] < 0.05
    assert 180 <= covered <= 199


def test_lead_times_heed_who_is_still_open() -> None:
    rng = np.random.default_rng(5)
    covered, medians = 0, []
    truth = -math.log(1 - (1 - math.exp(-2)) / 2) * 10  # exponential of mean 10 days, up to 20
    for _ in range(150):
        lead = rng.exponential(10, 600)
        seen = rng.uniform(2, 40, 600)
        stop = np.minimum.reduce([lead, seen, np.full(600, 20.0)])
        frame = pd.DataFrame({"start": 0.0, "stop": stop, "cause": np.where(stop == lead, "buy", None), "m": 0})
        table = lead_times(mc.RiskTable.from_intervals(frame, "start", "stop", "cause", ["m"]), "m", ["a"], 20.0, "buy")
        one = table.iloc[0]
        medians.append(one["median_days"])
        covered += one["median_ci_low_days"] <= truth <= one["median_ci_high_days"]
    assert np.mean(medians) == pytest.approx(truth, abs=0.15)
    assert covered >= 131  # 95 % of 150, and room for chance and for censoring


def test_the_sample_and_its_pictures() -> None:
    found = mc.micro_patterns(mc.sample_log())
    table = found.table.set_index("sequence")
    pair = table.loc["add_to_cart > third_visit", "users"] + table.loc["third_visit > add_to_cart", "users"]
    assert pair == table.loc["add_to_cart > third_visit", "did_all"]
    assert found.lead_times["median_days"].between(0, 30).all()
    assert len(found.plot().get_yticklabels()) == 20
    flow, steps = plot_channel_flow(found), plot_transitions(found)
    assert any("first micro" in text.get_text() for text in flow.texts)
    assert any("each micro" in text.get_text() for text in steps.texts)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"micros": ["a"]}, "sequences need 2"),
        ({"micros": ["a", "bb"]}, "Unknown micro 'bb'"),
        ({"micros": "ab"}, "list of names"),
        ({"lengths": (1,)}, "from 2 to 4"),
        ({"max_rows": 1}, "different orders"),
    ],
)
def test_impossible_questions_are_refused(asked: dict[str, Any], said: str) -> None:
    rows = [(0, 0, "a"), (0, 1, "b"), (1, 0, "b"), (1, 2, "a"), (2, 0, "c"), (2, 5, "buy")]
    with pytest.raises(mc.ParameterError, match=said):
        mc.micro_patterns(made_log(rows, 40), **asked)
