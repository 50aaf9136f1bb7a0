"""Is one hazard ratio enough, or does it change with time? The test of proportional hazards."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import ParameterError, nearest, shorten
from microconv.exposures import ExposureTable
from microconv.stats._curves import Floats, read_blocks
from microconv.stats._groups import quadratic_form, upper_tail
from microconv.stats.cox_fit import CoxFit, cox
from microconv.stats.piecewise import PiecewiseFit

__all__ = ["proportionality"]

_TRANSFORMS = ("km", "rank", "identity", "log")
_NOTHING = 1e-10  # of the variance a score would have on its own: it is determined by the fit already


def proportionality(
    rt: RiskTable | ExposureTable,
    model: CoxFit | PiecewiseFit | str | Sequence[str],
    ties: str = "efron",
    strata: str | Sequence[str] = (),
    *,
    cause: Hashable | None = None,
    reference: Mapping[str, object] | None = None,
    transform: str = "km",
) -> pd.DataFrame:
    """Does the hazard ratio of each term stay the same over time?

    ``model`` is a fit of ``cox`` to ``rt``, or the terms of one to be made with ``ties``, ``strata``, ``cause`` and
    ``reference`` as in ``cox``. The test asks whether the coefficient grows with a function of time: ``transform`` is
    ``"km"`` (one less the Kaplan-Meier curve of all just before; times with many events weigh more, late outliers do
    not), ``"rank"`` (of the times at which intervals of one pattern end), ``"identity"`` (days) or ``"log"``. A fit
    of ``piecewise_exponential`` to exposures ``rt`` is tested by ``"km"``, time being the start of the interval.

    Returns a row per term and one for all together (``GLOBAL``): ``term, chi2, degrees_of_freedom, p_value``. A small
    p-value says that the ratio of the table is an average over time. Where nothing can be tested (no finite estimate,
    events at one time only) ``chi2`` and ``p_value`` are NaN, with 0 degrees of freedom. Model-based also where
    the fit's errors are robust. Raises ``ParameterError`` as ``cox``, and on ``"log"`` with an event at
    time 0. Grambsch and Therneau (1994), as the score test of R's ``cox.zph`` (survival 3 and later).
    ``"rank"`` differs from R's where some intervals of a pattern start when others of it end without an event: R ranks
    all rows, while counts cannot tell such an end and start from one interval that goes on, and leave both out.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6, 7, 8], "bought": 1, "device": list("mmdmddmd")})
    >>> proportionality(RiskTable.from_intervals(users, "start", "stop", "bought", ["device"]), "device").round(3)
           term   chi2  degrees_of_freedom  p_value
    0  device=m  0.455                   1      0.5
    1    GLOBAL  0.455                   1      0.5
    """
    if transform not in _TRANSFORMS:
        close = nearest(transform, _TRANSFORMS)
        raise ParameterError(
            f"transform={shorten(repr(transform))} must be one of {', '.join(map(repr, _TRANSFORMS))}."
            + (f" Did you mean {close!r}?" if close else "")
        )
    if isinstance(model, PiecewiseFit) and transform != "km":
        raise ParameterError(
            f"transform={transform!r} needs exact times, but the fit has intervals. Use 'km', or a fit of cox."
        )
    if isinstance(rt, ExposureTable) and not isinstance(model, PiecewiseFit):
        raise ParameterError("A table of exposures needs a fit of piecewise_exponential. Give that fit as model.")
    fit = (
        model
        if isinstance(model, CoxFit | PiecewiseFit)
        else cox(rt, model, ties, strata, cause=cause, reference=reference)  # type: ignore[arg-type]
    )
    settled = fit._settled
    names = list(settled.design.names)
    if settled.maximum is None:
        return _table(names, [(math.nan, 0)] * (len(names) + 1))
    maximum = settled.maximum
    likelihood, basis = maximum.likelihood, maximum.basis
    if isinstance(fit, PiecewiseFit):
        time = _interval_starts(fit, likelihood.sets.time)
    else:
        assert isinstance(rt, RiskTable)
        time = _transformed(rt, fit, likelihood.sets.time, transform)
    time = time - np.average(time, weights=likelihood.sets.d)
    largest = np.abs(time).max()
    time = time / largest if largest > 0 else time  # of no consequence but for rounding
    at = likelihood.at(maximum.beta)
    score, cross = likelihood.weighted(at, time)
    _, own = likelihood.weighted(at, time**2)
    known = cross @ basis
    inner = basis.T @ maximum.information @ basis
    variance = own - known @ np.linalg.solve(inner, known.T)
    untestable = ~maximum.determined | (np.diag(variance) <= _NOTHING * np.abs(np.diag(own)))
    variance[untestable], variance[:, untestable] = 0.0, 0.0
    each = [quadratic_form(score[[term]], variance[np.ix_([term], [term])]) for term in range(len(names))]
    return _table(names, [*each, quadratic_form(score, variance)])


def _table(names: list[str], tests: list[tuple[float, int]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "term": pd.Series([*names, "GLOBAL"], dtype=object),
            "chi2": [chi2 for chi2, _ in tests],
            "degrees_of_freedom": [freedom for _, freedom in tests],
            "p_value": [upper_tail(chi2, freedom) for chi2, freedom in tests],
        }
    )


def _interval_starts(fit: PiecewiseFit, place: Floats) -> Floats:
    """One less the survival of all at the start of each event's interval."""
    bins = len(fit.cuts) + 1
    pooled = fit.rates.groupby("from_days")[["events", "person_time_days"]].sum()
    events, spent = pooled["events"].to_numpy(dtype=float), pooled["person_time_days"].to_numpy(dtype=float)
    width = np.diff(np.array([0.0, *fit.cuts]))
    rate = np.divide(events, spent, out=np.zeros(bins), where=spent > 0)
    passed = np.concatenate([[0.0], np.cumsum(rate[:-1] * width)])
    before: Floats = -np.expm1(-passed)
    return before[place.astype(np.int64) % bins]


def _transformed(rt: RiskTable, fit: CoxFit, time: Floats, transform: str) -> Floats:
    """The function of time at each event."""
    if transform == "identity":
        return time
    if transform == "log":
        if (time <= 0).any():
            raise ParameterError(
                "transform='log' has no value at time 0, where somebody has the event. Use 'km', 'rank' or 'identity'."
            )
        return np.log(time)
    if transform == "km":
        (block,) = read_blocks(rt.pool(), fit.cause)
        place = np.searchsorted(block.time, time, side="left")  # just before
        before: Floats = np.concatenate([[1.0], block.survival])[place]
        return 1 - before
    named = dict.fromkeys([*fit.design["column"], *fit.strata])
    frame = rt.pool(tuple(named)).frame
    times, row = np.unique(frame["time_days"].to_numpy(dtype=float), return_inverse=True)
    ending = np.bincount(row, frame[[*rt.event_cols, "censored"]].to_numpy(dtype=float).sum(axis=1))
    rank: Floats = (np.cumsum(ending) - (ending - 1) / 2)[np.searchsorted(times, time)]
    return rank
