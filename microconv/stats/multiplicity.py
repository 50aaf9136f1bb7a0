"""Many questions at once: p-values adjusted so that chance alone does not make findings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._curves import Floats

__all__ = ["METHODS", "adjust_p_values"]

METHODS = ("bh", "holm", "bonferroni")


def adjust_p_values(p: npt.ArrayLike, method: str = "bh") -> Floats:
    """Which of many p-values still count once it is known how many were looked at?

    ``p`` holds one p-value per question; NaN (a question that could not be answered) stays NaN and is not counted.
    ``method``: ``"bh"`` (Benjamini and Hochberg 1995) bounds the expected share of false findings among the findings
    when the tests are independent or positively dependent; ``"holm"`` (Holm 1979) and ``"bonferroni"`` bound the
    chance of any false finding, whatever the dependence, and Holm's is never the larger of the two.

    Returns an array of the shape of ``p``: an adjusted value at or below q is a finding at level q. Raises
    ``ParameterError`` on an unknown method and on a value that is no probability. As R's ``p.adjust``.

    >>> adjust_p_values([0.01, 0.04, float("nan"), 0.03])
    array([0.03, 0.04,  nan, 0.04])
    >>> adjust_p_values([0.01, 0.04, float("nan"), 0.03], method="holm")
    array([0.03, 0.06,  nan, 0.06])
    """
    if method not in METHODS:
        raise ParameterError(unknown_name("method", method, METHODS))
    try:
        values = np.asarray(p, dtype=float)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"p={shorten(repr(p))} must hold numbers, NaN where there is none.") from error
    if ((values < 0) | (values > 1)).any():
        wrong = values[(values < 0) | (values > 1)].ravel()[0]
        raise ParameterError(f"p holds {wrong:g}, which is no p-value: it must lie between 0 and 1, or be NaN.")
    adjusted = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    adjusted[known] = _adjust(values[known], method)
    return adjusted


def _adjust(p: Floats, method: str) -> Floats:
    m = len(p)
    if method == "bonferroni":
        return np.minimum(p * m, 1.0)
    order = np.argsort(p, kind="stable")
    ascending, rank = p[order], np.arange(1, m + 1)
    if method == "holm":  # each as large as any before it
        steps = np.maximum.accumulate(ascending * (m - rank + 1))
    else:  # each as small as any after it
        steps = np.minimum.accumulate((ascending * m / rank)[::-1])[::-1]
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
