"""What the logs of the attribution worlds say: coverage, error, ranks, and what a channel without effect is given."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.attribution_estimates import AMOUNTS, COEFFICIENT, RATES
from calibration.attribution_worlds import WORLDS
from calibration.coverage import BAND, MANY_LOGS, MOST_WITHOUT, coverage_table
from calibration.showing import LEFT, coverage_axis, label, point, rows

__all__ = [
    "MOST_MEAN_ERROR",
    "attribution_figure",
    "attribution_markdown",
    "attribution_table",
    "failing",
    "models_table",
    "null_table",
    "ranks_table",
]

# Of survival's shares of conversions and value, in logs of 2,000 users: its truth is the causes that were drawn.
MOST_MEAN_ERROR = 0.03
_KEYS = ["world", "quantity", "term"]
_COLUMNS = (
    "world quantity term truth logs without covered coverage cp_low cp_high mean_estimate bias mean_error mean_se"
    " spread claimed verdict"
).split()


def attribution_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """``coverage_table`` in the order of the worlds, and ``mean_error``: how far a log is from the truth on average."""
    table = coverage_table(estimates)
    error = (estimates["estimate"] - estimates["truth"]).abs().groupby([estimates[key] for key in _KEYS]).mean()
    table["mean_error"] = error.reindex(pd.MultiIndex.from_frame(table[_KEYS])).to_numpy().round(6)
    known = {key: number for number, key in enumerate(estimates[_KEYS].drop_duplicates().itertuples(index=False))}
    place = [known[tuple(row)] for row in table[_KEYS].to_numpy()]
    return table.iloc[np.argsort(place, kind="stable")][_COLUMNS].reset_index(drop=True)


def failing(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose claim does not hold: the coverage, or the error of survival's shares."""
    share = table["quantity"].isin([f"{amount}, survival" for amount in AMOUNTS])
    off = share & ~(table["mean_error"] < MOST_MEAN_ERROR)
    return table[(table["claimed"] != "no") & ((table["verdict"] != "holds") | off)]


def models_table(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each world, quantity and model: ``rows``, the least, the pooled and the largest ``coverage``, the
    largest ``bias`` (absolute) and ``mean_error`` in points, ``mean_se`` over ``spread``, and rows that fail.
    """
    wrong = set(failing(table).index)
    found = []
    for (world, quantity), group in table.groupby(["world", "quantity"], sort=False):
        amount, model = quantity.split(", ", 1)
        told = group[group["spread"] > 0]
        points = 1.0 if quantity == COEFFICIENT else 100.0
        found.append(
            {
                "world": world,
                "model": model,
                "of": amount if quantity == COEFFICIENT else f"share of {amount}",
                "rows": len(group),
                "least": group["coverage"].min(),
                "pooled": group["covered"].sum() / group["logs"].sum(),
                "most": group["coverage"].max(),
                "bias": points * group["bias"].abs().max(),
                "mean_error": points * group["mean_error"].max(),
                "se_over_spread": (told["mean_se"] / told["spread"]).median(),
                "failing": len(wrong & set(group.index)),
            }
        )
    return pd.DataFrame(found)


def null_table(table: pd.DataFrame) -> pd.DataFrame:
    """What each model gives the channel that does nothing: ``world, model``, mean and ``spread`` of its share."""
    found = []
    for world, made in WORLDS.items():
        mine = table[(table["world"] == world) & (table["term"] == made.null)]
        mine = mine[mine["quantity"].str.startswith("conversions, ")]
        for row in mine.to_dict("records"):
            model = row["quantity"].split(", ", 1)[1]
            found.append({"world": world, "model": model, "mean": row["mean_estimate"], "spread": row["spread"]})
    return pd.DataFrame(found)


def ranks_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """By world, model and channel its true ``rank``, and over the logs: the mean ``rank_stability``, the share of logs
    in which it has the true rank (``as_true``) and of pairs of logs that agree on its rank (``again``).
    """
    mine = estimates[estimates["rank"].notna()].copy()
    mine["model"] = mine["quantity"].str.removeprefix("conversions, ")
    found = []
    for (world, model), group in mine.groupby(["world", "model"], sort=False):
        true = group.drop_duplicates("term").set_index("term")["truth"].rank(ascending=False, method="min")
        for term, of in group.groupby("term", sort=False):
            counts = of["rank"].value_counts().to_numpy(dtype=float)
            logs = counts.sum()
            found.append(
                {
                    "world": world,
                    "model": model,
                    "term": term,
                    "rank": int(true[term]),
                    "logs": int(logs),
                    "rank_stability": of["rank_stability"].mean(),
                    "as_true": (of["rank"] == true[term]).mean(),
                    "again": (counts * (counts - 1)).sum() / (logs * (logs - 1)) if logs > 1 else math.nan,
                }
            )
    return pd.DataFrame(found).round(6)


def attribution_markdown(table: pd.DataFrame, ranks: pd.DataFrame) -> str:
    """``attribution_coverage.md`` from the rows of ``attribution_coverage.csv`` and ``attribution_ranks.csv``."""
    claimed, wrong = table[table["claimed"] != "no"], failing(table)
    logs = int((table["logs"] + table["without"]).max())
    result = "All of them hold." if wrong.empty else f"{len(wrong)} of them fail."
    band = f"{100 * BAND[0]:g} to {100 * BAND[1]:g} %"
    ours = table[table["quantity"].isin([f"{amount}, survival" for amount in AMOUNTS])]
    near = ranks.assign(gap=ranks["rank_stability"] - ranks["as_true"])
    unsure = near[near["as_true"] < 0.9]
    return f"""# Attribution: coverage and error

How often the 95 % intervals of `mc.attribution` hold the truth, and how far off it is, over {logs:,} simulated logs in
each of {len(WORLDS)} worlds. Made by `python tests/calibration/attribution_run.py --logs {logs}`; the numbers of every
channel: `attribution_coverage.csv`, of ranks: `attribution_ranks.csv`.

![Coverage by model, and what noise is given](attribution_coverage.png)

Rule: over {MANY_LOGS:,} logs or more the coverage lies in {band}; over fewer its 99.9 % interval (Clopper and
Pearson) meets {band}. A row fails, too, if more than {100 * MOST_WITHOUT:g} % of the logs give no interval, or if the
mean error of a share by survival is {100 * MOST_MEAN_ERROR:g} points or more. Of {len(claimed)} rows it is claimed.
{result} Largest mean error of survival's shares: {100 * ours["mean_error"].max():.1f} points.

{_worlds()}

- Truth: shares of all conversions (of all value) in the population, from a million users (`attribution_truth.json`).
  Of **survival** it is the share that each channel brings: the simulation draws what causes each conversion. **Every
  other model** has no truth but its own: what it gives the whole population.
- Where survival's part is 0 (a channel without effect), and of the baseline, which has the rest, at least 95 % is
  claimed: limits are cut at 0.
- `least`, `pooled`, `most`: coverage of the rows of a model (one for each channel, and for what is no channel).
  `se_over_spread`: half an interval over 1.96, over the standard deviation of the estimates over the logs; it should be
  1. `bias` and `mean_error`: the largest, in points of the share (coefficients: per day).

{_wide(models_table(table))}

## A channel that does nothing

Its true share of what was brought is 0. Means over the logs, in % of all conversions:

{_null(null_table(table))}

## Ranks

`rank_stability` resamples the users of one log. Over all {len(ranks)} channels and models its mean is
{ranks["rank_stability"].mean():.1%}; the rank is that of the population in {ranks["as_true"].mean():.1%} of the logs,
and two logs agree on it in {ranks["again"].mean():.1%} of pairs. Where the population's rank is seen in fewer than 90 %
of the logs ({len(unsure)} channels and models) it is {_means(unsure)}:
a rank that is hardly told apart looks steadier in one log than it is.

{rows(ranks[ranks["as_true"] < 0.9], list(ranks.columns)) if len(unsure) else ""}
"""


def _means(unsure: pd.DataFrame) -> str:
    if unsure.empty:
        return "nowhere so"
    of = [f"{unsure[name].mean():.0%}" for name in ("rank_stability", "as_true", "again")]
    return f"{of[0]} against {of[1]} and {of[2]}"


def _worlds() -> str:
    return "\n".join(f"- **{name}** ({made.users:,} users): {made.says}" for name, made in WORLDS.items())


def _wide(models: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(models.columns) + " |", "|---|---|---|" + "---:|" * (len(models.columns) - 3)]
    for row in models.to_dict("records"):
        cells = [row["world"], row["model"], row["of"], f"{row['rows']}"]
        cells += [f"{row[name]:.1%}" for name in ("least", "pooled", "most")]
        digits = 4 if row["of"] == "coefficient" else 2
        cells += [f"{row['bias']:.{digits}f}", f"{row['mean_error']:.{digits}f}", f"{row['se_over_spread']:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{row['failing']}"]) + " |")
    return "\n".join(lines)


def _null(given: pd.DataFrame) -> str:
    names = [f"{world} ({WORLDS[world].null})" for world in WORLDS]
    lines = ["| model | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    by = given.set_index(["model", "world"])
    for model in given["model"].drop_duplicates():
        cells = []
        for world in WORLDS:
            there = (model, world) in by.index
            cells.append("{mean:.1f} ± {spread:.1f}".format(**(100 * by.loc[(model, world)])) if there else "")
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def attribution_figure(table: pd.DataFrame, path: Path) -> None:
    """The coverage of every row by model, for each world, and what the channel without effect is given."""
    from matplotlib.figure import Figure

    from microconv.plots.style import INK, MUTED, styled

    shown = _drawn(table[table["quantity"] != COEFFICIENT])
    panels = list(shown["panel"].drop_duplicates())
    models = list(shown["model"].drop_duplicates())
    bottom = len(models) - 0.3
    top, foot = 1.25, 0.75
    height = top + foot + 0.36 * len(models)
    with styled():
        drawn = Figure(figsize=(11.5, height))
        axes = drawn.subplots(1, 2 * len(panels) + 1, sharey=True)
        drawn.subplots_adjust(left=0.15, right=0.985, top=1 - top / height, bottom=foot / height, wspace=0.10)
        for ax, (world, amount) in zip(axes[:-1], product(panels, AMOUNTS), strict=True):
            coverage_axis(ax, list(range(len(models))), bottom)
            ax.set_title(f"{world},\n{amount}", loc="left", fontsize=10, fontweight="bold", color=INK, pad=6)
            mine = shown[(shown["panel"] == world) & (shown["amount"] == amount)]
            for model, group in mine.groupby("model", sort=False):
                aside = np.linspace(-0.28, 0.28, len(group)) if len(group) > 1 else [0.0]
                for row, off in zip(group.to_dict("records"), aside, strict=True):
                    point(ax, row, models.index(model) + off)
        _noise(axes[-1], _drawn(null_table(table).assign(quantity=lambda rows: "share, " + rows["model"])), models)
        for y, model in enumerate(models):
            label(axes[0], y, model, color=INK, fontsize=8.5)
        logs = int((shown["logs"] + shown["without"]).max())
        drawn.text(0.012, 1 - 0.27 / height, "Attribution: how often 95 % intervals hold the truth", fontsize=13,
                   fontweight="bold", va="center", color=INK)  # fmt: skip
        said = (f"{logs:,} simulated logs per world; a dot for each channel; lines: 99.9 % interval of the coverage; "
                f"band: {100 * BAND[0]:g} to {100 * BAND[1]:g} %; green: at least 95 % claimed; arrows: below "
                f"{100 * LEFT:g} %")  # fmt: skip
        drawn.text(0.012, 1 - 0.54 / height, said, fontsize=9, va="center", color=MUTED)
        drawn.supxlabel("logs whose interval holds the truth, in %", fontsize=9.5, color=MUTED, x=0.48, y=0.2 / height)
        drawn.savefig(path, dpi=130, metadata={"Software": None})


def _drawn(table: pd.DataFrame) -> pd.DataFrame:
    """With ``amount``, ``model`` and ``panel``: a world that asks one model with more users stands in the panel of the
    world that it is like.
    """
    named = table["quantity"].str.split(", ", n=1)
    found = table.assign(amount=named.str[0], model=named.str[1], panel=table["world"].str.split(",").str[0])
    return found[(found["world"] == found["panel"]) | (found["model"] == RATES)]


def _noise(ax: Any, given: pd.DataFrame, models: list[str]) -> None:
    """What each model gives the channel that does nothing, with its spread over the logs."""
    from microconv.plots.style import GRID, INK, PALETTE

    ax.set_title("given to a channel that\ndoes nothing, in %", loc="left", fontsize=10, fontweight="bold", color=INK,
                 pad=6)  # fmt: skip
    ax.axvline(0, color="#9CC7AC", linewidth=1, zorder=1)
    for y in range(len(models)):
        ax.axhline(y, color=GRID, linewidth=0.6, zorder=0)
    panels = list(given["panel"].drop_duplicates())
    for world, mark, aside in zip(panels, ("o", "s"), (-0.13, 0.13), strict=True):
        for row in given[given["panel"] == world].to_dict("records"):
            y, mean, spread = models.index(row["model"]) + aside, 100 * row["mean"], 100 * row["spread"]
            shade = PALETTE[2] if row["model"] == "survival" else PALETTE[1]
            ax.plot([mean - spread, mean + spread], [y, y], color=shade, linewidth=1.1, alpha=0.65, zorder=2)
            ax.plot(mean, y, marker=mark, markersize=4.2, color=shade, zorder=3)
    said = ", ".join(f"{mark}: {world}" for mark, world in zip(("circles", "squares"), panels, strict=True))
    ax.set_xlabel(said, fontsize=8.5)
    ax.set_xlim(left=-2)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
