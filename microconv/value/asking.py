"""What a caller may ask of ``mc.micro_value``, checked and put in the reductions' terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from microconv.durations import MICROS_PER_DAY, Duration, format_duration, to_micros
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.hazards.asking import Question
from microconv.hazards.asking import ask as ask_hazards
from microconv.plan import Micro
from microconv.reduce.items import is_plain
from microconv.reduce.states import Layout, StateColumn
from microconv.steps import Step, as_item

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Item

__all__ = ["ACTIVITIES", "AUTO", "METHODS", "MOST_MICROS", "ValueQuestion", "ask"]

METHODS = ("hazard", "trials")
AUTO = "auto"  # since=: cuts chosen from the data
# Prior activity by name: the event that is counted.
ACTIVITIES = {"visits": "session_start", "page_views": "page_view"}
_BANDS = (2, 4, 8)  # prior activity by number of such events: up to 1, 2 to 3, 4 to 7, 8 and more
MOST_MICROS = 10  # states of more micros are too many to follow each: the rest is counted
_MOST_OCCURRENCES = 5


@dataclass(frozen=True)
class ValueQuestion:
    """A checked question. ``hazards`` holds what it shares with ``mc.hazard_ratios``.

    ``items``: the micros, their further occurrences and the activities' thresholds, in the order of
    ``reduce.entrants.people``; ``micros`` names the first of them, whose effects are asked for. ``activities`` names
    the activity columns. Times are in microseconds. ``since``: cuts of the time since the focal micro, or ``AUTO``.
    """

    hazards: Question
    items: tuple[Item, ...]
    micros: tuple[str, ...]
    occurrence_of: Mapping[str, tuple[str, int]]
    activities: Mapping[str, tuple[int, ...]]
    horizon: int
    at: tuple[int, ...]
    since: tuple[int, ...] | str
    method: str
    check: bool
    by: str | None
    min_cell: int
    seed: int
    max_controls: int

    @property
    def horizon_days(self) -> float:
        """How long after the action the macro counts."""
        return self.horizon / MICROS_PER_DAY

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes at entry that tell users apart, segments included."""
        more = (self.by,) if self.by is not None and self.by not in self.hazards.adjust else ()
        return (*self.hazards.adjust, *more)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each micro."""
        known = self.hazards.kinds
        return {name: known[self.occurrence_of[name][0]] for name in self.micros}

    def layout(self, focal: str | None = None) -> Layout:
        """What tells states apart: each micro and each activity; beyond ``MOST_MICROS``, the micros that are not among
        the first of them (with ``focal`` in front) are counted up to three.
        """
        place = {name: i for i, name in enumerate(self.micros)}
        order = list(self.micros)
        if focal is not None and place[focal] >= MOST_MICROS:
            order.remove(focal)
            order.insert(0, focal)
        apart, rest = order[:MOST_MICROS], order[MOST_MICROS:]
        columns = [StateColumn(name, (place[name],)) for name in apart]
        if rest:
            columns.append(StateColumn(OTHERS, tuple(place[name] for name in rest), min(3, len(rest))))
        columns += [StateColumn(name, passed, len(passed)) for name, passed in self.activities.items()]
        return Layout(tuple((i, 0) for i in range(len(self.items))), tuple(columns))


OTHERS = "other micros done"


def ask(
    log: EventLog,
    *,
    micros: Sequence[Step] | Step | None,
    horizon: Duration | None,
    adjust: str | Sequence[str],
    activity: Step | Sequence[Step],
    occurrences: int,
    at: Sequence[Duration],
    since: Duration | Sequence[Duration],
    method: str,
    check: bool,
    by: str | None,
    min_cell: int,
    seed: int,
    max_controls: int,
    **shared: Any,
) -> ValueQuestion:
    """Check the parameters of ``mc.micro_value``; ``shared`` go on to ``hazards.asking.ask``. Raises
    ``ParameterError``.
    """
    if method not in METHODS:
        raise ParameterError(unknown_name("method", method, METHODS))
    if not isinstance(check, bool):
        raise ParameterError(f"check={shorten(repr(check))} must be True or False.")
    for name, value, least in (
        ("min_cell", min_cell, 0),
        ("seed", seed, 0),
        ("max_controls", max_controls, 1_000),
        ("occurrences", occurrences, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ParameterError(f"{name}={shorten(repr(value))} must be a whole number, {least:,} or more.")
    if occurrences > _MOST_OCCURRENCES:
        raise ParameterError(f"occurrences={occurrences} is more than {_MOST_OCCURRENCES}: ask for the first few.")
    if not (micros if micros is not None else log.plan.micros if log.plan is not None else ()):
        raise ParameterError(
            "There is no micro to value: neither micros= nor the plan names one. Name some (micros=['signup'])."
        )
    question = ask_hazards(
        log, micros=micros, adjust=adjust, method="piecewise", horizon=None, strata=(), ties="efron", robust=False,
        since=(), reference=None, **shared,
    )  # fmt: skip
    length = _horizon(log, horizon)
    items, of = _with_occurrences(question.micros, occurrences)
    named = tuple(item.name for item in items)
    activities: dict[str, tuple[int, ...]] = {}
    for name, event in _activities(activity):
        item = as_item(log, event, "activity")
        if not is_plain(item):
            raise ParameterError(f"activity {name!r} is a micro that happens once. Name the event that is counted.")
        if item.event is not None and item.event not in log.event_counts.index:
            raise ParameterError(
                unknown_name(
                    f"event of activity {name!r},", item.event, log.event_counts.index, "Name one that occurs."
                )
            )
        if name in named or name in adjust or name == OTHERS:
            raise ParameterError(f"activity {name!r} has the name of a micro or an attribute. Give it a name=.")
        first = len(items)
        items += tuple(Micro(name=f"{name} #{nth}", event=item.event, where=item.where, nth=nth) for nth in _BANDS)
        activities[name] = tuple(range(first, len(items)))
    if by is not None:
        by = _segment(log, by, named)
    return ValueQuestion(
        hazards=replace(question, micros=items[: len(named)]),
        items=items,
        micros=named,
        occurrence_of=of,
        activities=activities,
        horizon=length,
        at=_moments(at, length),
        since=_since(since, length),
        method=method,
        check=check,
        by=by,
        min_cell=min_cell,
        seed=seed,
        max_controls=max_controls,
    )


def _horizon(log: EventLog, horizon: Duration | None) -> int:
    if horizon is not None:
        return to_micros(horizon, "horizon")
    planned = log.plan.horizon if log.plan is not None else None
    if planned is None:
        raise ParameterError(
            "micro_value needs a horizon: how long after the action a conversion counts. Pass horizon='30D', or put "
            "horizon: 30D into the plan."
        )
    return to_micros(planned, "horizon")


def _moments(given: Sequence[Duration], horizon: int) -> tuple[int, ...]:
    """When the effect is read before the horizon: as asked, else at usual times."""
    found = sorted({to_micros(moment, "at") for moment in given}) if given else []
    for moment in found:
        if moment > horizon:
            raise ParameterError(
                f"at={format_duration(moment)!r} lies beyond horizon={format_duration(horizon)!r}. Choose earlier "
                "times or a longer horizon."
            )
    usual = [days * MICROS_PER_DAY for days in (1, 7, 30, 90)]
    return (*(found or [moment for moment in usual if moment < horizon]), *([horizon] if horizon not in found else []))


def _since(given: Duration | Sequence[Duration], horizon: int) -> tuple[int, ...] | str:
    """Times since the focal micro at which its pull may change; ``AUTO``: to be chosen from the data."""
    if isinstance(given, str | timedelta) or not isinstance(given, Sequence):
        given = (given,)
    if list(given) == [AUTO]:
        return AUTO
    if AUTO in given:
        raise ParameterError(f"since={shorten(repr(list(given)))}: 'auto' chooses all cuts. Pass since='auto' alone.")
    cuts = tuple(to_micros(cut, "since") for cut in given)
    if any(later <= sooner for sooner, later in pairwise(cuts)):
        raise ParameterError(
            f"since={list(map(format_duration, cuts))} must grow, such as ['1D', '7D']: up to a day after the micro, "
            "up to a week after, later."
        )
    if cuts and cuts[-1] >= horizon:
        raise ParameterError(
            f"since={format_duration(cuts[-1])!r} lies at or beyond horizon={format_duration(horizon)!r}: what comes "
            "after it is not in the effect. Choose earlier cuts, a longer horizon, or since='auto'."
        )
    return cuts


def _with_occurrences(micros: Sequence[Item], occurrences: int) -> tuple[tuple[Item, ...], dict[str, tuple[str, int]]]:
    """The micros, each followed by its second, third ... occurrence where it can occur again."""
    items: list[Item] = []
    of: dict[str, tuple[str, int]] = {}
    for item in micros:
        again = range(2, occurrences + 1) if is_plain(item) else ()
        items.append(item)
        of[item.name] = (item.name, 1)
        for nth in again:
            name = f"{item.name} #{nth}"
            items.append(Micro(name=name, event=item.event, where=item.where, nth=nth))
            of[name] = (item.name, nth)
    names = [item.name for item in items]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(f"occurrences={occurrences} would make two micros called {name!r}. Rename one.")
    return tuple(items), of


def _activities(given: Step | Sequence[Step]) -> list[tuple[str, Step]]:
    listed = [given] if isinstance(given, str | Mapping) else list(given)
    found: list[tuple[str, Step]] = []
    for step in listed:
        name = step if isinstance(step, str) else str(step.get("name") or step.get("event"))
        found.append((name, ACTIVITIES.get(name, step) if isinstance(step, str) else step))
    for name, _ in found:
        if [other for other, _ in found].count(name) > 1:
            raise ParameterError(f"activity names {name!r} twice. Name it once.")
    return found


def _segment(log: EventLog, by: str, micros: Sequence[str]) -> str:
    from microconv.steps import segment_columns

    if not isinstance(by, str):
        raise ParameterError(f"by={shorten(repr(by))} must be one attribute at entry, such as 'device'.")
    if by in micros:
        raise ParameterError(
            f"by={by!r} is something users do later, not what was known of them at entry. Name an attribute, such as "
            "'device'."
        )
    return segment_columns(log, by, ("micro", "users"))[0]
