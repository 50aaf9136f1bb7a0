"""The effect of each micro within the levels of an attribute: apart, shrunken towards each other, and tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError
from microconv.reduce.bands import of_level
from microconv.stats.multiplicity import adjust_p_values
from microconv.stats.shrinkage import shrink
from microconv.value.counting import count
from microconv.value.estimating import estimate_all, fit
from microconv.value.naive import naive
from microconv.value.tables import limits, unfit, unknown

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People
    from microconv.reduce.revenue import Payments
    from microconv.value.asking import ValueQuestion

__all__ = ["by_segment"]

MOST_LEVELS = 12


def by_segment(users: People, question: ValueQuestion, paid: Payments | None, spent: ir.Table | None) -> pd.DataFrame:
    """A row per micro and level of ``question.by``, estimated by the question's method among the users of that level
    alone: nothing is assumed to be the same in all segments.

    ``micro``, the attribute, ``users, naive_lift, incremental, se, ci_low, ci_high, incremental_value, value_se,
    value_ci_low, value_ci_high, label, why``; ``shrunk, shrunk_value``: empirical-Bayes estimates for ranking;
    ``p_value`` (Cochran's Q: is the effect the same in all segments?) and ``q_value`` (Benjamini-Hochberg over micros).
    """
    column = question.by
    assert column is not None
    levels = sorted(set(users.cells[column]), key=str)
    if len(levels) > MOST_LEVELS:
        raise ParameterError(
            f"by={column!r} has {len(levels):,} levels, over {MOST_LEVELS}. Name a coarser attribute, or filter the "
            "log: log.filter(...)."
        )
    rows: list[dict[str, Any]] = []
    for level in levels:
        rows += _rows(of_level(users, column, level), question, paid, spent, {column: level})
    table = pd.DataFrame(rows)
    table["_order"] = pd.Categorical(table["micro"], list(question.micros)).codes
    table = table.sort_values(["_order", column], kind="stable", ignore_index=True).drop(columns="_order")
    return _compared(table)


def _rows(
    users: People, question: ValueQuestion, paid: Payments | None, spent: ir.Table | None, segment: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = []
    fitted = fit(count(users, question.layout(), question))
    for micro in question.micros:
        if micro not in fitted.counted.layout.names:
            fitted = fit(count(users, question.layout(micro), question))
        counted = fitted.counted
        one = naive(counted.exposures, counted.in_state, counted.layout, [micro])[micro]
        label, why = unfit(one, question)
        row: dict[str, Any] = {"micro": micro, **segment, "users": one.doers, "naive_lift": one.lift}
        names = (
            "incremental",
            "se",
            "ci_low",
            "ci_high",
            "incremental_value",
            "value_se",
            "value_ci_low",
            "value_ci_high",
        )
        row |= dict.fromkeys(names, np.nan)
        if not label:
            effect = estimate_all({micro: fitted}, question, question.method, paid, spent)[micro]
            label, why = unknown(effect, question)
            if not label:
                low, high = limits(effect.incremental, effect.se, question.hazards.confidence)
                money = limits(effect.incremental_value, effect.value_se, question.hazards.confidence)
                found = (effect.incremental, effect.se, low, high, effect.incremental_value, effect.value_se, *money)
                row |= dict(zip(names, found, strict=True))
        rows.append({**row, "label": label, "why": why})
    return rows


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """Shrunken estimates and the test that segments do not differ, micro by micro."""
    tests = {}
    for names, out in ((("incremental", "se"), "shrunk"), (("incremental_value", "value_se"), "shrunk_value")):
        table[out] = np.nan
        for micro, rows in table.groupby("micro", sort=False):
            estimate, se = (rows[name].to_numpy(float) for name in names)
            known = np.isfinite(estimate) & np.isfinite(se) & (se > 0)
            if known.sum() < 2:
                table.loc[rows.index[known], out] = estimate[known]
                continue
            found = shrink(estimate[known], se[known])
            table.loc[rows.index[known], out] = found.table["shrunk"].to_numpy()
            if out == "shrunk":
                tests[micro] = found.heterogeneity.p_value
    p = table["micro"].map(tests).astype(float)
    micros = list(dict.fromkeys(table["micro"]))
    adjusted = dict(zip(micros, adjust_p_values([tests.get(name, np.nan) for name in micros], "bh"), strict=True))
    return table.assign(p_value=p, q_value=table["micro"].map(adjusted).astype(float))
