"""The chain of touches against exact fractions, a simulation of it, and what must not change anything."""

from __future__ import annotations

import itertools
from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from path_builder import Path, path_sums

from microconv import stats
from microconv.errors import ParameterError
from microconv.path_sums import CONVERSION, NULL, START
from microconv.stats import path_chain

ABC = ("A", "B", "C")
TOY: list[Path] = [
    (("A", "B", "C"), 3, 30, 1, 0),
    (("A",), 1, 5, 4, 0),
    (("B", "B", "A"), 2, 40, 0, 0),
    (("C", "A"), 0, 0, 5, 0),
    (("B",), 1, 10, 3, 0),
]
PATHS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(ABC), min_size=1, max_size=5).map(tuple),
        st.integers(0, 4),
        st.integers(0, 90),
        st.integers(0, 4),
        st.integers(0, 3),
    ).map(lambda row: (row[0], row[1], row[2] if row[1] else 0, row[3], row[4])),
    min_size=1,
    max_size=8,
)

State = tuple[str, ...]


def by_fractions(paths: list[Path], order: int) -> dict[str, Any]:
    """Chance and expected value from the start, with all channels (None) and without each, by elimination."""
    steps: dict[State, dict[State | str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    money: dict[State, Fraction] = defaultdict(Fraction)
    for touches, conversions, value, nulls, _ in paths:
        states = [(), *(touches[max(0, i + 1 - order) : i + 1] for i in range(len(touches)))]
        count = Fraction(conversions) + Fraction(nulls)
        if not count:
            continue
        for source, target in itertools.pairwise(states):
            steps[source][target] += count
        steps[states[-1]]["conversion"] += Fraction(conversions)
        steps[states[-1]]["null"] += Fraction(nulls)
        money[states[-1]] += Fraction(value)

    def arrivals(removed: str | None) -> tuple[Fraction, Fraction]:
        kept = [state for state in steps if removed not in state]
        rows = []
        for state in kept:
            leaving = sum(steps[state].values())
            row = [Fraction(int(state == other)) - steps[state].get(other, Fraction(0)) / leaving for other in kept]
            rows.append([*row, steps[state]["conversion"] / leaving, money[state] / leaving])
        for i in range(len(kept)):
            pivot = next(j for j in range(i, len(kept)) if rows[j][i])
            rows[i], rows[pivot] = rows[pivot], rows[i]
            rows[i] = [entry / rows[i][i] for entry in rows[i]]
            for j in range(len(kept)):
                if j != i and rows[j][i]:
                    rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
        at = kept.index(())
        return rows[at][-2], rows[at][-1]

    return {name: arrivals(name) for name in (None, *ABC)}


def effects(paths: list[Path], order: int = 1, channels: tuple[str, ...] = ABC) -> pd.DataFrame:
    return stats.removal_effects(path_sums(paths, channels).transitions[order], channels, order)


def test_the_toy_has_its_fractions() -> None:
    found = effects(TOY)
    exact = [Fraction(59, 105), Fraction(25, 56), Fraction(313, 532)]
    assert found["removal_effect"].tolist() == pytest.approx([float(part) for part in exact], rel=1e-13)
    credits = [float(part / sum(exact) * 7) for part in exact]
    assert credits == pytest.approx([2.463446, 1.957187, 2.579367], abs=5e-7)
    for model, wanted in (("markov", credits), ("markov2", [2.8, 2.8, 1.4])):
        table = stats.credited(path_sums(TOY, ABC), [model])
        assert table["conversions"].tolist() == pytest.approx([*wanted, 0.0], rel=1e-12)


@settings(max_examples=60)
@given(paths=PATHS, order=st.sampled_from([1, 2, 3]))
def test_removal_effects_are_those_of_elimination_in_fractions(paths: list[Path], order: int) -> None:
    if not any(row[1] + row[3] for row in paths):
        assert effects(paths, order)[["removal_effect", "reach"]].isna().all(axis=None)
        return
    exact = by_fractions(paths, order)
    found = effects(paths, order).set_index("channel")
    for column, name in enumerate(("removal_effect", "removal_effect_value")):
        whole = exact[None][column]
        for channel in ABC:
            wanted = float(1 - exact[channel][column] / whole) if whole else np.nan
            assert found.loc[channel, name] == pytest.approx(wanted, rel=1e-10, abs=1e-12, nan_ok=True)


@settings(max_examples=60)
@given(paths=PATHS, order=st.sampled_from([1, 2, 3]))
def test_the_chain_converts_as_often_as_the_paths(paths: list[Path], order: int) -> None:
    conversions, nulls = sum(row[1] for row in paths), sum(row[3] for row in paths)
    rate = stats.chain_conversion_rate(path_sums(paths, ABC).transitions[order], ABC, order)
    wanted = conversions / (conversions + nulls) if conversions + nulls else np.nan
    assert rate == pytest.approx(wanted, rel=1e-11, abs=1e-13, nan_ok=True)


@settings(max_examples=40)
@given(paths=PATHS, order=st.sampled_from([1, 2, 3]), turn=st.permutations(range(3)), random=st.randoms())
def test_renaming_shuffling_and_merging_change_nothing(
    paths: list[Path], order: int, turn: list[int], random: Any
) -> None:
    new = dict(zip(ABC, (f"name {i}" for i in turn), strict=True))
    renamed = [(tuple(new[name] for name in row[0]), *row[1:]) for row in paths]
    random.shuffle(renamed)
    merged: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for touches, conversions, value, nulls, _ in renamed:
        for place, amount in enumerate((conversions, value, nulls)):
            merged[touches][place] += amount
    names = tuple(sorted(new.values()))
    before = effects(paths, order).assign(channel=lambda table: table["channel"].map(new)).set_index("channel")
    after = effects([(key, *row, 0) for key, row in merged.items()], order, names).set_index("channel")
    pd.testing.assert_frame_equal(before.loc[list(names)], after, rtol=1e-9, atol=1e-12)


def test_a_simulation_of_the_chain_loses_as_much() -> None:
    table = path_sums(TOY, ABC).transitions[2]
    base, walks, rng = 4, 60_000, np.random.default_rng(3)
    onward = {
        int(source): (part["target"].to_numpy(), (part["paths"] / part["paths"].sum()).to_numpy())
        for source, part in table.groupby("source")
    }

    def converts(removed: int) -> float:
        state = np.full(walks, START)
        while (state >= 0).any():
            for code in np.unique(state[state >= 0]):
                here = np.flatnonzero(state == code)
                state[here] = rng.choice(onward[int(code)][0], size=len(here), p=onward[int(code)][1])
            holds = (state >= 0) & ((state % base == removed) | (state // base == removed))
            state[holds] = NULL
        return float((state == CONVERSION).mean())

    whole = 0.35
    for channel, effect in enumerate(effects(TOY, 2)["removal_effect"], start=1):
        left = whole * (1 - effect)
        assert converts(channel) == pytest.approx(left, abs=4 * np.sqrt(left * (1 - left) / walks))


def test_reach_is_the_share_of_paths_with_the_channel_where_memory_is_long_enough() -> None:
    found = effects(TOY, 3)  # no path of the toy has more than three touches
    assert found["reach"].tolist() == pytest.approx([16 / 20, 10 / 20, 9 / 20], rel=1e-12)


def test_names_do_instead_of_numbers() -> None:
    table = path_sums(TOY, ABC).transitions[1]
    names = {START: "(start)", CONVERSION: "(conversion)", NULL: "(null)", 1: "A", 2: "B", 3: "C"}
    named = table.assign(source=table["source"].map(names), target=table["target"].map(names))
    by_name = stats.removal_effects(named).set_index("channel").loc[list(ABC)].reset_index()
    pd.testing.assert_frame_equal(by_name, effects(TOY), rtol=1e-12)
    without = stats.removal_effects(named.drop(columns="value"))
    assert without["removal_effect_value"].isna().all()
    assert stats.chain_conversion_rate(named) == pytest.approx(0.35, rel=1e-12)
    with pytest.raises(ParameterError, match="must be text"):
        stats.removal_effects(table)
    with pytest.raises(ParameterError, match="order=2 needs channels="):
        stats.removal_effects(named, order=2)


def test_channels_on_no_path_and_channels_in_null_paths_only_lose_nothing() -> None:
    paths: list[Path] = [(("A",), 3, 6, 1, 0), (("B",), 0, 0, 4, 0)]
    assert effects(paths)["removal_effect"].tolist() == [1.0, 0.0, 0.0]
    assert effects(paths)["reach"].tolist() == pytest.approx([0.5, 0.5, 0.0])


def steps(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source", "target", "paths"]).assign(value=0.0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (steps((0, 1, 2), (1, -1, -2)), "row 1"),
        (steps((0, 1, 2), (1, -1, np.nan)), "row 1"),
        (steps((0, 7, 2), (7, -1, 2)), "row 0"),
        (steps((0, 1, 2), (1, 0, 2)), "no path goes back"),
        (steps((0, 1, 2), (1, 2, 2)), "from the state 2 no path ever ends"),
        (steps((0, 1, 2), (1, 1, 2)), "from the state 1 no path ever ends"),
        (steps((1, -1, 2)), "no path begins"),
        (steps((0, 1, 2), (1, -1, 2)).astype({"source": float}), "whole numbers"),
        (steps((0, 1, 2), (1, -1, 2)).drop(columns="paths"), "'paths'"),
    ],
)
def test_what_is_no_chain_is_refused(table: pd.DataFrame, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        stats.removal_effects(table, ABC)


def test_orders_and_channels_are_checked() -> None:
    table = path_sums(TOY, ABC).transitions[1]
    for order in (0, 4, True, "2"):
        with pytest.raises(ParameterError, match="must be 1, 2 or 3"):
            stats.removal_effects(table, ABC, order)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="each channel once"):
        stats.removal_effects(table, ("A", "A", "B"))


def chain_of(paths: list[Path], order: int, buckets: int) -> path_chain.Chain:
    table = path_sums(paths, ABC).transitions[order]
    return path_chain.Chain.from_transitions(table, 3, order, table["bucket"].to_numpy(), buckets)


def many_paths(seed: int, users: int, buckets: int) -> list[Path]:
    rng = np.random.default_rng(seed)
    found: list[Path] = []
    for user in range(users):
        touches = tuple(rng.choice(ABC, size=rng.integers(1, 6), p=[0.5, 0.3, 0.2]).tolist())
        done = bool(rng.random() < 0.1 + 0.2 * ("C" in touches))
        found.append((touches, int(done), float(rng.integers(1, 50)) * done, int(not done), user % buckets))
    return found


@pytest.mark.parametrize("order", [1, 2, 3])
def test_large_chains_are_linear_in_the_weights_as_small_ones_are_for_small_changes(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = chain_of(many_paths(1, 2_000, 20), order, 20)
    change = np.random.default_rng(0).normal(size=(3, 20)) * 1e-5
    exact = chain.losses(1 + change) - chain.losses(1 - change)
    at_one = chain.losses(np.ones((1, 20)))
    monkeypatch.setattr(path_chain, "_DENSE_STATES", 1)
    linear = chain.losses(1 + change) - chain.losses(1 - change)
    assert linear == pytest.approx(exact, rel=1e-4, abs=1e-9)
    assert chain.losses(np.ones((1, 20))) == pytest.approx(at_one, rel=1e-12)


def test_large_chains_have_the_errors_of_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = path_sums(many_paths(2, 6_000, 128), ABC)
    exact = stats.credited(sums, ["markov", "markov2", "markov3"])
    monkeypatch.setattr(path_chain, "_DENSE_STATES", 1)
    linear = stats.credited(sums, ["markov", "markov2", "markov3"])
    for name in ("conversions", "value", "rank"):
        assert linear[name].tolist() == pytest.approx(exact[name].tolist(), rel=1e-11, nan_ok=True)
    for low, high in (("ci_low", "ci_high"), ("value_ci_low", "value_ci_high")):
        width = (exact[high] - exact[low]).tolist()
        assert (linear[high] - linear[low]).tolist() == pytest.approx(width, rel=0.05)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_following_paths_step_by_step_is_as_exact_as_factors(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = path_sums(many_paths(3, 500, 1), ABC).transitions[order]
    factored = stats.removal_effects(table, ABC, order)
    monkeypatch.setattr(path_chain, "_FACTORED_STATES", 1)
    pd.testing.assert_frame_equal(stats.removal_effects(table, ABC, order), factored, rtol=1e-12)
    # Too few steps for these paths: the factors answer instead of a number that is not there yet.
    monkeypatch.setattr(path_chain, "_STEPS", 2)
    pd.testing.assert_frame_equal(stats.removal_effects(table, ABC, order), factored, rtol=1e-12)
