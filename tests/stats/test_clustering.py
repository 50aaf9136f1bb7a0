"""Clusters of patterns and the rates of groups: golden numbers, planted truth, worlds without any difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from microconv.counts import RiskTable
from microconv.errors import ParameterError
from microconv.stats.clustering import adjusted_rand, cluster_patterns
from microconv.stats.group_rates import group_rates
from microconv.stats.log_rank import logrank
from microconv.stats.survival import kaplan_meier, survival_at


def test_adjusted_rand_is_that_of_the_paper_and_of_pairs() -> None:
    # Hubert and Arabie's measure counts pairs of users; here each pair by hand.
    rng = np.random.default_rng(5)
    one, other = rng.integers(0, 3, 40), rng.integers(0, 4, 40)
    both = mine = theirs = pairs = 0
    for i in range(40):
        for j in range(i):
            a, b = one[i] == one[j], other[i] == other[j]
            both, mine, theirs, pairs = both + (a and b), mine + a, theirs + b, pairs + 1
    expected = mine * theirs / pairs
    by_hand = (both - expected) / ((mine + theirs) / 2 - expected)
    assert adjusted_rand(one, other) == pytest.approx(by_hand, rel=1e-12)
    keys, inverse, count = np.unique(np.column_stack([one, other]), axis=0, return_inverse=True, return_counts=True)
    assert adjusted_rand(keys[:, 0], keys[:, 1], count) == pytest.approx(by_hand, rel=1e-12)
    assert adjusted_rand(one, one) == 1
    assert len(inverse) == 40


def _counted(
    chances: list[list[float]], users: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sort = rng.integers(0, len(chances), users)
    done = (rng.random((users, len(chances[0]))) < np.array(chances)[sort]).astype(int)
    patterns, inverse, count = np.unique(done, axis=0, return_inverse=True, return_counts=True)
    return patterns, count, inverse.ravel(), sort


PLANTED = [[0.95, 0.95, 0.05, 0.05, 0.05, 0.05], [0.05, 0.05, 0.95, 0.95, 0.05, 0.05], [0.05] * 4 + [0.95, 0.95]]


def test_planted_clusters_come_back_whatever_the_order_of_rows() -> None:
    patterns, count, inverse, sort = _counted(PLANTED, 3_000, 1)
    found = cluster_patterns(patterns, count)
    assert found.many == 3
    assert adjusted_rand(found.label[inverse], sort) > 0.9
    order = np.random.default_rng(2).permutation(len(patterns))
    again = cluster_patterns(patterns[order], count[order])
    assert (again.label == found.label[order]).all()
    pd.testing.assert_frame_equal(again.stability, found.stability)
    sizes = np.bincount(found.label, count)
    assert (np.diff(sizes) <= 0).all()


def test_columns_that_have_nothing_to_do_with_each_other_form_no_clusters() -> None:
    chosen = []
    for seed in range(10):
        patterns, count, _, _ = _counted([[0.3, 0.2, 0.5, 0.1, 0.4, 0.15]], 2_000, seed)
        found = cluster_patterns(patterns, count, seed=seed, most=6, resamples=10)
        chosen.append(found.many)
        table = found.stability
        assert (abs(table["explained"] - table["explained_independent"]) < 0.06).all()
    assert chosen.count(1) >= 8


@pytest.mark.parametrize(
    ("patterns", "count", "more", "said"),
    [
        ([[0, 1]], [3], {}, "one pattern"),
        ([[0, 1], [0, 1]], [3, 4], {}, "same pattern"),
        ([[0, 1], [1, 1]], [3, 0], {}, "above 0"),
        ([[0, 1], [1, 1]], [3], {}, "shape"),
        ([[0, 1], [1, 1]], [3, 4], {"clusters": 3}, "from 2"),
        ([[0, 1], [1, 1]], [3, 4], {"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    patterns: list[list[int]], count: list[int], more: dict[str, int], said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        cluster_patterns(patterns, count, **more)


def _world(rng: np.random.Generator, rates: list[float], users: int, compete: float = 0.005) -> RiskTable:
    group = rng.integers(0, len(rates), users)
    buy = rng.exponential(1 / np.array(rates)[group])
    leave = rng.exponential(1 / compete, users)
    seen = rng.uniform(20, 60, users)
    stop = np.minimum.reduce([buy, leave, seen, np.full(users, 30.0)])
    cause = np.where(stop == buy, "buy", np.where(stop == leave, "leave", None))
    frame = pd.DataFrame({"start": 0.0, "stop": stop, "cause": cause, "group": group})
    return RiskTable.from_intervals(frame, "start", "stop", "cause", ["group"])


def test_rates_of_groups_are_those_of_the_curves_and_add_up() -> None:
    rng = np.random.default_rng(7)
    rt = _world(rng, [0.01, 0.01, 0.03], 1_500, compete=1e-9)
    rt = RiskTable.from_counts(rt.frame.assign(d_leave=0.0), ("group",), ("buy", "leave"))
    table = group_rates(rt, "group", 30.0, cause="buy")
    curve = survival_at(kaplan_meier(rt, cause="buy"), 30.0)
    assert table["rate"].to_numpy() == pytest.approx(1 - curve["survival"].to_numpy(), rel=1e-12)
    assert table["ci_low"].to_numpy() == pytest.approx(1 - curve["ci_high"].to_numpy(), rel=1e-9)
    whole = 1 - survival_at(kaplan_meier(rt.pool(), cause="buy"), 30.0)["survival"][0]
    assert table["share"] @ table["shrunk_rate"] == pytest.approx(whole, rel=1e-9)
    two = RiskTable.from_counts(rt.frame.assign(group=(rt.frame["group"] == 2).astype(int)), ("group",), rt.causes)
    assert table["p_value"][2] == pytest.approx(logrank(two, "group", cause="buy").p_value)
    assert table["q_value"][2] < 0.05
    assert (table["difference_ci_low"] < table["difference"]).all()


def test_no_event_has_the_limit_of_the_rule_of_three() -> None:
    users = pd.DataFrame({"start": 0.0, "stop": 30.0, "cause": [None] * 100 + ["buy"] * 20, "g": [0] * 100 + [1] * 20})
    users.loc[100:, "stop"] = 5.0
    rt = RiskTable.from_intervals(users, "start", "stop", "cause", ["g"])
    table = group_rates(rt, "g", 30.0, cause="buy")
    assert table.loc[0, "rate"] == 0
    assert table.loc[0, "ci_high"] == pytest.approx(1 - 0.05 ** (1 / 100))
    assert table.loc[1, "median_days"] == 5.0


@pytest.mark.slow
def test_random_groups_are_found_different_as_often_as_stated() -> None:
    rng = np.random.default_rng(11)
    false_raw, false_any, covered, n = 0, 0, 0, 0
    worlds = 500
    for _ in range(worlds):
        table = group_rates(_world(rng, [0.008] * 5, 300), "group", 30.0, cause="buy")
        false_raw += int((table["p_value"] < 0.05).sum())
        false_any += int((table["q_value"] < 0.05).any())
        truth = 0.008 / 0.013 * (1 - np.exp(-0.013 * 30))
        covered += int(((table["ci_low"] <= truth) & (truth <= table["ci_high"])).sum())
        n += len(table)
    # 99.9 % limits of a binomial around 5 % of 2,500 tests that hang together, and of 500 worlds.
    assert 0.03 < false_raw / n < 0.07
    assert false_any / worlds < 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / worlds)
    assert 0.93 < covered / n < 0.97
