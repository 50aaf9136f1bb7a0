"""How strong a trait that the log does not show would have to be: by micro, in ratios and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from microconv.stats.sensitivity import confounded_effect, confounding_statement, e_value

if TYPE_CHECKING:
    from microconv.stats.effects import Effect

__all__ = ["statements", "strengths"]


def strengths(effects: Mapping[str, Effect], confidence: float) -> pd.DataFrame:
    """By micro and strength of a hidden trait, where the incremental effect can lie: the columns of
    ``stats.sensitivity.confounded_effect``.
    """
    parts = []
    for micro, effect in effects.items():
        frame = confounded_effect(effect, confidence=confidence)
        frame.insert(0, "micro", micro)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def statements(effects: Mapping[str, Effect], confidence: float) -> pd.DataFrame:
    """``micro, risk_ratio, ci_low, ci_high, e_value, e_value_limit, statement``."""
    rows = []
    for micro, effect in effects.items():
        ratio = effect.risk_ratio(confidence)
        point, limit = e_value(*ratio)
        rows.append(
            {
                "micro": micro,
                "risk_ratio": ratio[0],
                "ci_low": ratio[1],
                "ci_high": ratio[2],
                "e_value": point,
                "e_value_limit": limit,
                "statement": confounding_statement(*ratio),
            }
        )
    columns = ["micro", "risk_ratio", "ci_low", "ci_high", "e_value", "e_value_limit", "statement"]
    return pd.DataFrame(rows, columns=columns)
