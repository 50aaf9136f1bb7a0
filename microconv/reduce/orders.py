"""Orders of which money was paid back: what was paid, what is left, and when it changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.reduce.money import CENTS, RevenueTerms
from microconv.reduce.revenue import amounts

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["RefundedOrders", "refunded_orders"]


@dataclass(frozen=True, eq=False)
class RefundedOrders:
    """``frame``: a row per order that was paid and paid back, in part or in full, by time: ``order_id, currency``
    (empty: none named), ``bought, refunded`` (first purchase, last refund; microseconds since 1970), ``paid, left``
    (hundredths, as in the log: no margin, no rates), ``user`` (a number that tells users apart, and says no more).

    Left out and counted: refund events without an order id (``unnamed``), and orders
    ``unmatched`` (paid back, never paid, or only after) or paid in ``several_currencies``.
    """

    frame: pd.DataFrame
    unnamed: int
    unmatched: int
    several_currencies: int


def refunded_orders(log: EventLog, target: Item, terms: RevenueTerms, order_col: str) -> RefundedOrders:
    """Join refunds to purchases by the order id in ``order_col``; of ``terms`` the refunds and the column of money
    count. Events without a value move no money.
    """
    rows = amounts(log, target, terms, {"order_id": order_col})
    text = log.engine.trim(rows.order_id.cast("string")).nullif("")
    rows = log.engine.materialise(rows.filter(rows.value.notnull()).mutate(order_id=text))
    cents = (rows.value * CENTS).round().cast("int64")
    named = rows.mutate(cents=cents, moment=rows["at"]).filter(rows.order_id.notnull())
    nothing = ibis.null("int64")
    by_order = named.group_by("order_id").agg(
        currency=named.code.min(),
        codes=named.code.nunique(),
        bought=named.buy.ifelse(named.moment, nothing).min(),
        refunded=named.refund.ifelse(named.moment, nothing).max(),
        paid=named.buy.ifelse(named.cents, 0).sum().cast("int64"),
        left=named.cents.sum().cast("int64"),
        owner=named.user_id.cast("string").min(),
    )
    back = log.engine.materialise(by_order.filter(by_order.refunded.notnull()))
    matched = (back.bought.notnull() & (back.refunded >= back.bought)).fill_null(False)
    good = back.filter(matched & (back.codes == 1))
    counts = log.engine.fetch(
        back.agg(unmatched=(~matched).cast("int64").sum(), several=(matched & (back.codes > 1)).cast("int64").sum())
    ).fillna(0)
    user = ibis.dense_rank().over(ibis.window(order_by=good.owner)).cast("int64")
    frame = log.engine.fetch(good.select("order_id", "currency", "bought", "refunded", "paid", "left", user=user))
    return RefundedOrders(
        frame=frame.sort_values(["bought", "order_id"], ignore_index=True),
        unnamed=_whole(log, rows.filter(rows.refund & rows.order_id.isnull()).count().name("n").as_table()),
        unmatched=int(counts["unmatched"][0]),
        several_currencies=int(counts["several"][0]),
    )


def _whole(log: EventLog, table: ir.Table) -> int:
    return int(log.engine.fetch(table)["n"][0])
