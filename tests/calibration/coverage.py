"""From the estimates of many logs to the table: how often the truth was inside, and whether that is what is claimed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import beta

from calibration.estimates import Estimate
from calibration.worlds import WORLDS

__all__ = ["BAND", "MANY_LOGS", "MOST_WITHOUT", "clopper_pearson", "coverage_table", "read_table", "verdict"]

BAND = (0.93, 0.97)
MANY_LOGS = 2_000
# Beyond so many logs without an interval the others are a selection, and their coverage says little.
MOST_WITHOUT = 0.05
_Z = 1.959963984540054
_KEYS = ["world", "quantity", "term"]


def clopper_pearson(covered: int, logs: int, confidence: float = 0.999) -> tuple[float, float]:
    """The exact interval of a coverage that was seen in ``covered`` of ``logs`` logs."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, covered, logs - covered + 1)) if covered else 0.0
    high = float(beta.isf(tail, covered + 1, logs - covered)) if covered < logs else 1.0
    return low, high


def verdict(claimed: str, covered: int, logs: int, without: int = 0) -> str:
    """``holds`` or ``fails``, by the rule: over 2,000 logs and more the coverage lies in 93-97 %, over fewer its 99.9 %
    interval meets 93-97 %. Where at least 95 % is claimed, too much is no failure.
    """
    if logs == 0 or without > MOST_WITHOUT * (logs + without):
        return "fails"
    low, high = (covered / logs,) * 2 if logs >= MANY_LOGS else clopper_pearson(covered, logs)
    enough = high >= BAND[0]
    return "holds" if enough and (low <= BAND[1] or claimed == "at least") else "fails"


def coverage_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """One row per world, quantity and term, from a row per estimate (the fields of ``Estimate``, ``world``, ``seed``).

    ``logs`` gave an interval, ``without`` did not; ``covered`` of them held the truth. ``below`` and ``above``: shares
    of logs whose whole interval lies below or above the truth. ``mean_estimate`` and ``bias`` (its distance from the
    truth) are averaged where intervals are symmetric (hazard ratios: on the log scale), as are ``mean_se`` (half the
    interval over 1.96) and ``spread`` (the standard deviation of the estimates over the logs), which should be equal.
    """
    rows = []
    for keys, group in estimates.groupby(_KEYS, sort=False):
        given = group[group["low"].notna() & group["high"].notna()]
        truth, claim, scale = (group[column].iloc[0] for column in ("truth", "claim", "scale"))
        below, above = int((given["high"] < truth).sum()), int((given["low"] > truth).sum())
        logs, without = len(given), len(group) - len(given)
        covered = logs - below - above
        estimate = _to(scale, given["estimate"].to_numpy(dtype=float))
        half = np.abs(_to(scale, given["high"].to_numpy()) - _to(scale, given["low"].to_numpy())) / 2
        known = estimate[np.isfinite(estimate)]
        low, high = clopper_pearson(covered, logs) if logs else (np.nan, np.nan)
        mean = float(_back(scale, known.mean())) if len(known) else np.nan
        rows.append(
            dict(zip(_KEYS, keys, strict=True))
            | {
                "truth": truth,
                "logs": logs,
                "without": without,
                "covered": covered,
                "coverage": covered / logs if logs else np.nan,
                "cp_low": low,
                "cp_high": high,
                "below": below / logs if logs else np.nan,
                "above": above / logs if logs else np.nan,
                "mean_estimate": mean,
                "bias": mean - truth,
                "mean_se": float(half[np.isfinite(half)].mean()) / _Z if np.isfinite(half).any() else np.nan,
                "spread": float(known.std(ddof=1)) if len(known) > 1 else np.nan,
                "claimed": claim,
                "verdict": verdict(claim, covered, logs, without),
            }
        )
    table = pd.DataFrame(rows)
    order = {name: number for number, name in enumerate(WORLDS)}
    place = {"yes": 0, "at least": 1, "no": 2}
    ranked = table.assign(
        _world=table["world"].map(order), _claimed=table["claimed"].map(place), _row=np.arange(len(table))
    ).sort_values(["_world", "_claimed", "_row"])
    return ranked[table.columns].reset_index(drop=True).round(6)


def _to(scale: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "log":
            return np.log(values)
        return np.log(-np.log1p(-values)) if scale == "cloglog" else values


def _back(scale: str, value: float) -> float:
    if scale == "log":
        return float(np.exp(value))
    return float(-np.expm1(-np.exp(value))) if scale == "cloglog" else value


def as_frame(world: str, seed: int, found: Sequence[Estimate]) -> pd.DataFrame:
    """The estimates of a log as rows."""
    return pd.DataFrame(found, columns=list(Estimate._fields)).assign(world=world, seed=seed)


def read_table(path: Path) -> pd.DataFrame:
    """The table as ``run.py`` writes it; ``null`` is the name of a world, not a missing value."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])
