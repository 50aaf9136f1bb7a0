"""A shop where one micro helps on phones and another on desktops, and keen users share for nothing: logs and truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

import microconv as mc

__all__ = ["MICROS", "crossing_log", "forced_chance", "journeys"]

MICROS = ("app_install", "guide", "share")
HORIZON_DAYS = 14.0
PLAN = {
    "macros": [{"name": "purchase", "event": "purchase"}],
    "micros": [{"name": name, "event": name, "kind": "engagement"} for name in MICROS],
    "horizon": "14D",
}
_RATES = np.array([0.05, 0.05, 0.05])  # a day
_MACRO, _KEEN, _HELPS = 0.02, 2.0, 4.0


def journeys(users: int, rng: np.random.Generator, forced: np.ndarray | None = None) -> pd.DataFrame:
    """``device, interest``, when each micro and the purchase happen (days since entry).

    ``forced``: by user, the number of the micro done at entry (-1: none). The app helps on phones, the guide on
    desktops, four times; the share, which keen users do three times as often, helps nobody.
    """
    mobile, keen = rng.random(users) < 0.5, rng.random(users) < 0.4
    rates = _RATES[None, :] * np.where(keen[:, None], [1.5, 1.5, 3.0], 1.0)
    at = rng.exponential(1 / rates)
    if forced is not None:
        for micro in range(len(MICROS)):
            at[forced == micro, micro] = 0.0
    helping = np.where(mobile, at[:, 0], at[:, 1])
    base = _MACRO * np.where(keen, _KEEN, 1.0)
    needed = rng.exponential(size=users)
    before = base * helping
    purchase = np.where(needed < before, needed / base, helping + (needed - before) / (base * _HELPS))
    frame = pd.DataFrame({"device": np.where(mobile, "mobile", "desktop"), "interest": np.where(keen, "high", "low")})
    for number, name in enumerate(MICROS):
        frame[name] = at[:, number]
    return frame.assign(purchase=purchase)


def forced_chance(offers: dict[str, int], users: int = 200_000, seed: int = 9) -> float:
    """The true chance of a purchase within 14 days of entry when everybody does, at entry, what their device says."""
    rng = np.random.default_rng(seed)
    # The same random numbers for every rule: devices are drawn first, and again by journeys.
    mobile = np.random.default_rng(seed).random(users) < 0.5
    made = np.where(mobile, offers["mobile"], offers["desktop"])
    return float((journeys(users, rng, made)["purchase"] <= HORIZON_DAYS).mean())


def crossing_log(users: int, seed: int, by_lot: bool = False) -> mc.EventLog:
    """An event log of the shop; ``by_lot``: at entry a micro, or nothing, is offered by lot and half take it up."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-1, 2, users)
    taken = np.where(rng.random(users) < 0.5, drawn, -1)
    found = journeys(users, rng, taken if by_lot else None)
    offered = np.array(["none", "app_install", "guide"], dtype=object)[drawn + 1]
    entry = rng.uniform(0, 40, users)
    ids = np.array([f"u{k}" for k in range(users)], dtype=object)
    parts = [pd.DataFrame({"user_id": ids, "day": entry, "event": "visit"})]
    for name in (*MICROS, "purchase"):
        day = entry + found[name].to_numpy() + 1e-6
        seen = (day < 70) & (found[name] <= found["purchase"]).to_numpy()
        parts.append(pd.DataFrame({"user_id": ids[seen], "day": day[seen], "event": name}))
    events = pd.concat(parts, ignore_index=True)
    who = found[["device", "interest"]].assign(user_id=ids, offered=offered)
    events = events.merge(who, on="user_id")
    start = pd.Timestamp("2026-01-01", tz="UTC")
    events["time"] = start + pd.to_timedelta((events.pop("day") * 86_400e6).round().astype("int64"), unit="us")
    return mc.read_events(events, plan=mc.Plan(**PLAN), observed_until=start + pd.Timedelta("70D"))
