"""Where the libraries go wrong, and our number beside theirs (traps 1, 2, 6, 7 and 8 of the project's reference)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import lifelines
import lifelines.datasets
import lifelines.utils
import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from microconv import MicroconvWarning, RiskTable, stats

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def ties() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "survival_ties.csv").assign(start=0)


def test_trap_1_ties_need_no_jitter(ties: pd.DataFrame) -> None:
    """lifelines moves tied times at random (and reseeds numpy's generator to do it); ours moves none."""
    ties = ties[ties["time"] > 0]
    rt = RiskTable.from_intervals(ties, "start", "time", "cause")
    state = np.random.get_state()  # noqa: NPY002 - what is looked at is numpy's global generator
    ours = stats.aalen_johansen(rt)
    np.testing.assert_array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002
    pd.testing.assert_frame_equal(ours, stats.aalen_johansen(rt))
    fitter = lifelines.AalenJohansenFitter(seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Warning)  # it says that it jitters
        fitter.fit(ties["time"], ties["cause"], event_of_interest=1)
    assert not np.array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002
    theirs = fitter.cumulative_density_.iloc[:, 0]
    assert not set(theirs.index) <= {0.0, *ties["time"].astype(float)}  # times that no user has
    exact = ours[ours["cause"] == 1].set_index("time_days")["probability"]
    moved = [abs(theirs[theirs.index <= t].iloc[-1] - exact[t]) for t in exact.index if t > 0]
    assert max(moved) > 1e-3


def test_trap_2_the_error_is_that_of_the_mean(ties: pd.DataFrame) -> None:
    """lifelines' variance is that of min(T, tau) of one user; the mean of n users varies 1/n of that."""
    frame = lifelines.datasets.load_waltons().assign(start=0)
    control = frame[frame["group"] == "control"]
    ours = stats.rmst(RiskTable.from_intervals(control, "start", "T", "E"), 10).iloc[0]
    fitter = lifelines.KaplanMeierFitter().fit(control["T"], control["E"])
    theirs, variance = lifelines.utils.restricted_mean_survival_time(fitter, 10, return_variance=True)
    assert ours["estimate"] == pytest.approx(theirs, rel=1e-9)
    assert ours["se"] == pytest.approx(0.0231655, rel=1e-5)
    assert np.sqrt(variance) > 10 * ours["se"]
    assert np.sqrt(variance / len(control)) == pytest.approx(ours["se"], rel=1e-3)


def test_trap_6_a_weight_is_that_many_users(ties: pd.DataFrame) -> None:
    """statsmodels' errors under freq_weights are not those of as many rows; ours are."""
    ties = ties[ties["time"] > 0]
    many = ties.loc[ties.index.repeat(ties["weight"])]
    weighted = stats.kaplan_meier(RiskTable.from_intervals(ties, "start", "time", "cause", weight_col="weight"))
    rows = stats.kaplan_meier(RiskTable.from_intervals(many, "start", "time", "cause"))
    pd.testing.assert_frame_equal(weighted, rows)
    event = (ties["cause"] > 0).astype(float)
    theirs = SurvfuncRight(ties["time"].astype(float), event, freq_weights=ties["weight"].astype(float))
    at = weighted.set_index("time_days").loc[theirs.surv_times]
    np.testing.assert_allclose(theirs.surv_prob, at["survival"], rtol=1e-9)
    assert (np.abs(theirs.surv_prob_se / at["se"] - 1) > 0.05).any()


@pytest.fixture
def early_end() -> RiskTable:
    """One user from day 0 who converts on day 1; a hundred who enter on day 2, half of whom convert on day 5."""
    late = pd.DataFrame({"start": 2.0, "stop": 5.0, "cause": ["buy", None] * 50})
    early = pd.DataFrame({"start": [0.0], "stop": [1.0], "cause": ["buy"]})
    return RiskTable.from_intervals(pd.concat([early, late]), "start", "stop", "cause")


def test_trap_7_a_tiny_early_risk_set_ends_the_curve(early_end: RiskTable) -> None:
    with pytest.warns(MicroconvWarning, match=r"day 1 all 1 at risk .* up to 100 are observed later.*start_days="):
        curve = stats.kaplan_meier(early_end)
    assert curve["survival"].iloc[-1] == 0
    assert curve.loc[curve["survival"] == 0, ["se", "ci_low", "ci_high"]].isna().all(axis=None)
    for estimate in (stats.quantiles, stats.aalen_johansen, lambda rt: stats.rmst(rt, 5)):
        with pytest.warns(MicroconvWarning, match="early"):
            estimate(early_end)


def test_trap_7_condition_on_a_later_start(early_end: RiskTable) -> None:
    curve = stats.kaplan_meier(early_end, start_days=2)
    assert stats.survival_at(curve, 5)["survival"].item() == 0.5
    assert stats.quantiles(early_end, 0.25, start_days=2)["time_days"].item() == 5
    assert stats.rmst(early_end, 5, start_days=2)["estimate"].item() == 3
    incidence = stats.aalen_johansen(early_end, start_days=2)
    assert stats.probability_at(incidence, 5)["probability"].item() == 0.5


def test_trap_8_times_are_never_rounded() -> None:
    """Three conversions within the first minutes stay three times, and none of them is lost."""
    minute = 1 / 1440
    frame = pd.DataFrame({"start": 0.0, "stop": [minute, 2 * minute, 3 * minute, 1.0], "cause": [1, 1, 1, 0]})
    curve = stats.kaplan_meier(RiskTable.from_intervals(frame, "start", "stop", "cause"))
    assert curve["time_days"].tolist() == [0, minute, 2 * minute, 3 * minute, 1.0]
    np.testing.assert_allclose(curve["survival"], [1, 0.75, 0.5, 0.25, 0.25])


def test_the_golden_file_is_what_the_script_wrote() -> None:
    golden = json.loads((GOLDEN / "survival.json").read_text())
    assert set(golden) == {"ties", "late_entry", "flat", "lung", "wilson"}
