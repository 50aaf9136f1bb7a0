"""Changes of paths before they are divided, as a caller names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from microconv.errors import ParameterError, shorten, unknown_name

__all__ = ["TRANSFORMS", "Transform", "checked_transforms", "uncounted"]

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


def uncounted(channel: str) -> str:
    """A channel without the count that ``frequency`` gives it.

    >>> uncounted("direct(2)"), uncounted("direct")
    ('direct', 'direct')
    """
    return re.sub(r"\(\d+\)$", "", channel)
