"""mc.attribution: the toy through events and through paths, totals in every model, checks beside them, bad input."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.attribution.definitions import DEFINITIONS
from microconv.errors import ParameterError

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2026-01-01", tz="UTC")
# (path, conversions, value of each, nulls): REFERENCE's toy, as events.
TOY = [("ABC", 3, 10, 1), ("A", 1, 5, 4), ("BBA", 2, 20, 0), ("CA", 0, 0, 5), ("B", 1, 10, 3)]


def toy_events() -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for path, conversions, value, nulls in TOY:
        for number in range(conversions + nulls):
            user = f"{path}-{number}"
            rows += [(user, START + place * DAY, "visit", name, None) for place, name in enumerate(path)]
            if number < conversions:
                rows.append((user, START + len(path) * DAY, "buy", None, float(value)))
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "channel", "value"])
    return frame.astype({"channel": "string", "value": "Float64"})


def toy_log() -> mc.EventLog:
    plan = mc.Plan(macros=[{"name": "buy", "event": "buy", "value": "value", "currency": "EUR"}], lookback="30D")
    return mc.read_events(toy_events(), plan=plan, observed_until=START + 90 * DAY)


def toy_paths() -> mc.PathTable:
    rows = [(list(path), conversions, conversions * value, nulls) for path, conversions, value, nulls in TOY]
    frame = pd.DataFrame(rows, columns=["path", "conversions", "value", "null"])
    return mc.PathTable.from_paths(frame, value_col="value", null_col="null")


def credits(result: mc.Result, model: str, column: str = "conversions") -> list[float]:
    rows = result.table[(result.table["model"] == model) & result.table["channel"].isin(["A", "B", "C"])]
    return rows[column].tolist()


@pytest.fixture(scope="module")
def sample() -> mc.Result:
    spend = {"email": 500, "paid_search": 2_000, "social": 0}
    return mc.attribution(mc.sample_log(), check=True, by="device", spend=spend)


@pytest.mark.parametrize("source", [toy_log, toy_paths])
def test_the_toy_by_hand(source: Any) -> None:
    result = mc.attribution(source(), direct="A")
    whole = 59 / 105 + 25 / 56 + 313 / 532
    expected = {
        "first": [4, 3, 0],
        "last": [3, 1, 3],
        "last_non_direct": [1, 3, 3],
        "linear": [8 / 3, 10 / 3, 1],
        "linear_unique": [3, 3, 1],
        "position": [3.0, 2.8, 1.2],
        "markov": [7 * 59 / 105 / whole, 7 * 25 / 56 / whole, 7 * 313 / 532 / whole],
        "markov2": [2.8, 2.8, 1.4],
        "shapley": [3, 3, 1],
    }
    for model, numbers in expected.items():
        assert credits(result, model) == pytest.approx(numbers, abs=1e-9), model
    removals = result.removals[result.removals["model"] == "markov"]
    assert removals["removal_effect"].tolist() == pytest.approx([59 / 105, 25 / 56, 313 / 532], abs=1e-12)
    assert "56.2% of the conversions ('" in removals["meaning"].iloc[0]
    first = {"A": 30 + 5, "B": 40 + 10, "C": 0}
    assert credits(result, "first", "value") == pytest.approx(list(first.values()))


def test_events_and_paths_say_the_same() -> None:
    one, other = mc.attribution(toy_log()), mc.attribution(toy_paths())
    both = one.table.merge(other.table, on=["channel", "model"], suffixes=("", "_of_paths"))
    assert len(both) == len(other.table)
    for name in ("conversions", "value", "share", "rank"):
        np.testing.assert_allclose(both[name].astype(float), both[f"{name}_of_paths"].astype(float), atol=1e-9)


def test_time_decay_by_hand() -> None:
    result = mc.attribution(toy_log(), model=["time_decay", "time_decay_steps"], half_life="1D")
    abc, bba = np.array([1, 2, 4]) / 7, np.array([1, 2, 4]) / 7
    expected = [3 * abc[0] + 1 + 2 * bba[2], 3 * abc[1] + 2 * (bba[0] + bba[1]) + 1, 3 * abc[2]]
    assert credits(result, "time_decay") == pytest.approx(expected)
    assert credits(result, "time_decay_steps") == pytest.approx(expected)


def test_every_model_adds_up_for_conversions_and_for_value(sample: mc.Result) -> None:
    sums = sample.table.groupby("model")[["conversions", "value"]].sum()
    assert set(sums.index) == set(DEFINITIONS)
    assert sums["conversions"].to_numpy() == pytest.approx(650, abs=1e-6)
    paid = mc.sample_log().events.execute().query("event == 'purchase'")["value"].sum()
    assert sums["value"].to_numpy() == pytest.approx(paid, abs=1e-4)
    assert (sample.table.query("channel != '(overlap)'")["conversions"] >= 0).all()


def test_limits_hold_the_estimates_and_ranks_are_those_of_the_numbers(sample: mc.Result) -> None:
    table = sample.table
    assert (table["ci_low"] <= table["conversions"] + 1e-9).all()
    assert (table["conversions"] <= table["ci_high"] + 1e-9).all()
    for _, rows in table[table["rank"].notna()].groupby("model"):
        ordered = rows.sort_values("conversions", ascending=False)
        assert ordered["rank"].is_monotonic_increasing
        assert rows["rank_stability"].between(0, 1).all()


def test_definitions_hold_what_was_chosen() -> None:
    result = mc.attribution(toy_paths(), model=["position", "last_non_direct"], position=(1, 0, 3), direct=["A", "x"])
    said = result.models.set_index("model")["definition"]
    assert said["position"].startswith("25% to the first touch, 75% to the last, 0%")
    assert "'A', 'x'" in said["last_non_direct"]
    assert any("no intervals" in warning for warning in result.warnings)


def test_spend_is_joined(sample: mc.Result) -> None:
    spend = sample.spend.set_index(["channel", "model"])
    table = sample.table.set_index(["channel", "model"])
    row, credit = spend.loc[("paid_search", "last")], table.loc[("paid_search", "last")]
    assert row["cost_per_conversion"] == pytest.approx(2_000 / credit["conversions"])
    assert row["cost_ci_low"] == pytest.approx(2_000 / credit["ci_high"])
    assert row["return_on_spend"] == pytest.approx(credit["value"] / 2_000)
    assert np.isnan(spend.loc[("social", "last"), "return_on_spend"])


def test_a_random_channel_stands_beside_the_models(sample: mc.Result) -> None:
    checks = sample.checks.set_index("model")
    assert set(checks.index) == set(DEFINITIONS)
    assert checks["touches_share"].between(0.08, 0.17).all()
    # Real touches begin the sessions in which users buy, so that no random one is the last.
    assert checks.loc["last", "credit_share"] < 0.01
    assert checks.loc["markov", "credit_share"] > checks.loc["linear", "credit_share"]


def test_survival_stands_beside_the_others(sample: mc.Result) -> None:
    rows = sample.table[sample.table["model"] == "survival"].set_index("channel")
    assert rows["conversions"].sum() == pytest.approx(650)
    assert rows.loc["(baseline)", "conversions"] > 0
    assert sample.survival["coef"].min() >= 0
    assert "which halves every 7D" in sample.models.set_index("model").loc["survival", "definition"]
    assert any("at the very instant of a touch" in warning for warning in sample.warnings)
    chosen = mc.attribution(mc.sample_log(), model="survival", half_life="auto")
    assert chosen.parameters["half_life"] == "auto"
    assert "halves every 7D" not in chosen.models["definition"].iloc[0] or chosen.table.equals(sample.table)


def test_without_time_between_touch_and_conversion_survival_is_left_out() -> None:
    rows = [(f"u{i}", START, "visit", "ad", None) for i in range(20)]
    rows += [(f"u{i}", START, "buy", None, 10.0) for i in range(20)]
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "channel", "value"])
    log = mc.read_events(frame.astype({"channel": "string", "value": "Float64"}), observed_until=START)
    result = mc.attribution(log, target="buy", lookback="30D", check=False)
    assert "survival" not in set(result.table["model"])
    assert any("survival is left out" in warning for warning in result.warnings)
    assert not any(text.startswith("survival:") for text in result.assumptions)
    with pytest.raises(ParameterError, match="Nobody was at risk for any time"):
        mc.attribution(log, target="buy", lookback="30D", model="survival")


def test_each_level_of_a_segment_is_the_attribution_of_its_users(sample: mc.Result) -> None:
    rows = sample.segments[sample.segments["model"] == "linear"]
    assert rows.groupby("device")["conversions"].sum().sum() == pytest.approx(650)
    by_channel = rows.groupby("channel")["conversions"].sum()
    whole = sample.table[sample.table["model"] == "linear"].set_index("channel")["conversions"]
    assert by_channel[whole.index].tolist() == pytest.approx(whole.tolist())


def test_ties_are_told_with_what_they_could_change() -> None:
    rows = [(f"u{i}", START, "visit", name, None) for i in range(20) for name in ("mail", "ad")]
    rows += [(f"u{i}", START + DAY, "buy", None, 10.0) for i in range(20)]
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "channel", "value"])
    frame = frame.astype({"channel": "string", "value": "Float64"})
    log = mc.read_events(frame, observed_until=START + 60 * DAY)
    result = mc.attribution(log, target="buy", model=["first", "linear"], lookback="30D")
    assert result.ties[["channel", "difference"]].to_numpy().tolist() == [["ad", -20.0], ["mail", 20.0]]
    (warning,) = [text for text in result.warnings if "share their instant" in text]
    assert warning.startswith("100.0% of the touches")
    assert "-20.0 conversions by 'first'" in warning


def test_a_micro_is_a_target_and_is_worth_what_comes_later() -> None:
    log = mc.sample_log()
    result = mc.attribution(log, target="newsletter_signup", worth="purchase", worth_within="30D", model="last")
    totals = result.table[["conversions", "value"]].sum()
    events = log.events.execute()
    signups = events[events["event"] == "newsletter_signup"][["user_id", "time"]].drop_duplicates()
    known = signups[signups["time"] + pd.Timedelta(days=30) <= log.observed_until]
    assert totals["conversions"] == len(known)
    paid = events[events["event"] == "purchase"].merge(known, on="user_id", suffixes=("", "_signup"))
    late = paid["time"] - paid["time_signup"]
    paid = paid[(late >= pd.Timedelta(0)) & (late <= pd.Timedelta(days=30))]
    paid = paid.sort_values("time_signup").drop_duplicates(["user_id", "time"], keep="last")
    assert totals["value"] == pytest.approx(paid["value"].sum())
    # A signup has no money of its own.
    assert mc.attribution(log, target="newsletter_signup", model="last").table["value"].isna().all()


def test_ga4_groups_are_made_from_source_and_medium() -> None:
    log = mc.sample_log()
    result = mc.attribution(log, model="last", channel="ga4", touch="session_start")
    assert set(result.table["channel"]) <= {
        "Direct", "Email", "Organic Search", "Paid Search", "Paid Social", "Organic Social", "(unattributed)",
    }  # fmt: skip
    assert result.table["conversions"].sum() == 650


def test_the_account_holds_every_touch_and_every_conversion(sample: mc.Result) -> None:
    assert sample.account["conversions"].sum() == 650
    frame = toy_events()
    late = pd.DataFrame({"user_id": ["late", "late"], "time": [START, START], "event": "buy"})
    result = mc.attribution(mc.read_events(pd.concat([frame, late])), target="buy", model="last", lookback="30D")
    account = result.account.set_index("fate")
    assert account.loc["before a conversion"].tolist() == [17, 7, 7]
    assert account.loc["no touch before the conversion"].tolist() == [0, 0, 2]
    assert account["touches"].sum() == (frame["event"] == "visit").sum()
    assert account["conversions"].sum() == result.table["conversions"].sum() == 9


def test_hostile_names_stay_text_and_files_are_written(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> > =cmd()"
    frame = toy_events()
    frame["channel"] = frame["channel"].replace("A", evil)
    result = mc.attribution(mc.read_events(frame), target="buy", lookback="30D", model=["last", "markov"])
    assert evil in set(result.table["channel"])
    assert html.escape(evil) in result._repr_html_()
    assert "<script>" not in result._repr_html_()
    result.save(tmp_path, min_cell=0)
    assert (tmp_path / "transitions.csv").is_file()
    assert (tmp_path / "figure.png").is_file()


def test_survival_says_what_it_cannot_tell_from_an_effect(sample: mc.Result) -> None:
    assert any("Intent that changes among those who came by the same channel" in text for text in sample.assumptions)
    assert not any("Intent" in text for text in mc.attribution(toy_log(), model="last").assumptions)


def test_the_game_of_rates_names_the_channels_that_it_hardly_knows() -> None:
    paths = [("A", 12), ("B", 9), ("AB", 20), ("AC", 15), ("BC", 3)]
    rows = [
        row
        for path, conversions in paths
        for number in range(2 * conversions)
        for row in [
            *[(f"{path}{number}", START + place * DAY, "visit", name) for place, name in enumerate(path)],
            *([(f"{path}{number}", START + 3 * DAY, "buy", None)] if number < conversions else []),
        ]
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "channel"]).astype({"channel": "string"})
    log = mc.read_events(frame, observed_until=START + 90 * DAY)
    result = mc.attribution(log, target="buy", lookback="30D", model=["linear", "shapley"], game="rate")
    (warning,) = [text for text in result.warnings if text.startswith("shapley has no intervals")]
    assert "'B', 'C' had fewer than 10 conversions" in warning
    limits = result.table.set_index("model")[["ci_low", "ci_high"]]
    assert limits.loc["shapley"].isna().all(axis=None)
    assert limits.loc["linear"].notna().all(axis=None)
    other = mc.attribution(log, target="buy", lookback="30D", model="shapley")
    assert not any("shapley has no" in text for text in other.warnings)


def test_one_channel_takes_everything() -> None:
    paths = mc.PathTable.from_paths(
        pd.DataFrame({"path": ["A", "A > A"], "conversions": [2, 1], "null": [3, 1]}), null_col="null"
    )
    result = mc.attribution(paths)
    rows = result.table[result.table["channel"] == "A"].set_index("model")["conversions"]
    assert rows.to_numpy() == pytest.approx(3)
    assert any("one channel only" in warning for warning in result.warnings)
    assert result.meaning.endswith("the same, as no path has touches of two channels.")


def test_nobody_converts_and_a_conversion_without_a_touch() -> None:
    none = mc.attribution(mc.PathTable.from_paths(pd.DataFrame({"path": ["A"], "conversions": [0]})), target="lead")
    assert none.meaning == "Nobody reached 'lead', so there is nothing to divide."
    alone = mc.attribution(mc.PathTable.from_paths(pd.DataFrame({"path": ["", "A"], "conversions": [4, 0]})))
    rows = alone.table[alone.table["channel"] == "(unattributed)"]["conversions"]
    assert rows.tolist() == [4.0] * len(rows)
    assert any("100% of the conversions have no touch" in warning for warning in alone.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "markoff"}, "Did you mean 'markov'"),
        ({"model": []}, "names no model"),
        ({"target": "purchas"}, "Did you mean 'purchase'"),
        ({"channel": "chanel"}, "channel"),
        ({"lookback": "30"}, "is not a duration"),
        ({"position": (1, 2)}, "three weights"),
        ({"position": (0, 0, 0)}, "not all 0"),
        ({"game": "rates"}, "Did you mean 'rate'"),
        ({"spend": {"emial": 3}}, "Did you mean 'email'"),
        ({"spend": {"email": -3}}, "must be money, 0 or more"),
        ({"repeat": "always"}, "repeat"),
        ({"transforms": "exposures"}, "Did you mean 'exposure'"),
        ({"replicates": 3}, "replicates=3"),
        ({"by": "devise"}, "Did you mean 'device'"),
        ({"reset": "no"}, "reset='no' must be True or False"),
        ({"target": "third_visit"}, "happens once by definition"),
        ({"half_life": "auto"}, "chosen by the survival model only"),
    ],
)
def test_bad_input_says_how_to_mend_it(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        mc.attribution(mc.sample_log(), **{"model": "last", **options})


def test_paths_have_no_times() -> None:
    with pytest.raises(ParameterError, match="needs the times of touches"):
        mc.attribution(toy_paths(), model="time_decay")


def test_leads_by_origin(real_data: Path) -> None:
    leads = pd.read_csv(real_data / "olist" / "marketing_qualified_leads.csv")
    deals = pd.read_csv(real_data / "olist" / "closed_deals.csv")
    contacts = {"user_id": leads["mql_id"], "time": leads["first_contact_date"], "channel": leads["origin"]}
    won = {"user_id": deals["mql_id"], "time": deals["won_date"]}
    events = pd.concat([pd.DataFrame(contacts).assign(event="contact"), pd.DataFrame(won).assign(event="won")])
    events = events.astype({"channel": "string"})
    log = mc.read_events(events.assign(time=pd.to_datetime(events["time"])), tz="UTC")
    result = mc.attribution(log, target="won", lookback="none", model=["last", "markov", "shapley"])
    # One contact a lead: what each model gives is a count, less the deal that was won before its first contact.
    both = leads.merge(deals, on="mql_id")
    known = both[both["won_date"] >= both["first_contact_date"]]["origin"].value_counts()
    for _, rows in result.table.groupby("model"):
        numbers = rows.set_index("channel")["conversions"]
        assert numbers[known.index].tolist() == pytest.approx(known.tolist())
        assert numbers.sum() == pytest.approx(842)


@pytest.mark.spark
@pytest.mark.parametrize("asked", [{}, {"reset": False, "check": True}, {"transforms": ["exposure", "frequency"]}])
def test_the_same_numbers_on_spark(spark: Any, asked: dict[str, Any]) -> None:
    duck = toy_log()
    events = toy_events()
    frame = events.assign(
        time=events["time"].astype("datetime64[us, UTC]"),
        channel=events["channel"].astype(object).where(events["channel"].notna(), None),
        value=events["value"].astype("float64"),
    )
    table = spark.create_table("touched", frame, overwrite=True)
    other = mc.read_events(table, plan=duck.plan, observed_until=duck.observed_until)
    assert other.engine.dialect == "pyspark"
    one, two = mc.attribution(duck, **asked), mc.attribution(other, **asked)
    for name in ("table", "account", "transitions", *(["checks"] if asked.get("check") else [])):
        first, second = (result.table if name == "table" else result.extra[name] for result in (one, two))
        # Groups of users, from which intervals are drawn, are each engine's own.
        drawn = [column for column in first.columns if "ci_" in column or column == "rank_stability"]
        pd.testing.assert_frame_equal(first.drop(columns=drawn), second.drop(columns=drawn), rtol=1e-9)


def test_touches_that_are_old_beside_the_half_life_still_divide_the_conversion() -> None:
    """Each weight alone would be too small for a number: the last of the touches gets it all, the others nothing."""
    days = pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-10"], utc=True)
    events = pd.DataFrame({"user_id": "u", "time": days, "event": ["visit", "visit", "purchase"]})
    log = mc.read_events(events.assign(channel=["ad", "mail", None]))
    for model in ("time_decay", "time_decay_steps"):
        result = mc.attribution(log, target="purchase", model=model, lookback="30D", half_life="1s")
        assert result.table.set_index("channel")["conversions"].to_dict() == {
            "mail": 1.0,
            "ad": 0.0,
            "(unattributed)": 0.0,
        }


def test_without_replicates_the_numbers_stand_without_intervals() -> None:
    log = toy_log()
    whole, bare = mc.attribution(log), mc.attribution(log, replicates=0)
    kept = ["channel", "model", "conversions", "value", "share", "rank"]
    pd.testing.assert_frame_equal(bare.table[kept], whole.table[kept])
    others = bare.table[(bare.table["model"] != "survival") & (bare.table["conversions"] > 0)]
    assert others[["ci_low", "ci_high", "rank_stability"]].isna().all(axis=None)
    assert any("no intervals" in said for said in bare.assumptions)
