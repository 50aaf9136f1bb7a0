"""One simulated log, what microconv and the formulas in common use say each micro is worth on it, and what is true."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

import microconv as mc
from calibration.estimates import Estimate
from calibration.logs import read_alone, strictly
from calibration.naive_formulas import FORMULAS, formulas, who_did_and_converted
from calibration.value_truth import hidden_strength, simulated, true_value, wald
from calibration.value_worlds import MACRO, VARIANT, WORLDS, ValueWorld
from microconv.stats.sensitivity import hidden_confounding

__all__ = [
    "EFFECT",
    "HIDDEN",
    "METHODS",
    "NUDGED",
    "NUDGED_VALUE",
    "RATIO",
    "RECOGNISED",
    "SHOWN",
    "SINCE",
    "VALUE",
    "value_estimates",
]

METHODS = ("hazard", "trials")
SINCE = "hazard, since"  # the hazard method with since="auto"
EFFECT, VALUE, RATIO = "incremental", "incremental value", "risk ratio"
RECOGNISED = "structural step recognised"
HIDDEN = "risk ratio allowing for the hidden trait"
PLACEBO = "effect of a placebo"
NUDGED, NUDGED_VALUE = "effect among those whom the nudge moved", "value among those whom the nudge moved"
# Without an interval: they stand in the table of formulas, not in that of coverages.
SHOWN = (*FORMULAS, *[f"{RATIO}, {method}" for method in METHODS])


def value_estimates(name: str, seed: int, users: int) -> list[Estimate]:
    """All that is said about the micros of one log of a world."""
    with strictly():
        log = simulated(name, seed, users)
        read, made = read_alone(log), WORLDS[name]
        experiment = {} if made.encouraged is None else {"variant_col": VARIANT, "encouraged": made.encouraged}
        found = mc.micro_value(read, adjust=list(made.adjust), placebo=made.placebo, **experiment)
        return [
            *_ours(name, found),
            *(_fading(name, read) if made.fades else ()),
            *_formulas(name, log.events),
            *_structure(name, found.table),
            *(_hidden(name, read, found) if made.hides else ()),
            *(_experiment(name, found) if experiment else ()),
            *(_placebo(read, found) if made.placebo else ()),
        ]


def _ours(name: str, found: mc.Result) -> Iterator[Estimate]:
    """The effect by both methods; NaN where there is no estimate."""
    made = WORLDS[name]
    rows = found.methods.set_index(["method", "micro"])
    for method in METHODS:
        for micro in made.micros:
            if micro in made.structural:
                continue
            row = rows.loc[(method, micro)] if (method, micro) in rows.index else pd.Series(dtype=float)
            yield from _effects(name, method, micro, row)
            ratio = float(row.get("chance_done", math.nan)) / float(row.get("chance_never", math.nan))
            yield _shown(f"{RATIO}, {method}", micro, true_value(name, micro, "risk_ratio"), ratio)


def _effects(name: str, method: str, micro: str, row: pd.Series) -> Iterator[Estimate]:
    """The effect on the chance and on the revenue, from a row of ``.methods``."""
    claim = "yes" if method in WORLDS[name].methods else "no"
    for quantity, column, low, high in (
        (EFFECT, "incremental", "ci_low", "ci_high"),
        (VALUE, "incremental_value", "value_ci_low", "value_ci_high"),
    ):
        yield Estimate(
            f"{quantity}, {method}", micro, claim, "identity", true_value(name, micro, column),
            *[float(row.get(key, math.nan)) for key in (column, low, high)],
        )  # fmt: skip


def _fading(name: str, log: mc.EventLog) -> Iterator[Estimate]:
    """The hazard method with the time since each micro told apart, at cuts chosen from the log."""
    rows = mc.micro_value(log, adjust=list(WORLDS[name].adjust), since="auto", check=False).methods.set_index("micro")
    for micro in WORLDS[name].micros:
        yield from _effects(name, SINCE, micro, rows.loc[micro] if micro in rows.index else pd.Series(dtype=float))


def _formulas(name: str, events: pd.DataFrame) -> Iterator[Estimate]:
    """The formulas in common use, within the horizon from entry, in which everybody is observed."""
    made = WORLDS[name]
    counted, value = who_did_and_converted(events, made.micros, MACRO, made.horizon_days)
    table = formulas(counted, value)
    for key, (_, read_as) in FORMULAS.items():
        for micro in made.micros:
            truth = _true_correlation(made, micro) if read_as == "correlation" else true_value(name, micro, read_as)
            yield _shown(key, micro, truth, float(table.loc[micro, key]))


def _true_correlation(made: ValueWorld, micro: str) -> float:
    """Without an effect there is none; with one it has no size of its own."""
    return 0.0 if micro in made.decoys else math.nan


def _shown(quantity: str, micro: str, truth: float, estimate: float) -> Estimate:
    return Estimate(quantity, micro, "no", "identity", truth, estimate, math.nan, math.nan)


def _structure(name: str, table: pd.DataFrame) -> Iterator[Estimate]:
    """In a world with a structural step: whether it, and it alone, was said to be one (1: yes)."""
    made = WORLDS[name]
    if not made.structural:
        return
    labels = table.set_index("micro")["label"]
    for micro in made.micros:
        said = float(labels[micro] == "structural")
        yield Estimate(RECOGNISED, micro, "at least", "identity", float(micro in made.structural), said, said, said)


def _hidden(name: str, log: mc.EventLog, found: mc.Result) -> Iterator[Estimate]:
    """Where the true ratio of chances can lie with a hidden trait as strong as the one that was planted."""
    trials = mc.micro_value(log, adjust=list(WORLDS[name].adjust), method="trials", check=False)
    for method, result in (("hazard", found), ("trials", trials)):
        said = result.sensitivity.set_index("micro")
        for micro in WORLDS[name].micros:
            ratio = said.loc[micro, ["risk_ratio", "ci_low", "ci_high"]].astype(float)
            row = hidden_confounding(*ratio, strengths=[hidden_strength(name)]).iloc[0]
            yield Estimate(
                f"{HIDDEN}, {method}", micro, "at least", "log", true_value(name, micro, "risk_ratio"),
                float(ratio["risk_ratio"]), float(row["ci_low"]), float(row["ci_high"]),
            )  # fmt: skip


def _experiment(name: str, found: mc.Result) -> Iterator[Estimate]:
    """The effect of the nudged micro, with Anderson and Rubin's interval."""
    truth = wald(name)
    rows = found.encouragement.set_index("outcome")
    for quantity, outcome, key in ((NUDGED, "converted", "effect"), (NUDGED_VALUE, "revenue", "value")):
        row = rows.loc[outcome]
        numbers = [float(row[column]) for column in ("effect", "ci_low", "ci_high")]
        yield Estimate(quantity, str(row["micro"]), "yes", "identity", truth[key], *numbers)


def _placebo(log: mc.EventLog, adjusted: mc.Result) -> Iterator[Estimate]:
    """A micro at random among a user's own visits has no effect; what it seems to have is confounding."""
    plain = mc.micro_value(log, placebo=True, check=False)
    for said, claim, found in (("", "yes", adjusted), (", nothing adjusted for", "no", plain)):
        row = found.checks.set_index("check").loc["placebo"]
        numbers = [float(row[column]) for column in ("incremental", "ci_low", "ci_high")]
        yield Estimate(f"{PLACEBO}{said}", "placebo", claim, "identity", 0.0, *numbers)
