"""Two arms compared within strata: means standardised to one population, and Mantel-Haenszel ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from microconv.counts import as_names
from microconv.errors import ParameterError, unknown_name
from microconv.stats._arms import Arms, TwoMeans, check_to, compared, read_arms
from microconv.stats._curves import Floats, z_value

__all__ = ["CommonRatio", "Standardised", "mantel_haenszel", "standardised"]

MEASURES = ("odds_ratio", "risk_ratio")


@dataclass(frozen=True)
class Standardised:
    """``means``: both arms standardised to the same strata. ``left_out``: the share of the population whose strata have
    one arm only, and which the means are not of. ``table``: a row per stratum: the strata columns, ``users_treated,
    users_untreated, mean_treated, mean_untreated, share`` (of the population compared; 0 where there is one arm).
    """

    means: TwoMeans
    left_out: float
    table: pd.DataFrame


@dataclass(frozen=True)
class CommonRatio:
    """A ratio that is taken to be the same in all strata, with its interval, and the test that it is 1
    (Cochran-Mantel-Haenszel, without continuity correction; one degree of freedom).
    """

    estimate: float
    ci_low: float
    ci_high: float
    chi2: float
    p_value: float
    strata: int


@dataclass(frozen=True, eq=False)
class _Strata:
    """By stratum and arm (0: untreated, 1: treated): users and sums."""

    keys: pd.DataFrame
    users: Floats
    total: Floats
    squared: Floats

    @property
    def both(self) -> np.ndarray:
        """Which strata have both arms."""
        return np.asarray((self.users > 0).all(axis=1))


def standardised(
    counts: pd.DataFrame,
    treated: str,
    strata: str | Sequence[str],
    *,
    outcome: str,
    users: str | None = "users",
    squared: str | None = None,
    to: str = "all",
    confidence: float = 0.95,
) -> Standardised:
    """What would the mean outcome have been had all users been treated, and had none, strata being what they are?

    * ``counts``: rows with a 0/1 column ``treated``, ``users`` (None: a row is one user), ``outcome`` (its sum over the
      users: how many of them converted, or an amount with its sum of squares in ``squared``) and the ``strata``.
    * ``to``: the population whose strata count: ``"all"`` users, the ``"treated"`` or the ``"untreated"``.

    Users of strata with one arm only are compared with nobody: they are left out and their share is told. The variance
    holds that of the means and that of the strata's shares; a stratum with a single user of an arm borrows the variance
    within the other strata of that arm (NaN where there is none). Nonparametric standardisation (the g-formula with one
    time point; Hernan and Robins, "What If", chapter 2); causal only if the strata hold all that drives both. Raises
    ``ParameterError``.
    """
    z = z_value(confidence)
    arms = read_arms(counts, treated, outcome, users, squared, as_names(strata))
    found = _by_stratum(arms, as_names(strata))
    population = {"all": found.users.sum(axis=1), "treated": found.users[:, 1], "untreated": found.users[:, 0]}[
        check_to(to)
    ]
    size = np.where(found.both, population, 0.0)
    if not size.sum():
        raise ParameterError("No stratum has users of both arms, so nobody can be compared. Use coarser strata.")
    share = size / size.sum()
    mean = np.divide(found.total, found.users, out=np.full(found.total.shape, np.nan), where=found.users > 0)
    variance = _variance(found, mean)
    at = found.both
    overall = share[at] @ mean[at]
    apart = mean[at] - overall
    covariance = (apart.T * share[at]) @ apart / size.sum()
    covariance[np.diag_indices(2)] += (share[at] ** 2) @ (variance[at] / found.users[at])
    table = found.keys.assign(
        users_treated=found.users[:, 1],
        users_untreated=found.users[:, 0],
        mean_treated=mean[:, 1],
        mean_untreated=mean[:, 0],
        share=share,
    )
    left_out = float(1 - size.sum() / population.sum())
    return Standardised(compared(overall[1], overall[0], covariance[::-1, ::-1], z), left_out, table)


def mantel_haenszel(
    counts: pd.DataFrame,
    treated: str,
    strata: str | Sequence[str],
    *,
    outcome: str,
    users: str | None = "users",
    measure: str = "risk_ratio",
    confidence: float = 0.95,
) -> CommonRatio:
    """By which ratio do the treated do something more often than the untreated, within strata?

    Parameters as in ``standardised``; ``outcome`` counts the users who did. ``measure``: ``"risk_ratio"`` (variance of
    Greenland and Robins 1985) or ``"odds_ratio"`` (variance of Robins, Breslow and Greenland 1986). Strata with one arm
    say nothing. NaN (0 or infinity) where nobody (in one arm) did it. Equals R's ``mantelhaen.test(correct=FALSE)``.
    Raises ``ParameterError``.
    """
    from scipy.stats import chi2 as chi_squared

    z = z_value(confidence)
    if measure not in MEASURES:
        raise ParameterError(unknown_name("measure", measure, MEASURES))
    found = _by_stratum(read_arms(counts, treated, outcome, users, None, as_names(strata)), as_names(strata))
    at = found.both
    (n0, n1), (c, a) = found.users[at].T, found.total[at].T
    b, d, n = n1 - a, n0 - c, n0 + n1
    if measure == "odds_ratio":
        r, s, p = a * d / n, b * c / n, (a + d) / n
        above, below, q = r.sum(), s.sum(), 1 - p
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = (p @ r) / (2 * above**2) + (p @ s + q @ r) / (2 * above * below) + (q @ s) / (2 * below**2)
    else:
        above, below = (a * n0 / n).sum(), (c * n1 / n).sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = ((n1 * n0 * (a + c) - a * c * n) / n**2).sum() / (above * below)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.float64(above) / below
        more = n > 1
        spread = (n1 * n0 * (a + c) * (b + d))[more] / (n**2 * (n - 1))[more]
        chi2 = (a - n1 * (a + c) / n).sum() ** 2 / np.float64(spread.sum())
    known = above > 0 and below > 0
    width = z * np.sqrt(variance) if known else np.nan
    return CommonRatio(
        estimate=float(estimate),
        ci_low=float(estimate * np.exp(-width)),
        ci_high=float(estimate * np.exp(width)),
        chi2=float(chi2),
        p_value=float(chi_squared.sf(chi2, 1)),
        strata=int(at.sum()),
    )


def _by_stratum(arms: Arms, strata: Sequence[str]) -> _Strata:
    columns = list(strata)
    rows = arms.frame[columns].copy() if columns else pd.DataFrame(index=arms.frame.index)
    code = rows.groupby(columns, sort=True, dropna=False, observed=True).ngroup().to_numpy() if columns else 0
    code = np.broadcast_to(code, len(rows))
    many = int(code.max()) + 1
    place = 2 * code + arms.treated
    sums: list[Floats] = [
        np.bincount(place, value, 2 * many).astype(float).reshape(many, 2)
        for value in (arms.users, arms.total, arms.squared)
    ]
    first = np.full(many, len(rows))
    np.minimum.at(first, code, np.arange(len(rows)))
    return _Strata(rows.iloc[first].reset_index(drop=True), *sums)


def _variance(found: _Strata, mean: Floats) -> Floats:
    """The variance of the outcome within each stratum and arm."""
    users = found.users
    squares = np.maximum(found.squared - np.where(users > 0, mean, 0.0) ** 2 * users, 0.0)
    freedom = np.maximum(users - 1, 0)
    own = np.divide(squares, freedom, out=np.zeros_like(squares), where=freedom > 0)
    all_freedom = freedom.sum(axis=0)
    pooled = np.divide(squares.sum(axis=0), all_freedom, out=np.full(2, np.nan), where=all_freedom > 0)
    return np.where(freedom > 0, own, pooled)
