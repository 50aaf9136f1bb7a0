"""Do groups differ in their time to the event? The log-rank test and its Fleming-Harrington family."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, as_names, group_codes
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import Block, Floats, check_names, read_blocks

__all__ = ["LogRank", "logrank"]

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
    groups, within = as_names(group), as_names(strata)
    for column in (*groups, *within):
        if column not in rt.pattern_cols:
            raise ParameterError(unknown_name("pattern column", column, rt.pattern_cols))
    if not groups or set(groups) & set(within):
        raise ParameterError(
            f"group={groups!r} must name at least one pattern column, and none that strata={within!r} names."
        )
    plain = isinstance(rho, int | float | np.integer | np.floating) and not isinstance(rho, bool)
    if not plain or not math.isfinite(rho):
        raise ParameterError(f"rho={shorten(repr(rho))} must be a number, such as 0 (log-rank) or 1 (Peto-Peto).")
    check_names(groups, _GROUP_COLUMNS)
    named = (*within, *groups)
    table = rt if set(named) == set(rt.pattern_cols) else rt.pool(named)
    blocks = read_blocks(table, cause)
    heads = table.frame.iloc[[block.rows[0] for block in blocks]].reset_index(drop=True)
    stratum, member = group_codes(heads[list(within)]), group_codes(heads[list(groups)])
    size = int(member.max()) + 1
    observed, expected, events = np.zeros(size), np.zeros(size), np.zeros(size)
    variance = np.zeros((size, size))
    for code in range(int(stratum.max()) + 1):
        mine = [(int(member[at]), blocks[at]) for at in np.flatnonzero(stratum == code)]
        part = _compare(mine, float(rho))
        at = [number for number, _ in mine]
        events[at] += part.events
        observed[at] += part.observed
        expected[at] += part.expected
        variance[np.ix_(at, at)] += part.variance
    chi2, freedom = _quadratic(observed - expected, variance)
    _, first = np.unique(member, return_index=True)
    shown = heads[list(groups)].iloc[first].reset_index(drop=True)
    shown[_GROUP_COLUMNS] = np.column_stack([events, observed, expected])
    return LogRank(chi2, freedom, _upper_tail(chi2, freedom), float(rho), shown, variance)


@dataclass(frozen=True)
class _Part:
    events: Floats
    observed: Floats
    expected: Floats
    variance: Floats


def _compare(members: list[tuple[int, Block]], rho: float) -> _Part:
    """Observed and expected events of the groups of one stratum, with the hypergeometric covariance."""
    time = np.unique(np.concatenate([block.time[block.events > 0] for _, block in members]))
    d, n = np.zeros((len(time), len(members))), np.zeros((len(time), len(members)))
    for column, (_, block) in enumerate(members):
        d[np.searchsorted(time, block.time[block.events > 0]), column] = block.events[block.events > 0]
        n[:, column] = _at_risk(block, time)
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
    return _Part(d.sum(axis=0), weight @ d, weight @ (deaths[:, None] * share), variance)


def _at_risk(block: Block, time: Floats) -> Floats:
    """How many of the block are at risk at each of ``time``: its own row, or who is left after the row before."""
    place = np.searchsorted(block.time, time, side="right") - 1
    at = np.maximum(place, 0)
    exact = (place >= 0) & (block.time[at] == time)
    return np.where(place < 0, 0.0, np.where(exact, block.n[at], block.after[at]))


def _quadratic(difference: Floats, variance: Floats) -> tuple[float, int]:
    """``difference' V^- difference`` and the rank of V: groups never at risk beside another count for nothing."""
    compared = np.diag(variance) > 0
    if not compared.any():
        return math.nan, 0
    scale = np.sqrt(np.diag(variance)[compared])
    values, vectors = np.linalg.eigh(variance[np.ix_(compared, compared)] / np.outer(scale, scale))
    real = values > 1e-10
    projected = vectors[:, real].T @ (difference[compared] / scale)
    return float((projected**2 / values[real]).sum()), int(real.sum())


def _upper_tail(chi2: float, freedom: int) -> float:
    if freedom == 0:
        return math.nan
    from scipy.special import chdtrc  # the chi-squared tail alone; scipy.stats takes ten times as long to import

    return float(chdtrc(freedom, chi2))
