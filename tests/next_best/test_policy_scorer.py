"""The scorer answers as a walk up the parents does, needs the standard library alone, and never fails on strangers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from microconv import policy_scorer
from microconv.policy_scorer import PolicyError, Scorer


def _offer(micro: str, gain: float) -> dict[str, Any]:
    return {"micro": micro, "gain": gain, "ci_low": gain / 2, "ci_high": gain * 2, "users": 100}


def _state(
    known: int, done: list[str], device: str | None, band: int | None, *offers: dict[str, Any]
) -> dict[str, Any]:
    segment = None if device is None else {"device": device}
    return {"told_apart": known, "done": done, "segment": segment, "band": band, "offers": list(offers)}


def _policy() -> dict[str, Any]:
    return {
        "schema": policy_scorer.SCHEMA,
        "micros": ["cart", "guide", "share"],
        "attributes": ["device"],
        "levels": {"device": ["desktop", "mobile"]},
        "cuts_hours": [24.0, 168.0],
        "states": [
            _state(3, [], "mobile", 0, _offer("cart", 0.2)),
            _state(3, [], "mobile", None, _offer("guide", 0.1)),
            _state(3, ["guide"], "mobile", None),
            _state(3, [], None, None, _offer("share", 0.05)),
            _state(1, ["cart"], None, None, _offer("guide", 0.07), _offer("share", 0.03)),
            _state(0, [], None, None, _offer("cart", 0.04), _offer("guide", 0.02)),
        ],
    }


def _walk(policy: dict[str, Any], done: set[str], device: str | None, band: int | None) -> str | None:
    """The answer by looking for the state and its parents, one after another."""
    micros = policy["micros"]
    chain: list[tuple[int, set[str], str | None, int | None]] = []
    if device is not None:
        chain = [(3, done, device, band), (3, done, device, None)]
    chain += [(known, done & set(micros[:known]), None, None) for known in (3, 2, 1, 0)]
    for known, some, level, when in chain:
        for state in policy["states"]:
            mine = None if state["segment"] is None else state["segment"]["device"]
            if (state["told_apart"], set(state["done"]), mine, state["band"]) == (known, some, level, when):
                return next((one["micro"] for one in state["offers"] if one["micro"] not in done), None)
    return None


def test_every_visitor_gets_what_a_walk_up_the_parents_finds() -> None:
    policy = _policy()
    scorer = Scorer(policy)
    hours = {None: None, 0.0: 0, 24.0: 0, 24.01: 1, 168.0: 1, 200.0: 2, -3: 0}
    for count in range(4):
        for done in itertools.combinations(policy["micros"], count):
            for device, (hour, band) in itertools.product([None, "desktop", "mobile"], hours.items()):
                said = scorer.offer({"done": list(done), "segment": {"device": device}, "hours_since_entry": hour})
                expected = _walk(policy, set(done), device, band)
                assert (said.micro if said is not None else None) == expected, (done, device, hour)


def test_it_says_the_gain_and_its_limits() -> None:
    said = Scorer(_policy()).offer({"done": [], "segment": {"device": "mobile"}, "hours_since_entry": 5})
    assert said == ("cart", 0.2, 0.1, 0.4)


@pytest.mark.parametrize(
    "visitor",
    [
        {},
        {"done": None, "segment": None, "hours_since_entry": None},
        {"done": ["unheard of"], "segment": {"country": "DE"}},
        {"done": (), "segment": {"device": "fridge"}, "hours_since_entry": 3},
        {"done": set(), "hours_since_entry": float("nan")},
    ],
)
def test_what_is_unknown_or_missing_takes_the_parent(visitor: dict[str, Any]) -> None:
    said = Scorer(_policy()).offer(visitor)
    assert said is not None
    assert said.micro == "share"  # nothing done, all segments


@pytest.mark.parametrize(
    "visitor",
    [None, "mobile", {"done": "cart"}, {"done": 3}, {"segment": "mobile"}, {"hours_since_entry": "5"}, {"done": [[]]}],
)
def test_wrong_types_are_told(visitor: Any) -> None:
    with pytest.raises(PolicyError, match="is no visitor"):
        Scorer(_policy()).offer(visitor)


def test_a_text_is_no_time_even_without_bands() -> None:
    policy = _policy() | {"cuts_hours": []}
    policy["states"] = policy["states"][1:]
    with pytest.raises(PolicyError, match="is no visitor"):
        Scorer(policy).offer({"hours_since_entry": "5"})


def test_broken_policies_are_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="schema"):
        Scorer({"schema": "other"})
    with pytest.raises(PolicyError, match="broken"):
        Scorer({"schema": policy_scorer.SCHEMA, "micros": ["a"]})
    with pytest.raises(PolicyError, match="states: too many"):
        Scorer(_policy() | {"micros": [f"m{k}" for k in range(20)]})
    (tmp_path / "policy.json").write_text("no json")
    with pytest.raises(PolicyError, match="JSON"):
        Scorer.from_json(tmp_path / "policy.json")


def test_the_file_alone_is_enough(tmp_path: Path) -> None:
    """Copied to an empty folder, run without site packages."""
    (tmp_path / "policy_scorer.py").write_text(Path(policy_scorer.__file__).read_text(encoding="utf-8"))
    (tmp_path / "policy.json").write_text(json.dumps(_policy()))
    code = (
        "import sys; from policy_scorer import Scorer; "
        "said = Scorer.from_json('policy.json').offer({'done': ['cart']}); "
        "print(said.micro, 'numpy' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == ["guide", "False"]
