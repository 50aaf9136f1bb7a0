"""Retention by entry cohort: equal to a plain loop over users and days in any time zone, and honest about open days."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microconv as mc
from microconv.log import EventLog
from microconv.results import Result
from microconv.stats import wilson

Told = list[tuple[str, str, str]]  # user, event, time (UTC)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]


@pytest.fixture(autouse=True)
def _closes_figures() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


def log_of(told: Told, until: str, plan: dict[str, Any] | None = None, **columns: Any) -> EventLog:
    frame = pd.DataFrame(told, columns=["user_id", "event", "time"])
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    for name, value in columns.items():
        frame[name] = [value(user) for user in frame["user_id"]]
    return mc.read_events(frame, plan=plan, observed_until=until)


def cells(result: Result, *names: str, cohort: str | None = None) -> list[tuple[Any, ...]]:
    table = result.table if cohort is None else result.table[result.table["cohort"] == cohort]
    return list(table[["cohort", "period", *names]].itertuples(index=False, name=None))


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_days_are_those_of_the_reporting_zone() -> None:
    """22:30 UTC is half past midnight in Berlin in summer: the next day, and here the next week."""
    told: Told = [("a", "visit", "2026-07-05T22:30:00Z"), ("a", "visit", "2026-07-06T22:30:00Z")]
    utc = mc.retention(log_of(told, "2026-07-08T23:00:00Z"), periods=2)
    assert cells(utc, "returned", "open") == [("2026-06-29", 0, 1, 0), ("2026-06-29", 1, 1, 0), ("2026-06-29", 2, 0, 0)]
    berlin = mc.retention(log_of(told, "2026-07-08T23:00:00Z"), periods=2, tz="Europe/Berlin")
    assert [row[:3] for row in cells(berlin, "returned")] == [
        ("2026-07-06", 0, 1),
        ("2026-07-06", 1, 1),
        ("2026-07-06", 2, 0),
    ]
    assert berlin.table["open"].tolist() == [0, 0, 0]  # 8 July ends at 22:00 UTC in Berlin
    assert "Europe/Berlin" in berlin.meaning


def test_a_day_is_open_until_its_last_microsecond() -> None:
    told: Told = [("a", "visit", "2026-03-01T10:00:00Z"), ("a", "visit", "2026-03-02T10:00:00Z")]
    just = mc.retention(log_of(told, "2026-03-02T23:59:59.999999Z"), periods=1)
    assert just.table[["observed", "returned", "open"]].to_numpy().tolist() == [[1, 1, 0], [1, 1, 0]]
    nearly = mc.retention(log_of(told, "2026-03-02T23:59:59.999998Z"), periods=1)
    assert nearly.table[["observed", "returned", "open"]].to_numpy().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert np.isnan(nearly.table["rate"].iloc[1])


def test_users_at_the_boundary_of_a_day_belong_to_the_day_that_begins() -> None:
    told: Told = [
        ("a", "visit", "2026-03-01T22:59:59.999999Z"),  # the last microsecond of 1 March in Berlin
        ("b", "visit", "2026-03-01T23:00:00Z"),
        ("c", "visit", "2026-03-01T12:00:00Z"),
        ("c", "visit", "2026-03-01T23:00:00Z"),
    ]
    result = mc.retention(log_of(told, "2026-03-09T00:00:00Z"), cohort="day", periods=1, tz="Europe/Berlin")
    assert cells(result, "users", "returned") == [
        ("2026-03-01", 0, 2, 2),
        ("2026-03-01", 1, 2, 1),
        ("2026-03-02", 0, 1, 1),
        ("2026-03-02", 1, 1, 0),
    ]


def test_a_week_is_seven_days_from_entry_or_from_monday() -> None:
    # 2026-03-04 is a Wednesday; the next Monday is the 9th, seven days on is the 11th.
    told: Told = [("a", "visit", "2026-03-04T10:00:00Z"), ("a", "visit", "2026-03-10T10:00:00Z")]
    log = log_of(told, "2026-03-31T00:00:00Z")
    assert mc.retention(log, period="W", periods=1).table["returned"].tolist() == [1, 0]
    assert mc.retention(log, period="W", calendar=True, periods=1).table["returned"].tolist() == [1, 1]
    early = log_of(told, "2026-03-15T23:59:59.999999Z")  # the end of that calendar week, day 12 from entry
    assert mc.retention(early, period="W", periods=1).table["open"].tolist() == [0, 1]
    assert mc.retention(early, period="W", calendar=True, periods=1).table["open"].tolist() == [0, 0]


def test_months_are_thirty_days_or_calendar_months() -> None:
    told: Told = [("a", "visit", "2024-01-31T10:00:00Z"), ("a", "visit", "2024-02-29T10:00:00Z")]
    log = log_of(told, "2024-12-31T00:00:00Z")
    spans = mc.retention(log, cohort="month", period="M", periods=1)
    assert cells(spans, "returned") == [("2024-01-01", 0, 1), ("2024-01-01", 1, 0)]
    months = mc.retention(log, cohort="month", period="M", calendar=True, periods=1)
    assert cells(months, "returned") == [("2024-01-01", 0, 1), ("2024-01-01", 1, 1)]


def test_only_users_whose_period_is_over_are_counted() -> None:
    """Two of one weekly cohort: the late one's third day is not over, and is neither back nor lost."""
    told: Told = [("a", "visit", "2026-03-02T10:00:00Z"), ("a", "visit", "2026-03-05T10:00:00Z")]
    told += [("b", "visit", "2026-03-04T10:00:00Z"), ("b", "visit", "2026-03-07T10:00:00Z")]
    result = mc.retention(log_of(told, "2026-03-07T12:00:00Z"), periods=3)
    last = result.table.iloc[3]
    assert (last["users"], last["observed"], last["returned"], last["open"]) == (2, 1, 1, 1)
    assert last["rate"] == 1.0
    low, high = wilson(1, 1)
    assert (last["ci_low"], last["ci_high"]) == (float(low), float(high))
    drawn = result.table.iloc[1]
    assert (drawn["observed"], drawn["returned"], drawn["rate"], drawn["open"]) == (2, 0, 0.0, 0)


def test_a_censoring_event_is_neither_open_nor_lost() -> None:
    plan = {"macros": [{"name": "buy", "event": "buy"}], "censor": ["deleted"]}
    told: Told = [("a", "visit", "2026-03-02T10:00:00Z"), ("a", "deleted", "2026-03-03T10:00:00Z")]
    told += [("a", "visit", "2026-03-04T10:00:00Z"), ("b", "buy", "2026-03-02T10:00:00Z")]
    result = mc.retention(log_of(told, "2026-03-20T00:00:00Z", plan), periods=2)
    rows = result.table[["users", "observed", "returned", "open", "censored"]].to_numpy().tolist()
    assert rows == [[2, 2, 2, 0, 0], [2, 1, 0, 0, 1], [2, 1, 0, 0, 1]]


def test_what_counts_as_coming_back_and_from_when() -> None:
    plan = {"macros": [{"name": "order", "event": "buy", "where": "amount > 5"}]}
    told: Told = [
        ("a", "visit", "2026-03-02T10:00:00Z"),
        ("a", "signup", "2026-03-03T10:00:00Z"),
        ("a", "buy", "2026-03-04T10:00:00Z"),
        ("b", "visit", "2026-03-02T10:00:00Z"),
        ("b", "buy", "2026-03-04T10:00:00Z"),
        ("c", "signup", "2026-03-03T09:00:00Z"),
        ("c", "buy", "2026-03-03T08:00:00Z"),  # before the origin: no return
    ]
    amounts = {"a": 9.0, "b": 1.0, "c": 9.0}
    log = log_of(told, "2026-03-20T00:00:00Z", plan, amount=lambda user: amounts[user])
    entered = mc.retention(log, event="order", periods=2)
    assert entered.table["returned"].tolist() == [1, 0, 1]  # c's own first event on day 0, a's on day 2
    signed = mc.retention(log, event={"event": "buy"}, origin="signup", periods=2)
    assert signed.table[["users", "returned"]].to_numpy().tolist() == [[2, 0], [2, 1], [2, 0]]
    assert any("1 of 3 users never come to the origin" in line for line in signed.assumptions)
    nth = mc.retention(log, event={"event": "visit", "nth": 1}, periods=2)
    assert nth.table["returned"].tolist() == [2, 0, 0]


def test_segments_add_up_and_total_pools_cohorts() -> None:
    log = mc.sample_log()
    whole = mc.retention(log, period="W", periods=4, tz="Asia/Kolkata")
    parts = mc.retention(log, period="W", periods=4, tz="Asia/Kolkata", by="device")
    counts = ["users", "observed", "returned", "open", "censored"]
    added = parts.table.groupby(["cohort", "period"])[counts].sum().reset_index()
    pd.testing.assert_frame_equal(added, whole.table[["cohort", "period", *counts]])
    pooled = whole.table.groupby("period")[counts].sum().reset_index()
    pd.testing.assert_frame_equal(pooled, whole.total[["period", *counts]])
    np.testing.assert_allclose(whole.total["rate"], pooled["returned"] / pooled["observed"])
    assert parts.total.columns[0] == "device"
    assert (whole.table["users"] == whole.table[["observed", "open", "censored"]].sum(axis=1)).all()


def test_periods_stop_where_nobody_was_observed() -> None:
    told: Told = [("a", "visit", "2026-03-02T10:00:00Z"), ("a", "visit", "2026-03-05T10:00:00Z")]
    log = log_of(told, "2026-03-06T10:00:00Z")
    assert mc.retention(log).table["period"].tolist() == [0, 1, 2, 3]
    assert mc.retention(log, periods=6).table["observed"].tolist() == [1, 1, 1, 1, 0, 0, 0]


# --- against a plain loop --------------------------------------------------------------------------------------------


def _period(day: dt.date, first: dt.date, period: str, calendar: bool) -> int:
    if calendar and period == "M":
        return 12 * (day.year - first.year) + day.month - first.month
    if calendar and period == "W":
        return ((day - dt.timedelta(day.weekday())) - (first - dt.timedelta(first.weekday()))).days // 7
    return (day - first).days // {"D": 1, "W": 7, "M": 30}[period]


def _cohort(day: dt.date, cohort: str) -> str:
    if cohort == "month":
        day = day.replace(day=1)
    return (day - dt.timedelta(day.weekday()) if cohort == "week" else day).isoformat()


def loop(
    frame: pd.DataFrame, until: dt.datetime, *, event: str | None, cohort: str, period: str, calendar: bool, tz: str,
    periods: int,
) -> dict[tuple[str, int], list[int]]:  # fmt: skip
    """Users by cohort and period, [users, observed, returned, open, censored], one user and one period at a time."""
    zone, micro = ZoneInfo(tz), dt.timedelta(microseconds=1)
    found: dict[tuple[str, int], list[int]] = {}
    for _, rows in frame.groupby("user_id"):
        moments = [(row.time.to_pydatetime(), row.event) for row in rows.itertuples()]
        entry = min(time for time, _ in moments)
        end = min([until, *[time for time, name in moments if name == "deleted"]])
        first = entry.astimezone(zone).date()
        for k in range(periods + 1):
            # Over when the first moment that was not seen lies in a later period.
            over = _period((until + micro).astimezone(zone).date(), first, period, calendar) > k
            seen = _period((end + micro).astimezone(zone).date(), first, period, calendar) > k
            back = any(
                (event is None or name == event)
                and time <= end
                and _period(time.astimezone(zone).date(), first, period, calendar) == k
                for time, name in moments
            )
            cell = found.setdefault((_cohort(first, cohort), k), [0] * 5)
            for i, add in enumerate((True, seen, seen and back, not over, over and not seen)):
                cell[i] += int(add)
    return found


def random_frame(seed: int, users: int = 12) -> tuple[pd.DataFrame, dt.datetime]:
    """Events near midnights of many zones and near changes of the clocks, and a moment when watching stops."""
    rng = random.Random(seed)
    # Europe changes on 29 March 2026, New York on the 8th, Lord Howe (by half an hour) on 5 April.
    start = dt.datetime(2026, 2, 26, tzinfo=dt.UTC)
    rows = []
    for user in range(users):
        for _ in range(rng.randint(1, 7)):
            at = start + dt.timedelta(days=rng.randrange(60), minutes=rng.choice([0, 30, 60, 90]) * rng.randrange(16))
            at += dt.timedelta(microseconds=rng.choice([0, 0, -1, 1, 59_999_999]))
            rows.append(
                (f"u{user}", rng.choice(["visit", "visit", "buy", "deleted" if user % 4 == 0 else "visit"]), at)
            )
    frame = pd.DataFrame(rows, columns=["user_id", "event", "time"])
    latest = frame["time"].max().to_pydatetime()
    until = latest + dt.timedelta(hours=rng.choice([0, 1, 5.5, 24, 200]), microseconds=rng.choice([0, 1, -1]))
    return frame, max(until, latest)


PLAN = {"macros": [{"name": "buy", "event": "buy"}], "censor": ["deleted"]}
CHOICES = list(itertools.product([None, "buy"], ["day", "week", "month"], ["D", "W", "M"], [False, True], ZONES))


@given(seed=st.integers(0, 10**6), choice=st.sampled_from(CHOICES))
@settings(max_examples=25)
def test_equal_to_a_plain_loop(seed: int, choice: tuple[Any, ...]) -> None:
    event, cohort, period, calendar, tz = choice
    frame, until = random_frame(seed)
    asked: dict[str, Any] = {"event": event, "cohort": cohort, "period": period, "calendar": calendar, "tz": tz}
    log = mc.read_events(frame, plan=PLAN if "deleted" in set(frame["event"]) and "buy" in set(frame["event"]) else
                         None, observed_until=until)  # fmt: skip
    if log.plan is None:
        frame = frame[frame["event"] != "deleted"]
        if frame.empty or (event is not None and event not in set(frame["event"])):
            return
        log = mc.read_events(frame, observed_until=until)
    result = mc.retention(log, periods=9, **asked)
    mine = {
        (row["cohort"], row["period"]): [row[name] for name in ("users", "observed", "returned", "open", "censored")]
        for row in result.table.to_dict("records")
    }
    assert mine == loop(frame, until, periods=9, **asked)


def test_row_order_names_and_an_irrelevant_zone_do_not_matter() -> None:
    frame, until = random_frame(7, users=40)
    told = mc.retention(mc.read_events(frame, observed_until=until), period="W").table
    shuffled = frame.sample(frac=1, random_state=2).assign(user_id=lambda f: "x" + f["user_id"])
    pd.testing.assert_frame_equal(mc.retention(mc.read_events(shuffled, observed_until=until), period="W").table, told)


@pytest.mark.spark
def test_spark_counts_the_same(spark: Any) -> None:
    frame, until = random_frame(11, users=60)
    frame["device"] = [f"d{int(user[1:]) % 3}" for user in frame["user_id"]]
    duck = mc.read_events(frame, plan=PLAN, observed_until=until)
    table = spark.create_table("retained", frame.assign(time=frame["time"].astype("datetime64[us, UTC]")))
    other = mc.read_events(table, plan=PLAN, observed_until=until)
    assert other.engine.dialect == "pyspark"
    for asked in (
        {"tz": "America/New_York", "by": "device"},
        {"tz": "Asia/Kolkata", "period": "W", "calendar": True, "event": "buy"},
        {"tz": "Australia/Lord_Howe", "period": "M", "calendar": True, "cohort": "month"},
        {"period": "M", "cohort": "day", "origin": "buy"},
    ):
        pd.testing.assert_frame_equal(mc.retention(other, **asked).table, mc.retention(duck, **asked).table)


def test_months_of_any_day() -> None:
    """The arithmetic of months against Python's calendar, before 1970 as well."""
    import ibis

    from microconv.reduce.retention import monday, month

    days = [*range(-800, 800), *range(10_900, 11_100), *range(20_000, 21_600, 7), 47_540, 47_541]
    table = ibis.memtable({"day": days})
    found = table.mutate(month=month(table.day), monday=monday(table.day)).execute().sort_values("day")
    for row in found.itertuples():
        date = dt.date(1970, 1, 1) + dt.timedelta(days=int(row.day))
        assert (row.month, row.day - row.monday) == (12 * date.year + date.month - 1, date.weekday())


# --- bad input and words ---------------------------------------------------------------------------------------------


ONE: Told = [("a", "visit", "2026-03-02T10:00:00Z"), ("a", "visit", "2026-03-05T10:00:00Z")]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cohort": "weeks"}, "Did you mean 'week'"),
        ({"period": "7D"}, "Unknown period '7D'"),
        ({"periods": -1}, "periods=-1"),
        ({"periods": True}, "periods=True"),
        ({"periods": 2.0}, "periods=2.0"),
        ({"calendar": "yes"}, "calendar='yes'"),
        ({"tz": "Europe/Berln"}, "Did you mean 'Europe/Berlin'"),
        ({"tz": 2}, "tz=2"),
        ({"event": "vist"}, "Did you mean 'visit'"),
        ({"origin": "signup"}, "Unknown origin 'signup'"),
        ({"event": {"event": "visit", "where": "amont > 3"}}, "amont"),
        ({"by": "devise"}, "Unknown column 'devise'"),
        ({"by": "period"}, "by: "),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_impossible_questions_are_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(mc.ParameterError, match=said.replace("(", r"\(")):
        mc.retention(log_of(ONE, "2026-03-09T00:00:00Z"), **asked)


def test_an_origin_that_nobody_reaches_is_refused() -> None:
    plan = {"macros": [{"name": "buy", "event": "visit"}], "micros": [{"name": "rich", "event": "visit", "nth": 9}]}
    log = log_of(ONE, "2026-03-09T00:00:00Z", plan)
    with pytest.raises(mc.ParameterError, match="No user reaches the origin 'rich'"):
        mc.retention(log, origin="rich")


def test_one_user_of_one_moment() -> None:
    log = log_of(ONE[:1], "2026-03-02T10:00:00Z")
    result = mc.retention(log)
    assert result.table[["users", "observed", "open"]].to_numpy().tolist() == [[1, 0, 1]]
    assert "nothing can be said" in result.meaning
    assert result.meaning.startswith("1 user in cohorts")
    assert any("no cell has a rate" in warning for warning in result.warnings)
    assert result.plot() is not None


def test_nobody_comes_back() -> None:
    result = mc.retention(log_of(ONE[:1], "2026-03-20T10:00:00Z"), periods=3)
    assert result.table["rate"].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert any("Nobody came back" in warning for warning in result.warnings)
    assert any("fewer than 10 users" in warning for warning in result.warnings)


def test_words_and_files(tmp_path: Any) -> None:
    result = mc.retention(mc.sample_log(), tz="Europe/Berlin")
    assert "33.6% (32.4% to 34.8%) of 5,932" in result.meaning
    assert any("local calendar day" in line for line in result.assumptions)
    result.save(tmp_path)
    saved = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(saved, result.table, check_dtype=False)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    small = mc.retention(mc.sample_log(), cohort="day", by="device").suppressed(10)
    assert small.table["period"].notna().all()  # where a row stands is no count
    assert small.plot() is not None


@pytest.mark.parametrize("asked", [{}, {"period": "W"}, {"by": "device"}, {"cohort": "day"}, {"event": "purchase"}])
def test_pictures(asked: dict[str, Any]) -> None:
    ax = mc.retention(mc.sample_log(), **asked).plot()
    figure = ax.get_figure()
    figure.canvas.draw()
    assert ax.texts or ax.lines
    hatched = [patch for patch in ax.patches if patch.get_hatch()]
    if not asked.get("by"):
        table = mc.retention(mc.sample_log(), **asked).table
        cohorts = table["cohort"].drop_duplicates().iloc[-40:]
        some = table[table["cohort"].isin(cohorts) & (table["open"] > 0) & (table["observed"] > 0)]
        assert len(hatched) == len(some)
    plt.close(figure)
