"""mc.eventual_conversion on event logs whose truth is planted: fact, model, refusals, other ends, bad input."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.log import EventLog

START = pd.Timestamp("2026-01-05", tz="UTC")
PLAN = {"macros": [{"name": "purchase", "event": "purchase"}]}


def planted(
    n: int = 1_200,
    share: float | dict[str, float] = 0.3,
    *,
    seed: int = 0,
    shape: float = 0.8,
    scale: float = 6.0,
    ends: float = 0.0,
    at_entry: float = 0.0,
    span: float = 90.0,
    entering: float = 80.0,
    shift: str = "0D",
    prefix: str = "u",
    plan: dict | None = None,
) -> EventLog:
    """A share of users converts after a Weibull delay, others unsubscribe, the rest is never heard of again."""
    rng = np.random.default_rng(seed)
    start, who = rng.uniform(0, entering, n), rng.random(n)
    segment = rng.choice(sorted(share), n) if isinstance(share, dict) else np.full(n, "all")
    chance = np.array([share[name] if isinstance(share, dict) else share for name in segment])
    delay = np.where(who < chance, scale * rng.exponential(size=n) ** (1 / shape), np.inf)
    delay = np.where((who < chance) & (rng.random(n) < at_entry), 0.0, delay)
    leaves = np.where((who >= chance) & (who < chance + ends), 15 * rng.exponential(size=n), np.inf)
    names = np.array([f"{prefix}{i}" for i in range(n)])
    parts = [pd.DataFrame({"user_id": names, "day": start, "event": "visit", "segment": segment})]
    for event, after in (("purchase", delay), ("unsubscribe", leaves)):
        seen = start + after <= span
        parts.append(
            pd.DataFrame(
                {"user_id": names[seen], "day": (start + after)[seen], "event": event, "segment": segment[seen]}
            )
        )
    events = pd.concat(parts, ignore_index=True)
    micros = (events.pop("day") * 86_400_000_000).round().astype("int64")
    origin = START + pd.Timedelta(shift)
    events["time"] = origin + pd.to_timedelta(micros, unit="us")
    given = plan or (PLAN | ({"competing": ["unsubscribe"]} if ends else {}))
    return mc.read_events(events, plan=given, observed_until=origin + pd.Timedelta(days=span))


@pytest.fixture(scope="module")
def log() -> EventLog:
    return planted()


class TestPlanted:
    def test_fact_and_model(self, log: EventLog) -> None:
        found = mc.eventual_conversion(log)
        row = found.table.iloc[0]
        assert row["ci_low"] < 0.3 < row["ci_high"]
        assert row["observed_ci_low"] < 0.3 < row["observed_ci_high"]
        assert row["delay_median_days"] == pytest.approx(6 * np.log(2) ** 1.25, rel=0.2)
        assert row["method"] == "mixture cure, Weibull delay"
        assert row["n"] == 1_200
        # 2 % of users entered within the first 1.6 days.
        assert row["reliable_days"] == pytest.approx(90 - 1.6, abs=0.7)
        assert "By the model" in found.meaning
        assert not found.warnings

    def test_the_fact_is_kaplan_meier_at_that_age(self, log: EventLog) -> None:
        row = mc.eventual_conversion(log).table.iloc[0]
        curve = mc.time_to_conversion(log).table
        at = curve[curve["time_days"] <= row["reliable_days"]].iloc[-1]
        for mine, theirs in (("observed_share", "probability"), ("observed_ci_low", "ci_low")):
            assert row[mine] == pytest.approx(at[theirs], rel=1e-12)

    def test_by_segment(self) -> None:
        found = mc.eventual_conversion(planted(3_000, {"a": 0.2, "b": 0.45}), by="segment").table
        assert list(found["segment"]) == ["a", "b"]
        for share, row in zip((0.2, 0.45), found.to_dict("records"), strict=True):
            assert row["ci_low"] < share < row["ci_high"]

    def test_by_entry_cohort_the_young_ones_are_refused(self) -> None:
        found = mc.eventual_conversion(planted(4_000, shape=1.5, scale=20), by="entry_month", tz="Europe/Berlin")
        assert list(found.table["entry_month"]) == ["2026-01-01", "2026-02-01", "2026-03-01"]
        assert found.table["share"].notna().tolist() == [True, True, False]
        assert found.table["reliable_days"].is_monotonic_decreasing
        assert "1 of 3 segments" in found.warnings[0]

    def test_other_ends_prevent_converting(self) -> None:
        log = planted(2_500, ends=0.4)
        row = mc.eventual_conversion(log).table.iloc[0]
        assert row["ci_low"] < 0.3 < row["ci_high"]
        ignored = mc.eventual_conversion(planted(2_500, ends=0.4, plan=PLAN)).table.iloc[0]
        assert row["share"] == pytest.approx(ignored["share"], abs=0.01)  # here those who leave would not have bought
        curve = mc.time_to_conversion(log).table
        at = curve[curve["time_days"] <= row["reliable_days"]].iloc[-1]
        assert row["observed_share"] == pytest.approx(at["probability"], rel=1e-12)

    def test_events_of_the_plan_that_end_observation_censor(self) -> None:
        plan = PLAN | {"censor": ["unsubscribe"]}
        row = mc.eventual_conversion(planted(3_000, ends=0.4, plan=plan)).table.iloc[0]
        # Taking those who leave for possible buyers is the caller's word: the share is above the planted one.
        assert row["observed_share"] > 0.33

    def test_conversions_at_the_very_entry(self) -> None:
        row = mc.eventual_conversion(planted(1_500, at_entry=0.6)).table.iloc[0]
        assert row["ci_low"] < 0.3 < row["ci_high"]
        assert row["delay_median_days"] == 0.0

    def test_the_other_family(self, log: EventLog) -> None:
        row = mc.eventual_conversion(log, family="generalised_gamma").table.iloc[0]
        assert row["method"] == "mixture cure, generalised gamma delay"
        assert row["ci_low"] < 0.3 < row["ci_high"]


class TestRefusals:
    def test_everybody_converts_in_the_end_slowly(self) -> None:
        found = mc.eventual_conversion(planted(2_000, 1.0, shape=0.5, scale=300))
        row = found.table.iloc[0]
        assert np.isnan(row["share"])
        assert np.isnan(row["delay_median_days"])
        assert row["method"].startswith("refused: the delay is not over")
        assert 0.3 < row["observed_share"] < 0.55
        assert "still rises" in found.warnings[0]
        assert "is not stated" in found.meaning
        assert found.curves["fitted"].isna().all()

    def test_the_sample_log(self) -> None:
        found = mc.eventual_conversion(mc.sample_log(), by="device")
        assert found.table["share"].isna().all()
        assert found.table["observed_share"].between(0.1, 0.2).all()

    def test_few_conversions(self) -> None:
        row = mc.eventual_conversion(planted(100, 0.1)).table.iloc[0]
        assert "of the 20 conversions" in row["method"]

    def test_the_fits_are_shown_either_way(self, log: EventLog) -> None:
        fits = mc.eventual_conversion(log).fits
        assert list(fits["family"]) == ["weibull", "generalised_gamma"]


class TestInvariances:
    def test_a_shifted_clock_and_other_names_change_nothing(self, log: EventLog) -> None:
        moved = planted(shift="37D", prefix="someone-")
        one, two = mc.eventual_conversion(log), mc.eventual_conversion(moved)
        pd.testing.assert_frame_equal(one.table, two.table, rtol=1e-9)
        pd.testing.assert_frame_equal(one.curves, two.curves, rtol=1e-9)

    def test_condensed_counts_give_nearly_the_same(self, log: EventLog) -> None:
        one, two = mc.eventual_conversion(log).table.iloc[0], mc.eventual_conversion(log, max_rows=500).table.iloc[0]
        assert one["share"] == pytest.approx(two["share"], abs=0.002)
        assert one["observed_share"] == pytest.approx(two["observed_share"], abs=0.002)

    def test_beyond_max_rows_event_times_the_message_says_how_to_mend_and_is_right(self, log: EventLog) -> None:
        with pytest.raises(mc.ParameterError) as raised:
            mc.eventual_conversion(log, max_rows=100)
        said = re.fullmatch(
            r"The exact table of counts has ([\d,]+) rows, .* more than max_rows=100\. Raise max_rows to \1 or more, "
            r"if the memory holds them, or take a part of the users: log\.filter\(start=.*log\.filter\(users=.*\.",
            str(raised.value),
        )
        assert said is not None
        rows = int(said[1].replace(",", ""))
        known = mc.eventual_conversion(log).table["observed_share"].item()
        enough = mc.eventual_conversion(log, max_rows=rows).table["observed_share"].item()
        assert enough == pytest.approx(known, abs=0.002)  # a reliable day that censored users may move a little
        with pytest.raises(mc.ParameterError, match="more than max_rows"):
            mc.eventual_conversion(log, max_rows=rows - 1)
        sample = log.filter(users=sorted(log.engine.fetch(log.table.select("user_id").distinct())["user_id"])[:50])
        assert mc.eventual_conversion(sample, max_rows=100).table["n"].item() == 50


class TestBadInput:
    @pytest.mark.filterwarnings("ignore:The macro 'purchase' never occurs")
    def test_nobody_converts(self) -> None:
        found = mc.eventual_conversion(planted(200, 0.0))
        row = found.table.iloc[0]
        assert row["observed_share"] == 0
        assert row["observed_ci_high"] > 0
        assert np.isnan(row["share"])
        assert any("never occurs" in note for note in found.warnings)

    def test_everybody_converts_at_once(self) -> None:
        row = mc.eventual_conversion(planted(200, 1.0, at_entry=1.0)).table.iloc[0]
        assert row["method"] == "observed: every journey has ended"
        assert (row["share"], row["ci_high"], row["delay_median_days"]) == (1.0, 1.0, 0.0)
        assert row["ci_low"] == pytest.approx(1 + np.log(0.05) / 200)

    def test_one_user_and_a_segment_with_one_member(self) -> None:
        assert mc.eventual_conversion(planted(1, 1.0, scale=0.1)).table["observed_share"].isna().all()
        events = planted(400).events.to_pandas()
        events["segment"] = np.where(events["user_id"] == "u1", "alone", events["segment"])
        log = mc.read_events(events, plan=PLAN, observed_until=START + pd.Timedelta(days=90))
        found = mc.eventual_conversion(log, by="segment").table.set_index("segment")
        assert np.isnan(found.loc["alone", "share"])
        assert found.loc["all", "ci_low"] < 0.3 < found.loc["all", "ci_high"]

    def test_impossible_parameters(self, log: EventLog) -> None:
        with pytest.raises(mc.ParameterError, match="family='gompertz'"):
            mc.eventual_conversion(log, family="gompertz")  # type: ignore[arg-type]
        with pytest.raises(mc.ParameterError, match="over 200"):
            mc.eventual_conversion(log, by="user_id")
        with pytest.raises(mc.ParameterError, match="segmnt"):
            mc.eventual_conversion(log, by="segmnt")

    def test_saved_without_small_segments(self, log: EventLog, tmp_path) -> None:  # type: ignore[no-untyped-def]
        mc.eventual_conversion(log).save(tmp_path)
        assert {"table.csv", "curves.csv", "fits.csv", "figure.png", "result.json"} <= {
            p.name for p in tmp_path.iterdir()
        }
