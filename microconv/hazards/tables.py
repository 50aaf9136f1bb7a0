"""The rows of the result: what each term's state or level holds, its ratio, and an interval fit for its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.reduce.occurrences import MISSING
from microconv.stats.multiplicity import adjust_p_values

if TYPE_CHECKING:
    from microconv.hazards.asking import Question
    from microconv.hazards.models import Model

__all__ = [
    "COLUMNS",
    "MIN_CELL",
    "MIN_EVENTS",
    "Exposure",
    "attribute_rows",
    "estimate",
    "finished",
    "micro_row",
    "reference_of",
    "state_of",
]

COLUMNS = (
    "term", "kind", "hazard_ratio", "ci_low", "ci_high", "p_value", "q_value", "users", "events", "person_days",
    "interval", "reference",
)  # fmt: skip
MIN_EVENTS = 10  # on each side, for a Wald interval
MIN_CELL = 10  # users, for any interval


@dataclass(frozen=True)
class Exposure:
    """What there is of a state or level: users ever at risk in it, target events in it and outside it, time in it."""

    users: int
    events: int
    others: int
    person_days: float


def state_of(model: Model, column: str, level: int) -> Exposure:
    """A level of one of the layout's columns."""
    counted = model.counted
    number = counted.layout.names.index(column)
    inside = counted.layout.levels(model.patterns["state"].to_numpy())[column] == level
    return _exposure(model, inside, int(counted.in_state[f"in_{number}_{level}"].sum()))


def _exposure(model: Model, inside: np.ndarray, users: int) -> Exposure:
    events = int(model.patterns.loc[inside, "d_1"].sum())
    days = float(model.patterns.loc[inside, "person_days"].sum())
    return Exposure(users, events, model.counted.events - events, days)


def micro_row(model: Model, micro: str, kind: str) -> dict[str, Any]:
    """One micro, done against not done."""
    return _row(model, micro, kind, state_of(model, micro, 1), "not done")


def attribute_rows(model: Model, question: Question) -> list[dict[str, Any]]:
    """One row per level but the reference, or one per number."""
    rows = []
    for column in question.adjust:
        if column in model.silent:
            continue
        users = _users_by_value(model, column)
        if column in question.numbers:
            whole = _exposure(model, np.ones(len(model.patterns), dtype=bool), int(users.sum()))
            held = Exposure(whole.users, whole.events, whole.events, whole.person_days)
            rows.append(_row(model, column, "attribute", held, "per unit"))
            continue
        reference = reference_of(users.index, question.reference.get(column))
        for level in sorted(set(users.index) - {reference}):
            held = _exposure(model, (model.patterns[column] == level).to_numpy(), int(users[level]))
            rows.append(_row(model, f"{column}={level}", "attribute", held, str(reference)))
    return rows


def _users_by_value(model: Model, column: str) -> pd.Series:
    """How many users are at risk with each value of an attribute."""
    value = model.patterns.drop_duplicates("cell").set_index("cell")[column]
    by_cell = model.counted.in_state.set_index("cell")["users"]
    return by_cell.groupby(value.reindex(by_cell.index)).sum()


def reference_of(levels: Iterable[str], chosen: object = None) -> str:
    """The level that others are compared to: the chosen one, else the first that is no missing value."""
    known = sorted(levels)
    if chosen is not None:
        return str(chosen)
    return next((level for level in known if level != MISSING), known[0])


def _row(model: Model, term: str, kind: str, held: Exposure, reference: str) -> dict[str, Any]:
    row = {
        "term": term,
        "kind": kind,
        "hazard_ratio": np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "p_value": np.nan,
        "q_value": np.nan,
        "users": held.users,
        "events": held.events,
        "person_days": held.person_days,
        "interval": "none",
        "reference": reference,
    }
    return row | estimate(model, term, held)


def estimate(model: Model, term: str, held: Exposure) -> dict[str, Any]:
    """The ratio with the interval that its numbers allow: Wald's with ten events on each side, the profile likelihood's
    with fewer, none for fewer than ten users.
    """
    fit = model.fit
    if fit is None or term not in set(fit.design["term"]):
        return {}
    row = fit.table.set_index("term").loc[term]
    found: dict[str, Any] = {"hazard_ratio": float(row["hazard_ratio"])}
    if held.users < MIN_CELL or np.isnan(row["hazard_ratio"]):
        return found
    if min(held.events, held.others) >= MIN_EVENTS and term not in fit.separated:
        interval = {name: float(row[name]) for name in ("ci_low", "ci_high", "p_value")}
        return found | interval | {"interval": "robust" if fit.errors == "robust" else "wald"}
    low, high = fit.profile_interval(term)
    return found | {"ci_low": low, "ci_high": high, "p_value": fit.likelihood_ratio_p(term), "interval": "profile"}


def finished(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table, with p-values of the micros adjusted for how many were looked at."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"users": "int64", "events": "int64", "person_days": float})
    micro = (table["kind"] != "attribute").to_numpy()
    adjusted = np.full(len(table), np.nan)
    if micro.any():
        adjusted[micro] = adjust_p_values(table.loc[micro, "p_value"].to_numpy(float), "bh")
    return table.assign(q_value=adjusted)
