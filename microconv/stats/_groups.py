"""What the tests of groups share: who is compared with whom, the risk sets at a time, chi-squared of a score."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.counts import RiskTable, as_names, group_codes
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import Block, Floats, check_names, read_blocks

__all__ = ["Compared", "at_risk", "by_group", "quadratic_form", "upper_tail", "weight_exponent"]


@dataclass(frozen=True)
class Compared:
    """The blocks of a risk table by stratum and group: ``groups`` has a row per group, in the order of ``member``."""

    groups: pd.DataFrame
    stratum: npt.NDArray[np.int64]
    member: npt.NDArray[np.int64]
    blocks: list[Block]

    def strata(self) -> Iterator[tuple[list[int], list[Block]]]:
        """The numbers of the groups of each stratum, and their blocks."""
        for code in np.unique(self.stratum):
            rows = np.flatnonzero(self.stratum == code)
            yield self.member[rows].tolist(), [self.blocks[row] for row in rows]

    def only(self, numbers: Sequence[int]) -> Compared:
        """The same without the other groups; ``numbers`` ascend, and the groups are counted anew from 0."""
        kept = np.isin(self.member, numbers)
        return replace(
            self,
            groups=self.groups.iloc[list(numbers)].reset_index(drop=True),
            stratum=self.stratum[kept],
            member=np.searchsorted(np.asarray(numbers), self.member[kept]),
            blocks=[block for block, keep in zip(self.blocks, kept, strict=True) if keep],
        )


def by_group(
    rt: RiskTable,
    group: str | Sequence[str],
    strata: str | Sequence[str],
    taken: Sequence[str],
    cause: Hashable | None = None,
) -> Compared:
    """The blocks of each group in each stratum, other patterns pooled; ``taken`` are columns of the result."""
    groups, within = as_names(group), as_names(strata)
    for column in (*groups, *within):
        if column not in rt.pattern_cols:
            raise ParameterError(unknown_name("pattern column", column, rt.pattern_cols))
    if not groups or set(groups) & set(within):
        raise ParameterError(
            f"group={groups!r} must name at least one pattern column, and none that strata={within!r} names."
        )
    check_names(groups, taken)
    named = (*within, *groups)
    table = rt if set(named) == set(rt.pattern_cols) else rt.pool(named)
    blocks = read_blocks(table, cause)
    heads = table.frame.iloc[[block.rows[0] for block in blocks]].reset_index(drop=True)
    stratum, member = group_codes(heads[list(within)]), group_codes(heads[list(groups)])
    _, first = np.unique(member, return_index=True)
    return Compared(heads[list(groups)].iloc[first].reset_index(drop=True), stratum, member, blocks)


def weight_exponent(rho: float) -> float:
    """``rho`` as a float, or an error."""
    plain = isinstance(rho, int | float | np.integer | np.floating) and not isinstance(rho, bool)
    if not plain or not math.isfinite(rho):
        raise ParameterError(
            f"rho={shorten(repr(rho))} must be a number: 0 weights all times alike, 1 weights early times more."
        )
    return float(rho)


def at_risk(block: Block, time: Floats) -> Floats:
    """How many of the block are at risk at each of ``time``: its own row, or who is left after the row before."""
    place = np.searchsorted(block.time, time, side="right") - 1
    at = np.maximum(place, 0)
    exact = (place >= 0) & (block.time[at] == time)
    return np.where(place < 0, 0.0, np.where(exact, block.n[at], block.after[at]))


def quadratic_form(difference: Floats, variance: Floats) -> tuple[float, int]:
    """``difference' V^- difference`` and the rank of V: groups never at risk beside another count for nothing."""
    compared = np.diag(variance) > 0
    if not compared.any():
        return math.nan, 0
    scale = np.sqrt(np.diag(variance)[compared])
    values, vectors = np.linalg.eigh(variance[np.ix_(compared, compared)] / np.outer(scale, scale))
    real = values > 1e-10
    projected = vectors[:, real].T @ (difference[compared] / scale)
    return float((projected**2 / values[real]).sum()), int(real.sum())


def upper_tail(chi2: float, freedom: int) -> float:
    """The chance of a chi-squared at least this large; NaN without a degree of freedom."""
    if freedom == 0:
        return math.nan
    from scipy.special import chdtrc  # the chi-squared tail alone; scipy.stats takes ten times as long to import

    return float(chdtrc(freedom, chi2))
