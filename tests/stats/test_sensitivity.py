"""Hidden confounding: published E-values, the bound itself against every confounder, and what it makes of an effect."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microconv.errors import ParameterError
from microconv.stats import bounding_factor, confounded_effect, confounding_statement, e_value, hidden_confounding
from microconv.stats.effects import Effect
from microconv.stats.sensitivity import STRENGTHS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "value.json").read_text())["e_values"]
chances = st.floats(0.02, 0.98)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "point", "limit"),
    [
        (3.9, 1.8, 8.7, 7.263, 3.0),  # VanderWeele and Ding (2017), breastfeeding and respiratory death
        (10.73, 8.02, 14.36, 20.95, 15.52),  # Ding and VanderWeele (2016), smoking and lung cancer
        (1 / 3.9, 1 / 8.7, 1 / 1.8, 7.263, 3.0),  # turned round
        (1.6, 0.9, 2.8, 2.58, 1.0),  # the interval includes 1
    ],
)
def test_published_e_values(ratio: float, low: float, high: float, point: float, limit: float) -> None:
    found = e_value(ratio, low, high)
    assert found == pytest.approx((point, limit), rel=5e-4)


def test_equals_the_strength_that_solves_the_bound() -> None:
    found = [e_value(ratio)[0] for ratio in GOLDEN["ratio"]]
    np.testing.assert_allclose(found, GOLDEN["e_value"], rtol=1e-6)
    for ratio in GOLDEN["ratio"]:
        strength = e_value(ratio)[0]
        assert ratio / bounding_factor(strength, strength) == pytest.approx(1.0, abs=1e-12)


def test_edges() -> None:
    assert e_value(1.0, 0.8, 1.2) == (1.0, 1.0)
    assert e_value(1.0, 1.0, 1.0) == (1.0, 1.0)
    point, limit = e_value(2.0)
    assert point == pytest.approx(2 + math.sqrt(2))
    assert math.isnan(limit)
    assert all(math.isnan(one) for one in e_value(math.nan, math.nan, math.nan))
    assert e_value(math.inf, 0.0, math.inf) == (math.inf, 1.0)
    assert e_value(0.0, 0.0, math.inf) == (math.inf, 1.0)
    assert e_value(0.0, 0.0, 0.5) == pytest.approx((math.inf, e_value(2.0)[0]))
    assert e_value(0.5, 0.0, 0.9)[1] == pytest.approx(e_value(1 / 0.9)[0])


def test_the_factor() -> None:
    assert bounding_factor(2, 2) == pytest.approx(4 / 3)
    assert bounding_factor(1, 7) == 1
    assert bounding_factor(math.inf, 3) == 3
    assert bounding_factor(3, math.inf) == 3
    assert bounding_factor(math.inf, math.inf) == math.inf
    np.testing.assert_allclose(bounding_factor([1, 2, 3], 3), [1, 6 / 4, 9 / 5])


@given(frequency=st.lists(st.tuples(chances, chances, chances, chances), min_size=2, max_size=4))
def test_no_confounder_bends_a_ratio_by_more_than_the_factor(frequency: list[tuple[float, ...]]) -> None:
    """Levels with any frequency, any chance to do the micro, and any chance of the macro with it and without."""
    share, does, with_it, without = np.array(frequency).T
    share = share / share.sum()
    doers, others = share * does / (share @ does), share * (1 - does) / (share @ (1 - does))
    observed = (doers @ with_it) / (others @ without)
    # Both ways round, as the strength of the association with the micro is meant.
    with_micro = max((doers / others).max(), (others / doers).max())
    with_macro = without.max() / without.min()
    factor = bounding_factor(with_micro, with_macro)
    true = (doers @ with_it) / (doers @ without)  # among the doers
    assert observed / factor * (1 - 1e-9) <= true <= observed * factor * (1 + 1e-9)
    rows = hidden_confounding(observed, strengths=[(with_micro, with_macro)]).iloc[0]
    assert rows["ratio_low"] * (1 - 1e-9) <= true <= rows["ratio_high"] * (1 + 1e-9)
    # The same of the effect.
    effect = Effect(doers @ with_it, others @ without, 0.0, 0.0, np.zeros((2, 2)), 1, 0, 1, 1)
    bounds = confounded_effect(effect, [(with_micro, with_macro)]).iloc[0]
    assert bounds["ci_low"] - 1e-9 <= doers @ (with_it - without) <= bounds["ci_high"] + 1e-9


def test_the_factor_is_reached() -> None:
    """A binary confounder that all doers have: no smaller factor would do."""
    doers, others, without = np.array([1.0, 0.0]), np.array([0.25, 0.75]), np.array([0.6, 0.2])
    bent = (doers @ without) / (others @ without)
    assert bent == pytest.approx(bounding_factor(4.0, 3.0))


def test_table_of_strengths() -> None:
    table = hidden_confounding(3.9, 1.8, 8.7)
    assert table["with_micro"].tolist() == list(STRENGTHS) == table["with_macro"].tolist()
    assert table["factor"].tolist() == pytest.approx([1, 1.5625 / 1.5, 2.25 / 2, 4 / 3, 9 / 5, 25 / 9])
    assert table["ratio_low"].tolist() == pytest.approx((3.9 / table["factor"]).tolist())
    assert table["ci_high"].tolist() == pytest.approx((8.7 * table["factor"]).tolist())
    # 1.8 over 9 / 5 is no effect, as the E-value of 3 of the limit says.
    assert table["effect_remains"].tolist() == [True, True, True, True, False, False]
    below = hidden_confounding(0.5, 0.4, 0.6, [(1, 9), (2, 3), (5, 5)])
    assert below["effect_remains"].tolist() == [True, True, False]
    assert below["with_macro"].tolist() == [9, 3, 5]


def _effect(done: float, never: float, **more: float) -> Effect:
    covariance = np.array([[4e-4, 5e-5], [5e-5, 1e-4]])
    return Effect(done, never, done - never, 0.02, covariance, 100, 0.0, 90, 80, **more)


def test_effect_by_hand() -> None:
    table = confounded_effect(_effect(0.4, 0.2, value_done=40, value_never=16), [1, 2, 20])
    plain, bent, far = (table.iloc[i] for i in range(3))
    assert plain["incremental_low"] == plain["incremental_high"] == pytest.approx(0.2)
    se = math.sqrt(4e-4 - 2 * 5e-5 + 1e-4)
    assert plain["ci_low"] == pytest.approx(0.2 - 1.959964 * se, abs=1e-7)
    assert plain["ci_high"] == pytest.approx(0.2 + 1.959964 * se, abs=1e-7)
    factor = 4 / 3
    assert bent["incremental_low"] == pytest.approx(0.4 - 0.2 * factor)
    assert bent["incremental_high"] == pytest.approx(0.4 - 0.2 / factor)
    low = math.sqrt(4e-4 - 2 * factor * 5e-5 + factor**2 * 1e-4)
    assert bent["ci_low"] == pytest.approx(0.4 - 0.2 * factor - 1.959964 * low, abs=1e-7)
    assert (bent["incremental_value_low"], bent["incremental_value_high"]) == pytest.approx((40 - 16 * factor, 28))
    assert table["effect_remains"].tolist() == [True, True, False]
    # Beyond 1 no chance goes: then only that of the doers is uncertain.
    assert far["incremental_low"] == pytest.approx(-0.6)
    assert far["ci_low"] == pytest.approx(-0.6 - 1.959964 * 0.02, abs=1e-7)


def test_effect_without_money_and_with_nobody_converting() -> None:
    table = confounded_effect(_effect(0.4, 0.0), [2, math.inf])
    assert table[["incremental_value_low", "incremental_value_high"]].isna().all(axis=None)
    assert table["incremental_low"].tolist() == table["incremental_high"].tolist() == [0.4, 0.4]
    assert table["ci_low"].tolist() == pytest.approx([0.4 - 1.959964 * 0.02108185, -1.0], abs=1e-6)
    assert table["ci_high"].max() < 0.45


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((3.9, 1.8, 8.7), "7.3-fold, both beyond what is adjusted for; 3.0-fold each would do"),
        ((3.9,), "To explain the ratio of 3.90 away"),
        ((1.6, 0.9, 2.8), "Chance alone may explain the ratio of 1.60 (0.90 to 2.80)"),
        ((math.nan,), "no ratio"),
        ((math.inf, 2.0, math.inf), "No hidden trait of finite strength could explain the ratio of inf (2.00 to inf)"),
    ],
)
def test_in_plain_words(numbers: tuple[float, ...], said: str) -> None:
    assert said in confounding_statement(*numbers)


def test_errors_name_the_value_and_the_mend() -> None:
    with pytest.raises(ParameterError, match=r"risk_ratio=-1 must be a ratio of chances"):
        e_value(-1)
    with pytest.raises(ParameterError, match=r"low='a' must be a ratio"):
        e_value(2.0, "a", 3.0)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"interval from 2\.5 to 3 does not hold the ratio 2"):
        e_value(2.0, 2.5, 3.0)
    with pytest.raises(ParameterError, match=r"with_micro=0\.5 is no strength.*as strong as 2"):
        bounding_factor(0.5, 2)
    with pytest.raises(ParameterError, match=r"with_macro=nan"):
        hidden_confounding(2.0, strengths=[(2.0, math.nan)])
    with pytest.raises(ParameterError, match=r"strengths holds \(1, 2, 3\)"):
        hidden_confounding(2.0, strengths=[(1, 2, 3)])  # type: ignore[list-item]
    with pytest.raises(ParameterError, match="confidence"):
        confounded_effect(_effect(0.4, 0.2), confidence=95)
    assert isinstance(hidden_confounding(2.0, strengths=[]), pd.DataFrame)
