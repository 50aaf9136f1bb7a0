"""Micros that hang together: one step under several names, or a second time without the first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from microconv.errors import shorten

if TYPE_CHECKING:
    from microconv.exposures import ExposureTable
    from microconv.plan import Item

__all__ = ["one_step", "said_of_later", "said_together"]

# Of the time with either of two micros done, at most this share is with one of them alone.
_APART = 0.001


def one_step(exposures: ExposureTable, micros: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of ``micros`` (pattern columns of ``exposures``) that are done together, in their order.

    What follows from one of them alone is told by hardly any time at risk: the rates in such states are the model's
    word, and every interval that they enter grows wide.
    """
    frame = exposures.frame
    time = frame["person_time_days"].to_numpy(dtype=float)
    done = {name: frame[name].to_numpy() > 0 for name in micros if name in exposures.pattern_cols}
    group = {name: {name} for name in done}
    for one, other in combinations(done, 2):
        either, apart = done[one] | done[other], done[one] != done[other]
        if time[either].sum() > 0 and time[apart].sum() <= _APART * time[either].sum():
            joined = group[one] | group[other]
            group |= dict.fromkeys(joined, joined)
    found = dict.fromkeys(tuple(name for name in done if name in members) for members in group.values())
    return [members for members in found if len(members) > 1]


def said_together(groups: Sequence[Sequence[str]]) -> list[str]:
    """A warning for each group."""
    return [
        f"{', '.join(shorten(name, 40) for name in members)} are one step: hardly any time passes between them. What "
        "one of them alone would lead to is not seen, which makes intervals wide, also those of other micros. Name one "
        "of them in micros=."
        for members in groups
    ]


def said_of_later(items: Sequence[Item]) -> list[str]:
    """A warning for each micro that is a later occurrence of an event whose first is not among ``items``."""
    found = []
    for item in items:
        nth = getattr(item, "nth", None) or 1
        first = any(
            (other.event, other.where) == (item.event, item.where) and (getattr(other, "nth", None) or 1) < nth
            for other in items
        )
        if nth > 1 and not first:
            event = shorten(item.event, 40)
            found.append(
                f"{shorten(item.name, 40)} is compared with users who did {event} less often or never, as earlier ones "
                f"are not among the micros. Name them too, or ask for {event} with occurrences={nth}."
            )
    return found
