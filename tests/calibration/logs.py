"""The same work on many simulated logs, in processes of their own and resumable, as the commands here do it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pandas as pd

import microconv as mc
from microconv.simulate import SimulatedLog

__all__ = ["Job", "of_each_log", "read_alone", "strictly"]

# World, seed, users, and the parts to do.
Job = tuple[str, int, int, tuple[str, ...]]
_OFTEN = 60  # logs between two savings of what there is
# One thread in each process, whatever libraries it uses.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def of_each_log(
    work: Callable[[Job], pd.DataFrame],
    *,
    logs: int,
    worlds: Sequence[str],
    users: int,
    parts: Sequence[str],
    first_seed: int = 1,
    processes: int | None = None,
    kept: Path | None = None,
    report: bool = False,
) -> pd.DataFrame:
    """What ``work`` (a function of a module, which makes rows with ``world`` and ``seed``) finds in ``logs`` logs of
    each world.

    ``kept``: a Parquet file that the rows are added to on the way; logs that are in it are not simulated again.
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
        for number, frame in enumerate(pool.imap_unordered(work, jobs, chunksize=4), start=1):
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


@contextmanager
def strictly() -> Iterator[None]:
    """No warning passes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Ibis 12.0.0 calls DuckDB's fetch_arrow_table(), deprecated since DuckDB 1.5.
        warnings.filterwarnings("ignore", r"fetch_arrow_table\(\) is deprecated", DeprecationWarning)
        yield


def read_alone(simulated: SimulatedLog) -> mc.EventLog:
    """As ``SimulatedLog.read()`` does it, but with one thread: several logs are at work at once."""
    return mc.read_events(simulated.events, plan=simulated.plan, observed_until=simulated.observed_until, threads=1)
