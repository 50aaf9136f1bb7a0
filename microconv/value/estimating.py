"""The incremental effect of each micro by the two methods, from what was counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from microconv.durations import MICROS_PER_DAY
from microconv.reduce.money import CENTS
from microconv.reduce.revenue import Payments, worth_by_pattern
from microconv.reduce.states import HALVES_PER_DAY
from microconv.reduce.trials import Weighting, bucketed, trial_sums
from microconv.stats import total_effect
from microconv.stats.effects import Effect
from microconv.stats.intensity_fit import Intensities, intensities
from microconv.stats.sequential import trials
from microconv.stats.worth import MeanWorth, mean_worth
from microconv.value.fading import aged, delays_of, ratios_since
from microconv.value.positivity import alike_at_risk

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People
    from microconv.value.asking import ValueQuestion
    from microconv.value.counting import Counted

_MONEY = ("incremental_value", "value_se")
MOST_CHECKED = 60_000  # users that the other method is run on for a check
_AGES, _FEW_AGES = 24, 12  # bins of the doers' ages; fewer where states and attributes make many rows
_MANY_ROWS = 5_000
_CHECK_CONTROLS = 100_000  # and control trials, where these are not all users

__all__ = [
    "MOST_CHECKED",
    "Fitted",
    "by_hazard",
    "by_time_since_it",
    "by_trials",
    "cells_of_intensities",
    "checked_share",
    "estimate_all",
    "fit",
]


@dataclass(frozen=True, eq=False)
class Fitted:
    """Counts of one layout and the intensities fitted to them."""

    counted: Counted
    intensities: Intensities


def fit(counted: Counted, since: Mapping[str, Sequence[float]] | None = None) -> Fitted:
    """Fit the rate of everything that can happen; ``since``: as in ``intensities``."""
    columns = {column.name: column.most for column in counted.layout.columns}
    attributes = list(counted.people.cells.columns)
    return Fitted(counted, intensities(counted.exposures, columns, attributes, since=since))


def by_time_since_it(fitted: Fitted, micro: str, question: ValueQuestion) -> Fitted:
    """Counted and fitted anew with the time since the micro told apart; as it was where there are no cuts."""
    delays = delays_of(fitted.counted, micro, question)
    if not delays:
        return fitted
    counted = aged(fitted.counted, fitted.intensities.cuts, micro, delays, question)
    return fit(counted, {micro: [delay / MICROS_PER_DAY for delay in delays]})


def by_hazard(fitted: Fitted, micro: str, question: ValueQuestion, worth: MeanWorth | None) -> Effect:
    """The effect by carrying the fitted rates forward from each doer's action, with it done and never done."""
    counted = fitted.counted
    found = total_effect(
        fitted.intensities,
        counted.doers[micro],
        micro,
        question.horizon_days,
        value=worth,
        at_days=[moment / MICROS_PER_DAY for moment in question.at],
        age_limit_days=counted.age_limit_days,
        ages=_AGES if fitted.intensities.grid.states * len(fitted.intensities.cells) <= _MANY_ROWS else _FEW_AGES,
    )
    alike = alike_at_risk(
        fitted.intensities, counted.doers[micro], micro, question.horizon_days, counted.age_limit_days
    )
    detail = {**found.detail, "alike": alike}
    if micro in fitted.intensities.since:
        detail["since"] = ratios_since(fitted.intensities, micro, question.hazards.confidence)
    return replace(found, detail=detail)


def by_trials(
    fitted: Fitted,
    marked: ir.Table,
    micro: str,
    question: ValueQuestion,
    paid: ir.Table | None,
    max_controls: int,
) -> Effect:
    """The effect by sequential trials. ``marked``: ``bucketed`` moments of the layout."""
    counted = fitted.counted
    base, factor = fitted.intensities.rate_factors(f"+{micro}")
    sums = trial_sums(
        counted.people,
        marked,
        counted.layout,
        micro,
        horizon=2 * question.horizon,
        age_limit=int(counted.age_limit_days * HALVES_PER_DAY),
        weighting=Weighting(
            [round(cut * HALVES_PER_DAY) for cut in fitted.intensities.cuts],
            base,
            factor[cells_of_intensities(counted.people, fitted.intensities)],
        ),
        paid=paid,
        max_controls=max_controls,
    )
    days = [moment / MICROS_PER_DAY for moment in question.at]
    return trials(sums, at_days=days, seed=question.seed)


def cells_of_intensities(people: People, found: Intensities) -> np.ndarray:
    """For each cell of ``people``, its place among those of the intensities."""
    columns = list(people.cells.columns)
    if not columns:
        return np.zeros(1, dtype=np.int64)
    known = found.cells.assign(_place=range(len(found.cells)))
    placed = people.cells.merge(known, how="left", on=columns)["_place"]
    return placed.fillna(0).to_numpy(np.int64)  # a cell in which nobody spends time has no rates, and needs none


def estimate_all(
    fits: Mapping[str, Fitted], question: ValueQuestion, method: str, paid: Payments | None, spent: ir.Table | None
) -> dict[str, Effect]:
    """The effects of the micros in ``fits`` by one method; ``spent`` is what each user paid."""
    if method == "hazard":
        if question.since:
            fits = {micro: by_time_since_it(one, micro, question) for micro, one in fits.items()}
        worth = {id(one): _worth(one, paid) for one in {id(one): one for one in fits.values()}.values()}
        found = {micro: in_money(by_hazard(one, micro, question, worth[id(one)])) for micro, one in fits.items()}
        return {
            micro: replace(effect, detail={**effect.detail, "below_zero": money.below_zero})
            if (money := worth[id(fits[micro])]) is not None
            else effect
            for micro, effect in found.items()
        }
    part = method != question.method and any(checked_share(one.counted.people.at_risk) < 1 for one in fits.values())
    controls = min(question.max_controls, _CHECK_CONTROLS) if part else question.max_controls
    marked: dict[int, ir.Table] = {}
    found = {}
    for micro, fitted in fits.items():
        key = id(fitted)
        if key not in marked:
            users = fitted.counted.marked
            marked[key] = bucketed(fitted.counted.people, sampled(fitted.counted, users) if part else users)
        found[micro] = in_money(by_trials(fitted, marked[key], micro, question, spent, controls))
    return found


def _worth(fitted: Fitted, paid: Payments | None) -> MeanWorth | None:
    """What conversions bring by state and attributes."""
    if paid is None:
        return None
    counted = fitted.counted
    sums = worth_by_pattern(counted.people, counted.marked, counted.layout, paid)
    return mean_worth(sums, fitted.intensities)


def in_money(effect: Effect) -> Effect:
    """The effect with hundredths made whole units."""
    moved = {name: getattr(effect, name) / CENTS for name in ("value_done", "value_never", *_MONEY)}
    table = effect.by_time.assign(**{name: effect.by_time[name] / CENTS for name in _MONEY})
    return replace(effect, by_time=table, **moved)


def sampled(counted: Counted, marked: ir.Table) -> ir.Table:
    """The users that a check looks at: all, or so many that more would hardly tell more, chosen by hash."""
    engine = counted.people.engine
    share = checked_share(counted.people.at_risk)
    if share >= 1:
        return marked
    # Other digits than buckets and controls are chosen by.
    return engine.materialise(
        marked.filter(engine.digest(marked.user_id).substr(16, 4) < f"{round(share * 16**4):04x}")
    )


def checked_share(users: int) -> float:
    """Which share of the users a check looks at."""
    return min(1.0, MOST_CHECKED / users) if users else 1.0
