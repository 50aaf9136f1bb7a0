"""Real exports of several tools, where MICROCONV_REAL_DATA points to them."""

from __future__ import annotations

import pytest

from microconv.sources import open_source

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("name", "exact", "rows", "numbers"),
    [
        ("bpi2012_loan_events.csv.gz", ["case_id", "timestamp", "activity"], 262_200, {"amount_requested"}),
        ("olist/closed_deals.csv", ["mql_id", "won_date"], 842, {"declared_monthly_revenue"}),
        ("olist/marketing_qualified_leads.csv", ["mql_id"], 8_000, set()),
        ("online_shoppers/online_shoppers_intention.csv", [], 12_330, {"PageValues", "BounceRates"}),
        ("ga4/events.ndjson", ["user_pseudo_id", "event_timestamp"], 16, set()),
        ("snowplow_web/events.csv", ["domain_userid", "event_id", "collector_tstamp"], 160, {"doc_width"}),
        ("amplitude/amplitude_event_data.csv", ["user_id", "event_time", "id"], 10, {"session_id"}),
        ("mixpanel/event.csv", ["distinct_id", "insert_id", "time"], 5, {"mp_processing_time_ms"}),
        ("segment/example_segment_pages.csv", ["user_id", "timestamp"], 1, set()),
    ],
)
def test_every_row_of_a_real_export_is_read(real_data, name, exact, rows, numbers):
    raw = open_source(real_data / name, text_columns=exact)
    assert raw.table.count().execute() == rows
    assert raw.malformed == ()
    assert all(raw.table[column].type().is_string() for column in exact)
    assert all(raw.table[column].type().is_numeric() for column in numbers)
