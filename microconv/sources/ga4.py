"""Layout ``ga4``: Google Analytics 4's export to BigQuery, one row an event, as nested JSON lines, Parquet or a table.

``format="ga4"``; recognised by its columns ``event_timestamp``, ``event_name``, ``event_params``, ``user_pseudo_id``.
After the published schema ("[GA4] BigQuery Export schema", Analytics Help, answer 7029846). What becomes what:

* ``event_timestamp`` (microseconds since 1970, UTC) -> ``time``; ``event_name`` -> ``event``; ``user_pseudo_id`` (a
  browser or device) -> ``user_id`` and ``anonymous_id``; ``user_id`` (a login, mostly missing) -> ``login_id``.
  ``columns={"user_id": "user_id"}`` takes logins as users; events without login are then rejected and counted.
* Fields of records: ``_FIELDS``. Other columns at the top keep their names, and numbers that JSON holds as text
  become numbers.
* Every parameter of ``event_params`` becomes a column of its own name (``engagement_time_msec``, ``percent_scrolled``,
  ``form_id``, ...), but for ``_RENAMED``; one whose name is taken becomes ``param_<name>``, which is said. User
  properties become ``user_property_<name>``. A parameter that is a number in some rows and text in others is text.
* ``session_id`` is ``user_pseudo_id.ga_session_id``: ``ga_session_id`` (kept) is the second in which the session began
  and is the same for users who came in the same second.
* ``value``: ``ecommerce.purchase_revenue`` of a ``purchase``, ``refund_value`` of a ``refund``, else the parameter
  ``value``, all in the event's own currency (``currency``); ``event_value_in_usd`` is kept beside it.
* ``items`` is JSON text; ``items_count`` counts its entries; ``item`` is the first one's name, else its id.
* ``source``, ``medium``, ``campaign``: what was collected *with the event*, so that an event is a touch where a
  campaign, a click id or a referrer came with it, and only there: ``collected_traffic_source``, where that is empty (as
  before June 2023) the parameters of those names; the three always of one record.
  ``session_traffic_source_last_click`` (``session_source`` ...) is a verdict on the session, repeated on all of its
  events and carried over from earlier visits: taken for touches it would invent some. ``traffic_source``
  (``first_user_source`` ...) tells how the *user* first came, on every later event too: good as a segment, wrong as a
  touch. Direct visits carry no source: name the events that are touches (``touch="session_start"``) to have them as
  Direct.
* A Google Ads click (``gclid`` collected or as a parameter; ``gclid``, ``gbraid`` or ``wbraid`` in the page's address)
  that the export calls ``google / organic``, as it is known to do, is ``google / cpc``, of the first campaign that is
  named with the event, in its parameters or for the session.

Ignored: ``user_ltv`` (on late exports it knows what the user did later), other fields of ``device``, ``geo``,
``ecommerce``, ``privacy_info``, ``app_info`` and of the traffic sources, ``event_dimensions``, ``publisher``.

Known quirks. There is no event id: rows that a client or the export sends twice cannot be told from events that did
happen twice, and are kept (``exact_duplicates="reject"`` drops rows equal in all that is read). Events of one batch
may carry one timestamp; ``batch_event_index`` has their order. Events without consent have no ``user_pseudo_id`` and
are rejected as ``missing user_id``. Which events are key events is not exported: the plan says it. ``event_date`` is in
the property's zone, ``time`` in UTC. Intraday tables lack the traffic source of the user and of the session.
``session_start`` and ``first_visit`` share instant and source with the first ``page_view``: the transform
``"exposure"`` makes one touch of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import ibis

from microconv.errors import SourceError, shorten
from microconv.sources.base import Layout, Shaped, unique
from microconv.sources.nested import (
    KEYED,
    Parameter,
    field,
    first,
    is_keyed,
    json_text,
    number,
    parameter,
    parameters,
    records_of_text,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine

__all__ = ["LAYOUT", "flatten"]

_NEEDED = ("event_timestamp", "event_name", "event_params", "user_pseudo_id")
_MOST_PARAMETERS = 300

# Our column -> the field; of two the first that is filled.
_FIELDS: dict[str, tuple[str, ...]] = {
    "device": ("device.category",),
    "operating_system": ("device.operating_system",),
    "browser": ("device.web_info.browser", "device.browser"),
    "hostname": ("device.web_info.hostname",),
    "language": ("device.language",),
    "country": ("geo.country",),
    "region": ("geo.region",),
    "city": ("geo.city",),
    "app_version": ("app_info.version",),
    "analytics_storage": ("privacy_info.analytics_storage",),
    "ads_storage": ("privacy_info.ads_storage",),
    "first_user_source": ("traffic_source.source",),
    "first_user_medium": ("traffic_source.medium",),
    "first_user_campaign": ("traffic_source.name",),
    "session_source": (
        "session_traffic_source_last_click.cross_channel_campaign.source",
        "session_traffic_source_last_click.manual_campaign.source",
    ),
    "session_medium": (
        "session_traffic_source_last_click.cross_channel_campaign.medium",
        "session_traffic_source_last_click.manual_campaign.medium",
    ),
    "session_campaign": (
        "session_traffic_source_last_click.cross_channel_campaign.campaign_name",
        "session_traffic_source_last_click.google_ads_campaign.campaign_name",
        "session_traffic_source_last_click.manual_campaign.campaign_name",
    ),
    "session_channel_group": ("session_traffic_source_last_click.cross_channel_campaign.default_channel_group",),
    "collected_gclid": ("collected_traffic_source.gclid",),
}
# Fields that are read for what is made of several.
_READ = (
    *(f"collected_traffic_source.manual_{name}" for name in ("source", "medium", "campaign_name")),
    *(f"collected_traffic_source.{name}" for name in ("dclid", "srsltid")),
    *(f"ecommerce.{name}" for name in ("purchase_revenue", "refund_value", "transaction_id")),
)
_RENAMED = {"page_location": "page"}
# Made of several fields: a parameter of that name is kept as param_<name>, and nobody needs to be told.
_MADE = "session_id value currency source medium campaign transaction_id items items_count item".split()
# Names that mean something to a log: a parameter must not take one by chance.
_CANONICAL = "user_id time event event_id anonymous_id login_id channel variant consent page".split()
_WHOLE = (
    "event_previous_timestamp event_bundle_sequence_id event_server_timestamp_offset"
    " user_first_touch_timestamp batch_event_index batch_ordering_id batch_page_id"
).split()
_RECORDS = (
    "event_params user_properties items device geo app_info privacy_info traffic_source collected_traffic_source"
    " session_traffic_source_last_click ecommerce user_ltv event_dimensions publisher"
).split()
_ITEMS = "array<struct<item_id: string, item_name: string>>"
_NO_VALUE = ("", "(not set)")
_CLICK = r"[?&](gclid|gbraid|wbraid)=[^&#]"


def _detect(columns: Sequence[str]) -> bool:
    return set(_NEEDED) <= set(columns)


def _reshape(engine: Engine, table: ir.Table) -> Shaped:
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        listing = ", ".join(repr(shorten(name, 40)) for name in table.columns[:20])
        raise SourceError(
            f"format='ga4' reads GA4's export to BigQuery, and this has no column {missing[0]!r}. Its columns are "
            f"{listing}. Leave format= out and map them with columns=."
        )
    table, notes = _parsed(engine, table)
    if not is_keyed(table, "event_params"):
        raise SourceError(
            "format='ga4': event_params must hold lists of records of a key and a value, but its type is "
            f"{shorten(table['event_params'].type(), 200)}."
        )
    named = parameters(engine, table, "event_params")
    properties = parameters(engine, table, "user_properties") if is_keyed(table, "user_properties") else []
    for what, found in (("parameters", named), ("user properties", properties)):
        if len(found) > _MOST_PARAMETERS:
            notes.append(
                f"{len(found):,} different {what} occur: the {_MOST_PARAMETERS} most frequent become columns, others "
                f"such as {shorten(repr(found[-1].name), 60)} are left out."
            )
    shaped = flatten(engine, table, named[:_MOST_PARAMETERS], properties[:_MOST_PARAMETERS])
    return Shaped(shaped.table, (*notes, *shaped.notes))


def _parsed(engine: Engine, table: ir.Table) -> tuple[ir.Table, list[str]]:
    """Records that a file holds as JSON text become records, once."""
    kinds = {name: kind for name, kind in _kinds().items() if name in table.columns}
    texts = [name for name in kinds if table[name].type().is_string() or table[name].type().is_json()]
    if not texts:
        return table, []
    table = table.mutate(**{name: table[name].cast("string") for name in texts})
    records = {name: records_of_text(engine, table[name], kinds[name]) for name in texts}
    raw_items = {"_items": table["items"]} if "items" in texts else {}
    unread = reduce(or_, [table[name].notnull() & found.isnull() for name, found in records.items()])
    parsed = engine.materialise(table.mutate(**records, **raw_items, _unread=unread))
    row = engine.fetch(parsed.agg(rows=parsed["_unread"].sum())).iloc[0]
    notes = []
    if row["rows"]:
        notes.append(
            f"{int(row['rows']):,} rows hold something else than a record or a list of records in one of "
            f"{', '.join(texts)}: that is missing there."
        )
    return parsed.drop("_unread"), notes


def _kinds() -> dict[str, str]:
    """The type of each column of records, as far as it is read, with text at the leaves."""
    kinds = {"event_params": KEYED, "user_properties": KEYED, "items": _ITEMS}
    tree: dict[str, dict[str, dict[str, str]]] = {}
    for path in (*(path for paths in _FIELDS.values() for path in paths), *_READ):
        column, name, *deeper = path.split(".")
        inner = tree.setdefault(column, {}).setdefault(name, {})
        inner.update(dict.fromkeys(deeper, "string"))
    for column, names in tree.items():
        fields = []
        for name, inner in names.items():
            deep = ", ".join(f"{leaf}: {kind}" for leaf, kind in inner.items())
            fields.append(f"{name}: struct<{deep}>" if inner else f"{name}: string")
        kinds[column] = f"struct<{', '.join(fields)}>"
    return kinds


def flatten(
    engine: Engine, table: ir.Table, named: Sequence[Parameter], properties: Sequence[Parameter] = ()
) -> Shaped:
    """One column for each field and parameter, row by row; ``named`` are the parameters of ``event_params``."""
    found = {one.name: parameter(engine, table["event_params"], one) for one in named}
    made = {name: ibis.coalesce(*[_text(field(table, path)) for path in paths]) for name, paths in _FIELDS.items()}
    session = found.get("ga_session_id", ibis.null("string")).cast("string")
    made["session_id"] = table["user_pseudo_id"].cast("string") + "." + session
    made |= _money(table, found) | _traffic(table, found) | _items(engine, table)
    made |= {column: found.get(name, ibis.null("string")) for name, column in _RENAMED.items()}
    chosen: dict[str, ir.Value] = {"user_id": ibis.null("string")}
    told = {}
    for name in table.columns:
        if name in made and name not in _RECORDS:  # no export has it: somebody added it
            told[name] = f"table_{name}"
        if name not in _RECORDS and name != "_items":
            chosen[told.get(name, name)] = _scalar(table, name)
    chosen |= made
    taken = {name.casefold() for name in (*chosen, *_CANONICAL, *_MADE)}
    names = [one.name for one in named if one.name not in _RENAMED]
    free = [f"param_{name}" if name.casefold() in taken else name for name in names]
    columns = unique([*chosen, *free])[len(chosen) :]  # of two names that differ in case only the second is numbered
    chosen |= {column: found[name] for name, column in zip(names, columns, strict=True)}
    told |= {name: to for name, to in zip(names, columns, strict=True) if to != name and name not in _MADE}
    clean = unique([*chosen, *(f"user_property_{one.name}" for one in properties)])[len(chosen) :]
    for one, column in zip(properties, clean, strict=True):
        chosen[column] = parameter(engine, table["user_properties"], one)
    notes = []
    if told:
        listing = ", ".join(f"{shorten(repr(name), 40)} as {shorten(repr(to), 50)}" for name, to in told.items())
        notes.append(f"Names that are taken are kept under others: {listing}.")
    return Shaped(table.select(**chosen), tuple(notes))


def _scalar(table: ir.Table, name: str) -> ir.Value:
    """A column at the top, in the type that the export gives it where JSON holds it as text."""
    column = table[name]
    if name == "event_value_in_usd":
        return number(column)
    if not column.type().is_string():
        return column
    if name == "is_active_user":
        return column.lower() == "true"
    return column.try_cast("int64") if name in _WHOLE else column


def _text(value: ir.Value) -> ir.StringValue:
    return value.cast("string").nullif("")


def _given(value: ir.Value) -> ir.StringValue:
    """Text that says something."""
    text = value.cast("string")
    return text.isin(_NO_VALUE).ifelse(ibis.null("string"), text)


def _money(table: ir.Table, found: dict[str, ir.Value]) -> dict[str, ir.Value]:
    nothing = ibis.null("float64")
    of_event = ibis.cases(
        (table["event_name"] == "purchase", number(field(table, "ecommerce.purchase_revenue"))),
        (table["event_name"] == "refund", number(field(table, "ecommerce.refund_value"))),
        else_=nothing,
    )
    stated = number(found["value"]) if "value" in found else nothing
    nowhere = ibis.null("string")
    order = [_given(field(table, "ecommerce.transaction_id")), _given(found.get("transaction_id", nowhere))]
    return {
        "value": ibis.coalesce(of_event, stated),
        "currency": _text(found.get("currency", nowhere)),
        "transaction_id": ibis.coalesce(*order),
    }


def _traffic(table: ir.Table, found: dict[str, ir.Value]) -> dict[str, ir.Value]:
    """Source, medium and campaign that came with the event."""
    record = "collected_traffic_source"
    collected = [_text(field(table, f"{record}.manual_{name}")) for name in ("source", "medium", "campaign_name")]
    clicks = [_text(field(table, f"{record}.{name}")) for name in ("gclid", "dclid", "srsltid")]
    has_record = reduce(or_, [one.notnull() for one in (*collected, *clicks)])
    stated = [_text(found.get(name, ibis.null("string"))) for name in ("source", "medium", "campaign")]
    source, medium, campaign = (has_record.ifelse(one, other) for one, other in zip(collected, stated, strict=True))
    address = _text(found.get("page_location", ibis.null("string")))
    in_address = (source.lower() == "google") & address.re_search(_CLICK).fill_null(False)
    click = clicks[0].notnull() | _text(found.get("gclid", ibis.null("string"))).notnull() & source.notnull()
    unpaid = medium.isnull() | medium.lower().isin(["organic", "(none)", "(not set)"])
    is_ad = (click | in_address).fill_null(False) & (source.isnull() | (source.lower() == "google")) & unpaid
    ads = [
        collected[2],
        stated[2],
        _text(field(table, "session_traffic_source_last_click.google_ads_campaign.campaign_name")),
    ]
    named = [one.startswith("(").ifelse(ibis.null("string"), one) for one in ads]  # (organic), (not set), ... name none
    return {
        "source": is_ad.ifelse("google", source),
        "medium": is_ad.ifelse("cpc", medium),
        "campaign": is_ad.ifelse(ibis.coalesce(*named), campaign),
    }


def _items(engine: Engine, table: ir.Table) -> dict[str, ir.Value]:
    if "items" not in table.columns or not table["items"].type().is_array():
        return {}
    items = table["items"]
    one = first(engine, items)
    names = [_given(one[name]) for name in ("item_name", "item_id") if name in one.type().names]
    return {
        "items": table["_items"] if "_items" in table.columns else json_text(engine, items),
        "items_count": items.length().fill_null(0).cast("int64"),
        "item": ibis.coalesce(*names) if names else ibis.null("string"),
    }


LAYOUT = Layout(
    "ga4",
    "GA4's export to BigQuery",
    columns={
        "user_id": "user_pseudo_id",
        "time": "event_timestamp",
        "event": "event_name",
        "anonymous_id": "user_pseudo_id",
        "login_id": "user_id",
    },
    detect=_detect,
    reshape=_reshape,
    time_unit="us",
)
