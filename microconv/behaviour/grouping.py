"""Users told apart by what they had done by the landmark: by rules, by RFM scores, or by clusters of patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from microconv.behaviour.asking import OTHERS, Asked, describe
from microconv.errors import ParameterError
from microconv.reduce.behaviour import LEVELS, Known, grouped, patterns, scores, with_group
from microconv.stats.clustering import Clusters, cluster_patterns

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.log import EventLog

__all__ = ["Grouped", "by_clusters", "by_rfm", "by_rules"]

LEAST_SHARE = 0.01  # a micro that hardly anybody did, or hardly anybody did not, forms no clusters
MOST_PATTERNS = 20_000
_SETS_APART = 0.15  # by so much must the share who did a micro differ to name a cluster by it
RFM_PARTS = 3
# By recency (1: long ago) and by how much is done and paid (1: little), the higher of the two scores.
_RFM_NAMES = {
    (3, 3): "champions",
    (2, 3): "loyal",
    (1, 3): "big and slipping away",
    (3, 2): "promising",
    (2, 2): "middling",
    (1, 2): "slipping away",
    (3, 1): "new or light",
    (2, 1): "light",
    (1, 1): "lost",
}


@dataclass(frozen=True, eq=False)
class Grouped:
    """``users`` with ``_group``, a place in ``names``; ``definitions`` says what each is."""

    users: ir.Table
    names: list[str]
    definitions: list[str]
    clusters: Clusters | None = None
    unused: tuple[str, ...] = ()  # micros that formed no clusters
    notes: tuple[str, ...] = field(default=())


def by_rules(log: EventLog, known: Known, asked: Asked) -> Grouped:
    """The first group that a user fits, else the others."""
    users = grouped(log, known, asked.groups, len(asked.micros))
    names = [*[group.name for group in asked.groups], OTHERS]
    return Grouped(users, names, [*[describe(group) for group in asked.groups], "none of these"])


def by_rfm(log: EventLog, known: Known, money: bool) -> Grouped:
    """Thirds by recency (last event), frequency (days with an event) and money paid, each up to the landmark."""
    measures = {"_r": ("seen_ago", False), "_f": ("days", True)}
    if money:
        measures["_m"] = ("cents", True)
    table = known.table.mutate(seen_ago=known.table.mark - known.table.seen)
    scored = scores(Known(table, known.items), measures, RFM_PARTS)
    much = scored["_f"]
    if money:
        much = (scored["_m"] > much).ifelse(scored["_m"], much)
    cells = list(_RFM_NAMES)
    number = ((3 - much) * 3 + (3 - scored["_r"])).cast("int64")
    users = log.engine.materialise(scored.mutate(_group=number))
    when = {3: "last event among the most recent third", 2: "in the middle third", 1: "among the longest ago third"}
    what = "days with an event" + (" or money paid" if money else "")
    size = {3: "in the top third", 2: "in the middle third", 1: "in the lowest third"}
    said = [f"{when[recent]}; {what} {size[many]}" for recent, many in cells]
    return Grouped(users, [_RFM_NAMES[cell] for cell in cells], said)


def by_clusters(log: EventLog, known: Known, asked: Asked, clusters: int | None, seed: int) -> Grouped:
    """Groups of alike patterns of how often each micro was done."""
    every = list(range(len(asked.micros)))
    cuts: Sequence[int] = LEVELS
    counted = patterns(log, known, every, cuts)
    if len(counted) > MOST_PATTERNS:
        cuts = (1,)
        counted = patterns(log, known, every, cuts)
    used = _useful(counted, every)
    unused = tuple(asked.micros[i].name for i in every if i not in used)
    if not used:
        raise ParameterError(
            "No micro tells users apart at the landmark: each was done by under 1 % of them, or by nearly all. Choose "
            "a later landmark."
        )
    keys = [f"l_{i}" for i in used]
    counted = counted.groupby(keys, sort=True)["users"].sum().reset_index()
    if len(counted) > MOST_PATTERNS:
        raise ParameterError(
            f"The micros were done in {len(counted):,} different combinations, over {MOST_PATTERNS:,}. Name fewer "
            "micros in the plan."
        )
    found = cluster_patterns(counted[keys].to_numpy(), counted["users"].to_numpy(), clusters=clusters, seed=seed)
    users = with_group(log, known, used, cuts, counted.assign(_group=found.label))
    names, said = _named(counted, found, [asked.micros[i].name for i in used])
    notes = () if len(cuts) > 1 else ("Only whether a micro was done counts, not how often: there are many patterns.",)
    return Grouped(users, names, said, found, unused, notes)


def _useful(counted: pd.DataFrame, micros: Sequence[int]) -> list[int]:
    users = counted["users"].to_numpy()
    least = LEAST_SHARE * users.sum()
    useful = []
    for i in micros:
        sizes = np.bincount(counted[f"l_{i}"], users)
        if users.sum() - sizes.max() >= least:
            useful.append(i)
    return useful


def _named(counted: pd.DataFrame, found: Clusters, micros: Sequence[str]) -> tuple[list[str], list[str]]:
    """Each cluster by the micros that its users did more often than the others; no tests: the micros formed it."""
    users = counted["users"].to_numpy(float)
    levels = counted.drop(columns="users").to_numpy()
    names, said = [], []
    for k in range(found.many):
        mine = found.label == k
        if mine.all():
            return ["all users"], ["no number of clusters came back in other samples and told more than chance"]
        inside = users[mine] @ (levels[mine] > 0) / users[mine].sum()
        outside = users[~mine] @ (levels[~mine] > 0) / users[~mine].sum()
        often = users[mine] @ levels[mine] / users[mine].sum() - users[~mine] @ levels[~mine] / users[~mine].sum()
        gap = inside - outside
        ranked = np.argsort(-gap, kind="stable")
        above = [i for i in ranked if gap[i] >= _SETS_APART][:3]
        below = [i for i in ranked[::-1] if gap[i] <= -_SETS_APART][:3]
        if above:
            name = " + ".join(micros[i] for i in above)
        elif often.max() > 0.3:
            name = f"{micros[int(often.argmax())]}, often"
        elif below:
            name = f"little done, no {micros[below[0]]}"
        else:
            name = "like all others"
        told = [f"{micros[i]} {inside[i]:.0%} (others {outside[i]:.0%})" for i in [*above, *below]]
        names.append(name if name not in names else f"{name} ({k + 1})")
        said.append("; ".join(told) or "no micro sets it apart by 15 points or more")
    return names, said
