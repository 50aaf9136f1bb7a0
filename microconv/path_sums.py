"""Sums over paths of touches: what every attribution model but the hazards needs, by bucket of users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from microconv.errors import ParameterError

__all__ = ["BUCKETS", "CONVERSION", "NULL", "RESERVED", "START", "PathSums", "refuse_reserved"]

BUCKETS = 256  # groups of users by hash, from which intervals are resampled
# States of the chain that are no channels: where every path starts, and how it ends.
START, CONVERSION, NULL = 0, -1, -2
# Names of rows that are no channels.
RESERVED = (
    "(unattributed)", "(overlap)", "(baseline)", "(random)", "(total)", "(start)", "(conversion)", "(null)",
)  # fmt: skip


def refuse_reserved(channels: Iterable[str]) -> None:
    """Raise ``ParameterError`` for a channel that has the name of a row that is none."""
    clash = sorted(set(channels) & set(RESERVED))
    if clash:
        raise ParameterError(
            f"The channel {clash[0]!r} has the name of a row of the results that is no channel. Rename it when reading."
        )


@dataclass(frozen=True, eq=False)
class PathSums:
    """Paths of touches, summed. Channels are numbered from 1 in the order of ``channels``; ``bucket`` is a group of
    users (0 throughout where paths were aggregated before); ``value`` is money.

    * ``totals``: a row per bucket: ``conversions, value`` (of all conversions), ``untouched, untouched_value`` (those
      of them without a touch), ``nulls`` (paths that ended without a conversion), ``censored`` (paths whose time is not
      up: in no other sum).
    * ``credits``: ``bucket, channel`` and, by rule, what the channel gets: ``<rule>`` conversions and ``<rule>_value``.
    * ``transitions``: by order of the chain: ``bucket, source, target, paths, value``. The state after the touches
      ..., b, a (a the last) is ``a + b * base + ...`` with ``base`` the number of channels + 1, over the last
      ``order`` touches: touches before the first count as 0, so that a path begins in ``START``. ``target`` is a state,
      ``CONVERSION`` (``value``: of these conversions) or ``NULL``. Paths without a touch are left out.
    * ``sets``: ``bucket, members`` (bit ``channel - 1`` is set for each channel on the path), ``conversions, value,
      nulls``.
    * ``touches``: ``bucket, channel, touches`` on converted and null paths.
    """

    channels: tuple[str, ...]
    totals: pd.DataFrame
    credits: pd.DataFrame
    transitions: Mapping[int, pd.DataFrame] = field(default_factory=dict)
    sets: pd.DataFrame | None = None
    touches: pd.DataFrame | None = None

    @property
    def base(self) -> int:
        """What a state's digits are counted in."""
        return len(self.channels) + 1
