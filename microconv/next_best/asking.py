"""What a caller may ask of ``mc.next_best_micro``, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from microconv.durations import Duration, format_duration, to_micros
from microconv.errors import ParameterError
from microconv.next_best.offers import no_offer
from microconv.reduce.entrants import people
from microconv.steps import Step
from microconv.value.asking import ValueQuestion
from microconv.value.asking import ask as ask_value

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["Asked", "ask"]

_MOST_MICROS, _CHOSEN = 6, 5
_MOST_BANDS = 6


@dataclass(frozen=True)
class Asked:
    """A checked question. ``cuts``: of the time since entry, in microseconds; ``dropped``: micros of the plan that are
    not told apart.
    """

    question: ValueQuestion
    cuts: tuple[int, ...]
    offers: str | None
    dropped: tuple[str, ...]


def ask(
    log: EventLog,
    *,
    target: Step | None,
    micros: Sequence[Step] | Step | None,
    horizon: Duration | None,
    by: str | Sequence[str],
    since_entry: Duration | Sequence[Duration],
    offers: str | None,
    competing: Sequence[Step] | None,
    washout: Duration | None,
    tz: str,
    confidence: float,
    min_cell: int,
    seed: int,
    max_controls: int,
) -> Asked:
    """Check the parameters of ``mc.next_best_micro``. Raises ``ParameterError``."""
    attributes = [by] if isinstance(by, str) else list(by)
    if offers is not None and (not isinstance(offers, str) or offers in attributes):
        raise ParameterError(f"offers={offers!r} must name a column that is not in by={attributes}.")

    question = ask_value(
        log, micros=micros, horizon=horizon, adjust=attributes, activity=(), occurrences=1, at=(), since=(),
        method="trials", check=False, by=None, min_cell=min_cell, seed=seed, max_controls=max_controls,
        target=target, origin="entry", competing=competing, bins=20, washout=washout, tz=tz,
        confidence=confidence, max_rows=1_000_000, max_patterns=200,
    )  # fmt: skip
    if question.hazards.numbers:
        raise ParameterError(
            f"by={question.hazards.numbers[0]!r} is a number, and a visitor would have to be told apart by its bands. "
            "Cut it into named bands when reading the log, as a text column."
        )
    if micros is not None and len(question.micros) > _MOST_MICROS:
        raise ParameterError(
            f"micros= names {len(question.micros)}: states tell apart at most {_MOST_MICROS}. Name those you can offer."
        )
    order = _by_doers(log, question)
    dropped: tuple[str, ...] = ()
    if micros is None:
        order, dropped = order[:_CHOSEN], tuple(order[_CHOSEN:])
    question = _ordered(question, order)
    if offers is not None:
        no_offer(log, offers, question.micros)
    return Asked(question, _cuts(since_entry), offers, dropped)


def _by_doers(log: EventLog, question: ValueQuestion) -> list[str]:
    """The micros, those that most users do first; of as many, in the order given."""
    shared = question.hazards
    users = people(log, shared.rule, question.items, (), tz=shared.tz, washout=shared.washout)
    table = users.table
    counted = log.engine.fetch(
        table.agg(**{f"n_{i}": table[f"done_{i}"].notnull().cast("int64").sum() for i in range(len(question.micros))})
    ).iloc[0]
    place = sorted(range(len(question.micros)), key=lambda i: (-int(counted[f"n_{i}"] or 0), i))
    return [question.micros[i] for i in place]


def _ordered(question: ValueQuestion, order: Sequence[str]) -> ValueQuestion:
    """The same question of some of its micros, in another order."""
    items = {item.name: item for item in question.items}
    chosen = tuple(items[name] for name in order)
    return replace(
        question,
        items=chosen,
        micros=tuple(order),
        occurrence_of={name: question.occurrence_of[name] for name in order},
        hazards=replace(question.hazards, micros=chosen),
    )


def _cuts(given: Duration | Sequence[Duration]) -> tuple[int, ...]:
    """The ages that end the bands of the time since entry but the last, in microseconds."""
    listed = [given] if isinstance(given, str | timedelta) else list(given)
    cuts = tuple(to_micros(cut, "since_entry") for cut in listed)
    if any(later <= sooner for sooner, later in pairwise(cuts)) or len(cuts) >= _MOST_BANDS:
        raise ParameterError(
            f"since_entry={list(map(format_duration, cuts))} must grow, and be fewer than {_MOST_BANDS}, such as "
            "['1D', '7D']: up to a day after entry, up to a week, later."
        )
    return cuts
