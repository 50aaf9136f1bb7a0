"""Published packages say the same, in the numbers that ``golden/attribution_packages.py`` has from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SAID = json.loads((GOLDEN / "attribution_packages.json").read_text(encoding="utf-8"))["tables"]
RULES = ("first", "last", "linear")
CHAINS = {"1": "markov", "2": "markov2", "3": "markov3"}
# Walks through the chain that each package was told to take (ChannelAttribution: at least).
WALKS = {"ChannelAttribution": 1_000_000, "pychattr": 200_000}
ERRORS = 4.0  # standard errors; some seventy numbers are compared


@cache
def answer(table: str) -> mc.Result:
    frame = pd.DataFrame(SAID[table]["paths"], columns=["path", "conversions", "value", "nulls"])
    paths = mc.PathTable.from_paths(frame, value_col="value", null_col="nulls", sep=">")
    return mc.attribution(paths, model=[*RULES, *CHAINS.values()])


def ours(table: str, model: str) -> pd.DataFrame:
    rows = answer(table).table.query("model == @model and channel != '(unattributed)'").set_index("channel")
    return rows[["conversions", "value"]].sort_index()


def theirs(said: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(said, orient="index", columns=["conversions", "value"]).sort_index()


def errors(table: str, model: str, walks: int) -> pd.DataFrame:
    """The packages walk the chain at random and count the conversions (add up the values) of walks through a channel.

    By channel the standard error of that, over what it is: of ``n`` conversions a binomial number go through the
    channel, and values differ.
    """
    paths = pd.DataFrame(SAID[table]["paths"], columns=["path", "conversions", "value", "nulls"])
    conversions, value = paths["conversions"].sum(), paths["value"].sum()
    n = walks * conversions / (conversions + paths["nulls"].sum())
    bought = paths[paths["conversions"] > 0]
    squares = (bought["value"] ** 2 / bought["conversions"]).sum() * conversions / value**2  # 1 if all are the same
    removals = answer(table).removals.query("model == @model").set_index("channel")
    effects = removals[["removal_effect", "removal_effect_value"]].set_axis(["conversions", "value"], axis=1)
    return np.sqrt((1 - effects) / effects * [1.0, squares] / n).sort_index()


def near(table: str, model: str, said: pd.DataFrame, package: str) -> None:
    exact = ours(table, model)
    assert list(said.index) == list(exact.index)
    off = (said - exact).abs() / exact / errors(table, model, WALKS[package])
    assert (off < ERRORS).all(axis=None), off.to_string()


@pytest.mark.parametrize("table", SAID)
@pytest.mark.parametrize("rule", RULES)
def test_rules_are_the_same(table: str, rule: str) -> None:
    pd.testing.assert_frame_equal(ours(table, rule), theirs(SAID[table]["rules"][rule]), rtol=1e-8, check_names=False)


@pytest.mark.parametrize("table", SAID)
@pytest.mark.parametrize("order", CHAINS)
def test_chains_are_what_simulation_comes_to(table: str, order: str) -> None:
    near(table, CHAINS[order], theirs(SAID[table]["markov"][order]["credits"]), "ChannelAttribution")


@pytest.mark.parametrize("table", SAID)
def test_a_second_simulation_comes_to_the_same(table: str) -> None:
    near(table, "markov", theirs(SAID[table]["markov_pychattr"]), "pychattr")


def test_another_order_is_seen_to_be_another_model() -> None:
    """The comparison is fine enough to tell."""
    with pytest.raises(AssertionError):
        near("many", "markov", theirs(SAID["many"]["markov"]["2"]["credits"]), "ChannelAttribution")


@pytest.mark.slow
def test_the_committed_numbers_are_what_the_packages_say(tmp_path: Path) -> None:
    """In an environment of its own, made anew."""
    if not os.environ.get("MICROCONV_PACKAGES"):
        pytest.skip("MICROCONV_PACKAGES is not set: the published packages are not installed to be asked again")
    file = tmp_path / "said.json"
    subprocess.run([sys.executable, GOLDEN / "attribution_packages.py", "--output", file], check=True)
    again = json.loads(file.read_text(encoding="utf-8"))["tables"]
    for table, said in SAID.items():
        assert again[table]["paths"] == said["paths"]
        for rule in RULES:
            pd.testing.assert_frame_equal(theirs(again[table]["rules"][rule]), theirs(said["rules"][rule]), rtol=1e-8)
        for order, model in CHAINS.items():
            near(table, model, theirs(again[table]["markov"][order]["credits"]), "ChannelAttribution")
        near(table, "markov", theirs(again[table]["markov_pychattr"]), "pychattr")
