"""Rows as a table with the canonical columns of an event log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from microconv.simulate.model import Model, TraitModel
from microconv.simulate.people import Identities, identify, labels
from microconv.simulate.rows import PAGE_VIEW, SESSION_START, Rows, first_process
from microconv.simulate.world import World

__all__ = ["event_table"]

# Source, medium and campaign of the channels that a web shop has; another channel is its own source.
_CAMPAIGNS: dict[str, tuple[str | None, str | None, str | None]] = {
    "organic": ("google", "organic", None),
    "paid_search": ("google", "cpc", "brand_search"),
    "social": ("instagram", "paid_social", "spring_look"),
    "email": ("newsletter", "email", "weekly_news"),
    "direct": (None, None, None),
}
_PAGES = ("/", "/category", "/search", "/blog", "/product")
_PAGE_SHARES = (0.2, 0.25, 0.1, 0.1, 0.35)
_PRODUCT = len(_PAGES) - 1
_SAME_CHANNEL = 0.5  # how often a later visit comes by the channel of the first; else it is drawn anew


def event_table(
    world: World, model: Model, rows: Rows, codes: np.ndarray, consent: np.ndarray | None, rng: np.random.Generator
) -> tuple[pa.Table, Identities, np.ndarray]:
    """The table sorted by time, who its devices belong to, and which of its rows are page views."""
    identities, user_id, anonymous_id = identify(world, rows, len(codes), rng)
    names = world.process_names
    events = ["session_start", "page_view", "refund", *[_event(world, name) for name in names]]
    columns: dict[str, pa.Array] = {
        "user_id": user_id,
        "time": pa.array(rows.us, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "event": _texts(rows.kind, events),
        "session_id": pc.if_else(pa.array(rows.session >= 0), labels("s", rows.session), pa.scalar(None, pa.string())),
        "anonymous_id": anonymous_id,
    }
    if world.macro.value is not None:
        paid = pa.array(np.isfinite(rows.value))
        columns["value"] = pa.array(rows.value, from_pandas=True)
        columns["currency"] = pc.if_else(paid, pa.scalar(world.macro.value.currency), pa.scalar(None, pa.string()))
    for number, trait in enumerate(model.traits):
        if not trait.hidden:
            columns |= _trait(trait, codes[:, number], rows, identities, rng)
    if world.visits is not None:
        page, item = _pages_and_items(world, rows, world.visits.items, rng)
        columns["page"] = page
        columns["item"] = item
        columns["engagement_seconds"] = pa.array(np.round(rows.seconds, 1), from_pandas=True)
    columns |= _extra(world, rows, rng)
    if consent is not None:
        columns["consent"] = pa.array(consent[rows.user])
    order = np.argsort(rows.us, kind="stable")
    table = pa.table(columns).take(pa.array(order))
    table = table.add_column(3, "event_id", labels("e", np.arange(len(rows)), 7))
    return table, identities, rows.kind[order] == PAGE_VIEW


def _event(world: World, process: str) -> str:
    return next((micro.event_name for micro in world.micros if micro.name == process), process)


def _texts(codes: np.ndarray, values: Sequence[str | None]) -> pa.Array:
    """The value of each code as text; null for a code below 0."""
    indices = pa.array(codes, pa.int32(), mask=codes < 0)
    return pa.array(values, pa.string()).take(indices)


def _trait(
    trait: TraitModel, level: np.ndarray, rows: Rows, identities: Identities, rng: np.random.Generator
) -> dict[str, pa.Array]:
    if trait.column == "channel":
        return _channel(trait, level, rows, rng)
    if trait.column == "device":  # of the person's further devices, each has a type of its own
        others = np.searchsorted(np.cumsum(trait.shares), rng.random(len(identities.owner)), side="right")
        others = np.minimum(others, len(trait.levels) - 1)
        of_device = np.where(identities.first, level[identities.owner], others)
        return {"device": _texts(of_device[identities.device], trait.levels)}
    return {trait.column: _texts(level[rows.user], trait.levels)}


def _channel(trait: TraitModel, level: np.ndarray, rows: Rows, rng: np.random.Generator) -> dict[str, pa.Array]:
    """The channel of each session, on its session start: one touch a session."""
    touch = rows.kind == SESSION_START
    user = rows.user[touch]
    first = np.ones(len(user), dtype=bool)
    first[1:] = np.diff(user) != 0
    drawn = np.searchsorted(np.cumsum(trait.shares), rng.random(len(user)), side="right")
    same = first | (rng.random(len(user)) < _SAME_CHANNEL)
    code = np.full(len(rows), -1)
    code[touch] = np.where(same, level[user], np.minimum(drawn, len(trait.levels) - 1))
    named = [_CAMPAIGNS.get(name, (name, None, None)) for name in trait.levels]
    columns = {"channel": _texts(code, trait.levels)}
    for number, column in enumerate(("source", "medium", "campaign")):
        columns[column] = _texts(code, [parts[number] for parts in named])
    return columns


def _pages_and_items(world: World, rows: Rows, items: int, rng: np.random.Generator) -> tuple[pa.Array, pa.Array]:
    """Where each row happened, and its product: a cart takes the product last seen, a purchase the last cart's."""
    names = world.process_names
    own = {micro.name: micro.page for micro in world.micros}
    paths = [own.get(name) or "/" + name.replace("_", "-") for name in names]
    paths[names.index(world.macro.name)] = "/checkout"
    drawn = np.searchsorted(np.cumsum(_PAGE_SHARES), rng.random(len(rows)), side="right")
    popular = np.floor(rng.random(len(rows)) ** 2 * items).astype(np.int64)

    browsing = (rows.kind == PAGE_VIEW) & (rows.opener == PAGE_VIEW)
    what = np.where(rows.kind >= first_process, rows.kind, rows.opener) - first_process
    page = np.where(browsing, np.minimum(drawn, _PRODUCT), np.where(what >= 0, what + len(_PAGES), -1))
    page = np.where(rows.kind == SESSION_START, -1, page)

    carrying = [first_process + number for number, micro in enumerate(world.micros) if micro.carries_item]
    bought = rows.kind == first_process + names.index(world.macro.name)
    item = np.where(browsing & (page == _PRODUCT), popular, -1)
    carts = np.isin(rows.kind, carrying)
    item = np.where(carts, _last(item, rows.user, popular), item)
    if carrying:
        seen = _last(item, rows.user, popular)
        item = np.where(bought, _last(np.where(carts, item, -1), rows.user, seen), item)
    return _texts(page, [*_PAGES, *paths]), _texts(item, [f"sku-{number:03d}" for number in range(1, items + 1)])


def _last(item: np.ndarray, user: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The user's last item up to each row, else another."""
    at = np.maximum.accumulate(np.where(item >= 0, np.arange(len(item)), -1))
    known = (at >= 0) & (user[np.maximum(at, 0)] == user) if len(item) else np.zeros(0, dtype=bool)
    return np.where(known, item[np.maximum(at, 0)], otherwise) if len(item) else item


def _extra(world: World, rows: Rows, rng: np.random.Generator) -> dict[str, pa.Array]:
    """The columns that micros bring along, each value drawn from those given."""
    found: dict[str, np.ndarray] = {}
    for number, micro in enumerate(world.micros):
        mine = np.flatnonzero(rows.kind == first_process + number)
        for column, values in micro.columns.items():
            choices = np.array(values if isinstance(values, tuple) else (values,), dtype=float)
            picked = np.floor(rng.random(len(mine)) * len(choices)).astype(np.int64)
            found.setdefault(column, np.full(len(rows), np.nan))[mine] = choices[picked]
    return {column: pa.array(values, from_pandas=True) for column, values in found.items()}
