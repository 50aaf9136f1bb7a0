"""Impossible options fail at once and say what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import microconv as mc
from microconv.simulate import (
    Calendar,
    End,
    Eventual,
    Faults,
    Identity,
    Intent,
    Macro,
    Micro,
    OrderValue,
    Steps,
    Trait,
    Visits,
    World,
    confounded_world,
    null_world,
    strong_world,
    web_shop,
)

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: mc.simulate(0), r"users=0 must be a whole number of at least 1"),
    (lambda: mc.simulate(1.5), r"users=1\.5 must be a whole number"),
    (lambda: mc.simulate(True), r"users=True must be a whole number"),
    (lambda: mc.simulate(10, -1), r"seed=-1 must be a whole number of at least 0"),
    (lambda: mc.simulate(10, world="shopp"), r"Unknown world 'shopp'\. Did you mean 'shop'\?"),
    (lambda: mc.simulate(10, world=3), r"Unknown world 3.*Or give a World"),
    (lambda: Micro("cart", hazard_ratio=-1), r"Micro\('cart'\): hazard_ratio=-1 must be a number above 0"),
    (lambda: Micro("cart", hazard_ratio=float("nan")), r"hazard_ratio=nan must be a number above 0"),
    (lambda: Micro("cart", hazard_ratio="3"), r"hazard_ratio='3' must be a number above 0"),
    (lambda: Micro("cart", rate_per_day=-0.1), r"rate_per_day=-0\.1 must be a number of 0 or more"),
    (lambda: Micro("cart", kind="intents"), r"Unknown kind .*'intents'\. Did you mean 'intent'\?"),
    (lambda: Micro("", "form"), r"Micro: name='' must be a name"),
    (lambda: Micro("cart", causes=["share"]), r"causes=\['share'\] must be a mapping"),
    (lambda: Micro("cart", causes={"share": -2}), r"causes\['share'\]=-2 must be a number of 0 or more"),
    (lambda: Micro("cart", fade_days=0), r"fade_days=0 must be a number above 0"),
    (lambda: Macro(rate_per_day="1/week"), r"Macro\('purchase'\): rate_per_day='1/week' must be a number"),
    (lambda: Steps((1.0, 1.0), (1, 2, 3)), r"must grow"),
    (lambda: Steps((1.0,), (0.1,)), r"1 cut points make 2 intervals"),
    (lambda: Steps((1.0,), (0.1, -1)), r"per_day=-1"),
    (lambda: OrderValue(median=0), r"OrderValue: median=0"),
    (lambda: OrderValue(refund_share=1.2), r"refund_share=1\.2 must be a fraction from 0 to 1"),
    (lambda: Intent("interest", 30), r"share_high=30 must be a fraction from 0 to 1"),
    (lambda: Intent("interest", low="x", high="x"), r"low and high are both 'x'"),
    (lambda: Trait("device", {"mobile": 0.5, "desktop": 0.4}), r"add up to 0\.9, but must add up to 1"),
    (lambda: Trait("device", {"mobile": 1.0}, {"purchase": {"mobil": 2.0}}), r"Did you mean 'mobile'\?"),
    (lambda: Calendar(first_day="1.3.2026"), r"first_day='1\.3\.2026' is not a day. Write it as '2026-01-31'"),
    (lambda: Calendar(entries_over=60), r"entries_over=60 has no unit.*'60D'"),
    (lambda: Calendar(entries_over="0D"), r"must be longer than zero"),
    (lambda: Visits(pages=0.5), r"pages=0\.5 must be at least 1"),
    (lambda: Visits(items=0), r"items=0 must be a whole number of at least 1"),
    (lambda: Identity(user_id="cookie"), r"Unknown Identity: user_id 'cookie'"),
    (lambda: Identity(user_id="known"), r"user_id='known' needs known_by="),
    (lambda: Faults(late=2), r"Faults: late=2 must be a fraction"),
    (lambda: Faults(bots=0.5), r"Faults: bots=0\.5 must be a whole number"),
    (lambda: confounded_world(0), r"hidden_effect=0 must be a number above 0"),
    (lambda: World(horizon=30), r"World: horizon=30 has no unit"),
    (lambda: World(consent_share=97), r"consent_share=97 must be a fraction"),
    (lambda: World(micros=(Micro("a"), Micro("a"))), r"the name 'a' is given twice"),
    (lambda: World(micros=(Micro("page_view"),)), r"'page_view' is taken by the simulation itself"),
    (lambda: World(traits=(Trait("time", {"a": 1.0}),)), r"the column 'time' is taken"),
    (lambda: World(intent=Intent("x"), hidden_intent=Intent("x")), r"the column 'x' is taken or given twice"),
    (lambda: World(micros=(Micro("a", causes={"b": 2.0}),)), r"Unknown process in causes of Micro\('a'\) 'b'"),
    (lambda: World(micros=(Micro("a", causes={"purchase": 2.0}),)), r"Unknown process in causes .*'purchase'"),
    (lambda: World(micros=(Micro("a", requires="c"),)), r"Unknown micro that Micro\('a'\) requires 'c'"),
    (lambda: World(micros=(Micro("a", requires="b"), Micro("b", requires="a"))), r"waits for itself"),
    (lambda: World(micros=(Micro("a", nth=2),)), r"nth=2 needs 1 micros of the event 'a' before it"),
    (lambda: World(macro=Macro(requires="x")), r"Unknown micro that Macro\('purchase'\) requires 'x'"),
    (lambda: Macro(rate_per_day=Eventual(), requires="checkout"), r"requires='checkout' holds a rate back, but an Ev"),
    (lambda: World(competing=(End("gone", requires="x"),)), r"Unknown micro that End\('gone'\) requires 'x'"),
    (lambda: World(micros=(Micro("a", intent_effect=2.0),)), r"'a' has intent_effect=2\.0, but the world has no"),
    (lambda: World(macro=Macro(hidden_intent_effect=2.0)), r"Give hidden_intent=Intent\('column'\)"),
    (lambda: World(faults=Faults(bots=1)), r"need page views, but visits=None"),
    (lambda: World(segments=("device",)), r"Unknown segment 'device'"),
    (lambda: World(traits=(Trait("d", {"a": 1.0}, {"buy": {"a": 2.0}}),)), r"Unknown process in Trait\('d'\)"),
    (lambda: World(identity=Identity(0, "known", ("login",))), r"Unknown event in Identity: known_by 'login'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_impossible_options(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(mc.ParameterError, match=message):
        make()


def test_faults_on_request_are_checked_with_the_world() -> None:
    with pytest.raises(mc.ParameterError, match="need page views"):
        mc.simulate(10, world="strong", faults=Faults(missing_user=0.1))


def test_options_are_frozen_and_worlds_can_be_derived() -> None:
    world = null_world()
    with pytest.raises(AttributeError):
        world.micros = ()  # type: ignore[misc]
    longer = replace(world, calendar=Calendar(follow_up="200D"))
    assert (
        mc.simulate(300, world=longer).users["stop_days"].max() > mc.simulate(300, world=world).users["stop_days"].max()
    )


def test_the_worlds_given_are_worlds_of_their_name() -> None:
    for world, name in ((null_world(), "null"), (confounded_world(), "confounded"), (strong_world(), "strong")):
        assert world.name == name
        assert mc.simulate(50, world=name).truth.world == world
    assert {micro.hazard_ratio for micro in null_world().micros} == {1.0}
    assert web_shop().visits is not None


def test_the_function_stays_a_function_after_its_module_was_imported() -> None:
    import microconv
    import microconv.funnel
    import microconv.simulate

    assert callable(microconv.simulate)
    assert callable(microconv.funnel)
