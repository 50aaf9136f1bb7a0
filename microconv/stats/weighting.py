"""Two arms compared after adjustment by a model: of who is treated (weighting), or of the outcome (regression)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from microconv.counts import as_names
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._arms import Arms, TwoMeans, check_to, compared, numbers, read_arms
from microconv.stats._curves import Floats, z_value

__all__ = ["Weighted", "inverse_probability", "outcome_regression"]

ERRORS = ("estimated", "fixed")
_ITERATIONS = 60
_FAR = 35.0  # a log odds beyond which a probability is 0 or 1 to the last digit
_COLLINEAR = 1e-9


@dataclass(frozen=True)
class Weighted:
    """``means``: of the two arms after weighting. ``weights``: a row per arm: ``arm, users, effective_users`` (Kish),
    ``mean, smallest, largest`` of the weights. ``model``: the log odds of treatment: ``term, coef, se``.
    ``row_weights``: by row of the counts that has users.
    """

    means: TwoMeans
    weights: pd.DataFrame
    model: pd.DataFrame
    row_weights: np.ndarray


def inverse_probability(
    counts: pd.DataFrame,
    treated: str,
    covariates: str | Sequence[str],
    *,
    outcome: str,
    users: str | None = None,
    squared: str | None = None,
    to: str = "all",
    stabilised: bool = True,
    errors: str = "estimated",
    confidence: float = 0.95,
) -> Weighted:
    """What would the mean outcome have been had all been treated, and had none, by weighting users of like odds?

    The chance of treatment is fitted by logistic regression on ``covariates`` (numbers and flags are linear; any other
    column has a term per level but the first in order); each user weighs 1 / chance of what was done, and of the arms
    weighted means are taken. Other parameters as in ``standardised``; ``to="treated"`` leaves the treated as they are
    and weighs the untreated by their odds of treatment. ``stabilised``: weights are multiplied by the arm's share,
    which changes their size and nothing else here. ``errors``: ``"estimated"`` allows for the weights being fitted
    (stacked estimating equations); ``"fixed"`` does not, as robust errors of a weighted regression, which are wider for
    ``to="all"``.

    Causal only if the covariates hold all that drives both, and every user could have been in either arm: look at the
    largest weights. Hernan and Robins, "What If", chapter 12. Raises ``ParameterError``, also where the covariates tell
    an arm with certainty.
    """
    z = z_value(confidence)
    if errors not in ERRORS:
        raise ParameterError(unknown_name("errors", errors, ERRORS))
    if not isinstance(stabilised, bool):
        raise ParameterError(f"stabilised={shorten(repr(stabilised))} must be True or False.")
    columns = as_names(covariates)
    arms = read_arms(counts, treated, outcome, users, squared, columns)
    names, design = _design(arms.frame, columns)
    coef, bread = _logistic(design, arms, names)
    chance = 1 / (1 + np.exp(-design @ coef))
    weight, slope = _weights(check_to(to), arms.treated, chance)
    if stabilised:
        share = arms.users[arms.treated].sum() / arms.users.sum()
        factor = np.where(arms.treated, share, 1 - share) if to == "all" else 1.0
        weight, slope = weight * factor, slope * factor
    means = np.empty(2)
    meat, cross, leverage = np.zeros((2, 2)), np.zeros((2, design.shape[1])), np.zeros((2, design.shape[1]))
    for arm in (0, 1):
        of = arms.treated == bool(arm)
        whole = (weight * arms.users)[of].sum()
        means[arm] = (weight * arms.total)[of].sum() / whole
        apart = np.where(of, arms.total - means[arm] * arms.users, 0.0) / whole
        meat[arm, arm] = (weight**2 * np.where(of, arms.squares(means[arm]), 0.0)).sum() / whole**2
        # How the mean moves with the coefficients of the odds, and its covariance with their scores.
        leverage[arm] = (slope * apart) @ design
        cross[arm] = (weight * (arms.treated - chance) * apart) @ design
    if errors == "estimated":
        pull = leverage @ bread
        scores = (design.T * (arms.users * (arms.treated - chance) ** 2)) @ design
        both = cross @ pull.T
        meat = meat + both + both.T + pull @ scores @ pull.T
    table = pd.DataFrame([_weights_of(arms, weight, arm) for arm in (True, False)])
    model = pd.DataFrame({"term": names, "coef": coef, "se": np.sqrt(np.diag(bread))})
    return Weighted(compared(means[1], means[0], meat[::-1, ::-1], z), table, model, weight)


def outcome_regression(
    counts: pd.DataFrame,
    treated: str,
    covariates: str | Sequence[str],
    *,
    outcome: str,
    interactions: str | Sequence[str] = (),
    users: str | None = None,
    squared: str | None = None,
    to: str = "all",
    confidence: float = 0.95,
) -> TwoMeans:
    """What would the mean outcome have been had all been treated, and had none, by a linear model of the outcome?

    A linear regression on the treatment, ``covariates`` and the treatment's products with ``interactions`` (some of the
    covariates), whose predictions are averaged over the population ``to``. Other parameters as in
    ``inverse_probability``. Errors are robust against unequal variances and hold the sampling of the covariates.

    Right only if the model of the outcome is. Hernan and Robins, "What If", chapter 13. Raises ``ParameterError``.
    """
    z = z_value(confidence)
    columns, products = as_names(covariates), as_names(interactions)
    for name in products:
        if name not in columns:
            raise ParameterError(unknown_name("covariate in interactions=", name, columns))
    arms = read_arms(counts, treated, outcome, users, squared, columns)
    names, base = _design(arms.frame, columns)
    times = [at for at, name in enumerate(names) if name in products or name.partition("=")[0] in products]

    def design(flag: Floats) -> Floats:
        return np.column_stack([base, flag, base[:, times] * flag[:, None]])

    x = design(arms.treated.astype(float))
    gram = (x.T * arms.users) @ x
    _check_rank(gram, [*names, treated, *[f"{treated} x {names[at]}" for at in times]])
    bread = np.linalg.inv(gram)
    coef = bread @ (x.T @ arms.total)
    weight = arms.weight(check_to(to)) / arms.weight(to).sum()
    fitted = [design(np.full(len(x), float(arm))) for arm in (0, 1)]
    means = np.array([weight @ (one @ coef) for one in fitted])
    residual = arms.total - (x @ coef) * arms.users
    pull = np.array([weight @ one for one in fitted]) @ bread @ x.T  # (arm, row): by how much a residual moves a mean
    share = np.divide(weight, arms.users)
    apart = np.array([share * (one @ coef - mean) for one, mean in zip(fitted, means, strict=True)])
    covariance = (pull * arms.squares(x @ coef)) @ pull.T + (apart * arms.users) @ apart.T
    both = (pull * residual) @ apart.T
    return compared(means[1], means[0], (covariance + both + both.T)[::-1, ::-1], z)


def _weights(to: str, treated: np.ndarray, chance: Floats) -> tuple[Floats, Floats]:
    """Each row's weight, and its slope in the log odds of treatment."""
    odds = chance / (1 - chance)
    if to == "all":
        return np.where(treated, 1 / chance, 1 / (1 - chance)), np.where(treated, -1 / odds, odds)
    if to == "treated":
        return np.where(treated, 1.0, odds), np.where(treated, 0.0, odds)
    return np.where(treated, 1 / odds, 1.0), np.where(treated, -1 / odds, 0.0)


def _weights_of(arms: Arms, weight: Floats, arm: bool) -> dict[str, object]:
    of = arms.treated == arm
    users, mine = arms.users[of], weight[of]
    return {
        "arm": "treated" if arm else "untreated",
        "users": users.sum(),
        "effective_users": (mine @ users) ** 2 / (mine**2 @ users),
        "mean": mine @ users / users.sum(),
        "smallest": mine.min(),
        "largest": mine.max(),
    }


def _design(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[list[str], Floats]:
    """An intercept, numbers and flags as they are, and a 0/1 column per level but the first of anything else."""
    names, parts = ["(intercept)"], [np.ones(len(frame))]
    for column in columns:
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values.dtype):
            names.append(column)
            parts.append(numbers(frame, column))
            continue
        text = values.astype("string").fillna("(missing)")
        for level in sorted(text.unique())[1:]:
            names.append(f"{column}={level}")
            parts.append((text == level).to_numpy(dtype=float))
    return names, np.column_stack(parts)


def _check_rank(gram: Floats, names: Sequence[str]) -> None:
    scale = np.sqrt(np.diag(gram))
    flat = [name for name, size in zip(names, scale, strict=True) if not size > 0]
    if not flat:
        values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
        if values[0] > _COLLINEAR:
            return
        flat = [name for name, part in zip(names, np.abs(vectors[:, 0]), strict=True) if part > 0.1]
    raise ParameterError(
        f"The terms {', '.join(shorten(repr(name), 40) for name in flat[:6])} cannot be told apart in these counts. "
        "Leave one of them out."
    )


def _logistic(design: Floats, arms: Arms, names: Sequence[str]) -> tuple[Floats, Floats]:
    """The log odds of treatment by Newton's method, and the inverse of their information."""
    _check_rank((design.T * arms.users) @ design, names)
    # Columns of like size keep the steps well conditioned.
    scale = np.sqrt(arms.users @ design**2 / arms.users.sum())
    x, flag = design / scale, arms.treated.astype(float)
    b = np.zeros(x.shape[1])
    for _ in range(_ITERATIONS):
        eta = x @ b
        chance = 1 / (1 + np.exp(-np.clip(eta, -700, 700)))
        information = (x.T * (arms.users * chance * (1 - chance))) @ x
        if np.abs(eta).max() > _FAR or not np.linalg.cond(information) < 1e14:
            break
        step = np.linalg.solve(information, x.T @ (arms.users * (flag - chance)))
        b = b + step * min(1.0, 8 / max(np.abs(x @ step).max(), 1e-300))
        if np.abs(x @ step).max() < 1e-10:
            inverse = np.linalg.inv(information)
            return b / scale, inverse / np.outer(scale, scale)
    raise ParameterError(
        "The covariates tell the arm of some users with certainty, so that nobody of the other arm can stand for them. "
        "Use fewer or coarser covariates, or leave those users out."
    )
