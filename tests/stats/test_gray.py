"""Gray's test: R's cmprsk at 1e-6, what must not change it, and its size where nothing differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv import RiskTable
from microconv.errors import ParameterError
from microconv.stats import gray as module
from microconv.stats import gray_test

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def r() -> dict:
    return json.loads((GOLDEN / "curves.json").read_text())["gray"]


def counts(frame: pd.DataFrame, patterns: tuple[str, ...] = ("group", "stratum")) -> RiskTable:
    return RiskTable.from_intervals(frame.assign(start=0), "start", "time", "cause", patterns)


def data(r: dict, name: str) -> pd.DataFrame:
    if name == "of_ties":
        return pd.read_csv(GOLDEN / "survival_ties.csv")
    frame = pd.DataFrame(r["untied" if name == "of_untied" else "half_days"])
    return frame[frame["group"] != "r"] if name == "two_groups" else frame


@pytest.mark.parametrize("strata", [(), "stratum"])
@pytest.mark.parametrize("name", ["of_untied", "of_half_days", "of_ties", "two_groups"])
def test_equals_cmprsk(r: dict, name: str, strata: str | tuple[()]) -> None:
    rt = counts(data(r, name))
    for rho, golden in zip(r[name]["rho"], r[name]["stratified" if strata else "plain"], strict=True):
        test = gray_test(rt, "group", strata=strata, rho=rho)
        assert test.table["cause"].tolist() == golden["cause"]
        np.testing.assert_allclose(test.table["chi2"], golden["chi2"], rtol=1e-6)
        np.testing.assert_allclose(test.table["p_value"], golden["p"], rtol=1e-6)
        assert test.table["degrees_of_freedom"].tolist() == golden["df"]
        assert test.rho == rho


def test_one_cause_is_its_row_of_all(r: dict) -> None:
    rt = counts(data(r, "of_ties"))
    whole = gray_test(rt, "group").table
    alone = gray_test(rt, "group", cause=2).table
    pd.testing.assert_frame_equal(alone, whole[whole["cause"] == 2].reset_index(drop=True))


def test_small_steps_through_the_times_change_nothing(r: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    rt = counts(data(r, "of_untied"))
    whole = gray_test(rt, "group", rho=1).table
    monkeypatch.setattr(module, "_CELLS", 40)
    pd.testing.assert_frame_equal(gray_test(rt, "group", rho=1).table, whole, rtol=1e-10)


def test_a_group_that_is_never_compared_counts_for_nothing(r: dict) -> None:
    frame = data(r, "of_half_days")
    alone = frame.assign(stratum=frame["stratum"].where(frame["group"] != "r", "z"))
    ours = gray_test(counts(alone), "group", strata="stratum").table
    two = gray_test(counts(data(r, "two_groups")), "group", strata="stratum").table
    pd.testing.assert_frame_equal(ours, two, rtol=1e-9)
    assert ours["degrees_of_freedom"].tolist() == [1, 1]


def test_scores_say_who_has_more_and_add_to_nothing(r: dict) -> None:
    groups = gray_test(counts(data(r, "of_untied")), "group").groups
    np.testing.assert_allclose(groups.groupby("cause")["score"].sum(), 0, atol=1e-9)
    more = groups[groups["cause"] == 1].set_index("group")["score"]
    assert more["p"] > 0 > more["r"]
    assert groups["events"].sum() == (data(r, "of_untied")["cause"] > 0).sum()


times = st.integers(0, 8)
row = st.tuples(times, st.sampled_from([None, "buy", "leave"]), st.sampled_from("abc"), st.sampled_from("xy"))
rows_of = st.lists(row, min_size=2, max_size=25)


def frame_of(rows: list[tuple[int, str | None, str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["time", "cause", "group", "stratum"])
    return frame.astype({"time": float, "cause": object})


def same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    np.testing.assert_allclose(ours["chi2"], theirs["chi2"], rtol=1e-7, atol=1e-9)
    assert ours["degrees_of_freedom"].tolist() == theirs["degrees_of_freedom"].tolist()


@given(rows_of, st.permutations("abc"))
@settings(max_examples=40)
def test_names_of_groups_do_not_matter(rows: list, names: list[str]) -> None:
    frame = frame_of(rows)
    renamed = frame.assign(group=frame["group"].map(dict(zip("abc", names, strict=True))))
    same(gray_test(counts(renamed), "group").table, gray_test(counts(frame), "group").table)


@given(rows_of, st.sampled_from([0.5, 4.0, 24.0]))
@settings(max_examples=40)
def test_the_unit_of_time_does_not_matter(rows: list, unit: float) -> None:
    frame = frame_of(rows)
    longer = frame.assign(time=frame["time"] * unit)
    wanted = gray_test(counts(frame), "group", strata="stratum", rho=1).table
    same(gray_test(counts(longer), "group", strata="stratum", rho=1).table, wanted)


@given(rows_of)
@settings(max_examples=40)
def test_pieces_of_an_interval_are_the_interval(rows: list) -> None:
    frame = frame_of(rows).assign(start=0.0)
    early = frame.assign(time=frame["time"].clip(upper=2.5))
    early.loc[frame["time"] > 2.5, "cause"] = None
    pieces = pd.concat([early, frame[frame["time"] > 2.5].assign(start=2.5)])
    rt = RiskTable.from_intervals(pieces, "start", "time", "cause", ("group", "stratum"))
    wanted = gray_test(counts(frame), "group").table
    if wanted.empty:
        assert gray_test(rt, "group").table.empty
    else:
        pd.testing.assert_frame_equal(gray_test(rt, "group").table, wanted)


def test_one_cause_without_rivals_is_close_to_logrank() -> None:
    """Without competing ends the score is the log-rank test's; only the variance is estimated otherwise."""
    from microconv.stats import logrank

    rng = np.random.default_rng(1)
    group = rng.choice(list("ab"), 3000)
    event, censor = rng.exponential(np.where(group == "a", 9, 10)), rng.uniform(2, 30, 3000)
    frame = pd.DataFrame({"group": group, "time": np.minimum(event, censor), "cause": event <= censor})
    rt = counts(frame, ("group",))
    test = gray_test(rt, "group")
    theirs = logrank(rt, "group")
    np.testing.assert_allclose(test.groups["score"], theirs.groups["observed"] - theirs.groups["expected"], rtol=1e-9)
    assert test.table["chi2"][0] == pytest.approx(theirs.chi2, rel=0.02)


@pytest.mark.slow
def test_size_under_the_null() -> None:
    """Groups of unequal size and censoring, the same cumulative incidences, half-day ties: 5 % are called different."""
    rng = np.random.default_rng(20260812)
    p_values = []
    for _ in range(600):
        group = rng.choice(list("abc"), 150, p=[0.5, 0.3, 0.2])
        event = np.ceil(2 * rng.exponential(5, 150)) / 2
        censor = np.ceil(2 * rng.uniform(1, np.where(group == "a", 12, 20))) / 2
        cause = np.where(event <= censor, rng.choice([1, 2], 150, p=[0.6, 0.4]), 0)
        frame = pd.DataFrame({"group": group, "time": np.minimum(event, censor), "cause": cause})
        p_values.append(gray_test(counts(frame, ("group",)), "group", cause=1).table["p_value"][0])
    # 600 draws at 5 %: within three standard errors.
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 600))
    assert np.mean(p_values) == pytest.approx(0.5, abs=3 * np.sqrt(1 / 12 / 600))


def test_logrank_and_gray_answer_different_questions() -> None:
    """Same hazard of buying, more leave in one group: the hazards agree, the shares that buy do not."""
    from microconv.stats import logrank

    rng = np.random.default_rng(3)
    group = np.repeat(["stays", "leaves"], 2000)
    buy, leave = rng.exponential(10, 4000), rng.exponential(np.where(group == "leaves", 4, 40))
    frame = pd.DataFrame({"group": group, "time": np.minimum(buy, leave), "cause": np.where(buy < leave, 1, 2)})
    rt = counts(frame, ("group",))
    assert gray_test(rt, "group", cause=1).table["p_value"][0] < 1e-10
    assert logrank(rt, "group", cause=1).p_value > 0.05


def test_nothing_to_compare() -> None:
    one = counts(pd.DataFrame({"group": ["a", "a"], "time": [1, 2], "cause": [1, 2]}), ("group",))
    table = gray_test(one, "group").table
    assert table["degrees_of_freedom"].tolist() == [0, 0]
    assert table[["chi2", "p_value"]].isna().all(axis=None)
    nobody = counts(pd.DataFrame({"group": ["a", "b"], "time": [1, 2], "cause": [0, 0]}), ("group",))
    assert list(gray_test(nobody, "group").table.columns) == ["cause", "chi2", "degrees_of_freedom", "p_value"]
    assert gray_test(nobody, "group").table.empty


def test_errors() -> None:
    frame = pd.DataFrame({"start": [0, 2, 0], "stop": [3, 4, 5], "cause": [1, 2, 0], "group": list("aab")})
    late = RiskTable.from_intervals(frame, "start", "stop", "cause", ("group",))
    with pytest.raises(ParameterError, match=r"1 of 3 intervals start after day 0 .* logrank"):
        gray_test(late, "group")
    rt = counts(frame.rename(columns={"stop": "time"}), ("group",))
    with pytest.raises(ParameterError, match=r"Unknown cause 3\..*Known: '1', '2'"):
        gray_test(rt, "group", cause=3)
    with pytest.raises(ParameterError, match=r"Unknown pattern column 'grup'\. Did you mean 'group'"):
        gray_test(rt, "grup")
    with pytest.raises(ParameterError, match="must name at least one pattern column"):
        gray_test(rt, "group", strata="group")
    with pytest.raises(ParameterError, match="rho='early' must be a number"):
        gray_test(rt, "group", rho="early")  # type: ignore[arg-type]
