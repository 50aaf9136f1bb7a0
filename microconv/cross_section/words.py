"""What a table without times says in words, and all that it cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from microconv.cross_section.tables import LEAKS, NOT_ESTIMATED, STRUCTURAL
from microconv.errors import shorten

if TYPE_CHECKING:
    from microconv.cross_section.asking import Asked

__all__ = ["assumptions", "meaning", "sensitivity", "warnings_of"]

_FEW_LEFT = 0.05


def meaning(asked: Asked, table: pd.DataFrame, size: Mapping[str, int], strata: Sequence[str]) -> str:
    """Two or three sentences that a marketer can read."""
    outcome = _name(asked.outcome["name"])
    text = (
        f"{size['converted']:,} of {size['rows']:,} rows converted ({outcome}: {size['converted'] / size['rows']:.1%})."
    )
    known = table[table["difference"].notna()].sort_values("difference", ascending=False)
    if known.empty:
        return f"{text} Of no micro can be said how it goes with conversion: see the column why."
    best = known.iloc[0]
    alike = f" of the same {', '.join(_name(column) for column in strata)}" if strata else ""
    way = "more" if best["difference"] >= 0 else "less"
    text += (
        f" {_name(best['micro'])} goes with it most: {best['converted']:.1%} of the rows with it converted, "
        f"{abs(100 * best['difference']):.1f} points {way} ({100 * best['ci_low']:.1f} to {100 * best['ci_high']:.1f}) "
        f"than rows without it{alike}."
    )
    return text + " Which came first, and what it adds, cannot be said without times."


def assumptions(asked: Asked, strata: Sequence[str]) -> list[str]:
    """What the numbers take for granted, and what cannot be said without times."""
    goal = _name(asked.outcome["name"])
    compared = (
        f"strata of {', '.join(_name(column) for column in strata)}, weighted as the rows with the micro are spread"
        if strata
        else "one stratum, as nothing is adjusted for"
    )
    return [
        f"No order: whether a micro came before {goal} is not known. What is done after a conversion, or because of "
        "it, looks like what leads to it. So every row predicts at best; none is adjusted for confounding or causal.",
        "No time to convert: how long after an action a conversion comes, and a chance within a horizon, cannot be "
        "said.",
        "No censoring: a row that was cut off, or was not over when the table was made, counts as not converted; what "
        "would have come later is not seen.",
        "No immortal time allowed for: a longer session has more chances to do a micro, and to convert, and one that "
        "ends early can do neither. Time at risk with and without the micro cannot be told apart.",
        "Rows of one user cannot be told apart: they count as independent, and where users return the intervals are "
        "too narrow.",
        f"Compared within {compared}. Whether these columns were so before the micro is not known: adjusting for what "
        "the micro changed hides a part of it. Other micros are not adjusted for unless they are named in adjust=.",
    ]


def warnings_of(
    asked: Asked,
    table: pd.DataFrame,
    columns: pd.DataFrame,
    size: Mapping[str, int],
    strata: Sequence[str],
    times: Sequence[str],
) -> list[str]:
    """All that may mislead in this table."""
    found = []
    for row in table.to_dict("records"):
        if row["label"] in (LEAKS, STRUCTURAL, NOT_ESTIMATED):
            said = {LEAKS: "leaks the outcome", STRUCTURAL: "is structural", NOT_ESTIMATED: "is not estimated"}
            found.append(f"{_name(row['micro'])} {said[row['label']]}: {row['why']}. It is no driver.")
    for row in columns.to_dict("records"):
        if row["leaks"] and row["column"] in asked.adjust:
            found.append(f"Not adjusted for {_name(row['column'])}, which leaks the outcome: {row['why']}.")
        if row["missing"]:
            became = "a level of their own" if row["column"] in asked.adjust else "not done, where a micro reads them"
            found.append(f"{row['missing']:,} rows lack {_name(row['column'])}; they count as {became}.")
    if size["read"] > size["rows"]:
        found.append(
            f"{size['read'] - size['rows']:,} of {size['read']:,} rows lack the outcome "
            f"{_name(asked.outcome['name'])} and are left out."
        )
    if size["repeats"]:
        found.append(
            f"{size['repeats']:,} rows equal another in every column. Without ids and times nobody can tell a repeated "
            "row from two sessions alike; all are counted."
        )
    for row in table[table["left_out"] > _FEW_LEFT].to_dict("records"):
        found.append(
            f"{row['left_out']:.0%} of the rows with {_name(row['micro'])} are in strata without others, compared with "
            "nobody and left out. Adjust for fewer or coarser columns."
        )
    if not strata:
        found.append("Nothing is adjusted for: the difference is the naive one.")
    if times:
        found.append(
            f"The table has times ({', '.join(_name(name) for name in times)}). If they tell when each action was "
            "done, read it with mc.read_events: an event log says more."
        )
    return found


def sensitivity(table: pd.DataFrame) -> pd.DataFrame:
    """The E-values of each estimated micro in words."""
    from microconv.stats.sensitivity import confounding_statement

    known = table[table["risk_ratio"].notna()]
    said = [
        confounding_statement(row["risk_ratio"], row["ratio_low"], row["ratio_high"])
        for row in known.to_dict("records")
    ]
    return pd.DataFrame({"micro": known["micro"].to_numpy(), "statement": said})


def _name(name: object) -> str:
    return shorten(name, 40)
