"""The test of proportional hazards beyond R's numbers (test_cox_golden.py): by hand, its size and its edges."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

from microconv import MicroconvWarning, ParameterError, RiskTable, stats


def counted(frame: pd.DataFrame, *patterns: str) -> RiskTable:
    return RiskTable.from_intervals(frame, "start", "stop", "cause", patterns)


def waits(seed: int, fading: bool, users: int = 400) -> pd.DataFrame:
    """One in two converts three times as fast, for good or (``fading``) for the first day only."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, users)
    need = rng.exponential(1.0, users)
    ratio = np.where(x == 1, 3.0, 1.0)
    stop = need / (0.5 * ratio)
    if fading:
        late = stop > 1
        stop[late] = 1 + (need[late] - 0.5 * ratio[late]) / 0.5
    return pd.DataFrame({"start": 0.0, "stop": np.minimum(stop, 4), "cause": (stop < 4).astype(int), "x": x})


def test_it_is_the_score_test_of_a_coefficient_that_grows() -> None:
    """Split at every event time, with x times the time as a second column: score of that column at 0."""
    from microconv.stats._likelihood import Likelihood
    from microconv.stats._risk_sets import risk_sets

    frame = waits(1, True, 40)
    beta = stats.cox(counted(frame, "x"), "x").table["coef"].item()
    moments = np.sort(frame.loc[frame["cause"] == 1, "stop"].unique())
    rows = []
    for row in frame.itertuples():
        edges = [0.0, *moments[moments < row.stop], row.stop]
        for low, high in itertools.pairwise(edges):
            ends = row.cause if high == row.stop else 0
            rows.append((low, high, ends, row.x, row.x * high if high in moments else 0.0))
    split = pd.DataFrame(rows, columns=["start", "stop", "cause", "x", "xt"])
    sets, patterns = risk_sets(counted(split, "x", "xt"), (), None)
    likelihood = Likelihood(sets, patterns[["x", "xt"]].to_numpy(float), "efron", np.zeros(len(patterns)))
    _, score, information = likelihood.derivatives(np.array([beta, 0.0]))
    expected = score[1] ** 2 / (information[1, 1] - information[0, 1] ** 2 / information[0, 0])
    found = stats.proportionality(counted(frame, "x"), "x", transform="identity")
    assert found["chi2"][0] == pytest.approx(expected, rel=1e-8)


def test_it_finds_an_effect_that_fades_and_keeps_its_level() -> None:
    fading = [stats.proportionality(counted(waits(seed, True), "x"), "x")["p_value"][0] for seed in range(20)]
    steady = [stats.proportionality(counted(waits(seed, False), "x"), "x")["p_value"][0] for seed in range(100)]
    assert np.mean(np.array(fading) < 0.05) >= 0.7
    assert 0 < np.mean(np.array(steady) < 0.05) <= 0.13  # 99.9 % of binomial(100, 0.05)


@pytest.mark.parametrize("transform", ["km", "rank", "identity", "log"])
def test_columns_of_no_concern_change_nothing(transform: str) -> None:
    frame = waits(2, False, 120).assign(device=list("ab") * 60, user=range(120))
    one = stats.proportionality(counted(frame, "x"), "x", transform=transform)
    two = stats.proportionality(counted(frame, "x", "device", "user"), "x", transform=transform)
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)
    robust = stats.cox(counted(frame, "x", "user"), "x", cluster="user")
    pd.testing.assert_frame_equal(
        stats.proportionality(counted(frame, "x", "user"), robust, transform=transform), one, rtol=1e-9
    )


def test_what_has_no_ratio_has_no_test() -> None:
    frame = waits(3, False, 60)
    frame["did"] = (frame["cause"] == 0).astype(int)
    frame["same"] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)
        table = stats.proportionality(counted(frame, "x", "did", "same"), ["x", "did", "same"])
        nobody = stats.proportionality(counted(frame.assign(cause=0), "x"), "x")
    assert table["degrees_of_freedom"].tolist() == [1, 0, 0, 1]
    assert table["chi2"].isna().tolist() == [False, True, True, False]
    alone = stats.proportionality(counted(frame[frame["did"] == 0], "x"), "x", transform="identity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)
        beside = stats.proportionality(counted(frame, "x", "did"), ["x", "did"], transform="identity")
    assert beside["chi2"][0] == pytest.approx(alone["chi2"][0], rel=1e-8)
    assert nobody[["chi2", "p_value"]].isna().all(axis=None)
    once = pd.DataFrame({"start": 0, "stop": 1, "cause": 1, "x": [0, 1, 1, 2]})
    assert stats.proportionality(counted(once, "x"), "x")["degrees_of_freedom"].tolist() == [0, 0]


def test_refusals() -> None:
    frame = waits(4, False, 30)
    with pytest.raises(ParameterError, match="Did you mean 'rank'"):
        stats.proportionality(counted(frame, "x"), "x", transform="ranks")
    frame.loc[0, ["stop", "cause"]] = [0.0, 1]
    with pytest.raises(ParameterError, match="no value at time 0"):
        stats.proportionality(counted(frame, "x"), "x", transform="log")
