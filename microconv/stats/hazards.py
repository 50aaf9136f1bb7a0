"""The hazard added up over time: Nelson-Aalen."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.stats._curves import patterns_of, read_blocks, z_value

__all__ = ["nelson_aalen"]

_COLUMNS = ["time_days", "cumulative_hazard", "se", "ci_low", "ci_high", "at_risk", "events", "censored"]


def nelson_aalen(
    rt: RiskTable, confidence: float = 0.95, *, cause: Hashable | None = None, start_days: float = 0.0
) -> pd.DataFrame:
    """How much hazard has a user met by each time?

    At risk, censored, ``cause`` and ``start_days`` are as in ``kaplan_meier``; the hazard of one cause is well defined
    beside others. Returns one block of rows per pattern, pattern columns first: ``time_days``, ``cumulative_hazard``
    (the sum of events / at risk), ``se``, ``ci_low``, ``ci_high`` (symmetric on the log; (0, 0) before the
    first event), ``at_risk``, ``events``, ``censored``. Raises ``ParameterError`` on an empty table or an unknown
    cause. Nelson (1969), Aalen (1978), variance sum of d/n^2, as R's ``survfit(ctype=1)``.
    """
    z = z_value(confidence)
    blocks = read_blocks(rt, cause, start_days)
    table = patterns_of(rt, np.concatenate([block.rows for block in blocks]), _COLUMNS)
    hazard, variance = [], []
    for block in blocks:
        steps = np.divide(block.events, block.n, out=np.zeros_like(block.n), where=block.n > 0)
        hazard.append(np.cumsum(steps))
        variance.append(np.cumsum(np.divide(steps, block.n, out=np.zeros_like(block.n), where=block.n > 0)))
    total, se = np.concatenate(hazard), np.sqrt(np.concatenate(variance))
    width = np.exp(np.divide(z * se, total, out=np.zeros_like(total), where=total > 0))
    table["cumulative_hazard"], table["se"] = total, se
    table["ci_low"], table["ci_high"] = total / width, total * width
    table["at_risk"] = np.concatenate([block.n for block in blocks])
    table["events"] = np.concatenate([block.events for block in blocks])
    table["censored"] = np.concatenate([block.censored for block in blocks])
    return table
