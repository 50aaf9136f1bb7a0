"""Up to which age a curve rests on enough users."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from microconv.counts import RiskTable
from microconv.stats._curves import patterns_of, read_blocks

__all__ = ["LEAST_SHARE", "LEAST_USERS", "reliable_ages"]

LEAST_USERS = 10
LEAST_SHARE = 0.02
_NEAR = 1e-9


def reliable_ages(rt: RiskTable, least_users: int = LEAST_USERS, least_share: float = LEAST_SHARE) -> pd.DataFrame:
    """Which is the largest age that enough users have been watched for?

    Enough is at least ``least_users`` and at least ``least_share`` of all. Watched to an age is who would still be
    under observation then, had nobody had any event: at risk over survival, ``n / S`` just before it. Users who enter
    together and are censored by the end of observation alone are watched for as long as they are in the log, whether
    they convert or not, so that this is a plain count of users by date of entry. With ten watched the last steps of
    the curve are tenths of those not yet converted; with fewer a single user decides, and the last age of all belongs
    to one user who happened to come first.

    Returns a row per pattern: pattern columns, ``n`` (users), ``reliable_days`` (NaN where no age has enough), ``last``
    (whether no later time is observed), ``ended`` (whether nobody was left without an event at the end, entries all at
    0: then the curve is complete).

    >>> users = pd.DataFrame({"start": 0, "stop": [*range(1, 21)], "bought": [True] * 5 + [False] * 15})
    >>> reliable_ages(RiskTable.from_intervals(users, "start", "stop", "bought"))
          n  reliable_days   last  ended
    0  20.0           13.0  False  False
    """
    blocks = read_blocks(rt)
    rows = []
    for block in blocks:
        n = float(block.entered.sum())
        before = np.concatenate([[1.0], block.survival[:-1]])[: len(block.n)]
        watched = np.divide(block.n, before, out=np.zeros_like(before), where=before > 0)
        enough = np.flatnonzero(watched >= max(least_users, least_share * n) * (1 - _NEAR))
        together = float(block.entered[block.time == 0].sum()) >= n * (1 - _NEAR)
        rows.append(
            {
                "n": n,
                "reliable_days": float(block.time[enough[-1]]) if len(enough) else math.nan,
                "last": bool(len(enough)) and int(enough[-1]) == len(block.time) - 1,
                "ended": together and bool(block.stay[-1] <= 0 and block.events[-1] > 0),
            }
        )
    first = np.array([block.rows[0] for block in blocks], dtype=np.int64)
    columns = ["n", "reliable_days", "last", "ended"]
    return pd.concat([patterns_of(rt, first, columns), pd.DataFrame(rows, columns=columns)], axis=1)
