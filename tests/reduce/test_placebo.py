"""A placebo micro: drawn as by a loop over events, fair where the naive draw is not, and telling of confounding."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.funnels import Event
from reference.journeys import Rule, Thing, by_user, journeys
from reference.logs import SECOND, log_of, random_events, told_log

import microconv as mc
from microconv.errors import ParameterError
from microconv.journeys import journey_rule
from microconv.log import EventLog
from microconv.plan import End, Item, Micro
from microconv.reduce.entrants import People, people
from microconv.reduce.placebo import Placebo, beside_placebo, negative_control, with_placebo
from microconv.reduce.risk import JourneyRule
from microconv.reduce.states import done_or_not, edges, moments, totals

MICROS = (Micro(name="B", event="B"), Micro(name="second B", event="B", nth=2))
RULE = JourneyRule(target=Micro(name="goal", event="A"), competing=(End(name="rival", event="C"),))


def done(found: People, column: str) -> dict[str, int | None]:
    frame = found.engine.fetch(found.table.select("user_id", at=found.table[column]))
    return {row.user_id: None if pd.isna(row.at) else int(row.at) for row in frame.itertuples()}


def coin(user: str, at: int, seed: int) -> float:
    """Between 0 and 1, from the first eight digits."""
    return int(hashlib.md5(f"{user}|{at}|{seed}".encode()).hexdigest()[:8], 16) / 16**8


def loop(events: list[Event], names: str, horizon: int | None, until: int) -> dict[str, list[int]]:
    """By user at risk the moments of their own that the placebo may fall on, in half microseconds."""
    users = by_user(events)
    found = {}
    for one in journeys(events, Rule(Thing("A"), None, (Thing("C"),), ()), until):
        if one.start is None:
            continue
        stop = one.stop if horizon is None else min(one.stop, one.start + horizon)
        micros = {Thing("B").first(users[one.user]), Thing("B", nth=2).first(users[one.user])}
        own = {e.time for e in users[one.user] if e.event in names and one.start < e.time < stop} - micros
        found[one.user] = sorted(2 * (at - one.start) for at in own)
    return found


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([None, 4]), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
@settings(max_examples=25)
def test_drawn_as_by_a_loop(seed: int, named: bool, horizon: int | None, share: float) -> None:
    rng = random.Random(seed)
    events = random_events(rng, 12, names="ABCXXYY")
    until = max(event.time for event in events)
    length = horizon * SECOND if horizon else None
    own = loop(events, "X" if named else "ABCXY", length, until)
    log = log_of(events, until)
    rule = replace(RULE, horizon=length)
    who = people(log, rule, MICROS, ())
    options: dict[str, Any] = {"events": [Micro(name="x", event="X")] if named else (), "share": share, "seed": seed}
    if not any(own.values()):
        with pytest.raises(ParameterError, match="No user has an event of their own"):
            with_placebo(who, log, rule, **options)
        return
    found, placebo = with_placebo(who, log, rule, **options)
    expected = {
        user: next((at for at in at_all if coin(user, at, seed) < placebo.chance), None) for user, at_all in own.items()
    }
    assert done(found, "done_2") == expected
    assert placebo.moments == sum(len(at_all) for at_all in own.values())
    assert placebo.candidates == sum(bool(at_all) for at_all in own.values())
    assert placebo.users == sum(at is not None for at in expected.values())
    assert placebo.micro == 2
    # The chance with which so many have one, on average.
    sizes = [len(at_all) for at_all in own.values() if at_all]
    assert np.mean([1 - (1 - placebo.chance) ** n for n in sizes]) == pytest.approx(share, abs=1e-9)
    # Whatever the order of rows; the rest stays as it was.
    shuffled = log_of(rng.sample(events, len(events)), until)
    again, _ = with_placebo(people(shuffled, rule, MICROS, ()), shuffled, rule, **options)
    assert done(again, "done_2") == expected
    for column in ("enter", "stop", "cause", "cell", "done_0", "done_1"):
        assert done(found, column) == done(who, column)


def test_another_seed_is_another_draw_and_a_later_log_is_not() -> None:
    story = " ".join(f"X{second}" for second in range(1, 40))
    log = told_log(*[f"V0 {story}"] * 60, until=60)
    who = people(log, RULE, (), ())
    one, other = (done(with_placebo(who, log, RULE, seed=seed)[0], "done_0") for seed in (0, 1))
    assert one != other
    assert one == done(with_placebo(who, log, RULE, seed=0)[0], "done_0")
    # The same stories a day and a bit later, in another year.
    frame, later = log.engine.fetch(log.table), pd.Timedelta(days=400.7)
    moved = mc.read_events(frame.assign(time=frame["time"] + later), observed_until=log.observed_until + later)
    assert done(with_placebo(people(moved, RULE, (), ()), moved, RULE, seed=0)[0], "done_0") == one


def test_moments_at_the_edges() -> None:
    """Neither at entry nor at the end, nor where a micro is done."""
    log = told_log("X0 X1 B2 X2 B3 X5 A7 X8", "X0 X4 C4", "X0 A0", until=9)
    who = people(log, RULE, MICROS, ())
    found, placebo = with_placebo(who, log, RULE, share=1.0)
    assert (placebo.moments, placebo.candidates, placebo.users, placebo.chance) == (2, 1, 1, 1.0)
    assert done(found, "done_2") == {"u0": 2 * SECOND, "u1": None, "u2": None}


def test_a_column_of_states() -> None:
    log = told_log("X0 X1 B2 A3", "X0 X1 B2", "X0", until=9)
    who = people(log, RULE, MICROS, ())
    found, placebo = with_placebo(who, log, RULE, share=1.0)
    layout = beside_placebo(done_or_not(["B", "second B"]), placebo)
    assert layout.names == ("B", "second B", "placebo")
    marked = moments(found, layout)
    assert totals(found.engine, edges(marked, layout), 2).patterns["state"].tolist() == [0, 4, 5]
    with pytest.raises(ParameterError, match="'placebo' is the name of a column already"):
        beside_placebo(layout, placebo)


# Fair and telling: users of two paces of browsing, whom nothing they do moves to buy.


def browsing(users: int, seed: int, keen: float) -> pd.DataFrame:
    """Visits as a Poisson process over 20 days, .3 or 3 a day, and a purchase at a constant rate, ``keen`` times as
    high for the fast.
    """
    rng = np.random.default_rng(seed)
    fast = rng.random(users) < 0.4
    buys = rng.exponential(1 / np.where(fast, 0.1 * keen, 0.1))
    number = rng.poisson(np.where(fast, 60, 6))
    who = np.repeat(np.arange(users), number)
    at = rng.random(len(who)) * 20
    parts = [
        pd.DataFrame({"user": np.arange(users), "day": 0.0, "event": "enter"}),
        pd.DataFrame({"user": who, "day": at, "event": "visit"}),
        pd.DataFrame({"user": np.flatnonzero(buys < 20), "day": buys[buys < 20], "event": "buy"}),
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["pace"] = np.where(fast[frame["user"]], "fast", "slow")
    return frame


def as_log(frame: pd.DataFrame) -> EventLog:
    start = pd.Timestamp("2026-01-01", tz="UTC")
    time = (start + pd.to_timedelta(frame["day"], unit="D")).astype("datetime64[us, UTC]")
    made = pd.DataFrame({"user_id": "u" + frame["user"].astype(str), "time": time, "event": frame["event"]})
    return mc.read_events(made.assign(pace=frame["pace"]), observed_until=start + pd.Timedelta(days=20))


def rate_ratio(rows: pd.DataFrame, by: list[str]) -> tuple[float, float]:
    """Mantel-Haenszel's ratio of rates after the placebo and before it, and the error of its logarithm. ``rows``: a
    user each: stop, bought, placebo (half microseconds), and ``by``.
    """
    at = rows["placebo"].fillna(np.inf).clip(upper=rows["stop"])
    after = rows["placebo"].notna()
    sums = rows.assign(time0=at, time1=rows["stop"] - at, d0=rows["bought"] * ~after, d1=rows["bought"] * after)
    strata = (
        sums.groupby(by)[["time0", "time1", "d0", "d1"]].sum()
        if by
        else sums[["time0", "time1", "d0", "d1"]].sum().to_frame().T
    )
    time = strata["time0"] + strata["time1"]
    above, below = (strata["d1"] * strata["time0"] / time).sum(), (strata["d0"] * strata["time1"] / time).sum()
    spread = ((strata["d0"] + strata["d1"]) * strata["time0"] * strata["time1"] / time**2).sum()
    return float(np.log(above / below)), float(np.sqrt(spread / (above * below)))


def drawn(frame: pd.DataFrame) -> pd.DataFrame:
    log = as_log(frame)
    rule = journey_rule(log, "buy", "entry", None, None)
    found, _ = with_placebo(people(log, rule, (), ["pace"]), log, rule)
    rows = found.engine.fetch(found.table.select("user_id", "stop", "cause", "cell", placebo=found.table["done_0"]))
    return rows.assign(bought=rows["cause"] == 1)


def test_no_effect_where_there_is_nothing() -> None:
    log_ratio, error = rate_ratio(drawn(browsing(6_000, 3, keen=1.0)), [])
    assert error < 0.06
    assert abs(log_ratio) < 3.3 * error


def test_one_event_drawn_evenly_among_all_would_not_do() -> None:
    """The same users: who buys soon has few visits, so that the even draw seems to bring the purchase about."""
    frame = browsing(6_000, 3, keen=1.0)
    buys = frame[frame["event"] == "buy"].set_index("user")["day"]
    stop = pd.Series(20.0, index=range(6_000)).where(lambda s: ~s.index.isin(buys.index), buys)
    visits = frame[(frame["event"] == "visit") & (frame["day"] < stop.reindex(frame["user"]).to_numpy())]
    even = visits.sample(frac=1, random_state=1).groupby("user")["day"].first()
    rows = pd.DataFrame({"stop": stop, "placebo": even, "bought": stop.index.isin(buys.index)})
    log_ratio, error = rate_ratio(rows, [])
    assert log_ratio > 10 * error


def test_confounding_by_activity_is_seen_and_goes_away_when_adjusted_for() -> None:
    rows = drawn(browsing(6_000, 4, keen=3.0))
    log_ratio, error = rate_ratio(rows, [])
    assert log_ratio > 5 * error
    log_ratio, error = rate_ratio(rows, ["cell"])
    assert abs(log_ratio) < 3.3 * error


# Another outcome.


def test_negative_control() -> None:
    rule = replace(RULE, censor=(End(name="gone", event="D"),))
    imprint = Micro(name="imprint", event="I")
    other = negative_control(rule, imprint, MICROS)
    assert other.target == imprint
    assert other.competing == rule.competing
    assert other.censor == rule.censor
    # A purchase ends nothing any more.
    log = told_log("V0 B1 A2 I5", "V0 A3", until=9)
    found = people(log, other, MICROS, ())
    assert done(found, "stop") == {"u0": 10 * SECOND, "u1": 18 * SECOND}
    assert done(found, "cause") == {"u0": 1, "u1": 0}
    assert negative_control(rule, Micro(name="rival", event="C")).competing == ()


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Micro(name="again", event="A"), "The negative control 'again' is the macro itself"),
        (Micro(name="also B", event="B"), "The negative control 'also B' is one of the micros"),
    ],
)
def test_outcomes_that_are_none(outcome: Item, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        negative_control(RULE, outcome, MICROS)
    assert negative_control(RULE, Micro(name="third B", event="B", nth=3), MICROS).target.name == "third B"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": 0}, "share=0 must lie above 0"),
        ({"share": 1.5}, r"share=1\.5"),
        ({"share": True}, "share=True"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, r"seed=0\.5"),
        ({"events": [MICROS[1]]}, "'second B' happens once"),
        ({"events": [Micro(name="z", event="Z")]}, "No user has an event of their own"),
    ],
)
def test_errors(options: dict[str, Any], said: str) -> None:
    log = told_log("V0 X1 A3", until=9)
    with pytest.raises(ParameterError, match=said):
        with_placebo(people(log, RULE, (), ()), log, RULE, **options)


@pytest.mark.spark
def test_the_same_on_spark(spark: Any) -> None:
    frame = browsing(60, 5, keen=1.0)
    time = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta((frame["day"] * 1e6).round(), unit="s") / 1e6 * 86_400
    table = pd.DataFrame(
        {"user_id": "u" + frame["user"].astype(str), "time": time.dt.floor("us"), "event": frame["event"]}
    )
    spark._session.createDataFrame(table).createOrReplaceTempView("placebo_events")
    found: dict[str, tuple[dict[str, int | None], Placebo]] = {}
    for name, source in (("duckdb", table), ("spark", spark.table("placebo_events"))):
        log = mc.read_events(source)
        rule = journey_rule(log, "buy", "entry", None, None)
        who, placebo = with_placebo(people(log, rule, [Micro(name="v", event="visit")], ()), log, rule, share=0.6)
        found[name] = done(who, "done_1"), placebo
    assert found["duckdb"] == found["spark"]
    assert found["spark"][1].users > 20
