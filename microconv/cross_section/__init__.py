"""mc.cross_section: what can, and what cannot, be said of a table with a row per session and no times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from microconv.cross_section.asking import Flag, ask
from microconv.errors import ParameterError, shorten
from microconv.results import Result

if TYPE_CHECKING:
    from microconv.cross_section.asking import Asked
    from microconv.sources.raw import RawEvents

__all__ = ["cross_section"]


def cross_section(
    source: Any,
    *,
    outcome: Flag,
    micros: Sequence[Flag] | Flag,
    adjust: str | Sequence[str] = (),
    honest_odds_ratio: float = 10.0,
    confidence: float = 0.95,
    min_cell: int = 10,
) -> Result:
    """Which actions go with conversion in a table that has one row per session and no times?

    Less can be said than of an event log (``micro_value``): not what came first, not how long it took, and not what an
    action adds. Every number is ``predictive``; ``.assumptions`` says in words what is missing.

    * ``source``: what ``read_events`` takes: a path, glob or list of paths (CSV, Parquet, JSON lines), a frame, a
      table. One row is one session (or visitor).
    * ``outcome``: a column that is true, or above zero, where the session converted; or a condition with a name, in the
      plan's language: ``{"name": "bought", "where": "status = 'paid'"}``. Rows where it is missing are left out.
    * ``micros``: one or more of the same kind; what is missing was not done.
    * ``adjust``: columns whose combinations are the strata within which rows are compared. A number with more than six
      values is cut into four bands of about as many rows, a code too (turn it into text to keep each apart).
    * ``honest_odds_ratio``: the strongest odds ratio that a single column may honestly have.

    **Leaks.** A column that is made of the outcome, or filled in after it, looks like the strongest driver of all. A
    micro, or a column of ``adjust``, ``leaks`` if (nearly) all rows with it convert, or if, chance aside, one cut of it
    tells converters from others better than an honest predictor could: Youden's J, the share of converters beyond the
    cut less that of others, lies above what any yes/no predictor of ``honest_odds_ratio`` reaches, however frequent it
    is (0.52 for 10; the column read as above zero, or as not missing), or, at a number's best cut and over the levels
    of text, one that is normal with that odds ratio per standard deviation (0.75). A condition leaks if it reads a
    column that does. ``structural`` is a step without which (nearly) nobody converts. Neither gets a difference, and
    columns that leak are not adjusted for. What leaks less than that is not found: ask how each column is made.

    ``.table``, micros as named: ``micro, n, n_others`` (rows with and without it), ``converted, converted_others``
    (shares of them), ``naive_difference, naive_ci_low, naive_ci_high``, ``difference, ci_low, ci_high`` (share of rows
    with it that converted, less that of rows without it, standardised to the strata of those with it), ``risk_ratio,
    ratio_low, ratio_high`` (of the same two shares), ``e_value, e_value_limit`` (how strongly, as a ratio of risks, a
    trait that the table does not show must go with both to explain it, or its interval, away), ``left_out`` (share of
    rows with it in strata without others), ``separation`` (Youden's J), ``label`` (``predictive, structural, leaks,
    not estimated``), ``why``. ``.columns``: the verdict on each column that is read. ``.strata``: the support, by micro
    and stratum. ``.sensitivity``: the E-values in words.

    Not estimated below ``min_cell`` rows with or without it. Rows count as independent. Raises ``ParameterError``,
    ``PlanError`` (a faulty condition) and ``SourceError`` (nothing readable). Hernan and Robins (2020), chapter 2
    (standardisation); Youden (1950); ``stats.standardised``, ``stats.separation``.

    >>> import microconv as mc
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"video": [1, 1, 1, 0, 1, 0, 0, 0] * 50, "device": (["tv"] * 4 + ["phone"] * 4) * 50})
    >>> rows["bought"] = [1, 1, 0, 1, 0, 0, 0, 1] * 50
    >>> rows["order_value"] = 20 * rows["bought"]
    >>> found = mc.cross_section(rows, outcome="bought", micros=["video", "order_value"], adjust="device")
    >>> found.table[["micro", "naive_difference", "difference", "label"]].round(2)
             micro  naive_difference  difference       label
    0        video               0.0       -0.33  predictive
    1  order_value               1.0         NaN       leaks
    """
    from microconv.cross_section import words
    from microconv.cross_section.leaks import of_column
    from microconv.cross_section.tables import columns_table, micro_rows
    from microconv.reduce.cross_section import by_outcome, overview, reads, rows_of, strata_counts
    from microconv.sources import open_source

    raw = open_source(source)
    asked = ask(
        raw.table.columns,
        outcome=outcome,
        micros=micros,
        adjust=adjust,
        honest_odds_ratio=honest_odds_ratio,
        confidence=confidence,
        min_cell=min_cell,
    )
    rows = rows_of(raw.engine, raw.table, asked.outcome, asked.micros, asked.adjust)
    size = overview(rows, raw.table)
    _check_outcome(asked, size)
    levels = {name: by_outcome(rows, name) for name in rows.columns}
    verdicts = {name: of_column(one, honest_odds_ratio, confidence) for name, one in levels.items()}
    strata = [name for name in asked.adjust if not verdicts[name].leaks]
    counts = strata_counts(rows, {name: levels[name] for name in strata})
    leaking = {str(micro["name"]): [name for name in reads(micro) if verdicts[name].leaks] for micro in asked.micros}
    table, support = micro_rows(asked, counts, strata, leaking)
    columns = columns_table(verdicts, levels, asked.adjust)
    times = [name for name, kind in raw.table.schema().items() if kind.is_timestamp()]
    return Result(
        name="cross_section",
        table=table,
        meaning=words.meaning(asked, table, size, strata),
        parameters={
            "outcome": asked.outcome["name"],
            "micros": [micro["name"] for micro in asked.micros],
            "adjust": list(asked.adjust),
            "strata": strata,
            "where": {str(one["name"]): one["where"] for one in (asked.outcome, *asked.micros) if one["where"]},
            "honest_odds_ratio": honest_odds_ratio,
            "confidence": confidence,
            "min_cell": min_cell,
        },
        assumptions=words.assumptions(asked, strata),
        warnings=words.warnings_of(asked, table, columns, size, strata, times),
        extra={"columns": columns, "strata": support, "sensitivity": words.sensitivity(table)},
        provenance={"source": raw.description, "engine": raw.engine.dialect, **size, **_malformed(raw)},
        plot_with=_plot,
    )


def _check_outcome(asked: Asked, size: dict[str, int]) -> None:
    if not 0 < size["converted"] < size["rows"]:
        who = "none" if not size["converted"] else "every one"
        raise ParameterError(
            f"Of {size['rows']:,} rows {who} converted (outcome {shorten(repr(asked.outcome['name']))}): nothing can "
            "be compared. It must be true, or above zero, where the session converted."
        )


def _malformed(raw: RawEvents) -> dict[str, Any]:
    return {"malformed": {one.reason: one.rows for one in raw.malformed}} if raw.malformed else {}


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_cross_section

    return plot_cross_section(result, ax)
