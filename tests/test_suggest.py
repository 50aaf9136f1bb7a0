"""A drafted plan finds what the names and counts say, says why, and can be used as it is."""

from __future__ import annotations

import pandas as pd
import pytest

import microconv as mc
from microconv.suggest import draft_plan


def _log(rows: list[tuple[str, str, int]], **columns: list[object]) -> mc.EventLog:
    frame = pd.DataFrame(rows, columns=["user_id", "event", "day"])
    frame["time"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    return mc.read_events(frame.assign(**columns))


SHOP = [
    ("a", "page_view", 0),
    ("a", "newsletter_signup", 1),
    ("a", "OrderPlaced", 5),
    ("b", "page_view", 0),
    ("b", "add_to_cart", 2),
    ("b", "unsubscribe", 3),
    ("c", "page_view", 0),
    ("c", "reorder_hint", 40),
]


def test_the_sample_shop() -> None:
    log = mc.sample_log()
    plan = mc.suggest_plan(log)
    assert plan.macros[0].model_dump(exclude_none=True) == {
        "name": "purchase",
        "event": "purchase",
        "value": "value",
        "currency": "EUR",
    }
    assert {micro.name: micro.kind for micro in plan.micros} == {
        "video_progress": "engagement",
        "add_to_cart": "intent",
        "share": "social",
        "guide_downloaded": "content",
        "newsletter_signup": "form",
        "account_created": "identity",
    }
    assert [end.name for end in plan.competing] == ["unsubscribe"]
    assert [end.name for end in plan.censor] == ["account_deleted"]
    assert plan.segments == ("device", "country", "channel")
    assert mc.time_to_conversion(log.with_plan(plan)).summary["events"].sum() > 0


def test_names_are_read_word_by_word() -> None:
    plan = mc.suggest_plan(_log(SHOP))
    assert plan.macros[0].name == "OrderPlaced"
    assert [micro.name for micro in plan.micros] == ["add_to_cart", "newsletter_signup", "reorder_hint"]
    assert [micro.kind for micro in plan.micros] == ["intent", "form", None]
    assert plan.horizon == "7D"


def test_rows_in_another_order_give_the_same_draft() -> None:
    assert mc.suggest_plan(_log(SHOP[::-1])) == mc.suggest_plan(_log(SHOP))


def test_the_yaml_holds_the_reasons_and_the_plan() -> None:
    draft = draft_plan(_log([*SHOP, ("c", "ask #1\n# macro: sold", 1)]))
    text = draft.to_yaml()
    assert mc.Plan.from_yaml_text(text) == draft.plan
    assert "# macro: its name says so; 1 users did it" in text
    assert all(line.startswith("#") for line in text.splitlines()[: len(draft.reasons)])


def test_no_conversion_in_sight() -> None:
    rows = [("a", "page_view", 0), ("a", "klick", 1)]
    with pytest.raises(mc.ParameterError, match=r"Name it: macro='\.\.\.'.*'klick', 'page_view'"):
        mc.suggest_plan(_log(rows))
    assert mc.suggest_plan(_log(rows), macro="klick").macros[0].name == "klick"
    with pytest.raises(mc.ParameterError, match="Did you mean 'klick'"):
        mc.suggest_plan(_log(rows), macro="klik")


def test_mixed_currencies_name_none() -> None:
    mixed = ["EUR", "USD"] * 4
    plan = mc.suggest_plan(_log(SHOP, value=[1.0] * 8, currency=mixed))
    assert (plan.macros[0].value, plan.macros[0].currency) == ("value", None)
