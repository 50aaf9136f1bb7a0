"""Worlds to start from: three lean ones for calibration, and a web shop that looks like one."""

from __future__ import annotations

from collections.abc import Callable

from microconv.errors import ParameterError, unknown_name
from microconv.simulate.checks import check_number
from microconv.simulate.processes import End, Intent, Macro, Micro, OrderValue, Steps, Trait
from microconv.simulate.tracking import Calendar, Identity, Visits
from microconv.simulate.world import World

__all__ = ["WORLDS", "confounded_world", "find_world", "null_world", "strong_world", "web_shop"]

_DEVICES = {"desktop": 0.4, "mobile": 0.6}


def null_world() -> World:
    """No micro has any effect, everybody is alike, hazards are constant: every honest estimate is 1, or 0."""
    micros = (
        Micro("add_to_cart", "intent", 0.03, carries_item=True),
        Micro("newsletter_signup", "form", 0.02),
        Micro("share", "social", 0.01),
    )
    return World("null", Macro(rate_per_day=0.012), micros, traits=(Trait("device", _DEVICES),), segments=("device",))


def confounded_world(hidden_effect: float = 1.0) -> World:
    """Who wants to buy does more of everything: the share is a decoy that looks strong until intent is adjusted for.

    ``hidden_effect`` above 1 lets a second intent, which the log does not show, do the same: then no adjustment helps.
    """
    check_number("hidden_effect", hidden_effect)
    micros = (
        Micro("add_to_cart", "intent", 0.02, 3.0, 2.5, hidden_effect, carries_item=True),
        Micro("newsletter_signup", "form", 0.02, 1.5, 2.0, hidden_effect),
        Micro("share", "social", 0.02, 1.0, 4.0, hidden_effect),
    )
    return World(
        "confounded",
        Macro(rate_per_day=0.005, intent_effect=4.0, hidden_intent_effect=hidden_effect),
        micros,
        intent=Intent("interest", 0.3),
        hidden_intent=Intent("hidden_interest", 0.4),
        traits=(Trait("device", _DEVICES, {"purchase": {"mobile": 0.7}}),),
        segments=("device",),
    )


def strong_world() -> World:
    """Large effects: a cart of ratio 6, a guide of 3, a decoy, and a newsletter that works only through the cart."""
    micros = (
        Micro("add_to_cart", "intent", 0.02, 6.0, 2.0, carries_item=True),
        Micro("newsletter_signup", "form", 0.02, 1.0, 1.5, causes={"add_to_cart": 4.0}),
        Micro("guide_downloaded", "content", 0.03, 3.0, 1.5, value_ratio=1.2),
        Micro("share", "social", 0.02, 1.0, 3.0),
    )
    return World(
        "strong",
        Macro(rate_per_day=0.004, intent_effect=2.5),
        micros,
        intent=Intent("interest", 0.3),
        traits=(Trait("device", _DEVICES, {"purchase": {"mobile": 0.7}, "order_value": {"mobile": 0.8}}),),
        competing=(End("unsubscribe", 0.01, requires="newsletter_signup"),),
        segments=("device",),
    )


def _rate(first_minutes: float, first_day: float, first_week: float, later: float) -> Steps:
    """Rates per day in the first 20 minutes (the first visit), the rest of the first day and week, and later."""
    return Steps((1 / 72, 1.0, 7.0), (first_minutes, first_day, first_week, later))


def web_shop() -> World:
    """A web shop: two thirds of the purchases within 30 days fall on the first day; the sample data comes from it."""
    micros = (
        Micro("watched_25", "engagement", _rate(11.0, 0.02, 0.004, 0.0015), 1.0, 1.5, 1.3, event="video_progress",
              columns={"percent": (25.0, 50.0)}, page="/video", in_plan=False, repeats_per_day=0.01),
        Micro("watched_75", "engagement", _rate(42.0, 0.4, 0.03, 0.01), 1.6, 1.2, 1.0, requires="watched_25",
              event="video_progress", where="percent >= 75", columns={"percent": (75.0, 90.0, 100.0)}, page="/video"),
        Micro("newsletter_signup", "form", _rate(6.0, 0.02, 0.003, 0.001), 1.0, 1.3, 1.0, causes={"add_to_cart": 4.0},
              page="/newsletter"),
        Micro("add_to_cart", "intent", _rate(8.5, 0.010, 0.0010, 0.0003), 5.0, 2.0, 1.3, repeats_per_day=0.003,
              page="/cart", carries_item=True, kpi="cart rate 20% by 2026-12-31"),
        Micro("account_created", "identity", _rate(4.8, 0.012, 0.0015, 0.0006), 1.8, 1.6, 1.2, page="/account"),
        Micro("guide_downloaded", "content", _rate(5.5, 0.02, 0.004, 0.0015), 1.5, 1.2, 1.0, value_ratio=1.2,
              page="/guide", repeats_per_day=0.005),
        Micro("share", "social", _rate(2.6, 0.012, 0.003, 0.001), 1.0, 3.0, 1.5, page="/share"),
    )  # fmt: skip
    channels = {"organic": 0.34, "paid_search": 0.22, "social": 0.18, "email": 0.08, "direct": 0.18}
    traits = (
        Trait(
            "channel",
            channels,
            {
                "purchase": {"paid_search": 1.2, "social": 0.6, "email": 1.7},
                "share": {"social": 2.0},
                "newsletter_signup": {"email": 0.3},
            },
        ),
        Trait(
            "device",
            {"desktop": 0.38, "mobile": 0.54, "tablet": 0.08},
            {"purchase": {"mobile": 0.65, "tablet": 0.8}, "order_value": {"mobile": 0.8}, "visits": {"mobile": 1.3}},
        ),
        Trait(
            "country",
            {"DE": 0.46, "FR": 0.22, "NL": 0.16, "AT": 0.10, "CH": 0.06},
            {"purchase": {"FR": 0.8, "CH": 1.2}, "order_value": {"CH": 1.4}},
        ),
    )
    return World(
        "shop",
        Macro("purchase", _rate(1.05, 0.0125, 0.0008, 0.00030), 2.2, 1.5, OrderValue(58.0, 0.6, "EUR")),
        micros,
        intent=Intent("visit_reason", 0.3, "browsing", "looking_to_buy"),
        hidden_intent=Intent("hidden_intent", 0.4),
        traits=traits,
        competing=(End("unsubscribe", 0.004, requires="newsletter_signup"),),
        censoring=(End("account_deleted", 0.002, requires="account_created"),),
        visits=Visits(_rate(0.2, 0.4, 0.05, 0.010), 2.8, 60.0, 1.3, 1.2),
        identity=Identity(0.3, "person"),
        consent_share=0.97,
        calendar=Calendar("2026-01-05", "120D", "0D", 0.6),
        also_in_plan=(
            {"name": "third_visit", "kind": "engagement", "event": "session_start", "nth": 3},
            {
                "name": "five_minutes",
                "kind": "engagement",
                "total": {"column": "engagement_seconds", "at_least": 300},
            },
        ),
        segments=("device", "country", "channel"),
    )


WORLDS: dict[str, Callable[[], World]] = {
    "null": null_world,
    "confounded": confounded_world,
    "strong": strong_world,
    "shop": web_shop,
}


def find_world(world: World | str) -> World:
    """The world itself, or the one of that name."""
    if isinstance(world, World):
        return world
    if not isinstance(world, str) or world not in WORLDS:
        raise ParameterError(unknown_name("world", world, WORLDS, "Or give a World of your own."))
    return WORLDS[world]()
