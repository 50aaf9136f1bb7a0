"""Sums of sequential trials: who did a micro against who had not yet, by landmark, bucket of users and interval."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["BUCKETS", "Arm", "TrialSums", "pooled"]

BUCKETS = 256  # groups of users by hash, from which intervals are resampled
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arm:
    """One side of the trials. Arrays have axes (bucket, landmark, interval), ``events`` a last one of causes.

    ``edges``: where intervals (a, b] begin and end, in days: since the action for the doers, since time zero for the
    controls. ``time``: (weighted) person-time at risk in days; ``events``: (weighted) ends by cause, the target first;
    ``money``: (weighted) revenue of those who convert, in the smallest unit of money; 0 where none was asked for.
    ``at_horizon``: the effective number of users (Kish) still at risk at the horizon.
    """

    edges: Floats
    time: Floats
    events: Floats
    money: Floats
    at_horizon: float


@dataclass(frozen=True, eq=False)
class TrialSums:
    """What the effect of a micro by sequential trials is made of.

    ``horizon_days``: how long after the action an end counts. ``landmarks_days``: when each trial starts.
    ``entered``: doers compared, by (bucket, landmark). ``doers``: all who did the micro before their end; of them
    ``too_late`` acted when the horizon reaches beyond the observed ages, and ``without_controls`` had nobody like them.

    ``support``: a row per landmark and stratum with doers: ``landmark, landmark_days, cell, state, doers``,
    ``controls`` (at risk and not yet doers) and ``compared`` (of them, those sampled; 0: the doers are left out).
    """

    column: str
    horizon_days: float
    causes: tuple[Hashable, ...]
    landmarks_days: Floats
    entered: Floats
    done: Arm
    never: Arm
    doers: int
    too_late: int
    without_controls: int
    support: pd.DataFrame
    with_money: bool

    @property
    def left_out(self) -> float:
        """The share of the doers that the trials are not of."""
        return (self.too_late + self.without_controls) / self.doers if self.doers else 0.0

    @property
    def sampled(self) -> float:
        """The share of the control trials (of strata with doers) that were taken."""
        controls = float(self.support["controls"].sum())
        return float(self.support["compared"].sum()) / controls if controls else 1.0


def pooled(sums: TrialSums, trials: npt.NDArray[np.int64]) -> TrialSums:
    """Some of the trials of sums kept apart by stratum, those of one landmark made one trial.

    ``trials``: their places among those of ``sums``, whose ``support`` has a row for each trial that was compared.
    What is known of all trials together only (``at_horizon``, ``doers``, those left out) stays that of all of them.
    """
    days, into = np.unique(sums.landmarks_days[trials], return_inverse=True)
    moved = (into[:, None] == np.arange(len(days))).astype(float)  # (trial, landmark)

    def added(values: Floats) -> Floats:
        return np.moveaxis(np.tensordot(values[:, trials], moved, axes=(1, 0)), -1, 1)

    def arm(one: Arm) -> Arm:
        return replace(one, time=added(one.time), events=added(one.events), money=added(one.money))

    used = sums.support[sums.support["compared"] > 0].iloc[trials]
    return replace(
        sums,
        landmarks_days=days,
        entered=added(sums.entered),
        done=arm(sums.done),
        never=arm(sums.never),
        support=used.reset_index(drop=True),
    )
