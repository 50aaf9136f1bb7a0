"""What an audience means, on what its numbers rest, and what to be careful about."""

from __future__ import annotations

import pandas as pd

from microconv.audience.asking import Asked
from microconv.audience.chances import band_name
from microconv.behaviour.asking import describe
from microconv.durations import format_duration, micros_to_moment

__all__ = ["assumptions", "meaning", "named_states", "warnings_of"]


def meaning(asked: Asked, table: pd.DataFrame) -> str:
    """Two or three sentences that a marketer can read."""
    row = table.iloc[0]
    when = f"{micros_to_moment(asked.moment):%Y-%m-%d %H:%M} UTC"
    said = [
        f"{row['users']:,} users are in the audience '{asked.group.name}' at {when}"
        + (f"; {row['without_consent']:,} more fit but gave no consent and are left out." if asked.column else ".")
    ]
    said.append(
        f"Without any message {row['expected_conversions']:,.1f} of them ({row['ci_low']:,.1f} to "
        f"{row['ci_high']:,.1f}) are expected to convert within {format_duration(asked.horizon)}, "
        f"{row['chance']:.1%} on average; the number itself will lie between {row['range_low']:,.0f} and "
        f"{row['range_high']:,.0f}."
    )
    if row["expected_value"] == row["expected_value"]:
        money = f" {row['currency']}" if row["currency"] else ""
        said.append(f"That is worth {row['expected_value']:,.0f}{money} at the mean value of past conversions.")
    return " ".join(said)


def assumptions(asked: Asked) -> list[str]:
    """What the numbers rest on."""
    top = f"; among the {asked.top:.0%} of users with the highest chance" if asked.top is not None else ""
    return [
        f"The rule: {describe(asked.group)}{top}. Nothing after the moment is looked at.",
        f"Chances are those of users who were in the same state (micros done, target reached, age band) at "
        f"{len(asked.moments)} earlier {'moment' if len(asked.moments) == 1 else 'moments'}, each followed for "
        f"{format_duration(asked.horizon)}; they hold if users now go on as users then did (season, prices, traffic).",
        "Expected conversions are those that come anyway. What a message adds is not in them: hold some users back at "
        "random to learn it.",
        "Users count as independent of each other; windows of one user do not overlap.",
        (
            f"Consent is the latest value of {asked.column!r} by the moment; only {', '.join(asked.granted)} grant it."
            if asked.column is not None
            else "Consent is not looked up in the log."
        ),
    ]


def warnings_of(asked: Asked, states: pd.DataFrame, table: pd.DataFrame, consent: str | None) -> list[str]:
    """What to be careful about."""
    said = []
    if asked.column is None and consent is not None:
        said.append("The log has no column 'consent': sizes are shown, but no list of users can be written.")
    coarse = states.loc[states["own_weight"] < 0.5, "users"].sum() / states["users"].sum()
    if coarse > 0.5:
        said.append(f"{coarse:.0%} of the users are in rare states: their chance is mostly that of a coarser state.")
    if len(asked.moments) == 1:
        said.append("The log is short: chances rest on one earlier moment.")
    if getattr(asked.rule.target, "value", None) is not None and table["mean_value"].isna().all():
        said.append("There are fewer than two past conversions with a value: what the audience is worth is not known.")
    return said


def named_states(states: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The states in words, the most users first."""
    rows = []
    ranked = states.sort_values(["users", "done", "age_band"], ascending=[False, True, True])
    for row in ranked.to_dict("records"):
        done = [item.name for i, item in enumerate(asked.items) if (int(row["done"]) >> i) & 1]
        rows.append(
            {
                "state": ", ".join(done) or "nothing done",
                "age": band_name(int(row["age_band"])),
                **{name: row[name] for name in ("users", "chance", "ci_low", "ci_high")},
                "seen": int(row["seen"]),
                "own_weight": float(row["own_weight"]),
            }
        )
    return pd.DataFrame(rows)
