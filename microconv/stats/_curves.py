"""What the estimators of a curve share: its rows by pattern, intervals that stay within 0 and 1, step look-up."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.errors import MicroconvWarning, ParameterError, shorten, unknown_name

__all__ = [
    "Block",
    "Floats",
    "as_days",
    "check_names",
    "curve_at",
    "curve_blocks",
    "log_log_limits",
    "patterns_of",
    "read_blocks",
    "survival_with_limits",
    "z_value",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """The counts of one pattern from ``start`` on: row numbers in the risk table, times and counts at them."""

    rows: npt.NDArray[np.int64]
    start: float
    time: Floats
    n: Floats
    by_cause: Floats
    events: Floats
    censored: Floats
    entered: Floats

    @property
    def after(self) -> Floats:
        """How many are at risk just after each time. Who enters at 0 is in ``n`` at 0 already."""
        return self.n - self.events - self.censored + np.where(self.time == 0, 0.0, self.entered)

    @property
    def stay(self) -> Floats:
        """How many of those at risk have no event at each time."""
        return np.maximum(self.n - self.events, 0.0)

    @property
    def survival(self) -> Floats:
        """The product-limit estimate just after each time."""
        stays: Floats = np.divide(self.stay, self.n, out=np.ones_like(self.n), where=self.n > 0)
        return stays.cumprod()

    @property
    def greenwood(self) -> Floats:
        """The variance of log survival just after each time; steps that end at zero survival add nothing."""
        product = self.n * self.stay
        return np.cumsum(np.divide(self.events, product, out=np.zeros_like(product), where=product > 0))


def read_blocks(rt: RiskTable, cause: Hashable | None = None, start_days: float = 0.0) -> list[Block]:
    """One block per pattern: all causes together, or ``cause`` alone with the others censored."""
    if rt.frame.empty:
        raise ParameterError("The risk table is empty: nobody was ever at risk. Check the filter that made it.")
    if cause is not None and cause not in rt.causes:
        raise ParameterError(unknown_name("cause", cause, map(str, rt.causes)))
    start = as_days(start_days, "start_days")
    time, n = rt.frame["time_days"].to_numpy(), rt.frame["n"].to_numpy()
    by_cause = rt.frame[rt.event_cols].to_numpy(dtype=float).reshape(len(time), len(rt.causes))
    censored, entered = rt.frame["censored"].to_numpy(), rt.frame["entered"].to_numpy()
    total = by_cause.sum(axis=1)
    events = total if cause is None else by_cause[:, rt.causes.index(cause)]
    blocks = []
    for rows in rt.blocks():
        first = rows.start + int(np.searchsorted(time[rows], start, side="left"))
        kept = slice(first, rows.stop)
        blocks.append(
            Block(
                rows=np.arange(first, rows.stop),
                start=start,
                time=time[kept],
                n=n[kept],
                by_cause=by_cause[kept],
                events=events[kept],
                censored=censored[kept] + (total[kept] - events[kept]),
                entered=entered[kept],
            )
        )
    return blocks


def curve_blocks(rt: RiskTable, cause: Hashable | None = None, start_days: float = 0.0) -> list[Block]:
    """``read_blocks``, with a warning where the risk set runs empty on an event though users are observed later.

    Late entry does that with a few early users, and from there on nothing can be estimated.
    """
    blocks = read_blocks(rt, cause, start_days)
    early = []
    for block in blocks:
        ends = np.flatnonzero((block.stay <= 0) & (block.events > 0))
        if len(ends) and (block.n[ends[0] + 1 :] > 0).any():
            early.append((block, int(ends[0])))
    if not early:
        return blocks
    block, end = early[0]
    row = rt.frame.iloc[int(block.rows[end])]
    where = ", ".join(f"{name}={shorten(repr(row[name]), 40)}" for name in rt.pattern_cols)
    warnings.warn(
        f"{len(early)} of {len(blocks)} curves reach certainty early{f' (first: {where})' if where else ''}: at day "
        f"{block.time[end]:g} all {block.n[end]:g} at risk have the event, yet up to {block.n[end + 1 :].max():g} are "
        "observed later. Nothing is estimated after that day. Condition on a later start with start_days=.",
        MicroconvWarning,
        stacklevel=3,
    )
    return blocks


def as_days(value: float, name: str) -> float:
    """``value`` as a float of days, or an error that names the parameter."""
    plain = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not plain or not math.isfinite(value) or value < 0:
        raise ParameterError(f"{name}={shorten(repr(value))} must be a plain number of days, 0 or more, such as 30.")
    return float(value)


def z_value(confidence: float) -> float:
    """The two-sided normal quantile of a confidence level such as 0.95."""
    plain = isinstance(confidence, int | float | np.integer | np.floating) and not isinstance(confidence, bool)
    if not plain or not 0 < confidence < 1:
        hint = f" Write {confidence / 100:g}." if plain and 1 < confidence < 100 else ""
        raise ParameterError(f"confidence={shorten(repr(confidence))} must lie between 0 and 1, such as 0.95.{hint}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def log_log_limits(logs: Floats, se: Floats, z: float) -> tuple[Floats, Floats]:
    """The limits of log survival ``logs``, symmetric in log(-log); 0 at 0, where the interval is degenerate.

    ``se`` is the standard error of survival. Minus infinity (survival 0) has no limits: NaN.
    """
    inside = np.isfinite(logs) & (logs < 0)
    safe = np.where(inside, logs, -1.0)
    width = np.where(inside, z * se / (np.exp(safe) * -safe), 0.0)
    # Beyond e^700 the limit is 0 or 1 to the last digit.
    low, high = safe * np.exp(np.minimum(width, 700.0)), safe * np.exp(-width)
    edge = np.where(logs == 0, 0.0, np.nan)
    return np.where(inside, low, edge), np.where(inside, high, edge)


def survival_with_limits(block: Block, variance: Floats, z: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Kaplan-Meier survival, its standard error and its log-log limits; all but the first NaN at 0.

    ``variance`` is that of log survival: ``block.greenwood``, or one by cluster.
    """
    survival = block.survival
    known = survival > 0
    se = np.where(known, survival * np.sqrt(variance), np.nan)
    low, high = log_log_limits(np.log(survival, out=np.full_like(survival, -np.inf), where=known), se, z)
    return survival, se, np.exp(low), np.exp(high)


def patterns_of(rt: RiskTable, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pd.DataFrame:
    """The pattern columns of these rows (with ``time_days`` when it is among ``columns``), in a frame of its own."""
    check_names(rt.pattern_cols, columns)
    time = ["time_days"] if "time_days" in columns else []
    return rt.frame[[*rt.pattern_cols, *time]].iloc[rows].reset_index(drop=True)


def check_names(patterns: Sequence[str], columns: Sequence[str]) -> None:
    """An error where a pattern column has the name of a column of the result."""
    for name in patterns:
        if name in columns:
            raise ParameterError(
                f"The pattern column {name!r} has the name of a column of the result ({', '.join(columns)}). Rename it."
            )


def curve_at(
    curve: pd.DataFrame,
    times: float | Sequence[float] | Floats,
    before: dict[str, float],
    complete: npt.NDArray[np.bool_],
) -> pd.DataFrame:
    """The values of each step curve at ``times``; ``before`` its first row, NaN after its last unless ``complete``."""
    wanted = np.atleast_1d(np.asarray(times, dtype=float))
    if wanted.ndim != 1 or not np.isfinite(wanted).all():
        raise ParameterError(f"times={shorten(repr(times))} must be finite numbers of days.")
    keys = curve[list(curve.columns[: curve.columns.get_loc("time_days")])]
    code = group_codes(keys)
    time = curve["time_days"].to_numpy(dtype=float)
    order = np.lexsort((time, code))
    edges = np.flatnonzero(np.diff(code[order], prepend=-1, append=-1))
    spans = [order[first:stop] for first, stop in itertools.pairwise(edges)]
    # For each curve and time: the row just at or before it, its place among the curve's rows, the curve's last row.
    empty = [np.zeros((0, len(wanted)), dtype=np.int64)]
    place = np.concatenate(
        [*empty, *([np.searchsorted(time[span], wanted, side="right") - 1] for span in spans)]
    ).ravel()
    first = np.repeat(np.array([span[0] for span in spans], dtype=np.int64), len(wanted))
    last = np.repeat(np.array([span[-1] for span in spans], dtype=np.int64), len(wanted))
    starts = np.repeat(edges[:-1], len(wanted))
    row = order[starts + np.maximum(place, 0)]
    table = keys.iloc[first].reset_index(drop=True)
    table["time_days"] = np.tile(wanted, len(spans))
    unknown = (table["time_days"].to_numpy() > time[last]) & ~complete[last]
    for name, value in before.items():
        known = np.where(place < 0, value, curve[name].to_numpy(dtype=float)[row])
        table[name] = np.where(unknown, np.nan, known)
    return table
