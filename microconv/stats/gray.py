"""Do groups differ in the share that has an outcome, where other outcomes prevent it? Gray's test."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import ParameterError, unknown_name
from microconv.stats._curves import Block, Floats
from microconv.stats._groups import Compared, at_risk, by_group, quadratic_form, upper_tail, weight_exponent

__all__ = ["GrayTest", "gray_test"]

_GROUP_COLUMNS = ["cause", "events", "score"]
_CELLS = 50_000  # numbers held at once, times x groups x groups: so few that they stay near the processor


@dataclass(frozen=True)
class GrayTest:
    """The outcome of Gray's test.

    ``table`` has a row per cause: ``cause``, ``chi2``, ``degrees_of_freedom`` (groups that can be compared, less one),
    ``p_value``. ``groups`` has a row per cause and group: the group columns, ``cause``, ``events`` and ``score``, which
    is above 0 where the group had more of this outcome than the pooled cumulative incidence lets expect. ``rho`` is
    the exponent of the weights.
    """

    table: pd.DataFrame
    rho: float
    groups: pd.DataFrame = field(repr=False, compare=False)


def gray_test(
    rt: RiskTable,
    group: str | Sequence[str],
    *,
    cause: Hashable | None = None,
    strata: str | Sequence[str] = (),
    rho: float = 0,
) -> GrayTest:
    """Is the cumulative incidence of an outcome the same in all groups, when other outcomes compete with it?

    ``group`` names the pattern column (or columns) that tell the groups apart, ``strata`` those within which they are
    compared; patterns not named are pooled. One row per cause of ``rt``, or ``cause`` alone; in each the other causes
    compete. Where ``logrank(cause=)`` compares the speed among those still at risk, this compares the share that ends
    with the outcome: a group may lose fewer users to a competitor and so convert more. ``rho`` weights each time by
    (1 - pooled cumulative incidence just before)^rho.

    The users of each group are at risk from day 0, and the censored say nothing of after. The table's weights count as
    that many users. The work grows with the cube of the number of groups. Groups that are never at risk beside another
    are left out of the degrees of freedom; with none left, ``chi2`` and ``p_value`` are NaN. Raises ``ParameterError``
    on an empty table, an unknown column or cause, one named as group and as stratum, an impossible ``rho``, and late
    entry (also a group that changes within a user), for which the test is not defined. Gray (1988), with the variance
    for ties of R's ``cmprsk::cuminc``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "device": list("mmmddd")})
    >>> users["cause"] = ["buy", "buy", "leave", "leave", "buy", None]
    >>> test = gray_test(RiskTable.from_intervals(users, "start", "stop", "cause", ["device"]), "device")
    >>> test.table.round(4)
       cause    chi2  degrees_of_freedom  p_value
    0    buy  2.4381                   1   0.1184
    1  leave  0.7619                   1   0.3827
    """
    exponent = weight_exponent(rho)
    if cause is not None and cause not in rt.causes:
        raise ParameterError(unknown_name("cause", cause, map(str, rt.causes)))
    compared = by_group(rt, group, strata, _GROUP_COLUMNS)
    _refuse_late_entry(compared)
    labels = [label for label in rt.causes if cause is None or label == cause]
    rows, groups = [], []
    for label in labels:
        at = rt.causes.index(label)
        score, variance = _total(compared, at, exponent)
        chi2, freedom = quadratic_form(score, variance)
        rows.append((chi2, freedom, upper_tail(chi2, freedom)))
        events = np.bincount(compared.member, [block.by_cause[:, at].sum() for block in compared.blocks])
        part = compared.groups.copy()
        part["cause"] = pd.Series([label] * len(part), dtype=object).infer_objects()
        part["events"], part["score"] = events, score
        groups.append(part)
    table = pd.DataFrame(rows, columns=["chi2", "degrees_of_freedom", "p_value"])
    table = table.astype({"chi2": float, "degrees_of_freedom": int, "p_value": float})
    table.insert(0, "cause", pd.Series(labels, dtype=object).infer_objects())
    shown = pd.concat(groups, ignore_index=True) if groups else compared.groups.iloc[:0]
    return GrayTest(table, exponent, shown)


def _refuse_late_entry(compared: Compared) -> None:
    late = sum(float(block.entered[block.time > 0].sum()) for block in compared.blocks)
    if late > 0:
        everybody = sum(float(block.entered.sum()) for block in compared.blocks)
        raise ParameterError(
            f"{late:g} of {everybody:g} intervals start after day 0 (late entry, or a group that changes within a "
            "user), for which Gray's test is not defined. Compare the hazards with logrank(rt, group, cause=...), or "
            "count from a later origin those alone who are observed from it."
        )


def _total(compared: Compared, at: int, rho: float) -> tuple[Floats, Floats]:
    size = len(compared.groups)
    score, variance = np.zeros(size), np.zeros((size, size))
    for numbers, blocks in compared.strata():
        part, spread = _within(blocks, at, rho)
        score[numbers] += part
        variance[np.ix_(numbers, numbers)] += spread
    return score, variance


def _within(blocks: list[Block], at: int, rho: float) -> tuple[Floats, Floats]:
    """The scores of the groups of one stratum, and their covariance.

    The risk set of the subdistribution hazard is n (1 - F) / S, with F the group's cumulative incidence and S its
    survival of any outcome just before. The score sums events less those expected under one such hazard. Its
    variance sums, over the events of each group, the square of what one of them moves: ``a`` at its own time, and
    all expectations after it, by what is left (``whole - c``) of the sum ``c`` of ``a`` against the pooled hazard.
    """
    time = np.unique(np.concatenate([block.time[block.events > 0] for block in blocks]))
    d, other, n = (np.zeros((len(time), len(blocks))) for _ in range(3))
    for k, block in enumerate(blocks):
        happens = block.events > 0
        place = np.searchsorted(time, block.time[happens])
        d[place, k] = block.by_cause[happens, at]
        other[place, k] = np.maximum(block.events[happens] - block.by_cause[happens, at], 0.0)
        n[:, k] = at_risk(block, time)
    survival = np.cumprod(1 - np.minimum(_over(d + other, n), 1.0), axis=0)
    survival_before = _before(survival, 1.0)
    incidence_before = _before(np.cumsum(survival_before * _over(d, n), axis=0), 0.0)

    spared = _over(n, survival_before)  # the group's size, had nothing happened to it
    everybody = spared.sum(axis=1)
    deaths = d.sum(axis=1)
    incidence = np.cumsum(_over(deaths, everybody))
    free = 1 - _before(incidence, 0.0)
    weight = np.power(np.maximum(free, 0.0), rho) if rho else np.ones(len(time))
    exposed = spared * (1 - incidence_before)
    expected = deaths[:, None] * exposed / np.where(exposed.any(axis=1), exposed.sum(axis=1), 1.0)[:, None]
    score = (weight[:, None] * (d - expected)).sum(axis=0)

    # The pooled incidence can pass 1 where groups follow each other; at exactly 1 no hazard is left to compare.
    hazard = np.divide(_over(deaths, everybody), free, out=np.zeros(len(time)), where=np.abs(free) > 1e-12)
    left = _over((1 - incidence)[:, None], survival)  # of all at risk, in units of this group's survival
    own = 1 - np.where(survival > 0, left, 0.0)
    rivals = everybody[:, None] * survival_before
    tied = np.where(deaths[:, None] > 1, 1 - _over(deaths[:, None] - 1, rivals - 1), 1.0)
    own_variance = tied * survival_before * _over(_over(deaths, everybody)[:, None], n)
    tied = np.where(other > 1, 1 - _over(other - 1, n - 1), 1.0)
    other_variance = np.where(survival > 0, tied * survival_before**2 * _over(other, n**2), 0.0)

    pooled = _over(weight * hazard, everybody)
    whole = np.diag((weight * hazard) @ spared) - (pooled[:, None] * spared).T @ spared
    hit = deaths > 0  # between such times nothing is added to the sum c
    place, who = np.nonzero(other_variance)
    others = _Others(np.cumsum(hit)[place], who, left[place, who], other_variance[place, who])
    variance = others.moved(0, whole[None])
    done = np.zeros_like(whole)
    spared, own, own_variance = spared[hit], own[hit], own_variance[hit]
    times_weight, shares = weight[hit], _over(weight[hit], everybody[hit])
    times_hazard = hazard[hit]
    groups = np.arange(len(blocks))
    step = max(1, _CELLS // len(blocks) ** 2)
    for first in range(0, len(spared), step):
        rows = slice(first, first + step)
        r = spared[rows]
        a = r[:, :, None] * (-shares[rows, None] * r)[:, None, :]
        a[:, groups, groups] += times_weight[rows, None] * r
        c = np.cumsum(a * times_hazard[rows, None, None], axis=0)
        c += done
        done = c[-1].copy()
        remaining = np.subtract(whole, c, out=c)
        variance += others.moved(first + 1, remaining)
        remaining *= own[rows][:, :, None]
        moved = a + remaining  # symmetric before it is weighted, so a row stands for the column
        moved = moved.reshape(-1, len(blocks))
        variance += moved.T @ (own_variance[rows].reshape(-1, 1) * moved)
    return score, variance


@dataclass(frozen=True)
class _Others:
    """Other outcomes in order of time: after how many times with an event, in which group, and how much they weigh."""

    after: npt.NDArray[np.int64]
    who: npt.NDArray[np.int64]
    left: Floats
    variance: Floats

    def moved(self, first: int, remaining: Floats) -> Floats:
        """What those after ``first``, ``first + 1``, ... events add to the covariance; ``remaining`` is each time's."""
        mine = slice(*np.searchsorted(self.after, [first, first + len(remaining)]))
        who = self.who[mine]
        moved = self.left[mine, None] * remaining[self.after[mine] - first, who]
        added: Floats = moved.T @ (self.variance[mine, None] * moved)
        return added


def _before(values: Floats, start: float) -> Floats:
    """The values just before each time."""
    return np.concatenate([np.full((1, *values.shape[1:]), start), values[:-1]])[: len(values)]


def _over(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, 0 where nothing is there to divide by."""
    shape = np.broadcast_shapes(part.shape, whole.shape)
    quotient: Floats = np.divide(part, whole, out=np.zeros(shape), where=np.broadcast_to(whole != 0, shape))
    return quotient
