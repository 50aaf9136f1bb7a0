"""Repeat conversions, each of which starts the clock anew: against a loop over users, with errors by user."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.logs import BASE, SECOND, log_of, random_events, told_log

import microconv as mc
from microconv.durations import MICROS_PER_DAY
from microconv.plan import End, Micro
from microconv.reduce import waits as repeats
from microconv.reduce.risk import JourneyRule, journeys, population, risk_table
from microconv.stats import kaplan_meier

seeds = st.integers(0, 2**32 - 1)
TARGET, ORIGIN = Micro(name="A", event="A"), Micro(name="B", event="B")
OTHER, GONE = End(name="C", event="C"), End(name="X", event="X")
Wait = tuple[str, int, int, int, int]  # user, number, start, stop, cause


def loop(events: list[Any], until: int, rule: JourneyRule) -> list[Wait]:
    found: list[Wait] = []
    for user in sorted({e.user for e in events}):
        mine = [e for e in events if e.user == user]

        def first(name: str, mine: list[Any] = mine) -> int | None:
            return min((e.time for e in mine if e.event == name), default=None)

        start = first("B") if rule.origin is not None else min(e.time for e in mine)
        end = min(until, first("X") or until) if rule.censor else until
        cause = 0
        other = first("C")
        if rule.competing and other is not None and other <= end:
            end, cause = other, 2
        if start is None or start > end:
            continue
        number = 1
        for at in sorted({e.time for e in mine if e.event == "A" and start <= e.time <= end}):
            found.append((user, number, start, at, 1))
            start, number = at, number + 1
        if number == 1 or start < end:
            found.append((user, number, start, end, cause))
    return found


@st.composite
def rules(draw: st.DrawFn) -> JourneyRule:
    horizon = draw(st.none() | st.integers(1, 9))
    return JourneyRule(
        target=TARGET,
        origin=draw(st.sampled_from([None, ORIGIN])),
        competing=draw(st.sampled_from([(), (OTHER,)])),
        censor=draw(st.sampled_from([(), (GONE,)])),
        horizon=horizon * SECOND if horizon is not None else None,
        repeat="each",
    )


@given(seeds, rules(), st.integers(0, 2))
@settings(max_examples=30)
def test_waits_and_counts_are_those_of_a_loop(seed: int, rule: JourneyRule, later: int) -> None:
    events = random_events(random.Random(seed), 15)
    until = max(e.time for e in events) + later * SECOND
    log = log_of(events, until)
    by = ["conversion_number", "device"]
    rows = journeys(log, rule, by)
    told = loop(events, until, rule)
    frame = log.engine.fetch(rows)
    assert frame["user_id"].nunique() == len({e.user for e in events})
    found = frame[frame["start"].notna()].sort_values(["user_id", "number"]).to_dict("records")
    assert [(r["user_id"], r["number"], r["start"], r["stop"], r["cause"]) for r in found] == told
    assert all(r["enter"] == r["start"] for r in found)
    assert [r["by_0"] for r in found] == [str(number) if number < 3 else "3+" for _, number, *_ in told]
    assert population(log, rows)["at_risk"] == len({user for user, *_ in told})
    if not told:
        return
    table, _ = risk_table(log, journeys(log, rule), rule, (), 1_000_000)
    assert table.pattern_cols == ("user_bucket",)
    whole = table.pool()
    spells = []
    for _, _, start, stop, cause in told:
        waited = stop - start
        if rule.horizon is not None and waited > rule.horizon:
            waited, cause = rule.horizon, 0
        spells.append((waited, cause))
    for row in whole.frame.to_dict("records"):
        at = round(row["time_days"] * MICROS_PER_DAY)
        assert row["n"] == sum(waited >= at for waited, _ in spells)
        assert row["d_A"] == spells.count((at, 1))
        assert row["censored"] == spells.count((at, 0))
    assert whole.frame["d_A"].sum() == sum(cause == 1 for _, cause in spells)


def shop(seed: int = 0, users: int = 120) -> mc.EventLog:
    """Users who differ in how often they buy, so that waits of one user are alike."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(users):
        day, rate = rng.uniform(0, 20), rng.choice([0.02, 0.4])
        rows.append((f"u{i}", day, "visit", "a" if i % 2 else "b"))
        while (day := day + rng.exponential(1 / rate)) < 60:
            rows.append((f"u{i}", day, "purchase", None))
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event", "device"])
    frame["time"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    plan = {"macros": [{"name": "buy", "event": "purchase"}], "horizon": "10D"}
    return mc.read_events(frame, plan=plan, observed_until="2026-03-02")


def test_errors_are_by_user() -> None:
    log = shop()
    result = mc.time_to_conversion(log, repeat="each")
    rule = JourneyRule(Micro(name="buy", event="purchase"), repeat="each")
    rows = log.engine.fetch(journeys(log, rule))
    rows = rows.assign(days=(rows["stop"] - rows["start"]) / MICROS_PER_DAY, start=0.0)
    rows["cause"] = np.where(rows["cause"] == 1, "buy", None)
    counts = mc.RiskTable.from_intervals(rows, "start", "days", "cause", ["user_id"])
    robust = kaplan_meier(counts, cluster="user_id")
    np.testing.assert_allclose(result.table["probability"], 1 - robust["survival"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.table["ci_low"], 1 - robust["ci_high"], atol=1e-9)
    plain = kaplan_meier(counts.pool())
    at = plain["time_days"].searchsorted(10) - 1
    assert robust["se"].iloc[at] > 1.5 * plain["se"].iloc[at]  # who buys often has many short waits
    summary = result.summary.iloc[0]
    assert summary["n"] == 120
    assert summary["waits"] == len(rows)
    assert summary["events"] == (log.event_counts["purchase"])
    assert result.risk_table == counts.pool()
    assert "Each buy starts the clock anew:" in result.meaning
    assert f"{int(summary['events']):,} of {int(summary['waits']):,} waits of 120 users" in result.meaning
    text = " ".join(result.assumptions)
    assert "infinitesimal jackknife over each user" in text
    assert "the clock stops at the next buy" in text


def test_bladder_tumours_are_r_s_gap_times_by_patient() -> None:
    """``survfit(Surv(stop - start, event) ~ 1, cluster = id, robust = TRUE, conf.type = "log-log")``, from events."""
    golden = json.loads((Path(__file__).parent / "golden" / "clocks.json").read_text())
    rows = pd.DataFrame(golden["bladder"])
    assert (rows["start"] == rows.groupby("id")["stop"].shift().fillna(0)).all()  # waits follow each other
    origin = pd.Timestamp("2026-01-01", tz="UTC")
    tumours = rows[rows["event"] == 1].assign(event="tumour")
    left = rows.groupby("id", as_index=False)["stop"].max().assign(event="left")
    begun = left.assign(stop=0.0, event="begun")
    frame = pd.concat([begun, tumours[["id", "stop", "event"]], left], ignore_index=True)
    frame["time"] = origin + pd.to_timedelta(frame.pop("stop"), unit="D")
    plan = {"macros": [{"name": "tumour", "event": "tumour"}], "censor": ["left"]}
    log = mc.read_events(frame.rename(columns={"id": "user_id"}), plan=plan, observed_until="2027-01-01")
    for repeat, theirs in (("each", golden["each"]), ("first", golden["first"])):
        table = mc.time_to_conversion(log, repeat=repeat).table
        ours = table.iloc[[int((table["time_days"] <= day).sum()) - 1 for day in theirs["time"]]]
        np.testing.assert_allclose(1 - ours["probability"], theirs["survival"], rtol=1e-9)
        np.testing.assert_allclose(1 - ours["ci_high"], theirs["lower"], rtol=1e-6)
        np.testing.assert_allclose(1 - ours["ci_low"], theirs["upper"], rtol=1e-6)


def test_the_jackknife_by_hand() -> None:
    """Leaving out each user in turn moves the curve by nearly what the infinitesimal jackknife says."""
    log = shop(1, users=80)
    result = mc.time_to_conversion(log, repeat="each").table
    at = int(result["time_days"].searchsorted(5.0) - 1)
    survival = 1 - result["probability"].iloc[at]
    width = np.log(np.log(1 - result["ci_high"].iloc[at]) / np.log(1 - result["ci_low"].iloc[at])) / (2 * 1.959964)
    error = width * -np.log(survival) * survival
    rule = JourneyRule(Micro(name="buy", event="purchase"), repeat="each")
    rows = log.engine.fetch(journeys(log, rule))
    days, bought = ((rows["stop"] - rows["start"]) / MICROS_PER_DAY).to_numpy(), (rows["cause"] == 1).to_numpy()

    def at_five(kept: np.ndarray) -> float:
        share = 1.0
        for time in np.sort(days[kept & bought & (days <= 5)]):
            share *= 1 - 1 / (days[kept] >= time).sum()
        return share

    users = rows["user_id"].to_numpy()
    moved = [at_five(users != user) - survival for user in np.unique(users)]
    assert error == pytest.approx(np.sqrt(np.sum(np.square(moved))), rel=0.05)


def test_many_users_are_grouped_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    log = shop(2, users=400)
    own = mc.time_to_conversion(log, repeat="each", by="device")
    monkeypatch.setattr(repeats, "OWN", 50)
    grouped = mc.time_to_conversion(log, repeat="each", by="device")
    pd.testing.assert_series_equal(own.table["probability"], grouped.table["probability"])
    width = [(f.summary["ci_high"] - f.summary["ci_low"]).to_numpy() for f in (own, grouped)]
    np.testing.assert_allclose(width[0], width[1], rtol=0.2)  # 256 groups of one or two users
    rule = JourneyRule(Micro(name="buy", event="purchase"), repeat="each")
    table, _ = risk_table(log, journeys(log, rule), rule, (), 1_000_000)
    assert 150 < table.frame["user_bucket"].nunique() <= repeats.BUCKETS


def test_first_and_later_waits_are_told_apart() -> None:
    result = mc.time_to_conversion(shop(), repeat="each", by="conversion_number")
    summary = result.summary.set_index("conversion_number")
    assert summary.index.tolist() == ["1", "2", "3+"]
    assert summary.loc["1", "n"] == summary.loc["1", "waits"] == 120
    first = mc.time_to_conversion(shop()).summary.iloc[0]
    shared = ["events", "censored", "probability", "p10_days", "rmst_days"]
    np.testing.assert_allclose(summary.loc["1", shared].astype(float), first[shared].astype(float), rtol=1e-9)
    assert summary.loc["2", "waits"] <= summary.loc["1", "events"]
    assert "tests" not in result.extra
    assert list(result.pairs.columns) == [
        "group_a", "group_b", "rmst_difference_days", "rmst_ci_low_days", "rmst_ci_high_days", "rmst_p_value",
        "rmst_p_adjusted",
    ]  # fmt: skip
    assert result.pairs["rmst_p_value"].between(0, 1).all()
    sooner = result.pairs.iloc[1]  # 1 against 3+: only who buys often comes to a third
    assert sooner["rmst_difference_days"] > 0
    assert sooner["rmst_p_adjusted"] < 0.01


@pytest.mark.parametrize("by", [None, "device", ["device", "conversion_number"]])
def test_beside_other_ends(by: Any) -> None:
    stories = ["A0 B1 B4 C6 B8", "A0 B2 B2 C2", "A0 C3", "A0 B3 X5 B7", "A0"] * 6
    log = told_log(*stories, until=20)
    by = by if by is None else [by] if isinstance(by, str) else by
    by = [{"device": "item"}.get(name, name) for name in by] if by else None
    result = mc.time_to_conversion(log, target="B", competing=["C"], repeat="each", horizon="9s", by=by)
    assert result.summary["events"].sum() == (2 + 1 + 0 + 2 + 0) * 6
    assert result.summary["events_C"].sum() == (1 + 0 + 1) * 6  # at one instant the conversion counts
    assert result.causes["cause"].unique().tolist() == ["B", "C"]
    if by is None:
        assert result.summary[["n", "waits"]].iloc[0].tolist() == [30, (3 + 2 + 1 + 3 + 1) * 6 - 6]
    text = " ".join(result.assumptions)
    assert ("Mean days of first and later waits are not compared" in text) == (by is not None and len(by) == 2)


def test_a_repeat_at_the_moment_of_entry_and_at_the_end() -> None:
    log = told_log("B0 B0 B3", "A0 B5", until=5)
    rows = log.engine.fetch(journeys(log, JourneyRule(Micro(name="B", event="B"), repeat="each")))
    found = sorted(
        (r["user_id"], r["number"], (r["start"] - BASE) / SECOND, (r["stop"] - BASE) / SECOND, r["cause"])
        for r in rows.to_dict("records")
    )
    assert found == [("u0", 1, 0, 0, 1), ("u0", 2, 0, 3, 1), ("u0", 3, 3, 5, 0), ("u1", 1, 0, 5, 1)]


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"repeat": "all"}, "Unknown repeat 'all'"),
    ({"repeat": "each", "target": {"event": "purchase", "nth": 2}}, "needs a target that can happen again"),
    ({"repeat": "each", "landmark": "1D"}, "repeat='each' and landmark= do not go together"),
    ({"repeat": "each", "from_age": "1D"}, "repeat='each' and from_age="),
    ({"repeat": "each", "origin_col": "device"}, "repeat='each' and origin_col="),
    ({"by": "conversion_number"}, "by='conversion_number' needs repeat='each'"),
    ({"repeat": "each", "by": ["conversion_number"] * 2}, "given twice"),
]


@pytest.mark.parametrize(("options", "message"), IMPOSSIBLE, ids=[str(options) for options, _ in IMPOSSIBLE])
def test_impossible_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.time_to_conversion(shop(0, users=5), **options)


def test_few_users_are_a_warning() -> None:
    log = told_log("A0 B1 B2", "A0 B2", "A0", until=9)
    result = mc.time_to_conversion(log, target="B", repeat="each")
    assert any("1 of 1 curves rest on fewer than 20 users" in warning for warning in result.warnings)
    one = mc.time_to_conversion(told_log("A0 B1 B3", until=9), target="B", repeat="each")
    assert one.summary[["n", "waits", "events"]].iloc[0].tolist() == [1, 3, 2]
    assert np.isnan(one.table["ci_low"].iloc[1])  # one user says nothing of how users differ
