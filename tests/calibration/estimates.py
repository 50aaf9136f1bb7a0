"""One simulated log, all that is estimated on it, and what is true. Mostly by the functions that users call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

import microconv as mc
from calibration import outside, worlds
from calibration.logs import read_alone, strictly
from calibration.worlds import AT_DAYS, MACRO, OTHER_END
from microconv import RiskTable, stats
from microconv.simulate import SimulatedLog

__all__ = ["PARTS", "Estimate", "estimates"]

_Z = 1.959963984540054
_DEVICE, _OTHER_DEVICE = "mobile", "desktop"


class Estimate(NamedTuple):
    """An estimate with its 95 % interval; NaN where the method gives none, an infinite limit where it is open.

    ``claim``: ``"yes"`` (the coverage is claimed), ``"at least"`` (claimed to be no lower) or ``"no"`` (a naive
    formula, a wrong question or a wrong assumption, which stands beside for comparison). ``scale``: where the interval
    is symmetric, or nearly.
    """

    quantity: str
    term: str
    claim: str
    scale: str
    truth: float
    estimate: float
    low: float
    high: float


def estimates(name: str, seed: int, users: int, parts: tuple[str, ...]) -> list[Estimate]:
    """All estimates of one log (of each kind) of a world."""
    with strictly():
        return [found for part in parts for found in PARTS[part](name, seed, users)]


def _simulate(name: str, kind: str, seed: int, users: int) -> tuple[SimulatedLog, mc.EventLog]:
    simulated = mc.simulate(users, seed, world=worlds.world(name, kind))
    return simulated, read_alone(simulated)


def _curves(name: str, seed: int, users: int) -> Iterator[Estimate]:
    """Survival, restricted mean and quantiles by Kaplan-Meier; with another end beside, by Aalen-Johansen."""
    for kind, method in (("alone", "Kaplan-Meier"), ("beside", "Aalen-Johansen")):
        simulated, log = _simulate(name, kind, seed, users)
        found = mc.time_to_conversion(log)
        by_device = mc.time_to_conversion(log, by="device")
        for device, row in ((None, found.summary.iloc[0]), (_DEVICE, _row(by_device.summary))):
            term = _term(device)
            yield _chance(
                f"cumulative incidence, day {AT_DAYS:g} ({method})",
                term,
                "yes",
                worlds.probability(name, kind, device=device),
                row["probability"],
                row["ci_low"],
                row["ci_high"],
            )
        row = found.summary.iloc[0]
        mean = [row[f"rmst_{column}days"] for column in ("", "ci_low_", "ci_high_")]
        yield Estimate(
            f"mean days before converting, to day {AT_DAYS:g} ({method})",
            MACRO, "yes", "identity", worlds.rmst(name, kind), *map(float, mean),
        )  # fmt: skip
        yield _difference(name, kind, method, by_device.pairs)
        for percent in (10, 25):
            days = [row[f"p{percent}_{column}days"] for column in ("", "ci_low_", "ci_high_")]
            yield _quantile(f"days until converted ({method})", f"{percent} %", "yes", name, kind, percent, days)
        assert found.risk_table is not None
        if kind == "alone":
            yield from _whole_days(name, found.risk_table)
            converted = simulated.users.loc[simulated.users["cause"] == MACRO, "stop_days"].sort_values().to_numpy()
            yield _quantile(
                "days until converted, of converters", "25 %", "no", name, kind, 25, _sample(converted, 0.25)
            )
        else:
            yield from _beside(name, found.risk_table)


def _term(device: str | None) -> str:
    return MACRO if device is None else f"{MACRO}, device={device}"


def _row(table: pd.DataFrame) -> pd.Series:
    return table[table["device"] == _DEVICE].iloc[0]


def _difference(name: str, kind: str, method: str, pairs: pd.DataFrame) -> Estimate:
    """How many days later users of one device convert than those of the other."""
    pair = pairs.iloc[0]
    assert (pair["group_a"], pair["group_b"]) == (_OTHER_DEVICE, _DEVICE)
    truth = worlds.rmst(name, kind, _OTHER_DEVICE) - worlds.rmst(name, kind, _DEVICE)
    found = [pair[f"rmst_{column}days"] for column in ("difference_", "ci_low_", "ci_high_")]
    return Estimate(
        f"mean days before converting, to day {AT_DAYS:g} ({method})", f"{_OTHER_DEVICE} less {_DEVICE}", "yes",
        "identity", truth, *map(float, found),
    )  # fmt: skip


def _beside(name: str, rt: RiskTable) -> Iterator[Estimate]:
    """What the counts of two ends give: survival from both, the other end, and the naive 1 - Kaplan-Meier."""
    gone = worlds.any_end(name, "beside")
    at = stats.survival_at(stats.kaplan_meier(rt), AT_DAYS).iloc[0]
    yield Estimate(
        f"survival from any end, day {AT_DAYS:g} (Kaplan-Meier)", "any end", "yes", "cloglog",
        1 - gone, at["survival"], at["ci_low"], at["ci_high"],
    )  # fmt: skip
    curve = stats.aalen_johansen(rt)
    other = stats.probability_at(curve[curve["cause"] == OTHER_END], AT_DAYS).iloc[0]
    yield _chance(
        f"cumulative incidence, day {AT_DAYS:g} (Aalen-Johansen)",
        OTHER_END,
        "yes",
        worlds.probability(name, "beside", OTHER_END),
        other["probability"],
        other["ci_low"],
        other["ci_high"],
    )
    truth = worlds.probability(name, "beside")
    naive = stats.survival_at(stats.kaplan_meier(rt, cause=MACRO), AT_DAYS).iloc[0]
    yield _chance(
        f"cumulative incidence, day {AT_DAYS:g}, by 1 - Kaplan-Meier",
        MACRO, "no", truth, 1 - naive["survival"], 1 - naive["ci_high"], 1 - naive["ci_low"],
    )  # fmt: skip
    frame = rt.frame[rt.frame["time_days"] <= AT_DAYS]
    so_far = _share(frame[f"d_{MACRO}"].sum(), rt.frame["entered"].sum())
    yield _chance(f"cumulative incidence, day {AT_DAYS:g}, by the share of all users", MACRO, "no", truth, *so_far)


def _whole_days(name: str, rt: RiskTable) -> Iterator[Estimate]:
    """The same log in a tool that knows days only: few distinct times, so that the limits fall on whole days."""
    # Who is censored on a day was at risk for the events of the day before, and no longer for those of that day.
    events = rt.frame.assign(time_days=np.ceil(rt.frame["time_days"]), censored=0.0)
    censored = rt.frame[["time_days", "censored"]].assign(time_days=np.floor(rt.frame["time_days"]))
    both = pd.concat([events, censored], ignore_index=True)
    both[["entered", f"d_{MACRO}"]] = both[["entered", f"d_{MACRO}"]].fillna(0.0)
    coarse = RiskTable.from_counts(both, (), rt.causes)
    for percent in (10, 25):
        found = stats.quantiles(coarse, percent / 100).iloc[0]
        days = [found["time_days"], found["ci_low_days"], found["ci_high_days"]]
        truth = float(np.ceil(worlds.quantile(name, "alone", percent / 100)))
        yield _open("days until converted, times in whole days", f"{percent} %", "at least", truth, days)


def _sample(values: np.ndarray, share: float) -> list[float]:
    """A quantile of a sample with the interval of its order statistics."""
    size, half = len(values), _Z * math.sqrt(len(values) * share * (1 - share))
    low, high = max(0, math.floor(size * share - half)), min(size - 1, math.ceil(size * share + half))
    return [float(np.quantile(values, share)), float(values[low]), float(values[high])]


def _share(converted: float, users: float) -> tuple[float, float, float]:
    low, high = stats.wilson(converted, users)
    return converted / users, float(low), float(high)


def _quantile(quantity: str, term: str, claim: str, name: str, kind: str, percent: int, days: list[float]) -> Estimate:
    return _open(quantity, term, claim, worlds.quantile(name, kind, percent / 100), days)


def _open(quantity: str, term: str, claim: str, truth: float, days: list[float]) -> Estimate:
    """A quantile: a limit that the curve does not reach lies beyond all that was observed."""
    estimate, low, high = (float(day) for day in days)
    high = math.inf if math.isfinite(low) and math.isnan(high) else high
    return Estimate(quantity, term, claim, "identity", truth, estimate, low, high)


def _chance(quantity: str, term: str, claim: str, truth: float, estimate: float, low: float, high: float) -> Estimate:
    return Estimate(quantity, term, claim, "cloglog", truth, float(estimate), float(low), float(high))


def _hazards(name: str, seed: int, users: int) -> Iterator[Estimate]:
    """Hazard ratios with time-varying micros, both kinds of errors; then without the confounder, and naively."""
    simulated, log = _simulate(name, "beside", seed, users)
    truth = worlds.hazard_ratios(name)
    confounder = simulated.truth.world.intent
    adjust = ["device", *([confounder.column] if confounder else [])]
    for quantity, options in (
        ("hazard ratio, model error", {}),
        ("hazard ratio, per-user robust error", {"robust": True}),
        ("hazard ratio, piecewise exponential", {"method": "piecewise"}),
    ):
        yield from _ratios(quantity, "yes", mc.hazard_ratios(log, adjust=adjust, **options).table, truth)
    micros = [micro.name for micro in worlds.micros(name)]
    if confounder is not None:
        left_out = mc.hazard_ratios(log, adjust=["device"]).table
        quantity = f"hazard ratio, {confounder.column} not adjusted for"
        yield from _ratios(quantity, "no", left_out, {micro: truth[micro] for micro in micros})
    yield from _ever(simulated.users, micros, adjust, truth)


def _ratios(quantity: str, claim: str, table: pd.DataFrame, truth: dict[str, float]) -> Iterator[Estimate]:
    found = table.set_index("term")
    for term, ratio in truth.items():
        row = found.loc[term]
        yield Estimate(
            quantity, term, claim, "log", ratio,
            float(row["hazard_ratio"]), float(row["ci_low"]), float(row["ci_high"]),
        )  # fmt: skip


def _ever(users: pd.DataFrame, micros: list[str], adjust: list[str], truth: dict[str, float]) -> Iterator[Estimate]:
    """Who ever did the micro against who never did: by a Cox model from entry on, and by the odds of converting."""
    frame = users[adjust].astype(object).assign(start=0.0, stop=users["stop_days"])
    frame["cause"] = np.where(users["cause"] == MACRO, MACRO, None)
    for micro in micros:
        frame[micro] = users[f"{micro}_days"].notna().astype(float)
    table = RiskTable.from_intervals(frame, "start", "stop", "cause", (*micros, *adjust))
    fit = stats.cox(table, [*micros, *adjust], cause=MACRO)
    yield from _ratios("hazard ratio of ever did it", "no", fit.table, {micro: truth[micro] for micro in micros})
    converted = (users["cause"] == MACRO).to_numpy()
    for micro in micros:
        did = frame[micro].to_numpy() == 1
        cells = [int(((did == a) & (converted == b)).sum()) for a in (1, 0) for b in (1, 0)]
        log_odds = math.log(cells[0] * cells[3] / (cells[1] * cells[2]))
        half = _Z * math.sqrt(sum(1 / cell for cell in cells))
        yield Estimate(
            "odds ratio of converting, did it or not", micro, "no", "log", truth[micro],
            math.exp(log_odds), math.exp(log_odds - half), math.exp(log_odds + half),
        )  # fmt: skip


def _eventual(name: str, seed: int, users: int) -> Iterator[Estimate]:
    """The share that converts in the end, where it is a mixture of never and a Weibull delay."""
    simulated, log = _simulate(name, "eventual", seed, users)
    everybody = mc.eventual_conversion(log).table.iloc[0]
    for device, row in ((None, everybody), (_DEVICE, _row(mc.eventual_conversion(log, by="device").table))):
        found = [row[column] for column in ("share", "ci_low", "ci_high")]
        truth = worlds.eventual_share(name, device)
        yield _chance("eventual share (Weibull delay)", _term(device), "yes", truth, *found)
    truth = worlds.eventual_share(name)
    so_far = _share((simulated.users["cause"] == MACRO).sum(), users)
    yield _chance("eventual share, by the share converted so far", MACRO, "no", truth, *so_far)


def _outside(name: str, seed: int, users: int) -> Iterator[Estimate]:
    """The eventual share where the delay is of another family; no interval where the plateau is refused."""
    if name != outside.WORLD:
        return
    for delay in outside.DELAYS:
        row = mc.eventual_conversion(outside.log_of(delay, seed, users)).table.iloc[0]
        found = [row[column] for column in ("share", "ci_low", "ci_high")]
        yield _chance(f"eventual share ({delay.name}: outside the family)", MACRO, "no", outside.SHARE, *found)


PARTS: dict[str, Callable[[str, int, int], Iterator[Estimate]]] = {
    "curves": _curves,
    "hazards": _hazards,
    "eventual": _eventual,
    "outside": _outside,
}
