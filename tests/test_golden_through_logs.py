"""R's numbers (tests/golden/logs.R, and the list that the project was given) through whole event logs, at 1e-6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lifelines.datasets
import numpy as np
import pandas as pd
import pytest
from golden.logs import log_of_intervals, log_of_subjects

import microconv as mc
from microconv import stats
from microconv.log import EventLog
from microconv.results import Result

GOLDEN = Path(__file__).parent / "golden"
Z = 1.959963984540054


@pytest.fixture(scope="module")
def r() -> dict[str, Any]:
    return json.loads((GOLDEN / "logs.json").read_text())


def near(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.ravel(ours).astype(float), np.ravel(theirs).astype(float), rtol=1e-6)


def rows(result: Result, terms: list[str]) -> pd.DataFrame:
    assert sorted(result.table["term"]) == sorted(terms)
    return result.table.set_index("term").loc[terms]


def same_fit(result: Result, golden: dict[str, Any], terms: list[str] | None = None) -> None:
    """Coefficients, errors, intervals and p-values of a fit are R's."""
    named = np.atleast_1d(golden["term"]).tolist()
    table = rows(result, terms or named)
    near(np.log(table["hazard_ratio"]), golden["coef"])
    # Of fewer than ten users there is no interval, and with fewer than ten events one by profile likelihood.
    few = ~table["interval"].isin(["wald", "robust"]).to_numpy()
    assert (few == ((table["users"] < 10) | (table["events"] < 10)).to_numpy()).all()
    table = table[~few]
    coef, errors, p = (np.ravel(golden[name])[~few] for name in ("coef", "robust" if "robust" in golden else "se", "p"))
    near((np.log(table["ci_high"]) - np.log(table["ci_low"])) / (2 * Z), errors)
    near(table["ci_low"], np.exp(coef - Z * errors))
    near(table["ci_high"], np.exp(coef + Z * errors))
    np.testing.assert_allclose(table["p_value"], p, rtol=2e-6)


# --- Stanford heart: the micro-conversion problem in miniature -------------------------------------------------------


@pytest.fixture(scope="module")
def hearts() -> pd.DataFrame:
    frame = lifelines.datasets.load_stanford_heart_transplants()
    assert len(frame) == 172
    return frame.assign(ever=frame.groupby("id")["transplant"].transform("max"))


@pytest.fixture(scope="module")
def heart(hearts: pd.DataFrame) -> EventLog:
    attributes = ["age", "year", "surgery", "ever"]
    return log_of_intervals(hearts, "id", "start", "stop", "event", "transplant", attributes)


def test_the_heart_log_holds_the_rows_of_the_data(heart: EventLog, hearts: pd.DataFrame) -> None:
    counts = heart.event_counts
    assert counts["entered"] == counts["left"] == 103
    assert counts["died"] == hearts["event"].sum() == 75
    assert counts["transplant"] == hearts["transplant"].sum() == 69


def test_a_transplant_counted_properly_shows_nothing(heart: EventLog, r: dict[str, Any]) -> None:
    result = mc.hazard_ratios(heart)
    near(np.log(result.table["hazard_ratio"]), 0.1271411266)
    np.testing.assert_allclose(result.table[["ci_low", "ci_high"]], [[0.6293394, 2.0490307]], rtol=1e-6)
    np.testing.assert_allclose(result.table["p_value"], 0.6729, atol=5e-5)
    same_fit(result, r["heart"]["one"])
    assert result.table["users"].tolist() == [69]
    assert result.table["events"].tolist() == [45]  # deaths after a transplant
    same_fit(mc.hazard_ratios(heart, ties="breslow"), r["heart"]["one_breslow"])


def test_ever_transplanted_is_the_fallacy(heart: EventLog, r: dict[str, Any]) -> None:
    """Looking ahead, which only a column that somebody made with hindsight can do, a transplant seems to save."""
    result = mc.hazard_ratios(heart, micros=(), adjust=["ever"])
    table = result.table.iloc[0]
    near(table[["hazard_ratio", "ci_low", "ci_high"]], [0.2662166, 0.1650859, 0.4292995])
    np.testing.assert_allclose(table["p_value"], 5.688e-8, rtol=1e-3)
    same_fit(result, r["heart"]["ever"], result.table["term"].tolist())


FOUR = ["age", "year", "surgery", "transplant"]


def test_four_terms(heart: EventLog, r: dict[str, Any]) -> None:
    result = mc.hazard_ratios(heart, adjust=["age", "year", "surgery"])
    table = rows(result, terms := named(result, FOUR))
    near(np.log(table["hazard_ratio"]), [0.02716664, -0.14634635, -0.63720989, -0.01025077])
    same_fit(result, r["heart"]["four"], terms)


def named(result: Result, columns: list[str]) -> list[str]:
    """The terms of the columns, in their order, whatever level a term of two values names."""
    return [next(term for term in result.table["term"] if term.split("=")[0] == column) for column in columns]


def test_errors_by_user_are_those_of_cluster_id(heart: EventLog, r: dict[str, Any]) -> None:
    same_fit(mc.hazard_ratios(heart, robust=True), r["heart"]["one_robust"])
    same_fit(mc.hazard_ratios(heart, robust=True, ties="breslow"), r["heart"]["one_robust_breslow"])
    for ties, key in (("efron", "four_robust"), ("breslow", "four_robust_breslow")):
        result = mc.hazard_ratios(heart, adjust=["age", "year", "surgery"], robust=True, ties=ties)
        same_fit(result, r["heart"][key], named(result, FOUR))


def test_strata(heart: EventLog, r: dict[str, Any]) -> None:
    same_fit(mc.hazard_ratios(heart, adjust=["age"], strata=["surgery"]), r["heart"]["strata"])
    same_fit(mc.hazard_ratios(heart, adjust=["age"], strata=["surgery"], robust=True), r["heart"]["strata_robust"])


@pytest.mark.parametrize("number", range(5))
def test_landmarks(heart: EventLog, r: dict[str, Any], number: int) -> None:
    """Of those alive and watched after so many days: transplanted by then against not, the clock set back to zero."""
    golden = r["heart"]["landmarks"][number]
    result = mc.time_to_conversion(heart, landmark=f"{golden['at']}D", by="transplant")
    summary = result.summary.set_index("transplant")
    assert summary["n"].sum() == golden["n"]
    assert summary["events"].sum() == golden["events"]
    assert summary.loc["yes", "n"] == golden["done"]
    near(result.tests["chi2"], golden["chi2"])
    counts = result.risk_table
    assert counts is not None
    fitted = stats.cox(counts, ["transplant"]).table.iloc[0]  # the term is transplant=yes
    near(fitted[["coef", "se", "p_value"]], [golden["coef"], golden["se"], golden["p"]])


def test_the_fallacy_beside_the_landmarks_and_the_truth(heart: EventLog, r: dict[str, Any]) -> None:
    golden = r["heart"]
    marks = [one["at"] for one in golden["landmarks"]]
    result = mc.fallacy_check(heart, landmarks=[f"{at}D" for at in marks])
    table = result.table.set_index("comparison")
    compared = [("ever did", golden["ever"]), ("time-varying", golden["one"])]
    compared += [(f"landmark {at}D", one) for at, one in zip(marks, golden["landmarks"], strict=True)]
    for name, one in compared:
        near(np.log(table.loc[name, "hazard_ratio"]), one["coef"])
        if table.loc[name, "interval"] == "wald":
            near(table.loc[name, ["ci_low", "ci_high"]], [one["low"], one["high"]])
            np.testing.assert_allclose(table.loc[name, "p_value"], one["p"], rtol=2e-6)
        if "n" in one:
            assert table.loc[name, ["at_risk", "users"]].tolist() == [one["n"], one["done"]]
    assert table.loc["ever did", "p_value"] == pytest.approx(5.688e-8, rel=1e-3)
    assert table.loc["time-varying", "p_value"] == pytest.approx(0.6729, abs=5e-5)
    assert (table["interval"] == "wald").sum() >= 4
    verdict = result.verdicts.iloc[0]
    assert verdict["disagree"]
    assert any("0.27" in text and "1.14" in text for text in result.warnings)
    # Users who ever did it before the end, of whom so many died: what a dashboard would show.
    assert result.rates[["users", "events", "other_users", "other_events"]].iloc[0].tolist() == [69, 45, 34, 30]


# --- Fixed attributes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lung() -> EventLog:
    data = lifelines.datasets.load_lung().dropna(subset="ph.ecog")
    ends = ["died" if died else None for died in data["status"]]
    attributes = {
        "age": data["age"].to_numpy(),
        "sex": data["sex"].to_numpy(),
        "ecog": data["ph.ecog"].to_numpy(),
        "ecog_name": [f"ecog {int(level)}" for level in data["ph.ecog"]],
    }
    return log_of_subjects(data["time"].to_numpy(), ends, attributes=attributes)


def test_lung(lung: EventLog, r: dict[str, Any]) -> None:
    terms = ["age", "sex", "ecog"]
    result = mc.hazard_ratios(lung, adjust=terms)
    table = rows(result, terms)
    near(np.log(table["hazard_ratio"]), [0.01106676456, -0.55261239570, 0.46372847537])
    same_fit(result, r["lung"]["linear"], terms)
    same_fit(mc.hazard_ratios(lung, adjust=terms, ties="breslow"), r["lung"]["linear_breslow"], terms)


def test_lung_by_levels(lung: EventLog, r: dict[str, Any]) -> None:
    terms = ["age", *[f"ecog_name=ecog {level}" for level in (1, 2, 3)]]
    same_fit(mc.hazard_ratios(lung, adjust=["age", "ecog_name"]), r["lung"]["levels"], terms)
    robust = mc.hazard_ratios(lung, adjust=["age", "ecog_name"], robust=True)
    same_fit(robust, r["lung"]["levels_robust"], terms)


def test_lung_with_two_strata(lung: EventLog, r: dict[str, Any]) -> None:
    same_fit(mc.hazard_ratios(lung, adjust=["age"], strata=["sex", "ecog"]), r["lung"]["strata"])


def test_logrank_of_the_counts_of_a_log(lung: EventLog) -> None:
    by = mc.time_to_conversion(lung, by=["sex", "ecog_name"]).risk_table
    assert by is not None
    near(stats.logrank(by, "sex", strata="ecog_name").chi2, 10.79505963)
    data = lifelines.datasets.load_lung()
    ends = ["died" if died else None for died in data["status"]]
    whole = log_of_subjects(data["time"].to_numpy(), ends, attributes={"sex": data["sex"].to_numpy()})
    result = mc.time_to_conversion(whole, by="sex")
    assert result.risk_table is not None
    near(stats.logrank(result.risk_table, "sex").chi2, 10.32674195)
    near(stats.logrank(result.risk_table, "sex", rho=1).chi2, 12.7141514)
    near(stats.survival_at(stats.kaplan_meier(result.risk_table.pool()), 365)["se"], 0.03582363817)


def test_leukemia(r: dict[str, Any]) -> None:
    data = lifelines.datasets.load_leukemia()
    pd.testing.assert_frame_equal(data, pd.read_csv(GOLDEN / "logs_leukemia.csv"))
    ends = ["died" if died else None for died in data["status"]]
    log = log_of_subjects(
        data["t"].to_numpy(), ends, attributes={"Rx": data["Rx"].to_numpy(), "logWBC": data["logWBC"].to_numpy()}
    )
    one = mc.hazard_ratios(log, adjust=["Rx"])
    near(np.log(one.table["hazard_ratio"]), 1.572125149)
    near(np.log(mc.hazard_ratios(log, adjust=["Rx"], ties="breslow").table["hazard_ratio"]), 1.509191413)
    same_fit(one, r["leukemia"]["rx"], named(one, ["Rx"]))
    for key, options in (("both", {}), ("both_robust", {"robust": True})):
        result = mc.hazard_ratios(log, adjust=["Rx", "logWBC"], **options)
        same_fit(result, r["leukemia"][key], named(result, ["Rx", "logWBC"]))


def test_waltons_survival_at_the_horizon() -> None:
    """Greenwood's log-log interval, from the log to the summary, against the formula in exact fractions."""
    from fractions import Fraction

    data = lifelines.datasets.load_waltons()
    control = data[data["group"] == "control"]
    survival, greenwood = Fraction(1), Fraction(0)
    for time in sorted({t for t, died in zip(control["T"], control["E"], strict=True) if died and t <= 60}):
        n = int((control["T"] >= time).sum())
        d = int(((control["T"] == time) & (control["E"] == 1)).sum())
        survival *= Fraction(n - d, n)
        greenwood += Fraction(d, n * (n - d))
    ends = ["died" if died else None for died in control["E"]]
    row = mc.time_to_conversion(log_of_subjects(control["T"].to_numpy(), ends), horizon="60D").summary.iloc[0]
    s = float(survival)
    move = np.exp(Z * float(greenwood) ** 0.5 / np.log(s))
    near(row[["probability", "ci_low", "ci_high"]], [1 - s, 1 - s**move, 1 - s ** (1 / move)])


# --- Competing ends ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rivals() -> EventLog:
    data = pd.read_csv(GOLDEN / "survival_ties.csv")
    ends = [f"end {cause}" if cause else None for cause in data["cause"]]
    attributes = {"group": data["group"].to_numpy(), "stratum": data["stratum"].to_numpy()}
    return log_of_subjects(
        data["time"].to_numpy(), ends, attributes=attributes, goal="end 1", competing=["end 2", "end 3"]
    )


def test_cause_specific_ratios(rivals: EventLog, r: dict[str, Any]) -> None:
    """Ties, outcomes at the moment of entry, and rivals that censor."""
    terms = [f"group={level}" for level in "bcd"]
    one = mc.hazard_ratios(rivals, adjust=["group"])
    same_fit(one, r["rivals"]["cause1"], terms)
    strata = mc.hazard_ratios(rivals, adjust=["group"], strata=["stratum"], ties="breslow")
    same_fit(strata, r["rivals"]["cause1_strata"], terms)
    other = mc.hazard_ratios(rivals, target="end 2", competing=["end 1", "end 3"], adjust=["group"])
    same_fit(other, r["rivals"]["cause2"], terms)


def test_grays_test_of_the_counts_of_a_log(rivals: EventLog, r: dict[str, Any]) -> None:
    counts = mc.time_to_conversion(rivals, by=["group", "stratum"]).risk_table
    assert counts is not None
    for number, cause in enumerate(("end 1", "end 2", "end 3")):
        for key, strata in (("gray", ()), ("gray_strata", ("stratum",))):
            table = stats.gray_test(counts, "group", cause=cause, strata=strata).table.iloc[0]
            near(table["chi2"], r["rivals"][key]["chi2"][number])
            near(table["p_value"], r["rivals"][key]["p"][number])
            assert table["degrees_of_freedom"] == 3


# --- Late entry ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def late() -> EventLog:
    data = pd.read_csv(GOLDEN / "survival_late_entry.csv")
    ends = [f"end {cause}" if cause else None for cause in data["cause"]]
    return log_of_subjects(
        data["stop"].to_numpy(),
        ends,
        attributes={"group": data["group"].to_numpy()},
        goal="end 1",
        competing=["end 2"],
        since=data["start"].to_numpy(),
    )


def test_late_entry(late: EventLog) -> None:
    """Users first seen at ages above zero are at risk from then on only, whatever the cause or the age left out."""
    golden = json.loads((GOLDEN / "survival.json").read_text())["late_entry"]
    result = mc.time_to_conversion(late, origin_col="began")
    for number, cause in enumerate(("end 1", "end 2")):
        curve = result.causes[result.causes["cause"] == cause].set_index("time_days")
        near(curve.loc[golden["states"]["time"], "probability"], [row[number] for row in golden["states"]["pstate"]])
    counts = result.risk_table
    assert counts is not None
    curve = stats.kaplan_meier(counts).set_index("time_days").loc[golden["all"]["time"]]
    near(curve["survival"], golden["all"]["surv"])
    near(curve["at_risk"], golden["all"]["n"])
    later = mc.time_to_conversion(late, origin_col="began", from_age="4D").risk_table
    assert later is not None
    # R counts what happens at the very age; (4, ...] does not.
    assert golden["from4"]["time"][0] == 4
    curve = stats.kaplan_meier(later, start_days=4).set_index("time_days").loc[golden["from4"]["time"][1:]]
    near(curve["survival"], np.array(golden["from4"]["surv"][1:]) / golden["from4"]["surv"][0])
    near(curve["at_risk"], golden["from4"]["n"][1:])
    for cause, key in ((None, "logrank"), ("end 1", "logrank_cause1")):
        by = mc.time_to_conversion(late, origin_col="began", by="group").risk_table
        assert by is not None
        near(stats.logrank(by, "group", cause=cause).chi2, golden[key]["chisq"])


def test_late_entry_read_as_time_zero_is_another_curve(late: EventLog) -> None:
    """The reason for ``origin_col``: from the first event on it is another clock."""
    proper = mc.time_to_conversion(late, origin_col="began", horizon="6D").summary["probability"].iloc[0]
    naive = mc.time_to_conversion(late, horizon="6D").summary["probability"].iloc[0]
    assert abs(proper - naive) > 0.001
