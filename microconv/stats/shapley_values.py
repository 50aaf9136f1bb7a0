"""Shapley's value of channels, from counts of paths by the set of channels on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats.path_chain import channel_names

__all__ = ["FEWEST", "MOST_CHANNELS", "set_credits", "set_rate_credits", "shapley", "thin_channels"]

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

GAMES = ("conversions", "rate")
MOST_CHANNELS = 16  # a game by rate has a worth for each set of channels: 65,536
FEWEST = 10  # conversions of a channel on its own, below which its rate has no interval worth the name
_BITS = 62
_AMOUNTS = ("conversions", "value", "nulls")
_CHUNK = 4_000_000  # numbers that are held at once while replicates are divided


def shapley(set_counts: pd.DataFrame, channels: Sequence[str], game: str = "conversions") -> pd.DataFrame:
    """How Shapley's value divides conversions, and their value, among channels: exact.

    ``set_counts``: a row per set of channels, ``members`` (whole numbers: bit ``i`` is set where the path has
    ``channels[i]``, from bit 0), ``conversions, value, nulls`` (paths that ended without a conversion), as
    ``PathSums.sets``; sets that occur twice are added.

    * ``game="conversions"``: the worth of a set of channels is the conversions (value) of all paths with no other
      channel. Its Shapley value gives every channel of a path an equal part: it is ``linear_unique``.
    * ``game="rate"``: the conversion rate (value per path) of the paths with no other channel, 0 where there is no such
      path, times the number of all paths. A channel whose paths convert less often than others takes away: its part can
      be negative. At most 16 channels.

    Returns ``channel, conversions, value``; columns add to the conversions, and value, of all sets with a channel.
    Raises ``ParameterError``. Shapley 1953.

    >>> counts = pd.DataFrame({"members": [1, 3], "conversions": [2, 4], "value": [20.0, 80.0], "nulls": [8, 0]})
    >>> shapley(counts, ["ad", "mail"])
      channel  conversions  value
    0      ad          4.0   60.0
    1    mail          2.0   40.0
    """
    if game not in GAMES:
        raise ParameterError(unknown_name("game", game, GAMES))
    names = channel_names(channels)
    everybody = np.zeros(len(set_counts), dtype=np.int64)
    if game == "conversions":
        credits = set_credits(set_counts, len(names), everybody, 1)[0]
    else:
        credits = set_rate_credits(set_counts, len(names), everybody, np.ones((1, 1)))[0]
    return pd.DataFrame(
        {"channel": pd.Series(names, dtype=object), "conversions": credits[:, 0], "value": credits[:, 1]}
    )


def set_credits(sets: pd.DataFrame, channels: int, row: Whole, rows: int) -> Floats:
    """The game of conversions: (bucket, channel, 2), conversions and value; ``row`` is the bucket of each set."""
    members, amounts = _checked(sets, channels)
    found = np.zeros((rows, channels, 2))
    share = 1 / np.bitwise_count(members).astype(float)
    for channel in range(channels):
        has = (members >> channel & 1) * share
        for column in range(2):
            found[:, channel, column] = np.bincount(row, has * amounts[:, column], minlength=rows)
    return found


def set_rate_credits(sets: pd.DataFrame, channels: int, row: Whole, weights: Floats) -> Floats:
    """The game of rates: (replicate, channel, 2), conversions and value, for each row of ``weights`` over buckets."""
    from scipy.sparse import coo_array

    members, amounts = _checked(sets, channels)
    counted = amounts[:, [0, 2]].sum(axis=1) > 0
    seen = [channel for channel in range(channels) if (members[counted] >> channel & 1).any()]
    if len(seen) > MOST_CHANNELS:
        raise ParameterError(
            f"game='rate' has a worth for every set of channels, and there are {len(seen)} channels: at most "
            f"{MOST_CHANNELS}. Group channels, or take game='conversions', which needs no such list."
        )
    # Channels that are on no path get nothing; the others are numbered anew, without gaps.
    local = np.zeros(len(members), dtype=np.int64)
    for place, channel in enumerate(seen):
        local |= (members >> channel & 1) << place
    subsets = 1 << len(seen)
    table = np.column_stack([amounts[:, 0], amounts[:, 1], amounts[:, 0] + amounts[:, 2]])
    shape = (weights.shape[1], subsets)
    by_bucket = [coo_array((column, (row, local)), shape=shape).tocsr() for column in table.T]
    marginal = _marginal_weights(len(seen))
    found = np.zeros((len(weights), channels, 2))
    step = max(1, _CHUNK // (3 * subsets))
    for begin in range(0, len(weights), step):
        part = weights[begin : begin + step]
        within = np.stack([_over_subsets(part @ counts) for counts in by_bucket])
        paths = within[2]
        worth = np.divide(within[:2], paths, out=np.zeros_like(within[:2]), where=paths > 0) * paths[:, -1:]
        found[begin : begin + step, seen] = np.moveaxis(worth @ marginal, 0, -1)
    return found


def thin_channels(sets: pd.DataFrame, channels: int) -> list[int]:
    """The channels (from 0) of which fewer than ``FEWEST`` conversions come on paths with no other channel: the rates
    that the game of rates rests on are then hardly known, and replicates show too little of that.
    """
    members, amounts = _checked(sets, channels)
    own = [amounts[members == 1 << channel, 0].sum() for channel in range(channels)]
    seen = [bool((members >> channel & 1).any()) for channel in range(channels)]
    return [channel for channel in range(channels) if seen[channel] and own[channel] < FEWEST]


def _over_subsets(counts: Floats) -> Floats:
    """For every set (column) the sum over its subsets."""
    found = np.array(counts)
    size = found.shape[1]
    half = 1
    while half < size:
        pairs = found.reshape(len(found), -1, 2, half)
        pairs[:, :, 1] += pairs[:, :, 0]
        half *= 2
    return found


def _marginal_weights(channels: int) -> Floats:
    """(set, channel): how often the worth of a set counts in the value of a channel, over all orders of arrival."""
    subsets = np.arange(1 << channels)
    size = np.bitwise_count(subsets)
    orders = math.factorial(channels)
    arrival = [math.factorial(k) * math.factorial(channels - k - 1) / orders for k in range(channels)]
    ahead = np.array([*arrival, 0.0])  # the channel comes next to a set of this size that lacks it
    inside = subsets[:, None] >> np.arange(channels) & 1
    return np.where(inside == 1, np.array([0.0, *arrival])[size, None], -ahead[size, None])


def _checked(sets: pd.DataFrame, channels: int) -> tuple[Whole, Floats]:
    """Members as bits, and conversions, value and nulls."""
    for name in ("members", *_AMOUNTS):
        if name not in sets.columns:
            raise ParameterError(unknown_name("column of the sets", name, sets.columns))
    if channels > _BITS:
        raise ParameterError(f"Sets are counted for at most {_BITS} channels, not {channels}. Group channels.")
    members = sets["members"].to_numpy()
    amounts = sets[list(_AMOUNTS)].to_numpy(dtype=float)
    if len(members) and not np.issubdtype(members.dtype, np.integer):
        raise ParameterError(f"sets: 'members' must hold whole numbers, a bit for each channel, not {members.dtype}.")
    members = members.astype(np.int64)
    wrong = (members < 1) | (members >= 1 << channels) | ~np.isfinite(amounts).all(axis=1)
    wrong |= (amounts[:, [0, 2]] < 0).any(axis=1)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ParameterError(
            f"sets: row {at} ({shorten(sets.iloc[at].to_dict())}) is none: members are bits of {channels} channels (at "
            "least one), counts are 0 or more and values finite."
        )
    return members, amounts
