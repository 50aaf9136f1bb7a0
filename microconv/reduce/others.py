"""One micro and the others by number alone: of the others, only the moments that a count of them can need."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import ibis

from microconv.reduce.states import NEVER

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People

__all__ = ["beside_others", "in_order"]


def in_order(people: People, micros: int, most: int) -> People:
    """The same people with ``nth_0`` to ``nth_<most>``: when the first of all micros was done, the second, ...; NEVER
    where there were not so many. ``beside_others`` reads it.
    """
    done = [people.table[f"done_{i}"].fill_null(NEVER) for i in range(micros)]
    never = ibis.literal(NEVER, "int64")
    ordered = ibis.array([*done, *[never] * (most + 1 - micros)]).sort()
    table = people.engine.materialise(people.table.mutate(_ordered=ordered))
    nth = {f"nth_{k}": table["_ordered"][k] for k in range(most + 1)}
    return replace(people, table=people.engine.materialise(table.mutate(**nth).drop("_ordered")))


def beside_others(people: People, micro: int | None, most: int) -> People:
    """The people of ``in_order`` as if there were but one micro (``done_0``; None: none) and ``most`` others.

    The others are the first that a user does besides it, in order: up to ``most``, their number at each moment is that
    of all others. So a state of one micro and a number takes as much work with sixty micros as with five.
    """
    table = people.table
    nth = [table[f"nth_{k}"] for k in range(most + 1)]
    found: list[ir.Value] = nth[:most]
    if micro is not None:
        own = table[f"done_{micro}"].fill_null(NEVER)
        # Without its own moment (or another at the same time, which is as good) the later ones move up.
        found = [own, *[(own <= nth[k]).ifelse(nth[k + 1], nth[k]) for k in range(most)]]
    kept = table.select(
        "user_id", "cell", "enter", "stop", "cause", **{f"done_{i}": value for i, value in enumerate(found)}
    )
    return replace(people, table=kept)
