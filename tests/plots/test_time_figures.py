"""Pictures of time to conversion beside its curves: every end stacked, entry cohorts on one axis of age."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figures import assert_legible, drawn, words
from matplotlib.axes import Axes

import microconv as mc
from microconv.conversion import TimeToConversion
from microconv.log import EventLog

HOSTILE = ["$x_1^2$ and $y", "<script>alert(1)</script>", "line\nbreak", "x" * 2_000, "日本語 🎉", "_under\\$"]


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    before = mpl.rcParams.copy()
    with mpl.rc_context({"backend": "agg"}), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")
    changed = {key for key in before if key != "backend" and before[key] != mpl.rcParams[key]}
    assert not changed


def world(share: float = 0.6, ends: tuple[str, ...] = ("purchase", "unsubscribe"), weeks: int = 4) -> EventLog:
    rng = np.random.default_rng(3)
    rows = []
    for i in range(400):
        day = rng.uniform(0, 7 * weeks)
        rows.append((f"u{i}", day, "visit", f"device {i % 3}"))
        if rng.random() < share:
            rows.append((f"u{i}", day + rng.exponential(5), ends[i % len(ends)], None))
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event", "device"])
    frame = frame[frame["day"] < 7 * weeks + 5]
    frame["time"] = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    return mc.read_events(frame, observed_until=pd.Timestamp("2026-01-05", tz="UTC") + pd.Timedelta(days=7 * weeks + 5))


def conversion(log: EventLog, *others: str, **options: Any) -> TimeToConversion:
    return mc.time_to_conversion(log, target="purchase", competing=list(others), **options)


def causes_drawn(result: TimeToConversion) -> Axes:
    ax = result.plot_causes()
    ax.get_figure().canvas.draw()
    return ax


CAUSES: dict[str, Any] = {
    "one group": lambda: conversion(world(), "unsubscribe", horizon="20D"),
    "one group without horizon": lambda: conversion(world(), "unsubscribe"),
    "segments": lambda: conversion(world(), "unsubscribe", horizon="20D", by="device"),
    "segments without horizon": lambda: conversion(world(), "unsubscribe", by="device"),
    "hardly anybody": lambda: conversion(world(0.04), "unsubscribe", horizon="20D"),
    "hardly anybody, by device": lambda: conversion(world(0.04), "unsubscribe", horizon="20D", by="device"),
    "no other end": lambda: conversion(world(), horizon="20D"),
    "hostile names": lambda: conversion(world(0.9, ("purchase", *HOSTILE)), *HOSTILE, horizon="20D"),
    "hostile names, by week": lambda: conversion(
        world(0.9, ("purchase", *HOSTILE)), *HOSTILE, horizon="5D", by="entry_week"
    ),
    "waits": lambda: conversion(world(), "unsubscribe", horizon="20D", repeat="each"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_every_stack_is_legible(name: str) -> None:
    assert_legible(causes_drawn(CAUSES[name]()))


def test_a_stack_writes_the_shares_of_its_table() -> None:
    result = CAUSES["one group"]()
    shown = words(causes_drawn(result))
    last = result.causes.groupby("cause")["probability"].last()
    for cause in ("purchase", "unsubscribe"):
        assert f"{cause}  {100 * last[cause]:.1f}%" in shown
    assert f"still open  {100 * (1 - last.sum()):.1f}%" in shown
    assert "Cumulative incidence of every end, stacked (Aalen-Johansen)" in shown


def test_bars_write_the_shares_at_the_horizon() -> None:
    result = CAUSES["segments"]()
    shown = words(causes_drawn(result))
    for probability in result.summary["probability"]:
        assert f"{100 * probability:.1f}%" in shown
    assert any("20 days after entry" in text for text in shown)


def test_an_axis_that_is_cut_says_so() -> None:
    ax = causes_drawn(CAUSES["hardly anybody"]())
    assert ax.get_ylim()[1] < 0.2
    assert any("the axis is cut at" in text for text in words(ax))


@pytest.mark.parametrize("by", [None, "device"])
def test_too_few_to_show_is_said(by: str | None) -> None:
    log = world()
    few = conversion(log.filter(users=[f"u{i}" for i in range(6)]), "unsubscribe", by=by, horizon="2D")
    ax = few.suppressed(10).plot_causes()  # type: ignore[attr-defined]
    assert any("nothing to draw" in text.replace("\n", " ") for text in words(ax))


COHORTS: dict[str, Any] = {
    "weeks": lambda: conversion(world(), by="entry_week"),
    "weeks to a horizon": lambda: conversion(world(), "unsubscribe", by="entry_week", horizon="10D"),
    "many days": lambda: conversion(world(), by="entry_day"),
    "months in a zone": lambda: conversion(world(weeks=12), by="entry_month", tz="Asia/Tokyo"),
    "one cohort": lambda: conversion(world(weeks=1).filter(end="2026-01-12"), by="entry_week"),
    "late cohorts": lambda: conversion(world(), by="entry_week", from_age="1D", horizon="10D"),
}


@pytest.mark.parametrize("name", COHORTS)
def test_cohorts_are_legible(name: str) -> None:
    assert_legible(drawn(COHORTS[name]()))


def test_each_cohort_ends_while_ten_are_at_risk() -> None:
    result = COHORTS["weeks"]()
    ax = drawn(result)
    dots = sorted(line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o")
    table = result.table
    ends = table[table["at_risk"] >= 10].groupby("entry_week")["time_days"].max()
    np.testing.assert_allclose(dots, sorted(ends))
    observed = result.summary.set_index("entry_week")["observed_days"]
    assert (observed > ends).all()  # a few are watched longer
    assert max(line.get_xdata()[-1] for line in ax.lines if line.get_drawstyle() == "steps-post") == max(ends)
    shown = words(ax)
    assert "Thin: fewer than 30 at risk; no line where fewer than 10 are." in shown
    for week in result.summary["entry_week"]:
        assert week in shown
    assert "compared up to here" in shown
    assert "Time to purchase, by entry week" in shown


def test_the_last_few_of_a_cohort_make_no_spike() -> None:
    """Of twelve in the young cohort one is watched longest, and converts: the share of the many is what is drawn."""
    rows = [(f"a{i}", i / 10, "visit") for i in range(60)] + [(f"b{i}", 8 + i / 10, "visit") for i in range(12)]
    rows += [(f"a{i}", i / 10 + 2, "purchase") for i in range(0, 60, 10)]
    rows += [("b0", 21.9, "purchase"), ("b1", 9.0, "purchase")]
    frame = pd.DataFrame(rows, columns=["user_id", "day", "event"])
    start = pd.Timestamp("2026-01-05", tz="UTC")
    frame["time"] = start + pd.to_timedelta(frame.pop("day"), unit="D")
    log = mc.read_events(frame, observed_until=start + pd.Timedelta(days=22))
    result = conversion(log, by="entry_week")
    assert result.table["probability"].max() == 1  # the only one of the young who was watched so long
    ax = drawn(result)
    assert ax.get_ylim()[1] < 0.2
    assert not any("100" in text for text in words(ax))


def test_a_cohort_that_never_had_ten_is_drawn_whole_and_said() -> None:
    result = conversion(world().filter(users=[f"u{i}" for i in range(16)]), by="entry_week")
    assert (result.summary["n"] < 10).all()
    ax = drawn(result)
    dots = sorted(line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dots, sorted(result.summary["observed_days"]))
    assert any("Smaller cohorts are drawn to their end." in text for text in words(ax))


def test_old_cohorts_are_pale_and_young_ones_dark() -> None:
    ax = drawn(COHORTS["weeks"]())
    dots = [line for line in ax.lines if line.get_marker() == "o"]  # drawn from old to young
    grey = [sum(mpl.colors.to_rgb(line.get_color())) for line in dots]
    assert grey == sorted(grey, reverse=True)
    assert len(set(grey)) == len(grey)


def test_more_cohorts_than_fit_are_said() -> None:
    result = COHORTS["many days"]()
    count = len(result.summary)
    assert any(f"The 12 youngest of {count} cohorts" in text for text in words(drawn(result)))


def test_curves_with_another_clock_name_it() -> None:
    log = world()
    assert drawn(conversion(log, landmark="1D")).get_xlabel() == "days since 1D after entry"
    assert drawn(conversion(log, repeat="each")).get_xlabel() == "days since entry or the conversion before"
    late = drawn(conversion(log, from_age="2D"))
    assert min(line.get_xdata()[0] for line in late.lines if line.get_linestyle() == "-") == pytest.approx(2)
    assert any("users still open at 2D" in text for text in words(late))
