"""mc.explain_conversion: for one conversion, which touch got how much by which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from microconv.attribution import DIRECT_CHANNELS
from microconv.attribution.asking import ask, asked, choices
from microconv.attribution.explaining_tables import conversions_table, table_of, touches_side_by_side
from microconv.attribution.explaining_words import Explained, assumptions, meaning, warnings_of
from microconv.attribution.one_conversion import divide
from microconv.durations import Duration, format_duration
from microconv.errors import ParameterError, shorten
from microconv.path_table import PathTable
from microconv.payment_terms import PaymentTerms
from microconv.reduce.money import CENTS
from microconv.results import Result
from microconv.steps import Step

if TYPE_CHECKING:
    from microconv.attribution.asking import Question
    from microconv.log import EventLog
    from microconv.path_changes import Transform
    from microconv.reduce.path_of_user import UserPaths

__all__ = ["explain_conversion"]


def explain_conversion(
    log: EventLog,
    user_id: object,
    *,
    conversion: int | Literal["last"] = 1,
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
    worth: Step | None = None,
    worth_within: Duration | None = None,
    refunds: Step | Sequence[Step] = (),
    margin: float = 1.0,
    discount_rate: float = 0.0,
    value: str | None = None,
    currency: str | None = None,
    rates: Mapping[str, float] | None = None,
) -> Result:
    """Why did this conversion go to these channels: what does each touch before it get, by each model?

    ``user_id``: whose conversion; ``conversion``: which of theirs in time order, from 1, or ``"last"``. Target events
    of one instant are one here, with all their money. Everything else is as in ``mc.attribution``.

    * Rules (``first`` to ``any_touch``) and ``shapley`` in the game ``"conversions"`` divide each conversion on its
      own: over all conversions these shares add up to what ``mc.attribution`` gives.
    * ``survival`` divides it by the parts that the baseline and each touch have in the rate of conversion at that
      moment; these add up too. It takes touches before the path as well (there is no lookback in it).
    * ``markov, markov2, markov3`` divide the total, not single conversions. What is shown is a reading of them: the
      removal effects of the channels on this path, in proportion; it does not add up to their credits.
    * ``shapley`` with ``game="rate"`` has no share of a single conversion and is left out.

    Models of channels (``linear_unique, any_touch, shapley``, chains) do not tell touches of one channel apart: what
    the channel gets is in equal parts on its touches.

    Only the user's own rows are read, but for the chains and ``survival``, which each count the whole log once, as
    ``mc.attribution`` does: to look at many conversions of a large log, name the models.

    ``.table``: ``model, touch`` (which on the path, from 1; none for what is no touch and for touches before the path),
    ``time, channel, age_days`` (before the conversion), ``share`` (of the conversion; each model's add up to 1),
    ``value`` (its part of the money; NaN without a column of money), ``users`` (1: a row is about one person, so that
    ``save`` writes the numbers with ``min_cell=0`` only). Rows that are no touch: ``(baseline)`` (survival: what would
    be there without a touch), ``(overlap)`` (any_touch: counted more than once, below 0), ``(unattributed)`` (no touch
    on the path; survival: not the user's first conversion, or none at the end of a time at risk).
    ``.side_by_side``: a row per touch, a column of shares per model. ``.conversions``: all of the user's: ``conversion,
    time, events`` (at this instant), ``value, touches`` (on the path). ``.models``: definitions.

    Raises ``ParameterError``: an unknown user, one without a conversion, a number that is too high.

    >>> import microconv as mc
    >>> why = mc.explain_conversion(mc.sample_log(), "u000009", model=["last", "linear", "markov"])
    >>> why.side_by_side[["touch", "channel", "last", "linear", "markov"]].round(2)
       touch      channel  last  linear  markov
    0      1      organic   0.0     0.2    0.19
    1      2  paid_search   0.0     0.2    0.28
    2      3        email   0.0     0.2    0.13
    3      4       direct   0.0     0.2    0.21
    4      5      organic   1.0     0.2    0.19
    """
    if isinstance(log, PathTable):
        raise ParameterError(
            "explain_conversion needs the events of a log: a PathTable has no users. Its .frame has the paths."
        )
    chosen = choices(
        model, timed=True, direct=direct, position=position, game=game, confidence=0.95, replicates=1_000, seed=0
    )
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
        log,
        chosen,
        target=target,
        touch=touch,
        channel=channel,
        lookback=lookback,
        reset=reset,
        repeat=repeat,
        transforms=transforms,
        half_life=half_life,
        check=False,
        by=None,
        worth=worth,
        worth_within=worth_within,
        terms=terms,
    )
    if conversion != "last" and (isinstance(conversion, bool) or not isinstance(conversion, int) or conversion < 1):
        raise ParameterError(
            f"conversion={shorten(repr(conversion))} must be a whole number, 1 for the user's first, or 'last'."
        )
    user = str(user_id)
    paths = _paths(log, question, user)
    which = _which(paths, conversion, user, question.rule.target.name)
    return _result(log, question, terms, user, paths, which)


def _paths(log: EventLog, question: Question, user: str) -> UserPaths:
    """The paths of a user who has a conversion."""
    from microconv.reduce.path_of_user import converting_users, paths_of_user, similar_users

    found = paths_of_user(log, question.rule, user, risk="survival" in question.choices.models)
    if found is None:
        near = ", ".join(repr(shorten(name, 40)) for name in similar_users(log, user[:80]))
        raise ParameterError(f"No event of user {shorten(repr(user))} is in the log. The nearest names: {near}.")
    if not found.conversions:
        named = [repr(shorten(name, 40)) for name in converting_users(log, question.rule)]
        others = f"Users with one: {', '.join(named)}, ..." if named else "Nobody in the log has one."
        raise ParameterError(
            f"User {shorten(repr(user))} has no conversion ({question.rule.target.name!r}) to explain. {others}"
        )
    return found


def _which(paths: UserPaths, conversion: int | str, user: str, target: str) -> int:
    many = len(paths.conversions)
    if conversion == "last":
        return many - 1
    assert isinstance(conversion, int)  # checked by the caller
    if conversion > many:
        allowed = f"1 to {many}, or 'last'" if many > 1 else "1"
        raise ParameterError(
            f"conversion={conversion:,}: user {shorten(repr(user))} has {many:,} ({target!r}). Choose {allowed}."
        )
    return conversion - 1


def _result(log: EventLog, question: Question, terms: PaymentTerms, user: str, paths: UserPaths, which: int) -> Result:
    rule, chosen = question.rule, question.choices
    divided = divide(log, question, paths, which)
    at_hand = paths.conversions[which]
    worth = at_hand.cents / CENTS if rule.terms is not None else np.nan
    table = table_of(divided.parts, at_hand, worth)
    answered = dict.fromkeys(part.model for part in divided.parts)
    definitions = chosen.definitions(format_duration(rule.half_life), divided.survival_half_life)
    parameters = asked(question, terms)
    told = Explained(
        user=user,
        target=rule.target.name,
        number=which + 1,
        of=len(paths.conversions),
        conversion=at_hand,
        table=table,
        value=worth,
        currency=parameters["currency"],
        definitions={model: text for model, text in definitions.items() if model in answered},
        rule=rule,
    )
    return Result(
        name="explain_conversion",
        table=table,
        meaning=meaning(told),
        parameters={
            "user_id": user,
            "conversion": which + 1,
            "model": list(chosen.models),
            **{name: said for name, said in parameters.items() if name not in ("by", "check")},
            "direct": list(chosen.direct),
            "position": list(chosen.position),
            "game": chosen.game,
        },
        assumptions=assumptions(told),
        warnings=[*divided.notes, *warnings_of(told)],
        extra={
            "side_by_side": touches_side_by_side(divided.parts, at_hand),
            "conversions": conversions_table(paths, rule.terms is not None),
            "models": pd.DataFrame({"model": list(told.definitions), "definition": list(told.definitions.values())}),
        },
        provenance=log.provenance,
        plot_with=_plot,
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_explained_conversion

    return plot_explained_conversion(result, ax)
