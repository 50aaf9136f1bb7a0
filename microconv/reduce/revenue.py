"""What users pay: each payment once, in whole hundredths of one currency, with its account; sums by user and pattern.

A payment belongs to a conversion: to the latest purchase at or before it. Refunds are payments below zero. Money stays
in whole numbers from the first rounding on, so that parts add up to the whole and the order of rows cannot matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.durations import MICROS_PER_DAY, moment_to_micros
from microconv.errors import ParameterError, shorten
from microconv.reduce.items import TIME, is_plain, matches, occurring, tie_columns, with_time
from microconv.reduce.money import AFTER, BEFORE, CENTS, COUNTED, FATES, LATER, NO_VALUE, Account, RevenueTerms, some

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.plan import Item
    from microconv.reduce.entrants import People
    from microconv.reduce.states import Layout

__all__ = [
    "Account",
    "Payments",
    "RevenueTerms",
    "amounts",
    "outside_journeys",
    "payments",
    "revenue_by_pattern",
    "revenue_of",
    "worth_by_pattern",
]

_YEAR = 365.25 * MICROS_PER_DAY


@dataclass(frozen=True, eq=False)
class Payments:
    """``table``: one row per payment that counts: ``user_id, at`` (microseconds since 1970), ``cents`` (int64, below
    zero for refunds), ``first`` (the user's first conversion) and ``bought`` (the purchase that the payment belongs
    to).
    """

    table: ir.Table
    account: Account


def payments(log: EventLog, target: Item, terms: RevenueTerms | None = None) -> Payments:
    """Every payment of users who converted, from their first conversion on.

    A purchase is an event that meets the target's definition (also the earlier and later ones where the target is an
    nth or a total) and has no value below zero; of payments and purchases at one instant the payments belong to the
    purchases. Raises ``ParameterError`` without a column of money, and where several currencies meet without
    ``terms.rates`` for all but one.
    """
    terms = terms if terms is not None else RevenueTerms()
    rows = log.engine.materialise(_dated(log, target, terms))
    home, rates = _exchange(log.engine, rows, target, terms)
    priced = log.engine.materialise(_priced(rows, terms, rates))
    counted = priced.filter(priced.fate == FATES.index(COUNTED))
    table = counted.select("user_id", "at", "cents", "first", "bought")
    return Payments(log.engine.materialise(table), _account(log, priced, terms, home, rates))


def revenue_of(paid: Payments) -> ir.Table:
    """``user_id, cents``: what each user who paid anything pays from the first conversion on, refunds subtracted."""
    table = paid.table
    return table.group_by("user_id").agg(cents=table.cents.sum().cast("int64"))


def amounts(log: EventLog, target: Item, terms: RevenueTerms, more: Mapping[str, str] | None = None) -> ir.Table:
    """Every event that moves money: ``user_id, at, hit`` (the target), ``buy`` (a purchase), ``refund``, ``value``
    (float; null: none; below zero for refunds), ``code`` (its currency; empty: none), and ``more``: names
    with the columns of the log that they stand for.
    """
    column = _value_column(log, target, terms)
    timed = with_time(log.engine, log.table)
    hit = matches(target, timed)
    refund: ir.BooleanValue = reduce(or_, [matches(item, timed) for item in terms.refunds], ibis.literal(False))
    number = timed[column].cast("float64")
    number = ibis.ifelse(number.isnan() | number.isinf(), ibis.null("float64"), number)
    code: ir.StringValue = ibis.literal("")
    if "currency" in log.columns:
        code = log.engine.trim(timed.currency.cast("string")).upper().fill_null("")
    rows = timed.filter(hit | refund)
    rows = rows.select(
        "user_id",
        at=rows[TIME],
        hit=hit,
        refund=refund | (number < 0).fill_null(False),
        value=number,
        code=code,
        **{name: rows[column] for name, column in (more or {}).items()},
    )
    return rows.mutate(buy=rows.hit & ~rows.refund, value=rows.refund.ifelse(-rows.value.abs(), rows.value))


def _value_column(log: EventLog, target: Item, terms: RevenueTerms) -> str:
    column = terms.value if terms.value is not None else getattr(target, "value", None)
    if column is None:
        raise ParameterError(
            f"The target {target.name!r} has no value: nothing says which column holds the money. Write value: into "
            "the plan's macro, or name the column."
        )
    log.require_columns([column], "value")
    kind = log.table[column].type()
    if not (kind.is_numeric() or kind.is_boolean()):
        raise ParameterError(f"value={column!r} must hold numbers, but its type is {kind}.")
    return str(column)


def _dated(log: EventLog, target: Item, terms: RevenueTerms) -> ir.Table:
    """The events that move money, with the user's first conversion (null: none) and the purchase they belong to."""
    rows = amounts(log, target, terms)
    users = ibis.window(group_by=rows.user_id)
    # By time and not by rows: of a purchase and a refund at one instant, neither comes first.
    so_far = ibis.range_window(group_by=rows.user_id, order_by=rows["at"], preceding=None, following=0)
    nothing = ibis.null("int64")
    bought = rows.buy.ifelse(rows["at"], nothing).max().over(so_far)
    if is_plain(target):
        rows = rows.mutate(bought=bought, first=rows.hit.ifelse(rows["at"], nothing).min().over(users))
    else:
        timed = with_time(log.engine, log.table)
        hits = occurring(target, timed, tie_columns(timed, [target]))
        once = hits.group_by("user_id").agg(first=hits[TIME].min())
        once = once.rename(_user="user_id")
        rows = rows.mutate(bought=bought)
        rows = rows.left_join(once, rows.user_id == once["_user"]).drop("_user")
    return rows.mutate(bought=ibis.greatest(rows.bought.fill_null(rows["first"]), rows["first"]))


def _exchange(engine: Engine, rows: ir.Table, target: Item, terms: RevenueTerms) -> tuple[str, dict[str, float]]:
    """The currency that money is reported in, and what one unit of each currency found is worth in it."""
    valued = rows.filter(rows.value.notnull())
    frame = engine.fetch(valued.group_by("code").agg(events=valued.count())).sort_values("code")
    found = {str(code): int(events) for code, events in zip(frame["code"], frame["events"], strict=True)}
    home = terms.currency or getattr(target, "currency", None)
    codes = [code for code in found if code]
    listed = ", ".join(f"{shorten(code, 10)} ({some(found[code], 'payment')})" for code in codes)
    if home is None:
        if len(codes) > 1 or (codes and "" in found):
            blank = f"; {some(found[''], 'payment')} without" if "" in found else ""
            raise ParameterError(
                f"Payments are in {listed}{blank}, and nothing says what money to report in. Pass currency="
                f"{codes[0]!r} with rates= for the others, or give the macro its currency in the plan."
            )
        home = codes[0] if codes else ""
    if terms.rates.get(home, 1) != 1:
        raise ParameterError(f"rates: one {home} is one {home}, not {terms.rates[home]!r}. Leave it out.")
    unknown = [code for code in codes if code != home and code not in terms.rates]
    if unknown:
        example = f"rates={{{unknown[0]!r}: 0.92}}"
        raise ParameterError(
            f"Payments are in {listed}; they are reported in {home} and never added as if they were one currency. "
            f"Pass {example} (what one {unknown[0]} is worth in {home}) for {', '.join(unknown)}, or filter the log."
        )
    return home, {code: float(terms.rates[code]) if code and code != home else 1.0 for code in found}


def _priced(rows: ir.Table, terms: RevenueTerms, rates: Mapping[str, float]) -> ir.Table:
    """Each payment in whole hundredths, and what becomes of it."""
    factor: ir.Value = ibis.literal(CENTS * terms.margin, "float64")
    for code, rate in rates.items():
        if rate != 1.0:
            factor = (rows.code == code).ifelse(ibis.literal(CENTS * rate * terms.margin, "float64"), factor)
    money = rows.value * factor
    if terms.discount_rate:
        years = ibis.greatest(rows["at"] - rows["first"], 0).cast("float64") / _YEAR
        money = money / ibis.literal(1.0 + terms.discount_rate) ** years
    first = rows["first"]
    judged = [
        (rows.value.isnull(), NO_VALUE),
        (first.isnull() | (rows["at"] < first).fill_null(True), BEFORE),
    ]
    if terms.within is not None:
        judged.append((rows["at"] - first > terms.within, AFTER))
    if terms.revenue == "first":
        judged.append((rows.bought > first, LATER))
    fate: ir.Value = ibis.literal(FATES.index(COUNTED), "int16")
    for holds, name in reversed(judged):
        fate = holds.fill_null(False).ifelse(FATES.index(name), fate)
    return rows.select(
        "user_id", "at", "first", "bought", "refund", "code", "value",
        fate=fate.cast("int16"), cents=money.round().cast("int64").fill_null(0),
    )  # fmt: skip


def _account(log: EventLog, priced: ir.Table, terms: RevenueTerms, home: str, rates: Mapping[str, float]) -> Account:
    fetch = log.engine.fetch
    by_fate = priced.group_by("fate").agg(
        events=priced.count(), refunds=priced.refund.cast("int64").sum(), cents=priced.cents.sum().cast("int64")
    )
    frame = fetch(by_fate).set_index("fate").sort_index()
    # The first line is there even where nothing counts.
    frame = frame.reindex(sorted({FATES.index(COUNTED), *frame.index}), fill_value=0).astype("int64")
    frame.insert(0, "fate", [FATES[i] for i in frame.index])
    valued = priced.filter(priced.value.notnull())
    paid = valued.group_by("code").agg(
        events=valued.count(), hundredths=(valued.value * CENTS).round().cast("int64").sum().cast("int64")
    )
    paid = fetch(paid)
    # What names no currency is in the one of the report.
    named = paid.assign(currency=paid["code"].replace("", home), rate=[rates[code] for code in paid["code"]])
    by_currency = named.groupby(["currency", "rate"], as_index=False, sort=True)[["events", "hundredths"]].sum()
    converted = priced.filter(priced["first"].notnull()).group_by("user_id").agg(first=priced["first"].min())
    until = moment_to_micros(log.observed_until)
    unfinished = (converted["first"] + (terms.within or 0) > until).cast("int64").sum()
    counts = fetch(converted.agg(conversions=converted.count(), open=unfinished)).fillna(0).iloc[0]
    return Account(
        currency=home,
        frame=frame.reset_index(drop=True),
        by_currency=by_currency,
        conversions=int(counts["conversions"]),
        open_conversions=int(counts["open"]),
    )


def revenue_by_pattern(people: People, marked: ir.Table, layout: Layout, paid: Payments | None) -> pd.DataFrame:
    """Money and conversions by what was done before: the state's columns, the attributes, ``conversions, payments,
    cents``; one row per pattern that occurs, in order.

    ``conversions``: journeys that end in the target, in the state at their end (``marked`` is ``states.moments``).
    ``cents``: exact sums of the payments of these users, each in the state just before the purchase that it belongs
    to, which may be a later one than the first. Without ``paid`` there are conversions only.
    """
    frame = _conversions(people, marked, layout)
    keys = ["cell", "state"]
    if paid is not None:
        users = people.table.filter(people.table.cause == 1)
        table = paid.table.rename(_user="user_id")
        rows = users.join(table, users.user_id == table["_user"])
        # The journey ends at the first conversion; in half microseconds since time zero, as everything in a state.
        bought = rows["stop"] + 2 * (rows.bought - rows["first"])
        first = (rows.enter == 0).ifelse(1, rows.enter)  # as states.moments: who enters at zero has done nothing yet
        passed = []
        for micro, delay in layout.moments:
            done = rows[f"done_{micro}"]
            passed.append(done.notnull() & (ibis.greatest(done + 2 * delay, first) < bought).fill_null(False))
        rows = rows.select("cell", "cents", state=layout.code(passed))
        sums = rows.group_by(keys).agg(payments=rows.count(), cents=rows.cents.sum().cast("int64"))
        # Nullable whole numbers: floats, which a missing row would make of them, end at 2^53.
        money = people.engine.fetch(sums).astype("Int64")
        frame = frame.astype("Int64").merge(money, how="outer", on=keys).fillna(0).astype("int64")
    return _decoded(people, layout, frame)


def worth_by_pattern(people: People, marked: ir.Table, layout: Layout, paid: Payments) -> pd.DataFrame:
    """What a conversion brings by the state at it: the state's columns, the attributes, ``conversions, cents`` and
    ``cents_squared`` (float), sums over users of what each pays from the first conversion on, and of its square.

    Where ``cents`` are those of ``revenue_by_pattern`` in the state of a later purchase, here they stay with the first.
    """
    state = layout.code([marked[f"m_{i}"] < marked["stop"] for i in range(len(layout.moments))])
    ends = marked.filter(marked.cause == 1).select("user_id", "cell", state=state)
    money = revenue_of(paid).rename(_user="user_id")
    rows = ends.left_join(money, ends.user_id == money["_user"]).drop("_user")
    rows = rows.mutate(cents=rows.cents.fill_null(0))
    worth = rows.cents.cast("float64")
    sums = rows.group_by(["cell", "state"]).agg(
        conversions=rows.count(), cents=rows.cents.sum().cast("int64"), cents_squared=(worth * worth).sum()
    )
    return _decoded(people, layout, people.engine.fetch(sums))


def outside_journeys(people: People, paid: Payments) -> pd.DataFrame:
    """Money that counts but is paid by users whose journey does not end in the target (never at risk, another end
    first): one row, ``users, payments, cents``. With ``revenue_by_pattern`` it makes up the account.
    """
    converts = people.table.filter(people.table.cause == 1).select("user_id")
    rest = paid.table.anti_join(converts, "user_id")
    sums = rest.agg(users=rest.user_id.nunique(), payments=rest.count(), cents=rest.cents.sum().cast("int64"))
    return people.engine.fetch(sums).fillna(0).astype("int64")


def _conversions(people: People, marked: ir.Table, layout: Layout) -> pd.DataFrame:
    state = layout.code([marked[f"m_{i}"] < marked["stop"] for i in range(len(layout.moments))])
    ends = marked.filter(marked.cause == 1).select("cell", state=state)
    return people.engine.fetch(ends.group_by(["cell", "state"]).agg(conversions=ends.count()))


def _decoded(people: People, layout: Layout, frame: pd.DataFrame) -> pd.DataFrame:
    """Cells and states by what they mean, in their order; whole numbers as such."""
    frame = frame.sort_values(["cell", "state"], ignore_index=True)
    columns = [column for column in frame if column not in ("cell", "state")]
    whole = {column: "int64" for column in columns if column != "cents_squared"}
    cells = people.cells.loc[frame["cell"].to_numpy()].reset_index(drop=True)
    states = pd.DataFrame(layout.decode(frame["state"].to_numpy()), index=frame.index)
    return pd.concat([states, cells, frame[columns].astype(whole)], axis="columns")
