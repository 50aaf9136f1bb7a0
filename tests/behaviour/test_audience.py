"""Lists of users: who is on them against plain loops, what they will do, and what must never be written."""

from __future__ import annotations

import csv
import hashlib
import hmac
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import microconv as mc

pytestmark = pytest.mark.filterwarnings("ignore:.*never occurs")

DAY = 24
START = pd.Timestamp("2026-03-01", tz="UTC")
PLAN = {
    "macros": [{"name": "buy", "event": "buy", "value": "value", "currency": "EUR"}],
    "micros": [
        {"name": "cart", "kind": "intent", "event": "cart"},
        {"name": "form", "kind": "form", "event": "form"},
    ],
    "competing": ["leave"],
    "horizon": "5D",
}
EVENTS = ["view", "cart", "form", "buy", "leave"]
UNTIL = 20 * DAY
RULE = {"name": "carts", "did": ["intent"], "did_not": ["buy"], "within": "4D"}
Row = tuple[int, int, str, str]


def made_log(rows: list[Row], plan: dict[str, Any] = PLAN) -> Any:
    frame = pd.DataFrame(rows, columns=["user_id", "hour", "event", "consent"])
    frame["user_id"] = "u" + frame["user_id"].astype(str)
    frame["time"] = START + pd.to_timedelta(frame["hour"], unit="h")
    frame["consent"] = frame["consent"].where(frame["consent"] != "", None)
    frame["value"] = 10.0
    end = (START + pd.Timedelta(hours=UNTIL)).to_pydatetime()
    return mc.read_events(frame.drop(columns="hour"), plan=plan, observed_until=end)


def by_loops(rows: list[Row], moment: int) -> tuple[set[str], int]:
    """Who fits the rule and consents at a moment, and how many fit."""
    listed, matching = set(), 0
    for user in {row[0] for row in rows}:
        before = sorted((hour, event, said) for who, hour, event, said in rows if who == user and hour <= moment)
        if not before or any(event == "leave" for _, event, _ in before):
            continue
        carts = [hour for hour, event, _ in before if event == "cart"]
        if not carts or moment - carts[-1] > 4 * DAY or any(event == "buy" for _, event, _ in before):
            continue
        matching += 1
        said = [(hour, word) for hour, _, word in before if word]
        last = [word for hour, word in said if hour == said[-1][0]] if said else ["no"]
        if all(word == "Yes" for word in last):
            listed.add(f"u{user}")
    return listed, matching


row = st.tuples(
    st.integers(0, 7),
    st.integers(0, UNTIL),
    st.sampled_from(EVENTS[:4] * 2 + ["leave"]),
    st.sampled_from(["", "Yes", "no"]),
)


@settings(max_examples=25)
@given(
    st.lists(row, min_size=1, max_size=40, unique_by=lambda one: one[:3]), st.sampled_from([6 * DAY, 12 * DAY, UNTIL])
)
def test_who_is_listed_is_who_plain_loops_list(rows: list[Row], moment: int) -> None:
    rows = [*rows, (99, 0, "view", "")]  # the log begins at its first hour
    listed, matching = by_loops(rows, moment)
    at = (START + pd.Timedelta(hours=moment)).isoformat()
    if not listed:
        with pytest.raises(mc.ParameterError, match=r"fewer than 1 users|No user is at risk"):
            mc.audience(made_log(rows), RULE, at=at, min_cell=1)
        return
    found = mc.audience(made_log(rows), RULE, at=at, min_cell=1)
    assert set(found.engine.fetch(found.members)["user_id"]) == listed
    assert found.table.loc[0, ["users", "matching", "without_consent"]].tolist() == [
        len(listed),
        matching,
        matching - len(listed),
    ]


def steady(users: int, seed: int) -> list[Row]:
    """Users who come all the time, do carts by chance, and buy four times as often once they have a cart."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for user in range(users):
        entry = rng.uniform(0, UNTIL)
        cart, leave = entry + rng.exponential(10 * DAY), entry + rng.exponential(60 * DAY)
        buy = entry + rng.exponential(50 * DAY)
        buy = buy if buy < cart else cart + rng.exponential(12 * DAY)
        end = min(buy, leave, UNTIL)
        rows.append((user, int(entry), "view", "Yes" if rng.random() < 0.8 else "no"))
        rows += [
            (user, int(at) + 1, name, "")
            for at, name in ((cart, "cart"), (buy, "buy"), (leave, "leave"))
            if at < end + 1e-9
        ]
    return [one for one in rows if one[1] <= UNTIL]


def test_expected_conversions_come_true() -> None:
    moment, inside, chances = 15 * DAY, 0, []
    for seed in range(10):
        rows = steady(1_500, seed)
        found = mc.audience(made_log(rows), RULE, at=(START + pd.Timedelta(hours=moment)).isoformat())
        members = set(found.engine.fetch(found.members)["user_id"])
        came = sum(
            1
            for user, hour, event, _ in rows
            if event == "buy" and f"u{user}" in members and moment < hour <= moment + 5 * DAY
        )
        one = found.table.iloc[0]
        inside += bool(one["range_low"] <= came <= one["range_high"])
        assert one["expected_value"] == pytest.approx(10 * one["expected_conversions"])
        chances.append(one["chance"])
    # Rates of 1/12 to buy and 1/60 to leave, a little less for what is drawn towards rarer buyers.
    assert np.mean(chances) == pytest.approx((1 / 12) / (1 / 12 + 1 / 60) * (1 - np.exp(-0.5)), abs=0.04)
    assert inside >= 7  # 95 % ranges: fewer than 7 of 10 would come once in a thousand


def test_nothing_after_the_moment_is_looked_at() -> None:
    rows = steady(600, 1)
    at = (START + pd.Timedelta(hours=12 * DAY)).isoformat()
    early = [one for one in rows if one[1] <= 12 * DAY]
    one, other = (mc.audience(made_log(some), RULE, at=at) for some in (rows, early))
    pd.testing.assert_frame_equal(one.table, other.table)
    pd.testing.assert_frame_equal(one.states, other.states)


def test_the_list_is_written_with_pseudonyms_whose_key_is_nowhere(tmp_path: Path, monkeypatch: Any) -> None:
    found = mc.audience(made_log(steady(400, 2)), RULE)
    key = "a key of many bytes, secret"
    monkeypatch.setenv("AUDIENCE_KEY", key)
    folder = found.save(tmp_path / "a", key_env="AUDIENCE_KEY")
    (tmp_path / "key.txt").write_text(key + "\n")
    same = found.save(tmp_path / "b", key_file=tmp_path / "key.txt")
    assert (folder / "users.csv").read_bytes() == (same / "users.csv").read_bytes()
    with (folder / "users.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = found.engine.fetch(found.members)["user_id"]
    hashed = {hmac.new(key.encode(), one.encode(), hashlib.sha256).hexdigest() for one in ids}
    assert {one["pseudonym"] for one in rows} == hashed
    assert [one["pseudonym"] for one in rows] == sorted(hashed)
    for file in folder.iterdir():
        assert key.encode() not in file.read_bytes()
        assert not any(b'"' + one.encode() + b'"' in file.read_bytes() for one in ids)
    assert key not in repr(found)
    monkeypatch.setenv("AUDIENCE_KEY", "s3crt")
    with pytest.raises(mc.ParameterError, match="holds 5 bytes") as error:
        found.save(tmp_path / "c", key_env="AUDIENCE_KEY")
    assert "s3crt" not in str(error.value)
    with pytest.raises(mc.ParameterError, match="no such environment"):
        found.save(tmp_path / "c", key_env="NO_SUCH_NAME")
    with pytest.raises(mc.ParameterError, match="not the key itself") as error:
        found.save(tmp_path / "c", key_env=key)
    assert key not in str(error.value)
    assert not (tmp_path / "c").exists()


def test_ids_that_a_spreadsheet_would_run_are_shown_as_text(tmp_path: Path) -> None:
    rows = [(user, 24 + user, name, "Yes") for user in range(12) for name in ("view", "cart")]
    log = made_log([*rows, (99, 0, "view", "")])
    events = log.engine.fetch(log.events)
    events["user_id"] = "=cmd|" + events["user_id"]
    bad = mc.read_events(events, plan=PLAN, observed_until=log.observed_until)
    folder = mc.audience(bad, {**RULE, "within": "30D"}).save(tmp_path)
    lines = (folder / "users.csv").read_text().splitlines()
    assert len(lines) == 13
    assert all(line.startswith("'=cmd|u") for line in lines[1:])


def test_what_must_not_be_written_is_refused(tmp_path: Path) -> None:
    log = made_log(steady(400, 2))
    with pytest.raises(mc.ParameterError, match="fewer than 500 users"):
        mc.audience(log, RULE, min_cell=500)
    found = mc.audience(log, RULE)
    with pytest.raises(mc.ParameterError, match="fewer than 500 users"):
        found.save(tmp_path / "x", min_cell=500)
    without = mc.read_events(log.engine.fetch(log.events.drop("consent")), plan=PLAN, observed_until=log.observed_until)
    unknown = mc.audience(without, RULE)
    assert any("no column 'consent'" in note for note in unknown.warnings)
    with pytest.raises(mc.ParameterError, match="nobody is known to have agreed"):
        unknown.save(tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert (mc.audience(without, RULE, consent=None).save(tmp_path / "y") / "users.csv").is_file()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"rule": "abandoned carts"}, "Did you mean 'abandoned cart'"),
        ({"rule": 7}, "must be a name or a mapping"),
        ({"at": "2031-01-01"}, "outside the log"),
        ({"horizon": "60D"}, "Choose a shorter horizon"),
        ({"top": 2}, "share of users"),
        ({"consent": "opt_in"}, "Unknown column 'opt_in'"),
        ({"granted": "yes"}, "list of the words"),
        ({"min_cell": 0}, "1 or more"),
    ],
)
def test_impossible_questions_are_refused(asked: dict[str, Any], said: str) -> None:
    log = made_log(steady(60, 3))
    with pytest.raises(mc.ParameterError, match=said):
        mc.audience(log, **{"rule": RULE, **asked})


def test_the_rules_out_of_the_box_and_the_picture() -> None:
    log = made_log(steady(1_200, 4))
    carts = mc.audience(log, "abandoned cart")
    assert carts.states["state"].eq("cart").all()
    stalled = mc.audience(log, "stalled")
    everybody = mc.audience(log, {"name": "all", "max_micros": 9})
    assert stalled.table["chance"][0] > everybody.table["chance"][0]
    assert everybody.plot().get_ylabel() == ""
