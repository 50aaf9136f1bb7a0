"""Canonical columns and the verdict on every row: which become events, and the one reason why another does not."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis

from microconv.durations import moment_to_micros
from microconv.engine import Engine, has_offset
from microconv.errors import ParameterError, SourceError, nearest, shorten, unknown_name

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = [
    "ADDED",
    "CANONICAL",
    "REASON",
    "TIME_TEXT",
    "TimeReading",
    "canonical",
    "judge",
    "mark_repeats",
    "source_column",
]

CANONICAL = (
    "user_id time event event_id session_id anonymous_id value currency channel source medium campaign device country"
    " page item variant consent"
).split()
_REQUIRED = ("user_id", "time", "event")
_LIKELY = {
    "user_id": ["user", "visitorid", "customer_id", "distinct_id", "client_id", "case_id", "user_pseudo_id", "mql_id"],
    "time": ["timestamp", "event_time", "ts", "datetime", "date", "created_at", "event_timestamp", "occurred_at"],
    "event": ["event_name", "event_type", "action", "activity", "name", "type"],
}
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
_LAST = 253_402_300_799_999_999  # the end of the year 9999, past which no engine agrees with another
_FIRST = -62_135_596_800_000_000  # the start of the year 1

# Columns that judging and reductions add beside the events' own; they never reach the accepted events.
REASON, TIME_TEXT, NAIVE, BLANK = "_reason", "_time_text", "_naive", "_blank"
ADDED = (REASON, TIME_TEXT, NAIVE, BLANK)
_TAKEN = {*ADDED, "_t", "_number", "_sum", "_reached", "_rank", "_same"}


@dataclass(frozen=True)
class TimeReading:
    """How the caller says that times are written."""

    unit: str | None = None
    formats: tuple[str, ...] = ()
    tz: str | None = None

    def __post_init__(self) -> None:
        for pattern in self.formats:
            if not isinstance(pattern, str):
                raise ParameterError(f"time_format={shorten(repr(pattern))} is no strptime pattern such as '%d/%m/%Y'.")
        if self.unit is not None and self.unit not in _UNITS:
            raise ParameterError(unknown_name("time_unit", self.unit, _UNITS))
        if self.tz is not None:
            try:
                zoneinfo.ZoneInfo(self.tz)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
                close = nearest(self.tz, sorted(zoneinfo.available_timezones()))
                guess = f" Did you mean {close!r}?" if close else " Write it as 'Europe/Berlin' or 'UTC'."
                raise ParameterError(f"Unknown time zone tz={shorten(repr(self.tz))}.{guess}") from None

    @property
    def zone(self) -> str:
        """The zone of times that name none."""
        return self.tz or "UTC"


def source_column(columns: Mapping[str, str], canonical_name: str) -> str:
    """The source's column that carries a canonical one."""
    return columns.get(canonical_name, canonical_name)


def canonical(
    engine: Engine, table: ir.Table, columns: Mapping[str, str], times: TimeReading, *, blanks: bool = True
) -> ir.Table:
    """The source's table with canonical columns first, its other columns kept, and the time parsed.

    Empty text counts as missing; with ``blanks=False`` users and events are known to have none, and engines can then
    look up events in a file's own index.
    Raises ``SourceError`` when a mapped or required column is missing or times are numbers of unstated unit.
    """
    available = list(table.columns)
    for name, column in columns.items():
        if not isinstance(name, str) or not name or name.casefold() in _TAKEN:
            raise ParameterError(f"columns={{{name!r}: ...}}: that name is not free. Choose another.")
        if column not in available:
            raise SourceError(f"columns={{{name!r}: {column!r}}}: " + unknown_name("column", column, available))
    missing = [name for name in _REQUIRED if source_column(columns, name) not in available]
    if missing:
        raise SourceError(_missing_columns(missing, available))
    named = {name: source_column(columns, name) for name in CANONICAL if source_column(columns, name) in available}
    named |= {name: column for name, column in columns.items() if name not in CANONICAL}
    chosen = {name: table[column] for name, column in named.items()}
    for column in available:
        if column not in named.values():
            chosen[_free_name(column, [*chosen, *available])] = table[column]
    raw_time = chosen["time"]
    moment, naive = _read_time(engine, raw_time, times, named["time"])
    blank = raw_time.isnull() | (engine.trim(raw_time) == "") if raw_time.type().is_string() else raw_time.isnull()
    chosen |= {"time": moment, TIME_TEXT: raw_time.cast("string"), NAIVE: naive, BLANK: blank}
    # Whole numbers stay numbers inside the engine, where they group and sort at a third of the cost of text.
    for name in ("user_id", "event", "event_id", "session_id", "anonymous_id"):
        if name in chosen and not (name == "user_id" and chosen[name].type().is_integer()):
            chosen[name] = _text(chosen[name], blanks or name not in ("user_id", "event"))
    if "value" in chosen:
        value = chosen["value"]
        number = engine.trim(value).try_cast("float64") if value.type().is_string() else value.cast("float64")
        chosen["value"] = ibis.ifelse(number.isnan() | number.isinf(), ibis.null("float64"), number)
    return table.select(**chosen)


def _free_name(column: str, used: Sequence[str]) -> str:
    """The name that a source column keeps, or ``source_<name>`` where a canonical or internal column has it."""
    taken = {name.casefold() for name in used if name != column} | _TAKEN
    if column.casefold() not in taken and used.count(column) < 2:
        return column
    name = f"source_{column}"
    while name.casefold() in taken:
        name = f"source_{name}"
    return name


def _text(column: ir.Value, blanks: bool) -> ir.StringValue:
    kind = column.type()
    if kind.is_string():
        return column.nullif("") if blanks else column
    if not (kind.is_floating() or kind.is_decimal()):
        return column.cast("string")
    # Whole numbers become floats where one is missing: 17.0 is the user 17, and NaN is nobody.
    whole = column.try_cast("int64")
    text = ibis.ifelse(whole.cast(kind) == column, whole.cast("string"), column.cast("string"))
    return ibis.ifelse(column.isnan(), ibis.null("string"), text) if kind.is_floating() else text


def _missing_columns(missing: Sequence[str], available: Sequence[str]) -> str:
    hints = {}
    for name in missing:
        likely = next((c for guess in [name, *_LIKELY[name]] for c in available if c.casefold() == guess), None)
        hints[name] = likely or nearest(name, available, 0.5) or "your_column"
    mapping = ", ".join(f"{name!r}: {column!r}" for name, column in hints.items())
    listing = ", ".join(repr(shorten(column, 40)) for column in available[:30])
    return (
        f"The events have no column {' and no column '.join(repr(name) for name in missing)}. "
        f"Their columns are {listing}. Map them with columns={{{mapping}}}."
    )


def _read_time(
    engine: Engine, raw: ir.Value, times: TimeReading, column: str
) -> tuple[ir.TimestampValue, ir.BooleanValue]:
    """A time in UTC, and whether it named no zone."""
    kind = raw.type()
    never = ibis.literal(False)
    if kind.is_string():
        parsed = engine.parse_time(raw, times.zone, times.formats)
        naive = ~has_offset(raw)
        if any("%z" in pattern for pattern in times.formats):
            local = [pattern for pattern in times.formats if "%z" not in pattern]
            naive &= engine.parse_time(raw, times.zone, tuple(local)).notnull()
        if times.unit is None:
            return parsed, naive
        text = engine.trim(raw)
        digits = ibis.ifelse(text.re_search(r"^[+-]?\d+$"), text, ibis.null("string"))  # a cast would round 1.5
        number = _scaled(digits.try_cast("int64"), text.try_cast("float64"), times.unit)
        return ibis.coalesce(engine.from_micros(number).cast(parsed.type()), parsed), naive & number.isnull()
    if kind.is_numeric() and not kind.is_boolean():
        if times.unit is None:
            raise SourceError(
                f"The time column {column!r} holds numbers. "
                "Say their unit since 1970: time_unit='s', 'ms', 'us' or 'ns'."
            )
        if kind.is_integer() or (kind.is_decimal() and kind.scale == 0):
            return engine.from_micros(_scaled(raw.try_cast("int64"), None, times.unit)), never
        return engine.from_micros(_scaled(None, raw.cast("float64"), times.unit)), never
    if kind.is_date():
        return engine.local_to_utc(raw.cast("timestamp"), times.zone), ibis.literal(True)
    if kind.is_timestamp():
        if kind.timezone is not None or engine.dialect == "pyspark":  # Spark's own timestamps are instants
            return raw, never
        return engine.local_to_utc(raw, times.zone), ibis.literal(True)
    raise SourceError(f"The time column {column!r} is of type {kind}. It must be a time, text or a number.")


def _scaled(whole: ir.Value | None, fraction: ir.Value | None, unit: str) -> ir.IntegerValue:
    """A number of units since 1970 in microseconds; null outside the years 1 to 9999. Whole numbers stay exact."""
    scale = _UNITS[unit]
    parts = []
    if whole is not None and unit == "ns":
        # Engines divide whole numbers as floats: exact only while the quotient is small.
        seconds = whole // 1_000_000_000
        parts.append(seconds.cast("int64") * 1_000_000 + ((whole - seconds * 1_000_000_000) // 1_000).cast("int64"))
    elif whole is not None:
        inside = whole.between(int(_FIRST / scale) + 1, int(_LAST / scale) - 1)
        parts.append(ibis.ifelse(inside, whole, ibis.null("int64")) * int(scale))
    if fraction is not None:
        micros = fraction * float(scale)
        inside = micros.between(float(_FIRST), float(_LAST)) & ~micros.isnan()
        parts.append(ibis.ifelse(inside, micros, ibis.null("float64")).round().cast("int64"))
    return ibis.coalesce(*parts) if len(parts) > 1 else parts[0]


def judge(engine: Engine, table: ir.Table, observed_until: dt.datetime | None) -> ir.Table:
    """The canonical table with ``_reason``: null for an event, else the first reason why the row is none."""
    micros = engine.micros(table.time)  # null for a time that is infinite
    late = []
    if observed_until is not None:
        late = [(micros > moment_to_micros(observed_until), "time in the future")]
    reason = ibis.cases(
        (table.user_id.isnull(), "missing user_id"),
        (table.event.isnull(), "missing event"),
        (table[BLANK], "missing time"),
        (~micros.between(_FIRST, _LAST).fill_null(False), "unparsable time"),
        *late,
        else_=ibis.null("string"),
    )
    return table.mutate(**{REASON: reason})


def mark_repeats(table: ir.Table, keys: Sequence[str], reason: str) -> ir.Table:
    """Give ``reason`` to every accepted row after the first with the same ``keys``.

    The earliest stays; of equally early ones that which comes first by its other columns, so that the order of the rows
    does not matter.
    """
    others = [table[name] for name in table.columns if name not in (REASON, NAIVE, BLANK, "time", *keys)]
    sortable = [one if one.type().is_primitive() or one.type().is_string() else one.cast("string") for one in others]
    order = ibis.window(
        group_by=[table[key] for key in keys],
        order_by=[table[REASON].isnull().desc(), table.time, *sortable],
    )
    candidate = table[REASON].isnull()
    for key in keys if len(keys) == 1 else ():
        candidate &= table[key].notnull()
    repeated = candidate & (ibis.row_number().over(order) > 0)
    return table.mutate(**{REASON: ibis.ifelse(repeated, reason, table[REASON])})
