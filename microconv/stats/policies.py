"""Which of many gains are above zero at once, and what rules of offers are worth where offers were drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError
from microconv.stats._curves import Floats, z_value

__all__ = ["Simultaneous", "rule_values", "simultaneous_limits"]

_FEWEST = 100  # replicates, below which a quantile of their largest deviation says little


@dataclass(frozen=True, eq=False)
class Simultaneous:
    """``low, high``: limits that hold for all estimates at once; ``se`` of each; ``critical``: how many standard errors
    they lie apart from the estimate; ``family``: of how many estimates (NaN ones do not count).
    """

    low: Floats
    high: Floats
    se: Floats
    critical: float
    family: int


def simultaneous_limits(estimates: npt.ArrayLike, drawn: npt.ArrayLike, confidence: float = 0.95) -> Simultaneous:
    """Intervals that all hold at once with probability ``confidence``, from joint replicates (max-t).

    ``estimates``: k numbers; ``drawn``: their replicates, (replicates, k), of which one row is of one resampled log, so
    that estimates that share users move together. The critical value is the quantile of the largest absolute deviation
    in standard errors over the family, and never below that of one normal estimate. NaN estimates, and those without
    spread, are not of the family and get NaN limits.

    Raises ``ParameterError`` on shapes that do not fit and on fewer than 100 replicates. Hothorn, Bretz and Westfall
    (2008); Westfall and Young (1993).

    >>> rng = np.random.default_rng(0)
    >>> found = simultaneous_limits([0.0] * 10, rng.normal(size=(20_000, 10)))
    >>> round(found.critical, 1)  # of one: 1.96; Bonferroni's: 2.81
    2.8
    """
    z = z_value(confidence)
    y, replicates = np.asarray(estimates, dtype=float), np.asarray(drawn, dtype=float)
    if y.ndim != 1 or replicates.ndim != 2 or replicates.shape[1] != len(y):
        raise ParameterError(f"estimates of shape {y.shape} do not fit replicates of shape {replicates.shape}.")
    if len(replicates) < _FEWEST:
        raise ParameterError(f"{len(replicates)} replicates are too few for simultaneous limits: draw {_FEWEST}.")
    usable = np.isfinite(replicates)
    with np.errstate(invalid="ignore", divide="ignore"):
        number = usable.sum(axis=0)
        mean = np.where(usable, replicates, 0.0).sum(axis=0) / number
        spread = np.sqrt(np.where(usable, (replicates - mean) ** 2, 0.0).sum(axis=0) / (number - 1))
    known = np.isfinite(y) & (number >= _FEWEST) & (spread > 0)
    se = np.where(known, spread, np.nan)
    if not known.any():
        nothing = np.full(len(y), np.nan)
        return Simultaneous(nothing, nothing.copy(), se, float("nan"), 0)
    away = np.abs(replicates[:, known] - y[known]) / se[known]
    largest = np.where(usable[:, known], away, 0.0).max(axis=1)
    critical = max(float(np.quantile(largest, confidence)), z)
    return Simultaneous(y - critical * se, y + critical * se, se, critical, int(known.sum()))


def rule_values(
    chances: pd.DataFrame, policy: dict[str, str], offers: list[str], confidence: float = 0.95
) -> pd.DataFrame:
    """What rules are worth where offers were drawn by lot within segments.

    ``chances``: a row per ``segment`` and ``offer`` with ``users`` (of that segment and offer), ``chance`` (of the
    conversion by the horizon among them) and ``se``. ``policy``: the offer by segment. ``offers``: those that a fixed
    rule may make to everybody.

    Each user weighs by the inverse of the share that got the offer within the segment (estimated: users over the
    segment's users), which makes the value of a rule the mean over segments, by their users, of the chance under the
    rule's offer; with segments as the only covariate the doubly robust estimate is the same number.

    A row for the policy and for each fixed rule: ``rule, value, se, ci_low, ci_high``, and ``difference, difference_se,
    difference_ci_low, difference_ci_high``: policy less the rule, in which segments where both offer the same cancel.
    NaN where some segment never got the offer. Horvitz and Thompson (1952); Hahn (1998); Dudik et al. (2011).
    """
    z = z_value(confidence)
    rows_of = chances.to_dict("records")
    cells = {(str(row["segment"]), str(row["offer"])): (float(row["chance"]), float(row["se"])) for row in rows_of}
    users = chances.groupby("segment", sort=False)["users"].sum()
    share = {str(segment): float(many) / float(users.sum()) for segment, many in users.items()}

    def of(segment: str, offer: str) -> tuple[float, float]:
        return cells.get((segment, offer), (np.nan, np.nan))

    rules = {"policy": policy} | {f"always {name}": dict.fromkeys(share, name) for name in offers}
    rows = []
    for rule, made in rules.items():
        mine = [(weight, segment, made[segment]) for segment, weight in share.items()]
        value = sum(weight * of(segment, offer)[0] for weight, segment, offer in mine)
        variance = sum((weight * of(segment, offer)[1]) ** 2 for weight, segment, offer in mine)
        apart = [one for one in mine if policy[one[1]] != one[2]]
        better = sum(weight * (of(s, policy[s])[0] - of(s, offer)[0]) for weight, s, offer in apart)
        error = sum(weight**2 * (of(s, policy[s])[1] ** 2 + of(s, offer)[1] ** 2) for weight, s, offer in apart)
        rows.append((rule, value, np.sqrt(variance), better, np.sqrt(error)))
    table = pd.DataFrame(rows, columns=["rule", "value", "se", "difference", "difference_se"]).astype(
        dict.fromkeys(("value", "se", "difference", "difference_se"), float)
    )
    table.insert(3, "ci_low", table["value"] - z * table["se"])
    table.insert(4, "ci_high", table["value"] + z * table["se"])
    return table.assign(
        difference_ci_low=table["difference"] - z * table["difference_se"],
        difference_ci_high=table["difference"] + z * table["difference_se"],
    )
