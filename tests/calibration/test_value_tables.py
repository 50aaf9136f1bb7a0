"""The committed tables of the value worlds follow their rules; texts and figures say what the tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.coverage import clopper_pearson, read_table, verdict
from calibration.estimates import Estimate
from calibration.naive_formulas import FORMULAS
from calibration.value_estimates import EFFECT, METHODS, NUDGED, NUDGED_VALUE, PLACEBO, RECOGNISED, SHOWN, VALUE
from calibration.value_figures import coverage_figure, formulas_figure
from calibration.value_showing import (
    MOST_MEAN_ERROR,
    failing,
    formulas_markdown,
    formulas_table,
    value_markdown,
    value_table,
)
from calibration.value_truth import true_value
from calibration.value_worlds import WORLDS

HERE = Path(__file__).resolve().parent
LEAST_LOGS = 30
NAN = float("nan")


@pytest.fixture(scope="module")
def coverage() -> pd.DataFrame:
    return read_table(HERE / "value_coverage.csv")


@pytest.fixture(scope="module")
def beside() -> pd.DataFrame:
    return read_table(HERE / "value_formulas.csv")


def test_the_committed_coverage_rests_on_enough_logs_and_every_claim_holds(coverage: pd.DataFrame) -> None:
    assert (coverage["logs"] + coverage["without"]).min() >= LEAST_LOGS
    assert failing(coverage).empty, failing(coverage).to_string()
    assert list(coverage["world"].drop_duplicates()) == list(WORLDS)


def test_the_committed_verdicts_follow_from_the_counts(coverage: pd.DataFrame) -> None:
    for row in coverage.to_dict("records"):
        assert row["verdict"] == verdict(row["claimed"], row["covered"], row["logs"], row["without"]), row
        assert (row["cp_low"], row["cp_high"]) == pytest.approx(clopper_pearson(row["covered"], row["logs"]), abs=1e-6)
        assert row["mean_error"] >= abs(row["bias"]) - 2e-6 or row["quantity"].startswith("risk ratio")


def test_every_world_claims_what_its_confounders_allow(coverage: pd.DataFrame) -> None:
    claimed = coverage[coverage["claimed"] == "yes"]
    for name, made in WORLDS.items():
        found = set(claimed.loc[claimed["world"] == name, "quantity"])
        expected = {f"{quantity}, {method}" for quantity in (EFFECT, VALUE) for method in made.methods}
        expected |= {PLACEBO} if made.placebo else set()
        expected |= {NUDGED, NUDGED_VALUE} if made.encouraged is not None else set()
        assert found == expected, name
    unclaimed = coverage[coverage["claimed"] == "no"]
    assert set(unclaimed["world"]) == {"observed", "hidden", "fading", "encouragement"}
    # They are wrong where confounding is hidden: nothing is gained by not claiming what holds.
    off = unclaimed[(unclaimed["world"] == "hidden") & unclaimed["quantity"].str.startswith(f"{EFFECT},")]
    assert (off["coverage"] < 0.5).all()


def test_the_committed_formulas_are_those_of_all_worlds(beside: pd.DataFrame) -> None:
    assert beside["logs"].min() >= LEAST_LOGS
    for name, made in WORLDS.items():
        mine = beside[beside["world"] == name]
        assert set(mine["micro"]) == set(made.micros)
        assert set(FORMULAS) <= set(mine["quantity"])
        for micro in made.micros:
            row = mine[(mine["micro"] == micro) & (mine["quantity"] == "naive_value")].iloc[0]
            assert row["truth"] == pytest.approx(true_value(name, micro, "incremental_value"), abs=2e-6)


def test_the_committed_texts_say_what_the_committed_tables_say(
    coverage: pd.DataFrame, beside: pd.DataFrame, tmp_path: Path
) -> None:
    assert (HERE / "value_coverage.md").read_text(encoding="utf-8") == value_markdown(coverage)
    assert (HERE / "value_formulas.md").read_text(encoding="utf-8") == formulas_markdown(beside)
    for name, draw, table in (("coverage", coverage_figure, coverage), ("formulas", formulas_figure, beside)):
        draw(table, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 20_000
        assert (HERE / f"value_{name}.png").read_bytes()[:4] == b"\x89PNG"


# The tables from estimates.


def given(quantity: str, claim: str, truth: float, rows: list[tuple[float, float, float]]) -> pd.DataFrame:
    made = [Estimate(quantity, "share", claim, "identity", truth, *row)._asdict() for row in rows]
    return pd.DataFrame(made).assign(world="zero", seed=range(len(rows)))


def test_the_mean_error_does_not_let_errors_cancel() -> None:
    method = f"{EFFECT}, {METHODS[0]}"
    table = value_table(given(method, "yes", 0.1, [(0.09, 0.0, 0.2), (0.11, 0.0, 0.2), (0.13, 0.0, 0.2)]))
    row = table.iloc[0]
    assert row["mean_error"] == pytest.approx(0.05 / 3, abs=1e-6)
    assert row["bias"] == pytest.approx(0.01, abs=1e-6)
    assert row["verdict"] == "holds"
    assert len(failing(table)) == 1  # the coverage holds, the error does not
    near = value_table(given(method, "yes", 0.1, [(0.1 + MOST_MEAN_ERROR / 2, 0.0, 0.2)]))
    assert failing(near).empty
    # Money has no such limit, and what is not claimed cannot fail.
    assert failing(value_table(given(f"{VALUE}, {METHODS[0]}", "yes", 0.1, [(5.0, 0.0, 9.0)]))).empty
    assert failing(value_table(given(method, "no", 0.1, [(5.0, 4.0, 9.0)]))).empty


def test_what_has_no_interval_is_no_coverage() -> None:
    found = pd.concat(
        [given(quantity, "no", 1.0, [(2.0, NAN, NAN), (4.0, NAN, NAN)]) for quantity in SHOWN]
        + [given(RECOGNISED, "at least", 1.0, [(1.0, 1.0, 1.0)] * 2)]
    )
    assert value_table(found)["quantity"].tolist() == [RECOGNISED]
    table = formulas_table(found)
    assert sorted(table["quantity"]) == sorted(SHOWN)
    assert (table["mean"] == 3.0).all()
    assert table["spread"].to_numpy() == pytest.approx(np.sqrt(2.0), abs=1e-6)


def test_a_ratio_may_be_infinite_and_a_correlation_without_a_true_size() -> None:
    found = pd.concat(
        [
            given("odds_ratio", "no", float("inf"), [(float("inf"), NAN, NAN)] * 2),
            given("phi", "no", NAN, [(0.2, NAN, NAN), (0.4, NAN, NAN)]),
            given("naive_value", "no", -0.0, [(1.0, NAN, NAN)]),
            given("naive_lift", "no", 0.0, [(0.1, NAN, NAN)]),
        ]
    )
    table = formulas_table(found)
    assert np.isinf(table.set_index("quantity").loc["odds_ratio", "mean"])
    text = formulas_markdown(table)
    assert "| zero | share | infinite | infinite |" in text
    assert "| zero | share |  | 0.300 ± 0.141 |" in text
    assert "-0.00" not in text
