"""What the curves are held against: other ends, the naive reading, and each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from microconv.conversion.summary import pooled
from microconv.counts import RiskTable, group_codes
from microconv.reduce.risk import JourneyRule
from microconv.stats._curves import Floats, read_blocks, z_value
from microconv.stats.competing import aalen_johansen, probability_at, time_lost
from microconv.stats.log_rank import logrank
from microconv.stats.multiplicity import adjust_p_values
from microconv.stats.survival import kaplan_meier, survival_at

__all__ = [
    "MOST_PAIRED",
    "all_causes",
    "cohort_pairs",
    "common_days",
    "material",
    "mean_differences",
    "naive",
    "pairs",
    "tests",
    "truncated",
]

MOST_PAIRED = 20  # segments; more have more pairs than anybody reads
_POINT = 0.01
_MEANS = {
    "difference_days": "rmst_difference_days",
    "ci_low": "rmst_ci_low_days",
    "ci_high": "rmst_ci_high_days",
    "p_value": "rmst_p_value",
    "p_adjusted": "rmst_p_adjusted",
}


def all_causes(counts: RiskTable, rule: JourneyRule, confidence: float) -> pd.DataFrame:
    """The cumulative incidence of every end over time, segments first, with the numbers ``at_risk``."""
    found = aalen_johansen(counts, confidence, cluster=rule.cluster)
    whole = pooled(counts, rule)
    n = whole.frame["n"].to_numpy()
    found["at_risk"] = np.concatenate([np.tile(n[place], len(rule.causes)) for place in whole.blocks()])
    return found


def naive(counts: RiskTable, rule: JourneyRule, day: float, confidence: float) -> pd.DataFrame:
    """Per segment, what 1 - Kaplan-Meier with other ends as censoring reads at a day, beside the cumulative incidence.

    The naive curve is the share that would convert if nobody ever ended otherwise: of no use to who counts users.
    """
    by = _segments(counts, rule)
    proper = probability_at(aalen_johansen(counts, confidence, cluster=rule.cluster), [day])
    proper = proper[proper["cause"] == rule.target.name].reset_index(drop=True)
    curve = survival_at(kaplan_meier(counts, confidence, cause=rule.target.name, cluster=rule.cluster), [day])
    found = proper[by].copy()
    found["cause"] = rule.target.name
    whole = pooled(counts, rule)
    found["n"] = [int(whole.frame["entered"].iloc[place].sum()) for place in whole.blocks()]
    found["horizon_days"] = day
    found["naive"] = 1 - curve["survival"]
    found["naive_ci_low"], found["naive_ci_high"] = 1 - curve["ci_high"], 1 - curve["ci_low"]
    for column in ("probability", "ci_low", "ci_high"):
        found[column] = proper[column]
    found["difference"] = found["naive"] - found["probability"]
    return found


def material(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``naive`` whose difference is over a point, or over half the half width of the interval."""
    half = (frame["ci_high"] - frame["ci_low"]) / 2
    return frame[(frame["difference"] > _POINT) | ((frame["difference"] > half / 2) & (half > 0))]


def tests(counts: RiskTable, rule: JourneyRule) -> pd.DataFrame:
    """Do segments differ? The log-rank test, and with other ends each cause's, and Gray's of the share that has it.

    Columns ``test, cause, chi2, degrees_of_freedom, p_value, rho``, the target first. Gray's test is not defined under
    late entry and then left out.
    """
    by, rows = _segments(counts, rule), []
    for cause in rule.causes:
        rows.append(logrank(counts, by, cause=cause).table.assign(test="log-rank", cause=cause))
        if rule.competing and not rule.late:
            from microconv.stats.gray import gray_test

            rows.append(gray_test(counts, by, cause=cause).table.assign(test="Gray", rho=0.0))
    found = pd.concat(rows, ignore_index=True)
    return found[["test", "cause", "chi2", "degrees_of_freedom", "p_value", "rho"]]


def pairs(counts: RiskTable, rule: JourneyRule, tau: float | None, confidence: float) -> pd.DataFrame:
    """Every pair of segments: the log-rank test of the target, and up to ``tau`` days the difference of the means.

    ``rmst_difference_days`` is the mean days without conversion of ``group_a`` less that of ``group_b``; p-values of
    each kind are adjusted by Holm over the pairs. Where users are counted more than once only the means are compared,
    with errors by user: the log-rank test takes waits to be independent.
    """
    from microconv.stats.pairs import pairwise_logrank, rmst_differences

    by, parts = _segments(counts, rule), []
    if rule.cluster is None:
        parts.append(pairwise_logrank(counts, by, cause=rule.target.name, method="holm"))
    if tau is not None and rule.competing:
        parts.append(_lost_differences(counts, rule, tau, confidence))
    elif tau is not None:
        means = rmst_differences(counts, by, tau, confidence=confidence, method="holm", cluster=rule.cluster)
        parts.append(means.rename(columns=_MEANS))
    # All list the pairs in the same order: first with second, first with third, ...
    named = parts[0][["group_a", "group_b"]].map(_label)
    columns = [part.drop(columns=[c for c in ("group_a", "group_b", "se") if c in part]) for part in parts]
    return pd.concat([named, *columns], axis=1)


def cohort_pairs(counts: RiskTable, rule: JourneyRule, tau: float | None, confidence: float) -> pd.DataFrame:
    """``pairs``, each compared only as far as both of its segments were observed: ``compared_days``.

    The log-rank test of two looks no farther by itself: later, one of them has nobody at risk.
    """
    frame, rows = counts.frame, []
    code = group_codes(frame[_segments(counts, rule)])
    for a, b in itertools.combinations(range(int(code.max()) + 1), 2):
        mine = frame[(code == a) | (code == b)].reset_index(drop=True)
        both = RiskTable(mine, counts.pattern_cols, counts.causes)
        day = common_days(pooled(both, rule))
        # One who is alone on the very first day leaves no time to compare means over.
        upto = None if tau is None else min(tau, day) or None
        rows.append(pairs(both, rule, upto, confidence).assign(compared_days=day))
    found = pd.concat(rows, ignore_index=True)
    for raw, adjusted in (("p_value", "p_adjusted"), ("rmst_p_value", "rmst_p_adjusted")):
        if raw in found:
            found[adjusted] = adjust_p_values(found[raw], "holm")
    return found


def _label(group: object) -> object:
    return ", ".join(map(str, group)) if isinstance(group, tuple) else group


def _segments(counts: RiskTable, rule: JourneyRule) -> list[str]:
    return [column for column in counts.pattern_cols if column != rule.cluster]


def _lost_differences(counts: RiskTable, rule: JourneyRule, tau: float, confidence: float) -> pd.DataFrame:
    """``rmst_differences`` beside other ends: the mean time without conversion is ``tau`` less the time lost to it."""
    lost = time_lost(counts, tau, confidence, cluster=rule.cluster)
    lost = lost[lost["cause"] == rule.target.name]
    labels = pooled(counts, rule)
    names = [tuple(labels.frame.iloc[place.start][_segments(counts, rule)]) for place in labels.blocks()]
    return mean_differences(names, (tau - lost["estimate"]).to_numpy(), lost["se"].to_numpy(), confidence)


def mean_differences(
    names: Sequence[tuple[object, ...]], mean: Floats, error: Floats, confidence: float
) -> pd.DataFrame:
    """Every pair of independent means: the first less the second, with p-values adjusted by Holm."""
    from scipy.special import ndtr

    first, second = np.triu_indices(len(mean), 1)
    difference, se = mean[first] - mean[second], np.sqrt(error[first] ** 2 + error[second] ** 2)
    z = np.divide(difference, se, out=np.full_like(se, np.nan), where=se > 0)
    p = 2 * ndtr(-np.abs(z))
    width = z_value(confidence) * se
    return pd.DataFrame(
        {
            "group_a": [_label(names[i]) for i in first.tolist()],
            "group_b": [_label(names[i]) for i in second.tolist()],
            "rmst_difference_days": difference,
            "rmst_ci_low_days": difference - width,
            "rmst_ci_high_days": difference + width,
            "rmst_p_value": p,
            "rmst_p_adjusted": adjust_p_values(p, "holm"),
        }
    )


def common_days(counts: RiskTable) -> float:
    """How far every curve is known: the shortest observation of a segment that is not wholly converted by then."""
    blocks = read_blocks(counts)
    open_still = [float(block.time[-1]) for block in blocks if block.survival[-1] > 0]
    return min(open_still, default=max(float(block.time[-1]) for block in blocks))


def truncated(counts: RiskTable, day: float) -> RiskTable:
    """The same counts up to a day, at which whoever is still at risk is censored."""
    frame = counts.frame
    beyond = frame["time_days"] > day
    if not beyond.any():
        return counts
    counted = ["entered", "censored", *counts.event_cols]
    kept = frame.loc[~beyond, [*counts.pattern_cols, "time_days", *counted]]
    rest = frame.loc[beyond]
    left = rest[["censored", *counts.event_cols]].sum(axis=1) - rest["entered"]
    cut = rest[list(counts.pattern_cols)].assign(time_days=day, entered=0.0, **dict.fromkeys(counts.event_cols, 0.0))
    cut["censored"] = left
    keys = [*counts.pattern_cols, "time_days"]
    cut = cut.groupby(keys, as_index=False, sort=False, dropna=False).sum()
    return RiskTable.from_counts(pd.concat([kept, cut], ignore_index=True), counts.pattern_cols, counts.causes)
