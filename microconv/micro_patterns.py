"""mc.micro_patterns: in which order users do the micros, what follows what, and how long it takes to the conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.durations import MICROS_PER_DAY, Duration, format_duration, to_micros
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.journeys import journey_rule
from microconv.reduce.sequences import MICRO, leads, orders_of
from microconv.reduce.sequences import ranked as ranked_users
from microconv.results import Result
from microconv.steps import Step

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.plan import Micro
    from microconv.reduce.risk import JourneyRule

__all__ = ["micro_patterns"]

_MOST_MICROS = 20


def micro_patterns(
    log: EventLog,
    *,
    target: Step | None = None,
    micros: Sequence[str] | None = None,
    lengths: Sequence[int] = (2, 3),
    horizon: Duration | None = None,
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
) -> Result:
    """In which order do users do the micros, is that order more than chance, and how long before the conversion?

    * ``target``: the conversion; None is the plan's first macro. ``micros``: names of the plan's micros (None: all, at
      most 20). ``lengths``: how many micros the sequences have (2 to 4).
    * ``horizon``: how far after a micro a conversion counts for the lead time; None: the plan's.

    A user's path is the order of the **first** times of the micros between entry and the end of the journey (the first
    of the target, a competing end, a ``censor`` event and ``observed_until``); what is done at the instant of the
    target comes too late. Micros between those of a sequence are allowed.

    ``.table``: ``sequence, length, users`` (in this order), ``did_all`` (did them all, in any order, at different
    moments), ``share, expected`` (users, if every order were equally likely: did_all / length!, exactly), ``lift`` with
    ``ci_low, ci_high`` (Wilson's), ``p_value`` (exact binomial), ``q_value`` (Benjamini-Hochberg over all sequences),
    ``converted`` (share of the users whose journey has ended in the target so far). ``.transitions``: ``source, target,
    paths`` (users), ``share, ci_low, ci_high``; from ``(start)`` to ``(conversion)`` or ``(null)``, which is no
    conversion so far; micros of one instant are in plan order. ``.lead_times``, per micro: ``users, events, rate``
    within the horizon with its interval, and the days to the conversion for those who convert within it: ``p25_days,
    median_days`` (``median_ci_low_days, median_ci_high_days``), ``p75_days, p90_days``. Users whose time is not up
    count as open, other ends take their own course.

    Journeys that are still open count with what was done so far. That a sequence ends in the conversion more often says
    nothing of what it causes. Pictures: ``.plot()``, ``plots.plot_transitions``, ``plots.plot_channel_flow``. Raises
    ``ParameterError``.

    >>> import microconv as mc
    >>> found = mc.micro_patterns(mc.sample_log(), micros=["newsletter_signup", "add_to_cart"])
    >>> found.table[["sequence", "users", "did_all", "expected"]]
                              sequence  users  did_all  expected
    0  newsletter_signup > add_to_cart    204      310     155.0
    1  add_to_cart > newsletter_signup    106      310     155.0
    """
    from microconv.stats.orders import lead_times, sequences, transitions

    plan = log.require_plan("micro_patterns")
    if horizon is None and plan.horizon is None:
        raise ParameterError("micro_patterns needs a horizon. Pass horizon='30D', or write horizon: 30D into the plan.")
    within = to_micros(horizon if horizon is not None else str(plan.horizon), "horizon")
    rule = journey_rule(log, target, "entry", None, format_duration(within))
    items = _micros(plan.micros, micros, rule)
    users = ranked_users(log, rule, items)
    orders = orders_of(log, users, len(items), max_rows)
    names = [item.name for item in items]
    table = sequences(orders, names, lengths, confidence)
    steps = transitions(orders, names, confidence)
    counts = leads(log, users, rule, len(items), max_rows)
    ahead = lead_times(counts, MICRO, names, within / MICROS_PER_DAY, rule.target.name, confidence)
    people = int(orders["users"].sum())
    return Result(
        name="micro_patterns",
        table=table,
        meaning=_meaning(table, ahead, people, rule.target.name, within, confidence),
        parameters={
            "target": rule.target.name,
            "micros": names,
            "lengths": list(lengths),
            "horizon": format_duration(within),
            "confidence": confidence,
            "unit": "micro",
        },
        assumptions=[
            "A path is the order of the first times of the micros before the journey's end; repeats are not counted.",
            "Expected is the exact number if, of the users who did all micros of a sequence at different moments, "
            "every order were equally likely. Micros that are easy or offered early come first for that reason alone.",
            "Journeys still open count with what was done so far; '(null)' is no conversion so far.",
            f"Lead times are of those who convert within {format_duration(within)} of the micro, censored users "
            "heeded; limits of the median take the conversions for independent.",
        ],
        warnings=_warnings(table, ahead),
        extra={"transitions": steps, "lead_times": ahead},
        provenance=log.provenance,
        plot_with=_plot,
    )


def _micros(known: Sequence[Micro], asked: Sequence[str] | None, rule: JourneyRule) -> list[Micro]:
    every = [micro for micro in known if micro.name != rule.target.name]
    if isinstance(asked, str):
        raise ParameterError(f"micros={shorten(repr(asked))} must be a list of names, such as [{asked!r:.40}].")
    if asked is not None:
        names = [micro.name for micro in every]
        for name in asked:
            if name not in names:
                raise ParameterError(unknown_name("micro", name, names))
        every = [micro for micro in every if micro.name in asked]
    if not 2 <= len(every) <= _MOST_MICROS:
        raise ParameterError(
            f"There are {len(every)} micros; sequences need 2 to {_MOST_MICROS}. Name them with micros=[...]."
        )
    return every


def _meaning(table: pd.DataFrame, ahead: pd.DataFrame, people: int, target: str, within: int, confidence: float) -> str:
    said = [f"{people:,} journeys."]
    if len(table):
        top = table.iloc[0]
        said.append(
            f"The most frequent sequence is {top['sequence']}: {top['users']:,} of the {top['did_all']:,} users who "
            f"did all of it, {top['lift']:.2f} times what order by chance would give ({top['ci_low']:.2f} to "
            f"{top['ci_high']:.2f})."
        )
        sure = int((table["q_value"] < 1 - confidence).sum())
        said.append(f"{sure} of {len(table)} sequences differ from chance (q below {1 - confidence:.2g}).")
    known = ahead[ahead["median_days"].notna()]
    if len(known):
        ranked = known.sort_values("median_days", kind="stable")
        fast, slow = ranked.iloc[0], ranked.iloc[-1]
        said.append(
            f"Of those who convert within {format_duration(within)}, {target} typically comes "
            f"{fast['median_days']:.1f} days after {fast['micro']} and {slow['median_days']:.1f} days after "
            f"{slow['micro']}."
        )
    return " ".join(said)


def _warnings(table: pd.DataFrame, ahead: pd.DataFrame) -> list[str]:
    said = []
    if not len(table):
        said.append("Nobody did two of the micros at different moments: there is no sequence.")
    short = ahead.loc[ahead["rate"].isna(), "micro"].tolist()
    if short:
        said.append(f"Nobody was watched for the whole horizon after: {', '.join(map(repr, short))}. Shorten it.")
    few = ahead.loc[(ahead["events"] > 0) & (ahead["events"] < 10), "micro"].tolist()
    if few:
        said.append(f"Fewer than ten conversions follow: {', '.join(map(repr, few))}. Their lead times say little.")
    return said


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_micro_patterns

    return plot_micro_patterns(result, ax)
