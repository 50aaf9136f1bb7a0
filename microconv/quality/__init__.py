"""How far the events can be trusted, before anything is concluded from them: gaps, ties, bots, plan, maturity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.durations import Duration, format_duration, to_micros
from microconv.quality.checks import (
    FAST_EVENTS,
    calendar_checks,
    judged_alone,
    maturity_checks,
    name_checks,
    order_checks,
    plan_checks,
    rows_checks,
    user_checks,
)
from microconv.quality.frames import days_frame, events_frame, plan_frame, rejected_frame, segments_frame
from microconv.reduce import quality as reductions
from microconv.results import Result

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["quality"]

_COLUMNS = ["check", "value", "unit", "share", "verdict", "note"]


def quality(log: EventLog, *, horizon: Duration | None = None, by: str | None = None) -> Result:
    """How far the events can be trusted, as a list of checks, each with a count, a share and a verdict.

    * ``horizon``: how long a user must be observed to be mature (``"30D"``); default: the plan's.

    * ``by``: a column; ``.segments`` then has the users by its value at entry, and how many of them are mature.

    ``.table``: ``check, value, unit, share`` (of what the note says, 0..1), ``verdict`` (``"ok"``; ``"look"``: read
    the note; ``"unknown"``: not measurable) and ``note``, which states the rule. ``.days``: events by day (UTC);
    ``mark`` is ``"none"`` without events, ``"off"`` where that weekday has none as a rule, ``"low"`` below a quarter
    of what that weekday has. ``.events``: rows and users of each event, whether the plan names it. ``.plan`` (with a
    plan): the users who ever did each item. ``.rejected``: the rows set aside, by reason.

    Nobody is at risk and nothing is estimated here: all numbers are counts over all accepted events.
    """
    within = to_micros(horizon, "horizon") if horizon is not None else _plan_horizon(log)
    macros = list(log.plan.macros) if log.plan is not None else []
    named = judged_alone(log)
    users = reductions.user_activity(log, macros, named, FAST_EVENTS)
    counts = log.engine.fetch(reductions.totals(users)).iloc[0]
    days, events = days_frame(log), events_frame(log)
    extra = {"days": days, "events": events, "rejected": rejected_frame(log)}
    if log.plan is not None:
        extra["plan"] = plan_frame(log)
    if by is not None:
        log.require_columns([by], "by")
        extra["segments"] = segments_frame(log, users, by, within)
    checks = [
        *rows_checks(log),
        *order_checks(log, counts, int(events.loc[events["event"].isin(named), "rows"].sum())),
        *calendar_checks(log, days, int(counts["last"]), within),
        *user_checks(log, users, int(counts["users"])),
        *name_checks(log, events),
        *(plan_checks(log, users, counts, extra["plan"]) if log.plan is not None else []),
        *maturity_checks(log, users, within),
    ]
    table = pd.DataFrame(checks, columns=_COLUMNS).astype({"value": float, "share": float})
    return Result(
        name="quality",
        table=table,
        meaning=_meaning(log, table, int(counts["users"])),
        parameters={"horizon": format_duration(within) if within is not None else None, "by": by},
        assumptions=[
            "Counts are over all accepted events; days are UTC.",
            "A verdict is a rule of thumb, stated in its note: 'look' asks for a look, it does not say data is wrong.",
        ],
        warnings=list(log.notes),
        extra=extra,
        provenance=log.provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_quality

    return plot_quality(result, ax)


def _plan_horizon(log: EventLog) -> int | None:
    horizon = log.plan.horizon if log.plan is not None else None
    return to_micros(horizon, "horizon") if horizon is not None else None


def _meaning(log: EventLog, table: pd.DataFrame, users: int) -> str:
    text = (
        f"{log.rows_accepted:,} of {log.rows_read:,} rows became events of {users:,} users, "
        f"from {log.observed_from:%Y-%m-%d} to {log.observed_until:%Y-%m-%d}."
    )
    odd = table.loc[table["verdict"] == "look", "check"].tolist()
    if not odd:
        return f"{text} None of {len(table)} checks asks for a look."
    named = "; ".join(odd[:6]) + ("; ..." if len(odd) > 6 else "")
    ask = "asks" if len(odd) == 1 else "ask"
    return f"{text} {len(odd)} of {len(table)} checks {ask} for a look: {named}."
