"""Cox's regression on counts at risk: what multiplies the hazard, with states that change over time and ties."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.errors import ParameterError, unknown_name
from microconv.stats._at_risk import RiskSets, risk_sets
from microconv.stats._covariates import Design, check_terms, design_of
from microconv.stats._curves import Floats, z_value
from microconv.stats._partial_likelihood import Partial
from microconv.stats._regression import Fit, coefficients_of, estimate

__all__ = ["CoxFit", "cox"]


@dataclass(frozen=True, eq=False)
class CoxFit(Fit):
    """A Cox model fitted by ``cox``; what its parts are stands there and in ``Fit``."""

    ties: str = "efron"


def cox(
    rt: RiskTable,
    terms: str | Sequence[str],
    ties: Literal["efron", "breslow"] = "efron",
    strata: str | Sequence[str] = (),
    *,
    cause: Hashable | None = None,
    confidence: float = 0.95,
    cluster: str | None = None,
    reference: Mapping[str, Hashable] | None = None,
) -> CoxFit:
    """By what factor does each term multiply the hazard of the event?

    * ``terms``: pattern columns of ``rt``. Numbers and truth values are one term each (per unit); any other column has
      a term ``column=level`` for each level but the reference: the first in sorted order that is not ``(missing)``, or
      the one that ``reference`` names for the column. Patterns neither in terms nor in ``strata`` are pooled.
    * ``ties``: ``"efron"`` or ``"breslow"``. ``strata``: columns with a baseline hazard of their own.
    * ``cause``: the event; the other causes are censored. With one cause it need not be named.
    * ``cluster``: a pattern column (a user, a bucket of users): errors that allow for several rows of one cluster.

    At risk are the users of ``rt.n`` at each event time, in the state they have then; late entry and states that change
    are allowed, and splitting intervals changes nothing.

    Returns a ``CoxFit``: ``.table`` (``term, coef, se, hazard_ratio, ci_low, ci_high, p_value, interval``),
    ``.covariance``, ``.log_likelihood``, ``.separated``, ``.aliased``, ``.profile_interval(term)``. ``.steps`` has a
    row per stratum and event time, for errors by user in a second pass: ``a0, a1_<j>`` (baseline hazard up to then, and
    the same with each step times Zbar), ``zbar_<j>`` (mean of Zbar over Efron's levels), ``e0, e1_<j>`` (what Efron
    does not count for those who fail there). Z is the terms' values less ``design.center``. A user's score is the sum
    over events of ``Z - zbar + w (Z e0 - e1)`` less the sum over spells of ``w (Z (a0(stop) - a0(start)) - (a1(stop) -
    a1(start)))``, w = exp(coef'Z).

    Raises ``ParameterError`` on an empty table, unknown columns, several causes of which none is named. Nobody has the
    event: every term is NaN. Cox (1972), Efron (1977), errors by cluster Lin and Wei (1989); as R's ``coxph``.

    >>> users = pd.DataFrame({"start": 0, "stop": [1, 2, 3, 4, 5, 6], "bought": 1, "device": list("mdmdmd")})
    >>> rt = RiskTable.from_intervals(users, "start", "stop", "bought", ["device"])
    >>> cox(rt, "device").table[["term", "hazard_ratio", "ci_low", "ci_high"]].round(2)
           term  hazard_ratio  ci_low  ci_high
    0  device=m          1.88    0.31    11.46
    """
    if ties not in ("efron", "breslow"):
        raise ParameterError(unknown_name("ties", ties, ("efron", "breslow")))
    z_value(confidence)
    columns, within = check_terms(terms, strata, cluster, rt.pattern_cols)
    if cause is None and len(rt.causes) > 1:
        raise ParameterError(f"The table has several causes ({', '.join(map(str, rt.causes))}): name one with cause=.")
    named = tuple(dict.fromkeys([*within, *columns, *([cluster] if cluster is not None else [])]))
    table = rt if set(named) == set(rt.pattern_cols) else rt.pool(named)
    if table.frame.empty:
        raise ParameterError("The risk table is empty: nobody was ever at risk. Check the filter that made it.")
    blocks = table.blocks()
    heads = table.frame.iloc[[block.start for block in blocks]].reset_index(drop=True)
    person_time = table.frame["person_time_days"].to_numpy()
    spent = np.array([person_time[block].sum() for block in blocks])
    design = design_of(heads, spent if spent.sum() > 0 else np.ones(len(blocks)), columns, reference)
    stratum = group_codes(heads[list(within)]) if within else np.zeros(len(heads), dtype=np.int64)
    sets = risk_sets(table, stratum, cause)
    keys = _strata_keys(heads, stratum, within)
    if not sets:
        return _nobody(design, keys, ties, confidence)
    partial = Partial(sets, design.z, ties)
    found = estimate(partial, design, _monotone(sets, design))
    coefficients, covariance = coefficients_of(found, design)
    scale = np.where(design.scale > 0, design.scale, 1.0)
    fit = CoxFit(
        design=design.terms.assign(center=design.center),
        coefficients=coefficients,
        covariance=covariance,
        log_likelihood=float(found.best.value),
        null_log_likelihood=float(partial(np.zeros(len(scale)))[0]),
        separated=tuple(name for name, held in zip(design.names, found.held, strict=True) if held),
        aliased=tuple(name for name, alias in zip(design.names, found.aliased, strict=True) if alias),
        confidence=confidence,
        steps=_steps(partial, found.best.at, scale, keys),
        _likelihood=partial,
        _estimated=found,
        _scale=scale,
        _naive=covariance,
        ties=ties,
    )
    if cluster is None:
        return fit
    scores = _scores(partial, found.best.at, group_codes(heads[[cluster]])) * scale
    return fit.robust(scores.T @ scores)


def _strata_keys(heads: pd.DataFrame, stratum: np.ndarray, within: tuple[str, ...]) -> pd.DataFrame:
    _, first = np.unique(stratum, return_index=True)
    return heads[list(within)].iloc[first].reset_index(drop=True)


def _nobody(design: Design, keys: pd.DataFrame, ties: str, confidence: float) -> CoxFit:
    k = len(design.names)
    return CoxFit(
        design=design.terms.assign(center=design.center),
        coefficients=np.full(k, np.nan),
        covariance=np.full((k, k), np.nan),
        log_likelihood=0.0,
        null_log_likelihood=0.0,
        separated=(),
        aliased=tuple(design.names),
        confidence=confidence,
        steps=_frame(keys.iloc[:0], np.zeros(0), np.zeros((0, 3 * k + 2)), k),
        ties=ties,
    )


def _monotone(sets: Sequence[RiskSets], design: Design) -> Floats:
    """+1 where a term of two values has all its informative events at the higher, -1 at the lower, else 0.

    An event is informative where users of both values are at risk.
    """
    k = len(design.names)
    found = np.zeros(k)
    for term in range(k):
        values = np.unique(np.round(design.z[:, term], 12))
        if len(values) != 2 or design.scale[term] == 0:
            continue
        high = (design.z[:, term] > values.mean()).astype(float)
        both = np.column_stack([high, 1 - high])
        events = np.zeros(2)
        for one in sets:
            at_risk = one.at_risk_sums(both)
            informative = (at_risk > 0.5 * np.finfo(float).eps ** 0.5).all(axis=1)
            events += one.failed_sums(both)[informative].sum(axis=0)
        if events.sum() > 0 and events.min() == 0:
            found[term] = 1.0 if events[1] == 0 else -1.0
    return found


def _steps(partial: Partial, beta: Floats, scale: Floats, keys: pd.DataFrame) -> pd.DataFrame:
    k = partial.terms
    parts = []
    for one, tied, s, d in partial.pieces(beta):
        s1, d1 = s[:, 1:] * scale, d[:, 1:] * scale
        a1 = tied.c11[:, None] * s1 - tied.c12[:, None] * d1
        zbar = (tied.a[:, None] * s1 - tied.b[:, None] * d1) / one.events[:, None]
        e1 = tied.c12[:, None] * s1 - tied.c22[:, None] * d1
        values = np.column_stack([np.cumsum(tied.a), np.cumsum(a1, axis=0), zbar, tied.b, e1])
        head = keys.iloc[[one.stratum] * len(one.time)]
        parts.append(_frame(head, one.time, values, k))
    return pd.concat(parts, ignore_index=True)


def _frame(head: pd.DataFrame, time: Floats, values: Floats, k: int) -> pd.DataFrame:
    names = [
        "a0",
        *[f"a1_{j}" for j in range(k)],
        *[f"zbar_{j}" for j in range(k)],
        "e0",
        *[f"e1_{j}" for j in range(k)],
    ]
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "time_days", time)
    return pd.concat([head.reset_index(drop=True), frame], axis=1)


def _scores(partial: Partial, beta: Floats, cluster: np.ndarray) -> Floats:
    """The score of each cluster (clusters x terms), from its patterns' own numbers at risk."""
    w = partial.weights(beta)
    scores = np.zeros((int(cluster.max()) + 1, partial.terms))
    for one, tied, s, d in partial.pieces(beta):
        z, weight, mine = partial.z[one.patterns], w[one.patterns], cluster[one.patterns]
        a1 = tied.c11[:, None] * s[:, 1:] - tied.c12[:, None] * d[:, 1:]
        zbar = (tied.a[:, None] * s[:, 1:] - tied.b[:, None] * d[:, 1:]) / one.events[:, None]
        e1 = tied.c12[:, None] * s[:, 1:] - tied.c22[:, None] * d[:, 1:]
        at, who, count = one.failed
        moved = z[who] - zbar[at] + weight[who, None] * (z[who] * tied.b[at, None] - e1[at])
        np.add.at(scores, mine[who], count[:, None] * moved)
        exposed, pulled = one.exposure(tied.a, a1)
        np.subtract.at(scores, mine, weight[:, None] * (z * exposed[:, None] - pulled))
    return scores
