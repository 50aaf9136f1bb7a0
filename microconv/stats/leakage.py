"""Does a column know the outcome? How well it alone tells those who converted from the others, against what a strong
but honest predictor could do, and cells that are empty where they should not be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from microconv.errors import ParameterError, shorten
from microconv.stats._curves import Floats, z_value

__all__ = ["Separation", "honest_separation", "one_sided", "separation"]

# A cell that is (nearly) empty: at most this share of its margin ...
_WITHOUT = 0.01
# ... though many would be in it if the two had nothing to do with each other; ten times as many, and one.
_EXPECTED = 10


@dataclass(frozen=True)
class Separation:
    """``youden``: the share of converters beyond the best cut less that of the others (Youden's J, 0 to 1); ``low``:
    its lower limit; ``bar``: the most that an honest predictor could reach; ``area``: the chance that a converter ranks
    above another (area under the ROC curve; 0.5 tells nothing).
    """

    youden: float
    low: float
    bar: float
    area: float

    @property
    def leaks(self) -> bool:
        """Whether it separates better, beyond chance, than an honest predictor could."""
        return self.low > self.bar


def honest_separation(odds_ratio: float, *, graded: bool) -> float:
    """The largest Youden's J that a predictor of a given odds ratio can have, however frequent it is.

    Of a yes/no column: ``(sqrt(k) - 1) / (sqrt(k) + 1)``, where it is done by as many converters as left undone by the
    others. Of a ``graded`` one (normal among both, ``k`` per standard deviation): ``2 Phi(log(k) / 2) - 1``. Raises
    ``ParameterError`` unless ``odds_ratio`` is above 1.

    >>> round(honest_separation(10, graded=False), 3), round(honest_separation(10, graded=True), 3)
    (0.519, 0.75)
    """
    from scipy.special import ndtr

    if isinstance(odds_ratio, bool) or not isinstance(odds_ratio, int | float) or not 1 < odds_ratio < np.inf:
        raise ParameterError(
            f"honest_odds_ratio={shorten(repr(odds_ratio))} must be a number above 1: the strongest odds ratio that is "
            "taken for honest, such as 10."
        )
    if graded:
        return float(2 * ndtr(np.log(odds_ratio) / 2) - 1)
    root = np.sqrt(odds_ratio)
    return float((root - 1) / (root + 1))


def separation(
    converted: npt.ArrayLike,
    others: npt.ArrayLike,
    *,
    ordered: bool,
    honest_odds_ratio: float = 10.0,
    confidence: float = 0.95,
) -> Separation:
    """How well does one column alone tell those who converted from those who did not?

    ``converted`` and ``others``: how many of either have each level of the column; ``ordered``: levels are in order (a
    number's values), else they are put in order of the share that converted. The cut that separates best is taken, in
    either direction. With two levels the bar is that of a yes/no predictor, else of a graded one
    (``honest_separation``). The lower limit counts one success and one failure more in each group (Agresti and Caffo
    2000), so that few rows show nothing.

    Raises ``ParameterError`` where nobody, or everybody, converted. Youden (1950), Cancer 3.

    >>> found = separation([370, 1538], [9230, 1192], ordered=True)
    >>> round(found.youden, 2), found.leaks
    (0.69, True)
    """
    yes, no = _counts(converted), _counts(others)
    if yes.shape != no.shape or not yes.sum() or not no.sum():
        raise ParameterError("Both groups must have members, counted over the same levels: nothing can be separated.")
    kept = yes + no > 0
    yes, no = yes[kept], no[kept]
    if not ordered:
        order = np.argsort(yes / (yes + no), kind="stable")
        yes, no = yes[order], no[order]
    above = np.array([yes.sum() - np.cumsum(yes), no.sum() - np.cumsum(no)])[:, :-1]
    size = np.array([yes.sum(), no.sum()])
    bar = honest_separation(honest_odds_ratio, graded=len(yes) > 2)
    if not above.shape[1]:
        return Separation(0.0, -1.0, bar, 0.5)
    apart = above[0] / size[0] - above[1] / size[1]
    best = int(np.argmax(np.abs(apart)))
    share = (above[:, best] + 1) / (size + 2)
    error = float(np.sqrt((share * (1 - share) / (size + 2)).sum()))
    low = abs(share[0] - share[1]) - z_value(confidence) * error
    area = float((no * (np.append(above[0], 0.0) + yes / 2)).sum() / size.prod())
    return Separation(float(abs(apart[best])), float(low), bar, area)


def one_sided(done_converted: float, done_others: float, converted: float, others: float) -> str:
    """Is a cell of micro by outcome empty that should not be?

    ``"done converts"``: who does it converts, (nearly) without exception. ``"undone converts"``: who does not, does.
    ``"no conversion without"``: conversions come with it only. ``"no conversion with"``: conversions come without it
    only. ``""``: none. Nearly empty is at most 1% of its row or column, where at least ten times as many (and ten) were
    to be expected if the two had nothing to do with each other.
    """
    cells = np.array([[done_converted, done_others], [converted, others]], dtype=float)
    rows, columns, total = cells.sum(axis=1), cells.sum(axis=0), cells.sum()
    if not total:
        return ""
    names = {
        (0, 1): ("done converts", rows[0]),
        (1, 1): ("undone converts", rows[1]),
        (1, 0): ("no conversion without", columns[0]),
        (0, 0): ("no conversion with", columns[0]),
    }
    for (i, j), (name, whole) in names.items():
        expected = rows[i] * columns[j] / total
        if expected >= _EXPECTED * (cells[i, j] + 1) and cells[i, j] <= _WITHOUT * whole:
            return name
    return ""


def _counts(values: npt.ArrayLike) -> Floats:
    found = np.asarray(values, dtype=float).reshape(-1)
    if not (found >= 0).all():
        raise ParameterError("Counts by level must be numbers of 0 or more.")
    return found
