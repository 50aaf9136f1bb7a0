"""From the question to the answer: paths are counted once, every model divides them, checks stand beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.attribution.definitions import CHAINS
from microconv.attribution.spending import checked_spend, spend_table
from microconv.attribution.surviving import Survived, by_hazards
from microconv.attribution.words import BASELINE, OVERLAP, UNATTRIBUTED, Told, assumptions, meaning, removal_words
from microconv.attribution.words import warnings_of as warnings_said
from microconv.durations import format_duration
from microconv.path_sums import BUCKETS, CONVERSION, NULL, START, PathSums

if TYPE_CHECKING:
    from microconv.attribution.asking import Choices, Question
    from microconv.log import EventLog
    from microconv.path_table import PathTable
    from microconv.reduce.path_rules import PathRule
    from microconv.reduce.paths import Paths

__all__ = ["Answer", "answer", "answer_paths"]

UNTOUCHED = "no touch before the conversion"
_NAMES = {START: "(start)", CONVERSION: "(conversion)", NULL: "(null)"}


@dataclass(frozen=True)
class Answer:
    """The table of ``mc.attribution`` and what goes with it."""

    table: pd.DataFrame
    meaning: str
    assumptions: list[str]
    warnings: list[str]
    extra: dict[str, pd.DataFrame]


def transitions_table(sums: PathSums) -> pd.DataFrame | None:
    """``source, target, paths, share`` (of the paths that leave the source), by name, of the chain of order 1."""
    if 1 not in sums.transitions:
        return None
    names = {**_NAMES, **{number + 1: name for number, name in enumerate(sums.channels)}}
    frame = sums.transitions[1].groupby(["source", "target"], as_index=False)["paths"].sum()
    frame = frame[frame["paths"] > 0]
    share = frame["paths"] / frame.groupby("source")["paths"].transform("sum")
    found = pd.DataFrame(
        {"source": frame["source"].map(names), "target": frame["target"].map(names), "paths": frame["paths"]}
    )
    return found.assign(share=share).reset_index(drop=True)


def account_table(made: Paths) -> pd.DataFrame:
    """``fate, touches, paths, conversions``: what became of every touch, and of every conversion: several at one
    instant share a path, and some have none.
    """
    from microconv.reduce.path_marks import WON
    from microconv.reduce.paths import FATES

    totals = _totals(made.sums)
    counts = {FATES[WON]: totals["conversions"] - totals["untouched"], UNTOUCHED: totals["untouched"]}
    found = made.account.set_index("fate").reindex([*made.account["fate"], UNTOUCHED], fill_value=0)
    conversions = found.index.map(lambda fate: round(counts.get(fate, 0)))
    return found.assign(conversions=np.asarray(conversions, dtype=np.int64)).reset_index()


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """Conversions with a column for each model, a row for each channel, and the totals."""
    wide = table.pivot_table(index="channel", columns="model", values="conversions", sort=False, aggfunc="sum")
    wide = wide[list(dict.fromkeys(table["model"]))]
    last = [name for name in (BASELINE, OVERLAP, UNATTRIBUTED) if name in wide.index]
    wide = wide.reindex([*[name for name in wide.index if name not in last], *last])
    wide.loc["(total)"] = wide.sum()
    return wide.reset_index().rename_axis(columns=None)


def answer(log: EventLog, question: Question, spend: Any) -> Answer:
    """Everything that ``mc.attribution`` gives on a log."""
    from microconv.attribution.checking import by_segment, null_channel, other_order

    chosen, rule = question.choices, question.rule
    made = counted(log, rule, chosen)
    paid = checked_spend(spend, made.sums.channels)
    table = divided(made.sums, chosen, money=rule.terms is not None)
    survived = by_hazards(log, question) if "survival" in chosen.models else None
    if survived is not None:
        table = survived.below(table)
    told = Told(
        target=rule.target.name,
        table=table,
        totals=_totals(made.sums),
        channels=made.sums.channels,
        definitions=_defined(chosen, table, format_duration(rule.half_life), survived),
        confidence=chosen.confidence,
        lookback=rule.lookback,
        reset=rule.reset,
        repeat=rule.repeat,
        tie_rate=made.tie_rate,
        buckets=BUCKETS,
        replicates=chosen.replicates,
        transforms=tuple(" ".join(map(str, transform)) for transform in rule.transforms),
        thin=_thin(made.sums, chosen),
    )
    ties = other_order(log, question, table) if made.tie_rate else None
    extra = _frames(table, made.sums, told, paid) | {"account": account_table(made)}
    if ties is not None:
        extra["ties"] = ties
    warnings = warnings_said(told, ties)
    if survived is not None:
        if len(survived.table):
            extra["survival"] = survived.coefficients
        warnings += survived.warnings
    if question.check:
        extra["checks"] = null_channel(log, question)
        if extra["checks"].empty:
            warnings.append("There is no check: of so few touches no random one was drawn.")
    if question.by is not None:
        extra["segments"] = by_segment(log, question)
    return Answer(table, meaning(told), assumptions(told), warnings, extra)


def _thin(sums: PathSums, chosen: Choices) -> tuple[str, ...]:
    """The channels for whose sake Shapley's game of rates has no intervals."""
    from microconv.stats.shapley_values import thin_channels

    if "shapley" not in chosen.models or chosen.game != "rate" or sums.sets is None:
        return ()
    return tuple(sums.channels[number] for number in thin_channels(sums.sets, len(sums.channels)))


def _defined(chosen: Choices, table: pd.DataFrame, half_life: str, survived: Survived | None) -> dict[str, str]:
    """The definitions of the models that have an answer."""
    said = chosen.definitions(half_life, survived.half_life if survived is not None else "")
    return {model: text for model, text in said.items() if survived is None or model in set(table["model"])}


def counted(log: EventLog, rule: PathRule, chosen: Choices, noise: float = 0.0) -> Paths:
    """The paths of a log, summed as the models need them."""
    from microconv.reduce.paths import path_sums

    return path_sums(log, rule, rules=chosen.rules, orders=chosen.orders, sets="shapley" in chosen.models, noise=noise)


def answer_paths(paths: PathTable, chosen: Choices, target: str, spend: Any) -> Answer:
    """Everything that ``mc.attribution`` gives on paths that were aggregated before."""
    sums = paths.sums(
        rules=chosen.rules,
        orders=chosen.orders,
        direct=chosen.direct,
        position=chosen.position,
    )
    paid = checked_spend(spend, sums.channels)
    table = divided(sums, chosen, money=paths.with_value)
    told = Told(
        target=target,
        table=table,
        totals=_totals(sums),
        channels=sums.channels,
        definitions=chosen.definitions(""),
        confidence=chosen.confidence,
        from_paths=True,
    )
    return Answer(table, meaning(told), assumptions(told), warnings_said(told, None), _frames(table, sums, told, paid))


def divided(sums: PathSums, chosen: Choices, *, money: bool) -> pd.DataFrame:
    """The table of all models but survival; without ``money`` its columns of value are not known."""
    from microconv.stats import credited

    table = credited(
        sums,
        [name for name in chosen.models if name != "survival"],
        game=chosen.game,
        replicates=chosen.replicates,
        seed=chosen.seed,
        confidence=chosen.confidence,
    )
    return table if money else table.assign(value=np.nan, value_ci_low=np.nan, value_ci_high=np.nan)


def _totals(sums: PathSums) -> dict[str, float]:
    return {str(name): float(total) for name, total in sums.totals.drop(columns="bucket").sum().items()}


def _frames(table: pd.DataFrame, sums: PathSums, told: Told, paid: Mapping[str, float]) -> dict[str, pd.DataFrame]:
    """What stands beside the table."""
    extra = {"side_by_side": side_by_side(table), "models": models_table(table, told)}
    steps = transitions_table(sums)
    if steps is not None:
        extra |= {"removals": removals_table(sums, told), "transitions": steps}
    if paid:
        extra["spend"] = spend_table(table, paid)
    return extra


def models_table(table: pd.DataFrame, told: Told) -> pd.DataFrame:
    """``model, conversions, value, definition``: what each model divides, and how."""
    sums = table.groupby("model", sort=False)[["conversions", "value"]].sum().reset_index()
    return sums.assign(definition=sums["model"].map(dict(told.definitions)))


def removals_table(sums: PathSums, told: Told) -> pd.DataFrame:
    """``channel, model, removal_effect, removal_effect_value, reach, meaning`` of every chain."""
    from microconv.stats import removal_effects

    parts = [
        removal_effects(sums.transitions[order], sums.channels, order).assign(model=model)
        for model, order in CHAINS.items()
        if model in told.definitions
    ]
    found = pd.concat(parts, ignore_index=True)
    found.insert(1, "model", found.pop("model"))
    return found.assign(meaning=removal_words(found, told.target))
