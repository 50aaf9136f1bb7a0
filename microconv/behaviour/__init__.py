"""mc.behaviour_segments: users told apart by what they had done by a landmark, and what became of them after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from microconv.durations import MICROS_PER_DAY, Duration, format_duration
from microconv.errors import ParameterError
from microconv.results import Result
from microconv.steps import Step

if TYPE_CHECKING:
    from microconv.behaviour.asking import Asked
    from microconv.behaviour.grouping import Grouped
    from microconv.log import EventLog
    from microconv.plan import Behaviour

__all__ = ["behaviour_segments"]

_SEGMENT = "segment"


def behaviour_segments(
    log: EventLog,
    *,
    at: Duration,
    target: Step | None = None,
    how: str = "rules",
    horizon: Duration | None = None,
    outcome: str | None = None,
    groups: Sequence[Behaviour | dict[str, Any]] | None = None,
    clusters: int | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
    seed: int = 0,
    max_rows: int = 1_000_000,
) -> Result:
    """Who behaves how by a given age, and how many of each group convert after it?

    * ``at``: the landmark, an age since the user's entry (``"7D"``). What users do up to it (its instant included)
      forms the segments; only what comes after it counts as outcome.
    * ``target``: the conversion; None is the plan's first macro. ``horizon``: how long after the landmark it counts;
      None: the plan's.
    * ``how``: ``"rules"``: named groups by the micros of the plan and their kinds; a user is in the first that fits.
      Those of the plan's ``behaviour:``, else standard ones (in order: high intent, cart abandoners, subscribers who
      have not bought, loyal, lapsing, window shoppers, customers; ``.definitions`` says what each is).
      ``"rfm"``: recency (last event), frequency (days with an event) and money paid, all up to the landmark, each in
      thirds of users; equal values stay together. ``"clusters"``: groups of users who did the same micros about as
      often, by k-means on the scaled table of counts of patterns; as many as come back in other samples of users.
    * ``outcome``: ``"first"``: users who had converted by the landmark are left out; ``"next"``: they stay and are at
      risk of the next conversion. None: ``"first"`` for clusters, ``"next"`` otherwise, because what customers did
      before is part of rules and of money.
    * ``groups``: other rules than the plan's, such as ``{"name": "abandoners", "did": ["intent"], "within": "3D"}``:
      see ``Plan``. ``clusters``: how many, instead of chosen. ``tz``: the zone of days with an event.
    * ``seed``: of the clusters' samples. ``max_rows``: as in ``time_to_conversion``.

    At risk: users who are still observed at the landmark and whom no competing end has taken; the others are in
    ``.left_out`` with the reason. After the landmark a competing end, one of the plan's ``censor`` events and
    ``observed_until`` end a user's time as in ``time_to_conversion``.

    ``.table``: ``segment, users, share`` (of those at risk), ``rate`` (converted within the horizon after the landmark,
    censored users heeded, competing ends on their own course) with ``ci_low, ci_high``, ``shrunk_rate`` (for ranking),
    ``median_days`` (by when half of the conversions within the horizon have come), ``difference`` (rate less that of
    all other users together), ``p_value`` (log-rank test of the segment against all others), ``q_value``
    (Benjamini-Hochberg over the segments), ``difference_ci_low, difference_ci_high``, ``events`` and ``definition``.
    ``.definitions``, ``.left_out`` (``reason, users, share``), ``.profile`` (``segment, micro, users, did, share,
    others_share``: without tests, because the micros formed the segments), ``.tests`` (all segments at once),
    ``.curves`` and, for clusters, ``.stability``. Segments of nobody are told in ``.warnings``.

    The rates describe; that a segment converts more is no proof that its micros did it (``micro_value``). Raises
    ``ParameterError`` for parameters that do not fit the log, and where nobody is at risk at the landmark.

    >>> import microconv as mc
    >>> found = mc.behaviour_segments(mc.sample_log(), at="7D", horizon="30D")
    >>> found.table[["segment", "users", "rate", "ci_low", "ci_high"]].head(3).round(3)
                               segment  users   rate  ci_low  ci_high
    0                      high intent    359  0.085   0.059    0.122
    1                  cart abandoners    522  0.076   0.055    0.104
    2  subscribers who have not bought    398  0.009   0.003    0.027
    """
    from microconv.behaviour import words
    from microconv.behaviour.asking import ask
    from microconv.behaviour.outcomes import left_out_table, outcomes
    from microconv.reduce.behaviour import activity, at_risk_after
    from microconv.reduce.risk import left_out

    asked = ask(
        log,
        at=at,
        target=target,
        how=how,
        horizon=horizon,
        outcome=outcome,
        groups=groups,
        tz=tz,
        confidence=confidence,
    )
    if clusters is not None and how != "clusters":
        raise ParameterError(f"clusters={clusters!r} goes with how='clusters' only, not with how={how!r}.")
    users = at_risk_after(log, asked.rule, asked.outcome == "next")
    lost = left_out_table(log, users, left_out(log, users))
    if not (lost["reason"] == "at risk").any():
        reasons = ", ".join(f"{row.users:,} {row.reason}" for row in lost.itertuples())
        raise ParameterError(
            f"No user is at risk at the landmark at={format_duration(_landmark(asked))!r}: {reasons}. Choose an "
            "earlier one."
        )
    waiting = log.engine.materialise(users.filter(users.start.notnull()).mutate(mark=users.start))
    known = activity(log, waiting, asked.items, value=asked.value if how == "rfm" else None, tz=tz)
    made = _grouped(log, asked, known, clusters, seed)
    table, extra, kept = outcomes(log, asked, made, max_rows)
    extra = {**extra, "left_out": lost}
    return Result(
        name="behaviour_segments",
        table=table,
        meaning=words.meaning(asked, table, lost),
        parameters={
            "at": format_duration(_landmark(asked)),
            "target": asked.rule.target.name,
            "how": how,
            "horizon": format_duration(_horizon(asked)),
            "horizon_days": _horizon(asked) / MICROS_PER_DAY,
            "outcome": asked.outcome,
            "groups": [group.model_dump(exclude_defaults=True) for group in asked.groups],
            "competing": [item.name for item in asked.rule.competing],
            "tz": tz,
            "confidence": confidence,
            "seed": seed,
        },
        assumptions=words.assumptions(asked, made, kept),
        warnings=words.warnings_of(asked, made, table),
        extra=extra,
        provenance=log.provenance,
        plot_with=_plot,
    )


def _grouped(log: EventLog, asked: Asked, known: Any, clusters: int | None, seed: int) -> Grouped:
    from microconv.behaviour.grouping import by_clusters, by_rfm, by_rules

    if asked.how == "rules":
        return by_rules(log, known, asked)
    if asked.how == "clusters":
        return by_clusters(log, known, asked, clusters, seed)
    money = asked.value is not None
    if money:
        paid = log.engine.fetch(known.table.agg(paid=(known.table.cents > 0).cast("int64").sum()))
        money = bool(paid["paid"][0])
    return by_rfm(log, known, money)


def _landmark(asked: Asked) -> int:
    assert asked.rule.landmark is not None
    return asked.rule.landmark


def _horizon(asked: Asked) -> int:
    assert asked.rule.horizon is not None
    return asked.rule.horizon


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_behaviour

    return plot_behaviour(result, ax)
