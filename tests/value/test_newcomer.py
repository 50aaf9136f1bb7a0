"""What a newcomer runs into with mc.micro_value: one step under two names, steps nobody stays before, real logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.log import EventLog

START = pd.Timestamp("2026-01-01", tz="UTC")


def log_of(rows: list[tuple[str, float, str]], micros: list[dict[str, object] | str], until: float = 90.0) -> EventLog:
    """(user, day, event) as a log whose macro is ``buy``."""
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event"])
    frame["time"] = START + pd.to_timedelta(frame.pop("day"), unit="D")
    named = [{"name": one, "event": one} if isinstance(one, str) else one for one in micros]
    plan = {"macros": [{"name": "buy", "event": "buy"}], "micros": named, "horizon": "14D"}
    return mc.read_events(frame, plan=plan, observed_until=START + pd.Timedelta(days=until))


def users(seed: int = 1, n: int = 1_500) -> list[tuple[str, float, str]]:
    """Half watch the video and buy twice as fast after it; who opens the form sends it within a minute."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        name, entry = f"u{i:04d}", float(rng.uniform(0, 30))
        rows.append((name, entry, "open"))
        video, form, buy = entry + rng.exponential(8.0, 3) * np.array([1, 1.5, 5])
        if video < buy:
            rows.append((name, video, "video"))
            buy = video + (buy - video) / 2
        if form < buy:
            rows += [(name, form, "form_opened"), (name, form + rng.uniform(0, 1) / 1_440, "form_sent")]
        if buy < 90:
            rows.append((name, buy, "buy"))
    return rows


def labels(result: mc.Result) -> dict[str, str]:
    return result.table.set_index("micro")["label"].to_dict()


def test_micros_without_time_between_them_are_named_as_one_step() -> None:
    result = mc.micro_value(log_of(users(), ["video", "form_opened", "form_sent"]), check=False)
    (said,) = (warning for warning in result.warnings if "are one step" in warning)
    assert said.startswith("form_opened, form_sent are one step")
    apart = mc.micro_value(log_of(users(), ["video", "form_sent"]), check=False)
    assert not any("one step" in warning for warning in apart.warnings)


def test_a_step_that_follows_at_once_has_nobody_to_compare_with() -> None:
    """The chance of who opened the form and never sent it is the model's word: nobody is ever so."""
    result = mc.micro_value(log_of(users(), ["video", "form_opened", "form_sent"]), check=False)
    assert labels(result) == {"video": "predictive", "form_opened": "predictive", "form_sent": "not estimated"}
    row = result.table.set_index("micro").loc["form_sent"]
    assert "hardly anybody to compare with" in row["why"]
    assert np.isnan(row["incremental"])


def test_the_video_is_found_beside_them() -> None:
    """Of two steps that are one, the second's rates are unknown; the estimate of another micro stays what it is."""
    with_both = mc.micro_value(log_of(users(), ["video", "form_opened", "form_sent"]), check=False).table
    with_one = mc.micro_value(log_of(users(), ["video", "form_sent"]), check=False).table
    one, other = (table.set_index("micro").loc["video", "incremental"] for table in (with_both, with_one))
    assert one == pytest.approx(other, abs=0.01)
    assert other > 0.05


def test_a_second_time_without_the_first_is_pointed_out() -> None:
    rows = users()
    again = [(user, day + 3.0, event) for user, day, event in rows if event == "video" and day % 2 < 1]
    second = {"name": "again", "event": "video", "nth": 2}
    alone = mc.micro_value(log_of(rows + again, [second]), check=False)
    assert any(warning.startswith("again is compared with users who did video less") for warning in alone.warnings)
    for asked in ({"micros": ["video", "again"]}, {"micros": "video", "occurrences": 2}):
        result = mc.micro_value(log_of(rows + again, ["video", second]), check=False, **asked)
        assert not any("less often or never" in warning for warning in result.warnings)


def test_no_conversion_without_it_is_structural_even_where_few_were_expected() -> None:
    """Who is not taken on is turned away within hours, so that hardly any time is spent before the step."""
    rng = np.random.default_rng(2)
    rows = []
    for i in range(600):
        user, entry = f"u{i:03d}", float(rng.uniform(0, 20))
        step = entry + 0.3 + 0.4 * rng.random()
        rows.append((user, entry, "open"))
        if i % 2:
            rows.append((user, step, "refused"))
            continue
        rows += [(user, step, "taken_on"), (user, step + rng.exponential(6.0), "buy")]
    log = log_of(rows, ["taken_on"])
    result = mc.micro_value(log, competing=["refused"], check=False)
    counts = result.naive_counts.iloc[0]
    assert counts["others_converted"] == 0
    assert 5 <= counts["expected_without"] < 30
    assert labels(result) == {"taken_on": "structural"}


def test_it_does_not_praise_what_is_not_shown_to_add() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for i in range(300):
        entry = float(rng.uniform(0, 20))
        rows.append((f"u{i:03d}", entry, "open"))
        events = ("noise", "buy") if rng.random() < 0.5 else ("buy",)
        rows += [(f"u{i:03d}", entry + float(rng.exponential(9.0)), event) for event in events]
    result = mc.micro_value(log_of(rows, ["noise"]), check=False)
    row = result.table.iloc[0]
    assert row["ci_low"] <= 0
    assert "adds most" not in result.meaning
    assert "No micro-conversion is shown to add to buy" in result.meaning


# Real input ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.real
def test_what_speeds_up_a_loan(real_data: Path) -> None:
    """A bank's applications: what everybody passes is structural, a second offer goes with more activations by both
    methods, the bank's handling of leads with fewer, and one step under four names is told.
    """
    columns = {"user_id": "case_id", "event": "activity", "time": "timestamp"}
    log = mc.read_events(real_data / "bpi2012_loan_events.csv.gz", columns=columns)
    ask = {"target": "A_ACTIVATED", "competing": ["A_DECLINED", "A_CANCELLED"], "horizon": "30D"}
    second = {"name": "second offer", "event": "O_SENT", "nth": 2}
    micros = ["O_SENT", "O_SENT_BACK", "W_Afhandelen leads", second]
    found = mc.micro_value(log, micros=micros, adjust="amount_requested", placebo=True, **ask)
    table = found.table.set_index("micro")
    assert labels(found) == dict.fromkeys(micros[:2], "structural") | {
        "W_Afhandelen leads": "adjusted",
        "second offer": "adjusted",
    }
    assert table["users"].tolist() == [5_015, 3_254, 4_755, 1_438]
    assert table.loc["O_SENT_BACK", "followed_by"] == pytest.approx(2_246 / 3_254)
    assert "2,246 of 2,246" in table.loc["O_SENT_BACK", "why"]
    by_method = found.methods.set_index(["micro", "method"])
    for method in ("hazard", "trials"):
        assert by_method.loc[("second offer", method), "ci_low"] > 0.02
        assert by_method.loc[("second offer", method), "ci_high"] < 0.12  # the naive lift is 0.36
        assert by_method.loc[("W_Afhandelen leads", method), "ci_high"] < -0.05
    assert table.loc["second offer", "naive_lift"] == pytest.approx(0.36, abs=0.005)
    assert found.checks["clear_of_zero"].tolist() == [True]  # applications that go on have more of every event

    steps = ["A_PREACCEPTED", "O_SELECTED", "O_SENT", "W_Nabellen offertes", "W_Valideren aanvraag"]
    named = mc.micro_value(log, micros=steps, check=False, **ask)
    assert set(labels(named).values()) == {"structural"}
    assert any(warning.startswith("O_SELECTED, O_SENT, W_Nabellen offertes are one step") for warning in named.warnings)


@pytest.mark.real
def test_leads_that_have_no_micro(real_data: Path) -> None:
    """Two tables joined: who contacted, who was won; there is nothing in between to value."""
    leads = pd.read_csv(real_data / "olist" / "marketing_qualified_leads.csv")
    deals = pd.read_csv(real_data / "olist" / "closed_deals.csv")
    contact = leads.rename(columns={"mql_id": "user_id", "first_contact_date": "time"}).assign(event="contact")
    won = deals.rename(columns={"mql_id": "user_id", "won_date": "time"}).assign(event="won")
    frame = pd.concat([contact[["user_id", "time", "event", "origin"]], won[["user_id", "time", "event"]]])
    plan = {"macros": [{"name": "won", "event": "won"}], "horizon": "60D"}
    log = mc.read_events(frame, tz="America/Sao_Paulo", plan=plan)
    with pytest.raises(mc.ParameterError, match="no micro to value"):
        mc.micro_value(log)
    found = mc.micro_value(log, micros="contact")
    assert labels(found) == {"contact": "not estimated"}
    assert "hardly anybody to compare with" in found.table["why"].iloc[0]
