"""Removal effects of channels in a chain of touches, exact from counts of transitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.path_sums import CONVERSION, NULL, START
from microconv.stats.path_chain import Chain, channel_names

__all__ = ["chain_conversion_rate", "removal_effects"]

_ENDS = {"(start)": START, "(conversion)": CONVERSION, "(null)": NULL}


def removal_effects(transitions: pd.DataFrame, channels: Sequence[str] | None = None, order: int = 1) -> pd.DataFrame:
    """What share of conversions would be lost if every path ended without one on reaching a channel.

    ``transitions``: ``source, target, paths, value``, buckets are pooled. With ``channels`` (in the order of their
    numbers) states are numbers as in ``PathSums.transitions``, of a chain of ``order`` 1 to 3 (on how many last touches
    the next step depends). Without, ``source`` and ``target`` are names, with ``(start)``, ``(conversion)`` and
    ``(null)``, and the chain has order 1; ``value`` may be left out.

    Returns a row per channel: ``channel``, ``removal_effect`` (1 less the chain's chance of a conversion without the
    channel over the chance with it; every state that holds the channel is removed, what goes there ends as null),
    ``removal_effect_value`` (the same of the expected value of a path; each transition into a conversion pays its mean
    value), ``reach`` (the chain's chance that a path ever touches the channel). NaN where there is no path, no
    conversion or no value.

    Exact (a sparse linear system per channel). Raises ``ParameterError`` for negative counts, states that are none, and
    paths that never end. Anderl et al. 2016.

    >>> steps = [("(start)", "ad", 4), ("(start)", "mail", 2), ("ad", "mail", 2), ("ad", "(null)", 2)]
    >>> steps += [("mail", "(conversion)", 3), ("mail", "(null)", 1)]
    >>> removal_effects(pd.DataFrame(steps, columns=["source", "target", "paths"]))[["channel", "removal_effect"]]
      channel  removal_effect
    0      ad             0.5
    1    mail             1.0
    """
    names, coded = _coded(transitions, channels, order)
    chain = Chain.from_transitions(coded, len(names), order)
    with_all = chain.arrivals()
    without = np.array([chain.arrivals(channel) for channel in range(len(names))]).reshape(-1, 3)
    known = np.where(with_all[:2] != 0, with_all[:2], np.nan)
    effects = 1 - without[:, :2] / known
    return pd.DataFrame(
        {
            "channel": pd.Series(names, dtype=object),
            "removal_effect": effects[:, 0],
            "removal_effect_value": effects[:, 1],
            "reach": without[:, 2],
        }
    )


def chain_conversion_rate(transitions: pd.DataFrame, channels: Sequence[str] | None = None, order: int = 1) -> float:
    """The chain's chance that a path ends in a conversion, from the transitions that ``removal_effects`` takes.

    Where these were counted on whole paths it is the share of paths with a conversion, for every ``order``. NaN without
    paths. Raises ``ParameterError``.
    """
    names, coded = _coded(transitions, channels, order)
    return float(Chain.from_transitions(coded, len(names), order).arrivals()[0])


def _coded(
    transitions: pd.DataFrame, channels: Sequence[str] | None, order: int
) -> tuple[tuple[str, ...], pd.DataFrame]:
    """The names of channels, and transitions between numbered states."""
    if channels is not None:
        return channel_names(channels), transitions
    if order != 1:
        raise ParameterError(f"order={shorten(repr(order))} needs channels=: names alone are a chain of order 1.")
    for name in ("source", "target", "paths"):
        if name not in transitions.columns:
            raise ParameterError(unknown_name("column of the transitions", name, transitions.columns))
    both = pd.concat([transitions["source"], transitions["target"]])
    if not both.map(lambda name: isinstance(name, str)).all():
        raise ParameterError(
            "transitions: source and target must be text (names of channels, (start), (conversion), (null)). For "
            "numbers give channels=, the names in the order of their numbers."
        )
    names = tuple(name for name in dict.fromkeys(both) if name not in _ENDS)
    numbers = _ENDS | {name: number for number, name in enumerate(names, start=1)}
    coded = transitions.assign(source=transitions["source"].map(numbers), target=transitions["target"].map(numbers))
    return names, coded if "value" in coded.columns else coded.assign(value=0.0)
