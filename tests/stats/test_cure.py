"""Mixture cure: R's numbers, a second opinion, a plain likelihood on rows, planted truth, and what must be refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sp

from microconv import MicroconvError, RiskTable
from microconv.stats import mixture_cure
from microconv.stats._latency import Latency, standard
from microconv.stats.plateau import plateaus
from microconv.stats.watched import reliable_ages


@pytest.fixture(scope="module")
def golden(root: Path) -> dict:
    return json.loads((root / "tests" / "golden" / "cure.json").read_text())


def world(n: int, share: float, seed: int, *, shape: float = 0.8, scale: float = 6.0, at_zero: float = 0.0,
          ends: float = 0.0, span: float = 90.0) -> pd.DataFrame:  # fmt: skip
    """Rows of users: a share converts after a Weibull delay, others end otherwise, the rest never does anything."""
    rng = np.random.default_rng(seed)
    who = rng.random(n)
    delay = np.where(who < share, scale * rng.exponential(size=n) ** (1 / shape), np.inf)
    delay = np.where((who < share) & (rng.random(n) < at_zero), 0.0, delay)
    other = np.where((who >= share) & (who < share + ends), 15 * rng.exponential(size=n), np.inf)
    watched = rng.uniform(0, span, n)
    stop = np.minimum(np.minimum(delay, other), watched)
    cause = np.where(delay <= stop, "buy", np.where(other <= stop, "end", None))
    return pd.DataFrame({"start": 0.0, "stop": stop, "cause": cause, "watched": watched})


def table_of(rows: pd.DataFrame, patterns: tuple[str, ...] = ()) -> RiskTable:
    return RiskTable.from_intervals(rows, "start", "stop", "cause", patterns)


def rows_of(golden: dict) -> pd.DataFrame:
    return pd.DataFrame({"start": golden["entry"], "stop": golden["stop"], "cause": golden["event"]})


class TestGolden:
    def test_weibull_with_late_entry_as_a_plain_likelihood_in_r(self, golden: dict) -> None:
        fit = mixture_cure(table_of(rows_of(golden))).table.iloc[0]
        for name in ("log_likelihood", "share", "mu", "sigma", "ci_low", "ci_high"):
            assert fit[name] == pytest.approx(golden["weibull"][name], rel=2e-5), name
        assert fit["log_likelihood"] == pytest.approx(golden["weibull"]["log_likelihood"], rel=1e-10)

    def test_generalised_gamma(self, golden: dict) -> None:
        fit = mixture_cure(table_of(rows_of(golden)), "generalised_gamma").table.iloc[0]
        assert fit["log_likelihood"] == pytest.approx(golden["generalised_gamma"]["log_likelihood"], rel=1e-9)
        for name in ("share", "mu", "sigma", "q"):
            assert fit[name] == pytest.approx(golden["generalised_gamma"][name], rel=1e-3), name

    def test_grouped_likelihood(self, golden: dict) -> None:
        rows = rows_of(golden).assign(start=0.0)
        fit = mixture_cure(table_of(rows), cuts=golden["cuts"]).table.iloc[0]
        for name in ("log_likelihood", "share", "mu", "sigma", "ci_low", "ci_high"):
            assert fit[name] == pytest.approx(golden["grouped"][name], rel=2e-5), name

    def test_lifelines_agrees_on_right_censored_times(self) -> None:
        from lifelines import MixtureCureFitter, WeibullFitter

        rows = world(400, 0.3, seed=3)
        fit = mixture_cure(table_of(rows)).table.iloc[0]
        other = MixtureCureFitter(base_fitter=WeibullFitter())
        other.fit(rows["stop"], rows["cause"] == "buy")
        assert fit["log_likelihood"] == pytest.approx(other.log_likelihood_, rel=1e-9)
        assert fit["share"] == pytest.approx(1 - other.cured_fraction_, rel=1e-4)
        assert 1 / fit["sigma"] == pytest.approx(other.rho_, rel=1e-4)
        assert math.exp(fit["mu"]) == pytest.approx(other.lambda_, rel=1e-4)

    def test_the_last_interval_without_end_does_not_lose_those_who_never_have_the_event(self) -> None:
        # lifelines' fit_interval_censoring finds a cured share of 1e-9 there (reference, trap 4).
        rows = world(3_000, 0.3, seed=4)
        fit = mixture_cure(table_of(rows), cuts=[1, 2, 4, 8, 16, 32]).table.iloc[0]
        assert fit["share"] == pytest.approx(0.3, abs=0.04)
        assert fit["ci_low"] < 0.3 < fit["ci_high"]


class TestLatency:
    @pytest.mark.parametrize("q", [-2.0, -0.3, -1e-3, -1e-6, 0.0, 1e-6, 1e-4, 1e-3, 0.02, 0.5, 1.0, 3.0])
    def test_density_is_the_derivative_of_survival(self, q: float) -> None:
        w, step = np.linspace(-3, 2, 21), 1e-5
        density, slope, _ = standard(w, q)
        by_hand = (standard(w - step, q)[2] - standard(w + step, q)[2]) / (2 * step)
        np.testing.assert_allclose(np.exp(density), by_hand, rtol=2e-5, atol=1e-9)
        np.testing.assert_allclose(slope, (standard(w + step, q)[0] - standard(w - step, q)[0]) / (2 * step), atol=1e-5)

    def test_the_lognormal_is_the_limit_from_both_sides(self) -> None:
        w = np.linspace(-4, 4, 33)
        for q in (-1e-4, -9e-6, 0.0, 9e-6, 1e-4):
            np.testing.assert_allclose(standard(w, q)[2], sp.norm.sf(w), atol=1e-4)
        for q in (1e-5, -1e-5):  # no step where the expansion takes over
            inside, outside = standard(w, q * 0.999)[2], standard(w, q * 1.001)[2]
            np.testing.assert_allclose(inside, outside, atol=2e-8)

    def test_gamma_and_weibull_are_special_cases(self) -> None:
        t = np.array([0.1, 1.0, 5.0, 20.0])
        shape, scale = 2.5, 3.0
        q = shape**-0.5
        gamma = Latency(math.log(scale * shape), q, q)
        np.testing.assert_allclose(gamma.survival(t), sp.gamma.sf(t, shape, scale=scale), rtol=1e-9)
        np.testing.assert_allclose(Latency(math.log(4), 2.0, 1.0).survival(t), np.exp(-np.sqrt(t / 4)), rtol=1e-12)

    @pytest.mark.parametrize("q", [-1.5, 0.0, 1e-7, 0.4, 1.0, 2.0])
    def test_quantiles_invert_survival(self, q: float) -> None:
        latency = Latency(1.0, 0.7, q, atom=0.2)
        for level in (0.25, 0.5, 0.9):
            assert latency.survival(np.array([latency.quantile(level)]))[0] == pytest.approx(1 - level, abs=2e-7)
        assert latency.quantile(0.2) == 0.0


class TestLikelihood:
    def test_counts_equal_rows_and_order_does_not_matter(self) -> None:
        rows = world(200, 0.4, seed=1).assign(stop=lambda f: f["stop"].round(1))
        counted = rows.groupby(["start", "stop", "cause"], dropna=False).size().rename("users").reset_index()
        once = mixture_cure(table_of(rows.sample(frac=1, random_state=0))).table
        weighted = mixture_cure(RiskTable.from_intervals(counted, "start", "stop", "cause", weight_col="users")).table
        pd.testing.assert_frame_equal(once, weighted, rtol=1e-7)

    def test_a_row_likelihood_written_out(self) -> None:
        rows = world(150, 0.5, seed=2, at_zero=0.3)
        fit = mixture_cure(table_of(rows)).table.iloc[0]
        p, atom = fit["share"], fit["at_zero"]
        delay = sp.weibull_min(1 / fit["sigma"], scale=math.exp(fit["mu"]))
        total = 0.0
        for stop, cause in zip(rows["stop"], rows["cause"], strict=True):
            if cause == "buy":
                total += math.log(p * atom) if stop == 0 else math.log(p * (1 - atom)) + delay.logpdf(stop)
            else:
                total += math.log(1 - p + p * (1 - atom) * delay.sf(stop))
        assert fit["log_likelihood"] == pytest.approx(total, rel=1e-10)

    @settings(max_examples=15)
    @given(seed=st.integers(0, 10_000), cut=st.floats(0.05, 20.0))
    def test_splitting_intervals_changes_nothing(self, seed: int, cut: float) -> None:
        rows = world(80, 0.5, seed=seed)
        longer = rows["stop"] > cut
        first = rows[longer].assign(stop=cut, cause=None)
        split = pd.concat([rows[~longer], first, rows[longer].assign(start=cut)], ignore_index=True)
        one, two = (mixture_cure(table_of(part), confidence=None).table for part in (rows, split))
        pd.testing.assert_frame_equal(one, two, rtol=1e-6)

    def test_thinning_many_times_moves_next_to_nothing(self) -> None:
        rows = world(8_000, 0.35, seed=5)
        whole = mixture_cure(table_of(rows), max_times=100_000).table.iloc[0]
        thin = mixture_cure(table_of(rows), max_times=500).table.iloc[0]
        error = (whole["ci_high"] - whole["ci_low"]) / 4
        for name in ("share", "ci_low", "ci_high"):
            assert thin[name] == pytest.approx(whole[name], abs=error / 40)

    def test_the_profile_limit_is_where_the_likelihood_has_fallen(self) -> None:
        from microconv.stats._cure_counts import cure_counts
        from microconv.stats._cure_likelihood import Likelihood
        from microconv.stats._curves import read_blocks

        rt = table_of(world(300, 0.3, seed=6))
        fit = mixture_cure(rt).table.iloc[0]
        likelihood = Likelihood(cure_counts(read_blocks(rt)[0], None, None), "weibull")
        for name in ("ci_low", "ci_high"):
            held = likelihood.best(share=fit[name])
            assert 2 * (fit["log_likelihood"] - held.value) == pytest.approx(sp.chi2.ppf(0.95, 1), abs=1e-3)

    def test_the_gradient_is_the_slope(self) -> None:
        from microconv.stats._cure_counts import cure_counts
        from microconv.stats._cure_likelihood import Likelihood
        from microconv.stats._curves import read_blocks

        rt = table_of(world(200, 0.4, seed=7, at_zero=0.2))
        for cuts in (None, np.array([1.0, 3.0, 9.0])):
            likelihood = Likelihood(cure_counts(read_blocks(rt)[0], None, cuts), "generalised_gamma")
            at = np.array([-0.3, -1.2, 1.5, 0.1, 0.7])
            for i in range(5):
                step = np.zeros(5)
                step[i] = 1e-6
                slope = (likelihood(at + step)[0] - likelihood(at - step)[0]) / 2e-6
                assert likelihood(at)[1][i] == pytest.approx(slope, rel=1e-4, abs=1e-3)


class TestPlanted:
    def test_intervals_hold_the_planted_share(self) -> None:
        held = 0
        for seed in range(40):
            fit = mixture_cure(table_of(world(500, 0.3, seed))).table.iloc[0]
            held += fit["ci_low"] <= 0.3 <= fit["ci_high"]
        assert sp.binomtest(held, 40, 0.95).pvalue > 0.001

    def test_beside_other_ends_as_if_everybodys_end_of_observation_were_known(self) -> None:
        shares, naive = [], []
        for seed in range(12):
            rows = world(1_500, 0.3, seed, ends=0.4)
            fit = mixture_cure(table_of(rows), cause="buy").table.iloc[0]
            known = rows.assign(stop=rows["stop"].where(rows["cause"] != "end", rows["watched"]))
            known["cause"] = rows["cause"].where(rows["cause"] == "buy")
            other = mixture_cure(table_of(known)).table.iloc[0]
            # Whoever ended otherwise is watched on to their own end of observation, or to the curve's guess of it.
            assert fit["share"] == pytest.approx(other["share"], abs=0.002)
            assert fit["ci_high"] - fit["ci_low"] == pytest.approx(other["ci_high"] - other["ci_low"], rel=0.05)
            shares.append(fit["share"])
            censored = rows.assign(cause=rows["cause"].where(rows["cause"] == "buy"))
            naive.append(mixture_cure(table_of(censored), confidence=None).table["share"].iloc[0])
        assert np.mean(shares) == pytest.approx(0.3, abs=0.012)
        assert np.mean(naive) > 0.34  # other ends taken for censoring

    def test_a_share_of_one_is_at_the_edge_without_an_overflow(self) -> None:
        fit = mixture_cure(table_of(world(500, 1.0, seed=1))).table.iloc[0]
        assert fit["ci_high"] == 1.0
        assert fit["share"] > 0.99
        assert fit["converged"]

    def test_a_small_share_with_few_events(self) -> None:
        fit = mixture_cure(table_of(world(4_000, 0.005, seed=2))).table.iloc[0]
        assert 0 < fit["ci_low"] < 0.005 < fit["ci_high"] < 0.02

    def test_patterns_are_fitted_apart(self) -> None:
        rows = pd.concat([world(600, 0.2, 1).assign(s="a"), world(600, 0.5, 2).assign(s="b")], ignore_index=True)
        both = mixture_cure(table_of(rows, ("s",)), confidence=None)
        alone = mixture_cure(table_of(rows[rows["s"] == "b"]), confidence=None)
        assert list(both.table["s"]) == ["a", "b"]
        assert both.table["share"].iloc[1] == pytest.approx(alone.table["share"].iloc[0], rel=1e-9)
        gain = both.gain(2.0, [5.0, 9.0])
        assert list(gain["s"]) == ["a", "a", "b", "b"]
        assert (gain["se"] > 0).all()

    def test_the_error_of_a_gain_is_that_of_repeated_worlds(self) -> None:
        fits = [mixture_cure(table_of(world(400, 0.4, seed)), confidence=None).gain(3.0, 12.0) for seed in range(60)]
        spread = np.std([fit["probability"].iloc[0] for fit in fits], ddof=1)
        assert np.mean([fit["se"].iloc[0] for fit in fits]) == pytest.approx(spread, rel=0.3)


class TestNoFit:
    def test_what_cannot_be_fitted_says_why(self) -> None:
        nobody = pd.DataFrame({"start": 0, "stop": [1.0, 2.0], "cause": None})
        assert mixture_cure(table_of(nobody)).table["note"].iloc[0] == "no event"
        once = pd.DataFrame({"start": 0, "stop": [3.0] * 30 + [9.0] * 30, "cause": ["buy"] * 30 + [None] * 30})
        fit = mixture_cure(table_of(once))
        assert "come at 1 ages" in fit.table["note"].iloc[0]
        assert fit.table["share"].isna().all()
        assert fit.gain(0.0, 5.0)["probability"].isna().all()
        at_zero = pd.DataFrame({"start": 0, "stop": [0.0] * 30 + [9.0] * 30, "cause": ["buy"] * 30 + [None] * 30})
        assert "no event comes after time 0" in mixture_cure(table_of(at_zero)).table["note"].iloc[0]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"family": "weibul"}, "Did you mean 'weibull'"),
            ({"cause": "sale"}, "Unknown cause 'sale'"),
            ({"cuts": [3, 2]}, "days that rise"),
            ({"cuts": []}, "days that rise"),
            ({"confidence": 95}, "Write 0.95"),
            ({"max_times": 5}, "max_times=5"),
        ],
    )
    def test_impossible_parameters(self, given: dict, said: str) -> None:
        with pytest.raises(MicroconvError, match=said):
            mixture_cure(table_of(world(50, 0.5, 1, ends=0.3)), **given)


class TestPlateaus:
    @pytest.mark.parametrize(
        ("name", "delay"),
        [
            ("Weibull", lambda rng, n: 300 * rng.exponential(size=n) ** 2),
            ("exponential", lambda rng, n: 60 * rng.exponential(size=n)),
            ("lognormal", lambda rng, n: 100 * np.exp(1.5 * rng.normal(size=n))),
            ("Lomax", lambda rng, n: 20 * np.expm1(rng.exponential(size=n) / 0.4)),
            ("two speeds", lambda rng, n: rng.exponential(size=n) * np.where(rng.random(n) < 0.4, 3, 400)),
        ],
    )
    def test_refuses_where_everybody_converts_in_the_end_slowly(self, name: str, delay) -> None:  # type: ignore[no-untyped-def]
        for seed in range(3):
            rng = np.random.default_rng(seed)
            late, watched = delay(rng, 3_000), rng.uniform(0, 90, 3_000)
            rows = pd.DataFrame({"start": 0.0, "stop": np.minimum(late, watched)})
            rows["cause"] = np.where(late <= watched, "buy", None)
            found = plateaus(table_of(rows), "buy").table.iloc[0]
            assert math.isnan(found["share"]), name
            assert found["method"].startswith("refused: ")
            assert found["observed_ci_low"] < found["observed_share"] < found["observed_ci_high"] < 1

    def test_the_reliable_age_counts_who_is_watched_whether_they_convert_or_not(self) -> None:
        # 1,000 users entered evenly over 100 days: the age that 2 % of them were watched for is 98 days, although nine
        # in ten had converted by then.
        watched = np.arange(1_000) / 10 + 0.05
        late = np.where(np.arange(1_000) % 10 > 0, 0.01, np.inf)
        rows = pd.DataFrame({"start": 0.0, "stop": np.minimum(late, watched)})
        rows["cause"] = np.where(late <= watched, "buy", None)
        found = reliable_ages(table_of(rows)).iloc[0]
        assert found["reliable_days"] == pytest.approx(98, abs=1.1)
        assert not found["ended"]

    def test_complete_where_every_interval_has_ended(self) -> None:
        rows = pd.DataFrame({"start": 0.0, "stop": np.arange(1.0, 41.0), "cause": ["buy"] * 30 + ["end"] * 10})
        found = plateaus(table_of(rows), "buy").table.iloc[0]
        assert found["method"] == "observed: every journey has ended"
        assert found["share"] == pytest.approx(0.75)
        assert found["delay_median_days"] == 15
