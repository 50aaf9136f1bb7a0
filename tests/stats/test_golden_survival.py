"""Numbers made by R (tests/golden/survival.R) and those that the reference of the project lists, at 1e-6 relative."""

from __future__ import annotations

import json
from pathlib import Path

import lifelines.datasets
import numpy as np
import pandas as pd
import pytest

from microconv import RiskTable, stats

GOLDEN = Path(__file__).parents[1] / "golden"
RTOL = 1e-6


@pytest.fixture(scope="module")
def r() -> dict:
    return json.loads((GOLDEN / "survival.json").read_text())


@pytest.fixture(scope="module")
def ties() -> RiskTable:
    frame = pd.read_csv(GOLDEN / "survival_ties.csv").assign(start=0)
    return RiskTable.from_intervals(frame, "start", "time", "cause", ("group", "stratum"))


@pytest.fixture(scope="module")
def weighted() -> RiskTable:
    frame = pd.read_csv(GOLDEN / "survival_ties.csv").assign(start=0)
    return RiskTable.from_intervals(frame, "start", "time", "cause", ("group",), weight_col="weight")


@pytest.fixture(scope="module")
def late() -> RiskTable:
    frame = pd.read_csv(GOLDEN / "survival_late_entry.csv")
    return RiskTable.from_intervals(frame, "start", "stop", "cause", ("group",))


@pytest.fixture(scope="module")
def lung() -> RiskTable:
    frame = lifelines.datasets.load_lung().assign(start=0)
    return RiskTable.from_intervals(frame, "start", "time", "status", ("sex", "ph.ecog", "inst"))


def near(ours: object, theirs: object) -> None:
    """Equal at 1e-6 relative, null where R has NA."""
    wanted = np.array([np.nan if x is None else x for x in np.ravel(theirs)], dtype=float)
    np.testing.assert_allclose(np.ravel(ours).astype(float), wanted, rtol=RTOL, atol=1e-12)


def same_curve(curve: pd.DataFrame, r: dict, *, late: bool = False) -> None:
    """R has a row at each event or censoring; ours may have one more where users only enter.

    With late entry, who is censored when another enters is not counted in ours: the two are one interval.
    """
    rows = curve[curve["time_days"].isin(r["time"])]
    near(rows["time_days"], r["time"])
    near(rows["survival"], r["surv"])
    for ours, theirs in (("at_risk", "n"), ("events", "events"), ("censored", "censored")):
        if not (late and ours == "censored"):
            near(rows[ours], r[theirs])
    # R gives no interval at survival 1; ours is (1, 1).
    inside = (rows["survival"] < 1).to_numpy()
    for ours, theirs in (("se", "se"), ("ci_low", "lower"), ("ci_high", "upper")):
        near(rows.loc[inside, ours], [x for x, keep in zip(r[theirs], inside, strict=True) if keep])
    assert (rows.loc[~inside, ["ci_low", "ci_high"]] == 1).all(axis=None)


def same_quantiles(ours: pd.DataFrame, r: dict) -> None:
    near(ours["probability"], r["probs"])
    near(ours["time_days"], r["time"])
    near(ours["ci_low_days"], r["lower"])
    near(ours["ci_high_days"], r["upper"])


def same_states(ours: pd.DataFrame, r: dict, *, errors: bool = True) -> None:
    for at, label in enumerate(r["states"]):
        curve = ours[ours["cause"] == int(label)].set_index("time_days").loc[r["time"]]
        near(curve["probability"], [row[at] for row in r["pstate"]])
        if errors:
            near(curve["se"], [row[at] for row in r["se"]])


def same_test(ours: stats.LogRank, r: dict) -> None:
    near(ours.chi2, r["chisq"])
    assert ours.degrees_of_freedom == r["df"]


def test_kaplan_meier_with_ties_and_events_on_day_0(r: dict, ties: RiskTable, weighted: RiskTable) -> None:
    same_curve(stats.kaplan_meier(ties.pool()), r["ties"]["all"])
    same_curve(stats.kaplan_meier(ties.pool(), confidence=0.8), r["ties"]["conf80"])
    same_curve(stats.kaplan_meier(ties.pool(), cause=1), r["ties"]["cause1"])
    same_curve(stats.kaplan_meier(ties.pool(), start_days=3), r["ties"]["from3"])
    same_curve(stats.kaplan_meier(weighted.pool()), r["ties"]["weighted"])
    by_group = stats.kaplan_meier(ties.pool("group"))
    for label, part in r["ties"]["by_group"].items():
        same_curve(by_group[by_group["group"] == label], part["curve"])


def test_nelson_aalen(r: dict, ties: RiskTable, late: RiskTable) -> None:
    for rt, golden in ((ties.pool(), r["ties"]["all"]), (late.pool(), r["late_entry"]["all"])):
        curve = stats.nelson_aalen(rt).set_index("time_days").loc[golden["time"]]
        near(curve["cumulative_hazard"], golden["cumhaz"])
        near(curve["se"], golden["se_cumhaz"])


def test_quantiles(r: dict, ties: RiskTable, weighted: RiskTable, late: RiskTable, lung: RiskTable) -> None:
    probs = r["ties"]["quantiles"]["probs"]
    same_quantiles(stats.quantiles(ties.pool(), probs), r["ties"]["quantiles"])
    same_quantiles(stats.quantiles(ties.pool(), probs, confidence=0.8), r["ties"]["quantiles80"])
    same_quantiles(stats.quantiles(weighted.pool(), probs), r["ties"]["quantiles_weighted"])
    same_quantiles(stats.quantiles(late.pool(), probs), r["late_entry"]["quantiles"])
    same_quantiles(stats.quantiles(lung.pool(), probs), r["lung"]["quantiles"])
    by_group = stats.quantiles(ties.pool("group"), probs)
    for label, part in r["ties"]["by_group"].items():
        same_quantiles(by_group[by_group["group"] == label], part["quantiles"])


@pytest.mark.parametrize("case", range(5))
def test_quantiles_of_a_curve_that_is_flat_at_the_probability(r: dict, case: int) -> None:
    golden = r["flat"][case]
    frame = pd.DataFrame({"start": 0, "stop": golden["time"], "cause": golden["status"]})
    rt = RiskTable.from_intervals(frame, "start", "stop", "cause")
    same_quantiles(stats.quantiles(rt, golden["quantiles"]["probs"]), golden["quantiles"])


def test_restricted_mean(r: dict, ties: RiskTable, weighted: RiskTable, late: RiskTable, lung: RiskTable) -> None:
    cases = [
        *((ties.pool(), case) for case in r["ties"]["rmst"]),
        (weighted.pool(), r["ties"]["rmst_weighted"]),
        *((late.pool(), case) for case in r["late_entry"]["rmst"]),
        *((lung.pool(), case) for case in r["lung"]["rmst"]),
    ]
    for rt, case in cases:
        near(stats.rmst(rt, case["tau"])[["estimate", "se"]], [case["estimate"], case["se"]])
    by_group = stats.rmst(ties.pool("group"), 4).set_index("group")
    for label, part in r["ties"]["by_group"].items():
        near(by_group.loc[label, ["estimate", "se"]], [part["rmst"]["estimate"], part["rmst"]["se"]])


def test_aalen_johansen_with_three_causes_and_ties(r: dict, ties: RiskTable, weighted: RiskTable) -> None:
    same_states(stats.aalen_johansen(ties.pool()), r["ties"]["states"])
    by_group = stats.aalen_johansen(ties.pool("group"))
    for label, part in r["ties"]["by_group"].items():
        same_states(by_group[by_group["group"] == label], part["states"])
    # R's error with case weights is that of one user who counts several times; ours is that of as many users.
    same_states(stats.aalen_johansen(weighted.pool()), r["ties"]["states_weighted"])


def test_aalen_johansen_equals_cmprsk(r: dict, ties: RiskTable) -> None:
    golden = r["ties"]["cuminc"]
    ours = stats.probability_at(stats.aalen_johansen(ties.pool()), golden["time"])
    for cause in (1, 2, 3):
        near(ours.loc[ours["cause"] == cause, "probability"], golden["est"][cause - 1])


def test_late_entry(r: dict, late: RiskTable) -> None:
    golden = r["late_entry"]
    same_curve(stats.kaplan_meier(late.pool()), golden["all"], late=True)
    same_curve(stats.kaplan_meier(late.pool(), start_days=4), golden["from4"], late=True)
    same_states(stats.aalen_johansen(late.pool()), golden["states"], errors=False)


def test_logrank_of_four_groups(r: dict, ties: RiskTable, weighted: RiskTable) -> None:
    golden = r["ties"]
    for at, rho in enumerate((0, 0.5, 1)):
        same_test(stats.logrank(ties, "group", rho=rho), golden["logrank"][at])
        same_test(stats.logrank(ties, "group", strata=("stratum",), rho=rho), golden["logrank_stratified"][at])
    same_test(stats.logrank(weighted, "group"), golden["logrank_weighted"])
    same_test(stats.logrank(ties, "group", cause=2), golden["logrank_cause2"])
    ours = stats.logrank(ties, "group", rho=1)
    near(ours.groups["observed"], golden["logrank_expected"]["obs"])
    near(ours.groups["expected"], golden["logrank_expected"]["exp"])
    near(ours.variance, golden["logrank_expected"]["var"])


def test_logrank_with_late_entry_is_the_exact_score_test(r: dict, late: RiskTable) -> None:
    same_test(stats.logrank(late, "group"), r["late_entry"]["logrank"])
    same_test(stats.logrank(late, "group", cause=1), r["late_entry"]["logrank_cause1"])


def test_logrank_of_lung(r: dict, lung: RiskTable) -> None:
    complete = lifelines.datasets.load_lung().assign(start=0)
    inst = RiskTable.from_intervals(complete.dropna(subset="inst"), "start", "time", "status", ("inst",))
    ecog = RiskTable.from_intervals(complete.dropna(subset="ph.ecog"), "start", "time", "status", ("ph.ecog", "sex"))
    same_test(stats.logrank(inst, "inst"), r["lung"]["logrank_institution"])
    for at, rho in enumerate((0, 1)):
        same_test(stats.logrank(ecog, "ph.ecog", strata="sex", rho=rho), r["lung"]["logrank_ecog"][at])


def test_wilson(r: dict) -> None:
    for case in r["wilson"]:
        for confidence, limits in zip((0.8, 0.95, 0.99), case["limits"], strict=True):
            near(stats.wilson(case["k"], case["n"], confidence), limits)


class TestPublishedNumbers:
    """The list that the project was given: lung, leukemia and waltons (R 4.2.2, survival 3.5-3)."""

    def test_lung(self, lung: RiskTable) -> None:
        curve = stats.survival_at(stats.kaplan_meier(lung.pool()), [90, 180, 365, 730])
        near(curve["survival"], [0.8815789474, 0.7216706534, 0.4092416245, 0.1156930983])
        near(curve.loc[2, ["se", "ci_low", "ci_high"]], [0.03582363817, 0.3387142691, 0.4783807676])
        median = stats.quantiles(lung.pool(), 0.5)
        near(median[["time_days", "ci_low_days", "ci_high_days"]], [310, 284, 361])

    def test_lung_by_sex(self, lung: RiskTable) -> None:
        medians = stats.quantiles(lung.pool("sex"), [0.5])
        near(medians[["time_days", "ci_low_days", "ci_high_days"]], [270, 210, 306, 426, 345, 524])
        near(stats.logrank(lung, "sex").chi2, 10.32674195)
        near(stats.logrank(lung, "sex", rho=1).chi2, 12.7141514)
        known = lung.frame["ph.ecog"].notna()
        complete = RiskTable.from_counts(lung.frame[known], lung.pattern_cols, lung.causes)
        near(stats.logrank(complete, "sex", strata=("ph.ecog",)).chi2, 10.79505963)
        means = stats.rmst(lung.pool("sex"), 365)
        # The list gives six decimals.
        np.testing.assert_allclose(means["estimate"], [241.495085, 297.465410], rtol=RTOL)
        np.testing.assert_allclose(means["se"], [10.358226, 10.791324], rtol=RTOL)

    def test_leukemia(self) -> None:
        frame = lifelines.datasets.load_leukemia().assign(start=0)
        rt = RiskTable.from_intervals(frame, "start", "t", "status", ("Rx",))
        curve = stats.survival_at(stats.kaplan_meier(rt), [6, 7, 10, 13, 16, 22, 23])
        known = [0.857143, 0.806723, 0.752941, 0.690196, 0.627451, 0.537815, 0.448179]
        np.testing.assert_allclose(curve.loc[curve["Rx"] == 0, "survival"], known, atol=5e-7)
        near(stats.logrank(rt, "Rx").chi2, 16.79294099)

    def test_waltons(self) -> None:
        frame = lifelines.datasets.load_waltons().assign(start=0)
        rt = RiskTable.from_intervals(frame, "start", "T", "E", ("group",))
        near(stats.logrank(rt, "group").chi2, 122.2491256)
        means = stats.rmst(rt, 10).set_index("group")
        near(means.loc["miR-137", ["estimate", "se"]].round(7), [9.7941176, 0.1232449])
        near(means.loc["control", ["estimate", "se"]].round(7), [9.9767442, 0.0231655])
