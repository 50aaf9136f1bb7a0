"""What should this visitor be offered next? Reads a policy.json; needs nothing but Python's standard library.

This one file can be copied to where a website runs:

    from policy_scorer import Scorer

    scorer = Scorer.from_json("policy.json")
    offer = scorer.offer({"done": ["newsletter_signup"], "segment": {"device": "mobile"}, "hours_since_entry": 5})
    if offer is not None:
        print(offer.micro, offer.gain)
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["SCHEMA", "Offer", "PolicyError", "Scorer"]

SCHEMA = "microconv.policy/1"
_MOST_ANSWERS = 200_000  # states written out when a policy is read


class PolicyError(ValueError):
    """A policy that cannot be read, or a visitor that is described by the wrong types."""


class Offer(NamedTuple):
    """What to offer: ``gain`` is how much doing it raises the chance to convert within the policy's horizon, from
    ``ci_low`` to ``ci_high``.
    """

    micro: str
    gain: float
    ci_low: float
    ci_high: float


class Scorer:
    """Answers from a policy. All states are written out when it is read, so that an answer takes a few look-ups."""

    __slots__ = ("_answers", "_attributes", "_bits", "_cuts", "_no_hours", "_step", "policy")

    def __init__(self, policy: Mapping[str, Any]) -> None:
        """``policy``: what policy.json holds. Raises ``PolicyError`` on another schema or a broken policy."""
        schema = policy.get("schema") if isinstance(policy, Mapping) else None
        if schema != SCHEMA:
            raise PolicyError(f"This is no policy of the schema {SCHEMA!r}: its schema is {schema!r}.")
        self.policy = policy
        try:
            self._write_out(policy)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            if isinstance(error, PolicyError):
                raise
            raise PolicyError(f"The policy is broken ({type(error).__name__}: {error}). Export it again.") from error

    @classmethod
    def from_json(cls, path: Any) -> Scorer:
        """Read a policy.json. Raises ``PolicyError`` where it holds no policy, ``OSError`` where it cannot be read."""
        with open(path, encoding="utf-8") as file:
            try:
                policy = json.load(file)
            except ValueError as error:
                raise PolicyError(f"{str(path)!r} holds no JSON: {error}") from error
        return cls(policy)

    def offer(self, visitor: Mapping[str, Any]) -> Offer | None:
        """What to offer a visitor next; None: nothing that is known to help.

        ``visitor``: ``done`` (a list of the micros done so far), ``segment`` (attributes at entry by name) and
        ``hours_since_entry``. Names, levels and attributes that the policy does not know, and what is missing or None,
        take the coarser state that does not need them: without hours the state of all ages, without a segment that of
        all segments. Hours below 0 count as 0. Raises ``PolicyError`` on wrong types (``done`` a text, hours a text).
        """
        # The common case, in as few steps as can be; whatever does not fit is looked at with care.
        try:
            bits, code = self._bits, 0
            for name in visitor["done"]:
                code |= bits[name]
            segment = visitor["segment"]
            for attribute, codes in self._attributes:
                code += codes[segment[attribute]]
            hours = visitor["hours_since_entry"]
            if hours >= 0:  # not so for NaN
                return self._answers[code + self._step * bisect_left(self._cuts, hours)]
        except (KeyError, TypeError):
            return self._careful(visitor)
        return self._careful(visitor)

    def _careful(self, visitor: Mapping[str, Any]) -> Offer | None:
        """The same for visitors of whom something is missing, not known to the policy, or of a wrong type."""
        try:
            done, segment = visitor.get("done"), visitor.get("segment")
            hours = visitor.get("hours_since_entry")
            if isinstance(done, str):
                raise TypeError("done is a text, not a list of texts")
            code = 0
            for name in done if done is not None else ():
                code |= self._bits.get(name, 0)
            for attribute, codes in self._attributes:
                code += codes.get(segment.get(attribute), 0) if segment is not None else 0
            if hours is None or hours != hours:
                return self._answers[code + self._no_hours]
            return self._answers[code + self._step * bisect_left(self._cuts, max(hours, 0))]
        except (TypeError, AttributeError) as error:
            raise PolicyError(
                f"{str(visitor)[:200]} is no visitor ({error}). Pass such as {{'done': ['signup'], 'segment': "
                "{'device': 'mobile'}, 'hours_since_entry': 5}."
            ) from error

    def _write_out(self, policy: Mapping[str, Any]) -> None:
        micros, levels = list(policy["micros"]), policy["levels"]
        attributes = list(policy["attributes"])
        self._bits = {name: 1 << place for place, name in enumerate(micros)}
        self._cuts = tuple(float(cut) for cut in policy["cuts_hours"])
        step = 1 << len(micros)
        coded = []
        for attribute in attributes:
            coded.append((attribute, {level: step * k for k, level in enumerate(levels[attribute], start=1)}))
            step *= len(levels[attribute]) + 1  # 0: not known
        self._attributes = tuple(coded)
        self._step, self._no_hours = step, step * (len(self._cuts) + 1)
        if step * (len(self._cuts) + 2) > _MOST_ANSWERS:
            raise PolicyError(f"The policy tells apart {step * (len(self._cuts) + 2):,} states: too many.")
        states = {_key(state, attributes): [_offer(one) for one in state["offers"]] for state in policy["states"]}
        self._answers: dict[int, Offer | None] = {}
        for band in (*range(len(self._cuts) + 1), None):
            base = self._no_hours if band is None else band * step
            for choice in itertools.product(*[[(None, 0), *codes.items()] for _, codes in coded]):
                named = tuple(level for level, _ in choice)
                segment = None if None in named else named
                start = base + sum(code for _, code in choice)
                for mask in range(1 << len(micros)):
                    self._answers[start + mask] = _answer(states, micros, mask, segment, band)


def _offer(one: Mapping[str, Any]) -> Offer:
    return Offer(str(one["micro"]), float(one["gain"]), float(one["ci_low"]), float(one["ci_high"]))


def _key(state: Mapping[str, Any], attributes: list[str]) -> tuple[Any, ...]:
    """A state as (micros told apart, those of them done, segment or None, band or None)."""
    segment = state["segment"]
    named = None if segment is None else tuple(segment[attribute] for attribute in attributes)
    return int(state["told_apart"]), frozenset(state["done"]), named, state["band"]


def parents(
    micros: list[str], mask: int, segment: tuple[Any, ...] | None, band: int | None
) -> list[tuple[int, frozenset[str], tuple[Any, ...] | None, int | None]]:
    """The state itself and those it is taken for where it is too rare: without the time since entry, then without the
    segment, then without the micros one by one from the last on. The last is the root, all visitors.
    """
    done = frozenset(name for place, name in enumerate(micros) if mask >> place & 1)
    many = len(micros)
    chain = [(many, done, segment, band), (many, done, segment, None)]
    chain += [(known, done & frozenset(micros[:known]), None, None) for known in range(many, -1, -1)]
    found = []
    for one in chain:
        # Without a segment at hand a state of some time band is not told apart either.
        if (one[3] is None or segment is not None) and one not in found:
            found.append(one)
    return found


def _answer(
    states: Mapping[tuple[Any, ...], list[Offer]],
    micros: list[str],
    mask: int,
    segment: tuple[Any, ...] | None,
    band: int | None,
) -> Offer | None:
    for key in parents(micros, mask, segment, band):
        if key in states:
            fit = [one for one in states[key] if not mask >> micros.index(one.micro) & 1]
            return fit[0] if fit else None
    return None
