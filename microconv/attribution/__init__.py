"""mc.attribution: which channel earned what, by several models, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from microconv.attribution.asking import ask, asked, choices
from microconv.durations import Duration
from microconv.errors import ParameterError
from microconv.path_changes import checked_transforms
from microconv.path_table import PathTable
from microconv.payment_terms import PaymentTerms
from microconv.results import Result
from microconv.steps import Step, label

if TYPE_CHECKING:
    from microconv.attribution.answering import Answer
    from microconv.attribution.asking import Choices
    from microconv.log import EventLog
    from microconv.path_changes import Transform

__all__ = ["DIRECT_CHANNELS", "attribution"]

# What tools write where nothing is known of where a visit came from.
DIRECT_CHANNELS = ("direct", "(direct)", "Direct", "(none)")


def attribution(
    source: EventLog | PathTable,
    *,
    model: str | Sequence[str] = "all",
    target: Step | None = None,
    touch: Step | None = None,
    channel: str = "channel",
    lookback: Duration | None = None,
    reset: bool = True,
    repeat: Literal["each", "first"] = "each",
    transforms: Transform | Sequence[Transform] = (),
    direct: str | Sequence[str] = DIRECT_CHANNELS,
    position: Sequence[float] = (0.4, 0.2, 0.4),
    half_life: Duration = "7D",
    game: Literal["conversions", "rate"] = "conversions",
    by: str | None = None,
    spend: Mapping[str, float] | pd.DataFrame | None = None,
    check: bool = False,
    worth: Step | None = None,
    worth_within: Duration | None = None,
    refunds: Step | Sequence[Step] = (),
    margin: float = 1.0,
    discount_rate: float = 0.0,
    value: str | None = None,
    currency: str | None = None,
    rates: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    replicates: int = 1_000,
    seed: int = 0,
) -> Result:
    """Which channel earned how many conversions, and how much money, by which model?

    Every model divides the same conversions: their number and their value each add up to the total, with
    ``(unattributed)`` for conversions without a touch. Intervals come from groups of users (resampled), and
    ``rank_stability`` says how often a channel would keep its rank.

    ``source``: a log, or a ``PathTable`` of paths that were aggregated before (no users, so no intervals).

    * ``model``: one, several, or ``"all"`` of ``first, last, last_non_direct, linear, linear_unique, position,
      time_decay, time_decay_steps, any_touch, markov, markov2, markov3, shapley, survival``. ``.models`` has each
      definition in words.
    * ``target``: plan item or event (default: the plan's first macro); a micro is one too. ``repeat="each"`` counts all
      its events, ``"first"`` each user's first.
    * A touch is an event that carries a ``channel`` (or is a ``touch`` and carries one); ``channel="ga4"`` makes GA4's
      default channel groups from ``source``, ``medium`` and ``campaign``. Touches up to ``lookback`` before a
      conversion are its path (default: the plan's ``lookback``, else its horizon; ``"none"``: no limit).
      ``reset=False`` lets a touch count again for later conversions.
    * ``transforms``, in their order: ``"exposure"`` (a run of one channel is one touch), ``"unique"``, ``"first"``,
      ``"frequency"``, ``("drop", channel, ...)``, ``("drop_if_last", channel, ...)``, ``("keep_last", n)``.
    * ``direct``: channels that ``last_non_direct`` passes over. ``position``: weights of the first touch, those between
      and the last. ``half_life``: of time decay and ``survival``; ``"auto"``: the survival model chooses (time decay
      takes 7 days). ``game``: of ``shapley``, ``"conversions"`` (equal to ``linear_unique``) or ``"rate"``. ``by``: an
      attribute at entry; ``.segments`` has the table of each of its levels that has a touch.
    * ``spend``: money by channel; ``.spend`` has cost per conversion and return, with limits.
    * ``check=True`` adds a channel of random touches, which have no effect: ``.checks`` shows what each model gives it.
    * ``worth``: an item whose money counts as the value of the target (default: the target's own): with
      ``target="signup", worth="purchase", worth_within="30D"`` the value is what users pay within 30 days after the
      signup. Observation then ends so long before the end of the log: younger signups and touches are left out.
    * ``refunds, margin, discount_rate, value, currency, rates``: as in ``micro_value``.
    * ``replicates``: of the bootstrap, by ``seed``; 0: no intervals but those of ``survival``, which need none.

    Paths without a conversion are null when their time is over (``lookback`` after the last touch); while it is not
    they are in no model but ``survival``: there users are at risk from their first touch to their first conversion, an
    end of the plan's ``competing`` or ``censor``, or the end of observation.

    ``.table``: ``channel, model, conversions, ci_low, ci_high, value, value_ci_low, value_ci_high, share`` (of all
    conversions), ``rank, rank_stability``. Rows that are no channel: ``(unattributed)``, ``(baseline)`` (survival:
    would have come without a touch), ``(overlap)`` (any_touch: counted more than once, below zero). ``.survival``: what
    a touch of each channel does. ``.models``: definitions and totals. ``.side_by_side``: conversions with a
    column for each model. ``.removals``: by channel and chain, the share of conversions lost without it, in words.
    ``.transitions``: steps between channels. ``.account``: what became of every touch and conversion. ``.ties``: the
    numbers with touches of one instant in the other order. ``.spend``, ``.checks`` on request.

    Raises ``ParameterError``. Anderl et al. (2016) on Markov chains, with removal to null; Shapley (1953); Aalen (1989)
    on additive hazards.

    >>> import microconv as mc
    >>> found = mc.attribution(mc.sample_log(), model=["last", "markov"])
    >>> found.side_by_side.round(1)
              channel   last  markov
    0          direct  105.0   114.8
    1           email   77.0    72.7
    2         organic  219.0   204.5
    3     paid_search  165.0   155.0
    4          social   84.0   103.0
    5  (unattributed)    0.0     0.0
    6         (total)  650.0   650.0
    """
    chosen = choices(
        model,
        timed=not isinstance(source, PathTable),
        direct=direct,
        position=position,
        game=game,
        confidence=confidence,
        replicates=replicates,
        seed=seed,
    )
    from microconv.attribution.answering import answer, answer_paths

    if isinstance(source, PathTable):
        _of_events_only(
            touch=touch is not None,
            channel=channel != "channel",
            lookback=lookback is not None,
            reset=reset is not True,
            repeat=repeat != "each",
            half_life=half_life != "7D",
            by=by is not None,
            check=check is not False,
            worth=worth is not None,
            worth_within=worth_within is not None,
            refunds=refunds != (),
            margin=margin != 1.0,
            discount_rate=discount_rate != 0.0,
            value=value is not None,
            currency=currency is not None,
            rates=rates is not None,
        )
        source = source.transformed(*checked_transforms(transforms))
        name = label(target) if target is not None else "conversion"
        return _result(answer_paths(source, chosen, name, spend), chosen, {"target": name}, {})
    terms = PaymentTerms(
        refunds=refunds,
        margin=margin,
        discount_rate=discount_rate,
        revenue="all" if repeat == "each" or worth is not None else "first",
        value=value,
        currency=currency,
        rates=dict(rates or {}),
    )
    question = ask(
        source,
        chosen,
        target=target,
        touch=touch,
        channel=channel,
        lookback=lookback,
        reset=reset,
        repeat=repeat,
        transforms=transforms,
        half_life=half_life,
        check=check,
        by=by,
        worth=worth,
        worth_within=worth_within,
        terms=terms,
    )
    return _result(answer(source, question, spend), chosen, asked(question, terms), source.provenance)


def _of_events_only(**given: bool) -> None:
    """Refuse what aggregated paths cannot answer."""
    asked = [name for name, differs in given.items() if differs]
    if asked:
        raise ParameterError(
            f"{', '.join(f'{name}=' for name in asked)} need{'s' if len(asked) == 1 else ''} the events: a PathTable "
            "holds no users and no times. Leave it out, or give the log."
        )


def _result(found: Answer, chosen: Choices, asked: dict[str, Any], provenance: Mapping[str, Any]) -> Result:
    shared = {
        "model": list(chosen.models),
        "direct": list(chosen.direct),
        "position": list(chosen.position),
        "game": chosen.game,
        "confidence": chosen.confidence,
        "replicates": chosen.replicates,
        "seed": chosen.seed,
    }
    return Result(
        name="attribution",
        table=found.table,
        meaning=found.meaning,
        parameters=asked | shared,
        assumptions=found.assumptions,
        warnings=found.warnings,
        extra=found.extra,
        provenance=provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_attribution

    return plot_attribution(result, ax)
