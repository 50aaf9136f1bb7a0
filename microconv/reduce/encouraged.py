"""An experiment that nudged users towards a micro: by arm, who did it, who converted, and what they paid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pandas as pd

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.reduce.entrants import People

__all__ = ["encouraged_counts"]


def encouraged_counts(
    people: People, variant: str, micro: int, horizon: int, paid: ir.Table | None = None
) -> pd.DataFrame:
    """Counts by ``arm``, ``did`` (the micro within ``horizon`` half microseconds of entry, before the end of the
    journey) and ``converted`` (the macro within the horizon): ``users, cents, cents_squared``.

    ``people`` must be observed for the whole horizon. ``variant`` is one of their attributes; ``paid`` has ``user_id``
    and ``cents`` for who paid anything.
    """
    users = people.table
    until = ibis.least(users.stop, ibis.literal(horizon, "int64"))
    done = users[f"done_{micro}"]
    rows = users.select(
        "user_id",
        "cell",
        did=(done.notnull() & (done < until)).fill_null(False).cast("int64"),
        converted=((users.cause == 1) & (users.stop <= horizon)).cast("int64"),
    )
    if paid is not None:
        money = paid.select(_user=paid.user_id, cents=paid.cents.cast("float64"))
        rows = rows.left_join(money, rows.user_id == money["_user"]).drop("_user")
    else:
        rows = rows.mutate(cents=ibis.literal(0.0))
    spent = (rows.converted == 1).ifelse(rows.cents.fill_null(0.0), 0.0)
    rows = rows.mutate(cents=spent)
    counted = rows.group_by(["cell", "did", "converted"]).agg(
        users=rows.count(), cents=rows.cents.sum(), cents_squared=(rows.cents * rows.cents).sum()
    )
    frame = people.engine.fetch(counted)
    frame["arm"] = people.cells[variant].reindex(frame["cell"]).to_numpy()
    keys = ["arm", "did", "converted"]
    return frame.groupby(keys, sort=True)[["users", "cents", "cents_squared"]].sum().reset_index()
