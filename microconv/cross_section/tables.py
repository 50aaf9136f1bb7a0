"""The frames of ``mc.cross_section``: from counts by stratum to a row per micro."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.cross_section.leaks import Verdict, of_cells

if TYPE_CHECKING:
    from microconv.cross_section.asking import Asked
    from microconv.reduce.cross_section import Levels

__all__ = ["COLUMNS", "LEAKS", "NOT_ESTIMATED", "PREDICTIVE", "STRUCTURAL", "columns_table", "micro_rows"]

PREDICTIVE, STRUCTURAL, LEAKS, NOT_ESTIMATED = "predictive", "structural", "leaks", "not estimated"
COLUMNS = (
    "micro", "n", "n_others", "converted", "converted_others", "naive_difference", "naive_ci_low", "naive_ci_high",
    "difference", "ci_low", "ci_high", "risk_ratio", "ratio_low", "ratio_high", "e_value", "e_value_limit", "left_out",
    "separation", "label", "why",
)  # fmt: skip
_SUPPORT = ("n", "n_others", "converted", "converted_others", "share")


def micro_rows(
    asked: Asked, counts: pd.DataFrame, strata: Sequence[str], leaking: Mapping[str, list[str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table, and the support by micro and stratum. ``counts``: see ``reduce.cross_section.strata_counts``;
    ``leaking``: by micro, the columns it reads that leak.
    """
    rows, support = [], []
    for i, micro in enumerate(asked.micros):
        name = str(micro["name"])
        row, table = _micro_row(asked, counts, strata, i, name, leaking[name])
        rows.append(row)
        if table is not None:
            support.append(table)
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"n": "int64", "n_others": "int64"})
    none = pd.DataFrame(columns=["micro", *strata, *_SUPPORT])
    return frame, pd.concat(support, ignore_index=True) if support else none


def _micro_row(
    asked: Asked, counts: pd.DataFrame, strata: Sequence[str], place: int, name: str, leaking: list[str]
) -> tuple[dict[str, Any], pd.DataFrame | None]:
    from microconv.stats.sensitivity import e_value
    from microconv.stats.standardise import standardised

    arms = _arms(counts, strata, place)
    with_it, without = (arms[arms["done"] == done][["n", "converted"]].sum() for done in (1, 0))
    cells = [(float(arm["converted"]), float(arm["n"] - arm["converted"])) for arm in (with_it, without)]
    own = of_cells(cells[0], cells[1], asked.honest, asked.confidence)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan) | {
        "micro": name,
        "n": int(with_it["n"]),
        "n_others": int(without["n"]),
        "separation": own.apart.youden,
    }
    row["label"], row["why"] = _verdict(asked, own, row, leaking)
    if not row["n"] or not row["n_others"]:
        return row, None
    naive = standardised(arms, "done", (), outcome="converted", users="n", confidence=asked.confidence).means
    row |= {
        "converted": naive.treated,
        "converted_others": naive.untreated,
        "naive_difference": naive.difference,
        "naive_ci_low": naive.ci_low,
        "naive_ci_high": naive.ci_high,
    }
    both = arms[arms["n"] > 0].groupby(list(strata))["done"].nunique() if strata else pd.Series([2])
    if not (both > 1).any():
        if row["label"] == PREDICTIVE:
            row["label"], row["why"] = NOT_ESTIMATED, "no stratum has rows with it and rows without it"
        return row, None
    found = standardised(
        arms, "done", strata, outcome="converted", users="n", to="treated", confidence=asked.confidence
    )
    if row["label"] == PREDICTIVE:
        means = found.means
        row |= {
            "difference": means.difference,
            "ci_low": means.ci_low,
            "ci_high": means.ci_high,
            "risk_ratio": means.ratio,
            "ratio_low": means.ratio_low,
            "ratio_high": means.ratio_high,
            "left_out": found.left_out,
        }
        row["e_value"], row["e_value_limit"] = e_value(means.ratio, means.ratio_low, means.ratio_high)
    table = found.table.rename(
        columns={
            "users_treated": "n",
            "users_untreated": "n_others",
            "mean_treated": "converted",
            "mean_untreated": "converted_others",
        }
    )
    table = table.astype({"n": "int64", "n_others": "int64"})[[*strata, *_SUPPORT]]
    table.insert(0, "micro", name)
    return row, table


def _arms(counts: pd.DataFrame, strata: Sequence[str], place: int) -> pd.DataFrame:
    """A row per stratum and arm: ``done`` (1 or 0), ``n, converted``."""
    done, converted = counts[f"done_{place}"], counts[f"done_converted_{place}"]
    keys = counts[list(strata)]
    with_it = keys.assign(done=1, n=done, converted=converted)
    without = keys.assign(done=0, n=counts["n"] - done, converted=counts["converted"] - converted)
    return pd.concat([with_it, without], ignore_index=True)


def _verdict(asked: Asked, own: Verdict, row: Mapping[str, Any], leaking: list[str]) -> tuple[str, str]:
    for size, what in ((row["n"], "with"), (row["n_others"], "without")):
        if size < max(asked.min_cell, 1):
            return NOT_ESTIMATED, f"{size:,} rows {what} it, fewer than min_cell={asked.min_cell}"
    if own.leaks:
        return LEAKS, own.why
    if leaking:
        return LEAKS, f"it reads {', '.join(leaking)}, which leaks"
    if own.structural:
        return STRUCTURAL, own.why
    return PREDICTIVE, ""


def columns_table(verdicts: Mapping[str, Verdict], levels: Mapping[str, Levels], adjust: Sequence[str]) -> pd.DataFrame:
    """A row per column that was read: what for, what it gives away, and how many rows lack it."""
    rows = []
    for name, one in verdicts.items():
        frame = levels[name].frame
        sizes = frame["converted"] + frame["others"]
        rows.append(
            {
                "column": name,
                "role": "adjust" if name in adjust else "micro",
                "read": one.cut,
                "separation": one.apart.youden,
                "separation_low": one.apart.low,
                "bar": one.apart.bar,
                "area": one.apart.area,
                "missing": int(sizes.iloc[-1]) if levels[name].missing else 0,
                "leaks": one.leaks,
                "why": one.why if one.leaks else "",
            }
        )
    return pd.DataFrame(rows)
