"""The committed table says what its rule says, and its text what the table says; the truths equal formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, fisk, lognorm

from calibration import outside, worlds
from calibration.coverage import MANY_LOGS, clopper_pearson, coverage_table, read_table, verdict
from calibration.estimates import Estimate
from calibration.showing import figure, markdown
from calibration.worlds import WORLDS

HERE = Path(__file__).resolve().parent
LEAST_LOGS = 500


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return read_table(HERE / "coverage.csv")


def test_the_committed_table_rests_on_enough_logs_and_every_claim_holds(committed: pd.DataFrame) -> None:
    assert (committed["logs"] + committed["without"]).min() >= LEAST_LOGS
    failing = committed[(committed["claimed"] != "no") & (committed["verdict"] != "holds")]
    assert failing.empty, failing.to_string()
    assert set(committed["world"]) == set(WORLDS)


def test_the_committed_verdicts_follow_from_the_counts(committed: pd.DataFrame) -> None:
    for row in committed.to_dict("records"):
        assert row["verdict"] == verdict(row["claimed"], row["covered"], row["logs"], row["without"]), row
        if row["logs"] == 0:  # refused in every log: there is no coverage to speak of
            assert np.isnan([row["coverage"], row["cp_low"], row["cp_high"]]).all()
            continue
        assert row["coverage"] == pytest.approx(row["covered"] / row["logs"], abs=1e-6)
        assert (row["cp_low"], row["cp_high"]) == pytest.approx(clopper_pearson(row["covered"], row["logs"]), abs=1e-6)


def test_the_committed_text_says_what_the_committed_table_says(committed: pd.DataFrame, tmp_path: Path) -> None:
    assert (HERE / "coverage.md").read_text(encoding="utf-8") == markdown(committed)
    figure(committed, tmp_path / "coverage.png")
    assert (tmp_path / "coverage.png").stat().st_size > 20_000
    assert (HERE / "coverage.png").read_bytes()[:4] == b"\x89PNG"


# The rule itself, which must be able to fail.


@pytest.mark.parametrize(
    ("covered", "logs", "expected"),
    [
        (1_860, 2_000, "holds"), (1_859, 2_000, "fails"), (1_940, 2_000, "holds"), (1_941, 2_000, "fails"),
        (475, 500, "holds"), (500, 500, "fails"), (430, 500, "fails"), (446, 500, "holds"), (0, 0, "fails"),
        (48, 48, "holds"), (37, 48, "fails"),
    ],
)  # fmt: skip
def test_the_rule(covered: int, logs: int, expected: str) -> None:
    assert verdict("yes", covered, logs) == expected
    assert verdict("no", covered, logs) == expected


def test_more_than_claimed_is_no_failure_where_at_least_95_percent_is_claimed() -> None:
    assert verdict("at least", 500, 500) == "holds"
    assert verdict("at least", 2_000, 2_000) == "holds"
    assert verdict("at least", 430, 500) == "fails"


def test_a_method_that_often_gives_no_interval_fails() -> None:
    assert verdict("yes", 475, 500, without=20) == "holds"
    assert verdict("yes", 475, 500, without=100) == "fails"


def test_clopper_and_pearson_by_the_binomial() -> None:
    low, high = clopper_pearson(470, 500)
    assert binom.sf(469, 500, low) == pytest.approx(0.0005, rel=1e-6)
    assert binom.cdf(470, 500, high) == pytest.approx(0.0005, rel=1e-6)
    assert clopper_pearson(0, 50)[0] == 0
    assert clopper_pearson(50, 50)[1] == 1
    assert MANY_LOGS == 2_000


def test_the_table_counts_what_it_is_given() -> None:
    truth, nan = 2.0, float("nan")
    given = [(1.9, 1.5, 2.5), (1.0, 0.5, 1.5), (3.0, 2.5, 3.5), (2.2, 1.9, float("inf")), (nan, nan, nan)]
    rows = [Estimate("days", "10 %", "yes", "identity", truth, *values)._asdict() for values in given]
    row = coverage_table(pd.DataFrame(rows).assign(world="null", seed=range(5))).iloc[0]
    assert (row["logs"], row["without"], row["covered"]) == (4, 1, 2)
    assert (row["below"], row["above"]) == (0.25, 0.25)
    assert row["mean_estimate"] == pytest.approx(2.025)
    assert row["bias"] == pytest.approx(0.025)
    assert row["mean_se"] == pytest.approx(0.5 / 1.959964, abs=1e-6)
    assert row["verdict"] == "fails"  # one log of five without an interval


def test_the_scales_are_those_of_the_intervals() -> None:
    rows = [Estimate("ratio", "cart", "yes", "log", 2.0, v, v / 1.5, v * 1.5)._asdict() for v in (1.0, 4.0)]
    row = coverage_table(pd.DataFrame(rows).assign(world="strong", seed=range(2))).iloc[0]
    assert row["mean_estimate"] == pytest.approx(2.0)
    assert row["mean_se"] == pytest.approx(np.log(1.5) / 1.959964, abs=1e-6)
    assert row["spread"] == pytest.approx(np.log(4) / np.sqrt(2), abs=1e-6)


def test_what_lies_outside_the_family_is_not_claimed_and_its_refusals_are_shown(committed: pd.DataFrame) -> None:
    beyond = committed[committed["quantity"].str.contains("outside the family")]
    assert set(beyond["claimed"]) == {"no"}
    assert len(beyond) == len(outside.DELAYS)
    text = markdown(committed)
    for row in beyond.to_dict("records"):
        assert row["truth"] == outside.SHARE
        assert f"refused in {row['without'] / (row['logs'] + row['without']):.0%} of the logs" in text
    # Refused everywhere: no coverage, no error, no claim that could fail.
    nan = float("nan")
    rows = [Estimate(quantity, "purchase", "no", "cloglog", 0.5, nan, nan, nan) for quantity in beyond["quantity"]]
    refused = coverage_table(pd.DataFrame(rows).assign(world="null", seed=1))
    assert refused[["logs", "without"]].to_numpy().tolist() == [[0, 1]] * 2
    assert markdown(refused).count("refused in 100% of the logs\n") == 2


# The truths, by formulas where a world has them.


def test_the_delays_outside_the_family_are_those_of_their_names() -> None:
    share = np.linspace(0.01, 0.99, 25)
    logistic, normal = outside.DELAYS
    assert logistic.quantile(share) == pytest.approx(fisk.ppf(share, 1.3, scale=4.0), rel=1e-12)
    assert normal.quantile(share) == pytest.approx(lognorm.ppf(share, 1.5, scale=4.0), rel=1e-12)
    # Beyond the longest observation: a slow tail, which observation does not see the end of.
    assert fisk.sf(61, 1.3, scale=4.0) == pytest.approx(0.028, abs=5e-4)
    assert lognorm.sf(61, 1.5, scale=4.0) == pytest.approx(0.035, abs=5e-4)
    log = outside.log_of(logistic, seed=1, users=4_000)
    converted = int(log.event_counts["purchase"])
    entered = np.linspace(0, 60, 6_001)
    expected = 4_000 * outside.SHARE * float(fisk.cdf(61 - entered, 1.3, scale=4.0).mean())
    assert abs(converted - expected) < 4 * np.sqrt(expected)


def test_truths_by_formula() -> None:
    buy, leave = 0.012, 0.02
    assert worlds.rmst("null", "alone") == pytest.approx((1 - np.exp(-buy * 30)) / buy, abs=1e-12)
    gone = buy / (buy + leave) * (30 - (1 - np.exp(-(buy + leave) * 30)) / (buy + leave))
    assert worlds.rmst("null", "beside") == pytest.approx(30 - gone, abs=1e-12)
    assert worlds.quantile("null", "alone", 0.25) == pytest.approx(-np.log(0.75) / buy, abs=1e-8)
    assert worlds.any_end("null", "beside") == pytest.approx(1 - np.exp(-(buy + leave) * 30), abs=1e-12)
    assert worlds.eventual_share("confounded") == pytest.approx(0.2 * (0.7 + 0.3 * 3) * (0.4 + 0.6 * 0.7), abs=1e-12)
    assert worlds.hazard_ratios("strong") == pytest.approx(
        {"add_to_cart": 6, "newsletter_signup": 1, "guide_downloaded": 3, "share": 1, "device=mobile": 0.7,
         "interest=low": 0.4}
    )  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_a_group_of_users_has_the_truth_of_its_own(name: str) -> None:
    """Shares of the devices times their truths make the truth of all."""
    for kind in ("alone", "beside"):
        parts = [share * worlds.probability(name, kind, device=d) for d, share in (("desktop", 0.4), ("mobile", 0.6))]
        assert sum(parts) == pytest.approx(worlds.probability(name, kind), abs=1e-12)
        means = [share * worlds.rmst(name, kind, d) for d, share in (("desktop", 0.4), ("mobile", 0.6))]
        assert sum(means) == pytest.approx(worlds.rmst(name, kind), abs=1e-10)
