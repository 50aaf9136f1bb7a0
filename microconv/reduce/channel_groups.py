"""GA4's default channel groups from source, medium and campaign.

The rules are those that Google documents for manually tagged traffic ("Default channel group", Analytics Help, answer
9756891), the first that fits counting; ``sites.py`` has Google's list of sites.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import ibis

from microconv.reduce.sites import SITES

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine

__all__ = ["GROUP", "GROUPS", "channel_group", "group_of", "with_channel_group"]

GROUP = "_channel_group"  # the column that with_channel_group adds

_PAID = r"^(.*cp.*|ppc|retargeting|paid.*)$"
_SHOP = r"^(.*(([^a-df-z]|^)shop|shopping).*)$"
_MAIL = ("email", "e-mail", "e_mail", "e mail")

# A condition is any of the parts that are given: a site of a list, exact values, a pattern of the campaign.
Test = Callable[[Any, Any, Any, Any], Any]


def _site(kind: str) -> Test:
    return lambda on, source, medium, campaign: on.among(source, SITES[kind])


def _medium(*names: str) -> Test:
    return lambda on, source, medium, campaign: on.among(medium, names)


def _both(*tests: Test) -> Test:
    return lambda *given: reduce(lambda a, b: a & b, [test(*given) for test in tests])


def _either(*tests: Test) -> Test:
    return lambda *given: reduce(or_, [test(*given) for test in tests])


def _source(*names: str) -> Test:
    return lambda on, source, medium, campaign: on.among(source, names)


def _medium_like(pattern: str) -> Test:
    return lambda on, source, medium, campaign: on.like(medium, pattern)


def _campaign_like(pattern: str) -> Test:
    return lambda on, source, medium, campaign: on.like(campaign, pattern)


_paid, _shop = _medium_like(_PAID), _either(_site("shopping"), _campaign_like(_SHOP))
GROUPS: dict[str, Test] = {
    "Direct": _both(_source("(direct)"), _medium("(none)", "(not set)")),
    "Cross-network": _campaign_like(".*cross-network.*"),
    "Paid Shopping": _both(_shop, _paid),
    "Paid Search": _both(_site("search"), _paid),
    "Paid Social": _both(_site("social"), _paid),
    "Paid Video": _both(_site("video"), _paid),
    "Display": _medium("display", "banner", "expandable", "interstitial", "cpm"),
    "Paid Other": _paid,
    "Organic Shopping": _shop,
    "Organic Social": _either(
        _site("social"), _medium("social", "social-network", "social-media", "sm", "social network", "social media")
    ),
    "Organic Video": _either(_site("video"), _medium_like(".*video.*")),
    "Organic Search": _either(_site("search"), _medium("organic")),
    "Referral": _medium("referral", "app", "link"),
    "Email": _either(_source(*_MAIL), _medium(*_MAIL)),
    "Affiliates": _medium("affiliate"),
    "Audio": _medium("audio"),
    "SMS": _either(_source("sms"), _medium("sms")),
    "Mobile Push Notifications": _either(_medium_like(".*push|.*mobile.*|.*notification.*"), _source("firebase")),
}
UNASSIGNED = "Unassigned"


class _Columns:
    """Conditions on columns of a table."""

    @staticmethod
    def among(value: ir.StringValue, names: tuple[str, ...]) -> ir.BooleanValue:
        return value.isin(names)

    @staticmethod
    def like(value: ir.StringValue, pattern: str) -> ir.BooleanValue:
        return value.re_search(pattern if pattern.startswith("^") else f"^({pattern})$")


class _Texts:
    """The same on plain text."""

    @staticmethod
    def among(value: str, names: tuple[str, ...]) -> bool:
        return value in names

    @staticmethod
    def like(value: str, pattern: str) -> bool:
        return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value) is not None


def channel_group(engine: Engine, events: ir.Table, *, direct: bool = False) -> ir.StringValue:
    """The group of each event, from its columns ``source``, ``medium`` and ``campaign`` (which may be missing); where
    it has neither source nor medium ``Direct`` if ``direct``, else null.
    """
    none = ibis.literal("")

    def clean(name: str) -> ir.StringValue:
        if name not in events.columns:
            return none
        return engine.trim(events[name].cast("string")).lower().fill_null("")

    source, medium, campaign = clean("source"), clean("medium"), clean("campaign")
    medium = (medium == "").ifelse("(none)", medium)
    cases = [(test(_Columns, source, medium, campaign), name) for name, test in GROUPS.items()]
    unknown = (source == "") & (medium == "(none)")
    return ibis.cases((unknown, "Direct" if direct else ibis.null("string")), *cases, else_=UNASSIGNED)


def with_channel_group(engine: Engine, events: ir.Table, *, direct: bool = False) -> ir.Table:
    """The events with their group as ``_channel_group``; ``direct`` as in ``channel_group``.

    A log has few different sources, mediums and campaigns: each combination is looked up once and joined, which takes
    a twentieth of the time of asking every row.
    """
    names = [name for name in ("source", "medium", "campaign") if name in events.columns]
    keys = {f"_its_{name}": events[name].cast("string").fill_null("") for name in names}
    keyed = events.mutate(**keys)
    known = keyed.select(**{name: keyed[f"_its_{name}"] for name in names}).distinct()
    known = engine.materialise(known.mutate(**{GROUP: channel_group(engine, known, direct=direct)}))
    known = known.rename({f"_of_{name}": name for name in names})
    joined = keyed.left_join(known, [keyed[f"_its_{name}"] == known[f"_of_{name}"] for name in names])
    return joined.drop(*keys, *(f"_of_{name}" for name in names))


def group_of(source: str, medium: str, campaign: str = "") -> str:
    """The group of one source, medium and campaign.

    >>> group_of("google", "cpc"), group_of("(direct)", "(none)"), group_of("news.example", "referral")
    ('Paid Search', 'Direct', 'Referral')
    """
    given = (source.strip().lower(), medium.strip().lower() or "(none)", campaign.strip().lower())
    return next((name for name, test in GROUPS.items() if test(_Texts, *given)), UNASSIGNED)
