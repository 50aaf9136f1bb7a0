"""What models credit: totals that are conserved, intervals of the division, ranks, and odd tables of paths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from path_builder import Path, path_sums
from scipy.stats import t

from microconv import stats
from microconv.errors import ParameterError
from microconv.path_sums import PathSums
from microconv.stats.attribution import COLUMNS, OVERLAP, UNATTRIBUTED
from microconv.stats.path_bootstrap import part_limits

ABC = ("A", "B", "C")
RULES = ["first", "last", "linear", "linear_unique", "position", "any_touch"]
CHAINS = ["markov", "markov2", "markov3"]
ALL = [*RULES, *CHAINS, "shapley"]
TOY: list[Path] = [
    (("A", "B", "C"), 3, 30, 1, 0),
    (("A",), 1, 5, 4, 0),
    (("B", "B", "A"), 2, 40, 0, 0),
    (("C", "A"), 0, 0, 5, 0),
    (("B",), 1, 10, 3, 0),
]
PATHS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(ABC), max_size=4).map(tuple),
        st.sampled_from([0, 1, 2, 2.5]),
        st.integers(-30, 90),
        st.integers(0, 4),
        st.integers(0, 5),
    ).map(lambda row: (row[0], row[1], row[2] if row[1] else 0, row[3], row[4])),
    min_size=1,
    max_size=9,
)


def wide(table: pd.DataFrame, column: str = "conversions") -> pd.DataFrame:
    return table.pivot(index="channel", columns="model", values=column)


def crowd(seed: int, users: int, *, extra: float = 0.2) -> list[Path]:
    """Users who each have a path; C does something."""
    rng = np.random.default_rng(seed)
    found: list[Path] = []
    for user in range(users):
        touches = tuple(rng.choice(ABC, size=rng.integers(0, 5), p=[0.5, 0.3, 0.2]).tolist())
        done = bool(rng.random() < 0.1 + extra * ("C" in touches))
        found.append((touches, int(done), float(rng.integers(1, 50)) * done, int(not done), user % 256))
    return found


def test_the_toy_by_every_model() -> None:
    table = stats.credited(path_sums([*TOY, ((), 2, 8, 0, 0)], ABC), ALL)
    assert table.columns.tolist() == list(COLUMNS)
    found = wide(table)
    third = 1 / 3
    exact = {
        "first": [4, 3, 0],
        "last": [3, 1, 3],
        "linear": [8 * third, 10 * third, 1],
        "linear_unique": [3, 3, 1],
        "position": [3, 2.8, 1.2],
        "any_touch": [6, 6, 3],
        "markov": [2.463446, 1.957187, 2.579367],
        "markov2": [2.8, 2.8, 1.4],
        "shapley": [3, 3, 1],
    }
    for model, wanted in exact.items():
        assert found.loc[list(ABC), model].tolist() == pytest.approx(wanted, abs=5e-7 if model == "markov" else 1e-12)
    assert (found.loc[UNATTRIBUTED] == 2).all()
    assert found.loc[OVERLAP].dropna().to_dict() == {"any_touch": -8}
    assert wide(table, "value").loc[UNATTRIBUTED].tolist() == [8] * len(ALL)
    assert wide(table, "share").loc["A", "first"] == pytest.approx(4 / 9)
    assert wide(table, "rank").loc[[*ABC, UNATTRIBUTED], "shapley"].tolist() == pytest.approx(
        [1, 1, 3, np.nan], nan_ok=True
    )


@settings(max_examples=80)
@given(paths=PATHS, game=st.sampled_from(["conversions", "rate"]))
def test_totals_are_conserved_for_conversions_and_value(paths: list[Path], game: str) -> None:
    table = stats.credited(path_sums(paths, ABC), ALL, game=game, replicates=5)
    sums = table.groupby("model")[["conversions", "value"]].sum()
    assert sums["conversions"].tolist() == pytest.approx([sum(row[1] for row in paths)] * len(ALL), abs=1e-10)
    assert sums["value"].tolist() == pytest.approx([sum(row[2] for row in paths)] * len(ALL), abs=1e-9)
    parts = table[(table["channel"] != OVERLAP) & ((table["model"] != "shapley") | (game == "conversions"))]
    assert (parts["conversions"] >= 0).all()


@settings(max_examples=30)
@given(paths=PATHS, random=st.randoms())
def test_row_order_changes_nothing(paths: list[Path], random: Any) -> None:
    sums = path_sums(paths, ABC)
    shuffled = replace(
        sums,
        totals=sums.totals.sample(frac=1, random_state=random.randrange(99)),
        credits=sums.credits.sample(frac=1, random_state=random.randrange(99)),
        transitions={k: part.sample(frac=1, random_state=random.randrange(99)) for k, part in sums.transitions.items()},
        sets=sums.sets.sample(frac=1, random_state=random.randrange(99)) if sums.sets is not None else None,
    )
    before, after = (stats.credited(part, ALL, replicates=20) for part in (sums, shuffled))
    columns = ["channel", "model", "conversions", "value", "share", "rank"]
    pd.testing.assert_frame_equal(before[columns], after[columns], rtol=1e-9, atol=1e-9)


def test_same_seed_same_numbers_and_the_seed_counts() -> None:
    sums = path_sums(crowd(0, 1_500), ABC)
    first = stats.credited(sums, ALL, replicates=200)
    pd.testing.assert_frame_equal(first, stats.credited(sums, ALL, replicates=200))
    other = stats.credited(sums, ALL, replicates=200, seed=1)
    assert first["conversions"].equals(other["conversions"])
    assert not first["ci_low"].equals(other["ci_low"])


def test_the_interval_of_a_share_is_that_of_a_proportion_of_conversions() -> None:
    # One touch each: the division is a multinomial, whose error is known.
    rng = np.random.default_rng(5)
    names = rng.choice(ABC, size=5_000, p=[0.6, 0.3, 0.1])
    sums = path_sums([((str(name),), 1, 10, 0, i % 256) for i, name in enumerate(names)], ABC)
    table = stats.credited(sums, ["linear", "markov", "shapley"], replicates=4_000)
    share = table["share"].to_numpy()
    assert share[3::4].tolist() == [0, 0, 0]
    share, table = share[share > 0], table[table["share"] > 0]
    wanted = 2 * t.ppf(0.975, 255) / np.sqrt(5_000 * share * (1 - share))  # on the logit scale
    low, high = table["ci_low"] / 5_000, table["ci_high"] / 5_000
    width = np.log(high / (1 - high)) - np.log(low / (1 - low))
    # The spread of 256 buckets and that of 4,000 draws have errors of 4.4 % and 1.1 %.
    assert width.tolist() == pytest.approx(wanted.tolist(), rel=0.15)
    assert table["value_ci_low"].tolist() == pytest.approx((table["ci_low"] * 10).tolist())


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth = wide(stats.credited(path_sums([(*row[:4], 0) for row in crowd(10**6, 40_000)], ABC), ALL), "share")
    inside = pd.DataFrame(0, index=truth.index, columns=truth.columns)
    logs = 120
    for seed in range(logs):
        table = stats.credited(path_sums(crowd(seed, 1_200), ABC), ALL, replicates=200)
        whole = table.loc[table["model"] == "linear", "conversions"].sum()
        inside += (wide(table, "ci_low") / whole <= truth) & (truth <= wide(table, "ci_high") / whole)
    inside = inside.drop(index=OVERLAP)
    # Of 120 logs 95 % is 114: 104 or fewer would come once in 10,000 times; and on average over models and channels.
    assert inside.to_numpy().min() > 104, inside
    assert 0.93 < inside.to_numpy().mean() / logs < 0.98, inside


def test_nothing_and_everything_have_the_rule_of_three() -> None:
    rng = np.random.default_rng(0)
    paths: list[Path] = [(("A",), 1, 20, 0, int(bucket)) for bucket in rng.integers(0, 256, size=90)]
    paths += [(("B",), 0, 0, 1, int(bucket)) for bucket in rng.integers(0, 256, size=50)]
    table = stats.credited(path_sums(paths, ABC), ["last", "markov", "shapley"], replicates=300)
    three = -np.log(0.05)
    for _, rows in table.groupby("model"):
        rows = rows.set_index("channel")
        assert rows.loc["A", ["ci_low", "ci_high"]].tolist() == pytest.approx([90 - three, 90])
        for name in ("B", "C", UNATTRIBUTED):
            assert rows.loc[name, ["ci_low", "ci_high"]].tolist() == pytest.approx([0, three])
            assert rows.loc[name, ["value_ci_low", "value_ci_high"]].tolist() == pytest.approx([0, 20 * three])
        assert rows["rank"].tolist() == pytest.approx([1, 2, 2, np.nan], nan_ok=True)
        assert rows["rank_stability"].tolist() == pytest.approx([1, 1, 1, np.nan], nan_ok=True)


def test_ranks_are_as_stable_as_channels_are_apart() -> None:
    # B has 100 of 200 and C 100: which is ahead is a coin's toss; A is far behind.
    rng = np.random.default_rng(1)
    names = ["B"] * 100 + ["C"] * 101 + ["A"] * 5
    paths: list[Path] = [
        ((name,), 1, 0, 0, int(bucket)) for name, bucket in zip(names, rng.integers(0, 256, 206), strict=True)
    ]
    table = stats.credited(path_sums(paths, ABC), ["last"], replicates=2_000).set_index("channel")
    assert table.loc["A", "rank_stability"] == 1
    assert 0.35 < table.loc["B", "rank_stability"] < 0.65
    assert 0.35 < table.loc["C", "rank_stability"] < 0.65


def test_aggregated_paths_have_no_interval() -> None:
    table = stats.credited(path_sums(TOY, ABC), ALL)
    missing = ["ci_low", "ci_high", "value_ci_low", "value_ci_high", "rank_stability"]
    assert table[missing].isna().all(axis=None)
    assert table["conversions"].notna().all()


def test_overlap_is_below_zero_with_its_interval() -> None:
    table = stats.credited(path_sums(crowd(3, 2_000), ABC), ["any_touch"], replicates=300).set_index("channel")
    row = table.loc[OVERLAP]
    assert row["ci_low"] < row["conversions"] < row["ci_high"] < 0
    assert row["value_ci_low"] < row["value"] < row["value_ci_high"] < 0
    single = stats.credited(path_sums([(("A",), 1, 1, 1, i) for i in range(40)], ABC), ["any_touch"]).set_index(
        "channel"
    )
    assert single.loc[OVERLAP, "conversions"] == 0
    assert single.loc[OVERLAP, ["ci_low", "ci_high"]].tolist() == pytest.approx([np.log(0.05), 0])


def test_a_game_by_rate_can_take_away_and_its_interval_goes_below_zero() -> None:
    paths = [(("A",), 1, 10, 1, i) for i in range(100)] + [(("A", "B"), int(i % 9 == 0), 0, 3, i) for i in range(100)]
    paths += [(("B",), int(i % 9 == 0), 0, 9, i) for i in range(100)]
    table = stats.credited(path_sums(paths, ABC), ["shapley"], game="rate").set_index("channel")
    row = table.loc["B"]
    assert row["ci_low"] < row["conversions"] < row["ci_high"] < 0
    assert table["conversions"].sum() == pytest.approx(100 + 12 + 12)


def test_a_game_by_rate_has_no_interval_where_a_channel_has_few_conversions_of_its_own() -> None:
    paths: list[Path] = [((name,), 1, 10, 1, i) for name in "AB" for i in range(50)]
    few, enough = ([*paths, *((("C",), 1, 10, 1, i) for i in range(n))] for n in (9, 10))
    columns = ["ci_low", "ci_high", "rank_stability"]
    for rows, missing in ((few, 3), (enough, 0)):
        table = stats.credited(path_sums(rows, ABC), ["linear", "shapley"], game="rate", replicates=100)
        table = table[table["channel"] != UNATTRIBUTED].set_index("model")
        assert table.loc["shapley", columns].isna().all(axis=1).sum() == missing
        assert table.loc["linear", columns].notna().all(axis=None)
    # A channel that nobody met plays no part in it.
    assert stats.credited(path_sums(paths, ABC), ["shapley"], game="rate")["ci_low"].notna().all()


def test_without_sets_the_game_of_conversions_is_linear_by_channel() -> None:
    sums = path_sums(crowd(4, 800), ABC)
    whole, without = (stats.credited(part, ["shapley"]) for part in (sums, replace(sums, sets=None)))
    pd.testing.assert_frame_equal(whole, without, rtol=1e-9)
    with pytest.raises(ParameterError, match="needs the sets"):
        stats.credited(replace(sums, sets=None), ["shapley"], game="rate")


def test_refunds_that_cancel_do_not_blow_value_up() -> None:
    # Together 1, of parts of 100 and -99: in proportion to removal effects on value nobody could tell.
    paths: list[Path] = [(("A", "B"), 1, 100, 1, 0), (("A", "B", "C"), 1, -99, 1, 0)]
    table = wide(stats.credited(path_sums(paths, ABC), CHAINS), "value")
    assert table.sum().tolist() == pytest.approx([1, 1, 1])
    assert table.abs().max(axis=None) <= 1
    conversions = wide(stats.credited(path_sums(paths, ABC), CHAINS))
    assert (table["markov"] * 2).to_dict() == pytest.approx(conversions["markov"].to_dict())


def test_odd_tables_of_paths() -> None:
    only_untouched = stats.credited(path_sums([((), 4, 8, 0, 0), ((), 1, 1, 0, 1)], ABC), ALL, replicates=50)
    assert (wide(only_untouched).loc[list(ABC)] == 0).all(axis=None)
    assert (wide(only_untouched).loc[UNATTRIBUTED] == 5).all()
    only_nulls = stats.credited(path_sums([(("A",), 0, 0, 3, 0), (("B", "A"), 0, 0, 3, 1)], ABC), ALL, replicates=50)
    assert (only_nulls["conversions"] == 0).all()
    assert only_nulls[["share", "ci_low", "ci_high", "rank"]].isna().all(axis=None)
    one = stats.credited(path_sums([(("A", "A"), 0.5, 2.5, 0.25, 0)], ("A",)), ALL)
    assert (wide(one).loc["A"] == 0.5).all()
    none = stats.credited(path_sums([((), 2, 3, 0, 0)], ()), ALL)
    assert none["channel"].tolist() == [
        name for model in ALL for name in ([OVERLAP] if model == "any_touch" else []) + [UNATTRIBUTED]
    ]
    assert stats.credited(path_sums(TOY, ABC), []).columns.tolist() == list(COLUMNS)


def test_value_of_no_money_is_zero_and_has_no_interval() -> None:
    paths: list[Path] = [(row[0], row[1], 0, *row[3:]) for row in crowd(6, 400)]
    table = stats.credited(path_sums(paths, ABC), ALL, replicates=100)
    assert (table["value"] == 0).all()
    assert table[["value_ci_low", "value_ci_high"]].isna().all(axis=None)


def broken(sums: PathSums, **changes: Any) -> PathSums:
    return replace(sums, **changes)


def test_sums_that_do_not_fit_are_refused() -> None:
    sums = path_sums(crowd(7, 300), ABC)
    with pytest.raises(ParameterError, match=r"linear.*parts have"):
        stats.credited(broken(sums, credits=sums.credits.assign(linear=sums.credits["linear"] * 2)), ["linear"])
    with pytest.raises(ParameterError, match=r"linear.*value"):
        stats.credited(broken(sums, credits=sums.credits.assign(linear_value=0.0)), ["linear"])
    with pytest.raises(ParameterError, match="numbers from 1 to 3"):
        stats.credited(broken(sums, credits=sums.credits.assign(channel=4)), ["linear"])
    with pytest.raises(ParameterError, match="needs transitions of order 2"):
        stats.credited(broken(sums, transitions={1: sums.transitions[1]}), ["markov2"])
    with pytest.raises(ParameterError, match="a bucket that the totals lack"):
        stats.credited(broken(sums, totals=sums.totals[sums.totals["bucket"] != 3]), ["linear"])
    with pytest.raises(ParameterError, match="Did you mean 'markov'"):
        stats.credited(sums, ["markof"])
    with pytest.raises(ParameterError, match="Did you mean 'rate'"):
        stats.credited(sums, ["shapley"], game="rates")
    with pytest.raises(ParameterError, match="confidence=95"):
        stats.credited(sums, ["linear"], confidence=95)
    with pytest.raises(ParameterError, match="replicates=1 "):
        stats.credited(sums, ["linear"], replicates=1)


def test_limits_of_parts_by_their_scale() -> None:
    drawn = np.random.default_rng(0).normal(40, 5, size=4_000)
    fixed: dict[str, Any] = {"buckets": 256, "confidence": 0.95, "few": 3.0}
    low, high = part_limits(40, drawn, 100, **fixed)
    assert 0 < low < 40 < high < 100
    assert high - 40 == pytest.approx(9.9, rel=0.1)
    beyond = part_limits(98, np.clip(drawn * 2.45, 0, 100), 100, **fixed)
    assert beyond[1] < 100
    open_above = part_limits(98, drawn * 2.45, 100, bounded=False, **fixed)
    assert open_above[1] > 100
    below = part_limits(4, drawn - 36, 100, **fixed)
    assert below[0] < 0
    assert np.isnan(part_limits(4, drawn[:1], 100, **fixed)).all()
    assert np.isnan(part_limits(4, drawn, 0, **fixed)).all()
