"""mc.micro_value: what each micro-conversion is worth, in three columns that are never mixed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from microconv.durations import Duration, format_duration
from microconv.results import Result
from microconv.steps import Step, as_item, label
from microconv.value.asking import ValueQuestion, ask

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["micro_value"]


def micro_value(
    log: EventLog,
    *,
    micros: Sequence[Step] | Step | None = None,
    horizon: Duration | None = None,
    adjust: str | Sequence[str] = (),
    activity: Step | Sequence[Step] = (),
    method: Literal["hazard", "trials"] = "hazard",
    check: bool = True,
    by: str | None = None,
    occurrences: int = 1,
    at: Duration | Sequence[Duration] = (),
    since: Duration | Sequence[Duration] = (),
    target: Step | None = None,
    origin: Step = "entry",
    competing: Sequence[Step] | None = None,
    refunds: Step | Sequence[Step] = (),
    margin: float = 1.0,
    discount_rate: float = 0.0,
    revenue: Literal["first", "all"] = "first",
    revenue_within: Duration | None = None,
    value: str | None = None,
    currency: str | None = None,
    rates: Mapping[str, float] | None = None,
    placebo: bool = False,
    negative_control: Step | None = None,
    variant_col: str | None = None,
    encouraged: str | None = None,
    control: str | None = None,
    truth: pd.DataFrame | None = None,
    bins: int = 30,
    washout: Duration | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
    min_cell: int = 10,
    seed: int = 0,
    max_controls: int = 400_000,
    max_patterns: int = 5_000,
) -> Result:
    """What is each micro-conversion worth: naively, by division of the revenue, and by what it adds?

    Three columns that answer three questions. **Naive** is what dashboards show: the value of a conversion times the
    share of doers who convert; it counts who would have bought anyway, and ``naive_bias`` says by how much it lies
    above what is added. **Credited** divides the revenue that was earned among the micros done before each purchase
    (Shapley's value of the fitted ratios, in closed form); with ``(no micro)`` it sums to the revenue, to the cent.
    **Incremental** is what the action adds: among users who did it before the macro, the chance of the macro within
    ``horizon`` of the action, less the same had they never done it, and the difference in expected revenue. It is a
    total effect: other micros and other ends take their own course in both cases. Effects of several micros overlap and
    must not be added.

    * ``micros``: plan names, event names or ``{"event": ..., "where": ...}``; None takes all of the plan. Beyond ten,
      those in front keep a state each and the others are counted up to three (each is estimated in turn).
    * ``adjust``: attributes at entry; a number with many values is cut into four bands. ``activity``: prior activity as
      of time zero, counted in bands of 0-1, 2-3, 4-7, 8 and more: ``"visits"`` (``session_start``), ``"page_views"``
      (``page_view``), or any event. It goes on in both cases, as activity after an action may be its effect.
    * ``method``: ``"hazard"`` (rates of the macro, of other ends and of every micro by time, micros done and
      attributes, carried forward in both cases; delta-method interval) or ``"trials"`` (doers against users at risk
      who have not done it, alike in attributes and micros done, weighted for doing it later; bootstrap of users).
      ``check=True`` runs the other one too; ``.warnings`` says where they disagree.
    * ``since``: where the pull of a micro may fade, the hazard method tells apart how long ago the micro was done whose
      effect is asked for: cuts of the time since it, within the horizon (``["1D", "7D"]``), or ``"auto"``: chosen from
      the conversions (none where these are few). Default: one factor at all times. ``.since`` has the ratios. The
      trials method needs none: it goes by the time since the action. Fits anew for each micro.
    * ``by``: an attribute at entry of at most 12 levels; ``.segments`` has the effect in each, shrunken and tested.
      ``occurrences``: up to which occurrence a micro counts as one of its own (``"video #2"``), among users who did it
      so often before. ``at``: times after the action at which ``.by_time`` reads the effect (default: 1D, 7D, 30D ...).
    * Money is the plan's ``value`` column of the macro (or ``value``, in ``currency``), less ``refunds`` (events whose
      value is paid back), times ``margin``, discounted from the first conversion on by ``discount_rate`` a year. Naive
      and incremental value count what a user pays at the first conversion, and its refunds; with ``revenue="all"`` also
      what comes after it (up to ``revenue_within``), which users who convert late have less time for. Credited value
      divides all payments. Several currencies need ``rates`` (``{"USD": 0.92}``: what one is worth).
    * ``placebo=True``: also the effect of a micro that can have none, at random among each user's own events;
      ``negative_control``: an outcome that the micros cannot move, whose "effects" show what is not adjusted for. Both
      stand in ``.checks``. ``variant_col``: the arm of an experiment that moved the micro ``encouraged``, against the
      arm ``control``: ``.encouragement`` has the effect among those whom it moved, with Anderson and Rubin's interval,
      the only one that is ``causal``; it is not comparable with ``incremental``.
    * ``truth``: of a simulated log, ``simulated.truth.incremental(horizon)``; it is drawn beside the estimates.
    * ``target, origin, competing, washout, tz``: as in ``hazard_ratios``.

    At risk: as in ``hazard_ratios``. Of the doers those enter whose action age and horizon lie within ages that
    ``min_cell`` users are observed to; ``left_out`` is the share of the others.

    ``.table``, micros in plan order: ``micro, kind, users`` (who did it while at risk), ``naive_lift`` (their share of
    converters less that of who never did it), ``followed_by`` (that share), ``incremental, ci_low, ci_high``
    (probabilities), ``naive_value, naive_bias, incremental_value, value_ci_low, value_ci_high`` (money per first
    action), ``credited_value`` (money in all), ``e_value, e_value_limit`` (how strongly, as a ratio of risks, a trait
    that the log does not show must go with both the micro and the macro to explain the effect, or its interval, away),
    ``label`` (``predictive``: nothing adjusted for; ``adjusted``; ``structural``: every conversion passes it;
    ``not estimated``), ``why``, ``left_out``.

    ``naive_lift`` is not ``incremental`` made too large: converters leave early, and have less time to do anything, so
    that it may be below zero for a micro that adds, while ``naive_bias`` is nearly always above. Neither corrects the
    other.

    ``.methods``: both side by side. ``.by_time``: how the effect builds up. ``.sensitivity`` and ``.strengths``:
    what a hidden trait would have to be, in words, and what is left of the effect beside one of a given strength.
    ``.support``: by landmark of the trials, doers, comparable users and doers without any. ``.naive_counts``,
    ``.credited`` (with intervals), ``.revenue`` (what became of each payment, in hundredths), ``.next_steps``,
    ``.segments``, ``.checks``, ``.since``, ``.encouragement`` and ``.arms``.

    Raises ``ParameterError`` for parameters that do not fit the log. Hernan and Robins (2020), chapters 13 and 17;
    Hernan et al. (2008) on sequential trials; VanderWeele and Ding (2017) on the E-value.

    >>> import microconv as mc
    >>> found = mc.micro_value(mc.sample_log(), micros=["add_to_cart", "share"], adjust="device", check=False)
    >>> found.table[["micro", "incremental", "naive_value", "incremental_value"]].round(2)
             micro  incremental  naive_value  incremental_value
    0  add_to_cart         0.16        16.28              10.54
    1        share         0.01         5.13               0.32
    2   (no micro)          NaN          NaN                NaN
    """
    question = ask(
        log,
        micros=micros,
        horizon=horizon,
        adjust=adjust,
        activity=activity,
        occurrences=occurrences,
        at=[at] if isinstance(at, str | timedelta) else at,
        since=since,
        method=method,
        check=check,
        by=by,
        min_cell=min_cell,
        seed=seed,
        max_controls=max_controls,
        target=target,
        origin=origin,
        competing=competing,
        bins=bins,
        washout=washout,
        tz=tz,
        confidence=confidence,
        max_rows=1_000_000,
        max_patterns=max_patterns,
    )
    from microconv.payment_terms import PaymentTerms
    from microconv.value.answering import Checks, answer
    from microconv.value.encouraging import Nudge

    terms = PaymentTerms(
        refunds=refunds,
        margin=margin,
        discount_rate=discount_rate,
        revenue=revenue,
        within=revenue_within,
        value=value,
        currency=currency,
        rates=dict(rates or {}),
    )
    checks = Checks(
        placebo=placebo,
        outcome=as_item(log, negative_control, "negative_control") if negative_control is not None else None,
        nudge=Nudge.checked(log, question.micros, variant_col, encouraged, control),
    )
    found = answer(log, question, terms, checks, truth)
    return Result(
        name="micro_value",
        table=found.table,
        meaning=found.meaning,
        parameters=_parameters(question, terms, checks, origin, found.currency),
        assumptions=found.assumptions,
        warnings=found.warnings,
        extra=found.extra,
        provenance=log.provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_micro_value

    return plot_micro_value(result, ax)


def _parameters(question: ValueQuestion, terms: Any, checks: Any, origin: Step, currency: str | None) -> dict[str, Any]:
    shared = question.hazards
    return {
        "target": shared.rule.target.name,
        "micros": list(question.micros),
        "horizon": format_duration(question.horizon),
        "adjust": list(shared.adjust),
        "activity": list(question.activities),
        "since": question.since
        if isinstance(question.since, str)
        else [format_duration(cut) for cut in question.since],
        "method": question.method,
        "check": question.check,
        "by": question.by,
        "origin": label(origin),
        "competing": [end.name for end in shared.rule.competing],
        "censor": [item.name for item in shared.rule.censor],
        "currency": currency,
        "margin": terms.margin,
        "discount_rate": terms.discount_rate,
        "revenue": terms.revenue,
        "refunds": [label(step) for step in terms.listed_refunds],
        "rates": dict(terms.rates),
        "placebo": checks.placebo,
        "negative_control": checks.outcome.name if checks.outcome is not None else None,
        "variant_col": checks.nudge.column if checks.nudge is not None else None,
        "washout": format_duration(shared.washout) if shared.washout is not None else None,
        "tz": shared.tz,
        "confidence": shared.confidence,
        "min_cell": question.min_cell,
        "seed": question.seed,
    }
