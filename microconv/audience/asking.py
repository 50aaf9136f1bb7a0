"""Which users a list is to hold: rules out of the box, the plan's or the caller's own, checked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from microconv.behaviour.asking import as_behaviour
from microconv.durations import Duration, format_duration, moment_to_micros
from microconv.engine import to_datetime
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.journeys import journey_rule
from microconv.plan import Behaviour, Item
from microconv.reduce.risk import JourneyRule
from microconv.stats._curves import z_value
from microconv.steps import Step

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["Asked", "ask"]

_MARKED = ("form", "intent", "identity")
_MOST_SNAPSHOTS = 8
_STALLED_TOP = 0.25
_MOST_MICROS = 40  # a state is a whole number with a bit for each


@dataclass(frozen=True)
class Asked:
    """A checked question; ``items`` are the micros, then the target; moments are microseconds since 1970."""

    rule: JourneyRule
    group: Behaviour
    top: float | None
    micros: tuple[Item, ...]
    moment: int
    moments: tuple[int, ...]
    column: str | None
    granted: tuple[str, ...]
    min_cell: int
    prior: int
    confidence: float

    @property
    def items(self) -> tuple[Item, ...]:
        """The micros, then the target."""
        return (*self.micros, self.rule.target)

    @property
    def marks(self) -> int:
        """The bits of the items that a coarser state still tells apart."""
        return sum(2**i for i, item in enumerate(self.items) if getattr(item, "kind", _MARKED[0]) in _MARKED)

    @property
    def horizon(self) -> int:
        """How far after the moment a conversion counts, in microseconds."""
        assert self.rule.horizon is not None
        return self.rule.horizon


def ask(
    log: EventLog,
    rule: str | Behaviour | Mapping[str, Any],
    *,
    at: str | dt.datetime | dt.date | None,
    target: Step | None,
    horizon: Duration | None,
    top: float | None,
    consent: str | None,
    granted: Sequence[str],
    min_cell: int,
    prior: int,
    confidence: float,
) -> Asked:
    """Check the parameters of ``audience``. Raises ``ParameterError``."""
    plan = log.require_plan("audience")
    z_value(confidence)
    for name, value in (("min_cell", min_cell), ("prior", prior)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParameterError(f"{name}={shorten(repr(value))} must be a whole number, 1 or more.")
    if horizon is None:
        horizon = plan.horizon
    if horizon is None:
        raise ParameterError("audience needs a horizon. Pass horizon='30D', or write horizon: 30D into the plan.")
    journey = journey_rule(log, target, "entry", None, horizon)
    micros = tuple(micro for micro in plan.micros if micro.name != journey.target.name)
    if not 1 <= len(micros) <= _MOST_MICROS:
        raise ParameterError(f"The plan has {len(micros)} micros; an audience needs 1 to {_MOST_MICROS} of them.")
    group, standard_top = _group(log, rule, micros, journey.target)
    top = top if top is not None else standard_top
    if top is not None and (isinstance(top, bool) or not isinstance(top, int | float) or not 0 < top <= 1):
        raise ParameterError(f"top={shorten(repr(top))} must be a share of users above 0 and up to 1, such as 0.25.")
    end, begin = moment_to_micros(log.observed_until), moment_to_micros(log.observed_from)
    moment = end if at is None else moment_to_micros(to_datetime(at, "at"))
    if not begin <= moment <= end:
        raise ParameterError(
            f"at={shorten(repr(at))} lies outside the log, which runs from {log.observed_from.isoformat()} to "
            f"{log.observed_until.isoformat()}."
        )
    assert journey.horizon is not None
    back = [moment - k * journey.horizon for k in range(1, _MOST_SNAPSHOTS + 1)]
    moments = tuple(one for one in back if one > begin)
    if not moments:
        raise ParameterError(
            f"What users in a state go on to do within horizon={format_duration(journey.horizon)!r} cannot be seen: "
            f"the log begins less than that before the moment. Choose a shorter horizon, such as "
            f"{format_duration(max((moment - begin) // 3, 1))!r}."
        )
    column = None
    if consent is not None and consent in log.columns:
        column = consent
    elif consent is not None and consent != "consent":
        log.require_columns([consent], "consent")
    if isinstance(granted, str) or not granted or not all(isinstance(word, str) for word in granted):
        raise ParameterError(f"granted={shorten(repr(granted))} must be a list of the words that grant consent.")
    words = tuple(word.strip().lower() for word in granted)
    return Asked(journey, group, top, micros, moment, moments, column, words, min_cell, prior, confidence)


def _group(log: EventLog, rule: object, micros: Sequence[Item], target: Item) -> tuple[Behaviour, float | None]:
    if not isinstance(rule, str):
        if not isinstance(rule, Behaviour | Mapping):
            raise ParameterError(
                f"rule={shorten(repr(rule))} must be a name or a mapping such as "
                "{'name': 'abandoned a cart', 'did': ['intent'], 'within': '7D'}."
            )
        return as_behaviour(rule if isinstance(rule, Behaviour) else dict(rule), [*micros, target]), None
    kinds = {getattr(micro, "kind", None) for micro in micros}
    other = [kind for kind in ("intent",) if kind in kinds]
    known: dict[str, tuple[dict[str, Any], str | None, float | None]] = {
        "signed up, little else": (
            {"did": ["form"], "did_not": [target.name, *other], "max_micros": 1}, "form", None
        ),
        "abandoned cart": ({"did": ["intent"], "did_not": [target.name], "within": "7D"}, "intent", None),
        "stalled": ({"did_not": [target.name], "quiet": "7D"}, None, _STALLED_TOP),
    }  # fmt: skip
    assert log.plan is not None
    planned = {group.name: group for group in log.plan.behaviour}
    if rule in planned:
        return as_behaviour(planned[rule], [*micros, target]), None
    if rule not in known:
        raise ParameterError(unknown_name("rule", rule, [*planned, *known]))
    written, kind, top = known[rule]
    if kind is not None and kind not in kinds:
        raise ParameterError(
            f"The rule {rule!r} needs a micro of kind {kind!r}, and the plan has none. Give a micro that kind, or pass "
            "a rule of your own."
        )
    return Behaviour.model_validate({"name": rule, **written}), top
