"""How many will ever have the event, and how long do those take: the mixture-cure model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._cure_counts import CureCounts, at_risk_of, cure_counts
from microconv.stats._cure_likelihood import Likelihood, Maximum, profile_limits
from microconv.stats._curves import Floats, check_names, patterns_of, read_blocks, z_value
from microconv.stats._latency import FAMILIES, Latency

__all__ = ["CureFit", "Family", "mixture_cure"]

Family = Literal["weibull", "generalised_gamma"]

_LEVELS = (0.25, 0.5, 0.75, 0.9)
_COLUMNS = (
    "family share ci_low ci_high delay_p25_days delay_median_days delay_p75_days delay_p90_days at_zero mu sigma q "
    "observed_days open_latency n events log_likelihood converged note"
).split()


@dataclass(frozen=True)
class CureFit:
    """Fitted mixture-cure models, one per pattern.

    ``table`` has a row per pattern: ``family``; ``share`` that ever has the event with ``ci_low, ci_high`` (profile
    likelihood); ``delay_p25_days, delay_median_days, delay_p75_days, delay_p90_days`` among those who ever have it;
    ``at_zero``, the share of those who have it at time 0; ``mu, sigma, q`` of the delay of the others (log T = mu +
    sigma W; a Weibull has q 1, shape 1 / sigma and scale exp(mu)); ``observed_days``, the last time of the table, and
    ``open_latency``, the fitted share of those who ever have it that has not by then; ``n, events, log_likelihood``
    (of the counts given, times in days), ``converged``, and ``note``, why there is no or no sound fit.
    """

    table: pd.DataFrame
    pattern_cols: tuple[str, ...]
    family: str
    _fits: tuple[tuple[Likelihood, Maximum] | None, ...] = field(repr=False, compare=False)

    def latency_survival(self, days: float | Sequence[float] | Floats) -> pd.DataFrame:
        """Which share of those who ever have the event has not by ``days``? Patterns, ``time_days``, ``open_latency``;
        NaN where there is no fit.
        """
        times = np.atleast_1d(np.asarray(days, dtype=float))
        parts = [
            np.full(len(times), np.nan) if fit is None else fit[0].latency(fit[1].place).survival(times)
            for fit in self._fits
        ]
        return self._by_time(times, {"open_latency": np.concatenate(parts)})

    def gain(self, start_days: float, stop_days: float | Sequence[float] | Floats) -> pd.DataFrame:
        """Which share of all has the event after ``start_days`` and up to each of ``stop_days``?

        Patterns, ``time_days``, ``probability`` and its ``se`` (delta method; NaN where a parameter is at its bound).
        With ``start_days`` below 0 it is the fitted curve, time 0 included.
        """
        times = np.atleast_1d(np.asarray(stop_days, dtype=float))
        values, errors = [], []
        for fit in self._fits:
            value, se = (np.full(len(times), np.nan),) * 2 if fit is None else _gain(*fit, start_days, times)
            values.append(value)
            errors.append(se)
        return self._by_time(times, {"probability": np.concatenate(values), "se": np.concatenate(errors)})

    def expected_events(self, rt: RiskTable, cause: Hashable | None = None, *, after_days: float = 0.0) -> pd.DataFrame:
        """How many events does the fit expect among those at risk in ``rt`` after ``after_days``, and how many were
        there?

        ``rt`` and ``cause`` are those that were fitted. A row per pattern: patterns, ``events``, ``expected`` (the
        cumulative hazard of the fit, summed over all at risk; NaN where there is no fit).
        """
        at, rows = _place(rt, cause), []
        for i, block in enumerate(read_blocks(rt)):
            n, events = at_risk_of(block, at)
            times = np.concatenate([[after_days], np.maximum(block.time, after_days)])
            fit = self._fits[i]
            share = np.full(len(times), np.nan) if fit is None else _gain(*fit, -1.0, times)[0]
            hazard = -np.diff(np.log(np.maximum(1 - share, 1e-300)))
            rows.append((float(events[block.time > after_days].sum()), float(n @ hazard)))
        found = pd.DataFrame(rows, columns=["events", "expected"])
        return pd.concat([self.table[list(self.pattern_cols)], found], axis=1)

    def _by_time(self, times: Floats, columns: dict[str, Floats]) -> pd.DataFrame:
        rows = np.repeat(np.arange(len(self.table)), len(times))
        frame = self.table[list(self.pattern_cols)].iloc[rows].reset_index(drop=True)
        return frame.assign(time_days=np.tile(times, len(self.table)), **columns)


def mixture_cure(
    rt: RiskTable,
    family: Family = "weibull",
    *,
    cause: Hashable | None = None,
    confidence: float | None = 0.95,
    cuts: Sequence[float] | None = None,
    max_times: int = 5_000,
) -> CureFit:
    """How many will ever have the event, if the delay of those who do follows a Weibull (or a generalised gamma)?

    ``S(t) = 1 - p + p L(t)`` by maximum likelihood, one fit per pattern, from several starts. The estimate is a
    model's: a plateau that lies beyond the observed times is not identified by them, and a wrong family can state one
    with a small error. Look at ``open_latency`` and at the other family before believing it, as
    ``mc.eventual_conversion`` does.

    * ``cause``: None: any cause of ``rt`` is the event; else that one alone, and who ends otherwise never has it (their
      time at risk goes on as in Fine and Gray's risk set, so that the model is for the Aalen-Johansen curve).
    * ``cuts``: None: event times are exact. Else an event is only known to lie within (a, b] between neighbouring cuts
      (days; from 0, the last interval without end) and adds S(a) - S(b); the censored count up to their time in ``rt``.
    * ``confidence``: of the interval; None: no interval, which is much faster.
    * ``max_times``: with more distinct times, events are taken in some 2,000 quantile bins the same way and the
      censored on a grid as fine, which moves the estimate by some hundredths of its error at most.

    Late entry is allowed: who enters at v is counted given no event by v. Events at time 0 are a group of their own
    among those who ever have the event (``at_zero``): no density at 0 could hold them.

    The interval of the share is by profile likelihood (a Wald interval is wrong near 0 and 1) and may end at 1. Without
    an event after time 0, with all at one time, or where no search comes to its end, ``note`` says so. Raises
    ``ParameterError`` on an empty table, an unknown cause or family and impossible cuts. Boag (1949), Farewell (1982);
    the generalised gamma as R's ``flexsurv::dgengamma``, ``q`` between -5 and 5.

    >>> from microconv.counts import RiskTable
    >>> days = pd.Series([0.2, 0.5, 0.9, 1.4, 1.5, 2.2, 2.8, 3.1, 4.0, 5.5] + [30.0] * 30)
    >>> users = pd.DataFrame({"start": 0, "stop": days, "bought": days < 30})
    >>> fit = mixture_cure(RiskTable.from_intervals(users, "start", "stop", "bought"))
    >>> fit.table[["share", "ci_low", "ci_high", "delay_median_days", "open_latency"]].round(2)
       share  ci_low  ci_high  delay_median_days  open_latency
    0   0.25    0.13      0.4               1.84           0.0
    """
    if family not in FAMILIES:
        raise ParameterError(unknown_name("family", family, FAMILIES))
    if isinstance(max_times, bool) or not isinstance(max_times, int) or max_times < 100:
        raise ParameterError(f"max_times={max_times!r} must be a whole number of at least 100.")
    z, edges = None if confidence is None else z_value(confidence), _as_cuts(cuts)
    blocks = read_blocks(rt)
    check_names(rt.pattern_cols, [*_COLUMNS, "time_days", "probability", "se"])
    at = _place(rt, cause)
    rows, fits = [], []
    for block in blocks:
        counts = cure_counts(block, at, edges)
        row, fit = _fit(counts, family, z, float(block.time[-1]), max_times)
        rows.append(row)
        fits.append(fit)
    first = np.array([block.rows[0] for block in blocks], dtype=np.int64)
    table = pd.concat([patterns_of(rt, first, _COLUMNS), pd.DataFrame(rows, columns=_COLUMNS)], axis=1)
    return CureFit(table, rt.pattern_cols, family, tuple(fits))


def _place(rt: RiskTable, cause: Hashable | None) -> int | None:
    """The event's number among several causes; None where all causes are the event."""
    if cause is None:
        return None
    if cause not in rt.causes:
        raise ParameterError(unknown_name("cause", cause, map(str, rt.causes)))
    return rt.causes.index(cause) if len(rt.causes) > 1 else None


def _as_cuts(cuts: Sequence[float] | None) -> Floats | None:
    if cuts is None:
        return None
    edges = np.asarray(cuts, dtype=float)
    if edges.ndim != 1 or len(edges) == 0 or not np.isfinite(edges).all() or (np.diff(edges, prepend=0.0) <= 0).any():
        raise ParameterError(
            f"cuts={shorten(repr(cuts))} must be days that rise, the first above 0, such as [1, 2, 7]."
        )
    return edges


def _fit(
    counts: CureCounts, family: str, z: float | None, last: float, max_times: int
) -> tuple[dict[str, object], tuple[Likelihood, Maximum] | None]:
    row: dict[str, object] = dict.fromkeys(_COLUMNS, math.nan)
    row |= {"family": family, "observed_days": last, "n": counts.n, "events": counts.total, "converged": False}
    distinct = len(counts.events)
    if counts.total == 0:
        return row | {"note": "no event"}, None
    if distinct < (3 if family == "weibull" else 4):
        moments = "no event comes after time 0" if distinct == 0 else f"all events after time 0 come at {distinct} ages"
        return row | {"note": f"{moments}, which does not tell how the delay runs"}, None
    likelihood = Likelihood(counts.thinned(max_times), family)
    top = likelihood.best()
    latency = likelihood.latency(top.place)
    low, high = math.nan, math.nan
    if top.converged and z is not None:
        low, high = profile_limits(likelihood, top, z)
    row |= {
        "share": float(1 / (1 + np.exp(-top.place[0]))),
        "ci_low": low,
        "ci_high": high,
        **dict(zip(_COLUMNS[4:8], [latency.quantile(level) for level in _LEVELS], strict=True)),
        "at_zero": latency.atom,
        "mu": latency.mu,
        "sigma": latency.sigma,
        "q": latency.q,
        "open_latency": float(latency.survival(np.array([last]))[0]),
        "log_likelihood": top.value,
        "converged": top.converged,
        "note": "" if top.converged else "the search for the highest likelihood did not come to its end",
    }
    return row, (likelihood, top)


def _gain(likelihood: Likelihood, top: Maximum, start: float, stops: Floats) -> tuple[Floats, Floats]:
    """The fitted share with the event in (start, stop], with its error by the delta method."""

    def share_between(at: Floats) -> Floats:
        latency: Latency = likelihood.latency(at)
        before = latency.survival(np.array([start]))
        return (before - latency.survival(stops)) / (1 + math.exp(-at[0]))

    slopes = []
    for i in range(len(top.place)):
        step = np.zeros(len(top.place))
        step[i] = 1e-5
        slopes.append((share_between(top.place + step) - share_between(top.place - step)) / 2e-5)
    slope = np.array(slopes)
    variance = np.einsum("it,ij,jt->t", slope, top.covariance, slope)
    return share_between(top.place), np.sqrt(np.maximum(variance, 0.0))
