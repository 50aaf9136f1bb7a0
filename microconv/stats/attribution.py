"""Conversions and their value divided among channels, by model, from sums over paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.path_sums import PathSums
from microconv.stats._curves import z_value
from microconv.stats.path_bootstrap import part_limits, rank_stability, ranks
from microconv.stats.path_chain import Chain
from microconv.stats.resample import poisson_weights, resampled
from microconv.stats.shapley_values import GAMES, MOST_CHANNELS, set_credits, set_rate_credits, thin_channels

__all__ = ["OVERLAP", "UNATTRIBUTED", "credited"]

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Division = Callable[[Floats], Floats]

UNATTRIBUTED, OVERLAP = "(unattributed)", "(overlap)"
CHAINS = {"markov": 1, "markov2": 2, "markov3": 3}
_OVERLAPPING = "any_touch"
_EXACT = 1e-6  # how far sums of rounded numbers may be from their total
COLUMNS = (
    "channel", "model", "conversions", "ci_low", "ci_high", "value", "value_ci_low", "value_ci_high", "share", "rank",
    "rank_stability",
)  # fmt: skip


def credited(
    sums: PathSums,
    models: Sequence[str],
    *,
    game: str = "conversions",
    replicates: int = 1_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """What each model credits each channel with, in conversions and in their value; the parts add to the totals.

    ``models``: rules whose sums are in ``sums.credits`` (``first``, ``linear`` ...), ``markov``, ``markov2``,
    ``markov3`` (from ``sums.transitions``: touched conversions are divided in proportion to the removal effects, their
    value to those on the expected value) and ``shapley`` (from ``sums.sets``, by ``game``, see ``shapley``).

    Returns by model a row per channel, then ``(overlap)`` (``any_touch`` alone: what is counted more than once, below
    0) and ``(unattributed)`` (conversions without a touch): ``channel, model, conversions, ci_low, ci_high, value,
    value_ci_low, value_ci_high, share`` (of all conversions), ``rank`` (1: most conversions; channels only),
    ``rank_stability`` (share of replicates in which the channel has this rank; where channels are close, the ranks of
    two samples of users agree less often than that).

    Intervals and stability come from ``replicates`` with Poisson weights on the buckets of users, each scaled to the
    conversions (and value) that were counted: they hold the uncertainty of the division, not of the volume. t intervals
    on the logit scale; where a part can be negative, on its own; the rule of three for a part of 0. In a chain of more
    than 50 states replicates are linear in the weights (infinitesimal jackknife). All NaN without ``replicates``, where
    there is one bucket only, as with paths that were aggregated before, and in the game ``"rate"`` where a channel has
    fewer than 10 conversions on paths of its own.

    Where values below 0 (refunds) leave removal effects on value that add to less than 1, the value is divided as
    the conversions are. Raises ``ParameterError`` for models without sums, and sums that do not add up.
    """
    z_value(confidence)  # its words on a confidence that is none
    if game not in GAMES:
        raise ParameterError(unknown_name("game", game, GAMES))
    buckets = np.sort(sums.totals["bucket"].unique())
    totals = _dense(sums.totals, buckets, ["conversions", "value", "untouched", "untouched_value"])
    several = len(buckets) > 1 and replicates > 0
    weights = poisson_weights(len(buckets), replicates, seed) if several else np.zeros((0, len(buckets)))
    tables = []
    for model in models:
        divide = _division(sums, model, game, buckets, totals)
        thin = model == "shapley" and game == "rate" and thin_channels(_sets(sums), len(sums.channels))
        used = (_once(buckets), weights[:0] if thin else weights)
        estimate, drawn = (_complete(divide(part), resampled(part, totals)) for part in used)
        _check_total(model, estimate[0], totals.sum(axis=0))
        tables.append(_table(sums.channels, model, estimate[0], drawn, totals.sum(axis=0), len(buckets), confidence))
    empty = pd.DataFrame({name: pd.Series(dtype=object if name in COLUMNS[:2] else float) for name in COLUMNS})
    return pd.concat(tables, ignore_index=True) if tables else empty


def _once(buckets: Whole) -> Floats:
    """The weights of the estimate: every bucket once."""
    return np.ones((1, len(buckets)))


def _division(sums: PathSums, model: str, game: str, buckets: Whole, totals: Floats) -> Division:
    """How a model divides: from weights of buckets to (replicate, channel, 2)."""
    k = len(sums.channels)
    rules = [name for name in sums.credits.columns if f"{name}_value" in sums.credits.columns]
    if model in CHAINS:
        order = CHAINS[model]
        if order not in sums.transitions:
            raise ParameterError(f"model={model!r} needs transitions of order {order}, which were not counted.")
        frame = sums.transitions[order]
        chain = Chain.from_transitions(frame, k, order, _rows(frame, buckets), len(buckets))
        return lambda weights: _normalised(chain.losses(weights), resampled(weights, totals))
    if model == "shapley" and game == "rate":
        return lambda weights: set_rate_credits(_sets(sums), k, _rows(_sets(sums), buckets), weights)
    if model == "shapley" and sums.sets is None and "linear_unique" in rules:
        by_bucket = _by_rule(sums, "linear_unique", buckets)  # the same division, by its closed form
    elif model == "shapley":
        by_bucket = set_credits(_sets(sums), k, _rows(_sets(sums), buckets), len(buckets))
    elif model in rules:
        by_bucket = _by_rule(sums, model, buckets)
    else:
        raise ParameterError(unknown_name("model", model, [*rules, *CHAINS, "shapley"]))
    if model == _OVERLAPPING:
        touched = totals[:, :2] - totals[:, 2:]
        by_bucket = np.concatenate([by_bucket, touched[:, None] - by_bucket.sum(axis=1, keepdims=True)], axis=1)
    return lambda weights: resampled(weights, by_bucket)


def _sets(sums: PathSums) -> pd.DataFrame:
    if sums.sets is None and len(sums.channels) <= MOST_CHANNELS:
        raise ParameterError("model='shapley' needs the sets of channels on paths, which were not counted.")
    if sums.sets is None:
        raise ParameterError(
            f"model='shapley' with game='rate' takes at most {MOST_CHANNELS} channels, and there are "
            f"{len(sums.channels)}. Group them, or take game='conversions'."
        )
    return sums.sets


def _by_rule(sums: PathSums, rule: str, buckets: Whole) -> Floats:
    """(bucket, channel, 2): what a rule credits, as it was summed."""
    k, frame = len(sums.channels), sums.credits
    channel = frame["channel"].to_numpy(dtype=np.int64)
    if len(frame) and not ((channel >= 1) & (channel <= k)).all():
        raise ParameterError(f"credits: channels must be numbers from 1 to {k}, as in PathSums.")
    place = _rows(frame, buckets) * k + channel - 1
    amounts = frame[[rule, f"{rule}_value"]].to_numpy(dtype=float)
    columns = [np.bincount(place, column, minlength=len(buckets) * k) for column in amounts.T]
    found: Floats = np.column_stack(columns).reshape(len(buckets), k, 2).astype(float)
    return found


def _normalised(losses: Floats, totals: Floats) -> Floats:
    """Touched conversions and value in proportion to what the removal of each channel loses (replicate, channel, 2);
    ``losses`` has what a path has with all channels as its last row.
    """
    whole, losses = losses[:, -1], np.maximum(losses[:, :-1], [0.0, -np.inf])  # removal brings none, up to rounding
    sums = losses.sum(axis=1)
    shares = np.divide(losses, sums[:, None], out=np.zeros_like(losses), where=sums[:, None] != 0)
    # Every path with a conversion loses it to at least one removal, so that losses of values of 0 or more add to the
    # whole or more. Less: values below 0 cancel others, and to be divided by the rest would blow parts up.
    cancelled = np.abs(sums[:, 1]) < (1 - _EXACT) * np.abs(whole[:, 1])
    cancelled |= sums[:, 1] * whole[:, 1] <= 0
    shares[cancelled, :, 1] = shares[cancelled, :, 0]
    return shares * (totals[:, :2] - totals[:, 2:])[:, None]


def _dense(frame: pd.DataFrame, buckets: Whole, columns: Sequence[str]) -> Floats:
    found = np.zeros((len(buckets), len(columns)))
    np.add.at(found, _rows(frame, buckets), frame[list(columns)].to_numpy(dtype=float))
    return found


def _rows(frame: pd.DataFrame, buckets: Whole) -> Whole:
    """The place of each row's bucket among ``buckets``."""
    bucket = frame["bucket"].to_numpy()
    row = np.minimum(np.searchsorted(buckets, bucket), max(len(buckets) - 1, 0))
    if len(bucket) and (not len(buckets) or (buckets[row] != bucket).any()):
        raise ParameterError("Sums by bucket hold a bucket that the totals lack. Every bucket needs a row of totals.")
    return row.astype(np.int64)


def _complete(parts: Floats, totals: Floats) -> Floats:
    """With conversions without a touch as the last part."""
    return np.concatenate([parts, totals[:, None, 2:]], axis=1)


def _check_total(model: str, parts: Floats, totals: Floats) -> None:
    for column, name in enumerate(("conversions", "value")):
        found, whole = math.fsum(parts[:, column]), totals[column]
        if abs(found - whole) > _EXACT * max(1.0, np.abs(parts[:, column]).sum(), abs(whole)):
            raise ParameterError(
                f"model={shorten(repr(model))}: the parts have {found:,.6g} {name} in all, the totals {whole:,.6g}. "
                "Sums over paths and their totals must be of the same paths."
            )


def _table(
    channels: Sequence[str],
    model: str,
    estimate: Floats,
    drawn: Floats,
    totals: Floats,
    buckets: int,
    confidence: float,
) -> pd.DataFrame:
    """The rows of one model, from its parts (channels, overlap, unattributed) and their replicates."""
    k, total = len(channels), totals[0]
    names = [*channels, *([OVERLAP] if model == _OVERLAPPING else []), UNATTRIBUTED]
    few = -math.log1p(-confidence)  # 3 at 95 %: as many could be expected where none was seen
    columns: dict[str, Any] = {"channel": pd.Series(names, dtype=object), "model": model}
    # Each replicate is scaled to what was counted; one without any says nothing about the division.
    whole = drawn.sum(axis=1, keepdims=True)
    scaled = np.divide(drawn * totals[:2], whole, out=np.full_like(drawn, np.nan), where=whole > 0)
    for column, prefix in enumerate(("", "value_")):
        one = few if column == 0 else few * totals[1] / total if total else math.nan
        limits = []
        for place, name in enumerate(names):
            sign = -1.0 if name == OVERLAP else 1.0
            found = part_limits(
                sign * estimate[place, column],
                sign * scaled[:, place, column],
                totals[column],
                buckets=buckets,
                confidence=confidence,
                few=one,
                bounded=name != OVERLAP,
            )
            limits.append(sorted(sign * limit for limit in found))
        columns |= {"value" if prefix else "conversions": estimate[:, column]}
        columns |= {f"{prefix}ci_low": [low for low, _ in limits], f"{prefix}ci_high": [high for _, high in limits]}
    columns["share"] = estimate[:, 0] / total if total else np.nan
    rest = np.full(len(names) - k, np.nan)
    placed = ranks(estimate[:k, 0], total) if total else np.full(k, np.nan)
    steady = rank_stability(estimate[:k, 0], scaled[:, :k, 0], total) if total else np.full(k, np.nan)
    columns |= {"rank": np.concatenate([placed, rest]), "rank_stability": np.concatenate([steady, rest])}
    return pd.DataFrame(columns)[list(COLUMNS)]
