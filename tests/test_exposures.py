"""Events and person-time by interval: exact, additive, whatever the cuts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microconv import ExposureTable, ParameterError, RiskTable
from microconv.exposures import quantile_cuts


def random_rows(seed: int, rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 6, rows) / 2 * (rng.random(rows) < 0.5)
    stop = start + rng.integers(1, 12, rows) / 4
    at_entry = rng.random(rows) < 0.1
    start[at_entry], stop[at_entry] = 0, 0
    return pd.DataFrame(
        {
            "start": start,
            "stop": stop,
            "cause": rng.choice(["buy", "leave", None], rows),
            "group": rng.choice(["a", "b", None], rows),
            "done": rng.integers(0, 2, rows),
        }
    )


def counted(frame: pd.DataFrame, *patterns: str) -> RiskTable:
    return RiskTable.from_intervals(frame, "start", "stop", "cause", patterns)


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from([0.1, 0.25, 0.5, 1, 2.2, 4, 99]), unique=True))
@settings(max_examples=40)
def test_events_and_time_of_every_row(seed: int, cuts: list[float]) -> None:
    """Each row's time in each interval, added up row by row."""
    frame, cuts = random_rows(seed), sorted(cuts)
    table = ExposureTable.from_risk_table(counted(frame, "group", "done"), cuts)
    edges = [0.0, *cuts, np.inf]
    assert table.cuts == tuple(cuts)
    for row in table.frame.itertuples():
        low, high = row.from_days, row.to_days
        group = frame["group"].isna() if row.group is None or row.group != row.group else frame["group"] == row.group
        mine = frame[group & (frame["done"] == row.done)]
        time = (np.minimum(mine["stop"], high) - np.maximum(mine["start"], low)).clip(lower=0).sum()
        ended = mine[(mine["stop"] > low) & (mine["stop"] <= high) | ((low == 0) & (mine["stop"] == 0))]
        assert row.person_time_days == pytest.approx(time, abs=1e-9)
        for cause in table.causes:
            assert getattr(row, f"d_{cause}") == (ended["cause"] == cause).sum()
    assert len(table.frame) == len(frame.drop_duplicates(["group", "done"])) * (len(edges) - 1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_tables_add_up_and_pool(seed: int) -> None:
    frame, cuts = random_rows(seed), [0.5, 2.0]
    whole = ExposureTable.from_risk_table(counted(frame, "group", "done"), cuts)
    half = [ExposureTable.from_risk_table(counted(part, "group", "done"), cuts) for part in (frame[::2], frame[1::2])]
    added = half[0] + half[1]
    keys = [*whole.pattern_cols, "from_days"]
    for one, other in (
        (added, whole),
        (added.pool("done"), ExposureTable.from_risk_table(counted(frame, "done"), cuts)),
    ):
        by = [key for key in keys if key in one.frame]
        left, right = (t.frame.sort_values(by, ignore_index=True)[sorted(t.frame)] for t in (one, other))
        pd.testing.assert_frame_equal(left, right, check_dtype=False, rtol=1e-9, atol=1e-9)
    assert whole.pool(whole.pattern_cols).pool() == whole.pool()
    assert whole != half[0]


def test_quantile_cuts() -> None:
    frame = pd.DataFrame({"start": 0.0, "stop": np.arange(1, 101), "cause": "buy", "group": "a"})
    assert quantile_cuts(counted(frame), 4) == (25.0, 50.0, 75.0)
    assert quantile_cuts(counted(frame), 1) == ()
    half = frame.assign(cause=np.where(frame["stop"] <= 50, "buy", "leave"))
    assert quantile_cuts(counted(half), 2, cause="buy") == (25.0,)
    tied = frame.assign(stop=np.where(frame["stop"] <= 90, 1, frame["stop"]))
    assert quantile_cuts(counted(tied), 4) == (1.0,)
    at_entry = frame.assign(stop=np.where(frame["stop"] <= 60, 0, frame["stop"]))
    assert quantile_cuts(counted(at_entry), 4) == (75.0,)
    assert quantile_cuts(counted(frame.assign(cause=None)), 4) == ()
    with pytest.raises(ParameterError, match="must be a whole number"):
        quantile_cuts(counted(frame), 2.5)  # type: ignore[arg-type]


def test_refusals() -> None:
    rt = counted(random_rows(1), "group")
    table = ExposureTable.from_risk_table(rt, [1])
    with pytest.raises(ParameterError, match="do not add"):
        table + ExposureTable.from_risk_table(rt, [2])
    with pytest.raises(ParameterError, match=r"Unknown pattern column 'grup'\. Did you mean 'group'"):
        table.pool("grup")
    with pytest.raises(ParameterError, match="ascending numbers of days"):
        ExposureTable.from_risk_table(rt, [3, 1])
    with pytest.raises(TypeError):
        table + 1
