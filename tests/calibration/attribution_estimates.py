"""What ``mc.attribution`` says of one simulated log, by every model, beside what is true of the whole population."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

if not __package__:  # as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from touch_worlds import FOUR, simulated

import microconv as mc
from calibration.attribution_worlds import WORLDS
from calibration.coverage import as_frame
from calibration.estimates import Estimate
from calibration.logs import strictly

__all__ = ["AMOUNTS", "COEFFICIENT", "RATES", "answers", "estimates_of", "planted", "shares", "truth"]

AMOUNTS = ("conversions", "value")
COEFFICIENT = "coefficient, survival"
RATES = "shapley (rates)"
_NOTHING = 1e-4  # but for touches and purchases in the same microsecond
_BASELINE, _UNATTRIBUTED = "(baseline)", "(unattributed)"
_FILE = Path(__file__).resolve().parent / "attribution_truth.json"
_LOGS, _USERS, _SEED = 10, 100_000, 900_000_000


def answers(name: str, users: int, seed: int, replicates: int = 1_000) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The table of every model of a world on one log, and the coefficients of survival."""
    made = WORLDS[name]
    log = made.read(users, seed)
    found = mc.attribution(log, model=made.models, replicates=replicates, **made.options)
    tables = [found.table]
    if made.rates:
        rates = mc.attribution(log, model="shapley", game="rate", replicates=replicates, **made.options)
        tables.append(rates.table.assign(model=RATES))
    return pd.concat(tables, ignore_index=True), found.extra.get("survival")


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """What each row is of all conversions and of all value: ``model, channel, conversions, value``."""
    totals = table.groupby("model")[list(AMOUNTS)].transform("sum")
    return table[["model", "channel"]].join(table[list(AMOUNTS)] / totals)


def estimates_of(name: str, seed: int, users: int) -> pd.DataFrame:
    """The rows of one log: the fields of ``Estimate``, ``rank`` and ``rank_stability`` (of conversions)."""
    with strictly():
        table, coefficients = answers(name, users, seed)
    found = list(_parts(name, table))
    keys = zip("conversions, " + table["model"], table["channel"], strict=True)
    of = dict(zip(keys, table[["rank", "rank_stability"]].to_numpy().tolist(), strict=True))
    if coefficients is not None:
        for row, coef in zip(coefficients.to_dict("records"), FOUR.coef, strict=True):
            given = (float(row[key]) for key in ("coef", "ci_low", "ci_high"))
            found.append(Estimate(COEFFICIENT, row["channel"], _claim("survival", coef), "identity", coef, *given))
    ranks = [of.get((one.quantity, one.term), [math.nan, math.nan]) for one in found]
    return as_frame(name, seed, found).join(pd.DataFrame(ranks, columns=["rank", "rank_stability"]))


def _parts(name: str, table: pd.DataFrame) -> Iterator[Estimate]:
    totals = table.groupby("model")[list(AMOUNTS)].sum()
    for row in table.to_dict("records"):
        model, channel = row["model"], row["channel"]
        for amount, prefix in zip(AMOUNTS, ("", "value_"), strict=True):
            true = truth(name).loc[(model, channel), amount]
            if true < _NOTHING and channel == _UNATTRIBUTED:  # nobody converts without a touch
                continue
            said = (row[amount], row[f"{prefix}ci_low"], row[f"{prefix}ci_high"])
            scaled = (float(number) / float(totals.loc[model, amount]) for number in said)
            claim = _claim(model, true) if channel != _BASELINE else "at least"
            yield Estimate(f"{amount}, {model}", channel, claim, "identity", float(true), *scaled)


def _claim(model: str, true: float) -> str:
    """Where survival's part lies at its bound, limits are too wide rather than too narrow (and with them those of the
    baseline, which has the rest).
    """
    return "at least" if model == "survival" and true == 0 else "yes"


@cache
def truth(name: str) -> pd.DataFrame:
    """By model and channel (index) the share of all conversions and of all value; of survival what was planted."""
    rows = json.loads(_FILE.read_text(encoding="utf-8"))[name]
    return pd.DataFrame(rows, columns=["model", "channel", *AMOUNTS]).set_index(["model", "channel"])


def planted(users: int, seed: int) -> pd.Series:
    """The share of conversions that each channel, and the baseline, brings."""
    drawn = simulated(FOUR, users, seed).truth()
    return drawn / drawn.sum()


def compute_truth(name: str, logs: int = _LOGS, users: int = _USERS) -> pd.DataFrame:
    """The mean over large logs of what each model says; of survival the causes that the simulation drew."""
    found = pd.concat([shares(answers(name, users, _SEED + number, 100)[0]) for number in range(logs)])
    table = found.groupby(["model", "channel"], sort=False)[list(AMOUNTS)].mean()
    if WORLDS[name].caused:
        brought = sum(planted(users, _SEED + number) for number in range(logs)) / logs
        for amount in AMOUNTS:  # what a purchase is worth does not depend on what brought it
            table.loc["survival", amount] = brought.reindex(table.loc["survival"].index, fill_value=0.0).to_numpy()
    return table.reset_index()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write ``attribution_truth.json``: python tests/calibration/attribution_estimates.py [WORLD ...]"""
    names = list(arguments if arguments is not None else sys.argv[1:]) or list(WORLDS)
    found = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.exists() else {}
    for name in names:
        found[name] = compute_truth(name).round(6).to_numpy().tolist()
    worlds = [(name, ",\n  ".join(map(json.dumps, found[name]))) for name in WORLDS if name in found]
    lines = [f" {json.dumps(name)}: [\n  {rows}\n ]" for name, rows in worlds]
    _FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
