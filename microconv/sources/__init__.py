"""Sources: anything that holds events becomes ``RawEvents``, a table in an engine, before any row is judged.

    source -> files | frame | database -> Parquet or a table of the engine -> RawEvents

* ``delimited.py`` (csv), ``parquet.py``, ``json_lines.py``: one file per file format, each a ``Format``.
* ``frames.py``: pandas, Polars, PyArrow, DuckDB relations. ``databases.py``: Ibis tables and URLs.
* ``ga4.py``: an export of one tool, a ``Layout``. ``nested.py``: fields and named parameters of records in columns.
* ``registry.py``: the list of formats and layouts. ``base.py``: what they are made of. ``paths.py``: which files.

To add the export of a tool (its columns in CSV, Parquet, JSON lines or a table), write ``sources/<tool>.py`` with

    LAYOUT = Layout("tool", "what it is", columns={"user_id": "distinct_id", ...}, detect=..., reshape=...)

and put it into ``LAYOUTS`` of ``registry.py``; ``format="tool"`` then asks for it, and ``format="auto"`` takes it when
``detect`` knows the columns. ``ga4.py`` is one: which columns become what stands in its tables, what it ignores and
the export's known quirks in its docstring. To add a kind of file, write its ``FORMAT = Format(name, about, suffixes,
read)`` and put it into ``FORMATS``: ``read(files, work)`` writes Parquet with ``work.write`` and reports malformed
lines. Either needs a test in ``tests/sources/``.
"""

from __future__ import annotations

from microconv.sources.opening import open_source

__all__ = ["open_source"]
