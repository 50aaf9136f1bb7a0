"""EventLog: the validated events with their plan, their quality account and the end of observation."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.durations import moment_to_micros
from microconv.engine import Engine, to_datetime
from microconv.errors import ParameterError, PlanError, shorten, unknown_name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.plan import Plan
    from microconv.results import Result

__all__ = ["EventLog"]

_MOST_LISTED = 1_000  # more named users are joined as a table: a query of a million words takes minutes to read


@dataclass(frozen=True, eq=False)
class EventLog:
    """Events ready to be counted. Made by ``read_events``; every analysis takes one.

    * ``accounting``: a frame ``reason, rows, example``; its first row is ``accepted``, and its rows add up to all that
      was read.
    * ``observed_until``: the end of observation (UTC); who has not converted by then is censored.
    * ``notes``: what a reader of the results should know about the events.
    * ``table``: the accepted events as the engine holds them (``user_id`` in its own type); ``events`` has canonical
      types.
    """

    engine: Engine
    table: ir.Table = field(repr=False)
    accounting: pd.DataFrame = field(repr=False)
    observed_from: dt.datetime
    observed_until: dt.datetime
    source: str
    plan: Plan | None = None
    rejected: ir.Table | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    fingerprint: str = ""
    plan_notes: tuple[str, ...] = field(default=(), repr=False)  # those of the notes that are about the plan

    @property
    def rows_read(self) -> int:
        """All rows of the source, accepted and rejected."""
        return int(self.accounting["rows"].sum())

    @property
    def rows_accepted(self) -> int:
        """Rows that became events."""
        return int(self.accounting.loc[self.accounting["reason"] == "accepted", "rows"].sum())

    @property
    def rows_rejected(self) -> int:
        """Rows left out, each for one reason of ``accounting``."""
        return self.rows_read - self.rows_accepted

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the events have."""
        return tuple(self.table.columns)

    @property
    def events(self) -> ir.Table:
        """The accepted events as an Ibis table: ``user_id`` as text, ``time`` in UTC, ``event`` and all else."""
        time = self.engine.from_micros(self.engine.micros(self.table.time))
        return self.table.mutate(user_id=self.table.user_id.cast("string"), time=time)

    @cached_property
    def event_counts(self) -> pd.Series:
        """How often each event occurs, the most frequent first (ties by name); at most 10,000 names."""
        counted = self.table.group_by("event").agg(rows=self.table.count())
        frame = self.engine.fetch(counted.order_by([counted.rows.desc(), counted.event]).limit(10_000))
        return frame.set_index("event")["rows"]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where a result's numbers come from, for ``result.json``."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "rows_read": self.rows_read,
            "rows_accepted": self.rows_accepted,
            "rejected": {
                reason: int(rows)
                for reason, rows in self.accounting[["reason", "rows"]].to_numpy()
                if reason != "accepted"
            },
            "observed_from": self.observed_from.isoformat(),
            "observed_until": self.observed_until.isoformat(),
            "filters": list(self.filters),
            "engine": self.engine.dialect,
        }

    def require_plan(self, purpose: str) -> Plan:
        """The plan, or an error that says what needs one."""
        if self.plan is None:
            raise ParameterError(
                f"{purpose} needs a plan. Pass plan= to read_events, or draft one with mc.suggest_plan(log)."
            )
        return self.plan

    def require_columns(self, names: Iterable[str], purpose: str) -> None:
        """Raise ``ParameterError`` for the first of ``names`` that the events lack."""
        for name in names:
            if not isinstance(name, str) or name not in self.table.columns:
                raise ParameterError(f"{purpose}: " + unknown_name("column", name, self.table.columns))

    def with_plan(self, plan: Plan | Mapping[str, Any] | str | Path) -> EventLog:
        """The same events under another plan."""
        from microconv.reading import fit_plan, load_plan

        own = tuple(note for note in self.notes if note not in self.plan_notes)
        return fit_plan(replace(self, plan=load_plan(plan), notes=own, plan_notes=()))

    def filter(
        self,
        where: str | None = None,
        *,
        start: str | dt.datetime | dt.date | None = None,
        end: str | dt.datetime | dt.date | None = None,
        users: Sequence[object] | None = None,
    ) -> EventLog:
        """A smaller log: events where a condition holds, of users who entered in [start, end), of named users.

        ``start`` and ``end`` choose users by their entry (their first event); their later events still count until
        ``observed_until``. ``where`` is the plan's expression language. Raises ``ParameterError`` when nothing is left.
        """
        import ibis

        from microconv import conditions

        table, said = self.table, []
        if start is not None or end is not None:
            first = table.group_by("user_id").agg(entry=self.engine.micros(table.time).min())
            for moment, name in ((start, "start"), (end, "end")):
                if moment is not None:
                    at = to_datetime(moment, name)
                    micros = ibis.literal(moment_to_micros(at), "int64")
                    first = first.filter(first.entry >= micros if name == "start" else first.entry < micros)
                    said.append(f"entry {'from' if name == 'start' else 'before'} {at.isoformat()}")
            table = table.semi_join(self.engine.materialise(first.select("user_id")), "user_id")
        if users is not None:
            if isinstance(users, str):
                raise ParameterError(
                    f"users={shorten(repr(users))} must be a list of user ids, such as [{users!r:.40}]."
                )
            named = sorted({str(user) for user in users})
            text = table.user_id.cast("string")
            if len(named) <= _MOST_LISTED:
                table = table.filter(text.isin(named))
            else:
                wanted = ibis.memtable({"named": named})
                table = table.semi_join(wanted, text == wanted.named)
            said.append(f"{len(named):,} named users")
        if where is not None:
            try:
                table = table.filter(conditions.matches(conditions.parse(where), table))
            except PlanError as error:
                raise ParameterError(f"where={shorten(repr(where))}: {error}") from error
            said.append(f"where {where}")
        smaller = replace(self, table=table, filters=(*self.filters, *said))
        if int(self.engine.fetch(table.agg(rows=table.count()))["rows"][0]) == 0:
            raise ParameterError(
                f"No event is left by the filter: {'; '.join(said)}. The events run from "
                f"{self.observed_from.isoformat()} to {self.observed_until.isoformat()}."
            )
        return smaller

    def write_rejected(self, path: str | Path) -> Path:
        """Write the rejected rows with their reason to a CSV file (malformed rows are only counted)."""
        if self.rejected is None:
            raise ParameterError("No row was rejected: there is nothing to write.")
        try:
            self.engine.write_csv(self.rejected, Path(path))
        except OSError as error:
            raise ParameterError(f"Cannot write {str(path)!r}: {error.strerror}. Name a file you may write.") from error
        return Path(path)

    def quality(self) -> Result:
        """How far the events can be trusted: see ``microconv.quality.quality``."""
        from microconv.quality import quality

        return quality(self)

    def _said(self) -> str:
        rest = f" ({'; '.join(self.filters)})" if self.filters else ""
        until = f"{self.observed_until:%Y-%m-%d %H:%M} UTC"
        return f"{self.rows_accepted:,} events from {self.source}{rest}, observed until {until}"

    def __repr__(self) -> str:
        return f"<EventLog: {shorten(self._said(), 300)!r}>"

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        accounting = self.accounting.to_html(index=False, border=0, escape=True)
        return f"<p>{html.escape(self._said())}</p><ul>{notes}</ul>{accounting}"
