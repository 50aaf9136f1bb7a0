"""What the logs of the value worlds say, as tables and text: coverage and error of ours, and the formulas beside."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from calibration.coverage import BAND, MANY_LOGS, MOST_WITHOUT, coverage_table
from calibration.naive_formulas import FORMULAS
from calibration.showing import rows
from calibration.value_estimates import EFFECT, HIDDEN, METHODS, NUDGED, PLACEBO, RATIO, RECOGNISED, SHOWN, VALUE
from calibration.value_truth import MOST_ERROR, hidden_strength
from calibration.value_worlds import WORLDS

__all__ = ["MOST_MEAN_ERROR", "failing", "formulas_markdown", "formulas_table", "value_markdown", "value_table"]

MOST_MEAN_ERROR = 0.012  # of ``incremental`` where it is claimed, in worlds of 20,000 users
_KEYS = ["world", "quantity", "term"]
_COLUMNS = (
    "world quantity term truth logs without covered coverage cp_low cp_high mean_estimate bias mean_error mean_se"
    " spread claimed verdict"
).split()


def value_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """``coverage_table`` of what has an interval, in the order of the worlds, and ``mean_error``: how far off a log is
    on average (the mean of the absolute differences).
    """
    mine = estimates[~estimates["quantity"].isin(SHOWN)]
    table = coverage_table(mine)
    error = (mine["estimate"] - mine["truth"]).abs().groupby([mine[key] for key in _KEYS]).mean()
    table["mean_error"] = error.reindex(pd.MultiIndex.from_frame(table[_KEYS])).to_numpy().round(6)
    table["truth"] += 0.0  # no minus before zero
    return _in_order(table)[_COLUMNS]


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """By world as they are listed; the rest as it was."""
    return table.sort_values("world", key=lambda names: names.map(list(WORLDS).index), kind="stable").reset_index(
        drop=True
    )


def failing(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``value_table`` whose claim does not hold: the coverage, or the error of an effect."""
    off = table["quantity"].str.startswith(f"{EFFECT},") & ~(table["mean_error"] < MOST_MEAN_ERROR)
    return table[(table["claimed"] != "no") & ((table["verdict"] != "holds") | off)]


def formulas_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """By world, micro and formula or method: what is true (NaN where a correlation has no true size), and mean and
    ``spread`` (standard deviation) of what was said over the logs. Infinite where nobody converts without the micro.
    """
    ours = [f"{quantity}, {method}" for quantity in (EFFECT, VALUE) for method in METHODS]
    mine = estimates[estimates["quantity"].isin([*SHOWN, *ours])]
    found = []
    for (world, quantity, micro), group in mine.groupby(_KEYS, sort=False):
        said = group["estimate"].to_numpy(dtype=float)
        finite = bool(np.isfinite(said).all())
        found.append(
            {
                "world": world,
                "micro": micro,
                "quantity": quantity,
                "truth": group["truth"].iloc[0],
                "logs": len(said),
                "mean": said.mean(),
                "spread": said.std(ddof=1) if finite and len(said) > 1 else math.nan,
            }
        )
    return _in_order(pd.DataFrame(found)).round(6)


def value_markdown(table: pd.DataFrame) -> str:
    """``value_coverage.md`` from the rows of ``value_coverage.csv``."""
    claimed, beside = table[table["claimed"] != "no"], table[table["claimed"] == "no"]
    wrong, logs = failing(table), int((table["logs"] + table["without"]).max())
    result = "All of them hold." if wrong.empty else f"{len(wrong)} of them fail."
    effects = claimed[claimed["quantity"].str.startswith(f"{EFFECT},")]
    worst = effects.groupby("quantity")["mean_error"].max()
    band = f"{100 * BAND[0]:g} to {100 * BAND[1]:g} %"
    return f"""# What a micro is worth: coverage and error

How often the 95 % intervals of `mc.micro_value` hold the truth, and how far off it is, over {logs:,} simulated logs of
20,000 users in each of {len(WORLDS)} worlds. Made by `python tests/calibration/value_run.py --logs {logs}`; the
numbers: `value_coverage.csv`.

![Coverage and error by world](value_coverage.png)

Rule: over {MANY_LOGS:,} logs or more the coverage lies in {band}; over fewer its 99.9 % interval (Clopper and
Pearson) meets {band}. A row fails, too, if more than {100 * MOST_WITHOUT:g} % of the logs give no interval, or if the
mean error of an effect is {MOST_MEAN_ERROR:g} or more. Of {len(claimed)} rows it is claimed. {result} Largest mean
error of an effect that is claimed: {", ".join(f"{error:.4f} ({name})" for name, error in worst.items())}.

{_worlds()}

- Truth: `Truth.incremental`, a simulation of a million users of both courses of events, exact to less than
  {MOST_ERROR:g}; `value_truth.json`.
- **{EFFECT}**: the chance of a purchase within the horizon of the action, less the same had it never been done, among
  those who did it (points of probability). **{VALUE}**: the difference in expected revenue (money).
- **{NUDGED}**: within the horizon of entry, by the nudge as an instrument, with Anderson and
  Rubin's interval; the truth is a formula.
- **{PLACEBO}**: of a micro at random among each user's own visits, which can have none.
- **{HIDDEN}**: the interval of the ratio of chances, widened for a trait as strong as the
  planted one ({_strength()}); at least 95 % is claimed.
- **{RECOGNISED}**: 1 if it was said to be one. What it adds cannot be seen, so nothing is estimated.
- `mean_error`: the mean of the absolute differences from the truth. `mean_se` (half an interval over 1.96) should
  equal `spread` (the standard deviation of the estimates over the logs).
- The method `hazard` takes the pull of a micro to be the same at all times: where effects fade it is not claimed.
  `hazard, since` is the same with `since="auto"`: the time since the micro is told apart.
- Where the log hides what confounds, no method is claimed.

## Claimed

{rows(claimed, _COLUMNS)}

## Not claimed

{rows(beside, _COLUMNS) if len(beside) else ""}
"""


def _strength() -> str:
    """How strong the hidden traits are, in words."""
    said = []
    for name, made in WORLDS.items():
        if made.hides:
            with_micro, with_macro = hidden_strength(name)
            said.append(f"{with_micro:g}-fold with the micro, {with_macro:.1f}-fold with the purchase")
    return "; ".join(said)


def _worlds() -> str:
    lines = []
    for name, made in WORLDS.items():
        asked = f" Adjusted for {' and '.join(made.adjust)}." if made.adjust else ""
        lines.append(f"- **{name}** ({made.horizon_days:g} days): {made.says}{asked}")
    return "\n".join(lines)


def formulas_markdown(table: pd.DataFrame) -> str:
    """``value_formulas.md`` from the rows of ``value_formulas.csv``."""
    logs = int(table["logs"].max())
    names = {key: text for key, (text, _) in FORMULAS.items()}
    return f"""# What the formulas in common use say a micro is worth

Mean and standard deviation over {logs:,} simulated logs of 20,000 users, whose truth is known, beside the two methods
of `mc.micro_value`. Made by `python tests/calibration/value_run.py --logs {logs}`; the numbers: `value_formulas.csv`.

![Formulas and microconv beside the truth](value_formulas.png)

{_worlds()}

The formulas count who did the micro before converting and who converted, both within the horizon from entry, in which
everybody is observed. Where nobody converts without the micro a ratio is infinite.

## Money per user who did it

{_wide(table, ["naive_value", *_of(VALUE)], {"naive_value": names["naive_value"]}, 2)}

## Points of probability

{_wide(table, ["naive_lift", *_of(EFFECT)], {"naive_lift": names["naive_lift"]}, 3)}

## Ratios: 1 says that it does nothing

{_wide(table, ["odds_ratio", "lift", *_of(RATIO)], names, 2)}

## Correlation: 0 says that it does nothing

{_wide(table, ["phi"], names, 3)}
"""


def _of(quantity: str) -> list[str]:
    return [f"{quantity}, {method}" for method in METHODS]


def _wide(table: pd.DataFrame, quantities: list[str], names: dict[str, str], digits: int) -> str:
    mine = table[table["quantity"].isin(quantities)]
    heads = [names.get(quantity, f"microconv, {quantity.split(', ')[-1]}") for quantity in quantities]
    lines = ["| world | micro | truth | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) + 1)]
    for (world, micro), group in mine.groupby(["world", "micro"], sort=False):
        by = group.set_index("quantity")
        truth = by["truth"].iloc[0]
        cells = [_number(truth, digits)]
        for quantity in quantities:
            if quantity not in by.index:
                cells.append("structural")
                continue
            mean, spread = by.loc[quantity, ["mean", "spread"]]
            cells.append(_number(mean, digits) + (f" ± {spread:.{digits}f}" if np.isfinite(spread) else ""))
        lines.append(f"| {world} | {micro} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float, digits: int) -> str:
    """Without a minus before zero."""
    return (
        ""
        if math.isnan(value)
        else "infinite"
        if math.isinf(value)
        else f"{value + 0.0:.{digits}f}".replace(f"-{0:.{digits}f}", f"{0:.{digits}f}")
    )
