"""Intensities by process: against the piecewise-exponential model and statsmodels, and what the weak prior does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from reference.chains import known

from microconv import stats
from microconv.errors import ParameterError
from microconv.exposures import ExposureTable
from microconv.stats._log_linear import fit_log_linear

CUTS = (1.0, 4.0)
COLUMNS = {"cart": 1, "visits": 3}


def drawn(seed: int = 5, days: float = 300.0) -> ExposureTable:
    """Random events at known rates: a ratio for each level, a number and a text as attributes."""
    rng = np.random.default_rng(seed)
    rows = []
    for cart in (0, 1):
        for visits in range(4):
            for device, age in product(("desktop", "mobile", "tablet"), (20.0, 50.0)):
                for g, (start, end) in enumerate([(0.0, 1.0), (1.0, 4.0), (4.0, np.inf)]):
                    time = rng.uniform(0.2, 1.8) * days
                    base = time * (0.2, 0.1, 0.04)[g] * (1.4 if device == "mobile" else 1.0) * 1.01**age
                    rows.append(
                        {
                            "cart": cart,
                            "visits": visits,
                            "device": device,
                            "years": age,
                            "from_days": start,
                            "to_days": end,
                            "d_buy": float(rng.poisson(base * 3**cart * 1.2**visits)),
                            "d_+cart": float(rng.poisson(base * 1.3**visits)) if not cart else 0.0,
                            "d_+visits": float(rng.poisson(base * 0.8**cart * 1.1**visits)) if visits < 3 else 0.0,
                            "person_time_days": time,
                        }
                    )
    frame = pd.DataFrame(rows)
    return ExposureTable(frame, ("cart", "visits", "device", "years"), ("buy", "+cart", "+visits"), CUTS)


def test_without_a_prior_it_is_the_piecewise_exponential_model() -> None:
    table = drawn()
    found = stats.intensities(table, COLUMNS, ["device", "years"], prior_sd=np.inf)
    levels = replace(table, frame=table.frame.assign(visits=table.frame["visits"].astype(str)))
    for cause, column, level in (("buy", None, None), ("+cart", "cart", 0), ("+visits", "visits", 3)):
        frame = levels.frame
        if column == "cart":
            frame = frame[frame["cart"] == level]
        elif column == "visits":
            frame = frame[frame["visits"] != str(level)]
        terms = [name for name in ("cart", "visits", "device", "years") if name != "cart" or column != "cart"]
        other = stats.piecewise_exponential(replace(levels, frame=frame), terms, cause=cause)
        one = found.process(cause)
        expected = other.table.set_index("term")
        mine = one.table.set_index("term")
        assert list(mine.index) == list(expected.index)
        assert mine["coef"].to_numpy() == pytest.approx(expected["coef"].to_numpy(), abs=1e-6)
        assert mine["se"].to_numpy() == pytest.approx(expected["se"].to_numpy(), rel=1e-6)
        # The hazard at the reference levels, the number at its mean: to compare, ours in the first cell.
        center = other.design.set_index("term").loc["years", "center"]
        first = found.cells.iloc[0]
        assert first["device"] == "desktop"
        shift = np.exp(expected.loc["years", "coef"] * (first["years"] - center))
        state = 0
        assert found.rates(cause)[0, state] == pytest.approx(other.rates["rate_per_day"].to_numpy() * shift, rel=1e-6)


def test_covariance_with_the_intervals_is_that_of_statsmodels() -> None:
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, (12, 3)).astype(float)
    time = rng.uniform(5, 60, (12, 4))
    events = rng.poisson(time * 0.3).astype(float)
    fit = fit_log_linear(events, time, x, 0.0)
    dummies = np.tile(np.eye(4), (12, 1))
    rows = np.hstack([dummies, np.repeat(x, 4, axis=0)])
    glm = sm.GLM(events.ravel(), rows, family=sm.families.Poisson(), exposure=time.ravel()).fit(tol=1e-14)
    assert np.concatenate([fit.intercept, fit.coef]) == pytest.approx(glm.params, abs=1e-8)
    assert fit.covariance == pytest.approx(glm.cov_params(), rel=1e-6, abs=1e-10)


def test_the_prior_moves_nothing_that_the_data_know() -> None:
    """It moves a coefficient by coef * se^2 / 100, which is next to nothing beside the error itself."""
    for seed, days in ((1, 300.0), (2, 30.0)):
        table = drawn(seed, days)
        weak = stats.intensities(table, COLUMNS, ["device", "years"]).table
        none = stats.intensities(table, COLUMNS, ["device", "years"], prior_sd=np.inf).table
        moved = (weak["coef"] - none["coef"]).abs()
        assert (moved / none["se"]).max() < 0.01
        expected = (none["coef"] * none["se"] ** 2 / 100).abs()
        assert moved.max() < 3 * expected.max()
        assert weak["se"].to_numpy() == pytest.approx(none["se"].to_numpy(), rel=0.01)


def test_what_cannot_happen_yet_has_next_to_no_rate() -> None:
    """The ratio of a step that must come first has no finite estimate: the prior gives one, and a tenth of an event."""

    def rate(process: str, state: Mapping[str, int], cell: str, interval: int) -> float:
        if process == "+checkout":
            return 0.4 * state["cart"]
        return {"buy": 0.3 * state["checkout"], "+cart": 0.2}[process]

    found = known({"cart": 1, "checkout": 1}, ["all"], [2.0], ["buy"], rate, days=1_000.0)
    for name, needed in (("+checkout", "cart"), ("buy", "checkout")):
        rates, level = found.rates(name)[0], found.grid.level(needed)
        possible = found.process(name).possible
        assert (1_000 * rates[possible & (level == 0)].sum()) < 0.3
        assert rates[possible & (level == 1)] == pytest.approx(0.4 if name == "+checkout" else 0.3, rel=1e-3)
        assert np.isfinite(found.process(name).fit.covariance).all()
        assert np.isfinite(found.table["coef"]).all()


def test_an_interval_without_an_event_has_the_rate_zero() -> None:
    table = drawn()
    frame = table.frame.copy()
    frame.loc[frame["from_days"] == 1.0, "d_buy"] = 0.0
    found = stats.intensities(replace(table, frame=frame), COLUMNS)
    base, factor = found.rate_factors("buy")
    assert base[1] == 0 < min(base[0], base[2])
    assert found.process("buy").fit.covariance.shape == (2 + 4, 2 + 4)
    assert factor.shape == (1, 8)
    nothing = stats.intensities(replace(table, frame=frame.assign(d_buy=0.0)), COLUMNS)
    assert not nothing.rates("buy").any()
    assert nothing.rates("+cart").any()


def test_shapes_orders_and_names() -> None:
    found = stats.intensities(drawn(), COLUMNS, ["device"])
    assert found.causes == ("buy",)
    assert found.moves == ("+cart", "+visits")
    assert list(found.cells["device"]) == ["desktop", "mobile", "tablet"]
    assert found.rates("buy").shape == (3, 8, 3)
    assert list(found.grid.level("cart")) == [0, 1] * 4
    assert list(found.grid.level("visits")) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.rates("+cart")[:, found.grid.level("cart") == 1].any() == np.False_
    assert found.rates("+visits")[:, found.grid.level("visits") == 3].any() == np.False_
    base, factor = found.rate_factors("buy")
    assert found.rates("buy")[2, 5, 1] == pytest.approx(base[1] * factor[2, 5])
    buy = found.table[found.table["process"] == "buy"]
    assert list(buy["term"]) == ["cart", "visits=1", "visits=2", "visits=3", "device=mobile", "device=tablet"]
    assert list(found.table.loc[found.table["process"] == "+visits", "term"][:3]) == ["cart", "visits=1", "visits=2"]
    ratio = buy.set_index("term")["ratio"]
    assert factor[1, 1] / factor[0, 0] == pytest.approx(ratio["cart"] * ratio["device=mobile"])
    assert ratio["cart"] == pytest.approx(3, rel=0.1)
    frame = pd.DataFrame({"visits": [3, 0], "cart": [1, 0], "device": ["tablet", "none"]})
    cell, state = found.grid.place(frame)
    assert list(cell) == [2, -1]
    assert list(state) == [7, 0]
    assert found.person_time.sum() == pytest.approx(drawn().frame["person_time_days"].sum())


def test_missing_is_a_level_and_cells_do_not_depend_on_order() -> None:
    table = drawn()
    frame = table.frame.assign(device=table.frame["device"].where(table.frame["device"] != "tablet", None))
    found = stats.intensities(replace(table, frame=frame), COLUMNS, ["device"])
    shuffled = stats.intensities(replace(table, frame=frame.sample(frac=1, random_state=3)), COLUMNS, ["device"])
    pd.testing.assert_frame_equal(found.cells, shuffled.cells)
    assert found.rates("buy") == pytest.approx(shuffled.rates("buy"), rel=1e-9)
    assert "device=(missing)" in set(found.table["term"])


def test_impossible_questions() -> None:
    table = drawn()
    with pytest.raises(ParameterError, match=r"'card'.*'cart'"):
        stats.intensities(table, {"card": 1})
    with pytest.raises(ParameterError, match=r"'devise'.*'device'"):
        stats.intensities(table, COLUMNS, ["devise"])
    with pytest.raises(ParameterError, match="prior_sd=0"):
        stats.intensities(table, COLUMNS, prior_sd=0)
    with pytest.raises(ParameterError, match="levels outside of 0 to 2"):
        stats.intensities(table, {"cart": 1, "visits": 2})
    with pytest.raises(ParameterError, match=r"'sell'.*'buy'"):
        stats.intensities(table, COLUMNS).rates("sell")
