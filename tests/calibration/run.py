"""Do 95 % intervals hold the truth in 95 % of simulated logs? From the root of the checkout:

    python tests/calibration/run.py --logs 500

simulates 500 logs of each kind in a null, a confounded and a strong world, estimates on each what users estimate, holds
the intervals against the planted truth and writes ``coverage.csv``, ``coverage.md`` and ``coverage.png`` beside this
file. It ends with an error if a coverage that is claimed does not hold. ``--draw`` writes the last two anew from the
first. ``pytest -m calibration tests/calibration`` does the same with few logs and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

if not __package__:  # as a script, and in its worker processes
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.coverage import as_frame, coverage_table, read_table
from calibration.estimates import PARTS, estimates
from calibration.logs import Job, of_each_log
from calibration.worlds import WORLDS

__all__ = ["USERS", "simulate_coverage"]

USERS = 1_000
_HERE = Path(__file__).resolve().parent


def simulate_coverage(
    logs: int,
    *,
    users: int = USERS,
    processes: int | None = None,
    worlds: Sequence[str] = WORLDS,
    parts: Sequence[str] = tuple(PARTS),
    first_seed: int = 1,
    kept: Path | None = None,
    report: bool = False,
) -> pd.DataFrame:
    """Every estimate of ``logs`` logs of ``users`` users: see ``of_each_log``."""
    return of_each_log(
        _work,
        logs=logs,
        worlds=worlds,
        users=users,
        parts=parts,
        first_seed=first_seed,
        processes=processes,
        kept=kept,
        report=report,
    )


def _work(job: Job) -> pd.DataFrame:
    name, seed, users, parts = job
    return as_frame(name, seed, estimates(name, seed, users, parts))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=500, help="simulated logs of each kind per world")
    parser.add_argument("--users", type=int, default=USERS, help="users per log")
    parser.add_argument("--processes", type=int, help="processes at work at once (default: one per core)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--seed", type=int, default=1, help="seed of the first log")
    parser.add_argument("--output", type=Path, default=_HERE, help="folder for the table and the figure")
    parser.add_argument("--estimates", type=Path, help="Parquet file to keep every estimate in, and to go on from")
    parser.add_argument("--draw", action="store_true", help="only draw coverage.csv anew")
    options = parser.parse_args(arguments)
    from calibration.showing import figure, markdown

    source = options.output / "coverage.csv"
    if options.draw:
        table = read_table(source)
    else:
        found = simulate_coverage(
            options.logs,
            users=options.users,
            processes=options.processes,
            worlds=options.worlds,
            parts=options.parts,
            first_seed=options.seed,
            kept=options.estimates,
            report=True,
        )
        options.output.mkdir(parents=True, exist_ok=True)
        coverage_table(found).to_csv(source, index=False)
        table = read_table(source)  # so that the text is made of what is in the file, to the last digit
    text = markdown(table)
    (options.output / "coverage.md").write_text(text, encoding="utf-8")
    figure(table, options.output / "coverage.png")
    sys.stdout.write(text)
    failing = table[(table["claimed"] != "no") & (table["verdict"] != "holds")]
    return 1 if len(failing) else 0


if __name__ == "__main__":
    raise SystemExit(main())
