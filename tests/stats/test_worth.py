"""What a conversion brings, by state and attributes: against statsmodels and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from reference.chains import known

from microconv import stats
from microconv.errors import ParameterError
from microconv.stats.intensity_fit import Intensities


@pytest.fixture(scope="module")
def fitted() -> Intensities:
    return known({"guide": 1, "cart": 1}, ["desktop", "mobile"], [1.0], ["buy"], lambda *_: 0.2)


def orders(seed: int = 4, many: int = 3_000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    guide, cart = rng.integers(0, 2, (2, many))
    segment = rng.choice(["desktop", "mobile"], many)
    mean = 5_000 * 1.3**guide * 0.9**cart * np.where(segment == "mobile", 0.7, 1.0)
    cents = np.round(mean * np.exp(rng.normal(-0.18, 0.6, many)))
    return pd.DataFrame({"guide": guide, "cart": cart, "segment": segment, "cents": cents})


def summed(rows: pd.DataFrame) -> pd.DataFrame:
    squares = rows.assign(conversions=1, cents_squared=rows["cents"] ** 2)
    return squares.groupby(["guide", "cart", "segment"]).sum().reset_index()


def test_it_is_a_poisson_regression_of_money_with_robust_errors(fitted: Intensities) -> None:
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    rows = orders()
    found = stats.mean_worth(summed(rows), fitted, prior_sd=np.inf)
    x = np.column_stack([np.ones(len(rows)), rows["guide"], rows["cart"], rows["segment"] == "mobile"])
    glm = sm.GLM(rows["cents"], x.astype(float), family=sm.families.Poisson()).fit(cov_type="HC0", tol=1e-13)
    assert found.table["coef"].to_numpy() == pytest.approx(glm.params.to_numpy()[1:], abs=1e-7)
    assert found.covariance == pytest.approx(glm.cov_params().to_numpy(), rel=1e-6)
    assert list(found.table["term"]) == ["guide", "cart", "segment=mobile"]
    # State 1 has the guide, state 2 the cart; cell 1 is mobile.
    assert found.mean[1, 3] == pytest.approx(np.exp(glm.params.sum()))
    assert found.mean[0, 0] == pytest.approx(np.exp(glm.params.iloc[0]))
    weak = stats.mean_worth(summed(rows), fitted)
    assert np.abs(weak.table["coef"] - found.table["coef"]).max() < 1e-4


def test_a_state_without_a_conversion_has_a_mean_all_the_same(fitted: Intensities) -> None:
    rows = orders()
    found = stats.mean_worth(summed(rows[(rows["guide"] == 0) | (rows["cart"] == 0)]), fitted)
    assert found.mean[0, 3] == pytest.approx(found.mean[0, 1] * found.mean[0, 2] / found.mean[0, 0])
    never = stats.mean_worth(summed(rows[rows["guide"] == 0]), fitted)
    assert never.mean[0, 1] == pytest.approx(never.mean[0, 0])
    assert np.isfinite(never.covariance).all()


def test_refunds_and_free_orders(fitted: Intensities) -> None:
    rows = orders()
    rows.loc[(rows["guide"] == 1) & (rows["cart"] == 1) & (rows["segment"] == "mobile"), "cents"] = -200.0
    some = stats.mean_worth(summed(rows), fitted)
    assert (some.mean > 0).all()
    for cents in (0.0, -500.0):
        found = stats.mean_worth(summed(rows.assign(cents=cents)), fitted)
        assert (found.mean == cents).all()
        assert not len(found.table)
        assert found.covariance.shape == (1, 1)


def test_impossible_questions(fitted: Intensities) -> None:
    for column in ("guide", "segment", "cents_squared"):
        with pytest.raises(ParameterError, match=column):
            stats.mean_worth(summed(orders()).drop(columns=column), fitted)
