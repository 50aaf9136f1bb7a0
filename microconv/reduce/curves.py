"""Curves summed in the engine: for more event times than anybody fetches, exact at each point that is handed over.

The engine sums ln(1 - d/n), Greenwood's d / (n (n - d)) and what several causes and areas need over every event time,
and gives a few thousand of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.durations import MICROS_PER_DAY
from microconv.reduce.risk import ENTERED, JourneyRule, moves

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["Sums", "areas", "crossings", "log_rank_sums", "points", "running", "sizes", "watched"]

_SOON = 86  # microseconds: 1e-9 days, within which the exact table takes two times for one horizon
_TOLERANCE = 1.5e-8  # two shares this near are one, as in stats.quantiles


@dataclass(frozen=True)
class Sums:
    """Running sums in the engine, a row per segment and time.

    ``table`` has ``by_0`` ..., ``waited``, ``n`` at risk, ``entered``, ``censored``, ``d_1`` ... by cause, ``any``, and
    after each time: ``survival``, ``greenwood``, ``ended`` (nobody was left after an event); of each cause ``p_1`` ...
    (cumulative incidence) and ``v_1`` ... (its variance).
    """

    log: EventLog
    table: ir.Table
    keys: list[str]
    causes: int

    def share(self, cause: int | None) -> tuple[ir.FloatingValue, ir.FloatingValue]:
        """The share that has had the event after each time, and its standard error; None: any event."""
        t = self.table
        if cause is None:
            return 1 - t.survival, t.survival * t.greenwood.sqrt()
        return t[f"p_{cause}"], ibis.greatest(t[f"v_{cause}"], 0.0).sqrt()


def running(log: EventLog, users: ir.Table, rule: JourneyRule, by: int) -> Sums:
    """The running sums of ``journeys``, at risk and censored as in ``risk_table``."""
    told, keys = moves(log, users, rule, by)
    if not rule.late:  # everybody enters at 0
        start = told.select(*keys, waited=ibis.literal(0, "int64"), cause=ibis.literal(ENTERED, "int16"), users="users")
        told = told.union(start.select(*told.columns))
    causes = len(rule.causes)
    counted = {"entered": ENTERED, "censored": 0, **{f"d_{c}": c for c in range(1, causes + 1)}}
    wide = told.group_by([*keys, "waited"]).agg(
        **{
            name: told.users.sum(where=told.cause == code).fill_null(0).cast("float64")
            for name, code in counted.items()
        }
    )
    sofar, before = _windows(keys)
    any_ = sum((wide[f"d_{c}"] for c in range(2, causes + 1)), wide.d_1)
    wide = wide.mutate(any=any_)
    inside = (wide.entered - wide.censored - wide["any"]).sum().over(before).fill_null(0.0)
    # Who enters at 0 is at risk at 0 as well.
    wide = wide.mutate(n=inside + (wide.waited == 0).ifelse(wide.entered, 0.0))
    stay = wide.n - wide["any"]
    left = (wide["any"] > 0) & (stay > 0)
    wide = wide.mutate(
        _log=left.ifelse(ibis.ifelse(left, stay / wide.n, 1.0).ln(), 0.0),
        _greenwood=left.ifelse(wide["any"] / ibis.ifelse(left, wide.n * stay, 1.0), 0.0),
        _gone=((wide["any"] > 0) & (stay <= 0)).cast("int64"),
    )
    wide = wide.mutate(
        ended=wide["_gone"].max().over(sofar),
        greenwood=wide["_greenwood"].sum().over(sofar),
        _logs=wide["_log"].sum().over(sofar),
    )
    wide = log.engine.materialise(wide.mutate(survival=(wide.ended > 0).ifelse(0.0, wide["_logs"].exp())))
    wide = _last(wide, keys)
    if causes > 1:
        wide = _incidence(log, wide, keys, causes)
    return Sums(log, log.engine.materialise(wide), keys, causes)


def _windows(keys: Sequence[str]) -> tuple[object, object]:
    return (
        ibis.window(group_by=keys, order_by="waited", rows=(None, 0)),
        ibis.window(group_by=keys, order_by="waited", rows=(None, -1)),
    )


def _last(table: ir.Table, keys: Sequence[str]) -> ir.Table:
    """With what stood just before each time: ``_s`` survival, ``_g`` Greenwood's sum."""
    in_order = ibis.window(group_by=keys, order_by="waited")
    return table.mutate(
        _s=table.survival.lag().over(in_order).fill_null(1.0), _g=table.greenwood.lag().over(in_order).fill_null(0.0)
    )


def _incidence(log: EventLog, table: ir.Table, keys: Sequence[str], causes: int) -> ir.Table:
    """``p_<cause>`` and ``v_<cause>``, by the forward sums of ``stats.aalen_johansen``."""
    sofar, before = _windows(keys)
    n = ibis.ifelse(table.n > 0, table.n, 1.0)
    table = table.mutate(
        **{f"_a_{c}": ibis.least(table[f"d_{c}"] / n, 1.0) for c in range(1, causes + 1)}, _per=1.0 / n
    )
    table = table.mutate(**{f"_m_{c}": table[f"_a_{c}"] * table["_s"] for c in range(1, causes + 1)})
    table = table.mutate(
        **{
            f"_k_{c}": (table[f"_m_{c}"] * (table["_g"] - table["_per"])).sum().over(before).fill_null(0.0)
            for c in range(1, causes + 1)
        }
    )
    table = log.engine.materialise(table)
    steps: dict[str, ir.FloatingValue] = {}
    for c in range(1, causes + 1):
        a, m = table[f"_a_{c}"], table[f"_m_{c}"]
        grown = 2 * m * table[f"_k_{c}"] + m * m * table["_g"] + table["_s"] * table["_s"] * a * (1 - a) * table["_per"]
        steps |= {f"p_{c}": m.sum().over(sofar), f"v_{c}": grown.sum().over(sofar)}
    return table.mutate(**steps)


def points(sums: Sums, most: int, read_at: int | None) -> pd.DataFrame:
    """At most about ``most`` rows of the running sums, with ``events`` and ``left`` (all that have left without one).

    Of each segment: every so many event times, its first and last row, the last row by ``read_at``, and the rows where
    the curve or its limits reach a quantile are the caller's to add.
    """
    t, keys = sums.table, sums.keys
    sofar, _ = _windows(keys)
    whole = ibis.window(group_by=keys)
    t = t.mutate(
        _number=(t["any"] > 0).cast("int64").sum().over(sofar),
        _events=t.d_1.sum().over(sofar),
        _left=t.censored.sum().over(sofar),
        _end=t.waited.max().over(whole),
        _begin=t.waited.min().over(whole),
    )
    segments = len(sums.log.engine.fetch(t.select(*keys).distinct())) if keys else 1
    each = max(most // max(segments, 1), 20)
    t = t.mutate(_every=ibis.greatest((t["_number"].max().over(whole) / each).ceil().cast("int64"), 1))
    chosen = (t["any"] > 0) & (t["_number"] % t["_every"] == 0)
    chosen |= (t.waited == t["_end"]) | (t.waited == t["_begin"])
    in_order = ibis.window(group_by=keys, order_by="waited")
    t = t.mutate(_next=t.ended.lead().over(in_order).fill_null(t.ended), _was=t.ended.lag().over(in_order).fill_null(0))
    chosen |= (t["_next"] != t.ended) | (t["_was"] != t.ended)  # where a curve comes to certainty
    if read_at is not None:
        t = t.mutate(_read=t.waited.max(where=t.waited <= read_at).over(whole))
        chosen |= (t.waited == t["_read"]).fill_null(False)
    shares = [f"{kind}_{c}" for c in range(1, sums.causes + 1) for kind in ("p", "v")] if sums.causes > 1 else []
    kept = [*keys, "waited", "n", "survival", "greenwood", *shares, "_events", "_left"]
    found = sums.log.engine.fetch(t.filter(chosen).select(*kept))
    return found.sort_values([*keys, "waited"]).reset_index(drop=True)


def sizes(sums: Sums) -> pd.DataFrame:
    """Per segment: how many ``entered``, left by each way, and the ``last`` time."""
    t = sums.table
    named = {name: t[name].sum() for name in ("entered", "censored", *[f"d_{c}" for c in range(1, sums.causes + 1)])}
    counted = (t.group_by(sums.keys) if sums.keys else t).agg(
        **named, last=t.waited.max(), survival=t.survival.min(), times=(t["any"] > 0).sum()
    )
    found = sums.log.engine.fetch(counted)
    return found.sort_values(sums.keys).reset_index(drop=True) if sums.keys else found


def watched(sums: Sums, rule: JourneyRule, read_at: int) -> list[float]:
    """Per segment, how many users were watched up to an age (microseconds) or left with an event before.

    Under late entry who was watched for a part of the time is that part.
    """
    t, keys = sums.table, sums.keys
    if not rule.late:
        gone = t.censored.sum(where=t.waited < read_at - _SOON).fill_null(0.0)
        known = t.entered.sum() - gone
    else:
        before = t.waited.lag().over(ibis.window(group_by=keys, order_by="waited")).fill_null(0)
        limit = ibis.literal(read_at, "int64")
        t = t.mutate(_span=(ibis.least(t.waited, limit) - ibis.least(before, limit)).cast("float64"))
        known = (t["_span"] * t.n).sum() / (read_at - (rule.from_age or 0))
    found = sums.log.engine.fetch((t.group_by(keys) if keys else t).agg(known=known))
    return (found.sort_values(keys) if keys else found)["known"].tolist()


def crossings(sums: Sums, levels: Sequence[float], z: float) -> pd.DataFrame:
    """Per segment, the days at which the share and its log-log limits reach each level, as ``stats.quantiles`` has it.

    Columns ``<level number>_share``, ``_low``, ``_high``: the first time that the share, its upper and its lower limit
    reach the level. Null where they do not come so far.
    """
    t, keys = sums.table, sums.keys
    share, error = sums.share(None if sums.causes == 1 else 1)
    t = t.mutate(_share=share, _error=error)
    rest = 1 - t["_share"]
    inside = (t["_share"] > 0) & (rest > 1e-12)
    safe = ibis.ifelse(inside, rest, 0.5)
    width = ibis.least(z * t["_error"] / (safe * -safe.ln()), 700.0)
    unknown = ibis.ifelse(t["_share"] <= 0, 0.0, ibis.null("float64"))
    t = t.mutate(
        _upper=ibis.ifelse(inside, 1 - (safe.ln() * width.exp()).exp(), unknown),
        _lower=ibis.ifelse(inside, 1 - (safe.ln() * (-width).exp()).exp(), unknown),
        _final=t.waited == t.waited.max().over(ibis.window(group_by=keys)),
    )
    named = {"end": t.waited.max()}
    for i, level in enumerate(levels):
        for name, column in (("share", "_share"), ("low", "_upper"), ("high", "_lower")):
            value = t[column]
            named[f"{i}_{name}_reached"] = t.waited.min(where=(value >= level - _TOLERANCE).fill_null(False))
            named[f"{i}_{name}_passed"] = t.waited.min(where=(value > level + _TOLERANCE).fill_null(False))
            named[f"{i}_{name}_known"] = (value.notnull() & t["_final"]).any().cast("int64")
    found = sums.log.engine.fetch((t.group_by(keys) if keys else t).agg(**named))
    found = found.sort_values(keys).reset_index(drop=True) if keys else found
    columns = {}
    for i in range(len(levels)):
        for name in ("share", "low", "high"):
            reached, passed = (found[f"{i}_{name}_{what}"].astype(float) for what in ("reached", "passed"))
            flat = found["end"].astype(float).where(found[f"{i}_{name}_known"] == 1)
            columns[f"{i}_{name}"] = (reached + passed.fillna(flat)) / 2 / MICROS_PER_DAY
    return pd.DataFrame(columns)


def areas(sums: Sums, tau: int) -> pd.DataFrame:
    """Per segment, the mean days before the target up to ``tau`` microseconds, and its variance (Greenwood).

    Users who end otherwise never convert, as in ``stats.time_lost``.
    """
    t, keys = sums.table, sums.keys
    t = t.filter((t["any"] > 0) & (t.waited <= tau))
    left = (tau - t.waited) / float(MICROS_PER_DAY)
    n = ibis.ifelse(t.n > 0, t.n, 1.0)
    sofar, _ = _windows(keys)
    whole = ibis.window(group_by=keys)
    t = t.mutate(_left=left, _a=ibis.least(t.d_1 / n, 1.0), _b=ibis.least(t["any"] / n, 1.0), _n=n)
    t = t.mutate(_part=t["_left"] * t["_a"] * t["_s"])
    t = sums.log.engine.materialise(t.mutate(_later=t["_part"].sum().over(whole) - t["_part"].sum().over(sofar)))
    open_ = t["_b"] < 1
    taken = open_.ifelse(t["_later"] / ibis.ifelse(open_, 1 - t["_b"], 1.0), 0.0)
    t = t.mutate(_mine=t["_left"] * t["_s"] - taken, _other=-taken)
    mean = t["_mine"] * t["_a"] + t["_other"] * (t["_b"] - t["_a"])
    square = t["_mine"] * t["_mine"] * t["_a"] + t["_other"] * t["_other"] * (t["_b"] - t["_a"])
    t = t.mutate(_variance=(square - mean * mean) / t["_n"])
    # A segment in which nobody had any event by then has no row here.
    found = sums.log.engine.fetch(
        (t.group_by(keys) if keys else t).agg(lost=t["_part"].sum(), variance=t["_variance"].sum())
    )
    every = sizes(sums)
    found = every[keys].merge(found, how="left", on=keys) if keys else found
    return found[["lost", "variance"]].fillna(0.0)


def log_rank_sums(sums: Sums, cause: int, upto: float | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each segment ``observed`` and ``expected`` events of a cause, and the covariance of their difference.

    Segments in the order of ``sizes``; events up to ``upto`` days.
    """
    t, keys = sums.table, sums.keys
    segments = sizes(sums)[keys]
    count = len(segments)
    which = ibis.literal(0, "int64")
    for i, row in enumerate(segments.itertuples(index=False)):
        same = ibis.literal(True)
        for key, value in zip(keys, row, strict=True):
            same &= t[key] == value
        which = same.ifelse(i, which)
    t = t.mutate(_segment=which, _gain=t.entered - t.censored - t["any"])
    cells = {}
    for i in range(count):
        mine = t["_segment"] == i
        cells[f"g_{i}"] = t["_gain"].sum(where=mine).fill_null(0.0)
        cells[f"e_{i}"] = t.entered.sum(where=mine & (t.waited == 0)).fill_null(0.0)
        cells[f"d_{i}"] = t[f"d_{cause}"].sum(where=mine).fill_null(0.0)
    wide = t.group_by("waited").agg(**cells)
    _, before = _windows([])
    wide = wide.mutate(
        **{f"n_{i}": wide[f"g_{i}"].sum().over(before).fill_null(0.0) + wide[f"e_{i}"] for i in range(count)}
    )
    wide = wide.mutate(
        _d=sum((wide[f"d_{i}"] for i in range(1, count)), wide.d_0),
        _n=sum((wide[f"n_{i}"] for i in range(1, count)), wide.n_0),
    )
    wide = wide.filter(wide["_d"] > 0)
    if upto is not None:
        wide = wide.filter(wide.waited <= upto * MICROS_PER_DAY)
    alone = wide["_n"] > 1
    scale = alone.ifelse(wide["_d"] * (wide["_n"] - wide["_d"]) / ibis.ifelse(alone, wide["_n"] - 1, 1.0), 0.0)
    wide = wide.mutate(_scale=scale, **{f"s_{i}": wide[f"n_{i}"] / wide["_n"] for i in range(count)})
    named = {}
    for i in range(count):
        named[f"observed_{i}"] = wide[f"d_{i}"].sum()
        named[f"expected_{i}"] = (wide["_d"] * wide[f"s_{i}"]).sum()
        named[f"v_{i}_{i}"] = (wide["_scale"] * wide[f"s_{i}"] * (wide["_n"] - wide[f"n_{i}"]) / wide["_n"]).sum()
        for j in range(i):
            named[f"v_{i}_{j}"] = -(wide["_scale"] * wide[f"s_{i}"] * wide[f"s_{j}"]).sum()
    told = sums.log.engine.fetch(wide.agg(**named)).fillna(0.0).iloc[0]
    tests = pd.DataFrame({name: [told[f"{name}_{i}"] for i in range(count)] for name in ("observed", "expected")})
    covariance = pd.DataFrame([[told[f"v_{max(i, j)}_{min(i, j)}"] for j in range(count)] for i in range(count)])
    return tests, covariance
