"""One model: count the states, choose exact or piecewise, leave out what nothing can be said of, fit, add errors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.errors import MicroconvWarning
from microconv.exposures import ExposureTable
from microconv.reduce.entrants import People
from microconv.reduce.scores import score_products
from microconv.reduce.state_counts import event_cuts, exact_counts, exposure_counts
from microconv.reduce.states import HALVES_PER_DAY, Layout, Totals, edges, in_state, moments, totals

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.hazards.asking import Question
    from microconv.stats import CoxFit, PiecewiseFit

__all__ = ["Counted", "Model", "count", "fit_model"]

_MOST_STATES = 2**60  # that a number of 64 bits can tell apart
_INSTANT = 1.01 / HALVES_PER_DAY  # days; who is told apart for no longer was never told apart


@dataclass(frozen=True, eq=False)
class Counted:
    """The states of some layout, counted: by pattern over all time, and over time either exactly or by interval."""

    layout: Layout
    marked: ir.Table
    total: Totals
    in_state: pd.DataFrame
    risk_table: RiskTable | None
    exposures: ExposureTable | None
    kept: str

    @property
    def method(self) -> str:
        """ "cox" where the counts are exact in time, else "piecewise"."""
        return "cox" if self.risk_table is not None else "piecewise"

    @property
    def events(self) -> int:
        """How many target events there are."""
        return int(self.total.patterns["d_1"].sum())


def count(
    people: People, layout: Layout, question: Question, limit: int, marked: ir.Table | None = None
) -> Counted | int:
    """Count the states; where there are more patterns than ``limit``, only how many there are.

    ``marked``: users with the moments of the layout, where they are others than ``moments`` gives.
    """
    engine = people.engine
    if layout.size > _MOST_STATES:
        return layout.size
    if marked is None:
        marked = moments(people, layout)
    edged = engine.materialise(edges(marked, layout))
    total = totals(engine, edged, len(people.causes))
    if len(total.patterns) > limit:
        return len(total.patterns)
    risk_table, exposures, kept = None, None, ""
    if question.method == "cox":
        exact = exact_counts(people, edged, layout, total, question.max_rows)
        risk_table, kept = exact.table, exact.kept
    if risk_table is None:
        cuts = event_cuts(people, edged, question.bins)
        exposures = exposure_counts(people, edged, layout, cuts)
    return Counted(layout, marked, total, in_state(people, marked, layout), risk_table, exposures, kept)


@dataclass(frozen=True, eq=False)
class Model:
    """A fit and what it was made of. ``silent``: the columns that tell nobody apart, each with its one value; ``fit``
    is None where nothing is left to fit or nobody converts.
    """

    counted: Counted
    terms: tuple[str, ...]
    silent: Mapping[str, Any]
    fit: CoxFit | PiecewiseFit | None
    patterns: pd.DataFrame = field(repr=False)


def fit_model(people: People, counted: Counted, question: Question) -> Model:
    """Fit the columns of the layout and the attributes, with per-user errors where they are asked for."""
    patterns = _patterns(people, counted)
    columns = [*counted.layout.names, *question.adjust]
    only = {column: _only_value(patterns, column, people.at_risk) for column in columns}
    silent = {column: values[0] for column, values in only.items() if values}
    terms = tuple(column for column in columns if column not in silent)
    if not terms or counted.events == 0:
        return Model(counted, terms, silent, None, patterns)
    with warnings.catch_warnings():  # what it cannot estimate stands in .separated and .aliased, and is said there
        warnings.simplefilter("ignore", MicroconvWarning)
        fit = _fit(counted, question, people.causes[0], terms)
    if question.robust and fit.sharp and np.isfinite(fit.table["coef"]).any():
        fit = _robust(people, counted, question, fit, patterns)
    return Model(counted, terms, silent, fit, patterns)


def _fit(counted: Counted, question: Question, cause: str, terms: tuple[str, ...]) -> Any:
    reference = {column: level for column, level in question.reference.items() if column in terms}
    shared: dict[str, Any] = {
        "strata": question.strata,
        "cause": cause,
        "confidence": question.confidence,
        "reference": reference or None,
    }
    if counted.risk_table is not None:
        from microconv.stats import cox

        return cox(counted.risk_table, terms, ties=question.ties, **shared)
    from microconv.stats import piecewise_exponential

    return piecewise_exponential(counted.exposures, terms, **shared)


def _patterns(people: People, counted: Counted) -> pd.DataFrame:
    """``totals`` with the values of the pattern columns."""
    found = counted.total.patterns.reset_index(drop=True)
    for name, values in counted.layout.decode(found["state"].to_numpy()).items():
        found[name] = values
    for column in people.cells:
        found[column] = people.cells[column].to_numpy()[found["cell"].to_numpy()]
    return found


def _only_value(patterns: pd.DataFrame, column: str, users: int) -> list[Any]:
    """The value of a column that tells nobody apart (any other lasts but an instant), as a list of one; else none."""
    days = patterns.groupby(column, sort=False)["person_days"].sum()
    lasting = days[days > users * _INSTANT]
    single = days if len(days) == 1 else lasting if len(lasting) == 1 else days.iloc[:0]
    return list(single.index)


def _robust(people: People, counted: Counted, question: Question, fit: Any, patterns: pd.DataFrame) -> Any:
    """The fit with per-user errors: the engine sums each user's score by what the fit says of every moment."""
    z = fit.covariates(patterns)
    terms = z.shape[1]
    known = pd.DataFrame(z, columns=[f"z_{k}" for k in range(terms)])
    known["weight"] = fit.relative_hazard(patterns)
    known[["cell", "state"]] = patterns[["cell", "state"]].to_numpy(np.int64)
    strata = list(question.strata)
    number = np.zeros(len(patterns) + len(fit.steps), dtype=np.int64)
    if strata:
        both = pd.concat([patterns[strata], fit.steps[strata]], ignore_index=True)
        number = both.groupby(strata, sort=True).ngroup().to_numpy(np.int64)
    known["stratum"] = number[: len(patterns)]
    pieces = _pieces(fit.steps, terms, linear=counted.risk_table is None)
    pieces["stratum"] = number[len(patterns) :]
    return fit.robust(score_products(people, counted.marked, counted.layout, known, pieces, terms))


def _pieces(steps: pd.DataFrame, terms: int, *, linear: bool) -> pd.DataFrame:
    """The steps of a fit as pieces of time: from each event time on, or within each interval (a, b]."""
    moved, rates = [f"a1_{k}" for k in range(terms)], [f"rate_{k}" for k in range(terms)]
    held = [*(f"zbar_{k}" for k in range(terms)), "e0", *(f"e1_{k}" for k in range(terms))]
    found = steps[["a0", *moved, *held, "rate", *rates]].copy()
    at = np.rint(steps["time_days"].to_numpy(dtype=float) * HALVES_PER_DAY).astype(np.int64)
    found["from"] = at
    if linear:  # an interval begins just after the time that ends the one before; the first holds time zero too
        later = at > 0
        found["from"] = at + later
        for total, rate in zip(["a0", *moved], ["rate", *rates], strict=True):
            found[total] = found[total] + found[rate] * later / HALVES_PER_DAY
    return found
