"""95 % intervals hold the truth as often as claimed, on few logs: pytest -m calibration. On many: run.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.coverage import BAND, coverage_table, read_table
from calibration.run import simulate_coverage
from calibration.worlds import WORLDS

LOGS = 40
pytestmark = pytest.mark.calibration


@pytest.fixture(scope="module")
def few() -> pd.DataFrame:
    """The table of few logs, of other seeds than the committed one."""
    return coverage_table(simulate_coverage(LOGS, first_seed=1_000_000))


def test_every_claim_holds_on_few_logs(few: pd.DataFrame) -> None:
    failing = few[(few["claimed"] != "no") & (few["verdict"] != "holds")]
    assert failing.empty, failing.to_string()
    assert (few["logs"] + few["without"] == LOGS).all()


def test_together_the_claimed_rows_hold_the_truth_in_93_to_97_percent(few: pd.DataFrame) -> None:
    """Each row alone says little over few logs; all of them, and none of them far off, say more."""
    claimed = few[few["claimed"] == "yes"]
    assert BAND[0] < claimed["covered"].sum() / claimed["logs"].sum() < BAND[1]
    # The error is the spread of the estimate; over 40 logs that is known to a ninth.
    ratio = np.log(claimed["mean_se"] / claimed["spread"])
    assert ratio.notna().all()
    assert abs(ratio.median()) < 0.1
    assert (ratio.abs() < 4 / np.sqrt(2 * LOGS)).all(), claimed[ratio.abs() >= 4 / np.sqrt(2 * LOGS)].to_string()


def test_naive_formulas_fail_where_they_must(few: pd.DataFrame) -> None:
    """The worlds are hard enough to tell: what is known to be wrong is seen to be."""
    naive = few[few["claimed"] == "no"].set_index(["quantity", "world", "term"])["verdict"].sort_index()
    for world in WORLDS:
        assert naive["days until converted, of converters", world, "25 %"] == "fails"
        assert naive["cumulative incidence, day 30, by the share of all users", world, "purchase"] == "fails"
        assert (naive["hazard ratio of ever did it", world] == "fails").all()
    assert naive["hazard ratio, interest not adjusted for", "confounded", "share"] == "fails"
    assert naive["cumulative incidence, day 30, by 1 - Kaplan-Meier", "null", "purchase"] == "fails"


def test_the_committed_table_is_of_what_is_estimated_today(few: pd.DataFrame) -> None:
    committed = read_table(Path(__file__).resolve().parent / "coverage.csv")
    keys = ["world", "quantity", "term", "claimed"]
    assert committed[keys].to_numpy().tolist() == few[keys].to_numpy().tolist()
    assert committed["truth"].to_numpy() == pytest.approx(few["truth"].to_numpy(), abs=2e-6)
