"""Every pair of groups: R's survdiff, survfit and p.adjust at 1e-6, and what must hold on any rows."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from pathlib import Path

import lifelines.datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv import MicroconvWarning, RiskTable
from microconv.errors import ParameterError
from microconv.stats import (
    adjust_p_values,
    logrank,
    pairwise_logrank,
    rmst,
    rmst_differences,
    time_lost,
    time_lost_differences,
)

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def r() -> dict:
    return json.loads((GOLDEN / "curves.json").read_text())


@pytest.fixture(scope="module")
def ties() -> RiskTable:
    frame = pd.read_csv(GOLDEN / "survival_ties.csv").assign(start=0)
    return RiskTable.from_intervals(frame, "start", "time", "cause", ("group", "stratum"))


def near(ours: object, theirs: object) -> None:
    np.testing.assert_allclose(np.asarray(ours, dtype=float), theirs, rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), [("plain", {}), ("rho1", {"rho": 1}), ("strata", {"strata": "stratum"})])
def test_pairwise_logrank_equals_survdiff_and_p_adjust(r: dict, ties: RiskTable, name: str, options: dict) -> None:
    golden = r["pairs"][name]
    for method in ("holm", "bh", "bonferroni"):
        table = pairwise_logrank(ties, "group", method=method, **options)
        assert table["group_a"].tolist() == golden["a"]
        assert table["group_b"].tolist() == golden["b"]
        near(table["chi2"], golden["chi2"])
        near(table["p_value"], golden["p"])
        near(table["p_adjusted"], golden[method])


def same_differences(table: pd.DataFrame, golden: dict) -> None:
    assert table["group_a"].tolist() == np.ravel(golden["a"]).tolist()
    assert table["group_b"].tolist() == np.ravel(golden["b"]).tolist()
    for ours, theirs in {
        "difference_days": "difference",
        "se": "se",
        "ci_low": "lower",
        "ci_high": "upper",
        "p_value": "p",
        "p_adjusted": "holm",
    }.items():
        near(table[ours], np.ravel(golden[theirs]))


def test_rmst_differences_equal_survfit(r: dict, ties: RiskTable) -> None:
    same_differences(rmst_differences(ties, "group", r["rmst"]["ties"]["tau"]), r["rmst"]["ties"])
    lung = lifelines.datasets.load_lung().assign(start=0)
    rt = RiskTable.from_intervals(lung, "start", "time", "status", ("sex",))
    same_differences(rmst_differences(rt, "sex", 365), r["rmst"]["lung"])


def test_rmst_differences_of_the_reference() -> None:
    lung = lifelines.datasets.load_lung().assign(start=0)
    found = rmst_differences(RiskTable.from_intervals(lung, "start", "time", "status", ("sex",)), "sex", 365).iloc[0]
    near([found["difference_days"], found["se"]], [241.495085 - 297.465410, math.hypot(10.358226, 10.791324)])
    waltons = lifelines.datasets.load_waltons().assign(start=0)
    rt = RiskTable.from_intervals(waltons, "start", "T", "E", ("group",))
    found = rmst_differences(rt, "group", 10).iloc[0]
    # The reference lists the means to five decimals and six.
    assert found["difference_days"] == pytest.approx(9.97674 - 9.79412, abs=1e-5)
    assert found["se"] == pytest.approx(math.hypot(0.0231655, 0.1232449), rel=1e-6)
    assert (found["group_a"], found["group_b"]) == ("control", "miR-137")


half_days = st.integers(0, 12).map(lambda k: k / 2)
row = st.tuples(half_days, half_days, st.sampled_from([0, 1, 2]), st.sampled_from("abc"), st.sampled_from("xy"))
rows_of = st.lists(row, min_size=1, max_size=20)
COLUMNS = ["start", "length", "cause", "group", "stratum"]


def table_of(rows: list[tuple], unit: float = 1.0) -> RiskTable:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["start"] = frame["start"].where(frame["start"] < 4, 0.0)
    frame["stop"] = frame["start"] + np.where(frame["start"] > 0, frame["length"] + 0.5, frame["length"])
    frame[["start", "stop"]] *= unit
    return RiskTable.from_intervals(frame, "start", "stop", "cause", ("group", "stratum"))


@given(rows_of, st.sampled_from([(), "stratum"]), st.sampled_from([None, 1]))
@settings(max_examples=40)
def test_a_pair_is_the_test_of_the_rows_of_two(rows: list, strata: str | tuple[()], cause: int | None) -> None:
    if not any(row[2] == 1 for row in rows):
        cause = None
    table = pairwise_logrank(table_of(rows), "group", strata=strata, cause=cause)
    groups = sorted({row[3] for row in rows})
    assert list(zip(table["group_a"], table["group_b"], strict=True)) == list(itertools.combinations(groups, 2))
    for line in table.itertuples():
        two = [row for row in rows if row[3] in (line.group_a, line.group_b)]
        if cause is not None and not any(row[2] == 1 for row in two):
            assert math.isnan(line.chi2)
            continue
        alone = logrank(table_of(two), "group", strata, cause=cause)
        assert line.chi2 == pytest.approx(alone.chi2, rel=1e-9, nan_ok=True)
        assert line.p_value == pytest.approx(alone.p_value, rel=1e-9, nan_ok=True)
    np.testing.assert_array_equal(table["p_adjusted"], adjust_p_values(table["p_value"], "holm"))


@given(rows_of, st.sampled_from([0.25, 3.0]))
@settings(max_examples=40)
def test_differences_follow_from_the_means_and_scale_with_time(rows: list, unit: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)  # random rows often end before tau
        means = rmst(table_of(rows).pool("group"), 3).set_index("group")
        table = rmst_differences(table_of(rows), "group", 3)
        scaled = rmst_differences(table_of(rows, unit), "group", 3 * unit)
    for line in table.itertuples():
        a, b = means.loc[line.group_a], means.loc[line.group_b]
        assert line.difference_days == pytest.approx(a["estimate"] - b["estimate"], abs=1e-12, nan_ok=True)
        assert line.se == pytest.approx(math.hypot(a["se"], b["se"]), rel=1e-12, nan_ok=True)
    np.testing.assert_allclose(scaled["difference_days"], unit * table["difference_days"], atol=1e-12)
    np.testing.assert_allclose(scaled["se"], unit * table["se"], rtol=1e-12)
    np.testing.assert_allclose(scaled["p_value"], table["p_value"], rtol=1e-6)


def test_each_row_a_cluster_is_greenwood(ties: RiskTable) -> None:
    frame = pd.read_csv(GOLDEN / "survival_ties.csv").assign(start=0)
    frame["id"] = frame.index
    rt = RiskTable.from_intervals(frame, "start", "time", "cause", ("id", "group"))
    with pytest.warns(MicroconvWarning, match="fewer than 20 clusters"):  # group d has few users
        ours = rmst_differences(rt, "group", 6, cluster="id")
    pd.testing.assert_frame_equal(ours, rmst_differences(ties, "group", 6), rtol=1e-9)


def test_the_same_users_in_both_groups(r: dict) -> None:
    repeats = pd.DataFrame(r["clusters"]["repeats"]).assign(zero=0)
    rt = RiskTable.from_intervals(repeats, "zero", "gap", "cause", ("visit", "id", "device"))
    golden = r["clusters"]["difference"]
    found = rmst_differences(rt, "visit", golden["tau"], cluster="id").iloc[0]
    near([found["difference_days"], found["se"]], [golden["difference"], golden["se"]])


def test_time_lost_to_one_cause_is_what_the_mean_lacks(r: dict) -> None:
    repeats = pd.DataFrame(r["clusters"]["repeats"]).assign(zero=0)
    repeats["any"] = repeats["cause"] > 0
    rt = RiskTable.from_intervals(repeats, "zero", "gap", "any", ("visit", "id"))
    for cluster in (None, "id"):
        lost = time_lost_differences(rt, "visit", 9, True, cluster=cluster).iloc[0]
        mean = rmst_differences(rt, "visit", 9, cluster=cluster).iloc[0]
        wanted = mean[["difference_days", "se", "p_value"]].astype(float)
        near([-lost["difference_days"], lost["se"], lost["p_value"]], wanted)


def test_time_lost_differences_follow_from_the_times_lost(ties: RiskTable) -> None:
    single = time_lost(ties.pool("group"), 6).query("cause == 2").set_index("group")
    for line in time_lost_differences(ties, "group", 6, 2).itertuples():
        a, b = single.loc[line.group_a], single.loc[line.group_b]
        near([line.difference_days, line.se], [a["estimate"] - b["estimate"], math.hypot(a["se"], b["se"])])
    with pytest.raises(ParameterError, match=r"Unknown cause 9\."):
        time_lost_differences(ties, "group", 6, 9)


def test_tau_that_a_group_does_not_reach() -> None:
    frame = pd.DataFrame({"start": 0, "stop": [1, 9, 2, 3, 4, 9], "cause": [1, 0, 1, 0, 1, 0], "group": list("aabbcc")})
    rt = RiskTable.from_intervals(frame, "start", "stop", "cause", ("group",))
    with pytest.warns(MicroconvWarning, match=r"ends before tau=8 days in 1 of 3 groups"):
        table = rmst_differences(rt, "group", 8)
    assert table.set_index(["group_a", "group_b"])["difference_days"].isna().tolist() == [True, False, True]
    assert table["p_adjusted"].isna().tolist() == [True, False, True]
    assert table["p_adjusted"][1] == table["p_value"][1]


def test_one_group_has_no_pair(ties: RiskTable) -> None:
    one = ties.pool("stratum")
    frame = one.frame[one.frame["stratum"] == "x"]
    alone = RiskTable.from_counts(frame, ("stratum",), one.causes)
    tests, differences = pairwise_logrank(alone, "stratum"), rmst_differences(alone, "stratum", 3)
    assert list(tests.columns) == ["group_a", "group_b", "chi2", "p_value", "p_adjusted"]
    assert tests.empty
    assert differences.empty
    assert list(differences.columns)[2:4] == ["difference_days", "se"]


def test_several_columns_make_a_group(ties: RiskTable) -> None:
    table = pairwise_logrank(ties, ["group", "stratum"])
    assert table["group_a"][0] == ("a", "x")
    assert len(table) == math.comb(len(ties.blocks()), 2)


def test_errors(ties: RiskTable) -> None:
    with pytest.raises(ParameterError, match=r"Unknown pattern column 'grup'\. Did you mean 'group'"):
        rmst_differences(ties, "grup", 3)
    with pytest.raises(ParameterError, match=r"Unknown pattern column 'id'"):
        rmst_differences(ties, "group", 3, cluster="id")
    with pytest.raises(ParameterError, match="must name at least one pattern column"):
        rmst_differences(ties, [], 3)
    with pytest.raises(ParameterError, match="and not cluster='group'"):
        rmst_differences(ties, "group", 3, cluster="group")
    with pytest.raises(ParameterError, match="tau=2 must be later than start_days=3"):
        rmst_differences(ties, "group", 2, start_days=3)
    with pytest.raises(ParameterError, match="Unknown method 'fdr'"):
        pairwise_logrank(ties, "group", method="fdr")
    with pytest.raises(ParameterError, match="Unknown method 'fdr'"):
        rmst_differences(ties, "group", 3, method="fdr")
