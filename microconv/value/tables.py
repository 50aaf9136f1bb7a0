"""The rows of a micro's value: three columns, never mixed up, intervals, and how far a number can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.reduce.money import some
from microconv.stats.crediting import NO_MICRO
from microconv.value.naive import Naive

if TYPE_CHECKING:
    from microconv.stats.effects import Effect
    from microconv.value.asking import ValueQuestion

__all__ = [
    "COLUMNS",
    "NOT_ESTIMATED",
    "NO_MICRO",
    "STRUCTURAL",
    "by_time",
    "disagreeing",
    "limits",
    "methods_table",
    "unfit",
    "unknown",
    "value_rows",
]

COLUMNS = (
    "micro", "kind", "users", "naive_lift", "followed_by", "incremental", "ci_low", "ci_high", "naive_value",
    "naive_bias", "credited_value", "incremental_value", "value_ci_low", "value_ci_high", "e_value", "e_value_limit",
    "label", "why", "left_out",
)  # fmt: skip
STRUCTURAL, NOT_ESTIMATED = "structural", "not estimated"
MIN_EVENTS = 10  # conversions after a micro, below which errors of the delta method say little
_APART = 1.959963984540054  # errors of the less certain method; both read the same log, so that they move together


def limits(estimate: float, se: float, confidence: float) -> tuple[float, float]:
    """The interval of an effect, which may lie on both sides of zero: symmetric on the scale of the effect."""
    from microconv.stats._curves import z_value

    half = z_value(confidence) * se
    return estimate - half, estimate + half


def unfit(one: Naive, question: ValueQuestion) -> tuple[str, str]:
    """The label and the reason where nothing can be estimated, as the counts alone tell; else two empty texts."""
    if one.doers < max(question.min_cell, 1):
        return NOT_ESTIMATED, f"{some(one.doers, 'user')} did it, fewer than min_cell={question.min_cell}"
    if one.structural:
        return STRUCTURAL, (
            f"{one.followed:,} of {one.followed + one.others_converted:,} conversions come after it: a step on the way"
        )
    if one.followed < MIN_EVENTS:
        return NOT_ESTIMATED, (
            f"{one.followed:,} conversions came after it, fewer than {MIN_EVENTS}: too few for an interval"
        )
    if one.universal:
        return NOT_ESTIMATED, "everybody does it from the start on: there is nobody to compare with"
    return "", ""


def unknown(effect: Effect | None, question: ValueQuestion) -> tuple[str, str]:
    """The same where an estimate was tried."""
    if effect is None or not np.isfinite(effect.incremental):
        return NOT_ESTIMATED, "no doer is observed, or can be compared, for the whole horizon"
    alike = float(effect.detail.get("alike", np.inf))
    if alike < max(question.min_cell, 1):
        return NOT_ESTIMATED, (
            f"of users who had done as much, but not it, {alike:.1f} are at risk in the time after, less than "
            f"min_cell={question.min_cell}: there is hardly anybody to compare with"
        )
    least = min(effect.effective_done, effect.effective_never)
    if least < question.min_cell:
        who = "it done" if effect.effective_done <= effect.effective_never else "it not done"
        return NOT_ESTIMATED, (
            f"with {who}, there is the information of {least:.1f} users still at risk at the horizon, less than "
            f"min_cell={question.min_cell}: others have converted, ended otherwise or are not observed for so long"
        )
    return "", ""


def value_rows(
    question: ValueQuestion,
    naive: Mapping[str, Naive],
    effects: Mapping[str, Effect | None],
    credited: pd.DataFrame | None,
    value_per_conversion: float,
) -> pd.DataFrame:
    """The table of ``mc.micro_value``. ``credited``: ``micro, credited_value`` with the row ``(no micro)``."""
    from microconv.stats.sensitivity import e_value

    label = "adjusted" if question.hazards.adjust or question.activities else "predictive"
    shares = credited.set_index("micro")["credited_value"] if credited is not None else pd.Series(dtype=float)
    rows: list[dict[str, Any]] = []
    for name in question.micros:
        one, effect = naive[name], effects.get(name)
        row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan) | {
            "micro": name,
            "kind": question.kinds[name],
            "users": one.doers,
            "naive_lift": one.lift,
            "followed_by": one.followed_by,
            "naive_value": value_per_conversion * one.followed_by,
            "credited_value": float(shares.get(name, np.nan)),
        }
        row["label"], row["why"] = unfit(one, question)
        if not row["label"]:
            row["label"], row["why"] = unknown(effect, question)
        if not row["label"]:
            assert effect is not None
            low, high = limits(effect.incremental, effect.se, question.hazards.confidence)
            row |= {"incremental": effect.incremental, "ci_low": low, "ci_high": high, "left_out": effect.left_out}
            if np.isfinite(value_per_conversion):
                money = limits(effect.incremental_value, effect.value_se, question.hazards.confidence)
                row |= {
                    "incremental_value": effect.incremental_value,
                    "value_ci_low": money[0],
                    "value_ci_high": money[1],
                    "naive_bias": row["naive_value"] - effect.incremental_value,
                }
            ratio = effect.risk_ratio(question.hazards.confidence)
            row["e_value"], row["e_value_limit"] = e_value(*ratio)
            row["label"] = label
        rows.append(row)
    if credited is not None:
        rest = dict.fromkeys(COLUMNS, np.nan) | {"micro": NO_MICRO, "kind": "", "label": "", "why": ""}
        rows.append(rest | {"credited_value": float(shares[NO_MICRO])})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"users": "Int64"})


def methods_table(effects: Mapping[str, Mapping[str, Effect | None]], confidence: float) -> pd.DataFrame:
    """A row per micro and method: what each method says, on how many users, and what it left out."""
    rows = []
    for method, found in effects.items():
        for name, effect in found.items():
            if effect is None:
                continue
            low, high = limits(effect.incremental, effect.se, confidence)
            money = limits(effect.incremental_value, effect.value_se, confidence)
            rows.append(
                {
                    "micro": name,
                    "method": method,
                    "users": int(effect.users),
                    "chance_done": effect.done,
                    "chance_never": effect.never,
                    "incremental": effect.incremental,
                    "se": effect.se,
                    "ci_low": low,
                    "ci_high": high,
                    "incremental_value": effect.incremental_value,
                    "value_se": effect.value_se,
                    "value_ci_low": money[0],
                    "value_ci_high": money[1],
                    "left_out": effect.left_out,
                    "effective_done": effect.effective_done,
                    "effective_never": effect.effective_never,
                }
            )
    return pd.DataFrame(rows)


def disagreeing(methods: pd.DataFrame) -> pd.DataFrame:
    """Micros whose two estimates lie farther apart than either one's error allows: ``micro, hazard, trials, apart``
    (the difference in errors of the less certain), ``thinnest`` (the smallest effective number of either arm).
    """
    wide = methods.pivot(index="micro", columns="method", values=["incremental", "se"]) if len(methods) else methods
    if not len(methods) or methods["method"].nunique() < 2:
        return pd.DataFrame(columns=["micro", "hazard", "trials", "apart", "thinnest"])
    difference = (wide["incremental"]["hazard"] - wide["incremental"]["trials"]).abs()
    apart = difference / np.maximum(wide["se"]["hazard"], wide["se"]["trials"])
    found = pd.DataFrame(
        {"hazard": wide["incremental"]["hazard"], "trials": wide["incremental"]["trials"], "apart": apart}
    )
    found["thinnest"] = methods.groupby("micro")[["effective_done", "effective_never"]].min().min(axis=1)
    return found[found["apart"] > _APART].reset_index()


def by_time(effects: Mapping[str, Mapping[str, Effect | None]], confidence: float) -> pd.DataFrame:
    """How the effect builds up after the action: a row per micro, method and time."""
    parts = []
    for method, found in effects.items():
        for name, effect in found.items():
            if effect is None or effect.by_time.empty:
                continue
            frame = effect.by_time.copy()
            low, high = zip(
                *[limits(*pair, confidence) for pair in zip(frame["incremental"], frame["se"], strict=True)],
                strict=True,
            )
            frame.insert(0, "method", method)
            frame.insert(0, "micro", name)
            parts.append(frame.assign(ci_low=low, ci_high=high))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
