"""Files for platforms and books: what is in them, what is kept out, and that money adds up."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microconv as mc
from microconv.errors import ParameterError
from microconv.results import Result
from microconv.value.adjustments import export_adjustments
from microconv.value.exports import export_values
from microconv.value.files import money_text, to_cents

NAN = float("nan")


def row(
    micro: str, users: float, value: float, low: float, high: float, credited: float, **more: Any
) -> dict[str, Any]:
    return {
        "micro": micro, "users": users, "incremental_value": value, "value_ci_low": low, "value_ci_high": high,
        "credited_value": credited, "label": "adjusted", "why": "",
    } | more  # fmt: skip


ROWS = [
    row("signup", 500, 3.456, 2.0, 5.0, 1_200.10),
    row("cart", 800, 12.0, 9.995, 14.0, 3_000.55),
    row("share", 400, 0.4, -0.2, 1.0, -10.05),
    row("checkout", 300, NAN, NAN, NAN, 4_000.0, label="structural", why="a step on the way"),
    row("rare", 4, 50.0, 20.0, 80.0, 7.77),
    row("(no micro)", NAN, NAN, NAN, NAN, 1_801.63, label=""),
]
REVENUE = 10_000_00


def result(rows: Sequence[dict[str, Any]] = ROWS, **more: Any) -> Result:
    options: dict[str, Any] = {
        "name": "micro_value",
        "meaning": "m",
        "parameters": {"currency": "EUR", "horizon": "30D"},
    }
    table = pd.DataFrame(rows).astype({"users": "Float64"}).astype({"users": "Int64"})
    return Result(table=table, **(options | more))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_google_ads_gets_a_default_value_for_each_micro_that_has_one(tmp_path: Path) -> None:
    done = export_values(result(), tmp_path / "new" / "folder", to="google_ads")
    assert [file.name for file in done.files] == ["google_ads_conversion_values.csv"]
    assert lines(done.files[0]) == [
        {"Conversion Name": "signup", "Default Value": "3.46", "Default Currency Code": "EUR",
         "Always Use Default Value": "TRUE"},
        {"Conversion Name": "cart", "Default Value": "12.00", "Default Currency Code": "EUR",
         "Always Use Default Value": "TRUE"},
    ]  # fmt: skip
    assert dict(done.left_out.to_numpy().tolist()) == {
        "share": "its interval reaches 0 or below: it is not shown to be worth anything",
        "checkout": "a step on the way",
        "rare": "fewer than 10 users did it",
    }
    assert "3 left out" in repr(done)
    assert "within 30D of the action" in done.notes[0]


def test_names_choose_and_rename(tmp_path: Path) -> None:
    done = export_values(result(), tmp_path, to="meta", names={"cart": "AddToCart"}, value="low")
    assert lines(done.files[0]) == [{"event_name": "AddToCart", "value": "10.00", "currency": "EUR"}]
    text = done.files[1].read_text(encoding="utf-8")
    assert json.loads(text) == {
        "data": [{"event_name": "AddToCart", "custom_data": {"value": 10.0, "currency": "EUR"}}]
    }
    assert done.left_out.empty


def test_value_rules_restate_the_default_values_by_device(tmp_path: Path) -> None:
    segments = pd.DataFrame(
        {
            "micro": ["signup", "cart"] * 4 + ["share"],
            "device": ["mobile"] * 2 + ["Desktop"] * 2 + ["tv"] * 2 + ["tablet"] * 2 + ["mobile"],
            "users": [100, 50, 200, 40, 90, 90, 3, 50, 70],
            "incremental_value": [1.0] * 9,
            "shrunk_value": [1.73, 6.0, 6.92, 24.0, 1.0, 1.0, 1.0, 1.0, 99.0],
        }
    )
    found = result(extra={"segments": segments}, parameters={"currency": "EUR", "by": "device"})
    done = export_values(found, tmp_path, to="google_ads")
    assert lines(done.files[1]) == [
        {"Primary Condition Type": "DEVICE", "Primary Condition": "DESKTOP", "Operation": "MULTIPLY", "Value": "2.00"},
        {"Primary Condition Type": "DEVICE", "Primary Condition": "MOBILE", "Operation": "MULTIPLY", "Value": "0.50"},
    ]
    left = dict(done.left_out.to_numpy().tolist())
    assert left["device=tablet"] == "fewer than 10 users did one of the micros there"
    assert left["device=tv"].startswith("devices of value rules are MOBILE")
    nothing = segments.assign(shrunk_value=-1.0)
    done = export_values(
        result(extra={"segments": nothing}, parameters={"currency": "EUR", "by": "device"}), tmp_path, to="google_ads"
    )
    assert len(done.files) == 1
    assert "multiplies by more than 0" in dict(done.left_out.to_numpy().tolist())["device=mobile"]
    country = segments.rename(columns={"device": "country"}).drop(columns="shrunk_value")
    done = export_values(
        result(extra={"segments": country}, parameters={"currency": "EUR", "by": "country"}), tmp_path, to="google_ads"
    )
    assert lines(done.files[1])[0]["Primary Condition Type"] == "GEO_LOCATION"
    other = segments.rename(columns={"device": "plan"})
    done = export_values(
        result(extra={"segments": other}, parameters={"currency": "EUR", "by": "plan"}), tmp_path, to="google_ads"
    )
    assert dict(done.left_out.to_numpy().tolist())["plan"] == "value rules are by device, place or audience"


def test_goal_values_show_their_interval_and_why_some_have_none(tmp_path: Path) -> None:
    done = export_values(result(), tmp_path, to="goals")
    table = {line["goal"]: line for line in lines(done.files[0])}
    assert list(table) == ["signup", "cart", "share", "checkout", "rare"]
    assert table["signup"] == {
        "goal": "signup", "suggested_value": "3.46", "value_ci_low": "2.00", "value_ci_high": "5.00",
        "currency": "EUR", "users": "500", "label": "adjusted", "why": "",
    }  # fmt: skip
    assert (table["share"]["suggested_value"], table["share"]["value_ci_low"]) == ("0.00", "-0.20")
    assert (table["checkout"]["suggested_value"], table["checkout"]["why"]) == ("", "a step on the way")
    assert (table["rare"]["suggested_value"], table["rare"]["value_ci_high"], table["rare"]["users"]) == ("", "", "")


def test_the_books_sum_to_the_revenue_and_hide_small_groups(tmp_path: Path) -> None:
    credited = pd.DataFrame(
        {"micro": [r["micro"] for r in ROWS], "credited_value": [r["credited_value"] for r in ROWS]}
    )
    money = pd.DataFrame({"fate": ["counted", "after the window"], "cents": [REVENUE + 2_500, 77]})
    done = export_values(result(extra={"credited": credited, "revenue": money}), tmp_path, to="finance")
    table = lines(done.files[0])
    assert [line["micro"] for line in table] == [
        "signup", "cart", "share", "checkout", "(no micro)", "(micros of few users)", "(outside the journeys)",
    ]  # fmt: skip
    cents = [round(float(line["credited_value"]) * 100) for line in table]
    assert sum(cents) == REVENUE + 2_500
    assert cents[2] == -1_005
    assert sum(float(line["share"]) for line in table) == pytest.approx(1, abs=1e-5)
    assert done.left_out["name"].tolist() == ["rare"]
    # Without an account there is what was divided, and no more.
    plain = lines(export_values(result(), tmp_path, to="finance", min_cell=0).files[0])
    assert sum(round(float(line["credited_value"]) * 100) for line in plain) == REVENUE
    assert [line["micro"] for line in plain] == [r["micro"] for r in ROWS]


def test_books_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    credited = pd.DataFrame({"credited_value": [REVENUE / 100 + 0.01]})
    money = pd.DataFrame({"fate": ["counted"], "cents": [REVENUE + 1]})
    with pytest.raises(ParameterError, match=r"sum to 10000\.00, but 10000\.01 was divided"):
        export_values(result(extra={"credited": credited, "revenue": money}), tmp_path, to="finance")
    assert not list(tmp_path.iterdir())


@given(st.lists(st.integers(-(10**11), 10**11), min_size=1, max_size=12))
@settings(max_examples=30)
def test_any_amounts_keep_their_cents(tmp_path_factory: pytest.TempPathFactory, cents: list[int]) -> None:
    rows = [row(f"m{i}", 99, 1.0, 0.5, 2.0, amount / 100) for i, amount in enumerate(cents)]
    rows[-1]["micro"] = "(no micro)"
    done = export_values(result(rows), tmp_path_factory.mktemp("books"), to="finance")
    assert [line["credited_value"] for line in lines(done.files[0])] == [money_text(amount) for amount in cents]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.005, "0.01"), (-0.005, "-0.01"), (-0.01, "-0.01"), (1e9, "1000000000.00"), (2.675, "2.68")],
)
def test_cents_are_rounded_once_as_written(amount: float, text: str) -> None:
    assert money_text(to_cents(amount)) == text


def test_names_that_a_spreadsheet_would_run_stay_text(tmp_path: Path) -> None:
    evil = '=HYPERLINK("http://x")'
    rows = [row(evil, 99, 2.0, 1.0, 3.0, 5.0), row("(no micro)", NAN, NAN, NAN, NAN, 5.0)]
    goals = lines(export_values(result(rows), tmp_path, to="goals").files[0])
    assert goals[0]["goal"] == "'" + evil
    books = lines(export_values(result(rows), tmp_path, to="finance").files[0])
    assert books[0]["micro"] == "'" + evil
    # Platforms match names to the letter.
    assert lines(export_values(result(rows), tmp_path, to="google_ads").files[0])[0]["Conversion Name"] == evil


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "google"}, "Did you mean 'google_ads'"),
        ({"value": "high"}, "Unknown value 'high'"),
        ({"min_cell": -1}, "min_cell=-1"),
        ({"names": ["cart"]}, "must be a mapping"),
        ({"names": {"carts": "x"}}, "Did you mean 'cart'"),
        ({"names": {"cart": "x", "signup": "x"}}, "two micros one name"),
        ({"names": {"cart": "a\nb"}}, "text on one line"),
        ({"names": {"cart": " "}}, "text on one line"),
        ({"names": {"share": "x"}}, "No micro has a value to export: 'share' its interval"),
        ({"to": "meta", "names": {"cart": "x" * 51}}, "51 characters, and at most 50"),
        ({"currency": "USD"}, "money is in EUR"),
        ({"folder": 3}, "is no path"),
    ],
)
def test_what_a_platform_refuses_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        export_values(result(), **({"folder": tmp_path, "to": "google_ads"} | options))
    assert not list(tmp_path.iterdir())


def test_money_needs_a_currency_on_platforms_only(tmp_path: Path) -> None:
    bare = result(parameters={})
    with pytest.raises(ParameterError, match="names no currency"):
        export_values(bare, tmp_path, to="meta")
    with pytest.raises(ParameterError, match="three capital letters"):
        export_values(bare, tmp_path, to="meta", currency="eur")
    assert lines(export_values(bare, tmp_path, to="meta", currency="CHF").files[0])[0]["currency"] == "CHF"
    assert lines(export_values(bare, tmp_path, to="goals").files[0])[0]["currency"] == ""


def test_results_without_money_have_nothing_to_export(tmp_path: Path) -> None:
    poor = result([row("a", 50, NAN, NAN, NAN, NAN)])
    for to, said in (("goals", "no value:"), ("finance", "divides no revenue")):
        with pytest.raises(ParameterError, match=said):
            export_values(poor, tmp_path, to=to)  # type: ignore[arg-type]
    other = Result(name="funnel", table=pd.DataFrame({"step": [1]}), meaning="m")
    with pytest.raises(ParameterError, match="it is not one of mc"):
        export_values(other, tmp_path, to="goals")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ParameterError, match="Name a folder you may write to"):
        export_values(result(), tmp_path / "file", to="goals")


PLAN = {"macros": [{"name": "purchase", "event": "purchase", "value": "value", "currency": "EUR"}]}
START = pd.Timestamp("2026-03-01", tz="UTC")


def shop(orders: Sequence[tuple[str, str, float, float | None]], **columns: Any) -> mc.EventLog:
    """A log from (user, order, day and amount); an amount below zero is a refund."""
    frame = pd.DataFrame(
        {
            "user_id": [user for user, *_ in orders],
            "time": [START + pd.Timedelta(days=day) for _, _, day, _ in orders],
            "event": ["purchase" if (amount or 0) >= 0 else "refund" for *_, amount in orders],
            "order": [order or None for _, order, *_ in orders],
            "value": [amount for *_, amount in orders],
        }
    )
    return mc.read_events(frame.assign(**columns), plan=PLAN, observed_until="2026-05-01")


def many(users: int = 12) -> list[tuple[str, str, float, float | None]]:
    """Orders of 100.00 by day 10, half of each paid back five days later."""
    rows: list[tuple[str, str, float, float | None]] = []
    for n in range(users):
        rows += [(f"u{n}", f"o{n:02d}", 10 + n / 100, 100.0), (f"u{n}", f"o{n:02d}", 15.5, -50.0)]
    return rows


def adjustments(log: mc.EventLog, folder: Path, **options: Any) -> tuple[list[list[str]], mc.EventLog | Any]:
    done = export_adjustments(
        log, folder, **({"order_col": "order", "refunds": "refund", "conversion_name": "Purchase"} | options)
    )
    with done.files[0].open(newline="") as file:
        return list(csv.reader(file)), done


def test_adjustments_are_in_the_form_of_the_template(tmp_path: Path) -> None:
    rows = [*many(), ("u0", "o00", 20.0, -50.0), ("u1", "o01", 10.5, -20.25)]
    found, done = adjustments(shop(rows), tmp_path, uploaded_at="2026-04-01")
    assert done.files[0].name == "google_ads_adjustments.csv"
    assert found[0] == ["Parameters:TimeZone=+0000"]
    assert found[1] == [
        "Order ID", "Conversion Name", "Adjustment Time", "Adjustment Type", "Adjusted Value",
        "Adjusted Value Currency",
    ]  # fmt: skip
    assert found[2] == ["o00", "Purchase", "2026-03-21 00:00:00+0000", "RETRACT", "", ""]
    assert found[3] == ["o01", "Purchase", "2026-03-16 12:00:00+0000", "RESTATE", "29.75", "EUR"]
    assert len(found) == 2 + 12
    assert done.left_out.empty


@pytest.mark.parametrize("name", ["order_id", "code", "at", "hit"])
def test_the_column_of_orders_may_have_any_name(tmp_path: Path, name: str) -> None:
    orders = [order for _, order, *_ in many()]
    found, _ = adjustments(shop(many(), **{name: orders}), tmp_path, order_col=name, uploaded_at="2026-04-01")
    assert found == adjustments(shop(many()), tmp_path, uploaded_at="2026-04-01")[0]


def test_adjustments_that_come_too_late_or_too_early_are_left_out_and_counted(tmp_path: Path) -> None:
    log = shop(many())
    # The first orders were placed on March 11; May 4 is day 54.
    found, done = adjustments(log, tmp_path, uploaded_at="2026-05-04T00:30:00", min_cell=0)
    assert len(found) == 2 + 9
    assert done.left_out.to_numpy().tolist() == [["3 orders", "bought more than 54 days before the upload"]]
    with pytest.raises(ParameterError, match="12 orders bought more than 54 days before the upload"):
        adjustments(log, tmp_path, uploaded_at="2026-06-01")
    with pytest.raises(ParameterError, match="12 orders paid back after the upload"):
        adjustments(log, tmp_path, uploaded_at="2026-03-15")
    quick = shop([(f"u{n}", f"o{n}", 10 + day, amount) for n in range(12) for day, amount in ((0.0, 9.0), (0.0, -9.0))])
    with pytest.raises(ParameterError, match="less than 24 hours before the upload"):
        adjustments(quick, tmp_path, uploaded_at="2026-03-11T12:00:00")
    # Paid back within the second of the purchase: an adjustment must not precede its conversion.
    found, _ = adjustments(quick, tmp_path)
    assert {line[2] for line in found[2:]} == {"2026-03-11 00:00:01+0000"}


def test_refunds_without_a_match_are_counted(tmp_path: Path) -> None:
    rows = [
        *many(),
        ("x", "", 12.0, -1.0),
        ("y", "unknown", 12.0, -1.0),
        ("z", "early", 3.0, -1.0),
        ("z", "early", 4.0, 9.0),
    ]
    _, done = adjustments(shop(rows), tmp_path)
    assert done.left_out.to_numpy().tolist() == [
        ["1 refund", "without an id in 'order'"], ["2 orders", "paid back that were never paid, or only after"],
    ]  # fmt: skip


def test_adjustments_of_few_users_are_not_written(tmp_path: Path) -> None:
    same = [("u", order, day, amount) for _, order, day, amount in many()]
    with pytest.raises(ParameterError, match="of 1 user, fewer than min_cell=10"):
        adjustments(shop(same), tmp_path)
    # Only those count that would be written.
    old = [(f"v{n}", f"p{n}", day, amount) for n in range(9) for day, amount in ((0.0, 5.0), (40.0, -5.0))]
    mixed = [*many(3), *old]
    adjustments(shop(mixed), tmp_path, uploaded_at="2026-04-20")
    with pytest.raises(ParameterError, match="of 3 users, fewer"):
        adjustments(shop(mixed), tmp_path / "late", uploaded_at="2026-05-01T00:00:00")
    assert not (tmp_path / "late").exists()


def test_orders_in_their_own_currency(tmp_path: Path) -> None:
    rows = [*many(11), ("w", "two", 10.0, 5.0), ("w", "two", 12.0, -1.0)]
    codes = ["USD"] * 22 + ["USD", "EUR"]
    found, done = adjustments(shop(rows, currency=codes), tmp_path)
    assert {line[5] for line in found[2:]} == {"USD"}
    assert done.left_out.to_numpy().tolist() == [["1 order", "in several currencies"]]


def test_row_order_changes_no_adjustment(tmp_path: Path) -> None:
    rows = many()
    expected, _ = adjustments(shop(rows), tmp_path)
    random.Random(3).shuffle(rows)
    assert adjustments(shop(rows), tmp_path)[0] == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"order_col": "orders"}, "Did you mean 'order'"),
        ({"order_col": "mail"}, "looks like an e-mail address"),
        ({"order_col": "long"}, r"\(65 characters\)"),
        ({"conversion_name": ""}, "conversion_name '' must be text"),
        ({"min_cell": True}, "min_cell=True"),
        ({"uploaded_at": "soon"}, "is not a time"),
        ({"refunds": ()}, "no purchase was paid back"),
        ({"refunds": {"event": "refund", "nth": 2}}, "happens once"),
        ({"value": "order"}, "must hold numbers"),
    ],
)
def test_adjustments_that_cannot_be(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    log = shop(many(), mail=np.repeat([f"a{n}@b.example" for n in range(12)], 2), long=np.repeat(["x" * 65], 24))
    with pytest.raises(ParameterError, match=said):
        adjustments(log, tmp_path, **options)
    assert not list(tmp_path.iterdir())
