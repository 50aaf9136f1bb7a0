"""Changes of paths before they are divided: runs as one touch, first touches only, channels left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine
    from microconv.reduce.path_rules import PathRule

__all__ = ["transformed"]


def transformed(
    engine: Engine, rows: ir.Table, channels: tuple[str, ...], rule: PathRule
) -> tuple[tuple[str, ...], ir.Table]:
    """The channels and the touches on paths after ``rule.transforms``, one after another."""
    for name, *takes in rule.transforms:
        numbers = [number + 1 for number, channel in enumerate(channels) if channel in takes]
        if name == "frequency":
            channels, rows = _frequency(engine, rows, channels, rule)
        else:
            rows = engine.materialise(_changed(rows, str(name), numbers, takes, rule))
    return channels, rows


def _order(rows: ir.Table, rule: PathRule) -> list[ir.Value]:
    return [rows["at"], -rows.channel if rule.reverse else rows.channel]


def _changed(rows: ir.Table, name: str, numbers: list[int], takes: list[str | int], rule: PathRule) -> ir.Table:
    columns = rows.columns
    path = [rows.who, rows.path]
    in_order = ibis.window(group_by=path, order_by=_order(rows, rule))
    backwards = ibis.window(group_by=path, order_by=[key.desc() for key in _order(rows, rule)])
    named = rows.channel.isin(numbers) if numbers else ibis.literal(False)
    if name == "exposure":
        kept = rows.mutate(_keep=(rows.channel.lag().over(in_order) != rows.channel).fill_null(True))
    elif name == "unique":
        same = ibis.window(group_by=[*path, rows.channel], order_by=_order(rows, rule))
        kept = rows.mutate(_keep=ibis.row_number().over(same) == 0)
    elif name == "first":
        kept = rows.mutate(_keep=ibis.row_number().over(in_order) == 0)
    elif name == "keep_last":
        kept = rows.mutate(_keep=ibis.row_number().over(backwards) < int(takes[0]))
    elif name == "drop":
        kept = rows.mutate(_keep=~named)
    else:  # drop_if_last: what another channel follows, and all where there is no other
        rows = rows.mutate(_other=(~named).cast("int64"), _place=ibis.row_number().over(in_order))
        path = [rows.who, rows.path]
        ahead = ibis.window(group_by=path, order_by=rows["_place"], rows=(0, None))
        whole = ibis.window(group_by=path)
        kept = rows.mutate(_keep=(rows["_other"].sum().over(ahead) > 0) | (rows["_other"].sum().over(whole) == 0))
    return kept.filter(kept["_keep"]).select(*columns)


def _frequency(
    engine: Engine, rows: ir.Table, channels: tuple[str, ...], rule: PathRule
) -> tuple[tuple[str, ...], ir.Table]:
    """One touch of each channel, named with how often it is on the path."""
    columns = rows.columns
    same = [rows.who, rows.path, rows.channel]
    rows = rows.mutate(
        _place=ibis.row_number().over(ibis.window(group_by=same, order_by=_order(rows, rule))),
        _times=rows.count().over(ibis.window(group_by=same)),
    )
    rows = engine.materialise(rows.filter(rows["_place"] == 0))
    found = engine.fetch(rows.select("channel", "_times").distinct())
    pairs = {
        (int(channel), int(times)): f"{channels[int(channel) - 1]}({int(times)})"
        for channel, times in zip(found["channel"], found["_times"], strict=True)
    }
    names = tuple(sorted(set(pairs.values())))
    table = ibis.memtable(
        {
            "_channel": [channel for channel, _ in pairs],
            "_many": [times for _, times in pairs],
            "_number": [names.index(name) + 1 for name in pairs.values()],
        }
    )
    joined = rows.join(table, [rows.channel == table["_channel"], rows["_times"] == table["_many"]])
    joined = joined.drop("channel").mutate(channel=joined["_number"].cast("int32"))
    return names, engine.materialise(joined.select(*columns))
