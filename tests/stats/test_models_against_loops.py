"""Models on counts equal plain loops over rows: random rows with ties, late entry, rivals, strata, several per user."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lifelines.datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import cox as plain
from reference import poisson

from microconv import MicroconvWarning, RiskTable, stats

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Drawn:
    start: float
    stop: float
    cause: str | None
    group: str
    x: int
    done: bool
    stratum: str
    user: int


COLUMNS = ["start", "stop", "cause", "group", "x", "done", "stratum", "user"]
PATTERNS = ("group", "x", "done", "stratum")


@st.composite
def journeys(draw: st.DrawFn, users: int = 14) -> list[Drawn]:
    """Users in one to three stretches that touch or leave gaps, at half days, so that ties abound."""
    rows: list[Drawn] = []
    for user in range(draw(st.integers(6, users))):
        group, stratum = draw(st.sampled_from("abc")), draw(st.sampled_from("yz"))
        at = draw(st.sampled_from([0, 0, 0, 1, 2]))
        stretches = draw(st.integers(1, 3))
        for number in range(stretches):
            stop = at + draw(st.integers(0 if at == 0 and number == 0 and stretches == 1 else 1, 5))
            last = number == stretches - 1
            cause = draw(st.sampled_from(["buy", "buy", "buy", "leave", None])) if last else None
            x, done = draw(st.integers(0, 2)), draw(st.booleans())
            rows.append(Drawn(at / 2, stop / 2, cause, group, x, done, stratum, user))
            at = stop + draw(st.sampled_from([0, 0, 0, 1]))
    return rows


def frame(rows: list[Drawn]) -> pd.DataFrame:
    return pd.DataFrame([[getattr(row, column) for column in COLUMNS] for row in rows], columns=COLUMNS)


def table(rows: list[Drawn], patterns: tuple[str, ...] = PATTERNS) -> RiskTable:
    return RiskTable.from_intervals(frame(rows).astype({"cause": object}), "start", "stop", "cause", patterns)


TERMS: dict[tuple[str, ...], Callable[[Drawn], tuple[float, ...]]] = {
    ("done",): lambda row: (float(row.done),),
    ("x", "done"): lambda row: (float(row.x), float(row.done)),
    ("group", "done"): lambda row: (float(row.group == "b"), float(row.group == "c"), float(row.done)),
    ("group", "x"): lambda row: (float(row.group == "b"), float(row.group == "c"), float(row.x)),
}


def rows_of(rows: list[Drawn], terms: tuple[str, ...], strata: bool, cause: str | None = "buy") -> list[plain.Row]:
    return [
        plain.Row(
            row.start,
            row.stop,
            row.cause is not None if cause is None else row.cause == cause,
            TERMS[terms](row),
            row.user,
            row.stratum if strata else "",
        )
        for row in rows
    ]


def quietly(run: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)
        return run()


asked = st.tuples(st.sampled_from(sorted(TERMS)), st.sampled_from(["efron", "breslow"]), st.booleans())


def test_the_loops_are_right() -> None:
    """The plain Cox fit, with its errors by user, is R's (tests/golden/logs.R)."""
    golden = json.loads((GOLDEN / "logs.json").read_text())["heart"]
    heart = lifelines.datasets.load_stanford_heart_transplants()
    for key, columns, stratum, ties in (
        ("one_robust", ["transplant"], None, "efron"),
        ("one_robust_breslow", ["transplant"], None, "breslow"),
        ("four_robust", ["age", "year", "surgery", "transplant"], None, "efron"),
        ("strata_robust", ["age", "transplant"], "surgery", "efron"),
    ):
        rows = [
            plain.Row(
                row["start"],
                row["stop"],
                row["event"] == 1,
                tuple(float(row[column]) for column in columns),
                row["id"],
                row[stratum] if stratum else "",
            )
            for row in heart.to_dict("records")
        ]
        found = plain.fit(rows, len(columns), ties)
        assert found is not None
        errors = np.sqrt(np.diag(plain.robust(rows, found.beta, found.information, ties)))
        np.testing.assert_allclose(found.beta, np.ravel(golden[key]["coef"]), rtol=1e-8)
        np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), np.ravel(golden[key]["se"]), rtol=1e-8)
        np.testing.assert_allclose(errors, np.ravel(golden[key]["robust"]), rtol=1e-7)
        np.testing.assert_allclose([found.null, found.log_likelihood], golden[key]["loglik"], rtol=1e-10)


@given(journeys(), asked, st.sampled_from(["buy", None]))
@settings(max_examples=60)
def test_cox(rows: list[Drawn], how: tuple[tuple[str, ...], str, bool], cause: str | None) -> None:
    terms, ties, strata = how
    if cause is None:  # where there is one cause, it need not be named
        rows = [replace(row, cause="buy" if row.cause else None) for row in rows]
    plainly = rows_of(rows, terms, strata, cause)
    k = len(plainly[0].z)
    assume(any(row.event for row in plainly) and {row.group for row in rows} == set("abc"))
    expected = plain.fit(plainly, k, ties) if not plain.monotone(plainly, k) else None
    assume(expected is not None)
    found = stats.cox(table(rows), list(terms), ties, ["stratum"] if strata else [], cause=cause)
    np.testing.assert_allclose(found.table["coef"], expected.beta, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.table["se"], np.sqrt(np.diag(expected.covariance)), rtol=1e-6)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-6, atol=1e-9)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-9, abs=1e-9)
    assert found.null_log_likelihood == pytest.approx(expected.null, rel=1e-9, abs=1e-9)
    assert not list(found.separated)


@given(journeys(users=9), asked)
@settings(max_examples=60)
def test_what_has_no_finite_estimate_is_named(rows: list[Drawn], how: tuple[tuple[str, ...], str, bool]) -> None:
    """Which coefficients the data push away without end, by linear programmes: the same, and no number for them."""
    from microconv.errors import ParameterError

    terms, ties, strata = how
    plainly = rows_of(rows, terms, strata)
    assume(any(row.event for row in plainly) and {row.group for row in rows} == set("abc"))
    k = len(plainly[0].z)
    without = plain.monotone(plainly, k)
    assume(without)
    try:
        found = quietly(lambda: stats.cox(table(rows), list(terms), ties, ["stratum"] if strata else [], cause="buy"))
    except ParameterError as error:  # a constant or a linear combination of the others: refused by name
        if not any(term in str(error) for term in terms):
            pytest.fail(f"The refusal does not say of what: {error}")
        return
    names = found.table["term"].tolist()
    said = {names.index(term) for term in found.separated}
    nan = {i for i, value in enumerate(found.table["coef"]) if not np.isfinite(value)}
    assert said | nan == without
    finite = found.table[["coef", "se", "hazard_ratio", "ci_low", "ci_high"]].to_numpy()
    assert np.isfinite(finite[[i for i in range(k) if i not in without]]).all()


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_limit_of_what_runs_away(ties: str) -> None:
    """One coefficient without end: the one limit it has is where the likelihood is half a chi-squared below its height.

    The p-value is that of the likelihood ratio against no effect.
    """
    from scipy.stats import chi2

    limits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        stop = rng.integers(1, 8, 20) / 2
        done = rng.random(20) < 0.5
        event = (done == (seed % 2 == 0)) & (rng.random(20) < 0.6)  # only those who did, or only those who did not
        users = pd.DataFrame({"start": 0.0, "stop": stop, "cause": event, "done": done})
        rows = [
            plain.Row(0.0, t, bool(e), (float(z),), n)
            for n, (t, e, z) in enumerate(zip(stop, event, done, strict=True))
        ]
        ends = [plain.evaluate(rows, np.array([at]), ties)[0] for at in (-25.0, 0.0, 25.0)]
        if not event.any() or abs(ends[0] - ends[2]) < 3.85 / 2:
            continue  # the same for all, or even the other end is within the limit
        counts = RiskTable.from_intervals(users, "start", "stop", "cause", ["done"])
        found = quietly(lambda counts=counts: stats.cox(counts, ["done"], ties)).table.iloc[0]
        limit, other, end = ("ci_low", "ci_high", math.inf) if ends[2] > ends[0] else ("ci_high", "ci_low", 0.0)
        assert found[other] == end or math.isnan(found[other])
        at = plain.evaluate(rows, np.array([math.log(found[limit])]), ties)[0]
        assert max(ends) - at == pytest.approx(3.841458820694124 / 2, abs=1e-4)
        assert found["p_value"] == pytest.approx(chi2.sf(2 * (max(ends) - ends[1]), 1), rel=1e-3, abs=1e-9)
        limits += 1
    assert limits > 20


@given(journeys(), asked)
@settings(max_examples=40)
def test_errors_by_user(rows: list[Drawn], how: tuple[tuple[str, ...], str, bool]) -> None:
    """Several stretches of a user, and users whose stretches lie in both strata."""
    terms, ties, strata = how
    plainly = rows_of(rows, terms, strata)
    k = len(plainly[0].z)
    assume(any(row.event for row in plainly) and {row.group for row in rows} == set("abc"))
    expected = plain.fit(plainly, k, ties) if not plain.monotone(plainly, k) else None
    assume(expected is not None)
    counts = table(rows, (*PATTERNS, "user"))
    found = stats.cox(counts, list(terms), ties, ["stratum"] if strata else [], cause="buy", cluster="user")
    errors = plain.robust(plainly, expected.beta, expected.information, ties)
    np.testing.assert_allclose(found.covariance, errors, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found.table["se"], np.sqrt(np.diag(errors)), rtol=1e-5, atol=1e-8)


@given(journeys(), asked, st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.75, 3.0]), min_size=0, max_size=3, unique=True))
@settings(max_examples=60)
def test_piecewise_exponential(rows: list[Drawn], how: tuple[tuple[str, ...], str, bool], cuts: list[float]) -> None:
    terms, _, strata = how
    cuts = sorted(cuts)
    plainly = rows_of(rows, terms, strata)
    assume(any(row.event for row in plainly) and {row.group for row in rows} == set("abc"))
    k = len(plainly[0].z)
    expected = poisson.fit(plainly, cuts, k)
    assume(expected is not None)
    beta, covariance, _ = expected
    found = stats.piecewise_exponential(
        table(rows), list(terms), cuts, strata=["stratum"] if strata else [], cause="buy"
    )
    np.testing.assert_allclose(found.table["coef"], beta, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.table["se"], np.sqrt(np.diag(covariance)), rtol=1e-6)


@given(journeys(), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_splitting_anywhere_changes_nothing(rows: list[Drawn], random: Any) -> None:
    cut: list[Drawn] = []
    for row in rows:
        inside = [at / 4 for at in range(1, 80) if row.start < at / 4 < row.stop]
        at = random.choice(inside) if inside and random.random() < 0.7 else None
        if at is None:
            cut.append(row)
        else:
            own = {column: getattr(row, column) for column in COLUMNS}
            cut += [Drawn(**{**own, "stop": at, "cause": None}), Drawn(**{**own, "start": at})]
    random.shuffle(cut)
    for patterns in (PATTERNS, (*PATTERNS, "user")):
        assert table(cut, patterns) == table(rows, patterns)
    assume(sum(row.cause == "buy" for row in rows) > 1)
    whole, parts = table(rows), table(cut)
    for estimate in (
        lambda rt: stats.aalen_johansen(rt.pool("group")),
        lambda rt: stats.gray_test(rt, "done", cause="buy").table,
        lambda rt: stats.piecewise_exponential(rt, ["x"], [0.6], cause="buy").table,
        lambda rt: stats.cox(rt, ["x"], cause="buy").table,
    ):
        pd.testing.assert_frame_equal(outcome(estimate, parts), outcome(estimate, whole))


def outcome(estimate: Callable[[RiskTable], pd.DataFrame], counts: RiskTable) -> pd.DataFrame:
    """A frame, or the words of a refusal in one."""
    from microconv.errors import ParameterError

    try:
        return quietly(lambda: estimate(counts))
    except ParameterError as error:
        return pd.DataFrame({"refused": [str(error)]})
