"""simulate: an event log whose truth is known."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from microconv.durations import MICROS_PER_DAY, micros_to_moment
from microconv.simulate.checks import check_whole
from microconv.simulate.clocks import CENSORED, Journeys, simulate_journeys
from microconv.simulate.columns import event_table
from microconv.simulate.eventual import simulate_eventual
from microconv.simulate.faults import spoil
from microconv.simulate.model import Model, model_of
from microconv.simulate.people import labels
from microconv.simulate.planning import plan_mapping
from microconv.simulate.rows import gather_rows
from microconv.simulate.tracking import Calendar, Faults
from microconv.simulate.truth import Truth
from microconv.simulate.visits import bot_pages, page_views
from microconv.simulate.world import World
from microconv.simulate.worlds import find_world

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Plan

__all__ = ["SimulatedLog", "simulate"]


@dataclass(frozen=True, eq=False)
class SimulatedLog:
    """Events, the plan that fits them, and the truth behind them.

    * ``events``: a frame with canonical columns, in the order in which the rows arrived.
    * ``plan_mapping``: the plan as a plan file holds it; ``plan`` is the same as ``mc.Plan``.
    * ``users``: what no log shows, one row per user: ``user_id, entry``, the levels of all traits (hidden intent too),
      ``stop_days, cause`` (``"censored"`` or what ended the journey), and for each micro ``<micro>_days`` (NaN: not
      done). Bots are not in it.
    * ``identities``: which ``anonymous_id`` belongs to which ``user_id``.
    """

    events: pd.DataFrame = field(repr=False)
    plan_mapping: dict[str, Any] = field(repr=False)
    truth: Truth
    users: pd.DataFrame = field(repr=False)
    identities: pd.DataFrame = field(repr=False)
    observed_until: dt.datetime

    @cached_property
    def plan(self) -> Plan:
        """The tracking plan."""
        from microconv.plan import Plan

        return Plan.model_validate(self.plan_mapping)

    def read(self) -> EventLog:
        """The events as an ``EventLog`` with the plan, observed until the true end of observation."""
        from microconv.reading import read_events

        return read_events(self.events, plan=self.plan, observed_until=self.observed_until)


def simulate(
    users: int = 1_000,
    seed: int = 0,
    *,
    world: World | str = "shop",
    calendar: Calendar | None = None,
    faults: Faults | None = None,
) -> SimulatedLog:
    """Simulate an event log whose truth is known: the same input gives the same output.

    * ``users``: how many people enter. ``seed``: of the random numbers (whole, 0 or more).
    * ``world``: a ``World``, or the name of one: ``"null"``, ``"confounded"``, ``"strong"`` (lean, for calibration) or
      ``"shop"`` (a web shop with visits, pages, devices and consent).
    * ``calendar``, ``faults``: in place of the world's own: when people enter and until when they are observed; late,
      duplicate and spoilt rows, bots.

    Micros, macro and ends are competing clocks in continuous time since entry, simulated without rounding; a micro
    changes rates from just after it happens, and by default the macro ends the journey. Times are whole microseconds.
    People, visits, identities and faults draw from random streams of their own, so that faults change no journey.

    Raises ``ParameterError`` on impossible options.

    >>> import microconv as mc
    >>> log = mc.simulate(users=2_000, seed=1, world="strong")
    >>> log.truth.hazard_ratios["add_to_cart"]
    6.0
    >>> round(log.truth.probability("30D"), 4)
    0.4256
    """
    check_whole("users", users, 1)
    check_whole("seed", seed, 0)
    planted = find_world(world)
    if calendar is not None:
        planted = replace(planted, calendar=calendar)
    if faults is not None:
        planted = replace(planted, faults=faults)
    model = model_of(planted)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(10)]
    entry_us = np.sort(_entries(planted.calendar, users, streams[0]))
    codes = model.draw(streams[1], users)
    stop = (planted.calendar.until_us - entry_us) / MICROS_PER_DAY
    if model.eventual is None:
        journeys = simulate_journeys(model, model.ratios(codes), stop, streams[2])
    else:
        journeys = simulate_eventual(model, model.eventual, model.ratios(codes), stop, streams[2], streams[9])
    views, everybody, all_codes = [], entry_us, codes
    if planted.visits is not None:
        end = journeys.stop
        views.append(page_views(planted.visits, model.visit_ratio(codes), end, streams[3]))
        observed_days = (planted.calendar.until_us - planted.calendar.start_us) / MICROS_PER_DAY
        entry_days, bots = bot_pages(users, planted.faults.bots, observed_days, streams[4])
        views.append(bots)
        bot_us = planted.calendar.start_us + np.floor(entry_days * MICROS_PER_DAY).astype(np.int64)
        everybody = np.concatenate([entry_us, bot_us])
        all_codes = np.concatenate([codes, model.draw(streams[4], len(bot_us))])
    rows = gather_rows(planted, model, journeys, everybody, codes, views, streams[5])
    consent = None
    if planted.consent_share is not None:
        consent = streams[6].random(len(everybody)) < planted.consent_share
    table, identities, is_page = event_table(planted, model, rows, all_codes, consent, streams[7])
    table, counts = spoil(table, is_page, planted.faults, streams[8])
    truth = Truth(planted, users, seed, counts | {"bots": planted.faults.bots}, model, journeys, codes)
    return SimulatedLog(
        events=table.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get),
        plan_mapping=plan_mapping(planted),
        truth=truth,
        users=_users(model, journeys, entry_us, codes),
        identities=identities.frame(),
        observed_until=micros_to_moment(planted.calendar.until_us),
    )


def _entries(calendar: Calendar, users: int, rng: np.random.Generator) -> np.ndarray:
    """Entries in microseconds since 1970: even over the span, or thinned by the hour of the day."""
    at = np.floor(rng.random(users) * calendar.span_us).astype(np.int64)
    drop = np.full(users, calendar.daily_rhythm > 0)
    while drop.any():  # rejection: an entry that its hour refuses is drawn anew, anywhere in the span
        hour = at[drop] / 3.6e9 % 24
        density = 1 - calendar.daily_rhythm * (1 - np.cos((hour - 20) / 24 * 2 * np.pi)) / 2
        refused = np.flatnonzero(drop)[rng.random(int(drop.sum())) >= density]
        drop = np.zeros(users, dtype=bool)
        drop[refused] = True
        at[refused] = np.floor(rng.random(len(refused)) * calendar.span_us).astype(np.int64)
    return calendar.start_us + at


def _users(model: Model, journeys: Journeys, entry_us: np.ndarray, codes: np.ndarray) -> pd.DataFrame:
    columns: dict[str, pa.Array] = {
        "user_id": labels("u", np.arange(len(entry_us))),
        "entry": pa.array(entry_us).cast(pa.timestamp("us", tz="UTC")),
    }
    for number, trait in enumerate(model.traits):
        columns[trait.column] = pa.array(trait.levels).take(pa.array(codes[:, number]))
    columns["stop_days"] = pa.array(journeys.stop)
    causes = pa.array([*model.names, "censored"])
    columns["cause"] = causes.take(pa.array(np.where(journeys.cause == CENSORED, len(model.names), journeys.cause)))
    for micro in range(model.micros):
        at = journeys.done_at[micro]
        columns[f"{model.names[micro]}_days"] = pa.array(np.where(np.isfinite(at), at, np.nan))
    return pa.table(columns).to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)
