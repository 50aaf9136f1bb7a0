"""read_events: any source into an EventLog, with every row accounted for."""

from __future__ import annotations

import datetime as dt
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import ibis
import pandas as pd

from microconv import conditions
from microconv.durations import micros_to_moment
from microconv.engine import Engine, to_datetime
from microconv.errors import MicroconvWarning, ParameterError, PlanError, SourceError, shorten, unknown_name
from microconv.judging import (
    ADDED,
    BLANK,
    NAIVE,
    REASON,
    TIME_TEXT,
    TimeReading,
    canonical,
    judge,
    mark_repeats,
    source_column,
)
from microconv.log import EventLog
from microconv.plan import Plan, check_events
from microconv.sources import open_source
from microconv.sources.base import failing_clearly
from microconv.sources.raw import RawEvents

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["fit_plan", "load_plan", "read_events"]

_EXACT_TEXT = ("user_id", "time", "event", "event_id", "session_id", "anonymous_id")


def read_events(
    source: Any,
    *,
    plan: Plan | Mapping[str, Any] | str | Path | None = None,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    time_format: str | Sequence[str] | None = None,
    tz: str | None = None,
    observed_until: str | dt.datetime | dt.date | None = None,
    table: str | None = None,
    exact_duplicates: Literal["keep", "reject"] = "keep",
    backend: Any = None,
    memory_limit: str | None = None,
    temp_directory: str | Path | None = None,
    threads: int | None = None,
) -> EventLog:
    """Read events of any layout into an ``EventLog``; every row read is accepted or rejected for one stated reason.

    * ``source``: a path, glob or list of paths (CSV, CSV.gz, Parquet, JSON lines), a pandas, Polars or PyArrow
      frame, a DuckDB relation, an Ibis table, or a URL that ``ibis.connect`` takes (with ``table=``).
    * ``plan``: a ``Plan``, its mapping, or the path of its YAML file.
    * ``format``: ``"auto"``, a kind of file (``"csv"``, ``"parquet"``, ``"jsonl"``) or the export of a tool, of which
      it knows the columns, the unit of time and the nested fields: ``"ga4"`` (GA4's export to BigQuery; what becomes
      what, and its quirks, in ``microconv.sources.ga4``). ``"auto"`` recognises exports and says so in a warning.
    * ``columns``: canonical name -> the source's column, such as ``{"user_id": "visitorid", "event": "action"}``.
    * ``time_unit``: of times that are numbers since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``; never guessed (the
      export of a tool has its own).
    * ``time_format``: strptime patterns for times as text that is not ISO-8601, such as ``"%d/%m/%Y %H:%M"``.
    * ``tz``: the zone of times that name none, such as ``"Europe/Berlin"``; without it they are UTC, with a warning.
    * ``observed_until``: the end of observation. Default: the time of the last event. A later row is "in the future".
      Where it names no zone it is in ``tz``; a date is its first moment.
    * ``exact_duplicates``: ``"reject"`` drops rows that equal another in every column. Rows that repeat an
      ``event_id`` are always rejected but for the earliest.
    * ``backend``: an Ibis connection to work in (a DuckDB's session is set to UTC); else an embedded DuckDB with
      ``memory_limit`` (``"2GB"``), ``temp_directory`` to spill to, and ``threads``.

    Raises ``SourceError`` (nothing readable, a column missing, no row usable), ``PlanError`` (the plan is faulty or
    names columns the events lack) and ``ParameterError``. Warns (``MicroconvWarning``) of what it took for granted.

    >>> import microconv as mc
    >>> rows = pd.DataFrame({"visitor": [7, 7, 8], "at": [0, 86_400, 90_000], "event": ["visit", "purchase", "visit"]})
    >>> log = mc.read_events(rows, columns={"user_id": "visitor", "time": "at"}, time_unit="s")
    >>> log.accounting[["reason", "rows"]]
         reason  rows
    0  accepted     3
    >>> log.observed_until.isoformat()
    '1970-01-02T01:00:00+00:00'
    """
    if exact_duplicates not in ("keep", "reject"):
        raise ParameterError(unknown_name("exact_duplicates", exact_duplicates, ["keep", "reject"]))
    patterns = tuple(time_format) if isinstance(time_format, list | tuple) else (time_format,)
    times = TimeReading(time_unit, patterns if time_format is not None else (), tz)
    until = to_datetime(observed_until, "observed_until", times.zone) if observed_until is not None else None
    chosen_plan = load_plan(plan) if plan is not None else None
    wanted = dict(columns or {})
    raw = open_source(
        source,
        format=format,
        table=table,
        backend=backend,
        memory_limit=memory_limit,
        temp_directory=temp_directory,
        threads=threads,
        text_columns=tuple(source_column(wanted, name) for name in _EXACT_TEXT),
    )
    mapping = {**raw.columns, **wanted}
    if times.unit is None and mapping.get("time") == raw.columns.get("time"):
        times = replace(times, unit=raw.time_unit)
    with failing_clearly(f"{raw.description} cannot be read"):  # a file may be damaged where only a scan gets to
        log = _judged_log(raw, mapping, times, until, exact_duplicates == "reject")
    for note in log.notes:
        warnings.warn(note, MicroconvWarning, stacklevel=2)
    return fit_plan(replace(log, plan=chosen_plan)) if chosen_plan is not None else log


def _judged_log(
    raw: RawEvents, mapping: Mapping[str, str], times: TimeReading, until: dt.datetime | None, no_duplicates: bool
) -> EventLog:
    """Judge every row, copy what would be costly to judge again, and count."""
    judged = judge(raw.engine, canonical(raw.engine, raw.table, mapping, times), until)
    copied = not raw.columnar or raw.table[source_column(mapping, "time")].type().is_string()
    if copied:
        judged = raw.engine.materialise(judged)  # text is parsed once, not at every analysis
    if no_duplicates:
        own = [column for column in judged.columns if column not in (REASON, NAIVE, BLANK)]
        judged = raw.engine.materialise(mark_repeats(judged, own, "exact duplicate"))
    if "event_id" in judged.columns and _repeats(raw.engine, judged):
        judged = raw.engine.materialise(mark_repeats(judged, ["event_id"], "duplicate event_id"))
    log = _account(raw, judged, mapping, times, until)
    if not copied and log.rows_rejected == 0:
        bare = canonical(raw.engine, raw.table, mapping, times, blanks=False)
        log = replace(log, table=bare.select(*log.table.columns))
    return log


def _repeats(engine: Engine, judged: ir.Table) -> bool:
    """Whether an event_id may occur twice: 64-bit hashes that are all distinct prove that none does."""
    ids = judged.filter(judged[REASON].isnull(), judged.event_id.notnull())
    row = engine.fetch(ids.agg(rows=ids.count(), distinct=ids.event_id.hash().nunique())).iloc[0]
    return bool(row["rows"] > row["distinct"])


def _account(
    raw: RawEvents, judged: ir.Table, columns: Mapping[str, str], times: TimeReading, until: dt.datetime | None
) -> EventLog:
    """Count the verdicts in one scan and keep the accepted rows."""
    engine = raw.engine
    accepted = judged[REASON].isnull()
    micros = engine.micros(judged.time)
    counts = engine.fetch(
        judged.agg(
            rows=judged.count(),
            accepted=accepted.sum().cast("int64"),
            first=micros.min(where=accepted),
            last=micros.max(where=accepted),
            naive=(accepted & judged[NAIVE]).sum().cast("int64"),
            # Independent of row order and engine, and cheap: enough to tell one input from another.
            # Small enough that ten thousand million rows do not overflow.
            digest=(micros % 9_999_991 * (1 + judged.event.length() % 7)).sum(where=accepted).cast("int64"),
        )
    ).iloc[0]
    rows = int(counts["rows"])
    if rows == 0 and not raw.malformed:
        raise SourceError(f"{raw.description} holds no rows. Give a source with at least one event.")
    entries: list[tuple[str, int, str]] = []
    usable = int(counts["accepted"]) if pd.notna(counts["accepted"]) else 0  # a sum over no row is null
    if rows > usable:
        entries = _rejections(engine, judged)
    entries += [(bad.reason, bad.rows, bad.example) for bad in raw.malformed]
    accounting = pd.DataFrame([("accepted", usable, ""), *entries], columns=["reason", "rows", "example"])
    if usable == 0:
        listing = "; ".join(f"{reason}: {n:,} (for example {example})" for reason, n, example in entries)
        hint = _time_hint(entries, times)
        raise SourceError(
            f"None of the {int(accounting['rows'].sum()):,} rows of {raw.description} is usable. {listing}.{hint}"
        )
    kept = judged.filter(accepted) if entries else judged
    own = [column for column in judged.columns if column not in ADDED]
    why = "reason" if "reason" not in {column.casefold() for column in own} else "rejected_for"
    refused = judged.filter(judged[REASON].notnull()).drop(NAIVE, BLANK, "time")
    refused = refused.rename({why: REASON, "time": TIME_TEXT})
    notes = list(raw.notes)
    if counts["naive"] and times.tz is None:
        notes.append(
            f"{int(counts['naive']):,} of {usable:,} times name no time zone and are taken as UTC. "
            "Say tz='Europe/Berlin' (or tz='UTC' to agree)."
        )
    if entries:
        share = accounting["rows"][1:].sum()
        notes.append(
            f"{int(share):,} of {int(accounting['rows'].sum()):,} rows rejected ("
            + ", ".join(f"{reason}: {n:,}" for reason, n, _ in entries)
            + "); see log.accounting."
        )
    notes += _lost_values(raw, columns)
    digest = f"{usable}|{counts['first']}|{counts['last']}|{counts['digest']}"
    last = micros_to_moment(int(counts["last"]))
    return EventLog(
        engine=engine,
        table=kept.select(own),
        accounting=accounting,
        observed_from=micros_to_moment(int(counts["first"])),
        observed_until=until or last,
        source=raw.description,
        rejected=refused if rows > usable else None,
        notes=tuple(notes),
        fingerprint=hashlib.sha256(digest.encode()).hexdigest()[:16],
    )


def _rejections(engine: Engine, judged: ir.Table) -> list[tuple[str, int, str]]:
    bad = judged.filter(judged[REASON].notnull())
    example = ibis.literal("user_id=").concat(
        bad.user_id.cast("string").fill_null("null").substr(0, 40),
        ", time=", bad[TIME_TEXT].fill_null("null").substr(0, 40),
        ", event=", bad.event.fill_null("null").substr(0, 40),
    )  # fmt: skip
    found = bad.group_by(REASON).agg(rows=bad.count(), example=example.min())
    frame = engine.fetch(found).sort_values(["rows", REASON], ascending=[False, True])
    return [(str(reason), int(n), str(text)) for reason, n, text in frame[[REASON, "rows", "example"]].to_numpy()]


def _time_hint(entries: list[tuple[str, int, str]], times: TimeReading) -> str:
    reasons = {reason for reason, *_ in entries}
    if "unparsable time" in reasons and times.unit is not None:
        return f" Numbers are read as time_unit={times.unit!r} since 1970, from year 1 to 9999: is it the right unit?"
    if "unparsable time" in reasons:
        return (
            " Times must be ISO-8601 such as 2026-01-31T12:00:00+01:00; "
            "give time_unit= for numbers since 1970 or time_format= for another spelling."
        )
    if "time in the future" in reasons:
        return " Every event is later than observed_until."
    return ""


def _lost_values(raw: RawEvents, columns: Mapping[str, str]) -> list[str]:
    """A value that is text but no number is counted, not lost in silence."""
    name = source_column(columns, "value")
    if name not in raw.table.columns or not raw.table[name].type().is_string():
        return []
    text = raw.engine.trim(raw.table[name])
    wrong = raw.table.filter(text != "", text.try_cast("float64").isnull())
    row = raw.engine.fetch(wrong.agg(rows=wrong.count(), example=wrong[name].min())).iloc[0]
    if not row["rows"]:
        return []
    return [
        f"{int(row['rows']):,} values are not numbers and count as missing (for example {shorten(row['example'])!r})."
    ]


def load_plan(plan: Plan | Mapping[str, Any] | str | Path) -> Plan:
    """A plan from a ``Plan``, a mapping, or the path of a YAML file."""
    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, Mapping):
        return Plan.model_validate(dict(plan))
    if isinstance(plan, str | Path):
        return Plan.from_yaml(plan)
    raise PlanError(f"plan={shorten(repr(plan))} is not a plan. Give a Plan, a mapping or the path of a YAML file.")


def fit_plan(log: EventLog) -> EventLog:
    """Check the log's plan against its events.

    Raises ``PlanError`` when the plan needs a column that the events lack; warns, with the nearest event name, of items
    whose event never occurs.
    """
    plan = log.plan
    if plan is None:
        return log
    for item in plan.items:
        needed = [column for column in (getattr(item, "value", None), _total_column(item)) if column]
        for column in needed:
            if column not in log.table.columns:
                raise PlanError(f"Plan item {item.name!r}: " + unknown_name("column", column, log.table.columns))
            kind = log.table[column].type()
            if not (kind.is_numeric() or kind.is_boolean()):
                raise PlanError(
                    f"Plan item {item.name!r}: the column {column!r} must hold numbers, but its type is {kind}. "
                    "Mend the source, or map the column to `value` (columns=), whose text is read as numbers."
                )
        if item.where:
            conditions.parse(item.where).to_ibis(log.table)
    missing = [column for column in plan.segments if column not in log.table.columns]
    if missing:
        raise PlanError("Plan segments: " + unknown_name("column", missing[0], log.table.columns))
    named = sorted({item.event for item in plan.items if item.event})
    present = log.table.filter(log.table.event.isin(named)).select("event").distinct()
    absent = set(named) - set(log.engine.fetch(present)["event"])
    notes = tuple(check_events(plan, [*log.event_counts.index, *(set(named) - absent)])) if absent else ()
    for note in notes:
        warnings.warn(note, MicroconvWarning, stacklevel=3)
    return replace(log, notes=(*log.notes, *notes), plan_notes=notes)


def _total_column(item: Any) -> str | None:
    total = getattr(item, "total", None)
    return total.column if total is not None else None
