"""Segments by behaviour: against plain loops over users, and worlds whose segments are known."""

from __future__ import annotations

import datetime as dt
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings

import microconv as mc
from microconv.plan import Behaviour
from microconv.plots import plot_behaviour_profile

pytestmark = pytest.mark.filterwarnings("ignore:.*never occurs")

DAY = 24
START = pd.Timestamp("2026-03-01", tz="UTC")
PLAN = {
    "macros": [{"name": "buy", "event": "buy"}],
    "micros": [
        {"name": "cart", "kind": "intent", "event": "cart"},
        {"name": "form", "kind": "form", "event": "form"},
        {"name": "second_view", "kind": "engagement", "event": "view", "nth": 2},
    ],
    "competing": ["leave"],
    "censor": ["deleted"],
    "horizon": "5D",
    "behaviour": [
        {"name": "fresh carts", "did": ["intent"], "did_not": ["buy"], "within": "1D"},
        {"name": "buyers", "did": ["buy"]},
        {"name": "quiet", "quiet": "2D", "min_micros": 1},
        {"name": "regulars", "min_days": 2, "max_micros": 1},
    ],
}
EVENTS = ["view", "cart", "form", "buy", "leave", "deleted"]
UNTIL = 12 * DAY  # hours


def made_log(rows: list[tuple[int, int, str]], until: int = UNTIL) -> Any:
    frame = pd.DataFrame(rows, columns=["user_id", "hour", "event"])
    frame["user_id"] = "u" + frame["user_id"].astype(str)
    frame["time"] = START + pd.to_timedelta(frame["hour"], unit="h")
    end = (START + pd.Timedelta(hours=until)).to_pydatetime()
    return mc.read_events(frame[["user_id", "time", "event"]], plan=PLAN, observed_until=end)


def by_loops(rows: list[tuple[int, int, str]], at: int, following: bool) -> dict[str, tuple[int, int]]:
    """Users and conversions within five days by segment, one user after the other; times in hours."""
    found: dict[str, tuple[int, int]] = {}
    for user in {row[0] for row in rows}:
        mine = sorted((hour, event) for who, hour, event in rows if who == user)
        mark = mine[0][0] + at
        stop, cause = UNTIL, ""
        for hour, event in mine:
            if event == "deleted":
                stop = min(stop, hour)
        leaves = [hour for hour, event in mine if event == "leave" and hour <= stop]
        if leaves:
            stop, cause = leaves[0], "leave"
        buys = [hour for hour, event in mine if event == "buy" and hour <= stop and (hour > mark or not following)]
        if buys:
            stop, cause = buys[0], "buy"
        if stop <= mark:
            continue
        before = [(hour, event) for hour, event in mine if hour <= mark]
        did = {event for _, event in before}
        views = [hour for hour, event in before if event == "view"]
        micros = sum([("cart" in did), ("form" in did), len(views) >= 2])
        days = len({(START + pd.Timedelta(hours=hour)).date() for hour, _ in before})
        last_cart = max([hour for hour, event in before if event == "cart"], default=-9999)
        if mark - last_cart <= DAY and "buy" not in did:
            name = "fresh carts"
        elif "buy" in did:
            name = "buyers"
        elif mark - before[-1][0] >= 2 * DAY and micros >= 1:
            name = "quiet"
        elif days >= 2 and micros <= 1:
            name = "regulars"
        else:
            name = "others"
        users, events = found.get(name, (0, 0))
        found[name] = (users + 1, events + (cause == "buy" and stop - mark <= 5 * DAY))
    return found


row = st.tuples(st.integers(0, 5), st.integers(0, 11 * DAY), st.sampled_from(EVENTS))


@settings(max_examples=25)
@given(st.lists(row, min_size=1, max_size=30, unique=True), st.sampled_from([12, 48, 96]), st.booleans())
@example([(0, 0, "cart"), (0, 12, "buy"), (1, 0, "view")], 12, True)
@example([(0, 0, "cart"), (0, 24, "form"), (1, 0, "view"), (1, 48, "view")], 48, False)
def test_users_and_conversions_are_those_of_plain_loops(
    rows: list[tuple[int, int, str]], at: int, following: bool
) -> None:
    expected = by_loops(rows, at, following)
    log = made_log(rows)
    outcome = "next" if following else "first"
    if not expected:
        with pytest.raises(mc.ParameterError, match="No user is at risk"):
            mc.behaviour_segments(log, at=f"{at}h", outcome=outcome)
        return
    table = mc.behaviour_segments(log, at=f"{at}h", outcome=outcome).table
    found = {name: (users, events) for name, users, events in table[["segment", "users", "events"]].to_numpy()}
    assert found == expected


@settings(max_examples=15)
@given(st.lists(row, min_size=3, max_size=25, unique=True), st.lists(row, max_size=8))
def test_nothing_after_the_landmark_forms_segments(
    rows: list[tuple[int, int, str]], later: list[tuple[int, int, str]]
) -> None:
    calm = [one for one in rows if one[2] not in ("leave", "deleted", "buy")]
    if not calm:
        return
    entry = {user: min(hour for who, hour, _ in calm if who == user) for user, _, _ in calm}
    added = [
        (user, hour, event)
        for user, hour, event in later
        if user in entry and hour > entry[user] + 48 and event in ("view", "cart", "form")
    ]
    forms = [
        mc.behaviour_segments(made_log(some), at="48h").profile.drop(columns=["others_share"])
        for some in (calm, [*calm, *added])
    ]
    pd.testing.assert_frame_equal(*forms)


def shop(probabilities: list[list[float]], users: int, seed: int, rate: float = 0.25) -> tuple[Any, np.ndarray]:
    """A log whose users are of so many sorts, each with its own chances to do micros a to f in the first days."""
    rng = np.random.default_rng(seed)
    sort = rng.integers(0, len(probabilities), users)
    names = list("abcdef")
    rows = []
    for user in range(users):
        entry = float(rng.uniform(0, 10))
        rows.append((user, entry, "visit"))
        for name, chance in zip(names, probabilities[sort[user]], strict=True):
            if rng.random() < chance:
                rows.append((user, entry + float(rng.uniform(0, 5)), name))
        if rng.random() < rate:
            rows.append((user, entry + float(rng.uniform(5, 12)), "buy"))
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event"])
    frame["user_id"] = frame["user_id"].map("{:05d}".format)
    frame["time"] = START + pd.to_timedelta(frame["day"], unit="D")
    plan = {
        "macros": [{"name": "buy", "event": "buy"}],
        "micros": [{"name": name, "kind": "engagement", "event": name} for name in names],
        "horizon": "7D",
    }
    end = (START + pd.Timedelta(days=30)).to_pydatetime()
    return mc.read_events(frame[["user_id", "time", "event"]], plan=plan, observed_until=end), sort


def test_planted_clusters_are_found_and_named_and_repeat() -> None:
    planted = [[0.9, 0.9, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.9, 0.9]]
    log, _ = shop(planted, 1_200, 3)
    found = mc.behaviour_segments(log, at="5D", how="clusters")
    assert sorted("".join(sorted(name.replace(" + ", ""))) for name in found.table["segment"]) == ["ab", "cd", "ef"]
    assert found.table["users"].between(300, 500).all()
    assert found.stability.loc[found.stability["chosen"], "clusters"].tolist() == [3]
    assert "p_value" not in found.profile
    again = mc.behaviour_segments(log, at="5D", how="clusters")
    pd.testing.assert_frame_equal(found.table, again.table)
    forced = mc.behaviour_segments(log, at="5D", how="clusters", clusters=2)
    assert len(forced.table) == 2


def test_users_without_groups_are_one_cluster_and_it_is_said() -> None:
    log, _ = shop([[0.3, 0.2, 0.5, 0.1, 0.4, 0.15]], 900, 4)
    found = mc.behaviour_segments(log, at="5D", how="clusters")
    assert found.table["segment"].tolist() == ["all users"]
    assert any("No number of clusters came back" in note for note in found.warnings)
    assert np.isnan(found.table["p_value"]).all()


def test_the_sample_has_the_standard_segments_and_pictures() -> None:
    log = mc.sample_log()
    found = mc.behaviour_segments(log, at="7D", horizon="30D")
    assert found.table["users"].sum() == found.left_out.set_index("reason").loc["at risk", "users"]
    assert found.table["share"].sum() == pytest.approx(1)
    whole = mc.behaviour_segments(log, at="7D", horizon="30D", groups=[{"name": "all", "max_micros": 99}]).table
    shrunken = found.table["users"] @ found.table["shrunk_rate"] / found.table["users"].sum()
    assert shrunken == pytest.approx(whole["rate"][0], rel=1e-6)
    assert found.table.set_index("segment").loc["high intent", "q_value"] < 0.05
    assert found.plot().get_title() == ""
    assert len(plot_behaviour_profile(found).get_xticklabels()) == 8
    rate = mc.time_to_conversion(log, landmark="7D", horizon="30D").summary.iloc[0]
    first = mc.behaviour_segments(log, at="7D", horizon="30D", outcome="first", groups=[{"name": "a", "max_micros": 9}])
    assert first.table.loc[0, ["users", "events"]].tolist() == [rate["n"], rate["events"]]
    assert first.table["rate"][0] == pytest.approx(rate["probability"], rel=1e-12)
    assert first.table["ci_low"][0] == pytest.approx(rate["ci_low"], rel=1e-9)


def test_rfm_by_thirds_of_users() -> None:
    rows = []
    for user in range(9):  # the higher, the longer ago, and the fewer days
        rows += [(user, 0, "view"), *[(user, DAY * day, "view") for day in range(1, 1 + (8 - user) // 3)]]
        rows.append((user, 90 - user, "view"))
    found = mc.behaviour_segments(made_log(rows), at="4D", how="rfm")
    table = found.table.set_index("segment")
    assert table["users"].sum() == 9
    assert table.loc["champions", "users"] == 3
    assert table.loc["lost", "users"] == 3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"how": "kmeans"}, "Unknown how 'kmeans'"),
        ({"outcome": "later"}, "Unknown outcome"),
        ({"at": 7}, "no unit"),
        ({"at": "90D"}, "No user is at risk"),
        ({"groups": [{"name": "x", "did": ["carts"]}]}, "Did you mean 'cart'"),
        ({"groups": [{"name": "x"}]}, "says nothing"),
        ({"groups": []}, "names no group"),
        ({"how": "rfm", "clusters": 3}, "how='clusters' only"),
        ({"how": "clusters", "groups": [{"name": "x", "did": ["cart"]}]}, "are rules"),
    ],
)
def test_impossible_questions_are_refused(asked: dict[str, Any], said: str) -> None:
    log = made_log([(0, 0, "view"), (0, 5, "cart"), (1, 3, "view")])
    with pytest.raises(mc.ParameterError, match=said):
        mc.behaviour_segments(log, **{"at": "1D", **asked})


def test_the_plan_keeps_behaviour_and_says_its_faults() -> None:
    plan = mc.Plan.model_validate(PLAN)
    assert mc.Plan.from_yaml_text(plan.to_yaml()) == plan
    assert plan.behaviour[0] == Behaviour(name="fresh carts", did=("intent",), did_not=("buy",), within="1D")
    faulty = {**PLAN, "behaviour": [{"name": "x", "did": ["crat"]}, {"name": "x", "within": "1D"}]}
    with pytest.raises(mc.PlanError) as error:
        mc.Plan.model_validate(faulty)
    assert "behaviour[1]" in str(error.value)
    with pytest.raises(mc.PlanError, match="Did you mean 'cart'"):
        mc.Plan.model_validate({**PLAN, "behaviour": [{"name": "x", "did": ["crat"]}]})


def test_the_order_of_rows_and_names_of_users_do_not_matter() -> None:
    log, _ = shop([[0.9, 0.8, 0.1, 0.2, 0.1, 0.3], [0.1, 0.1, 0.9, 0.9, 0.3, 0.1]], 500, 8)
    events = log.engine.fetch(log.events)
    moved = events.sample(frac=1, random_state=1).assign(user_id=lambda frame: "x" + frame["user_id"].str[::-1])
    other = mc.read_events(moved, plan=log.plan, observed_until=log.observed_until)
    for how in ("rules", "rfm", "clusters"):
        one, two = (mc.behaviour_segments(some, at="5D", how=how) for some in (log, other))
        pd.testing.assert_frame_equal(one.table, two.table)
        assert isinstance(one.to_dict()["parameters"]["at"], str)
    assert dt.timedelta(days=5) == pd.Timedelta(one.parameters["at"])
