"""Paths of touches: each touch on its path, and the paths summed by group of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.path_sums import CONVERSION, NULL, PathSums
from microconv.reduce.money import CENTS
from microconv.reduce.path_credits import rule_sums
from microconv.reduce.path_transforms import transformed
from microconv.reduce.touches import Touches, touches_of

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.reduce.path_rules import PathRule

__all__ = ["Paths", "on_paths", "path_sums"]

MOST_IN_SETS = 60  # channels that fit the bits of a whole number
# What a path ended in.
WON, LOST, OPEN = 1, 2, 3
FATES = {WON: "before a conversion", LOST: "on a path without a conversion", OPEN: "on a path whose time is not up"}


@dataclass(frozen=True, eq=False)
class Paths:
    """``sums``; ``account``: ``fate, touches, paths``: what became of every touch; ``tie_rate``: the share of touches
    that share user and instant with a touch of another channel.
    """

    sums: PathSums
    account: pd.DataFrame
    tie_rate: float


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
    touches = touches_of(log, rule, noise)
    engine = touches.engine
    placed = engine.materialise(on_paths(touches, rule))
    account = _account(touches, placed)
    channels, rows = touches.channels, placed
    if rule.transforms:
        channels, rows = transformed(engine, placed, channels, rule)
    bucketed = engine.materialise(_ordered(touches, rows, max(orders, default=0), rule.reverse))
    totals = _totals(touches, bucketed, rows)
    members = _sets(engine, bucketed) if sets and len(channels) <= MOST_IN_SETS else None
    sums = PathSums(
        channels=channels,
        totals=totals,
        credits=rule_sums(engine, bucketed, rules, channels, rule),
        transitions=_transitions(engine, bucketed, tuple(orders), len(channels) + 1),
        sets=members,
        touches=_touched(engine, bucketed),
    )
    return Paths(sums, account, touches.tie_rate)


def on_paths(touches: Touches, rule: PathRule) -> ir.Table:
    """Every touch on every path that it is on: ``user_id, path`` (what tells a user's paths apart), ``at, channel,
    fate, conversions, cents`` (of the path's conversion; 1 and 0 without one).
    """
    engine = touches.engine
    rows = engine.materialise(_beside_conversions(touches, rule))
    if rule.reset:
        winning = rows.filter(rows.won).select("user_id", "at", "channel", path="goal")
    else:
        winning = _within_lookback(touches, rule.lookback)
    goals = touches.conversions.rename(_who="user_id", _goal="at")
    winning = winning.join(goals, [winning.user_id == goals["_who"], winning.path == goals["_goal"]])
    winning = winning.select(
        "user_id", "path", "at", "channel", fate=ibis.literal(WON, "int8"), conversions="conversions", cents="cents"
    )
    losing = _cut(touches, engine.materialise(rows.filter(~rows.won)), rule)
    return ibis.union(winning, losing)


def _beside_conversions(touches: Touches, rule: PathRule) -> ir.Table:
    """Every touch with the user's next conversion (``goal``), whether it counts for it (``won``), and whether it begins
    a path (``begins``) because the touch before is on another one.
    """
    back = rule.lookback
    rows = touches.engine.materialise(
        ibis.union(
            touches.touches.select("user_id", "at", "channel", kind=ibis.literal(0, "int8")),
            touches.conversions.select("user_id", "at", channel=ibis.literal(0, "int32"), kind=ibis.literal(1, "int8")),
        )
    )
    order = [rows["at"], rows.kind, -rows.channel if rule.reverse else rows.channel]
    in_order = ibis.window(group_by=rows.user_id, order_by=order)
    ahead = ibis.window(group_by=rows.user_id, order_by=order, rows=(0, None))
    moment = (rows.kind == 1).ifelse(rows["at"], ibis.null("int64"))
    more = {"_done": moment.min().over(ibis.window(group_by=rows.user_id))} if rule.repeat == "first" else {}
    rows = rows.mutate(
        goal=moment.min().over(ahead),
        before=rows["at"].lag().over(in_order),
        follows=(rows.kind.lag().over(in_order) == 0).fill_null(False),
        **more,
    )
    rows = rows.filter(rows.kind == 0)
    if rule.repeat == "first":
        rows = rows.filter(rows["_done"].isnull() | (rows["at"] <= rows["_done"]))
    won, together = rows.goal.notnull(), rows.follows
    if back is not None:
        won = (rows.goal - rows["at"] <= back).fill_null(False)
        # The touch before has the same next conversion, as none lies between.
        together = together & (won.ifelse(rows.goal, rows["at"]) - rows.before <= back).fill_null(False)
    return rows.select("user_id", "at", "channel", "goal", won=won, begins=~together)


def _within_lookback(touches: Touches, back: int | None) -> ir.Table:
    """Touches with every conversion that they count for."""
    goals = touches.conversions.select(_who="user_id", path="at")
    near = [touches.touches.user_id == goals["_who"], touches.touches["at"] <= goals.path]
    if back is not None:
        near.append(goals.path - touches.touches["at"] <= back)
    return touches.touches.join(goals, near).select("user_id", "at", "channel", "path")


def _cut(touches: Touches, rows: ir.Table, rule: PathRule) -> ir.Table:
    """Touches that count for no conversion, as paths; the last of a user is open while a conversion may still come."""
    order = [rows["at"], -rows.channel if rule.reverse else rows.channel]
    so_far = ibis.window(group_by=rows.user_id, order_by=order, rows=(None, 0))
    # Times are above 0, so that these numbers are no conversion's.
    rows = rows.mutate(path=-rows.begins.ifelse(rows["at"], ibis.null("int64")).max().over(so_far))
    if rule.lookback is None:
        fate = ibis.literal(OPEN, "int8")
    else:
        until: ir.IntegerValue = ibis.literal(touches.until, "int64")
        if touches.ends is not None:
            ends = touches.ends
            rows = rows.left_join(ends, rows.user_id == ends["_who"])
            until = rows["_end"].fill_null(until)
        last = rows["at"].max().over(ibis.window(group_by=[rows.user_id, rows.path]))
        still = rows.goal.isnull() & (last + rule.lookback > until)
        fate = still.ifelse(ibis.literal(OPEN, "int8"), ibis.literal(LOST, "int8"))
    return rows.select(
        "user_id",
        "path",
        "at",
        "channel",
        fate=fate,
        conversions=ibis.literal(1, "int64"),
        cents=ibis.literal(0, "int64"),
    )


def _account(touches: Touches, placed: ir.Table) -> pd.DataFrame:
    """``fate, touches, paths``: what became of every touch; those after a first conversion count nowhere."""
    paths = placed.group_by(["user_id", "path", "fate"]).agg(touches=placed.count())
    frame = touches.engine.fetch(paths.group_by("fate").agg(touches=paths.touches.sum(), paths=paths.count()))
    found = frame.set_index("fate").reindex(list(FATES), fill_value=0).astype("int64")
    return found.reset_index().assign(fate=list(FATES.values()))


def _ordered(touches: Touches, rows: ir.Table, order: int, reverse: bool) -> ir.Table:
    """The touches of paths whose time is over with their place on the path (``place``, from 0; ``size``: how many),
    the channels before (``back_1`` ...; 0: none), whether none follows (``last``), and ``bucket``.
    """
    rows = rows.filter(rows.fate != OPEN)
    key = [rows.user_id, rows.path]
    in_order = ibis.window(group_by=key, order_by=[rows["at"], -rows.channel if reverse else rows.channel])
    backs = {f"back_{i}": rows.channel.lag(i).over(in_order).fill_null(0) for i in range(1, order + 1)}
    return rows.mutate(
        place=ibis.row_number().over(in_order),
        size=rows.count().over(ibis.window(group_by=key)),
        bucket=touches.engine.digest(rows.user_id).left(2),
        **backs,
    )


def _totals(touches: Touches, rows: ir.Table, placed: ir.Table) -> pd.DataFrame:
    """``PathSums.totals``; ``placed`` has the open paths, which are in no other sum."""
    engine, goals = touches.engine, touches.conversions
    touched = rows.filter((rows.fate == WON) & (rows.place == 0)).select(_who="user_id", _goal="path")
    joined = goals.left_join(touched, [goals.user_id == touched["_who"], goals["at"] == touched["_goal"]])
    bare = joined["_who"].isnull()
    nothing = ibis.literal(0, "int64")
    joined = joined.mutate(
        bucket=engine.digest(joined.user_id).left(2),
        untouched=bare.ifelse(joined.conversions, nothing),
        untouched_value=bare.ifelse(joined.cents, nothing),
    )
    names = {"conversions": "conversions", "value": "cents", "untouched": "untouched"}
    sums = {name: joined[column].sum() for name, column in names.items()}
    ended = engine.fetch(joined.group_by("bucket").agg(**sums, untouched_value=joined.untouched_value.sum()))
    lost = rows.filter((rows.fate == LOST) & (rows.place == 0))
    nulls = engine.fetch(lost.group_by("bucket").agg(nulls=lost.count()))
    still = placed.filter(placed.fate == OPEN).select("user_id", "path").distinct()
    still = still.mutate(bucket=engine.digest(still.user_id).left(2))
    censored = engine.fetch(still.group_by("bucket").agg(censored=still.count()))
    found = ended.merge(nulls, on="bucket", how="outer").merge(censored, on="bucket", how="outer")
    found = _numbered(found.fillna(0))
    return _in_money(found.astype(dict.fromkeys(found.columns[1:], "int64")), "value", "untouched_value")


def _transitions(engine: Engine, rows: ir.Table, orders: tuple[int, ...], base: int) -> dict[int, pd.DataFrame]:
    """``PathSums.transitions``, all from one count by the longest memory."""
    if not orders:
        return {}
    longest = max(orders)
    backs = [f"back_{i}" for i in range(1, longest + 1)]
    last = rows.place == rows["size"] - 1
    end = ibis.cases((last & (rows.fate == WON), CONVERSION), (last, NULL), else_=0).cast("int8")
    rows = rows.mutate(end=end)
    counted = rows.group_by(["bucket", *reversed(backs), "channel", "end"]).agg(
        paths=rows.conversions.sum().cast("int64"), cents=rows.cents.sum().cast("int64")
    )
    frame = _numbered(engine.fetch(counted))
    channel = frame["channel"].astype("int64")
    found = {}
    for order in orders:
        before = sum((frame[f"back_{i}"].astype("int64") * base ** (i - 1) for i in range(1, order + 1)), 0)
        after = channel + sum((frame[f"back_{i}"].astype("int64") * base**i for i in range(1, order)), 0)
        steps = frame[["bucket", "paths"]].assign(source=before, target=after, value=0)
        ends = frame.loc[frame["end"] != 0, ["bucket", "paths", "cents", "end"]]
        ends = ends.assign(source=after[ends.index]).rename(columns={"cents": "value", "end": "target"})
        both = pd.concat([steps, ends], ignore_index=True)
        sums = both.groupby(["bucket", "source", "target"], as_index=False)[["paths", "value"]].sum()
        found[order] = _in_money(sums, "value")
    return found


def _sets(engine: Engine, rows: ir.Table) -> pd.DataFrame:
    """``PathSums.sets``."""
    key = ["bucket", "user_id", "path", "fate"]
    channels = rows.group_by([*key, "channel"]).agg(conversions=rows.conversions.max(), cents=rows.cents.max())
    bit = ibis.literal(1, "int64") << (channels.channel.cast("int64") - 1)
    paths = channels.group_by(key).agg(
        members=bit.sum().cast("int64"), conversions=channels.conversions.max(), cents=channels.cents.max()
    )
    won = paths.fate == WON
    counted = paths.group_by(["bucket", "members"]).agg(
        conversions=paths.conversions.sum(where=won), value=paths.cents.sum(where=won), nulls=paths.count(where=~won)
    )
    frame = _numbered(engine.fetch(counted).fillna(0))
    return _in_money(frame.astype("int64"), "value")


def _touched(engine: Engine, rows: ir.Table) -> pd.DataFrame:
    return _numbered(engine.fetch(rows.group_by(["bucket", "channel"]).agg(touches=rows.count())))


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Buckets as numbers, rows in order."""
    frame = frame.assign(bucket=frame["bucket"].map(lambda text: int(str(text), 16)).astype("int64"))
    return frame.sort_values(list(frame.columns), ignore_index=True)


def _in_money(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(**{name: frame[name] / CENTS for name in columns})
