"""What a notebook starts with: checked parameters, the events they name, a folder to write to."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.errors import MicroconvError, MicroconvWarning, ParameterError, nearest, shorten, unknown_name
from microconv.notebooks.parameters import StartError, check_parameters
from microconv.notebooks.shown import Picture, Refused, Shown, milestones
from microconv.sample import sample_truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from microconv.log import EventLog
    from microconv.results import Result

__all__ = ["Session", "start"]

_SAMPLE_STEPS = ("session_start", "add_to_cart", "purchase")
_MOST_STEPS = 6
_HOLDS = {
    "days": "events by day",
    "events": "rows and users of each event",
    "rejected": "rows set aside, by reason",
    "plan": "users who did each item of the plan",
    "segments": "users by segment at entry",
    "between": "time from each step to the next",
    "total": "the funnel of everybody",
    "summary": "probability at the horizon, quantiles and mean time of each segment",
    "tests": "tests between segments",
    "pairs": "every pair of segments: log-rank test, difference in mean time",
    "causes": "cumulative incidence of every end",
    "naive": "what 1 - Kaplan-Meier would say beside other ends",
    "proportionality": "whether each ratio stays the same over time",
    "since": "ratios by time since the micro-conversion",
    "fading": "whether a micro-conversion's pull fades",
    "curves": "observed and fitted curves",
    "backtest": "forecasts of held-back time beside what happened",
    "reliability": "predicted beside observed shares",
    "methods": "what each of the two methods says",
    "by_time": "how the effect builds up after the action",
    "sensitivity": "how strong a hidden trait would have to be, in words",
    "strengths": "where the effect can lie beside a hidden trait of a given strength",
    "support": "doers and comparable users at each landmark",
    "naive_counts": "the counts behind the naive column",
    "credited": "the revenue divided among the micro-conversions",
    "revenue": "what became of each payment",
    "next_steps": "what to do next",
    "side_by_side": "conversions by channel, a column for each model",
    "models": "what each model is, and its totals",
    "removals": "what would be lost without each channel",
    "transitions": "steps between channels",
    "account": "what became of every touch",
    "checks": "what cannot have an effect, and what it gets",
    "ties": "what another order of touches at one instant would change",
    "survival": "what a touch of each channel adds to the rate",
    "spend": "cost per conversion and return",
    "truth": "what was planted in the simulated log",
}


@dataclass(frozen=True)
class Session:
    """A started notebook. ``given`` has the parameters as attributes, what was left empty as None."""

    notebook: str
    given: SimpleNamespace
    log: EventLog
    folder: Path = field(repr=False)

    @property
    def accounting(self) -> Shown:
        """What was read: every row accepted, or set aside for one reason."""
        log = self.log
        table = log.accounting[["reason", "rows"]].assign(share=log.accounting["rows"] / log.rows_read)
        until = f"observed until {log.observed_until:%Y-%m-%d %H:%M} UTC"
        chosen = f"; only {', '.join(log.filters)}" if log.filters else ""
        head = f"{log.rows_read:,} rows read from {shorten(log.source, 200)}, {until}{chosen}."
        notes = [note for note in log.notes if "see log.accounting" not in note]  # which is the table itself
        return Shown(table.rename(columns={"reason": "what became of them"}), head=head, notes=notes)

    @property
    def by(self) -> list[str]:
        """The columns of ``segment``."""
        return _columns("segment", self.given.segment, self.log)

    @property
    def segment(self) -> str | None:
        """The one column of ``segment``."""
        columns = self.by
        if len(columns) > 1:
            raise StartError(f"segment names {len(columns)} columns; this notebook takes one, such as {columns[0]!r}.")
        return columns[0] if columns else None

    @property
    def truth(self) -> pd.DataFrame | None:
        """What each micro truly adds, where the log is the whole sample shop; else None."""
        given = self.given
        asked = (given.start, given.end, given.target, given.competing or None, given.origin != "entry" or None)
        if given.events != "sample" or given.plan is not None or any(one is not None for one in asked):
            return None
        return sample_truth(self.horizon) if self.horizon is not None else None

    @property
    def horizon(self) -> str | None:
        """The horizon that was given, else the plan's."""
        return self.given.horizon or (self.log.plan.horizon if self.log.plan is not None else None)

    @property
    def window(self) -> str | None:
        """The window that was given, else the horizon; None is no limit."""
        given = self.given.window
        return None if given == "none" else given or self.horizon

    @property
    def steps(self) -> list[Any]:
        """The steps that were given; else those that suit the sample, or the plan's intent micros and first macro."""
        if self.given.steps:
            return list(self.given.steps)
        if self.given.events == "sample":
            return list(_SAMPLE_STEPS)
        if self.log.plan is None:
            names = ", ".join(repr(shorten(name, 40)) for name in self.log.event_counts.index[:12])
            raise StartError(
                f"steps is empty and there is no plan to take them from. Give plan or steps; events: {names}."
            )
        intent = [micro.name for micro in self.log.plan.micros if micro.kind == "intent"]
        micros = intent or [micro.name for micro in self.log.plan.micros]
        return [*micros[: _MOST_STEPS - 1], self.log.plan.macros[0].name]

    @property
    def micros(self) -> list[Any] | None:
        """The micros that were given; None takes the plan's."""
        return list(self.given.micros) or None

    @property
    def adjust(self) -> list[str]:
        """The columns to adjust for that were given, else the plan's segments; "none" is none."""
        if self.given.adjust == "none":
            return []
        if self.given.adjust:
            return _columns("adjust", self.given.adjust, self.log)
        planned = self.log.plan.segments if self.log.plan is not None else ()
        return [column for column in planned if column in self.log.columns]

    @property
    def competing(self) -> list[Any] | None:
        """The other ends that were given; None takes the plan's."""
        return [] if self.given.ignore_competing else self.given.competing or None

    def ask(self, analysis: Callable[..., Result], **options: Any) -> Result | Refused:
        """An analysis of the log; where its question has no answer here, the reason in its place."""
        try:
            return analysis(self.log, **options)
        except ParameterError as error:
            return Refused(analysis.__name__, str(error))

    def plot(self, result: Result | Refused, draw: Callable[[Result], Axes] | None = None) -> Picture | Refused:
        """The picture of a result (or another one of it), small cells left out."""
        if isinstance(result, Refused):
            return result
        return Picture(result.suppressed(self.given.min_cell), draw)

    def person(self, result: Result | Refused) -> Picture | Refused:
        """The picture of a result about one user whom a parameter names: there is no group whose members to guard."""
        return result if isinstance(result, Refused) else Picture(result)

    def words(self, result: Result | Refused) -> Shown:
        """What a result means and what to beware of; what was assumed is saved with it."""
        if isinstance(result, Refused):
            return Shown()
        shown = result.suppressed(self.given.min_cell)
        return Shown(head=result.meaning, notes=[note for note in shown.warnings if note not in self.log.notes])

    def explain(self, result: Result | Refused) -> Shown:
        """What a result means, what to beware of, and what was assumed."""
        if isinstance(result, Refused):
            return Shown()
        shown = result.suppressed(self.given.min_cell)
        notes = [*[f"Beware: {note}" for note in shown.warnings if note not in self.log.notes], *shown.assumptions]
        return Shown(head=result.meaning, notes=notes)

    def table(
        self,
        result: Result | Refused,
        name: str = "table",
        *,
        columns: Sequence[str] = (),
        head: str = "",
        missing: str = "",
    ) -> Shown:
        """A frame of a result, small cells left blank; ``columns`` chooses some; ``missing``: said if there is none."""
        if isinstance(result, Refused):
            return Shown()
        shown = result.suppressed(self.given.min_cell)
        if name != "table" and name not in shown.extra:
            return Shown(head=missing)
        frame = shown.table if name == "table" else shown.extra[name]
        if columns:
            frame = frame[[column for column in (*self.by, *columns) if column in frame]]
        return Shown(frame, head=head)

    def milestones(self, result: Result) -> Shown:
        """The share converted by round times, with its interval."""
        return Shown(milestones(result.suppressed(self.given.min_cell).table))

    def save(self, result: Result | Refused, **more: Result | Refused) -> Shown:
        """Write the results; further ones go to a folder of the name they are given."""
        if isinstance(result, Refused):
            (self.folder / "result.json").unlink(missing_ok=True)  # an earlier run says nothing of this one
            return Shown(head=f"Nothing is saved in {self.given.output_dir}: see above.")
        result.save(self.folder, min_cell=self.given.min_cell)
        rows = _files(result)
        for name, other in more.items():
            if isinstance(other, Refused):
                rows.append((f"{name}/", "nothing: see above"))
                continue
            other.save(self.folder / name, min_cell=self.given.min_cell)
            frames = ", ".join(f"{frame}.csv" for frame in other.extra)
            rows.append((f"{name}/", "table, picture, result.json" + (f", {frames}" if frames else "")))
        return Shown(pd.DataFrame(rows, columns=["file", "holds"]), head=f"Saved in {self.given.output_dir}")


def _files(result: Result) -> list[tuple[str, str]]:
    return [
        ("table.parquet, table.csv", "the table"),
        *[(f"{name}.csv", _HOLDS.get(name, name.replace("_", " "))) for name in result.extra],
        ("figure.png", "the picture"),
        ("result.json", "parameters, words, row counts, fingerprint of the events, versions"),
    ]


def start(notebook: str, given: Mapping[str, Any]) -> Session:
    """Check a notebook's parameters, read the events they name, and make the folder for its files.

    ``given`` is the notebook's ``globals()``. Whatever is wrong with a parameter stops here, with its message alone.
    """
    try:
        values = check_parameters(notebook, given)
        folder = _writable(values["output_dir"])
        log = _read(values)
        session = Session(notebook, SimpleNamespace(**{k: _or_none(v) for k, v in values.items()}), log, folder)
        _check_names(session, values)
        return session
    except StartError:
        raise
    except MicroconvError as error:
        raise StartError.of(error) from error


def _or_none(value: Any) -> Any:
    return None if value == "" else value


def _writable(output_dir: str) -> Path:
    folder = Path(output_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ParameterError(
            f"output_dir={output_dir!r} cannot be written: {error.strerror or error}. Name a folder you may write to."
        ) from error
    return folder


def _read(values: Mapping[str, Any]) -> EventLog:
    from microconv.reading import read_events
    from microconv.sample import sample_paths

    source, plan = values["events"], values["plan"]
    sample = source == "sample"
    if sample:
        paths = sample_paths()
        source, plan = paths.events, plan or paths.plan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MicroconvWarning)  # the notes of the log say it, and the accounting shows them
        log = read_events(
            os.path.expanduser(source) if isinstance(source, str) else source,
            plan=plan or None,
            columns=values["columns"] or None,
            time_unit=values["time_unit"] or None,
            time_format=[part.strip() for part in values["time_format"].split("|")] if values["time_format"] else None,
            tz=values["tz"] or None,
            observed_until=values["observed_until"] or None,
            memory_limit=values["memory_limit"] or None,
            temp_directory=values["temp_directory"] or None,
        )
    if sample:
        log = replace(log, source="the bundled sample shop")
    if values["start"] or values["end"]:
        log = log.filter(start=values["start"] or None, end=values["end"] or None)
    return log


def _columns(what: str, given: str | None, log: EventLog) -> list[str]:
    """The columns that a parameter names: one, or several between commas; or periods of entry."""
    from microconv.reduce.occurrences import ENTRY_PERIODS

    known = [*log.columns, *ENTRY_PERIODS]
    if not given:
        return []
    if given in known:
        return [given]
    columns = [part.strip() for part in given.split(",")]
    for column in columns:
        if column not in known:
            raise ParameterError(f"{what}: " + unknown_name("column", column, known))
    return columns


def _check_names(session: Session, values: Mapping[str, Any]) -> None:
    """A name that neither the plan nor the events know, but nearly do, is misspelt: say so before counting."""
    from microconv.value.asking import ACTIVITIES

    log = session.log
    _columns("segment", session.given.segment, log)
    if "adjust" in values and values["adjust"] != "none":
        _columns("adjust", session.given.adjust, log)
    if "steps" in values:
        asked = {"steps": session.steps, "exclude": values["exclude"]}
    elif "target" in values:
        asked = {name: values.get(name, []) for name in ("competing", "micros", "activity")}
        asked |= {name: [values.get(name, "")] for name in ("target", "origin", "refunds", "touch", "worth")}
        if not values["target"] and log.plan is None:
            raise StartError("target is empty and there is no plan to take it from. Give plan or target.")
    else:
        return
    items = [item.name for item in log.plan.items] if log.plan is not None else []
    known = list(dict.fromkeys([*items, *log.event_counts.index, *ACTIVITIES]))
    for what, names in asked.items():
        for name in names:
            strange = isinstance(name, str) and name not in ("", "entry", *known)
            if strange and nearest(name, known):
                raise StartError(f"{what}: " + unknown_name("plan item or event", name, known))
