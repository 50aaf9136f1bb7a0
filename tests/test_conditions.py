"""The language of `where`: what it says, what it means on every engine, and how its errors read."""

from __future__ import annotations

import datetime as dt
import pickle
import subprocess
import sys

import hypothesis.strategies as st
import ibis
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings

from microconv import conditions
from microconv.conditions import And, Column, Compare, In, IsNull, Literal, Not, Or, parse
from microconv.engine import DIALECTS
from microconv.errors import PlanError

UTC = dt.UTC
ROW = {"n": 5, "x": 2.5, "s": "it's", "b": True, "gone": None, "t": dt.datetime(2026, 1, 31, 12, tzinfo=UTC)}
SCHEMA = pa.schema(
    {
        "n": pa.int64(),
        "x": pa.float64(),
        "s": pa.string(),
        "b": pa.bool_(),
        "t": pa.timestamp("us", tz="UTC"),
        "d": pa.date32(),
    }
)

# --- strategies: any condition over the columns of SCHEMA, with comparisons of like types only

whole = st.integers(-4, 4)
broken = st.sampled_from([-1.5, -0.0, 0.25, 1.0, 3.0, 1e16, 1e-5])
words = st.sampled_from(
    ["", "a", "B", "b", "it's", '"', "\\", "a\nb", "ü", "🛒", "a->b", "<b>", "'; drop table x", "9", "10"]
)
moments = st.sampled_from([dt.datetime(2026, 1, 31, 12, tzinfo=UTC), dt.datetime(2025, 6, 1, 0, 0, 0, 1, tzinfo=UTC)])
dates = st.sampled_from([dt.date(2026, 1, 31), dt.date(2025, 6, 1)])
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
equality = st.sampled_from(["=", "!="])
VALUES = {
    "n": whole | broken,
    "x": whole | broken,
    "s": words,
    "b": st.booleans(),
    "t": moments.map(lambda t: t.isoformat()),
    "d": dates.map(str),
}
CELLS = {"n": whole, "x": broken | st.just(float("nan")), "s": words, "b": st.booleans(), "t": moments, "d": dates}


@st.composite
def one_test(draw: st.DrawFn) -> conditions.Condition:
    name = draw(st.sampled_from(SCHEMA.names))
    kind = draw(st.sampled_from(["compare", "mirrored", "in", "null", "columns"]))
    if kind == "null":
        return IsNull(Column(name))
    if kind == "in":
        return In(Column(name), tuple(Literal(v) for v in draw(st.lists(VALUES[name], min_size=1, max_size=3))))
    op = draw(equality if name == "b" else operators)
    if kind == "columns":
        return Compare(Column(name), op, Column({"n": "x", "x": "n"}.get(name, name)))
    sides = Column(name), Literal(draw(VALUES[name]))
    return Compare(sides[0], op, sides[1]) if kind == "compare" else Compare(sides[1], op, sides[0])


any_condition = st.recursive(
    one_test() | st.just(Column("b")) | st.booleans().map(Literal),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(And)
        | st.lists(inner, min_size=2, max_size=3).map(tuple).map(Or)
        | inner.map(Not)
    ),
    max_leaves=8,
)
any_row = st.fixed_dictionaries({name: st.none() | cells for name, cells in CELLS.items()})

# Spelling alone: any name, any text, any number.
sane = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
names = sane.filter(bool) | st.sampled_from(
    ["and", "NULL", "In", "a.b", "$os", "a b", "`", "``a", "1a", "ümlaut", "数量"]
)
literals = sane | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()


@given(names, operators, literals, st.lists(sane, min_size=1, max_size=3))
def test_any_name_and_any_value_survive_their_spelling(name, op, value, options):
    column = Column(name)
    condition = Or((Compare(column, op, Literal(value)), Not(In(column, tuple(map(Literal, options)))), IsNull(column)))
    again = parse(condition.to_text())
    assert again == condition
    assert again.to_text() == condition.to_text()
    assert [type(v) for v in (again.parts[0].right.value, value)] == [type(value)] * 2


@given(any_condition)
def test_parsing_the_canonical_text_gives_the_same_condition(condition):
    assert parse(condition.to_text()) == condition
    assert pickle.loads(pickle.dumps(condition)) == condition


@settings(max_examples=60, deadline=None)
@given(any_condition, st.lists(any_row, min_size=1, max_size=4))
@example(Not(Compare(Column("x"), ">=", Literal(1))), [dict.fromkeys(SCHEMA.names) | {"x": float("nan")}])
def test_duckdb_means_the_same_as_plain_python(duck, condition, rows):
    table = pa.Table.from_pylist(
        [row | {"i": i} for i, row in enumerate(rows)], SCHEMA.append(pa.field("i", pa.int64()))
    )
    events = duck.create_table("events", table, overwrite=True)
    raw = events.select("i", found=condition.to_ibis(events)).order_by("i").to_pyarrow()["found"].to_pylist()
    assert raw == [condition.evaluate(row) for row in rows]
    kept = events.filter(conditions.matches(condition, events)).order_by("i").to_pyarrow()["i"].to_pylist()
    assert kept == [i for i, row in enumerate(rows) if condition.evaluate(row) is True]


@pytest.fixture(scope="module")
def duck():
    backend = ibis.duckdb.connect()
    backend.raw_sql("SET TimeZone = 'UTC'")
    yield backend
    backend.disconnect()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = 5", True),
        ("n == 5.0", True),
        ("n <> 5", False),
        ("5 <= n", True),
        ("n > -1 and x < .5", False),
        ("n>=5 and(x=2.5)", True),
        ("n = 1 or n = 5 and x = 2.5", True),
        ("(n = 1 or n = 5) and x = 0", False),
        ("not n = 5 or b", True),
        ("NOT (n = 5 OR b)", False),
        ("s = 'it''s'", True),
        (r"s = 'it\'s'", True),
        ('s = "it\'s"', True),
        ("s in ('a', \"it's\")", True),
        ("s not in ('a')", True),
        ("b", True),
        ("not b", False),
        ("b = TRUE", True),
        ("true", True),
        ("gone = 5", None),
        ("gone", None),
        ("not gone = 5", None),
        ("gone in (1, 2)", None),
        ("gone = 5 and n = 1", False),
        ("gone = 5 and n = 5", None),
        ("gone = 5 or n = 5", True),
        ("gone is null and n IS NOT NULL", True),
        ("t >= '2026-01-31'", True),
        ("t > '2026-01-31T12:00:00+00:00'", False),
        ("t < '2026-01-31T14:00:00+01:00'", True),
        ("`n` = 5", True),
    ],
)
def test_what_a_condition_says(text, expected):
    assert parse(text).evaluate(ROW) is expected


def test_columns_and_canonical_spelling():
    condition = parse("NOT (`a b` == 1 OR c.d<>'x') And e Not In (1,2)")
    assert condition.columns == {"a b", "c.d", "e"}
    assert condition.to_text() == "not (`a b` = 1 or c.d != 'x') and e not in (1, 2)"


def test_a_literal_one_is_not_true():
    assert parse("a = 1") != parse("a = true")
    assert parse("a = 1") == parse("a = +1")


def cannot_read(text: str) -> str:
    with pytest.raises(PlanError) as caught:
        parse(text)
    return str(caught.value)


def test_an_error_points_at_the_fault():
    assert cannot_read("percent => 75") == (
        "The condition 'percent => 75' cannot be read at character 9: '=>' is not an operator. Did you mean '>='?\n"
        "    percent => 75\n"
        "            ^"
    )


def test_the_pointer_stands_under_the_fault_after_wide_characters_and_other_lines():
    assert cannot_read("a = 1 and\n数量 => 75").splitlines()[1:] == ["    数量 => 75", "         ^"]


def test_a_long_condition_shows_only_the_neighbourhood_of_the_fault():
    message = cannot_read("a = 1 or " * 5000 + "a => 1" + " or a = 1" * 5000)
    assert len(message) < 400
    _, line, pointer = message.splitlines()
    assert line[pointer.index("^") :].startswith("=> 1 or")


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("a =< 1", 3, "Did you mean '<='?"),
        ("a && b", 3, "Did you mean 'and'?"),
        ("a || b", 3, "Did you mean 'or'?"),
        ("!a", 1, "Did you mean 'not'?"),
        ("a === 1", 3, "Did you mean '='?"),
        ("", 1, "It is empty."),
        (" \n", 1, "It is empty."),
        ("a =", 4, "Expected a column or a value, but it ends."),
        ("= 1", 1, "Expected a column or a value, but found '='."),
        ("a = 1 b = 2", 7, "Expected `and`, `or` or the end, but found 'b'."),
        ("a = 1 and", 10, "but it ends"),
        ("(a = 1", 1, "This parenthesis is not closed."),
        ("a = 1)", 6, "This parenthesis closes nothing."),
        ("(a = 1 b", 8, "Expected `and`, `or` or a closing parenthesis, but found 'b'."),
        ("1 < x < 5", 7, "Comparisons do not chain: write 1 < x and x < 5."),
        ("x = null", 5, "write `is null`"),
        ("x is true", 6, "After `is` comes `null` or `not null`"),
        ("x like 'a%'", 3, "'like' is not an operator. There are = != < <= > >=, in (..)"),
        ("x between 1 and 2", 3, "There is no between: write x >= 1 and x <= 9."),
        ("lower(x) = 'a'", 1, "There are no functions."),
        ("__import__('os').system('ls')", 1, "There are no functions."),
        ("x + 1 = 2", 3, "There is no arithmetic"),
        ("x-1 = 2", 2, "Expected an operator such as"),
        ("x = 1; drop table events", 6, "A condition is one expression."),
        ("day >= 2026-01-31", 12, "dates are written in quotes"),
        ("x = 30D", 5, "A number runs into other characters"),
        ("x = 'abc", 5, "The text that starts here is not closed"),
        ("x = 'it's'", 9, "found 's'"),
        ("`x = 1", 1, "The column name that starts here is empty or not closed."),
        ("`` = 1", 1, "The column name that starts here is empty or not closed."),
        (r"x = 'C:\dir'", 8, "double it"),
        ("x = \u2018a\u2019", 5, "Use straight quotes"),
        ("x in [1, 2]", 6, "Lists are written in parentheses: in (1, 2)."),
        ("x in 1", 6, "After `in` comes a list of values in parentheses"),
        ("x in ()", 7, "The list is empty."),
        ("x in (1 2)", 9, "There is no arithmetic"),
        ("x in (1; 2)", 8, "A condition is one expression."),
        ("x in (a)", 7, "A list holds values, not columns: quote the text 'a'."),
        ("x in (1, 'a')", 10, "number and text are mixed"),
        ("x in (1, null)", 10, "Nothing equals null"),
        ("5 in (5)", 1, "`in` asks about a column"),
        ("'a' is null", 1, "`is null` asks about a column"),
        ('"percent" >= 75', 1, "Two values are compared, no column"),
        ("'abc'", 1, "A value alone is no condition"),
        ("75", 1, "A value alone is no condition"),
        ("a 5", 3, "Expected an operator such as"),
        ("x = 9223372036854775808", 5, "A whole number must fit into 64 bits."),
        ("x = " + "9" * 5000, 5, "has 5000 digits"),
        ("x = 1e999", 5, "is not finite"),
        ("x = 'a\0b'", 7, r"The character '\x00' cannot stand in text."),
        ("x = '\ud800'", 6, r"The character '\ud800' cannot stand in text."),
        ("x @ 1", 3, "The character '@' has no meaning here."),
    ],
)
def test_each_fault_says_where_it_is_and_how_to_mend_it(text, at, said):
    message = cannot_read(text)
    assert f"cannot be read at character {at}: " in message
    assert said in message


@pytest.mark.parametrize("opening", ["(", "not ", "not ("])
def test_deep_nesting_is_an_error_not_a_crash(opening):
    assert "nested too deeply: at most 50 levels" in cannot_read(opening * 5000 + "a" + ")" * 5000)
    assert parse("(" * 50 + "a" + ")" * 50) == Column("a")


def test_length_is_limited_and_a_long_condition_runs(duck):
    assert "of 100,001 characters is too long: at most 100,000" in cannot_read("a" * 100_001)
    events = duck.create_table("long", pa.table({"n": [7, 4000]}), overwrite=True)
    many = parse(" or ".join(f"n = {i}" for i in range(1, 3000)))
    assert events.filter(conditions.matches(many, events)).to_pyarrow()["n"].to_pylist() == [7]
    listed = parse(f"n in ({', '.join(map(str, range(1, 3000)))})")
    assert events.filter(conditions.matches(listed, events)).to_pyarrow()["n"].to_pylist() == [7]


@pytest.mark.parametrize("value", [75, None, ["a = 1"], True])
def test_a_condition_must_be_text(value):
    with pytest.raises(PlanError, match=r"A condition must be text such as 'percent >= 75', got"):
        parse(value)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 2**63, 10**400, dt.date(2026, 1, 1)])
def test_a_literal_is_text_a_finite_number_or_a_boolean(value):
    with pytest.raises(PlanError):
        Literal(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "s >= 75",
            "compares the column 's' (of type string) with 75 (a number). Text is ordered as text ('10' comes",
        ),
        ("s = 75", "Quote the value: s = '75'."),
        ("75 = s", "compares 75 (a number) with the column 's' (of type string). Quote the value: s = '75'."),
        ("s = true", "Quote the value: s = 'true'."),
        ("n = '75'", "compares the column 'n' (of type int64) with '75' (text). Write it without quotes: n = 75."),
        ("x = 'a'", "Compare it with a number."),
        ("n = true", "compares the column 'n' (of type int64) with true (a true/false value)."),
        ("b = 1", "compares the column 'b' (of type boolean) with 1 (a number). Write b, or not b."),
        ("n in ('a', 'b')", "compares the column 'n' (of type int64) with 'a' (text)."),
        ("n = s", "compares the column 'n' (of type int64) with the column 's' (of type string)."),
        ("t = d", "compares the column 't' (of type timestamp('UTC', 6)) with the column 'd' (of type date)."),
        ("t > 5", "with 5 (a number). Write a time as quoted text: '2026-01-31'."),
        ("t > 'soon'", "'soon' is not a time. Write it as '2026-01-31' or '2026-01-31T12:00:00+01:00'."),
        ("d > 'soon'", "'soon' is not a date. Write it as '2026-01-31'."),
        ("l = 1", "compares the column 'l' (of type array<int64>) with 1 (a number). Only numbers, text, true/false"),
        ("b < true", "puts true and false in order: compare them with = or !=."),
        ("s", "is a column of type string; on its own it must hold true or false. Compare it with a value (s = ...)"),
        (
            "percnt >= 75",
            "names a column that the events lack. Unknown column 'percnt'. Did you mean 'percent'? Known: 'n'",
        ),
    ],
)
def test_what_the_table_cannot_answer(text, said):
    table = ibis.table({**ibis.schema(SCHEMA), "l": "array<int64>", "percent": "float64"}, name="events")
    with pytest.raises(PlanError) as caught:
        parse(text).to_ibis(table)
    assert said in str(caught.value)


def test_plain_python_refuses_the_same():
    for text, said in [
        ("s >= 75", "the column 's' (of type str) with 75 (a number)"),
        ("s", "is a column of type str; on its own"),
        ("m = 1", "Unknown column 'm'"),
        ("b < false", "puts true and false in order"),
        ("t > 'soon'", "'soon' is not a time."),
    ]:
        with pytest.raises(PlanError) as caught:
            parse(text).evaluate(ROW)
        assert said in str(caught.value)


def test_a_time_without_zone_is_utc(duck):
    times = pa.table({"t": pa.array([dt.datetime(2026, 1, 31, 12), None], pa.timestamp("us"))})
    events = duck.create_table("naive", times, overwrite=True)
    for text in ("t = '2026-01-31T12:00:00'", "t in ('2026-01-31T13:00:00+01:00')", "'2026-01-31' < t"):
        found = events.select(found=conditions.matches(parse(text), events)).to_pyarrow()["found"].to_pylist()
        assert found == [parse(text).evaluate({"t": dt.datetime(2026, 1, 31, 12)}), False] == [True, False]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_engine_gets_text_as_text(dialect):
    if dialect == "pyspark":
        pytest.importorskip("pyspark", reason="Ibis needs pyspark to write its SQL")
        assert ibis.pyspark.name == dialect  # loads what Ibis needs to write Spark's SQL
    table = ibis.table(SCHEMA, name="events")
    condition = parse(r"s in ('it''s', 'a\\', '-- x') and x >= 1 and t >= '2026-01-31' and d = '2026-01-31' or not b")
    sql = str(ibis.to_sql(table.filter(conditions.matches(condition, table)), dialect=dialect))
    escaped = {"it''s", r"it\'s"}
    assert any(spelling in sql for spelling in escaped)
    assert "2026-01-31" in sql.replace("(2026, 1, 31", "2026-01-31")


def test_importing_the_language_loads_no_engine():
    code = "import sys, microconv.conditions; print([m for m in ('ibis', 'duckdb', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_pandas_missing_values_are_nulls(duck):
    events = duck.create_table("frame", pd.DataFrame({"x": [1.0, float("nan")]}), overwrite=True)
    assert events.filter(conditions.matches(parse("x is null"), events)).count().execute() == 1
    assert events.filter(conditions.matches(parse("not x >= 5"), events)).count().execute() == 1
