"""Which groups differ from which? Every pair of groups, with p-values adjusted for how many pairs there are."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, as_names
from microconv.errors import MicroconvWarning, ParameterError, unknown_name
from microconv.stats._curves import Floats, as_days, check_names, curve_blocks, z_value
from microconv.stats._groups import by_group, quadratic_form, upper_tail, weight_exponent
from microconv.stats.clusters import by_cluster, causes_of, cluster_rows
from microconv.stats.competing import lost_area, lost_influence
from microconv.stats.log_rank import compare
from microconv.stats.multiplicity import adjust_p_values
from microconv.stats.times import area, area_influence, area_variance

__all__ = ["pairwise_logrank", "rmst_differences", "time_lost_differences"]

_TESTS = ["group_a", "group_b", "chi2", "p_value", "p_adjusted"]
_DIFFERENCES = ["group_a", "group_b", "difference_days", "se", "ci_low", "ci_high", "p_value", "p_adjusted"]


def pairwise_logrank(
    rt: RiskTable,
    group: str | Sequence[str],
    *,
    cause: Hashable | None = None,
    strata: str | Sequence[str] = (),
    rho: float = 0,
    method: str = "holm",
) -> pd.DataFrame:
    """Which pairs of groups differ in the hazard of the event?

    A log-rank test of every two groups, each from the counts of these two alone; ``group``, ``cause``, ``strata``,
    ``rho``, who is at risk and who is censored are as in ``logrank``. ``method`` adjusts the p-values for the number
    of pairs that could be compared (see ``adjust_p_values``).

    Returns a row per pair: ``group_a``, ``group_b`` (labels; tuples of labels where ``group`` names several columns),
    ``chi2`` on one degree of freedom, ``p_value``, ``p_adjusted``; the last three NaN where the two are never at risk
    together. Raises as ``logrank`` and ``adjust_p_values`` do. As R's ``survdiff`` on each pair and ``p.adjust``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "bought": 1, "device": list("mmddtt")})
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "bought", ["device"])
    >>> pairwise_logrank(rt, "device").round(4)
      group_a group_b    chi2  p_value  p_adjusted
    0       d       m  2.8824   0.0896      0.2687
    1       d       t  2.8824   0.0896      0.2687
    2       m       t  2.8824   0.0896      0.2687
    """
    adjust_p_values([], method)  # an unknown method is said before the work
    exponent = weight_exponent(rho)
    compared = by_group(rt, group, strata, [], cause=cause)
    labels = _labels(compared.groups)
    rows = []
    for a, b in itertools.combinations(range(len(labels)), 2):
        part = compare(compared.only([a, b]), exponent)
        chi2, freedom = quadratic_form(part.observed - part.expected, part.variance)
        rows.append((labels[a], labels[b], chi2, upper_tail(chi2, freedom)))
    table = _frame(rows, _TESTS[:-1])
    table["p_adjusted"] = adjust_p_values(table["p_value"], method)
    return table


def rmst_differences(
    rt: RiskTable,
    group: str | Sequence[str],
    tau: float,
    *,
    confidence: float = 0.95,
    method: str = "holm",
    cause: Hashable | None = None,
    start_days: float = 0.0,
    cluster: str | None = None,
) -> pd.DataFrame:
    """How many days sooner or later does the event come in one group than in another, up to ``tau``?

    The difference of the restricted means (``rmst``) of every two groups; patterns not named in ``group`` are pooled.
    At risk, censored, ``cause`` and ``start_days`` are as in ``rmst``. The groups are taken as independent users: their
    variances add. ``cluster`` names the pattern column that tells users (or buckets of users) apart who are counted
    more than once, also in several groups: then what a cluster moves in both groups is subtracted before it is squared.
    ``method`` adjusts the p-values for the number of pairs that could be compared (see ``adjust_p_values``).

    Returns a row per pair: ``group_a``, ``group_b`` (labels; tuples of labels where ``group`` names several columns),
    ``difference_days`` (a less b: above 0, the event comes later in a), ``se``, ``ci_low``, ``ci_high`` (estimate
    +- z se, for this pair alone), ``p_value``, ``p_adjusted``. NaN where observation of a group ends before ``tau``
    with users still at risk, with a ``MicroconvWarning``; without any event by ``tau`` in both groups the p-value is
    NaN. Raises ``ParameterError`` as ``rmst``, ``logrank`` and ``adjust_p_values`` do. As R's ``survRM2``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "bought": 1, "device": list("mmmddd")})
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "bought", ["device"])
    >>> rmst_differences(rt, "device", 4.5).round(4).drop(columns=["ci_low", "ci_high", "p_adjusted"])
      group_a group_b  difference_days      se  p_value
    0       d       m           2.3333  0.4907      0.0
    """
    adjust_p_values([], method)
    z, start, end = z_value(confidence), as_days(start_days, "start_days"), as_days(tau, "tau")
    if end <= start:
        raise ParameterError(f"tau={tau!r} must be later than start_days={start:g}.")
    pooled, by_user = _of_groups(rt, group, cluster)
    blocks = curve_blocks(pooled, cause, start)
    means = np.array([area(block, end) for block in blocks])
    if cluster is None:
        errors = _independent([math.sqrt(area_variance(block, end)) for block in blocks])
    else:
        parts = cluster_rows(by_user, cluster, blocks, stacklevel=3)
        mine = causes_of(rt, cause)
        errors = _shared([area_influence(part, block, end, mine) for part, block in zip(parts, blocks, strict=True)])
    _say_unreached(means, end)
    return _differences(pooled, means, errors, z, method)


def time_lost_differences(
    rt: RiskTable,
    group: str | Sequence[str],
    tau: float,
    cause: Hashable,
    *,
    confidence: float = 0.95,
    method: str = "holm",
    cluster: str | None = None,
) -> pd.DataFrame:
    """How many more days up to ``tau`` pass after this outcome in one group than in another, when others prevent it?

    The difference of the mean time lost to ``cause`` (``time_lost``) of every two groups: above 0, more users of a
    have the outcome, or have it earlier. Who is at risk and censored is as in ``time_lost``; ``group``, ``cluster``,
    ``method``, the columns and the errors are as in ``rmst_differences``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "device": list("mmmddd")})
    >>> users["cause"] = ["buy", "buy", "leave", "leave", "buy", "leave"]
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "cause", ["device"])
    >>> time_lost_differences(rt, "device", 5.5, "buy")[["group_a", "group_b", "difference_days", "se"]].round(4)
      group_a group_b  difference_days      se
    0       d       m             -2.5  1.1222
    """
    adjust_p_values([], method)
    z, end = z_value(confidence), as_days(tau, "tau")
    if cause not in rt.causes:
        raise ParameterError(unknown_name("cause", cause, map(str, rt.causes)))
    at = rt.causes.index(cause)
    pooled, by_user = _of_groups(rt, group, cluster)
    blocks = curve_blocks(pooled)
    lost = [lost_area(block, at, end) for block in blocks]
    if cluster is None:
        errors = _independent([se for _, se in lost])
    else:
        parts = cluster_rows(by_user, cluster, blocks, stacklevel=3)
        errors = _shared([lost_influence(part, block, at, end) for part, block in zip(parts, blocks, strict=True)])
    means = np.array([estimate for estimate, _ in lost])
    _say_unreached(means, end)
    return _differences(pooled, means, errors, z, method)


def _of_groups(rt: RiskTable, group: str | Sequence[str], cluster: str | None) -> tuple[RiskTable, RiskTable]:
    """The table by group, and by group and cluster."""
    groups = as_names(group)
    wanted = groups if cluster is None else (*groups, cluster)
    for column in wanted:
        if column not in rt.pattern_cols:
            raise ParameterError(unknown_name("pattern column", column, rt.pattern_cols))
    if not groups or len(set(wanted)) < len(wanted):
        raise ParameterError(f"group={groups!r} must name at least one pattern column, and not cluster={cluster!r}.")
    check_names(groups, _DIFFERENCES)
    return rt.pool(groups), rt.pool(wanted)


def _independent(errors: Sequence[float]) -> Callable[[int, int], float]:
    """The error of the difference of two groups that share no user."""
    return lambda a, b: math.hypot(errors[a], errors[b])


def _shared(moved: Sequence[pd.Series]) -> Callable[[int, int], float]:
    """The same where a cluster may move both: the difference of what it moves, squared and summed."""

    def error(a: int, b: int) -> float:
        if min(len(moved[a]), len(moved[b])) < 2:
            return math.nan
        return by_cluster(moved[a].sub(moved[b], fill_value=0.0))

    return error


def _differences(
    pooled: RiskTable, means: Floats, errors: Callable[[int, int], float], z: float, method: str
) -> pd.DataFrame:
    labels = _labels(pooled.frame.iloc[[rows.start for rows in pooled.blocks()]][list(pooled.pattern_cols)])
    rows = []
    for a, b in itertools.combinations(range(len(labels)), 2):
        difference = float(means[a] - means[b])
        rows.append((labels[a], labels[b], difference, errors(a, b) if math.isfinite(difference) else math.nan))
    table = _frame(rows, _DIFFERENCES[:4])
    table["ci_low"] = table["difference_days"] - z * table["se"]
    table["ci_high"] = table["difference_days"] + z * table["se"]
    table["p_value"] = [_two_sided(*pair) for pair in zip(table["difference_days"], table["se"], strict=True)]
    table["p_adjusted"] = adjust_p_values(table["p_value"], method)
    return table


def _say_unreached(means: Floats, tau: float) -> None:
    short = int(np.isnan(means).sum())
    if short:
        warnings.warn(
            f"Observation ends before tau={tau:g} days in {short} of {len(means)} groups, with users still at risk: "
            "differences from their restricted mean are unknown (NaN). Choose a tau that every group reaches.",
            MicroconvWarning,
            stacklevel=3,
        )


def _labels(groups: pd.DataFrame) -> list[Hashable]:
    if groups.shape[1] == 1:
        return list(groups.iloc[:, 0].tolist())
    return list(groups.itertuples(index=False, name=None))


def _frame(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a frame whose groups keep their labels and whose other columns are float, also without a row."""
    table = pd.DataFrame(index=range(len(rows)))
    for at, name in enumerate(columns):
        if name.startswith("group_"):
            values = np.empty(len(rows), dtype=object)
            values[:] = [row[at] for row in rows]
            table[name] = pd.Series(values, dtype=object).infer_objects()
        else:
            table[name] = np.array([row[at] for row in rows], dtype=float)
    return table


def _two_sided(difference: float, se: float) -> float:
    return math.erfc(abs(difference) / se / math.sqrt(2)) if se > 0 else math.nan
