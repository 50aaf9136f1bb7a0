"""Plans as YAML: read safely and strictly, written in the order and layout that people read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from microconv.errors import PlanError, nearest, shorten

__all__ = ["Inline", "dump", "load", "read_text", "write_text"]

MAX_BYTES = 1_000_000
_MAX_DEPTH = 20


class Inline(dict[str, Any]):
    """A mapping that is written on one line."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without the parts that hide things: keys given twice, aliases, merge keys, endless nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="a plan knows no aliases: quote text that starts with *", problem_mark=mark
            )
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, Any] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key_node.start_mark)
            if key in seen:
                problem = f"the key {shorten(repr(key), 40)} is given twice, first in line {seen[key].line + 1}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen[key] = key_node.start_mark
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # In its other styles PyYAML writes some line breaks (U+0085, U+2028) as they are and reads them back as others.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    Inline, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)
)


def load(text: str, subject: str) -> dict[Any, Any]:
    """The mapping that YAML text holds. Raises ``PlanError`` with line and column where it is no such thing."""
    if not isinstance(text, str):
        raise PlanError(f"{subject} must be text, got {shorten(repr(text))}.")
    if len(text) > MAX_BYTES:
        raise PlanError(f"{subject} is longer than a plan may be: {MAX_BYTES:,} characters.")
    try:
        found = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem or error.context)
        hint = ""
        if r"'\t'" in problem:
            hint = " Indent with spaces, not tabs."
        elif isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError | yaml.constructor.ConstructorError):
            hint = " Quote text that holds any of : # , [ ] { } or starts with one of = < * & ! % @ ` ' \"."
        raise PlanError(f"{subject} is not valid YAML{where}: {problem}.{hint}") from None
    except yaml.YAMLError as error:
        raise PlanError(f"{subject} is not valid YAML: {shorten(' '.join(str(error).split()), 200)}.") from None
    except ValueError as error:  # 2026-02-30 looks like a date and is none
        raise PlanError(f"{subject} is not valid YAML: {error}. Quote text that looks like a date or number.") from None
    if found is None:
        raise PlanError(f"{subject} is empty. It needs at least `macros`, a list of {{name: ..., event: ...}}.")
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else shorten(repr(found))
        raise PlanError(f"{subject} must be a mapping with the key `macros`, got {kind}.")
    return found


def dump(mapping: Mapping[str, Any]) -> str:
    """A mapping as YAML in its own order; ``Inline`` parts on one line each."""
    return yaml.dump(
        dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**31
    )


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a plan's file. Raises ``PlanError`` when there is none to read, with the nearest file's name."""
    if not isinstance(path, str | os.PathLike):
        raise PlanError(f"The path of a plan must be text or a Path, got {shorten(repr(path))}.")
    if isinstance(path, str) and ("\n" in path or path.lstrip().startswith(("macros:", "{"))):
        raise PlanError("Plan.from_yaml takes the path of a file; for YAML text call Plan.from_yaml_text.")
    file = Path(path)
    subject = f"The plan {shorten(repr(str(file)), 200)}"
    try:
        if file.is_dir():
            raise PlanError(f"{subject} is a folder. Name the YAML file in it{_beside(file / 'x')}")
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise PlanError(f"{subject} is longer than a plan may be: {MAX_BYTES:,} bytes.")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise PlanError(f"{subject} does not exist{_beside(file)}") from None
    except UnicodeDecodeError as error:
        raise PlanError(f"{subject} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise PlanError(f"{subject} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"{subject} cannot be read: {error}.") from None


def _beside(file: Path) -> str:
    """The YAML files of the same folder, nearest first."""
    names = sorted(p.name for p in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
    if not names:
        return f"; there is no YAML file in {shorten(repr(str(file.parent.absolute())), 200)}."
    close = nearest(file.name, names)
    return f". Did you mean {close!r}?" if close else f". There are {', '.join(map(repr, names[:12]))}."


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file whole or not at all. Raises ``PlanError`` when it cannot be written."""
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".plan.")
        neighbour = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(neighbour, 0o644)
            os.replace(neighbour, target)
        finally:
            neighbour.unlink(missing_ok=True)
    except OSError as error:
        raise PlanError(
            f"The plan cannot be written to {shorten(repr(str(target)), 200)}: {error.strerror or error}. "
            "Name a file in a folder that you may write to."
        ) from error
