"""Random funnels for random logs: what ``mc.funnel`` is asked, and the same for the brute-force reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from reference.funnels import Funnel, Item
from reference.logs import SECOND

__all__ = ["WHERES", "Case", "as_item", "cases", "steps_of"]

WHERES: dict[str | None, Callable[[dict[str, Any]], bool | None] | None] = {
    None: None,
    "x = 1": lambda row: None if row["x"] is None else row["x"] == 1,
    "x >= 1": lambda row: None if row["x"] is None else row["x"] >= 1,
    "x = 0": lambda row: None if row["x"] is None else row["x"] == 0,
    "x is null": lambda row: row["x"] is None,
}


@dataclass(frozen=True)
class Case:
    """One question; ``asked`` are keyword arguments of ``mc.funnel`` beside the steps."""

    steps: tuple[dict[str, Any], ...]
    window: int | None
    order: str
    reentry: str
    within: tuple[int | None, ...]
    optional: tuple[int, ...]
    exclude: tuple[dict[str, Any], ...]
    same: str | None

    @property
    def asked(self) -> dict[str, Any]:
        limits = {k: f"{limit}s" for k, limit in enumerate(self.within, start=1) if limit is not None}
        return {
            "window": f"{self.window}s" if self.window is not None else None,
            "order": self.order,
            "reentry": self.reentry,
            "within_step": limits or None,
            "optional": list(self.optional),
            "exclude": list(self.exclude),
            "same": self.same,
        }

    def reference(self, **more: Any) -> Funnel:
        ties = {"x" for step in self.steps if "where" in step} | {"amount" for step in self.steps if "total" in step}
        return Funnel(
            steps=tuple(as_item(step) for step in self.steps),
            window=self.window * SECOND if self.window is not None else None,
            order=self.order,
            reentry=self.reentry,
            within=tuple(limit * SECOND if limit is not None else None for limit in self.within),
            optional=frozenset(k - 1 for k in self.optional),
            exclude=tuple(as_item(step) for step in self.exclude),
            same=self.same,
            ties=tuple(sorted(ties | ({self.same} if self.same else set()))),
            **more,
        )


def as_item(step: dict[str, Any]) -> Item:
    """A step as the reference has it."""
    total = (step["total"]["column"], step["total"]["at_least"]) if "total" in step else None
    return Item(step["event"], WHERES[step.get("where")], step.get("nth"), total)


@st.composite
def steps_of(draw: st.DrawFn, names: str, most: int = 4, plain: bool = False) -> tuple[dict[str, Any], ...]:
    """One to ``most`` steps, names repeated and conditions overlapping; ``plain``: without nth and total."""
    found = []
    for _ in range(draw(st.integers(1, most))):
        step: dict[str, Any] = {"event": draw(st.sampled_from(names))}
        where = draw(st.sampled_from([None, None, None, *WHERES]))
        if where is not None:
            step["where"] = where
        kind = "" if plain else draw(st.sampled_from(["", "", "", "", "", "nth", "total"]))
        if kind == "nth":
            step["nth"] = draw(st.integers(1, 2))
        elif kind == "total":
            step["total"] = {"column": "amount", "at_least": draw(st.sampled_from([2.0, 3.0]))}
        found.append(step)
    return tuple(found)


@st.composite
def cases(draw: st.DrawFn, orders: tuple[str, ...] = ("ordered", "ordered", "strict", "any")) -> Case:
    """Everything that a funnel can be asked, most of it left out most of the time."""
    order = draw(st.sampled_from(orders))
    steps = draw(
        st.one_of(
            st.integers(1, 4).map(lambda n: tuple({"event": name} for name in "ABCD"[:n])),
            st.lists(st.sampled_from("ABC"), min_size=1, max_size=4).map(
                lambda names: tuple({"event": name} for name in names)
            ),
            steps_of("ABC"),
        )
    )
    n = len(steps)
    within: tuple[int | None, ...] = (None,) * n
    if order != "any" and n > 1 and draw(st.booleans()):
        within = (None, *draw(st.tuples(*[st.sampled_from([None, 1, 2])] * (n - 1))))
    few = st.sampled_from([False, False, False, True])
    return Case(
        steps=steps,
        window=draw(st.sampled_from([None, 1, 3, 5])),
        order=order,
        reentry=draw(st.sampled_from(["latest", "first"])),
        within=within,
        optional=tuple(k for k in range(2, n + 1) if draw(few)),
        exclude=draw(st.one_of(st.just(()), st.just(()), steps_of("XC", most=1))),
        same=draw(st.sampled_from([None, None, "item"])),
    )
