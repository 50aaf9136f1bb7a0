"""Do groups differ in their time to the event? The log-rank test and its Fleming-Harrington family."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.stats._curves import Block, Floats
from microconv.stats._groups import Compared, at_risk, by_group, quadratic_form, upper_tail, weight_exponent

__all__ = ["LogRank", "Score", "compare", "logrank"]

_GROUP_COLUMNS = ["events", "observed", "expected"]


@dataclass(frozen=True)
class LogRank:
    """The outcome of a log-rank test.

    ``chi2`` on ``degrees_of_freedom`` (groups that can be compared, less one), ``p_value``, ``rho``. ``groups`` has a
    row per group: the group columns, ``events``, ``observed`` and ``expected`` (both weighted; with rho 0 ``observed``
    is ``events``). ``variance`` is the covariance matrix of observed minus expected, in the order of ``groups``.
    """

    chi2: float
    degrees_of_freedom: int
    p_value: float
    rho: float
    groups: pd.DataFrame = field(repr=False, compare=False)
    variance: np.ndarray = field(repr=False, compare=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row: ``chi2``, ``degrees_of_freedom``, ``p_value``, ``rho``."""
        return pd.DataFrame(
            {
                "chi2": [self.chi2],
                "degrees_of_freedom": [self.degrees_of_freedom],
                "p_value": [self.p_value],
                "rho": [self.rho],
            }
        )


def logrank(
    rt: RiskTable,
    group: str | Sequence[str],
    strata: str | Sequence[str] = (),
    rho: float = 0,
    *,
    cause: Hashable | None = None,
) -> LogRank:
    """Is the hazard of the event the same in all groups?

    ``group`` names the pattern column (or columns) that tell the groups apart, ``strata`` those within which they are
    compared; patterns not named are pooled. At each time the groups at risk then are compared, so late entry and a
    group that changes over time are allowed. ``rho`` weights each time by (survival of all just before)^rho: 0 is the
    log-rank test, 1 Peto and Peto's Wilcoxon test, which looks at early differences. The event is any cause of ``rt``,
    or ``cause`` alone with the others censored.

    The table's weights count as that many users. With fewer than two groups at risk together nothing
    can be compared: ``chi2`` and ``p_value`` are NaN, ``degrees_of_freedom`` 0. Raises ``ParameterError`` on an empty
    table, an unknown column, one named as group and as stratum, and an impossible ``rho``. Harrington and Fleming
    (1982), as R's ``survdiff``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "bought": 1, "device": list("mmmddd")})
    >>> test = logrank(RiskTable.from_intervals(users, "start", "stop", "bought", ["device"]), "device")
    >>> test.table.round(4)
        chi2  degrees_of_freedom  p_value  rho
    0  5.0517                  1   0.0246  0.0
    >>> test.groups.round(4)
      device  events  observed  expected
    0      d     3.0       3.0      4.85
    1      m     3.0       3.0      1.15
    """
    exponent = weight_exponent(rho)
    compared = by_group(rt, group, strata, _GROUP_COLUMNS, cause=cause)
    part = compare(compared, exponent)
    chi2, freedom = quadratic_form(part.observed - part.expected, part.variance)
    shown = compared.groups.copy()
    shown[_GROUP_COLUMNS] = np.column_stack([part.events, part.observed, part.expected])
    return LogRank(chi2, freedom, upper_tail(chi2, freedom), exponent, shown, part.variance)


@dataclass(frozen=True)
class Score:
    """Events, observed and expected (weighted), by group, and the covariance of observed minus expected."""

    events: Floats
    observed: Floats
    expected: Floats
    variance: Floats


def compare(compared: Compared, rho: float) -> Score:
    """Observed and expected events of the groups, summed over the strata."""
    size = len(compared.groups)
    total = Score(np.zeros(size), np.zeros(size), np.zeros(size), np.zeros((size, size)))
    for at, blocks in compared.strata():
        part = _within(blocks, rho)
        total.events[at] += part.events
        total.observed[at] += part.observed
        total.expected[at] += part.expected
        total.variance[np.ix_(at, at)] += part.variance
    return total


def _within(blocks: list[Block], rho: float) -> Score:
    """Observed and expected events of the groups of one stratum, with the hypergeometric covariance."""
    time = np.unique(np.concatenate([block.time[block.events > 0] for block in blocks]))
    d, n = np.zeros((len(time), len(blocks))), np.zeros((len(time), len(blocks)))
    for column, block in enumerate(blocks):
        d[np.searchsorted(time, block.time[block.events > 0]), column] = block.events[block.events > 0]
        n[:, column] = at_risk(block, time)
    deaths, total = d.sum(axis=1), n.sum(axis=1)
    survival = np.cumprod(np.maximum(1 - deaths / total, 0.0))
    before = np.concatenate([[1.0], survival[:-1]])[: len(time)]
    weight = np.power(before, rho, out=np.zeros_like(before), where=before > 0) if rho else np.ones_like(before)
    share = n / total[:, None]
    # One at risk alone is no comparison. (total - 1 is that of whole users; a weighted total below 2 has no better.)
    spread = np.divide(total - deaths, total - 1, out=np.zeros_like(total), where=total > 1)
    scale = weight**2 * deaths * np.maximum(spread, 0.0)
    variance = -(share.T @ (scale[:, None] * share))
    # Not scale * share less the square: who is alone at risk adds exactly nothing.
    np.fill_diagonal(variance, scale @ (share * ((total[:, None] - n) / total[:, None])))
    return Score(d.sum(axis=0), weight @ d, weight @ (deaths[:, None] * share), variance)
