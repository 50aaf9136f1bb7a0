"""What the segments by behaviour mean, on what they rest, and what to be careful about."""

from __future__ import annotations

import pandas as pd

from microconv.behaviour.asking import OTHERS, Asked
from microconv.behaviour.grouping import Grouped
from microconv.durations import format_duration

__all__ = ["assumptions", "meaning", "warnings_of"]

_FEW = 10


def meaning(asked: Asked, table: pd.DataFrame, lost: pd.DataFrame) -> str:
    """Two or three sentences that a marketer can read."""
    users = int(table["users"].sum())
    out = float(lost.loc[lost["reason"] != "at risk", "share"].sum())
    again = " (again)" if asked.outcome == "next" else ""
    said = [
        f"{users:,} users were still to convert{again} {_at(asked)} after their entry ({out:.0%} of all users were not "
        f"at risk then and are left out); they fall into {len(table)} {'segment' if len(table) == 1 else 'segments'}."
    ]
    known = table[table["rate"].notna() & (table["users"] >= _FEW)]
    if len(known) >= 2:
        ranked = known.sort_values("shrunk_rate", ascending=False, kind="stable")
        said.append(f"{_rate(ranked.iloc[0], asked, True)}, {_rate(ranked.iloc[-1], asked, False)}.")
        sure = int((table["q_value"] < 1 - asked.confidence).sum())
        said.append(
            f"{sure} of {len(table)} segments differ from all other users by more than chance "
            f"(q below {1 - asked.confidence:.2g})."
        )
    elif len(known) == 1:
        row = known.iloc[0]
        said.append(f"{row['rate']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%}) convert within {_within(asked)}.")
    return " ".join(said)


def _rate(row: pd.Series, asked: Asked, top: bool) -> str:
    numbers = f"{row['rate']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%})"
    if top:
        return f"Of '{row['segment']}' most convert within {_within(asked)} after it, {numbers}"
    return f"of '{row['segment']}' fewest, {numbers}"


def assumptions(asked: Asked, made: Grouped, kept: str) -> list[str]:
    """What the numbers rest on."""
    said = [
        f"Segments are formed by what users did up to {_at(asked)} after their first event, that instant included; "
        "nothing later is looked at, and only what comes after it counts as outcome.",
        "Rates count users whose time is not up as open; other ends of the journey take their own course. Intervals "
        "belong to the raw rate, the shrunken one is for ranking.",
        "That a segment converts more does not say that what its users did made them convert.",
        f"Users censored: {kept}.",
    ]
    if asked.outcome == "next":
        said.append("Users who had converted by the landmark stay: what counts for them is the next conversion.")
    else:
        said.append("Users who had converted by the landmark are left out: what counts is the first conversion.")
    if asked.how == "rules":
        source = "the plan's or the caller's own" if asked.own else "the standard ones"
        said.append(f"The rules are {source}, tried in their order: each user is in the first that fits.")
        if asked.not_known:
            said.append(f"The plan has no micro of the kind for: {', '.join(asked.not_known)}.")
    elif asked.how == "rfm":
        said.append("Scores are thirds of users by rank; equal values stay together, so that thirds may be unequal.")
    else:
        said.append(
            "Clusters: k-means on how often each micro was done (never, once, two or three times, more), scaled; there "
            "are no p-values for the micros, because they formed the clusters. Tests of the outcome are sound: it "
            "comes after."
        )
        if made.unused:
            said.append(f"Micros that nearly everybody or nearly nobody did formed no cluster: {_list(made.unused)}.")
    return [*said, *made.notes]


def warnings_of(asked: Asked, made: Grouped, table: pd.DataFrame) -> list[str]:
    """What to be careful about."""
    said = []
    empty = [name for name in made.names if name not in set(table["segment"]) and name != OTHERS]
    if empty:
        said.append(f"Nobody at risk is in: {_list(empty)}.")
    small = table.loc[table["users"] < _FEW, "segment"].tolist()
    if small:
        said.append(f"Fewer than {_FEW} users are in: {_list(small)}. Their rates say little.")
    unknown = table.loc[table["rate"].isna(), "segment"].tolist()
    if unknown:
        said.append(
            f"Nobody was watched for {_within(asked)} after the landmark in: {_list(unknown)}. Choose a shorter "
            "horizon."
        )
    if not table["events"].sum():
        said.append(f"Nobody converted ({asked.rule.target.name!r}) after the landmark.")
    if made.clusters is not None and made.clusters.many == 1:
        best = made.clusters.stability["stability"].max()
        said.append(
            "No number of clusters came back well enough in other samples of users (adjusted Rand index of 0.75 or "
            f"more; best {best:.2f}) and told more than micros that have nothing to do with each other would: by these "
            "micros users do not fall into groups."
        )
    elif made.clusters is not None:
        row = made.clusters.stability[made.clusters.stability["chosen"]].iloc[0]
        if row["stability"] < 0.75:
            said.append(
                f"These clusters come back poorly in other samples (adjusted Rand index {row['stability']:.2f})."
            )
        if row["explained"] <= 1.1 * row["explained_independent"]:
            said.append(
                "The clusters tell hardly more than micros that have nothing to do with each other would: they are a "
                "way to cut, not groups of a kind."
            )
    return said


def _at(asked: Asked) -> str:
    assert asked.rule.landmark is not None
    return format_duration(asked.rule.landmark)


def _within(asked: Asked) -> str:
    assert asked.rule.horizon is not None
    return format_duration(asked.rule.horizon)


def _list(names: object) -> str:
    return ", ".join(repr(str(name)) for name in names)  # type: ignore[attr-defined]
