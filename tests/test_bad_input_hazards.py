"""What the survival analyses say to the impossible: a clear refusal or word, no library's traceback, no bare NaN.

Every world below is asked of every analysis. Warnings are errors here, so nothing of numpy's may come through.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.log import EventLog
from microconv.results import Result

START = pd.Timestamp("2026-01-05T00:00:00Z")
Told = list[tuple[str, str, float]]  # user, event, days
PLAN: dict[str, Any] = {
    "macros": [{"name": "buy", "event": "buy"}],
    "micros": [{"name": "signup", "event": "signup"}],
    "competing": ["unsubscribe"],
    "censor": ["deleted"],
    "horizon": "10D",
}


def log_of(told: Told, plan: dict[str, Any] | None = None, until: float = 40, **columns: Any) -> EventLog:
    frame = pd.DataFrame(told, columns=["user_id", "event", "day"])
    frame["time"] = START + pd.to_timedelta((frame.pop("day") * 86_400e6).round().astype("int64"), unit="us")
    for name, value in columns.items():
        frame[name] = [value(user) if callable(value) else value for user in frame["user_id"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mc.MicroconvWarning)  # of plan items that never occur: said, and not the point
        return mc.read_events(frame, plan=plan or PLAN, observed_until=START + pd.Timedelta(days=until))


def visitors(count: int = 60) -> Told:
    return [(f"u{n}", "visit", n / 7) for n in range(count)]


def device(user: str) -> str:
    return ("mobile", "desktop", "tablet")[int(user[1:]) % 3]


def some_buy() -> Told:
    """Two in three sign up, one in two buys, before or after signing up."""
    told = visitors()
    told += [(f"u{n}", "signup", n / 7 + 0.5 + n % 5) for n in range(60) if n % 3]
    told += [(f"u{n}", "buy", n / 7 + 1 + n % 7) for n in range(60) if n % 2]
    return told


def nobody_converts() -> EventLog:
    return log_of([row for row in some_buy() if row[1] != "buy"], device=device)


def nobody_has_the_macro_or_the_micro() -> EventLog:
    return log_of(visitors(), device=device)


def everybody_converts_at_entry() -> EventLog:
    told = visitors()
    return log_of(told + [(user, event, day) for user, _, day in told for event in ("signup", "buy")], device=device)


def everybody_converts_at_one_instant() -> EventLog:
    told = visitors()
    return log_of(told + [(user, "buy", day + 1) for user, _, day in told], device=device)


def the_micro_comes_with_the_macro() -> EventLog:
    buys = [(f"u{n}", n / 7 + 1 + n % 7) for n in range(60) if n % 2]
    return log_of(visitors() + [(user, event, day) for user, day in buys for event in ("signup", "buy")], device=device)


def the_micro_comes_just_before_the_macro() -> EventLog:
    buys = [(f"u{n}", n / 7 + 1 + n % 7) for n in range(60) if n % 2]
    told = visitors() + [(user, "buy", day) for user, day in buys]
    return log_of(told + [(user, "signup", day - 1e-6) for user, day in buys], device=device)


def whoever_did_the_micro_never_converts() -> EventLog:
    told = visitors() + [(f"u{n}", "signup", n / 7 + 0.01) for n in range(0, 60, 2)]
    return log_of(told + [(f"u{n}", "buy", n / 7 + 1 + n % 7) for n in range(1, 60, 2)], device=device)


def everybody_does_the_micro_at_entry() -> EventLog:
    told = [row for row in some_buy() if row[1] != "signup"]
    return log_of(told + [(user, "signup", day) for user, event, day in told if event == "visit"], device=device)


def a_constant_attribute() -> EventLog:
    return log_of(some_buy(), device="mobile")


def an_attribute_without_any_value() -> EventLog:
    return log_of(some_buy(), device=lambda user: "" if user == "u0" else None)


def one_user() -> EventLog:
    return log_of([("u1", "visit", 0), ("u1", "signup", 1), ("u1", "buy", 2)], device=device)


def one_user_one_event() -> EventLog:
    return log_of([("u1", "visit", 0)], device=device)


def one_user_who_is_seen_for_no_time() -> EventLog:
    return log_of([("u1", "visit", 0), ("u1", "buy", 0)], until=0, device=device)


def a_segment_of_one() -> EventLog:
    return log_of(some_buy(), device=lambda user: "tablet" if user == "u7" else "mobile")


def one_conversion() -> EventLog:
    return log_of([row for row in some_buy() if row[1] != "buy"] + [("u4", "buy", 5)], device=device)


def everybody_ends_otherwise() -> EventLog:
    told = visitors()
    return log_of(told + [(user, "unsubscribe", day + 1 + int(user[1:]) % 3) for user, _, day in told], device=device)


def everybody_is_deleted_at_entry() -> EventLog:
    told = some_buy()
    return log_of(told + [(user, "deleted", day) for user, event, day in told if event == "visit"], device=device)


def observation_ends_with_the_last_entry() -> EventLog:
    return log_of([*visitors(), ("u1", "buy", 3)], until=59 / 7, device=device)


WORLDS: list[Callable[[], EventLog]] = [
    nobody_converts,
    nobody_has_the_macro_or_the_micro,
    everybody_converts_at_entry,
    everybody_converts_at_one_instant,
    the_micro_comes_with_the_macro,
    the_micro_comes_just_before_the_macro,
    whoever_did_the_micro_never_converts,
    everybody_does_the_micro_at_entry,
    a_constant_attribute,
    an_attribute_without_any_value,
    one_user,
    one_user_one_event,
    one_user_who_is_seen_for_no_time,
    a_segment_of_one,
    one_conversion,
    everybody_ends_otherwise,
    everybody_is_deleted_at_entry,
    observation_ends_with_the_last_entry,
]

QUESTIONS: dict[str, Callable[[EventLog], Result]] = {
    "time_to_conversion": lambda log: mc.time_to_conversion(log),
    "time_to_conversion by device": lambda log: mc.time_to_conversion(log, by="device", horizon="10D"),
    "time_to_conversion again": lambda log: mc.time_to_conversion(log, repeat="each", horizon="10D"),
    "time_to_conversion from a landmark": lambda log: mc.time_to_conversion(log, landmark="2D", by="signup"),
    "hazard_ratios": lambda log: mc.hazard_ratios(log),
    "hazard_ratios adjusted": lambda log: mc.hazard_ratios(log, adjust=["device"]),
    "hazard_ratios robust": lambda log: mc.hazard_ratios(log, adjust=["device"], robust=True),
    "hazard_ratios piecewise": lambda log: mc.hazard_ratios(log, adjust=["device"], method="piecewise"),
    "hazard_ratios in strata": lambda log: mc.hazard_ratios(log, strata=["device"]),
    "hazard_ratios by time since": lambda log: mc.hazard_ratios(log, since=["1D", "3D"]),
    "fallacy_check": lambda log: mc.fallacy_check(log),
    "eventual_conversion": lambda log: mc.eventual_conversion(log),
    "eventual_conversion by device": lambda log: mc.eventual_conversion(log, by="device"),
    "forecast": lambda log: mc.forecast(log),
    "retention": lambda log: mc.retention(log),
}
# The picture of every analysis, of every world; other options change no picture's form.
DRAWN = (
    "time_to_conversion by device",
    "hazard_ratios adjusted",
    "fallacy_check",
    "eventual_conversion by device",
    "forecast",
    "retention",
)
LIBRARY_WORDS = re.compile(
    r"numpy|scipy|pandas|duckdb|ibis|sqlglot|divide by zero|singular matrix|overflow|invalid value|index \d+ is out|"
    r"NoneType|cannot reshape|LinAlg|Traceback|\bnan\b|\binf\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def logs() -> dict[str, EventLog]:
    return {world.__name__: world() for world in WORLDS}


@pytest.mark.parametrize("question", [q if q in DRAWN else pytest.param(q, marks=pytest.mark.slow) for q in QUESTIONS])
@pytest.mark.parametrize("world", [world.__name__ for world in WORLDS])
def test_every_world_gets_an_answer_in_words(
    logs: dict[str, EventLog], world: str, question: str, tmp_path: Path
) -> None:
    try:
        result = QUESTIONS[question](logs[world])
    except mc.MicroconvError as error:
        assert_clear(str(error))
        return
    assert_sound(result)
    assert_each_blank_is_named(result)
    if question in DRAWN:
        assert_drawn_and_saved(result, tmp_path)


def assert_clear(text: str) -> None:
    starts = text[0].isupper() or re.match(r"\w+(=|: |\[)", text)  # a sentence, or the parameter that it is about
    if len(text) < 30 or not starts:
        pytest.fail(f"Not a sentence: {text}")
    if found := LIBRARY_WORDS.search(text):
        pytest.fail(f"A word of a library, {found[0]!r}, in: {text}")


def assert_sound(result: Result) -> None:
    """Words without a bare nan; numbers that are finite, or a warning or assumption that says why they are not."""
    assert result.meaning
    for text in (result.meaning, *result.warnings, *result.assumptions):
        if found := re.search(r"\bnan\b|\binf\b|\bNaT\b|None\b", text):
            pytest.fail(f"{found[0]!r} in: {text}")
    for name, frame in {"table": result.table, **result.extra}.items():
        numbers = frame.select_dtypes("number")
        for column in numbers:
            values = numbers[column].to_numpy(dtype=float, na_value=np.nan)
            if column.endswith(("_low", "_high", "_ratio")) and "ratio" in " ".join(frame.columns):
                assert not (values < 0).any(), (name, column)
            if column in ("probability", "share", "rate", "observed_share", "p_value", "q_value"):
                known = values[~np.isnan(values)]
                assert ((known >= 0) & (known <= 1)).all(), (name, column)
        low, high = "ci_low", "ci_high"
        if {low, high} <= set(numbers):
            assert not (numbers[low] > numbers[high] + 1e-9).any(), name
    missing = result.table.select_dtypes("number").isna().any()
    if missing.any() and result.name != "time_to_conversion":
        said = [*result.warnings, *result.assumptions, result.meaning]
        blank = missing[missing].index.tolist()
        assert result.warnings, f"{blank} are blank without a word; {said}"


def assert_each_blank_is_named(result: Result) -> None:
    """Of each term or micro without a finite ratio or without limits the warnings say why, by its name."""
    nobody = any(text.startswith("Nobody did 'buy' while at risk") for text in result.warnings)
    if result.name not in ("hazard_ratios", "fallacy_check") or nobody:
        return
    column = "term" if result.name == "hazard_ratios" else "micro"
    for row in result.table.to_dict("records"):
        if all(np.isfinite(row[name]) for name in ("hazard_ratio", "ci_low", "ci_high")) and row["hazard_ratio"] > 0:
            continue
        names = (row[column], row[column].split("=")[0])
        assert any(name in text for name in names for text in result.warnings), (row, result.warnings)


def assert_drawn_and_saved(result: Result, folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    written = result.save(folder / "out", min_cell=0)
    plt.close("all")
    assert (written / "table.csv").stat().st_size > 0
    said = json.loads((written / "result.json").read_text())
    assert said["meaning"] == result.meaning
    assert "<script" not in result._repr_html_()


# --- What must be said in particular -------------------------------------------------------------------------------


def row_of(result: Result, term: str) -> pd.Series:
    return result.table.set_index("term").loc[term]


def text_of(result: Result) -> str:
    return " ".join([result.meaning, *result.warnings])


def test_a_micro_just_before_every_macro_is_separation_not_a_number() -> None:
    """All who bought had signed up a moment before: the ratio has no upper end, and the answer says so."""
    for options in ({}, {"adjust": ["device"]}, {"robust": True}, {"method": "piecewise"}, {"ties": "breslow"}):
        result = mc.hazard_ratios(the_micro_comes_just_before_the_macro(), **options)
        row = row_of(result, "signup")
        assert not (np.isfinite(row["hazard_ratio"]) and np.isfinite(row["ci_high"])), options
        assert "signup" in text_of(result)
        assert re.search(r"without|every|all|only|infinit|no finite|separat", text_of(result)), text_of(result)


def test_a_micro_after_which_nobody_converts_has_a_lower_end_of_zero() -> None:
    result = mc.hazard_ratios(whoever_did_the_micro_never_converts())
    row = row_of(result, "signup")
    assert row["events"] == 0
    assert not (np.isfinite(row["hazard_ratio"]) and row["hazard_ratio"] > 1e-6 and np.isfinite(row["p_value"]))
    assert math.isnan(row["ci_low"]) or row["ci_low"] < 1e-6
    assert math.isnan(row["ci_high"]) or row["ci_high"] < 1
    assert "signup" in text_of(result)


def test_a_micro_at_the_very_moment_of_the_macro_was_not_done_before_it() -> None:
    """Nobody is ever at risk with it done: there is nothing to estimate, and that is what is said."""
    try:
        result = mc.hazard_ratios(the_micro_comes_with_the_macro())
    except mc.ParameterError as error:
        assert re.search(r"signup", str(error))  # noqa: PT017 - either answer is clear
        return
    row = row_of(result, "signup")
    assert (row["events"], row["person_days"]) == (0, 0)
    assert math.isnan(row["hazard_ratio"])
    assert math.isnan(row["p_value"])
    assert "signup" in text_of(result)


def test_a_constant_attribute_is_named() -> None:
    try:
        result = mc.hazard_ratios(a_constant_attribute(), adjust=["device"])
    except mc.ParameterError as error:
        assert re.search(r"device", str(error))  # noqa: PT017
        return
    assert "device" in text_of(result)
    assert not result.table["term"].str.startswith("device").any()
    alone = mc.hazard_ratios(a_constant_attribute())
    np.testing.assert_allclose(row_of(result, "signup")["hazard_ratio"], row_of(alone, "signup")["hazard_ratio"])


def test_two_micros_that_are_always_done_together_cannot_be_told_apart() -> None:
    told = some_buy()
    plan = {**PLAN, "micros": [*PLAN["micros"], {"name": "consent", "event": "consent"}]}
    log = log_of(told + [(user, "consent", day) for user, event, day in told if event == "signup"], plan)
    try:
        result = mc.hazard_ratios(log)
    except mc.ParameterError as error:
        assert "signup" in str(error) or "consent" in str(error)  # noqa: PT017
        return
    assert result.table["hazard_ratio"].isna().any()
    assert "signup" in text_of(result) or "consent" in text_of(result)


def test_nobody_converts_is_said() -> None:
    for world in (nobody_converts, nobody_has_the_macro_or_the_micro, everybody_ends_otherwise):
        for name in ("hazard_ratios", "fallacy_check", "eventual_conversion", "forecast"):
            try:
                text = text_of(QUESTIONS[name](world()))
            except mc.MicroconvError as error:
                text = str(error)
            assert "buy" in text or re.search(r"[Nn]obody|no one|0 of|none", text), (world.__name__, name, text)


def test_a_share_that_was_counted_is_not_called_a_models() -> None:
    for world in (everybody_converts_at_entry, everybody_converts_at_one_instant, everybody_ends_otherwise):
        result = mc.eventual_conversion(world(), by="device")
        assert result.table["method"].str.startswith("observed").all()
        assert "model" not in result.meaning
        assert "in each" in result.meaning


def test_the_horizon_that_a_refused_forecast_proposes_is_possible() -> None:
    log = observation_ends_with_the_last_entry()
    refused = next(text for text in mc.forecast(log).warnings if "Choose a horizon" in text)
    days = re.search(r"at most ([\d.]+) days", refused)
    assert days is not None
    assert mc.forecast(log, horizon=f"{days[1]}D").total["expected"].notna().all()
    assert "Choose" not in " ".join(mc.forecast(everybody_is_deleted_at_entry()).warnings)


NEGATIVE = ["-30D", "-1h", pd.Timedelta("-1D").to_pytimedelta(), "0D"]


@pytest.mark.parametrize("duration", NEGATIVE, ids=str)
def test_negative_durations_are_refused_by_name(duration: Any) -> None:
    log = log_of(some_buy(), device=device)
    for question in (mc.time_to_conversion, mc.hazard_ratios, mc.forecast):
        with pytest.raises(mc.ParameterError, match=r"horizon"):
            question(log, horizon=duration)
    for name, ask in (
        ("since", lambda: mc.hazard_ratios(log, since=duration)),
        ("landmark", lambda: mc.time_to_conversion(log, landmark=duration)),
        ("from_age", lambda: mc.time_to_conversion(log, from_age=duration)),
    ):
        with pytest.raises(mc.ParameterError, match=name):
            ask()
    if duration != "0D":  # no time to wash out, and no back-test
        for name, ask in (
            ("washout", lambda: mc.hazard_ratios(log, washout=duration)),
            ("holdback", lambda: mc.forecast(log, holdback=duration)),
        ):
            with pytest.raises(mc.ParameterError, match=name):
                ask()


def test_an_interval_that_ends_before_it_starts() -> None:
    frame = pd.DataFrame({"start": [0.0, 3.0], "stop": [2.0, 1.0], "cause": [1, 0]})
    with pytest.raises(mc.ParameterError, match=r"'stop' must not lie before 'start'.*index 1"):
        mc.RiskTable.from_intervals(frame, "start", "stop", "cause")
    with pytest.raises(mc.ParameterError, match="'start' must not lie before the origin"):
        mc.RiskTable.from_intervals(frame.assign(start=-1.0), "start", "stop", "cause")


@pytest.mark.parametrize("bad", [95, 1, 0, -0.5, math.nan, "95%", None, True])
def test_confidence_that_is_none(bad: Any) -> None:
    log = log_of(some_buy(), device=device)
    for question in (mc.time_to_conversion, mc.hazard_ratios, mc.fallacy_check, mc.eventual_conversion, mc.forecast):
        with pytest.raises(mc.ParameterError, match="confidence"):
            question(log, confidence=bad)


HOSTILE = ["<script>alert(1)</script>", "a=b", "o'brien", 'say "hi"', "💥", "x" * 500, "(missing)", "100%", "$a_b^2$"]


def test_hostile_levels_of_an_attribute_stay_text(tmp_path: Path) -> None:
    log = log_of(some_buy() * 1, device=lambda user: HOSTILE[int(user[1:]) % len(HOSTILE)])
    for question in (
        lambda: mc.hazard_ratios(log, adjust=["device"]),
        lambda: mc.time_to_conversion(log, by="device"),
        lambda: mc.eventual_conversion(log, by="device"),
        lambda: mc.retention(log, by="device") if "by" in mc.retention.__kwdefaults__ else mc.retention(log),
    ):
        try:
            result = question()
        except mc.MicroconvError as error:
            assert_clear(str(error))
            continue
        assert_drawn_and_saved(result, tmp_path)


IMPOSSIBLE: list[tuple[str, Callable[[EventLog], Any], str]] = [
    ("an unknown micro", lambda log: mc.hazard_ratios(log, micros=["sinup"]), "signup"),
    ("a micro twice", lambda log: mc.hazard_ratios(log, micros=["signup", "signup"]), "signup"),
    ("the target as micro", lambda log: mc.hazard_ratios(log, micros=["buy"]), "buy"),
    ("an end as micro", lambda log: mc.hazard_ratios(log, micros=["unsubscribe"]), "unsubscribe"),
    ("text for a list", lambda log: mc.hazard_ratios(log, micros="signup", adjust=3), "adjust"),
    ("an unknown attribute", lambda log: mc.hazard_ratios(log, adjust=["devise"]), "Did you mean 'device'"),
    ("an attribute twice", lambda log: mc.hazard_ratios(log, adjust=["device", "device"]), "device"),
    ("adjusted and stratified", lambda log: mc.hazard_ratios(log, adjust=["device"], strata=["device"]), "device"),
    ("unknown ties", lambda log: mc.hazard_ratios(log, ties="exact"), "ties"),
    ("an unknown method", lambda log: mc.hazard_ratios(log, method="coxx"), "method.*cox"),
    ("nothing to estimate", lambda log: mc.hazard_ratios(log, micros=[]), "micros"),
    ("a misspelt target", lambda log: mc.hazard_ratios(log, target="bui"), "bui"),
    ("an unknown attribute", lambda log: mc.eventual_conversion(log, by="devise"), "Did you mean 'device'"),
    ("an unknown micro", lambda log: mc.fallacy_check(log, micros=["sinup"]), "signup"),
]


@pytest.mark.parametrize(("ask", "message"), [(a, m) for _, a, m in IMPOSSIBLE], ids=[n for n, *_ in IMPOSSIBLE])
def test_impossible_parameters(ask: Callable[[EventLog], Any], message: str) -> None:
    log = log_of(some_buy(), device=device)
    with pytest.raises(mc.MicroconvError, match=message):
        ask(log)
