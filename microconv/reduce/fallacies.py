"""A micro as people wrongly or roughly count it: as known from the start, or as it stands at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.reduce.entrants import People
from microconv.reduce.states import NEVER, Layout, StateColumn, moments

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["alone", "as_at", "as_if_always", "done_by_shares", "marked_alone"]


def alone(micro: int, name: str) -> Layout:
    """One micro done or not, the others left out of account."""
    return Layout(((micro, 0),), (StateColumn(name, (0,)),))


def marked_alone(people: People, layout: Layout) -> ir.Table:
    """The users at risk with ``m_0``, when the micro of ``alone`` is done, as ``states.moments`` gives it."""
    return moments(people, layout)


def as_if_always(marked: ir.Table) -> ir.Table:
    """The same users, where whoever does the micro before the end counts as one who has done it from the start on."""
    done = (marked.m_0 < NEVER).ifelse(marked.enter - 1, ibis.literal(NEVER, "int64"))
    return marked.mutate(m_0=done)


def as_at(marked: ir.Table, at: int) -> ir.Table:
    """Who is still at risk after ``at`` (half microseconds since time zero), from then on, by what was done by then.

    A micro at that very moment counts as done; one done later never counts.
    """
    left = marked.filter((marked.enter <= at) & (marked.stop > at))
    done = (left.m_0 <= at).ifelse(ibis.literal(at - 1, "int64"), ibis.literal(NEVER, "int64"))
    return left.mutate(enter=ibis.literal(at, "int64"), m_0=done)


def done_by_shares(people: People, marked: ir.Table, shares: tuple[float, ...]) -> list[int]:
    """By when (half microseconds) these shares of the users who ever do the micro have done it; none if nobody does.

    Order statistics, which every engine gives alike.
    """
    done = marked.filter(marked.m_0 < NEVER)
    by_time = done.group_by(at=done.m_0).agg(n=done.count())
    so_far = ibis.window(order_by=by_time["at"], rows=(None, 0))
    ranked = people.engine.materialise(by_time.mutate(rank=by_time.n.sum().over(so_far)))
    many = people.engine.fetch(ranked.agg(n=ranked.n.sum()))["n"][0]
    if pd.isna(many):
        return []
    wanted = {f"at_{i}": ranked["at"].min(where=ranked["rank"] >= share * int(many)) for i, share in enumerate(shares)}
    row = people.engine.fetch(ranked.agg(**wanted)).iloc[0]
    return [int(row[name]) for name in wanted]
