"""What other tools would count: the example on which they disagree, worked examples, their rules on random logs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from reference import tools
from reference.logs import SECOND, log_of, random_events

import microconv as mc
from microconv.presets import PRESETS, Preset, settings
from microconv.reduce.funnels import attempts
from microconv.steps import funnel_rule

ISSUE = "A0 A5 B6"


def log_from(*stories: str) -> mc.EventLog:
    """One user a story; ``A0`` is an A at second 0."""
    rows = [
        (f"u{i}", pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(float(word[1:]), "s"), word[0])
        for i, story in enumerate(stories)
        for word in story.split()
    ]
    return mc.read_events(pd.DataFrame(rows, columns=["user_id", "time", "event"]))


def reached(story: str, steps: Sequence[str], semantics: str | None, **asked: Any) -> int:
    """How many steps the user of a story reaches."""
    return int(mc.funnel(log_from(story), steps, semantics=semantics, **asked).table["users"].sum())


@pytest.mark.parametrize(
    ("semantics", "asked", "converted"),
    [
        (None, {"window": "3s"}, True),
        ("clickhouse", {"window": "3s"}, True),
        ("mixpanel", {"window": "3s"}, False),
        ("amplitude", {"window": "3s"}, True),
        ("posthog", {"window": "3s"}, True),
        ("ga4", {"within_step": "3s"}, True),
        ("ga4", {"window": "3s"}, True),
        ("retentioneering", {}, True),
        ("retentioneering", {"window": "3s"}, True),
    ],
)
def test_the_example_on_which_tools_disagree(semantics: str | None, asked: dict[str, Any], converted: bool) -> None:
    assert reached(ISSUE, ["A", "B"], semantics, **asked) == (2 if converted else 1)


def test_every_tool_has_an_answer_to_the_example() -> None:
    assert set(PRESETS) == {"clickhouse", "mixpanel", "amplitude", "posthog", "ga4", "retentioneering"}


def test_clickhouse_lets_one_event_serve_two_steps() -> None:
    assert reached("A0", ["A", "A"], "clickhouse", window="3s") == 2
    assert reached("A0", ["A", "A"], None, window="3s") == 1
    assert reached("A0 B2 A3 C5", ["A", "B", "C"], "clickhouse", window="3s") == 2  # C is 5 s after the A of the B


def test_mixpanel_does_not_restart_the_window() -> None:
    story, steps = "A0 A1800 B2700 C4500", ["A", "B", "C"]  # 13:00, 13:30, 13:45, 14:15
    assert reached(story, steps, "mixpanel", window="1h") == 2
    assert reached(story, steps, "mixpanel", window="1h", reentry="latest") == 3  # Optimized Re-entry


def test_amplitude_takes_the_longest_attempt() -> None:
    day = 86_400
    story = f"A0 B{day} A{4 * day} B{5 * day} A{19 * day}"
    assert reached(story, ["A", "B"], "amplitude", window="1D") == 2
    assert reached("A0 A10 B11 C12", ["A", "B", "C"], "amplitude", window="5s") == 3


def test_posthog_wants_two_events_for_a_step_named_twice() -> None:
    assert reached("A0", ["A", "A"], "posthog", window="3s") == 1
    assert reached("A0 A1", ["A", "A"], "posthog", window="3s") == 2


def test_ga4_limits_each_step_from_the_one_before_end_included() -> None:
    assert reached("A0 B5 C10", ["A", "B", "C"], "ga4", within_step="5s") == 3
    assert reached("A0 B5 C10.000001", ["A", "B", "C"], "ga4", within_step="5s") == 2


def test_retentioneering_has_no_window_but_an_order() -> None:
    assert reached("A0 B315360000", ["A", "B"], "retentioneering") == 2
    assert reached("A0 C1 B2", ["A", "B", "C"], "retentioneering") == 2
    assert reached("A0", ["A", "A"], "retentioneering") == 1


@pytest.mark.parametrize("semantics", list(PRESETS))
def test_the_result_repeats_what_differs(semantics: str) -> None:
    preset = PRESETS[semantics]
    assert preset.note
    assert preset.example
    assert preset.source
    result = mc.funnel(log_from(ISSUE), ["A", "B"], window="3s", semantics=semantics)
    assert preset.note in result.assumptions
    assert result.parameters["semantics"] == semantics
    assert (result.parameters["order"], result.parameters["reentry"]) == (preset.order, preset.reentry)


def test_no_semantics_is_our_own_way_without_a_note() -> None:
    assert settings(None) == Preset()
    assert (settings(None).order, settings(None).reentry, settings(None).note) == ("ordered", "latest", "")
    assert settings(None).remarks("any", "first", True) == []


def test_what_the_caller_gives_wins_and_is_said() -> None:
    result = mc.funnel(log_from(ISSUE), ["A", "B"], window="3s", semantics="mixpanel", reentry="latest", order="strict")
    assert result.table["users"].tolist() == [1, 1]
    assert (result.parameters["order"], result.parameters["reentry"]) == ("strict", "latest")
    assert "reentry='latest' was given and used; Mixpanel itself counts as reentry='first' does." in result.assumptions
    assert "order='strict' was given and used; Mixpanel itself counts as order='ordered' does." in result.assumptions
    agreeing = mc.funnel(log_from(ISSUE), ["A", "B"], window="3s", semantics="mixpanel", reentry="first")
    assert not any("was given" in line for line in agreeing.assumptions)


def test_a_window_that_the_tool_does_not_know_is_said() -> None:
    with_window = mc.funnel(log_from(ISSUE), ["A", "B"], window="3s", semantics="ga4").assumptions
    assert "A window was given and used; Google Analytics 4 itself has none for the whole funnel." in with_window
    without = mc.funnel(log_from(ISSUE), ["A", "B"], within_step="3s", semantics="ga4").assumptions
    assert not any("A window was given" in line for line in without)


@pytest.mark.parametrize(
    ("semantics", "message"),
    [("mixpannel", "Did you mean 'mixpanel'"), ("", "Known: 'clickhouse'"), (3, "Unknown semantics 3")],
)
def test_unknown_semantics(semantics: Any, message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        mc.funnel(log_from(ISSUE), ["A", "B"], window="3s", semantics=semantics)


def repeated(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


@given(
    st.lists(st.sampled_from("ABC"), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 6]),
    st.sampled_from([5, 30]),
)
@hypothesis_settings(max_examples=12)
def test_users_get_as_far_as_in_the_tool(steps: list[str], seed: int, window: int, span: int) -> None:
    events = random_events(random.Random(seed), 40, span=span)
    if repeated(steps):  # PostHog loses a start when the next one comes at the very instant of another step
        events = list({(e.user, e.time): e for e in reversed(events)}.values())
    log = log_of(events)
    walks: dict[str, Callable[[tools.Events], int]] = {
        "posthog": lambda own: tools.posthog(own, steps, window),
        "retentioneering": lambda own: tools.retentioneering(own, steps),
    }
    if not repeated(steps):
        walks["mixpanel"] = lambda own: tools.mixpanel(own, steps, window)
        walks["amplitude"] = lambda own: tools.amplitude(own, steps, window)
    by_user: dict[str, list[tuple[int, str]]] = {}
    # Of one instant in order of the steps: what lies within Mixpanel's and Amplitude's grace is any order there.
    for event in sorted(events, key=lambda e: (e.time, steps.index(e.event) if e.event in steps else 9)):
        by_user.setdefault(event.user, []).append((event.time // SECOND, event.event))
    for semantics, walk in walks.items():
        preset = settings(semantics)
        rule = funnel_rule(
            log,
            steps,
            window=f"{window}s" if preset.has_window else None,
            order=preset.order,
            reentry=preset.reentry,
            within_step=None,
            optional=(),
            exclude=(),
            same=None,
            distinct=preset.distinct,
        )
        levels = log.engine.fetch(attempts(log, rule)).set_index("user_id")["level"]
        for user, own in by_user.items():
            assert levels.get(user, 0) == walk(own), (semantics, user, own)
