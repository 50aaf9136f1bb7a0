"""What an answer of the policy costs, as a ratio to twenty look-ups in a dictionary in the same run."""

from __future__ import annotations

import timeit
from typing import Any

import pytest

from microconv.policy_scorer import SCHEMA, Scorer

pytestmark = pytest.mark.benchmark


def _scorer() -> Scorer:
    micros = ["add_to_cart", "guide_downloaded", "newsletter_signup", "share", "video"]
    offer = {"micro": "add_to_cart", "gain": 0.1, "ci_low": 0.05, "ci_high": 0.2}
    state = {"told_apart": 0, "done": [], "segment": None, "band": None, "offers": [offer]}
    levels = {"device": ["desktop", "mobile", "tablet"], "country": ["AT", "CH", "DE", "FR", "NL"]}
    return Scorer(
        {"schema": SCHEMA, "micros": micros, "attributes": list(levels), "levels": levels, "cuts_hours": [24.0, 168.0],
         "states": [state]}
    )  # fmt: skip


def test_an_answer_costs_at_most_twenty_look_ups(record_property: Any) -> None:
    """Two micros done, two attributes and the hours, against twenty texts looked up in a dictionary of a thousand."""
    scorer = _scorer()
    visitor = {
        "done": ["newsletter_signup", "share"],
        "segment": {"device": "mobile", "country": "DE"},
        "hours_since_entry": 30,
    }
    table = {f"key {number}": number for number in range(1_000)}
    keys = [f"key {number * 37}" for number in range(20)]

    def look_up() -> None:
        for key in keys:
            table[key]

    def answer() -> None:
        scorer.offer(visitor)

    many = 20_000
    base = min(timeit.repeat(look_up, number=many, repeat=9)) / many
    cost = min(timeit.repeat(answer, number=many, repeat=9)) / many
    text = f"{cost / base:.2f} ({cost * 1e9:.0f} ns to {base * 1e9:.0f} ns)"
    record_property("an answer of the policy to twenty look-ups", text)
    print(f"\nan answer of the policy to twenty look-ups: {text}")  # noqa: T201
    assert cost <= base
