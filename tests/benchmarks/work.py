"""The timed jobs, each run in a process of its own: `python work.py JOB PARQUET` prints seconds and peak memory as
JSON.

Imports are not timed. `ru_maxrss` is the largest resident size that the process ever had, imports included.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings

STEPS = ["page_view", "view_item", "add_to_cart", "purchase"]


def sort(path: str) -> None:
    """Sort the rows of the funnel's four events by user and time, and keep them."""
    import duckdb

    names = ", ".join(f"'{name}'" for name in STEPS)
    duckdb.execute(
        f"CREATE TABLE sorted AS SELECT user_id, time, event FROM '{path}' "
        f"WHERE event IN ({names}) ORDER BY user_id, time"
    )


def window_sort(path: str) -> None:
    """Sort the same rows within users, and keep only a sum."""
    import duckdb

    names = ", ".join(f"'{name}'" for name in STEPS)
    duckdb.execute(
        f"SELECT sum(r) FROM (SELECT row_number() OVER (PARTITION BY user_id ORDER BY time) AS r FROM '{path}' "
        f"WHERE event IN ({names}))"
    ).fetchone()


def count(path: str) -> None:
    """Count each user's events."""
    import duckdb

    duckdb.execute(f"CREATE TABLE counted AS SELECT user_id, count(*) AS n FROM '{path}' GROUP BY user_id")


def funnel(path: str) -> None:
    """Read, validate and count a four-step funnel with a seven-day window."""
    import microconv as mc

    table = mc.funnel(mc.read_events(path, tz="UTC"), STEPS, window="7D").table
    assert table["users"].is_monotonic_decreasing


def risk_table(path: str) -> None:
    """Read, validate and make the exact risk table of time to purchase by two attributes."""
    import microconv as mc
    from microconv.conversion import journey_rule
    from microconv.reduce.risk import journeys, risk_table

    log = mc.read_events(path, tz="UTC")
    rule = journey_rule(log, "purchase", "entry", None, None)
    by = ["device", "country"]
    counts, _ = risk_table(log, journeys(log, rule, by), rule, by, max_rows=1_000_000)
    assert len(counts.blocks()) == 12


def time_to_conversion(path: str) -> None:
    """The same with curves, quantiles and the log-rank test."""
    import microconv as mc

    mc.time_to_conversion(mc.read_events(path, tz="UTC"), target="purchase", by=["device", "country"])


def main(job: str, path: str) -> None:
    import duckdb  # noqa: F401 - both sides have it loaded before the clock starts

    if job not in ("sort", "window_sort", "count"):
        import microconv as mc

        assert mc.read_events
        assert mc.funnel
        assert mc.time_to_conversion
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    globals()[job](path)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
