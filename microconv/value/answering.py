"""From the question to the answer: count, estimate, divide the revenue, and put it all beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten
from microconv.reduce.bands import banded
from microconv.reduce.entrants import People, people
from microconv.reduce.money import CENTS
from microconv.reduce.revenue import Payments, outside_journeys, payments, revenue_of
from microconv.value.asking import METHODS
from microconv.value.checking import CHECKS, negative_control_rows, placebo_row, said_of
from microconv.value.counting import count
from microconv.value.crediting import credited_value
from microconv.value.encouraging import Nudge, by_encouragement
from microconv.value.estimating import Fitted, checked_share, estimate_all, fit
from microconv.value.fading import said_of_since, since_table
from microconv.value.naive import Naive, naive, naive_table
from microconv.value.segments import by_segment
from microconv.value.sensitivity import statements, strengths
from microconv.value.tables import NO_MICRO, by_time, disagreeing, methods_table, unfit, value_rows
from microconv.value.together import one_step, said_of_later, said_together
from microconv.value.words import Said, assumptions, meaning, next_steps, warnings_of

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.payment_terms import PaymentTerms
    from microconv.plan import Item
    from microconv.stats.effects import Effect
    from microconv.value.asking import ValueQuestion

__all__ = ["Answer", "answer"]


@dataclass(frozen=True)
class Checks:
    """What else to look at: a placebo, an outcome that the micros cannot move, an experiment."""

    placebo: bool = False
    outcome: Item | None = None
    nudge: Nudge | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What the result is made of."""

    table: pd.DataFrame
    meaning: str
    assumptions: list[str]
    warnings: list[str]
    extra: dict[str, pd.DataFrame]
    currency: str | None


def answer(
    log: EventLog, question: ValueQuestion, terms: PaymentTerms, checks: Checks, truth: pd.DataFrame | None
) -> Answer:
    """Everything that ``mc.micro_value`` gives."""
    shared = question.hazards
    users = people(
        log, shared.rule, question.items, question.attributes, tz=shared.tz, washout=shared.washout,
        max_cells=shared.max_patterns,
    )  # fmt: skip
    if users.at_risk == 0:
        raise ParameterError(
            f"No user is ever at risk: of {users.users:,} users none is left after the origin, the washout and the "
            "attributes. Choose another origin, a shorter washout or fewer attributes."
        )
    users = banded(users, shared.numbers)
    paid, everything = _payments(log, question, terms)
    fits, found = _fits(users, question)
    effects = _effects(fits, found, question, paid)
    credited, outside = (
        credited_value(users, fits, found, question, everything) if everything is not None else (None, 0.0)
    )
    table = value_rows(question, found, effects[question.method], credited, _per_conversion(users, found, paid))
    methods = methods_table(effects, shared.confidence)
    known = {name: effects[question.method][name] for name in table.loc[table["incremental"].notna(), "micro"]}
    apart = disagreeing(methods[methods["micro"].isin(list(known))] if len(methods) else methods)
    money = paid.account.currency if paid is not None else ""
    further = _further(users, paid, everything, outside) + _below_zero(effects.get("hazard", {}))
    if paid is None and _names_money(question, terms):
        further.append("No payment has a value: there are chances only, and no money.")
    further += said_of_later(question.items[: len(question.micros)])
    for fitted in {id(one): one for one in fits.values()}.values():
        names = [name for name in question.micros if name in fitted.counted.layout.names]
        further += [said for said in said_together(one_step(fitted.counted.exposures, names)) if said not in further]
    if question.check and (share := checked_share(users.at_risk)) < 1 and question.method == "hazard":
        further.append(
            f"The trials method, which only checks here, looks at {share:.0%} of the users (chosen by hash)."
        )
    extra = {
        "methods": methods,
        "by_time": by_time(effects, shared.confidence),
        "sensitivity": statements(known, shared.confidence),
        "strengths": strengths(known, shared.confidence),
        "support": _support(effects.get("trials", {})),
        "naive_counts": naive_table(found),
    }
    if credited is not None and everything is not None:
        extra |= {"credited": credited, "revenue": everything.account.frame}
    if question.since:
        extra["since"] = since_table(effects.get("hazard", {}))
        further += said_of_since(effects.get("hazard", {}), question)
    if question.by is not None:
        extra["segments"] = by_segment(users, question, paid, revenue_of(paid) if paid is not None else None)
    if (checked := _checked(log, users, question, checks)) is not None:
        extra["checks"] = checked
        further += said_of(checked)
    extra["next_steps"] = next_steps(table, checked)
    if checks.nudge is not None:
        extra["encouragement"], extra["arms"], sayings = by_encouragement(log, question, checks.nudge, paid)
        further += sayings
    if truth is not None:
        extra["truth"] = truth
    said = Said(
        question,
        table,
        found,
        apart,
        credited if credited is not None else pd.DataFrame(columns=["micro", "ci_high"]),
        money,
        paid is not None,
        further,
    )
    return Answer(table, meaning(said), assumptions(said), warnings_of(said), extra, money or None)


def _checked(log: EventLog, users: People, question: ValueQuestion, checks: Checks) -> pd.DataFrame | None:
    rows = [placebo_row(log, users, question)] if checks.placebo else []
    if checks.outcome is not None:
        rows += negative_control_rows(log, question, checks.outcome)
    return pd.DataFrame(rows, columns=list(CHECKS)) if rows else None


def _payments(log: EventLog, question: ValueQuestion, terms: PaymentTerms) -> tuple[Payments | None, Payments | None]:
    """The money of a conversion as the caller wants it counted, and all the money there is, which is divided; None
    where neither the plan nor the caller says which column holds it, and where no payment has a value.
    """
    if not _names_money(question, terms):
        return None, None
    target = question.hazards.rule.target
    asked = terms.checked(log)
    paid = payments(log, target, asked)
    if paid.account.empty:
        return None, None
    whole = replace(asked, revenue="all", within=None)
    return paid, paid if whole == asked else payments(log, target, whole)


def _names_money(question: ValueQuestion, terms: PaymentTerms) -> bool:
    return terms.value is not None or getattr(question.hazards.rule.target, "value", None) is not None


def _below_zero(effects: Mapping[str, Effect]) -> list[str]:
    """Where the hazard method's means of money cannot be what they are."""
    levels = dict.fromkeys(level for effect in effects.values() for level in effect.detail.get("below_zero", ()))
    if not levels:
        return []
    return [
        f"Conversions with {', '.join(shorten(level, 40) for level in levels)} cost more in refunds than they brought; "
        "the hazard method reads such money as next to nothing, so that values there are too high. method='trials' "
        "counts it as it is."
    ]


def _fits(users: People, question: ValueQuestion) -> tuple[dict[str, Fitted], dict[str, Naive]]:
    """By micro the fit of a layout in which it has a column of its own, and its plain counts."""
    fits: dict[str, Fitted] = {}
    found: dict[str, Naive] = {}
    fitted: Fitted | None = None
    for micro in question.micros:
        if fitted is None or micro not in fitted.counted.layout.names:
            fitted = fit(count(users, question.layout(micro), question))
            fits |= {
                name: fitted for name in question.micros if name in fitted.counted.layout.names and name not in fits
            }
            counted = fitted.counted
            new = [name for name in fits if name not in found]
            found |= naive(counted.exposures, counted.in_state, counted.layout, new)
    return fits, found


def _effects(
    fits: Mapping[str, Fitted], found: Mapping[str, Naive], question: ValueQuestion, paid: Payments | None
) -> dict[str, dict[str, Effect]]:
    """By method and micro, where the counts allow an estimate."""
    wanted = {name: fits[name] for name in question.micros if not unfit(found[name], question)[0]}
    methods = METHODS if question.check else (question.method,)
    spent = revenue_of(paid) if paid is not None else None
    return {method: estimate_all(wanted, question, method, paid, spent) for method in methods}


def _per_conversion(users: People, found: Mapping[str, Naive], paid: Payments | None) -> float:
    """The mean money that a conversion brings; NaN without money."""
    if paid is None:
        return np.nan
    one = next(iter(found.values()))
    events = one.followed + one.others_converted
    cents = paid.account.cents - int(outside_journeys(users, paid)["cents"].iloc[0])
    return cents / CENTS / events if events else 0.0


def _further(users: People, paid: Payments | None, everything: Payments | None, outside: float) -> list[str]:
    said = []
    if users.without_number:
        said.append(f"{users.without_number:,} users without a number in an attribute at entry are left out.")
    if users.washed_out:
        said.append(f"{users.washed_out:,} users who entered within the washout are left out.")
    if paid is not None and everything is not None:
        said += everything.account.notes()
        if paid is not everything and everything.account.cents != paid.account.cents:
            part, whole = (f"{one.account.cents / CENTS:,.2f} {one.account.currency}" for one in (paid, everything))
            said.append(
                f"naive_value and incremental_value count {part.strip()}: what each user pays at the first conversion, "
                "less its refunds (revenue='all': what comes after it as well, as far as it was observed). "
                f"credited_value divides all {whole.strip()}."
            )
    if outside:
        said.append(
            f"{outside:,.2f} {paid.account.currency if paid is not None else ''} of the revenue came from users whose "
            f"journey had ended otherwise before they bought, or who are left out; it stands in {NO_MICRO}."
        )
    return said


def _support(effects: Mapping[str, Effect]) -> pd.DataFrame:
    """By micro and landmark of the trials: doers, controls, and doers that nobody could be compared with."""
    parts = []
    for micro, effect in effects.items():
        frame = effect.detail.get("support")
        if frame is None or not len(frame):
            continue
        alone = frame["doers"].where(frame["compared"] == 0, 0)
        summed = (
            frame.assign(without_controls=alone)
            .groupby("landmark_days", as_index=False)[["doers", "controls", "compared", "without_controls"]]
            .sum()
        )
        summed["strata"] = frame.groupby("landmark_days").size().to_numpy()
        summed.insert(0, "micro", micro)
        parts.append(summed)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
