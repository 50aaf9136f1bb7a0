"""Two arms made comparable: UCB admissions, NHEFS as in Hernan and Robins, and R's stacked equations at 1e-6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microconv.errors import ParameterError
from microconv.stats import inverse_probability, mantel_haenszel, outcome_regression, standardised
from microconv.stats._arms import TwoMeans

GOLDEN = Path(__file__).parents[1] / "golden"
COVARIATES = [
    "sex", "race", "age", "age_2", "education", "smokeintensity", "smokeintensity_2", "smokeyrs", "smokeyrs_2",
    "exercise", "active", "wt71", "wt71_2",
]  # fmt: skip
BY_ARM = {"outcome": "amount", "users": None}


@pytest.fixture(scope="module")
def r() -> dict[str, Any]:
    return json.loads((GOLDEN / "value.json").read_text())


@pytest.fixture(scope="module")
def ucb(r: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame({name: r["ucb"][name] for name in ("department", "gender", "admitted", "users")})
    return frame.assign(man=(frame["gender"] == "Male").astype(int))


@pytest.fixture(scope="module")
def nhefs() -> pd.DataFrame:
    data = pytest.importorskip("causaldata", reason="the test extra is not installed").nhefs_complete.load_pandas().data
    squares = {f"{name}_2": data[name] ** 2 for name in ("age", "smokeintensity", "smokeyrs", "wt71")}
    return data.assign(**squares)


def test_ucb_admissions_flip(ucb: pd.DataFrame, r: dict[str, Any]) -> None:
    crude = standardised(ucb, "man", (), outcome="admitted")
    assert crude.means.difference == pytest.approx(0.1416454, abs=1e-6)  # men 14.2 points ahead
    fair = standardised(ucb, "man", "department", outcome="admitted")
    assert fair.means.difference == pytest.approx(-0.043, abs=5e-4)  # women 4.3 points ahead
    assert fair.left_out == 0
    assert fair.table["users_treated"].sum() == 2691
    assert fair.table["share"].sum() == pytest.approx(1)


def test_mantel_haenszel_equals_r(ucb: pd.DataFrame, r: dict[str, Any]) -> None:
    found = mantel_haenszel(ucb, "man", "department", outcome="admitted", measure="odds_ratio")
    assert found.estimate == pytest.approx(0.9046968283, rel=1e-9)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.7719073618, 1.0603297644), rel=1e-9)
    for name, value in (("estimate", "odds_ratio"), ("ci_low", "low"), ("ci_high", "high"), ("chi2", "chi2")):
        assert getattr(found, name) == pytest.approx(r["ucb"][value], rel=1e-6)
    assert found.p_value == pytest.approx(r["ucb"]["p"], rel=1e-6)
    assert found.strata == 6
    crude = mantel_haenszel(ucb, "man", (), outcome="admitted", measure="odds_ratio")
    assert crude.estimate == pytest.approx(1.841080037, rel=1e-9)


def test_common_risk_ratio_by_hand() -> None:
    """Two strata: Rothman's textbook formulas with the numbers in them."""
    counts = pd.DataFrame(
        {"s": list("aabb"), "t": [1, 0, 1, 0], "users": [100, 200, 50, 50], "converted": [20, 20, 10, 5]}
    )
    found = mantel_haenszel(counts, "t", "s", outcome="converted")
    above, below = 20 * 200 / 300 + 10 * 50 / 100, 20 * 100 / 300 + 5 * 50 / 100
    variance = (100 * 200 * 40 - 20 * 20 * 300) / 300**2 + (50 * 50 * 15 - 10 * 5 * 100) / 100**2
    width = 1.959963985 * np.sqrt(variance / (above * below))
    assert found.estimate == pytest.approx(above / below)
    assert found.ci_low == pytest.approx(above / below * np.exp(-width))
    assert found.ci_high == pytest.approx(above / below * np.exp(width))


def test_common_ratio_where_nobody_did() -> None:
    counts = pd.DataFrame({"t": [1, 0], "users": [10, 10], "converted": [3, 0]})
    found = mantel_haenszel(counts, "t", (), outcome="converted")
    assert found.estimate == np.inf
    assert np.isnan(found.ci_low)
    assert found.p_value == pytest.approx(0.067, abs=1e-3)
    none = mantel_haenszel(counts.assign(converted=0), "t", (), outcome="converted")
    assert np.isnan(none.estimate)
    assert np.isnan(none.p_value)


@pytest.mark.parametrize("to", ["all", "treated", "untreated"])
def test_standardised_means_equal_r(r: dict[str, Any], to: str) -> None:
    golden = r["standard"][to]
    rows = pd.DataFrame(r["standard"]["rows"])
    found = standardised(rows, "treated", "stratum", to=to, **BY_ARM).means
    for name in ("treated", "untreated", "difference", "se"):
        assert getattr(found, name) == pytest.approx(golden[name], rel=1e-6), name
    # The same from counts.
    grouped = (
        rows.assign(users=1, squared=rows["amount"] ** 2)
        .groupby(["stratum", "treated"], as_index=False)[["users", "amount", "squared"]]
        .sum()
    )
    counted = standardised(grouped, "treated", "stratum", outcome="amount", squared="squared", to=to).means
    assert counted.se == pytest.approx(found.se, rel=1e-9)
    assert counted.difference == pytest.approx(found.difference, rel=1e-9)


def test_strata_with_one_arm_are_left_out_and_told() -> None:
    counts = pd.DataFrame({"s": list("aabc"), "t": [1, 0, 1, 0], "users": [10, 20, 30, 40], "converted": [5, 5, 30, 0]})
    found = standardised(counts, "t", "s", outcome="converted")
    assert found.means.difference == pytest.approx(0.25)
    assert found.left_out == pytest.approx(0.7)
    assert standardised(counts, "t", "s", outcome="converted", to="treated").left_out == pytest.approx(0.75)
    assert found.table["share"].tolist() == [1, 0, 0]
    with pytest.raises(ParameterError, match="No stratum has users of both arms"):
        standardised(counts[1:], "t", "s", outcome="converted")


def test_a_lone_user_does_not_count_as_certain() -> None:
    counts = pd.DataFrame(
        {"s": list("aabb"), "t": [1, 0, 1, 0], "users": [1, 40, 60, 40], "converted": [1, 20, 30, 20]}
    )
    found = standardised(counts, "t", "s", outcome="converted")
    # The variance of one user of a is that within b.
    assert found.means.covariance[0, 0] > (41 / 141) ** 2 * 0.25
    alone = standardised(counts[:2], "t", "s", outcome="converted")
    assert np.isnan(alone.means.se)
    assert alone.means.difference == pytest.approx(0.5)


@pytest.mark.parametrize("to", ["all", "treated", "untreated"])
@pytest.mark.parametrize("errors", ["estimated", "fixed"])
@pytest.mark.parametrize("outcome", ["paid", "bought"])
def test_weighting_equals_stacked_equations_in_r(r: dict[str, Any], to: str, errors: str, outcome: str) -> None:
    golden = r["weighting"][outcome][to][errors]
    rows = pd.DataFrame(r["weighting"]["rows"])
    found = inverse_probability(rows, "did", ["x", "segment"], outcome=outcome, to=to, errors=errors)
    np.testing.assert_allclose(found.model["coef"], r["weighting"]["coef"], rtol=1e-6)
    np.testing.assert_allclose(found.model["se"], r["weighting"]["coef_se"], rtol=1e-6)
    assert found.model["term"].tolist() == ["(intercept)", "x", "segment=q", "segment=r"]
    _means(found.means, golden)


@pytest.mark.parametrize("to", ["all", "treated", "untreated"])
def test_regression_equals_stacked_equations_in_r(r: dict[str, Any], to: str) -> None:
    rows = pd.DataFrame(r["weighting"]["rows"])
    found = outcome_regression(rows, "did", ["x", "segment"], interactions="x", outcome="paid", to=to)
    _means(found, r["weighting"]["regression"][to])


def _means(found: TwoMeans, golden: dict[str, Any]) -> None:
    assert (found.treated, found.untreated) == pytest.approx((golden["treated"], golden["untreated"]), rel=1e-6)
    np.testing.assert_allclose(found.covariance, golden["covariance"], rtol=1e-6, atol=1e-10)
    slope = np.array([1, -1])
    assert found.se == pytest.approx(np.sqrt(slope @ np.array(golden["covariance"]) @ slope), rel=1e-6)
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.959963985 * found.se)


def test_saturated_weighting_is_standardisation(ucb: pd.DataFrame) -> None:
    """With a term per stratum both are the same numbers, and nearly the same errors."""
    for to in ("all", "treated", "untreated"):
        one = standardised(ucb, "man", "department", outcome="admitted", to=to).means
        other = inverse_probability(ucb, "man", "department", outcome="admitted", users="users", to=to).means
        assert other.difference == pytest.approx(one.difference, rel=1e-9)
        assert other.ratio == pytest.approx(one.ratio, rel=1e-9)
        assert other.se == pytest.approx(one.se, rel=0.02)


@given(st.lists(st.integers(1, 6), min_size=12, max_size=12), st.integers(0, 2**32 - 1))
def test_counts_equal_rows(users: list[int], seed: int) -> None:
    counts = pd.DataFrame({"s": list("abc") * 4, "t": [0, 1] * 6, "users": users})
    rng = np.random.default_rng(seed)
    counts["converted"] = rng.integers(0, counts["users"], endpoint=True)
    rows = counts.loc[counts.index.repeat(counts["users"])].copy()
    place = rows.groupby(level=0).cumcount()
    rows["converted"] = (place < rows["converted"]).astype(int)
    few, many = (
        inverse_probability(frame, "t", "s", outcome="converted", users=size).means
        for frame, size in ((counts, "users"), (rows.sample(frac=1, random_state=1), None))
    )
    np.testing.assert_allclose(few.covariance, many.covariance, rtol=1e-6, atol=1e-12)
    assert few.difference == pytest.approx(many.difference, abs=1e-10)
    one, other = (
        outcome_regression(frame, "t", "s", outcome="converted", users=size)
        for frame, size in ((counts, "users"), (rows, None))
    )
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-6, atol=1e-12)
    assert one.difference == pytest.approx(other.difference, abs=1e-10)


# NHEFS: what quitting smoking does to weight, in kilograms.


def test_nhefs_weighting(nhefs: pd.DataFrame) -> None:
    r = json.loads((GOLDEN / "nhefs.json").read_text())
    crude = standardised(nhefs, "qsmk", (), outcome="wt82_71", users=None).means
    assert crude.difference == pytest.approx(r["unadjusted"], rel=1e-9)
    assert round(crude.difference, 1) == 2.5
    found = inverse_probability(nhefs, "qsmk", COVARIATES, outcome="wt82_71", errors="fixed")
    assert [round(x, 1) for x in (found.means.difference, found.means.ci_low, found.means.ci_high)] == [3.4, 2.4, 4.5]
    assert found.means.difference == pytest.approx(r["weighted"], rel=1e-6)
    assert found.means.se == pytest.approx(r["se"], rel=1e-6)
    # Stabilised weights from .33 to 4.30; without, from 1.05 to 16.70: the same means.
    assert found.row_weights.mean() == pytest.approx(r["stabilised"]["mean"], rel=1e-6)
    assert found.weights["smallest"].min() == pytest.approx(r["stabilised"]["smallest"], rel=1e-6)
    assert found.weights["largest"].max() == pytest.approx(r["stabilised"]["largest"], rel=1e-6)
    plain = inverse_probability(nhefs, "qsmk", COVARIATES, outcome="wt82_71", errors="fixed", stabilised=False)
    assert round(plain.row_weights.min(), 2) == 1.05
    assert round(plain.row_weights.max(), 2) == 16.70
    assert plain.means.difference == pytest.approx(found.means.difference, rel=1e-9)
    # That the weights are fitted makes the estimate surer, not less sure.
    assert inverse_probability(nhefs, "qsmk", COVARIATES, outcome="wt82_71").means.se < found.means.se


def test_nhefs_standardised(nhefs: pd.DataFrame) -> None:
    r = json.loads((GOLDEN / "nhefs.json").read_text())["standardised"]
    found = outcome_regression(nhefs, "qsmk", COVARIATES, interactions="smokeintensity", outcome="wt82_71")
    assert (found.treated, found.untreated) == pytest.approx((r["treated"], r["untreated"]), rel=1e-6)
    assert round(found.difference, 1) == 3.5
    # Their interval, by bootstrap: 2.6 to 4.5.
    assert found.ci_low == pytest.approx(2.6, abs=0.06)
    assert found.ci_high == pytest.approx(4.5, abs=0.06)


# Input that cannot be right.


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"outcome": "bougth"}, r"Unknown column 'bougth'. Did you mean 'bought'"),
        ({"did": 2}, {}, r"'did' holds 2\.0: it must be 0 or 1"),
        ({"did": 1}, {}, r"No user is untreated: 'did' is never 0"),
        ({"x": float("nan")}, {}, r"'x' holds nan"),
        ({"bought": "yes"}, {}, r"'bought' holds 'yes': it must hold numbers"),
        ({}, {"errors": "robust"}, r"Unknown errors 'robust'"),
        ({}, {"to": "everybody"}, r"Unknown population to= 'everybody'"),
        ({}, {"stabilised": "yes"}, r"stabilised='yes' must be True or False"),
        ({}, {"users": "x"}, r"named in two roles"),
        ({"size": 2.0, "bought": 3.0}, {"users": "size"}, r"'bought' holds 3 of 2 users"),
        ({"size": -1.0}, {"users": "size"}, r"'size' holds -1"),
        ({"few": 0.1, "size": 3.0, "bought": 2.0}, {"users": "size", "squared": "few"}, r"less than sums of squares"),
        ({"same": 1.0}, {"covariates": ["x", "same"]}, r"terms '\(intercept\)', 'same' cannot be told apart"),
        ({"gone": 0.0}, {"covariates": ["gone"]}, r"terms 'gone' cannot be told apart"),
    ],
)
def test_errors(r: dict[str, Any], change: dict[str, Any], options: dict[str, Any], said: str) -> None:
    rows = pd.DataFrame(r["weighting"]["rows"]).assign(**change)
    given_: dict[str, Any] = {"covariates": ["x", "segment"], "outcome": "bought", **options}
    with pytest.raises(ParameterError, match=said):
        inverse_probability(rows, "did", given_.pop("covariates"), **given_)


def test_covariates_that_tell_the_arm(r: dict[str, Any]) -> None:
    rows = pd.DataFrame(r["weighting"]["rows"])
    rows["eager"] = rows["did"] * 1.0 + 0.2 * (rows["x"] - rows["x"].min()) / np.ptp(rows["x"])
    with pytest.raises(ParameterError, match="tell the arm of some users with certainty"):
        inverse_probability(rows, "did", ["x", "eager"], outcome="bought")
    certain = rows[(rows["segment"] != "p") | (rows["did"] == 1)]
    with pytest.raises(ParameterError, match="tell the arm of some users with certainty"):
        inverse_probability(certain, "did", ["segment"], outcome="bought")
    with pytest.raises(ParameterError, match="Unknown covariate in interactions= 'y'"):
        outcome_regression(rows, "did", ["x"], interactions="y", outcome="bought")
    with pytest.raises(ParameterError, match="Unknown measure 'hazard'"):
        mantel_haenszel(rows, "did", "segment", outcome="bought", users=None, measure="hazard")
