"""What a micro-conversion adds, as either method estimates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from microconv.stats._curves import z_value

__all__ = ["BY_TIME", "Effect"]

# The columns of ``Effect.by_time``.
BY_TIME = ("within_days", "done", "never", "incremental", "se", "incremental_value", "value_se")


@dataclass(frozen=True, eq=False)
class Effect:
    """The total effect of a micro on those who did it before the macro ("doers").

    ``done``: their chance of the macro within the horizon of the action; ``never``: the same had they never done it;
    ``incremental``: the difference, ``se`` its standard error, and ``covariance`` (2 x 2) that of (done, never).
    ``value_done, value_never, incremental_value, value_se``: expected revenue per doer instead of the chance; NaN
    without money. ``users``: doers that the estimate is of; ``left_out``: the share of all doers that it is not of.
    ``effective_done, effective_never``: the effective number of users (Kish) observed at the horizon in each arm.

    ``by_time``: the same by time since the action (columns ``BY_TIME``; the last row is the horizon). ``detail`` holds
    what the method alone has to say. Effects of several micros overlap and must not be added.
    """

    done: float
    never: float
    incremental: float
    se: float
    covariance: np.ndarray
    users: float
    left_out: float
    effective_done: float
    effective_never: float
    value_done: float = np.nan
    value_never: float = np.nan
    incremental_value: float = np.nan
    value_se: float = np.nan
    by_time: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(BY_TIME)))
    detail: Mapping[str, Any] = field(default_factory=dict)

    def risk_ratio(self, confidence: float = 0.95) -> tuple[float, float, float]:
        """``done / never`` with its interval, symmetric on the scale of logarithms (delta method).

        Where one of the chances is 0 there is no such interval: it is (0, inf). NaN where an arm is not estimated.
        """
        z = z_value(confidence)
        if not (np.isfinite(self.done) and np.isfinite(self.never)) or (self.done <= 0 and self.never <= 0):
            return np.nan, np.nan, np.nan
        if self.done <= 0 or self.never <= 0:
            return (np.inf if self.never <= 0 else 0.0), 0.0, np.inf
        slope = np.array([1 / self.done, -1 / self.never])
        se = float(np.sqrt(max(slope @ np.asarray(self.covariance, dtype=float) @ slope, 0.0)))
        ratio = self.done / self.never
        with np.errstate(over="ignore"):
            return ratio, float(ratio * np.exp(-z * se)), float(ratio * np.exp(z * se))
