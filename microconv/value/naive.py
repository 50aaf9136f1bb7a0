"""What dashboards show of a micro, and whether it is a step that every converter takes: from counts of states alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from microconv.exposures import ExposureTable
    from microconv.reduce.states import Layout

__all__ = ["Naive", "naive", "naive_table"]

# A step on the way: hardly a conversion comes without it ...
_WITHOUT = 0.01
_SELDOM = 0.05  # ... or seldom, where the log misses some of it ...
# ... though many would, if it made no difference; ten times as many, and five: chance alone leaves none of five in 1 of
# 150.
_EXPECTED, _LEAST = 10, 5


@dataclass(frozen=True)
class Naive:
    """Who did a micro before the end of the journey, who converted after it, and who converted without it.

    ``expected_without``: how many conversions would have come without it if it made no difference to anybody.
    """

    micro: str
    doers: int
    followed: int
    others: int
    others_converted: int
    expected_without: float

    @property
    def followed_by(self) -> float:
        """The share of doers whose macro came after it, as far as observed."""
        return self.followed / self.doers if self.doers else np.nan

    @property
    def lift(self) -> float:
        """That share less the share of the users who never did it that converted: points of probability."""
        return self.followed_by - self.others_converted / self.others if self.others else np.nan

    @property
    def structural(self) -> bool:
        """Whether (nearly) every conversion comes after it, as after a checkout."""
        return self._few_without(_WITHOUT)

    @property
    def nearly_structural(self) -> bool:
        """Whether it may be such a step, missing from the log now and then."""
        return not self.structural and self._few_without(_SELDOM)

    def _few_without(self, share: float) -> bool:
        events = self.followed + self.others_converted
        many = self.expected_without >= _EXPECTED * self.others_converted + _LEAST
        return events > 0 and many and self.others_converted <= share * events

    @property
    def universal(self) -> bool:
        """Whether there is next to nobody to compare with, because everybody does it from the start on."""
        return self.doers > 0 and not self.structural and self.expected_without < 1 and self.others_converted == 0


def naive(exposures: ExposureTable, in_state: pd.DataFrame, layout: Layout, micros: Sequence[str]) -> dict[str, Naive]:
    """By micro: the counts of ``exposures`` (whose first cause is the macro) and of ``reduce.states.in_state``."""
    frame = exposures.frame
    macro = frame[exposures.event_cols[0]].to_numpy(float)
    time = frame["person_time_days"].to_numpy(float)
    interval = frame["from_days"].to_numpy(float)
    users = int(in_state["users"].sum())
    found = {}
    for name in micros:
        number = layout.names.index(name)
        before = frame[name].to_numpy() == 0
        doers = int(in_state[f"in_{number}_1"].sum())
        without = int(macro[before].sum())
        found[name] = Naive(
            micro=name,
            doers=doers,
            followed=int(macro.sum()) - without,
            others=users - doers,
            others_converted=without,
            expected_without=_expected(macro, time, interval, before),
        )
    return found


def _expected(macro: np.ndarray, time: np.ndarray, interval: np.ndarray, before: np.ndarray) -> float:
    """Conversions by interval times the share of the time at risk in it that was spent before the micro."""
    sums = pd.DataFrame({"macro": macro, "time": time, "before": np.where(before, time, 0.0)}).groupby(interval).sum()
    known = sums[sums["time"] > 0]
    return float((known["macro"] * known["before"] / known["time"]).sum())


def naive_table(found: dict[str, Naive]) -> pd.DataFrame:
    """The counts behind the naive column: ``micro, users, followed, others, others_converted`` and both shares."""
    rows = [
        {
            "micro": one.micro,
            "users": one.doers,
            "followed": one.followed,
            "followed_by": one.followed_by,
            "others": one.others,
            "others_converted": one.others_converted,
            "others_share": one.others_converted / one.others if one.others else np.nan,
            "expected_without": one.expected_without,
            "structural": one.structural,
        }
        for one in found.values()
    ]
    return pd.DataFrame(rows)
