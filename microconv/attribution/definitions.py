"""The models of attribution: what each is, in words that are printed with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from microconv.errors import ParameterError, shorten, unknown_name

__all__ = ["CHAINS", "DEFINITIONS", "GAMES", "TIMED", "asked_models", "definition"]

CHAINS = {"markov": 1, "markov2": 2, "markov3": 3}
# Models that need the times of touches, which aggregated paths have not.
TIMED = ("time_decay", "time_decay_steps", "survival")
DEFINITIONS = {
    "first": "All to the first touch of the path.",
    "last": "All to the last touch before the conversion.",
    "last_non_direct": "All to the last touch that is none of {direct}; if every touch is, to the last one.",
    "linear": "Equal parts to every touch of the path; a channel that is touched twice has two parts.",
    "linear_unique": "Equal parts to every channel on the path, however often it is touched.",
    "position": "{first:.0%} to the first touch, {last:.0%} to the last, {middle:.0%} in equal parts to those between; "
    "where a path is too short for all three, the others in proportion.",
    "time_decay": "Each touch weighs half as much for every {half_life} that it lies before the conversion "
    "(continuously); weights are divided by their sum on the path.",
    "time_decay_steps": "As time_decay, in steps: the weight halves at each full {half_life} only.",
    "any_touch": "A whole conversion to every channel on the path; what is counted more than once is taken off in the "
    "row (overlap).",
    "markov": "Paths as a chain in which the next step depends on the last touch. A channel's removal effect is the "
    "share of conversions lost if every path ended without one on reaching it; conversions are divided in proportion "
    "to the removal effects.",
    "markov2": "As markov, the next step depending on the last two touches; removing a channel removes every pair that "
    "holds it.",
    "markov3": "As markov, the next step depending on the last three touches.",
    "shapley": "Shapley's value of a game between channels. {game}",
    "survival": "The rate of conversion is a baseline, by time since the first touch and channel of entry, plus what "
    "each touch adds, which halves every {survival_half_life}; each conversion is divided by the parts that these have "
    "in the rate at its moment. Users whose time is not up count as not converted yet; the first conversion of each "
    "user counts, later ones are unattributed.",
}
GAMES = {
    "conversions": "A coalition earns the conversions of all paths on which no other channel stands; this gives every "
    "channel of a path an equal part, which is linear_unique.",
    "rate": "A coalition earns the conversion rate of the paths on which no other channel stands, for as many paths "
    "as there are; a channel whose paths convert less often than others can have a negative part.",
}


def asked_models(model: str | Sequence[str], timed: bool) -> tuple[str, ...]:
    """The models that are asked for, in the order of the definitions. Raises ``ParameterError``."""
    known = tuple(name for name in DEFINITIONS if timed or name not in TIMED)
    if isinstance(model, str) and model == "all":
        return known
    asked = [model] if isinstance(model, str) else list(model)
    if not asked:
        raise ParameterError("model=[] names no model. Name some, or 'all'.")
    for name in asked:
        if name in TIMED and not timed:
            raise ParameterError(
                f"model={shorten(repr(name))} needs the times of touches, which aggregated paths have not. Give the "
                "events themselves, or choose another model."
            )
        if name not in known:
            raise ParameterError(unknown_name("model", name, (*known, "all")))
    return tuple(name for name in known if name in asked)


def definition(model: str, **values: object) -> str:
    """What a model is, with the parameters that were chosen."""
    return DEFINITIONS[model].format(**values)
