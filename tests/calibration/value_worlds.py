"""Worlds whose micros have a known worth: real effects and none, confounding that the log shows or hides, a step that
every conversion needs, effects that fade or work through another micro, and an experiment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from microconv.durations import days, to_micros
from microconv.simulate import (
    Calendar,
    Intent,
    Macro,
    Micro,
    OrderValue,
    Steps,
    Trait,
    Visits,
    World,
    strong_world,
)

__all__ = ["MACRO", "VARIANT", "WORLDS", "ValueWorld"]

MACRO, VARIANT = "purchase", "variant"
# Everybody is observed for at least 30 days, and for 60 on average.
_ENTRIES, _FOLLOW_UP = "60D", "30D"
_CALENDAR = Calendar(entries_over=_ENTRIES, follow_up=_FOLLOW_UP)
_OLDEST = days(to_micros(_ENTRIES)) + days(to_micros(_FOLLOW_UP))
_VALUE = OrderValue(60.0, 0.6)


@dataclass(frozen=True)
class ValueWorld:
    """A world and the question asked of it.

    ``adjust``: the attributes at entry that confound (or change) what is asked. ``methods``: those whose intervals are
    claimed to hold the truth here. ``structural``: micros without which nobody converts. ``encouraged``: the micro that
    an experiment nudges users towards, and nothing else. ``placebo``: whether users have events of their own to time
    one by. ``fades``: whether the hazard method is asked with ``since="auto"`` too (method ``hazard, since``).
    """

    says: str
    world: World
    adjust: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("hazard", "trials")
    structural: tuple[str, ...] = ()
    encouraged: str | None = None
    placebo: bool = False
    fades: bool = False

    @property
    def micros(self) -> tuple[str, ...]:
        """The names of the micros."""
        return tuple(micro.name for micro in self.world.micros)

    @property
    def decoys(self) -> tuple[str, ...]:
        """The micros that do nothing to the macro, neither themselves nor through another micro."""
        does = {micro.name for micro in self.world.micros if micro.hazard_ratio != 1} | set(self.structural)
        return tuple(m.name for m in self.world.micros if m.name not in does and not does & set(m.causes))

    @property
    def hides(self) -> bool:
        """Whether a trait that the log does not show confounds what an analyst would ask."""
        return self.world.hidden_intent is not None and self.encouraged is None

    @property
    def horizon_days(self) -> float:
        """How long after the action a conversion counts."""
        return days(to_micros(self.world.horizon))

    @property
    def until_age(self) -> str:
        """Later actions are not observed for the whole horizon by anybody."""
        return f"{_OLDEST - self.horizon_days:g}D"


def _rate(first_day: float, first_week: float, later: float) -> Steps:
    return Steps((1.0, 7.0), (first_day, first_week, later))


_DEVICE = Trait(
    "device",
    {"desktop": 0.4, "mobile": 0.6},
    {MACRO: {"mobile": 0.7}, "order_value": {"mobile": 0.8}},
)
# A nudge in the first hour or two after entry, taken up at once or never: so that only the share who do it differs.
_AT_ONCE = Steps((0.05,), (3.0, 0.0))
_NUDGE = 6.0


def _confounded(name: str, hidden: float = 1.0) -> World:
    """Who is interested does more of everything; ``hidden`` above 1: so does a second interest, never shown."""
    micros = (
        Micro("add_to_cart", "intent", _rate(0.06, 0.02, 0.01), 3.0, 3.0, hidden),
        Micro("newsletter_signup", "form", _rate(0.10, 0.02, 0.01), 1.5, 3.0, hidden),
        Micro("share", "social", _rate(0.10, 0.02, 0.005), 1.0, 5.0, hidden),
    )
    return World(
        name,
        Macro(MACRO, 0.0025, intent_effect=8.0, hidden_intent_effect=hidden, value=_VALUE),
        micros,
        intent=Intent("interest", 0.3),
        hidden_intent=Intent("hidden_interest", 0.4) if hidden != 1.0 else None,
    )


WORLDS: dict[str, ValueWorld] = {
    "zero": ValueWorld(
        "No micro does anything, everybody is alike, rates are constant.",
        World(
            "zero",
            Macro(MACRO, 0.06, value=_VALUE),
            (
                Micro("newsletter_signup", "form", 0.08),
                Micro("video_watched", "content", 0.04),
                Micro("share", "social", 0.02),
            ),
            horizon="14D",
        ),
    ),
    "real": ValueWorld(
        "Real effects, one of them on the basket too, and a decoy; most happens in the first days.",
        World(
            "real",
            Macro(MACRO, _rate(0.05, 0.015, 0.006), value=_VALUE),
            (
                Micro("add_to_cart", "intent", _rate(0.15, 0.03, 0.01), 4.0),
                Micro("guide_downloaded", "content", 0.03, 2.0, value_ratio=1.3),
                Micro("share", "social", 0.03),
            ),
            traits=(_DEVICE,),
            horizon="14D",
        ),
        adjust=("device",),
    ),
    "observed": ValueWorld(
        "Who is interested does more of everything, visits too; the log shows the interest. The share is a decoy.",
        replace(_confounded("observed"), visits=Visits(0.15, pages=1.0, intent_effect=4.0)),
        adjust=("interest",),
        placebo=True,
    ),
    "hidden": ValueWorld(
        "As before, and a second interest that the log does not show triples everything once more.",
        _confounded("hidden", 3.0),
        adjust=("interest",),
        methods=(),
    ),
    "structural": ValueWorld(
        "Nobody buys without a checkout; the cart does nothing but lead to it. The share is a decoy.",
        World(
            "structural",
            Macro(MACRO, 0.25, requires="checkout", value=_VALUE),
            (
                Micro("add_to_cart", "intent", _rate(0.2, 0.04, 0.01), causes={"checkout": 5.0}),
                Micro("checkout", "intent", _rate(0.05, 0.02, 0.01)),
                Micro("share", "social", 0.03),
            ),
            horizon="14D",
        ),
        structural=("checkout",),
    ),
    "fading": ValueWorld(
        "A guide that helps much, for three days only; a cart that helps for good.",
        World(
            "fading",
            Macro(MACRO, 0.01, value=_VALUE),
            (
                Micro("guide_downloaded", "content", 0.03, 8.0, fade_days=3.0),
                Micro("add_to_cart", "intent", 0.03, 3.0),
                Micro("share", "social", 0.03),
            ),
            horizon="14D",
        ),
        methods=("hazard, since", "trials"),
        fades=True,
    ),
    "mediated": ValueWorld(
        "A newsletter that works only through the cart, and brings unsubscribing with it; large effects, confounded by "
        "an interest that the log shows. The share is a decoy.",
        strong_world(),
        adjust=("device", "interest"),
    ),
    "encouragement": ValueWorld(
        "An experiment nudges users towards the newsletter and nothing else; who wants to buy, which the log does not "
        "show, signs up more often anyway.",
        World(
            "encouragement",
            Macro(MACRO, 0.01, hidden_intent_effect=3.0, value=_VALUE),
            (
                Micro("newsletter_signup", "form", _AT_ONCE, 2.0, hidden_intent_effect=2.0),
                Micro("add_to_cart", "intent", 0.02, 3.0, hidden_intent_effect=2.0),
            ),
            hidden_intent=Intent("hidden_interest", 0.4),
            traits=(
                Trait(VARIANT, {"control": 0.5, "nudged": 0.5}, {"newsletter_signup": {"nudged": _NUDGE}}),
            ),
            horizon="14D",
        ),
        methods=(),
        encouraged="newsletter_signup",
    ),
}  # fmt: skip
WORLDS = {name: replace(made, world=replace(made.world, calendar=_CALENDAR)) for name, made in WORLDS.items()}
