"""The command line: microconv report|run|new|check|plan|simulate|sql. Arguments in, one call, words out."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microconv.errors import MicroconvError, ParameterError, PlanError

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 (faults found by ``check``), 2 (it could not be done)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        with warnings.catch_warnings():
            # Progress and notes are for the reader; a library's warning to programmers is not.
            warnings.simplefilter("ignore", DeprecationWarning)
            return command(options)
    except MicroconvError as error:
        print(f"microconv {options.name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="microconv", description="Honest analysis of micro-conversions.")
    from microconv import __version__

    parser.add_argument("--version", action="version", version=f"microconv {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    report = _command(commands, "report", _report, "run the notebooks and write one HTML page that needs no network")
    report.add_argument("--events", default="sample", help="a file, glob or URL; default: the bundled sample shop")
    report.add_argument("--plan", default="", help="the tracking plan, a YAML file")
    report.add_argument("--output", default="microconv-report", help="folder for the page and its tables (%(default)s)")
    report.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                        help="a notebook parameter, given to every notebook that has it; may be repeated")  # fmt: skip
    _reading_options(report)

    run = _command(commands, "run", _run, "run one notebook with parameters")
    run.add_argument("notebook", help="its name, such as funnel, or a path")
    run.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument("--output", default=None, help="the executed notebook (default: NAME-executed.ipynb here)")

    new = _command(commands, "new", _new, "copy a notebook into the current folder; never overwrites")
    new.add_argument("notebook", help="its name, such as funnel")
    new.add_argument("--to", default=".", help="folder or file to copy to (%(default)s)")

    check = _command(commands, "check", _check, "print data quality and faults of the plan; exit code 1 if any")
    check.add_argument("events", help="a file, glob or URL, or the word sample")
    check.add_argument("--plan", default="", help="the tracking plan, a YAML file")
    _reading_options(check)

    plan = _command(commands, "plan", _plan, "draft a tracking plan from the events, as YAML with reasons")
    plan.add_argument("events", help="a file, glob or URL, or the word sample")
    plan.add_argument("--macro", default=None, help="the event that is the conversion, where its name does not say so")
    _reading_options(plan)

    simulate = _command(commands, "simulate", _simulate, "write an event log whose truth is known")
    simulate.add_argument("--output", required=True, help="folder for events.parquet, plan.yaml, truth.json")
    simulate.add_argument("--users", type=int, default=None, help="how many people (default: those of the sample)")
    simulate.add_argument("--seed", type=int, default=None, help="the same seed gives the same log")
    simulate.add_argument("--world", default=None, help="a named world, such as null, confounded or strong")

    sql = _command(commands, "sql", _sql, "print a reduction as SQL for a chosen dialect")
    sql.add_argument("reduction", help="occurrences, funnel or journeys")
    sql.add_argument("--dialect", default="duckdb",
                     help="duckdb, spark, databricks, bigquery, snowflake, postgres or clickhouse")  # fmt: skip
    sql.add_argument("--plan", default="", help="the tracking plan, a YAML file")
    sql.add_argument("--steps", nargs="*", default=[], help="the steps of the funnel")
    sql.add_argument("--window", default=None, help="the longest time that the funnel may take, such as 7D")
    sql.add_argument("--by", nargs="*", default=[], help="attributes at entry")
    sql.add_argument("--table", default="events", help="the name of the table of events (%(default)s)")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], says: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
    parser.set_defaults(command=run, name=name)
    return parser


def _reading_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how the events are written")
    group.add_argument("--column", action="append", default=[], metavar="NAME=COLUMN",
                       help="which column is what, such as user_id=visitorid; may be repeated")  # fmt: skip
    group.add_argument("--time-unit", default=None, help="of times that are numbers since 1970: s, ms, us or ns")
    group.add_argument(
        "--time-format", action="append", default=[], help="strptime pattern of times that are no ISO-8601"
    )
    group.add_argument("--tz", default=None, help="the zone of times that name none, such as Europe/Berlin")
    group.add_argument("--observed-until", default=None, help="the end of observation (default: the last event)")
    group.add_argument("--memory-limit", default=None, help="how much memory DuckDB may use, such as 2GB")
    group.add_argument("--temp-directory", default=None, help="where DuckDB puts what does not fit")


def _columns(options: argparse.Namespace) -> dict[str, str]:
    columns = {}
    for pair in options.column:
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise ParameterError(f"--column {pair!r} must be NAME=COLUMN, such as user_id=visitorid.")
        columns[name] = column
    return columns


def _read(options: argparse.Namespace, plan: str = "") -> EventLog:
    from microconv.reading import read_events
    from microconv.sample import sample_paths

    source = options.events
    if source == "sample":
        paths = sample_paths()
        source, plan = paths.events, plan or str(paths.plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the log keeps what it warned of in its notes, which are printed
        return read_events(
            source,
            plan=plan or None,
            columns=_columns(options),
            time_unit=options.time_unit,
            time_format=options.time_format,
            tz=options.tz,
            observed_until=options.observed_until,
            memory_limit=options.memory_limit,
            temp_directory=options.temp_directory,
        )


def _check(options: argparse.Namespace) -> int:
    try:
        log = _read(options, options.plan)
    except PlanError as error:
        print(f"Plan faults:\n{error}")
        return 1
    quality = log.quality()
    print(quality.meaning, end="\n\n")
    print(log.accounting.to_string(index=False), end="\n\n")
    print(quality.table.to_string(index=False, max_colwidth=70, float_format=_number))
    for note in log.notes:
        print(f"note: {note}")
    faults = quality.table[quality.table["verdict"] == "look"]
    print(f"\n{len(faults)} checks to look at." if len(faults) else "\nNothing to look at.")
    return 1 if len(faults) else 0


def _number(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.4g}"


def _plan(options: argparse.Namespace) -> int:
    from microconv.suggest import draft_plan

    print(draft_plan(_read(options), macro=options.macro).to_yaml(), end="")
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from microconv.simulate import write_sample

    given = {"users": options.users, "seed": options.seed, "world": options.world}
    for path in write_sample(options.output, **{name: value for name, value in given.items() if value is not None}):
        print(path)
    return 0


def _sql(options: argparse.Namespace) -> int:
    from microconv.sql import reduction_sql

    print(
        reduction_sql(
            options.reduction,
            dialect=options.dialect,
            plan=options.plan or None,
            steps=options.steps,
            window=options.window,
            by=options.by,
            table=options.table,
        )
    )
    return 0


def _run(options: argparse.Namespace) -> int:
    from microconv.notebooks import run_notebook

    output = options.output or f"{Path(options.notebook).stem}-executed.ipynb"
    print(run_notebook(options.notebook, dict(options.parameter), output=output))
    return 0


def _new(options: argparse.Namespace) -> int:
    from microconv.notebooks import copy_notebook

    print(copy_notebook(options.notebook, options.to))
    return 0


def _report(options: argparse.Namespace) -> int:
    from microconv.report import build_report

    reading = {
        "columns": _columns(options),
        "time_unit": options.time_unit or "",
        "time_format": " | ".join(options.time_format),
        "tz": options.tz or "",
        "observed_until": options.observed_until or "",
        "memory_limit": options.memory_limit or "",
        "temp_directory": options.temp_directory or "",
    }
    page = build_report(
        options.output,
        events=options.events,
        plan=options.plan,
        parameters={**{name: value for name, value in reading.items() if value}, **dict(options.parameter)},
    )
    print(f"The report is in {page}")
    return 0
