"""The chain of touches: from counts of transitions to what is lost when a channel is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.path_sums import CONVERSION, NULL, START

__all__ = ["Chain"]

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

ORDERS = (1, 2, 3)
# Up to here every replicate is solved; beyond, replicates are linear in the weights, which differs by a percent of the
# error. Of larger matrices, a thousand of them also make BLAS wait for its own threads: seconds instead of a tenth.
_DENSE_STATES = 50
_FACTORED_STATES = 2_500  # beyond, factors of the sparse matrix fill up and paths are followed step by step
_STEPS = 20_000
_CHUNK = 4_000_000  # numbers that are held at once while replicates are solved
_COLUMNS = ("source", "target", "paths", "value")


@dataclass(frozen=True, eq=False)
class Chain:
    """Transitions between states, by bucket of users: ``paths`` and ``value`` are sparse, a row per bucket and a column
    per transition; ``source`` and ``target`` say which states these join (``CONVERSION`` and ``NULL`` stay as they
    are); ``holds`` says which states (columns) contain each channel (rows). The first state is where paths begin.
    """

    source: Whole
    target: Whole
    paths: Any
    value: Any
    holds: npt.NDArray[np.bool_]

    @classmethod
    def from_transitions(
        cls, transitions: pd.DataFrame, channels: int, order: int, row: Whole | None = None, rows: int = 1
    ) -> Chain:
        """Read the transitions of a chain of ``order`` between ``channels`` channels (``PathSums.transitions``);
        ``row`` puts each into one of ``rows`` buckets. Raises ``ParameterError`` for counts that are none.
        """
        from scipy.sparse import coo_array

        paths, value = _checked(transitions, channels, order)
        used = paths > 0
        paths, value = paths[used], value[used]
        codes = transitions[["source", "target"]].to_numpy(dtype=np.int64)[used]
        states = np.unique(codes[:, 0])
        ends = codes[:, 1] < 0
        place = np.searchsorted(states, codes[:, 1])
        stuck = ~ends & (states[np.minimum(place, len(states) - 1)] != codes[:, 1]) if len(states) else ends
        if stuck.any():
            raise _endless(codes[stuck, 1][0])
        if len(states) and states[0] != START:
            raise ParameterError(f"transitions: no path begins. The source of a path's first touch is {START}.")
        # Each transition as one number, ends (-1 and -2) first: rows of two would take ten times as long to sort.
        keys = np.searchsorted(states, codes[:, 0]) * (len(states) + 2) + np.where(ends, codes[:, 1], place) + 2
        found, column = np.unique(keys, return_inverse=True)
        source, target = found // (len(states) + 2), found % (len(states) + 2) - 2
        where = (np.zeros(len(paths), dtype=np.int64) if row is None else row[used], column)
        shape = (rows, len(found))
        lost = _never_ending(source, target, len(states))
        if len(lost):
            raise _endless(states[lost[-1]])
        digits = np.stack([states // (channels + 1) ** back % (channels + 1) for back in range(order)])
        return cls(
            source=source,
            target=target,
            paths=coo_array((paths, where), shape=shape).tocsr(),
            value=coo_array((value, where), shape=shape).tocsr(),
            holds=(digits[None] == np.arange(1, channels + 1)[:, None, None]).any(axis=1),
        )

    @property
    def dense(self) -> bool:
        """Whether the chain is small enough for every replicate to be solved."""
        return self.holds.shape[1] <= _DENSE_STATES

    def arrivals(self, removed: int | None = None) -> Floats:
        """From the start: the chance of a conversion, the expected value, and the chance of ever reaching the channel
        ``removed``, when paths that reach it end there without a conversion.
        """
        if not len(self.source):
            return np.full(3, np.nan)
        matrix, rewards, _ = self._system(removed)
        found: Floats = _solved(matrix, rewards)[0]  # the start holds no channel, so it stays
        return found

    def losses(self, weights: Floats) -> Floats:
        """By replicate (row of ``weights``, over buckets) and channel what its removal takes from a path, on average:
        chance of a conversion, and value; and in a last row what a path has with all channels. Exact; in large chains
        linear in the weights around 1.
        """
        channels, states = self.holds.shape
        if not len(self.source):
            return np.zeros((len(weights), channels + 1, 2))
        if not self.dense:
            whole, change = self._linear()
            return whole + np.tensordot(weights - 1, change, axes=1)
        found = np.zeros((len(weights), channels + 1, 2))
        step = max(1, _CHUNK // (states * states))
        paths, value = self.paths.toarray(), self.value.toarray()  # few transitions: the product is much faster so
        for begin in range(0, len(weights), step):
            part = weights[begin : begin + step]
            found[begin : begin + step] = self._solved_losses(part @ paths, part @ value)
        return found

    def _solved_losses(self, paths: Floats, value: Floats) -> Floats:
        """``losses`` for counts of transitions, a row per replicate."""
        states = self.holds.shape[1]
        inner = self.target >= 0
        matrix = np.zeros((len(paths), states, states))
        matrix[:, self.source[inner], self.target[inner]] = -paths[:, inner]
        rewards = np.zeros((len(paths), states, 2))
        wins = self.target == CONVERSION
        rewards[:, self.source[wins], 0], rewards[:, self.source[wins], 1] = paths[:, wins], value[:, wins]
        # Transitions are in the order of their source, and every state is one.
        leaving = np.add.reduceat(paths, np.searchsorted(self.source, np.arange(states)), axis=1)
        # A state that no path of the replicate reaches may hold anything but nothing.
        matrix[:, np.arange(states), np.arange(states)] += np.where(leaving > 0, leaving, 1.0)
        whole = np.linalg.solve(matrix, rewards)[:, 0]
        found = np.zeros((len(paths), len(self.holds) + 1, 2))
        found[:, -1] = whole
        for channel, holds in enumerate(self.holds):
            if holds.any():
                kept = np.flatnonzero(~holds)
                left = np.linalg.solve(matrix[:, kept[:, None], kept], rewards[:, kept])
                found[:, channel] = whole - left[:, 0]
        return found

    def _system(self, removed: int | None) -> tuple[Any, Floats, Whole]:
        """All buckets together, over the states that stay (the last of what is returned): paths that leave less paths
        between them (a sparse matrix), and as columns paths into a conversion, their value, paths into what is removed.
        """
        from scipy.sparse import coo_array

        states = self.holds.shape[1]
        paths, value = np.asarray(self.paths.sum(axis=0)).ravel(), np.asarray(self.value.sum(axis=0)).ravel()
        gone = self.holds[removed] if removed is not None else np.zeros(states, dtype=bool)
        kept = np.flatnonzero(~gone)
        inner, wins = self.target >= 0, self.target == CONVERSION
        leaving = np.bincount(self.source, paths, minlength=states)
        places = np.arange(states)
        rows = np.concatenate([self.source[inner], places])
        columns = np.concatenate([self.target[inner], places])
        entries = np.concatenate([-paths[inner], leaving])
        matrix = coo_array((entries, (rows, columns)), shape=(states, states)).tocsr()[kept][:, kept]
        into = inner & gone[np.where(inner, self.target, 0)]
        rewards = [
            np.bincount(self.source[chosen], amount[chosen], minlength=states)[kept]
            for chosen, amount in ((wins, paths), (wins, value), (into, paths))
        ]
        return matrix, np.column_stack(rewards), kept

    def _linear(self) -> tuple[Floats, Floats]:
        """``losses`` of all buckets, and how the weight of each changes them (bucket, channel + 1, 2)."""
        whole, whole_change = self._start_and_change(None)
        parts = [self._start_and_change(channel) for channel in range(len(self.holds))]
        losses = np.stack([*(whole - start for start, _ in parts), whole])
        return losses, np.stack([*(whole_change - change for _, change in parts), whole_change], axis=1)

    def _start_and_change(self, removed: int | None) -> tuple[Floats, Floats]:
        """Chance and value from the start, and their derivatives by the weight of each bucket.

        With x the chances and y the solution of the transposed system for the start, a path more from i to j changes
        x at the start by y_i (x_j - x_i).
        """
        matrix, rewards, kept = self._system(removed)
        ahead = _solved(matrix, rewards[:, :2])
        unit = np.zeros((len(kept), 1))
        unit[0] = 1.0
        states = self.holds.shape[1]
        # Two more places, so that the ends (-1 and -2) have their chances too: a conversion 1, none 0.
        reached, visits = np.zeros((states + 2, 2)), np.zeros(states)
        reached[kept], visits[kept] = ahead, _solved(matrix.T.tocsr(), unit)[:, 0]
        stays = reached[self.source]
        reached[CONVERSION, 0] = 1.0
        slope = visits[self.source, None] * (reached[self.target] - stays)
        change = np.asarray(self.paths @ slope)
        change[:, 1] += self.value @ np.where(self.target == CONVERSION, visits[self.source], 0.0)
        return ahead[0], change


def _checked(transitions: pd.DataFrame, channels: int, order: int) -> tuple[Floats, Floats]:
    """Paths and value of transitions whose states are states of the chain."""
    if isinstance(order, bool) or order not in ORDERS:
        raise ParameterError(f"order={shorten(repr(order))} must be 1, 2 or 3: longer memories say no more than reach.")
    for name in _COLUMNS:
        if name not in transitions.columns:
            raise ParameterError(unknown_name("column of the transitions", name, transitions.columns))
    paths, value = (transitions[name].to_numpy(dtype=float) for name in ("paths", "value"))
    wrong = ~np.isfinite(paths) | (paths < 0) | ~np.isfinite(value)
    states = (channels + 1) ** order
    for name, least in (("source", START), ("target", NULL)):
        code = transitions[name].to_numpy()
        if not np.issubdtype(code.dtype, np.integer):
            raise ParameterError(f"transitions: {name!r} must hold whole numbers (see PathSums), not {code.dtype}.")
        wrong |= (code < least) | (code >= states)
        if name == "target":
            wrong |= (code >= 0) & (code % (channels + 1) == START)  # a state ends in a touch
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ParameterError(
            f"transitions: row {at} ({shorten(transitions.iloc[at].to_dict())}) is none of a chain of order {order} "
            f"between {channels} channels: states lie below {states}, no path goes back to the start, paths are 0 or "
            "more and values finite."
        )
    return paths, value


def _endless(state: int) -> ParameterError:
    return ParameterError(
        f"transitions: from the state {state} no path ever ends. Every path ends in a conversion ({CONVERSION}) or "
        f"without one ({NULL})."
    )


def _never_ending(source: Whole, target: Whole, states: int) -> Whole:
    """The states from which no end can be reached."""
    ending = np.zeros(states, dtype=bool)
    ending[source[target < 0]] = True
    inner_source, inner_target = source[target >= 0], target[target >= 0]
    while True:
        before = int(ending.sum())
        ending[inner_source[ending[inner_target]]] = True
        if int(ending.sum()) == before:
            return np.flatnonzero(~ending)


def _solved(matrix: Any, rewards: Floats) -> Floats:
    """The solution of a sparse system ``leaving less arriving paths``, a column for each of rewards."""
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import splu

    if len(rewards) > _FACTORED_STATES:
        leaving = matrix.diagonal()
        scale = diags_array(1 / np.where(leaving > 0, leaving, 1.0))
        onward, first = csr_array(scale @ (diags_array(leaving) - matrix)), scale @ rewards
        found = first
        for _ in range(_STEPS):
            further = first + onward @ found
            if np.abs(further - found).max() <= 4e-16 * np.abs(further).max():
                return np.asarray(further)
            found = further
    return np.asarray(splu(matrix.tocsc()).solve(np.ascontiguousarray(rewards)))


def channel_names(channels: Sequence[str]) -> tuple[str, ...]:
    """The names, each once. Raises ``ParameterError``."""
    if isinstance(channels, str) or len(set(channels)) < len(channels):
        raise ParameterError(
            f"channels={shorten(repr(channels))} must list each channel once, in the order of numbers."
        )
    return tuple(channels)
