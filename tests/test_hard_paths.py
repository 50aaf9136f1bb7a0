"""Attribution of logs and paths that are odd: times, money, names and changes that meet."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import microconv as mc
from microconv.errors import ParameterError

PLAN = {"macros": [{"name": "purchase", "event": "purchase", "value": "revenue"}], "horizon": "30D"}


def log_of(rows: list[tuple[Any, ...]], **plan: Any) -> mc.EventLog:
    frame = pd.DataFrame(rows, columns=["user_id", "time", "event", "channel", "revenue"])
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    frame["revenue"] = frame["revenue"].astype(float)
    return mc.read_events(frame, plan={**PLAN, **plan})


def bought(user: str, *touches: tuple[str, str], at: str, money: float = 1.0) -> list[tuple[Any, ...]]:
    return [*[(user, time, "visit", channel, None) for time, channel in touches], (user, at, "purchase", None, money)]


def given(result: mc.Result, model: str = "last", column: str = "conversions") -> dict[str, float]:
    rows = result.table[result.table["model"] == model]
    return dict(zip(rows["channel"], rows[column], strict=True))


@pytest.mark.parametrize("odd", ["1900-01-01", "1969-12-31T23:59:59", "1970-01-01", "2110-03-02", "2170-01-01"])
def test_touches_of_any_century_are_counted(odd: str) -> None:
    rows = bought("u", ("2024-01-01", "ad"), at="2024-01-02") + bought("v", (odd, "mail"), at=odd)
    for transforms in ((), ("frequency",), ("exposure",)):
        found = mc.attribution(log_of(rows), model=["last", "markov"], transforms=transforms)
        for model in ("last", "markov"):
            assert sorted(given(found, model).values()) == [0.0, 1.0, 1.0]


def test_a_path_that_converts_before_1970_is_not_taken_for_one_that_begins_after() -> None:
    """Unnamed paths are told apart by numbers that no conversion has."""
    rows = bought("u", ("1969-12-31T23:59:58", "ad"), at="1969-12-31T23:59:59")
    rows += [("u", "1970-01-01T00:00:01", "visit", "mail", None), ("w", "2024-01-01", "visit", "mail", None)]
    found = mc.attribution(log_of(rows), model=["linear", "markov"], lookback="1h", transforms="frequency")
    assert given(found, "linear") == {"ad(1)": 1.0, "mail(1)": 0.0, "(unattributed)": 0.0}


def test_times_that_lie_too_far_apart_are_refused_in_words() -> None:
    rows = bought("u", ("1700-01-01", "ad"), at="2024-01-02")
    with pytest.raises(ParameterError, match="from 1700-01-01 to 2024-01-02, more than 285 years"):
        mc.attribution(log_of(rows), model="last")


def test_money_after_the_end_of_observation_belongs_to_nobody() -> None:
    rows = [
        *bought("u", ("2024-01-01", "ad"), at="2024-01-02", money=10.0),
        ("u", "2024-01-03", "gone", None, None),
        ("u", "2024-01-05", "purchase", None, 1000.0),
        ("v", "2024-02-05", "visit", "ad", None),
    ]
    found = mc.attribution(log_of(rows, censor=["gone"]), model="last")
    assert given(found) == {"ad": 1.0, "(unattributed)": 0.0}
    assert given(found, column="value")["ad"] == 10.0
    why = mc.explain_conversion(log_of(rows, censor=["gone"]), "u", model="last")
    assert why.conversions["value"].tolist() == [10.0]


def test_conversions_that_are_too_young_for_their_money_leave_no_failed_paths() -> None:
    rows: list[tuple[Any, ...]] = [("z", "2024-06-20", "other", None, None)]
    for i in range(20):
        rows += [(f"o{i}", "2024-01-01", "visit", "ad", None), (f"o{i}", "2024-01-02", "signup", None, None)]
        rows += [(f"o{i}", "2024-01-05", "purchase", None, 10.0)]
        rows += [(f"n{i}", "2024-05-01", "visit", "ad", None), (f"n{i}", "2024-05-30", "signup", None, None)]
    log = log_of(rows, micros=[{"name": "signup", "event": "signup"}])
    asked: dict[str, Any] = {"target": "signup", "worth": "purchase", "lookback": "30D", "model": "markov"}
    found = mc.attribution(log, worth_within="30D", **asked)
    steps = found.transitions.set_index(["source", "target"])["paths"].to_dict()
    assert steps == {("(start)", "ad"): 20, ("ad", "(conversion)"): 20}
    assert given(found, "markov") == {"ad": 20.0, "(unattributed)": 0.0}
    assert given(found, "markov", "value")["ad"] == 200.0


def test_a_check_of_too_few_touches_is_left_out_and_said() -> None:
    for touches in (1, 2, 3):
        days = [(f"2024-01-0{day}", "ad") for day in range(1, touches + 1)]
        found = mc.attribution(log_of(bought("u", *days, at="2024-01-04")), model=["last", "markov"], check=True)
        assert found.checks.empty == any("no check" in note for note in found.warnings)


def test_random_touches_are_found_under_any_name() -> None:
    found = mc.attribution(mc.sample_log(), model=["last", "linear"], check=True, transforms="frequency")
    assert found.checks["model"].tolist() == ["last", "linear"]
    assert (found.checks["credit_share"] > 0).all()
    assert (found.checks["touches_share"] > 0).all()


def test_another_order_of_ties_may_make_other_channels() -> None:
    tie = [("2024-01-01", "ad"), ("2024-01-01", "mail")]
    rows = bought("u", *tie, at="2024-01-02") + bought("v", ("2024-01-01", "ad"), at="2024-01-02")
    found = mc.attribution(log_of(rows), model="last", transforms=["first", "frequency"])
    moved = found.ties.set_index("channel")[["conversions", "other_order"]]
    assert moved.loc["mail(1)"].tolist() == [0.0, 1.0]
    assert moved.loc["ad(1)"].tolist() == [2.0, 1.0]


def test_direct_is_known_by_its_name_also_when_it_is_counted() -> None:
    rows = bought("u", ("2024-01-01", "ad"), ("2024-01-02", "direct"), at="2024-01-03")
    found = mc.attribution(log_of(rows), model="last_non_direct", transforms="frequency")
    assert given(found, "last_non_direct") == {"ad(1)": 1.0, "direct(1)": 0.0, "(unattributed)": 0.0}


@pytest.mark.parametrize("name", ["(unattributed)", "(overlap)", "(baseline)", "(random)", "(start)", "(conversion)"])
def test_a_channel_with_the_name_of_a_row_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="has the name of a row"):
        mc.attribution(log_of(bought("u", ("2024-01-01", name), at="2024-01-02")), model="last")
    with pytest.raises(ParameterError, match="has the name of a row"):
        mc.PathTable.from_paths(pd.DataFrame({"path": [name], "conversions": [1]}))


TABLE = pd.DataFrame({"path": ["ad > ad > mail", "mail"], "conversions": [1, 2]})


@pytest.mark.parametrize(
    "asked",
    [{"lookback": "1D"}, {"by": "device"}, {"check": True}, {"repeat": "first"}, {"reset": False}, {"margin": 0.5}],
)
def test_what_paths_cannot_answer_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(asked))}= needs the events"):
        mc.attribution(mc.PathTable.from_paths(TABLE), model="linear", **asked)


def test_paths_are_changed_on_request() -> None:
    paths = mc.PathTable.from_paths(TABLE)
    found = mc.attribution(paths, model="linear", transforms="first")
    assert given(found, "linear") == {"ad": 1.0, "mail": 2.0, "(unattributed)": 0.0}
    for wrong in ("keep_last", ("keep_last", "x"), ("keep_last", 0), ("keep_last", -1), "drop", ("frequency", 3)):
        with pytest.raises(ParameterError, match="takes"):
            paths.transformed(wrong)


@pytest.mark.parametrize(
    ("path", "message"),
    [(5, "are no paths"), (b"ad", "are no paths"), ({"ad", "mail"}, "are no paths"), (["ad", pd.NA], "blank channel")],
)
def test_what_is_no_path_is_refused_with_its_row(path: Any, message: str) -> None:
    frame = pd.DataFrame({"path": pd.Series(["ad", path], dtype=object), "conversions": [1, 1]})
    with pytest.raises(ParameterError, match=rf"Rows 1 .*{message}"):
        mc.PathTable.from_paths(frame)


def test_numbers_in_a_list_are_channels_and_the_sign_between_is_taken_as_it_is() -> None:
    frame = pd.DataFrame({"path": pd.Series([[5, 7], "x>y > z"], dtype=object), "conversions": [1, 1]})
    assert mc.PathTable.from_paths(frame).frame["path"].tolist() == [("5", "7"), ("x>y", "z")]


def test_money_without_a_conversion_is_refused_with_its_row() -> None:
    frame = pd.DataFrame({"path": ["ad", "mail"], "conversions": [1, 0], "value": [3.0, 4.0]})
    with pytest.raises(ParameterError, match=r"Rows 1 .* have a value and no conversion"):
        mc.PathTable.from_paths(frame, value_col="value")


def test_a_segment_with_the_name_of_a_column_is_refused() -> None:
    log = log_of(bought("u", ("2024-01-01", "ad"), at="2024-01-02"))
    frame = pd.DataFrame({"user_id": ["u", "u"], "event": ["visit", "purchase"], "channel": ["ad", None]})
    frame = frame.assign(time=pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True), share="a", revenue=1.0)
    log = mc.read_events(frame, plan=PLAN)
    with pytest.raises(ParameterError, match="name of a column of the result"):
        mc.attribution(log, model="last", by="share")


def test_too_many_channels_for_the_game_of_rates_are_told() -> None:
    frame = pd.DataFrame({"path": [f"c{i}" for i in range(70)], "conversions": 1})
    with pytest.raises(ParameterError, match="at most 16 channels, and there are 70"):
        mc.attribution(mc.PathTable.from_paths(frame), model="shapley", game="rate")
