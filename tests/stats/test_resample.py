"""Resampling by bucket: weights of Poisson draws, sums of replicates, and t intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from microconv.errors import ParameterError
from microconv.stats.resample import poisson_weights, resampled, t_limits


def test_weights_are_poisson_draws_and_the_same_each_time() -> None:
    weights = poisson_weights(256, 1_000, seed=3)
    assert weights.shape == (1_000, 256)
    np.testing.assert_array_equal(weights, poisson_weights(256, 1_000, seed=3))
    assert (weights != poisson_weights(256, 1_000, seed=4)).any()
    error = 256_000**-0.5
    assert abs(weights.mean() - 1) < 4 * error
    assert abs(weights.var() - 1) < 4 * error * 3**0.5  # the fourth moment of a Poisson of mean 1 is 4
    assert set(np.unique(weights)) <= set(range(12))


def test_sums_of_replicates() -> None:
    rng = np.random.default_rng(0)
    sums, weights = rng.random((5, 2, 3)), poisson_weights(5, 7)
    expected = np.array([sum(w * part for w, part in zip(row, sums, strict=True)) for row in weights])
    np.testing.assert_allclose(resampled(weights, sums), expected)
    np.testing.assert_allclose(resampled(np.ones((1, 5)), sums)[0], sums.sum(axis=0))


def test_the_spread_of_replicates_is_the_error_of_a_mean() -> None:
    """A ratio of sums over users in buckets: the replicates' spread is the textbook error."""
    rng = np.random.default_rng(1)
    value, bucket = rng.exponential(2.0, 20_000), rng.integers(0, 256, 20_000)
    sums = np.stack([np.bincount(bucket, value, 256), np.bincount(bucket, minlength=256)], axis=1)
    drawn = resampled(poisson_weights(256, 2_000), sums)
    spread = (drawn[:, 0] / drawn[:, 1]).std(ddof=1)
    # The spread of 256 buckets is itself uncertain by 1 in sqrt(2 * 255).
    assert spread == pytest.approx(value.std() / 20_000**0.5, rel=3.3 / 510**0.5)


@pytest.mark.parametrize("buckets", [20, 256])
def test_t_intervals_on_each_scale(buckets: int) -> None:
    quantile = t.ppf(0.975, buckets - 1)
    low, high = t_limits(0.3, 0.05, buckets)
    assert (low, high) == pytest.approx((0.3 - quantile * 0.05, 0.3 + quantile * 0.05))
    low, high = t_limits(0.3, 0.05, buckets, scale="log")
    assert np.log([low, high]) == pytest.approx(np.log(0.3) + np.array([-1, 1]) * quantile * 0.05 / 0.3)
    low, high = t_limits(0.3, 0.05, buckets, scale="logit")
    logit = np.log([low / (1 - low), high / (1 - high)])
    assert logit == pytest.approx(np.log(0.3 / 0.7) + np.array([-1, 1]) * quantile * 0.05 / 0.21)
    narrow = t_limits(0.3, 0.05, buckets, confidence=0.5)
    assert narrow[1] - narrow[0] < 0.1


@pytest.mark.parametrize(("estimate", "se", "scale"), [(0.0, 0.1, "log"), (1.0, 0.1, "logit"), (0.5, np.nan, "log")])
def test_where_there_is_no_interval(estimate: float, se: float, scale: str) -> None:
    assert np.isnan(t_limits(estimate, se, 256, scale=scale)).all()


def test_limits_of_what_is_hardly_known_are_the_ends_of_the_scale() -> None:
    # Two buckets and a share near its edge: a width of thousands on the logit scale.
    assert t_limits(0.999, 0.5, 2, scale="logit") == pytest.approx((0, 1))
    low, high = t_limits(0.01, 5.0, 2, scale="log")
    assert low == pytest.approx(0)
    assert 1e200 < high < np.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: poisson_weights(1), "buckets=1 must be a whole number, 2 or more"),
        (lambda: poisson_weights(10, True), "replicates=True"),
        (lambda: poisson_weights(10, 10, -1), "seed=-1 must be a whole number, 0 or more"),
        (lambda: t_limits(0.5, 0.1, 256, scale="logits"), "logits.*logit"),
        (lambda: t_limits(0.5, 0.1, 256, confidence=95), r"confidence=95.*0\.95"),
        (lambda: t_limits(0.5, 0.1, 1), "buckets=1 must be"),
    ],
)
def test_impossible_options(call: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        call()
