"""An experiment that nudges: a published trial, R's two-stage least squares and test inversion, and planted truth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from microconv.errors import ParameterError
from microconv.stats import Encouragement, encouragement_effect
from microconv.stats._anderson_rubin import effects_not_refuted

GOLDEN = Path(__file__).parents[1] / "golden" / "value.json"
# Sommer and Zeger (1991): vitamin A and the deaths of children; who was assigned and who got it.
VITAMIN_A = pd.DataFrame(
    {
        "arm": ["none", "none", "vitamin", "vitamin", "vitamin", "vitamin"],
        "did": [0, 0, 0, 0, 1, 1],
        "converted": [1, 0, 1, 0, 1, 0],
        "users": [74, 11_514, 34, 2_385, 12, 9_663],
    }
)


@pytest.fixture(scope="module")
def r() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())["nudge"]


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of users as counts."""
    keys = ["arm", "did", "converted"]
    frame = rows.rename(columns={"does": "did", "buys": "converted"}).assign(users=1)
    frame["cents_squared"] = frame["cents"] ** 2.0
    return frame.groupby(keys, as_index=False)[["users", "cents", "cents_squared"]].sum()


def trial(r: dict[str, Any], name: str) -> tuple[pd.DataFrame, dict[str, Any], str]:
    """The users that an analysis in R is of, its numbers, and its outcome."""
    rows = pd.DataFrame(r["rows"])
    if name in ("gap", "empty"):
        rows["buys"] = r["odd"]
    if name in ("few", "gap"):
        rows = rows.iloc[: r["few_users"]]
    arms = {"mail": ["mail"], "mail_money": ["mail"], "banner": ["banner"], "few": ["banner"], "gap": ["banner"]}
    rows = rows[rows["arm"].isin(["control", *arms.get(name, ["banner", "mail"])])]
    return rows, r[name], "cents" if name.endswith("money") else "converted"


@pytest.mark.parametrize("name", ["all", "all_money", "mail", "mail_money", "banner", "few", "gap", "empty"])
def test_equals_r(r: dict[str, Any], name: str) -> None:
    rows, golden, outcome = trial(r, name)
    found = encouragement_effect(counted(rows), "control", outcome=outcome, confidence=golden["level"])
    for ours, theirs in (("effect", "effect"), ("se", "se"), ("first_stage_f", "f"), ("p_value", "p")):
        assert getattr(found, ours) == pytest.approx(golden[theirs], rel=1e-6), ours
    ends = [end for pair in found.intervals for end in pair if math.isfinite(end)]
    np.testing.assert_allclose(ends, np.atleast_1d(golden["set"]["roots"]), rtol=1e-6)
    # Far to the left R finds itself inside or outside.
    assert (found.ci_low == -math.inf) == golden["set"]["inside_first"]


@pytest.mark.parametrize(
    ("name", "shape", "weak", "said"),
    [
        ("all", "interval", False, "Effects of 0.01 to 0.5817 agree with the experiment at 95%."),
        ("few", "everything", True, "No effect whatever can be ruled out"),
        ("gap", "two half lines", True, "Effects of at most -6.289 or at least 0.7843 agree"),
        ("empty", "empty", False, "No single effect fits all arms"),
    ],
)
def test_what_the_set_looks_like_is_said(r: dict[str, Any], name: str, shape: str, weak: bool, said: str) -> None:
    rows, _, _ = trial(r, name)
    found = encouragement_effect(counted(rows), "control")
    assert found.shape == shape
    assert found.weak is weak
    assert said in found.meaning
    assert math.isnan(found.ci_low) == (shape == "empty")


def test_vitamin_a() -> None:
    """Imbens and Rubin (1997): 3.2 children fewer of a thousand die among those who take it; standard error 1.2."""
    found = encouragement_effect(VITAMIN_A, "none")
    assert found.effect == pytest.approx(-0.0032, abs=5e-5)
    assert found.se == pytest.approx(0.0012, abs=5e-5)
    assert found.first_stage == pytest.approx(0.80, abs=5e-4)
    assert found.ci_low < found.effect < found.ci_high < 0
    # Wald's error by hand: nobody in the control took it.
    share, n1, n0 = 9_675 / 12_094, 12_094, 11_588
    mean1, mean0 = 46 / n1, 74 / n0
    wald = (mean1 - mean0) / share
    assert found.effect == pytest.approx(wald)
    taken, spread = 12 / n1 - mean1 * share, share * (1 - share)
    variance = (mean1 * (1 - mean1) - 2 * wald * taken + wald**2 * spread) / n1 + mean0 * (1 - mean0) / n0
    assert found.se == pytest.approx(math.sqrt(variance) / share)


def test_arms_against_the_control(r: dict[str, Any]) -> None:
    rows, _, _ = trial(r, "all")
    arms = encouragement_effect(counted(rows), "control").arms.set_index("arm")
    assert arms.index.tolist() == ["control", "banner", "mail"]
    for name in ("mail", "banner"):
        alone = encouragement_effect(counted(trial(r, name)[0]), "control")
        assert arms.loc[name, "effect"] == pytest.approx(r[name]["effect"], rel=1e-6)
        assert (arms.loc[name, "ci_low"], arms.loc[name, "ci_high"]) == pytest.approx((alone.ci_low, alone.ci_high))
        assert alone.first_stage == pytest.approx(arms.loc[name, "did_more"])
    assert encouragement_effect(counted(rows), "control").first_stage == pytest.approx(arms.loc["mail", "did_more"])
    assert arms.loc["control", ["effect", "ci_low", "ci_high"]].isna().all()
    assert arms["users"].sum() == len(rows)


def test_any_control_and_order_of_rows(r: dict[str, Any]) -> None:
    counts = counted(trial(r, "all")[0])
    one = encouragement_effect(counts, "control")
    other = encouragement_effect(counts.sample(frac=1, random_state=2), "mail")
    assert other.effect == pytest.approx(one.effect)
    assert (other.ci_low, other.ci_high) == pytest.approx((one.ci_low, one.ci_high))


def test_money_in_other_units_is_the_same_answer(r: dict[str, Any]) -> None:
    counts = counted(trial(r, "all_money")[0])
    one = encouragement_effect(counts, "control", outcome="cents")
    larger = counts.assign(cents=counts["cents"] * 1e6, cents_squared=counts["cents_squared"] * 1e12)
    other = encouragement_effect(larger, "control", outcome="cents")
    assert (other.ci_low, other.ci_high) == pytest.approx((one.ci_low * 1e6, one.ci_high * 1e6))
    assert other.p_value == pytest.approx(one.p_value)


@given(
    mean=st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 1)), min_size=2, max_size=5),
    size=st.lists(st.floats(0.01, 1), min_size=5, max_size=5),
    lean=st.floats(-0.9, 0.9),
    point=st.floats(-30, 30),
)
def test_a_point_is_in_the_set_where_the_test_does_not_refute_it(
    mean: list[tuple[float, float]], size: list[float], lean: float, point: float
) -> None:
    gap = np.array([[out, -did] for out, did in mean])
    variance = np.array([[one, -2 * lean * one, one] for one in size[: len(mean)]])
    critical = 3.0
    m, v = gap @ [1, point], variance @ [1, point, point**2]
    q = (m - (m / v).sum() / (1 / v).sum()) ** 2 @ (1 / v)
    inside = any(low <= point <= high for low, high in effects_not_refuted(gap, variance, critical))
    if abs(q - critical) > 1e-6:
        assert inside == (q < critical)


def drawn(rng: np.random.Generator, users: int, nudged: float) -> pd.DataFrame:
    """Users who do the micro in any case convert most; of those whom the nudge moves the effect is .2, of others .5."""
    rows = []
    for arm in ("control", "nudge"):
        for kind, share, base, gain in (
            ("always", 0.2, 0.4, 0.5),
            ("never", 0.8 - nudged, 0.1, 0.5),
            ("moved", nudged, 0.2, 0.2),
        ):
            did = int(kind == "always" or (kind == "moved" and arm == "nudge"))
            n = rng.binomial(users, share)
            k = rng.binomial(n, base + gain * did)
            rows += [(arm, did, 1, k), (arm, did, 0, n - k)]
    return pd.DataFrame(rows, columns=["arm", "did", "converted", "users"])


@pytest.mark.parametrize(("users", "nudged"), [(4_000, 0.3), (400, 0.05)])
def test_the_set_holds_the_effect_among_those_who_are_moved(users: int, nudged: float) -> None:
    rng = np.random.default_rng(11)
    found = [encouragement_effect(drawn(rng, users, nudged), "control") for _ in range(400)]
    held = sum(any(low <= 0.2 <= high for low, high in one.intervals) for one in found)
    low, high = beta.ppf(0.0005, held, 401 - held), beta.ppf(0.9995, held + 1, 400 - held)
    assert low < 0.97
    assert high > 0.93
    if nudged > 0.1:
        assert np.mean([one.effect for one in found]) == pytest.approx(0.2, abs=0.01)
        assert not any(one.weak for one in found)
    else:  # the nudge moves twenty users: the estimate is worthless, and that is said
        assert np.mean([one.weak for one in found]) > 0.8
        assert np.mean([one.shape != "interval" for one in found]) > 0.3


def test_a_comparison_of_doers_would_not_do() -> None:
    """Those who do it in any case would have converted more often anyway."""
    counts = drawn(np.random.default_rng(5), 200_000, 0.3)
    done = counts.groupby(["did", "converted"])["users"].sum()
    naive = done[1, 1] / done[1].sum() - done[0, 1] / done[0].sum()
    assert naive > 0.45
    assert encouragement_effect(counts, "control").effect == pytest.approx(0.2, abs=0.02)


def test_arms_of_which_nobody_varies() -> None:
    counts = pd.DataFrame({"arm": ["a", "b", "b"], "did": [0, 1, 0], "converted": [0, 1, 0], "users": [50, 20, 30]})
    found = encouragement_effect(counts, "a")
    assert found.effect == pytest.approx(1.0)
    assert found.shape == "interval"
    sure = counts[:2]
    certain = encouragement_effect(sure, "a")
    assert certain.effect == 1.0
    assert certain.first_stage_f == math.inf


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"control": "nome"}, r"Unknown arm control= 'nome'. Did you mean 'none'"),
        ({}, {"outcome": "revenue"}, r"Unknown outcome 'revenue'"),
        ({}, {"outcome": "cents"}, r"Unknown column 'cents'"),
        ({}, {"confidence": 95}, r"Write 0\.95"),
        ({"arm": "none"}, {}, r"There is no arm but 'none'"),
        ({"arm": None}, {}, r"arm is missing for some users"),
        ({"did": 0}, {}, r"do the micro as often in every arm"),
        ({"did": 3}, {}, r"'did' must be 0 or 1"),
        ({"converted": 0.5}, {}, r"'converted' must be 0 or 1"),
        ({"users": -4}, {}, r"users holds -4"),
    ],
)
def test_errors(change: dict[str, Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        encouragement_effect(VITAMIN_A.assign(**change), **{"control": "none", **options})


def test_the_frame_of_the_caller_stays_as_it_is() -> None:
    before = VITAMIN_A.copy()
    assert isinstance(encouragement_effect(VITAMIN_A, "none"), Encouragement)
    pd.testing.assert_frame_equal(VITAMIN_A, before)
