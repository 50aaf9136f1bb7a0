"""An experiment that nudged users towards a micro: the effect among those whom it moved, which may be called causal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.durations import MICROS_PER_DAY
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.reduce.encouraged import encouraged_counts
from microconv.reduce.entrants import people
from microconv.reduce.money import CENTS
from microconv.reduce.revenue import revenue_of
from microconv.stats.encouragement import Encouragement, encouragement_effect

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.reduce.revenue import Payments
    from microconv.value.asking import ValueQuestion

__all__ = ["Nudge", "by_encouragement"]


@dataclass(frozen=True)
class Nudge:
    """``column``: the arm of each user at entry; ``micro``: what the variants were meant to move; ``control``: the arm
    without a nudge (None: the one that is called so).
    """

    column: str
    micro: str
    control: str | None = None

    @classmethod
    def checked(
        cls, log: EventLog, micros: Sequence[str], column: str | None, micro: str | None, control: str | None
    ) -> Nudge | None:
        """What the caller asked for, if anything. Raises ``ParameterError``."""
        if column is None:
            if micro is not None or control is not None:
                raise ParameterError(
                    "encouraged= and control= belong to an experiment: name its column in variant_col=."
                )
            return None
        log.require_columns([column], "variant_col")
        if micro is None:
            raise ParameterError(
                f"variant_col={column!r}: say which micro the variants were meant to move, as encouraged={micros[0]!r}."
            )
        if micro not in micros:
            raise ParameterError(unknown_name("micro of encouraged=", micro, micros))
        return cls(column, micro, control)


def by_encouragement(
    log: EventLog, question: ValueQuestion, nudge: Nudge, paid: Payments | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The effect among compliers, a row per outcome (``converted``, then ``revenue`` where there is money): ``micro,
    outcome, effect, se, ci_low, ci_high, shape, first_stage, first_stage_f, weak, p_value, users, label``; the arms;
    and what must be said.

    Counted are users who entered early enough to be observed for the whole horizon from entry on; the micro and the
    macro count within it.
    """
    days = question.horizon / MICROS_PER_DAY
    mature = log.filter(end=log.observed_until - pd.Timedelta(days=days))
    shared = question.hazards
    users = people(mature, shared.rule, question.items, [nudge.column], tz=shared.tz, max_cells=shared.max_patterns)
    counts = encouraged_counts(
        users, nudge.column, question.micros.index(nudge.micro), 2 * question.horizon,
        revenue_of(paid) if paid is not None else None,
    )  # fmt: skip
    arms = sorted(counts["arm"].unique(), key=str)
    control = (
        nudge.control if nudge.control is not None else next((a for a in arms if "control" in str(a).lower()), None)
    )
    if control is None or control not in arms:
        given = f"control={shorten(repr(nudge.control))}" if nudge.control is not None else "control="
        raise ParameterError(f"{given} must name the arm without a nudge. {unknown_name('arm', control or '', arms)}")
    rows, tables = [], []
    outcomes = [("converted", "converted", 1.0)] + ([("cents", "revenue", CENTS)] if paid is not None else [])
    for outcome, name, unit in outcomes:
        found = encouragement_effect(counts, control, outcome=outcome, confidence=shared.confidence)
        rows.append(_row(found, nudge.micro, name, float(unit), int(counts["users"].sum())))
        scaled = {
            column: found.arms[column] / unit for column in ("outcome", "outcome_more", "effect", "ci_low", "ci_high")
        }
        tables.append(found.arms.assign(**scaled).assign(measure=name))
    said = [
        f"Experiment on {shorten(nudge.micro, 40)}: the effect is among users who did it because of the variant, "
        f"within {days:g} days of entry. It is causal if variants were drawn by lot and act through this micro "
        "alone, and is not comparable with `incremental`."
    ]
    if rows[0]["weak"]:
        said.append(
            f"The variants hardly move {shorten(nudge.micro, 40)} (first-stage F {rows[0]['first_stage_f']:.1f}, below "
            "10): go by the interval, not by the estimate."
        )
    return pd.DataFrame(rows), pd.concat(tables, ignore_index=True), said


def _row(found: Encouragement, micro: str, outcome: str, unit: float, users: int) -> dict[str, Any]:
    return {
        "micro": micro,
        "outcome": outcome,
        "effect": found.effect / unit,
        "se": found.se / unit,
        "ci_low": found.ci_low / unit,
        "ci_high": found.ci_high / unit,
        "shape": found.shape,
        "first_stage": found.first_stage,
        "first_stage_f": found.first_stage_f,
        "weak": found.weak,
        "p_value": found.p_value,
        "users": users,
        "label": "causal",
    }
