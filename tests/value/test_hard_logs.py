"""mc.micro_value on logs that are hard on it: other ends that compete, refunds above purchases, missing prices,
steps that the log misses now and then; against closed forms and plain sums.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.log import EventLog
from microconv.value.words import next_steps

mpl.use("Agg")
START = pd.Timestamp("2026-01-01", tz="UTC")
BUY: dict[str, Any] = {"name": "buy", "event": "buy", "value": "value", "currency": "EUR"}


def log_of(frame: pd.DataFrame, **plan: Any) -> EventLog:
    """A frame whose ``day`` is the time; its macro is ``buy``, its micro is ``video`` where nothing else is said."""
    plan = {"macros": [BUY], "micros": [{"name": "video", "event": "video"}], "horizon": "10D"} | plan
    timed = frame.assign(time=START + pd.to_timedelta(frame["day"], unit="D")).drop(columns="day")
    return mc.read_events(timed, plan=mc.Plan(**plan), observed_until=START + pd.Timedelta("60D"))


# Other ends ----------------------------------------------------------------------------------------------------------


def rivals(n: int = 4_000, seed: int = 1, after: bool = True) -> pd.DataFrame:
    """Buying and leaving at constant rates of .05 a day each, after the video .10 and .08. ``after``: with what users
    do once their journey is over, purchases of others in their name included.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, float, str, float | None]] = []
    for i in range(n):
        user, entry = f"u{i:05d}", rng.uniform(0, 30)
        video, buy, leave = rng.exponential(10), rng.exponential(20), rng.exponential(20)
        if min(buy, leave) > video:
            buy, leave = video + rng.exponential(10), video + rng.exponential(12.5)
        end = min(buy, leave)
        rows += [(user, entry, "open", None), (user, entry + end, *(("buy", 10.0) if buy < leave else ("leave", None)))]
        if video < end or after:
            rows.append((user, entry + video, "video", None))
        if after:
            rows += [(user, entry + end + 0.5, "video", None), (user, entry + end + 1, "leave", None)]
            rows += [(user, entry + end + 2, "buy", 77.0)] if leave < buy else []
    return pd.DataFrame(rows, columns=["user_id", "day", "event", "value"]).query("day < 60")


def risk(buy: float, leave: float, days: float) -> float:
    """The chance of buying within some days where both ends come at constant rates."""
    return buy / (buy + leave) * (1 - np.exp(-(buy + leave) * days))


def test_competing_ends_take_their_share_of_both_arms() -> None:
    found = mc.micro_value(log_of(rivals(), competing=["leave"]))
    methods = found.methods.set_index("method")
    for method in ("hazard", "trials"):
        row = methods.loc[method]
        assert row["chance_done"] == pytest.approx(risk(0.10, 0.08, 10), abs=3.3 * row["se"])
        assert row["chance_never"] == pytest.approx(risk(0.05, 0.05, 10), abs=3.3 * row["se"])
        truth = risk(0.10, 0.08, 10) - risk(0.05, 0.05, 10)
        assert row["ci_low"] < truth < row["ci_high"]
        # One less the survival of purchases alone would say 24 points.
        assert row["ci_high"] < (1 - np.exp(-1.0)) - (1 - np.exp(-0.5))


def test_what_users_do_after_an_end_never_counts() -> None:
    """But for the money, which is earned and stands in (no micro)."""
    noisy = mc.micro_value(log_of(rivals(1_500), competing=["leave"]))
    clean = mc.micro_value(log_of(rivals(1_500, after=False)), competing=["leave"])
    money = ["credited_value"]
    pd.testing.assert_frame_equal(noisy.table.drop(columns=money), clean.table.drop(columns=money))
    pd.testing.assert_frame_equal(noisy.methods, clean.methods)
    pd.testing.assert_frame_equal(noisy.naive_counts, clean.naive_counts)
    more = noisy.table["credited_value"] - clean.table["credited_value"]
    late = rivals(1_500).query("event == 'buy' and value == 77")["value"].sum()
    assert more.tolist() == pytest.approx([0.0, late])


# Money ---------------------------------------------------------------------------------------------------------------


def shop(currencies: tuple[str, ...] = ("EUR",), times: float = 3.0) -> pd.DataFrame:
    """Several purchases of a user, refunds weeks later (``times`` what was paid), at once, and before any purchase."""
    rng = np.random.default_rng(2)
    rows: list[tuple[str, float, str, float | None, str | None]] = []
    for i in range(300):
        user, watched, late = f"u{i:03d}", i % 2 == 0, i / 3_000
        rows.append((user, 0.0, "open", None, None))
        if i % 7 == 3:
            rows.append((user, 0.2, "refund", 3.33, "EUR"))
        if watched:
            rows.append((user, 1 + late, "video", None, None))
        if i % 5 == 1:
            rows.append((user, 0.5 + late, "cart", None, None))
        if i % 3 < (2 if watched else 1):
            day, paid, code = (
                2 + (i % 7) / 2 + late,
                round(float(rng.uniform(1, 50)), 2),
                currencies[i // 6 % len(currencies)],
            )
            rows.append((user, day, "buy", paid, code))
            rows += [(user, day + 20, "buy", 7.77, code)] if i % 4 == 0 else []
            rows += [(user, day + 25, "refund", round(times * paid, 2), code)] if i % 6 == 0 else []
            rows += [(user, day, "refund", 0.01, code)] if i % 9 == 1 else []
    return pd.DataFrame(rows, columns=["user_id", "day", "event", "value", "currency"])


def revenue(frame: pd.DataFrame, rates: dict[str, float], margin: float, discount_rate: float) -> float:
    """The plain sum of what is paid from each user's first purchase on, each payment rounded to cents."""
    first = frame["user_id"].map(frame[frame["event"] == "buy"].groupby("user_id")["day"].min())
    counts = frame["event"].isin(["buy", "refund"]) & (frame["day"] >= first)
    signed = frame["value"].where(frame["event"] != "refund", -frame["value"])
    factor = 100 * frame["currency"].str.strip().str.upper().map(rates) * margin
    cents = (signed * factor / (1 + discount_rate) ** ((frame["day"] - first) / 365.25))[counts]
    return float((np.sign(cents) * np.floor(cents.abs() + 0.5)).sum() / 100)  # half a cent goes away from zero


@pytest.mark.parametrize(
    ("currencies", "given"),
    [
        (("EUR",), {}),
        (("EUR",), {"revenue": "all"}),
        (("EUR",), {"revenue": "all", "revenue_within": "21D"}),
        (("EUR",), {"revenue": "all", "margin": 0.37, "discount_rate": 0.25}),
        (("eur", " EUR", "Usd"), {"rates": {"USD": 0.9}, "discount_rate": 0.1}),
    ],
)
@pytest.mark.parametrize("times", [0.5, 3.0])
def test_credited_value_is_the_plain_sum_to_the_cent(
    currencies: tuple[str, ...], given: dict[str, Any], times: float
) -> None:
    frame = shop(currencies, times)
    log = log_of(frame, micros=[{"name": "video", "event": "video"}, {"name": "cart", "event": "cart"}])
    found = mc.micro_value(log, refunds="refund", check=False, **given)
    rates = {"EUR": 1.0} | given.get("rates", {})
    plain = revenue(frame, rates, given.get("margin", 1.0), given.get("discount_rate", 0.0))
    assert round(found.table["credited_value"].sum() * 100) == round(plain * 100)
    assert found.table["credited_value"].sum() == pytest.approx(plain, abs=1e-6)


def test_where_refunds_exceed_purchases_it_is_said(tmp_path: Any) -> None:
    """Users of the video have three times their purchase refunded, and bring less than nothing."""
    found = mc.micro_value(log_of(shop()), refunds="refund", revenue="all")
    (said,) = (warning for warning in found.warnings if "cost more in refunds" in warning)
    assert "video=1" in said
    assert "method='trials'" in said
    methods = found.methods.set_index("method")
    assert methods.loc["trials", "incremental_value"] < methods.loc["hazard", "incremental_value"] < 0
    assert found.meaning.count("In money nothing is shown.") == 1
    assert "Worth promoting" not in found.next_steps["next_step"].iloc[0]
    (books,) = mc.export_values(found, tmp_path, to="finance").files
    written = pd.read_csv(books)["credited_value"]
    assert round(written.sum() * 100) == round(found.table["credited_value"].sum() * 100)


def test_prices_that_are_all_missing_are_no_money(tmp_path: Any) -> None:
    frame = shop().query("event != 'refund'").assign(value=np.nan)
    found = mc.micro_value(log_of(frame), check=False)
    money = ["naive_value", "naive_bias", "credited_value", "incremental_value", "value_ci_low", "value_ci_high"]
    assert found.table["micro"].tolist() == ["video"]
    assert found.table[money].isna().all().all()
    assert "No payment has a value: there are chances only, and no money." in found.warnings
    assert "worth" not in found.meaning
    assert "EUR" not in found.meaning
    assert found.plot() is not None
    for to in ("goals", "finance", "google_ads", "meta"):
        with pytest.raises(mc.ParameterError):
            mc.export_values(found, tmp_path, to=to, currency="EUR")


def test_some_missing_prices_count_as_none_and_are_told() -> None:
    frame = shop(times=0.5)
    blank = (frame["event"] == "buy") & (frame["user_id"] < "u100")
    found = mc.micro_value(log_of(frame.assign(value=frame["value"].mask(blank))), check=False)
    assert any(f"{blank.sum()} payments without a value" in warning for warning in found.warnings)
    assert found.table["credited_value"].notna().all()


# Words ---------------------------------------------------------------------------------------------------------------


def checkouts(missed: int) -> EventLog:
    """Everybody passes the checkout on the way to the purchase; of ``missed`` buyers the log does not know it."""
    rng = np.random.default_rng(3)
    rows: list[tuple[str, float, str, float]] = []
    buyers = 0
    for i in range(1_200):
        user, entry = f"u{i:04d}", rng.uniform(0, 20)
        rows.append((user, entry, "open", 1.0))
        rows += [(user, entry + rng.exponential(5), "video", 1.0)] if rng.random() < 0.3 else []
        if rng.random() < 0.5:
            checkout = entry + rng.exponential(10)
            buys = rng.random() < 0.8
            buyers += buys
            if not buys or buyers > missed:
                rows.append((user, checkout, "checkout", 1.0))
            rows += [(user, checkout + rng.exponential(1), "buy", 1.0)] if buys else []
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event", "value"]).query("day < 60")
    return log_of(frame, micros=[{"name": "checkout", "event": "checkout"}, {"name": "video", "event": "video"}])


@pytest.mark.parametrize(("missed", "label"), [(0, "structural"), (4, "structural"), (15, "predictive")])
def test_a_step_that_the_log_misses_now_and_then(missed: int, label: str) -> None:
    found = mc.micro_value(checkouts(missed), check=False)
    assert found.table["label"].tolist()[:2] == [label, "predictive"]
    told = [warning for warning in found.warnings if warning.startswith(f"checkout: only {missed} of")]
    assert len(told) == (label != "structural")
    assert not any(warning.startswith("video: only") for warning in found.warnings)


def row(**given: Any) -> pd.DataFrame:
    """A row of the table of a micro that is shown to add 5 points and 3 EUR."""
    usual = {"micro": "video", "label": "adjusted", "why": "", "incremental": 0.05, "ci_low": 0.03, "ci_high": 0.07}
    usual |= {"e_value_limit": 1.8, "value_ci_low": 2.0, "value_ci_high": 4.0}
    return pd.DataFrame([usual | given])


@pytest.mark.parametrize(
    ("given", "placebo", "said"),
    [
        ({}, None, "Worth promoting. Fairly robust"),
        ({"e_value_limit": 1.2}, None, "An experiment would make it certain"),
        ({"label": "predictive"}, None, "Promising, but adjusted for nothing"),
        ({"value_ci_low": -1.0}, None, "that it brings money is not shown"),
        ({"value_ci_low": -5.0, "value_ci_high": -1.0}, None, "less money"),
        ({"value_ci_low": np.nan, "value_ci_high": np.nan}, None, "Worth promoting"),
        ({"ci_low": -0.01, "value_ci_low": -1.0}, None, "Do not pay for it"),
        ({"ci_low": -0.01}, None, "that more of them convert is not shown"),
        ({}, 0.08, "a placebo seems to add about as much"),
        ({}, 0.01, "Promote it with care: 1.0 points a placebo"),
    ],
)
def test_the_next_step_claims_no_more_than_is_shown(given: dict[str, Any], placebo: float | None, said: str) -> None:
    checks = pd.DataFrame([{"check": "placebo", "clear_of_zero": True, "incremental": placebo}]) if placebo else None
    assert said in next_steps(row(**given), checks)["next_step"].iloc[0]


# At the edge ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("microseconds", "counts"), [(-1, True), (0, True), (1, False)])
def test_a_purchase_at_the_very_horizon_counts_in_both_arms(microseconds: int, counts: bool) -> None:
    """All doers act after a day to the microsecond; 30 of 100 of them, and 20 of 100 others, buy ten days later."""
    rows = []
    for i in range(200):
        rows.append((f"u{i:03d}", 0, "open", None))
        rows += [(f"u{i:03d}", 86_400_000_000, "video", None)] if i < 100 else []
        if i < 30 or 100 <= i < 120:
            rows.append((f"u{i:03d}", 11 * 86_400_000_000 + microseconds, "buy", 10.0))
    frame = pd.DataFrame(rows, columns=["user_id", "microseconds", "event", "value"])
    timed = frame.assign(time=START + pd.to_timedelta(frame["microseconds"], unit="us")).drop(columns="microseconds")
    plan = mc.Plan(macros=[BUY], micros=[{"name": "video", "event": "video"}], horizon="10D")
    log = mc.read_events(timed, plan=plan, observed_until=START + pd.Timedelta("30D"))
    found = mc.micro_value(log).methods.set_index("method").loc["trials"]
    if counts:
        assert found["chance_done"] == pytest.approx(1 - np.exp(-0.3))  # 30 per 100 users over the last interval
        # Others are weighted for doing it later, at a rate that the interval of day one spreads over later days.
        assert 1 - np.exp(-0.2) <= found["chance_never"] < 0.19
        assert found["incremental_value"] == pytest.approx(10 * found["incremental"])
    else:
        assert found[["chance_done", "chance_never", "incremental", "incremental_value"]].tolist() == [0.0] * 4


# Encouragement by hand -----------------------------------------------------------------------------------------------


def lottery(arms: dict[str, tuple[int, int, int, int]]) -> EventLog:
    """By arm: users who did it and bought, did it only, bought only, neither."""
    rows: list[tuple[str, float, str, str, float | None]] = []
    for arm, numbers in arms.items():
        kinds = [
            kind for kind, many in zip(((1, 1), (1, 0), (0, 1), (0, 0)), numbers, strict=True) for _ in range(many)
        ]
        for i, (did, bought) in enumerate(kinds):
            user = f"{arm}{i:03d}"
            rows.append((user, 0.0, "open", arm, None))
            rows += [(user, 1.0, "video", arm, None)] if did else []
            rows += [(user, 2.0, "buy", arm, 10.0)] if bought else []
    return log_of(pd.DataFrame(rows, columns=["user_id", "day", "event", "variant", "value"]))


def anderson_rubin(effect: float, nudge: tuple[int, ...], control: tuple[int, ...]) -> float:
    """How many standard errors the arms differ in what is bought less ``effect`` times what is done."""
    means, errors = [], []
    for numbers in (nudge, control):
        values = np.repeat([1 - effect, -effect, 1.0, 0.0], numbers)
        means.append(values.mean())
        errors.append(values.var() / len(values))
    return float((means[0] - means[1]) / np.sqrt(sum(errors)))


def test_the_effect_of_an_encouragement_by_hand() -> None:
    nudge, control = (60, 140, 40, 260), (20, 80, 50, 350)
    log = lottery({"nudge": nudge, "control": control})
    found = mc.micro_value(log, check=False, variant_col="variant", encouraged="video", control="control")
    chance, money = (found.encouragement.set_index("outcome").loc[name] for name in ("converted", "revenue"))
    assert chance["effect"] == pytest.approx((100 / 500 - 70 / 500) / (200 / 500 - 100 / 500))
    assert abs(anderson_rubin(chance["ci_low"], nudge, control)) == pytest.approx(1.96, abs=0.005)
    assert abs(anderson_rubin(chance["ci_high"], nudge, control)) == pytest.approx(1.96, abs=0.005)
    assert chance["first_stage_f"] == pytest.approx(0.2**2 / (0.4 * 0.6 / 500 + 0.2 * 0.8 / 500))
    assert money[["effect", "ci_low", "ci_high"]].tolist() == pytest.approx(
        (10 * chance[["effect", "ci_low", "ci_high"]]).tolist()
    )


def test_an_encouragement_that_moves_nobody_says_nothing() -> None:
    arms = {"nudge": (21, 80, 49, 350), "other": (20, 81, 50, 349), "control": (20, 80, 50, 350)}
    found = mc.micro_value(lottery(arms), check=False, variant_col="variant", encouraged="video", control="control")
    row = found.encouragement.iloc[0]
    assert row["weak"]
    assert row["shape"] != "interval"
    assert any("go by the interval, not by the estimate" in warning for warning in found.warnings)


def test_a_placebo_that_cannot_be_drawn_takes_nothing_else_with_it() -> None:
    """Users who do nothing but enter, watch and buy have no event to time a placebo by."""
    found = mc.micro_value(log_of(rivals(600, after=False), competing=["leave"]), placebo=True, check=False)
    assert np.isfinite(found.table["incremental"].iloc[0])
    assert np.isnan(found.checks["incremental"].iloc[0])
    assert "nothing to time a placebo by" in found.checks["why"].iloc[0]
    assert any(warning.startswith("The placebo on buy says nothing") for warning in found.warnings)
