"""Paths of touches: each touch on its path, and the paths summed by group of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.path_sums import CONVERSION, NULL, START, PathSums
from microconv.reduce.money import CENTS
from microconv.reduce.path_credits import numbered, rule_sums
from microconv.reduce.path_marks import (
    DIGIT,
    DIGITS,
    LOST,
    OPEN,
    TIED,
    WON,
    Marks,
    begins,
    in_order,
    marks_of,
    tied_touches,
    with_fate,
)
from microconv.reduce.path_transforms import transformed

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.reduce.path_rules import PathRule

__all__ = ["Paths", "path_sums"]

Whole = npt.NDArray[np.int64]
MOST_IN_SETS = 60  # channels that fit the bits of a whole number
_BYTES = 30  # of memory for each touch that is kept
FATES = {WON: "before a conversion", LOST: "on a path without a conversion", OPEN: "on a path whose time is not up"}


@dataclass(frozen=True, eq=False)
class Paths:
    """``sums``; ``account``: ``fate, touches, paths``: what became of every touch; ``tie_rate``: the share of touches
    that share user and instant with a touch of another channel.
    """

    sums: PathSums
    account: pd.DataFrame
    tie_rate: float


@dataclass(frozen=True, eq=False)
class _Part:
    """Of a part of the users: touches ``tied``; ``begun`` (``bucket, fate`` and, of the first touches of paths,
    ``touches, paths, cents``), ``account`` before transforms, and the sums of ``PathSums``.
    """

    channels: tuple[str, ...]
    tied: int
    account: pd.DataFrame
    begun: pd.DataFrame
    credits: pd.DataFrame
    touches: pd.DataFrame
    transitions: dict[int, pd.DataFrame]
    sets: pd.DataFrame | None


def path_sums(
    log: EventLog,
    rule: PathRule,
    *,
    rules: Sequence[str] = (),
    orders: Sequence[int] = (),
    sets: bool = False,
    noise: float = 0.0,
) -> Paths:
    """Paths of a log, made by ``rule`` and summed: of the touches before each conversion, of those before none whose
    time is over (null), and how many there are whose time is not (censored). Computed within the engine.

    ``rules``: of ``PathSums.credits``; ``orders``: of chains; ``sets``: whether sets of channels are asked for;
    ``noise``: see ``touches_of``. Raises ``ParameterError``.
    """
    marks = marks_of(log, rule, noise)
    # Transforms name channels by what they find, so that parts would not fit each other.
    among = [marks] if rule.transforms else marks.parts()
    with marks.engine.at_most(_BYTES * marks.count // 1_000_000):
        parts = [_part(part, rule, rules, tuple(orders), sets) for part in among]
    frames = [part.sets for part in parts if part.sets is not None]
    sums = PathSums(
        channels=parts[0].channels,
        totals=_totals(marks, _joined([part.begun for part in parts], ["bucket", "fate"])),
        credits=_joined([part.credits for part in parts], ["bucket", "channel"]),
        transitions={
            order: _joined([part.transitions[order] for part in parts], ["bucket", "source", "target"])
            for order in orders
        },
        sets=_joined(frames, ["bucket", "members"]) if frames else None,
        touches=_joined([part.touches for part in parts], ["bucket", "channel"]),
    )
    account = _summed(pd.concat([part.account for part in parts]), ["fate"], ["touches", "paths"])
    account = account.set_index("fate").reindex(list(FATES), fill_value=0)
    tied = sum(part.tied for part in parts) / max(int(account["touches"].sum()), 1)
    return Paths(sums, account.reset_index().assign(fate=list(FATES.values())), tied)


def _part(marks: Marks, rule: PathRule, rules: Sequence[str], orders: tuple[int, ...], sets: bool) -> _Part:
    engine, channels, longest = marks.engine, marks.channels, max(orders, default=1)
    rows = in_order(marks, rule, longest)
    tied = tied_touches(engine, rows)
    rows = with_fate(marks, rows, rule)
    if not (rules or sets or rule.transforms or not rule.reset):  # then paths need not be told apart
        paths = _paid(marks, rows)
    else:
        paths = engine.materialise(_apart(marks, rows, rule))
    if not rule.reset:
        paths = _again(engine, paths, rule, longest)
    steps = _steps(engine, paths, longest)
    account = _account(steps)
    if rule.transforms:
        channels, paths = transformed(engine, paths, channels, rule)
        paths = _again(engine, paths, rule, longest)
        steps = _steps(engine, paths, longest)
    closed = steps[steps["fate"] != OPEN]
    return _Part(
        channels=channels,
        tied=tied,
        account=account,
        begun=_begun(steps),
        credits=rule_sums(engine, paths.filter(paths.fate == WON) if rules else paths, rules, channels, rule),
        touches=_summed(closed, ["bucket", "channel"], ["touches"]),
        transitions={order: _transitions(closed, order, len(channels) + 1) for order in orders},
        sets=_sets(engine, paths) if sets and len(channels) <= MOST_IN_SETS else None,
    )


def _joined(frames: list[pd.DataFrame], key: list[str]) -> pd.DataFrame:
    """The rows of all parts, in the order of ``key``, whole numbers as such."""
    frame = pd.concat(frames, ignore_index=True).sort_values(key, ignore_index=True)
    return frame.astype(dict.fromkeys(key, "int64"))


def _paid(marks: Marks, rows: ir.Table) -> ir.Table:
    """Touches with the ``conversions`` and ``cents`` of the conversion that their path ended in (else 1 and 0)."""
    goals = marks.goals.rename(_who="who", _goal="at", _conversions="conversions", _cents="cents")
    joined = rows.left_join(goals, [rows.who == goals["_who"], rows.goal == goals["_goal"]])
    won = joined.fate == WON
    return joined.select(
        *rows.columns,
        bucket=marks.engine.person_bucket(joined.who),
        conversions=won.ifelse(joined["_conversions"], ibis.literal(1, "int64")),
        cents=won.ifelse(joined["_cents"], ibis.literal(0, "int64")),
    )


def _apart(marks: Marks, rows: ir.Table, rule: PathRule) -> ir.Table:
    """Touches on paths that are told apart: ``who, bucket, path, at, channel, step, fate, conversions, cents``.

    A path before a conversion has the conversion's time for a name, another one that of its first touch, below 0.
    """
    rows = marks.engine.materialise(rows)
    so_far = ibis.range_window(group_by=rows.who, order_by=rows["at"], preceding=None, following=0)
    start = begins(rows).ifelse(rows["at"], ibis.null("int64")).max().over(so_far)
    rows = marks.engine.materialise(
        rows.mutate(path=(rows.fate == WON).ifelse(rows.goal, -start), channel=(rows.step & DIGITS).cast("int32"))
    )
    table = _paid(marks, rows).drop("goal")
    if rule.reset:
        return table
    goals = marks.goals.rename(_who="who", _goal="at")
    won = table.filter(table.fate == WON).drop("conversions", "cents", "path")
    won = won.join(goals, [won.who == goals["_who"], won["at"] <= goals["_goal"]])
    if rule.lookback is not None:
        won = won.filter(won["_goal"] - won["at"] <= rule.lookback)
    won = won.mutate(path=won["_goal"]).select(*table.columns)
    return ibis.union(won, table.filter(table.fate != WON))


def _again(engine: Engine, rows: ir.Table, rule: PathRule, order: int) -> ir.Table:
    """Paths that were changed, with the channels before each touch anew."""
    window = ibis.window(
        group_by=[rows.who, rows.path], order_by=[rows["at"], -rows.channel if rule.reverse else rows.channel]
    )
    step = rows.channel.cast("int64")
    for i in range(1, order + 1):
        step = step + (rows.channel.lag(i).over(window).fill_null(0).cast("int64") << (DIGIT * i))
    return engine.materialise(rows.mutate(step=step))


def _steps(engine: Engine, rows: ir.Table, order: int) -> pd.DataFrame:
    """``bucket, fate, channel, back_1 ...`` (channels before; 0: none), how many such ``touches``, and the ``paths``
    (one before several conversions counts as often) and ``cents`` that they are on.
    """
    # Of open paths only their number counts.
    short = begins(rows).ifelse(ibis.literal(1, "int64"), 1 + 2**DIGIT)
    step = (rows.fate == OPEN).ifelse(short, rows.step & (TIED - 1))
    plain = rows.select("bucket", "fate", "conversions", "cents", step=step)
    frame = engine.fetch(
        plain.group_by(["bucket", "fate", "step"]).agg(
            touches=plain.count(), paths=plain.conversions.sum().cast("int64"), cents=plain.cents.sum().cast("int64")
        )
    )
    step = frame.pop("step")
    digits = {f"back_{i}": (step // 2 ** (DIGIT * i) % (DIGITS + 1)).astype("int16") for i in range(1, order + 1)}
    channel = (step % (DIGITS + 1)).astype("int16")
    return frame.assign(bucket=numbered(frame["bucket"]).astype("int16"), channel=channel, **digits)


def _account(steps: pd.DataFrame) -> pd.DataFrame:
    """``fate, touches, paths``."""
    first = steps["touches"].where(steps["back_1"] == 0, 0)
    return _summed(steps.assign(paths=first), ["fate"], ["touches", "paths"])


def _begun(steps: pd.DataFrame) -> pd.DataFrame:
    """The same of the first touch of each path, by ``bucket, fate``."""
    return _summed(steps[steps["back_1"] == 0], ["bucket", "fate"], ["touches", "paths", "cents"])


def _summed(frame: pd.DataFrame, key: list[str], columns: list[str]) -> pd.DataFrame:
    return frame.groupby(key, as_index=False)[columns].sum()


def _totals(marks: Marks, begun: pd.DataFrame) -> pd.DataFrame:
    """``PathSums.totals``."""
    goals = marks.goals.mutate(bucket=marks.engine.person_bucket(marks.goals.who))
    sums = {"conversions": goals.conversions.sum().cast("int64"), "cents": goals.cents.sum().cast("int64")}
    found = marks.engine.fetch(goals.group_by("bucket").agg(**sums))
    found = found.assign(bucket=numbered(found["bucket"])).set_index("bucket")
    won, nulls, still = (begun[begun["fate"] == fate].set_index("bucket") for fate in (WON, LOST, OPEN))
    every = found.index.union(nulls.index).union(still.index)
    found, won = found.reindex(every, fill_value=0), won.reindex(every, fill_value=0)
    frame = pd.DataFrame(
        {
            "conversions": found["conversions"],
            "value": found["cents"] / CENTS,
            "untouched": found["conversions"] - won["paths"],
            "untouched_value": (found["cents"] - won["cents"]) / CENTS,
            "nulls": nulls["touches"].reindex(every, fill_value=0),
            "censored": still["touches"].reindex(every, fill_value=0),
        }
    )
    return frame.rename_axis("bucket").reset_index()


def _transitions(closed: pd.DataFrame, order: int, base: int) -> pd.DataFrame:
    """``PathSums.transitions``, from the steps of paths whose time is over."""
    back = {i: closed[f"back_{i}"].to_numpy(np.int64) for i in range(1, order + 1)}
    bucket = closed["bucket"].to_numpy(np.int64)
    source = sum((back[i] * base ** (i - 1) for i in back), np.zeros(len(closed), np.int64))
    target = closed["channel"].to_numpy(np.int64) + sum((back[i] * base**i for i in back if i < order), 0)
    amounts = closed[["paths", "cents"]].to_numpy(np.int64)
    steps, paths = _added([bucket, source, target], amounts)
    # Of the paths that come to a state those end there that do not go on.
    go = source != START
    end = np.where(closed["fate"].to_numpy() == WON, CONVERSION, NULL)
    places = [np.concatenate([one, other[go]]) for one, other in ((bucket, bucket), (target, source), (end, end))]
    ends, left = _added(places, np.concatenate([amounts, -amounts[go]]))
    some = left[:, 0] != 0
    key = np.concatenate([steps, ends[:, some]], axis=1)
    money = np.concatenate([np.zeros(steps.shape[1]), left[some, 1] / CENTS])
    frame = pd.DataFrame({"bucket": key[0], "source": key[1], "target": key[2]})
    return frame.assign(paths=np.concatenate([paths[:, 0], left[some, 0]]), value=money)


def _added(key: list[Whole], amounts: Whole) -> tuple[Whole, Whole]:
    """The distinct places of a key (its parts as rows), and the amounts added up for each."""
    order = np.lexsort(key[::-1])
    parts = np.stack([part[order] for part in key])
    first = np.flatnonzero(np.r_[True, (parts[:, 1:] != parts[:, :-1]).any(axis=0)] if len(order) else [])
    return parts[:, first], np.add.reduceat(amounts[order], first) if len(order) else amounts


def _sets(engine: Engine, rows: ir.Table) -> pd.DataFrame:
    """``PathSums.sets``: paths by the channels on them, as bits."""
    rows = rows.filter(rows.fate != OPEN)
    key = ["bucket", "who", "path", "fate", "conversions", "cents"]
    channels = rows.select(*key, "channel").distinct()
    bit = ibis.literal(1, "int64") << (channels.channel.cast("int64") - 1)
    paths = channels.group_by(key).agg(members=bit.sum().cast("int64"))
    won = paths.fate == WON
    frame = engine.fetch(
        paths.group_by(["bucket", "members"]).agg(
            conversions=paths.conversions.sum(where=won),
            value=paths.cents.sum(where=won),
            nulls=(~won).cast("int64").sum(),
        )
    )
    frame = frame.assign(bucket=numbered(frame["bucket"])).fillna(0)
    frame = frame.astype(dict.fromkeys(("members", "conversions", "value", "nulls"), "int64"))
    return frame.assign(value=frame["value"] / CENTS)
