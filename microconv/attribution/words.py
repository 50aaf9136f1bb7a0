"""What an attribution says in words: the meaning, what was assumed, what to beware of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from microconv.durations import format_duration
from microconv.stats.shapley_values import FEWEST

__all__ = [
    "BASELINE",
    "OVERLAP",
    "UNATTRIBUTED",
    "Told",
    "about_paths",
    "assumptions",
    "meaning",
    "removal_words",
    "warnings_of",
]

UNATTRIBUTED, BASELINE, OVERLAP = "(unattributed)", "(baseline)", "(overlap)"
_TIES = 0.02  # a larger share of touches in ties is worth a warning
_UNTOUCHED = 0.3
_MOVED = 0.1
_SAME = 1e-6  # conversions


@dataclass(frozen=True)
class Told:
    """What the words are made of."""

    target: str
    table: pd.DataFrame
    totals: Mapping[str, float]
    channels: tuple[str, ...]
    definitions: Mapping[str, str]
    confidence: float
    lookback: int | None = None
    from_paths: bool = False
    reset: bool = True
    repeat: str = "each"
    tie_rate: float = 0.0
    buckets: int = 1
    replicates: int = 0
    transforms: tuple[str, ...] = ()
    thin: tuple[str, ...] = ()  # channels whose own paths have too few conversions for the game of rates


def _channels(told: Told) -> pd.DataFrame:
    return told.table[~told.table["channel"].isin([UNATTRIBUTED, BASELINE, OVERLAP])]


def meaning(told: Told) -> str:
    """Two or three sentences: how many conversions, who leads by each model, how far models are apart."""
    total = told.totals["conversions"]
    if not total:
        return f"Nobody reached {told.target!r}, so there is nothing to divide."
    untouched = told.totals["untouched"]
    head = f"{total:,.0f} conversions ({told.target!r}), {1 - untouched / total:.0%} of them after a touch."
    rows = _channels(told).dropna(subset=["conversions"])
    if rows.empty:
        return f"{head} No channel was touched before any of them."
    tops = {
        str(model): str(part.sort_values("conversions", ascending=False, kind="stable")["channel"].iloc[0])
        for model, part in rows.groupby("model", sort=False)
    }
    leaders = list(dict.fromkeys(tops.values()))
    models = "All models say" if len(tops) > 1 else f"The model {next(iter(tops))!r} says"
    if len(leaders) == 1:
        said = f"{models} that {leaders[0]!r} earned most."
    else:
        parts = [
            f"{leader!r} ({', '.join(model for model, top in tops.items() if top == leader)})" for leader in leaders
        ]
        said = f"Models disagree on who earned most: {'; '.join(parts)}."
    return " ".join([head, said, _spread(rows)]).strip()


def _spread(rows: pd.DataFrame) -> str:
    """The channel whose number depends most on the model."""
    if rows["model"].nunique() < 2:
        return ""
    found = rows[rows["model"] != "any_touch"].groupby("channel", sort=False)["conversions"].agg(["min", "max"])
    if (found["max"] - found["min"]).max() < _SAME:
        return "All models give every channel the same, as no path has touches of two channels."
    at = int((found["max"] - found["min"]).to_numpy().argmax())
    widest, low, high = str(found.index[at]), float(found["min"].iloc[at]), float(found["max"].iloc[at])
    return f"The choice of the model matters most for {widest!r}: {low:,.1f} to {high:,.1f} conversions."


def removal_words(removals: pd.DataFrame, target: str) -> list[str]:
    """For each row of ``channel, model, removal_effect`` what it means."""
    return [
        f"If every path ended on reaching {channel!r}, {effect:.1%} of the conversions ({target!r}) that follow a "
        f"touch would be lost, by the chain {model!r}."
        for channel, model, effect in zip(
            removals["channel"], removals["model"], removals["removal_effect"], strict=True
        )
    ]


def assumptions(told: Told) -> list[str]:
    """How paths were made, what each model is, what the intervals hold."""
    said = []
    if told.from_paths:
        said.append("Paths were aggregated before: how touches were chosen and ordered is not known here.")
    else:
        said += about_paths(told)
    said += [f"{model}: {text}" for model, text in told.definitions.items()]
    if "survival" in told.definitions:
        said.append(
            "survival: who comes by which channel is in the baseline. Intent that changes among those who came by the "
            "same channel, and is touched more often while it is high, is taken for what those touches do."
        )
    said.append(
        "Conversions and values each add up to their total in every model; conversions without a touch stand in "
        f"{UNATTRIBUTED}."
    )
    if told.buckets > 1 and not told.replicates:
        said.append("Without replicates there are no intervals but those of survival.")
    elif told.buckets > 1:
        said.append(
            f"{told.confidence:.0%} intervals: {told.replicates:,} replicates of {told.buckets} groups of users "
            "(Poisson weights; chains of many states and survival: their linear form), each scaled to the conversions "
            "that were counted: they hold the uncertainty of the division, not of next month's volume."
        )
    said.append(
        "Attribution divides conversions among the touches that came before them. Only survival asks what would have "
        "come without a touch, of users who were not drawn by lot; an experiment is what proves a channel."
    )
    return said


def about_paths(told: Told) -> list[str]:
    lookback = "any time" if told.lookback is None else f"up to {format_duration(told.lookback)} (to the microsecond)"
    each = "Every conversion counts" if told.repeat == "each" else "The first conversion of each user counts"
    reset = (
        "a touch belongs to the next conversion only"
        if told.reset
        else "a touch counts for every later conversion within the lookback"
    )
    said = [
        f"{each}; touches {lookback} before it are its path, one at its very instant included; {reset}.",
        "Touches of a user at one instant are ordered by the name of their channel.",
        "Touches without a conversion make paths too, which end where the pause is longer than the lookback. Such a "
        "path is null when its time is over, and left out while it is still open.",
    ]
    if told.transforms:
        said.append(f"Paths were then changed by: {', '.join(told.transforms)}.")
    return said


def warnings_of(told: Told, ties: pd.DataFrame | None) -> list[str]:
    """What should make a reader pause."""
    said = []
    total, untouched = told.totals["conversions"], told.totals["untouched"]
    if total and untouched / total > _UNTOUCHED:
        hint = " A second conversion without a new touch is one of them: see reset=False." if told.reset else ""
        said.append(
            f"{untouched / total:.0%} of the conversions have no touch within the lookback and stand in {UNATTRIBUTED}."
            f"{hint if not told.from_paths and told.repeat == 'each' else ''}"
        )
    if told.tie_rate > _TIES:
        moved = ""
        if ties is not None and len(ties):
            worst = ties.iloc[int(ties["difference"].abs().to_numpy().argmax())]
            moved = (
                f" The other way round {worst['channel']!r} has {worst['difference']:+,.1f} conversions by "
                f"{worst['model']!r}: the most that any number moves."
            )
        said.append(
            f"{told.tie_rate:.1%} of the touches share their instant with a touch of another channel; their order is a "
            f"convention (by name).{moved}"
        )
    if not told.totals["nulls"] and total and any(model.startswith("markov") for model in told.definitions):
        said.append(
            "There are no paths without a conversion, so the chain always converts: removal effects only say on how "
            "many paths a channel stands. Give null paths, or a shorter lookback, if there are any."
        )
    negative = told.table[(told.table["conversions"] < 0) & (told.table["channel"] != OVERLAP)]
    if len(negative):
        names = ", ".join(repr(name) for name in dict.fromkeys(negative["channel"]))
        said.append(
            f"Negative parts ({names}): in the chosen game a channel whose paths convert less often takes away."
        )
    if told.thin:
        said.append(
            f"shapley has no intervals: its game of rates rests on the rate of each channel's own paths, and "
            f"{', '.join(map(repr, told.thin))} had fewer than {FEWEST} conversions on paths without another channel. "
            "Group channels, or take game='conversions'."
        )
    if len(told.channels) == 1:
        said.append(f"There is one channel only ({told.channels[0]!r}): every model gives it everything it can.")
    if told.buckets < 2 and total:
        said.append("Aggregated paths hold no users, so there are no intervals: give the events themselves.")
    uncertain = _uncertain(told)
    if uncertain:
        said.append(uncertain)
    return said


def _uncertain(told: Told) -> str:
    """Ranks that another sample of users would likely change."""
    rows = _channels(told)
    if "rank_stability" not in rows or rows["rank_stability"].isna().all():
        return ""
    top = rows[rows["rank"] == 1]
    shaky = top[top["rank_stability"] < 1 - _MOVED]
    if shaky.empty:
        return ""
    listed = "; ".join(
        f"{row.channel!r} by {row.model} ({row.rank_stability:.0%})" for row in shaky.itertuples(index=False)
    )
    return f"The first place is not sure: it holds in this share of replicates only: {listed}."
