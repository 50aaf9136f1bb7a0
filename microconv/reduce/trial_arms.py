"""The two arms of sequential trials: counts of the doers, and weighted sums of the controls, who do it in the end.

A control is censored when it does the micro itself. Others like it stand in: a control at risk at t weighs
``W(t) = exp(A(t) - A(landmark))``, A being its cumulative intensity of doing the micro (inverse probability of
censoring, Robins and Finkelstein 2000). While cell and state stay the same A grows by ``factor * rate`` in each
interval of constant rates, so that the weighted person-time has a closed form and is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.errors import ParameterError
from microconv.reduce.state_counts import event_times, interval
from microconv.reduce.states import HALVES_PER_DAY, Layout, half_microseconds, summed
from microconv.trial_sums import BUCKETS, Arm

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People

__all__ = ["Weighting", "control_arm", "doer_arm"]

_PARTS = 8  # no interval is longer than this part of the horizon,
_MOST_PARTS = 48  # nor are so many needed where the horizon is short
_LARGEST = 600.0  # of a logarithm of a weight: beyond it numbers end
_SMALL = 0.02  # below it the series of expm1(x) / x is exact to the last digit


@dataclass(frozen=True, eq=False)
class Weighting:
    """The intensity of doing the micro: ``rates`` per day between ``cuts`` (half microseconds; from 0, and on after the
    last), times ``factors`` by (cell, state), states numbered as the layout does, without the micro itself done.
    """

    cuts: Sequence[int]
    rates: np.ndarray
    factors: np.ndarray

    def check(self, cells: int, states: int) -> None:
        """Raises ``ParameterError`` where shapes or values are none of an intensity."""
        rates, factors = np.asarray(self.rates, dtype=float), np.asarray(self.factors, dtype=float)
        if rates.shape != (len(self.cuts) + 1,) or factors.shape != (cells, states):
            raise ParameterError(
                f"Weighting: rates of shape {rates.shape} and factors of shape {factors.shape} do not fit "
                f"{len(self.cuts)} cuts, {cells} cells and {states} states: they must be ({len(self.cuts) + 1},) and "
                f"({cells}, {states})."
            )
        if not (np.isfinite(rates).all() and np.isfinite(factors).all() and min(rates.min(), factors.min()) >= 0):
            raise ParameterError("Weighting: rates and factors must be finite, 0 or more.")


def doer_arm(
    people: People, doers: ir.Table, paid: ir.Table | None, landmarks: int, horizon: int, intervals: int
) -> tuple[np.ndarray, Arm]:
    """How many doers there are by (bucket, landmark), and what becomes of them from their action on.

    ``doers``: ``user_id, landmark, bucket, at, stop, cause``.
    """
    engine = people.engine
    spent = doers.stop - doers["at"]
    known = doers.mutate(spent=spent, what=(spent <= horizon).ifelse(doers.cause, 0).cast("int16"))
    known = _with_money(known, paid)
    until = ibis.least(known.spent, ibis.literal(horizon, "int64"))
    rows = engine.materialise(known.select("landmark", "bucket", "what", "cents", at=until))
    edges = _split([0, *event_times(people, rows.filter(rows.what == 1), intervals), horizon], horizon)
    placed = rows.mutate(bin=interval(rows["at"], edges[1:-1]))
    frame = engine.fetch(summed(placed, ["landmark", "bucket", "bin"]))
    shape, place = (BUCKETS, landmarks, len(edges) - 1), _place(frame)
    number, time, money = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    events = np.zeros((*shape, len(people.causes)))
    counts, what = frame["n"].to_numpy(dtype=float), frame["what"].to_numpy()
    np.add.at(number, place, counts)
    np.add.at(time, place, half_microseconds(frame).astype(float).to_numpy() / HALVES_PER_DAY)
    for cause in range(len(people.causes)):
        mine = what == cause + 1
        np.add.at(events[..., cause], tuple(axis[mine] for axis in place), counts[mine])
    if paid is not None:
        paying = placed.filter(placed.what == 1).group_by(["landmark", "bucket", "bin"])
        cents = engine.fetch(paying.agg(money=placed.cents.sum()))
        money[_place(cents)] = cents["money"]
    # Those whose time ends in a later interval are at risk for the whole of this one.
    later = number.sum(axis=2, keepdims=True) - np.cumsum(number, axis=2)
    days = np.array(edges, dtype=float) / HALVES_PER_DAY
    time += later * np.diff(days) - number * days[:-1]
    open_ = engine.fetch(rows.filter((rows["at"] == horizon) & (rows.what == 0)).agg(n=ibis._.count()))
    return number.sum(axis=2), Arm(days, time, events, _steady(money), float(open_["n"][0]))


def control_arm(
    people: People,
    trials: ir.Table,
    weights: pd.DataFrame,
    paid: ir.Table | None,
    layout: Layout,
    focal: int,
    starts: Sequence[int],
    horizon: int,
    weighting: Weighting,
) -> Arm:
    """The controls from their landmarks on, weighted.

    ``trials``: ``user_id, bucket, landmark, stratum, start, cell, end``, ``what`` (the cause that ended it, 0 for none)
    and the moments of ``layout`` but the focal one. ``weights``: ``weight`` by ``stratum``.
    """
    edges, table = _intervals(weighting, starts, horizon)
    spells = _placed(people, _spells(trials, layout, focal), weights, paid, edges, table, weighting)
    spells = people.engine.materialise(spells)
    bins = ibis.memtable(table)
    pieces = spells.inner_join(bins, [spells.first <= bins.k, spells.last >= bins.k])
    begin, end = ibis.greatest(pieces.u, pieces.edge), ibis.least(pieces.v, pieces.until)
    length = _days(end - begin)
    grown = pieces.factor * (pieces.so_far + pieces.rate * _days(begin - pieces.edge) - pieces.passed)
    step = pieces.factor * pieces.rate * length
    at_begin = _exp(pieces.log_weight + grown)
    happened = {i: (pieces.k == pieces["last"]) & (pieces.what == i) for i in range(1, len(people.causes) + 1)}
    causes = {f"d_{i}": here.ifelse(pieces.weight_end, 0.0).sum() for i, here in happened.items()}
    counted = pieces.group_by(["landmark", "bucket", "k"]).agg(
        time=(pieces.weight * at_begin * length * _mean_growth(step)).sum(),
        **causes,
        money=happened[1].ifelse(pieces.weight_end * pieces.cents, 0.0).sum(),
    )
    frame = people.engine.fetch(counted).rename(columns={"k": "bin"})
    shape = (BUCKETS, len(starts), len(edges) - 1)
    place = _place(frame)
    time, money, events = np.zeros(shape), np.zeros(shape), np.zeros((*shape, len(people.causes)))
    time[place], money[place] = frame["time"], frame["money"]
    events[place] = frame[[f"d_{cause}" for cause in range(1, len(people.causes) + 1)]]
    days = np.array(edges, dtype=float) / HALVES_PER_DAY
    return Arm(days, _steady(time), _steady(events), _steady(money), _effective(people, spells, horizon))


def _intervals(weighting: Weighting, starts: Sequence[int], horizon: int) -> tuple[list[int], pd.DataFrame]:
    """Where rates change or intervals would be long, and by interval: rate, and what it adds up to before."""
    first, last = min(starts), max(starts) + horizon
    edges = _split([first, *[cut for cut in weighting.cuts if first < cut < last], last], horizon)
    rates = np.asarray(weighting.rates, dtype=float)[np.searchsorted(weighting.cuts, edges[:-1], side="right")]
    width = np.diff(np.array(edges)) / HALVES_PER_DAY
    so_far = np.concatenate([[0.0], np.cumsum(rates * width)[:-1]])
    return edges, pd.DataFrame(
        {"k": range(len(rates)), "edge": edges[:-1], "until": edges[1:], "rate": rates, "so_far": so_far}
    )


def _spells(trials: ir.Table, layout: Layout, focal: int) -> ir.Table:
    """The trials cut where the state changes: ``u, v, pattern`` (state and cell), and ``what`` ended the spell."""
    others = [i for i in range(len(layout.moments)) if i != focal]
    at = {i: trials[f"m_{i}"] for i in others}
    keep = ("user_id", "bucket", "landmark", "stratum", "start")

    def rows(some: ir.Table, begin: ir.IntegerValue) -> ir.Table:
        done = [ibis.literal(False) if i == focal else at[i] <= begin for i in range(len(layout.moments))]
        changes = [(at[i] > begin).ifelse(at[i], trials.end) for i in others]
        until = ibis.least(trials.end, *changes) if changes else trials.end  # of one number Spark takes no least
        what = (until == trials.end).ifelse(trials.what, 0).cast("int16")
        return some.select(
            *keep, pattern=(some.cell * layout.size + layout.code(done)).cast("int64"), u=begin, v=until, what=what
        )

    parts = [rows(trials, trials.start)]
    for number, i in enumerate(others):
        inside = (at[i] > trials.start) & (at[i] < trials.end)
        for other in others[:number]:  # of moments at one time the first tells of the change
            inside = inside & (at[other] != at[i])
        parts.append(rows(trials.filter(inside), at[i]))
    return ibis.union(*parts)


def _placed(
    people: People,
    spells: ir.Table,
    weights: pd.DataFrame,
    paid: ir.Table | None,
    edges: Sequence[int],
    table: pd.DataFrame,
    weighting: Weighting,
) -> ir.Table:
    """The spells with the stratum's ``weight``, the ``factor`` of the intensity, the intervals they begin and end in,
    what the rates add up to before (``passed``), the logarithm of the control's own weight when they begin
    (``log_weight``), and the whole weight when they end (``weight_end``).
    """
    many = np.shape(weighting.factors)[1]
    patterns = people.cells.index.to_numpy(np.int64)[:, None] * many + np.arange(many)
    factors = pd.DataFrame({"pattern": patterns.ravel(), "factor": np.asarray(weighting.factors, dtype=float).ravel()})
    inner = list(edges[1:-1])
    rows = spells.mutate(first=interval(spells.u + 1, inner), last=interval(spells.v, inner))
    # Each by a key of its own, so that no engine joins the small tables with each other first.
    rows = rows.join(ibis.memtable(weights), "stratum").join(ibis.memtable(factors), "pattern")
    rows = rows.drop("stratum", "pattern")
    for end, moment, name in (("first", "u", "passed"), ("last", "v", "passed_end")):
        bins = ibis.memtable(table.add_suffix("_").drop(columns="until_"))
        joined = rows.join(bins, rows[end] == bins.k_)
        passed = joined.so_far_ + joined.rate_ * _days(joined[moment] - joined.edge_)
        rows = joined.mutate(**{name: passed}).drop("k_", "edge_", "rate_", "so_far_")
    rows = rows.mutate(grown=rows.factor * (rows.passed_end - rows.passed)).drop("passed_end")
    so_far = ibis.window(group_by=["user_id", "landmark"], order_by="u", rows=(None, 0))
    rows = rows.mutate(log_weight_end=rows.grown.sum().over(so_far))
    rows = rows.mutate(log_weight=rows.log_weight_end - rows.grown, weight_end=rows.weight * _exp(rows.log_weight_end))
    return _with_money(rows.drop("grown", "log_weight_end"), paid)


def _with_money(users: ir.Table, paid: ir.Table | None) -> ir.Table:
    """``users`` with ``cents`` of those who convert; 0 where nobody asks."""
    if paid is None:
        return users.mutate(cents=ibis.literal(0.0))
    money = paid.select(_user=paid.user_id, _cents=paid.cents.cast("float64"))
    joined = users.left_join(money, users.user_id == money["_user"]).drop("_user")
    return joined.mutate(cents=joined["_cents"].fill_null(0.0)).drop("_cents")


def _effective(people: People, spells: ir.Table, horizon: int) -> float:
    """Kish's effective number of users at risk at the horizon; a user in several trials is one."""
    open_ = spells.filter((spells.v == spells.start + horizon) & (spells.what == 0))
    weighed = open_.group_by("user_id").agg(weight=open_.weight_end.sum())
    row = people.engine.fetch(
        weighed.agg(total=weighed.weight.sum(), squares=(weighed.weight * weighed.weight).sum())
    ).iloc[0]
    if pd.isna(row["squares"]) or row["squares"] <= 0:
        return 0.0
    return float(f"{row['total'] ** 2 / row['squares']:.12g}")


def _split(edges: Sequence[int], horizon: int) -> list[int]:
    """Edges with more between them where they lie far apart."""
    longest = max(horizon // _PARTS, (edges[-1] - edges[0]) // _MOST_PARTS, 1)
    found = [edges[0]]
    for before, after in itertools.pairwise(edges):
        parts = -(-(after - before) // longest)
        found += [before + (after - before) * part // parts for part in range(1, parts + 1)]
    return found


def _days(halves: ir.IntegerValue) -> ir.FloatingValue:
    return halves.cast("float64") / HALVES_PER_DAY


def _exp(log: ir.FloatingValue) -> ir.FloatingValue:
    return ibis.least(log, ibis.literal(_LARGEST)).exp()


def _mean_growth(step: ir.FloatingValue) -> ir.FloatingValue:
    """``(exp(x) - 1) / x``, the mean over an interval of a weight that is 1 at its start and exp(x) at its end."""
    series = ibis.literal(1 / 5040)
    for divisor in (720, 120, 24, 6, 2, 1):
        series = series * step + 1 / divisor
    large = ibis.greatest(step, ibis.literal(_SMALL))
    return (step < _SMALL).ifelse(series, (_exp(large) - 1.0) / large)


def _place(frame: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Where rows of sums belong: (bucket, landmark, interval)."""
    bucket = np.array([int(digits, 16) for digits in frame["bucket"]], dtype=np.int64)
    return bucket, frame["landmark"].to_numpy(np.int64), frame["bin"].to_numpy(np.int64)


def _steady(values: np.ndarray) -> np.ndarray:
    """Twelve digits: threads add up in any order, and beyond them sums would differ from run to run."""
    size = np.where(values == 0, 1.0, np.abs(values))
    scale = 10.0 ** (11 - np.floor(np.log10(size)))
    return np.asarray(np.round(values * scale) / scale, dtype=float)
