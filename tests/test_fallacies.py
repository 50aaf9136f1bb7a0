"""The fallacy check: the heart data by R's numbers, small logs by a plain loop, worlds without an effect, bad input."""

from __future__ import annotations

import dataclasses
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any

import lifelines.datasets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from golden.logs import log_of_intervals
from hypothesis import given, settings
from hypothesis import strategies as st

import microconv as mc
from microconv.log import EventLog
from microconv.results import Result
from microconv.simulate import null_world, strong_world
from microconv.stats import cox, wilson

START = pd.Timestamp("2026-01-05T00:00:00Z")
Told = list[tuple[str, str, float]]  # user, event, days
PLAN: dict[str, Any] = {
    "macros": [{"name": "buy", "event": "buy"}],
    "micros": [{"name": "signup", "event": "signup"}],
    "competing": ["unsubscribe"],
    "censor": ["deleted"],
}
RATIO = ["hazard_ratio", "ci_low", "ci_high"]


@pytest.fixture(autouse=True)
def _closes_figures() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


def log_of(told: Told, until: float = 30, plan: dict[str, Any] | None = None, **columns: Any) -> EventLog:
    frame = pd.DataFrame(told, columns=["user_id", "event", "day"])
    frame["time"] = START + pd.to_timedelta((frame.pop("day") * 86_400e6).round().astype("int64"), unit="us")
    for name, value in columns.items():
        frame[name] = [value(user) for user in frame["user_id"]]
    events = set(frame["event"])
    plan = plan or PLAN | {key: [name for name in PLAN[key] if name in events] for key in ("competing", "censor")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mc.MicroconvWarning)  # of plan items that never occur: the point of some tests
        return mc.read_events(frame, plan=plan, observed_until=START + pd.Timedelta(days=until))


def row(result: Result, comparison: str, micro: str | None = None) -> pd.Series:
    table = result.table if micro is None else result.table[result.table["micro"] == micro]
    return table[table["comparison"] == comparison].iloc[0]


def same(mine: pd.Series, frame: pd.DataFrame) -> None:
    """A row is Cox's estimate on rows (start, stop], with Wald's limits or, where it says so, the profile's."""
    fit = cox(mc.RiskTable.from_intervals(frame, "start", "stop", "cause", ["done"]), "done")
    theirs = fit.table[RATIO].iloc[0].to_numpy(float)
    if mine["interval"] == "profile":
        theirs[1:] = fit.profile_interval("done")
    if mine["interval"] == "none":
        theirs[1:] = np.nan
    np.testing.assert_allclose(mine[RATIO].to_numpy(float), theirs, rtol=1e-6)


# --- Stanford heart --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heart() -> EventLog:
    """The 172 rows (start, stop] of 103 patients as events: ``entered`` at 0, ``transplant`` when that state starts,
    ``died`` or ``left`` at the last stop.

    Days are whole microseconds (half days too). The patient who was transplanted on the day of entry changes state
    just after time zero; a death on that day is a death at its stop, half a day in.
    """
    rows = lifelines.datasets.load_stanford_heart_transplants()
    assert len(rows) == 172
    return log_of_intervals(rows, "id", "start", "stop", "event", "transplant", ["age", "year", "surgery"])


@pytest.fixture(scope="module")
def checked(heart: EventLog) -> Result:
    return mc.fallacy_check(heart, landmarks=["10D", "30D", "100D"])


def test_the_fallacy_on_the_heart_data(checked: Result) -> None:
    naive, proper = row(checked, "ever did"), row(checked, "time-varying")
    np.testing.assert_allclose(naive[RATIO].astype(float), [0.2662166, 0.1650859, 0.4292995], rtol=1e-6)
    np.testing.assert_allclose(naive["p_value"], 5.688e-8, rtol=1e-3)
    np.testing.assert_allclose(proper[RATIO].astype(float), [1.1355773, 0.6293394, 2.0490307], rtol=1e-6)
    np.testing.assert_allclose(proper["p_value"], 0.6729, atol=5e-5)
    assert (naive["users"], naive["events"], naive["at_risk"]) == (69, 45, 103)
    assert (proper["users"], proper["events"], proper["at_risk"]) == (69, 45, 103)


def test_it_is_said_in_plain_words(checked: Result) -> None:
    assert "misleads" in checked.meaning
    assert "0.27 (0.17 to 0.43)" in checked.meaning
    assert "1.14 (0.63 to 2.05)" in checked.meaning
    verdict = checked.verdicts.iloc[0]
    assert bool(verdict["disagree"])
    assert verdict["how"] == "opposite sides of 1; intervals apart; a difference only when read naively"
    words = " ".join(checked.warnings)
    assert "immortal time" in words
    assert "no difference is shown" in words


def test_the_landmarks_are_those_of_a_loop_over_patients(checked: Result) -> None:
    rows = lifelines.datasets.load_stanford_heart_transplants()
    last = rows.sort_values("stop").groupby("id").last()
    began = rows[rows["transplant"] == 1].groupby("id")["start"].min().reindex(last.index)
    for day in (10, 30, 100):
        left = last[last["stop"] > day].assign(done=(began <= day).astype(int), start=day)
        mine = row(checked, f"landmark {day}D")
        same(mine, left.rename(columns={"event": "cause"}))
        assert mine["landmark_days"] == day
        assert (mine["users"], mine["at_risk"]) == (left["done"].sum(), len(left))
        assert mine["events"] == left.loc[left["done"] == 1, "event"].sum()


def test_what_dashboards_print(checked: Result) -> None:
    rates = checked.rates.iloc[0]
    assert (rates["users"], rates["events"], rates["other_users"], rates["other_events"]) == (69, 45, 34, 30)
    np.testing.assert_allclose([rates["ci_low"], rates["ci_high"]], np.ravel(wilson(45, 69)))
    assert rates["odds_ratio"] == pytest.approx((45 / 24) / (30 / 4))
    error = math.sqrt(1 / 45 + 1 / 24 + 1 / 30 + 1 / 4)  # Woolf
    assert rates["odds_ci_high"] == pytest.approx(rates["odds_ratio"] * math.exp(1.959963984540054 * error))


def test_adjusted_rows_are_those_of_hazard_ratios(heart: EventLog) -> None:
    result = mc.fallacy_check(heart, adjust=["age", "year", "surgery"], landmarks=())
    assert result.table["comparison"].tolist() == ["ever did", "time-varying", "time-varying, adjusted"]
    adjusted = row(result, "time-varying, adjusted")
    np.testing.assert_allclose(np.log(adjusted["hazard_ratio"]), -0.01025077, rtol=1e-6)
    whole = mc.hazard_ratios(heart, adjust=["age", "year", "surgery"]).table.set_index("term").loc["transplant"]
    for name in (*RATIO, "p_value", "users", "events"):
        assert adjusted[name] == whole[name]
    # The other rows are of the micro by itself.
    np.testing.assert_allclose(row(result, "time-varying")["hazard_ratio"], 1.1355773, rtol=1e-6)


# --- against a plain loop --------------------------------------------------------------------------------------------


def people_of(told: Told, until: float) -> pd.DataFrame:
    """Per user the days from entry to the end, how it ended, and to the first signup (NaN: never)."""
    rows = []
    for user in sorted({name for name, _, _ in told}):
        mine = [(day, event) for name, event, day in told if name == user]
        entry = min(day for day, _ in mine)
        ends = [(day, rank) for day, event in mine for rank, name in enumerate(["buy", "unsubscribe", "deleted"])
                if event == name]  # fmt: skip
        stop, how = min([*ends, (until, 3)])
        done = min((day for day, event in mine if event == "signup"), default=math.nan)
        rows.append((stop - entry, how == 0, done - entry))
    return pd.DataFrame(rows, columns=["stop", "cause", "done"])


def random_story(seed: int) -> tuple[Told, float]:
    """Sixty users at whole quarters of days, full of ties, also between signup, purchase and entry."""
    rng = random.Random(seed)
    told: Told = []
    for n in range(60):
        user, entry = f"u{n:02d}", rng.randrange(8) / 4
        told.append((user, "visit", entry))
        for event, chance, span in (("signup", 0.6, 20), ("buy", 0.6, 30), ("unsubscribe", 0.1, 30),
                                    ("deleted", 0.1, 30)):  # fmt: skip
            if rng.random() < chance:
                told.append((user, event, entry + rng.randrange(span) / 4))
    return told, 7.5


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8)
def test_equal_to_a_plain_loop(seed: int) -> None:
    told, until = random_story(seed)
    users = people_of(told, until).assign(start=0.0)
    result = mc.fallacy_check(log_of(told, until), landmarks=["1D", "36h"])
    assert set(result.table["at_risk"].iloc[[0, -1]]) == {len(users)}
    # Done just after its moment: at the very end it does not count, at entry it counts from just after.
    ever = users["done"] < users["stop"]
    naive = users.assign(done=ever.astype(int))
    same(row(result, "ever did"), naive)
    assert row(result, "ever did")["users"] == ever.sum()
    for day in (1.0, 1.5):
        left = users[users["stop"] > day]
        left = left.assign(start=day, done=(left["done"] <= day).astype(int))
        mine = row(result, "landmark 1D" if day == 1 else "landmark 36h")
        assert (mine["users"], mine["at_risk"]) == (left["done"].sum(), len(left))
        same(mine, left)
    rates = result.rates.iloc[0]
    assert rates["events"] == (ever & users["cause"]).sum()
    assert rates["other_events"] == (~ever & users["cause"]).sum()
    # Waiting can only make the ratio smaller.
    assert row(result, "ever did")["hazard_ratio"] <= row(result, "time-varying")["hazard_ratio"] * (1 + 1e-9)
    waited = np.minimum(users["done"], users["stop"])[ever].sum() / users["stop"][ever].sum()
    assert result.verdicts["waiting_share"].iloc[0] == pytest.approx(waited, abs=1e-6)


def test_users_without_a_number_are_left_out_of_the_adjusted_row_only() -> None:
    told, until = random_story(2)
    log = log_of(told, until, age=lambda user: float(user[1:]) if user > "u09" else math.nan)
    result = mc.fallacy_check(log, adjust="age", landmarks=())
    assert result.table["at_risk"].tolist() == [60, 60, 50]
    assert any("In the adjusted rows 10 users have no number" in line for line in result.assumptions)


def test_default_landmarks_are_round_and_where_the_micro_is_done() -> None:
    told: Told = [(f"u{n}", "visit", 0.0) for n in range(100)]
    told += [(f"u{n}", "signup", 0.004 + 0.1 * n) for n in range(80)] + [
        (f"u{n}", "buy", 9.0) for n in range(0, 100, 2)
    ]
    table = mc.fallacy_check(log_of(told)).table
    assert table["comparison"].tolist() == ["ever did", "landmark 46h", "landmark 4D", "landmark 6D", "time-varying"]
    np.testing.assert_allclose(table["landmark_days"].dropna(), [46 / 24, 4, 6])
    given_ = mc.fallacy_check(log_of(told), landmarks=["3D", "12h", "72h"]).table["comparison"]
    assert given_.tolist() == ["ever did", "landmark 12h", "landmark 3D", "time-varying"]


# --- worlds whose truth is known -------------------------------------------------------------------------------------


def test_without_any_effect_the_naive_comparison_is_wrong_and_time_is_right() -> None:
    """Six logs of three micros without any effect: eighteen intervals of 95 % of each kind.

    Fewer than 14 of 18 would cover in one of 500 runs of honest intervals; "ever did" covers in none.
    """
    covered = dict.fromkeys(["ever did", "landmark 3D", "time-varying", "time-varying, adjusted"], 0)
    for seed in range(6):
        log = mc.simulate(users=2_500, seed=seed, world=null_world()).read()
        result = mc.fallacy_check(log, landmarks="3D")
        assert len(result.verdicts) == 3
        for comparison in covered:
            rows = result.table[result.table["comparison"] == comparison]
            covered[comparison] += int(((rows["ci_low"] < 1) & (rows["ci_high"] > 1)).sum())
        assert result.verdicts["disagree"].all()
        assert result.table.loc[result.table["comparison"] == "ever did", "ci_high"].max() < 0.9
    assert covered.pop("ever did") == 0
    assert min(covered.values()) >= 14, covered


def test_a_planted_effect_is_hidden_by_the_naive_comparison() -> None:
    world = strong_world()
    result = mc.fallacy_check(mc.simulate(users=6_000, seed=5, world=world).read(), landmarks=())
    for micro in world.micros:
        naive, adjusted = row(result, "ever did", micro.name), row(result, "time-varying, adjusted", micro.name)
        assert naive["hazard_ratio"] < row(result, "time-varying", micro.name)["hazard_ratio"]
        if micro.hazard_ratio > 1.5:
            assert adjusted["ci_low"] > 1


def test_the_sample_shop() -> None:
    result = mc.fallacy_check(mc.sample_log(), adjust="device", landmarks="1D")
    verdicts = result.verdicts.set_index("micro")
    assert verdicts.loc["third_visit", "disagree"]
    assert row(result, "ever did", "third_visit")["ci_high"] < 0.25
    proper = row(result, "time-varying", "third_visit")
    assert proper["ci_low"] < 1 < proper["ci_high"]
    assert "misleads" in result.meaning
    assert result.table.groupby("micro", sort=False).size().eq(4).all()
    # Within each kind of comparison p-values are adjusted for all micros.
    assert (result.table["q_value"] >= result.table["p_value"]).all()


@pytest.mark.spark
def test_spark_counts_the_same(spark: Any) -> None:
    told, until = random_story(4)
    frame = pd.DataFrame([one for one in told if one[2] <= until], columns=["user_id", "event", "day"])
    frame["time"] = (START + pd.to_timedelta(frame.pop("day"), unit="D")).astype("datetime64[us, UTC]")
    frame["device"] = [f"d{int(user[1:]) % 2}" for user in frame["user_id"]]
    asked: dict[str, Any] = {"adjust": "device"}
    read: dict[str, Any] = {"plan": PLAN, "observed_until": START + pd.Timedelta(days=until)}
    duck = mc.fallacy_check(mc.read_events(frame, **read), **asked)
    other = mc.read_events(spark.create_table("fallacies", frame), **read)
    assert other.engine.dialect == "pyspark"
    pd.testing.assert_frame_equal(mc.fallacy_check(other, **asked).table, duck.table, rtol=1e-9)


# --- bad input -------------------------------------------------------------------------------------------------------


def visitors(count: int = 40) -> Told:
    return [(f"u{n}", "visit", n / 9) for n in range(count)]


def bought(count: int = 40) -> Told:
    return visitors(count) + [(f"u{n}", "buy", n / 9 + 1 + n % 5) for n in range(0, count, 2)]


def test_a_micro_that_nobody_does() -> None:
    result = mc.fallacy_check(log_of(bought()))
    assert result.table["comparison"].tolist() == ["ever did", "time-varying"]
    assert result.table[RATIO].isna().all().all()
    assert not result.verdicts["disagree"].any()
    assert any("'signup' is never done while its user is at risk" in warning for warning in result.warnings)
    assert "No micro-conversion could be compared" in result.meaning
    assert result.plot() is not None


def test_a_micro_that_everybody_does_at_entry() -> None:
    told = bought() + [(user, "signup", day) for user, _, day in visitors()]
    result = mc.fallacy_check(log_of(told))
    assert result.table["hazard_ratio"].isna().all()
    assert any("done by everybody from time zero on" in warning for warning in result.warnings)


def test_nobody_converts() -> None:
    told = visitors() + [(f"u{n}", "signup", n / 9 + 1) for n in range(0, 40, 3)]
    result = mc.fallacy_check(log_of(told))
    assert result.table["hazard_ratio"].isna().all()
    assert any("Nobody did 'buy' while at risk" in warning for warning in result.warnings)
    assert result.rates["rate"].tolist() == [0.0]


def test_everybody_converts_at_once() -> None:
    told = visitors() + [(user, event, day) for user, _, day in visitors() for event in ("signup", "buy")]
    result = mc.fallacy_check(log_of(told))
    assert result.table["hazard_ratio"].isna().all()
    assert any("never done while its user is at risk (not before buy)" in warning for warning in result.warnings)


def test_a_micro_that_always_comes_before() -> None:
    told = bought() + [(f"u{n}", "signup", n / 9 + 0.5) for n in range(0, 40, 2)]
    result = mc.fallacy_check(log_of(told), landmarks="12h")
    assert math.isinf(row(result, "time-varying")["hazard_ratio"])
    assert any("the ratio runs to infinity" in warning for warning in result.warnings)
    assert result.rates["odds_ratio"].tolist() == [math.inf]
    assert result.rates["odds_ci_low"].isna().all()
    # Ratios that run to infinity are arrows at the right edge, also where they have no interval.
    table = result.table.assign(hazard_ratio=math.inf, ci_low=[2.0, math.nan, math.nan], ci_high=[math.inf] * 3)
    ax = dataclasses.replace(result, table=table).plot()
    arrows = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == ">"]
    assert arrows == [ax.get_xlim()[1]] * 3


def test_one_user() -> None:
    result = mc.fallacy_check(log_of([("u", "visit", 0.0), ("u", "signup", 1.0), ("u", "buy", 2.0)]))
    assert result.table["ci_low"].isna().all()
    assert result.table["users"].tolist() == [1] * len(result.table)
    assert result.plot() is not None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"micros": "sigup"}, "Did you mean 'signup'"),
        ({"micros": []}, "There is no|nothing to compare"),
        ({"micros": [], "adjust": "device"}, "no micro to check"),
        ({"micros": "buy"}, "is the target itself"),
        ({"adjust": "devise"}, "Did you mean 'device'"),
        ({"landmarks": 3}, "landmarks=3 has no unit"),
        ({"landmarks": ["1D", "3M"]}, "A month has no fixed length"),
        ({"landmarks": "0D"}, "longer than zero"),
        ({"landmarks": "9D", "horizon": "7D"}, "leaves nothing before horizon='7D'"),
        ({"tz": "Mars"}, "Unknown time zone"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_impossible_questions_are_refused(asked: dict[str, Any], said: str) -> None:
    told = [*bought(), ("u1", "signup", 3.0)]
    log = log_of(told, device=lambda user: "mobile" if user < "u3" else "desktop")
    with pytest.raises(mc.ParameterError, match=said):
        mc.fallacy_check(log, **asked)


def test_a_log_without_a_plan_names_what_to_check() -> None:
    frame = pd.DataFrame([*bought(), ("u1", "signup", 3.0)], columns=["user_id", "event", "day"])
    frame["time"] = START + pd.to_timedelta(frame.pop("day"), unit="D")
    log = mc.read_events(frame)
    with pytest.raises(mc.ParameterError, match="fallacy_check without target="):
        mc.fallacy_check(log)
    with pytest.raises(mc.ParameterError, match="fallacy_check without micros="):
        mc.fallacy_check(log, target="buy")
    assert len(mc.fallacy_check(log, target="buy", micros="signup").table)


# --- pictures, files -------------------------------------------------------------------------------------------------


def test_pictures_and_files(checked: Result, tmp_path: Any) -> None:
    with mpl.rc_context({"backend": "agg"}):
        ax = checked.plot()
        figure = ax.get_figure()
        figure.canvas.draw()
        words = [text.get_text() for text in ax.texts] + [label.get_text() for label in ax.get_yticklabels()]
        assert {"transplant", "ever did", "time-varying", "0.27 (0.17–0.43)", "1.14 (0.63–2.05)"} <= set(words)
        plt.close(figure)
        checked.save(tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert pd.read_csv(tmp_path / "verdicts.csv")["disagree"].tolist() == [True]
    saved = pd.read_parquet(tmp_path / "table.parquet")
    assert saved["landmark_days"].dropna().tolist() == [10.0, 30.0, 100.0]


def test_small_groups_are_suppressed_and_still_drawn(checked: Result) -> None:
    hidden = checked.suppressed(40)
    assert hidden.table.loc[hidden.table["comparison"] == "landmark 10D", "hazard_ratio"].isna().all()
    assert hidden.table["landmark_days"].notna().sum() == 3
    ax = hidden.plot()
    plt.close(ax.get_figure())


def test_hostile_names_stay_text() -> None:
    name = "<script>alert(1)</script> $x^2"
    told = bought(60) + [(f"u{n}", name, n / 9 + 0.5 + n % 3) for n in range(0, 60, 3)]
    plan = {"macros": [{"name": "buy", "event": "buy"}], "micros": [{"name": name, "event": name}]}
    result = mc.fallacy_check(log_of(told, plan=plan))
    assert "<script>" not in result._repr_html_()
    ax = result.plot()
    ax.get_figure().canvas.draw()
    plt.close(ax.get_figure())
