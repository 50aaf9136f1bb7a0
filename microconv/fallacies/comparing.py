"""Each micro compared in every way: ever done, done by a landmark, done by now; and what dashboards print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY, format_duration
from microconv.hazards.models import Counted, Model, count, fit_model
from microconv.hazards.tables import micro_row
from microconv.reduce.fallacies import alone, as_at, as_if_always, done_by_shares, marked_alone
from microconv.stats._curves import z_value
from microconv.stats.multiplicity import adjust_p_values
from microconv.stats.proportions import wilson

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.hazards.asking import Question
    from microconv.reduce.entrants import People
    from microconv.reduce.states import Layout

__all__ = [
    "ADJUSTED",
    "COLUMNS",
    "EVER",
    "PROPER",
    "Compared",
    "compare",
    "finished",
    "rates",
    "told_apart",
    "verdicts",
]

EVER, LANDMARK, PROPER, ADJUSTED = "ever did", "landmark", "time-varying", "time-varying, adjusted"
COLUMNS = (
    "micro", "comparison", "landmark_days", "hazard_ratio", "ci_low", "ci_high", "p_value", "q_value", "users",
    "events", "at_risk", "interval",
)  # fmt: skip
_SHARES = (0.25, 0.5, 0.75)
_SIZES = (("D", MICROS_PER_DAY), ("h", MICROS_PER_DAY // 24), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000))


@dataclass(frozen=True, eq=False)
class Compared:
    """One micro in every comparison but the adjusted one. ``rows`` are of the table; ``waiting_days`` of ``all_days``
    at risk of the users who ever did it lie before they did.
    """

    rows: list[dict[str, Any]]
    users: int
    events: int
    other_users: int
    other_events: int
    all_days: float
    waiting_days: float


def compare(people: People, question: Question, micro: int, landmarks: Sequence[int] | None) -> Compared:
    """The rows of one micro by itself: ever done, at each landmark (microseconds), time-varying."""
    name = question.names[micro]
    asked = replace(
        question, micros=(question.micros[micro],), adjust=(), numbers=(), strata=(), reference={}, since=()
    )
    layout = alone(micro, name)
    marked = marked_alone(people, layout)
    ever = _fitted(people, asked, layout, as_if_always(marked))
    proper = _fitted(people, asked, layout, marked)
    if landmarks is None:
        landmarks = _round_times(done_by_shares(people, marked, _SHARES))
    rows = [_row(ever, name, EVER)]
    for at in landmarks:
        fixed = _fitted(people, asked, layout, as_at(marked, 2 * at))
        rows.append(_row(fixed, name, f"{LANDMARK} {format_duration(at)}", at))
    rows.append(_row(proper, name, PROPER))
    done, total = rows[0], ever.counted
    days = [float(model.patterns.loc[model.patterns["state"] == 1, "person_days"].sum()) for model in (ever, proper)]
    return Compared(
        rows=rows,
        users=done["users"],
        events=done["events"],
        other_users=done["at_risk"] - done["users"],
        other_events=total.events - done["events"],
        all_days=days[0],
        waiting_days=days[0] - days[1],
    )


def _fitted(people: People, question: Question, layout: Layout, marked: ir.Table) -> Model:
    counted = count(people, layout, question, 2 * max(len(people.cells), 1), marked)
    assert isinstance(counted, Counted)  # two states at most
    return fit_model(people, counted, question)


def _row(model: Model, micro: str, comparison: str, landmark: int | None = None) -> dict[str, Any]:
    found = micro_row(model, micro, "micro")
    found |= {
        "micro": micro,
        "comparison": comparison,
        "landmark_days": landmark / MICROS_PER_DAY if landmark is not None else np.nan,
        "at_risk": int(model.counted.in_state["users"].sum()),
    }
    return {column: found[column] for column in COLUMNS}


def _round_times(halves: Sequence[int]) -> list[int]:
    """Times (half microseconds) as round numbers of a unit that suits them, in microseconds, each once, none zero."""
    found = []
    for half in halves:
        micros = half / 2
        size = next((size for _, size in _SIZES if micros >= 2 * size), 1)
        number = micros / size
        digits = 1 - math.floor(math.log10(number)) if number >= 1 else 0
        found.append(max(int(round(number, min(digits, 0))) * size, 1))
    return sorted(set(found))


def finished(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table, with p-values adjusted within each kind of comparison for how many were looked at."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(("users", "events", "at_risk"), "int64"))
    kind = table["comparison"].where(table["landmark_days"].isna(), LANDMARK)
    adjusted = table.groupby(kind)["p_value"].transform(lambda p: adjust_p_values(p.to_numpy(float), "bh"))
    return table.assign(q_value=adjusted.astype(float))


def rates(names: Sequence[str], found: Sequence[Compared], confidence: float) -> pd.DataFrame:
    """What dashboards print: the share of doers and of others that converted, and the odds ratio (Woolf's interval)."""
    frame = pd.DataFrame(
        {
            "micro": list(names),
            "users": [one.users for one in found],
            "events": [one.events for one in found],
            "other_users": [one.other_users for one in found],
            "other_events": [one.other_events for one in found],
        }
    )
    for prefix in ("", "other_"):
        users, events = frame[f"{prefix}users"], frame[f"{prefix}events"]
        frame[f"{prefix}rate"] = (events / users.where(users > 0)).astype(float)
        frame[f"{prefix}ci_low"], frame[f"{prefix}ci_high"] = wilson(events, users, confidence)
    a, b = frame["events"].to_numpy(float), (frame["users"] - frame["events"]).to_numpy(float)
    c, d = frame["other_events"].to_numpy(float), (frame["other_users"] - frame["other_events"]).to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        frame["odds_ratio"] = (a * d) / (b * c)
        error = np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
        half = np.where(np.isfinite(error), z_value(confidence) * error, np.nan)
        frame["odds_ci_low"] = frame["odds_ratio"] * np.exp(-half)
        frame["odds_ci_high"] = frame["odds_ratio"] * np.exp(half)
    columns = ["micro"]
    for prefix in ("", "other_"):
        columns += [f"{prefix}{name}" for name in ("users", "events", "rate", "ci_low", "ci_high")]
    return frame[[*columns, "odds_ratio", "odds_ci_low", "odds_ci_high"]]


def verdicts(table: pd.DataFrame, names: Sequence[str], found: Sequence[Compared]) -> pd.DataFrame:
    """Per micro, whether ever done and time-varying disagree, and how; and how much of the doers' time was waiting."""
    rows = []
    for name, one in zip(names, found, strict=True):
        mine = table[table["micro"] == name]
        naive, proper = (mine[mine["comparison"] == comparison].iloc[0] for comparison in (EVER, PROPER))
        how = _how(naive, proper)
        rows.append(
            {
                "micro": name,
                "ever_did": naive["hazard_ratio"],
                "time_varying": proper["hazard_ratio"],
                "disagree": bool(how),
                "how": "; ".join(how),
                "users": one.users,
                "waiting_share": one.waiting_days / one.all_days if one.all_days > 0 else np.nan,
            }
        )
    return pd.DataFrame(rows)


def told_apart(row: pd.Series) -> bool:
    """Whether the interval excludes 1."""
    return bool(row["ci_low"] > 1 or row["ci_high"] < 1)


def _how(naive: pd.Series, proper: pd.Series) -> list[str]:
    """In which ways two comparisons disagree; none where one of them has no interval."""
    if naive[["hazard_ratio", "ci_low", "ci_high"]].isna().any() or proper[["ci_low", "ci_high"]].isna().any():
        return []
    shown = told_apart(naive), told_apart(proper)
    how = []
    if (naive["hazard_ratio"] < 1) != (proper["hazard_ratio"] < 1) and any(shown):
        how.append("opposite sides of 1")
    if naive["ci_high"] < proper["ci_low"] or naive["ci_low"] > proper["ci_high"]:
        how.append("intervals apart")
    if shown[0] != shown[1]:
        how.append("a difference only when read naively" if shown[0] else "a difference only when counted in time")
    return how
