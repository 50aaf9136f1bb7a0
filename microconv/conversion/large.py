"""Time to conversion beyond ``max_rows`` event times: the engine sums the curves, a grid of their points comes here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.conversion.comparisons import mean_differences
from microconv.conversion.exact import Frames
from microconv.conversion.summary import AT_HORIZON, LEVELS, MEAN, limit_of_all, limit_of_none
from microconv.durations import MICROS_PER_DAY
from microconv.reduce import curves as engine
from microconv.reduce.risk import JourneyRule
from microconv.stats._curves import Floats, log_log_limits, z_value
from microconv.stats._groups import quadratic_form, upper_tail

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["from_sums"]

_POINTS = 3_000
_MOST_TESTED = 20  # segments: each is a column of running sums


def from_sums(
    log: EventLog,
    users: ir.Table,
    rule: JourneyRule,
    by: Sequence[str],
    read_at: int | None,
    confidence: float,
    *,
    cohorts: bool,
) -> Frames:
    """Every number of the exact path that needs no table of all event times."""
    sums = engine.running(log, users, rule, len(by))
    sizes = engine.sizes(sums)
    grid = engine.points(sums, _POINTS, read_at)
    z = z_value(confidence)
    named = dict(zip(sums.keys, by, strict=True))
    table = _table(grid, rule, list(by), named, z)
    summary = _summary(sums, sizes, table, rule, list(by), read_at, confidence)
    open_still = sizes.loc[sizes["survival"] > 0, "last"]
    common = float((open_still.min() if len(open_still) else sizes["last"].max()) / MICROS_PER_DAY)
    extra: dict[str, pd.DataFrame] = {}
    if rule.competing:
        extra["causes"] = _causes(grid, rule, list(by), named, z)
    if 1 < len(sizes) <= _MOST_TESTED:
        extra["tests"] = _tests(sums, rule, common if cohorts else None)
        if read_at is not None and not cohorts:
            se = (summary["rmst_ci_high_days"] - summary["rmst_ci_low_days"]) / (2 * z)
            names = [tuple(row) for row in summary[list(by)].itertuples(index=False)]
            extra["pairs"] = mean_differences(names, summary["rmst_days"].to_numpy(), se.to_numpy(), confidence)
    times = int(sizes["times"].sum())
    kept = (
        f"sums over all {times:,} event times in the engine; .table has {len(table):,} points of the curves, exact at "
        "each, with the events since the point before"
    )
    return Frames(table, summary, extra, kept, common if cohorts and len(sizes) > 1 else None, None)


def _limits(grid: pd.DataFrame, cause: int | None, z: float) -> tuple[Floats, Floats, Floats, Floats]:
    """The share that has had the event, its error and limits; None: Kaplan-Meier of any event."""
    if cause is None:
        survival = grid["survival"].to_numpy()
        known = survival > 0
        error = np.where(known, survival * np.sqrt(grid["greenwood"].to_numpy()), np.nan)
        share = 1 - survival
    else:
        share = grid[f"p_{cause}"].to_numpy()
        share = np.where(share > 1 - 1e-12, 1.0, share)
        error = np.sqrt(np.maximum(grid[f"v_{cause}"].to_numpy(), 0.0))
    logs = np.log1p(-share, out=np.full_like(share, -np.inf), where=share < 1)
    low, high = log_log_limits(logs, error, z)
    return share, error, 0.0 - np.expm1(high), 0.0 - np.expm1(low)


def _since_before(grid: pd.DataFrame, keys: list[str], column: str) -> Floats:
    """What a running count grew by since the segment's point before."""
    before = grid.groupby(keys, sort=False)[column].shift() if keys else grid[column].shift()
    return (grid[column] - before.fillna(0.0)).to_numpy()


def _table(grid: pd.DataFrame, rule: JourneyRule, by: list[str], named: dict[str, str], z: float) -> pd.DataFrame:
    table = grid[list(named)].rename(columns=named)
    table["time_days"] = grid["waited"].to_numpy() / MICROS_PER_DAY
    share, _, low, high = _limits(grid, 1 if rule.competing else None, z)
    table["probability"], table["ci_low"], table["ci_high"] = share, low, high
    table["at_risk"] = grid["n"].to_numpy()
    table["events"] = _since_before(grid, list(named), "_events")
    table["censored"] = _since_before(grid, list(named), "_left")
    return table


def _causes(grid: pd.DataFrame, rule: JourneyRule, by: list[str], named: dict[str, str], z: float) -> pd.DataFrame:
    parts = []
    for number, cause in enumerate(rule.causes, 1):
        part = grid[list(named)].rename(columns=named)
        part["cause"] = cause
        part["time_days"] = grid["waited"].to_numpy() / MICROS_PER_DAY
        part["probability"], part["se"], part["ci_low"], part["ci_high"] = _limits(grid, number, z)
        part["at_risk"] = grid["n"].to_numpy()
        parts.append(part.assign(_order=number))
    found = pd.concat(parts, ignore_index=True).sort_values([*by, "_order", "time_days"], kind="stable")
    return found.drop(columns="_order").reset_index(drop=True)


def _summary(
    sums: engine.Sums,
    sizes: pd.DataFrame,
    table: pd.DataFrame,
    rule: JourneyRule,
    by: list[str],
    read_at: int | None,
    confidence: float,
) -> pd.DataFrame:
    summary = sizes[sums.keys].rename(columns=dict(zip(sums.keys, by, strict=True)))
    summary["n"], summary["events"] = sizes["entered"].astype(int), sizes["d_1"].astype(int)
    for number, end in enumerate(rule.competing, 2):
        summary[f"events_{end.name}"] = sizes[f"d_{number}"].astype(int)
    summary["censored"] = sizes["censored"].astype(int)
    summary["observed_days"] = sizes["last"] / MICROS_PER_DAY
    known = np.ones(len(sizes), dtype=bool)
    summary[list(AT_HORIZON)] = math.nan
    if read_at is not None:
        day = read_at / MICROS_PER_DAY
        summary["horizon_days"] = day
        known = ((sizes["last"] >= read_at) | (sizes["survival"] <= 0)).to_numpy()
        watched = engine.watched(sums, rule, read_at)
        for name, values in _at(table, by, day, known, watched, confidence).items():
            summary[name] = values
    z = z_value(confidence)
    found = engine.crossings(sums, LEVELS, z)
    for i, level in enumerate(LEVELS):
        for kind, suffix in (("share", ""), ("low", "_ci_low"), ("high", "_ci_high")):
            summary[f"p{round(100 * level)}{suffix}_days"] = found[f"{i}_{kind}"].to_numpy(dtype=float)
    summary[list(MEAN)] = math.nan
    if read_at is not None:
        area = engine.areas(sums, read_at)
        mean = np.where(known, day - area["lost"], np.nan)
        width = z * np.sqrt(np.maximum(area["variance"].to_numpy(), 0.0))
        for name, values in zip(MEAN, (mean, mean - width, mean + width), strict=True):
            summary[name] = values
    return summary


def _at(
    table: pd.DataFrame, by: list[str], day: float, known: np.ndarray, watched: Sequence[float], confidence: float
) -> dict[str, list[float]]:
    """The curves at a day: their last point by then, which ``points`` has."""
    parts = [part for _, part in table.groupby(by, sort=False, dropna=False)] if by else [table]
    found: dict[str, list[float]] = {"probability": [], "ci_low": [], "ci_high": []}
    for part, is_known, users in zip(parts, known, watched, strict=True):
        within = part[part["time_days"] <= day]
        at = {name: float(within[name].iloc[-1]) if len(within) else 0.0 for name in found}
        if at["probability"] == 0:
            at["ci_high"] = limit_of_none(users, confidence)
        elif at["probability"] == 1 and math.isnan(at["ci_low"]):
            at |= {"ci_low": limit_of_all(part, confidence), "ci_high": 1.0}
        for name, values in found.items():
            values.append(at[name] if is_known else math.nan)
    return found


def _tests(sums: engine.Sums, rule: JourneyRule, upto: float | None) -> pd.DataFrame:
    rows = []
    for number, cause in enumerate(rule.causes, 1):
        told, covariance = engine.log_rank_sums(sums, number, upto)
        difference = (told["observed"] - told["expected"]).to_numpy()
        chi2, freedom = quadratic_form(difference, covariance.to_numpy())
        rows.append(("log-rank", cause, chi2, freedom, upper_tail(chi2, freedom), 0.0))
    return pd.DataFrame(rows, columns=["test", "cause", "chi2", "degrees_of_freedom", "p_value", "rho"])
