"""The committed tables of attribution follow their rules; text and figure say what the tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.attribution_estimates import AMOUNTS, COEFFICIENT, RATES, answers, planted, shares, truth
from calibration.attribution_showing import (
    MOST_MEAN_ERROR,
    attribution_figure,
    attribution_markdown,
    attribution_table,
    failing,
    models_table,
    null_table,
    ranks_table,
)
from calibration.attribution_worlds import WORLDS
from calibration.coverage import clopper_pearson, read_table, verdict
from calibration.estimates import Estimate

HERE = Path(__file__).resolve().parent
LEAST_LOGS = 200


@pytest.fixture(scope="module")
def coverage() -> pd.DataFrame:
    return read_table(HERE / "attribution_coverage.csv")


@pytest.fixture(scope="module")
def ranks() -> pd.DataFrame:
    return read_table(HERE / "attribution_ranks.csv")


def test_the_committed_coverage_rests_on_enough_logs_and_every_claim_holds(coverage: pd.DataFrame) -> None:
    assert (coverage["logs"] + coverage["without"]).min() >= LEAST_LOGS
    assert failing(coverage).empty, failing(coverage).to_string()
    assert list(coverage["world"].drop_duplicates()) == list(WORLDS)


def test_the_committed_verdicts_follow_from_the_counts(coverage: pd.DataFrame) -> None:
    for row in coverage.to_dict("records"):
        assert row["verdict"] == verdict(row["claimed"], row["covered"], row["logs"], row["without"]), row
        assert (row["cp_low"], row["cp_high"]) == pytest.approx(clopper_pearson(row["covered"], row["logs"]), abs=1e-6)
        assert row["mean_error"] >= abs(row["bias"]) - 2e-6


def test_every_model_and_channel_has_its_rows_and_errors_are_the_spread(coverage: pd.DataFrame) -> None:
    for world, made in WORLDS.items():
        models = {*made.models, *([RATES] if made.rates else [])}
        expected = {f"{amount}, {model}" for amount in AMOUNTS for model in models}
        expected |= {COEFFICIENT} if made.caused else set()
        mine = coverage[coverage["world"] == world]
        assert set(mine["quantity"]) == expected
    claimed = coverage[(coverage["claimed"] == "yes") & (coverage["spread"] > 0)]
    ratio = np.log(claimed["mean_se"] / claimed["spread"])
    assert abs(ratio.median()) < 0.05
    # Half an interval is an error where intervals are symmetric, as they are but for the smallest of shares.
    assert (ratio.abs() < 0.3).all(), claimed[ratio.abs() >= 0.3].to_string()


def test_the_channel_that_does_nothing_is_credited_by_all_but_survival(coverage: pd.DataFrame) -> None:
    given = null_table(coverage).set_index(["world", "model"])
    assert given.loc[("causes", "survival"), "mean"] < 0.02
    assert (given.drop(index=("causes", "survival"))["mean"] > 0.004).all()
    for model in ("first", "last", "linear", "markov", "shapley"):
        assert given.loc[("causes", model), "mean"] > 0.25


def test_ranks_are_shares_of_logs(ranks: pd.DataFrame) -> None:
    for column in ("rank_stability", "as_true", "again"):
        assert ranks[column].between(0, 1).all()
    # Two logs agree on a rank at least if both have the true one.
    assert (ranks["again"] >= ranks["as_true"] ** 2 - 0.01).all()
    for _, rows in ranks.groupby(["world", "model"]):
        assert sorted(rows["rank"]) == list(range(1, len(rows) + 1))


def test_the_committed_text_says_what_the_committed_tables_say(
    coverage: pd.DataFrame, ranks: pd.DataFrame, tmp_path: Path
) -> None:
    assert (HERE / "attribution_coverage.md").read_text(encoding="utf-8") == attribution_markdown(coverage, ranks)
    attribution_figure(coverage, tmp_path / "coverage.png")
    assert (tmp_path / "coverage.png").stat().st_size > 20_000
    assert (HERE / "attribution_coverage.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", WORLDS)
def test_the_committed_truth_is_that_of_the_world_of_today(name: str) -> None:
    """On one log of another seed, ten times the size that intervals are tried with."""
    table, _ = answers(name, 20_000, 77, 100)
    found = shares(table[table["model"] != "survival"]).set_index(["model", "channel"])
    true = truth(name)
    assert set(true.index) == set(pd.MultiIndex.from_frame(table[["model", "channel"]]))
    sums = true.groupby("model", sort=False).sum()
    assert sums.to_numpy() == pytest.approx(1, abs=2e-5)
    for amount, prefix in zip(AMOUNTS, ("", "value_"), strict=True):
        totals = table.groupby("model")[amount].transform("sum")
        error = (table[f"{prefix}ci_high"] - table[f"{prefix}ci_low"]) / totals / 2 / 1.96
        error = pd.Series(error.to_numpy(), pd.MultiIndex.from_frame(table[["model", "channel"]]))[found.index]
        off = (found[amount] - true.loc[found.index, amount]).abs() / (error + 1e-6)
        assert (off < 4.5).all(), off[off >= 4.5].to_string()


def test_survival_is_held_against_what_was_drawn() -> None:
    drawn = planted(100_000, 5)
    assert drawn["display"] == 0
    share = truth("causes").loc["survival", "conversions"].reindex(drawn.index)
    assert share.to_numpy() == pytest.approx(drawn.to_numpy(), abs=0.01)


# The tables from estimates.


def given(rows: list[tuple[float, float, float, float]], quantity: str = "conversions, survival") -> pd.DataFrame:
    made = [Estimate(quantity, "email", "yes", "identity", 0.2, *row[:3])._asdict() for row in rows]
    frame = pd.DataFrame(made).assign(world="causes", seed=range(len(rows)), rank_stability=0.75)
    return frame.assign(rank=[row[3] for row in rows])


def test_the_mean_error_does_not_let_errors_cancel() -> None:
    table = attribution_table(given([(0.1, 0.0, 0.4, 1), (0.3, 0.0, 0.4, 1)]))
    assert table.iloc[0]["mean_error"] == pytest.approx(0.1)
    assert table.iloc[0]["bias"] == pytest.approx(0)
    assert table.iloc[0]["verdict"] == "holds"
    assert len(failing(table)) == 1  # the coverage holds, the error does not
    assert models_table(table).iloc[0]["failing"] == 1
    near = attribution_table(given([(0.2 + MOST_MEAN_ERROR / 2, 0.0, 0.4, 1)]))
    assert failing(near).empty
    assert failing(attribution_table(given([(0.1, 0.0, 0.4, 1)], "conversions, last"))).empty


def test_ranks_are_compared_with_the_true_one_and_between_logs() -> None:
    rows = [(0.2, 0.1, 0.3, rank) for rank in (1, 1, 1, 2)]
    found = ranks_table(given(rows)).iloc[0]
    assert (found["rank"], found["logs"], found["rank_stability"]) == (1, 4, 0.75)
    assert found["as_true"] == pytest.approx(0.75)
    assert found["again"] == pytest.approx(0.5)  # 3 of 6 pairs
