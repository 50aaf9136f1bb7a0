"""How much faster or slower does the event come with an attribute or once a micro is done? Cox's model on counts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.errors import ParameterError, nearest, shorten
from microconv.stats._curves import Floats, z_value
from microconv.stats._design import Design, check_cause, read_design, used_columns
from microconv.stats._fitted import HazardFit, fitted, settle
from microconv.stats._likelihood import Likelihood
from microconv.stats._risk_sets import risk_sets
from microconv.stats._separation import levels_along

__all__ = ["CoxFit", "cox"]


@dataclass(frozen=True, eq=False)
class CoxFit(HazardFit):
    """A Cox model fitted to counts; ``HazardFit`` says what it holds.

    ``ties``: ``"efron"`` or ``"breslow"``; ``cause``: the event (None: any).
    """

    ties: str
    cause: Hashable | None
    _strata: pd.DataFrame = field(repr=False)

    @property
    def strata(self) -> tuple[str, ...]:
        """The columns within each combination of which there is a baseline of its own."""
        return tuple(self._strata.columns)

    @cached_property
    def steps(self) -> pd.DataFrame:
        """What robust errors by user need beside the user's own intervals, a row per event time (sorted) and stratum.

        With z the centred covariates of ``covariates``, w = ``relative_hazard`` and dL the baseline hazard's step (at
        w = 1), of which several are taken at a tied time: stratum columns, ``time_days``, the sums up to and including
        that time ``a0`` of dL and ``a1_0, a1_1, ...`` of dL times the mean z of those at risk; ``zbar_0, ...`` that
        mean there, over the tied steps; ``e0, e1_0, ...`` the part of dL, and of dL times the mean, that who fails
        there is spared by Efron's method; ``rate, rate_0, ...`` are 0 (between event times nothing grows).

        A user's score is the sum over the user's events of ``z - zbar + w (z e0 - e1)``, less the sum over
        intervals (start, stop] of ``w [z (a0(stop) - a0(start)) - (a1(stop) - a1(start))]``; a0 and a1 are 0 before
        the first time, and before time 0 for who enters at 0. Lin and Wei (1989); R's
        ``residuals(fit, "score", collapse = id)``. ``robust`` takes the sum of the scores' outer products.
        """
        terms, settled = range(len(self.design)), self._settled
        columns = ["time_days", "a0"]
        for name in ("a1", "zbar"):
            columns += [f"{name}_{term}" for term in terms]
        columns += ["e0", *(f"e1_{term}" for term in terms), "rate", *(f"rate_{term}" for term in terms)]
        if settled.likelihood is None:
            return pd.concat([self._strata.iloc[:0], pd.DataFrame(columns=columns, dtype=float)], axis=1)
        likelihood, scale = settled.likelihood, settled.design.scale
        sets = likelihood.sets
        at = likelihood.at(settled.working * scale)
        mean, step, left_out = likelihood.means(at)
        hazard = at.phi * np.exp(-at.shift)
        growing = np.column_stack([hazard, step * scale * np.exp(-at.shift)])
        total = pd.DataFrame(growing).groupby(sets.stratum).cumsum().to_numpy()
        spared = np.column_stack([at.phi - at.chi, left_out * scale]) * np.exp(-at.shift)
        values = np.column_stack([sets.time, total, mean * scale, spared, np.zeros((sets.events, 1 + len(scale)))])
        known = pd.DataFrame(values, columns=columns)
        return pd.concat([self._strata.iloc[sets.stratum].reset_index(drop=True), known], axis=1)

    @property
    def baseline(self) -> pd.DataFrame:
        """The cumulative hazard by stratum and event time (``time_days, cumulative_hazard``) at the reference levels,
        flags 0, and numbers at their ``center``. As R's ``basehaz``, by Efron's or Breslow's method as the fit.
        """
        columns = [*self._strata.columns, "time_days", "a0"]
        return self.steps[columns].rename(columns={"a0": "cumulative_hazard"})


def cox(
    rt: RiskTable,
    terms: str | Sequence[str],
    ties: str = "efron",
    strata: str | Sequence[str] = (),
    *,
    cause: Hashable | None = None,
    confidence: float = 0.95,
    cluster: str | None = None,
    reference: Mapping[str, object] | None = None,
    max_iterations: int = 100,
) -> CoxFit:
    """How do pattern columns multiply the hazard of the event, all else being equal?

    ``terms`` names the pattern columns: one of numbers or flags is one linear term with its own name; any other gives a
    term ``column=level`` for every level but the reference (the first in sorted order that is not ``(missing)``, or
    ``reference={"device": "mobile"}``). Within ``strata`` (pattern columns) each has a baseline of its own;
    patterns not named are pooled. The event is any cause of ``rt``, or ``cause`` alone with the others censored. At
    each event time those at risk then are compared, so columns may change in time and users may enter late.

    ``ties`` is exact for either method: Efron's or Breslow's. Counts are users: a weight of 3 is three users, as a
    fraction (d = 2.5 failing at once) makes two whole steps of Efron's and a half. ``cluster`` names a pattern
    column that tells users apart (or whatever holds several intervals that belong together): standard errors are then
    robust, from the scores by cluster (Lin and Wei 1989). To do so without a column of users, see ``CoxFit.steps``.

    Returns a ``CoxFit``: ``.table`` has ``term, coef, se, hazard_ratio, ci_low, ci_high, p_value``. Terms that cannot
    be estimated are in ``.separated`` or ``.aliased``, with the reason in ``.notes`` and as a warning. Raises
    ``ParameterError`` on an empty table, an unknown column, cause, level or method, a number that is missing, and a
    fit that does not settle in ``max_iterations``. Cox (1972), Efron (1977); as R's ``coxph``.

    >>> users = pd.DataFrame(
    ...     {"start": 0, "stop": [1, 2, 3, 4, 5, 6], "bought": [1, 1, 0, 1, 1, 1], "device": list("mdmmdd")}
    ... )
    >>> fit = cox(RiskTable.from_intervals(users, "start", "stop", "bought", ["device"]), "device")
    >>> fit.table[["term", "coef", "se", "hazard_ratio", "p_value"]].round(3)
           term   coef     se  hazard_ratio  p_value
    0  device=m  1.073  1.235         2.924    0.385
    """
    columns, within = used_columns(rt.pattern_cols, terms, strata, cluster)
    if ties not in ("efron", "breslow"):
        close = nearest(ties, ("efron", "breslow"))
        raise ParameterError(
            f"ties={shorten(repr(ties))} must be 'efron' or 'breslow'.{f' Did you mean {close!r}?' if close else ''}"
        )
    z_value(confidence)
    if rt.frame.empty:
        raise ParameterError("The risk table is empty: nobody was ever at risk. Check the filter that made it.")
    check_cause(rt.causes, cause)
    cause = cause if rt.causes else None
    named = (*columns, *within)
    pooled = rt if set(named) == set(rt.pattern_cols) else rt.pool(named)
    sets, patterns = risk_sets(pooled, within, cause)
    entered = np.add.reduceat(pooled.frame["entered"].to_numpy(float), [rows.start for rows in pooled.blocks()])
    design = read_design(patterns, columns, reference, entered)
    likelihood = Likelihood(sets, design.covariates(patterns) / design.scale, ties, np.zeros(len(patterns)))
    settled = settle(likelihood, design, max_iterations)
    null = likelihood.value(np.zeros(len(design.terms))) if settled.maximum is not None else np.nan
    value = settled.maximum.value if settled.maximum is not None else np.nan
    code = group_codes(patterns[list(within)])
    _, first = np.unique(code, return_index=True)
    fit = fitted(
        CoxFit, settled, null, value, confidence, float(sets.d.sum()),
        ties=ties, cause=cause, _strata=patterns[list(within)].iloc[first].reset_index(drop=True),
    )  # fmt: skip
    assert isinstance(fit, CoxFit)
    if cluster is None or settled.maximum is None:
        return fit
    return fit.robust(_by_cluster(rt, design, fit, within, cause, cluster))


def _by_cluster(
    rt: RiskTable, design: Design, fit: CoxFit, within: tuple[str, ...], cause: Hashable | None, cluster: str
) -> Floats:
    """The sum over clusters of the outer products of their scores."""
    settled = fit._settled
    assert settled.maximum is not None
    columns = dict.fromkeys([*(term.column for term in design.terms), *within, cluster])
    sets, patterns = risk_sets(rt if set(columns) == set(rt.pattern_cols) else rt.pool(tuple(columns)), within, cause)
    if patterns[cluster].isna().any():
        raise ParameterError(f"The column {shorten(repr(cluster))} of clusters has missing values. Name every cluster.")
    scale = design.scale
    likelihood = Likelihood(sets, design.covariates(patterns) / scale, fit.ties, np.zeros(len(patterns)))
    for along in settled.maximum.directions:
        likelihood = likelihood.within_levels(*levels_along(likelihood, along))
    scores = likelihood.scores(settled.maximum.beta) * scale
    code = group_codes(patterns[[cluster]])
    summed = np.zeros((int(code.max()) + 1, len(scale)))
    np.add.at(summed, code, scores)
    return summed.T @ summed
