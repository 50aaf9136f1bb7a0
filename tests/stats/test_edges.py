"""What an estimator says when there is hardly anything to estimate from, and when it is asked something impossible."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from microconv import MicroconvWarning, ParameterError, RiskTable, stats


def table(stop: list[float], cause: list[object], group: list[object] | None = None, **more: list[float]) -> RiskTable:
    frame = pd.DataFrame({"start": 0.0, "stop": stop, "cause": pd.Series(cause, dtype=object), **more})
    if group is not None:
        frame["group"] = group
    patterns = ("group",) if group is not None else ()
    return RiskTable.from_intervals(frame, "start", "stop", "cause", patterns, "w" if "w" in more else None)


def test_nobody_converts() -> None:
    rt = table([3, 5, 5], [None, 0, False], ["a", "a", "b"])
    curve = stats.kaplan_meier(rt)
    assert (curve[["survival", "ci_low", "ci_high"]] == 1).all(axis=None)
    assert (curve[["se", "events"]] == 0).all(axis=None)
    assert stats.quantiles(rt)[["time_days", "ci_low_days", "ci_high_days"]].isna().all(axis=None)
    assert stats.rmst(rt, 5)[["estimate", "se"]].to_numpy().tolist() == [[5, 0], [5, 0]]
    incidence = stats.aalen_johansen(rt)
    assert incidence.empty
    assert list(incidence.columns) == ["group", "cause", "time_days", "probability", "se", "ci_low", "ci_high"]
    assert stats.probability_at(incidence, 3).empty
    test = stats.logrank(rt, "group")
    assert math.isnan(test.chi2)
    assert math.isnan(test.p_value)
    assert test.degrees_of_freedom == 0


def test_everybody_at_once() -> None:
    rt = table([2, 2, 2], ["buy"] * 3)
    curve = stats.kaplan_meier(rt)
    assert curve["survival"].tolist() == [1, 0]
    assert curve.iloc[1][["se", "ci_low", "ci_high"]].isna().all()
    assert stats.quantiles(rt)["time_days"].tolist() == [2, 2, 2]
    assert stats.rmst(rt, 30)[["estimate", "se"]].to_numpy().tolist() == [[2, 0]]
    incidence = stats.aalen_johansen(rt)
    assert incidence["probability"].tolist() == [0, 1]
    assert incidence.iloc[1][["ci_low", "ci_high"]].isna().all()
    assert stats.probability_at(incidence, 99)["probability"].item() == 1


def test_one_user() -> None:
    assert stats.kaplan_meier(table([1], [1]))["survival"].tolist() == [1, 0]
    assert stats.kaplan_meier(table([1], [0]))["survival"].tolist() == [1, 1]
    assert stats.kaplan_meier(table([0], [1]))["survival"].tolist() == [0]


def test_events_on_day_0_count() -> None:
    curve = stats.kaplan_meier(table([0, 0, 4, 4], [1, 1, 1, 0]))
    assert curve["time_days"].tolist() == [0, 4]
    assert curve["survival"].tolist() == [0.5, 0.25]
    assert curve["at_risk"].tolist() == [4, 2]


def test_a_group_of_one_member() -> None:
    rt = table([1, 2, 3, 4], [1, 1, 1, 1], ["a", "a", "b", "a"])
    test = stats.logrank(rt, "group")
    assert test.degrees_of_freedom == 1
    assert test.groups["observed"].tolist() == [3, 1]
    assert test.groups["expected"].sum() == pytest.approx(4)


def test_groups_that_never_meet_are_not_compared() -> None:
    frame = pd.DataFrame({"start": [0, 0, 5, 5], "stop": [1, 2, 6, 7], "cause": 1, "group": list("aabb")})
    rt = RiskTable.from_intervals(frame, "start", "stop", "cause", ("group",))
    test = stats.logrank(rt, "group")
    assert math.isnan(test.chi2)
    assert test.degrees_of_freedom == 0
    one = stats.logrank(rt.pool("group"), "group", rho=1)
    assert math.isnan(one.p_value)


def test_pairs_in_strata_of_their_own_lose_a_degree_of_freedom() -> None:
    """a meets b and c meets d, never across: two comparisons, not three."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"start": 0, "stop": rng.integers(1, 9, 40), "cause": 1, "group": list("abcd") * 10})
    frame["stratum"] = frame["group"].isin(["a", "b"])
    rt = RiskTable.from_intervals(frame, "start", "stop", "cause", ("group", "stratum"))
    whole = stats.logrank(rt, "group", strata="stratum")
    parts = []
    for labels in ("ab", "cd"):
        part = frame[frame["group"].isin(list(labels))]
        parts.append(stats.logrank(RiskTable.from_intervals(part, "start", "stop", "cause", ("group",)), "group"))
    assert whole.degrees_of_freedom == 2
    assert whole.chi2 == pytest.approx(parts[0].chi2 + parts[1].chi2)


def test_patterns_that_are_not_named_are_pooled() -> None:
    frame = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "cause": 1, "g": list("ababab"), "x": list("xxyyyx")})
    both = RiskTable.from_intervals(frame, "start", "stop", "cause", ("x", "g"))
    assert stats.logrank(both, "g").chi2 == stats.logrank(both.pool("g"), "g").chi2
    assert stats.logrank(both, ("g", "x")).degrees_of_freedom == 3


def test_a_null_segment_is_a_segment() -> None:
    rt = table([1, 2, 3], [1, 1, 0], ["m", None, "m"])
    curve = stats.kaplan_meier(rt)
    assert curve["group"].isna().sum() == 2
    assert curve.loc[curve["group"].isna(), "survival"].tolist() == [1, 0]
    assert stats.survival_at(curve, 2)["group"].tolist() == ["m", None]
    assert len(stats.logrank(rt, "group").groups) == 2


def test_fractional_weights_come_to_exactly_zero() -> None:
    """0.1 + 0.2 is not 0.3: the last weighted user still brings survival to 0, not to 1e-17."""
    rt = table([1, 2, 3], [1, 1, 1], w=[0.1, 0.2, 0.3])
    assert stats.kaplan_meier(rt)["survival"].iloc[-1] == 0
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.01, 1, 3000)
    rt = table(list(rng.integers(1, 900, 3000)), list(rng.choice(["x", "y"], 3000)), w=list(weights))
    assert stats.kaplan_meier(rt)["survival"].iloc[-1] == 0
    last = stats.aalen_johansen(rt).groupby("cause")["probability"].last()
    assert last.sum() == pytest.approx(1, abs=1e-12)


def test_tau_beyond_observation_is_unknown() -> None:
    rt = table([3, 5, 9, 9], [1, 0, 1, 0], ["a", "a", "b", "b"])
    with pytest.warns(MicroconvWarning, match="1 of 2 patterns"):
        found = stats.rmst(rt, 9)
    assert math.isnan(found.loc[0, "estimate"])
    assert found.loc[1, "estimate"] == 9


def test_look_up_between_and_beyond_rows() -> None:
    curve = stats.kaplan_meier(table([3, 5], [1, 0]))
    found = stats.survival_at(curve, [-1, 0, 2.9, 3, 5, 5.1])
    np.testing.assert_array_equal(found["survival"], [1, 1, 1, 0.5, 0.5, np.nan])
    incidence = stats.aalen_johansen(table([3, 5], ["buy", 0]))
    found = stats.probability_at(incidence, [0, 3, 6])
    np.testing.assert_array_equal(found["probability"], [0, 0.5, np.nan])
    assert found["cause"].tolist() == ["buy"] * 3


def test_pattern_types_and_cause_labels_survive() -> None:
    frame = pd.DataFrame({"start": 0, "stop": [1.0, 2, 3, 4], "cause": [1, 2, 0, 1]})
    frame["device"] = pd.Categorical(["m", "d", "m", "d"], categories=["m", "d", "tv"])
    rt = RiskTable.from_intervals(frame, "start", "stop", "cause", ("device",))
    for result in (stats.kaplan_meier(rt), stats.rmst(rt, 2), stats.quantiles(rt), stats.logrank(rt, "device").groups):
        assert result["device"].dtype == frame["device"].dtype
        assert result["device"].iloc[0] == "m"  # categories keep their order
    incidence = stats.aalen_johansen(rt)
    assert incidence["cause"].unique().tolist() == [1, 2]
    assert incidence["cause"].dtype == np.int64


def test_wilson_ends_and_shapes() -> None:
    low, high = stats.wilson([0, 5, 10, 0], [10, 10, 10, 0])
    assert low[0] == 0
    assert high[2] == 1
    assert 0 < high[0] < 1
    assert low[2] == pytest.approx(1 - high[0])
    assert np.isnan([low[3], high[3]]).all()
    assert stats.wilson(1, 2)[0].shape == ()
    assert stats.wilson(np.ones((2, 1)), np.full(3, 4))[0].shape == (2, 3)
    low, high = stats.wilson(pd.Series([1, None]), pd.Series([2, 3]))
    assert np.isnan(low[1])
    assert np.isnan(high[1])
    rng = np.random.default_rng(0)
    n = rng.integers(1, 50, 300)
    k = rng.integers(0, n + 1)
    low, high = stats.wilson(k, n)
    assert ((low <= k / n) & (k / n <= high)).all()


EMPTY = RiskTable.from_intervals(pd.DataFrame({"a": [], "b": [], "c": [], "g": []}), "a", "b", "c", ("g",))
SOME = table([1, 2], ["buy", 0], ["x", "y"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stats.kaplan_meier(EMPTY), "nobody was ever at risk"),
        (lambda: stats.aalen_johansen(EMPTY), "nobody was ever at risk"),
        (lambda: stats.rmst(EMPTY, 1), "nobody was ever at risk"),
        (lambda: stats.quantiles(EMPTY), "nobody was ever at risk"),
        (lambda: stats.nelson_aalen(EMPTY), "nobody was ever at risk"),
        (lambda: stats.logrank(EMPTY, "g"), "nobody was ever at risk"),
        (lambda: stats.kaplan_meier(SOME, confidence=95), r"confidence=95 .* between 0 and 1.*Write 0\.95"),
        (lambda: stats.kaplan_meier(SOME, confidence=True), "confidence=True"),
        (lambda: stats.kaplan_meier(SOME, cause="bye"), "Unknown cause 'bye'"),
        (lambda: stats.kaplan_meier(SOME, cause="bux"), "Did you mean 'buy'"),
        (lambda: stats.kaplan_meier(SOME, start_days=-1), "start_days=-1"),
        (lambda: stats.rmst(SOME, "30D"), "tau='30D' must be a plain number of days"),
        (lambda: stats.rmst(SOME, math.inf), "tau=inf"),
        (lambda: stats.rmst(SOME, 2, start_days=2), "later than start_days=2"),
        (lambda: stats.quantiles(SOME, 50), "probabilities=50 must lie between 0 and 1"),
        (lambda: stats.logrank(SOME, "gruop"), "Did you mean 'group'"),
        (lambda: stats.logrank(SOME, "group", strata=("group",)), "none that strata="),
        (lambda: stats.logrank(SOME, ()), "at least one pattern column"),
        (lambda: stats.logrank(SOME, "group", rho="peto"), "rho='peto' must be a number"),
        (lambda: stats.survival_at(pd.DataFrame({"x": [1]}), 1), "the frame that kaplan_meier returned"),
        (lambda: stats.probability_at(stats.kaplan_meier(SOME), 1), "the frame that aalen_johansen returned"),
        (lambda: stats.survival_at(stats.kaplan_meier(SOME), math.nan), "finite numbers of days"),
        (lambda: stats.wilson(3, 2), "successes=3 is more than n=2"),
        (lambda: stats.wilson(-1, 2), "successes holds -1"),
    ],
)
def test_impossible_questions(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        call()


def test_a_pattern_named_like_a_result_is_refused() -> None:
    frame = pd.DataFrame({"start": 0, "stop": [1, 2], "cause": 1, "events": ["a", "b"]})
    rt = RiskTable.from_intervals(frame, "start", "stop", "cause", ("events",))
    with pytest.raises(ParameterError, match=r"'events' has the name of a column of the result.*Rename it"):
        stats.kaplan_meier(rt)


def test_the_table_is_not_changed() -> None:
    before = SOME.frame.copy()
    stats.kaplan_meier(SOME), stats.aalen_johansen(SOME), stats.rmst(SOME, 1), stats.quantiles(SOME)
    stats.logrank(SOME, "group")
    pd.testing.assert_frame_equal(SOME.frame, before)


def test_names_are_lazy_and_none_is_a_module() -> None:
    """Importing the package loads no estimator and no scipy; no function shares its name with a file."""
    code = (
        "import sys, microconv.stats as s\n"
        "assert 'scipy' not in sys.modules and 'microconv.stats.log_rank' not in sys.modules\n"
        "import pkgutil; files = {m.name for m in pkgutil.iter_modules(s.__path__)}\n"
        "assert not files & set(s.__all__), files & set(s.__all__)\n"
        "for name in s.__all__: assert callable(getattr(s, name)), name\n"
        "assert 'scipy' not in sys.modules and set(dir(s)) == set(s.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="kaplan"):
        _ = stats.kaplan


@pytest.mark.parametrize("users", [3, 7, 10, 13, 49])
def test_a_rounding_error_hides_no_flat_part(users: int) -> None:
    """1 - 0.9 * 8/9 * 7/8 is not 0.3 to the last digit; the curve is flat at 3 of 10 all the same."""
    rt = table(list(range(1, users + 1)), [1] * users)
    found = stats.quantiles(rt, [k / users for k in range(1, users)])
    np.testing.assert_array_equal(found["time_days"], np.arange(1, users) + 0.5)
