"""mc.next_best_micro: in which state which micro helps most, and a policy that a website can ask."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microconv.durations import Duration, format_duration
from microconv.results import Result, write_whole
from microconv.steps import Step

if TYPE_CHECKING:
    from microconv.log import EventLog
    from microconv.policy_scorer import Scorer

__all__ = ["NextBest", "next_best_micro"]

POLICY_FILE = "policy.json"


@dataclass(frozen=True, eq=False)
class NextBest(Result):
    """The states and what to offer in each; ``policy`` is what ``save`` writes as policy.json."""

    policy: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def scorer(self) -> Scorer:
        """Answers from the policy: ``scorer.offer({"done": [...], "segment": {...}, "hours_since_entry": 5})``."""
        from microconv.policy_scorer import Scorer

        return Scorer(self.policy)

    def save(self, folder: str | os.PathLike[str], *, min_cell: int = 10) -> Path:
        """Write the files of a result and policy.json, which no state of fewer than 20 doers is in."""
        target = super().save(folder, min_cell=min_cell)
        text = json.dumps(self.policy, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
        write_whole(target / POLICY_FILE, lambda path: path.write_text(text, encoding="utf-8"))
        return target


def next_best_micro(
    log: EventLog,
    *,
    target: Step | None = None,
    micros: Sequence[Step] | Step | None = None,
    horizon: Duration | None = None,
    by: str | Sequence[str] = (),
    since_entry: Duration | Sequence[Duration] = ("1D", "7D"),
    offers: str | None = None,
    competing: Sequence[Step] | None = None,
    washout: Duration | None = None,
    tz: str = "UTC",
    confidence: float = 0.95,
    min_cell: int = 10,
    seed: int = 0,
    max_controls: int = 200_000,
) -> NextBest:
    """What should a visitor be offered next, given what they have done, who they are and how long ago they came?

    For each state (micros done, segment, band of the time since entry) and each micro not done in it: by how much does
    doing it raise the chance of the macro within ``horizon`` of doing it? Sequential trials (see ``micro_value``,
    ``method="trials"``) within the state: doers against users of the same state at the same age who have not done it,
    weighted for doing it later. So each micro may help in one state and not in another; with one effect per micro the
    same micro would be best everywhere.

    * ``micros``: at most six, to tell apart and to offer. None: the five of the plan that most users do. A micro that
      (nearly) every conversion passes, such as a checkout, tells states apart but is not offered.
    * ``by``: attributes at entry that tell segments apart (text). ``since_entry``: ages that cut the time since entry
      into bands, each with its end; ``()`` for one band.
    * ``offers``: a column whose value at entry names the micro that was offered to the user by lot, or one other value
      for no offer. Then ``.policy_value`` has the value of the policy's first offers and of the fixed rules, and
      ``.uptake`` how many more do the micro when it is offered.
    * ``horizon``: None: the plan's. ``target, competing, washout, tz, max_controls``: as in ``micro_value``.

    At risk: as in ``micro_value``. A pair of state and micro is estimated where 20 doers (or ``min_cell``) and as many
    controls are compared, with 10 conversions after the micro. A state without any such pair is taken for its parent:
    without the time since entry, then without the segment, then without the micros one by one, from the one that
    fewest do on; the last is the state of all visitors.

    **A micro is recommended only where the lower limit of its gain is above 0, with limits that hold for all pairs at
    once** (max-t over joint replicates of user buckets); among those the one with the largest gain. Otherwise
    ``best`` is ``nothing``. The gain is *if done*: offering brings the gain times the uptake.

    ``.table``, finest states first: ``state, done``, the attributes (``(all)``: not told apart), ``since_entry, best,
    gain`` (shrunken towards the micro's mean over states of the same level), ``ci_low, ci_high`` (simultaneous),
    ``users`` (doers compared), ``candidates`` (micros estimated), ``told_apart`` (how many micros the state knows of).
    ``.gains``: every pair: ``state_number, state, micro, users, events, controls, never, done`` (chances), ``estimate,
    se, gain, ci_low, ci_high, recommended, above_zero``. ``.policy``: the same for machines; ``save`` writes it as
    policy.json, which ``microconv.policy_scorer`` reads with the standard library alone.

    Raises ``ParameterError`` for parameters that do not fit the log. Hernan et al. (2008); Hothorn, Bretz and Westfall
    (2008); Efron and Morris (1975).

    >>> import microconv as mc
    >>> found = mc.next_best_micro(mc.sample_log(), micros=["add_to_cart", "share"], horizon="14D", since_entry=())
    >>> found.table[["state", "best", "gain", "ci_low"]].head(3).round(2)
                  state         best  gain  ci_low
    0      nothing done  add_to_cart  0.14    0.11
    1  add_to_cart done      nothing   NaN     NaN
    2        share done  add_to_cart  0.14    0.03
    """
    from microconv.next_best.answering import answer
    from microconv.next_best.asking import ask

    asked = ask(
        log,
        target=target,
        micros=micros,
        horizon=horizon,
        by=by,
        since_entry=since_entry,
        offers=offers,
        competing=competing,
        washout=washout,
        tz=tz,
        confidence=confidence,
        min_cell=min_cell,
        seed=seed,
        max_controls=max_controls,
    )
    found = answer(log, asked)
    shared = asked.question.hazards
    return NextBest(
        name="next_best_micro",
        table=found.table,
        meaning=found.meaning,
        parameters={
            "target": shared.rule.target.name,
            "micros": list(asked.question.micros),
            "horizon": format_duration(asked.question.horizon),
            "by": list(shared.adjust),
            "since_entry": [format_duration(cut) for cut in asked.cuts],
            "offers": offers,
            "competing": [end.name for end in shared.rule.competing],
            "washout": format_duration(shared.washout) if shared.washout is not None else None,
            "tz": tz,
            "confidence": confidence,
            "min_cell": min_cell,
            "seed": seed,
        },
        assumptions=found.assumptions,
        warnings=found.warnings,
        extra=found.extra,
        provenance=log.provenance,
        plot_with=_plot,
        policy=found.policy,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_next_best

    return plot_next_best(result, ax)
