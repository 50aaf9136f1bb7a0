"""The gain of each micro in each state, from sequential trials kept apart by state, and what is known at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError
from microconv.reduce.states import HALVES_PER_DAY
from microconv.reduce.trials import Weighting, bucketed, trial_sums
from microconv.stats.policies import simultaneous_limits
from microconv.stats.resample import poisson_weights
from microconv.stats.sequential import replicated
from microconv.stats.shrinkage import shrink
from microconv.trial_sums import BUCKETS, TrialSums, pooled
from microconv.value.estimating import Fitted, cells_of_intensities

if TYPE_CHECKING:
    from microconv.value.asking import ValueQuestion

__all__ = ["Key", "State", "estimated_gains", "states_of"]

LANDMARKS = 6  # and the cuts of time bands
_INTERVALS = 8
REPLICATES = 500
_MOST_STRATA = 1_000  # landmarks x segments x micros done, of one micro: sums of each are held by bucket and interval
MIN_DOERS = 20
MIN_EVENTS = 10  # conversions after the micro, below which intervals say little
_MIN_CONTROL_BUCKETS = 5  # of users, that hold conversions of controls: as many raw events at least

# (micros told apart, bits of those done, cell of attributes or None, band of time or None)
Key = tuple[int, int, int | None, int | None]


@dataclass(frozen=True, eq=False)
class State:
    """The trials of one micro whose doers and controls are in the state ``key`` at time zero."""

    key: Key
    micro: str
    sums: TrialSums

    @property
    def doers(self) -> int:
        """Users compared who do the micro from this state."""
        return int(self.sums.entered.sum())

    @property
    def events(self) -> int:
        """Conversions of the doers within the horizon of the action."""
        return round(float(self.sums.done.events[..., 0].sum()))

    def enough(self, min_cell: int) -> bool:
        """Whether there is enough to estimate a gain and its error from."""
        controls = int(self.sums.support["compared"].sum())
        buckets = int((self.sums.never.events[..., 0].sum(axis=(1, 2)) > 0).sum())
        least = max(min_cell, MIN_DOERS)
        return min(self.doers, controls) >= least and self.events >= MIN_EVENTS and buckets >= _MIN_CONTROL_BUCKETS


def states_of(fitted: Fitted, micro: str, question: ValueQuestion, cuts: Sequence[int]) -> list[State]:
    """The trials of a micro in each state and in all its parents, by level: the state itself, without the time since
    entry, without the segment, and without the micros one by one from the last on.
    """
    counted = fitted.counted
    base, factor = fitted.intensities.rate_factors(f"+{micro}")
    sums = trial_sums(
        counted.people,
        bucketed(counted.people, counted.marked),
        counted.layout,
        micro,
        horizon=2 * question.horizon,
        age_limit=int(counted.age_limit_days * HALVES_PER_DAY),
        weighting=Weighting(
            [round(cut * HALVES_PER_DAY) for cut in fitted.intensities.cuts],
            base,
            factor[cells_of_intensities(counted.people, fitted.intensities)],
        ),
        landmarks=LANDMARKS,
        intervals=_INTERVALS,
        max_controls=question.max_controls,
        apart=True,
        cuts=[2 * cut for cut in cuts],
    )
    used = sums.support[sums.support["compared"] > 0]
    if len(used) > _MOST_STRATA:
        raise ParameterError(
            f"The users who do {micro!r} are in {len(used):,} states and times, over {_MOST_STRATA:,}. Name fewer "
            "micros (micros=[...]), or fewer or coarser attributes (by=...)."
        )
    many = len(counted.layout.columns)
    band = np.searchsorted(np.array(cuts) * 2 / HALVES_PER_DAY, used["landmark_days"].to_numpy(float), side="left")
    mask, cell = used["state"].to_numpy(np.int64), used["cell"].to_numpy(np.int64)
    levels: list[list[Key]] = [[(many, int(m), int(c), None) for m, c in zip(mask, cell, strict=True)]]
    if cuts:
        levels.insert(0, [(*key[:3], int(b)) for key, b in zip(levels[0], band, strict=True)])
    # Without attributes a state of all segments is the state itself.
    most = many if len(counted.people.cells.columns) else many - 1
    levels += [[(known, int(m) & ((1 << known) - 1), None, None) for m in mask] for known in range(most, -1, -1)]
    found: dict[Key, State] = {}
    for keys in levels:
        for key in sorted(set(keys), key=str):
            rows = np.array([place for place, one in enumerate(keys) if one == key], dtype=np.int64)
            found[key] = State(key, micro, pooled(sums, rows))
    return list(found.values())


def estimated_gains(
    states: Sequence[State], confidence: float, min_cell: int, seed: int
) -> tuple[pd.DataFrame, float, int]:
    """A row per state and micro with enough users; the critical value, and the size of the family.

    ``key, micro, users, events, controls, never, done, estimate, se, gain`` (``estimate`` shrunk towards the mean over
    the states of the same level), ``ci_low, ci_high`` (simultaneous limits of ``estimate``, over all rows).
    """
    weights = poisson_weights(BUCKETS, REPLICATES, seed)
    rows: list[dict[str, Any]] = []
    drawn = []
    for state in states:
        if not state.enough(min_cell):
            continue
        (never, done), replicates, users = replicated(state.sums, weights)
        if not np.isfinite(done - never) or users < max(min_cell, MIN_DOERS):
            continue
        drawn.append(replicates[:, 1] - replicates[:, 0])
        rows.append(
            {
                "key": state.key,
                "micro": state.micro,
                "users": int(users),
                "events": state.events,
                "controls": int(state.sums.support["compared"].sum()),
                "never": float(never),
                "done": float(done),
                "estimate": float(done - never),
            }
        )
    columns = ["key", "micro", "users", "events", "controls", "never", "done", "estimate"]
    table = pd.DataFrame(rows, columns=columns)
    if table.empty:
        return table.assign(se=np.nan, gain=np.nan, ci_low=np.nan, ci_high=np.nan), float("nan"), 0
    found = simultaneous_limits(table["estimate"].to_numpy(float), np.stack(drawn, axis=1), confidence)
    table = table.assign(se=found.se, gain=table["estimate"], ci_low=found.low, ci_high=found.high)
    table = table[np.isfinite(table["se"])].reset_index(drop=True)
    level = [(key[0], key[2] is None, key[3] is None) for key in table["key"]]
    for _, group in table.groupby([table["micro"], pd.Series(level, index=table.index)], sort=False):
        if len(group) > 1:
            shrunk = shrink(group["estimate"], group["se"]).table["shrunk"].to_numpy(float)
            table.loc[group.index, "gain"] = shrunk
    return table, found.critical, found.family
