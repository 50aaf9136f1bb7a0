"""How many of the users of each entry cohort will have converted by the horizon, from counts by cohort and age."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from microconv.counts import RiskTable, group_codes
from microconv.stats._curves import Floats, z_value
from microconv.stats.conditional import Conditional, Sum, count_limits
from microconv.stats.plateau import plateaus

__all__ = ["COHORTS", "OPEN", "Forecast", "Setting", "forecast_counts", "open_users"]

_COUNTS = ["users", "converted", "ended", "lost", "expired", "open"]
_NUMBERS = ["expected", "total", "ci_low", "ci_high", "rate", "rate_ci_low", "rate_ci_high", "mature", "method"]
COHORTS = ["cohort", *_COUNTS, *_NUMBERS]
OPEN = ["age_days", "chance", "ci_low", "ci_high", "at_risk"]
_NEAR = 1e-9
_FEW = 10
_AGES = 60


@dataclass(frozen=True)
class Setting:
    """What is forecast: ``target`` by ``horizon_days``, beside other ``ends``; ``lost`` causes end observation."""

    target: Hashable
    ends: tuple[Hashable, ...]
    lost: tuple[Hashable, ...]
    horizon_days: float
    confidence: float

    def __post_init__(self) -> None:
        z_value(self.confidence)  # refuses what is no confidence, even where no interval is asked for


@dataclass(frozen=True)
class Forecast:
    """``table`` by segment and cohort, ``cohorts`` over all segments, ``total`` over all, ``open`` by age; ``curves``:
    one per segment; ``notes``: what the caller should know.
    """

    table: pd.DataFrame
    cohorts: pd.DataFrame
    total: pd.DataFrame
    open: pd.DataFrame
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """A segment's cohort: its names and counts, what is expected, how, and how large a chance nobody may have shown."""

    counts: dict[str, Any]
    found: Sum
    method: str
    unseen: float


def forecast_counts(rt: RiskTable, by: Sequence[str], setting: Setting) -> Forecast:
    """Expected events by the horizon of each cohort, given those still open.

    ``rt`` has the patterns ``by`` and ``cohort`` and ends at the horizon. The chance of a user open at age t is
    ``(F(H) - F(t)) / S(t)`` of the segment's pooled Aalen-Johansen curve. Where nobody was watched as far as H the
    curve is continued by the segment's mixture-cure model, if it is not refused; else nothing is expected (NaN).
    """
    frame = rt.frame
    keys = group_codes(frame[list(by)]) if by else np.zeros(len(frame), dtype=np.int64)
    parts: list[_Part] = []
    notes: list[str] = []
    grid, totals = [], []
    for key in range(int(keys.max()) + 1):
        mine = RiskTable(frame[keys == key].reset_index(drop=True), rt.pattern_cols, rt.causes)
        names = {name: mine.frame[name].iloc[0] for name in by}
        curve, extra, method = _curve(mine, setting, names, notes)
        unseen = curve.unseen(setting.horizon_days, setting.confidence) if curve is not None else 1.0
        everybody = []
        for block in mine.blocks():
            rows = mine.frame.iloc[block]
            ages, users = open_users(rows, setting.horizon_days)
            everybody.append((ages, users))
            counts = names | {"cohort": rows["cohort"].iloc[0]} | _counted(rows, setting)
            found = _sum(curve, extra, users, ages, setting)
            parts.append(_Part(counts, found, method if len(ages) else "counted", unseen))
        ages, users = (np.concatenate(both) for both in zip(*everybody, strict=True))
        totals.append(_sum(curve, extra, users, ages, setting))
        grid.append(_by_age(curve, extra, mine, setting).assign(**names))
    table = pd.DataFrame([_row([part], part.found, setting, by) for part in parts], columns=[*by, *COHORTS])
    cohorts = []
    for cohort in sorted({str(part.counts["cohort"]) for part in parts}):
        together = [part for part in parts if str(part.counts["cohort"]) == cohort]
        # Segments have curves from different users: what is expected of them adds up, variances too.
        cohorts.append(_row(together, sum((part.found for part in together), Sum()), setting, ()))
    # Cohorts of a segment share the errors of its curve.
    total = pd.DataFrame([_row(parts, sum(totals, Sum()), setting, ())], columns=COHORTS[1:])
    opened = pd.concat(grid, ignore_index=True)[[*by, *OPEN]]
    return Forecast(table, pd.DataFrame(cohorts, columns=COHORTS), total, opened, notes)


def open_users(rows: pd.DataFrame, horizon_days: float) -> tuple[Floats, Floats]:
    """The ages of those still open, and how many they are."""
    left = ((rows["censored"] > 0) & (rows["time_days"] < horizon_days - _NEAR)).to_numpy()
    return rows["time_days"].to_numpy(dtype=float)[left], rows["censored"].to_numpy(dtype=float)[left]


def _counted(rows: pd.DataFrame, setting: Setting) -> dict[str, object]:
    censored, late = rows["censored"], rows["time_days"] >= setting.horizon_days - _NEAR
    sums = {
        "users": rows["entered"].sum(),
        "converted": rows[f"d_{setting.target}"].sum(),
        "ended": rows[[f"d_{end}" for end in setting.ends]].to_numpy().sum(),
        "lost": rows[[f"d_{end}" for end in setting.lost]].to_numpy().sum(),
        "expired": censored[late].sum(),
        "open": censored[~late].sum(),
    }
    return {name: round(float(number)) for name, number in sums.items()}


def _curve(
    rt: RiskTable, setting: Setting, names: dict[str, object], notes: list[str]
) -> tuple[Conditional | None, tuple[float, float], str]:
    """The pooled curve of a segment as far as the horizon; the model's share of it, with its error; how it was made."""
    where = ", ".join(f"{name} {value}" for name, value in names.items())
    where = f" ({where})" if where else ""
    curve = Conditional.of(rt, setting.target, setting.ends)
    if curve.known_days >= setting.horizon_days - _NEAR:
        if curve.known_days < math.inf and curve.watched < _FEW - _NEAR:
            notes.append(
                f"Only {curve.watched:.0f} users have been watched as far as the horizon{where}: the end of the curve "
                "rests on them."
            )
        return curve, (0.0, 0.0), "observed curve"
    causes = (setting.target, *setting.ends)
    left = rt.frame.assign(censored=rt.frame["censored"] + rt.frame[[f"d_{end}" for end in setting.lost]].sum(axis=1))
    pooled = RiskTable.from_counts(left, (), causes)
    found = plateaus(pooled, setting.target, confidence=setting.confidence)
    model = found.models[0]
    if model is None:
        why = str(found.table["method"].iloc[0]).removeprefix("refused: ")
        known = math.floor(1_000 * curve.known_days) / 1_000  # not up: what is proposed must be possible
        mend = f" Choose a horizon of at most {known:g} days." if known > 0 else ""
        notes.append(
            f"Nobody has been watched for {setting.horizon_days:.3g} days{where}, and no model may continue the curve "
            f"({why}): nothing is forecast.{mend}"
        )
        return None, (0.0, 0.0), f"not possible: {why}"
    more = model.gain(curve.known_days, setting.horizon_days).iloc[0]
    notes.append(
        f"Nobody has been watched for {setting.horizon_days:.3g} days{where}: after {curve.known_days:.3g} days the "
        "curve is a mixture-cure model's."
    )
    gain, se = float(more["probability"]), float(more["se"])
    return curve.extended(setting.horizon_days, gain), (gain, se), "observed curve, then mixture cure"


def _sum(curve: Conditional | None, extra: tuple[float, float], users: Floats, ages: Floats, setting: Setting) -> Sum:
    if len(ages) == 0:
        return Sum()
    if curve is None:
        return Sum(math.nan, math.nan, math.nan)
    found = curve.sum(users, ages, np.full(len(ages), setting.horizon_days))
    if extra[1] == 0:
        return found
    # How the model's error goes with the curve's is not known: added as errors, not as variances, it is at its most.
    model = extra[1] * float((users / curve.at_age(ages)[0]).sum())
    return Sum(found.mean, found.chance, (math.sqrt(found.error) + model) ** 2)


def _row(parts: list[_Part], found: Sum, setting: Setting, by: Sequence[str]) -> dict[str, Any]:
    """The counts of some cohorts together, and the columns that follow from them and from what is expected."""
    counts = {name: sum(int(part.counts[name]) for part in parts) for name in _COUNTS}
    users, converted, still_open = (float(counts[name]) for name in ("users", "converted", "open"))
    low, high = count_limits(found, still_open, setting.confidence)
    if found.mean == 0 and still_open > 0:  # no conversion was ever seen so late: the rule of three
        few = still_open * max(part.unseen for part in parts)
        high = count_limits(Sum(few, few), still_open, setting.confidence)[1]
    total = converted + found.mean
    share = 1 / users if users else math.nan
    methods = [method for method in dict.fromkeys(part.method for part in parts) if method != "counted"]
    return {
        **{name: parts[0].counts[name] for name in [*by, "cohort"]},
        **counts,
        "expected": found.mean,
        "total": total,
        "ci_low": converted + low,
        "ci_high": converted + high,
        "rate": total * share,
        "rate_ci_low": (converted + low) * share,
        "rate_ci_high": (converted + high) * share,
        "mature": still_open == 0,
        "method": "; ".join(methods) if methods else "counted",
    }


def _by_age(curve: Conditional | None, extra: tuple[float, float], rt: RiskTable, setting: Setting) -> pd.DataFrame:
    """The chance to have the event by the horizon, given open at each of some ages."""
    ages = np.linspace(0.0, setting.horizon_days, _AGES + 1)[:-1]
    pooled = rt.pool().frame
    time, n = pooled["time_days"].to_numpy(), pooled["n"].to_numpy()
    place = np.searchsorted(time, ages, side="right")  # at risk just after an age: the next row's number
    table = pd.DataFrame({"age_days": ages, "chance": np.nan, "ci_low": np.nan, "ci_high": np.nan})
    table["at_risk"] = np.where(place < len(time), n[np.minimum(place, len(time) - 1)], 0.0)
    if curve is None:
        return table
    z, one = z_value(setting.confidence), np.ones(1)
    for i, age in enumerate(ages):
        if curve.at_age(np.array([age]))[0][0] <= 1e-12:
            continue
        found = _sum(curve, extra, one, np.array([age]), setting)
        low, high = _share_limits(found.mean, math.sqrt(found.error), z)
        if found.mean == 0:
            high = curve.unseen(setting.horizon_days, setting.confidence)
        table.iloc[i, 1:4] = [found.mean, low, high]
    return table


def _share_limits(share: float, se: float, z: float) -> tuple[float, float]:
    """Symmetric in log(-log(1 - share)), as of the curve itself."""
    if share <= 0 or share >= 1:
        return share, share
    log = math.log1p(-share)
    width = min(z * se / ((1 - share) * -log), 700.0)
    return -math.expm1(log * math.exp(-width)), -math.expm1(log * math.exp(width))
