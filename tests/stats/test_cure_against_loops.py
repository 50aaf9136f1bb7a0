"""Mixture-cure fits: their likelihood, its maximum and its profile, against the likelihood written user by user."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from reference.cure import Model, Seen, log_likelihood
from scipy.optimize import minimize

from microconv import RiskTable, stats


def sample(seed: int, share: float, *, late: bool = False, zeros: bool = False, ties: bool = False) -> list[Seen]:
    rng = np.random.default_rng(seed)
    users: list[Seen] = []
    while len(users) < 150:
        delay = 3.0 * rng.weibull(1.3) if rng.random() < share else math.inf
        delay = 0.0 if zeros and delay < 1 and rng.random() < 0.3 else delay
        delay = math.ceil(delay * 2) / 2 if ties and math.isfinite(delay) else delay
        censor, start = rng.uniform(5, 25), rng.uniform(0.1, 3) if late and rng.random() < 0.4 else 0.0
        seen = Seen(min(delay, censor), delay <= censor, start)
        if seen.stop > start or start == 0:
            users.append(seen)
    return users


def fitted(users: list[Seen], family: str, **options: object) -> tuple[Model, pd.Series]:
    frame = pd.DataFrame([(u.start, u.stop, u.event) for u in users], columns=["start", "stop", "event"])
    row = stats.mixture_cure(RiskTable.from_intervals(frame, "start", "stop", "event"), family, **options).table.iloc[0]
    assert row["converged"], row["note"]
    q = 1.0 if family == "weibull" else row["q"]
    return Model(row["share"], row["mu"], row["sigma"], q, row["at_zero"]), row


CASES = [
    (seed, share, options)
    for seed, (share, options) in enumerate(
        [
            (0.5, {}),
            (0.2, {}),
            (0.85, {"ties": True}),
            (0.5, {"late": True}),
            (0.6, {"zeros": True}),
            (0.5, {"late": True, "zeros": True, "ties": True}),
        ]
    )
]
FAMILIES = ["weibull", "generalised_gamma"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("seed", "share", "options"), CASES, ids=[str(case[1:]) for case in CASES])
def test_the_likelihood_is_that_of_the_users_and_nothing_near_is_higher(
    seed: int, share: float, options: dict[str, bool], family: str
) -> None:
    users = sample(seed, share, **options)
    model, row = fitted(users, family)
    top = log_likelihood(model, users)
    assert row["log_likelihood"] == pytest.approx(top, rel=1e-8, abs=1e-6)
    assert (row["n"], row["events"]) == (len(users), sum(user.event for user in users))
    best = climbed(model, users, family)
    assert best <= top + 1e-5
    # What the fit says of the delay is what its parameters say.
    for column, level in (("delay_median_days", 0.5), ("delay_p90_days", 0.9)):
        left = (1 - model.at_zero) * model.later(row[column])
        assert left == pytest.approx(1 - level, abs=1e-6) or (row[column] == 0 and model.at_zero >= level)
    last = max(user.stop for user in users)
    assert row["open_latency"] == pytest.approx((1 - model.at_zero) * model.later(last), abs=1e-9)


def climbed(model: Model, users: list[Seen], family: str, share: float | None = None) -> float:
    """The highest likelihood that a search without slopes finds near a model; with the share held where it is given."""

    def of(x: np.ndarray) -> Model:
        held = share if share is not None else 1 / (1 + math.exp(-x[3]))
        at_zero = 1 / (1 + math.exp(-x[4])) if model.at_zero > 0 else 0.0
        return Model(held, x[0], math.exp(x[1]), x[2] if family != "weibull" else 1.0, at_zero)

    def lost(x: np.ndarray) -> float:
        if abs(x[1]) > 5 or abs(x[2]) > 5:
            return 1e9
        try:
            return -log_likelihood(of(x), users)
        except ValueError:  # the logarithm of a chance of 0
            return 1e9

    odds = math.log(model.share / (1 - model.share)) if model.share < 1 else 20.0
    zero = math.log(model.at_zero / (1 - model.at_zero)) if model.at_zero > 0 else 0.0
    start = np.array([model.mu, math.log(model.sigma), model.q, odds, zero])
    for _ in range(3):
        found = minimize(lost, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 2500})
        start = found.x
    return -float(found.fun)


@pytest.mark.parametrize(("seed", "share"), [(1, 0.5), (2, 0.25)])
def test_the_interval_ends_where_the_profile_has_lost_half_a_chi_squared(seed: int, share: float) -> None:
    users = sample(seed, share)
    model, row = fitted(users, "weibull")
    top = log_likelihood(model, users)
    for limit in ("ci_low", "ci_high"):
        lost = top - climbed(model, users, "weibull", row[limit])
        assert lost == pytest.approx(3.841458820694124 / 2, abs=2e-3), limit


def test_grouped_events() -> None:
    """An event known only to lie within (a, b] adds S(a) - S(b), not its length times the density."""
    users, cuts = sample(3, 0.5), [0.5, 1.0, 2.0, 4.0, 8.0]
    model, row = fitted(users, "weibull", cuts=cuts)
    top = log_likelihood(model, users, cuts)
    assert row["log_likelihood"] == pytest.approx(top, rel=1e-8)
    for step in ((0.01, 0, 0), (-0.01, 0, 0), (0, 0.03, 0), (0, -0.03, 0), (0, 0, 0.03), (0, 0, -0.03)):
        near = Model(model.share + step[0], model.mu + step[1], model.sigma * math.exp(step[2]))
        assert log_likelihood(near, users, cuts) < top


def test_who_ends_otherwise_never_has_it() -> None:
    """Watched equally long, rivals count like those never seen to have it."""
    rng = np.random.default_rng(8)
    rows = []
    for _ in range(200):
        own = 2.0 * rng.weibull(1.2) if rng.random() < 0.4 else math.inf
        rival = rng.exponential(6.0) if rng.random() < 0.5 else math.inf
        stop = min(own, rival, 20.0)
        rows.append((0.0, stop, "buy" if stop == own else "leave" if stop == rival else None))
    frame = pd.DataFrame(rows, columns=["start", "stop", "cause"])
    row = stats.mixture_cure(RiskTable.from_intervals(frame, "start", "stop", "cause"), cause="buy").table.iloc[0]
    users = [Seen(stop if cause == "buy" else 20.0, cause == "buy") for _, stop, cause in rows]
    model, alone = fitted(users, "weibull")
    np.testing.assert_allclose(
        row[["share", "mu", "sigma", "ci_low", "ci_high"]].astype(float),
        alone[["share", "mu", "sigma", "ci_low", "ci_high"]].astype(float),
        rtol=1e-5,
    )
    assert model.share == pytest.approx(sum(cause == "buy" for *_, cause in rows) / 200, abs=0.02)


def test_trap_4_the_never_converters_do_not_vanish() -> None:
    """Seven in ten never convert; grouped by day, as whoever exports counts has them, they are still there.

    lifelines' ``MixtureCureFitter.fit_interval_censoring`` with an infinite upper bound says that nobody is cured.
    """
    rng = np.random.default_rng(4)
    never = rng.random(3000) < 0.7
    delay = np.where(never, np.inf, 3 * rng.weibull(1.2, 3000))
    users = [Seen(min(d, 30.0), d <= 30) for d in delay]
    for cuts in (None, list(range(1, 30))):
        _, row = fitted(users, "weibull", cuts=cuts)
        assert row["share"] == pytest.approx(1 - never.mean(), abs=0.005)
        assert row["ci_low"] < 0.3 < row["ci_high"]
        assert row["ci_high"] - row["ci_low"] < 0.04


def test_trap_4_what_lifelines_says() -> None:
    import warnings

    import lifelines

    rng = np.random.default_rng(4)
    never = rng.random(1000) < 0.7
    delay = np.where(never, np.inf, 3 * rng.weibull(1.2, 1000))
    low = np.where(delay <= 30, np.floor(delay), 30.0)
    high = np.where(delay <= 30, np.ceil(delay), np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = lifelines.MixtureCureFitter(base_fitter=lifelines.WeibullFitter())
        fitter.fit_interval_censoring(np.maximum(low, 1e-9), high)
    assert fitter.cured_fraction_ < 0.5 < never.mean()
