"""Do the intervals of ``mc.attribution`` hold, and what does it give a channel that does nothing? From the root:

    python tests/calibration/attribution_run.py --logs 200

simulates 200 logs in each of the worlds of ``attribution_worlds.py``, divides each by every model, and writes beside
this file ``attribution_coverage.csv`` (how often intervals hold what is true of the population),
``attribution_ranks.csv`` (how often ranks are kept), and both as ``attribution_coverage.md`` and ``.png``. It ends with
an error if a claim does not hold. ``--draw`` writes text and figure anew from the tables. ``pytest -m calibration
tests/calibration`` does the same with few logs and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

if not __package__:  # as a script, and in its worker processes
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.attribution_estimates import estimates_of
from calibration.attribution_worlds import WORLDS
from calibration.coverage import read_table
from calibration.logs import Job, of_each_log

__all__ = ["simulate_attributions"]

_HERE = Path(__file__).resolve().parent


def simulate_attributions(
    logs: int,
    *,
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
        users=0,  # each world has its own number
        parts=(),
        first_seed=first_seed,
        processes=processes,
        kept=kept,
        report=report,
    )


def _work(job: Job) -> pd.DataFrame:
    name, seed, _, _ = job
    return estimates_of(name, seed, WORLDS[name].users)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=200, help="simulated logs per world")
    parser.add_argument("--processes", type=int, help="processes at work at once (default: one per core)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first log")
    parser.add_argument("--output", type=Path, default=_HERE, help="folder for the tables and the figure")
    parser.add_argument("--estimates", type=Path, help="Parquet file to keep every estimate in, and to go on from")
    parser.add_argument("--draw", action="store_true", help="only draw the tables anew")
    options = parser.parse_args(arguments)
    from calibration.attribution_showing import (
        attribution_figure,
        attribution_markdown,
        attribution_table,
        failing,
        ranks_table,
    )

    covered, ranked = (options.output / f"attribution_{name}.csv" for name in ("coverage", "ranks"))
    if not options.draw:
        found = simulate_attributions(
            options.logs,
            first_seed=options.seed,
            processes=options.processes,
            kept=options.estimates,
            report=True,
        )
        options.output.mkdir(parents=True, exist_ok=True)
        attribution_table(found).to_csv(covered, index=False)
        ranks_table(found).to_csv(ranked, index=False)
    # So that text and figure are made of what is in the files, to the last digit.
    table, ranks = read_table(covered), read_table(ranked)
    text = attribution_markdown(table, ranks)
    covered.with_suffix(".md").write_text(text, encoding="utf-8")
    attribution_figure(table, covered.with_suffix(".png"))
    sys.stdout.write(text)
    return 1 if len(failing(table)) else 0


if __name__ == "__main__":
    raise SystemExit(main())
