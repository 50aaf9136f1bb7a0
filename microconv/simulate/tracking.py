"""How a simulated world is observed: calendar, visits, identities, and the faults of tracking."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from microconv.durations import Duration, moment_to_micros, to_micros
from microconv.errors import ParameterError
from microconv.simulate.checks import check_known, check_number, check_share, check_whole
from microconv.simulate.processes import Steps

__all__ = ["USER_IDS", "Calendar", "Faults", "Identity", "Visits"]

USER_IDS = ("person", "known", "tracked")


@dataclass(frozen=True)
class Calendar:
    """When users enter and until when they are observed (UTC).

    Entries fall evenly into [``first_day``, ``first_day`` + ``entries_over``); everybody is observed until
    ``follow_up`` after that. ``daily_rhythm`` from 0 (none) to 1 gathers the entries around 20:00.
    """

    first_day: str = "2026-01-05"
    entries_over: Duration = "60D"
    follow_up: Duration = "30D"
    daily_rhythm: float = 0.0

    def __post_init__(self) -> None:
        to_micros(self.entries_over, "Calendar: entries_over")
        to_micros(self.follow_up, "Calendar: follow_up", zero=True)
        check_share("Calendar: daily_rhythm", self.daily_rhythm)
        _ = self.start_us

    @property
    def start_us(self) -> int:
        """The first moment of an entry, in microseconds since 1970."""
        try:
            day = dt.date.fromisoformat(self.first_day)
        except (TypeError, ValueError):
            raise ParameterError(
                f"Calendar: first_day={self.first_day!r} is not a day. Write it as '2026-01-31'."
            ) from None
        return moment_to_micros(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC))

    @property
    def span_us(self) -> int:
        """How long entries go on, in microseconds."""
        return to_micros(self.entries_over)

    @property
    def until_us(self) -> int:
        """The end of observation, in microseconds since 1970."""
        return self.start_us + self.span_us + to_micros(self.follow_up, zero=True)


@dataclass(frozen=True)
class Visits:
    """Return visits and page views. They say nothing about the macro beyond intent, so what they make is a decoy.

    A visit has a geometric number of page views of mean ``pages``, exponential times between them of mean
    ``seconds_per_page``; ``intent_effect`` and ``hidden_intent_effect`` multiply the rate of return visits.
    """

    per_day: float | Steps = 0.1
    pages: float = 3.0
    seconds_per_page: float = 45.0
    intent_effect: float = 1.0
    hidden_intent_effect: float = 1.0
    items: int = 40

    def __post_init__(self) -> None:
        if not isinstance(self.per_day, Steps):
            check_number("Visits: per_day", self.per_day, zero=True)
        check_number("Visits: pages", self.pages)
        if self.pages < 1:
            raise ParameterError(f"Visits: pages={self.pages} must be at least 1: a visit has a page view.")
        for option in ("seconds_per_page", "intent_effect", "hidden_intent_effect"):
            check_number(f"Visits: {option}", getattr(self, option))
        check_whole("Visits: items", self.items, 1)


@dataclass(frozen=True)
class Identity:
    """Who the rows say they are from.

    A person has one device and on average ``extra_devices`` more, each with an ``anonymous_id`` of its own; each later
    session is on any of them. ``user_id`` is ``"person"`` (always the person), ``"known"`` (empty until one of the
    events ``known_by`` happened on that device) or ``"tracked"`` (until then the device's anonymous id).
    """

    extra_devices: float = 0.0
    user_id: str = "person"
    known_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_number("Identity: extra_devices", self.extra_devices, zero=True)
        check_known("Identity: user_id", self.user_id, USER_IDS)
        if self.user_id != "person" and not self.known_by:
            raise ParameterError(
                f"Identity: user_id={self.user_id!r} needs known_by=, the events that make a person known on a device."
            )


@dataclass(frozen=True)
class Faults:
    """What tracking got wrong, as shares of the rows; a share of ``n`` rows is exactly ``round(share * n)`` rows.

    ``late`` rows arrive after rows of later times, ``duplicates`` come twice with one ``event_id``. ``missing_user``,
    ``missing_time`` and ``missing_event`` empty that cell, in page views only, so that what was planted survives.
    ``bots`` is a number of users who view a page every two seconds.
    """

    late: float = 0.0
    duplicates: float = 0.0
    missing_user: float = 0.0
    missing_time: float = 0.0
    missing_event: float = 0.0
    bots: int = 0
    late_by_hours: float = 6.0

    def __post_init__(self) -> None:
        for option in ("late", "duplicates", "missing_user", "missing_time", "missing_event"):
            check_share(f"Faults: {option}", getattr(self, option))
        check_whole("Faults: bots", self.bots, 0)
        check_number("Faults: late_by_hours", self.late_by_hours)

    @property
    def spoils(self) -> bool:
        """Whether page views lose a cell."""
        return self.missing_user + self.missing_time + self.missing_event > 0
