"""Piecewise-exponential hazards: a Poisson regression with an indicator per interval, without the indicators."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv import ExposureTable, MicroconvWarning, ParameterError, RiskTable, stats


def random_users(seed: int, users: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = np.where(rng.random(users) < 0.3, rng.integers(1, 4, users) / 2, 0.0)
    x, group = rng.integers(0, 3, users).astype(float), rng.choice(list("abc"), users)
    stop = start + np.ceil(2 * rng.exponential(3 * np.exp(-0.3 * x))).clip(1, 30) / 2
    cause = rng.choice([0, 1, 2], users, p=[0.3, 0.5, 0.2])
    stratum, user = rng.choice(["y", "z"], users), np.arange(users) % 30
    return pd.DataFrame(locals()).drop(columns=["seed", "users", "rng"])


def counted(frame: pd.DataFrame, *patterns: str) -> RiskTable:
    return RiskTable.from_intervals(frame, "start", "stop", "cause", patterns)


def by_statsmodels(frame: pd.DataFrame, terms: list[str], cuts: list[float], strata: list[str], cause: int) -> Any:
    """Rows split at the cuts, one Poisson observation each, an indicator per interval (and stratum)."""
    import statsmodels.api as sm

    edges, rows = [0.0, *cuts, np.inf], []
    for row in frame.to_dict("records"):
        for number, (low, high) in enumerate(itertools.pairwise(edges)):
            days = min(row["stop"], high) - max(row["start"], low)
            if days > 0:
                died = row["cause"] == cause and low < row["stop"] <= high
                rows.append(row | {"days": days, "died": float(died), "bin": (number, *(row[s] for s in strata))})
    split = pd.DataFrame(rows)
    kept = split.groupby("bin")["died"].transform("sum") > 0
    split = split[kept]
    x = pd.get_dummies(split[terms], columns=[t for t in terms if split[t].dtype == object], drop_first=True)
    dummies = pd.get_dummies(split["bin"].astype(str))
    design = pd.concat([x, dummies], axis=1).astype(float)
    # An array: of a column as exposure statsmodels 0.14.5 makes NaN, because it aligns the coefficients to its index.
    model = sm.GLM(split["died"], design, family=sm.families.Poisson(), exposure=split["days"].to_numpy())
    fit = model.fit(tol=1e-14, maxiter=200)
    rate = np.asarray(fit.fittedvalues / split["days"])
    value = float((split["died"] * np.log(rate)).sum() - fit.fittedvalues.sum())
    return fit.params[: x.shape[1]], fit.bse[: x.shape[1]], value


@pytest.mark.parametrize("strata", [[], ["stratum"]])
@pytest.mark.parametrize("cuts", [[], [2.0], [0.5, 1.25, 4.0, 100.0]])
def test_equals_a_poisson_regression_with_indicators(cuts: list[float], strata: list[str]) -> None:
    frame, terms = random_users(1), ["x", "group"]
    fit = stats.piecewise_exponential(counted(frame, *terms, *strata), terms, cuts, strata=strata, cause=1)
    coef, se, value = by_statsmodels(frame, terms, cuts, strata, 1)
    np.testing.assert_allclose(fit.table["coef"], coef, rtol=1e-8)
    np.testing.assert_allclose(fit.table["se"], se, rtol=1e-8)
    assert fit.log_likelihood == pytest.approx(value, rel=1e-10)
    # The rates give back the events.
    assert fit.rates["events"].sum() == (frame["cause"] == 1).sum() == fit.events
    assert len(fit.rates) == (len(cuts) + 1) * (2 if strata else 1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_tables_of_either_kind_and_in_parts(seed: int) -> None:
    """From exact counts, from counts by interval, from two halves added: the same."""
    frame = random_users(seed, 50)
    rt = counted(frame, "x", "group", "stratum")
    cuts = [0.7, 2.0, 5.0]
    halves = [counted(part, "x", "group", "stratum") for part in (frame[::2], frame[1::2])]
    parts = [ExposureTable.from_risk_table(half, cuts) for half in halves]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)
        known = stats.piecewise_exponential(rt, ["x"], cuts, strata="group")
        for table in (ExposureTable.from_risk_table(rt, cuts), parts[0] + parts[1]):
            found = stats.piecewise_exponential(table, ["x"], strata="group")
            pd.testing.assert_frame_equal(found.table, known.table, rtol=1e-8, atol=1e-10)
            pd.testing.assert_frame_equal(found.rates, known.rates, rtol=1e-8, atol=1e-10)


def test_many_intervals_come_close_to_cox() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    x = rng.integers(0, 2, n)
    stop = rng.weibull(0.6, n) * np.exp(-x / 0.6)
    frame = pd.DataFrame({"start": 0.0, "stop": np.minimum(stop, 2), "cause": (stop < 2).astype(int), "x": x})
    rt = counted(frame, "x")
    known = stats.cox(rt, "x").table.iloc[0]
    found = stats.piecewise_exponential(rt, "x")
    assert len(found.cuts) == 19
    assert found.table["coef"].item() == pytest.approx(known["coef"], abs=0.01)
    assert found.table["se"].item() == pytest.approx(known["se"], rel=0.01)
    assert found.rates["events"].between(0.9 * len(frame) / 20 * frame["cause"].mean(), 300).all()


@pytest.mark.parametrize("strata", [[], ["stratum"]])
def test_robust_errors_from_steps(strata: list[str]) -> None:
    """Scores by user from ``steps`` and the users' intervals: the sandwich of the full Poisson regression by user."""
    import statsmodels.api as sm

    frame, cuts = random_users(7), [1.0, 3.0]
    fit = stats.piecewise_exponential(counted(frame, "x", "group", "stratum"), ["x", "group"], cuts, strata=strata)
    z, w, k = fit.covariates(frame), fit.relative_hazard(frame), 3
    scores: dict[int, np.ndarray] = {user: np.zeros(k) for user in frame["user"]}
    for row, spell in enumerate(frame.itertuples()):
        steps = fit.steps
        for column in strata:
            steps = steps[steps[column] == getattr(spell, column)]

        def at(day: float, steps: pd.DataFrame = steps) -> tuple[float, np.ndarray]:
            here = steps[steps["time_days"] <= day].iloc[-1]
            days = day - here["time_days"]
            a1 = [here[f"a1_{j}"] + here[f"rate_{j}"] * days for j in range(k)]
            return here["a0"] + here["rate"] * days, np.array(a1)

        (start0, start1), (stop0, stop1) = at(spell.start), at(spell.stop)
        scores[spell.user] -= w[row] * (z[row] * (stop0 - start0) - (stop1 - start1))
        if spell.cause != 0:
            here = steps[steps["time_days"] < spell.stop].iloc[-1]
            scores[spell.user] += z[row] - np.array([here[f"zbar_{j}"] for j in range(k)], dtype=float)
    np.testing.assert_allclose(sum(scores.values()), 0, atol=1e-8)
    found = fit.robust(sum(np.outer(one, one) for one in scores.values()))

    edges, rows = [0.0, *cuts, np.inf], []
    for row in frame.to_dict("records"):
        for number, (low, high) in enumerate(itertools.pairwise(edges)):
            days = min(row["stop"], high) - max(row["start"], low)
            if days > 0:
                died = float(row["cause"] != 0 and low < row["stop"] <= high)
                rows.append(row | {"days": days, "died": died, "bin": f"{number}{[row[s] for s in strata]}"})
    split = pd.DataFrame(rows)
    x = pd.DataFrame({"x": split["x"], "b": split["group"] == "b", "c": split["group"] == "c"})
    design = pd.concat([x, pd.get_dummies(split["bin"])], axis=1).astype(float)
    model = sm.GLM(split["died"], design, family=sm.families.Poisson(), exposure=split["days"].to_numpy())
    full = model.fit(tol=1e-14, maxiter=200)
    expected = np.asarray(full.fittedvalues)
    each = (np.asarray(split["died"]) - expected)[:, None] * design.to_numpy()
    summed = pd.DataFrame(each).groupby(split["user"].to_numpy()).sum().to_numpy()
    bread = np.linalg.inv(design.to_numpy().T @ (expected[:, None] * design.to_numpy()))
    sandwich = (bread @ summed.T @ summed @ bread)[:3, :3]
    np.testing.assert_allclose(found.covariance, sandwich, rtol=1e-7, atol=1e-10)


def test_separation_and_constants_are_said() -> None:
    frame = random_users(5)
    frame["did"] = ((frame["cause"] == 0) & (frame["x"] > 0)).astype(int)
    frame["same"] = "one"
    with pytest.warns(MicroconvWarning, match="runs to 0|is the same for all"):
        fit = stats.piecewise_exponential(counted(frame, "did", "x", "same"), ["did", "x", "same"], [1, 3])
    assert fit.separated == ("did",)
    assert fit.aliased == ("same=one",)
    assert fit.table["hazard_ratio"][0] == 0
    assert 0 < fit.table["ci_high"][0] < 1
    alone = stats.piecewise_exponential(counted(frame[frame["did"] == 0], "x"), "x", [1, 3])
    assert fit.table["coef"][1] == pytest.approx(alone.table["coef"].item(), rel=1e-9)
    assert fit.table["se"][1] == pytest.approx(alone.table["se"].item(), rel=1e-9)
    assert np.isfinite(fit.steps.to_numpy(float)).all()


def test_edges_of_what_can_be_asked() -> None:
    nobody = pd.DataFrame({"start": 0, "stop": [1, 2], "cause": 0, "x": [0, 1]})
    with pytest.warns(MicroconvWarning, match="Nobody at risk has the event"):
        fit = stats.piecewise_exponential(counted(nobody, "x"), "x", [1])
    assert fit.table.iloc[:, 1:].isna().all(axis=None)
    assert fit.rates["rate_per_day"].tolist() == [0.0, 0.0]
    assert fit.rates["person_time_days"].tolist() == [2.0, 1.0]
    at_entry = pd.DataFrame({"start": 0, "stop": 0, "cause": 1, "x": [0, 1]})
    with pytest.warns(MicroconvWarning, match="2 events at the moment of entry|Nobody"):
        fit = stats.piecewise_exponential(counted(at_entry, "x"), "x", [1])
    assert "left out" in fit.notes[0]
    rt = counted(random_users(1), "x", "group")
    table = ExposureTable.from_risk_table(rt, [1, 2])
    with pytest.raises(ParameterError, match="has its intervals already"):
        stats.piecewise_exponential(table, "x", [1])
    for cuts in ([2, 1], [0, 1], [1, np.inf], "12d", [[1, 2]]):
        with pytest.raises(ParameterError, match="ascending numbers of days"):
            stats.piecewise_exponential(rt, "x", cuts)
    with pytest.raises(ParameterError, match="Unknown cause"):
        stats.piecewise_exponential(rt, "x", [1], cause=7)
    with pytest.raises(ParameterError, match="nobody was ever at risk"):
        stats.piecewise_exponential(counted(random_users(1).iloc[:0], "x"), "x", [1])


def test_events_at_entry_that_nobodys_time_bounds_are_left_out_and_said() -> None:
    """Three convert at once with m and j, of which no time is seen: the likelihood would rise for ever."""
    rows = [
        (0.5, 1, 0, 0),
        (0.6, 1, 1, 0),
        (2.0, 1, 0, 0),
        (3.0, 1, 0, 1),
        (2.5, 0, 1, 0),
        (4.0, 1, 1, 0),
        (4.0, 0, 0, 1),
    ]
    frame = pd.DataFrame(rows, columns=["stop", "cause", "m", "j"]).assign(start=0.0)
    at_entry = pd.DataFrame({"start": 0.0, "stop": 0.0, "cause": 1, "m": [1] * 3, "j": [1] * 3})
    alone = stats.piecewise_exponential(counted(frame, "m", "j"), ["m", "j"], [1])
    with pytest.warns(MicroconvWarning, match="3 events at the moment of entry"):
        fit = stats.piecewise_exponential(counted(pd.concat([frame, at_entry]), "m", "j"), ["m", "j"], [1])
    pd.testing.assert_frame_equal(fit.table, alone.table, rtol=1e-9)
    assert fit.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)
