"""The language of ``where``: small, safe, never evaluated as code.

A condition is ``percent >= 75 and device in ('mobile', 'tablet') and not page is null``. It knows

* comparisons ``= == != <> < <= > >=`` of a column with a value or with another column,
* ``in (..)``, ``not in (..)``, ``is null``, ``is not null``, ``and``, ``or``, ``not``, ``true``, ``false``, ``( )``,
* numbers; text in single or double quotes (``'it''s'``, or a backslash before a quote or backslash; ``\\n \\r \\t``),
* columns as bare words (letters, digits, ``_ . $``), anything else in backticks; a true/false column on its own.

Key words may be in any case. Times are compared with text such as ``'2026-01-31'`` or ``'2026-01-31T12:00:00+01:00'``
(UTC where no zone is named). Nulls follow SQL: a comparison with null is neither true nor false. A number that is NaN
is a missing one and counts as null, because engines disagree about NaN. A row matches only where the condition is true.
"""

from __future__ import annotations

from microconv.conditions.disjoint import disjoint
from microconv.conditions.nodes import And, Compare, In, IsNull, Not, Or, matches
from microconv.conditions.operands import Column, Condition, Literal
from microconv.conditions.parsing import parse

__all__ = [
    "And",
    "Column",
    "Compare",
    "Condition",
    "In",
    "IsNull",
    "Literal",
    "Not",
    "Or",
    "disjoint",
    "matches",
    "parse",
]
