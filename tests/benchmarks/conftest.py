"""Ten million events, and a way to compare two jobs that a noisy machine cannot tip."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

_SQL = """
COPY (
  SELECT 'user_' || lpad(CAST(hash(i) % {users} AS VARCHAR), 8, '0') AS user_id,
    TIMESTAMP '2026-01-01' + to_microseconds(CAST(hash(i + 1e9::BIGINT) % (60 * 86400 * 1000000::BIGINT) AS BIGINT)) AS
    time,
    ['page_view', 'page_view', 'page_view', 'view_item', 'view_item', 'add_to_cart', 'checkout', 'purchase',
     'newsletter_signup', 'video_watched'][1 + CAST(hash(i + 2e9::BIGINT) % 10 AS INTEGER)] AS event,
    ['mobile', 'desktop', 'tablet'][1 + CAST(hash(i + 3e9::BIGINT) % 3 AS INTEGER)] AS device,
    ['DE', 'FR', 'NL', 'US'][1 + CAST(hash(i + 4e9::BIGINT) % 4 AS INTEGER)] AS country,
    CAST(hash(i + 5e9::BIGINT) % 10000 AS DOUBLE) / 100 AS value
  FROM range({events}) AS t(i)
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""

_TOUCHES = """
COPY (
  WITH users AS (SELECT i, 2 + CAST(hash(i + 1e9::BIGINT) % 7 AS INTEGER) AS n FROM range({users}) AS t(i)),
  events AS (
    SELECT i, TIMESTAMP '2026-01-01' + to_microseconds(CAST(hash(i * 31 + k * 977) % (90 * 86400 * 1000000::BIGINT) AS
      BIGINT)) AS time, 'visit' AS event,
      ['affiliate', 'direct', 'display', 'email', 'organic', 'paid', 'referral', 'sms', 'social', 'video'][1 +
      CAST(hash(i * 13 + k * 7919) % 10 AS INTEGER)] AS channel, NULL AS value
    FROM (SELECT i, unnest(range(n)) AS k FROM users)
    UNION ALL
    SELECT i, TIMESTAMP '2026-01-20' + to_microseconds(CAST(hash(i * 17 + 3) % (70 * 86400 * 1000000::BIGINT) AS
      BIGINT)), 'purchase', NULL, round(CAST(hash(i * 3) % 10000 AS DOUBLE) / 100, 2)
    FROM users WHERE hash(i * 101) % 100 < 15
  )
  SELECT 'user_' || lpad(CAST(i AS VARCHAR), 8, '0') AS user_id, time, event, channel, CAST(value AS DOUBLE) AS value
  FROM events ORDER BY time
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""


@dataclass(frozen=True)
class Comparison:
    """Two jobs run in turn: the median of the pairwise ratios, and the first job's peak memory."""

    ratio: float
    seconds: float
    baseline_seconds: float
    peak_mb: float


@pytest.fixture(scope="session")
def events_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A Parquet file of so many events, ten a user, of ten kinds, over sixty days."""
    folder = tmp_path_factory.mktemp("benchmark")

    def make(events: int) -> Path:
        path = folder / f"{events}.parquet"
        if not path.exists():
            duckdb.execute(_SQL.format(events=events, users=events // 10, path=path))
        return path

    return make


@pytest.fixture(scope="session")
def touches_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A Parquet file of the touches of so many users, five a user, through ten channels, and their purchases."""
    folder = tmp_path_factory.mktemp("benchmark_touches")

    def make(users: int) -> Path:
        path = folder / f"{users}.parquet"
        if not path.exists():
            duckdb.execute(_TOUCHES.format(users=users, path=path))
        return path

    return make


def run(job: str, path: Path) -> dict[str, float]:
    """One job in a process of its own."""
    script = Path(__file__).with_name("work.py")
    done = subprocess.run(
        [sys.executable, str(script), job, str(path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def alone() -> Callable[[str, Path], dict[str, float]]:
    """Run one job in a process of its own."""
    return run


@pytest.fixture(scope="session")
def compare() -> Callable[..., Comparison]:
    """Run a job and its baseline in turn, several times, and compare pair by pair."""

    def runs(job: str, path: Path, baseline: str, baseline_path: Path | None = None, rounds: int = 3) -> Comparison:
        pairs = [(run(job, path), run(baseline, baseline_path or path)) for _ in range(rounds)]
        ratios = sorted(a["seconds"] / b["seconds"] for a, b in pairs)
        return Comparison(
            ratio=ratios[len(ratios) // 2],
            seconds=sorted(a["seconds"] for a, _ in pairs)[rounds // 2],
            baseline_seconds=sorted(b["seconds"] for _, b in pairs)[rounds // 2],
            peak_mb=max(a["peak_mb"] for a, _ in pairs),
        )

    return runs
