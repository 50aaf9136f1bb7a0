"""The timed jobs, each run in a process of its own: `python work.py JOB PARQUET` prints seconds and peak memory as
JSON.

Imports are not timed. The peak is the largest resident size that the process ever had, imports included.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

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


MICROS = ["add_to_cart", "checkout", "newsletter_signup", "video_watched"]


def hazard_ratios(path: str) -> None:
    """Read, validate and estimate the hazard ratios of four micros, adjusted for two attributes."""
    import microconv as mc

    log = mc.read_events(path, tz="UTC")
    table = mc.hazard_ratios(log, target="purchase", micros=MICROS, adjust=["device", "country"]).table
    assert len(table) == 4 + 2 + 3
    assert table["hazard_ratio"].between(0.95, 1.05).all()  # the events are random


SIX_MICROS = ["page_view", "view_item", "add_to_cart", "checkout", "newsletter_signup", "video_watched"]


def micro_value(path: str) -> None:
    """Read, validate and value six micros by both methods: every column of the table."""
    import microconv as mc

    plan = mc.Plan(macros=[{"name": "purchase", "event": "purchase", "value": "value", "currency": "EUR"}])
    log = mc.read_events(path, tz="UTC", plan=plan)
    result = mc.micro_value(log, micros=SIX_MICROS, horizon="14D")
    table = result.table.set_index("micro")
    assert table.loc[SIX_MICROS, "incremental"].abs().max() < 0.01  # the events are random
    assert len(result.methods) == 2 * len(SIX_MICROS)


def _markov(path: str, replicates: int) -> None:
    import microconv as mc

    plan = mc.Plan(macros=[{"name": "purchase", "event": "purchase", "value": "value", "currency": "EUR"}])
    log = mc.read_events(path, tz="UTC", plan=plan)
    table = mc.attribution(log, model=["markov", "markov2"], lookback="30D", replicates=replicates).table
    assert len(table) == 2 * (10 + 1)


def markov(path: str) -> None:
    """Read raw touches, make paths and divide conversions and value by Markov chains of order 1 and 2."""
    _markov(path, 0)


def markov_bootstrap(path: str) -> None:
    """The same with intervals."""
    _markov(path, 1_000)


def _untied() -> pd.DataFrame:
    """Twenty thousand rows (start, stop] with a state that changes, no two events at one time."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    users = 13_400
    did = rng.exponential(20.0, users)
    end = np.minimum(rng.exponential(30.0, users), rng.uniform(5.0, 40.0, users))
    bought = rng.random(users) < 0.5
    attributes = pd.DataFrame(
        {"id": range(users), "device": rng.integers(0, 2, users), "old": rng.integers(0, 2, users)}
    )
    first = attributes.assign(start=0.0, stop=np.minimum(did, end), event=bought & (end <= did), done=0)
    later = attributes.assign(start=did, stop=end, event=bought, done=1)[did < end]
    return pd.concat([first, later], ignore_index=True).head(20_000)


def cox(path: str) -> dict[str, float]:
    """Cox's model with Efron's ties on the counts of those rows."""
    import microconv as mc

    rows = _untied()
    started = time.perf_counter()
    counts = mc.RiskTable.from_intervals(rows, "start", "stop", "event", ["done", "device", "old"])
    table = mc.stats.cox(counts, ["done", "device", "old"]).table
    return {"seconds": time.perf_counter() - started, **dict(zip(table["term"], table["coef"], strict=True))}


def lifelines_cox(path: str) -> dict[str, float]:
    """The same rows in lifelines, which has no ties to break here."""
    from lifelines import CoxTimeVaryingFitter

    rows = _untied()
    started = time.perf_counter()
    fit = CoxTimeVaryingFitter().fit(
        rows, id_col="id", start_col="start", stop_col="stop", event_col="event", fit_options={"precision": 1e-10}
    )
    return {"seconds": time.perf_counter() - started, **fit.params_.to_dict()}


def _peak_mb() -> float:
    """The largest resident size that this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():  # ``ru_maxrss`` also knows what the process that started this one had before
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(job: str, path: str) -> None:
    import duckdb  # noqa: F401 - both sides have it loaded before the clock starts

    if job not in ("sort", "window_sort", "count"):
        import microconv as mc

        assert mc.read_events
        assert mc.funnel
        assert mc.time_to_conversion
        assert mc.hazard_ratios
        assert mc.micro_value
        assert mc.attribution
        import scipy.sparse.linalg
        import scipy.special  # noqa: F401

        assert mc.stats.cox
    if job == "lifelines_cox":
        import lifelines  # noqa: F401
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    own = globals()[job](path) or {}  # a job that makes its own data times itself
    seconds = time.perf_counter() - started
    peak = _peak_mb()
    print(json.dumps({"seconds": seconds, "peak_mb": peak, **own}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
