"""mc.funnel: how many users get through the steps, where they are lost, who may still come, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY, Duration, format_duration, to_micros
from microconv.errors import ParameterError, unknown_name
from microconv.reduce.funnels import attempts, durations, lost_users, reach_counts, waiting_counts
from microconv.results import Result
from microconv.stats.proportions import wilson
from microconv.steps import Step, funnel_rule, label, segment_columns

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.presets import Preset
    from microconv.reduce.chains import FunnelRule

__all__ = ["FunnelResult", "funnel"]

_BETWEEN = (0.1, 0.25, 0.5, 0.75, 0.9)
_MOST_SEGMENTS = 200


@dataclass(frozen=True)
class FunnelResult(Result):
    """A funnel, with the users behind each step kept in the engine."""

    log: EventLog | None = field(default=None, repr=False, compare=False)
    users: ir.Table | None = field(default=None, repr=False, compare=False)
    names: tuple[str, ...] = ()
    optional: frozenset[int] = frozenset()

    def lost(self, step: str | int) -> ir.Table:
        """The users who reached the step before ``step`` (the last not optional) but not ``step``, in the engine.

        Columns: ``user_id`` (text), ``started`` and ``last_step_at`` (UTC), ``last_step`` (how far they got) and
        ``open`` (an attempt of theirs may still get there). ``step`` is a name or a number from 2. Users and times are
        personal data: they stay in the engine until you fetch them (``.to_pandas()``).
        """
        number = _step_number(step, self.names)
        if self.users is None or self.log is None:
            raise ParameterError("This funnel does not hold its users.")
        before = _before(self.optional, number - 1) + 1
        return lost_users(self.log, self.users, len(self.names), before, number)


def funnel(
    log: EventLog,
    steps: Sequence[Step],
    *,
    window: Duration | None = None,
    order: Literal["ordered", "any", "strict"] | None = None,
    reentry: Literal["latest", "first"] | None = None,
    within_step: Duration | Mapping[str | int, Duration] | None = None,
    optional: Iterable[str | int] = (),
    exclude: Iterable[Step] = (),
    same: str | None = None,
    by: str | Sequence[str] | None = None,
    semantics: str | None = None,
    confidence: float = 0.95,
) -> FunnelResult:
    """How many users do the steps, one after the other, within a window.

    * ``steps``: plan names, event names, or ``{"event": "checkout", "where": "amount > 50"}``; a name may come twice.
    * ``window``: from the first step, its end included (``"7D"``); None is no limit. ``within_step``: from the step
      before, for
      all steps or ``{"purchase": "1h"}`` by name or number.
    * ``order``: ``"ordered"`` (other events may lie between), ``"strict"`` (no other event of the user may), ``"any"``
      (step
      k is reached when steps 1 to k are all done, in whatever order, within the window of the first of them).
    * ``reentry``: ``"latest"``: every first step starts an attempt; the furthest counts, of equally far ones the
      latest.
      ``"first"``: only the user's first first step starts one.
    * ``optional``: steps that may be left out. ``exclude``: events that end an attempt there (steps already reached
      still
      count; at one instant the steps come first). ``same``: a column that all steps of an attempt must share.
    * ``by``: attributes at entry (the user's first event); ``.table`` then holds the parts, ``.total`` the whole.
    * ``semantics``: count as ``"clickhouse"``, ``"mixpanel"``, ``"amplitude"``, ``"posthog"``, ``"ga4"`` or
      ``"retentioneering"`` does (see ``microconv.presets``). An ``order`` or ``reentry`` that is given wins; the
      result's assumptions say what differs from the tool.

    ``.table``: ``step`` (from 1), ``name``, ``users`` (reached it, mature or not), ``rate`` of step 1 with its Wilson
    interval ``ci_low, ci_high``; ``step_rate`` of the step before (the last that is not optional) with interval;
    ``open``
    (users not there yet whose attempt is still running at ``observed_until``); ``censored_rate`` (1 - Kaplan-Meier of
    reaching it within
    the window from the counted attempt's start; with ``window=None`` at the plan's horizon); ``median_days, p90_days``
    from step 1
    among those who reached it. ``.between`` has quantiles of the time from the step before, ``.total`` the whole.
    ``.lost(step)`` lists who was lost there.

    At risk: users whose counted attempt is running; censored: those still running at ``observed_until``. Raises
    ``ParameterError``.
    Follows ClickHouse's ``windowFunnel`` where ``reentry="latest"``, ``order="ordered"`` and no two events share an
    instant.

    >>> import microconv as mc
    >>> found = mc.funnel(mc.sample_log(), ["session_start", "add_to_cart", "purchase"], window="7D")
    >>> found.table[["step", "name", "users", "rate", "ci_low", "ci_high"]].round(3)
       step           name  users   rate  ci_low  ci_high
    0     1  session_start   6003  1.000   0.999    1.000
    1     2    add_to_cart   1262  0.210   0.200    0.221
    2     3       purchase    187  0.031   0.027    0.036
    """
    from microconv.presets import settings

    preset = settings(semantics)
    rule = funnel_rule(
        log,
        steps,
        window=window,
        order=preset.order if order is None else order,
        reentry=preset.reentry if reentry is None else reentry,
        within_step=within_step,
        optional=optional,
        exclude=exclude,
        same=same,
        distinct=preset.distinct,
    )
    segments = segment_columns(log, by, _COLUMNS)
    names = tuple(label(step) for step in steps)
    users = attempts(log, rule, segments)
    limit = rule.window if rule.window is not None else _horizon(log)
    total = _table(log, users, rule, names, [], limit, confidence)
    table = _table(log, users, rule, names, segments, limit, confidence) if segments else total
    between = _between(log, users, rule, names, segments)
    extra = {"between": between, **({"total": total} if segments else {})}
    return FunnelResult(
        name="funnel",
        table=table,
        meaning=_meaning(total, rule),
        parameters={
            "steps": [dict(step) if isinstance(step, Mapping) else step for step in steps],
            "window": format_duration(rule.window) if rule.window is not None else None,
            "order": rule.order,
            "reentry": rule.reentry,
            "within_step": [format_duration(w) if w is not None else None for w in rule.within],
            "optional": [names[j] for j in sorted(rule.optional)],
            "exclude": [item.name for item in rule.exclude],
            "same": same,
            "by": segments,
            "semantics": semantics,
            "confidence": confidence,
        },
        assumptions=_assumptions(rule, limit, preset, names),
        warnings=_warnings(log, total, rule),
        extra=extra,
        provenance=log.provenance,
        plot_with=_plot,
        log=log,
        users=users,
        names=names,
        optional=rule.optional,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_funnel

    return plot_funnel(result, ax)


def _horizon(log: EventLog) -> int | None:
    horizon = log.plan.horizon if log.plan is not None else None
    return to_micros(horizon, "horizon") if horizon is not None else None


def _step_number(step: str | int, names: Sequence[str]) -> int:
    if isinstance(step, str):
        if step not in names:
            raise ParameterError(unknown_name("step", step, names))
        if names.count(step) > 1:
            raise ParameterError(f"{step!r} is the name of several steps. Give the step's number.")
        step = names.index(step) + 1
    if isinstance(step, bool) or not isinstance(step, int) or not 2 <= step <= len(names):
        raise ParameterError(f"step={step!r} must be a step's name or its number from 2 to {len(names)}.")
    return step


def _before(optional: frozenset[int], j: int) -> int:
    """The last step before ``j`` that is not optional, all counted from 0."""
    return next(i for i in range(j - 1, -1, -1) if i not in optional)


def _table(
    log: EventLog,
    users: ir.Table,
    rule: FunnelRule,
    names: Sequence[str],
    by: Sequence[str],
    limit: int | None,
    confidence: float,
) -> pd.DataFrame:
    """The contract's columns, segments first, one row per segment and step."""
    keys, steps = [f"by_{i}" for i in range(len(by))], len(names)
    counts = reach_counts(log, users, steps, len(by))
    if len(counts) > _MOST_SEGMENTS:
        raise ParameterError(
            f"by={list(by)} has {len(counts):,} segments, more than {_MOST_SEGMENTS}. Choose a coarser attribute."
        )
    times = durations(log, users, [None] * steps, (0.5, 0.9), len(by))
    waits = waiting_counts(log, users, steps, limit, len(by)) if limit is not None else None
    blocks = []
    for row, timed in zip(counts.to_dict("records"), times.to_dict("records"), strict=True):
        segment = tuple(row[key] for key in keys)
        reached = np.array([int(row[f"reached_{k}"]) for k in range(1, steps + 1)])
        previous = np.array([reached[0]] + [reached[_before(rule.optional, j)] for j in range(1, steps)])
        ci_low, ci_high = wilson(reached, np.full(steps, reached[0]), confidence)
        step_low, step_high = wilson(reached, previous, confidence)
        block = {
            **dict(zip(by, segment, strict=True)),
            "step": range(1, steps + 1),
            "name": list(names),
            "users": reached,
            "rate": _share(reached, np.full(steps, reached[0])),
            "ci_low": ci_low,
            "ci_high": ci_high,
            "step_rate": _share(reached, previous),
            "step_ci_low": step_low,
            "step_ci_high": step_high,
            "open": [int(row[f"open_{k}"]) for k in range(1, steps + 1)],
            "censored_rate": _censored_rates(waits, keys, segment, steps, int(reached[0])),
            "median_days": [_days(timed[f"q_{k}_0"]) for k in range(1, steps + 1)],
            "p90_days": [_days(timed[f"q_{k}_1"]) for k in range(1, steps + 1)],
        }
        blocks.append(pd.DataFrame(block))
    if not blocks:
        return pd.DataFrame(columns=[*by, *_COLUMNS])
    return pd.concat(blocks, ignore_index=True)


_COLUMNS = (
    "step name users rate ci_low ci_high step_rate step_ci_low step_ci_high".split()
    + "open censored_rate median_days p90_days".split()
)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _days(micros: Any) -> float:
    return float(micros) / MICROS_PER_DAY if micros is not None else float("nan")


def _censored_rates(
    waits: pd.DataFrame | None, keys: list[str], segment: tuple[Any, ...], steps: int, started: int
) -> list[float]:
    """1 - Kaplan-Meier at the limit for each step; NaN when there is no limit or nobody started."""
    if waits is None or started == 0:
        return [float("nan")] * steps
    mine = waits
    for key, value in zip(keys, segment, strict=True):
        mine = mine[mine[key] == value]
    found = {}
    for step, everyone, log_survival in mine[["step", "everyone", "log_survival"]].to_numpy(dtype=object):
        found[int(step)] = 1.0 - (0.0 if everyone else float(np.exp(log_survival)))
    return [1.0] + [found.get(k, 0.0) for k in range(2, steps + 1)]


def _between(log: EventLog, users: ir.Table, rule: FunnelRule, names: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """Quantiles of the time from the step before (the last that is not optional), in days."""
    since = [None, *[_before(rule.optional, j) + 1 for j in range(1, len(names))]]
    wide = durations(log, users, since, _BETWEEN, len(by))
    rows = []
    for record in wide.to_dict("records"):
        for k, name in enumerate(names[1:], start=2):
            quantiles = {f"p{round(100 * p)}_days": _days(record[f"q_{k}_{i}"]) for i, p in enumerate(_BETWEEN)}
            segment = {column: record[f"by_{i}"] for i, column in enumerate(by)}
            rows.append({**segment, "step": k, "since": names[(since[k - 1] or 1) - 1], "name": name, **quantiles})
    return pd.DataFrame(rows)


def _meaning(total: pd.DataFrame, rule: FunnelRule) -> str:
    if total.empty or total["users"].iloc[0] == 0:
        return f"No user did the first step, {rule.steps[0].name}, so there is no funnel to speak of."
    first, last = total.iloc[0], total.iloc[-1]
    text = (
        f"Of {first['users']:,} users who did {first['name']}, {last['users']:,} got to {last['name']}: "
        f"{last['rate']:.1%} ({last['ci_low']:.1%} to {last['ci_high']:.1%})"
    )
    text += f", within {format_duration(rule.window)}." if rule.window is not None else ", with no time limit."
    required = total.iloc[1:]
    if len(required) > 1:
        worst = required.iloc[int(required["step_rate"].fillna(1.0).argmin())]
        text += f" The largest share is lost before {worst['name']}: {1 - worst['step_rate']:.1%} of them."
    if last["open"]:
        text += f" {last['open']:,} users may still get there."
    return text


def _assumptions(rule: FunnelRule, limit: int | None, preset: Preset, names: Sequence[str]) -> list[str]:
    """The conventions that decided the numbers, in words."""
    any_order = rule.order == "any"
    said = [
        {
            "ordered": "Steps in order; other events may lie between.",
            "strict": "Steps in order with no other event of the user between.",
            "any": "Steps in any order: step k means that steps 1 to k are all done.",
        }[rule.order],
        f"Every {'step' if any_order else 'first step'} starts an attempt; the furthest attempt counts, of equally far "
        "ones the latest."
        if rule.reentry == "latest"
        else f"Only a user's first {'event that is a step' if any_order else 'first step'} starts an attempt.",
        f"Window {format_duration(rule.window)} from the start of the attempt, its end included."
        if rule.window is not None
        else "No window: an attempt never runs out of time.",
    ]
    for limited, name in zip(rule.within, names, strict=True):
        if limited is not None:
            said.append(f"{name!r} at most {format_duration(limited)} after the step before, end included.")
    if rule.optional:
        said.append("May be left out: " + ", ".join(repr(names[j]) for j in sorted(rule.optional)) + ".")
    if rule.exclude:
        ends = ", ".join(repr(item.name) for item in rule.exclude)
        said.append(f"An attempt ends at {ends}; steps reached by then count, also those of that very instant.")
    if rule.same is not None:
        said.append(f"All steps of an attempt have the same {rule.same!r}; events without one are no steps.")
    said += [
        "Events of one instant are taken in the order of the steps. "
        + ("No event serves two steps." if preset.distinct else "An event serves all the steps that it is."),
        "Rates: users of step 1, Wilson intervals. open: not reached, an attempt still running at the end.",
    ]
    if limit is None:
        said.append("censored_rate needs a window or a plan with a horizon: it is not computed.")
    return said + preset.remarks(rule.order, rule.reentry, rule.window is not None)


def _warnings(log: EventLog, total: pd.DataFrame, rule: FunnelRule) -> list[str]:
    found = list(log.notes)
    if total.empty:
        return [*found, f"No user did the first step {rule.steps[0].name!r}."]
    nobody = total.loc[total["users"] == 0, "name"]
    found += [f"No user reached {name!r}: check its spelling among the log's events." for name in nobody]
    last = total.iloc[-1]
    if total["users"].iloc[0] and last["open"] > 0.1 * total["users"].iloc[0]:
        found.append(
            f"{last['open'] / total['users'].iloc[0]:.0%} of attempts are still open: read censored_rate, not rate."
        )
    return found
