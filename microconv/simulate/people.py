"""Who a row says it is from: devices, anonymous ids and known ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from microconv.simulate.rows import Rows, first_process
from microconv.simulate.world import World

__all__ = ["Identities", "identify", "labels"]

_MOST_DEVICES = 4


@dataclass(frozen=True, eq=False)
class Identities:
    """``device``: the number of each row's device over all people; ``owner``: the person of each device."""

    device: np.ndarray
    owner: np.ndarray
    first: np.ndarray  # whether a device is its person's first

    def frame(self) -> pd.DataFrame:
        """Which anonymous id belongs to which person."""
        ids = {"anonymous_id": labels("a", np.arange(len(self.owner))), "user_id": labels("u", self.owner)}
        return pa.table(ids).to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)


def labels(letter: str, numbers: np.ndarray, width: int = 6) -> pa.Array:
    """Ids such as ``u000042``."""
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width, "0")
    return pc.binary_join_element_wise(pa.scalar(letter), digits, pa.scalar(""))


def identify(world: World, rows: Rows, users: int, rng: np.random.Generator) -> tuple[Identities, pa.Array, pa.Array]:
    """The devices, and the ``user_id`` and ``anonymous_id`` of each row."""
    counts = 1 + np.minimum(rng.poisson(world.identity.extra_devices, users), _MOST_DEVICES - 1)
    offset = np.cumsum(counts) - counts
    sessions = int(rows.session.max(initial=-1)) + 1
    session_user = np.zeros(sessions, dtype=np.int64)
    within = rows.session >= 0
    session_user[rows.session[within]] = rows.user[within]
    later = np.zeros(sessions, dtype=bool)
    later[1:] = np.diff(session_user) == 0
    chosen = np.where(later, np.floor(rng.random(sessions) * counts[session_user]).astype(np.int64), 0)
    number = np.zeros(len(rows), dtype=np.int64)
    number[within] = chosen[rows.session[within]]
    device = offset[rows.user] + number
    owner = np.repeat(np.arange(users), counts)
    first = np.zeros(len(owner), dtype=bool)
    first[offset] = True
    anonymous = labels("a", device)
    user_id = labels("u", rows.user)
    if world.identity.user_id != "person":
        known = _known(world, rows, device, len(owner))
        otherwise = anonymous if world.identity.user_id == "tracked" else pa.nulls(len(rows), pa.string())
        user_id = pc.if_else(pa.array(known), user_id, otherwise)
    return Identities(device, owner, first), user_id, anonymous


def _known(world: World, rows: Rows, device: np.ndarray, devices: int) -> np.ndarray:
    """Rows from the event on that made the person known on that device."""
    names = world.process_names
    revealing = [first_process + names.index(name) for name in world.identity.known_by]
    since = np.full(devices, np.iinfo(np.int64).max)
    reveals = np.isin(rows.kind, revealing)
    np.minimum.at(since, device[reveals], rows.us[reveals])
    return rows.us >= since[device]
