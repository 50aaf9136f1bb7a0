"""Which type the text of a column deserves, judged by every value and not by a sample.

A column becomes numbers only when nothing is lost: codes with leading zeros, numbers longer than a float holds and
``12e5`` stay text. Words for nothing (NaN, NA, null, ...) among numbers, times or truth values count as missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from microconv.sources.base import Work, identifier

__all__ = ["NUMBERS", "infer_types"]

_FIRST_ROWS = 5_000  # most text columns show by then that they are text
_NOTHING = "('', 'nan', 'na', 'n/a', 'null', 'none', '\\n')"
_WHOLE = "-?(0|[1-9][0-9]*)"
_DECIMAL = (  # an exponent needs a point or a sign: 12e5 is a code
    "-?((0|[1-9][0-9]{0,15})[.][0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?|-?(0|[1-9][0-9]{0,15})([eE][+-][0-9]+)?"
)
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = _DATE + "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
_ZONED = _CLOCK + " ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)"

# From the narrowest to the widest: Ibis type, and DuckDB's test of one trimmed value.
_TESTS: dict[str, str] = {
    "int64": f"regexp_full_match(VALUE, '{_WHOLE}') AND try_cast(VALUE AS BIGINT) IS NOT NULL",
    "float64": f"regexp_full_match(VALUE, '{_DECIMAL}') AND isfinite(try_cast(VALUE AS DOUBLE))",
    "boolean": "lower(VALUE) IN ('true', 'false')",
    "date": f"regexp_full_match(VALUE, '{_DATE}') AND try_cast(VALUE AS DATE) IS NOT NULL",
    "timestamp": f"regexp_full_match(VALUE, '{_DATE}|{_CLOCK}') AND try_cast(VALUE AS TIMESTAMP) IS NOT NULL",
    "timestamp('UTC')": f"regexp_full_match(VALUE, '{_ZONED}') AND try_cast(VALUE AS TIMESTAMPTZ) IS NOT NULL",
}
NUMBERS = ("int64", "float64")


def infer_types(
    work: Work, scan: str, keep: Collection[str] = (), allowed: Collection[str] = tuple(_TESTS)
) -> dict[str, str]:
    """The Ibis type of each text column of ``scan`` (SQL after FROM) that deserves another; ``keep`` are not asked."""
    described = work.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()
    columns = [name for name, kind, *_ in described if kind == "VARCHAR" and name not in keep]
    if not columns:
        return {}
    possible = _in_first_rows(work, scan, columns, [kind for kind in _TESTS if kind in allowed])
    possible = {name: kinds for name, kinds in possible.items() if kinds}
    return _in_all_rows(work, scan, possible)


def _in_first_rows(work: Work, scan: str, columns: list[str], kinds: list[str]) -> dict[str, list[str]]:
    """The types that the first rows leave possible for each column, which spares most columns the full test."""
    tests = ", ".join(f"count_if({_TESTS[kind].replace('VALUE', 'value')})" for kind in kinds)
    # As rows of (name, value): hundreds of columns would make a query that takes seconds to plan.
    values = f"UNPIVOT (SELECT {', '.join(map(identifier, columns))} FROM {scan} LIMIT {_FIRST_ROWS}) ON COLUMNS(*)"
    counts = work.execute(
        f"SELECT name, count(*), {tests} "
        f"FROM (SELECT name, trim(text) AS value FROM ({values} INTO NAME name VALUE text))"
        f" WHERE lower(value) NOT IN {_NOTHING} GROUP BY name"
    ).fetchall()
    possible = dict.fromkeys(columns, kinds)  # what has no value yet may become anything
    for name, filled, *matching in counts:
        possible[name] = [kind for kind, rows in zip(kinds, matching, strict=True) if rows == filled]
    return possible


def _in_all_rows(work: Work, scan: str, possible: Mapping[str, list[str]]) -> dict[str, str]:
    """The narrowest type that every value of a column has."""
    asked = []
    for name, kinds in possible.items():
        value = f"trim({identifier(name)})"
        filled = f"lower({value}) NOT IN {_NOTHING}"  # null, and so not counted, where the value is
        asked.append((name, "", f"count_if({filled})"))
        asked += [(name, kind, f"count_if({filled} AND {_TESTS[kind].replace('VALUE', value)})") for kind in kinds]
    if not asked:
        return {}
    counts = work.execute(f"SELECT {', '.join(count for *_, count in asked)} FROM {scan}").fetchone()
    filled_rows: dict[str, int] = {}
    types: dict[str, str] = {}
    for (name, kind, _), rows in zip(asked, counts, strict=True):
        if not kind:
            filled_rows[name] = rows
        elif filled_rows[name] and rows == filled_rows[name]:
            types.setdefault(name, kind)
    return types
