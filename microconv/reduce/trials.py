"""Sequential trials: at each of a few landmarks, who has just done a micro against who is at risk and has not.

The doers' times of action are cut into quantile bins. Each bin is a trial, and its landmark is the mean time of action.
A doer's clock starts at the doer's own action, a control's at the landmark. Both are of one stratum: the same cell
(attributes) and state (the layout's other columns), as just before their time zero; controls weigh as much as the
stratum's doers (Hernan et al. 2008; Gran et al. 2010).

Times are half microseconds since time zero of the journey, as in ``reduce.states``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.errors import ParameterError, unknown_name
from microconv.reduce.process_counts import with_early
from microconv.reduce.state_counts import event_times, interval
from microconv.reduce.states import HALVES_PER_DAY, NEVER, Layout, half_microseconds, summed
from microconv.reduce.trial_arms import Weighting, control_arm, doer_arm
from microconv.trial_sums import BUCKETS, Arm, TrialSums

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People

__all__ = ["Weighting", "bucketed", "trial_sums"]

_PLACES = 2**28  # on a ring, where each user has one by hash
_TRIAL = 20  # doers make a trial of their own
_FEWEST = 10  # controls of a stratum that sampling leaves, on average
_ASKED = 10  # times max_controls: so many pairs of user and landmark are looked at


def bucketed(people: People, marked: ir.Table) -> ir.Table:
    """``marked`` with ``bucket``, the first two hexadecimal digits of the md5 of ``user_id``, and ``place``, the number
    in the seven after them, by which controls are sampled. The same on every engine, once for all micros.
    """
    engine = people.engine
    # Kept, so that the digest is not computed for each of its digits.
    hashed = engine.materialise(marked.mutate(digest=engine.digest(marked.user_id).left(9)))
    digits, place = ibis.literal("0123456789abcdef"), ibis.literal(0, "int64")
    for i in range(2, 9):
        place = place * 16 + digits.find(hashed.digest.substr(i, 1)).cast("int64")
    return engine.materialise(hashed.mutate(bucket=hashed.digest.left(2), place=place).drop("digest"))


def trial_sums(
    people: People,
    marked: ir.Table,
    layout: Layout,
    column: str,
    *,
    horizon: int,
    age_limit: int,
    weighting: Weighting,
    paid: ir.Table | None = None,
    landmarks: int = 20,
    intervals: int = 15,
    max_controls: int = 400_000,
    apart: bool = False,
    cuts: Sequence[int] = (),
) -> TrialSums:
    """The sums behind the effect of a micro by sequential trials, for ``stats.trials``.

    * ``marked``: the ``bucketed`` moments of ``layout``. ``column`` names the micro, a column of one moment.
    * ``horizon``: how long after time zero an end counts. Doers who act after ``age_limit - horizon`` are left out.
    * ``weighting``: the intensity of doing the micro, by which controls who do it later are made up for.
    * ``paid``: ``user_id`` and ``cents``, what a user pays from the first conversion on.
    * ``landmarks``: how many trials (fewer of few doers), and ``intervals``: of the doers' time since the action.
      Controls' time is cut as the intensity is. Long intervals are split in either arm.
    * ``max_controls``: beyond about so many control trials, strata are sampled down to like numbers per doer, by hash
      of the user, and not the same users at each landmark. With many more users, each is asked about at some of the
      landmarks only; ``controls`` is then an estimate.
    * ``apart``: each landmark and stratum is a trial of its own, in the order of the rows of ``support`` with controls.
    * ``cuts``: no trial has doers on both sides of such a time; one that acts at a cut is before it.

    At risk are doers on (action, stop], controls on (landmark, least of stop and own action], within the horizon. Who
    did the micro before time zero is in no arm. Raises ``ParameterError`` where ``column`` is no such column or
    ``weighting`` does not fit.
    """
    focal = _focal(layout, column)
    weighting.check(len(people.cells), layout.size)
    engine = people.engine
    strata = _Strata(layout, focal, max(len(people.cells), 1))
    everybody = engine.materialise(_doers(people, marked, strata))
    late = everybody["at"] > age_limit - horizon
    counted = engine.fetch(everybody.agg(doers=everybody.count(), late=late.cast("int64").sum().fill_null(0))).iloc[0]
    all_doers, too_late = int(counted["doers"]), int(counted["late"])
    trial = max(1, min(landmarks, (all_doers - too_late) // _TRIAL))
    doers, starts = _in_bins(people, everybody.filter(~late), trial, strata, cuts)
    turns = min(max(-(-_ASKED * max_controls // max(people.at_risk, 1)), 1), len(starts))
    support = _no_support()
    if starts:
        candidates = _candidates(marked, strata, starts, turns)
        support = _support(people, doers, candidates, max_controls, turns / len(starts))
        trials, support = _sampled(people, candidates, support, horizon, focal, turns * _step(starts))
    used = support[support["compared"] > 0]
    trial_starts = list(starts)
    if apart and len(used):
        trial_starts = [starts[number] for number in strata.read(used["stratum"])["landmark"]]
        doers, trials = (_each_stratum(some, used) for some in (doers, trials))
    if len(used):
        weights = pd.DataFrame({"stratum": used["stratum"], "weight": used["doers"] / used["compared"]})
        doers = doers.semi_join(ibis.memtable(weights), "stratum")
        entered, done = doer_arm(people, doers, paid, len(trial_starts), horizon, intervals)
        never = control_arm(people, trials, weights, paid, layout, focal, trial_starts, horizon, weighting)
    else:
        entered, done, never = np.zeros((BUCKETS, len(starts))), *_nobody(people, starts, horizon)
    days = np.array(starts, dtype=float) / HALVES_PER_DAY
    return TrialSums(
        column=column,
        horizon_days=horizon / HALVES_PER_DAY,
        causes=people.causes,
        landmarks_days=np.array(trial_starts, dtype=float) / HALVES_PER_DAY,
        entered=entered,
        done=done,
        never=never,
        doers=all_doers,
        too_late=too_late,
        without_controls=int(support.loc[support["compared"] == 0, "doers"].sum()),
        support=_told(support, strata, days),
        with_money=paid is not None,
    )


def _focal(layout: Layout, column: str) -> int:
    """The moment behind a column that only says done or not."""
    plain = {one.name: one.passed[0] for one in layout.columns if len(one.passed) == 1}
    if column not in plain:
        raise ParameterError(unknown_name("micro", column, plain))
    return plain[column]


@dataclass(frozen=True)
class _Strata:
    """Strata by one number: users of a cell who are in a state just before ``when``, the focal micro not done."""

    layout: Layout
    focal: int
    cells: int

    def pattern(self, table: ir.Table, when: ir.IntegerValue) -> ir.IntegerValue:
        """The number of cell and state."""
        at = [table[f"m_{i}"] < when for i in range(len(self.layout.moments))]
        at[self.focal] = ibis.literal(False)
        return self.layout.code(at) * self.cells + table.cell

    def of(self, landmark: ir.IntegerValue, pattern: ir.IntegerValue) -> ir.IntegerValue:
        """The number of the stratum of a landmark."""
        return (landmark * (self.layout.size * self.cells) + pattern).cast("int64")

    def read(self, number: pd.Series) -> pd.DataFrame:
        """Landmark, cell and state of strata."""
        code = number.to_numpy(dtype=np.int64)
        rest, cell = np.divmod(code, self.cells)
        landmark, state = np.divmod(rest, self.layout.size)
        return pd.DataFrame({"landmark": landmark, "cell": cell, "state": state})


def _doers(people: People, marked: ir.Table, strata: _Strata) -> ir.Table:
    """Who does the micro while at risk: ``at``, and ``pattern``, cell and state as just before."""
    users, early = with_early(people, marked, strata.layout)
    action = users[f"m_{strata.focal}"]
    some = users.filter((action > users.enter) & (action < NEVER) & ~early[strata.focal])
    action = some[f"m_{strata.focal}"]
    return some.select("user_id", "bucket", "stop", "cause", at=action, pattern=strata.pattern(some, action))


def _in_bins(
    people: People, doers: ir.Table, landmarks: int, strata: _Strata, cuts: Sequence[int]
) -> tuple[ir.Table, list[int]]:
    """The doers with the number of their trial and of their stratum, and the mean time of action of each trial."""
    inner = sorted({*event_times(people, doers, landmarks), *cuts})
    placed = doers.mutate(bin=interval(doers["at"], inner))
    if cuts:  # nobody may have acted between a cut and the next time
        full = sorted(people.engine.fetch(placed.select("bin").distinct())["bin"])
        number = ibis.memtable(pd.DataFrame({"_bin": full, "landmark": range(len(full))}).astype("int64"))
        placed = placed.join(number, placed.bin == number["_bin"]).drop("bin", "_bin")
    else:
        placed = placed.rename(landmark="bin")
    sums = people.engine.fetch(summed(placed.mutate(what=ibis.literal(0)), ["landmark"])).sort_values("landmark")
    mean = half_microseconds(sums) // sums["n"].astype("int64").astype(object)
    return placed.mutate(stratum=strata.of(placed.landmark, placed.pattern)), [int(start) for start in mean]


def _each_stratum(rows: ir.Table, used: pd.DataFrame) -> ir.Table:
    """The rows of the strata in use, with the number of the stratum among them for the landmark."""
    number = pd.DataFrame({"_stratum": used["stratum"].to_numpy(np.int64), "_number": np.arange(len(used))})
    known = ibis.memtable(number)
    joined = rows.drop("landmark").join(known, rows.stratum == known["_stratum"])
    return joined.rename(landmark="_number").drop("_stratum")


def _step(starts: Sequence[int]) -> int:
    """How many places there are for each landmark."""
    return _PLACES // len(starts)


def _candidates(marked: ir.Table, strata: _Strata, starts: Sequence[int], turns: int) -> ir.Table:
    """Who is at risk and no doer at each landmark (``start``), with the stratum as just before it.

    Of the landmarks each user is asked about ``turns``, by the user's place. ``rank`` is uniform on the whole numbers
    below ``turns * _step(starts)``; by it fewer are taken.
    """
    step = _step(starts)
    place = marked.place % (step * len(starts))
    asked = ibis.memtable(pd.DataFrame({"turn": np.arange(turns)}))
    both = marked.mutate(stretch=(place // step).cast("int64"), rest=place % step).cross_join(asked)
    landmark = (both.turn + both.stretch) % len(starts)
    both = both.mutate(landmark=landmark.cast("int64"), rank=both.turn * step + both["rest"])
    known = ibis.memtable(pd.DataFrame({"of": np.arange(len(starts)), "start": np.array(starts, dtype=np.int64)}))
    both = both.join(known, both.landmark == known.of).drop("stretch", "rest", "turn", "place", "of")
    waiting = both[f"m_{strata.focal}"] > both.start
    some = both.filter((both.enter < both.start) & (both.stop > both.start) & waiting)
    return some.mutate(stratum=strata.of(some.landmark, strata.pattern(some, some.start)))


def _support(people: People, doers: ir.Table, candidates: ir.Table, max_controls: int, asked: float) -> pd.DataFrame:
    """Doers and controls by stratum, strata with doers only. ``share``: of the candidates, to be taken."""
    found = people.engine.fetch(doers.group_by("stratum").agg(doers=doers.count()))
    controls = people.engine.fetch(candidates.group_by("stratum").agg(candidates=candidates.count()))
    support = found.merge(controls, on="stratum", how="left").sort_values("stratum", ignore_index=True)
    candidate = support.pop("candidates").fillna(0).to_numpy(dtype=float)
    wanted = _wanted(support["doers"].to_numpy(dtype=float), candidate, max_controls)
    return support.assign(
        controls=np.round(candidate / asked).astype(np.int64), share=wanted / np.maximum(candidate, 1.0)
    )


def _wanted(doers: np.ndarray, controls: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` controls in all: as many per doer in each stratum that has them, and a few at least."""
    few = np.minimum(controls, _FEWEST)
    if controls.sum() <= most:
        return controls
    low, high = 0.0, float((controls / doers).max())
    for _ in range(60):
        middle = (low + high) / 2
        taken = np.clip(middle * doers, few, controls).sum()
        low, high = (middle, high) if taken <= most else (low, middle)
    return np.asarray(np.clip(low * doers, few, controls))


def _sampled(
    people: People, candidates: ir.Table, support: pd.DataFrame, horizon: int, focal: int, ranks: int
) -> tuple[ir.Table, pd.DataFrame]:
    """The control trials that are taken, with their ``end`` and ``what`` ended them, and how many each stratum has."""
    below = np.ceil(support["share"] * ranks).astype(np.int64)
    joined = candidates.join(ibis.memtable(pd.DataFrame({"stratum": support["stratum"], "below": below})), "stratum")
    some = joined.filter(joined["rank"] < joined.below)
    end = ibis.least(some.stop, some[f"m_{focal}"], some.start + horizon)
    what = (some.stop == end).ifelse(some.cause, 0)
    trials = some.mutate(end=end, what=what).drop("rank", "below", "enter", "stop", "cause", f"m_{focal}")
    trials = people.engine.materialise(trials)
    compared = people.engine.fetch(trials.group_by("stratum").agg(compared=trials.count()))
    support = support.drop(columns="share").merge(compared, on="stratum", how="left")
    return trials, support.assign(compared=support["compared"].fillna(0).astype(np.int64))


def _no_support() -> pd.DataFrame:
    columns = ["stratum", "doers", "controls", "compared"]
    return pd.DataFrame(np.zeros((0, len(columns)), dtype=np.int64), columns=columns)


def _told(support: pd.DataFrame, strata: _Strata, landmarks_days: np.ndarray) -> pd.DataFrame:
    """The support with landmark, cell and state for the stratum's number."""
    keys = strata.read(support["stratum"])
    keys.insert(1, "landmark_days", landmarks_days[keys["landmark"]])
    return pd.concat([keys, support.drop(columns="stratum").reset_index(drop=True)], axis=1)


def _nobody(people: People, starts: Sequence[int], horizon: int) -> tuple[Arm, Arm]:
    """The arms where there are no doers, or nobody to compare them with."""
    shape, last = (BUCKETS, len(starts), 1), max(starts, default=0) + horizon
    zero, events = np.zeros(shape), np.zeros((*shape, len(people.causes)))
    done, never = (np.array([0.0, until]) / HALVES_PER_DAY for until in (horizon, last))
    return Arm(done, zero, events, zero, 0.0), Arm(never, zero, events, zero, 0.0)
