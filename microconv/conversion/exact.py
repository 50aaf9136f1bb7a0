"""The frames of a result, made from the exact table of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from microconv.conversion.comparisons import MOST_PAIRED, all_causes, cohort_pairs, common_days, naive, pairs, tests
from microconv.conversion.comparisons import truncated as cut
from microconv.conversion.summary import curves, pooled, quiet, summarise
from microconv.counts import RiskTable
from microconv.durations import MICROS_PER_DAY
from microconv.reduce.risk import JourneyRule, risk_table
from microconv.reduce.waits import NUMBER, users_by

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["Frames", "from_counts"]


@dataclass(frozen=True)
class Frames:
    """The frames of a result, and how they were made.

    ``kept`` says how times were kept; ``compared_to`` how far cohorts were compared, in days; ``counts`` is the risk
    table by segment, None where only its sums were fetched.
    """

    table: pd.DataFrame
    summary: pd.DataFrame
    extra: Mapping[str, pd.DataFrame]
    kept: str
    compared_to: float | None
    counts: RiskTable | None


def from_counts(
    log: EventLog,
    users: ir.Table,
    rule: JourneyRule,
    by: Sequence[str],
    read_at: int | None,
    confidence: float,
    *,
    cohorts: bool,
    max_rows: int,
) -> Frames:
    """Curves, summary and comparisons of ``journeys``. Raises ``TooManyRows`` beyond ``max_rows`` event times."""
    counts, kept = risk_table(log, users, rule, by, max_rows)
    sizes = users_by(log, users, by) if rule.cluster is not None or rule.late else None
    extra: dict[str, pd.DataFrame] = {}
    compared_to = None
    with quiet():
        whole = pooled(counts, rule)
        table = curves(counts, rule, confidence)
        summary = summarise(counts, rule, read_at, confidence, sizes)
        if rule.competing:
            day = read_at / MICROS_PER_DAY if read_at is not None else common_days(whole)
            extra["causes"] = all_causes(counts, rule, confidence)
            extra["naive"] = naive(counts, rule, day, confidence)
            if rule.late:
                extra["naive"]["n"] = summary["n"]
        if len(whole.blocks()) > 1:
            compared_to = common_days(whole) if cohorts else None
            extra |= _between_segments(counts, rule, read_at, confidence, compared_to)
    return Frames(table, summary, extra, kept, compared_to, whole)


def _between_segments(
    counts: RiskTable, rule: JourneyRule, read_at: int | None, confidence: float, compared_to: float | None
) -> dict[str, pd.DataFrame]:
    """Tests and pairs; of entry cohorts only as far as each was observed, of a pair as far as both were."""
    tau = read_at / MICROS_PER_DAY if read_at is not None else None
    shared = counts if compared_to is None else cut(counts, compared_to)
    found = {"tests": tests(shared, rule)} if rule.cluster is None else {}
    several = rule.cluster is not None and NUMBER in counts.pattern_cols  # a user has waits in several segments
    if rule.cluster is not None and (tau is None or (rule.competing and several)):
        return found
    if len(pooled(counts, rule).blocks()) <= MOST_PAIRED:
        compare = pairs if compared_to is None else cohort_pairs
        found["pairs"] = compare(counts, rule, tau, confidence)
    return found
