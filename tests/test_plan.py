"""The plan: what it takes, what it refuses and with which words, and YAML both ways."""

from __future__ import annotations

import datetime as dt
import pickle
import subprocess
import sys
import textwrap

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

import microconv as mc
from microconv.conditions import parse
from microconv.errors import PlanError
from microconv.plan import KINDS, End, Macro, Micro, Plan, Total, check_events

SHOP = """\
macros:
  - {name: purchase, event: purchase, value: revenue, currency: EUR}
micros:
  - {name: newsletter_signup, kind: form, event: newsletter_signup}
  - {name: watched_75, kind: engagement, event: video_progress, where: percent >= 75}
  - {name: third_visit, kind: engagement, event: session_start, nth: 3}
  - {name: five_minutes, kind: engagement, total: {column: engagement_seconds, at_least: 300}}
  - {name: add_to_cart, kind: intent, event: add_to_cart, kpi: cart rate 12% by 2027-03-31}
competing:
  - unsubscribe
censor:
  - {name: gone, event: account, where: status = 'deleted'}
segments:
  - device
  - country
horizon: 30D
lookback: 30D
session_timeout: 20min
"""
HOSTILE = ['a "quoted" one', "it's", "a->b", "<script>alert(1)</script>", "'; drop table x; --", "🛒", "x" * 10_000]
MINIMAL = {"macros": [{"name": "purchase", "event": "purchase"}]}


def with_micro(**micro: object) -> Plan:
    return Plan.model_validate({**MINIMAL, "micros": [{"name": "m", **micro}]})


def refusal(make, *args, **keywords) -> str:
    with pytest.raises(PlanError) as caught:
        make(*args, **keywords)
    return str(caught.value)


def test_the_plan_of_the_design_is_read():
    plan = Plan.from_yaml_text(SHOP)
    assert [item.name for item in plan.items] == [
        *("purchase", "newsletter_signup", "watched_75", "third_visit", "five_minutes", "add_to_cart"),
        *("unsubscribe", "gone"),
    ]
    assert plan.item("purchase") == Macro(name="purchase", event="purchase", value="revenue", currency="EUR")
    assert plan.item("third_visit").nth == 3
    assert plan.item("five_minutes").total == Total(column="engagement_seconds", at_least=300)
    assert plan.item("five_minutes").event is None
    assert plan.item("watched_75").condition == parse("percent>=75")
    assert plan.item("purchase").condition is None
    assert plan.competing == (End(name="unsubscribe", event="unsubscribe"),)
    assert (plan.segments, plan.horizon, plan.session_timeout) == (("device", "country"), "30D", "20min")


def test_only_macros_is_required():
    plan = mc.Plan(macros=[{"name": "won", "event": "deal won", "value": "eur"}])
    assert (plan.micros, plan.competing, plan.censor, plan.segments) == ((), (), (), ())
    assert (plan.horizon, plan.lookback, plan.session_timeout) == (None, None, "30min")
    assert plan.to_yaml() == "macros:\n  - {name: won, event: deal won, value: eur}\n"


def test_every_way_of_making_it_gives_the_same_plan(tmp_path):
    written = Plan.from_yaml_text(SHOP)
    file = tmp_path / "shop.yaml"
    assert written.to_yaml(file) == SHOP
    assert [path.name for path in tmp_path.iterdir()] == ["shop.yaml"]
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # as Windows editors save it
    ways = [
        Plan.from_yaml(file),
        Plan.from_yaml(str(file)),
        Plan(**dict(written)),
        Plan.model_validate(written.model_dump()),
        Plan.model_validate_json(written.model_dump_json()),
        pickle.loads(pickle.dumps(written)),
    ]
    assert all(way == written and hash(way) == hash(written) for way in ways)


def test_a_plan_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Plan.model_validate(MINIMAL).horizon = "7D"


def test_plan_order_breaks_ties():
    plan = Plan.from_yaml_text(SHOP)
    assert [plan.order(item.event) for item in plan.items if item.event] == [0, 1, 2, 3, 5, 6, 7]
    assert plan.order("page_view") == len(plan.items)
    twice = Plan(**MINIMAL, micros=[{"name": "a", "event": "v"}, {"name": "b", "event": "v", "nth": 2}])
    assert twice.order("v") == 1


def test_durations_may_be_timedeltas():
    assert (
        Plan(**MINIMAL, horizon=dt.timedelta(days=30), lookback=" 36h ")
        .to_yaml()
        .endswith("horizon: 30D\nlookback: 36h\n")
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_pass_unharmed(name):
    plan = Plan(macros=[{"name": name, "event": name}], competing=[name + "!"], segments=[name])
    assert plan.macros[0].event == name
    assert Plan.from_yaml_text(plan.to_yaml()) == plan
    note = check_events(plan, ["other"])[0]
    assert len(note) < 400


# --- YAML both ways, for any plan

odd = [
    "on",
    "no",
    "null",
    "~",
    "404",
    "1.5",
    "0x1F",
    "2026-01-01",
    "12:30",
    "=",
    "<<",
    "- a",
    "a: b",
    "#",
    " a ",
    "*x",
    "@",
]
odd += [
    "{a}",
    "[a]",
    "'",
    '"',
    "\\",
    "a\nb",
    "\n\n a",
    "a\t",
    "a\x85",
    "\u2028a",
    "\ufeffa",
    "🛒",
    "%",
    "`",
    "!!str",
    "---",
]
any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
text = any_text | st.sampled_from(odd)
durations = st.sampled_from(["30D", "36h", "1D 12h", "45s", "2W"])
wheres = st.sampled_from(["a >= 1", "b", "c in ('x', \"y\")", "`odd name` is null and not d = 'it''s'"])


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = iter(draw(st.lists(text, min_size=12, max_size=12, unique=True)))

    def item(**more: st.SearchStrategy[object]) -> dict[str, object]:
        drawn = {key: draw(st.none() | strategy) for key, strategy in {"where": wheres, **more}.items()}
        return {"name": next(names), "event": draw(text), **{key: v for key, v in drawn.items() if v is not None}}

    def micro() -> dict[str, object]:
        found = item(kind=st.sampled_from(KINDS), kpi=text)
        extra = draw(st.sampled_from(["", "nth", "total", "bare total"]))
        if extra == "nth":
            found["nth"] = draw(st.integers(1, 10**20))
        elif extra:
            least = st.floats(1e-9, 1e300) | st.integers(1, 10**18)
            found["total"] = {"column": draw(text), "at_least": draw(least)}
        if extra == "bare total":
            del found["event"]
        return found

    macros = [item(value=text) for _ in range(draw(st.integers(1, 3)))]
    micros = [micro() for _ in range(draw(st.integers(0, 3)))]
    taken = {macro["event"] for macro in macros}
    ends = [draw(st.sampled_from([name, {"name": name, "event": f"{name}!"}])) for name in [next(names), next(names)]]
    ends = [end for end in ends if not isinstance(end, str) or end not in taken]
    keys = {"horizon": durations, "lookback": durations, "session_timeout": durations | st.just("30min")}
    given = {key: draw(strategy) for key, strategy in keys.items() if draw(st.booleans())}
    segments = draw(st.lists(text, max_size=2, unique=True))
    return Plan(macros=macros, micros=micros, competing=ends[:1], censor=ends[1:], segments=segments, **given)


@given(plans())
@example(Plan(macros=[Macro(name="on", event="404")], micros=[Micro(name="=", event="<<", where="a = '\\n\\t'")]))
def test_a_plan_survives_yaml(plan):
    written = plan.to_yaml()
    again = Plan.from_yaml_text(written)
    assert again == plan
    assert again.to_yaml() == written


# --- faults


def test_every_fault_has_a_line_with_its_place_and_name():
    message = refusal(
        Plan.from_yaml_text,
        """
        macros: [{name: purchase, event: purchase}]
        micros:
          - {name: signup, event: signup, kind: form}
          - {name: watched, event: video, where: percent => 75}
          - {name: read, event: article, kind: egagement}
        horizn: 30D
        horizon: 30
        """,
    )
    assert message.splitlines() == [
        "The plan has 4 faults:",
        "  micros[1].where ('watched'): The condition 'percent => 75' cannot be read at character 9: "
        "'=>' is not an operator. Did you mean '>='?",
        "  micros[2].kind ('read'): Unknown kind 'egagement'. Did you mean 'engagement'? "
        "Known: 'engagement', 'form', 'content', 'social', 'identity', 'intent', 'survey'.",
        "  horizon: horizon=30 has no unit. Give a string such as '30D', '36h', '90min', '45s' "
        "(units W, D, h, min, s, ms, us) or a timedelta; for 30 days write '30D'.",
        "  Unknown key 'horizn'. Did you mean 'horizon'? Known: 'macros', 'micros', 'competing', 'censor', "
        "'segments', 'behaviour', 'horizon', 'lookback', 'session_timeout'.",
    ]


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("macro: [{name: a, event: a}]", "Unknown key 'macro'. Did you mean 'macros'?"),
        ("micros: []", "macros: It is missing; a plan needs `macros`."),
        ("macros:", "macros: It is empty; name at least one macro-conversion."),
        ("macros: purchase", "macros: It must be a list, got 'purchase'; write macros: [purchase]."),
        (
            "macros: {name: a, event: a}",
            "macros: It must be a list, got {'name': 'a', 'event': 'a'}; start each item with a dash.",
        ),
        (
            "macros: [purchase]",
            "macros[0]: It must be a mapping such as {name: signup, event: signup}, got 'purchase'.",
        ),
        ("macros: [{name: a}]", "macros[0].event ('a'): It is missing; a macro needs `name` and `event`."),
        ("macros: [{name: a, evnt: a}]", "macros[0] ('a'): Unknown key 'evnt'. Did you mean 'event'?"),
        (
            "macros: [{name: a, event: 404}]",
            "macros[0].event ('a'): It must be text, got the number 404. Quote it: event: '404'.",
        ),
        ("macros: [{name: a, event: 1.50}]", "got the number 1.5. Quote it"),
        (
            "macros: [{name: a, event: 2026-01-31}]",
            "It must be text, got the date 2026-01-31. Quote it: event: '2026-01-31'.",
        ),
        (
            "macros: [{name: on, event: a}]",
            "macros[0].name: It must be text, got true. YAML reads a bare yes, no, on, off",
        ),
        (
            "macros: [{name: no, event: a}]",
            "got false. YAML reads a bare yes, no, on, off, true or false so: quote the text",
        ),
        (
            "macros: [{name: a, event: }]",
            "macros[0].event ('a'): It is empty. Write a text, in quotes if the text is null.",
        ),
        ("macros: [{name: a, event: ' '}]", "macros[0].event ('a'): It is blank. Write a text."),
        ('macros: [{name: a, event: "\\0"}]', "holds a character that no text file can hold."),
        ("macros: [{name: a, event: [b]}]", "It must be text, got the list ['b']."),
        ("macros: [{on: a, name: a, event: a}]", "macros[0] ('a'): The key True must be text; in YAML quote it."),
        ("404: a", "The key 404 must be text; in YAML quote it."),
        (
            "macros: [{name: a, event: a, currency: EUR}]",
            "macros[0].currency ('a'): It says in what `value` is counted",
        ),
        (
            "macros: [{name: a, event: a, value: v, currency: eur}]",
            "'eur' is not a currency. Write its three capital letters",
        ),
        (
            "macros: [{name: a, event: a, where: }, {name: a, event: b}]",
            "macros[1].name ('a'): The name 'a' is already that of macros[0]",
        ),
        (
            "macros: [{name: a, event: a}]\ncensor: [a]",
            "censor[0].name: The name 'a' is already that of macros[0]; names are unique.",
        ),
        (
            "macros: [{name: a, event: e, where: n = 1}]\ncompeting: [{name: b, event: e, where: n==1}]",
            "competing[0] ('b'): It is the same event on the same condition as macros[0]; it can be only one of them.",
        ),
        (
            "macros: [{name: a, event: a}]\nsegments: device",
            "segments: It must be a list, got 'device'; write segments: [device].",
        ),
        ("macros: [{name: a, event: a}]\nsegments: [x, x]", "segments[1]: The segment 'x' is given twice."),
        ("macros: [{name: a, event: a}]\nsegments: [no]", "segments[0]: It must be text, got false."),
        ("macros: [{name: a, event: a}]\nhorizon: 2M", "horizon: horizon='2M' is not a duration."),
        ("macros: [{name: a, event: a}]\nlookback: -3D", "lookback: lookback='-3D' is not a duration."),
        ("macros: [{name: a, event: a}]\nsession_timeout: 0min", "must be longer than zero"),
    ],
)
def test_what_is_wrong_with_a_plan(yaml, said):
    message = refusal(Plan.from_yaml_text, yaml)
    assert said in message
    assert "pydantic" not in message


@pytest.mark.parametrize(
    ("micro", "said"),
    [
        ({}, "micros[0].event ('m'): It is missing; only a micro with `total` does without."),
        ({"event": "e", "nth": 0}, "micros[0].nth ('m'): It must be a whole number of at least 1, got 0."),
        ({"event": "e", "nth": True}, "It must be a whole number of at least 1, got True."),
        ({"event": "e", "nth": 2.0}, "It must be a whole number of at least 1, got 2.0."),
        ({"event": "e", "nth": "3"}, "It must be a whole number of at least 1, got '3'."),
        ({"event": "e", "nth": 2, "total": {"column": "c", "at_least": 1}}, "`nth` and `total` exclude each other"),
        (
            {"total": 300},
            "micros[0].total ('m'): It must be a mapping such as {column: seconds, at_least: 300}, got 300.",
        ),
        (
            {"total": {"at_least": 1}},
            "micros[0].total.column ('m'): It is missing; a total needs `column` and `at_least`.",
        ),
        (
            {"total": {"colum": "c", "at_least": 1}},
            "micros[0].total ('m'): Unknown key 'colum'. Did you mean 'column'?",
        ),
        ({"total": {True: "c", "at_least": 1}}, "micros[0].total ('m'): The key True must be text"),
        (
            {"total": {"column": "c", "at_least": 0}},
            "micros[0].total.at_least ('m'): It must be a number above 0, got 0.",
        ),
        ({"total": {"column": "c", "at_least": "5"}}, "It must be a number above 0, got '5'."),
        ({"total": {"column": "c", "at_least": True}}, "It must be a number above 0, got True."),
        ({"total": {"column": "c", "at_least": float("nan")}}, "It must be a number above 0, got nan."),
        ({"event": "e", "kind": "Form"}, "Unknown kind 'Form'. Did you mean 'form'?"),
        ({"event": "e", "kind": ["form"]}, "Unknown kind ['form']."),
        ({"event": "e", "where": 75}, "micros[0].where ('m'): It must be text, got the number 75."),
        ({"event": "e", "where": "("}, "micros[0].where ('m'): The condition '(' cannot be read at character 2"),
        ({"event": "e", "value": "revenue"}, "micros[0] ('m'): Unknown key 'value'."),
        ({"event": "e" * 10_000, "kind": "k" * 10_000}, "Unknown kind 'kkkk"),
    ],
)
def test_what_is_wrong_with_a_micro(micro, said):
    message = refusal(with_micro, **micro)
    assert said in message
    assert len(message) < 500


def test_each_model_alone_raises_plan_errors_too():
    assert (
        refusal(Macro, name="a") == "The macro has a fault:\n  event: It is missing; a macro needs `name` and `event`."
    )
    assert "Did you mean 'event'?" in refusal(End, name="a", evnt="a")
    assert "at_least: It must be a number above 0" in refusal(Total, column="a", at_least=-1)
    assert "micros[0] ('a'): It must be a mapping" in refusal(Plan, **MINIMAL, micros=[Macro(name="a", event="a")])
    assert "It must be a mapping such as {macros: " in refusal(Plan.model_validate, 5)
    assert "Invalid JSON" in refusal(Plan.model_validate_json, "{")
    assert "segments: It must be a list, got {'a'}" in refusal(Plan, **MINIMAL, segments={"a"})


def test_an_error_survives_pickling():
    with pytest.raises(PlanError) as caught:
        with_micro(event="e", nth=0)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("", "The plan is empty. It needs at least `macros`"),
        ("# only a comment", "The plan is empty."),
        ("- a", "The plan must be a mapping with the key `macros`, got a list."),
        ("purchase", "The plan must be a mapping with the key `macros`, got 'purchase'."),
        ("macros: []\nmacros: []", "in line 2, column 1: the key 'macros' is given twice, first in line 1."),
        ("macros: [{name: a, event: b, name: c}]", "in line 1, column 30: the key 'name' is given twice"),
        ("macros: &x [a]\nmicros: *x", "in line 2, column 9: a plan knows no aliases"),
        ("macros: [{<<: {name: a}, event: b}]", "in line 1, column 11: "),
        ("? [a]\n: b", "a key must be plain text"),
        ("macros: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("[" * 10_000, "it is nested too deeply"),
        ("macros:\n\t- a", "Indent with spaces, not tabs."),
        ("macros: [{name: a, event: b: c}]", "Quote text that holds any of : # ,"),
        ("macros: [{name: a, event: =}]", "Quote text that holds any of"),
        ("macros: [{name: a, event: 2026-02-30}]", "Quote text that looks like a date or number."),
        ("\0", "unacceptable character"),
        ("x" * 1_000_001, "is longer than a plan may be: 1,000,000 characters."),
        (404, "The plan must be text, got 404."),
    ],
)
def test_what_is_no_yaml_of_a_plan(yaml, said):
    assert said in refusal(Plan.from_yaml_text, yaml)


def test_what_is_no_file_of_a_plan(tmp_path):
    missing = tmp_path / "plam.yaml"
    assert refusal(Plan.from_yaml, missing).endswith(f"does not exist; there is no YAML file in {str(tmp_path)!r}.")
    (tmp_path / "plan.yaml").write_text("macros: [{name: a}]")
    assert refusal(Plan.from_yaml, missing).endswith("does not exist. Did you mean 'plan.yaml'?")
    assert refusal(Plan.from_yaml, tmp_path / "zzz").endswith("does not exist. There are 'plan.yaml'.")
    assert "is a folder. Name the YAML file in it. There are 'plan.yaml'." in refusal(Plan.from_yaml, tmp_path)
    faulty = refusal(Plan.from_yaml, tmp_path / "plan.yaml")
    assert faulty.startswith(
        f"The plan {str(tmp_path / 'plan.yaml')!r} has a fault:\n  macros[0].event ('a'): It is missing"
    )
    (tmp_path / "latin.yaml").write_bytes("macros: [{name: ü, event: a}]".encode("latin-1"))
    assert "is not UTF-8 text (byte 16). Save it as UTF-8." in refusal(Plan.from_yaml, tmp_path / "latin.yaml")
    (tmp_path / "long.yaml").write_bytes(b"#" * 1_000_001)
    assert "is longer than a plan may be: 1,000,000 bytes." in refusal(Plan.from_yaml, tmp_path / "long.yaml")
    assert "for YAML text call Plan.from_yaml_text" in refusal(Plan.from_yaml, SHOP)
    assert "must be text or a Path, got 5." in refusal(Plan.from_yaml, 5)
    assert "cannot be read" in refusal(Plan.from_yaml, "a\0b")
    assert "cannot be read" in refusal(Plan.from_yaml, "x" * 5000)


def test_a_plan_that_cannot_be_written(tmp_path):
    target = tmp_path / "missing" / "plan.yaml"
    message = refusal(Plan.model_validate(MINIMAL).to_yaml, target)
    assert message.startswith(f"The plan cannot be written to {str(target)!r}: No such file or directory.")
    assert list(tmp_path.iterdir()) == []


def test_an_item_that_the_plan_lacks():
    message = refusal(Plan.from_yaml_text(SHOP).item, "purchse")
    assert message.startswith("Unknown plan item 'purchse'. Did you mean 'purchase'? Known: 'purchase', ")


def test_items_whose_event_never_occurs():
    plan = Plan.from_yaml_text(SHOP)
    names = ["page_view", "Purchase", "video_progress", "session_start", "add_to_cart", "unsubscribe", "account"]
    assert check_events(plan, names) == [
        "The macro 'purchase' never occurs: no event is named 'purchase'. Did you mean 'Purchase'?",
        "The micro 'newsletter_signup' never occurs: no event is named 'newsletter_signup'. Events that occur: "
        "'page_view', 'Purchase', 'video_progress', 'session_start', 'add_to_cart', ...",
    ]
    assert check_events(plan, [*names, "purchase", "newsletter_signup"]) == []
    assert (
        check_events(plan, [])[-1]
        == "The censoring event 'gone' never occurs: no event is named 'account'. There are no events."
    )
    assert "The competing end 'unsubscribe'" in check_events(plan, [])[-2]
    assert check_events(plan, iter([None, *names])) == check_events(plan, names)


def test_numpy_text_is_text():
    plan = Plan(macros=[{"name": np.str_("a"), "event": np.array(["a"])[0]}])
    assert Plan.from_yaml_text(plan.to_yaml()) == plan


def test_importing_the_plan_loads_no_engine():
    code = "import sys, microconv.plan; print([m for m in ('ibis', 'duckdb', 'pandas', 'numpy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_yaml_is_read_from_an_indented_text():
    assert Plan.from_yaml_text(textwrap.indent(SHOP, "    ")) == Plan.from_yaml_text(SHOP)
