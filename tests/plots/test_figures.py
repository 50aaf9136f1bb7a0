"""Figures say what the tables say, legibly, whatever the names; they leave nothing behind."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figures import assert_legible, drawn, texts, words

from microconv.counts import RiskTable
from microconv.plots import plot_funnel, plot_quality, plot_time_to_conversion
from microconv.plots.survival import at_risk
from microconv.results import Result
from microconv.stats.proportions import wilson
from microconv.stats.survival import kaplan_meier

HOSTILE = [
    "$x_1^2$ and $y",
    "<script>alert(1)</script>",
    "line\nbreak\ttab\x07",
    "x" * 10_000,
    "日本語 🎉",
    'it\'s "quoted" -> DROP TABLE',
    "",
    "_under\\$",
]


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    before = mpl.rcParams.copy()
    with mpl.rc_context({"backend": "agg"}), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")
    changed = {key for key in before if key != "backend" and before[key] != mpl.rcParams[key]}
    assert not changed


def funnel(users: list[int], still: list[int], names: list[str] | None = None, **segment: str) -> pd.DataFrame:
    reached = np.array(users)
    steps, first = len(reached), np.full(len(reached), reached[0])
    before = np.array([reached[0], *reached[:-1]])
    low, high = wilson(reached, first)
    step_low, step_high = wilson(reached, before)
    return pd.DataFrame(
        {
            **segment,
            "step": range(1, steps + 1),
            "name": names or [f"step_{k}" for k in range(1, steps + 1)],
            "users": reached,
            "rate": np.divide(reached, first, out=np.full(steps, np.nan), where=first > 0),
            "ci_low": low,
            "ci_high": high,
            "step_rate": np.divide(reached, before, out=np.full(steps, np.nan), where=before > 0),
            "step_ci_low": step_low,
            "step_ci_high": step_high,
            "open": still,
            "censored_rate": np.minimum(1.0, np.divide(reached, first, out=np.zeros(steps), where=first > 0) * 1.1),
            "median_days": 0.5,
            "p90_days": 3.0,
        }
    )


def funnel_result(table: pd.DataFrame) -> Result:
    parameters = {"window": "7D", "order": "ordered", "confidence": 0.95}
    return Result("funnel", table, "", parameters=parameters, plot_with=plot_funnel)


def curves(labels: list[str], users: int = 300, days: float = 30.0, horizon: str | None = "30D") -> Result:
    rng = np.random.default_rng(4)
    frames = []
    for i, label in enumerate(labels):
        event = rng.exponential(days * (1 + 0.3 * i), users)
        event[rng.random(users) > 0.4] = np.inf
        stop = np.minimum(rng.uniform(0, 2 * days, users), days)
        frames.append(
            pd.DataFrame(
                {"device": label, "start": 0.0, "stop": np.minimum(event, stop), "cause": (event <= stop).astype(int)}
            )
        )
    by = ("device",) if len(labels) > 1 else ()
    counts = RiskTable.from_intervals(pd.concat(frames), "start", "stop", "cause", pattern_cols=by)
    curve = kaplan_meier(counts)
    table = curve.assign(probability=1 - curve["survival"], ci_low=1 - curve["ci_high"], ci_high=1 - curve["ci_low"])
    columns = [*by, "time_days", "probability", "ci_low", "ci_high", "at_risk", "events", "censored"]
    parameters = {"target": "purchase", "origin": "entry", "horizon": horizon, "confidence": 0.95}
    plot = plot_time_to_conversion
    return Result("time_to_conversion", table[columns], "", parameters=parameters, plot_with=plot)


def days_result(events: list[int], marks: list[str] | None = None) -> Result:
    days = pd.DataFrame({"day": pd.date_range("2026-01-05", periods=len(events)), "events": events})
    days["mark"] = marks or [""] * len(events)
    return Result("quality", pd.DataFrame(), "", extra={"days": days}, plot_with=plot_quality)


CASES = {
    "funnel": lambda: funnel_result(funnel([7000, 5210, 1620, 800, 431], [0, 210, 320, 300, 280])),
    "funnel of one step": lambda: funnel_result(funnel([10], [0])),
    "funnel of hostile names": lambda: funnel_result(
        funnel([90, 80, 70, 33, 20, 11, 1, 0], [0, 1, 2, 3, 4, 5, 6, 7], HOSTILE)
    ),
    "funnel of 50 steps": lambda: funnel_result(
        funnel(
            [int(1e6 * 0.9**k) for k in range(50)],
            [10 * k for k in range(50)],
            [f"a_rather_long_step_name_{k}" for k in range(50)],
        )
    ),
    "funnel of 3 segments": lambda: funnel_result(
        pd.concat([funnel([900 - 90 * k, 400, 90], [0, 20, 30], channel=name) for k, name in enumerate(HOSTILE[:3])])
    ),
    "funnel of 12 segments": lambda: funnel_result(
        pd.concat([funnel([900 - 9 * k, 400, 90], [0, 20, 30], channel=f"channel {k}") for k in range(12)])
    ),
    "curve": lambda: curves(["all"]),
    "curves of 3 segments": lambda: curves(["desktop", "mobile", "tablet"]),
    "curves of 12 segments": lambda: curves([f"segment number {k} of twelve" for k in range(12)]),
    "curves of hostile names": lambda: curves(HOSTILE[:6]),
    "curves within minutes": lambda: curves(["a", "b"], days=1 / 48, horizon="30min"),
    "curves within hours": lambda: curves(["a", "b"], days=0.5, horizon="12h"),
    "curve without horizon": lambda: curves(["all"], horizon=None),
    "days": lambda: days_result([500 + 10 * (k % 7) for k in range(120)]),
    "days with gaps": lambda: days_result([500, 0, 0, 500, 20, 500] * 5, ["", "none", "none", "", "low", ""] * 5),
    "two years": lambda: days_result([500 + k % 300 for k in range(730)]),
    "one day": lambda: days_result([7]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_figure_is_legible(name: str) -> None:
    assert_legible(drawn(CASES[name]()))


def test_a_funnel_writes_its_numbers() -> None:
    shown = words(drawn(CASES["funnel"]()))
    for number in ("7,000", "5,210", "74.4%", "23.1%", "31.1%", "431", "6.2%", "280"):
        assert number in shown
    assert "not yet, still open" in shown
    assert "95% interval" in shown
    assert "share of users who did step 1" in shown


def test_a_funnel_without_open_users_has_no_word_of_them() -> None:
    shown = words(drawn(funnel_result(funnel([100, 50], [0, 0]))))
    assert "not yet, still open" not in shown
    assert "rate with open users counted as open" not in shown


def test_hostile_names_stay_names() -> None:
    shown = words(drawn(CASES["funnel of hostile names"]()))
    assert r"\$x_1^2\$ and \$y  1" in shown  # an escaped dollar starts no formula
    assert "<script>alert(1)</script>  2" in shown
    assert "line break tab  3" in shown
    assert "(blank)  7" in shown
    assert all(len(text) < 120 for text in shown)


def test_more_segments_than_fit_are_named() -> None:
    assert "The 6 largest of 12 segments; the others are in the table." in words(
        drawn(CASES["funnel of 12 segments"]())
    )
    assert "The 8 largest of 12 segments; the others are in the table." in words(
        drawn(CASES["curves of 12 segments"]())
    )


@pytest.mark.parametrize("result", [
    funnel_result(funnel([0, 0], [0, 0])),
    funnel_result(funnel([5], [0]).head(0)),
    funnel_result(funnel([5, 3], [0, 1])).suppressed(10),
    Result("time_to_conversion", curves(["all"]).table.head(0), "", plot_with=plot_time_to_conversion),
    curves(["all"], users=8).suppressed(10),
    days_result([]),
])  # fmt: skip
def test_nothing_to_draw_is_said(result: Result) -> None:
    ax = drawn(result)
    assert any("nothing to draw" in text.replace("\n", " ") for text in words(ax))
    assert not ax.lines


def test_small_cells_are_left_out_of_a_picture() -> None:
    table = pd.concat([funnel([900, 400], [0, 2], channel="large"), funnel([9, 4], [0, 2], channel="small")])
    shown = words(drawn(funnel_result(table).suppressed(10)))
    assert "large (900)" in shown
    assert not any("small (" in text for text in shown)
    assert "1 of 2 segments are too small to be shown." in shown


@pytest.mark.parametrize(
    ("name", "unit"),
    [("curve", "days"), ("curves within hours", "hours"), ("curves within minutes", "minutes")],
)
def test_the_time_axis_names_its_unit(name: str, unit: str) -> None:
    assert drawn(CASES[name]()).get_xlabel() == f"{unit} since entry"


def test_numbers_at_risk_stand_under_their_ticks() -> None:
    result = curves(["desktop", "mobile", "tablet"])
    ax = drawn(result)
    renderer = ax.get_figure().canvas.get_renderer()
    ticks = ax.get_xticks()
    assert len(ticks) >= 4
    rows = {}
    for label, part in result.table.groupby("device", sort=False):
        numbers = [f"{number:,.0f}" for number in at_risk(part, list(ticks))]
        left = next(t for t in texts(ax) if t.get_text() == label and t.get_ha() == "right")
        y = left.get_window_extent(renderer).y0
        rows[label] = y
        row = [t for t in texts(ax) if t.get_ha() == "center" and abs(t.get_window_extent(renderer).y0 - y) < 3]
        row.sort(key=lambda text: text.get_window_extent(renderer).x0)
        assert [text.get_text() for text in row] == numbers
        for text, tick in zip(row, ticks, strict=True):
            box = text.get_window_extent(renderer)
            assert abs((box.x0 + box.x1) / 2 - ax.transData.transform((tick, 0))[0]) < 2
    assert list(rows.values()) == sorted(rows.values(), reverse=True)


def test_at_risk_counts_who_is_there_just_before() -> None:
    part = pd.DataFrame({"time_days": [0.0, 1.0, 2.0], "at_risk": [10.0, 10.0, 4.0]})
    assert at_risk(part, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]) == [10.0, 10.0, 10.0, 4.0, 4.0, 0.0]


def test_curves_rise_in_steps_through_the_table() -> None:
    result = curves(["all"])
    line = drawn(result).lines[0]
    assert line.get_drawstyle() == "steps-post"
    x, y = line.get_data()
    assert (np.diff(np.asarray(y)) >= 0).all()
    np.testing.assert_allclose(np.asarray(y)[1:], result.table["probability"])
    np.testing.assert_allclose(np.asarray(x)[1:], result.table["time_days"])


def test_long_tables_are_thinned_but_end_where_they_end() -> None:
    table = curves(["all"]).table
    times = np.sort(np.random.default_rng(0).uniform(0, 30, 100_000))
    long = pd.DataFrame({"time_days": times, "probability": times / 60, "ci_low": times / 61, "ci_high": times / 59,
                         "at_risk": np.arange(100_000, 0, -1.0), "events": 1.0, "censored": 0.0})  # fmt: skip
    result = Result("t", long[table.columns], "", parameters={"horizon": "30D"}, plot_with=plot_time_to_conversion)
    x, y = drawn(result).lines[0].get_data()
    assert len(x) < 5_000
    assert (x[-1], y[-1]) == (times[-1], times[-1] / 60)


def test_given_axes_are_drawn_on_and_no_figure_is_made() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(16, 5))
    assert CASES["funnel"]().plot(left) is left
    assert CASES["curves of 3 segments"]().plot(right) is right
    assert plt.get_fignums() == [figure.number]


def test_saving_leaves_no_figure_open(tmp_path: Any) -> None:
    CASES["curve"]().save(tmp_path)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == []
