"""What stands beside an attribution: another order of ties, a channel that has no effect, each level of a segment."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from microconv.attribution.answering import counted, divided
from microconv.attribution.surviving import by_hazards
from microconv.attribution.words import OVERLAP, UNATTRIBUTED
from microconv.errors import ParameterError
from microconv.reduce.touches import NOISE, NoTouchError

if TYPE_CHECKING:
    from microconv.attribution.asking import Question
    from microconv.log import EventLog

__all__ = ["by_segment", "null_channel", "other_order"]

_SHARE = 0.2  # random touches, as a share of all
_MOST_LEVELS = 12


def other_order(log: EventLog, question: Question, table: pd.DataFrame) -> pd.DataFrame:
    """``channel, model, conversions, other_order, difference``: what changes when touches of one instant are taken in
    the other order; only rows that move.
    """
    turned = replace(question, rule=replace(question.rule, reverse=True))
    other = divided(counted(log, turned.rule, question.choices).sums, question.choices, money=False)
    if "survival" in question.choices.models:
        other = by_hazards(log, turned).below(other)
    # Transforms may name channels by their order, so that one order may have a channel that the other has not.
    key = ["channel", "model"]
    found = table[[*key, "conversions"]].merge(
        other[[*key, "conversions"]].rename(columns={"conversions": "other_order"}), on=key, how="outer", sort=False
    )
    found = found.fillna({"conversions": 0.0, "other_order": 0.0})
    found["difference"] = found["other_order"] - found["conversions"]
    return found[found["difference"].abs() > 1e-9].reset_index(drop=True)


def null_channel(log: EventLog, question: Question) -> pd.DataFrame:
    """``model, touches_share, credit_share, ci_low, ci_high``: what each model gives a channel of touches at random
    moments, which have no effect, beside its share of the touches on paths.
    """
    made = counted(log, question.rule, question.choices, noise=_SHARE)
    sums = made.sums
    drawn = [name for name in sums.channels if name == NOISE or name.startswith(f"{NOISE}(")]
    places = [sums.channels.index(name) + 1 for name in drawn]
    assert sums.touches is not None  # counted from a log
    touches = sums.touches.groupby("channel")["touches"].sum()
    table = divided(sums, question.choices, money=False)
    if "survival" in question.choices.models:
        table = by_hazards(log, question, noise=_SHARE).below(table)
    total = table[~table["channel"].isin([UNATTRIBUTED, OVERLAP])].groupby("model")["conversions"].sum()
    rows = table[table["channel"].isin(drawn)]
    if len(places) > 1:  # named by how often they come: limits of a sum are not known
        rows = rows.groupby("model", as_index=False, sort=False)[["conversions"]].sum()
        rows = rows.assign(ci_low=math.nan, ci_high=math.nan)
    whole = rows["model"].map(total)
    return pd.DataFrame(
        {
            "model": rows["model"],
            "touches_share": float(touches.reindex(places, fill_value=0).sum()) / float(touches.sum()),
            "credit_share": rows["conversions"] / whole,
            "ci_low": rows["ci_low"] / whole,
            "ci_high": rows["ci_high"] / whole,
        }
    ).reset_index(drop=True)


def by_segment(log: EventLog, question: Question) -> pd.DataFrame:
    """The table of each level of the attribute, one under the other."""
    from microconv.reduce.occurrences import at_entry, occurrences

    assert question.by is not None  # asked for by the caller
    engine = log.engine
    users = engine.materialise(at_entry(log, occurrences(log, ()), [question.by]))
    levels = sorted(map(str, engine.fetch(users.select("by_0").distinct())["by_0"]))
    if len(levels) > _MOST_LEVELS:
        raise ParameterError(
            f"by={question.by!r} has {len(levels)} levels, more than {_MOST_LEVELS}. Group them when reading."
        )
    tables = []
    for level in levels:
        mine = users.filter(users.by_0 == level).select("user_id")
        smaller = replace(log, table=log.table.semi_join(mine, "user_id"))
        try:
            made = counted(smaller, question.rule, question.choices)
        except NoTouchError:  # there is nothing to divide at this level
            continue
        table = divided(made.sums, question.choices, money=question.rule.terms is not None)
        if "survival" in question.choices.models:
            table = by_hazards(smaller, question).below(table)
        table.insert(0, question.by, level)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
