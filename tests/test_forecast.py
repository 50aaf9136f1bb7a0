"""mc.forecast on event logs whose future is known: counts by brute force, back-test, other ends, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.journeys import journey_rule
from microconv.log import EventLog
from microconv.reduce.held_back import became_of
from microconv.reduce.risk import journeys
from microconv.stats.conditional import Conditional

START = pd.Timestamp("2026-01-05", tz="UTC")  # a Monday
DAY = 86_400_000_000
PLAN = {"macros": [{"name": "purchase", "event": "purchase"}], "competing": ["unsubscribe"], "horizon": "30D"}


def world(n: int = 1_500, seed: int = 0, *, drift: float = 0.0, entering: float = 85.0) -> pd.DataFrame:
    """Each user's whole life in microseconds: entry, purchase and unsubscribe (infinite for never), a segment."""
    rng = np.random.default_rng(seed)
    entry, who, segment = rng.uniform(0, entering, n), rng.random(n), rng.choice(["a", "b"], n)
    share = np.where(segment == "a", 0.25, 0.4) + drift * (entry / entering - 0.5)
    buys = np.where(who < share, 6 * rng.exponential(size=n) ** 1.25, np.inf)
    leaves = np.where(who > 0.8, 15 * rng.exponential(size=n), np.inf)
    frame = pd.DataFrame({"user_id": [f"u{i}" for i in range(n)], "segment": segment, "entry": entry})
    frame["buys"], frame["leaves"] = entry + buys, entry + leaves
    frame.loc[frame["leaves"] < frame["buys"], "buys"] = np.inf
    for column in ("entry", "buys", "leaves"):
        frame[column] = (frame[column] * DAY).round()
    return frame


def log_of(people: pd.DataFrame, until_days: float, plan: dict = PLAN, shift: str = "0D") -> EventLog:
    parts = []
    for event, column in (("visit", "entry"), ("purchase", "buys"), ("unsubscribe", "leaves")):
        seen = people[people[column] <= until_days * DAY]
        parts.append(seen[["user_id", "segment"]].assign(event=event, micros=seen[column].astype("int64")))
    events = pd.concat(parts, ignore_index=True)
    origin = START + pd.Timedelta(shift)
    events["time"] = origin + pd.to_timedelta(events.pop("micros"), unit="us")
    return mc.read_events(events, plan=plan, observed_until=origin + pd.Timedelta(days=until_days))


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return world()


@pytest.fixture(scope="module")
def log(people: pd.DataFrame) -> EventLog:
    return log_of(people, 85)


def by_hand(people: pd.DataFrame, until_days: float, horizon_days: float = 30) -> pd.DataFrame:
    """One row per user known by then: cohort, age at the end, what has happened to them within the horizon."""
    known = people[people["entry"] <= until_days * DAY].copy()
    known["cohort"] = [(START + pd.Timedelta(weeks=int(e // (7 * DAY)))).strftime("%Y-%m-%d") for e in known["entry"]]
    limit = np.minimum(known["entry"] + horizon_days * DAY, until_days * DAY)
    known["converted"] = known["buys"] <= limit
    known["ended"] = (known["leaves"] <= limit) & ~known["converted"]
    known["age"] = (until_days * DAY - known["entry"]) / DAY
    known["open"] = ~known["converted"] & ~known["ended"] & (known["age"] < horizon_days)
    return known


class TestCounts:
    def test_cohorts_as_counted_by_hand(self, log: EventLog, people: pd.DataFrame) -> None:
        found = mc.forecast(log, by="segment").table
        expected = by_hand(people, 85).groupby(["segment", "cohort"])
        for name in ("converted", "ended", "open"):
            assert found[name].tolist() == expected[name].sum().tolist()
        assert found["users"].tolist() == expected.size().tolist()
        parts = found[["converted", "ended", "lost", "expired", "open"]].sum(axis=1)
        assert (parts == found["users"]).all()
        assert (found["mature"] == (found["open"] == 0)).all()

    def test_expected_is_the_sum_of_the_chances_of_open_users(self, log: EventLog, people: pd.DataFrame) -> None:
        found = mc.forecast(log)
        users = by_hand(people, 85)
        end = np.minimum(np.minimum(users["buys"], users["leaves"]), 85 * DAY)
        frame = pd.DataFrame({"start": 0.0, "stop": np.minimum((end - users["entry"]) / DAY, 30.0)})
        frame["cause"] = np.where(users["converted"], "buy", np.where(users["ended"], "end", None))
        curve = Conditional.of(mc.RiskTable.from_intervals(frame, "start", "stop", "cause"), "buy", ["end"])
        still = users[users["open"]]
        chance = pd.Series(curve.chance(still["age"].to_numpy(), np.full(len(still), 30.0)), index=still.index)
        expected = chance.groupby(still["cohort"]).sum()
        mine = found.table.set_index("cohort")["expected"]
        for cohort, value in expected.items():
            assert mine[cohort] == pytest.approx(value, rel=1e-9)
        assert found.total["expected"].iloc[0] == pytest.approx(chance.sum(), rel=1e-9)

    def test_segments_and_cohorts_add_up(self, log: EventLog) -> None:
        found = mc.forecast(log, by="segment", cohort="month")
        table, cohorts, total = found.table, found.cohorts, found.total.iloc[0]
        for name in ("users", "converted", "open", "expected", "total"):
            np.testing.assert_allclose(table.groupby("cohort")[name].sum(), cohorts[name])
            assert cohorts[name].sum() == pytest.approx(total[name])
        assert ((table["ci_low"] <= table["total"]) & (table["total"] <= table["ci_high"])).all()
        assert (table["ci_low"] >= table["converted"]).all()
        assert (table["ci_high"] <= table["converted"] + table["open"]).all()

    def test_the_future_lies_in_the_interval(self, people: pd.DataFrame, log: EventLog) -> None:
        found = mc.forecast(log).total.iloc[0]
        came = (people["buys"] - people["entry"] <= 30 * DAY)[people["entry"] <= 85 * DAY].sum()
        assert found["ci_low"] <= came <= found["ci_high"]

    def test_the_chance_falls_with_age(self, log: EventLog) -> None:
        opened = mc.forecast(log, by="segment").open
        for _, part in opened.groupby("segment"):
            assert part["chance"].iloc[0] > 5 * part["chance"].iloc[-1]
            assert ((part["ci_low"] <= part["chance"]) & (part["chance"] <= part["ci_high"])).all()
        assert opened["age_days"].max() < 30

    def test_users_lost_to_observation_are_neither_open_nor_ended(self, people: pd.DataFrame) -> None:
        plan = {"macros": PLAN["macros"], "censor": ["unsubscribe"], "horizon": "30D"}
        found = mc.forecast(log_of(people, 85, plan))
        users = by_hand(people, 85)
        assert found.total["lost"].iloc[0] == users["ended"].sum()
        assert found.total["ended"].iloc[0] == 0
        assert found.total["open"].iloc[0] == users["open"].sum()
        # Taken for possible buyers, those who left raise the chance of those who are open.
        assert found.total["expected"].iloc[0] > mc.forecast(log_of(people, 85)).total["expected"].iloc[0]
        # In the back-test only conversions that the log shows are predicted.
        assert found.backtest["inside"].mean() >= 0.75


class TestInvariances:
    def test_a_shifted_clock_and_other_names(self, log: EventLog, people: pd.DataFrame) -> None:
        renamed = people.assign(user_id="x" + people["user_id"]).sample(frac=1, random_state=1)
        moved = log_of(renamed, 85, shift="14D")
        one, two = mc.forecast(log), mc.forecast(moved)
        columns = [name for name in one.table if name != "cohort"]
        pd.testing.assert_frame_equal(one.table[columns], two.table[columns], rtol=1e-9)
        pd.testing.assert_frame_equal(one.reliability, two.reliability, rtol=1e-9)

    def test_condensed_counts_give_the_same_forecast(self, log: EventLog) -> None:
        # 1,000 distinct times and cohorts hold all conversions, but not all ages of open users.
        one, two = mc.forecast(log, holdback="0D"), mc.forecast(log, holdback="0D", max_rows=1_000)
        pd.testing.assert_frame_equal(one.table, two.table, rtol=1e-9)

    def test_outcomes_at_grouped_ages_keep_their_sums(self, log: EventLog) -> None:
        rule = replace(journey_rule(log, None, "entry", None, "3000D"), horizon=3_000 * DAY)
        users = journeys(log, rule, ["entry_month"])
        now = int((START - pd.Timestamp(0, tz="UTC")).total_seconds() * 1e6) + 85 * DAY
        given = (log, users, ["cohort"], now - 20 * DAY, now, 3_000 * DAY)
        exact, grouped = became_of(*given, max_rows=10_000), became_of(*given, max_rows=400)
        assert len(grouped) <= 400 < len(exact)
        one, two = (frame.groupby("cohort")[["users", "converted"]].sum() for frame in (exact, grouped))
        pd.testing.assert_frame_equal(one, two)
        for name in ("age_days", "until_days"):
            assert grouped["users"] @ grouped[name] == pytest.approx(exact["users"] @ exact[name], rel=1e-9)
        with pytest.raises(mc.ParameterError, match="more than max_rows=10"):
            became_of(*given, max_rows=10)

    @pytest.mark.parametrize("holdback", ["0D", "20D"])
    def test_beyond_max_rows_event_times_the_message_says_how_to_mend(self, log: EventLog, holdback: str) -> None:
        mend = r"Raise max_rows to [\d,]+ or more.*, or shorten the horizon, or take a part of the users"
        with pytest.raises(mc.ParameterError, match=mend) as raised:
            mc.forecast(log, holdback=holdback, max_rows=100)
        rows = int(str(raised.value).split("Raise max_rows to ")[1].split(" ")[0].replace(",", ""))
        found = mc.forecast(log, holdback="0D", max_rows=rows).total
        pd.testing.assert_frame_equal(found, mc.forecast(log, holdback="0D").total, rtol=1e-3)

    def test_cohorts_in_a_time_zone(self, log: EventLog) -> None:
        days = mc.forecast(log, cohort="day", tz="America/New_York").table["cohort"]
        assert days.iloc[0] == "2026-01-04"  # the first users entered on Sunday evening there


class TestBackTest:
    def test_what_was_known_then_and_what_came(self, log: EventLog, people: pd.DataFrame) -> None:
        found = mc.forecast(log, holdback="10D")
        then = by_hand(people, 75)
        still = then[then["open"]]
        came = still["buys"] <= np.minimum(still["entry"] + 30 * DAY, 85 * DAY)
        test = found.backtest.set_index("cohort")
        assert test["n"].sum() == len(still)
        assert test["not_judged"].sum() == 0
        for cohort, number in came.groupby(still["cohort"]).sum().items():
            assert test.loc[cohort, "actual"] == number
        assert found.reliability["n"].sum() == len(still)
        observed = (found.reliability["observed"] * found.reliability["n"]).sum()
        assert observed == pytest.approx(came.sum())

    def test_predictions_are_those_of_the_log_as_it_was(self, log: EventLog, people: pd.DataFrame) -> None:
        """With a whole horizon held back, predicted is what a forecast of the earlier log expects."""
        held = mc.forecast(log, holdback="30D").backtest.set_index("cohort")
        earlier = mc.forecast(log_of(people, 55), holdback="0D").table.set_index("cohort")
        for cohort, row in held.iterrows():
            assert row["n"] == earlier.loc[cohort, "open"]
            assert row["predicted"] == pytest.approx(earlier.loc[cohort, "expected"], rel=1e-9)

    def test_predicted_numbers_are_right_on_average(self) -> None:
        predicted, actual, inside, cohorts = 0.0, 0.0, 0, 0
        for seed in range(8):
            test = mc.forecast(log_of(world(900, seed), 85)).backtest
            predicted, actual = predicted + test["predicted"].sum(), actual + test["actual"].sum()
            inside, cohorts = inside + test["inside"].sum(), cohorts + len(test)
        assert actual == pytest.approx(predicted, abs=3.3 * np.sqrt(2 * predicted))
        assert inside / cohorts > 0.88

    def test_nobody_is_judged_where_the_curve_did_not_reach(self, log: EventLog, people: pd.DataFrame) -> None:
        found = mc.forecast(log, horizon="60D", holdback="40D")
        # At day 45 nobody was older than 45 days, so that who was then older than 5 days is not judged 40 days on.
        then = by_hand(people, 45, 60)
        old = then["open"] & (then["age"] > 5.5)
        assert found.backtest["not_judged"].sum() == pytest.approx(old.sum(), abs=15)
        assert any("not judged" in note for note in found.warnings)

    def test_drift_is_said(self) -> None:
        found = mc.forecast(log_of(world(4_000, 1, drift=0.3), 85))
        assert any("changes between cohorts" in note for note in found.warnings)
        assert not any("changes between cohorts" in note for note in mc.forecast(log_of(world(4_000, 1), 85)).warnings)

    def test_on_the_sample_log(self) -> None:
        found = mc.forecast(mc.sample_log())
        assert found.parameters["holdback"] == "30D"
        assert found.backtest["inside"].mean() >= 0.8
        assert "Back-test" in found.meaning

    def test_on_a_simulated_log(self) -> None:
        simulated = mc.simulate(1_500, seed=3)
        found = mc.forecast(mc.read_events(simulated.events, plan=simulated.plan), horizon="14D", cohort="week")
        judged = found.backtest[found.backtest["n"] > 0]
        assert judged["inside"].mean() >= 0.7


class TestBeyondTheObserved:
    def test_a_model_continues_the_curve_where_it_may(self) -> None:
        people = world(2_000, 2)
        found = mc.forecast(log_of(people, 85), horizon="120D", cohort="month", holdback="0D")
        assert (found.table["method"] == "observed curve, then mixture cure").all()
        assert any("mixture-cure" in note for note in found.warnings)
        came = (people["buys"] - people["entry"] <= 120 * DAY).sum()
        assert found.total["ci_low"].iloc[0] <= came <= found.total["ci_high"].iloc[0]

    def test_nothing_is_forecast_where_it_may_not(self) -> None:
        found = mc.forecast(mc.sample_log(), horizon="200D", cohort="month")
        assert found.table["expected"].isna().all()
        assert found.table["total"].isna().all()
        assert found.table["method"].str.startswith("not possible").all()
        assert any("at most 119.974 days" in note for note in found.warnings)


class TestBadInput:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"cohort": "wek"}, "Did you mean 'week'"),
            ({"holdback": "400D"}, "holds back the whole log, which is 85 days"),
            ({"holdback": 14}, "has no unit"),
            ({"horizon": "0D"}, "longer than zero"),
            ({"by": "cohort"}, "cohort"),
            ({"by": "user_id", "cohort": "day", "max_rows": 10}, "max_rows=10"),
            ({"confidence": 95}, "Write 0.95"),
            ({"tz": "Mars/Base"}, "Mars/Base"),
        ],
    )
    def test_impossible_parameters(self, log: EventLog, given: dict, said: str) -> None:
        with pytest.raises(mc.MicroconvError, match=said):
            mc.forecast(log, **given)

    def test_a_horizon_is_needed(self, people: pd.DataFrame) -> None:
        with pytest.raises(mc.ParameterError, match="needs a horizon"):
            mc.forecast(log_of(people.head(50), 85, {"macros": PLAN["macros"]}))

    @pytest.mark.filterwarnings("ignore:The macro 'purchase' never occurs")
    def test_nobody_converts(self, people: pd.DataFrame) -> None:
        nobody = people.assign(buys=np.inf, leaves=np.inf)
        found = mc.forecast(log_of(nobody, 85, {"macros": PLAN["macros"], "horizon": "30D"}))
        assert found.total["expected"].iloc[0] == 0
        assert found.total["ci_high"].iloc[0] > 0  # that nobody has is no proof that nobody will
        assert found.backtest["inside"].all()
        assert found.plot() is not None

    def test_everybody_at_once_and_one_user(self, people: pd.DataFrame) -> None:
        at_once = mc.forecast(log_of(people.assign(buys=people["entry"]), 85))
        assert (at_once.table["converted"] == at_once.table["users"]).all()
        assert at_once.backtest.empty
        assert any("no back-test" in note for note in at_once.warnings)
        alone = people[people["buys"] < 85 * DAY].head(1)
        plan = {"macros": PLAN["macros"], "horizon": "30D"}
        one = mc.forecast(log_of(alone, 85, plan), by="segment")
        assert len(one.table) == 1

    def test_saved(self, log: EventLog, tmp_path) -> None:  # type: ignore[no-untyped-def]
        mc.forecast(log, by="segment").save(tmp_path)
        names = {path.name for path in tmp_path.iterdir()}
        assert {"table.csv", "backtest.csv", "reliability.csv", "open.csv", "figure.png"} <= names
