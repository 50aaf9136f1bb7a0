"""Time to conversion: against plain Python, against R through event logs, and what it says to the impossible."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lifelines.datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import journeys as plain
from reference.journeys import Rule, Thing
from reference.logs import SECOND, log_of, random_events, told_log

import microconv as mc
from microconv.conversion import TimeToConversion
from microconv.durations import MICROS_PER_DAY
from microconv.log import EventLog

GOLDEN = Path(__file__).parent / "golden"
DAY = pd.Timedelta("1D")
seeds = st.integers(0, 2**32 - 1)


def days(micros: float) -> float:
    return micros / MICROS_PER_DAY


# --- Against plain Python ------------------------------------------------------------------------------------------


@given(seeds, st.sampled_from([(), ("C",), ("C", "X")]), st.sampled_from([None, "B"]), st.none() | st.integers(1, 8))
@settings(max_examples=25)
def test_table_and_summary_are_those_of_a_loop(
    seed: int, ends: tuple[str, ...], origin: str | None, horizon: int | None
) -> None:
    events = random_events(random.Random(seed), 25)
    until = max(e.time for e in events) + 2 * SECOND
    rule = Rule(Thing("A"), Thing(origin) if origin else None, tuple(map(Thing, ends)))
    found = plain.journeys(events, rule, until, ["device"])
    micros = horizon * SECOND if horizon is not None else None
    rows = plain.spells(found, micros)
    if not rows or (origin and not any(e.event == origin for e in events)):
        return
    result = mc.time_to_conversion(
        log_of(events, until),
        target="A",
        origin=origin or "entry",
        competing=list(ends),
        horizon=f"{horizon}s" if horizon is not None else None,
        by="device",
    )
    assert sorted(result.summary["device"]) == sorted({segment for (segment,), *_ in rows})
    for segment in result.summary["device"]:
        mine = [(waited, cause) for key, waited, cause in rows if key == (segment,)]
        table = result.table[result.table["device"] == segment]
        points = plain.curve(mine)
        if points[0].time > 0:  # day 0 has a row: there everybody enters
            table = table[table["time_days"] > 0]
        assert table["time_days"].tolist() == [days(p.time) for p in points]
        assert table["at_risk"].tolist() == [p.at_risk for p in points]
        assert table["events"].tolist() == [p.events for p in points]
        assert table["censored"].tolist() == [p.censored for p in points]
        np.testing.assert_allclose(table["probability"], [p.incidence for p in points], rtol=0, atol=1e-12)
        summary = result.summary.set_index("device").loc[segment]
        assert summary["n"] == len(mine)
        assert summary["events"] == sum(cause == 1 for _, cause in mine)
        for number, end in enumerate(ends, 2):
            assert summary[f"events_{end}"] == sum(cause == number for _, cause in mine)
        assert summary["censored"] == sum(cause == 0 for _, cause in mine)
        last = points[-1]
        assert summary["observed_days"] == days(last.time)
        if micros is None:
            # Nothing says how far to read: the columns stay, so that a notebook does not break on them.
            assert summary[["horizon_days", "probability", "ci_low", "ci_high", "rmst_days"]].isna().all()
            continue
        known = last.time >= micros or last.survival < 1e-12
        assert summary["horizon_days"] == days(micros)
        assert summary["probability"] == (
            pytest.approx(last.incidence, abs=1e-12) if known else pytest.approx(np.nan, nan_ok=True)
        )
        mean = days(plain.area(mine, micros)) if known else math.nan
        assert summary["rmst_days"] == pytest.approx(mean, rel=1e-9, nan_ok=True)


@given(seeds)
@settings(max_examples=10)
def test_curves_are_those_of_the_estimators_on_rows(seed: int) -> None:
    events = random_events(random.Random(seed), 30)
    until = max(e.time for e in events)
    found = plain.journeys(events, Rule(Thing("A")), until, ["device"])
    rows = pd.DataFrame(
        {
            "device": [one.segment[0] for one in found],
            "start": 0.0,
            "stop": [days(one.stop - one.entry) for one in found],
            "cause": ["A" if one.cause else None for one in found],
        }
    )
    if not rows["cause"].notna().any():
        return
    counts = mc.RiskTable.from_intervals(rows, "start", "stop", "cause", ["device"])
    result = mc.time_to_conversion(log_of(events, until), target="A", by="device", confidence=0.9)
    assert result.risk_table == counts
    curve = mc.stats.kaplan_meier(counts, 0.9)
    np.testing.assert_array_equal(result.table["probability"], 1 - curve["survival"])
    np.testing.assert_array_equal(result.table["ci_low"], 1 - curve["ci_high"])
    np.testing.assert_array_equal(result.table["ci_high"], 1 - curve["ci_low"])
    quantiles = mc.stats.quantiles(counts, [0.1, 0.25, 0.5, 0.75], 0.9)
    for p in (0.1, 0.25, 0.5, 0.75):
        for ours, theirs in (("", "time_days"), ("_ci_low", "ci_low_days"), ("_ci_high", "ci_high_days")):
            expected = quantiles.loc[quantiles["probability"] == p, theirs]
            np.testing.assert_array_equal(result.summary[f"p{round(100 * p)}{ours}_days"], expected)
    if rows["device"].nunique() > 1:
        test = result.tests.iloc[0]
        assert (test["test"], test["cause"]) == ("log-rank", "A")
        expected = mc.stats.logrank(counts, "device").table
        pd.testing.assert_frame_equal(result.tests[list(expected.columns)], expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_competing_end_that_never_happens_changes_nothing(seed: int) -> None:
    events = random_events(random.Random(seed), 60, span=40, most=3)
    log = log_of(events)
    options: dict[str, Any] = {"target": "A", "by": "device", "horizon": "30s"}
    without, beside = (mc.time_to_conversion(log, competing=ends, **options) for ends in ((), ["never"]))
    pd.testing.assert_frame_equal(without.table, beside.table, rtol=1e-10)
    summary = beside.summary.drop(columns="events_never")
    pd.testing.assert_frame_equal(without.summary, summary, rtol=1e-8)
    pd.testing.assert_frame_equal(without.tests, beside.tests.iloc[:1], rtol=1e-10)
    logs = ["group_a", "group_b", "chi2", "p_value", "p_adjusted"]
    pd.testing.assert_frame_equal(without.pairs[logs], beside.pairs[logs], rtol=1e-8)
    means = [column for column in without.pairs if column.startswith("rmst_")]
    pd.testing.assert_frame_equal(without.pairs[means], beside.pairs[means], rtol=1e-6, atol=1e-10)
    assert (beside.naive["difference"].abs() < 1e-12).all()


# --- Against R, through event logs ---------------------------------------------------------------------------------


def subjects(time_days: Sequence[float], end: Sequence[str | None], **attributes: Sequence[Any]) -> EventLog:
    """A log in which each subject enters at a moment of its own and later has an end, or leaves alive (None)."""
    count = len(time_days)
    entry = pd.Series(pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(count) * 37, unit="min"))
    ids = [f"s{i}" for i in range(count)]
    enter = pd.DataFrame({"user_id": ids, "time": entry, "event": "entered", **attributes})
    leave = pd.DataFrame(
        {
            "user_id": ids,
            "time": entry + pd.to_timedelta(np.asarray(time_days, dtype=float), unit="D"),
            "event": [one if one is not None else "left" for one in end],
        }
    )
    frame = pd.concat([leave, enter]).sample(frac=1, random_state=1)
    goal = next(one for one in end if one is not None)
    plan = {"macros": [{"name": goal, "event": goal}], "censor": ["left"]}
    return mc.read_events(frame, plan=plan, observed_until=frame["time"].max() + DAY)


def near(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.ravel(ours).astype(float), np.ravel(theirs).astype(float), rtol=1e-6)


def read_at(result: TimeToConversion, day: float) -> pd.Series:
    return result.table[result.table["time_days"] <= day].iloc[-1]


def error(summary: pd.DataFrame) -> np.ndarray:
    width = (summary["rmst_ci_high_days"] - summary["rmst_ci_low_days"]).to_numpy()
    return width / (2 * 1.959963984540054)


def test_lung() -> None:
    lung = lifelines.datasets.load_lung()
    log = subjects(lung["time"], ["died" if status else None for status in lung["status"]], sex=lung["sex"].to_numpy())
    result = mc.time_to_conversion(log)
    near(result.summary[["p50_days", "p50_ci_low_days", "p50_ci_high_days"]], [310, 284, 361])
    for day, survival in ((90, 0.8815789474), (180, 0.7216706534), (365, 0.4092416245), (730, 0.1156930983)):
        near(1 - read_at(result, day)["probability"], survival)
    at = read_at(result, 365)
    near([1 - at["ci_high"], 1 - at["ci_low"]], [0.3387142691, 0.4783807676])
    within = mc.time_to_conversion(log, horizon="365D").summary
    near(within[["probability", "ci_low", "ci_high"]], [1 - 0.4092416245, 1 - 0.4783807676, 1 - 0.3387142691])

    by_sex = mc.time_to_conversion(log, by="sex")
    assert by_sex.summary["sex"].tolist() == ["1", "2"]
    near(by_sex.summary["p50_days"], [270, 426])
    near(by_sex.summary[["p50_ci_low_days", "p50_ci_high_days"]], [[210, 306], [345, 524]])
    near(by_sex.tests["chi2"], 10.32674195)
    means = mc.time_to_conversion(log, by="sex", horizon="365D").summary
    near(means["rmst_days"], [241.495085, 297.465410])
    near(error(means), [10.358226, 10.791324])


def test_leukemia() -> None:
    data = lifelines.datasets.load_leukemia()
    log = subjects(data["t"], ["died" if one else None for one in data["status"]], Rx=data["Rx"].to_numpy())
    result = mc.time_to_conversion(log, by="Rx")
    near(result.tests["chi2"], 16.79294099)
    treated = result.table[result.table["Rx"] == "0"]
    curve = treated[treated["events"] > 0]
    assert curve["time_days"].tolist() == [6, 7, 10, 13, 16, 22, 23]
    np.testing.assert_allclose(
        1 - curve["probability"], [0.857143, 0.806723, 0.752941, 0.690196, 0.627451, 0.537815, 0.448179], atol=1e-6
    )


def test_waltons() -> None:
    data = lifelines.datasets.load_waltons()
    log = subjects(data["T"], ["died" if one else None for one in data["E"]], group=data["group"].to_numpy())
    near(mc.time_to_conversion(log, by="group").tests["chi2"], 122.2491256)
    means = mc.time_to_conversion(log, by="group", horizon="10D").summary
    assert means["group"].tolist() == ["control", "miR-137"]
    np.testing.assert_allclose(means["rmst_days"], [9.97674, 9.79412], atol=5e-6)
    near(error(means), [0.0231655, 0.1232449])


@pytest.fixture(scope="module")
def rivals() -> EventLog:
    data = pd.read_csv(GOLDEN / "survival_ties.csv")
    ends = [f"end {cause}" if cause else None for cause in data["cause"]]
    return subjects(data["time"], ends, group=data["group"].to_numpy())


@pytest.mark.parametrize("cause", [1, 2, 3])
def test_competing_ends(rivals: EventLog, cause: int) -> None:
    """Aalen-Johansen with ties, three outcomes and outcomes at the moment of entry."""
    golden = json.loads((GOLDEN / "survival.json").read_text())["ties"]
    lost = json.loads((GOLDEN / "conversion.json").read_text())
    others = [f"end {other}" for other in (1, 2, 3) if other != cause]
    whole = mc.time_to_conversion(rivals, target=f"end {cause}", competing=others, horizon="6D")
    states = golden["states"]
    inside = [i for i, time in enumerate(states["time"]) if time <= 6]
    curve = whole.table.set_index("time_days").loc[[states["time"][i] for i in inside]]
    near(curve["probability"], [states["pstate"][i][cause - 1] for i in inside])
    near(whole.summary["probability"], states["pstate"][inside[-1]][cause - 1])
    near(6 - whole.summary["rmst_days"], lost["all"]["estimate"][cause - 1])
    near(error(whole.summary), lost["all"]["se"][cause - 1])

    by_group = mc.time_to_conversion(rivals, target=f"end {cause}", competing=others, by="group", horizon="4D")
    for group, part in golden["by_group"].items():
        curve = by_group.table[by_group.table["group"] == group].set_index("time_days")
        known = [(i, t) for i, t in enumerate(part["states"]["time"]) if t <= 4]
        near(
            curve.loc[[t for _, t in known], "probability"], [part["states"]["pstate"][i][cause - 1] for i, _ in known]
        )
        row = by_group.summary[by_group.summary["group"] == group]
        np.testing.assert_allclose(
            4 - row["rmst_days"], lost["by_group"][group]["estimate"][cause - 1], rtol=1e-6, atol=1e-12
        )
        np.testing.assert_allclose(error(row), lost["by_group"][group]["se"][cause - 1], rtol=1e-6, atol=1e-12)


def test_a_cause_alone_censors_the_others(rivals: EventLog) -> None:
    golden = json.loads((GOLDEN / "survival.json").read_text())["ties"]
    ended = rivals.with_plan({"macros": [{"name": "end 2", "event": "end 2"}], "censor": ["left", "end 1", "end 3"]})
    result = mc.time_to_conversion(ended, by="group")
    near(result.tests["chi2"], golden["logrank_cause2"]["chisq"])
    beside = mc.time_to_conversion(rivals, target="end 2", competing=["end 1", "end 3"], by="group").tests
    row = beside[(beside["test"] == "log-rank") & (beside["cause"] == "end 2")]
    near(row["chi2"], golden["logrank_cause2"]["chisq"])


# --- What is asked and what is said --------------------------------------------------------------------------------

PLAN = {
    "macros": [{"name": "buy", "event": "purchase"}],
    "micros": [{"name": "cart", "event": "add_to_cart"}, {"name": "never", "event": "nothing"}],
    "competing": ["unsubscribe"],
    "censor": ["deleted"],
    "horizon": "3D",
}


def shop_frame() -> pd.DataFrame:
    rows = []
    for i in range(40):
        start = pd.Timestamp("2026-01-01", tz="UTC") + i * DAY / 10
        rows.append((f"u{i}", start, "visit", "a" if i % 3 else None, i))
        if i % 2:
            rows.append((f"u{i}", start + DAY / 4, "add_to_cart", None, i))
        if i % 4 == 1:
            rows.append((f"u{i}", start + DAY / 2 + i * pd.Timedelta("7min"), "purchase", None, i))
        if i % 10 == 7:
            rows.append((f"u{i}", start + DAY / 8, "unsubscribe", None, i))
        if i == 38:
            rows.append((f"u{i}", start + DAY / 8, "deleted", None, i))
    return pd.DataFrame(rows, columns=["user_id", "time", "event", "device", "number"])


@pytest.fixture(scope="module")
def shop() -> EventLog:
    plan = {**PLAN, "micros": PLAN["micros"][:1]}
    return mc.read_events(shop_frame(), plan=plan, observed_until="2026-01-10")


def test_defaults_come_from_the_plan(shop: EventLog) -> None:
    result = mc.time_to_conversion(shop)
    assert result.parameters == {
        "target": "buy",
        "origin": "entry",
        "origin_col": None,
        "by": [],
        "competing": ["unsubscribe"],
        "censor": ["deleted"],
        "horizon": None,
        "repeat": "first",
        "landmark": None,
        "from_age": None,
        "tz": "UTC",
        "confidence": 0.95,
        "compared_to_days": None,
    }
    assert list(result.table.columns) == [
        "time_days", "probability", "ci_low", "ci_high", "at_risk", "events", "censored"
    ]  # fmt: skip
    row = result.summary.iloc[0]
    assert (row["n"], row["events"], row["events_unsubscribe"], row["censored"]) == (
        40,
        8,
        4,
        28,
    )  # two unsubscribe first
    assert row["horizon_days"] == 3  # the plan's, though the curve goes on
    assert result.table["time_days"].max() > 3
    assert "tests" not in result.extra
    assert mc.time_to_conversion(shop, competing=()).parameters["competing"] == []
    assert mc.time_to_conversion(shop, target="unsubscribe").parameters["competing"] == []


def test_words_name_numbers_and_conventions(shop: EventLog) -> None:
    result = mc.time_to_conversion(shop, origin="cart", by="device")
    assert result.meaning.startswith("8 of 16 users did buy after cart while observed. Within 3D it is most in device")
    text = " ".join(result.assumptions)
    for words in ("first cart", "2026-01-10 00:00 UTC are censored", "Aalen-Johansen", "deleted", "unsubscribe"):
        assert words in text
    assert "24 of 40 users never come to the origin within their journey" in text
    assert result.summary["device"].tolist() == ["(missing)", "a"]
    assert result.provenance == shop.provenance
    assert result.risk_table is not None
    assert result.risk_table.pattern_cols == ("device",)
    everyone = mc.time_to_conversion(shop, competing=())
    assert "convert within 3D" in everyone.meaning
    assert "of all users have converted" in everyone.meaning


def test_a_number_as_segment_is_told_apart_by_text(shop: EventLog) -> None:
    with pytest.raises(mc.ParameterError, match="given twice"):
        mc.time_to_conversion(shop.filter(where="number < 8"), by=["number", "number"])
    result = mc.time_to_conversion(shop.filter(where="number < 8"), by="number")
    assert result.summary["number"].tolist() == [str(i) for i in range(8)]


def test_a_target_that_never_occurs_gives_zero_events_and_a_warning(shop: EventLog) -> None:
    result = mc.time_to_conversion(shop, target="purchas", horizon="2D", by="device")
    assert (result.table["probability"] == 0).all()
    assert result.summary["events"].sum() == 0
    assert any("Nobody did 'purchas'" in w and "Did you mean 'purchase'?" in w for w in result.warnings)
    nobody = mc.time_to_conversion(shop, target={"event": "visit", "where": "number > 1000"})
    assert any(w == "Nobody did 'visit where number > 1000' while at risk." for w in nobody.warnings)


def test_a_curve_that_ends_before_the_horizon_says_so(shop: EventLog) -> None:
    result = mc.time_to_conversion(shop, horizon="300D")
    assert result.summary[["probability", "rmst_days"]].isna().all(axis=None)
    assert any("end before 300D" in warning for warning in result.warnings)


def test_few_conversions_in_a_segment_are_a_warning(shop: EventLog) -> None:
    assert any("fewer than ten" in w for w in mc.time_to_conversion(shop, by="device").warnings)


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"target": ""}, "has no name"),
    ({"target": 5}, "neither a name nor a mapping"),
    ({"target": {"event": "visit", "wher": "x"}}, "Did you mean 'where'"),
    ({"target": {"event": "visit", "where": "nubmer > 1"}}, "Did you mean 'number'"),
    ({"target": {"event": "visit", "where": "number >"}}, "where"),
    ({"target": {"event": "visit", "where": "device > 1"}}, "compares"),
    ({"target": {"event": "visit", "nth": 0}}, "nth"),
    ({"target": {"event": "visit", "total": {"column": "sum", "at_least": 1}}}, "Unknown column 'sum'"),
    ({"origin": "cartt"}, "Unknown origin 'cartt'. Did you mean 'cart'"),
    ({"origin": ""}, "has no name"),
    ({"origin": "buy"}, "origin and target are both 'buy'"),
    ({"origin": "purchase"}, "origin and target are both"),
    ({"origin": "unsubscribe"}, "origin='unsubscribe' is itself an end of the journey.*competing=()"),
    ({"origin": "deleted", "competing": ()}, "origin='deleted' is itself an end"),
    ({"by": "devise"}, "by: Unknown column 'devise'. Did you mean 'device'"),
    ({"by": ["device", "device"]}, "given twice"),
    ({"by": [None]}, "by: Unknown column None"),
    ({"by": ""}, "by: Unknown column ''"),
    ({"competing": "unsubscribe"}, r"competing='unsubscribe' must be a list of names"),
    ({"competing": {"event": "unsubscribe"}}, "must be a list of names"),
    ({"competing": 7}, "must be a list of names"),
    ({"competing": ["unsubscribe", "unsubscribe"]}, "'unsubscribe' is there twice"),
    ({"competing": ["buy"]}, "'buy' is the target"),
    ({"horizon": 30}, "horizon=30 has no unit"),
    ({"horizon": "30 fortnights"}, "horizon='30 fortnights' is not a duration"),
    ({"horizon": "0D"}, "longer than zero"),
    ({"confidence": 95}, "confidence=95 must lie between 0 and 1.*0.95"),
    ({"confidence": 1}, "confidence"),
    ({"max_rows": 0}, "max_rows=0"),
]


@pytest.mark.parametrize(("options", "message"), IMPOSSIBLE, ids=[str(options) for options, _ in IMPOSSIBLE])
def test_impossible_parameters(shop: EventLog, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.time_to_conversion(shop, **options)


def test_no_plan_and_no_target() -> None:
    log = mc.read_events(shop_frame())
    with pytest.raises(mc.ParameterError, match="without target= needs a plan"):
        mc.time_to_conversion(log)
    assert mc.time_to_conversion(log, target="purchase").summary["events"].iloc[0] == 10


def test_nobody_at_risk() -> None:
    with pytest.raises(mc.ParameterError, match="No user is ever at risk: of 2 users none reaches the origin 'M'"):
        mc.time_to_conversion(told_log("T1 M2", "T0 M3", until=9), target="T", origin="M")


def test_an_origin_with_a_condition_that_nobody_meets(shop: EventLog) -> None:
    with pytest.raises(mc.ParameterError, match="No user is ever at risk"):
        mc.time_to_conversion(shop, origin={"event": "visit", "where": "number > 1000"})


def test_more_than_200_segments_are_refused_before_they_are_counted() -> None:
    frame = pd.DataFrame(
        {
            "user_id": range(250),
            "time": pd.date_range("2026-01-01", periods=250, freq="h", tz="UTC"),
            "event": "visit",
            "city": [f"city {i}" for i in range(250)],
        }
    )
    log = mc.read_events(frame)
    with pytest.raises(mc.ParameterError, match=r"has 250 segments, over 200\. Choose a coarser attribute"):
        mc.time_to_conversion(log, target="visit", by="city")
    assert len(mc.time_to_conversion(log.filter(users=range(200)), target="visit", by="city").summary) == 200


@pytest.mark.parametrize(
    "name", ["n", "events", "time_days", "p50_days", "horizon_days", "d_buy", "events_unsubscribe"]
)
def test_a_segment_with_the_name_of_a_result_column_is_refused(name: str) -> None:
    log = mc.read_events(shop_frame().rename(columns={"device": name}), plan={**PLAN, "micros": []})
    with pytest.raises(mc.ParameterError, match="is the name of a column of the result"):
        mc.time_to_conversion(log, by=name)


def test_results_survive_copies_and_pickles(shop: EventLog, tmp_path: Path) -> None:
    import copy
    import pickle

    result = mc.time_to_conversion(shop, by="device")
    for again in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        pd.testing.assert_frame_equal(again.summary, result.summary)
        assert again.risk_table == result.risk_table
    folder = result.save(tmp_path / "out")
    names = {path.name for path in folder.iterdir()}
    frames = {f"{name}.csv" for name in ("table", "summary", "tests", "pairs", "causes", "naive")}
    assert names == {"table.parquet", *frames, "figure.png", "result.json"}


def test_risk_tables_of_two_logs_add_up_to_that_of_both(shop: EventLog) -> None:
    halves = [shop.filter(where=f"number {op} 20") for op in ("<", ">=")]
    one, other = (mc.time_to_conversion(half, by="device").risk_table for half in halves)
    assert one is not None
    assert other is not None
    assert one + other == mc.time_to_conversion(shop, by="device").risk_table


# --- Real logs -----------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_loans_end_in_three_ways(real_data: Path) -> None:
    log = mc.read_events(
        real_data / "bpi2012_loan_events.csv.gz",
        columns={"user_id": "case_id", "time": "timestamp", "event": "activity"},
    )
    assert log.rows_accepted == 262_200
    assert log.notes == ()  # every time names its offset
    ends = ["A_DECLINED", "A_CANCELLED"]
    result = mc.time_to_conversion(log, target="A_ACTIVATED", competing=ends, horizon="60D")
    whole = mc.time_to_conversion(log, target="A_ACTIVATED", competing=ends)
    row = whole.summary.iloc[0]
    counted = [int(row[name]) for name in ("n", "events", "events_A_DECLINED", "events_A_CANCELLED", "censored")]
    assert counted == [13_087, 2_246, 7_635, 2_807, 399]
    probability = result.summary["probability"].iloc[0]
    assert result.summary["events"].iloc[0] / 13_087 <= probability < 0.2
    # Who is declined is never activated: leaving that out would say that most loans come.
    alone = mc.time_to_conversion(log, target="A_ACTIVATED", competing=(), horizon="60D")
    assert alone.summary["probability"].iloc[0] <= probability


@pytest.mark.real
def test_olist_leads_by_origin(real_data: Path) -> None:
    """As a newcomer would: two tables stacked to events, the first of which carries the channel."""
    leads = pd.read_csv(real_data / "olist" / "marketing_qualified_leads.csv")
    deals = pd.read_csv(real_data / "olist" / "closed_deals.csv")
    contact = leads.rename(columns={"mql_id": "user_id", "first_contact_date": "time"}).assign(event="contact")
    won = deals.rename(columns={"mql_id": "user_id", "won_date": "time"}).assign(event="won")
    frame = pd.concat([contact[["user_id", "time", "event", "origin"]], won[["user_id", "time", "event"]]])
    log = mc.read_events(frame, tz="America/Sao_Paulo")
    assert (log.rows_accepted, log.rows_rejected) == (8_842, 0)

    whole = mc.time_to_conversion(log, target="won")
    assert whole.summary[["n", "events"]].to_numpy().tolist() == [[8_000, 842]]
    by = mc.time_to_conversion(log, target="won", by="origin", horizon="60D")
    assert by.summary["n"].sum() == 8_000
    # Sixty leads have no origin; the one won before its first contact starts at a row that has none.
    early = pd.to_datetime(deals.set_index("mql_id")["won_date"]) - pd.to_datetime(
        leads.set_index("mql_id")["first_contact_date"]
    )
    assert (early < pd.Timedelta(0)).sum() == 1
    sizes = by.summary.set_index("origin")["n"]
    expected = leads["origin"].fillna("(missing)").value_counts()
    moved = leads.set_index("mql_id").loc[early.index[early < pd.Timedelta(0)][0], "origin"]
    expected[[moved, "(missing)"]] += [-1, 1]
    assert sizes.to_dict() == expected.to_dict()
    assert by.tests["p_value"].iloc[0] < 1e-6

    # From the contact on, the lead won before it was contacted is never at risk: said, not lost in silence.
    clean = mc.time_to_conversion(log, target="won", origin="contact", by="origin")
    assert clean.summary[["n", "events"]].sum().tolist() == [7_999, 841]
    assert any("1 of 8,000 users never come to the origin" in text for text in clean.assumptions)


def test_a_segment_without_conversions_is_not_certain_to_have_none() -> None:
    rows = [(f"{device}{n}", "visit", 0, device) for device in "ab" for n in range(50)]
    rows += [(f"a{n}", "buy", n + 1, "a") for n in range(9)] + [("c", "visit", 90, "a")]
    frame = pd.DataFrame(rows, columns=["user_id", "event", "day", "device"])
    frame["time"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    log = mc.read_events(frame)
    for competing in ((), ("unsubscribe",)):
        found = mc.time_to_conversion(log, target="buy", by="device", horizon="30D", competing=competing).summary
        none = found[found["device"] == "b"].iloc[0]
        assert (none["probability"], none["ci_low"]) == (0, 0)
        assert none["ci_high"] == pytest.approx(2.9957 / 50, abs=1e-5)
