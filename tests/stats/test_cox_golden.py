"""Cox's model, piecewise hazards and the test of proportional hazards are R's (tests/golden/hazards.R)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lifelines.datasets
import numpy as np
import pandas as pd
import pytest

from microconv import RiskTable, stats

GOLDEN = Path(__file__).parents[1] / "golden"
NUMBERS = json.loads((GOLDEN / "hazards.json").read_text())


def heart() -> pd.DataFrame:
    return lifelines.datasets.load_stanford_heart_transplants().rename(columns={"id": "user", "event": "cause"})


def lung(months: bool = False) -> pd.DataFrame:
    frame = lifelines.datasets.load_lung().dropna(subset=["ph.ecog"])
    stop = np.ceil(frame["time"] / 60) if months else frame["time"]
    return frame.assign(start=0.0, stop=stop, cause=frame["status"])


def ties() -> pd.DataFrame:
    frame = pd.read_csv(GOLDEN / "survival_ties.csv")
    frame = frame.loc[frame.index.repeat(frame["weight"])].reset_index(drop=True)
    return frame.assign(start=0.0, stop=frame["time"], user=(frame.index + 1) % 37)


def late() -> pd.DataFrame:
    frame = pd.read_csv(GOLDEN / "survival_late_entry.csv")
    return frame.assign(user=(frame.index + 1) % 23)


def many() -> pd.DataFrame:
    frame = pd.DataFrame(NUMBERS["many"]["counts"])
    return frame.assign(start=0.0, stop=frame["time"], cause=frame["event"])


def counts(frame: pd.DataFrame, columns: list[str]) -> RiskTable:
    weight = "n" if "n" in frame else None
    return RiskTable.from_intervals(frame, "start", "stop", "cause", columns, weight)


CASES: dict[str, tuple[pd.DataFrame, list[str], list[str], Any]] = {
    "heart": (heart(), ["age", "year", "surgery", "transplant"], [], None),
    "heart_strata": (heart(), ["age", "transplant"], ["surgery"], None),
    "lung": (lung(), ["age", "sex", "ph.ecog"], [], None),
    "lung_months": (lung(months=True), ["age", "sex", "ph.ecog"], [], None),
    "lung_strata": (lung(months=True), ["age", "ph.ecog"], ["sex"], None),
    "ties": (ties(), ["group"], [], 1),
    "ties_any": (ties(), ["group"], [], None),
    "ties_strata": (ties(), ["group"], ["stratum"], 2),
    "late": (late(), ["group"], [], 1),
    "late_any": (late(), ["group"], [], None),
    "many": (many(), ["x", "arm"], [], None),
}
each = pytest.mark.parametrize("method", ["efron", "breslow"])
cases = pytest.mark.parametrize("name", CASES)


@cases
@each
def test_cox(name: str, method: str) -> None:
    frame, terms, strata, cause = CASES[name]
    known = NUMBERS[name][method]
    fit = stats.cox(counts(frame, [*terms, *strata]), terms, method, strata, cause=cause)
    table = fit.table
    assert [term.replace("=", "") for term in table["term"]] == known["term"]
    np.testing.assert_allclose(table["coef"], np.ravel(known["coef"]), rtol=1e-9)
    np.testing.assert_allclose(table["se"], np.ravel(known["se"]), rtol=1e-9)
    np.testing.assert_allclose([fit.null_log_likelihood, fit.log_likelihood], known["loglik"], rtol=1e-11)
    if "robust" in known:
        return
    np.testing.assert_allclose(table["ci_low"], np.ravel(known["low"]), rtol=1e-9)
    np.testing.assert_allclose(table["ci_high"], np.ravel(known["high"]), rtol=1e-9)
    np.testing.assert_allclose(table["p_value"], np.ravel(known["p"]), rtol=1e-7)
    np.testing.assert_allclose(fit.covariance, known["var"], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if "robust" in NUMBERS[name]["efron"]])
@each
def test_errors_by_cluster(name: str, method: str) -> None:
    """Users with several rows, in several strata, with heavy ties and late entry."""
    frame, terms, strata, cause = CASES[name]
    known = NUMBERS[name][method]
    rt = counts(frame, [*terms, *strata, "user"])
    fit = stats.cox(rt, terms, method, strata, cause=cause, cluster="user")
    np.testing.assert_allclose(fit.table["se"], np.ravel(known["robust"]), rtol=1e-8)
    np.testing.assert_allclose(fit.covariance, known["var"], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(fit.table["ci_low"], np.ravel(known["low"]), rtol=1e-8)
    np.testing.assert_allclose(fit.table["p_value"], np.ravel(known["p"]), rtol=1e-6)
    assert fit.errors == "robust"


@cases
@each
def test_baseline(name: str, method: str) -> None:
    frame, terms, strata, cause = CASES[name]
    known = pd.DataFrame(NUMBERS[name][method]["baseline"])
    fit = stats.cox(counts(frame, [*terms, *strata]), terms, method, strata, cause=cause)
    curve = fit.baseline
    label = pd.Series("", index=curve.index)
    if strata:  # R writes surgery=0 or x, by the column's type
        label = curve[strata[0]].map(lambda value: value if isinstance(value, str) else f"{strata[0]}={value:g}")
    # R's is where all numbers are 0.
    scale = float(np.exp(-fit.table["coef"] @ fit.center.to_numpy()))
    for row in known.itertuples():
        mine = curve[(label == getattr(row, "strata", "")) & (curve["time_days"] <= row.time)]
        found = mine["cumulative_hazard"].iloc[-1] * scale if len(mine) else 0.0
        assert found == pytest.approx(row.hazard, rel=1e-8), row


@cases
@each
@pytest.mark.parametrize("transform", ["km", "rank", "identity", "log"])
def test_proportionality(name: str, method: str, transform: str) -> None:
    frame, terms, strata, cause = CASES[name]
    known = NUMBERS[name][method]["zph"][transform]
    rt = counts(frame, [*terms, *strata] + (["user"] if name in ("heart", "heart_strata") else []))
    if not known:
        with pytest.raises(ValueError, match="time 0"):
            stats.proportionality(rt, terms, method, strata, cause=cause, transform=transform)
        return
    table = stats.proportionality(rt, terms, method, strata, cause=cause, transform=transform)
    np.testing.assert_allclose(table["chi2"], known, rtol=1e-7)
    assert table["degrees_of_freedom"].tolist() == [1] * (len(table) - 1) + [len(table) - 1]
    fit = stats.cox(rt, terms, method, strata, cause=cause)
    pd.testing.assert_frame_equal(stats.proportionality(rt, fit, transform=transform), table)


def test_the_numbers_of_the_reference() -> None:
    """Stanford heart transplants: alone, among four, and read naively; leukemia."""
    alone = stats.cox(counts(heart(), ["transplant"]), "transplant").table.iloc[0]
    assert alone["coef"] == pytest.approx(0.1271411266, rel=1e-8)
    assert alone["se"] == pytest.approx(0.3011411, rel=1e-6)
    assert alone[["hazard_ratio", "ci_low", "ci_high"]].tolist() == pytest.approx([1.1355773, 0.6293394, 2.0490307])
    assert alone["p_value"] == pytest.approx(0.6729, abs=5e-5)
    last = heart().sort_values(["user", "stop"])
    last["ever"] = last.groupby("user")["transplant"].transform("max")
    ever = stats.cox(counts(last.groupby("user").tail(1).assign(start=0.0), ["ever"]), "ever").table.iloc[0]
    assert ever[["hazard_ratio", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [0.2662166, 0.1650859, 0.4292995], rel=1e-6
    )
    assert ever["p_value"] == pytest.approx(5.688e-8, rel=1e-3)
    leukemia = lifelines.datasets.load_leukemia().rename(columns={"t": "stop", "status": "cause"}).assign(start=0.0)
    for method, coef in (("efron", 1.572125149), ("breslow", 1.509191413)):
        assert stats.cox(counts(leukemia, ["Rx"]), "Rx", method).table["coef"].item() == pytest.approx(coef, rel=1e-8)


def test_profile_likelihood() -> None:
    terms = ["age", "year", "surgery", "transplant"]
    fit = stats.cox(counts(heart(), terms), terms)
    known = NUMBERS["profile"]
    assert fit.profile_interval("transplant") == pytest.approx((known["low"], known["high"]), rel=1e-8)


def test_separation_against_the_limit() -> None:
    """Nobody with a transplant dies: the ratio is 0, its upper limit R's, and age is as if they were not there."""
    frame = heart()
    frame = frame[~((frame["transplant"] == 1) & (frame["cause"] == 1))]
    with pytest.warns(UserWarning, match="'transplant' runs to 0"):
        fit = stats.cox(counts(frame, ["age", "transplant"]), ["age", "transplant"])
    known = NUMBERS["separated"]
    age, transplant = fit.table.iloc[0], fit.table.iloc[1]
    assert fit.separated == ("transplant",)
    assert (age["coef"], age["se"]) == pytest.approx((known["coef"], known["se"]), rel=1e-9)
    assert fit.log_likelihood == pytest.approx(known["loglik"], rel=1e-11)
    assert transplant[["coef", "hazard_ratio", "ci_low"]].tolist() == [-np.inf, 0.0, 0.0]
    assert transplant["ci_high"] == pytest.approx(known["high"], rel=1e-7)
    assert transplant["p_value"] == pytest.approx(known["p"], rel=1e-7)
    assert np.isnan(transplant["se"])


@pytest.mark.parametrize(
    ("name", "terms", "strata"),
    [("poisson", ["age", "year", "surgery", "transplant"], []), ("poisson_strata", ["age", "transplant"], ["surgery"])],
)
def test_piecewise_is_a_poisson_regression(name: str, terms: list[str], strata: list[str]) -> None:
    known = NUMBERS[name]
    fit = stats.piecewise_exponential(counts(heart(), [*terms, *strata]), terms, known["cuts"], strata=strata)
    np.testing.assert_allclose(fit.table["coef"], known["coef"], rtol=1e-8)
    np.testing.assert_allclose(fit.table["se"], known["se"], rtol=1e-6)
    assert fit.log_likelihood == pytest.approx(known["loglik"], rel=1e-10)
