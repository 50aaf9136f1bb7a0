"""Cox's question with a hazard that is constant within intervals of time: a Poisson model on events and person-time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.errors import ParameterError
from microconv.exposures import ExposureTable, quantile_cuts
from microconv.stats._curves import Floats, z_value
from microconv.stats._design import Design, check_cause, read_design, used_columns
from microconv.stats._fitted import HazardFit, Settled, fitted, settle
from microconv.stats._likelihood import Likelihood
from microconv.stats._risk_sets import RiskSets, Spans

__all__ = ["PiecewiseFit", "piecewise_exponential"]

_INTERVALS = 20


@dataclass(frozen=True, eq=False)
class PiecewiseFit(HazardFit):
    """A piecewise-exponential model; ``HazardFit`` says what it holds, ``cuts`` where its intervals end (days)."""

    cuts: tuple[float, ...]
    _intervals: pd.DataFrame = field(repr=False)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The baseline hazard by stratum and interval: stratum columns, ``from_days, to_days`` (the last: infinite),
        ``events``, ``person_time_days``, ``rate_per_day`` at the reference levels, flags 0, numbers at ``center``.
        """
        return self._intervals.assign(rate_per_day=self._profiled[0])

    @cached_property
    def steps(self) -> pd.DataFrame:
        """The baseline in the form of ``CoxFit.steps``, a row per stratum and interval (a, b], at its start.

        ``time_days`` (a), ``a0, a1_0, ...`` up to a, ``zbar_0, ...`` in the interval, ``e0, e1_0, ...`` (0), and by how
        much ``a0`` and ``a1_0, ...`` grow per day within the interval: ``rate, rate_0, ...``.
        """
        rate, mean = self._profiled
        terms = range(len(self.design))
        growing = np.column_stack([rate, rate[:, None] * mean])
        frame = self._intervals
        width = np.where(np.isfinite(frame["to_days"]), frame["to_days"] - frame["from_days"], 0.0)
        start = frame["from_days"].to_numpy() == 0
        grown = pd.DataFrame(growing * width[:, None]).groupby(np.cumsum(start)).cumsum().to_numpy()
        before = np.where(start[:, None], 0.0, np.roll(grown, 1, axis=0))
        columns = ["time_days", "a0", *(f"a1_{term}" for term in terms), *(f"zbar_{term}" for term in terms)]
        columns += ["e0", *(f"e1_{term}" for term in terms), "rate", *(f"rate_{term}" for term in terms)]
        nothing = np.zeros((len(frame), 1 + len(terms)))
        values = np.column_stack([frame["from_days"], before, mean, nothing, growing])
        known = pd.DataFrame(values, columns=columns, index=frame.index)
        return pd.concat([frame[frame.columns[: frame.columns.get_loc("from_days")]], known], axis=1)

    @cached_property
    def _profiled(self) -> tuple[Floats, Floats]:
        """By interval the rate that the events ask for, and the mean covariates there weighted by hazard."""
        settled, frame = self._settled, self._intervals
        rate, mean = np.zeros(len(frame)), np.zeros((len(frame), len(self.design)))
        if settled.likelihood is not None:
            at = settled.likelihood.at(settled.working * settled.design.scale)
            rows = settled.likelihood.sets.time.astype(np.int64)
            rate[rows] = at.phi * np.exp(-at.shift)
            mean[rows] = settled.likelihood.means(at)[0] * settled.design.scale
        return rate, mean


def piecewise_exponential(
    counts: RiskTable | ExposureTable,
    terms: str | Sequence[str],
    cuts: Sequence[float] | None = None,
    *,
    strata: str | Sequence[str] = (),
    cause: Hashable | None = None,
    confidence: float = 0.95,
    reference: Mapping[str, object] | None = None,
    max_iterations: int = 100,
) -> PiecewiseFit:
    """How do pattern columns multiply the hazard of the event, taken as constant within intervals of time?

    ``counts`` is a ``RiskTable`` with ``cuts``, the inner cut points in days of intervals (a, b] (None: about 20
    with equally many events), or an ``ExposureTable``, which has its own. Person-time is exact: nobody is moved to the
    end of an interval. ``terms``, ``strata``, ``cause`` (the others are censored) and ``reference`` as in ``cox``.

    Each interval of each stratum has a rate of its own. The rates are profiled out: with each at its best, what is left
    is Breslow's likelihood with person-time in place of numbers at risk, so that only the terms are iterated over.
    Estimates, standard errors and likelihood are those of a Poisson regression on events with an indicator for
    every interval and log person-time as offset. Intervals without an event have the rate 0 and say nothing of
    the terms; events at the very moment of entry, with nobody's time at risk to bound their rate, are left out, and
    the notes say so.

    Returns a ``PiecewiseFit``: ``.table`` as ``cox``, ``.rates`` by interval. Raises ``ParameterError`` as ``cox``, and
    on cuts that do not ascend. Holford (1980); as R's ``glm(family = poisson)`` on ``survSplit`` data.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "bought": 1, "device": list("mdmdmd")})
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "bought", ["device"])
    >>> fit = piecewise_exponential(rt, "device", [3])
    >>> fit.table[["term", "coef", "se", "hazard_ratio"]].round(3)
           term   coef     se  hazard_ratio
    0  device=m  0.413  0.825         1.512
    >>> fit.rates.round(3)
       from_days  to_days  events  person_time_days  rate_per_day
    0        0.0      3.0     3.0              15.0         0.161
    1        3.0      inf     3.0               6.0         0.427
    """
    columns, within = used_columns(counts.pattern_cols, terms, strata)
    z_value(confidence)
    if counts.frame.empty:
        raise ParameterError("The table is empty: nobody was ever at risk. Check the filter that made it.")
    check_cause(counts.causes, cause)
    table = _exposures(counts, (*within, *columns), cuts, cause)
    frame, bins = table.frame, len(table.cuts) + 1
    edges = np.array([0.0, *table.cuts])
    code = group_codes(frame[[*within, *columns]])
    _, first = np.unique(code, return_index=True)
    patterns = frame[[*within, *columns]].iloc[first].reset_index(drop=True)
    stratum = group_codes(patterns[list(within)])
    where = (code, np.searchsorted(edges, frame["from_days"].to_numpy(dtype=float)))
    person_time, d = np.zeros((len(patterns), bins)), np.zeros((len(patterns), bins))
    named = [f"d_{one}" for one in table.causes] if cause is None or not table.causes else [f"d_{cause}"]
    np.add.at(person_time, where, frame["person_time_days"].to_numpy(dtype=float))
    np.add.at(d, where, frame[named].to_numpy(dtype=float).sum(axis=1))

    design = read_design(patterns, columns, reference, person_time.sum(axis=1))
    z = design.covariates(patterns) / design.scale
    sets = _intervals(person_time, d, stratum)
    settled, kept = _settled(sets, design, z, max_iterations)
    lost, sets = float(sets.d.sum() - kept.d.sum()), kept
    # With its rate at its best, an interval adds d (log d - 1) to the profile.
    constant = float((sets.d * (np.log(sets.d) - 1)).sum())
    null, value = np.nan, np.nan
    if settled.likelihood is not None and settled.maximum is not None:
        null = settled.likelihood.value(np.zeros(len(design.terms))) + constant
        value = settled.maximum.value + constant
    said = (
        () if lost == 0 else (f"{lost:g} events at the moment of entry, without anybody's time at risk, are left out.",)
    )
    _, heads = np.unique(stratum, return_index=True)
    known = patterns[list(within)].iloc[np.repeat(heads, bins)].reset_index(drop=True)
    known["from_days"], known["to_days"] = np.tile(edges, len(heads)), np.tile([*table.cuts, np.inf], len(heads))
    for name, values in (("events", d), ("person_time_days", person_time)):
        summed = np.zeros((len(heads), bins))
        np.add.at(summed, stratum, values)
        known[name] = summed.ravel()
    fit = fitted(
        PiecewiseFit, settled, null, value, confidence, float(sets.d.sum()), said, cuts=table.cuts, _intervals=known
    )
    assert isinstance(fit, PiecewiseFit)
    return fit


def _exposures(
    counts: RiskTable | ExposureTable, named: tuple[str, ...], cuts: Sequence[float] | None, cause: Hashable | None
) -> ExposureTable:
    """The counts by interval, other patterns pooled."""
    pooled = counts if set(named) == set(counts.pattern_cols) else counts.pool(named)
    if isinstance(pooled, RiskTable):
        inner = quantile_cuts(pooled, _INTERVALS, cause=cause) if cuts is None else cuts
        return ExposureTable.from_risk_table(pooled, inner)
    if cuts is not None:
        raise ParameterError("cuts: an ExposureTable has its intervals already. Leave cuts out.")
    return pooled


def _settled(sets: RiskSets, design: Design, z: Floats, max_iterations: int) -> tuple[Settled, RiskSets]:
    """The fit, and the events that it is of.

    Events of a pattern that has no time at risk in their interval (all at the very moment of entry) have no rate to
    speak of. Usually others' time bounds the rate all the same; where it does not, such events are left out.
    """

    def attempt(kept: RiskSets) -> Settled:
        return settle(Likelihood(kept, z, "breslow", np.zeros(len(z))), design, max_iterations)

    exposed = sets.only(sets.highest(np.zeros(len(z), dtype=np.int64)) >= 0)
    width = np.int64(len(z))
    known = np.isin(
        exposed.failing_event * width + exposed.failing_pattern, exposed.rest.first * width + exposed.rest.pattern
    )
    if known.all():
        return attempt(exposed), exposed
    try:
        return attempt(exposed), exposed
    except ParameterError:
        proper = replace(
            exposed,
            failing_event=exposed.failing_event[known],
            failing_pattern=exposed.failing_pattern[known],
            failing=exposed.failing[known],
        )
        proper = proper.only(proper.d > 0)
        return attempt(proper), proper


def _intervals(person_time: Floats, d: Floats, stratum: np.ndarray) -> RiskSets:
    """Intervals in place of event times: person-time at risk and events by pattern, where a stratum has events.

    The ``time`` of an event is the place of its interval among all strata's.
    """
    bins = d.shape[1]
    place = stratum[:, None] * bins + np.arange(bins)
    kept, event = np.unique(place[d > 0], return_inverse=True)
    at = np.searchsorted(kept, place)
    here = (kept[np.minimum(at, len(kept) - 1)] == place) & (person_time > 0) if len(kept) else np.zeros_like(d, bool)
    pattern = np.nonzero(here)[0]
    spans = Spans(len(kept), len(d), pattern, at[here], at[here] + 1, person_time[here])
    whose = np.nonzero(d > 0)[0]
    return RiskSets(spans, event, whose, d[d > 0], kept // bins, kept.astype(float), at_risk=False)
