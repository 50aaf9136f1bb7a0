"""Records inside columns: their fields, their named parameters, and text that holds them, in the engine.

Lists are looked up with a filter and an index, never unnested, so that a row stays a row; the one exception is the scan
that finds out which parameters there are. DuckDB, Spark and BigQuery run the same expressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import ibis

from microconv.errors import SourceError

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from microconv.engine import Engine

__all__ = [
    "KEYED",
    "Parameter",
    "field",
    "first",
    "is_keyed",
    "json_text",
    "number",
    "parameter",
    "parameters",
    "records_of_text",
]

# Each value as text: a whole number of 64 bits that JSON holds as text or as a number is the same digits then.
KEYED = (
    "array<struct<key: string, value: struct<string_value: string, int_value: string, float_value: string, "
    "double_value: string>>>"
)
_DECIMALS = ("double_value", "float_value")
_TO_JSON = {"bigquery": "TO_JSON_STRING"}
_SPARK = ("pyspark", "databricks")


@dataclass(frozen=True)
class Parameter:
    """A name in a list of keys and values, and the type that holds all of its values: int64, float64 or string."""

    name: str
    kind: str


@cache
def _from_json(kind: str, dialect: str) -> Any:
    """The engine's own parser of JSON text, as a function that returns ``kind``."""

    def from_json(value, structure): ...  # type: ignore[no-untyped-def]

    from_json.__annotations__ = {"return": ibis.dtype(kind)}
    return ibis.udf.scalar.builtin(from_json)


@cache
def _unary(name: str, returns: str) -> Any:
    def one(value): ...  # type: ignore[no-untyped-def]

    one.__annotations__ = {"return": ibis.dtype(returns)}
    return ibis.udf.scalar.builtin(name=name)(one)


def records_of_text(engine: Engine, text: ir.StringValue, kind: str) -> ir.Value:
    """JSON text as records of type ``kind`` (lists, structs and strings); null where it is no such JSON."""
    if engine.dialect in _SPARK:
        return _from_json(kind, engine.dialect)(text, _spark_type(ibis.dtype(kind)))
    if engine.dialect != "duckdb":
        raise SourceError(f"Records held as JSON text cannot be parsed inside {engine.dialect}. Export them to a file.")
    # DuckDB's own raises an error for text that is no JSON, even inside a CASE that should spare it: give it none.
    valid = _unary("json_valid", "boolean")(text).ifelse(text, ibis.null("string"))
    return _from_json(kind, engine.dialect)(valid, _duckdb_type(ibis.dtype(kind)))


def _duckdb_type(kind: Any) -> str:
    if kind.is_struct():
        return "{" + ",".join(f'"{name}":{_duckdb_type(one)}' for name, one in kind.items()) + "}"
    return f"[{_duckdb_type(kind.value_type)}]" if kind.is_array() else '"VARCHAR"'


def _spark_type(kind: Any) -> str:
    if kind.is_struct():
        return "struct<" + ",".join(f"{name}:{_spark_type(one)}" for name, one in kind.items()) + ">"
    return f"array<{_spark_type(kind.value_type)}>" if kind.is_array() else "string"


def json_text(engine: Engine, value: ir.Value) -> ir.StringValue:
    """Records as JSON text; text as it is."""
    return value if value.type().is_string() else _unary(_TO_JSON.get(engine.dialect, "to_json"), "string")(value)


def field(table: ir.Table, path: str) -> ir.Value:
    """The field ``"column.field.field"``; a null text where the table has none, as exports of other years may."""
    column, *names = path.split(".")
    value = table[column] if column in table.columns else ibis.null("string")
    for name in names:
        found = value.type().is_struct() and name in value.type().names
        value = value[name] if found else ibis.null("string")
    return ibis.null("string") if value.type().is_null() else value


def number(value: ir.Value) -> ir.FloatingValue:
    """A value as a float64; null where it is text but no number."""
    return value.try_cast("float64") if value.type().is_string() else value.cast("float64")


def first(engine: Engine, records: ir.ArrayValue) -> ir.Value:
    """The first member of a list, or null."""
    if engine.dialect in _SPARK:  # its own raises an error for a list without members
        return (records.length() > 0).ifelse(records[0], ibis.null(records.type().value_type))
    return records[0]


def is_keyed(table: ir.Table, column: str) -> bool:
    """Whether a column holds lists of records of a key and a record of values."""
    kind = table[column].type() if column in table.columns else None
    if kind is None or not kind.is_array() or not kind.value_type.is_struct():
        return False
    member = dict(kind.value_type.items())
    return "key" in member and "value" in member and bool(member["value"].is_struct())


def parameters(engine: Engine, table: ir.Table, column: str) -> list[Parameter]:
    """The names in a column of keys and values, the most frequent first, by one scan of that column."""
    members = table.select(_member=table[column].unnest())
    value = members["_member"]["value"]
    fields = [name for name in ("string_value", "int_value", *_DECIMALS) if name in value.type().names]
    flat = members.select(_key=members["_member"]["key"], **{name: value[name].notnull() for name in fields})
    flat = flat.filter(flat["_key"].notnull())
    found = flat.group_by("_key").agg(rows=flat.count(), **{name: flat[name].sum() for name in fields})
    frame = engine.fetch(found).sort_values(["rows", "_key"], ascending=[False, True])
    return [
        Parameter(str(row["_key"]), _kind([name for name in fields if row[name]])) for row in frame.to_dict("records")
    ]


def _kind(filled: list[str]) -> str:
    if not filled or "string_value" in filled:
        return "string"
    return "int64" if filled == ["int_value"] else "float64"


def parameter(engine: Engine, records: ir.ArrayValue, wanted: Parameter) -> ir.Value:
    """The value of one parameter in each row; of a name that comes twice in a row the first."""
    value = first(engine, records.filter(lambda one: one["key"] == wanted.name))["value"]
    held = {name: value[name] for name in ("string_value", "int_value", *_DECIMALS) if name in value.type().names}
    held = {name: one for name, one in held.items() if not one.type().is_null()}
    if "int_value" in held and held["int_value"].type().is_floating():  # pandas makes floats of whole numbers and null
        held["int_value"] = held["int_value"].try_cast("int64")
    if wanted.kind == "string":
        texts = [one.cast("string") for one in held.values()]
        return ibis.coalesce(*texts) if texts else ibis.null("string")
    if wanted.kind == "int64":
        whole = held["int_value"]
        return whole.try_cast("int64") if whole.type().is_string() else whole.cast("int64")
    return ibis.coalesce(*[number(one) for name, one in held.items() if name != "string_value"])
