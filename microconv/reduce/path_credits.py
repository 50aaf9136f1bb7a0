"""What each rule gives to each channel, summed over the paths of conversions by group of users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from microconv.path_changes import uncounted
from microconv.reduce.money import CENTS

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.reduce.path_rules import PathRule

__all__ = ["credited_rows", "numbered", "rule_sums"]


def rule_sums(
    engine: Engine, rows: ir.Table, rules: Sequence[str], channels: Sequence[str], rule: PathRule
) -> pd.DataFrame:
    """``PathSums.credits`` of ``rules``; ``rows`` are touches in their order on paths."""
    if not rules:
        return pd.DataFrame({"bucket": pd.Series(dtype="int64"), "channel": pd.Series(dtype="int64")})
    shares = credited_rows(engine, rows, rules, channels, rule)
    sums = {}
    for name in rules:
        sums[name] = (shares[name] * shares.conversions).sum()
        sums[f"{name}_value"] = (shares[name] * shares.cents).sum()
    frame = engine.fetch(shares.group_by(["bucket", "channel"]).agg(**sums))
    money = {f"{name}_value": frame[f"{name}_value"] / CENTS for name in rules}
    return frame.assign(bucket=numbered(frame["bucket"]), **money)


def numbered(buckets: pd.Series) -> pd.Series:
    """Groups of users (``Engine.person_bucket``) as numbers."""
    if pd.api.types.is_integer_dtype(buckets):
        return buckets.astype("int64")
    return buckets.map(lambda text: int(str(text), 16)).astype("int64")


def credited_rows(
    engine: Engine, rows: ir.Table, rules: Sequence[str], channels: Sequence[str], rule: PathRule
) -> ir.Table:
    """The touches before conversions, with the share of its conversion that each rule gives to each."""
    order = [rows["at"], -rows.channel if rule.reverse else rows.channel]
    rows = engine.materialise(
        rows.mutate(
            place=ibis.row_number().over(ibis.window(group_by=[rows.who, rows.path], order_by=order)),
            size=rows.count().over(ibis.window(group_by=[rows.who, rows.path])),
        )
    )
    path = ibis.window(group_by=[rows.who, rows.path])
    same = ibis.window(group_by=[rows.who, rows.path, rows.channel], order_by=[rows["at"], rows.place])
    direct = [number + 1 for number, name in enumerate(channels) if {name, uncounted(name)} & {*rule.direct}]
    known = rows.channel.isin(direct) if direct else ibis.literal(False)
    # Ages are counted from the last touch on: of very old ones every weight would round to 0.
    age = rows.path - rows["at"]
    youngest = age.min().over(path)
    stepped = age // rule.half_life - youngest // rule.half_life
    rows = engine.materialise(
        rows.mutate(
            _again=ibis.row_number().over(same),
            _chosen=known.ifelse(ibis.null("int64"), rows.place).max().over(path),
            _smooth=((age - youngest).cast("float64") / -float(rule.half_life) * 0.6931471805599453).exp(),
            _stepped=ibis.literal(2.0).pow(-stepped.cast("float64")),
        )
    )
    path = ibis.window(group_by=[rows.who, rows.path])
    rows = engine.materialise(
        rows.mutate(
            _smooth=rows["_smooth"] / rows["_smooth"].sum().over(path),
            _stepped=rows["_stepped"] / rows["_stepped"].sum().over(path),
            _distinct=(rows["_again"] == 0).cast("int64").sum().over(path),
        )
    )
    found: dict[str, Callable[[], ir.Value]] = {
        "first": lambda: _where(rows.place == 0),
        "last": lambda: _where(rows.place == rows["size"] - 1),
        "last_non_direct": lambda: _where(rows.place == rows["_chosen"].fill_null(rows["size"] - 1)),
        "linear": lambda: 1.0 / rows["size"].cast("float64"),
        "linear_unique": lambda: _where(rows["_again"] == 0) / rows["_distinct"].cast("float64"),
        "position": lambda: _by_position(rows, rule.position),
        "time_decay": lambda: rows["_smooth"],
        "time_decay_steps": lambda: rows["_stepped"],
        "any_touch": lambda: _where(rows["_again"] == 0),
    }
    return rows.mutate(**{name: found[name]() for name in rules})


def _where(condition: ir.BooleanValue) -> ir.FloatingValue:
    return condition.ifelse(ibis.literal(1.0), ibis.literal(0.0))


def _by_position(rows: ir.Table, weights: tuple[float, float, float]) -> ir.FloatingValue:
    """First, last and those between; a path of one or two lacks some, and the others share in proportion."""
    first, middle, last = weights
    size = rows["size"].cast("float64")
    ends = first + last
    two = (first / ends, last / ends) if ends else (0.5, 0.5)
    between = middle / (size - 2)
    if not middle and not ends:
        return 1.0 / size
    return ibis.cases(
        (rows["size"] == 1, 1.0),
        ((rows["size"] == 2) & (rows.place == 0), two[0]),
        (rows["size"] == 2, two[1]),
        (rows.place == 0, first),
        (rows.place == rows["size"] - 1, last),
        else_=between,
    )
