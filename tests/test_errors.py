"""The words of errors: the value, the nearest match, what is allowed; nothing hostile floods them."""

from __future__ import annotations

import pytest

import microconv as mc
from microconv.errors import nearest, shorten, unknown_name


@pytest.mark.parametrize("error", [mc.ParameterError, mc.PlanError, mc.SourceError])
def test_errors_are_microconvs_and_value_errors(error: type[Exception]) -> None:
    assert issubclass(error, mc.MicroconvError)
    assert issubclass(error, ValueError)
    assert issubclass(mc.MicroconvWarning, UserWarning)


@pytest.mark.parametrize(
    ("value", "allowed", "found"),
    [
        ("purchas", ["purchase", "signup"], "purchase"),
        ("PURCHASE", ["purchase"], "purchase"),
        ("purchase", ["Purchase"], "Purchase"),
        ("zzz", ["purchase"], None),
        ("x", [], None),
        (5, ["5", "6"], "5"),
        (None, ["none"], "none"),
    ],
)
def test_nearest(value: object, allowed: list[str], found: str | None) -> None:
    assert nearest(value, allowed) == found


def test_unknown_name_says_value_guess_and_what_is_known() -> None:
    text = unknown_name("column", "devise", ["device", "country"], "Map it with columns=.")
    assert text == ("Unknown column 'devise'. Did you mean 'device'? Known: 'device', 'country'. Map it with columns=.")
    assert unknown_name("step", "x", []) == "Unknown step 'x'. None are known."


def test_many_and_long_names_do_not_flood_a_message() -> None:
    text = unknown_name("event", "e" * 10_000, [f"{'n' * 10_000}{i}" for i in range(1_000)])
    assert len(text) < 1_000
    assert "(1000 in all)" in text


def test_hostile_names_stay_on_one_line() -> None:
    text = unknown_name("event", "a\nb\x1b[31m", ["a\nc"])
    assert "\n" not in text
    assert "\x1b" not in text


def test_shorten() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "..."
    assert shorten("x" * 100) == "x" * 77 + "..."
    assert shorten(12345678901, 8) == "12345..."
