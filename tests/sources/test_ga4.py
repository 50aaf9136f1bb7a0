"""GA4's export: the same events from nested JSON lines and Parquet, every parameter by its name, no row lost.

The fixture (ga4_rows.py) is made after the published schema of the export; one test reads real rows.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ga4_rows import START, as_json, as_table, keyed, row, shop
from hypothesis import given, settings
from hypothesis import strategies as st

import microconv as mc
from microconv.engine import sketch_engine
from microconv.errors import MicroconvWarning, SourceError
from microconv.reading import fit_plan, load_plan
from microconv.sources.ga4 import flatten
from microconv.sources.nested import Parameter

CLASH = r"'channel' as 'param_channel'"


@contextmanager
def told(pattern: str = "") -> Iterator[list[str]]:
    """What microconv warns of within, one of which must match; any other warning is an error, as everywhere."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MicroconvWarning)
        yield texts
    texts += [str(one.message) for one in caught]
    assert any(re.search(pattern, text) for text in texts), texts


def read(source: Any, **options: Any) -> mc.EventLog:
    """The log, with the warnings that the shop's rows call for taken as said."""
    with told():
        return mc.read_events(source, format="ga4", **options)


def frame(log: mc.EventLog) -> pd.DataFrame:
    return log.events.to_pandas().sort_values(["time", "user_id"]).reset_index(drop=True)


def listed(log: mc.EventLog) -> list[dict[str, Any]]:
    return sorted(log.events.to_pyarrow().to_pylist(), key=lambda event: (event["time"], event["user_id"]))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mc.EventLog]:
    folder = tmp_path_factory.mktemp("ga4")
    rows = shop()
    pq.write_table(as_table(rows), folder / "events.parquet")
    return {
        "json": read(as_json(rows, folder / "events.ndjson")),
        "parquet": read(folder / "events.parquet"),
        "arrow": read(as_table(rows)),
        "pandas": read(as_table(rows).to_pandas()),
    }


@pytest.mark.parametrize("other", ["parquet", "arrow", "pandas"])
def test_json_lines_parquet_and_frames_are_one_log(logs: dict[str, mc.EventLog], other: str) -> None:
    one, two = (listed(logs[kind]) for kind in ("json", other))
    for event in (*one, *two):
        event["items"] = [item["item_name"] for item in json.loads(event["items"])]
    assert one == two
    assert [event["items"] for event in one if event["items"]] == [["(not set)"], ["Mug", None]]
    assert logs["json"].accounting["rows"].tolist() == logs[other].accounting["rows"].tolist() == [8, 1]


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_every_field_lands_where_the_mapping_says(logs: dict[str, mc.EventLog], kind: str) -> None:
    events = frame(logs[kind])
    view, lead_in, login = events.loc[0], events.loc[1], events.loc[2]
    assert view["time"] == pd.Timestamp(START, unit="us", tz="UTC")
    assert (view["user_id"], view["anonymous_id"], view["event"]) == ("1.1", "1.1", "page_view")
    assert (view["source"], view["medium"], view["campaign"]) == ("news", "email", "december")
    assert (view["first_user_source"], view["first_user_medium"]) == ("google", "organic")
    assert (view["session_source"], view["session_channel_group"]) == ("news", "Email")
    assert (view["device"], view["browser"], view["country"]) == ("mobile", "Chrome", "France")
    assert (view["page"], view["session_id"]) == ("https://shop.example/landing", "1.1.1702643009")
    assert (view["user_property_plan"], view["user_property_visits"]) == ("free", 3)
    # An organic source with a click on an ad in the address was an ad; its campaign is the session's.
    assert (lead_in["source"], lead_in["medium"], lead_in["campaign"]) == ("google", "cpc", "brand")
    assert lead_in["session_id"] != view["session_id"]
    assert lead_in["ga_session_id"] == view["ga_session_id"]
    assert (login["login_id"], login["user_id"], login["item"]) == ("anna", "3.3", "i9")
    by_event = events.set_index("event")
    scroll, form = by_event.loc["scroll"], by_event.loc["form_submit"]
    assert (scroll["percent_scrolled"], scroll["engagement_time_msec"]) == (90, 4_000)
    # The session's source is on every event; only the one that it came with is a touch.
    assert pd.isna(scroll["source"])
    assert scroll["session_source"] == "news"
    assert (form["form_id"], form["param_channel"], form["mixed"]) == ("newsletter", "own", "1")
    bought, back, lead = by_event.loc["purchase"], by_event.loc["refund"], by_event.loc["generate_lead"]
    assert (bought["value"], bought["currency"], bought["transaction_id"]) == (31.5, "EUR", "A-1")
    assert (bought["param_value"], bought["param_transaction_id"], bought["mixed"]) == (40, "x", "two")
    assert (bought["item"], bought["items_count"], bought["event_value_in_usd"]) == ("Mug", 2, 33.57)
    assert (bought["is_active_user"], bought["batch_event_index"]) == (True, 2)
    assert (back["value"], back["transaction_id"]) == (10.0, "A-1")
    assert (lead["value"], lead["currency"], lead["items_count"]) == (2.5, "CHF", 0)
    assert "channel" not in events.columns


def test_parameters_have_the_type_of_all_their_values(logs: dict[str, mc.EventLog]) -> None:
    schema = logs["json"].events.schema()
    assert dict(logs["parquet"].events.schema())["value"] == schema["value"] == ibis.dtype("float64")
    assert schema["percent_scrolled"] == schema["ga_session_id"] == ibis.dtype("int64")
    assert schema["param_value"] == ibis.dtype("float64")
    assert schema["mixed"] == schema["form_id"] == ibis.dtype("string")


def test_a_clash_and_lost_users_are_told(tmp_path: Path) -> None:
    path = as_json(shop(), tmp_path / "events.ndjson")
    with told() as texts:
        log = mc.read_events(path, format="ga4")
    assert [text for text in texts if CLASH in text and "param_value" not in text]
    assert log.accounting[["reason", "rows"]].to_numpy().tolist() == [["accepted", 8], ["missing user_id", 1]]
    assert not any("format='ga4'" in text for text in texts)


def test_it_is_recognised_and_said_when_guessed(tmp_path: Path) -> None:
    path = as_json(shop()[:1], tmp_path / "events.ndjson")
    with told("those of GA4's export to BigQuery.*format='ga4' to agree"):
        log = mc.read_events(path)
    assert log.events.count().execute() == 1
    with pytest.raises(SourceError, match="no column 'user_id' and no column 'time'"):
        mc.read_events(pd.DataFrame({"event_timestamp": ["1"], "event_name": ["a"], "user_pseudo_id": ["1"]}))


def test_logins_are_users_on_request() -> None:
    with told("8 of 9 rows rejected"):
        log = mc.read_events(as_table(shop()), format="ga4", columns={"user_id": "user_id"})
    (only,) = log.events.to_pandas().to_dict("records")
    assert (only["user_id"], only["anonymous_id"]) == ("anna", "3.3")


def test_rows_that_come_twice_stay_unless_told_otherwise() -> None:
    rows = [row("a", 0, params={"n": 1}), row("a", 0, params={"n": 1}), row("a", 0, params={"n": 2})]
    assert mc.read_events(as_table(rows), format="ga4").accounting["rows"].tolist() == [3]
    with told("exact duplicate: 1"):
        log = mc.read_events(as_table(rows), format="ga4", exact_duplicates="reject")
    assert log.accounting["rows"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("collected", "params", "expected"),
    [
        ({"gclid": "x"}, {}, ("google", "cpc", None)),
        ({"manual_source": "google", "manual_medium": "organic", "manual_campaign_name": "(organic)", "gclid": "x"},
         {"campaign": "spring"}, ("google", "cpc", "spring")),
        ({"manual_source": "google", "manual_medium": "cpc", "manual_campaign_name": "a"}, {"gclid": "x"},
         ("google", "cpc", "a")),
        # A record is taken whole: what it leaves open is not filled from another.
        ({"manual_source": "bing"}, {"source": "mail", "medium": "email"}, ("bing", None, None)),
        (None, {"source": "mail", "medium": "email", "gclid": "x"}, ("mail", "email", None)),
        (None, {"source": "google", "medium": "organic", "page_location": "https://a.b/?wbraid=1"},
         ("google", "cpc", None)),
        (None, {"source": "google", "medium": "organic", "page_location": "https://a.b/?not_gclid=1"},
         ("google", "organic", None)),
        # Later events on the page that an ad led to carry its address, but no source: they are no touches.
        (None, {"page_location": "https://a.b/?gclid=1", "gclid": "1"}, (None, None, None)),
        ({"manual_source": "", "manual_medium": ""}, {"source": "x"}, ("x", None, None)),
        (None, {}, (None, None, None)),
    ],
)  # fmt: skip
def test_the_source_is_what_came_with_the_event(collected: Any, params: Any, expected: Any) -> None:
    log = mc.read_events(as_table([row("page_view", params=params, collected_traffic_source=collected)]), format="ga4")
    (event,) = log.events.to_pyarrow().to_pylist()
    assert (event["source"], event["medium"], event["campaign"]) == expected


def test_older_exports_and_strange_names_are_read(tmp_path: Path) -> None:
    """Without the records that came later, and with names of parameters that differ in case or are taken."""
    taken = {"user_id": "u", "event_id": "e", "time": "t"}
    rows = as_table([row("a", params={"Page": "p", "page": "q", "x": 1, "X": 2, "": "n", **taken})])
    few = rows.select(["event_timestamp", "event_name", "event_params", "user_pseudo_id"])
    with told(r"'event_id' as 'param_event_id'.*'time' as 'param_time'"):
        log = mc.read_events(few, format="ga4")
    (event,) = log.events.to_pyarrow().to_pylist()
    assert (event["user_id"], event["login_id"], event["param_user_id"], event["param_event_id"]) == (
        "1.1",
        None,
        "u",
        "e",
    )
    assert (event["page"], event["param_Page"], event["param_page_1"]) == (None, "p", "q")
    assert sorted(value for name, value in event.items() if name in ("x", "X", "x_1", "X_1")) == [1, 2]
    assert event["device"] is None


def test_a_column_that_somebody_added_is_not_lost() -> None:
    rows = as_table([row("a", params={"item": "x"})]).drop_columns(["items"]).append_column("country", [["mine"]])
    with told(r"'country' as 'table_country'"):
        log = mc.read_events(rows, format="ga4")
    (event,) = log.events.to_pyarrow().to_pylist()
    assert (event["table_country"], event["country"], event["device"]) == ("mine", None, "mobile")
    assert (event["param_item"], event.get("item")) == ("x", None)


def test_a_plan_may_name_parameters(logs: dict[str, mc.EventLog]) -> None:
    """Without a copy: what a reduction needs is looked up in the Parquet file when it runs."""
    plan = {
        "macros": [{"name": "order", "event": "purchase", "value": "value"}],
        "micros": [{"name": "read", "event": "scroll", "where": "percent_scrolled >= 90"},
                   {"name": "form", "event": "form_submit", "where": "form_id == 'newsletter'"}],
    }  # fmt: skip
    found = [
        mc.funnel(fit_plan(replace(log, plan=load_plan(plan))), ["read", "form", "order"]).table
        for log in logs.values()
    ]
    assert all(table["users"].tolist() == [1, 1, 1] for table in found)


def test_too_many_parameters_are_told() -> None:
    rows = [row("a", params={f"p{n:03}": n}) for n in range(305)] + [row("a", params={"often": 1})] * 2
    with told(r"306 different parameters occur: the 300 most frequent.*'p304'"):
        log = mc.read_events(as_table(rows), format="ga4")
    assert {"often", "p298"} <= set(log.events.columns)
    assert "p299" not in log.events.columns


def test_what_is_no_ga4_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no column 'event_timestamp'"):
        mc.read_events(pd.DataFrame({"user_id": ["a"]}), format="ga4")
    flat = pd.DataFrame(
        {"event_timestamp": [1], "event_name": ["a"], "event_params": [3], "user_pseudo_id": ["x"]}
    )  # fmt: skip
    with pytest.raises(SourceError, match=r"event_params must hold lists of records.*int64"):
        mc.read_events(flat, format="ga4")


def test_hostile_lines_are_counted_or_told(tmp_path: Path) -> None:
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    good = json.dumps(row("a"))
    strange = '"event_params": [1, null, {"key": null}, {"key": "k"}]'
    lines = [
        good,
        good[:-5],
        "[" * 50_000,
        json.dumps(row("deep")).replace('"event_params": []', '"event_params": ' + deep),
        json.dumps(row("text")).replace('"event_params": []', '"event_params": "x[y"'),
        json.dumps(row("members")).replace('"event_params": []', strange),
        json.dumps({**row("no time"), "event_timestamp": "soon"}),
        json.dumps({**row("far"), "event_timestamp": "9" * 30}),
    ]  # fmt: skip
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(lines), encoding="utf-8")
    with told() as texts:
        log = mc.read_events(path, format="ga4")
    counts = dict(zip(log.accounting["reason"], log.accounting["rows"], strict=True))
    assert counts == {"accepted": 4, "malformed JSON": 2, "unparsable time": 2}
    assert sum(counts.values()) == len(lines)
    assert any("2 rows hold something else than a record" in text for text in texts)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["page_location", "value", "n", "Ω 'q\"", "ga_session_id", "source"]),
            st.one_of(
                st.integers(-(2**63), 2**63 - 1),
                st.floats(allow_nan=False, allow_infinity=False, width=32),
                st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4),
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_parameters_equal_a_plain_look_up(rows: list[dict[str, Any]]) -> None:
    made = [row("e", n, params=params) for n, params in enumerate(rows)]
    log = mc.read_events(as_table(made), format="ga4")
    events = {event["time"]: event for event in log.events.to_pyarrow().to_pylist()}
    found = [events[moment] for moment in sorted(events)]
    for name, column in (("n", "n"), ("Ω 'q\"", "Ω 'q\""), ("page_location", "page")):
        kinds = {type(one[name]) for one in rows if name in one}
        for params, event in zip(rows, found, strict=True):
            value = params.get(name)
            if value is None:
                assert event.get(column) is None
            elif kinds == {int}:
                assert str(event[column]) == str(value)
            elif str in kinds and isinstance(value, int | str):
                assert event[column] == str(value)
            else:
                assert float(event[column]) == pytest.approx(float(value), rel=1e-15)


def test_bigquery_and_spark_write_the_same_expression() -> None:
    """No column of another row is touched: no join, no unnesting of the table's rows."""
    schema = ibis.Schema.from_pyarrow(as_table([]).schema)
    named = [Parameter("page_location", "string"), Parameter("ga_session_id", "int64"), Parameter("n", "float64")]
    for dialect in ("bigquery", "pyspark", "duckdb"):
        engine = sketch_engine(dialect)
        shaped = flatten(engine, ibis.table(schema, name="events"), named, [Parameter("plan", "string")])
        sql = engine.sql(shaped.table).upper()
        assert "JOIN" not in sql
        assert "EXPLODE" not in sql
        assert "PAGE_LOCATION" in sql


@pytest.mark.spark
def test_spark_gives_the_same_events(spark: Any, tmp_path: Path, logs: dict[str, mc.EventLog]) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(as_table(shop()), path)
    spark._session.read.parquet(str(path)).createOrReplaceTempView("ga4_events")
    other = listed(read(spark.table("ga4_events")))
    mine = listed(logs["parquet"])
    for event in (*mine, *other):  # Spark names no zone of a time, and leaves null fields out of JSON
        event["time"] = event["time"].replace(tzinfo=None)
        event["items"] = [item.get("item_name") for item in json.loads(event["items"])]
    assert mine == other


@pytest.mark.real
def test_real_rows_of_an_export(real_data: Path) -> None:
    log = mc.read_events(real_data / "ga4/events.ndjson", format="ga4")
    assert log.accounting["rows"].tolist() == [16]
    events = log.events.to_pandas()
    assert events["event"].value_counts().to_dict() == {
        "page_view": 5, "purchase": 4, "form_visibility": 3, "form_submit": 1, "session_start": 1, "form_start": 1,
        "generate_lead": 1,
    }  # fmt: skip
    paid = events[events["event"] == "purchase"]
    assert set(zip(paid["value"], paid["currency"], paid["items_count"], strict=True)) == {(31.0, "EUR", 2)}
    # One parameter says 257050, the order's own record 257059.
    assert set(paid["transaction_id"]) == {"257059"}
    assert sorted(paid["param_transaction_id"]) == ["257050", "257059", "257059", "257059"]
    # Two browsers that came within the same second are two sessions.
    assert events.groupby("ga_session_id")["session_id"].nunique().max() == 3
    leads = events[events["event"] == "generate_lead"]
    assert set(leads["form_identifier"]) == {"form_contact"}
    funnel = mc.funnel(log, ["form_start", "form_submit"])
    assert funnel.table["users"].tolist() == [1, 1]
    found = mc.attribution(log, target="generate_lead", channel="ga4", model="last", lookback="30D").table
    assert dict(zip(found["channel"], found["conversions"], strict=True)) == {
        "Organic Search": 1.0, "Paid Search": 0.0, "(unattributed)": 0.0,
    }  # fmt: skip
    with told("exact duplicate: 2"):
        less = mc.read_events(real_data / "ga4/events.ndjson", format="ga4", exact_duplicates="reject")
    assert less.accounting["rows"].tolist() == [14, 2]


def test_keyed_puts_each_value_into_the_field_of_its_type() -> None:
    (one,) = pa.array([keyed(a=1)[0]]).to_pylist()
    assert one["value"] == {"string_value": None, "int_value": 1, "float_value": None, "double_value": None}
