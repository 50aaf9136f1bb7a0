"""What became of the segments after the landmark: rates, tests, curves and what their users had done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.behaviour.asking import Asked
from microconv.behaviour.grouping import Grouped
from microconv.durations import MICROS_PER_DAY
from microconv.reduce.behaviour import profile
from microconv.reduce.risk import risk_table
from microconv.stats.competing import aalen_johansen
from microconv.stats.group_rates import group_rates
from microconv.stats.log_rank import logrank

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["COLUMNS", "left_out_table", "outcomes"]

COLUMNS = (
    "segment", "users", "share", "rate", "ci_low", "ci_high", "shrunk_rate", "median_days", "difference", "p_value",
    "q_value", "difference_ci_low", "difference_ci_high", "events", "definition",
)  # fmt: skip
_POINTS = 400


def outcomes(
    log: EventLog, asked: Asked, made: Grouped, max_rows: int
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], str]:
    """The table of the result, further frames by name, and how censored times were kept."""
    rule = asked.rule
    assert rule.horizon is not None
    users = made.users.mutate(by_0=made.users["_group"])
    counts, kept = risk_table(log, users, rule, ["_group"], max_rows)
    rates = group_rates(
        counts, "_group", rule.horizon / MICROS_PER_DAY, cause=rule.target.name, confidence=asked.confidence
    )
    names = dict(enumerate(made.names))
    rates["segment"] = rates["_group"].map(names)
    rates["definition"] = rates["_group"].map(dict(enumerate(made.definitions)))
    for column in ("users", "events"):
        rates[column] = rates[column].round().astype("int64")
    test = logrank(counts, "_group", cause=rule.target.name)
    did = profile(log, made.users, range(len(asked.micros)))
    extra = {
        "definitions": pd.DataFrame({"segment": made.names, "definition": made.definitions}),
        "profile": _profile(did, asked, names),
        "tests": test.table.assign(test="log-rank, all segments")[["test", "chi2", "degrees_of_freedom", "p_value"]],
        "curves": _curves(counts, rule.target.name, names, asked.confidence),
    }
    if made.clusters is not None:
        extra["stability"] = made.clusters.stability
    return rates[list(COLUMNS)], extra, kept


def left_out_table(log: EventLog, users: ir.Table, lost: dict[str, int]) -> pd.DataFrame:
    """Who is at risk at the landmark, and who is not and why: ``reason, users, share``."""
    whole = int(log.engine.fetch(users.agg(n=users.count()))["n"][0])
    at_risk = whole - sum(lost.values())
    rows = [("at risk", at_risk)] if at_risk else []
    table = pd.DataFrame([*rows, *lost.items()], columns=["reason", "users"])
    return table.assign(share=table["users"] / max(whole, 1))


def _profile(did: pd.DataFrame, asked: Asked, names: dict[int, str]) -> pd.DataFrame:
    """Which share of each segment's users, and of all others, had done each micro by the landmark."""
    rows = []
    whole = did["users"].sum()
    for group in did.to_dict("records"):
        for i, micro in enumerate(asked.micros):
            done, rest = int(group[f"did_{i}"]), whole - group["users"]
            others = (did[f"did_{i}"].sum() - done) / rest if rest else np.nan
            rows.append(
                {
                    "segment": names[int(group["_group"])],
                    "micro": micro.name,
                    "users": int(group["users"]),
                    "did": done,
                    "share": done / group["users"],
                    "others_share": others,
                }
            )
    return pd.DataFrame(rows)


def _curves(counts: object, target: str, names: dict[int, str], confidence: float) -> pd.DataFrame:
    """The cumulative incidence of the target in each segment, thinned to some hundred points each."""
    curve = aalen_johansen(counts, confidence)  # type: ignore[arg-type]
    curve = curve[curve["cause"] == target]
    parts = []
    for group, part in curve.groupby("_group", sort=True):
        kept = np.unique(np.linspace(0, len(part) - 1, min(_POINTS, len(part))).round().astype(int))
        parts.append(part.iloc[kept].assign(segment=names[int(str(group))]))
    columns = ["segment", "time_days", "probability", "ci_low", "ci_high"]
    return pd.concat(parts, ignore_index=True)[columns]
