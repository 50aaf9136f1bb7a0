"""The risk ratio of an effect, with its interval."""

from __future__ import annotations

import numpy as np
import pytest

from microconv.errors import ParameterError
from microconv.stats import Effect


def effect(done: float, never: float, covariance: object = ((1e-4, 2e-5), (2e-5, 4e-4))) -> Effect:
    matrix = np.array(covariance, dtype=float)
    se = float(np.sqrt(np.array([1, -1]) @ matrix @ np.array([1, -1])))
    return Effect(done, never, done - never, se, matrix, 100.0, 0.0, 50.0, 40.0)


def test_the_interval_is_that_of_the_logarithm() -> None:
    ratio, low, high = effect(0.3, 0.2).risk_ratio(0.9)
    assert ratio == pytest.approx(1.5)
    assert low * high == pytest.approx(ratio**2)
    rng = np.random.default_rng(1)
    draws = rng.multivariate_normal([0.3, 0.2], [[1e-6, 2e-7], [2e-7, 4e-6]], 200_000)
    sd = np.log(draws[:, 0] / draws[:, 1]).std()
    small = effect(0.3, 0.2, [[1e-6, 2e-7], [2e-7, 4e-6]]).risk_ratio(0.9)
    assert np.log(small[2] / small[0]) == pytest.approx(1.6448536 * sd, rel=0.02)


def test_chances_of_zero_or_unknown() -> None:
    assert effect(0.3, 0.0).risk_ratio() == (np.inf, 0.0, np.inf)
    assert effect(0.0, 0.3).risk_ratio() == (0.0, 0.0, np.inf)
    for one in (effect(0.0, 0.0), effect(np.nan, 0.2), effect(0.2, np.nan)):
        assert np.isnan(one.risk_ratio()).all()
    certain = effect(0.3, 0.2, np.zeros((2, 2))).risk_ratio()
    assert certain == pytest.approx((1.5, 1.5, 1.5))
    wide = effect(1e-8, 1e-9, [[1.0, 0.0], [0.0, 1.0]]).risk_ratio()
    assert wide[1:] == (0.0, np.inf)


def test_a_confidence_that_is_none() -> None:
    with pytest.raises(ParameterError, match=r"confidence=1\.5"):
        effect(0.3, 0.2).risk_ratio(1.5)
