"""The risk table: what is counted, what is refused, and that it adds up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from microconv import ParameterError, RiskTable


def intervals(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"start": 0.0, **columns})


def table(frame: pd.DataFrame, patterns: tuple[str, ...] = (), weight: str | None = None) -> RiskTable:
    return RiskTable.from_intervals(frame, "start", "stop", "cause", patterns, weight)


def test_a_small_table_by_hand() -> None:
    """Three from day 0: one converts at once, one on day 2, one is censored on day 4. One is there from day 2 to 5."""
    frame = pd.DataFrame({"start": [0, 0, 0, 2], "stop": [0, 2, 4, 5], "cause": ["buy", "buy", None, "leave"]})
    found = table(frame)
    assert found.causes == ("buy", "leave")
    expected = pd.DataFrame(
        {
            "time_days": [0.0, 2, 4, 5],
            "n": [3.0, 2, 2, 1],
            "d_buy": [1.0, 1, 0, 0],
            "d_leave": [0.0, 0, 0, 1],
            "censored": [0.0, 0, 1, 0],
            "entered": [3.0, 1, 0, 0],
            "person_time_days": [0.0, 4, 4, 1],
        }
    )
    pd.testing.assert_frame_equal(found.frame, expected)


def test_the_callers_frame_is_not_changed() -> None:
    frame = intervals(stop=[1, 2], cause=[1, 0], device=["m", "d"])
    before = frame.copy()
    table(frame, ("device",))
    pd.testing.assert_frame_equal(frame, before)


def test_a_frame_with_any_index() -> None:
    frame = intervals(stop=[1, 2, 3], cause=[1, 0, 1], device=["m", "d", "m"])
    plain = table(frame, ("device",))
    assert table(frame.set_axis([7, 7, 7]), ("device",)) == plain
    assert table(frame.set_index("device", drop=False), ("device",)) == plain


@pytest.mark.parametrize(
    ("causes", "labels", "events"),
    [
        ([1, 0, 2, 0], (1, 2), [1, 1]),
        ([1.0, np.nan, 2.0, 0.0], (1, 2), [1, 1]),
        ([True, False, True, False], (True,), [2]),
        (["buy", None, "leave", None], ("buy", "leave"), [1, 1]),
        (["buy", 0, False, np.nan], ("buy",), [1]),
        (pd.array([1, None, 2, 0], dtype="Int64"), (1, 2), [1, 1]),
        (pd.array([True, None, True, False], dtype="boolean"), (True,), [2]),
        (pd.array(["buy", None, "leave", None], dtype="string"), ("buy", "leave"), [1, 1]),
        (pd.Categorical(["b", None, "a", "b"], categories=["b", "a", "never"]), ("a", "b"), [1, 2]),
        ([2, "two", None, 0], (2, "two"), [1, 1]),
        ([0.5, 0, 0, 0], (0.5,), [1]),
    ],
)
def test_causes_of_any_type_keep_their_labels(causes: object, labels: tuple[object, ...], events: list[int]) -> None:
    found = table(intervals(stop=[1, 2, 3, 4], cause=causes))
    assert found.causes == labels
    assert [type(label) for label in found.causes] == [type(label) for label in labels]
    assert found.frame[found.event_cols].sum().tolist() == events
    assert found.frame["censored"].sum() == 4 - sum(events)


def test_the_order_of_rows_does_not_show() -> None:
    rng = np.random.default_rng(5)
    frame = intervals(
        stop=rng.integers(1, 20, 400), cause=rng.choice(["a", "b", ""], 400), w=rng.uniform(0, 1, 400)
    ).replace({"cause": {"": None}})
    frame["p"] = rng.choice(np.array(["x", None, 3, 2.5, True], dtype=object), 400)
    shuffled = table(frame.sample(frac=1, random_state=1), ("p",), "w").frame
    pd.testing.assert_frame_equal(shuffled, table(frame, ("p",), "w").frame, rtol=1e-14)


def test_patterns_may_be_null_categorical_and_mixed() -> None:
    frame = intervals(stop=[1, 1, 2, 3, 4], cause=1, kind=["b", None, "a", np.nan, 3])
    frame["device"] = pd.Categorical(["tv", "m", None, "m", "m"], categories=["tv", "m", "unused"])
    found = table(frame, ("kind",))
    assert found.frame.groupby("kind", dropna=False, sort=False)["entered"].sum().tolist() == [1, 1, 1, 2]
    assert found.frame["kind"].drop_duplicates().tolist()[:3] == [3, "a", "b"]
    assert found.frame["kind"].isna().sum() == 3  # entry, day 1, day 3
    devices = table(frame, ("device",))
    assert devices.frame["device"].drop_duplicates().tolist()[:2] == ["tv", "m"]
    assert devices.frame["device"].dtype == frame["device"].dtype
    both = table(frame, ("device", "kind"))
    assert both.pool("device") == devices
    assert both.pool(("kind",)) == found
    assert [part.start for part in devices.blocks()] == [0, 2, 6]


def test_null_segments_add() -> None:
    frame = intervals(stop=[1, 2, 3, 4], cause=[1, 0, 1, 1], device=["m", None, None, "m"])
    assert table(frame[:2], ("device",)) + table(frame[2:], ("device",)) == table(frame, ("device",))


def test_splitting_an_interval_changes_nothing() -> None:
    whole = table(pd.DataFrame({"start": [0, 0, 1], "stop": [4, 3, 6], "cause": [1, 0, 2]}))
    cut = {"start": [0, 2, 0, 1, 3, 5], "stop": [2, 4, 3, 3, 5, 6], "cause": [0, 1, 0, 0, 0, 2]}
    assert table(pd.DataFrame(cut)) == whole


def test_a_change_of_state_counts_in_each_state_and_cancels_when_pooled() -> None:
    """A user does the micro on day 2 and the macro on day 5."""
    frame = pd.DataFrame({"start": [0, 2], "stop": [2, 5], "cause": [0, 1], "done": [False, True]})
    found = table(frame, ("done",))
    assert found.frame["person_time_days"].tolist() == [0, 2, 0, 3]
    assert found.pool() == table(pd.DataFrame({"start": [0], "stop": [5], "cause": [1]}))


def test_weights_count_rows() -> None:
    frame = intervals(stop=[1, 2, 2], cause=[1, 0, 1], w=[2, 3, 0])
    repeated = frame.loc[frame.index.repeat(frame["w"])]
    assert table(frame, (), "w").frame.equals(table(repeated).frame)
    fractions = intervals(stop=[1, 2, 3], cause=1, w=[0.1, 0.2, 0.3])
    assert table(fractions, (), "w").frame["n"].iloc[-1] == 0.3
    # Cut into pieces, a fractional weight leaves no dust behind.
    cut = pd.DataFrame(
        {"start": [0, 0, 1, 0, 1], "stop": [1, 1, 3, 1, 3], "cause": [0, 0, 1, 0, 1], "w": [0.3, *[0.1] * 4]}
    )
    assert (table(cut, (), "w").frame[["entered", "censored"]].to_numpy()[1] == [0, pytest.approx(0.3)]).all()


def test_adding_tables_with_other_causes() -> None:
    one, two = intervals(stop=[1, 2], cause=["b", None]), intervals(stop=[1, 3], cause=["a", "a"])
    both = table(one) + table(two)
    assert both == table(pd.concat([one, two]))
    assert both.causes == ("a", "b")
    first = RiskTable.from_counts(table(two).frame.assign(d_z=0.0), (), ("z", "a"))
    assert (first + table(one)).causes == ("z", "a", "b")  # an order that was chosen is kept


def test_equal_labels_of_other_types_are_one_cause_when_added() -> None:
    yes, one = table(intervals(stop=[1, 2], cause=[True, True])), table(intervals(stop=[1, 2], cause=[1, 1]))
    both = yes + one
    assert both.causes == (True,)
    assert both.frame[both.event_cols].to_numpy().sum() == 4


def test_an_empty_table() -> None:
    frame = pd.DataFrame({"start": [], "stop": [], "cause": [], "device": []})
    empty, some = table(frame, ("device",)), table(intervals(stop=[1], cause=[1], device=["m"]), ("device",))
    assert empty.frame.empty
    assert empty.causes == ()
    assert empty.blocks() == []
    assert empty.pool().frame.empty
    assert empty + some == some
    assert some + empty == some
    assert (empty + empty).frame.empty


def test_tables_compare_by_content() -> None:
    one, same = table(intervals(stop=[1, 2], cause=[1, 0])), table(intervals(stop=[2, 1], cause=[0, 1]))
    assert one == same
    assert one != table(intervals(stop=[1, 2], cause=[1, 1]))
    assert one != "a table"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"stop": [1, 2], "cause": [1, "1"]}, r"causes 1 and '1' would share the column 'd_1'.*Rename"),
        ({"stop": [1, 2], "cause": ["0", "1"]}, r"text '0'.*give 0, False or null"),
        ({"stop": [1, 2], "cause": ["", "buy"]}, "text ''"),
        ({"stop": [1, np.nan], "cause": 1}, r"'stop' must be a finite number.*1 of 2 rows break this \(index 1\)"),
        ({"stop": [1, "soon"], "cause": 1}, r"'stop' must be a finite number.*soon"),
        ({"stop": [1, np.inf], "cause": 1}, "finite"),
        ({"stop": [2, 1], "cause": 1, "start": [1, 3]}, r"'stop' must not lie before 'start': 1 of 2 .*index 1"),
        ({"stop": [2, 1], "cause": 1, "start": [2, 0]}, r"holds no time: 1 of 2 rows break this \(index 0\)"),
        ({"stop": [2, 1], "cause": 1, "start": [-1, 0]}, r"'start' must not lie before the origin"),
        ({"stop": pd.to_timedelta([1, 2], unit="D"), "cause": 1}, r"timedelta64.*Timedelta\('1D'\)"),
        ({"stop": pd.to_datetime(["2020-01-01", "2020-01-02"]), "cause": 1}, "plain number of days"),
        ({"stop": [1, 2], "cause": [[1], [2]]}, "cannot be told apart"),
    ],
)
def test_impossible_rows_are_named(columns: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        table(intervals(**columns))


def test_many_bad_rows_are_counted_and_a_hostile_value_is_cut() -> None:
    frame = intervals(stop=[-1.0] * 9 + [1.0], cause=1, note="<script>" * 5000)
    with pytest.raises(ParameterError, match=r"9 of 10 rows break this \(index 0, 1, 2, 3, 4, \.\.\.\)") as caught:
        table(frame)
    assert len(str(caught.value)) < 600


def test_impossible_columns() -> None:
    frame = intervals(stop=[1, 2], cause=[1, 0], n=["a", "b"], device=["m", "d"])
    with pytest.raises(ParameterError, match="Did you mean 'device'"):
        table(frame, ("devise",))
    with pytest.raises(ParameterError, match=r"pattern column 'n' has the name of a column of counts.*Rename"):
        table(frame, ("n",))
    with pytest.raises(ParameterError, match="d_1"):
        table(frame.assign(d_1=0), ("d_1",))
    with pytest.raises(ParameterError, match="named twice"):
        table(frame, ("device", "device"))
    with pytest.raises(ParameterError, match="2 columns named 'stop'"):
        table(pd.concat([frame, frame[["stop"]]], axis=1))
    with pytest.raises(ParameterError, match="weight 'w' must not be negative"):
        table(frame.assign(w=[1, -1]), (), "w")
    with pytest.raises(ParameterError, match=r"Unknown pattern column 'devise'.*Did you mean 'device'"):
        table(frame, ("device",)).pool("devise")
    with pytest.raises(ParameterError, match="pool them first"):
        _ = table(frame, ("device",)) + table(frame)
    assert table(frame, "device") == table(frame, ("device",))  # one name is one column


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"time_days": [0, 1, 2], "entered": [2, 0, 0], "censored": [0, 1, 2], "d_1": 0}, "do not add up: at day 2"),
        ({"time_days": [0, 5], "entered": [0, 1], "censored": 0, "d_1": [0, 1]}, "do not add up: at day 5"),
        ({"time_days": [0, 1], "entered": [1, 0], "censored": [0, -1], "d_1": 0}, "must not be negative"),
        ({"time_days": [-1, 1], "entered": [1, 0], "censored": [0, 1], "d_1": 0}, "before the origin"),
        ({"time_days": [0, 1], "entered": [1, 0], "censored": [0, 1]}, "Unknown column 'd_1'"),
    ],
)
def test_counts_that_cannot_be(counts: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        RiskTable.from_counts(pd.DataFrame(counts), (), (1,))


def test_counts_of_a_time_may_come_in_pieces() -> None:
    pieces = pd.DataFrame({"time_days": [0, 0, 2, 2, -0.0], "entered": [1, 2, 0, 0, 1], "censored": [0, 0, 1, 1, 0]})
    found = RiskTable.from_counts(pieces.assign(d_1=[0, 0, 2, 0, 0]), (), (1,))
    assert found.frame[["time_days", "n", "d_1", "censored"]].to_numpy().tolist() == [[0, 4, 0, 0], [2, 4, 2, 2]]
