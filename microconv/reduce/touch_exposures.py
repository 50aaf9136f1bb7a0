"""Touches as exposures, in the engine: who is at risk from their first touch on, and what acts on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY
from microconv.errors import ParameterError
from microconv.reduce.money import CENTS
from microconv.reduce.occurrences import occurrences
from microconv.reduce.touches import Touches, touches_of
from microconv.touch_sums import TouchSums

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.plan import Item
    from microconv.reduce.path_rules import PathRule

__all__ = ["at_risk", "touch_exposures"]

_PER_INTERVAL = 20  # conversions that an interval of the baseline needs at least
_HEX = 6  # digits of the hash by which conversions are sampled


def touch_exposures(
    log: EventLog,
    rule: PathRule,
    half_lives: Sequence[int],
    *,
    competing: Sequence[Item] | None = None,
    intervals: int = 10,
    most: int = 200_000,
    noise: float = 0.0,
) -> TouchSums:
    """What acted on whom and for how long: the sums of an additive hazard with touches that decay.

    A user is at risk from their first touch up to and including the first of: the target, an end of ``competing``
    (None: the plan's), an event of the plan's ``censor``, the end of observation. Of ``rule`` the target, the touches,
    the channel, the order of ties and the money count; no lookback, as touches fade by ``half_lives`` (microseconds),
    and no transforms. With ``rule.worth_within`` everybody is observed up to that long before the end of observation,
    as younger conversions are left out.

    The time since the first touch is cut into up to ``intervals`` at quantiles of the conversions' ages. All integrals
    are in closed form, no time is rounded. Of more than ``most`` conversions a sample is drawn by hash of the user,
    with weights; exposures are always those of all. ``noise``: see ``touches_of``. Raises ``ParameterError``.
    """
    if not half_lives or min(half_lives) <= 0:
        raise ParameterError("half_lives must be one or more durations above 0, in microseconds.")
    touches = touches_of(log, rule, noise)
    engine = touches.engine
    users = engine.materialise(at_risk(log, touches, rule, competing))
    won = _ended(engine, users, most)
    ended, totals = _fetched(engine, won), _totals(touches, users)
    ages = (ended["stop"] - ended["start"]).to_numpy(dtype=np.int64)
    cuts = _cuts(ages, intervals)
    acting = _acting(touches, won, half_lives)
    acting["row"] = pd.Series(np.arange(len(ended)), index=ended["user_id"])[acting["user_id"]].to_numpy()
    count = int(engine.fetch(users.agg(n=users.won.cast("int64").sum()))["n"].fillna(0)[0])
    rows = pd.DataFrame(
        {
            "bucket": ended["bucket"],
            "entry": ended["entry"],
            "interval": np.searchsorted(cuts, ages, side="left").astype(np.int64),
            "weight": count / max(len(ended), 1),
            "conversions": _weighted(ended["conversions"], totals["told"].sum()),
            "value": _weighted(ended["cents"] / CENTS, totals["told_value"].sum()),
        }
    )
    return TouchSums(
        channels=touches.channels,
        half_lives_days=tuple(half / MICROS_PER_DAY for half in half_lives),
        cuts_days=tuple(cut / MICROS_PER_DAY for cut in cuts),
        totals=totals,
        at_risk=_person_time(engine, users, cuts),
        exposures=_exposures(touches, users, half_lives),
        conversions=rows,
        acting=acting[["row", "channel", *[f"acting_{i}" for i in range(len(half_lives))]]].astype(
            {"row": "int64", "channel": "int64"}
        ),
        sampled=len(ended) / count if count else 1.0,
        at_once=int(acting.groupby("row")["now"].max().sum()),
    )


def _weighted(amount: pd.Series[int], total: float) -> pd.Series[float]:
    """What the rows stand for: in proportion to their own amounts, in all the total (of which they may be a sample)."""
    whole = float(amount.sum())
    return amount * (float(total) / whole) if whole else amount.astype("float64")


def at_risk(log: EventLog, touches: Touches, rule: PathRule, competing: Sequence[Item] | None) -> ir.Table:
    """``user_id, bucket, entry, start, stop, won, conversions, cents``: a row per user who is ever at risk, as
    ``touch_exposures`` says; ``entry`` is the number of the first touch's channel.
    """
    engine, rows = touches.engine, touches.touches
    first = engine.materialise(rows.group_by("user_id").agg(start=rows["at"].min())).rename(_who="user_id")
    begun = rows.join(first, [rows.user_id == first["_who"], rows["at"] == first.start])
    number = begun.channel.max() if rule.reverse else begun.channel.min()
    users = engine.materialise(begun.group_by(["user_id", "start"]).agg(entry=number))
    goals = touches.conversions
    earliest = engine.materialise(goals.group_by("user_id").agg(_goal=goals["at"].min())).rename(_whose="user_id")
    users = engine.materialise(users.left_join(earliest, users.user_id == earliest["_whose"]).drop("_whose"))
    until: ir.IntegerValue = ibis.literal(touches.until, "int64")
    if touches.ends is not None:
        ends = touches.ends
        users = engine.materialise(users.left_join(ends, users.user_id == ends["_who"]).drop("_who"))
        until = ibis.least(users["_end"].fill_null(until), until)
    for item in _others(log, rule, competing):
        found = engine.materialise(occurrences(log, [item])).select(_who="user_id", _other="at_0")
        users = engine.materialise(users.mutate(_until=until))
        users = engine.materialise(users.left_join(found, users.user_id == found["_who"]).drop("_who"))
        # Of a conversion and another end at one instant the conversion counts.
        users = users.mutate(_end=ibis.least(users["_other"].fill_null(users["_until"]), users["_until"]))
        users = engine.materialise(users.drop("_other", "_until"))
        until = users["_end"]
    users = users.mutate(stop=ibis.least(users["_goal"].fill_null(until), until), won=(users["_goal"] <= until))
    users = engine.materialise(users.mutate(won=users.won.fill_null(False)).filter(users.start <= users.stop))
    goals = goals.rename(_who="user_id", _at="at")
    joined = users.left_join(goals, [users.user_id == goals["_who"], users.stop == goals["_at"]])
    return joined.select(
        "user_id",
        "entry",
        "start",
        "stop",
        "won",
        bucket=engine.digest(joined.user_id).left(2),
        conversions=joined.won.ifelse(joined.conversions, 0).fill_null(0),
        cents=joined.won.ifelse(joined.cents, 0).fill_null(0),
    )


def _others(log: EventLog, rule: PathRule, competing: Sequence[Item] | None) -> Sequence[Item]:
    """The other ends of the time at risk."""
    if competing is None:
        competing = log.plan.competing if log.plan is not None else ()
    return [item for item in competing if item.name != rule.target.name]


def _ended(engine: Engine, users: ir.Table, most: int) -> ir.Table:
    """Users whose time at risk ends in a conversion; of more than ``most`` those with the lowest hash."""
    won = users.filter(users.won)
    count = int(engine.fetch(won.agg(n=won.count()))["n"][0])
    if count > most:
        # Digits that do not say the bucket.
        drawn = engine.digest(won.user_id).substr(2, _HEX)
        won = won.filter(drawn < format(math.ceil(most / count * 16**_HEX), f"0{_HEX}x"))
    return engine.materialise(won)


def _fetched(engine: Engine, won: ir.Table) -> pd.DataFrame:
    """Conversions, in an order that is the same on every engine."""
    columns = ["bucket", "entry", "start", "stop", "conversions", "cents"]
    frame = engine.fetch(won.select("user_id", *columns))
    frame = frame.assign(bucket=_numbers(frame["bucket"])).astype(dict.fromkeys(columns, "int64"))
    return frame.sort_values(["bucket", "user_id"], ignore_index=True)


def _numbers(bucket: pd.Series[str]) -> pd.Series[int]:
    return bucket.map(lambda text: int(str(text), 16)).astype("int64")


def _cuts(ages: np.ndarray, intervals: int) -> list[int]:
    """Ages that end the intervals, at quantiles of the conversions' ages."""
    ages = np.sort(ages[ages > 0])
    parts = max(min(intervals, len(ages) // _PER_INTERVAL), 1)
    places = [math.ceil(i * len(ages) / parts) - 1 for i in range(1, parts)]
    return sorted({int(ages[place]) for place in places})


def _faded(age: ir.IntegerValue, half_life: int) -> ir.FloatingValue:
    """What a touch of this age acts with."""
    return (age.cast("float64") * (-math.log(2) / half_life)).exp()


def _acting(touches: Touches, won: ir.Table, half_lives: Sequence[int]) -> pd.DataFrame:
    """``user_id, channel, now`` (a touch at the very instant) and ``acting_<i>`` at the conversions."""
    engine, rows = touches.engine, touches.touches
    ends = won.select(_who="user_id", stop="stop")
    near = rows.join(ends, [rows.user_id == ends["_who"], rows["at"] <= ends.stop])
    age = near.stop - near["at"]
    acts = {f"acting_{i}": _faded(age, half_life) for i, half_life in enumerate(half_lives)}
    near = near.select("user_id", "channel", now=(age == 0).cast("int64"), **acts)
    sums = {name: near[name].sum() for name in acts}
    frame = engine.fetch(near.group_by(["user_id", "channel"]).agg(now=near.now.max(), **sums))
    return frame.sort_values(["user_id", "channel"], ignore_index=True)


def _exposures(touches: Touches, users: ir.Table, half_lives: Sequence[int]) -> pd.DataFrame:
    """``TouchSums.exposures``: the integral of ``2 ** (-age / half_life)`` from each touch to the end."""
    engine, rows = touches.engine, touches.touches
    ends = users.select(_who="user_id", start="start", stop="stop", entry="entry", bucket="bucket")
    near = rows.join(ends, [rows.user_id == ends["_who"], rows["at"] <= ends.stop])
    # Of several touches of the entry channel at the first instant one is the first touch: it is left out below.
    later = (near["at"] > near.start) | (near.channel != near.entry)
    acts = {}
    for i, half_life in enumerate(half_lives):
        whole = half_life / math.log(2) / MICROS_PER_DAY
        acts[f"exposure_{i}"] = (1.0 - _faded(near.stop - near["at"], half_life)) * whole
    near = near.select("bucket", "channel", later=later.cast("int64"), **acts)
    sums = {name: near[name].sum() for name in acts}
    frame = engine.fetch(near.group_by(["bucket", "channel"]).agg(touches=near.count(), later=near.later.sum(), **sums))
    return _sorted(frame, "channel", ["touches", "later"])


def _person_time(engine: Engine, users: ir.Table, cuts: Sequence[int]) -> pd.DataFrame:
    """``TouchSums.at_risk``."""
    age = users.stop - users.start
    up_to = [ibis.literal(0, "int64"), *[ibis.least(age, cut) for cut in cuts], age]
    days = {f"days_{k}": ((b - a).cast("float64") / MICROS_PER_DAY) for k, (a, b) in enumerate(pairwise(up_to))}
    rows = users.select("bucket", "entry", **days)
    sums = {name: rows[name].sum() for name in days}
    frame = engine.fetch(rows.group_by(["bucket", "entry"]).agg(users=rows.count(), **sums))
    return _sorted(frame, "entry", ["users"])


def _totals(touches: Touches, users: ir.Table) -> pd.DataFrame:
    """``TouchSums.totals``."""
    engine, goals = touches.engine, touches.conversions
    parts = []
    for table, names in ((goals, ("conversions", "value")), (users.filter(users.won), ("told", "told_value"))):
        rows = table.select("conversions", "cents", bucket=engine.digest(table.user_id).left(2))
        sums = dict(zip(names, (rows.conversions.sum(), rows.cents.sum()), strict=True))
        parts.append(engine.fetch(rows.group_by("bucket").agg(**sums)).set_index("bucket"))
    frame = parts[0].join(parts[1], how="outer").fillna(0).reset_index()
    frame = frame.assign(bucket=_numbers(frame["bucket"])).astype("int64").sort_values("bucket", ignore_index=True)
    return frame.assign(value=frame["value"] / CENTS, told_value=frame["told_value"] / CENTS)


def _sorted(frame: pd.DataFrame, key: str, whole: Sequence[str]) -> pd.DataFrame:
    """By bucket and ``key``, whole numbers as such."""
    frame = frame.assign(bucket=_numbers(frame["bucket"])).astype(dict.fromkeys([key, *whole], "int64"))
    return frame.sort_values(["bucket", key], ignore_index=True)
