"""One explained conversion in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from microconv.attribution.definitions import CHAINS
from microconv.attribution.one_conversion import BY_CHANNEL
from microconv.attribution.words import BASELINE, OVERLAP, UNATTRIBUTED, Told, about_paths
from microconv.conversion.words import spelled
from microconv.durations import days, format_duration, micros_to_moment
from microconv.errors import shorten

if TYPE_CHECKING:
    from microconv.reduce.path_of_user import Conversion, Touch
    from microconv.reduce.path_rules import PathRule

__all__ = ["Explained", "assumptions", "meaning", "warnings_of"]

_MOST = 3  # touches and models that a sentence names
_SAME = 5e-3  # shares that look alike as whole percents


@dataclass(frozen=True)
class Explained:
    """What the words are made of: the conversion ``number`` of ``of`` of a user, worth ``value`` (NaN: not known)."""

    user: str
    target: str
    number: int
    of: int
    conversion: Conversion
    table: pd.DataFrame
    value: float
    currency: str | None
    definitions: Mapping[str, str]
    rule: PathRule


def meaning(told: Explained) -> str:
    """When it was, what came before it, who gets how much by which models, and what would be there anyway."""
    at_hand = told.conversion
    when = f"{micros_to_moment(at_hand.at):%Y-%m-%d %H:%M} UTC"
    worth = f", worth {told.value:,.2f} {told.currency or ''}".rstrip() if told.value == told.value else ""
    many = f" ({at_hand.events:,} at once)" if at_hand.events > 1 else ""
    head = (
        f"Conversion {told.number} of {told.of} ({shorten(repr(told.target))}) of user {shorten(repr(told.user))}, on "
        f"{when}{many}{worth},"
    )
    if not at_hand.path:
        return f"{head} has no touch on its path: {_untouched(told)}"
    return " ".join(part for part in (f"{head} {_path(at_hand)}", _divided(told), _baseline(told)) if part)


def _path(at_hand: Conversion) -> str:
    """What came before, the first touch and the last by name."""
    path = at_hand.path
    first, last = (f"{shorten(repr(touch.channel), 40)} ({_ago(touch, at_hand)})" for touch in (path[0], path[-1]))
    if len(path) == 1:
        return f"came after one touch, {last}."
    channels = len({touch.channel for touch in path})
    of = f"{channels} channels" if channels > 1 else "one channel"
    return f"came after {len(path)} touches of {of}, from {first} to {last}."


def _ago(touch: Touch, at_hand: Conversion) -> str:
    return f"{spelled(days(at_hand.at - touch.at))} before" if touch.at < at_hand.at else "at the same instant"


def _divided(told: Explained) -> str:
    """For the channels that get most, the least and the most that a model gives them."""
    rows = told.table[~told.table["channel"].isin([BASELINE, OVERLAP, UNATTRIBUTED])]
    rows = rows[rows["model"] != "any_touch"]  # whole to each, which divides nothing
    if rows.empty:
        return ""
    shares = rows.pivot_table(index="model", columns="channel", values="share", aggfunc="sum", sort=False).fillna(0.0)
    shares = shares.loc[:, shares.max() >= _SAME]
    order = shares.mean().sort_values(ascending=False, kind="stable").index
    said = [f"{shorten(repr(channel), 40)} gets {_range(shares[channel])}" for channel in order[:_MOST]]
    if len(order) > _MOST:
        said.append("another channel has the rest" if len(order) == _MOST + 1 else "other channels have the rest")
    return f"{'; '.join(said)}."


def _range(shares: pd.Series) -> str:
    """The least and the most of a channel, each with models that say so."""
    low, high = float(shares.min()), float(shares.max())
    if high - low < _SAME:
        return f"{high:.0%} by {_models(shares, high) if len(shares) <= _MOST else 'every model'}"
    return f"{low:.0%} ({_models(shares, low)}) to {high:.0%} ({_models(shares, high)})"


def _models(shares: pd.Series, share: float) -> str:
    names = [str(name) for name in shares[(shares - share).abs() < _SAME].index]
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")


def _baseline(told: Explained) -> str:
    rows = told.table[(told.table["model"] == "survival") & (told.table["channel"] == BASELINE)]
    if rows.empty:
        return ""
    return f"By survival {float(rows['share'].iloc[0]):.0%} of the rate at that moment was there without any touch."


def _untouched(told: Explained) -> str:
    anyway = _baseline(told)
    others = "every model but survival leaves" if anyway else "every model leaves"
    return f"{others} it unattributed.{' ' if anyway else ''}{anyway}"


def assumptions(told: Explained) -> list[str]:
    """How the path was made, what each model is, and which of them divide single conversions."""
    rule = told.rule
    paths = Told(
        target=told.target,
        table=told.table,
        totals={},
        channels=(),
        definitions=told.definitions,
        confidence=0.95,
        lookback=rule.lookback,
        reset=rule.reset,
        repeat=rule.repeat,
        transforms=tuple(" ".join(map(str, transform)) for transform in rule.transforms),
    )
    said = [*about_paths(paths), *[f"{model}: {text}" for model, text in told.definitions.items()]]
    chains = [model for model in told.definitions if model in CHAINS]
    if chains:
        said.append(
            f"{', '.join(chains)}: a chain divides the total, not single conversions. Shown is a reading of it: the "
            "removal effects in the whole log of the channels on this path, in proportion. Over all conversions this "
            "does not add up to the model's credits."
        )
    if "survival" in told.definitions:
        said.append(
            "survival: rates are those of the whole log; all touches up to the conversion act, those before the path "
            "too."
        )
    by_channel = [model for model in told.definitions if model in BY_CHANNEL]
    if by_channel:
        said.append(
            f"{', '.join(by_channel)}: touches of one channel are alike; what the channel gets is in equal parts on "
            "them."
        )
    said.append(
        "Shares are how a model divides this conversion; that the user would not have converted without a touch is "
        "more than they can say."
    )
    return said


def warnings_of(told: Explained) -> list[str]:
    """Why there may be no touch, and whether an order was a convention."""
    path, rule = told.conversion.path, told.rule
    if not path:
        limit = f" within {format_duration(rule.lookback)}" if rule.lookback is not None else ""
        hint = (
            " Touches up to an earlier conversion belong to that one: see reset=False."
            if rule.reset and told.number > 1
            else ""
        )
        return [f"No touch of this user{limit} is left for this conversion.{hint}"]
    moments: dict[int, set[str]] = {}
    for touch in path:
        moments.setdefault(touch.at, set()).add(touch.channel)
    tied = [names for names in moments.values() if len(names) > 1]
    if not tied:
        return []
    listed = ", ".join(repr(shorten(name, 40)) for name in sorted(tied[-1]))
    return [f"Touches of different channels share an instant ({listed}): their order is a convention (by name)."]
