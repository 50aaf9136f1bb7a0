"""PathTable: paths that somebody already aggregated, ready for the models of attribution."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.path_changes import checked_transforms, uncounted
from microconv.path_sums import CONVERSION, NULL, START, PathSums, refuse_reserved

__all__ = ["PathTable", "kept", "rule_shares"]

Path = tuple[str, ...]
_COUNTS = ("conversions", "value", "nulls")
_MOST_TOLD = 5
_MOST_IN_SETS = 62


@dataclass(frozen=True, eq=False)
class PathTable:
    """Paths of touches with their counts: ``frame`` has a row per path: ``path`` (a tuple of channels, in order;
    empty: no touch), ``conversions, value`` (of them all) and ``nulls`` (such paths without a conversion).
    """

    frame: pd.DataFrame
    with_value: bool
    with_nulls: bool

    @classmethod
    def from_paths(
        cls,
        frame: pd.DataFrame,
        path_col: str = "path",
        conversions_col: str = "conversions",
        value_col: str | None = None,
        null_col: str | None = None,
        sep: str = " > ",
    ) -> PathTable:
        """Read paths from a frame; rows of the same path are added up.

        ``path_col``: text with ``sep`` between channels, or lists of channels; empty is a path without a touch. Counts
        may be fractions. ``value_col``: money of all conversions of the row; ``null_col``: paths without a conversion.

        Raises ``ParameterError`` that names the rows of negative or missing counts and of blank channels.

        >>> import pandas as pd
        >>> frame = pd.DataFrame({"path": ["ad > mail", "mail", "ad > mail"], "conversions": [1, 2, 3]})
        >>> PathTable.from_paths(frame).frame[["path", "conversions"]].values.tolist()
        [[('ad', 'mail'), 4.0], [('mail',), 2.0]]
        """
        named = {"conversions": conversions_col, "value": value_col, "nulls": null_col}
        for column in (path_col, *[name for name in named.values() if name is not None]):
            if column not in frame.columns:
                raise ParameterError(unknown_name("column of the paths", column, map(str, frame.columns)))
        if not isinstance(sep, str) or not sep.strip():
            raise ParameterError(
                f"sep={shorten(repr(sep))} must be text with a sign that no channel has, such as ' > '."
            )
        given = list(frame[path_col])
        _refuse(
            [not _is_path(path) for path in given],
            frame[path_col],
            "are no paths",
            "Write text, or a list of channels; empty text for no touch.",
        )
        paths = [_split(path, sep) for path in given]
        _refuse(
            [not all(path) for path in paths], frame[path_col], "hold a blank channel", f"Write names between {sep!r}."
        )
        refuse_reserved(channel for path in paths for channel in path)
        counts = {
            name: _counts(frame[column], column, name) if column is not None else np.zeros(len(frame))
            for name, column in named.items()
        }
        _refuse(
            (counts["conversions"] == 0) & (counts["value"] != 0),
            frame[path_col],
            "have a value and no conversion",
            "Money of paths is that of their conversions.",
        )
        rows: dict[Path, list[float]] = defaultdict(lambda: [0.0] * len(_COUNTS))
        for path, *amounts in zip(paths, *counts.values(), strict=True):
            rows[path] = [old + float(new) for old, new in zip(rows[path], amounts, strict=True)]
        return cls(_frame(rows), value_col is not None, null_col is not None)

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels, by name."""
        return tuple(sorted({channel for path in self.frame["path"] for channel in path}))

    def transformed(self, *transforms: str | tuple[Any, ...]) -> PathTable:
        """The same after changes of each path, in order: see ``mc.attribution``. Raises ``ParameterError``."""
        changes = checked_transforms(transforms)
        rows: dict[Path, list[float]] = defaultdict(lambda: [0.0] * len(_COUNTS))
        for path, amounts in self._rows():
            changed = path
            for name, *takes in changes:
                changed = tuple(channel for _, channel in kept(str(name), changed, takes))
            if not changed and path:  # without a touch left, a path that ended without a conversion is none
                amounts = [*amounts[:2], 0.0]
            rows[changed] = [old + new for old, new in zip(rows[changed], amounts, strict=True)]
        return PathTable(_frame(rows), self.with_value, self.with_nulls)

    def sums(
        self,
        rules: Sequence[str] = (),
        orders: Sequence[int] = (),
        *,
        direct: Sequence[str] = (),
        position: tuple[float, float, float] = (0.4, 0.2, 0.4),
    ) -> PathSums:
        """What the models are computed from, in one bucket. Raises ``ParameterError`` for rules that need times."""
        for rule in rules:
            if rule not in _RULES:
                raise ParameterError(
                    f"model={rule!r} needs the times of touches, which aggregated paths have not. Give the events."
                )
        channels = self.channels
        number = {name: place + 1 for place, name in enumerate(channels)}
        totals = np.zeros(5)
        credits: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(2 * len(rules)))
        steps: dict[int, dict[tuple[int, int], np.ndarray]] = {o: defaultdict(lambda: np.zeros(2)) for o in orders}
        sets: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(3))
        touches: dict[int, float] = defaultdict(float)
        for path, (conversions, value, nulls) in self._rows():
            totals[:2] += conversions, value
            if not path:
                totals[2:4] += conversions, value
                continue
            totals[4] += nulls
            codes = [number[name] for name in path]
            for place, rule in enumerate(rules):
                for code, part in zip(codes, rule_shares(rule, path, direct, position), strict=True):
                    credits[code][2 * place : 2 * place + 2] += part * conversions, part * value
            for order, found in steps.items():
                _follow(found, codes, order, len(channels) + 1, (conversions, value, nulls))
            members = sum(1 << (code - 1) for code in set(codes)) if len(channels) <= _MOST_IN_SETS else 0
            sets[members] += conversions, value, nulls
            for code in codes:
                touches[code] += conversions + nulls
        names = ["conversions", "value", "untouched", "untouched_value", "nulls"]
        total = pd.DataFrame([totals], columns=names).assign(bucket=0, censored=0)
        parts = [name for rule in rules for name in (rule, f"{rule}_value")]
        return PathSums(
            channels=channels,
            totals=total[["bucket", *names, "censored"]],
            credits=_keyed(credits, ["channel"], parts),
            transitions={
                order: _keyed(found, ["source", "target"], ["paths", "value"]) for order, found in steps.items()
            },
            sets=_keyed(sets, ["members"], list(_COUNTS)) if len(channels) <= _MOST_IN_SETS else None,
            touches=_keyed({code: np.array([many]) for code, many in touches.items()}, ["channel"], ["touches"]),
        )

    def _rows(self) -> Iterator[tuple[Path, list[float]]]:
        columns = self.frame[list(_COUNTS)].to_numpy(dtype=float)
        for path, amounts in zip(self.frame["path"], columns, strict=True):
            yield path, list(amounts)


def rule_shares(
    rule: str, path: Path, direct: Sequence[str] = (), position: tuple[float, float, float] = (0.4, 0.2, 0.4)
) -> list[float]:
    """What a rule that needs no times gives to each touch of a path that is not empty."""
    return _RULES[rule](path, direct, position)


def kept(transform: str, path: Path, takes: Sequence[Any]) -> list[tuple[int, str]]:
    """The touches that a transform keeps: where they stood on the path, and how they are named then."""
    places = _KEPT[transform](path, takes)
    if transform == "frequency":
        return [(place, f"{path[place]}({path.count(path[place])})") for place in places]
    return [(place, path[place]) for place in places]


def _is_path(path: Any) -> bool:
    """Text, channels in their order, or missing."""
    if isinstance(path, str | Sequence | np.ndarray):
        return not isinstance(path, bytes)
    return bool(pd.isna(path)) if pd.api.types.is_scalar(path) else False


def _split(path: Any, sep: str) -> Path:
    if isinstance(path, str):
        # With blanks around the sign, only a sign that stands alone is one: "a>b > c" are two channels.
        alone = rf"(?<!\S){re.escape(sep.strip())}(?!\S)" if sep != sep.strip() else re.escape(sep)
        return tuple(part.strip() for part in re.split(alone, path)) if path.strip() else ()
    if isinstance(path, Sequence | np.ndarray):
        return tuple("" if pd.isna(part) else str(part).strip() for part in path)
    return ()  # missing


def _counts(column: pd.Series, name: str, kind: str) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    _refuse(~np.isfinite(numbers), column, f"have no number in {name!r}", "Write 0 for none.")
    if kind != "value":
        _refuse(numbers < 0, column, f"are below 0 in {name!r}", "Counts of paths are 0 or more.")
    return np.asarray(numbers)


def _refuse(wrong: Sequence[bool] | np.ndarray, column: pd.Series, what: str, mend: str) -> None:
    rows = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if len(rows):
        listed = ", ".join(f"{row} ({shorten(repr(str(column.iloc[row])), 40)})" for row in rows[:_MOST_TOLD])
        more = f" and {len(rows) - _MOST_TOLD} more" if len(rows) > _MOST_TOLD else ""
        raise ParameterError(f"Rows {listed}{more} of the paths {what} (rows count from 0). {mend}")


def _frame(rows: dict[Path, list[float]]) -> pd.DataFrame:
    ordered = sorted(rows)
    counts = np.array([rows[path] for path in ordered], dtype=float).reshape(-1, len(_COUNTS))
    frame = pd.DataFrame(counts, columns=list(_COUNTS))
    frame.insert(0, "path", pd.Series(ordered, dtype=object))
    return frame


def _keyed(rows: dict[Any, np.ndarray], keys: list[str], columns: list[str]) -> pd.DataFrame:
    ordered = sorted(rows)
    found = pd.DataFrame(np.array(ordered, dtype="int64").reshape(-1, len(keys)), columns=keys)
    amounts = np.array([rows[key] for key in ordered], dtype=float).reshape(len(ordered), len(columns))
    found.insert(0, "bucket", 0)
    return pd.concat([found, pd.DataFrame(amounts, columns=columns)], axis=1)


def _follow(
    found: dict[tuple[int, int], np.ndarray],
    codes: list[int],
    order: int,
    base: int,
    amounts: tuple[float, float, float],
) -> None:
    """Add the steps of a path to a chain of ``order``."""
    conversions, value, nulls = amounts
    states = [START]
    for end in range(1, len(codes) + 1):
        states.append(sum(code * base**back for back, code in enumerate(reversed(codes[max(0, end - order) : end]))))
    for step in pairwise(states):
        found[step] += conversions + nulls, 0.0
    found[states[-1], CONVERSION] += conversions, value
    found[states[-1], NULL] += nulls, 0.0


def _one(place: int, n: int) -> list[float]:
    return [1.0 if i == place else 0.0 for i in range(n)]


def _not_direct(path: Path, direct: Sequence[str]) -> list[float]:
    others = [place for place, name in enumerate(path) if not {name, uncounted(name)} & {*direct}]
    return _one(others[-1] if others else len(path) - 1, len(path))


def _unique(path: Path) -> list[float]:
    firsts = set(_firsts(path))
    return [1.0 if place in firsts else 0.0 for place in range(len(path))]


def _by_position(n: int, position: tuple[float, float, float]) -> list[float]:
    first, middle, last = position
    weights = [1.0] if n == 1 else [first, *[middle / max(n - 2, 1)] * (n - 2), last]
    return [weight / sum(weights) for weight in weights] if sum(weights) else [1 / n] * n


Position = tuple[float, float, float]
_RULES: dict[str, Callable[[Path, Sequence[str], Position], list[float]]] = {
    "first": lambda path, direct, position: _one(0, len(path)),
    "last": lambda path, direct, position: _one(len(path) - 1, len(path)),
    "last_non_direct": lambda path, direct, position: _not_direct(path, direct),
    "linear": lambda path, direct, position: [1 / len(path)] * len(path),
    "linear_unique": lambda path, direct, position: [part / len(set(path)) for part in _unique(path)],
    "position": lambda path, direct, position: _by_position(len(path), position),
    "any_touch": lambda path, direct, position: _unique(path),
}
# Which touches of a path a change of it keeps.
_KEPT: dict[str, Callable[[Path, Sequence[Any]], Sequence[int]]] = {
    "exposure": lambda path, takes: [i for i, name in enumerate(path) if not i or name != path[i - 1]],
    "unique": lambda path, takes: _firsts(path),
    "first": lambda path, takes: range(len(path[:1])),
    "frequency": lambda path, takes: _firsts(path),
    "drop": lambda path, takes: [i for i, name in enumerate(path) if name not in takes],
    "drop_if_last": lambda path, takes: range(_last_other(path, takes)),
    "keep_last": lambda path, takes: range(len(path))[-int(takes[0]) :],
}


def _firsts(path: Path) -> list[int]:
    """Where each channel stands first."""
    return [place for place, name in enumerate(path) if name not in path[:place]]


def _last_other(path: Path, takes: Sequence[Any]) -> int:
    """Where a path ends when channels at its end are left out; the whole where there is no other channel."""
    others = [place for place, name in enumerate(path) if name not in takes]
    return others[-1] + 1 if others else len(path)
