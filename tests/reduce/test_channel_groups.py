"""GA4's default channel groups: Google's rules, its list of sites, the same on a table as on one text."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pytest

import microconv as mc
from microconv.engine import duckdb_engine, engine_of
from microconv.reduce.channel_groups import GROUP, GROUPS, channel_group, group_of, with_channel_group
from microconv.reduce.sites import SITES

# The group that a site of each category has as a referral, by Google's rules: a list counts before the medium.
OF_CATEGORY = {
    "SEARCH": ("search", "Organic Search"),
    "SHOPPING": ("shopping", "Organic Shopping"),
    "SOCIAL": ("social", "Organic Social"),
    "VIDEO": ("video", "Organic Video"),
}
SOURCES = ["google", "Facebook.com ", "youtube.com", "amazon", "(direct)", "mail", "firebase", "sms", "e-mail",
           "x.y", "", None]  # fmt: skip
MEDIUMS = ["cpc", "ppc", "paidsocial", "retargeting", "organic", "referral", "cpm", "banner", "social media",
           "video ad", "affiliate", "audio", "sms", "web-push", "Mobile", "email", "(none)", "(not set)", "pushed",
           "", None]  # fmt: skip
CAMPAIGNS = ["cross-network", "Shop now", "workshop", "eshop", "shopping", "spring", "", None]


@pytest.mark.parametrize(
    ("source", "medium", "campaign", "group"),
    [
        ("(direct)", "(none)", "", "Direct"),
        ("google", "cpc", "my cross-network ad", "Cross-network"),
        ("news.example", "cpc", "shop", "Paid Shopping"),
        ("news.example", "cpc", "workshop", "Paid Other"),
        ("news.example", "cpc", "eshop", "Paid Shopping"),
        ("pinterest.fr", "paid_social", "", "Paid Social"),
        ("vimeo", "ppc", "", "Paid Video"),
        ("bing", "retargeting", "", "Paid Search"),
        ("news.example", "interstitial", "", "Display"),
        ("news.example", "cpm", "", "Display"),
        ("tiktok.com", "referral", "", "Organic Social"),
        ("de.search.yahoo.com", "referral", "", "Organic Search"),
        ("Google Shopping", "referral", "", "Organic Shopping"),
        ("news.example", "link", "", "Referral"),
        ("e_mail", "anything", "", "Email"),
        ("partner", "affiliate", "", "Affiliates"),
        ("app", "mobile_app", "", "Mobile Push Notifications"),
        ("app", "something", "", "Unassigned"),
    ],
)
def test_rules_as_google_documents_them(source: str, medium: str, campaign: str, group: str) -> None:
    assert group_of(source, medium, campaign) == group


def test_no_site_is_in_two_lists_or_in_capitals() -> None:
    every = [site for sites in SITES.values() for site in sites]
    assert len(every) == len(set(every)) > 800
    assert all(site == site.strip().lower() for site in every)


def combinations() -> pd.DataFrame:
    return pd.DataFrame(itertools.product(SOURCES, MEDIUMS, CAMPAIGNS), columns=["source", "medium", "campaign"])


@pytest.mark.parametrize("direct", [False, True])
def test_a_table_and_one_text_agree(direct: bool) -> None:
    engine = duckdb_engine()
    rows = combinations()
    events = engine.materialise(engine.backend.create_table("events", rows.assign(number=range(len(rows)))))
    found = engine.fetch(with_channel_group(engine, events, direct=direct)).sort_values("number")
    assert set(found.columns) == {"source", "medium", "campaign", "number", GROUP}
    assert found["number"].tolist() == list(range(len(rows)))  # no row twice, none lost
    asked = engine.fetch(events.mutate(asked=channel_group(engine, events, direct=direct))).sort_values("number")[
        "asked"
    ]
    filled = rows.fillna("").astype(str)
    for given, group, own in zip(filled.itertuples(index=False), found[GROUP], asked, strict=True):
        nothing = given.source == "" and given.medium in ("", "(none)")
        expected = ("Direct" if direct else None) if nothing else group_of(*given)
        assert [None if pd.isna(one) else one for one in (group, own)] == [expected, expected]
    assert set(found[GROUP].dropna()) == {*GROUPS, "Unassigned"}


@pytest.mark.parametrize("left", [("source", "medium"), ("medium", "source", "campaign")])
def test_columns_may_be_missing(left: tuple[str, ...]) -> None:
    engine = duckdb_engine()
    rows = pd.DataFrame({"source": ["bing", None], "medium": ["cpc", None], "campaign": ["a", None]})[list(left)]
    found = engine.fetch(with_channel_group(engine, engine.backend.create_table("few", rows)))
    assert set(found[GROUP].fillna("none")) == {"Paid Search", "none"}


def test_the_query_over_the_rows_does_not_grow_with_the_lists() -> None:
    """Eight hundred names, asked of every row, would cost twenty times what the rest of the rows' work costs."""
    engine = duckdb_engine()
    events = engine.backend.create_table("some", pd.DataFrame({"source": ["bing"], "medium": ["cpc"]}))
    assert len(engine.sql(with_channel_group(engine, events))) < 3_000


@pytest.mark.spark
def test_spark_agrees(spark: Any) -> None:
    rows = combinations().iloc[::5]
    spark._session.createDataFrame(
        rows.astype(object).where(rows.notna(), None).to_numpy().tolist(), schema=["source", "medium", "campaign"]
    ).createOrReplaceTempView("channel_rows")
    table = spark.table("channel_rows")
    engine = engine_of(table)
    own = duckdb_engine()
    mine = with_channel_group(own, own.backend.create_table("rows", rows), direct=True)
    names = ["source", "medium", "campaign", GROUP]
    both = [
        one.fetch(found.select(*names)).fillna("null").sort_values(names).reset_index(drop=True)
        for one, found in ((engine, with_channel_group(engine, table, direct=True)), (own, mine))
    ]
    pd.testing.assert_frame_equal(*both)


def test_an_attribution_has_one_channel_for_all_sites_of_a_list() -> None:
    rows = [
        (user, day, "visit", source, "referral")
        for user in "abc"
        for day, source in enumerate(("pinterest.fr", "old.reddit.com", "news.example"))
    ]
    rows += [(user, 5, "purchase", None, None) for user in "ab"]
    events = pd.DataFrame(rows, columns=["user_id", "day", "event", "source", "medium"])
    events["time"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(events.pop("day"), unit="D")
    log = mc.read_events(events)
    table = mc.attribution(log, target="purchase", model="linear", channel="ga4", lookback="30D").table
    credit = dict(zip(table["channel"], table["conversions"], strict=True))
    assert credit == {"Organic Social": pytest.approx(4 / 3), "Referral": pytest.approx(2 / 3), "(unattributed)": 0}


@pytest.mark.real
def test_every_source_of_the_list_is_in_the_group_of_its_category(real_data: Path) -> None:
    with (real_data / "ga4/source_categories.csv").open(encoding="utf-8") as stream:
        listed = [(row["source"], row["source_category"].rpartition("_")[2]) for row in csv.DictReader(stream)]
    assert len(listed) == 819
    for source, category in listed:
        kind, group = OF_CATEGORY[category]
        assert group_of(source, "referral") == group, source
        assert source.strip().lower() in SITES[kind]
    engine = duckdb_engine()
    events = ibis.memtable(pd.DataFrame(listed, columns=["source", "category"]).assign(medium="referral"))
    found = engine.fetch(with_channel_group(engine, engine.backend.create_table("listed", events)))
    assert [OF_CATEGORY[category][1] for category in found["category"]] == found[GROUP].tolist()
