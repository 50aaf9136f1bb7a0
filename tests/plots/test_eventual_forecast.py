"""What the figures of eventual conversion and of forecasts show, and that they show a refusal as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from microconv.plots import plot_eventual_conversion, plot_forecast
from microconv.plots.forecast import plot_reliability
from microconv.results import Result
from microconv.stats.backtest import BACKTEST, RELIABILITY
from microconv.stats.forecasting import COHORTS
from microconv.stats.plateau import CURVES, PLATEAUS

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def words(ax) -> str:  # type: ignore[no-untyped-def]
    figure = ax.get_figure()
    figure.canvas.draw()
    return " | ".join(text.get_text() for text in ax.texts)


def eventual(*, refused: bool, names: tuple[str, ...] = ("all",)) -> Result:
    days = np.linspace(0, 60, 61)
    rows, curves = [], []
    for i, name in enumerate(names):
        observed = (0.3 - 0.05 * i) * -np.expm1(-days / 8)
        share = np.nan if refused else 0.3 - 0.05 * i
        rows.append([name, share, share - 0.03, share + 0.03, 5.5, 18.0, observed[-5], observed[-5] - 0.03,
                     observed[-5] + 0.03, 56.0, 500, 140,
                     "refused: the delay is not over" if refused else "mixture cure, Weibull delay"])  # fmt: skip
        curves.append(pd.DataFrame({
            "segment": name, "time_days": days, "observed": observed, "observed_ci_low": observed * 0.9,
            "observed_ci_high": observed * 1.1, "at_risk": 500 - 5 * days,
            "fitted": np.nan if refused else observed,
        }))  # fmt: skip
    frame = pd.concat(curves, ignore_index=True)
    assert list(frame)[1:] == CURVES
    return Result(
        name="eventual_conversion",
        table=pd.DataFrame(rows, columns=["segment", *PLATEAUS]),
        meaning="",
        parameters={"target": "purchase", "origin": "entry", "confidence": 0.95},
        extra={"curves": frame},
    )


def forecast(cohorts: int = 6, *, known: bool = True) -> Result:
    done = np.arange(cohorts, 0, -1) * 5.0
    waiting = np.where(np.arange(cohorts) < cohorts // 2, 0, 40)
    expected = np.where(waiting > 0, 4.0 if known else np.nan, 0.0)
    table = pd.DataFrame({name: np.zeros(cohorts) for name in COHORTS})
    table["cohort"] = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(cohorts)]
    table["converted"], table["open"], table["expected"] = done, waiting, expected
    table["ci_low"], table["ci_high"] = done + expected - 2, done + expected + 3
    chance = np.array([0.02, 0.1, 0.2])
    reliability = pd.DataFrame({name: np.zeros(3) for name in RELIABILITY})
    reliability["predicted"], reliability["observed"] = chance, chance * 1.1
    reliability["ci_low"], reliability["ci_high"], reliability["n"] = chance * 0.6, chance * 1.7, 100
    return Result(
        name="forecast",
        table=table,
        meaning="",
        parameters={"target": "purchase", "horizon": "30D", "cohort": "week", "confidence": 0.95, "holdback": "30D"},
        extra={"cohorts": table, "reliability": reliability, "backtest": pd.DataFrame(columns=BACKTEST)},
    )


class TestEventual:
    def test_the_plateau_with_its_interval(self) -> None:
        shown = words(plot_eventual_conversion(eventual(refused=False)))
        assert "30.0%  (27.0% to 33.0%)" in shown
        assert "model (dashed)" in shown

    def test_a_refusal_is_shown_as_one(self) -> None:
        ax = plot_eventual_conversion(eventual(refused=True))
        shown = words(ax)
        assert "so far, end not stated" in shown
        assert "all: the delay is not over." in shown
        assert "no eventual share is stated" in shown
        assert not [line for line in ax.lines if line.get_linestyle() == "--"]

    def test_segments_keep_apart_and_hostile_names_are_text(self) -> None:
        shown = words(plot_eventual_conversion(eventual(refused=False, names=("$a$<b>", "mobile"))))
        assert r"\$a\$<b>" in shown
        assert "mobile  25.0%" in shown

    def test_nothing_to_draw(self) -> None:
        found = eventual(refused=False)
        empty = found.table.assign(n=np.nan)
        assert "nothing to draw" in words(plot_eventual_conversion(replace(found, table=empty)))


class TestForecast:
    def test_converted_expected_and_intervals(self) -> None:
        ax = plot_forecast(forecast())
        bars = [patch for patch in ax.patches if patch.get_height() > 0]
        assert len(bars) == 6 + 3
        assert sum(bar.get_height() for bar in bars) == pytest.approx(105 + 12)
        assert "purchase within 30D" in words(ax)
        legend = [text.get_text() for text in ax.get_legend().get_texts()]
        assert "expected of those still open" in legend
        assert len(ax.get_figure().axes) == 2  # the back-test stands beside it

    def test_what_is_not_forecast_is_marked(self) -> None:
        ax = plot_forecast(forecast(known=False))
        assert {text.get_text() for text in ax.get_legend().get_texts()} == {"converted so far", "open, not forecast"}

    def test_many_cohorts_are_cut_and_said(self) -> None:
        ax = plot_forecast(forecast(150))
        assert "the last 60 of 150 cohorts" in words(ax)
        assert len(ax.get_xticks()) <= 14

    @pytest.mark.parametrize("chance", [0.0, 0.001])
    def test_no_axis_goes_below_zero_when_nobody_converts(self, chance: float) -> None:
        found = forecast()
        one = found.extra["reliability"].head(1).assign(predicted=chance, observed=0.0, ci_low=0.0, ci_high=0.3)
        ax = plot_reliability(replace(found, extra={**found.extra, "reliability": one}))
        ax.get_figure().canvas.draw()
        for axis in (ax.xaxis, ax.yaxis):
            low, high = axis.get_view_interval()
            ticks = [tick for tick in axis.get_ticklocs() if low <= tick <= high]
            assert min(ticks) == 0
            assert len(ticks) >= 3
            assert low > -0.03 * high

    def test_reliability_and_nothing(self) -> None:
        ax = plot_reliability(forecast())
        assert list(ax.lines[-1].get_xdata()) == pytest.approx([0.02, 0.1, 0.2])
        found = forecast()
        none = replace(found, extra={**found.extra, "reliability": pd.DataFrame(columns=RELIABILITY)})
        assert "nothing to draw" in words(plot_reliability(none))
        assert len(plot_forecast(none).get_figure().axes) == 1
