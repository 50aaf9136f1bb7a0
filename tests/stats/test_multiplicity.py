"""Adjusted p-values: a published example, statsmodels on any numbers, and what must not depend on the order."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from microconv.errors import ParameterError
from microconv.stats import adjust_p_values

THEIRS = {"bh": "fdr_bh", "holm": "holm", "bonferroni": "bonferroni"}
# Benjamini and Hochberg 1995, section 4.1.
P = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.759, 1.0]

lists = st.lists(st.floats(0, 1), max_size=30)


@pytest.mark.parametrize(("method", "findings"), [("bh", 4), ("bonferroni", 3), ("holm", 3)])
def test_the_example_of_benjamini_and_hochberg(method: str, findings: int) -> None:
    assert (adjust_p_values(P, method) <= 0.05).sum() == findings


@pytest.mark.parametrize("method", THEIRS)
@given(p=lists.filter(bool))
def test_equals_statsmodels(method: str, p: list[float]) -> None:
    with mock.patch("gc.collect"):  # statsmodels collects garbage with each Holm, which takes most of the time
        theirs = multipletests(p, method=THEIRS[method])[1]
    np.testing.assert_allclose(adjust_p_values(p, method), theirs, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("method", THEIRS)
@given(p=lists, missing=st.integers(0, 3), seed=st.integers(0, 99))
def test_order_and_unanswered_questions_change_nothing(method: str, p: list[float], missing: int, seed: int) -> None:
    place = np.random.default_rng(seed).permutation(len(p) + missing)
    mixed = np.array([*p, *[np.nan] * missing])[place]
    wanted = np.array([*adjust_p_values(p, method), *[np.nan] * missing])[place]
    np.testing.assert_array_equal(adjust_p_values(mixed, method), wanted)


@given(p=lists)
def test_methods_are_ordered_and_never_below_p(p: list[float]) -> None:
    bh, holm, bonferroni = (adjust_p_values(p, method) for method in ("bh", "holm", "bonferroni"))
    slack = 1e-12
    assert (np.array(p) <= bh + slack).all()
    assert (bh <= holm + slack).all()
    assert (holm <= bonferroni + slack).all()
    assert (bonferroni <= 1).all()


def test_shape_is_kept_and_the_argument_left_alone() -> None:
    p = np.array([[0.2, np.nan], [0.01, 0.5]])
    before = p.copy()
    assert adjust_p_values(p).shape == (2, 2)
    np.testing.assert_array_equal(p, before)
    assert adjust_p_values([]).shape == (0,)
    assert adjust_p_values(0.3) == 0.3


def test_errors_name_the_value_and_what_is_allowed() -> None:
    with pytest.raises(ParameterError, match=r"Unknown method 'BH'\. Did you mean 'bh'"):
        adjust_p_values([0.1], "BH")
    with pytest.raises(ParameterError, match=r"p holds 1\.2, which is no p-value"):
        adjust_p_values([0.1, 1.2])
    with pytest.raises(ParameterError, match="must hold numbers"):
        adjust_p_values(["small"])


def test_equals_p_adjust_of_r() -> None:
    golden = json.loads((Path(__file__).parents[1] / "golden" / "curves.json").read_text())
    for case in (golden["adjust"], golden["adjust_gaps"]):
        p = np.array(case["p"], dtype=float)
        for method in THEIRS:
            np.testing.assert_allclose(adjust_p_values(p, method), np.array(case[method], dtype=float), rtol=1e-12)
