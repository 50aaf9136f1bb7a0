"""What micros are said to be worth is true, on few logs: pytest -m calibration. On many: value_run.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.coverage import read_table
from calibration.value_estimates import EFFECT, HIDDEN, PLACEBO, RECOGNISED, VALUE
from calibration.value_run import simulate_values
from calibration.value_showing import formulas_table, value_table
from calibration.value_worlds import WORLDS

HERE = Path(__file__).resolve().parent
LOGS, USERS = 2, 6_000
FAR = 4.0  # standard errors: some two hundred intervals are looked at
pytestmark = pytest.mark.calibration


@pytest.fixture(scope="module")
def few() -> pd.DataFrame:
    """What is said of few and smaller logs, of other seeds than the committed ones."""
    return simulate_values(LOGS, users=USERS, first_seed=1_000_000)


@pytest.fixture(scope="module")
def claimed(few: pd.DataFrame) -> pd.DataFrame:
    """The estimates that are claimed, with their distance from the truth in standard errors."""
    mine = few[(few["claim"] == "yes") & (few["quantity"] != RECOGNISED)]
    error = (mine["high"] - mine["low"]) / 2 / 1.959963984540054
    return mine.assign(off=(mine["estimate"] - mine["truth"]) / error)


def test_what_is_claimed_is_there_and_near_the_truth(claimed: pd.DataFrame) -> None:
    assert set(claimed["world"]) == {name for name, made in WORLDS.items() if made.methods or made.encouraged}
    assert (claimed["off"].abs() < FAR).all(), claimed[~(claimed["off"].abs() < FAR)].to_string()


def test_together_the_claimed_intervals_hold_the_truth(claimed: pd.DataFrame) -> None:
    """Estimates of one log hang together, so that a hundred intervals say as much as some dozens would."""
    assert 0.88 < (claimed["off"].abs() < 1.959963984540054).mean() < 0.995
    assert 0.7 < float(np.sqrt((claimed["off"] ** 2).mean())) < 1.35


def test_what_is_not_claimed_is_wrong_where_it_must_be(few: pd.DataFrame) -> None:
    """The worlds are hard enough to tell."""
    by = few.set_index(["world", "quantity", "term"]).sort_index()
    for world, method, micro in (
        ("hidden", "hazard", "share"),
        ("hidden", "trials", "share"),
        ("fading", "hazard", "guide_downloaded"),
        ("encouragement", "trials", "newsletter_signup"),
    ):
        rows = by.loc[[(world, f"{EFFECT}, {method}", micro)]]
        assert ((rows["low"] > rows["truth"]) | (rows["high"] < rows["truth"])).all(), (world, method, micro)


def test_a_hidden_trait_of_the_planted_strength_is_allowed_for(few: pd.DataFrame) -> None:
    rows = few[few["quantity"].str.startswith(HIDDEN)]
    assert len(rows) == LOGS * 2 * 3
    assert ((rows["low"] < rows["truth"]) & (rows["truth"] < rows["high"])).all()


def test_a_placebo_shows_confounding_that_is_not_adjusted_for(few: pd.DataFrame) -> None:
    rows = few[few["quantity"].str.startswith(f"{PLACEBO},")]
    assert len(rows) == LOGS
    assert (rows["low"] > 0.05).all()  # adjusted for, it is among what is claimed


def test_a_structural_step_is_recognised_and_no_other(few: pd.DataFrame) -> None:
    rows = few[few["quantity"] == RECOGNISED]
    assert len(rows) == LOGS * 3
    assert (rows["estimate"] == rows["truth"]).all()


def test_formulas_in_common_use_are_farther_from_the_truth(few: pd.DataFrame) -> None:
    table = formulas_table(few).set_index(["quantity", "world", "micro"]).sort_index()
    for world, made in WORLDS.items():
        if not made.methods:
            continue
        for micro in made.decoys:
            naive, ours = (abs(table.loc[(key, world, micro), "mean"]) for key in ("naive_value", f"{VALUE}, trials"))
            assert naive > 5
            assert ours < naive / 2, (world, micro)


def test_the_committed_tables_are_of_what_is_said_today(few: pd.DataFrame) -> None:
    for name, made, keys in (
        ("coverage", value_table(few), ["world", "quantity", "term", "claimed"]),
        ("formulas", formulas_table(few), ["world", "micro", "quantity"]),
    ):
        committed = read_table(HERE / f"value_{name}.csv")
        assert committed[keys].to_numpy().tolist() == made[keys].to_numpy().tolist()
        assert committed["truth"].to_numpy(float) == pytest.approx(made["truth"].to_numpy(float), abs=2e-6, nan_ok=True)
