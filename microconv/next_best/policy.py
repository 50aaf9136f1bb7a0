"""From gains to a policy: which offers stand in each state, in the form that ``policy_scorer`` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY, format_duration
from microconv.policy_scorer import SCHEMA

__all__ = ["NOTHING", "Naming", "policy_of", "state_table"]

NOTHING = "nothing"
_HOUR = MICROS_PER_DAY // 24


@dataclass(frozen=True, eq=False)
class Naming:
    """What the parts of a state are called. ``cells``: a row per combination of the attributes; ``cuts``: of the time
    since entry, in microseconds.
    """

    micros: tuple[str, ...]
    cells: pd.DataFrame
    cuts: tuple[int, ...]

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes at entry that tell segments apart."""
        return tuple(str(column) for column in self.cells.columns)

    def done(self, key: tuple[Any, ...]) -> list[str]:
        """The micros done in a state."""
        return [name for place, name in enumerate(self.micros) if key[1] >> place & 1]

    def segment(self, key: tuple[Any, ...]) -> dict[str, str] | None:
        """The levels of a state's segment; None: all segments."""
        if key[2] is None:
            return None
        return {name: str(self.cells[name].loc[key[2]]) for name in self.attributes}

    def since(self, band: int | None) -> str:
        """A band of the time since entry in words."""
        if band is None or not self.cuts:
            return "any time"
        if band == 0:
            return f"up to {format_duration(self.cuts[0])}"
        if band == len(self.cuts):
            return f"over {format_duration(self.cuts[-1])}"
        return f"{format_duration(self.cuts[band - 1])} to {format_duration(self.cuts[band])}"

    def says(self, key: tuple[Any, ...]) -> str:
        """The whole state in words."""
        known = self.micros[: key[0]]
        done = self.done(key)
        if not known:
            behaviour = "whatever done"
        elif not done:
            behaviour = "nothing done" if len(known) == len(self.micros) else f"none of {', '.join(known)} done"
        else:
            behaviour = f"{', '.join(done)} done"
            if len(known) < len(self.micros):
                behaviour += f" (of {', '.join(known)})"
        segment = self.segment(key)
        parts = [behaviour]
        if segment:
            parts.append(", ".join(segment.values()))
        if key[3] is not None and self.cuts:
            parts.append(self.since(key[3]))
        return "; ".join(parts)


def state_table(gains: pd.DataFrame, naming: Naming) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per state with what to offer, and a row per state and micro; the finest states first.

    A micro is recommended where its simultaneous lower limit and its shrunken gain are above 0.
    """
    gains = gains.assign(above=(gains["ci_low"] > 0) & (gains["gain"] > 0))
    gains = gains.assign(_rank=np.where(gains["above"], gains["gain"], -np.inf))
    rows, kept = [], []
    order = sorted(set(gains["key"]), key=_order)
    for number, key in enumerate(order):
        mine = gains[gains["key"].map(lambda one, key=key: one == key)]
        mine = mine.sort_values(["_rank", "gain"], ascending=False, kind="stable")
        best = mine.iloc[0]
        says = naming.says(key)
        segment = naming.segment(key) or dict.fromkeys(naming.attributes, "(all)")
        row: dict[str, Any] = {
            "state": says,
            "done": ", ".join(naming.done(key)),
            **segment,
            "since_entry": naming.since(key[3]),
        }
        row |= {
            "best": best["micro"] if best["above"] else NOTHING,
            "gain": best["gain"] if best["above"] else np.nan,
            "ci_low": best["ci_low"] if best["above"] else np.nan,
            "ci_high": best["ci_high"] if best["above"] else np.nan,
            "users": int(mine["users"].sum()),
            "candidates": len(mine),
            "told_apart": key[0],
        }
        rows.append(row)
        told = mine.drop(columns=["key", "_rank"]).rename(columns={"above": "recommended"})
        told = told.assign(recommended=told["recommended"] & (np.arange(len(told)) == 0), above_zero=mine["above"])
        told.insert(0, "state", says)
        told.insert(0, "state_number", number)
        kept.append(told)
    columns = ["state", "done", *naming.attributes, "since_entry", "best", "gain", "ci_low", "ci_high", "users",
               "candidates", "told_apart"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    frame = pd.concat(kept, ignore_index=True) if kept else _no_gains()
    return table, frame


def _no_gains() -> pd.DataFrame:
    names = ["state_number", "state", "micro", "users", "events", "controls", "never", "done", "estimate", "se", "gain",
             "ci_low", "ci_high", "recommended", "above_zero"]  # fmt: skip
    return pd.DataFrame(columns=names)


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return (
        -key[0], key[2] is None, key[3] is None, bin(key[1]).count("1"), key[1],
        -1 if key[2] is None else key[2], -1 if key[3] is None else key[3],
    )  # fmt: skip


def policy_of(gains: pd.DataFrame, naming: Naming, about: Mapping[str, Any]) -> dict[str, Any]:
    """What policy.json holds: ``about`` (target, horizon, data), and a state for every key with an estimate."""
    states = []
    for key in sorted(set(gains["key"]), key=_order):
        mine = gains[gains["key"].map(lambda one, key=key: one == key)]
        good = mine[(mine["ci_low"] > 0) & (mine["gain"] > 0)].sort_values("gain", ascending=False, kind="stable")
        states.append(
            {
                "says": naming.says(key),
                "told_apart": int(key[0]),
                "done": naming.done(key),
                "segment": naming.segment(key),
                "band": None if key[3] is None else int(key[3]),
                "offers": [_offered(row) for row in good.to_dict("records")],
            }
        )
    levels = {name: sorted({str(level) for level in naming.cells[name]}) for name in naming.attributes}
    return {
        "schema": SCHEMA,
        **about,
        "micros": list(naming.micros),
        "attributes": list(naming.attributes),
        "levels": levels,
        "cuts_hours": [cut / _HOUR for cut in naming.cuts],
        "parents": "A state that is not listed is taken for its parent: without the time since entry, then without the "
        "segment, then without the micros one by one from the last on.",
        "states": states,
    }


def _offered(row: Mapping[Any, Any]) -> dict[str, Any]:
    rounded: Sequence[tuple[str, float]] = [
        (name, round(float(row[name]), 6)) for name in ("gain", "ci_low", "ci_high")
    ]
    return {"micro": str(row["micro"]), **dict(rounded), "users": int(row["users"])}
