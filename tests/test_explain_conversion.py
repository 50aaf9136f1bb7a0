"""mc.explain_conversion: by hand, added up to mc.attribution, against loops, in words, bad input."""

from __future__ import annotations

import html
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.paths import Event, changed, paths_of
from touch_worlds import FOUR, simulated

import microconv as mc
from microconv.attribution import one_conversion
from microconv.attribution.definitions import DEFINITIONS
from microconv.attribution.surviving import fitted_to
from microconv.errors import ParameterError
from microconv.plan import End
from microconv.reduce import paths as paths_of_logs
from microconv.reduce import touch_exposures
from microconv.reduce.money import RevenueTerms
from microconv.reduce.path_of_user import paths_of_user
from microconv.reduce.path_rules import PathRule

DAY, HOUR = pd.Timedelta(days=1), pd.Timedelta(hours=1)
START = pd.Timestamp("2026-01-01", tz="UTC")
PLAN = mc.Plan(macros=[{"name": "buy", "event": "buy", "value": "value", "currency": "EUR"}], lookback="30D")
ADDING = [name for name in DEFINITIONS if not name.startswith("markov")]


def log_of(rows: list[tuple[Any, ...]], **options: Any) -> mc.EventLog:
    """A log of rows (user, time since the start, channel or None for a purchase, money)."""
    frame = pd.DataFrame(
        [(who, START + at, "visit" if channel else "buy", channel, value) for who, at, channel, value in rows],
        columns=["user_id", "time", "event", "channel", "value"],
    ).astype({"channel": "string", "value": "Float64"})
    return mc.read_events(frame, **{"plan": PLAN, "observed_until": START + 90 * DAY, **options})


def one_user() -> mc.EventLog:
    """One user with two purchases, and others so that chains have something to count."""
    rows: list[tuple[Any, ...]] = [
        ("ann", 0 * DAY, "ad", None),
        ("ann", 7 * DAY, "mail", None),
        ("ann", 10 * DAY, "mail", None),
        ("ann", 14 * DAY, "direct", None),
        ("ann", 14 * DAY, None, 70.0),
        ("ann", 20 * DAY, None, 30.0),
        ("bob", 0 * DAY, "ad", None),
        ("bob", 60 * DAY, None, 10.0),
        ("eve", 3 * DAY, "mail", None),
    ]
    return log_of(rows)


@pytest.fixture
def fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are fitted for the first conversion of a log only: they are those of the whole log."""
    found: dict[int, Any] = {}

    def once(log: mc.EventLog, question: Any) -> Any:
        if id(log) not in found:
            found[id(log)] = fitted_to(log, question)
        return found[id(log)]

    monkeypatch.setattr(one_conversion, "fitted_to", once)


def shares(result: mc.Result, model: str) -> list[float]:
    return result.table.loc[result.table["model"] == model, "share"].tolist()


def test_rules_by_hand() -> None:
    result = mc.explain_conversion(one_user(), "ann", model=[name for name in ADDING if name != "survival"])
    weights = np.array([1, 2, 2 * 2 ** (3 / 7), 4])
    steps = np.array([1, 2, 4, 4])
    expected = {
        "first": [1, 0, 0, 0],
        "last": [0, 0, 0, 1],
        "last_non_direct": [0, 0, 1, 0],
        "linear": [0.25] * 4,
        "linear_unique": [1 / 3, 1 / 6, 1 / 6, 1 / 3],
        "position": [0.4, 0.1, 0.1, 0.4],
        "time_decay": weights / weights.sum(),
        "time_decay_steps": steps / steps.sum(),
        "any_touch": [1, 0.5, 0.5, 1, -2],
        "shapley": [1 / 3, 1 / 6, 1 / 6, 1 / 3],
    }
    assert list(expected) == list(result.models["model"])
    for model, numbers in expected.items():
        assert shares(result, model) == pytest.approx(list(numbers), abs=1e-12), model
    table = result.table
    assert list(table.columns) == ["model", "touch", "time", "channel", "age_days", "share", "value", "users"]
    assert table["value"].to_numpy() == pytest.approx(70 * table["share"].to_numpy())
    first = table[table["model"] == "first"]
    assert first["touch"].tolist() == [1, 2, 3, 4]
    assert first["age_days"].tolist() == [14, 7, 4, 0]
    assert first["time"].tolist() == [START + days * DAY for days in (0, 7, 10, 14)]


def test_chains_are_read_as_removal_effects_of_the_channels_on_the_path() -> None:
    log = one_user()
    result = mc.explain_conversion(log, "ann", model=["markov", "markov2"])
    whole = mc.attribution(log, model=["markov", "markov2"]).removals.set_index(["model", "channel"])["removal_effect"]
    for model in ("markov", "markov2"):
        effect = whole[model]
        parts = np.array([effect["ad"], effect["mail"] / 2, effect["mail"] / 2, effect["direct"]])
        assert shares(result, model) == pytest.approx(parts / effect.sum(), abs=1e-12)
    assert any("divides the total, not single conversions" in text for text in result.assumptions)


def test_survival_by_hand() -> None:
    result = mc.explain_conversion(simulated(FOUR, 400, 5).log(), *_converting(simulated(FOUR, 400, 5).log()))
    rows = result.table[result.table["model"] == "survival"]
    assert rows["share"].sum() == pytest.approx(1, abs=1e-12)
    assert rows["channel"].iloc[-1] == "(baseline)"
    assert f"By survival {rows['share'].iloc[-1]:.0%} of the rate at that moment" in result.meaning


def _converting(log: mc.EventLog) -> tuple[str]:
    events = log.events.execute()
    return (sorted(events.loc[events["event"] == "purchase", "user_id"])[0],)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reset": False, "position": (0.5, 0, 0.1), "direct": ["mail", "ad"]},
        {"repeat": "first", "lookback": "3D", "half_life": "36h"},
        {"transforms": ["exposure", ("drop_if_last", "direct"), ("keep_last", 2)], "lookback": "none"},
        {"transforms": ["frequency"]},
    ],
)
def test_shares_of_all_conversions_add_up_to_the_attribution(options: dict[str, Any], fitted_once: None) -> None:
    rng = np.random.default_rng(3)
    rows = [
        (f"u{who}", int(hour) * HOUR, channel, None if channel else float(money))
        for who, hour, channel, money in zip(
            rng.integers(0, 9, 90),
            rng.integers(0, 24 * 12, 90),  # ties abound
            rng.choice(np.array(["ad", "mail", "direct", "search", None], dtype=object), 90),
            rng.integers(1, 50, 90),
            strict=True,
        )
    ]
    log = log_of(rows, observed_until=START + 13 * DAY)
    whole = mc.attribution(log, model=ADDING, replicates=100, **options).table
    credit: Counter[tuple[str, str]] = Counter()
    money: Counter[tuple[str, str]] = Counter()
    for who in sorted({row[0] for row in rows if row[2] is None}):
        number, of = 1, 1
        while number <= of:
            why = mc.explain_conversion(log, who, conversion=number, model=ADDING, **options)
            of = len(why.conversions)
            events = why.conversions["events"].iloc[number - 1]
            for row in why.table.itertuples(index=False):
                credit[row.model, row.channel] += events * row.share
                money[row.model, row.channel] += row.value
            assert why.table.groupby("model")["share"].sum().to_numpy() == pytest.approx(1, abs=1e-12)
            number += 1
    assert set(credit) <= set(zip(whole["model"], whole["channel"], strict=True))
    for row in whole.itertuples(index=False):
        assert credit[row.model, row.channel] == pytest.approx(np.nan_to_num(row.conversions), abs=1e-9)
        assert money[row.model, row.channel] == pytest.approx(np.nan_to_num(row.value), abs=1e-9)


def test_survival_adds_up_in_a_planted_world(fitted_once: None) -> None:
    log = simulated(FOUR, 60, 8).log()
    events = log.events.execute()
    credit: Counter[str] = Counter()
    money: Counter[str] = Counter()
    for who in sorted(set(events.loc[events["event"] == "purchase", "user_id"])):
        for row in mc.explain_conversion(log, who, model="survival").table.itertuples(index=False):
            credit[row.channel] += row.share
            money[row.channel] += row.value
    for row in mc.attribution(log, model="survival", replicates=100).table.itertuples(index=False):
        assert credit[row.channel] == pytest.approx(row.conversions, abs=1e-9)
        assert money[row.channel] == pytest.approx(row.value, abs=1e-7)


@settings(max_examples=12)
@given(
    times=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["ad", "mail", "direct", "buy"])), min_size=1),
    lookback=st.sampled_from([None, 3, 10]),
    reset=st.booleans(),
    reverse=st.booleans(),
    transforms=st.lists(
        st.sampled_from([("exposure",), ("unique",), ("drop", "direct"), ("keep_last", 2), ("frequency",)]), max_size=2
    ),
)
def test_paths_are_those_of_loops(
    times: list[tuple[int, str]],
    lookback: int | None,
    reset: bool,
    reverse: bool,
    transforms: list[tuple[Any, ...]],
) -> None:
    rows = [
        ("u", pd.Timedelta(at, unit="us"), None if name == "buy" else name, 1.0 if name == "buy" else None)
        for at, name in times
    ]
    # Another user has a touch and a purchase, which must not show.
    log = log_of([*rows, ("v", 2 * HOUR, "other", None), ("v", 3 * HOUR, None, 5.0)], plan=None)
    rule = PathRule(
        target=End(name="buy", event="buy"),
        lookback=lookback,
        reset=reset,
        reverse=reverse,
        transforms=tuple(transforms),
        terms=RevenueTerms(value="value"),
    )
    found = paths_of_user(log, rule, "u")
    assert found is not None
    events = [Event(at, None if name == "buy" else name, 100 if name == "buy" else 0) for at, name in times]
    plain = [
        path
        for path in paths_of(events, until=10**12, lookback=lookback, reset=reset, reverse=reverse)
        if path.at is not None
    ]
    start = START.value // 1_000
    assert [(one.at - start, one.events, one.cents) for one in found.conversions] == [
        (path.at, path.conversions, path.cents) for path in plain
    ]
    for one, path in zip(found.conversions, plain, strict=True):
        assert [(touch.at - start, touch.channel) for touch in one.path] == changed(path.touches, transforms)


def test_the_rules_read_one_user_and_never_count_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the whole log was counted")

    monkeypatch.setattr(paths_of_logs, "path_sums", refuse)
    monkeypatch.setattr(touch_exposures, "touch_exposures", refuse)
    log = one_user()
    assert len(mc.explain_conversion(log, "ann", model=["last", "shapley", "time_decay"]).table) == 12
    with pytest.raises(AssertionError, match="whole log"):
        mc.explain_conversion(log, "ann", model="markov")
    with pytest.raises(AssertionError, match="whole log"):
        mc.explain_conversion(log, "ann", model="survival")


def test_a_conversion_without_a_touch_is_unattributed_in_every_model() -> None:
    result = mc.explain_conversion(one_user(), "ann", conversion="last")
    assert result.parameters["conversion"] == 2
    assert result.table["channel"].unique().tolist() == ["(unattributed)"]
    assert result.table["share"].tolist() == [1.0] * len(DEFINITIONS)
    assert result.table["value"].tolist() == [30.0] * len(DEFINITIONS)
    assert result.table[["touch", "time", "age_days"]].isna().all(axis=None)
    assert result.meaning == (
        "Conversion 2 of 2 ('buy') of user 'ann', on 2026-01-21 00:00 UTC, worth 30.00 EUR, has no touch on its path: "
        "every model leaves it unattributed."
    )
    assert any("see reset=False" in warning for warning in result.warnings)
    assert result.plot().get_yticklabels()[0].get_text() == "(unattributed)"
    other = mc.explain_conversion(one_user(), "ann", conversion=2, model="linear", reset=False)
    assert other.table["share"].tolist() == [0.25] * 4


def test_survival_looks_before_the_path() -> None:
    result = mc.explain_conversion(one_user(), "bob", model=["last", "survival"])
    last, survival = (result.table[result.table["model"] == model] for model in ("last", "survival"))
    assert last["channel"].tolist() == ["(unattributed)"]
    assert survival["channel"].tolist() == ["ad", "(baseline)"]
    assert survival["touch"].isna().all()
    assert survival["age_days"].iloc[0] == 60
    assert "every model but survival leaves it unattributed" in result.meaning


def test_a_touch_at_the_end_of_the_lookback_counts_and_one_before_it_does_not() -> None:
    log = log_of([("u", 0 * DAY, "ad", None), ("u", 3 * DAY, None, 1.0)])
    at, before = (mc.explain_conversion(log, "u", model="last", lookback=limit) for limit in ("3D", "259199999999us"))
    assert at.table["channel"].tolist() == ["ad"]
    assert before.table["channel"].tolist() == ["(unattributed)"]


def test_old_touches_do_not_vanish_beside_a_short_half_life() -> None:
    result = mc.explain_conversion(one_user(), "ann", model=["time_decay", "time_decay_steps"], half_life="1s")
    far = log_of([("u", 0 * DAY, "ad", None), ("u", 1 * DAY, "mail", None), ("u", 9 * DAY, None, 1.0)])
    old = mc.explain_conversion(far, "u", model=["time_decay", "time_decay_steps"], half_life="1s")
    assert shares(result, "time_decay") == [0, 0, 0, 1]
    assert old.table["share"].tolist() == [0, 1, 0, 1]


def test_several_conversions_of_one_instant_are_one_with_all_their_money() -> None:
    rows = [("u", 0 * DAY, "ad", None), ("u", DAY, None, 10.0), ("u", DAY, None, 5.5), ("u", 2 * DAY, None, 1.0)]
    result = mc.explain_conversion(log_of(rows), "u", model="last")
    assert result.conversions["events"].tolist() == [2, 1]
    assert result.conversions["touches"].tolist() == [1, 0]
    assert result.table["value"].tolist() == [15.5]
    assert "(2 at once), worth 15.50 EUR" in result.meaning


def test_touches_of_one_instant_are_told() -> None:
    log = log_of([("u", 0 * DAY, "mail", None), ("u", 0 * DAY, "ad", None), ("u", DAY, None, 1.0)])
    result = mc.explain_conversion(log, "u", model=["first", "last"])
    assert result.side_by_side["channel"].tolist() == ["ad", "mail"]
    (warning,) = result.warnings
    assert "share an instant ('ad', 'mail')" in warning


def test_the_game_of_rates_has_no_share_of_one_conversion() -> None:
    result = mc.explain_conversion(one_user(), "ann", model=["last", "shapley"], game="rate")
    assert set(result.table["model"]) == {"last"}
    assert list(result.models["model"]) == ["last"]
    assert any("shapley is left out: with game='rate'" in warning for warning in result.warnings)
    with pytest.raises(ParameterError, match=r"No model that was asked for can divide.*game='conversions' has one"):
        mc.explain_conversion(one_user(), "ann", model="shapley", game="rate")


def test_words_say_who_gets_what() -> None:
    result = mc.explain_conversion(one_user(), "ann", model=["last", "linear"])
    assert result.meaning == (
        "Conversion 1 of 2 ('buy') of user 'ann', on 2026-01-15 00:00 UTC, worth 70.00 EUR, came after 4 touches of 3 "
        "channels, from 'ad' (14.0 days before) to 'direct' (at the same instant). 'direct' gets 25% (linear) to 100% "
        "(last); 'mail' gets 0% (last) to 50% (linear); 'ad' gets 0% (last) to 25% (linear)."
    )
    alone = mc.explain_conversion(one_user(), "ann", model="position")
    assert "'mail' gets 20% by position" in alone.meaning
    unpaid = one_user().with_plan({"macros": [{"name": "buy", "event": "buy"}], "lookback": "30D"})
    money = mc.explain_conversion(unpaid, "ann", model="last")
    assert "worth" not in money.meaning
    assert money.table["value"].isna().all()


def test_users_are_numbers_too() -> None:
    result = mc.explain_conversion(log_of([(7, 0 * DAY, "ad", None), (7, DAY, None, 1.0)]), 7, model="last")
    assert result.table["share"].tolist() == [1.0]


def test_names_of_a_stranger_stay_text_and_a_person_is_not_written(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> $x$"
    rows = [(evil, pd.Timedelta(i, unit="h"), f"{evil}{i % 3}", None) for i in range(40)]
    result = mc.explain_conversion(log_of([*rows, (evil, 2 * DAY, None, 1.0)]), evil, model=["last", "any_touch"])
    assert html.escape(evil) in result._repr_html_()
    assert "<script>" not in result._repr_html_()
    result.save(tmp_path / "hidden")
    for name in ("table", "side_by_side"):
        frame = pd.read_csv(tmp_path / "hidden" / f"{name}.csv")
        assert frame[["touch", "age_days", "last" if name == "side_by_side" else "share"]].isna().all(axis=None)
    assert any("was suppressed" in text.get_text() for text in result.suppressed().plot().texts)
    result.save(tmp_path / "all", min_cell=0)
    assert pd.read_csv(tmp_path / "all" / "table.csv")["share"].notna().all()


def test_the_picture_shows_the_latest_touches_in_their_order() -> None:
    rows = [("u", pd.Timedelta(i, unit="h"), f"c{i}", None) for i in range(30)]
    result = mc.explain_conversion(log_of([*rows, ("u", 30 * HOUR, None, 1.0)]), "u", model=["last", "linear"])
    ax = result.plot()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(labels) == 20
    assert labels[0].startswith("c10")
    assert labels[-1] == "c29  (−60 min)"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["last", "linear"]
    said = [text.get_text() for text in ax.texts]
    assert "100%" in said
    assert "Conversion 1 of 1 of u, 2026-01-02 06:00 UTC" in said
    assert "Earlier touches that are not shown, but are in the table: 10." in said


@pytest.mark.parametrize(
    ("user", "options", "message"),
    [
        ("anne", {}, "No event of user 'anne' is in the log. The nearest names: 'ann', "),
        ("eve", {}, r"User 'eve' has no conversion \('buy'\) to explain. Users with one: 'ann', 'bob'"),
        ("ann", {"conversion": 3}, r"user 'ann' has 2 \('buy'\). Choose 1 to 2, or 'last'"),
        ("bob", {"conversion": 3}, "Choose 1.$"),
        ("ann", {"conversion": 0}, "conversion=0 must be a whole number, 1 for the user's first, or 'last'"),
        ("ann", {"conversion": True}, "conversion=True must be a whole number"),
        ("ann", {"conversion": "first"}, "conversion='first' must be"),
        ("ann", {"model": "lst"}, "Did you mean 'last'"),
        ("ann", {"lookback": 30}, "has no unit"),
        ("ann", {"target": "by"}, "Did you mean 'buy'"),
        ("ann", {"channel": "chanel"}, "channel"),
        ("ann", {"game": "rates"}, "Did you mean 'rate'"),
    ],
)
def test_bad_input_says_how_to_mend_it(user: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        mc.explain_conversion(one_user(), user, **options)


def test_nobody_converts_and_paths_have_no_users() -> None:
    log = log_of([("u", 0 * DAY, "ad", None)], plan=None)
    target = {"name": "bought", "event": "visit", "where": "channel == 'shop'"}
    with pytest.raises(ParameterError, match="Nobody in the log has one"):
        mc.explain_conversion(log, "u", target=target, lookback="30D")
    paths = mc.PathTable.from_paths(pd.DataFrame({"path": ["A"], "conversions": [1]}))
    with pytest.raises(ParameterError, match="a PathTable has no users"):
        mc.explain_conversion(paths, "u")  # type: ignore[arg-type]


@pytest.mark.spark
def test_spark_explains_the_same(spark: Any) -> None:
    rows = [("u", 0 * DAY, "ad", None), ("u", DAY, "mail", None), ("u", 2 * DAY, None, 3.0), ("v", DAY, "ad", None)]
    log = log_of(rows)
    spark._session.createDataFrame(log.events.execute()).createOrReplaceTempView("explained_events")
    other = mc.read_events(spark.table("explained_events"), plan=PLAN, observed_until=START + 90 * DAY)
    models = ["linear", "time_decay", "markov", "survival"]
    one, two = (mc.explain_conversion(each, "u", model=models) for each in (log, other))
    pd.testing.assert_frame_equal(one.table, two.table)
    with pytest.raises(ParameterError, match="The nearest names: 'u', 'v'"):
        mc.explain_conversion(other, "uu")
