"""suggest_plan: a first draft of a tracking plan from the events themselves, each guess with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from microconv.durations import MICROS_PER_DAY
from microconv.errors import ParameterError, shorten, unknown_name
from microconv.plan import End, Macro, Micro, Plan
from microconv.reduce.suggestions import attribute_levels, event_summary, times_to_event

if TYPE_CHECKING:
    from microconv.log import EventLog

__all__ = ["Draft", "draft_plan", "suggest_plan"]

# Words that name what an event is, the surest first. Matched as whole words of a name cut at anything but letters,
# so that "reorder" is no order and "checkout_started" is an intent.
_MACRO = ("purchase", "purchased", "order", "ordered", "transaction", "sale", "won", "lead", "subscribe", "subscribed",
          "subscription", "paid", "payment", "booking", "booked", "activated", "converted", "conversion")  # fmt: skip
_COMPETING = ("unsubscribe", "unsubscribed", "optout", "declined", "rejected", "lost", "churned", "cancelled",
              "canceled", "bounced")  # fmt: skip
_CENSOR = ("deleted", "deactivated", "erased", "anonymized", "anonymised")
_KINDS = {
    "intent": ("cart", "basket", "wishlist", "checkout", "quote", "trial", "offer", "offers"),
    "identity": ("account", "register", "registered", "registration", "login", "signin", "identify"),
    "form": ("newsletter", "signup", "form", "submit", "submitted", "contact", "callback"),
    "content": ("download", "downloaded", "guide", "whitepaper", "ebook", "article", "brochure"),
    "social": ("share", "shared", "like", "follow", "invite", "invited", "refer", "review"),
    "survey": ("survey", "poll", "quiz", "feedback", "nps"),
    "engagement": ("video", "watch", "watched", "scroll", "search", "session", "play", "click", "chat", "progress"),
}  # fmt: skip
_BACKGROUND = ("view", "pageview", "page", "visit", "impression", "heartbeat", "ping", "exposure")
_VALUES = ("value", "revenue", "amount", "price", "total", "order_value")
_SEGMENTS = ("device", "country", "channel", "source", "medium", "platform", "browser", "os", "language", "origin",
             "region", "variant", "segment", "plan", "landing_page_id")  # fmt: skip
_EVERYBODY = 0.95  # what everybody does tells nobody apart
_HORIZONS = (1, 3, 7, 14, 30, 60, 90, 180, 365)
_MOST_MICROS, _MOST_SEGMENTS, _MOST_LEVELS = 12, 3, 50


@dataclass(frozen=True)
class Draft:
    """A drafted plan with the reason of each guess, by the name of the item or the key of the plan."""

    plan: Plan
    reasons: dict[str, str]

    def to_yaml(self) -> str:
        """The plan as YAML, headed by the reasons as comments."""
        lines = ["# A draft made from the events: check every line, above all the macro."]
        lines += [f"# {_one_line(name)}: {_one_line(reason)}" for name, reason in self.reasons.items()]
        return "\n".join(lines) + "\n" + self.plan.to_yaml()


def suggest_plan(log: EventLog, *, macro: str | None = None) -> Plan:
    """Draft a plan: which event is the conversion, which are micro-conversions, how far to look.

    ``macro`` names the event that is the conversion, where the names do not say it. The draft is made from event names,
    counts and columns alone, the same for the same events; ``microconv.suggest.draft_plan`` gives the reasons too.
    Raises ``ParameterError`` when no event looks like a conversion.

    >>> import microconv as mc
    >>> mc.suggest_plan(mc.sample_log()).macros[0].name
    'purchase'
    """
    return draft_plan(log, macro=macro).plan


def draft_plan(log: EventLog, *, macro: str | None = None) -> Draft:
    """As ``suggest_plan``, with the reason of each guess."""
    events = event_summary(log)
    reasons: dict[str, str] = {}
    chosen, reasons[_MACRO_KEY] = _choose_macro(events, macro)
    others = events[events["event"] != chosen].reset_index(drop=True)
    competing = [name for name in others["event"] if _rank(name, _COMPETING) is not None]
    censor = [name for name in others["event"] if name not in competing and _rank(name, _CENSOR) is not None]
    for name in competing:
        reasons[f"competing {name}"] = "its name says that a journey ends otherwise"
    for name in censor:
        reasons[f"censor {name}"] = "its name says that nothing is observed afterwards"
    value = next((c for c in _VALUES if c in log.columns and log.table[c].type().is_numeric()), None)
    currency = _currency(log) if value is not None else None
    if value is not None:
        reasons["value"] = f"the column {value!r} holds numbers" + (f" in {currency}" if currency else "")
    micros: list[Micro] = []
    for row in others.to_dict("records"):
        name = str(row["event"])
        if name in competing or name in censor or len(micros) == _MOST_MICROS:
            continue
        kind = _kind(name)
        if row["share"] > _EVERYBODY or (kind is None and _rank(name, _BACKGROUND) is not None):
            continue
        micros.append(Micro.model_validate({"name": name, "event": name, "kind": kind}))
        reasons[name] = f"{row['users']:,} users ({row['share']:.0%})" + (f"; its name says {kind}" if kind else "")
    segments = _segments(log)
    if segments:
        reasons["segments"] = "usual attributes with few values; taken as they are at entry"
    horizon, reasons["horizon"] = _horizon(log, chosen)
    plan = Plan(
        macros=(Macro.model_validate({"name": chosen, "event": chosen, "value": value, "currency": currency}),),
        micros=tuple(micros),
        competing=tuple(End(name=name, event=name) for name in competing),
        censor=tuple(End(name=name, event=name) for name in censor),
        segments=tuple(segments),
        horizon=horizon,
    )
    return Draft(plan, reasons)


_MACRO_KEY = "macro"


def _choose_macro(events: pd.DataFrame, macro: str | None) -> tuple[str, str]:
    names = [str(name) for name in events["event"]]
    if macro is not None:
        if macro not in names:
            raise ParameterError(unknown_name("event macro=", macro, names))
        return macro, "named by the caller"
    ranked = [(rank, -row["users"], str(row["event"])) for row in events.to_dict("records")
              if (rank := _rank(str(row["event"]), _MACRO)) is not None and row["share"] < 0.9
              and _rank(str(row["event"]), _COMPETING) is None]  # fmt: skip
    if not ranked:
        shown = ", ".join(repr(shorten(name, 40)) for name in names[:12])
        raise ParameterError(
            f"No event looks like a conversion. Name it: macro='...'. The most frequent events are {shown}."
        )
    _, users, name = min(ranked)
    return name, f"its name says so; {-users:,} users did it"


def _words(name: str) -> list[str]:
    # Camel case is cut too: "OrderPlaced" is an order.
    return [word for word in re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()) if word]


def _rank(name: str, words: tuple[str, ...]) -> int | None:
    found = [words.index(word) for word in _words(name) if word in words]
    return min(found) if found else None


def _kind(name: str) -> str | None:
    return next((kind for kind, words in _KINDS.items() if _rank(name, words) is not None), None)


def _currency(log: EventLog) -> str | None:
    if "currency" not in log.columns:
        return None
    codes = log.table.filter(log.table.currency.notnull()).select("currency").distinct().limit(2)
    found = [str(code) for code in log.engine.fetch(codes)["currency"]]
    return found[0] if len(found) == 1 and re.fullmatch(r"[A-Z]{3}", found[0]) else None


def _segments(log: EventLog) -> list[str]:
    wanted = [column for column in _SEGMENTS if column in log.columns]
    levels = attribute_levels(log, wanted) if wanted else {}
    return [column for column in wanted if 2 <= levels[column] <= _MOST_LEVELS][:_MOST_SEGMENTS]


def _horizon(log: EventLog, macro: str) -> tuple[str, str]:
    """The round number of days within which nine of ten observed conversions come."""
    observed = (log.observed_until - log.observed_from).total_seconds() / 86_400
    micros = times_to_event(log, macro, 0.9)
    if micros is None:
        return "30D", "nobody converts in these events, so a month is as good as any"
    days = micros / MICROS_PER_DAY
    fitting = [horizon for horizon in _HORIZONS if horizon <= max(observed, 1)]
    chosen = next((horizon for horizon in fitting if horizon >= days), fitting[-1])
    return f"{chosen}D", f"nine of ten observed conversions come within {days:.1f} days of entry"


def _one_line(text: Any) -> str:
    return shorten(" ".join(str(text).split()), 120)
