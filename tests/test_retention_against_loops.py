"""``mc.retention`` equals a loop over users and local days: over changes of the clocks, months and leap days."""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference.funnels import Event
from reference.journeys import Thing
from reference.logs import log_of
from reference.retention import cells

import microconv as mc
from microconv.plan import Plan

HOUR = 3_600 * 1_000_000
STARTS = {  # some days before clocks change, a year ends, a February has 29 days
    "Europe/Berlin": ["2026-03-26", "2026-10-22", "2027-12-28"],
    "America/New_York": ["2026-03-05", "2026-10-29", "2028-02-25"],
    "Asia/Kathmandu": ["2026-01-29"],
    "Pacific/Auckland": ["2026-04-02", "2026-09-24"],
    "UTC": ["1969-12-27", "2028-02-27"],
}


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    tz = draw(st.sampled_from(sorted(STARTS)))
    period = draw(st.sampled_from(["D", "D", "W", "M"]))
    return {
        "tz": tz,
        "start": draw(st.sampled_from(STARTS[tz])),
        "period": period,
        "calendar": draw(st.booleans()),
        "cohort": draw(st.sampled_from(["day", "week", "month"])),
        "event": draw(st.sampled_from([None, "A"])),
        "origin": draw(st.sampled_from([None, "B"])),
        "last": draw(st.integers(0, 4)),
        "days": {"D": 9, "W": 30, "M": 100}[period],
    }


@given(st.integers(0, 2**32 - 1), questions())
@settings(max_examples=40)
def test_cells_are_those_of_a_loop(seed: int, asked: dict[str, Any]) -> None:
    rng = random.Random(seed)
    zero = pd.Timestamp(asked["start"], tz="UTC").value // 1000
    events = []
    for user in range(12):
        for _ in range(rng.randint(1, 7)):
            # Whole and half hours, so that local midnights are hit, and a microsecond before and after.
            at = zero + rng.randrange(asked["days"] * 48) * HOUR // 2 + rng.choice([0, 0, -1, 1])
            events.append(Event(len(events), f"u{user}", at, rng.choice("AABBCX"), {"x": None}))
    until = max(e.time for e in events) + rng.choice([0, 1, HOUR, 26 * HOUR])
    names = {"event": asked["event"], "origin": asked["origin"]}
    assume(all(name is None or any(e.event == name for e in events) for name in names.values()))
    expected = cells(
        events,
        until,
        event=Thing(asked["event"]) if asked["event"] else None,
        origin=Thing(asked["origin"]) if asked["origin"] else None,
        censor=(Thing("X"),),
        **{name: asked[name] for name in ("cohort", "period", "calendar", "tz", "last")},
    )
    from dataclasses import replace

    plan = Plan.model_validate({"macros": [{"name": "A", "event": "A"}], "censor": ["X"]})
    log = replace(log_of(events, until), plan=plan)
    options = {name: asked[name] for name in ("cohort", "period", "calendar", "tz")}
    if not expected:
        with pytest.raises(mc.ParameterError, match="origin"):
            mc.retention(log, event=asked["event"], origin=asked["origin"] or "entry", **options)
        return
    result = mc.retention(
        log, event=asked["event"], origin=asked["origin"] or "entry", periods=asked["last"], **options
    )
    found = {
        (row["cohort"], row["period"]): (row["users"], row["observed"], row["returned"], row["open"], row["censored"])
        for row in result.table.to_dict("records")
    }
    wanted = {key: (c.users, c.observed, c.returned, c.open, c.censored) for key, c in expected.items()}
    assert found == wanted
    rates = result.table.set_index(["cohort", "period"])["rate"]
    for key, (_, observed, returned, _, _) in wanted.items():
        assert rates[key] == pytest.approx(returned / observed if observed else float("nan"), nan_ok=True)
