"""The effect of a micro among those whom an experiment moved to do it: instrumental variables, from counts by arm."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.stats._anderson_rubin import effects_not_refuted, pairwise_polynomials
from microconv.stats._arms import numbers
from microconv.stats._curves import Floats, z_value

__all__ = ["WEAK", "Encouragement", "encouragement_effect"]

WEAK = 10.0  # first-stage F below which an instrument is called weak (Staiger and Stock 1997)
_EXACT = 1e-9  # a standard error, in units of the outcome's spread, below which there is none
_OUTCOMES = ("converted", "cents")


@dataclass(frozen=True)
class Encouragement:
    """The effect of doing the micro among compliers: users who do it if nudged and do not if not.

    ``effect`` with ``se``; ``intervals``: the Anderson-Rubin confidence set, lowest first: one interval, or two with a
    gap between them, or one without end, or none (with several arms: no single effect fits them all); ``ci_low,
    ci_high``: its ends (NaN where it is empty). ``first_stage``: the share of users whom a nudge moves (the arm that
    differs most from the control in how often the micro is done); ``first_stage_f`` (robust; ``weak`` below 10);
    ``p_value``: that there is no effect (Anderson-Rubin at 0). ``arms``: a row per arm: ``arm, users, did, outcome``
    (means), ``did_more, outcome_more`` (than in the control), ``effect, ci_low, ci_high`` of it against the control.
    """

    effect: float
    se: float
    intervals: tuple[tuple[float, float], ...]
    first_stage: float
    first_stage_f: float
    p_value: float
    arms: pd.DataFrame
    confidence: float

    @property
    def weak(self) -> bool:
        """Whether the nudge moves too few for the estimate itself to be relied on; the intervals hold all the same."""
        return not self.first_stage_f >= WEAK

    @property
    def ci_low(self) -> float:
        """The lowest effect that is not refuted."""
        return self.intervals[0][0] if self.intervals else np.nan

    @property
    def ci_high(self) -> float:
        """The highest effect that is not refuted."""
        return self.intervals[-1][1] if self.intervals else np.nan

    @property
    def shape(self) -> str:
        """``"interval"``, ``"half line"``, ``"two half lines"``, ``"everything"``, ``"several intervals"`` or
        ``"empty"``.
        """
        ends = sum(np.isinf(end) for pair in self.intervals for end in pair)
        if not self.intervals:
            return "empty"
        if len(self.intervals) == 1:
            return ("interval", "half line", "everything")[ends]
        return "two half lines" if len(self.intervals) == 2 and ends == 2 else "several intervals"

    @property
    def meaning(self) -> str:
        """What the confidence set says, in one sentence."""
        sure = f"{self.confidence:.0%}"
        shown = " or ".join(
            f"at most {_short(high)}" if np.isinf(low) else f"at least {_short(low)}" if np.isinf(high) else
            f"{_short(low)} to {_short(high)}"
            for low, high in self.intervals
        )  # fmt: skip
        if self.shape == "everything":
            text = f"No effect whatever can be ruled out at {sure}: the nudge moved too few users to do the micro."
        elif self.shape == "empty":
            text = "No single effect fits all arms: some arm acts in another way than through this micro alone."
        elif self.shape == "interval":
            text = f"Effects of {shown} agree with the experiment at {sure}."
        else:
            text = f"Effects of {shown} agree with the experiment at {sure}; the nudge moved too few for one interval."
        return text


@dataclass(frozen=True, eq=False)
class _Moments:
    """By arm: users, means of did and outcome, and the variances of these means with their covariance."""

    arms: list[Any]
    users: Floats
    mean: Floats  # (arms, 2): did, outcome
    spread: Floats  # (arms, 3): variance of did, covariance, variance of outcome, of a user

    def gap(self, kept: Any = slice(None)) -> tuple[Floats, Floats]:
        """Means and variances of outcome - b * did as polynomials in b."""
        mean, n = self.mean[kept], self.users[kept]
        did, both, out = self.spread[kept].T / n
        return np.column_stack([mean[:, 1], -mean[:, 0]]), np.column_stack([out, -2 * both, did])


def encouragement_effect(
    counts: pd.DataFrame,
    control: Hashable,
    *,
    outcome: str = "converted",
    confidence: float = 0.95,
) -> Encouragement:
    """What does the micro do for users who do it because they were nudged?

    * ``counts``: ``arm, did, converted`` (0 or 1) and ``users``; for ``outcome="cents"`` also ``cents`` and
      ``cents_squared``, sums over the users, as ``reduce.encouraged.encouraged_counts`` gives them.
    * ``control``: the arm without a nudge. Any other is a nudge, stronger or weaker, towards the same micro.

    One nudge: Wald's ratio of differences; several: two-stage least squares on the arms, which weighs their effects.
    Errors are robust; the intervals are Anderson and Rubin's (1949), which keep their promise however few users the
    nudge moves, and which may therefore have no end. An effect per user who is moved, in conversions or cents: of
    others it says nothing, so it is not comparable with the effect among all who did the micro.

    Causal if arms were drawn by lot, act on the outcome through this micro alone, and keep nobody from it whom the
    control would have led to it (Imbens and Angrist 1994). Raises ``ParameterError``, also where no arm moves anybody.
    """
    from scipy.stats import chi2, norm

    z_value(confidence)  # its words on a confidence that is none
    if outcome not in _OUTCOMES:
        raise ParameterError(unknown_name("outcome", outcome, _OUTCOMES))
    found = _moments(counts, control, outcome)
    weight = found.users
    centre = weight @ found.mean / weight.sum()
    did, out = (found.mean - centre).T
    strength = float(weight @ did**2)
    if strength <= 1e-18 * weight.sum():
        raise ParameterError(
            "Users do the micro as often in every arm, so the experiment says nothing of it. Name the micro that the "
            "variants were meant to move."
        )
    effect = float((weight * did) @ out / strength)
    # Of a user: (outcome - b did) about the overall mean, whose second moment in an arm is within plus between arms.
    within = found.spread @ np.array([effect**2, -2 * effect, 1.0])
    second = within + (out - effect * did) ** 2
    se = float(np.sqrt((weight * did**2) @ second) / strength)
    freedom = len(found.arms) - 1
    scale = float(np.sqrt(max((weight @ found.spread[:, 2]) / weight.sum(), 0.0))) or 1.0
    first = _between_arms(found.mean[:, 0], found.spread[:, 0] / weight)
    at_zero = _between_arms(found.mean[:, 1], found.spread[:, 2] / weight)
    p_value = chi2.sf(at_zero, freedom)
    return Encouragement(
        effect=effect,
        se=se,
        # Where the outcome is a number times doing the micro, nothing is left to chance.
        intervals=_intervals(*found.gap(), float(chi2.ppf(confidence, freedom)), scale)
        if se > _EXACT * scale
        else ((effect, effect),),
        first_stage=_largest(found.mean[1:, 0] - found.mean[0, 0]),
        first_stage_f=first / freedom,
        p_value=float(p_value),
        arms=_by_arm(found, float(norm.ppf(0.5 + confidence / 2)) ** 2, scale),
        confidence=confidence,
    )


def _moments(counts: pd.DataFrame, control: Hashable, outcome: str) -> _Moments:
    money = ["cents", "cents_squared"] if outcome == "cents" else []
    for name in ("arm", "did", "converted", "users", *money):
        if name not in counts.columns:
            raise ParameterError(unknown_name("column", name, map(str, counts.columns)))
    if counts["arm"].isna().any():
        raise ParameterError("arm is missing for some users. Leave them out, or give them an arm of their own.")
    did, users = numbers(counts, "did"), numbers(counts, "users")
    for name in ("did", "converted"):
        if not counts[name].isin([0, 1]).all():
            raise ParameterError(f"{name!r} must be 0 or 1 in each row.")
    if (users < 0).any():
        raise ParameterError(f"users holds {users.min():g}: a row cannot stand for fewer than no users.")
    total = numbers(counts, "cents") if money else numbers(counts, "converted") * users
    squared = numbers(counts, "cents_squared") if money else total
    arms = sorted(pd.unique(counts.loc[users > 0, "arm"]), key=lambda arm: (arm != control, str(arm)))
    if not arms or arms[0] != control:
        raise ParameterError(unknown_name("arm control=", control, map(str, arms)))
    if len(arms) < 2:
        raise ParameterError(f"There is no arm but {shorten(repr(control))}, so nothing to compare it with.")
    rows = [(counts["arm"] == arm).to_numpy() for arm in arms]
    parts = (users, did * users, total, squared, did * total)
    n, d, y, yy, dy = (np.array([value[row].sum() for row in rows]) for value in parts)
    mean = np.column_stack([d, y]) / n[:, None]
    variance = np.maximum(yy / n - mean[:, 1] ** 2, 0.0)
    spread = np.column_stack([mean[:, 0] * (1 - mean[:, 0]), dy / n - mean[:, 0] * mean[:, 1], variance])
    return _Moments(arms, n, mean, spread)


def _intervals(gap: Floats, variance: Floats, critical: float, scale: float) -> tuple[tuple[float, float], ...]:
    """The confidence set; in units in which the outcome varies by about 1, and so do the effects."""
    found = effects_not_refuted(gap * [1 / scale, 1.0], variance * [scale**-2, 1 / scale, 1.0], critical)
    return tuple((low * scale, high * scale) for low, high in found)


def _between_arms(mean: Floats, variance: Floats) -> float:
    """The weighted sum of squares between arms: chi-squared where all means are the same."""
    above, below = pairwise_polynomials(mean[:, None], variance[:, None])
    if below[0] > 0:
        return float(above[0] / below[0])
    return np.inf if np.ptp(mean) > 0 else 0.0


def _by_arm(found: _Moments, critical: float, scale: float) -> pd.DataFrame:
    """Each arm, and its effect against the control alone."""
    rows: list[dict[str, Any]] = []
    for at, arm in enumerate(found.arms):
        row: dict[str, Any] = {
            "arm": arm,
            "users": found.users[at],
            "did": found.mean[at, 0],
            "outcome": found.mean[at, 1],
        }
        row |= dict.fromkeys(("did_more", "outcome_more", "effect", "ci_low", "ci_high"), np.nan)
        if at:
            more = found.mean[at] - found.mean[0]
            row["did_more"], row["outcome_more"] = more
            row["effect"] = more[1] / more[0] if more[0] else np.nan
            if intervals := _intervals(*found.gap([0, at]), critical, scale):
                row["ci_low"], row["ci_high"] = intervals[0][0], intervals[-1][1]
        rows.append(row)
    return pd.DataFrame(rows)


def _largest(more: Floats) -> float:
    return float(more[int(np.argmax(np.abs(more)))])


def _short(number: float) -> str:
    return f"{number:.4g}"
