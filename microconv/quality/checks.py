"""The checks, one rule of thumb each; every note states its rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.durations import MICROS_PER_DAY, format_duration, moment_to_micros
from microconv.errors import shorten
from microconv.reduce import quality as reductions
from microconv.reduce.items import is_plain

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = [
    "FAST_EVENTS",
    "calendar_checks",
    "judged_alone",
    "many_events",
    "maturity_checks",
    "name_checks",
    "order_checks",
    "plan_checks",
    "rows_checks",
    "user_checks",
]

FAST_EVENTS = 60  # events of one user in less than a minute, as no person makes them
_MANY_EVENTS = 100  # below this, a user with far more events than others is merely busy
_ARRIVALS = (
    "received_at",
    "arrived_at",
    "ingested_at",
    "ingestion_time",
    "server_time",
    "server_timestamp",
    "server_upload_time",
    "collector_tstamp",
    "original_timestamp",
    "sent_at",
    "loaded_at",
)


def judged_alone(log: EventLog) -> list[str]:
    """The events of plan items that happen at every such event (a third visit does not)."""
    items = log.plan.items if log.plan is not None else ()
    return sorted({item.event for item in items if item.event and is_plain(item)})


def _check(name: str, value: float, unit: str, share: float, look: bool, note: str) -> tuple[Any, ...]:
    return name, value, unit, share, "look" if look else "ok", note


def _unknown(name: str, unit: str, why: str) -> tuple[Any, ...]:
    return name, float("nan"), unit, float("nan"), "unknown", f"not measurable: {why}"


def _part(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def rows_checks(log: EventLog) -> Iterator[tuple[Any, ...]]:
    yield _check("rows read", log.rows_read, "rows", 1.0, False, f"from {log.source}")
    accepted = log.rows_accepted
    yield _check("rows accepted", accepted, "rows", _part(accepted, log.rows_read), False, "share of rows read")
    for reason, rows in log.accounting[["reason", "rows"]].itertuples(index=False):
        if reason != "accepted":
            share = _part(rows, log.rows_read)
            yield _check(f"rejected: {reason}", rows, "rows", share, share >= 0.01, "share of rows read; look from 1%")


def order_checks(log: EventLog, counts: pd.Series, of_plan: int) -> Iterator[tuple[Any, ...]]:
    events = log.rows_accepted
    yield _check(
        "same-instant ties",
        counts["tied"],
        "events",
        _part(counts["tied"], events),
        False,
        "events that share user and instant with another",
    )
    if of_plan:
        share = _part(counts["ordered"], of_plan)
        yield _check(
            "ties between plan events",
            counts["ordered"],
            "events",
            share,
            share >= 0.1,
            "plan events at the instant of another, which only the plan's order puts after it; look from 10%",
        )
    share = _part(counts["repeated"], events)
    yield _check(
        "repeated events",
        counts["repeated"],
        "events",
        share,
        share >= 0.01,
        "beyond the first of one user, instant and event name: sent twice, or truly twice; look from 1%",
    )
    arrival = next((name for name in _ARRIVALS if name in log.columns and log.table[name].type().is_timestamp()), None)
    if arrival is None:
        yield _unknown(
            "out of order", "events", f"no column says when a row arrived (such as {', '.join(_ARRIVALS[:3])})"
        )
        return
    row = log.engine.fetch(reductions.arrival_order(log, arrival)).iloc[0]
    share = _part(row["behind"], row["rows"])
    yield _check(
        "out of order",
        row["behind"],
        "events",
        share,
        share >= 0.05,
        f"older than an event of the user that arrived before, by {arrival}; harmless to the analyses; look from 5%",
    )
    share = _part(row["late"], row["rows"])
    yield _check(
        "late by more than a day",
        row["late"],
        "events",
        share,
        share >= 0.01,
        f"between time and {arrival}; conversions of the last days may still be on their way; look from 1%",
    )


def calendar_checks(log: EventLog, days: pd.DataFrame, last: int, within: int | None) -> Iterator[tuple[Any, ...]]:
    span = (moment_to_micros(log.observed_until) - moment_to_micros(log.observed_from)) / MICROS_PER_DAY
    short = within is not None and span * MICROS_PER_DAY < within
    note = f"{log.observed_from:%Y-%m-%d %H:%M} to {log.observed_until:%Y-%m-%d %H:%M} UTC"
    yield _check("time span", round(span, 3), "days", float("nan"), short, f"{note}; look if shorter than the horizon")
    silent = (moment_to_micros(log.observed_until) - last) / MICROS_PER_DAY
    yield _check(
        "silence at the end",
        round(silent, 3),
        "days",
        float("nan"),
        silent > 1,
        "from the last event to the end of observation: do the events really reach that far? look from 1 day",
    )
    none, low = days.loc[days["mark"] == "none", "day"], days.loc[days["mark"] == "low", "day"]
    for name, found, rule in (
        ("days without events", none, "though that weekday has some as a rule"),
        ("days with few events", low, "below a quarter of that weekday's median, four weeks before and after"),
    ):
        listing = ", ".join(f"{day:%Y-%m-%d}" for day in found.head(5)) + (", ..." if len(found) > 5 else "")
        yield _check(
            name,
            len(found),
            "days",
            _part(len(found), len(days)),
            len(found) > 0,
            f"{rule}; look at any{': ' + listing if listing else ''}",
        )


def user_checks(log: EventLog, users: Any, total: int) -> Iterator[tuple[Any, ...]]:
    yield _check("users", total, "users", 1.0, False, "distinct user_id of accepted events")
    spread = log.engine.fetch(reductions.activity(users))
    per_user = spread["events"].to_numpy()
    weight = spread["users"].to_numpy()
    quartiles = [_quantile(per_user, weight, p) for p in (0.25, 0.5, 0.75, 0.99)]
    yield _check(
        "events per user",
        quartiles[1],
        "events",
        float("nan"),
        False,
        f"the median; 99% of users have at most {quartiles[3]:,}, the busiest {int(per_user.max()):,}",
    )
    fence = many_events(quartiles[0], quartiles[2], quartiles[3])
    odd = (spread["events"] > fence) | (spread["fast"] == 1)
    number, rows = int(weight[odd].sum()), int((per_user * weight)[odd].sum())
    yield _check(
        "bot-like users",
        number,
        "users",
        _part(rows, log.rows_accepted),
        number > 0,
        f"more than {fence:,} events (five times what 99% of users have, or three quartile ranges above the third "
        f"quartile on a log scale; at least {_MANY_EVENTS}), or {FAST_EVENTS} and more within a minute; "
        "share of events; look at any",
    )


def many_events(first_quartile: float, third_quartile: float, almost_all: float) -> int:
    """Above how many events a user is like no other: Tukey's outer fence on a log scale, or five times what 99% of
    users have, whichever is less (many bots raise the one, busy people the other), and at least a hundred.

    >>> many_events(4, 16, 50), many_events(1, 2, 400), many_events(1, 2, 3)
    (250, 100, 100)
    """
    fence = third_quartile * (third_quartile / max(first_quartile, 1.0)) ** 3
    return max(_MANY_EVENTS, round(min(fence, 5 * almost_all)))


def _quantile(values: np.ndarray, weight: np.ndarray, share: float) -> int:
    """The smallest value that at least this share of the weight does not exceed; ``values`` ascend."""
    reached = np.searchsorted(np.cumsum(weight), share * weight.sum() - 1e-9)
    return int(values[min(reached, len(values) - 1)])


def name_checks(log: EventLog, events: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    folded = events["event"].str.casefold().str.replace(r"[^0-9a-z\u0080-\U0010ffff]+", "", regex=True)
    alike = events["event"][folded.duplicated(keep=False) & (folded != "")]
    listing = ", ".join(repr(shorten(name, 40)) for name in alike.head(6))
    yield _check("event names", len(events), "names", float("nan"), False, "distinct names (counted up to 10,000)")
    yield _check(
        "names spelled in several ways",
        len(alike),
        "names",
        _part(len(alike), len(events)),
        len(alike) > 0,
        f"equal but for case, spaces and punctuation; look at any{': ' + listing if listing else ''}",
    )
    if log.plan is not None:
        outside = events.loc[~events["in_plan"]]
        top = ", ".join(shorten(name, 40) for name in outside["event"].head(3))
        yield _check(
            "events the plan does not name",
            int(outside["rows"].sum()),
            "events",
            float(outside["share"].sum()),
            not events["in_plan"].any(),
            f"share of events; look if it names none{'; mostly ' + top if top else ''}",
        )


def plan_checks(log: EventLog, users: Any, counts: pd.Series, plan: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    never = plan.loc[plan["users"] == 0, "item"]
    listing = ", ".join(shorten(name, 40) for name in never.head(6))
    yield _check(
        "plan items that never happen",
        len(never),
        "items",
        _part(len(never), len(plan)),
        len(never) > 0,
        f"no user meets them; look at any{': ' + listing if listing else ''}",
    )
    share = _part(counts["at_once"], counts["converted"])
    yield _check(
        "converted at the very first event",
        counts["at_once"],
        "users",
        share,
        share >= 0.05,
        "share of users with a macro; what came before was not recorded, so their time is unknown; look from 5%",
    )
    macros = [macro for macro in log.require_plan("values").macros if macro.value is not None]
    gaps = reductions.value_gaps(log, macros) if macros else pd.DataFrame(columns=["rows", "missing", "negative"])
    for macro, row in zip(macros, gaps.to_dict("records"), strict=True):
        missing, negative = _part(row["missing"], row["rows"]), _part(row["negative"], row["rows"])
        yield _check(
            f"{macro.name} without {macro.value}",
            row["missing"],
            "events",
            missing,
            missing >= 0.01,
            f"share of {macro.name} events; look from 1%",
        )
        if row["negative"]:
            yield _check(
                f"{macro.name} with negative {macro.value}",
                row["negative"],
                "events",
                negative,
                True,
                f"share of {macro.name} events: refunds? look at any",
            )
    segments = list(log.require_plan("segments").segments)
    absent = reductions.missing_at_entry(log, users, segments) if segments else pd.Series(dtype=float)
    for i, column in enumerate(segments):
        share = _part(absent[str(i)], counts["users"])
        yield _check(
            f"users without {column}",
            absent[str(i)],
            "users",
            share,
            share >= 0.05,
            "at their first event, where segments are read; look from 5%",
        )


def maturity_checks(log: EventLog, users: Any, within: int | None) -> Iterator[tuple[Any, ...]]:
    if within is None:
        yield _unknown("mature users", "users", "neither the plan nor horizon= says how long a user must be observed")
        return
    row = log.engine.fetch(reductions.entries(log, users, within)).iloc[0]
    share = _part(row["mature"], row["users"])
    yield _check(
        "mature users",
        row["mature"],
        "users",
        share,
        share < 0.5,
        f"observed for {format_duration(within)} from entry; the others count as open; look below 50%",
    )
