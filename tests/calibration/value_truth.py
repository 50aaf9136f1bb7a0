"""What a micro is truly worth in each world. From the root of the checkout:

    python tests/calibration/value_truth.py

computes it and writes ``value_truth.json`` beside this file (two minutes). The truth is that of the simulation itself
(``Truth.incremental``), never of an estimator: what those who did a micro would have done, had they never done it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

if not __package__:  # as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import microconv as mc
from calibration.value_worlds import VARIANT, WORLDS
from microconv.simulate import SimulatedLog, Steps, World

__all__ = [
    "MOST_ERROR",
    "compute_micros",
    "compute_strength",
    "hidden_strength",
    "simulated",
    "true_value",
    "truth_of",
    "wald",
]

MOST_ERROR = 0.0007  # of a true effect, in points of probability: far below what a log of 20,000 users can tell
_FILE = Path(__file__).resolve().parent / "value_truth.json"
# The truth is the mean over so many simulations of so many users, whose spread is its error.
_BATCHES, _USERS, _REPLICATES, _SEED = 20, 50_000, 4, 424_242


def simulated(name: str, seed: int, users: int) -> SimulatedLog:
    """A log of a world."""
    return mc.simulate(users, seed, world=WORLDS[name].world)


@cache
def truth_of(name: str) -> pd.DataFrame:
    """By micro, from the file: ``doers, done, never, incremental, value_done, value_never, incremental_value``, each
    but the first with its Monte-Carlo error (``..._se``).
    """
    return pd.DataFrame(_committed()[name]["micros"]).T


def true_value(name: str, micro: str, quantity: str) -> float:
    """One number of ``truth_of``; ``risk_ratio`` is done over never, infinite where nobody converts without."""
    row = truth_of(name).loc[micro]
    if quantity != "risk_ratio":
        return float(row[quantity])
    return float(row["done"] / row["never"]) if row["never"] > 0 else float("inf")


def hidden_strength(name: str) -> tuple[float, float]:
    """How strong the hidden confounder is, at most: the ratio of its shares among those who do a micro and those who do
    not (no larger than the ratio of their rates), and the ratio of the chances to convert that it makes.
    """
    found = _committed()[name]["hidden_strength"]
    return float(found["with_micro"]), float(found["with_macro"])


@cache
def _committed() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


# What the file is made of.


def compute_micros(name: str, batches: int = _BATCHES, users: int = _USERS) -> dict[str, dict[str, float]]:
    """The truth of every micro of a world: means over ``batches`` populations of ``users``, and their errors."""
    made = WORLDS[name]
    runs = [
        simulated(name, _SEED + batch, users)
        .truth.incremental(made.world.horizon, until_age=made.until_age, replicates=_REPLICATES, seed=batch)
        .set_index("micro")
        for batch in range(batches)
    ]
    columns = {
        "done": "probability_done",
        "never": "probability_never",
        "incremental": "incremental",
        "value_done": "value_done",
        "value_never": "value_never",
        "incremental_value": "incremental_value",
    }
    found: dict[str, dict[str, float]] = {}
    for micro in made.micros:
        rows = pd.DataFrame([run.loc[micro] for run in runs])
        found[micro] = {"doers": float(rows["doers"].sum())}
        for key, column in columns.items():
            values = rows[column].to_numpy(dtype=float)
            found[micro][key] = float(values.mean())
            found[micro][f"{key}_se"] = float(values.std(ddof=1) / np.sqrt(batches))
    return found


def compute_strength(name: str, users: int = 200_000) -> dict[str, float]:
    """The strength of a hidden intent, within the levels of the intent that the log shows."""
    made = WORLDS[name]
    shown, hidden = made.world.intent, made.world.hidden_intent
    assert shown is not None
    assert hidden is not None
    ratios = []
    for share in (0.0, 1.0):
        of = {}
        for level in (0.0, 1.0):
            alike = replace(
                made.world, intent=replace(shown, share_high=share), hidden_intent=replace(hidden, share_high=level)
            )
            truth = mc.simulate(users, _SEED, world=alike).truth
            table = truth.incremental(made.world.horizon, until_age=made.until_age, replicates=_REPLICATES)
            of[level] = table[["probability_done", "probability_never"]].to_numpy()
        ratios.append((of[1.0] / of[0.0]).max())
    return {
        "with_micro": max(micro.hidden_intent_effect for micro in made.world.micros),
        "with_macro": float(max(ratios)),
    }


@cache
def wald(name: str) -> dict[str, float]:
    """What the experiment of a world tells of its micro, exactly: by how much more nudged users convert within the
    horizon of entry, over by how much more of them do the micro (``effect``; in money ``value``); and the true effect
    among those who do it because of the nudge (``compliers``), which it should be.
    """
    made = WORLDS[name]
    micro = next(one for one in made.world.micros if one.name == made.encouraged)
    trait = next(one for one in made.world.traits if one.column == VARIANT)
    hidden = made.world.hidden_intent
    assert hidden is not None
    assert isinstance(micro.rate_per_day, Steps)
    assert isinstance(made.world.macro.rate_per_day, float)
    nudge = trait.effects[micro.name]["nudged"]
    window, rate = micro.rate_per_day.cuts_days[0], micro.rate_per_day.per_day[0]
    did, converted, by_level = {"control": 0.0, "nudged": 0.0}, {"control": 0.0, "nudged": 0.0}, 0.0
    for level, share in ((0.0, 1 - hidden.share_high), (1.0, hidden.share_high)):
        alike = replace(made.world, hidden_intent=replace(hidden, share_high=level))
        faster = micro.hidden_intent_effect if level else 1.0
        macro = made.world.macro.rate_per_day * (made.world.macro.hidden_intent_effect if level else 1.0)
        taken = {}
        for arm, ratio in (("control", 1.0), ("nudged", nudge)):
            both = rate * faster * ratio + macro
            taken[arm] = (1 - macro / both) * -np.expm1(-both * window)
            did[arm] += share * taken[arm]
            one = replace(trait, shares={arm: 1.0}, effects={micro.name: {arm: ratio}})
            converted[arm] += share * _chance(replace(alike, traits=(one,)), made.horizon_days)
        others = tuple(one for one in made.world.micros if one is not micro)
        never = replace(alike, traits=(), micros=others)
        done = replace(
            never, macro=replace(made.world.macro, rate_per_day=made.world.macro.rate_per_day * micro.hazard_ratio)
        )
        gain = _chance(done, made.horizon_days) - _chance(never, made.horizon_days)
        by_level += share * (taken["nudged"] - taken["control"]) * gain
    first = did["nudged"] - did["control"]
    effect = (converted["nudged"] - converted["control"]) / first
    assert made.world.macro.value is not None
    basket = made.world.macro.value.median * float(np.exp(made.world.macro.value.sigma**2 / 2))
    found = {"first_stage": first, "effect": effect, "value": basket * effect, "compliers": by_level / first}
    return {key: float(value) for key, value in found.items()}


def _chance(world: World, at_days: float) -> float:
    return float(mc.simulate(1, world=world).truth.curve([at_days])["probability"].iloc[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: see the top of this file. Names of worlds as arguments: only those anew."""
    names = list(arguments if arguments is not None else sys.argv[1:]) or list(WORLDS)
    found = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.exists() else {}
    for name in names:
        found[name] = {"micros": compute_micros(name)}
        if WORLDS[name].hides:
            found[name]["hidden_strength"] = compute_strength(name)
        worst = max(row["incremental_se"] for row in found[name]["micros"].values())
        sys.stdout.write(f"{name}: error at most {worst:.5f}\n")
    ordered = {name: found[name] for name in WORLDS if name in found}
    rounded = json.loads(json.dumps(ordered), parse_float=lambda digits: round(float(digits), 6))
    _FILE.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
