"""RawEvents: what every source hands to ``read_events``, before any row is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from microconv.engine import Engine

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["Malformed", "RawEvents"]


@dataclass(frozen=True)
class Malformed:
    """Rows that the file's own format forbids (a torn CSV line, a line that is no JSON), counted by reason."""

    reason: str
    rows: int
    example: str


@dataclass(frozen=True)
class RawEvents:
    """A table as its source has it, in the engine that holds it.

    ``columns`` is the format's own mapping from canonical names to source columns, under the caller's. ``columnar``
    says
    that scanning ``table`` again is cheap (Parquet, a database table), so that it need not be copied. ``time_unit`` is
    the unit of the format's own time column; ``notes`` is what the user should be told.
    """

    engine: Engine
    table: ir.Table
    description: str
    columnar: bool
    columns: Mapping[str, str] = field(default_factory=dict)
    malformed: tuple[Malformed, ...] = ()
    time_unit: str | None = None
    notes: tuple[str, ...] = ()
