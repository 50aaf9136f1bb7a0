"""The formulas in common use for what a micro is worth, as dashboards and blog posts compute them.

All start from who did the micro, with events counted up to the conversion only, and who converted, both within a window
from the user's first event. None knows when either happened, nor who would have converted anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

__all__ = ["FORMULAS", "formulas", "who_did_and_converted"]

# By column of ``formulas``: what it is called, and what it is read as.
FORMULAS = {
    "naive_value": ("macro value x share of doers who convert", "incremental_value"),
    "naive_lift": ("share who convert: did it less never did", "incremental"),
    "odds_ratio": ("odds ratio, events counted up to conversion", "risk_ratio"),
    "lift": ("lift: converts after it / converts without it", "risk_ratio"),
    "phi": ("phi correlation of doing it and converting", "correlation"),
}


def who_did_and_converted(
    events: pd.DataFrame, micros: Sequence[str], macro: str, window_days: float
) -> tuple[pd.DataFrame, float]:
    """By micro the users that ``did_converted, did_not, never_converted, never_not``, and the mean value of a macro.

    ``events`` has ``user_id, time, event, value``; every user in it must be observed for the whole window. The macro
    that counts is a user's first, and a micro counts if it came before that.
    """
    first = events.groupby(["user_id", "event"])["time"].min().unstack()
    entry = events.groupby("user_id")["time"].min().reindex(first.index)
    age = first.reindex(columns=[*micros, macro]).sub(entry, axis=0) / pd.Timedelta(days=1)
    bought = age[macro].fillna(np.inf).to_numpy(float)
    converted = bought <= window_days
    rows = {}
    for micro in micros:
        at = age[micro].fillna(np.inf).to_numpy(float)
        did = (at <= window_days) & (at < bought)
        rows[micro] = {
            "did_converted": int((did & converted).sum()),
            "did_not": int((did & ~converted).sum()),
            "never_converted": int((~did & converted).sum()),
            "never_not": int((~did & ~converted).sum()),
        }
    counted = pd.DataFrame.from_dict(rows, orient="index").rename_axis("micro")
    return counted, float(events.loc[events["event"] == macro, "value"].mean())


def formulas(counted: pd.DataFrame, value: float) -> pd.DataFrame:
    """What the formulas say of each micro: the columns are those of ``FORMULAS``; infinite where nobody converts
    without the micro. ``value`` is that of a macro.
    """
    a, b = counted["did_converted"].astype(float), counted["did_not"].astype(float)
    c, d = counted["never_converted"].astype(float), counted["never_not"].astype(float)
    with_it, without = a / (a + b), c / (c + d)
    return pd.DataFrame(
        {
            "naive_value": value * with_it,
            "naive_lift": with_it - without,
            "odds_ratio": _over(a * d, b * c),
            "lift": _over(with_it, without),
            "phi": (a * d - b * c) / np.sqrt((a + b) * (c + d) * (a + c) * (b + d)),
        }
    )


def _over(top: pd.Series, bottom: pd.Series) -> pd.Series:
    return top.div(bottom.where(bottom > 0)).fillna(np.inf)
