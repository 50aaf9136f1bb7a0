"""Refunds for Google Ads: orders whose value it knows and that were paid back, as a file of conversion adjustments."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from microconv.durations import MICROS_PER_DAY, micros_to_moment, moment_to_micros
from microconv.engine import to_datetime
from microconv.errors import ParameterError, shorten
from microconv.plan import Item
from microconv.steps import Step, as_item
from microconv.value.files import Exported, check_name, money_text, write_rows

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["export_adjustments"]

# Google Ads API, ConversionAdjustmentUploadError: CONVERSION_EXPIRED ("more than 54 days ago") and
# TOO_RECENT_CONVERSION ("at least 24 hours ago"), counted from the moment of the upload.
_OLDEST, _YOUNGEST = 54 * MICROS_PER_DAY, MICROS_PER_DAY
_LONGEST_ID = 64  # Google Ads Help, "Use a transaction ID to minimize duplicate conversions"
# The template of "Adjust your conversions" (Google Ads Help): columns, and words that are not those of the API.
_HEADER = (
    "Order ID",
    "Conversion Name",
    "Adjustment Time",
    "Adjustment Type",
    "Adjusted Value",
    "Adjusted Value Currency",
)
_ZONE = "Parameters:TimeZone=+0000"
_SECOND = 1_000_000
_FEW = 10


def export_adjustments(
    log: EventLog,
    folder: str | os.PathLike[str],
    *,
    order_col: str,
    conversion_name: str,
    refunds: Step | Sequence[Step] = (),
    target: Step | None = None,
    value: str | None = None,
    uploaded_at: str | dt.datetime | None = None,
    min_cell: int = _FEW,
) -> Exported:
    """Write ``google_ads_adjustments.csv``: orders that were paid back in full (RETRACT) or in part (RESTATE, with
    what is left), for the conversions that Google Ads knows by their order ids.

    * ``order_col``: the column that holds the id of the order, at purchases and refunds alike. The file holds these
      ids; it is the one export that speaks of single orders, and is not written for fewer than ``min_cell`` users.
    * ``refunds``: events whose ``value`` (a column; default: the macro's) was paid back, of either sign; an event of
      the ``target`` (default: the plan's first macro) with a value below zero is a refund too. The other events of the
      target are purchases; Google Ads must have been told their full value.
    * ``conversion_name``: the conversion action that they were reported under.
    * ``uploaded_at``: when the file goes up (UTC unless it says; default: the end of observation). Conversions more
      than 54 days old then cannot be adjusted, nor those of the last 24 hours; they are left out and counted, as are
      orders without a purchase, in several currencies, and refunds without an id.

    Raises ``ParameterError`` for ids of more than 64 characters or that hold an e-mail address (they must not tell who
    a customer is), and where there is nothing, or of too few users, to write.
    """
    from microconv.reduce.money import RevenueTerms, currency_code, some
    from microconv.reduce.orders import refunded_orders

    check_name(conversion_name, "conversion_name")
    if isinstance(min_cell, bool) or not isinstance(min_cell, int) or min_cell < 0:
        raise ParameterError(f"min_cell={shorten(repr(min_cell))} must be a whole number of users, 0 or more.")
    log.require_columns([order_col], "order_col")
    goal = as_item(log, target, "target") if target is not None else log.require_plan("adjustments").macros[0]
    steps = [refunds] if isinstance(refunds, str | Mapping) else list(refunds)
    back: tuple[Item, ...] = tuple(as_item(log, step, "refund") for step in steps)
    at = to_datetime(uploaded_at, "uploaded_at") if uploaded_at is not None else log.observed_until
    found = refunded_orders(log, goal, RevenueTerms(refunds=back, value=value), order_col)
    _check_ids(found.frame["order_id"], order_col)
    kept, left = _in_time(found.frame, moment_to_micros(at))
    for number, what, why in (
        (found.unnamed, "refund", f"without an id in {order_col!r}"),
        (found.unmatched, "order", "paid back that were never paid, or only after"),
        (found.several_currencies, "order", "in several currencies"),
    ):
        if number:
            left.append((some(number, what), why))
    left_out = pd.DataFrame(left, columns=["name", "why"], dtype=object)
    if kept.empty:
        said = "; ".join(f"{name} {why}" for name, why in left) or "no purchase was paid back"
        raise ParameterError(f"There is nothing to adjust: {said}.")
    users = int(kept["user"].nunique())
    if users < min_cell:
        raise ParameterError(
            f"The refunded orders are of {some(users, 'user')}, fewer than min_cell={min_cell}: a list of so few "
            "is not written. Take a longer time, or lower min_cell."
        )
    planned = getattr(goal, "currency", None) or ""
    rows = []
    for row in kept.to_dict("records"):
        code = row["currency"] or planned
        if code:
            currency_code(code, "currency")
        # In whole seconds, and after the conversion: an adjustment that precedes it is refused.
        second = max(int(row["refunded"]) // _SECOND, int(row["bought"]) // _SECOND + 1)
        when = f"{micros_to_moment(second * _SECOND):%Y-%m-%d %H:%M:%S}+0000"
        whole = int(row["left"]) <= 0
        worth = ["RETRACT", "", ""] if whole else ["RESTATE", money_text(int(row["left"])), code]
        rows.append([row["order_id"], conversion_name, when, *worth])
    file = write_rows(folder, "google_ads_adjustments.csv", (_ZONE,), [list(_HEADER), *rows])
    note = f"Upload by {at:%Y-%m-%d %H:%M} UTC or soon after: older conversions can no longer be adjusted."
    return Exported((file,), left_out, (note,))


def _check_ids(ids: pd.Series, column: str) -> None:
    for order in ids:
        if len(order) > _LONGEST_ID or any(ord(c) < 32 for c in order):
            raise ParameterError(
                f"order_col={column!r} holds {shorten(repr(order))} ({len(order)} characters). Google Ads takes ids of "
                f"one line and at most {_LONGEST_ID} characters, the very ones that the conversions were reported with."
            )
        if "@" in order:
            raise ParameterError(
                f"order_col={column!r} holds what looks like an e-mail address. Order ids must not tell who a customer "
                "is; name the column of the order's own id."
            )


def _in_time(frame: pd.DataFrame, uploaded: int) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The orders that can be adjusted at that moment, and how many cannot, and why."""
    from microconv.reduce.money import some

    future = frame["refunded"] > uploaded
    old = ~future & (uploaded - frame["bought"] > _OLDEST)
    young = ~future & (uploaded - frame["bought"] < _YOUNGEST)
    left = [
        (some(int(which.sum()), "order"), why)
        for which, why in (
            (future, "paid back after the upload"),
            (old, "bought more than 54 days before the upload"),
            (young, "bought less than 24 hours before the upload: adjust them the day after"),
        )
        if which.any()
    ]
    return frame[~(future | old | young)], left
