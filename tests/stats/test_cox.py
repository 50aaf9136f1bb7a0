"""What Cox's model on counts promises beyond its numbers: scores, invariances, separation, bad input, large ties."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import lifelines
import lifelines.datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from microconv import MicroconvWarning, ParameterError, RiskTable, stats
from microconv.stats._likelihood import Likelihood
from microconv.stats._risk_sets import risk_sets
from microconv.stats._ties import efron_shares

COLUMNS = ["start", "stop", "cause", "x", "group", "stratum", "user"]


def random_users(seed: int, users: int = 60, ties: int = 2) -> pd.DataFrame:
    """Users in up to three stretches, between which x may change; some enter late; on a grid unless ``ties`` is 0."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        at = rng.choice([0.0, 0.0, 0.5, 1.0]) if ties else rng.choice([0.0, 1.0]) * rng.random()
        group, stratum = rng.choice(list("abc")), rng.choice(["y", "z"])
        for number in range(stretches := int(rng.integers(1, 4))):
            length = rng.exponential(2.0)
            stop = at + (max(np.ceil(length * ties) / ties, 0.5) if ties else length)
            cause = rng.choice([0, 1, 1, 2]) if number == stretches - 1 else 0
            rows.append((at, stop, cause, float(rng.integers(0, 4)), group, stratum, user))
            at = stop
    return pd.DataFrame(rows, columns=COLUMNS)


def counted(frame: pd.DataFrame, *patterns: str, weight: str | None = None) -> RiskTable:
    return RiskTable.from_intervals(frame, "start", "stop", "cause", patterns, weight)


def quietly(run: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)
        return run()


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("method", ["efron", "breslow"])
@pytest.mark.parametrize("strata", [[], ["stratum"]])
def test_steps_and_users_spells_give_robust_errors(method: str, strata: list[str]) -> None:
    """The recipe in the words of ``CoxFit.steps``, user by user: the same errors as by a column of users."""
    frame = random_users(3)
    frame["stratum"] = frame["stratum"].to_numpy()
    terms = ["x", "group"]
    fit = stats.cox(counted(frame, *terms, "stratum"), terms, method, strata, cause=1)
    z, w = fit.covariates(frame), fit.relative_hazard(frame)
    k = len(fit.table)
    scores: dict[int, np.ndarray] = {user: np.zeros(k) for user in frame["user"]}
    names = {name: [f"{name}_{term}" for term in range(k)] for name in ("a1", "zbar", "e1")}
    for row, spell in enumerate(frame.itertuples()):
        steps = fit.steps
        for column in strata:
            steps = steps[steps[column] == getattr(spell, column)]

        def total(at: float, before: bool, steps: pd.DataFrame = steps) -> tuple[float, np.ndarray]:
            past = steps[steps["time_days"] < at] if before else steps[steps["time_days"] <= at]
            if past.empty:
                return 0.0, np.zeros(k)
            return past["a0"].iloc[-1], past[names["a1"]].iloc[-1].to_numpy()

        (start0, start1), (stop0, stop1) = total(spell.start, spell.start == 0), total(spell.stop, False)
        scores[spell.user] -= w[row] * (z[row] * (stop0 - start0) - (stop1 - start1))
        if spell.cause == 1:
            here = steps[steps["time_days"] == spell.stop].iloc[0]
            zbar, e1 = here[names["zbar"]].to_numpy(float), here[names["e1"]].to_numpy(float)
            scores[spell.user] += z[row] - zbar + w[row] * (z[row] * here["e0"] - e1)
    np.testing.assert_allclose(sum(scores.values()), 0, atol=1e-8)
    b = sum(np.outer(one, one) for one in scores.values())
    known = stats.cox(counted(frame, *terms, "stratum", "user"), terms, method, strata, cause=1, cluster="user")
    np.testing.assert_allclose(fit.robust(b).covariance, known.covariance, rtol=1e-9)
    np.testing.assert_allclose(fit.robust(b).table["ci_high"], known.table["ci_high"], rtol=1e-9)
    assert fit.errors == "model"


@given(seeds, st.sampled_from(["efron", "breslow"]))
@settings(max_examples=25)
def test_counts_equal_rows_in_any_order(seed: int, method: str) -> None:
    """Rows repeated are rows with a weight, are rows told apart by user; the order of rows is of no concern."""
    frame = random_users(seed, 30)
    weight = np.random.default_rng(seed).integers(1, 4, len(frame))
    repeated = frame.loc[frame.index.repeat(weight)].sample(frac=1, random_state=1)
    terms = ["x", "group"]
    tables = [
        quietly(lambda rt=rt: stats.cox(rt, terms, method, ["stratum"], cause=1)).table
        for rt in (
            counted(repeated, *terms, "stratum"),
            counted(frame.assign(n=weight), *terms, "stratum", weight="n"),
            counted(repeated, *COLUMNS[3:]),
        )
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], rtol=1e-7, atol=1e-9)


@given(seeds, st.floats(0.001, 1000))
@settings(max_examples=15)
def test_the_unit_of_time_is_of_no_concern(seed: int, unit: float) -> None:
    frame = random_users(seed, 40)
    other = frame.assign(start=frame["start"] * unit, stop=frame["stop"] * unit)
    one, two = (quietly(lambda f=f: stats.cox(counted(f, "x", "group"), ["x", "group"])) for f in (frame, other))
    pd.testing.assert_frame_equal(one.table, two.table, rtol=1e-9, atol=1e-12)
    assert one.log_likelihood == pytest.approx(two.log_likelihood, rel=1e-12)


@given(seeds)
@settings(max_examples=15)
def test_the_other_reference_flips_the_sign(seed: int) -> None:
    frame = random_users(seed, 40)
    frame["group"] = np.where(frame["group"] == "c", "a", frame["group"])
    rt = counted(frame, "x", "group")
    one = quietly(lambda: stats.cox(rt, ["group", "x"]))
    two = quietly(lambda: stats.cox(rt, ["group", "x"], reference={"group": "b"}))
    assume(not one.separated)
    assert (one.table["term"][0], two.table["term"][0]) == ("group=b", "group=a")
    np.testing.assert_allclose(one.table["coef"] * [-1, 1], two.table["coef"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.table["se"], two.table["se"], rtol=1e-9)


@given(seeds)
@settings(max_examples=15)
def test_units_and_origins_of_numbers_only_rescale(seed: int) -> None:
    """Years around 2026 or millions: the ratio per unit follows, and no digit is lost."""
    frame = random_users(seed, 40)
    for scale, shift in ((1.0, 2026.0), (1e6, 0.0), (1e-6, 5.0)):
        other = frame.assign(x=frame["x"] * scale + shift)
        one, two = (quietly(lambda f=f: stats.cox(counted(f, "x", "group"), ["x", "group"])) for f in (frame, other))
        np.testing.assert_allclose(one.table["coef"], two.table["coef"] * [scale, 1, 1], rtol=1e-6, atol=1e-9)


def test_sums_over_risk_sets_are_those_of_a_table_of_all_of_them() -> None:
    """The tree against every event time by every pattern, with many patterns and with few."""
    for patterns in (("x", "group", "stratum", "user"), ("group",)):
        rt = counted(random_users(8, 90, ties=0), *patterns)
        sets, _ = risk_sets(rt, (), None)
        at_risk = np.zeros((sets.events, sets.patterns))
        for pattern, block in enumerate(rt.blocks()):
            rows = rt.frame.iloc[block]
            entered, left = rows["entered"].to_numpy(), (rows["censored"] + rows[rt.event_cols].sum(axis=1)).to_numpy()
            moment = rows["time_days"].to_numpy()
            for event, when in enumerate(sets.time):
                came = entered[(moment < when) | (moment == 0)].sum()
                at_risk[event, pattern] = came - left[moment < when].sum()
        rest = at_risk - sets.fails.toarray()
        values = np.random.default_rng(0).random((sets.patterns, 11))
        np.testing.assert_allclose(sets.rest.over_patterns(values), rest @ values, rtol=1e-12, atol=1e-12)
        values = np.random.default_rng(1).random((sets.events, 11))
        np.testing.assert_allclose(sets.rest.over_events(values), rest.T @ values, rtol=1e-12, atol=1e-12)
        rank = np.random.default_rng(2).permutation(sets.patterns)
        highest = np.where(rest > 0, rank, -1).max(axis=1)
        np.testing.assert_array_equal(sets.rest.highest(rank), highest)


@pytest.mark.parametrize("d", [1, 2, 7, 64, 65, 200, 5_000, 200_000])
@pytest.mark.parametrize("rest", [0.0, 0.3, 40.0, 1e7])
def test_efrons_steps_for_many_ties(d: int, rest: float) -> None:
    """Sums of the logarithm and of powers over all steps, however many, to the last digits."""
    share, weight = efron_shares(float(d))
    every = np.arange(d) / d
    assert weight.sum() == pytest.approx(d, rel=1e-13)
    for function in (np.log, lambda x: 1 / x, lambda x: 1 / x**2):
        expected = math.fsum(function(rest + (1 - every)))
        assert weight @ function(rest + (1 - share)) == pytest.approx(expected, rel=1e-12, abs=1e-9)
        expected = math.fsum(every * function(rest + (1 - every)))
        assert weight @ (share * function(rest + (1 - share))) == pytest.approx(expected, rel=1e-12, abs=1e-9)
    assert len(share) < 300


def test_efrons_likelihood_in_closed_form() -> None:
    """A million who fail at one time: sum of log(A - l B / d) by lgamma."""
    frame = pd.DataFrame({"start": 0, "stop": [1, 1, 2], "cause": [1, 1, 0], "x": [0, 1, 1], "n": [7e5, 3e5, 5e5]})
    sets, patterns = risk_sets(counted(frame, "x", weight="n"), (), None)
    z = patterns[["x"]].to_numpy(float)
    likelihood = Likelihood(sets, z, "efron", np.zeros(2))
    for beta in (0.0, 0.7, -3.0):
        d, b = 1e6, 7e5 + 3e5 * np.exp(beta)
        a = b + 5e5 * np.exp(beta)
        expected = 3e5 * beta - (d * np.log(b / d) + math.lgamma(a * d / b + 1) - math.lgamma(a * d / b - d + 1))
        assert likelihood.value(np.array([beta])) == pytest.approx(expected, rel=1e-11)


def test_fractions_of_users_lie_between_whole_ones() -> None:
    """A weight of 2.5 makes two of Efron's steps and a half, so that the estimate moves without a jump."""
    frame = pd.DataFrame({"start": 0, "stop": [1, 1, 1, 2, 2], "cause": [1, 1, 0, 1, 0], "x": [0, 1, 1, 0, 1]})
    found = []
    for n in (1.999999, 2.0, 2.000001, 2.5, 3.0):
        rt = counted(frame.assign(n=[2, n, 3, 2, 2]), "x", weight="n")
        found.append(stats.cox(rt, "x").table["coef"].item())
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[2] == pytest.approx(found[1], abs=1e-5)
    assert found == sorted(found)


# --- What cannot be estimated ---------------------------------------------------------------------------------------


def some_users(**columns: list[Any]) -> pd.DataFrame:
    base = {"start": 0, "stop": range(1, 13), "cause": [1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1]}
    return pd.DataFrame(base | {"x": [0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1]} | columns)


def test_only_events_within_a_term_run_to_infinity() -> None:
    frame = some_users(did=[1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1])
    with pytest.warns(MicroconvWarning, match=r"'did' runs to infinity.*lower limit"):
        fit = stats.cox(counted(frame, "did", "x"), ["did", "x"])
    did, x = fit.table.iloc[0], fit.table.iloc[1]
    assert did[["coef", "hazard_ratio", "ci_high"]].tolist() == [np.inf] * 3
    # Nine of twelve have the event, and none of the rest: not enough to exclude a ratio of 1.
    assert 0.5 < did["ci_low"] < 1
    assert 0.05 < did["p_value"] < 0.2
    assert fit.profile_interval("did", confidence=1 - did["p_value"])[0] == pytest.approx(1, rel=1e-6)
    alone = stats.cox(counted(frame[frame["did"] == 1], "x"), "x")
    assert x["coef"] == pytest.approx(alone.table["coef"].item(), rel=1e-9)
    assert x["se"] == pytest.approx(alone.table["se"].item(), rel=1e-9)
    assert fit.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)
    assert len(fit.notes) == 1


def test_robust_errors_beside_a_separated_term() -> None:
    """They are those of the fit without whom the separation leaves out, and the recipe of ``steps`` holds."""
    frame = some_users(did=[0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0], user=[1, 2, 3] * 4)
    fit = quietly(lambda: stats.cox(counted(frame, "did", "x", "user"), ["did", "x"], cluster="user"))
    alone = stats.cox(counted(frame[frame["did"] == 0], "x", "user"), "x", cluster="user")
    assert fit.table["se"][1] == pytest.approx(alone.table["se"].item(), rel=1e-9)
    assert fit.separated == ("did",)
    assert np.isfinite(fit.steps.select_dtypes("number").to_numpy()).all()
    assert np.isfinite(fit.limit_coefficients).all()


def test_separation_by_several_terms_together() -> None:
    """Neither x nor y separates alone, x + y does: both are out, the third stays."""
    frame = pd.DataFrame(
        {
            "start": 0, "stop": [1, 2, 3, 4, 5, 6, 7, 8],
            "cause": [1, 1, 0, 0, 1, 1, 0, 0], "a": [2, 0, 1, 0, 2, 0, 1, 0], "b": [0, 2, 0, 1, 0, 2, 0, 1],
            "c": [0, 1, 0, 1, 1, 0, 1, 0],
        }
    )  # fmt: skip
    fit = quietly(lambda: stats.cox(counted(frame, "a", "b", "c"), ["a", "b", "c"]))
    assert fit.separated == ("a", "b")
    assert np.isfinite(fit.table.loc[2, ["coef", "se", "ci_low", "ci_high"]].to_numpy(float)).all()
    assert len(fit.notes) == 2


def test_separation_that_only_comes_out_in_the_limit() -> None:
    """Among those with the highest a, b separates as well."""
    frame = pd.DataFrame(
        {"start": 0, "stop": range(1, 9), "cause": [1, 1, 1, 0, 0, 0, 0, 0], "a": [1, 1, 1, 1, 0, 0, 0, 0],
         "b": [1, 1, 1, 0, 1, 1, 0, 1]}
    )  # fmt: skip
    fit = quietly(lambda: stats.cox(counted(frame, "a", "b"), ["a", "b"]))
    assert set(fit.separated) == {"a", "b"}
    assert fit.log_likelihood == pytest.approx(-math.log(6), rel=1e-12)


@pytest.mark.parametrize("other", [[5] * 12, ["one"] * 12, [True] * 12])
def test_a_constant_has_no_ratio(other: list[Any]) -> None:
    frame = some_users(other=other)
    with pytest.warns(MicroconvWarning, match="it is the same for all"):
        fit = stats.cox(counted(frame, "x", "other"), ["x", "other"])
    assert len(fit.aliased) == 1
    assert fit.aliased[0].startswith("other")
    assert fit.table.iloc[1, 1:].isna().all()
    assert np.isnan(fit.profile_interval(fit.aliased[0])).all()
    alone = stats.cox(counted(frame, "x"), "x").table
    np.testing.assert_allclose(fit.table.iloc[0, 1:].astype(float), alone.iloc[0, 1:].astype(float), rtol=1e-9)


def test_terms_that_repeat_each_other_are_named() -> None:
    frame = some_users(y=[1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0], z=[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3])
    with pytest.warns(MicroconvWarning, match="'x', 'y'"):
        fit = stats.cox(counted(frame, "x", "y", "z"), ["x", "y", "z"])
    assert fit.aliased == ("x", "y")
    alone = stats.cox(counted(frame, "x", "z"), ["x", "z"]).table
    np.testing.assert_allclose(fit.table.iloc[2, 1:].astype(float), alone.iloc[1, 1:].astype(float), rtol=1e-9)


def test_a_constant_within_every_risk_set_has_no_ratio() -> None:
    """The stratum itself, told in other words."""
    frame = some_users(stratum=["y", "z"] * 6, name=["w", "v"] * 6)
    fit = quietly(lambda: stats.cox(counted(frame, "x", "stratum", "name"), ["x", "name"], strata="stratum"))
    assert fit.aliased == ("name=w",)
    assert np.isfinite(fit.table["coef"][0])


def test_nobody_has_the_event() -> None:
    frame = some_users(cause=[0] * 12)
    for asked in ({}, {"cause": "purchase"}):
        with pytest.warns(MicroconvWarning, match="Nobody at risk has the event"):
            fit = stats.cox(counted(frame, "x"), "x", **asked)
        assert fit.table["term"].tolist() == ["x"]
        assert fit.table.iloc[:, 1:].isna().all(axis=None)
        assert np.isnan(fit.log_likelihood)
        assert fit.steps.empty
        assert fit.baseline.empty
        assert fit.robust(np.zeros((1, 1))).table.equals(fit.table)


def test_one_user_and_everybody_at_once() -> None:
    one = pd.DataFrame({"start": [0], "stop": [1], "cause": [1], "x": [1]})
    fit = quietly(lambda: stats.cox(counted(one, "x"), "x"))
    assert fit.aliased == ("x",)
    at_once = pd.DataFrame({"start": 0, "stop": 1, "cause": 1, "x": [0, 1, 1, 2]})
    for method in ("efron", "breslow"):
        fit = stats.cox(counted(at_once, "x"), "x", method)
        assert fit.table["coef"].item() == pytest.approx(0, abs=1e-9)
        assert np.isfinite(fit.table["se"].item())
    at_entry = at_once.assign(stop=0)
    assert stats.cox(counted(at_entry, "x"), "x").table["coef"].item() == pytest.approx(0, abs=1e-9)


def test_extreme_but_finite_ratios_are_found() -> None:
    """A million to one is no separation, and neither is a covariate with an outlier."""
    n = np.array([1e6, 50, 1, 400])
    frame = pd.DataFrame({"start": 0, "stop": [2, 1, 1, 2], "cause": [0, 1, 1, 0], "x": [0, 1, 0, 1], "n": n})
    fit = stats.cox(counted(frame, "x", weight="n"), "x", "breslow")
    # One risk set: 1 in 1,000,001 against 50 in 450.
    assert fit.table["hazard_ratio"].item() == pytest.approx(50 / 450 / (1 / 1_000_001), rel=1e-9)
    far = some_users(x=[0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1000])
    assert np.isfinite(stats.cox(counted(far, "x"), "x").table["se"].item())


def test_profile_limits_hold_half_a_quantile() -> None:
    """At either limit a fit with that term held there lies 1.92 below, and so for the likelihood-ratio test."""
    frame = random_users(5)
    rt = counted(frame, "x", "group")
    fit = stats.cox(rt, ["x", "group"], cause=1)
    low, high = fit.profile_interval("group=b")
    table = fit.table.set_index("term").loc["group=b"]
    assert low < table["hazard_ratio"] < high
    sets, patterns = risk_sets(rt, (), 1)
    z = np.column_stack([patterns["x"], patterns["group"] == "b", patterns["group"] == "c"]).astype(float)
    likelihood = Likelihood(sets, z, "efron", np.zeros(len(patterns)))
    from scipy.optimize import minimize

    for limit in (low, high):
        best = minimize(lambda b, v=limit: -likelihood.value(np.array([b[0], np.log(v), b[1]])), [0, 0], tol=1e-10)
        assert fit.log_likelihood + best.fun == pytest.approx(1.9207294103470604, abs=1e-6)
    narrow = fit.profile_interval("group=b", confidence=0.5)
    assert low < narrow[0] < narrow[1] < high
    single = counted(frame.assign(b=frame["group"] == "b"), "x", "b")
    lost = 2 * (stats.cox(single, ["x", "b"]).log_likelihood - stats.cox(single, "x").log_likelihood)
    from scipy.stats import chi2

    assert stats.cox(single, ["x", "b"]).likelihood_ratio_p("b") == pytest.approx(chi2.sf(lost, 1), rel=1e-8)


# --- What is asked wrongly ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"terms": []}, "names no pattern column"),
        ({"terms": ["y"]}, "Unknown pattern column 'y'"),
        ({"terms": ["x"], "strata": ["x"]}, "in terms and in strata"),
        ({"terms": ["x"], "ties": "Efron"}, "Did you mean 'efron'"),
        ({"terms": ["x"], "cause": 3}, "Unknown cause 3"),
        ({"terms": ["x"], "confidence": 95}, r"Write 0\.95"),
        ({"terms": ["x"], "reference": {"x": 1}}, "one linear term"),
        ({"terms": ["group"], "reference": {"group": "d"}}, "Unknown level of 'group'"),
        ({"terms": ["x"], "reference": {"group": "a"}}, "must be one of terms"),
        ({"terms": ["x"], "cluster": "users"}, "Did you mean 'user'"),
        ({"terms": ["x"], "max_iterations": 1}, "did not settle"),
    ],
)
def test_refusals(asked: dict[str, Any], words: str) -> None:
    rt = counted(random_users(1), "x", "group", "user")
    with pytest.raises(ParameterError, match=words):
        stats.cox(rt, **asked)


def test_missing_numbers_are_refused_and_missing_levels_are_a_level() -> None:
    frame = random_users(2)
    frame.loc[:5, "x"] = np.nan
    frame.loc[:20, "group"] = None
    with pytest.raises(ParameterError, match=r"'x' must be a finite number in every pattern"):
        stats.cox(counted(frame, "x"), "x")
    fit = stats.cox(counted(frame, "group"), "group")
    assert fit.table["term"].tolist() == ["group=(missing)", "group=b", "group=c"]
    assert fit.design["reference"].tolist() == ["a", "a", "a"]
    with pytest.raises(ParameterError, match="clusters has missing values"):
        stats.cox(counted(random_users(2).assign(user=None), "x", "user"), "x", cluster="user")
    with pytest.raises(ParameterError, match="nobody was ever at risk"):
        stats.cox(counted(random_users(2).iloc[:0], "x"), "x")
    with pytest.raises(ParameterError, match="matrix of 1 x 1"):
        stats.cox(counted(random_users(2), "x"), "x").robust(np.zeros((2, 2)))
    with pytest.raises(ParameterError, match="Unknown term"):
        stats.cox(counted(random_users(2), "x"), "x").profile_interval("y")


def test_terms_by_type_of_column() -> None:
    frame = random_users(4)
    frame["flag"] = frame["x"] > 1
    frame["text"] = frame["x"].astype(int).astype(str)
    frame["kind"] = frame["text"].astype("category")
    frame["mixed"] = frame["flag"].astype(object)
    rt = counted(frame, "flag", "text", "kind", "mixed", "x")
    for column, terms in (
        ("flag", ["flag"]),
        ("mixed", ["mixed"]),
        ("x", ["x"]),
        ("text", ["text=1", "text=2", "text=3"]),
        ("kind", ["kind=1", "kind=2", "kind=3"]),
    ):
        assert stats.cox(rt, column).table["term"].tolist() == terms
    assert stats.cox(rt, "flag").table["coef"].item() == stats.cox(rt, "mixed").table["coef"].item()


# --- Cost -----------------------------------------------------------------------------------------------------------


def time_varying_rows(rows: int, seed: int = 1) -> pd.DataFrame:
    """Untied intervals of users whose four flags change in time, with two attributes."""
    rng = np.random.default_rng(seed)
    users = rows
    happens = np.sort(rng.exponential(60, (users, 4)), axis=1)[:, rng.permutation(4)]
    first, censored = rng.exponential(45, users), rng.uniform(5, 90, users)
    stop = np.minimum(first, censored)
    parts = []
    moments = np.sort(np.column_stack([np.zeros(users), happens]), axis=1)
    for number in range(5):
        begins = moments[:, number]
        ends = np.minimum(moments[:, number + 1] if number < 4 else np.inf, stop)
        kept = begins < stop
        done = (happens <= begins[:, None]).astype(int)
        part = pd.DataFrame(
            {"id": np.arange(users), "start": begins, "stop": ends, "cause": (ends == first).astype(int)}
        )
        for flag in range(4):
            part[f"m{flag}"] = done[:, flag]
        parts.append(part[kept])
    attributes = pd.DataFrame({"device": rng.choice(list("mdt"), users), "channel": rng.choice(list("vwxyz"), users)})
    every = pd.concat(parts).sort_values(["id", "start"], ignore_index=True).join(attributes, on="id")
    return every.head(rows)


TERMS = ["m0", "m1", "m2", "m3", "device", "channel"]


def from_rows_to_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Job of the benchmark: risk table and fit."""
    return stats.cox(RiskTable.from_intervals(frame, "start", "stop", "cause", TERMS), TERMS).table


def from_rows_to_table_by_lifelines(frame: pd.DataFrame) -> pd.Series:
    """The same by lifelines, indicators made beforehand."""
    wide = pd.get_dummies(frame, columns=["device", "channel"], drop_first=True, prefix_sep="=", dtype=float)
    fitter = lifelines.CoxTimeVaryingFitter()
    fitter.fit(wide, "cause", "start", "stop", id_col="id", fit_options={"precision": 1e-10})
    return fitter.params_


def test_the_same_as_lifelines_on_a_few_rows() -> None:
    frame = time_varying_rows(800)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = from_rows_to_table_by_lifelines(frame)
    mine = from_rows_to_table(frame).set_index("term")["coef"]
    np.testing.assert_allclose(mine, theirs.reindex(mine.index), rtol=1e-6, atol=1e-8)


@pytest.mark.benchmark
def test_a_hundred_times_as_fast_as_lifelines(record_property: Callable[[str, object], None]) -> None:
    frame = time_varying_rows(20_000)
    assert len(frame) == 20_000
    assert not frame.loc[frame["cause"] == 1, "stop"].duplicated().any()
    from_rows_to_table(frame)
    began = time.perf_counter()
    mine = from_rows_to_table(frame).set_index("term")["coef"]
    took = time.perf_counter() - began
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        theirs = from_rows_to_table_by_lifelines(frame)
        other = time.perf_counter() - began
    text = f"{other / took:.0f} times ({took:.3f} s to {other:.1f} s)"
    record_property("cox of 20,000 untied rows against lifelines", text)
    print(f"\ncox of 20,000 untied rows against lifelines: {text}")  # noqa: T201
    np.testing.assert_allclose(mine, theirs.reindex(mine.index), rtol=1e-6, atol=1e-8)
    assert other / took >= 100
