"""mc.fallacy_check: what "users who ever did X" says of each micro-conversion, beside what counting in time says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.durations import Duration, format_duration, to_micros
from microconv.errors import ParameterError
from microconv.fallacies.comparing import ADJUSTED, COLUMNS, compare, finished, rates, verdicts
from microconv.fallacies.words import Said, assumptions, meaning, warnings_of
from microconv.hazards import HazardRatios, hazard_ratios
from microconv.hazards.asking import Question, ask
from microconv.reduce.entrants import people
from microconv.results import Result
from microconv.steps import Step, label

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["fallacy_check"]


def fallacy_check(
    log: EventLog,
    *,
    micros: Sequence[Step] | Step | None = None,
    adjust: str | Sequence[str] = (),
    target: Step | None = None,
    origin: Step = "entry",
    competing: Sequence[Step] | None = None,
    landmarks: Duration | Sequence[Duration] | None = None,
    horizon: Duration | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
) -> Result:
    """Would comparing users who ever did a micro-conversion with the others mislead, and what holds when time counts?

    Four comparisons of each micro, all as hazard ratios of the target (Cox's model, Efron's ties):

    * ``ever did``: the fallacy. Users who do it before their end are told apart from the others **from the start on**,
      so that the days that they lived through before doing it count for it, and who converts early never gets to do
      it (immortal time). The ratio is never larger for it, and mostly far too small.
    * ``landmark 3D``: users still at risk at a landmark, by what they had done by then. Fair, but of that moment only:
      doers who come later count as not done, and who has converted by then is left out.
    * ``time-varying``: each user counts as not done until just after the first time, as done from then on. This one is
      right about time. It is of the micro by itself, like the two above: all that differs is how time is counted.
    * ``time-varying, adjusted``: the same from ``mc.hazard_ratios`` with all ``micros`` in one model and adjusted for
      ``adjust``; left out where there is nothing to adjust for.

    ``micros``, ``adjust``, ``target``, ``origin``, ``competing``, ``horizon``, ``tz``, ``max_rows``: as in
    ``hazard_ratios``. ``landmarks``: times after time zero (``["1D", "7D"]``), the same for every micro; None: for
    each micro when a quarter, half and three quarters of those who do it have done it, rounded; ``()``: none.

    At risk: as in ``hazard_ratios``; at a landmark only who is still at risk after it. All but the target censor.

    ``.table``, in this order per micro: ``micro, comparison, landmark_days`` (NaN for others), ``hazard_ratio, ci_low,
    ci_high, p_value, q_value`` (Benjamini-Hochberg within each kind of comparison), ``users`` who count as having done
    it, target ``events`` among them while they do, users ``at_risk`` in the comparison, ``interval`` (as in
    ``hazard_ratios``). ``.verdicts``: per micro whether ``ever did`` and ``time-varying`` ``disagree``, ``how``, and
    ``waiting_share``, the part of the doers' days at risk that lies before they did it. ``.rates``: the shares that
    dashboards print, of who ever did it before their end (``users, events, rate, ci_low, ci_high``) and of the others
    (``other_...``), with the ``odds_ratio``: the same fallacy.

    ``.warnings`` says in plain words for each micro whose comparisons disagree (other side of 1, intervals that do not
    overlap, a difference in one only) what is wrong. Raises ``ParameterError`` as ``hazard_ratios`` does. What
    cannot be estimated is NaN, 0 or infinite, and a warning says why. Suissa (2008); Anderson, Cain and Gelber (1983)
    for landmarks.

    >>> import microconv as mc
    >>> found = mc.fallacy_check(mc.sample_log(), micros="newsletter_signup", landmarks="3D")
    >>> found.table[["comparison", "hazard_ratio", "ci_low", "ci_high"]].round(2)
         comparison  hazard_ratio  ci_low  ci_high
    0      ever did          0.72    0.57     0.91
    1   landmark 3D          1.38    0.97     1.96
    2  time-varying          1.31    1.04     1.67
    """
    if target is None:
        log.require_plan("fallacy_check without target=")
    if micros is None:
        log.require_plan("fallacy_check without micros=")
    shared: dict[str, Any] = {
        "micros": micros,
        "adjust": adjust,
        "target": target,
        "origin": origin,
        "competing": competing,
        "horizon": horizon,
        "tz": tz,
        "confidence": confidence,
        "max_rows": max_rows,
    }
    question = ask(
        log, **shared, method="cox", strata=(), ties="efron", robust=False, since=(), reference=None, bins=20,
        washout=None, max_patterns=5_000,
    )  # fmt: skip
    if not question.micros:
        raise ParameterError("There is no micro to check: micros= names none. Name some (micros=['signup']).")
    at = _landmarks(landmarks, question)
    users = people(log, question.rule, question.micros, (), tz=tz)
    if users.at_risk == 0:
        raise ParameterError(
            f"No user is ever at risk: of {users.users:,} users none comes to the origin {label(origin)!r} before the "
            "journey ends. Check its spelling, or choose another origin."
        )
    found = [compare(users, question, i, at) for i in range(len(question.micros))]
    joint = hazard_ratios(log, **shared) if len(question.micros) > 1 or question.adjust else None
    rows = []
    for name, one in zip(question.names, found, strict=True):
        rows += [*one.rows, *_adjusted(joint, name, users.at_risk)]
    table = finished(rows)
    judged = verdicts(table, question.names, found)
    said = Said(log, question, users, table, judged, found, joint)
    return Result(
        name="fallacy_check",
        table=table,
        meaning=meaning(said),
        parameters={
            "target": question.rule.target.name,
            "micros": list(question.names),
            "adjust": list(question.adjust),
            "origin": label(origin),
            "competing": [end.name for end in question.rule.competing],
            "landmarks": [format_duration(moment) for moment in at] if at is not None else None,
            "horizon": format_duration(question.rule.horizon) if question.rule.horizon is not None else None,
            "tz": tz,
            "confidence": confidence,
        },
        assumptions=assumptions(said),
        warnings=warnings_of(said),
        extra={"verdicts": judged, "rates": rates(question.names, found, confidence)},
        provenance=log.provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_fallacy_check

    return plot_fallacy_check(result, ax)


def _landmarks(given: Duration | Sequence[Duration] | None, question: Question) -> list[int] | None:
    """The landmarks in microseconds, in order, each once."""
    if given is None:
        return None
    listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found = sorted({to_micros(moment, "landmarks") for moment in listed})
    horizon = question.rule.horizon
    if horizon is not None and found and found[-1] >= horizon:
        raise ParameterError(
            f"landmarks: {format_duration(found[-1])!r} leaves nothing before horizon={format_duration(horizon)!r}. "
            "Choose earlier landmarks or a longer horizon."
        )
    return found


def _adjusted(joint: HazardRatios | None, micro: str, at_risk: int) -> list[dict[str, Any]]:
    """The micro's row of the joint model."""
    if joint is None:
        return []
    rows: pd.DataFrame = joint.table[joint.table["kind"] != "attribute"]
    row = rows[rows["term"] == micro].iloc[0].to_dict()
    if joint.risk_table is not None:  # users without a number to adjust for are not in it
        counts = joint.risk_table.frame
        at_risk = int(counts.loc[counts["time_days"] == 0, "entered"].sum())
    row |= {"micro": micro, "comparison": ADJUSTED, "landmark_days": float("nan"), "at_risk": at_risk}
    return [{column: row[column] for column in COLUMNS}]
