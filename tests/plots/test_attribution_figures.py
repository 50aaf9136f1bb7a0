"""What the figures of attribution show: each number of the table, rows that are no channel, silence as words."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figures import assert_legible
from figures import words as texts
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from microconv.plots import plot_attribution, plot_channel_flow, plot_transitions
from microconv.results import Result

mpl.use("Agg")

LONG = "a_channel_with_a_name_that_nobody_would_like_to_read_in_a_picture_$x^2"
NAMES = ("organic", "email", "social")


def steps(names: tuple[str, ...]) -> pd.DataFrame:
    """Every step between channels, 10 paths each; twice as many convert, 30 times as many do not."""
    rows = [("(start)", name, 100.0) for name in names]
    for name in names:
        rows += [(name, other, 10.0) for other in names]
        rows += [(name, "(conversion)", 20.0), (name, "(null)", 300.0)]
    return pd.DataFrame(rows, columns=["source", "target", "paths"])


def result(names: tuple[str, ...] = NAMES, models: tuple[str, ...] = ("last", "markov", "survival")) -> Result:
    rows = []
    for i, model in enumerate(models):
        for j, name in enumerate(names):
            credit = 100.0 * (j + 1) + 10 * i
            rows.append((name, model, credit, credit - 5, credit + 5))
        rows.append(("(unattributed)", model, 7.0, 5.0, 9.0))
    if "survival" in models:
        rows.append(("(baseline)", "survival", 50.0, 40.0, 60.0))
    table = pd.DataFrame(rows, columns=["channel", "model", "conversions", "ci_low", "ci_high"])
    extra = {"transitions": steps(names)}
    return Result("attribution", table, "", parameters={"target": "purchase", "lookback": "30D"}, extra=extra)


def words(ax: Axes) -> str:
    return "\n".join(texts(ax))


def legible(ax: Axes) -> Axes:
    ax.get_figure().canvas.draw()  # type: ignore[union-attr]
    assert_legible(ax)
    return ax


def test_every_number_is_drawn_with_its_interval() -> None:
    ax = legible(plot_attribution(result()))
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "social", "email", "organic", "(unattributed)", "(baseline)",
    ]  # fmt: skip
    points = {line.get_label(): line.get_xdata() for line in ax.get_lines() if line.get_label() in ("last", "markov")}
    assert np.asarray(points["last"])[:4].tolist() == [300, 200, 100, 7]
    assert np.asarray(points["markov"])[:4].tolist() == [310, 210, 110, 7]
    limits = [line for one in ax.collections if isinstance(one, LineCollection) for line in one.get_segments()]
    assert {tuple(segment[:, 0]) for segment in limits if len(segment)} >= {(295.0, 305.0), (40.0, 60.0), (5.0, 9.0)}
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert bands[:3] == [(300, 320), (200, 220), (100, 120)]
    assert ax.get_xlim()[0] == 0


def test_one_model_has_no_band_and_negative_parts_are_in_sight() -> None:
    assert not plot_attribution(result(models=("last",))).patches
    given = result(models=("shapley",))
    given.table.loc[0, ["conversions", "ci_low", "ci_high"]] = [-30.0, -40.0, -20.0]
    assert legible(plot_attribution(given)).get_xlim()[0] < -30


def test_names_and_numbers_of_channels_do_not_break_a_figure() -> None:
    many = tuple(f"{LONG}_{i}" for i in range(40))
    for draw in (plot_attribution, plot_transitions, plot_channel_flow):
        ax = legible(draw(result(many)))
        assert "more channels" in words(ax) or "of 40 channels" in words(ax)


def test_the_heat_map_holds_the_share_of_every_step() -> None:
    ax = legible(plot_transitions(result()))
    shares = np.asarray(ax.images[0].get_array())
    assert shares.shape == (4, 5)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert shares[1:, 3] == pytest.approx(20 / 350)
    assert texts(ax).count("6%") == 3


def test_the_flow_names_every_channel_and_both_ends() -> None:
    text = words(legible(plot_channel_flow(result())))
    for said in ("organic  130", "email  130", "social  130", "converted\n60 paths", "no conversion\n900 paths"):
        assert said in text
    assert "first touch\n300 paths" in text


@pytest.mark.parametrize("draw", [plot_transitions, plot_channel_flow])
def test_without_a_chain_the_figure_says_so(draw: object) -> None:
    given = result()
    empty = Result("attribution", given.table, "", parameters=given.parameters)
    assert "No chain was asked for" in words(draw(empty))  # type: ignore[operator]


def test_no_channel_at_all() -> None:
    empty = result()
    assert "no channel to show" in words(plot_attribution(Result("attribution", empty.table.head(0), "")))
