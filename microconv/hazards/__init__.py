"""mc.hazard_ratios: how much faster or slower conversion comes once each micro-conversion is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from microconv.counts import RiskTable
from microconv.durations import Duration, format_duration
from microconv.errors import ParameterError
from microconv.exposures import ExposureTable
from microconv.hazards.asking import OTHERS, Question, ask
from microconv.hazards.checking import proportional_hazards
from microconv.hazards.fading import fading
from microconv.hazards.models import Counted, Model, count, fit_model
from microconv.hazards.tables import attribute_rows, finished, micro_row
from microconv.hazards.words import Told, assumptions, meaning, warnings_of
from microconv.reduce.entrants import People, people
from microconv.reduce.others import beside_others, in_order
from microconv.reduce.states import counted_states, done_or_not
from microconv.results import Result
from microconv.steps import Step, label

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["HazardRatios", "hazard_ratios"]

_COUNTS = ("0", "1", "2", "3 or more")


@dataclass(frozen=True, eq=False)
class HazardRatios(Result):
    """The ratios, with the counts that they were made from: ``risk_table`` (exact in time, in days; one row per time,
    micros done and attributes) or, where that would have been too large, ``exposures``. Both add up over logs.
    """

    risk_table: RiskTable | None = field(default=None, repr=False)
    exposures: ExposureTable | None = field(default=None, repr=False)


def hazard_ratios(
    log: EventLog,
    *,
    micros: Sequence[Step] | Step | None = None,
    adjust: str | Sequence[str] = (),
    method: Literal["cox", "piecewise"] = "cox",
    target: Step | None = None,
    origin: Step = "entry",
    competing: Sequence[Step] | None = None,
    horizon: Duration | None = None,
    strata: str | Sequence[str] = (),
    ties: Literal["efron", "breslow"] = "efron",
    robust: bool = False,
    since: Duration | Sequence[Duration] = (),
    reference: Mapping[str, Any] | None = None,
    bins: int = 20,
    washout: Duration | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
    max_patterns: int = 5_000,
) -> HazardRatios:
    """Once a micro-conversion is done, does the macro-conversion come faster, and how much?

    Each user counts as one who has not done a micro until just after its first time, so that the time spent waiting for
    it is not credited to it. The counts are made in the engine that holds the events; no user leaves it.

    * ``micros``: plan names, event names or ``{"event": ..., "where": ...}``; None takes all of the plan but those that
      are the target's own event, another end or the origin.
    * ``adjust``: attributes at entry, compared level by level against ``reference`` (``{"device": "mobile"}``; without
      one the first level); a number enters as one linear term. ``strata``: attributes of which each combination has a
      course over time of its own (``["entry_week"]`` takes out the calendar, in zone ``tz``).
    * ``method``: ``"cox"`` on exact counts while they have at most ``max_rows`` rows, beyond that and with
      ``"piecewise"`` the piecewise-exponential model on ``bins`` intervals between quantiles of the event times;
      ``.parameters["method"]`` says which it was. ``ties``: of Cox's partial likelihood.
    * ``target, origin, competing, horizon``: as in ``time_to_conversion``; competing ends censor.
    * ``robust``: per-user errors, by a second pass over the users. ``since``: cuts of the time since a micro
      (``("1D", "7D")``): does its pull fade? ``washout``: leaves out users who entered that soon after the log's first
      event. ``max_patterns``: of micros done and attributes; beyond it there is one model per micro, with the number of
      other micros done.

    At risk: every user from just after time zero up to and including the first of the target, a competing end, a
    ``censor`` event of the plan, ``observed_until`` and the horizon; all but the target censor.

    ``.table``, micros in plan order, then attributes: ``term, kind`` (the plan's, or ``"attribute"``),
    ``hazard_ratio, ci_low, ci_high, p_value, q_value`` (Benjamini-Hochberg over the micros), ``users`` ever at risk in
    that state or level, target ``events`` in it, ``person_days`` in it, ``interval``, ``reference``. ``interval`` is
    ``"wald"`` or, with ``robust``, ``"robust"``; ``"profile"`` with fewer than ten events in or outside it, which is
    based on the model also where ``robust=True`` is asked for; ``"none"`` with fewer than ten users.
    ``.proportionality``: ``term, chi2, degrees_of_freedom, p_value`` as R's ``cox.zph``, ``q_value``. With ``since``:
    ``.since`` and ``.fading``. ``.risk_table`` or ``.exposures``: the counts.

    Raises ``ParameterError`` for parameters that do not fit the log, nobody at risk, and attributes that alone make
    over ``max_patterns`` combinations. What cannot be estimated is NaN, infinite or 0, and ``.warnings`` says why.
    Follows R's ``coxph`` on (start, stop] rows with Efron's ties.

    >>> import microconv as mc
    >>> found = mc.hazard_ratios(mc.sample_log(), micros=["add_to_cart", "share"], adjust="device")
    >>> found.table[["term", "hazard_ratio", "ci_low", "ci_high", "events"]].round(2)
                term  hazard_ratio  ci_low  ci_high  events
    0    add_to_cart          5.52    4.71     6.47     305
    1          share          1.22    0.97     1.53      88
    2  device=mobile          0.71    0.61     0.84     300
    3  device=tablet          0.86    0.65     1.13      62
    """
    question = ask(
        log,
        micros=micros,
        adjust=adjust,
        strata=strata,
        method=method,
        target=target,
        origin=origin,
        competing=competing,
        horizon=horizon,
        ties=ties,
        robust=robust,
        since=since,
        reference=reference,
        bins=bins,
        washout=washout,
        tz=tz,
        confidence=confidence,
        max_rows=max_rows,
        max_patterns=max_patterns,
    )
    attributes = (*question.adjust, *question.strata)
    users = people(
        log,
        question.rule,
        question.micros,
        attributes,
        tz=question.tz,
        washout=question.washout,
        max_cells=question.max_patterns,
    )
    if users.at_risk == 0:
        raise ParameterError(_nobody_left(users, question))
    _check_reference(users, question)
    counted = count(users, done_or_not(question.names), question, question.max_patterns)
    many = counted if isinstance(counted, int) else None
    if isinstance(counted, int):
        model, rows, checked, silent, separated = _one_by_one(users, question, counted)
    else:
        model = fit_model(users, counted, question)
        rows = [micro_row(model, name, question.kinds[name]) for name in question.names]
        rows += attribute_rows(model, question)
        checked = proportional_hazards(model, question)
        silent, separated = dict(model.silent), _separated(model)
    table = finished(rows)
    extra = {"proportionality": checked}
    if question.since:
        extra["since"], extra["fading"] = fading(users, question)
    told = Told(log, question, users, model, table, checked, extra.get("fading"), many, silent, separated)
    return HazardRatios(
        name="hazard_ratios",
        table=table,
        meaning=meaning(told),
        parameters=_parameters(question, model, origin, many),
        assumptions=assumptions(told),
        warnings=warnings_of(told),
        extra=extra,
        provenance=log.provenance,
        plot_with=_plot,
        risk_table=model.counted.risk_table,
        exposures=model.counted.exposures,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_hazard_ratios

    return plot_hazard_ratios(result, ax)


def _parameters(question: Question, model: Model, origin: Step, many: int | None) -> dict[str, Any]:
    rule = question.rule
    return {
        "target": rule.target.name,
        "micros": list(question.names),
        "adjust": list(question.adjust),
        "strata": list(question.strata),
        "reference": dict(question.reference),
        "origin": label(origin),
        "competing": [end.name for end in rule.competing],
        "censor": [item.name for item in rule.censor],
        "horizon": format_duration(rule.horizon) if rule.horizon is not None else None,
        "method": model.counted.method,
        "models": "one per micro" if many is not None else "one",
        "ties": question.ties if model.counted.method == "cox" else None,
        "robust": question.robust,
        "since": [format_duration(cut) for cut in question.since],
        "washout": format_duration(question.washout) if question.washout is not None else None,
        "tz": question.tz,
        "confidence": question.confidence,
    }


def _nobody_left(users: People, question: Question) -> str:
    why = []
    if users.never_at_risk:
        origin = question.rule.origin
        since = "the log's first event" if origin is None else f"the origin {origin.name!r}"
        why.append(f"{users.never_at_risk:,} are never at risk after {since}")
    if users.washed_out:
        why.append(f"{users.washed_out:,} entered within the washout of the log's first event")
    if users.without_number:
        why.append(f"{users.without_number:,} have no number in {', '.join(map(repr, question.numbers))} at entry")
    return (
        f"No user is ever at risk: of {users.users:,} users {', '.join(why) or 'none is left'}. Choose another origin, "
        "a shorter washout or fewer attributes."
    )


def _check_reference(users: People, question: Question) -> None:
    from microconv.errors import unknown_name

    for column, level in question.reference.items():
        levels = sorted(set(users.cells[column]))
        if str(level) not in levels:
            raise ParameterError(unknown_name(f"level of {column!r} in reference=", level, levels))


def _separated(model: Model) -> tuple[str, ...]:
    return tuple(model.fit.separated) if model.fit is not None else ()


def _one_by_one(
    users: People, question: Question, patterns: int
) -> tuple[Model, list[dict[str, Any]], pd.DataFrame, dict[str, Any], tuple[str, ...]]:
    """One model per micro, with how many others are done; the attributes' rows from a model with that number alone."""
    names = question.names
    if len(names) < 3:
        raise ParameterError(
            f"The micros and attributes make {patterns:,} patterns, over max_patterns={question.max_patterns:,}. "
            "Adjust for fewer or coarser attributes, or raise max_patterns."
        )
    limit = 2 * len(_COUNTS) * question.max_patterns
    asked = replace(question, reference={**question.reference, OTHERS: _COUNTS[0]})
    rows, checks = [], []
    silent: dict[str, Any] = {}
    separated: list[str] = []

    most = len(_COUNTS) - 1
    ordered = in_order(users, len(names), most)
    ranks = [f"rank {k} of the others" for k in range(1, most + 1)]

    def fitted(micro: int | None) -> Model:
        mine = beside_others(ordered, micro, most)
        layout = counted_states(
            ranks if micro is None else [names[micro], *ranks], None if micro is None else 0, OTHERS, _COUNTS
        )
        counted = count(mine, layout, asked, limit)
        assert isinstance(counted, Counted)  # at most so many times the attributes' combinations, which people() bounds
        return fit_model(mine, counted, asked)

    for i, name in enumerate(names):
        model = fitted(i)
        rows.append(micro_row(model, name, question.kinds[name]))
        checked = proportional_hazards(model, asked)
        checks.append(checked[checked["term"] == name])
        silent |= {column: value for column, value in model.silent.items() if column != OTHERS}
        separated += [term for term in _separated(model) if term == name]
    model = fitted(None)
    rows += attribute_rows(model, question)
    separated += [term for term in _separated(model) if not term.startswith(OTHERS)]
    checked = proportional_hazards(model, asked)
    checks.append(checked[~checked["term"].str.startswith((OTHERS, "GLOBAL"))])
    return model, rows, pd.concat(checks, ignore_index=True), silent, tuple(separated)
