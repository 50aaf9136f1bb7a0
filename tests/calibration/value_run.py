"""Is what ``mc.micro_value`` says a micro is worth true? From the root of the checkout:

    python tests/calibration/value_run.py --logs 200

simulates 200 logs of 20,000 users in each of the worlds of ``value_worlds.py``, asks of each what its micros are worth,
holds both methods and the formulas in common use against what is true, and writes beside this file
``value_coverage.csv``, ``.md`` and ``.png`` (how often intervals hold the truth, how far off the methods are) and
``value_formulas.csv``, ``.md`` and ``.png`` (what the formulas say instead). It ends with an error if a claim does not
hold. ``--draw`` writes text and figures anew from the tables. ``pytest -m calibration tests/calibration`` does the same
with few logs and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

if not __package__:  # as a script, and in its worker processes
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.coverage import as_frame, read_table
from calibration.logs import Job, of_each_log
from calibration.value_estimates import value_estimates
from calibration.value_worlds import WORLDS

__all__ = ["USERS", "simulate_values"]

USERS = 20_000
_HERE = Path(__file__).resolve().parent


def simulate_values(
    logs: int,
    *,
    users: int = USERS,
    worlds: Sequence[str] = tuple(WORLDS),
    first_seed: int = 1,
    processes: int | None = None,
    kept: Path | None = None,
    report: bool = False,
) -> pd.DataFrame:
    """All that is said of ``logs`` logs of each world: see ``of_each_log``."""
    return of_each_log(
        _work,
        logs=logs,
        worlds=worlds,
        users=users,
        parts=(),
        first_seed=first_seed,
        processes=processes,
        kept=kept,
        report=report,
    )


def _work(job: Job) -> pd.DataFrame:
    name, seed, users, _ = job
    return as_frame(name, seed, value_estimates(name, seed, users))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=200, help="simulated logs per world")
    parser.add_argument("--users", type=int, default=USERS, help="users per log")
    parser.add_argument("--processes", type=int, help="processes at work at once (default: one per core)")
    parser.add_argument("--worlds", nargs="+", choices=tuple(WORLDS), default=tuple(WORLDS))
    parser.add_argument("--seed", type=int, default=1, help="seed of the first log")
    parser.add_argument("--output", type=Path, default=_HERE, help="folder for the tables and figures")
    parser.add_argument("--estimates", type=Path, help="Parquet file to keep every estimate in, and to go on from")
    parser.add_argument("--draw", action="store_true", help="only draw the tables anew")
    options = parser.parse_args(arguments)
    from calibration.value_figures import coverage_figure, formulas_figure
    from calibration.value_showing import failing, formulas_markdown, formulas_table, value_markdown, value_table

    covered, said = (options.output / f"value_{name}.csv" for name in ("coverage", "formulas"))
    if not options.draw:
        found = simulate_values(
            options.logs,
            users=options.users,
            worlds=options.worlds,
            first_seed=options.seed,
            processes=options.processes,
            kept=options.estimates,
            report=True,
        )
        options.output.mkdir(parents=True, exist_ok=True)
        value_table(found).to_csv(covered, index=False)
        formulas_table(found).to_csv(said, index=False)
    # So that texts and figures are made of what is in the files, to the last digit.
    table, beside = read_table(covered), read_table(said)
    text = value_markdown(table)
    covered.with_suffix(".md").write_text(text, encoding="utf-8")
    said.with_suffix(".md").write_text(formulas_markdown(beside), encoding="utf-8")
    coverage_figure(table, covered.with_suffix(".png"))
    formulas_figure(beside, said.with_suffix(".png"))
    sys.stdout.write(text)
    return 1 if len(failing(table)) else 0


if __name__ == "__main__":
    raise SystemExit(main())
