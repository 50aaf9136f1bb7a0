"""Time to conversion with another clock: late entry, a landmark, ages left out, cohorts in a zone."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.log import EventLog

GOLDEN = Path(__file__).parent / "golden" / "clocks.json"
DAY = pd.Timedelta("1D")
START = pd.Timestamp("2026-01-05", tz="UTC")  # a Monday
PLAN = {
    "macros": [{"name": "buy", "event": "purchase"}],
    "micros": [{"name": "signup", "kind": "form", "event": "signup"}, {"name": "cart", "event": "add_to_cart"}],
    "competing": ["unsubscribe"],
    "horizon": "10D",
}


def log_of(rows: list[tuple[Any, ...]], columns: str = "user_id day event device", **options: Any) -> EventLog:
    frame = pd.DataFrame(rows, columns=columns.split())
    frame["time"] = START + pd.to_timedelta(frame.pop("day"), unit="D")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* never occurs", category=mc.MicroconvWarning)  # one plan for all
        return mc.read_events(frame, plan=options.pop("plan", PLAN), **options)


# --- Late entry ----------------------------------------------------------------------------------------------------


def late_log(rows: list[tuple[Any, ...]], until: float = 40.0) -> EventLog:
    """Rows of (user, day of signing up, first seen, day of the end, end)."""
    events = []
    for user, origin, seen, end, what in rows:
        at = (START + pd.Timedelta(days=origin)).isoformat() if origin is not None else None
        events.append((user, seen, "visit", "d", at))
        if end is not None:
            events.append((user, end, what, "d", None))
    plan = {"macros": [{"name": "buy", "event": "purchase"}], "competing": ["unsubscribe"], "horizon": "10D"}
    return log_of(
        events, "user_id day event device signed_up_at", plan=plan, observed_until=START + pd.Timedelta(days=until)
    )


def test_late_entry_is_r_s_surv_with_two_times() -> None:
    """Stanford's heart patients who got a transplant, watched from the transplant on, aged from acceptance."""
    golden = json.loads(GOLDEN.read_text())
    heart = pd.DataFrame(golden["heart"])
    rows = [
        (f"p{i}", 0.0, row["start"], row["stop"], "purchase")
        if row["event"]
        else (f"p{i}", 0.0, row["start"], None, None)
        for i, row in heart.iterrows()
    ]
    events = []
    for (user, _, seen, end, what), stop in zip(rows, heart["stop"], strict=True):
        events.append((user, seen, "visit", START.isoformat()))
        events.append((user, stop if end is None else end, "left" if end is None else what, None))
    plan = {"macros": [{"name": "buy", "event": "purchase"}], "censor": ["left"]}
    log = log_of(events, "user_id day event signed_up_at", plan=plan, observed_until="2036-01-01")
    result = mc.time_to_conversion(log, origin_col="signed_up_at")

    survival, expected = 1.0, {}
    for time in sorted(heart["stop"].unique()):
        n = ((heart["start"] < time) & (heart["stop"] >= time)).sum()
        d = ((heart["stop"] == time) & (heart["event"] == 1)).sum()
        survival *= 1 - d / n
        expected[float(time)] = (n, d, survival)
    table = result.table.set_index("time_days")
    for time, (n, d, survival) in expected.items():
        row = table.loc[time]
        assert (row["at_risk"], row["events"]) == (n, d)
        assert 1 - row["probability"] == pytest.approx(survival, abs=1e-12)
    theirs = pd.DataFrame(golden["late"])
    ours = result.table.iloc[[int((result.table["time_days"] <= day).sum()) - 1 for day in theirs["time"]]]
    np.testing.assert_allclose(1 - ours["probability"], theirs["survival"], rtol=1e-9)
    np.testing.assert_allclose(1 - ours["ci_high"], theirs["lower"], rtol=1e-6)
    np.testing.assert_allclose(1 - ours["ci_low"], theirs["upper"], rtol=1e-6)
    # One cause's Aalen-Johansen has the same error; several causes' differ from R's (tests/stats/test_clusters.py).
    alone = mc.stats.probability_at(mc.stats.aalen_johansen(result.risk_table), theirs["time"].tolist())
    np.testing.assert_allclose(alone["se"], theirs["se"], rtol=1e-6)
    assert result.summary["n"].iloc[0] == len(heart)
    assert result.risk_table is not None
    whole = result.risk_table.frame["person_time_days"].sum()
    assert whole == pytest.approx((heart["stop"] - heart["start"]).sum())


def test_a_handful_at_risk_at_young_ages_is_a_warning_that_offers_a_later_age() -> None:
    rows = [("early0", 0.0, 0.5, 1.0, "purchase"), ("early1", 0.0, 0.5, 2.0, "purchase")]
    rows += [(f"u{i}", 0.0, 3.0 + i / 100, 5.0 + i if i < 10 else None, "purchase") for i in range(40)]
    log = late_log(rows)
    naive = mc.time_to_conversion(log, origin_col="signed_up_at", competing=())
    assert naive.table["probability"].max() == 1  # two users, both of whom bought, before anybody else was known
    said = [warning for warning in naive.warnings if "At young ages" in warning]
    assert len(said) == 1
    assert "drops by 100% on their word alone and ends there" in said[0]
    assert "from_age='49h'" in said[0]
    later = mc.time_to_conversion(log, origin_col="signed_up_at", competing=(), from_age="49h")
    assert not [warning for warning in later.warnings if "At young ages" in warning]
    assert later.summary[["n", "events"]].iloc[0].tolist() == [40, 10]
    assert later.table["probability"].iloc[-1] == pytest.approx(10 / 40)
    assert any("2 of 42 users ended, or were watched no longer than, that age" in text for text in later.assumptions)


def test_censored_under_late_entry_is_net_of_who_enters_at_the_same_age() -> None:
    """Two are censored at age 5, where one enters: the table counts one, the summary people."""
    rows = [("a", 0.0, 1.0, 5.0, "left"), ("b", 0.0, 1.0, 5.0, "left"), ("c", 0.0, 5.0, 8.0, "left")]
    rows += [("d", 0.0, 1.0, 7.0, "purchase")]
    events = [(user, seen, "visit", START.isoformat()) for user, _, seen, _, _ in rows]
    events += [(user, end, what, None) for user, _, _, end, what in rows]
    plan = {"macros": [{"name": "buy", "event": "purchase"}], "censor": ["left"]}
    log = log_of(events, "user_id day event signed_up_at", plan=plan, observed_until="2026-03-01")
    result = mc.time_to_conversion(log, origin_col="signed_up_at")
    assert result.table.set_index("time_days")["censored"].loc[5.0] == 1
    assert result.summary[["n", "censored"]].iloc[0].tolist() == [4, 3]


def test_who_is_left_out_by_late_entry_is_counted_and_said() -> None:
    rows = [(f"u{i}", 0.0, 1.0, 4.0 + i, "purchase") for i in range(12)]
    rows += [("negative", 6.0, 1.0, 5.0, "purchase"), ("unknown", None, 1.0, 5.0, "purchase")]
    rows += [("at once", 0.0, 2.0, 2.0, "purchase"), ("later", 3.0, 1.0, 5.0, "purchase")]
    result = mc.time_to_conversion(late_log(rows), origin_col="signed_up_at")
    assert result.summary["n"].iloc[0] == 13
    text = " ".join(result.assumptions)
    assert "Time zero is the time in signed_up_at" in text
    assert "1 of 16 users have no readable time in signed_up_at" in text
    assert "1 of 16 users ended before their signed_up_at (a negative duration)" in text
    assert "1 of 16 users ended at their first recorded event" in text
    assert any("ended before their signed_up_at, which cannot be" in warning for warning in result.warnings)
    assert result.table["time_days"].min() == 0  # the one who signed up after the first event is at risk from 0


def test_nobody_has_an_origin() -> None:
    with pytest.raises(mc.ParameterError, match="origin_col='signed_up_at': of 3 users 3 no time in the origin column"):
        mc.time_to_conversion(
            late_log([(f"u{i}", None, 1.0, 2.0, "purchase") for i in range(3)]), origin_col="signed_up_at"
        )


def test_competing_ends_under_late_entry_have_no_gray_test() -> None:
    rows = [(f"u{i}", 0.0, 0.5 + i / 50, 2.0 + i, "purchase" if i % 3 else "unsubscribe") for i in range(30)]
    log = late_log(rows)
    found = mc.time_to_conversion(log, origin_col="signed_up_at", by="entry_week").extra
    assert "causes" in found
    assert "tests" not in found  # one cohort
    log = late_log([(u, o, s + 7 * (i % 2), e + 7, w) for i, (u, o, s, e, w) in enumerate(rows)])
    result = mc.time_to_conversion(log, origin_col="signed_up_at", by="entry_week")
    assert result.tests["test"].tolist() == ["log-rank", "log-rank"]


# --- Landmark ------------------------------------------------------------------------------------------------------


def landmark_rows() -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for i in range(60):
        user, day = f"u{i:02d}", i / 100
        rows.append((user, day, "visit", "mobile" if i % 2 else "desktop"))
        if i % 3 == 0:
            rows.append((user, day + (1.0 if i % 2 else 4.0), "signup", None))
        if i % 4 == 1:
            rows.append((user, day + (2.0 if i % 8 == 1 else 6.0 + i / 10), "purchase", None))
        if i % 20 == 6:
            rows.append((user, day + 1.5, "unsubscribe", None))
    return rows


@pytest.fixture(scope="module")
def shop() -> EventLog:
    return log_of(landmark_rows(), observed_until=START + 20 * DAY)


def test_a_landmark_starts_the_clock_anew_among_those_still_at_risk(shop: EventLog) -> None:
    result = mc.time_to_conversion(shop, landmark="3D", by="signup", horizon="10D")
    frame = pd.DataFrame(landmark_rows(), columns=["user", "day", "event", "device"])
    entry = frame.groupby("user")["day"].min()

    def first(event: str) -> pd.Series:
        return frame[frame["event"] == event].groupby("user")["day"].min().reindex(entry.index)

    end = pd.concat([first("purchase"), first("unsubscribe")], axis=1).min(axis=1)
    kept = entry.index[~(end <= entry + 3)]
    done = (first("signup") <= entry + 3)[kept]
    bought = ((first("purchase") - entry - 3) <= 10)[kept]
    summary = result.summary.set_index("signup")
    for level, mask in (("no", ~done), ("yes", done)):
        assert summary.loc[level, "n"] == mask.sum()
        assert summary.loc[level, "events"] == (bought & mask).sum()
    text = " ".join(result.assumptions)
    assert f"Landmark 3D: of 60 users {len(kept)} were still at risk then" in text
    sooner = (first("purchase") <= entry + 3).sum()
    assert f"lost before it: {sooner} had done buy, 3 had ended otherwise" in text
    assert "signup: done by the landmark or not" in text
    assert f"of {len(kept)} users still at risk 3D after entry did buy within the next 10D." in result.meaning
    assert "Within the next 10D it is most in signup" in result.meaning


def test_a_micro_beside_an_attribute(shop: EventLog) -> None:
    result = mc.time_to_conversion(shop, landmark="3D", by=["signup", "device"])
    assert list(result.summary.columns[:2]) == ["signup", "device"]
    swapped = mc.time_to_conversion(shop, landmark="3D", by=["device", "signup"])
    keys = ["device", "signup"]
    one, other = (f.summary.sort_values(keys).reset_index(drop=True) for f in (result, swapped))
    pd.testing.assert_frame_equal(one[other.columns], other)
    assert set(result.pairs["group_a"]) <= {f"{s}, {d}" for s in ("no", "yes") for d in ("desktop", "mobile")}


def test_a_landmark_of_a_micro_that_all_or_none_have_done_is_one_curve(shop: EventLog) -> None:
    result = mc.time_to_conversion(shop, landmark="3D", by="cart")
    assert result.summary["cart"].tolist() == ["no"]
    assert "tests" not in result.extra


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"by": "signup"}, "immortal.*landmark='7D'.*mc.hazard_ratios"),
    ({"by": "add_to_cart"}, "once the plan names it as a micro"),
    ({"by": "add_to_cart", "landmark": "1D"}, "neither a column nor a micro of the plan"),
    ({"by": ["signup", "signup"], "landmark": "1D"}, "given twice"),
    ({"by": "singup", "landmark": "1D"}, "by: Unknown column 'singup'"),
    ({"landmark": 7}, "landmark=7 has no unit"),
    ({"landmark": "0D"}, "longer than zero"),
    ({"landmark": "300D"}, "No user is ever at risk with landmark='300D': of 60 users .* censored before the landmark"),
    ({"from_age": "12D", "horizon": "12D"}, "from_age='12D' leaves nothing before horizon='12D'"),
    ({"from_age": "1D", "landmark": "1D"}, "Give one of them"),
    ({"from_age": "90D"}, "No user is ever at risk with from_age='90D'"),
    ({"origin_col": "signed"}, "origin_col: Unknown column 'signed'"),
    ({"origin_col": "device", "origin": "signup"}, "both set time zero"),
    ({"origin_col": "device"}, "with origin_col='device': of 60 users 60 no time in the origin column"),
    ({"tz": "Europe/Berln"}, "Unknown time zone tz='Europe/Berln'. Did you mean 'Europe/Berlin'"),
]


@pytest.fixture(scope="module")
def shop_with_carts() -> EventLog:
    return log_of([*landmark_rows(), ("u00", 0.5, "add_to_cart", None)], observed_until=START + 20 * DAY)


@pytest.mark.parametrize(("options", "message"), IMPOSSIBLE, ids=[str(options) for options, _ in IMPOSSIBLE])
def test_impossible_parameters(shop_with_carts: EventLog, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.time_to_conversion(shop_with_carts, **options)


def test_a_column_wins_over_a_micro_of_its_name(shop: EventLog) -> None:
    rows = [(*row[:3], "x") for row in landmark_rows()]
    log = log_of(rows, "user_id day event signup", observed_until=START + 20 * DAY)
    assert mc.time_to_conversion(log, by="signup").summary["signup"].tolist() == ["x"]


# --- Words, cohorts, other ends ------------------------------------------------------------------------------------


def test_a_horizon_is_named_where_it_cuts(shop: EventLog) -> None:
    cut = mc.time_to_conversion(shop, horizon="1D")
    assert " within 1D of entry." in cut.meaning
    assert "while observed" not in cut.meaning
    whole = mc.time_to_conversion(shop)
    assert " after entry while observed." in whole.meaning


def cohort_log(tz_shift: float = 0.0) -> EventLog:
    rows: list[tuple[Any, ...]] = []
    for week in range(3):
        for i in range(30):
            user, day = f"w{week}u{i}", 7 * week + i / 5 + tz_shift
            rows.append((user, day, "visit", None))
            if i % 3 == 0:
                rows.append((user, day + 0.1 + i / 10 + week, "purchase", None))
    return log_of(rows, observed_until=START + pd.Timedelta(days=26))


def test_cohorts_are_compared_as_far_as_each_was_observed() -> None:
    result = mc.time_to_conversion(cohort_log(), by="entry_week", horizon="20D", competing=())
    assert result.summary["entry_week"].tolist() == ["2026-01-05", "2026-01-12", "2026-01-19"]
    common = result.summary["observed_days"].min()
    assert common == pytest.approx(11.8)  # the last visitor entered on day 14.2 of 26
    assert any("Entry cohorts are compared over their first 11.8 days only" in text for text in result.assumptions)
    within = mc.time_to_conversion(cohort_log(), by="entry_week", horizon=pd.Timedelta(days=11.8), competing=())
    pd.testing.assert_frame_equal(result.tests, within.tests)
    columns = ["group_a", "group_b", "chi2", "p_value"]
    assert np.isfinite(result.pairs["rmst_difference_days"]).all()
    assert result.pairs["compared_days"].tolist() == pytest.approx([18.8, 11.8, 11.8])
    assert within.pairs["compared_days"].tolist() == pytest.approx([11.8] * 3)
    young = [1, 2]  # pairs with the youngest cohort: compared over the same days
    pd.testing.assert_frame_equal(result.pairs.iloc[young][columns[:4]], within.pairs.iloc[young][columns[:4]])
    means = [c for c in result.pairs if "rmst" in c and "adjusted" not in c]
    pd.testing.assert_frame_equal(result.pairs.iloc[young][means], within.pairs.iloc[young][means])
    assert any(
        "The youngest cohorts are young" in w
        for w in mc.time_to_conversion(cohort_log(), by="entry_week", horizon="25D", competing=()).warnings
    )


def test_a_cohort_is_of_the_stated_zone() -> None:
    rows = [("night", 6.99, "visit", None), ("night", 8.0, "purchase", None), ("day", 5.0, "visit", None)]
    log = log_of(rows, observed_until=START + pd.Timedelta(days=20))
    assert mc.time_to_conversion(log, by="entry_week").summary["entry_week"].tolist() == ["2026-01-05"]
    berlin = mc.time_to_conversion(log, by="entry_week", tz="Europe/Berlin")
    assert berlin.summary["entry_week"].tolist() == ["2026-01-05", "2026-01-12"]
    assert berlin.parameters["tz"] == "Europe/Berlin"


def test_the_naive_reading_stands_beside_the_proper_one() -> None:
    rows: list[tuple[Any, ...]] = []
    for i in range(200):
        rows.append((f"u{i}", 0.0, "visit", "a" if i % 2 else "b"))
        if i % 4 == 0:
            rows.append((f"u{i}", 1.0 + i / 100, "unsubscribe", None))
        elif i % 4 in (1, 2):
            rows.append((f"u{i}", 1.5 + i / 50, "purchase", None))
    log = log_of(rows, observed_until=START + 30 * DAY)
    result = mc.time_to_conversion(log, by="device")
    row = result.naive.set_index("device").loc["b"]
    frame = pd.DataFrame({"end": [1.0 + i / 100 if i % 4 == 0 else 1.5 + i / 50 for i in range(0, 200, 2)]})
    frame["bought"] = [i % 4 == 2 for i in range(0, 200, 2)]
    survival = 1.0
    for time in sorted(frame.loc[frame["bought"] & (frame["end"] <= 10), "end"]):
        survival *= 1 - 1 / (frame["end"] >= time).sum()
    assert row["naive"] == pytest.approx(1 - survival)
    assert row["probability"] == pytest.approx((frame["bought"] & (frame["end"] <= 10)).mean())
    assert row["difference"] == row["naive"] - row["probability"]
    assert any("Other ends matter" in warning and "naive 1 - Kaplan-Meier" in warning for warning in result.warnings)
    assert sorted(result.causes["cause"].unique()) == ["buy", "unsubscribe"]
    total = result.causes.groupby(["device", "time_days"])["probability"].sum()
    assert (total <= 1 + 1e-12).all()
    mine = result.causes[result.causes["cause"] == "buy"].reset_index(drop=True)
    np.testing.assert_array_equal(mine["probability"], result.table["probability"])
    assert result.tests[["test", "cause"]].to_numpy().tolist() == [
        ["log-rank", "buy"], ["Gray", "buy"], ["log-rank", "unsubscribe"], ["Gray", "unsubscribe"]
    ]  # fmt: skip
    gray = mc.stats.gray_test(result.risk_table, "device", cause="buy").table
    assert result.tests["chi2"].iloc[1] == gray["chi2"].iloc[0]


def test_other_ends_that_hardly_happen_are_no_warning(shop: EventLog) -> None:
    rows = [row for row in landmark_rows() if row[2] != "unsubscribe"]
    log = log_of(rows, observed_until=START + 20 * DAY)
    result = mc.time_to_conversion(log, competing=["unsubscribe"])
    assert not [warning for warning in result.warnings if "Other ends" in warning]


# --- Worlds at the edge --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("competing", [(), ("unsubscribe",)])
def test_edges(competing: tuple[str, ...]) -> None:
    at_once = [(f"u{i}", 0.0, "purchase", "a" if i else "b") for i in range(5)]
    result = mc.time_to_conversion(log_of(at_once, observed_until=START + 20 * DAY), by="device", competing=competing)
    assert result.summary["events"].sum() == 5
    assert (result.table["probability"] == 1).all()
    assert result.pairs["p_value"].isna().all()

    nobody = [(f"u{i}", 0.0, "visit", "a" if i else "b") for i in range(5)]
    result = mc.time_to_conversion(log_of(nobody, observed_until=START + 20 * DAY), by="device", competing=competing)
    assert (result.summary["probability"] == 0).all()
    assert result.tests["p_value"].isna().all()
    assert result.pairs[["chi2", "rmst_p_value"]].isna().all(axis=None)

    one = mc.time_to_conversion(log_of(nobody[:1], observed_until=START + 20 * DAY), by="device", competing=competing)
    assert one.summary["n"].tolist() == [1]
    one = mc.time_to_conversion(log_of(at_once[:1], observed_until=START + 20 * DAY), competing=competing)
    assert one.summary["probability"].tolist() == [1]


@pytest.mark.parametrize("max_rows", [1_000_000, 3, 1])
@pytest.mark.parametrize(("horizon", "users", "events"), [("20D", 7, 3), ("4D", 4, 0)])
def test_who_leaves_at_the_age_at_which_another_is_first_seen_is_counted(
    max_rows: int, horizon: str, users: int, events: int
) -> None:
    """In a risk table the two cancel; people are counted apart from it."""
    first = pd.Timestamp("2025-01-01", tz="UTC")
    rows = [("c", 0, "visit", 0)]
    rows += [(f"a{i}", day, event, 0) for i in range(3) for day, event in ((0, "visit"), (5, "delete"))]
    rows += [(f"b{i}", day, event, 1) for i in range(3) for day, event in ((6, "visit"), (9, "buy"))]
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "signup"])
    for column in ("time", "signup"):
        frame[column] = first + pd.to_timedelta(frame[column], unit="D")
    plan = {"macros": [{"name": "buy", "event": "buy"}], "censor": ["delete"]}
    log = mc.read_events(frame, plan=mc.Plan.model_validate(plan), observed_until="2025-02-01")
    found = mc.time_to_conversion(log, origin_col="signup", horizon=horizon, max_rows=max_rows).summary
    assert found[["n", "events", "censored"]].to_numpy().tolist() == [[users, events, users - events]]
