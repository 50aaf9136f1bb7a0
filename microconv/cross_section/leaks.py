"""Which columns know the outcome: made of it, or filled in after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from microconv.stats.leakage import Separation, one_sided, separation

if TYPE_CHECKING:
    from microconv.reduce.cross_section import Levels
    from microconv.stats._curves import Floats

__all__ = ["Verdict", "of_cells", "of_column"]

_MADE = "it is made of the outcome, or comes after it"
_CELLS = {
    "done converts": f"(nearly) every row with it has converted: {_MADE}",
    "undone converts": f"(nearly) every row without it has converted: {_MADE}",
    "no conversion without": "(nearly) no row without it has converted: a step that every conversion passes",
    "no conversion with": "(nearly) no row with it has converted: conversions come without it",
}


@dataclass(frozen=True)
class Verdict:
    """What a column, read in one way (``cut``), gives away of the outcome. ``cell`` is ``stats.leakage.one_sided``."""

    cut: str
    apart: Separation
    cell: str = ""

    @property
    def leaks(self) -> bool:
        """Whether it tells more than what was done before the end of a session could."""
        return self.apart.leaks or self.cell in ("done converts", "undone converts")

    @property
    def structural(self) -> bool:
        """Whether conversions come with it only, or without it only."""
        return not self.leaks and bool(self.cell)

    @property
    def why(self) -> str:
        """The same in words; "" where nothing is given away."""
        if self.apart.leaks:
            return (
                f"{self.cut}, it tells converters from others better (Youden's J {self.apart.youden:.2f}) than an "
                f"honest predictor could (at most {self.apart.bar:.2f}): {_MADE}"
            )
        return _CELLS.get(self.cell, "")


def of_cells(
    done: tuple[float, float], undone: tuple[float, float], honest: float, confidence: float, cut: str = "read as done"
) -> Verdict:
    """The verdict on what is done or not: converted and others among rows with it, and among rows without it."""
    apart = separation(
        [undone[0], done[0]], [undone[1], done[1]], ordered=True, honest_odds_ratio=honest, confidence=confidence
    )
    return Verdict(cut, apart, one_sided(*done, *undone))


def of_column(levels: Levels, honest: float, confidence: float) -> Verdict:
    """The verdict on a column in the reading that gives most away."""
    found = list(_readings(levels, honest, confidence))
    return max(found, key=lambda one: (one.leaks, one.apart.low - one.apart.bar))


def _readings(levels: Levels, honest: float, confidence: float) -> Iterator[Verdict]:
    yes, no = (levels.frame[name].to_numpy(dtype=float) for name in ("converted", "others"))
    if levels.missing:
        known = np.arange(len(yes)) < len(yes) - 1
        yield _as_done(yes, no, known, "read as not missing", honest, confidence)
    if levels.kind == "number":
        # What is missing comes first, as if it were least.
        order = np.roll(np.arange(len(yes)), 1) if levels.missing else np.arange(len(yes))
        apart = separation(yes[order], no[order], ordered=True, honest_odds_ratio=honest, confidence=confidence)
        yield Verdict("at its best cut", apart)
        # Zero is "not done" only of a number that counts or measures what was done.
        if not (levels.frame["smallest"] < 0).any():
            yield _as_done(yes, no, levels.positive, "read as above zero", honest, confidence)
        return
    apart = separation(yes, no, ordered=False, honest_odds_ratio=honest, confidence=confidence)
    yield Verdict("by its levels", apart)
    for place in range(len(yes)):
        one = _as_done(yes, no, np.arange(len(yes)) == place, "by one of its levels", honest, confidence)
        if one.cell == "done converts":
            yield one


def _as_done(yes: Floats, no: Floats, done: np.ndarray, cut: str, honest: float, confidence: float) -> Verdict:
    with_it, without = (yes[done].sum(), no[done].sum()), (yes[~done].sum(), no[~done].sum())
    return of_cells(with_it, without, honest, confidence, cut)
