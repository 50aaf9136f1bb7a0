"""Each estimator on counts equals a plain Python one on rows: small random logs, late entry, ties, weights."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv import MicroconvWarning, RiskTable, stats

Row = tuple[Fraction, Fraction, str | None, str, str, int]  # start, stop, cause, group, stratum, weight
COLUMNS = ["start", "stop", "cause", "group", "stratum", "weight"]
half_days = st.integers(0, 12).map(lambda k: Fraction(k, 2))


@st.composite
def a_row(draw: st.DrawFn, *, late: bool = True) -> Row:
    start = draw(st.one_of(st.just(Fraction(0)), half_days)) if late else Fraction(0)
    shortest = 0 if start == 0 else 1
    stop = start + Fraction(draw(st.integers(shortest, 10)), 2)
    cause = draw(st.sampled_from([None, "buy", "leave", "refund"]))
    return start, stop, cause, draw(st.sampled_from("abc")), draw(st.sampled_from("xy")), draw(st.integers(1, 3))


rows_of = st.lists(a_row(), min_size=1, max_size=14)


def table(rows: list[Row], patterns: tuple[str, ...] = ()) -> RiskTable:
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"start": float, "stop": float, "cause": object})
    return RiskTable.from_intervals(frame, "start", "stop", "cause", patterns, weight_col="weight")


def quietly(run: Callable[[], object]) -> object:
    """Late entry in random rows often ends a curve early, and tau often lies past the end: said, and not the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)
        return run()


def expand(rows: list[Row]) -> list[Row]:
    return [row for row in rows for _ in range(row[5])]


def at_risk(rows: list[Row], t: Fraction) -> list[Row]:
    return [row for row in rows if (row[0] < t or row[0] == t == 0) and row[1] >= t]


def event_times(rows: list[Row]) -> list[Fraction]:
    return sorted({row[1] for row in rows if row[2]})


def naive_survival(rows: list[Row], t: Fraction) -> tuple[Fraction, float]:
    """Survival just after t and its standard error, in exact fractions, a user at a time."""
    survival, greenwood = Fraction(1), Fraction(0)
    for time in event_times(rows):
        if time <= t:
            n = len(at_risk(rows, time))
            d = sum(row[1] == time and row[2] is not None for row in rows)
            survival *= Fraction(n - d, n)
            greenwood += Fraction(d, n * (n - d)) if n > d else 0
    return survival, float(survival) * math.sqrt(greenwood) if survival else math.nan


@given(rows_of)
@settings(max_examples=60, deadline=None)
def test_kaplan_meier(rows: list[Row]) -> None:
    rt = table(rows)
    curve = quietly(lambda: stats.kaplan_meier(rt))
    users = expand(rows)
    for line in curve.itertuples():
        t = Fraction(line.time_days)
        survival, se = naive_survival(users, t)
        assert line.survival == pytest.approx(float(survival), rel=1e-12, abs=1e-15)
        assert line.se == pytest.approx(se, rel=1e-9, nan_ok=True)
        assert line.at_risk == len(at_risk(users, t))
        assert line.events == sum(row[1] == t and row[2] is not None for row in users)
        if 0 < line.survival < 1:
            low, high = log_log(line.survival, se)
            assert (line.ci_low, line.ci_high) == pytest.approx((low, high), rel=1e-9)
    assert {float(t) for t in event_times(users)} <= set(curve["time_days"])


def log_log(survival: float, se: float, z: float = 1.959963984540054) -> tuple[float, float]:
    centre, width = math.log(-math.log(survival)), z * se / (survival * -math.log(survival))
    return math.exp(-math.exp(centre + width)), math.exp(-math.exp(centre - width))


@given(rows_of, half_days.filter(bool))
@settings(max_examples=60, deadline=None)
def test_restricted_mean(rows: list[Row], tau: Fraction) -> None:
    users = expand(rows)
    found = quietly(lambda: stats.rmst(table(rows), float(tau))).iloc[0]
    last = max(row[1] for row in users)
    if tau > last and naive_survival(users, last)[0] > 0:
        assert math.isnan(found["estimate"])
        assert math.isnan(found["se"])
        return
    times = [Fraction(0), *(t for t in event_times(users) if 0 < t < tau), tau]

    def area(start: Fraction) -> Fraction:
        kept = [start, *(t for t in times if t > start)]
        return sum((naive_survival(users, a)[0] * (b - a) for a, b in itertools.pairwise(kept)), Fraction(0))

    variance = Fraction(0)
    for t in event_times(users):
        n, d = len(at_risk(users, t)), sum(row[1] == t and row[2] is not None for row in users)
        if t <= tau and n > d:
            variance += area(t) ** 2 * Fraction(d, n * (n - d))
    assert found["estimate"] == pytest.approx(float(area(Fraction(0))), rel=1e-12)
    assert found["se"] == pytest.approx(math.sqrt(variance), rel=1e-9, abs=1e-12)


@given(rows_of, st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]))
@settings(max_examples=60, deadline=None)
def test_quantiles(rows: list[Row], p: float) -> None:
    """The first time at which the share reaches p; in the middle of the flat part where it stays at p."""
    users = expand(rows)
    share = [(t, 1 - naive_survival(users, t)[0]) for t in event_times(users)]
    wanted = Fraction(p).limit_denominator(1000)
    reached = [t for t, y in share if y >= wanted]
    passed = [t for t, y in share if y > wanted]
    flat = any(y == wanted for _, y in share)
    end = max(row[1] for row in users)
    expected = math.nan if not reached else float(reached[0])
    if flat:
        expected = float((reached[0] + (passed[0] if passed else end)) / 2)
    found = quietly(lambda: stats.quantiles(table(rows), p)).iloc[0]
    assert found["time_days"] == pytest.approx(expected, nan_ok=True)


@given(rows_of)
@settings(max_examples=60, deadline=None)
def test_aalen_johansen(rows: list[Row]) -> None:
    """Probabilities and covariance by the matrix recursion of Andersen, Borgan, Gill and Keiding (1993, IV.4.1.3)."""
    users, causes = expand(rows), ["buy", "leave", "refund"]
    curve = quietly(lambda: stats.aalen_johansen(table(rows)))
    state, cov = np.array([1.0, 0, 0, 0]), np.zeros((4, 4))
    for t in event_times(users):
        n = len(at_risk(users, t))
        a = np.array([sum(row[1] == t and row[2] == cause for row in users) / n for cause in causes])
        step = np.eye(4)
        step[0] += np.array([-a.sum(), *a])
        outward = np.vstack([-np.ones(3), np.eye(3)])  # how a fraction of a cause moves the four states
        noise = outward @ ((np.diag(a) - np.outer(a, a)) / n) @ outward.T
        cov = step.T @ cov @ step + state[0] ** 2 * noise
        state = state @ step
        rows_now = curve[curve["time_days"] == float(t)].set_index("cause")
        for at, cause in enumerate(causes, start=1):
            if cause in rows_now.index:
                assert rows_now.loc[cause, "probability"] == pytest.approx(state[at], rel=1e-9, abs=1e-12)
                assert rows_now.loc[cause, "se"] == pytest.approx(math.sqrt(max(cov[at, at], 0)), rel=1e-6, abs=1e-8)


@given(rows_of)
@settings(max_examples=60, deadline=None)
def test_causes_and_survival_add_to_one(rows: list[Row]) -> None:
    rt = table(rows, ("group",))
    total = quietly(lambda: stats.aalen_johansen(rt)).groupby(["group", "time_days"])["probability"].sum()
    survival = quietly(lambda: stats.kaplan_meier(rt)).set_index(["group", "time_days"])["survival"]
    if rt.causes:
        np.testing.assert_allclose((total + survival).to_numpy(), 1.0, rtol=1e-12)
    else:
        assert (survival == 1).all()


@given(rows_of)
@settings(max_examples=40, deadline=None)
def test_one_cause_is_kaplan_meier(rows: list[Row]) -> None:
    rt = table([(*row[:2], row[2] and "buy", *row[3:]) for row in rows])
    curve = quietly(lambda: stats.kaplan_meier(rt))
    incidence = quietly(lambda: stats.aalen_johansen(rt))
    if not rt.causes:
        assert incidence.empty
        return
    inside = (curve["survival"] > 0).to_numpy()
    np.testing.assert_allclose(incidence["probability"], 1 - curve["survival"], atol=1e-12)
    for ours, theirs in (("ci_low", 1 - curve["ci_high"]), ("ci_high", 1 - curve["ci_low"]), ("se", curve["se"])):
        np.testing.assert_allclose(incidence.loc[inside, ours], theirs[inside], atol=1e-9)


@given(rows_of, st.sampled_from([0, 0.5, 1]))
@settings(max_examples=60, deadline=None)
def test_logrank(rows: list[Row], rho: float) -> None:
    users = expand(rows)
    groups = sorted({row[3] for row in users})
    difference, variance = np.zeros(len(groups)), np.zeros((len(groups), len(groups)))
    for stratum in sorted({row[4] for row in users}):
        within, survival = [row for row in users if row[4] == stratum], 1.0
        for t in event_times(within):
            here = at_risk(within, t)
            n, d = len(here), sum(row[1] == t and row[2] is not None for row in within)
            share = np.array([sum(row[3] == g for row in here) / n for g in groups])
            seen = np.array([sum(row[1] == t and row[2] is not None and row[3] == g for row in within) for g in groups])
            weight = survival**rho
            difference += weight * (seen - d * share)
            if n > 1:
                variance += weight**2 * d * (n - d) / (n - 1) * (np.diag(share) - np.outer(share, share))
            survival *= 1 - d / n
    found = stats.logrank(table(rows, ("group", "stratum")), "group", strata="stratum", rho=rho)
    rank = np.linalg.matrix_rank(variance, tol=1e-9, hermitian=True)
    assert found.degrees_of_freedom == rank
    np.testing.assert_allclose((found.groups["observed"] - found.groups["expected"]), difference, atol=1e-9)
    np.testing.assert_allclose(found.variance, variance, atol=1e-9)
    if rank:
        expected = difference @ np.linalg.pinv(variance, rcond=1e-9, hermitian=True) @ difference
        assert found.chi2 == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert math.isnan(found.chi2)


@given(rows_of, st.randoms(use_true_random=False), st.data())
@settings(max_examples=60, deadline=None)
def test_order_and_splits_change_nothing(rows: list[Row], random: object, data: st.DataObject) -> None:
    patterns = ("group", "stratum")
    whole = table(rows, patterns)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert table(shuffled, patterns) == whole
    cut: list[Row] = []
    for row in rows:
        inside = [Fraction(k, 4) for k in range(1, 48) if row[0] < Fraction(k, 4) < row[1]]
        at = data.draw(st.sampled_from(inside)) if inside and data.draw(st.booleans()) else None
        cut.extend([row] if at is None else [(row[0], at, None, *row[3:]), (at, row[1], *row[2:])])
    assert table(cut, patterns) == whole


@given(rows_of, st.integers(0, 14))
@settings(max_examples=60, deadline=None)
def test_tables_add_up(rows: list[Row], at: int) -> None:
    patterns = ("group", "stratum")
    parts = [table(part, patterns) for part in (rows[:at], rows[at:])]
    whole = table(rows, patterns)
    assert parts[0] + parts[1] == whole
    assert parts[1] + parts[0] == whole
    assert whole.pool("group") == table(rows, ("group",))
    assert whole.pool() == table(rows)


@given(st.lists(a_row(late=False).filter(lambda row: row[1] > 0), min_size=1, max_size=10), half_days)
@settings(max_examples=40, deadline=None)
def test_a_later_origin_moves_the_times_only(rows: list[Row], shift: Fraction) -> None:
    """All times later by a constant: the same curve, that much later."""
    moved = [(row[0] + shift, row[1] + shift, *row[2:]) for row in rows]
    before, after = stats.kaplan_meier(table(rows)), stats.kaplan_meier(table(moved))
    before, after = before[before["time_days"] > 0], after[after["time_days"] > float(shift)]
    np.testing.assert_allclose(after["time_days"] - float(shift), before["time_days"])
    for column in ("survival", "se", "ci_low", "ci_high", "at_risk", "events", "censored"):
        np.testing.assert_array_equal(after[column], before[column])
