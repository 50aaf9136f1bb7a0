"""Numbers cut into bands: users stay together as their values do, and nobody is lost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microconv as mc
from microconv.hazards.asking import ask
from microconv.reduce.bands import banded, of_level
from microconv.reduce.entrants import People, people

DEFAULTS = {
    "strata": (), "method": "piecewise", "target": "buy", "origin": "entry", "competing": None, "ties": "efron",
    "robust": False, "since": (), "reference": None, "bins": 20, "washout": None, "tz": "UTC", "confidence": 0.95,
    "max_rows": 10**6, "max_patterns": 5_000, "horizon": None,
}  # fmt: skip


def people_of(ages: list[float]) -> People:
    """One user per age, of two devices in turn; who is in whose cell can be told by the user's id."""
    rows = [
        {"user_id": f"u{i:03d}", "time": f"2026-01-01T00:00:{i % 60:02d}Z", "event": "open", "age": age,
         "device": "dm"[i % 2]}
        for i, age in enumerate(ages)
    ]  # fmt: skip
    rows.append({**rows[0], "time": "2026-01-03T00:00:00Z", "event": "buy"})
    log = mc.read_events(pd.DataFrame(rows))
    question = ask(log, micros=[], adjust=["device", "age"], **DEFAULTS)
    return people(log, question.rule, (), question.adjust)


def levels_of(found: People) -> pd.DataFrame:
    users = found.engine.fetch(found.table.select("user_id", "cell"))
    return users.join(found.cells, on="cell").sort_values("user_id", ignore_index=True)


def test_few_values_are_levels_of_their_own() -> None:
    found = levels_of(banded(people_of([3.0, 1.5, 3.0, 2.0]), ["age"]))
    assert found["age"].tolist() == ["3", "1.5", "3", "2"]
    assert found["device"].tolist() == ["d", "m", "d", "m"]


def test_quarters() -> None:
    found = levels_of(banded(people_of([float(i) for i in range(1, 41)]), ["age"]))
    assert found["age"].value_counts().to_dict() == {
        "up to 10": 10, "over 10 to 20": 10, "over 20 to 30": 10, "over 30": 10,
    }  # fmt: skip
    assert found["age"].iloc[9] == "up to 10"
    assert found["age"].iloc[10] == "over 10 to 20"


@pytest.mark.parametrize("ages", [[0.0] * 50 + [1, 2, 3, 4, 5, 6, 7], [9.0] * 50 + [1, 2, 3, 4, 5, 6, 7]])
def test_a_value_that_most_have_stays_whole(ages: list[float]) -> None:
    found = levels_of(banded(people_of(ages), ["age"]))
    assert found["age"].iloc[:50].nunique() == 1
    assert found["age"].nunique() >= 2


@settings(max_examples=25)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=60))
def test_nobody_is_lost_and_bands_are_in_order(ages: list[int]) -> None:
    before = people_of([float(age) for age in ages])
    after = banded(before, ["age"])
    assert before.at_risk == after.at_risk
    found = levels_of(after)
    assert len(found) == len(ages)
    assert not after.cells.duplicated().any()
    frame = pd.DataFrame({"age": ages, "band": found["age"]})
    spans = frame.groupby("band")["age"].agg(["min", "max"]).sort_values("min")
    assert (spans["max"].to_numpy()[:-1] < spans["min"].to_numpy()[1:]).all()
    assert np.array_equal(found["device"], ["dm"[i % 2] for i in range(len(ages))])


def test_the_users_of_one_level() -> None:
    found = of_level(people_of([1.0, 2.0, 1.0, 2.0, 3.0, 1.0]), "device", "m")
    users = found.engine.fetch(found.table.select("user_id", "cell")).sort_values("user_id")
    assert users["user_id"].tolist() == ["u001", "u003", "u005"]
    assert found.at_risk == 3
    assert found.cells.index.tolist() == list(range(len(found.cells)))
    assert found.cells["device"].unique().tolist() == ["m"]
    assert found.cells["age"].to_numpy()[users["cell"]].tolist() == [2.0, 2.0, 1.0]
