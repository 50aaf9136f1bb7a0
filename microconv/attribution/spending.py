"""Spend joined to what channels earned: cost per conversion and return, with the intervals of the credits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name

__all__ = ["checked_spend", "spend_table"]


def checked_spend(spend: Mapping[str, float] | pd.DataFrame | None, channels: tuple[str, ...]) -> dict[str, float]:
    """Money spent by channel, as a mapping. Raises ``ParameterError`` on names that no touch has and on what is no
    amount of money.
    """
    if spend is None:
        return {}
    if isinstance(spend, pd.DataFrame):
        for column in ("channel", "spend"):
            if column not in spend.columns:
                raise ParameterError("spend: " + unknown_name("column", column, map(str, spend.columns)))
        names = spend["channel"].astype(str)
        if names.duplicated().any():
            twice = names[names.duplicated()].iloc[0]
            raise ParameterError(f"spend names the channel {shorten(repr(twice))} twice. Add its rows up.")
        given: Mapping[str, Any] = dict(zip(names, spend["spend"], strict=True))
    elif isinstance(spend, Mapping):
        given = {str(name): amount for name, amount in spend.items()}
    else:
        raise ParameterError(
            f"spend={shorten(repr(spend))} must map channels to money, or be a frame of channel and spend."
        )
    found = {}
    for name, amount in given.items():
        if name not in channels:
            raise ParameterError("spend: " + unknown_name("channel", name, channels, "Or leave it out."))
        number = isinstance(amount, int | float | np.number) and not isinstance(amount, bool | np.bool_)
        if not number or not math.isfinite(float(amount)) or float(amount) < 0:
            raise ParameterError(f"spend of {name!r} is {shorten(repr(amount))}: it must be money, 0 or more.")
        found[name] = float(amount)
    return found


def spend_table(table: pd.DataFrame, spend: Mapping[str, float]) -> pd.DataFrame:
    """``channel, model, spend, conversions, cost_per_conversion, cost_ci_low, cost_ci_high, value, return_on_spend,
    return_ci_low, return_ci_high``: a row for each channel that money was spent on, by model.

    What was spent is a fact, so that the limits are those of the credits turned over. A channel without any credit has
    no cost per conversion, but the least that it can be.
    """
    rows = table[table["channel"].isin(list(spend))].copy()
    rows["spend"] = rows["channel"].map(dict(spend)).astype(float)
    cost, money = rows["spend"], rows["value"]
    positive = {name: rows[name].where(rows[name] > 0) for name in ("conversions", "ci_low", "ci_high")}
    paid = cost.where(cost > 0)
    return pd.DataFrame(
        {
            "channel": rows["channel"],
            "model": rows["model"],
            "spend": cost,
            "conversions": rows["conversions"],
            "cost_per_conversion": cost / positive["conversions"],
            "cost_ci_low": cost / positive["ci_high"],
            "cost_ci_high": cost / positive["ci_low"],
            "value": money,
            "return_on_spend": money / paid,
            "return_ci_low": rows["value_ci_low"] / paid,
            "return_ci_high": rows["value_ci_high"] / paid,
        }
    ).reset_index(drop=True)
