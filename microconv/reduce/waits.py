"""Repeat conversions: each starts the clock anew, so that a user has a wait to the first, to the second, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ibis

from microconv.reduce.items import TIME, matches, with_time

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["BUCKET", "BUCKETS", "NUMBER", "OWN", "buckets", "number_level", "users_by", "waits"]

NUMBER = "conversion_number"  # what ``by`` may name: which wait of the user's it is
BUCKET = "user_bucket"
BUCKETS = 256  # groups of users by hash: enough for an error by user that is itself known to 5 %
OWN = 2_000  # up to so many users each is a group of its own


def waits(log: EventLog, users: ir.Table, target: Item) -> ir.Table:
    """``users`` (``user_id, start, enter, stop, cause``, ...) split at each conversion from ``start`` to ``stop``.

    One row per wait, with ``number`` (1 for the first): from ``start`` or the conversion before, to the next (``cause``
    1) or the user's own ``stop`` and ``cause``. Conversions at one instant are one; a wait without any time is none,
    but for the first.
    """
    timed = with_time(log.engine, log.table)
    hits = timed.filter(matches(target, timed)).select(_user=timed.user_id, _at=timed[TIME]).distinct()
    mine = users.join(hits, users.user_id == hits["_user"]).drop("_user")
    mine = mine.filter(mine["_at"] >= mine.start, mine["_at"] <= mine.stop)
    mine = log.engine.materialise(mine)
    in_order = ibis.window(group_by="user_id", order_by="_at")
    ended = mine.mutate(
        start=mine["_at"].lag().over(in_order).fill_null(mine.start),
        number=(ibis.row_number().over(in_order) + 1).cast("int64"),
        cause=ibis.literal(1, "int16"),
    )
    ended = ended.mutate(enter=ended.start, stop=ended["_at"]).drop("_at")
    last = mine.group_by("user_id").agg(_last=mine["_at"].max(), _made=mine.count())
    last = last.rename(_user="user_id")
    open_ = users.left_join(last, users.user_id == last["_user"]).drop("_user")
    open_ = open_.filter(open_["_last"].isnull() | (open_["_last"] < open_.stop))
    open_ = open_.mutate(
        start=open_["_last"].fill_null(open_.start),
        number=(open_["_made"].fill_null(0) + 1).cast("int64"),
        cause=open_.cause.cast("int16"),
    )
    open_ = open_.mutate(enter=open_.start).drop("_last", "_made")
    return ended.union(open_.select(*ended.columns))


def number_level(number: ir.IntegerValue) -> ir.StringValue:
    """Which conversion is waited for, as a segment."""
    return (number >= 3).ifelse("3+", number.cast("string"))


def buckets(log: EventLog, users: ir.Table) -> ir.Table:
    """``users`` with ``_bucket``: each user a group of its own when they are few, else one of ``BUCKETS`` by hash."""
    count = int(log.engine.fetch(users.agg(users=users.user_id.nunique()))["users"][0])
    if count > OWN:
        return users.mutate(_bucket=(users.user_id.hash() & (BUCKETS - 1)).cast("int64"))
    own = users.select(_user=users.user_id).distinct()
    own = own.mutate(_bucket=ibis.row_number().over(ibis.window(order_by="_user")).cast("int64"))
    return users.join(own, users.user_id == own["_user"]).drop("_user")


def users_by(log: EventLog, users: ir.Table, by: Sequence[str]) -> dict[tuple[str, ...], int]:
    """How many different users each segment of ``journeys`` has at risk."""
    keys = [f"by_{i}" for i in range(len(by))]
    at_risk = users.filter(users.start.notnull())
    found = (at_risk.group_by(keys) if keys else at_risk).agg(users=at_risk.user_id.nunique())
    counted = log.engine.fetch(found)
    return {tuple(row[key] for key in keys): int(row["users"]) for row in counted.to_dict("records")}
