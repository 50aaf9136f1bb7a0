"""Shrinkage: BCG vaccine trials and eight schools as published, R's mixed-model equations, planted truth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microconv.errors import ParameterError
from microconv.stats import heterogeneity, shrink

GOLDEN = Path(__file__).parents[1] / "golden" / "value.json"
SCHOOLS = ([28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18])  # Rubin (1981)


@pytest.fixture(scope="module")
def r() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())["shrinkage"]


@pytest.mark.parametrize("method", ["reml", "dl"])
def test_bcg_equals_mixed_model_equations_in_r(r: dict[str, Any], method: str) -> None:
    golden = r[method]
    found = shrink(r["y"], r["se"], method=method)
    assert found.tau2 == pytest.approx(golden["tau2"], rel=1e-6)
    assert (found.mean, found.mean_se) == pytest.approx((golden["mean"], golden["mean_se"]), rel=1e-6)
    np.testing.assert_allclose(found.table["shrunk"], golden["shrunk"], rtol=1e-6)
    np.testing.assert_allclose(found.table["shrunk_se"], golden["shrunk_se"], rtol=1e-6)
    assert found.heterogeneity.q == pytest.approx(r["q"], rel=1e-6)
    assert found.heterogeneity.p_value == pytest.approx(r["p"], rel=1e-6)


def test_bcg_as_published(r: dict[str, Any]) -> None:
    """Viechtbauer (2010), Journal of Statistical Software 36, by REML; DerSimonian and Laird's as commonly quoted."""
    found = shrink(r["y"], r["se"])
    assert found.tau2 == pytest.approx(0.3132, abs=5e-5)
    assert (found.mean, found.mean_se) == pytest.approx((-0.7145, 0.1798), abs=5e-5)
    assert found.heterogeneity.q == pytest.approx(152.2330, abs=5e-5)
    assert found.heterogeneity.degrees_of_freedom == 12
    moments = shrink(r["y"], r["se"], method="dl")
    assert (moments.mean, moments.tau2) == pytest.approx((-0.714117, 0.308758), abs=3e-6)
    assert moments.heterogeneity.i2 == pytest.approx(0.92117, abs=5e-6)


@pytest.mark.parametrize("method", ["reml", "dl"])
def test_eight_schools_are_all_alike(method: str) -> None:
    found = shrink(*SCHOOLS, method=method)
    assert found.heterogeneity.q == pytest.approx(4.707, abs=5e-4)
    assert found.tau2 == 0
    assert (found.mean, found.mean_se) == pytest.approx((7.686, 4.072), abs=5e-4)
    assert found.table["shrunk"].nunique() == 1
    assert found.table["shrunk_se"].tolist() == pytest.approx([found.mean_se] * 8)


@given(
    y=st.lists(st.floats(-5, 5), min_size=3, max_size=12),
    s=st.lists(st.floats(0.1, 3), min_size=12, max_size=12),
)
def test_reml_is_where_the_restricted_likelihood_is_largest(y: list[float], s: list[float]) -> None:
    values, v = np.array(y), np.array(s[: len(y)]) ** 2
    tau2 = shrink(values, np.sqrt(v)).tau2

    def value(at: float) -> float:
        w = 1 / (v + at)
        return float(np.log(w).sum() - np.log(w.sum()) - w @ (values - w @ values / w.sum()) ** 2)

    assert max(value(at) for at in [0, *np.geomspace(1e-5, 1e3, 400)]) <= value(tau2) + 1e-9


def test_unknown_estimates_are_taken_for_the_mean(r: dict[str, Any]) -> None:
    whole = shrink(r["y"], r["se"])
    more = shrink([*r["y"], math.nan, 1.0, 2.0], [*r["se"], 0.1, math.nan, math.inf])
    assert more.tau2 == pytest.approx(whole.tau2, rel=1e-12)
    last = more.table.iloc[-3:]
    assert last["shrunk"].tolist() == pytest.approx([whole.mean] * 3)
    assert last["weight"].tolist() == [0, 0, 0]
    assert last["shrunk_se"].tolist() == pytest.approx([math.hypot(math.sqrt(whole.tau2), whole.mean_se)] * 3)
    assert more.heterogeneity == whole.heterogeneity


def test_one_estimate_alone() -> None:
    found = shrink([0.3], [0.1])
    assert found.table["shrunk"].tolist() == [0.3]
    assert found.tau2 == 0
    assert math.isnan(found.heterogeneity.q)
    assert heterogeneity([1.0, 1.0], [0.5, 2.0]).p_value == 1


@pytest.mark.parametrize("scale", ["logit", "cloglog"])
def test_chances_by_hand(scale: str) -> None:
    p, se = np.array([0.05, 0.1, 0.3]), np.array([0.01, 0.02, 0.03])
    if scale == "logit":
        y, s = np.log(p / (1 - p)), se / (p * (1 - p))
    else:
        y, s = np.log(-np.log(1 - p)), se / ((1 - p) * -np.log(1 - p))
    plain, found = shrink(y, s), shrink(p, se, scale=scale)
    assert found.tau2 == pytest.approx(plain.tau2, rel=1e-9)

    def back(x: Any) -> Any:
        return 1 / (1 + np.exp(-x)) if scale == "logit" else 1 - np.exp(-np.exp(x))

    for column in ("shrunk", "ci_low", "ci_high"):
        np.testing.assert_allclose(found.table[column], back(plain.table[column]), rtol=1e-9)
    h = 1e-6
    slope = (back(plain.table["shrunk"] + h) - back(plain.table["shrunk"] - h)) / (2 * h)
    np.testing.assert_allclose(found.table["shrunk_se"], plain.table["shrunk_se"] * slope, rtol=1e-6)
    np.testing.assert_allclose(found.table["estimate"], p)


@pytest.mark.parametrize("scale", ["identity", "logit", "cloglog"])
def test_rescaled_to_the_total(scale: str) -> None:
    p, se, users = [0.05, 0.1, 0.3, math.nan], [0.01, 0.02, 0.03, math.nan], [400, 200, 100, 50]
    found = shrink(p, se, scale=scale, weights=users, total=0.11)
    assert np.average(found.table["shrunk"], weights=users) == pytest.approx(0.11, abs=1e-12)
    plain = shrink(p, se, scale=scale)
    # The order stays, and so do the raw intervals.
    assert found.table["shrunk"].rank().tolist() == plain.table["shrunk"].rank().tolist()
    np.testing.assert_array_equal(found.table["ci_low"], plain.table["ci_low"])


def test_nearer_the_truth_and_the_test_has_its_size() -> None:
    rng = np.random.default_rng(8)
    se = rng.uniform(0.02, 0.08, 40)
    error, raw_error, tau2, below = [], [], [], 0
    for _ in range(400):
        truth = 0.2 + 0.04 * rng.standard_normal(40)
        y = truth + se * rng.standard_normal(40)
        found = shrink(y, se)
        error.append(((found.table["shrunk"] - truth) ** 2).mean())
        raw_error.append(((y - truth) ** 2).mean())
        tau2.append(found.tau2)
        below += heterogeneity(0.2 + se * rng.standard_normal(40), se).p_value < 0.05
    assert np.mean(error) < 0.6 * np.mean(raw_error)
    assert np.mean(tau2) == pytest.approx(0.04**2, rel=0.05)
    assert 8 <= below <= 36  # 400 draws at 5 %: three standard errors are 13


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (([1, 2], [1]), {}, r"estimates has the shape \(2,\) and se \(1,\)"),
        ((["a"], [1]), {}, "must hold numbers"),
        (([1, 2], [1, 0]), {}, r"0 among estimates and se.*standard errors above 0"),
        (([math.inf, 2], [1, 1]), {}, "estimates must be finite"),
        (([math.nan], [1]), {}, "None of the estimates is known"),
        (([1, 2], [1, 1]), {"method": "ml"}, r"Unknown method 'ml'"),
        (([1, 2], [1, 1]), {"scale": "log"}, r"Unknown scale 'log'"),
        (([1, 2], [1, 1]), {"weights": [1, 1]}, "belong together"),
        (([1, 2], [1, 1]), {"weights": [1, -1], "total": 1}, r"weights=\[1, -1\] must hold a size"),
        (([1, 2], [1, 1]), {"weights": [1, 1], "total": math.nan}, "total=nan"),
        (([0.0, 0.5], [0.1, 0.1]), {"scale": "logit"}, r"estimates holds 0: .*half a user more"),
        (([0.2, 0.5], [0.1, 0.1]), {"scale": "logit", "weights": [1, 1], "total": 1}, "total=1 is no chance"),
    ],
)
def test_errors(values: tuple[Any, Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        shrink(*values, **options)
