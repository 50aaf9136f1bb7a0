"""What the figures of a micro's value show: each number of the table, the truth where known, silence as words."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figures import assert_legible, words
from matplotlib.axes import Axes

from microconv.plots import plot_micro_value, plot_sensitivity, plot_value_by_time
from microconv.results import Result

mpl.use("Agg")

LONG = "a_micro_conversion_with_a_name_that_nobody_would_like_to_read_in_a_picture_$x^2"


def result(
    names: tuple[str, ...] = ("cart", "signup", "share", "checkout"), *, money: bool = True, **extra: Any
) -> Result:
    many = len(names)
    effect = np.linspace(0.2, -0.01, many)
    effect[-1] = np.nan
    table = pd.DataFrame(
        {
            "micro": names,
            "users": np.arange(many) * 100 + 200,
            "naive_lift": np.linspace(0.4, 0.1, many),
            "incremental": effect,
            "ci_low": effect - 0.02,
            "ci_high": effect + 0.02,
            "naive_value": np.linspace(40, 10, many) if money else np.nan,
            "credited_value": np.linspace(4_000, 100, many) if money else np.nan,
            "incremental_value": 60 * effect if money else np.nan,
            "value_ci_low": 60 * (effect - 0.02) if money else np.nan,
            "value_ci_high": 60 * (effect + 0.02) if money else np.nan,
            "label": ["adjusted"] * (many - 1) + ["structural"],
        }
    )
    known = table[table["incremental"].notna()]
    times = pd.concat(
        [
            known[["micro", "incremental", "ci_low", "ci_high"]].assign(
                method="hazard",
                within_days=day,
                **{name: known[name] * day / 30 for name in ("incremental", "ci_low", "ci_high")},
            )
            for day in (1.0, 7.0, 30.0)
        ]
    )
    strengths = pd.concat(
        [
            known[["micro"]].assign(
                with_micro=factor, incremental_low=known["incremental"] - 0.05 * (factor - 1),
                ci_low=known["ci_low"] - 0.05 * (factor - 1),
            )
            for factor in (1.0, 2.0, 5.0)
        ]
    )  # fmt: skip
    if money:
        rest = {"micro": "(no micro)", "credited_value": 3_000.0, "label": ""}
        table = pd.concat([table, pd.DataFrame([rest])], ignore_index=True)
    given = {
        "target": "purchase",
        "currency": "EUR" if money else None,
        "horizon": "30D",
        "adjust": ["device"],
        "method": "hazard",
    }
    return Result(
        name="micro_value", table=table, meaning="", parameters=given, plot_with=plot_micro_value,
        extra={"by_time": times, "strengths": strengths, **extra},
    )  # fmt: skip


def drawn(ax: Axes) -> Axes:
    figure = ax.get_figure()
    assert figure is not None
    figure.canvas.draw()
    return ax


def points(ax: Axes, label: str) -> list[float]:
    line = next(line for line in ax.lines if str(line.get_label()).startswith(label))
    return [float(x) for x in line.get_xdata()]


def test_the_three_columns_are_drawn_largest_effect_first() -> None:
    found = result()
    ax = drawn(plot_micro_value(found))
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["cart", "signup", "share", "checkout"]
    table = found.table.head(4)
    assert points(ax, "incremental")[:3] == pytest.approx(table["incremental_value"].tolist()[:3])
    assert points(ax, "naive") == pytest.approx(table["naive_value"].tolist())
    assert points(ax, "credited") == pytest.approx((table["credited_value"] / table["users"]).tolist())
    assert any("a step on the way" in text for text in words(ax))
    assert "(no micro)" not in names
    assert_legible(ax)


def test_the_truth_is_drawn_where_it_is_known() -> None:
    truth = pd.DataFrame({"micro": ["signup", "cart"], "incremental": [0.1, 0.2], "incremental_value": [7.0, 13.0]})
    ax = drawn(plot_micro_value(result(truth=truth)))
    assert points(ax, "truth")[:2] == [13.0, 7.0]
    assert_legible(ax)


def test_without_money_the_axis_shows_points() -> None:
    ax = drawn(plot_micro_value(result(money=False)))
    assert "points of probability" in ax.get_xlabel()
    assert not any(str(line.get_label()).startswith("credited") for line in ax.lines)
    assert_legible(ax)


@pytest.mark.parametrize("draw", [plot_micro_value, plot_value_by_time, plot_sensitivity])
@pytest.mark.parametrize("many", [2, 3, 12, 45])
def test_long_names_and_many_micros_stay_legible(draw: Any, many: int) -> None:
    ax = drawn(draw(result(tuple(f"{LONG}_{i}" for i in range(many)))))
    assert_legible(ax)


@pytest.mark.parametrize("draw", [plot_value_by_time, plot_sensitivity])
def test_nothing_to_draw_is_said(draw: Any) -> None:
    ax = drawn(draw(result(("checkout",))))
    assert any("nothing to" in text for text in words(ax))


def test_lines_end_where_the_table_says() -> None:
    found = result()
    ax = drawn(plot_value_by_time(found))
    ends = sorted(float(line.get_ydata()[-1]) for line in ax.lines if len(line.get_xdata()) == 4)
    assert ends == pytest.approx(sorted(100 * found.table["incremental"].head(3)))
    assert_legible(ax)


def test_what_is_left_beside_a_hidden_trait() -> None:
    found = result()
    ax = drawn(plot_sensitivity(found))
    line = next(line for line in ax.lines if len(line.get_xdata()) == 3)
    assert list(line.get_xdata()) == [1.0, 2.0, 5.0]
    assert list(line.get_ydata()) == pytest.approx([20.0, 15.0, 0.0])
    assert_legible(ax)
