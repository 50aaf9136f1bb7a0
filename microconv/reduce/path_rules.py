"""What makes a path of touches: which events count, how far back, how paths are cut and changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.plan import Item
from microconv.reduce.money import RevenueTerms

__all__ = ["RULES", "TRANSFORMS", "PathRule", "Transform", "checked_transforms"]

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
Transform: TypeAlias = str | tuple[str | int, ...]
# Changes of a path, with what they take.
TRANSFORMS = {
    "exposure": "nothing",
    "unique": "nothing",
    "first": "nothing",
    "frequency": "nothing",
    "drop": "channels",
    "drop_if_last": "channels",
    "keep_last": "a number",
}
_TAKING = tuple(name for name, takes in TRANSFORMS.items() if takes != "nothing")


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


def checked_transforms(given: Transform | Sequence[Transform]) -> tuple[tuple[str | int, ...], ...]:
    """Transforms as tuples of a name and what it takes. Raises ``ParameterError``.

    >>> checked_transforms(["exposure", ("drop", "direct"), ("keep_last", 3)])
    (('exposure',), ('drop', 'direct'), ('keep_last', 3))
    """
    alone = isinstance(given, str) or (isinstance(given, tuple) and len(given) > 1 and given[0] in _TAKING)
    return tuple(_checked(one) for one in ([given] if alone else given))


def _checked(one: Any) -> tuple[str | int, ...]:
    name, *rest = (one,) if isinstance(one, str) else tuple(one)
    if name not in TRANSFORMS:
        raise ParameterError(unknown_name("transform", name, TRANSFORMS))
    takes = TRANSFORMS[str(name)]
    whole = len(rest) == 1 and isinstance(rest[0], int) and not isinstance(rest[0], bool) and rest[0] >= 1
    fits = {
        "nothing": not rest,
        "channels": bool(rest) and all(isinstance(each, str) for each in rest),
        "a number": whole,
    }[takes]
    if not fits:
        example = {
            "nothing": repr(name),
            "channels": f"({name!r}, 'direct')",
            "a number": f"({name!r}, 3)",
        }[takes]
        raise ParameterError(f"transform {shorten(repr(one))} takes {takes}: write {example}.")
    return (str(name), *rest)
