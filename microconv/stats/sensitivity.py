"""How strong a trait that the log does not show would have to be to explain an effect, and what it could make of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten
from microconv.stats._curves import Floats, z_value

if TYPE_CHECKING:
    from microconv.stats.effects import Effect

__all__ = [
    "STRENGTHS",
    "bounding_factor",
    "confounded_effect",
    "confounding_statement",
    "e_value",
    "hidden_confounding",
]

STRENGTHS = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
_BOUNDLESS = 1e9  # a factor that leaves nothing certain, yet can be squared

Strengths = Iterable[float | tuple[float, float]]


def e_value(risk_ratio: float, low: float = np.nan, high: float = np.nan) -> tuple[float, float]:
    """How strong must a hidden confounder be to explain a ratio of chances away, and to make its interval include 1?

    ``risk_ratio`` is of chances within the horizon (never of hazards or odds); ``low`` and ``high`` its interval.
    Returns the two E-values: of the estimate, and of the interval's limit nearest 1 (1 where the interval includes 1;
    NaN without an interval). A confounder must be that many times as frequent among those who do the micro as among
    others (or the other way round), **and** raise the chance of the macro that many times, both beyond what is adjusted
    for; one that is weaker in both cannot explain it. A ratio below 1 is turned round first. A ratio of 0 or infinity
    has an infinite E-value; NaN has none.

    Raises ``ParameterError`` on a negative ratio, and on an interval that does not hold it. VanderWeele and Ding
    (2017), Annals of Internal Medicine 167.

    >>> point, limit = e_value(3.9, 1.8, 8.7)
    >>> round(point, 3), round(limit, 3)
    (7.263, 3.0)
    """
    ratio, low, high = _interval(risk_ratio, low, high)
    if np.isnan(ratio):
        return np.nan, np.nan
    nearest = low if ratio >= 1 else high
    if np.isnan(nearest):
        limit = np.nan
    elif low <= 1 <= high:
        limit = 1.0
    else:
        limit = _strength(nearest)
    return _strength(ratio), limit


def bounding_factor(with_micro: npt.ArrayLike, with_macro: npt.ArrayLike) -> Any:
    """By how much, at most, can a hidden confounder of given strength bend a ratio of chances?

    ``with_micro``: the largest ratio, over the confounder's levels, of its frequency among doers to that among others
    (RR_EU); ``with_macro``: the largest ratio of the chances of the macro between its levels (RR_UD); both within the
    strata of what is adjusted for; numbers or arrays, 1 or more, possibly infinite. The true ratio is at least
    ``observed / factor``; at most ``observed * factor``, where ``with_micro`` bounds the frequency of others to doers.
    It holds for the effect among the doers, and for ratios of mean revenue if ``with_macro`` is one of those.

    Raises ``ParameterError`` below 1. Ding and VanderWeele (2016), Epidemiology 27.

    >>> round(bounding_factor(2, 2), 4)
    1.3333
    """
    a, b = np.broadcast_arrays(np.asarray(with_micro, dtype=float), np.asarray(with_macro, dtype=float))
    for name, values in (("with_micro", a), ("with_macro", b)):
        wrong = values[~(values >= 1)]  # NaN is wrong too
        if wrong.size:
            raise ParameterError(
                f"{name}={wrong.ravel()[0]:g} is no strength: it is a ratio of 1 (no confounding) or more. Turn a "
                "ratio below 1 round: 0.5 is as strong as 2."
            )
    # Where one is infinite, the other is the limit.
    with np.errstate(invalid="ignore"):
        factor = np.where(np.isinf(a) | np.isinf(b), np.minimum(a, b), a * b / (a + b - 1))
    return factor if factor.ndim else float(factor)


def hidden_confounding(
    risk_ratio: float, low: float = np.nan, high: float = np.nan, strengths: Strengths = STRENGTHS
) -> pd.DataFrame:
    """Where can the true ratio of chances lie if there is a hidden confounder of a given strength?

    ``risk_ratio, low, high`` as in ``e_value``. ``strengths``: numbers (the confounder is that strong in both ways), or
    pairs ``(with_micro, with_macro)`` as in ``bounding_factor``.

    Returns a row per strength: ``with_micro, with_macro, factor, ratio_low, ratio_high`` (the true ratio, chance
    aside), ``ci_low, ci_high`` (with the sampling error) and ``effect_remains`` (that interval does not include 1).
    Raises ``ParameterError``.
    """
    ratio, low, high = _interval(risk_ratio, low, high)
    table = _strengths(strengths)
    factor = table["factor"].to_numpy()
    bounds = {
        "ratio_low": ratio / factor,
        "ratio_high": ratio * factor,
        "ci_low": low / factor,
        "ci_high": high * factor,
    }
    table = table.assign(**bounds)
    table["effect_remains"] = (table["ci_low"] > 1) | (table["ci_high"] < 1)
    return table


def confounded_effect(effect: Effect, strengths: Strengths = STRENGTHS, confidence: float = 0.95) -> pd.DataFrame:
    """Where can the incremental effect among doers lie if there is a hidden confounder of a given strength?

    What doers did is a fact; what they would have done without the micro is what a confounder bends: it lies between
    ``never / factor`` and ``never * factor`` (at most 1). ``strengths`` as in ``hidden_confounding``.

    Returns a row per strength: ``with_micro, with_macro, factor``; ``incremental_low, incremental_high`` (chance
    aside); ``ci_low, ci_high``, which hold the truth with at least ``confidence`` for every confounder that is at most
    so strong; ``incremental_value_low, incremental_value_high`` (money, chance aside, if it is at most so strong in
    mean revenue too; NaN without money); ``effect_remains`` (the interval does not include 0). Raises
    ``ParameterError``.
    """
    z = z_value(confidence)
    table = _strengths(strengths)
    factor = table["factor"].to_numpy()
    covariance = np.asarray(effect.covariance, dtype=float)
    for side, scale in (("low", factor), ("high", 1 / factor)):
        never, value = (_times(one, scale) for one in (effect.never, effect.value_never))
        # Where the bound is 1 for certain only the doers' chance is uncertain.
        slope = np.where(never < 1, np.minimum(scale, _BOUNDLESS), 0.0)
        never = np.minimum(never, 1.0)
        variance = covariance[0, 0] - 2 * slope * covariance[0, 1] + slope**2 * covariance[1, 1]
        table[f"incremental_{side}"] = effect.done - never
        width = z * np.sqrt(np.maximum(variance, 0.0))
        table[f"ci_{side}"] = np.clip(table[f"incremental_{side}"] + (width if side == "high" else -width), -1, 1)
        table[f"incremental_value_{side}"] = effect.value_done - value
    table["effect_remains"] = (table["ci_low"] > 0) | (table["ci_high"] < 0)
    order = [f"{name}_{side}" for name in ("incremental", "ci", "incremental_value") for side in ("low", "high")]
    return table[["with_micro", "with_macro", "factor", *order, "effect_remains"]]


def confounding_statement(risk_ratio: float, low: float = np.nan, high: float = np.nan) -> str:
    """The E-values of a ratio of chances in plain words. Raises ``ParameterError`` as ``e_value``.

    >>> print(confounding_statement(1.6, 0.9, 2.8))
    Chance alone may explain the ratio of 1.60 (0.90 to 2.80): no hidden trait is needed.
    """
    point, limit = e_value(risk_ratio, low, high)
    if np.isnan(point):
        return "There is no ratio of chances, so nothing can be said about hidden traits."
    known = not np.isnan(limit)
    said = f"{risk_ratio:.2f}" + (f" ({low:.2f} to {high:.2f})" if known else "")
    if limit == 1 or point == 1:
        return f"Chance alone may explain the ratio of {said}: no hidden trait is needed."
    if np.isinf(point):
        text = f"No hidden trait of finite strength could explain the ratio of {said} itself"
    else:
        text = (
            f"To explain the ratio of {said} away, a trait that the log does not show would have to differ {point:.1f}-"
            "fold in frequency between those who do the micro and those who do not, and change the chance of the macro "
            f"{point:.1f}-fold, both beyond what is adjusted for"
        )
    if known and np.isfinite(limit):
        text += f"; {limit:.1f}-fold each would do to make no effect possible"
    return text + ". A trait that is weaker in both ways could not."


def _times(number: float, scale: Floats) -> Floats:
    """A product in which nothing stays nothing, however strong the confounder."""
    return np.zeros_like(scale) if number == 0 else number * scale


def _strength(ratio: float) -> float:
    """The strength at which the bounding factor reaches the ratio."""
    if ratio < 1:
        ratio = 1 / ratio if ratio > 0 else np.inf
    return float(ratio + np.sqrt(ratio * (ratio - 1)))


def _strengths(given: Strengths) -> pd.DataFrame:
    pairs: list[tuple[float, float]] = []
    for strength in given:
        pair = tuple(strength) if isinstance(strength, tuple | list) else (strength, strength)
        if len(pair) != 2 or not all(isinstance(one, int | float | np.number) for one in pair):
            raise ParameterError(
                f"strengths holds {shorten(repr(strength))}: each is a number such as 2, or a pair such as (2, 3): how "
                "strong with the micro and with the macro."
            )
        pairs.append((float(pair[0]), float(pair[1])))
    both: Floats = np.asarray(pairs, dtype=float).reshape(-1, 2)
    factor = np.atleast_1d(bounding_factor(both[:, 0], both[:, 1]))
    return pd.DataFrame({"with_micro": both[:, 0], "with_macro": both[:, 1], "factor": factor})


def _interval(ratio: float, low: float, high: float) -> tuple[float, float, float]:
    values = {"risk_ratio": ratio, "low": low, "high": high}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or value < 0:
            raise ParameterError(f"{name}={shorten(repr(value))} must be a ratio of chances, 0 or more, such as 1.8.")
    if low > ratio or high < ratio:
        raise ParameterError(
            f"The interval from {low:g} to {high:g} does not hold the ratio {ratio:g}. Pass the limits of its own "
            "interval, the lower first."
        )
    return float(ratio), float(low), float(high)
