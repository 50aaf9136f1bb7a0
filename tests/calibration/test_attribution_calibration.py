"""What attribution says holds what is true, on few logs: pytest -m calibration. On many: attribution_run.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.attribution_estimates import AMOUNTS, RATES
from calibration.attribution_run import simulate_attributions
from calibration.attribution_showing import attribution_table, null_table, ranks_table
from calibration.attribution_worlds import WORLDS
from calibration.coverage import read_table

HERE = Path(__file__).resolve().parent
LOGS = 10
FAR = 4.5  # standard errors: some two thousand intervals are looked at
pytestmark = pytest.mark.calibration


@pytest.fixture(scope="module")
def few() -> pd.DataFrame:
    """What is said of few logs, of other seeds than the committed ones."""
    return simulate_attributions(LOGS, first_seed=1_000_000)


@pytest.fixture(scope="module")
def claimed(few: pd.DataFrame) -> pd.DataFrame:
    """The estimates that are claimed, with their distance from the truth in standard errors (of the side of the
    interval on which the truth lies: limits are not symmetric).
    """
    mine = few[few["claim"] == "yes"]
    side = np.where(mine["truth"] > mine["estimate"], mine["high"] - mine["estimate"], mine["estimate"] - mine["low"])
    return mine.assign(off=(mine["estimate"] - mine["truth"]) / (side / 1.959963984540054))


def test_what_is_claimed_is_there_and_near_the_truth(claimed: pd.DataFrame) -> None:
    assert set(claimed["world"]) == set(WORLDS)
    assert (claimed["off"].abs() < FAR).all(), claimed[~(claimed["off"].abs() < FAR)].to_string()


def test_together_the_claimed_intervals_hold_the_truth(claimed: pd.DataFrame) -> None:
    """Models of one log hang together, so that all of them say little more than one."""
    for (world, model), rows in claimed.groupby(["world", "quantity"]):
        inside = (rows["off"].abs() < 1.959963984540054).mean()
        assert inside > 0.7, (world, model)
    assert 0.90 < (claimed["off"].abs() < 1.959963984540054).mean() < 0.99
    assert 0.8 < float(np.sqrt((claimed["off"] ** 2).mean())) < 1.25


def test_survival_finds_what_touches_bring_and_no_other_model_does(few: pd.DataFrame) -> None:
    table = attribution_table(few)
    given = null_table(table).set_index(["world", "model"])["mean"]["causes"]
    assert given["survival"] < 0.03
    assert (given.drop("survival") > 0.2).all()
    rows = table[(table["world"] == "causes") & table["quantity"].isin([f"{amount}, survival" for amount in AMOUNTS])]
    assert (rows["mean_error"] < 0.05).all()
    # The limits of what is held at its bound hold the truth.
    bound = few[few["claim"] == "at least"]
    assert ((bound["low"] <= bound["truth"]) & (bound["truth"] <= bound["high"])).mean() > 0.9


def test_ranks_that_are_hardly_told_apart_are_said_to_be(few: pd.DataFrame) -> None:
    ranks = ranks_table(few)
    sure = ranks[ranks["rank_stability"] > 0.99]
    assert len(sure) > 20
    assert (sure["as_true"] == 1).mean() > 0.9
    assert abs(ranks["rank_stability"].mean() - ranks["as_true"].mean()) < 0.06


def test_the_committed_table_is_of_what_is_said_today(few: pd.DataFrame) -> None:
    for name, made, keys in (
        ("coverage", attribution_table(few), ["world", "quantity", "term", "claimed"]),
        ("ranks", ranks_table(few), ["world", "model", "term", "rank"]),
    ):
        committed = read_table(HERE / f"attribution_{name}.csv")
        assert committed[keys].to_numpy().tolist() == made[keys].to_numpy().tolist()
    assert RATES in set(committed["model"])
