"""What makes a path of touches: which events count, how far back, how paths are cut and changed."""

from __future__ import annotations

from dataclasses import dataclass

from microconv.plan import Item
from microconv.reduce.money import RevenueTerms

__all__ = ["RULES", "PathRule"]

# Rules that divide each conversion on its own.
RULES = (
    "first",
    "last",
    "last_non_direct",
    "linear",
    "linear_unique",
    "position",
    "time_decay",
    "time_decay_steps",
    "any_touch",
)


@dataclass(frozen=True)
class PathRule:
    """How paths are made. Times are in microseconds.

    * ``target``: each of its events is a conversion (``repeat="first"``: the first of each user). ``touch``: events
      that may be touches (None: all but the target), if they carry a ``channel`` (``"ga4"``: GA4's default groups).
    * ``lookback``: how far before a conversion a touch counts, both ends included (None: no limit). ``reset``: a touch
      belongs to the next conversion only. ``reverse``: touches of one instant in the order of names from z to a.
    * ``transforms``: changes of each path, in order. ``direct, position, half_life``: of the rules of that name.
    * ``terms``: how money is counted (None: it is not); ``worth``: whose money (None: the target's own), up to
      ``worth_within`` after the conversion.
    """

    target: Item
    touch: Item | None = None
    channel: str = "channel"
    lookback: int | None = None
    reset: bool = True
    repeat: str = "each"
    reverse: bool = False
    transforms: tuple[tuple[str | int, ...], ...] = ()
    direct: tuple[str, ...] = ()
    position: tuple[float, float, float] = (0.4, 0.2, 0.4)
    half_life: int = 7 * 86_400_000_000
    terms: RevenueTerms | None = None
    worth: Item | None = None
    worth_within: int | None = None
