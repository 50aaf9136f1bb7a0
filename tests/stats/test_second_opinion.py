"""lifelines as a second opinion, on its own data sets, where it is right."""

from __future__ import annotations

import lifelines
import lifelines.datasets as datasets
import lifelines.statistics
import numpy as np
import pandas as pd
import pytest

from microconv import RiskTable, stats

CASES = {
    "lung": (datasets.load_lung, "time", "status"),
    "waltons": (datasets.load_waltons, "T", "E"),
    "leukemia": (datasets.load_leukemia, "t", "status"),
    "rossi": (datasets.load_rossi, "week", "arrest"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_kaplan_meier(case: str, confidence: float) -> None:
    load, stop, event = CASES[case]
    frame = load().assign(start=0)
    ours = stats.kaplan_meier(RiskTable.from_intervals(frame, "start", stop, event), confidence=confidence)
    fitter = lifelines.KaplanMeierFitter(alpha=1 - confidence).fit(frame[stop], frame[event])
    table, limits = fitter.event_table, fitter.confidence_interval_
    np.testing.assert_allclose(ours["time_days"], table.index)
    for column, theirs in (("at_risk", "at_risk"), ("events", "observed"), ("censored", "censored")):
        np.testing.assert_array_equal(ours[column], table[theirs])
    np.testing.assert_allclose(ours["survival"], fitter.survival_function_["KM_estimate"], rtol=1e-9, atol=1e-12)
    known = (ours["survival"] > 1e-12).to_numpy()
    np.testing.assert_allclose(ours.loc[known, "ci_low"], limits.iloc[known, 0], rtol=1e-7)
    np.testing.assert_allclose(ours.loc[known, "ci_high"], limits.iloc[known, 1], rtol=1e-7)


def test_late_entry() -> None:
    frame = datasets.load_multicenter_aids_cohort_study().assign(cause=lambda d: d["D"].astype(int))
    rt = RiskTable.from_intervals(frame, "W", "T", "cause")
    fitter = lifelines.KaplanMeierFitter().fit(frame["T"], frame["D"], entry=frame["W"])
    ours = stats.survival_at(stats.kaplan_meier(rt), [1, 2.5, 4, 6])
    theirs = fitter.survival_function_at_times([1, 2.5, 4, 6])
    np.testing.assert_allclose(ours["survival"], theirs, rtol=1e-9)


def test_logrank_of_several_groups() -> None:
    frame = datasets.load_rossi().assign(start=0)
    rt = RiskTable.from_intervals(frame, "start", "week", "arrest", ("prio",))
    ours = stats.logrank(rt, "prio")
    theirs = lifelines.statistics.multivariate_logrank_test(frame["week"], frame["prio"], frame["arrest"])
    assert ours.chi2 == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert ours.p_value == pytest.approx(theirs.p_value, rel=1e-9)
    assert ours.degrees_of_freedom == theirs.degrees_of_freedom


def test_nelson_aalen() -> None:
    frame = datasets.load_waltons().assign(start=0)
    ours = stats.nelson_aalen(RiskTable.from_intervals(frame, "start", "T", "E"))
    fitter = lifelines.NelsonAalenFitter(nelson_aalen_smoothing=False).fit(frame["T"], frame["E"])
    np.testing.assert_allclose(ours["cumulative_hazard"], fitter.cumulative_hazard_.iloc[:, 0], rtol=1e-9)


def test_aalen_johansen_without_ties() -> None:
    frame = pd.DataFrame({"start": 0.0, "stop": np.arange(1.0, 41), "cause": [1, 2, 0, 1, 1, 2, 1, 0] * 5})
    ours = stats.aalen_johansen(RiskTable.from_intervals(frame, "start", "stop", "cause"))
    for cause in (1, 2):
        fitter = lifelines.AalenJohansenFitter().fit(frame["stop"], frame["cause"], event_of_interest=cause)
        theirs = fitter.cumulative_density_.iloc[:, 0]
        mine = ours[ours["cause"] == cause].set_index("time_days")["probability"]
        np.testing.assert_allclose(mine, theirs.loc[mine.index], rtol=1e-9)
