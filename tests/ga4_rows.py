"""Made rows of GA4's BigQuery export, after its published schema; none is from a real property."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

VALUE = pa.struct(
    [
        ("string_value", pa.string()),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("double_value", pa.float64()),
    ]
)
KEYED = pa.list_(pa.struct([("key", pa.string()), ("value", VALUE)]))
CAMPAIGN = pa.struct([(name, pa.string()) for name in ("source", "medium", "campaign_name", "default_channel_group")])
SCHEMA = pa.schema(
    [
        ("event_date", pa.string()),
        ("event_timestamp", pa.int64()),
        ("event_name", pa.string()),
        ("event_params", KEYED),
        ("event_value_in_usd", pa.float64()),
        ("event_bundle_sequence_id", pa.int64()),
        ("user_id", pa.string()),
        ("user_pseudo_id", pa.string()),
        ("privacy_info", pa.struct([("analytics_storage", pa.string()), ("ads_storage", pa.string())])),
        ("user_properties", KEYED),
        ("device", pa.struct([("category", pa.string()), ("web_info", pa.struct([("browser", pa.string())]))])),
        ("geo", pa.struct([("country", pa.string()), ("city", pa.string())])),
        ("traffic_source", pa.struct([(name, pa.string()) for name in ("name", "medium", "source")])),
        (
            "collected_traffic_source",
            pa.struct(
                [
                    (name, pa.string())
                    for name in ("manual_source", "manual_medium", "manual_campaign_name", "gclid", "dclid", "srsltid")
                ]
            ),
        ),
        (
            "session_traffic_source_last_click",
            pa.struct(
                [
                    ("manual_campaign", CAMPAIGN),
                    ("google_ads_campaign", pa.struct([("campaign_name", pa.string())])),
                    ("cross_channel_campaign", CAMPAIGN),
                ]
            ),
        ),
        (
            "ecommerce",
            pa.struct(
                [("purchase_revenue", pa.float64()), ("refund_value", pa.float64()), ("transaction_id", pa.string())]
            ),
        ),
        (
            "items",
            pa.list_(pa.struct([("item_id", pa.string()), ("item_name", pa.string()), ("price", pa.float64())])),
        ),
        ("is_active_user", pa.bool_()),
        ("batch_event_index", pa.int64()),
    ]
)
START = 1_702_643_009_060_308


FIELDS = [VALUE.field(place).name for place in range(VALUE.num_fields)]  # PyArrow 18 and later list them


def keyed(**values: Any) -> list[dict[str, Any]]:
    """A list of keys and values, each value in the field of its type, the other fields null."""
    rows = []
    for key, given in values.items():
        field = {str: "string_value", int: "int_value", float: "double_value"}[type(given)]
        rows.append({"key": key, "value": {name: given if name == field else None for name in FIELDS}})
    return rows


def row(event: str, seconds: float = 0, user: str | None = "1.1", **fields: Any) -> dict[str, Any]:
    """One event ``seconds`` after the first, with ``params`` (a dictionary) and any column of the schema."""
    params = fields.pop("params", {})
    made: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    made |= {"event_name": event, "event_timestamp": START + round(seconds * 1_000_000), "user_pseudo_id": user}
    made |= {"event_params": keyed(**params), "user_properties": [], "items": [], "event_date": "20231215"}
    return made | {"device": {"category": "mobile", "web_info": {"browser": "Chrome"}}} | fields


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows in the types of the schema, as an export to Parquet has them."""
    return pa.Table.from_pylist(rows, SCHEMA)


def as_json(rows: list[dict[str, Any]], path: Path) -> Path:
    """The rows as BigQuery writes JSON lines: every 64-bit integer as text."""
    path.write_text("\n".join(json.dumps(_spelled(one)) for one in rows) + "\n", encoding="utf-8")
    return path


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_spelled(one) for one in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def shop() -> list[dict[str, Any]]:
    """Four users: a campaign and a purchase, a click that is called organic, a login, and nobody."""
    place = {"page_location": "https://shop.example/landing", "ga_session_id": 1_702_643_009}
    ads = {"manual_campaign": None, "google_ads_campaign": {"campaign_name": "brand"}, "cross_channel_campaign": None}
    mail = {"manual_source": "news", "manual_medium": "email", "manual_campaign_name": "december"}
    last = {"source": "news", "medium": "email", "campaign_name": "december", "default_channel_group": "Email"}
    session = {"manual_campaign": last, "google_ads_campaign": None, "cross_channel_campaign": last}
    return [
        row("page_view", 0, "1.1", params=place, collected_traffic_source=mail, geo={"country": "France"},
            traffic_source={"name": "(organic)", "medium": "organic", "source": "google"},
            session_traffic_source_last_click=session, user_properties=keyed(plan="free", visits=3)),
        row("scroll", 5, "1.1", params={**place, "percent_scrolled": 90, "engagement_time_msec": 4_000},
            session_traffic_source_last_click=session),
        row("form_submit", 9, "1.1", params={**place, "form_id": "newsletter", "channel": "own", "mixed": 1}),
        row("purchase", 60, "1.1", params={**place, "currency": "EUR", "value": 40, "mixed": "two",
                                            "transaction_id": "x"},
            ecommerce={"purchase_revenue": 31.5, "refund_value": None, "transaction_id": "A-1"},
            event_value_in_usd=33.57, is_active_user=True, batch_event_index=2,
            items=[{"item_id": "i1", "item_name": "Mug", "price": 12.5},
                   {"item_id": "i2", "item_name": None, "price": 1.0}]),
        row("refund", 90, "1.1",
            ecommerce={"purchase_revenue": None, "refund_value": 10.0, "transaction_id": "(not set)"},
            params={"transaction_id": "A-1", "currency": "EUR"}),
        row("page_view", 1, "2.2", session_traffic_source_last_click=ads,
            params={**place, "page_location": "https://shop.example/?a=1&gclid=abc", "source": "google",
                    "medium": "organic"}),
        row("generate_lead", 3, "2.2", params={**place, "value": 2.5, "currency": "CHF"}),
        row("page_view", 2, "3.3", params=place, user_id="anna",
            items=[{"item_id": "i9", "item_name": "(not set)", "price": 1.0}]),
        row("page_view", 4, None, params=place),
    ]  # fmt: skip
