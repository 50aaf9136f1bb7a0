"""Do 95 % intervals hold the truth in 95 % of simulated logs? From the root of the checkout:

    python tests/calibration/run.py --logs 500

simulates 500 logs of each kind in a null, a confounded and a strong world, estimates on each what users estimate, holds
the intervals against the planted truth and writes ``coverage.csv``, ``coverage.md`` and ``coverage.png`` beside this
file. It ends with an error if a coverage that is claimed does not hold. ``--draw`` writes the last two anew from the
first. ``pytest -m calibration tests/calibration`` does the same with few logs and writes nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

if not __package__:  # as a script, and in its worker processes
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.coverage import as_frame, coverage_table, read_table
from calibration.estimates import PARTS, estimates
from calibration.worlds import WORLDS

__all__ = ["USERS", "simulate_coverage"]

USERS = 1_000
_HERE = Path(__file__).resolve().parent
_OFTEN = 60  # logs between two savings of what there is
# One thread in each process, whatever libraries it uses.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
    """Every estimate of ``logs`` logs of ``users`` users, in processes of their own.

    ``kept``: a Parquet file that the estimates are added to on the way; logs that are in it are not simulated again.
    """
    frames = [pd.read_parquet(kept)] if kept is not None and kept.exists() else []
    before = {pair for frame in frames for pair in zip(frame["seed"], frame["world"], strict=True)}
    wanted = list(product(range(first_seed, first_seed + logs), worlds))
    jobs = [(name, seed, users, tuple(parts)) for seed, name in wanted if (seed, name) not in before]
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes or os.cpu_count() or 1) as pool:
        started = time.monotonic()
        for number, frame in enumerate(pool.imap_unordered(_work, jobs, chunksize=4), start=1):
            if len(frame):  # not every part has something to say of every world
                frames.append(frame)
            if number % _OFTEN and number != len(jobs):
                continue
            if kept is not None:
                frames = [pd.concat(frames, ignore_index=True)]
                frames[0].to_parquet(kept)
            if report:
                passed = time.monotonic() - started
                sys.stderr.write(f"{number}/{len(jobs)} logs, {passed:.0f} s, {passed / number:.2f} s each\n")
    found = pd.concat(frames, ignore_index=True)
    mine = set(wanted)
    found = found[[pair in mine for pair in zip(found["seed"], found["world"], strict=True)]]
    return found.sort_values(["world", "seed"], kind="stable").reset_index(drop=True)


def _work(job: tuple[str, int, int, tuple[str, ...]]) -> pd.DataFrame:
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
