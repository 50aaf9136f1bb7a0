"""Whether a plan fits the events of a log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from microconv.errors import nearest, shorten

if TYPE_CHECKING:
    from microconv.plan.models import Plan

__all__ = ["check_events"]


def check_events(plan: Plan, event_names: Iterable[str]) -> list[str]:
    """The plan items whose event never occurs, in plan order, each as a sentence with the nearest event.

    ``event_names``: the names that occur, the most frequent first (the first are shown when nothing is near). An item
    without an event (one with only a ``total``) has nothing to miss.
    """
    names = list(dict.fromkeys(str(name) for name in event_names if name is not None))
    present = set(names)
    examples = ", ".join(repr(shorten(name, 40)) for name in names[:5]) + (", ..." if len(names) > 5 else ".")
    sentences = []
    for role, items in (
        ("macro", plan.macros),
        ("micro", plan.micros),
        ("competing end", plan.competing),
        ("censoring event", plan.censor),
    ):
        for item in items:
            if item.event is None or item.event in present:
                continue
            close = nearest(item.event, names)
            if close:
                hint = f" Did you mean {shorten(repr(close))}?"
            else:
                hint = f" Events that occur: {examples}" if names else " There are no events."
            what = f"The {role} {shorten(repr(item.name))} never occurs"
            sentences.append(f"{what}: no event is named {shorten(repr(item.event))}.{hint}")
    return sentences
