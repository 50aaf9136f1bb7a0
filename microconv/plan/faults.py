"""What is wrong with a plan, one line per fault with its place, in place of pydantic's own errors."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from microconv.errors import PlanError, shorten, unknown_name

__all__ = ["Fault", "PlanFaults", "faults_of", "place"]

Fault: TypeAlias = tuple[tuple[int | str, ...], str]


class PlanFaults(PlanError):
    """A ``PlanError`` that knows its faults: pairs of a place such as ``("micros", 2, "kind")`` and what is wrong."""

    def __init__(self, faults: Iterable[Fault], subject: str, names: Mapping[str, str] | None = None) -> None:
        self.faults = tuple(faults)
        self.subject = subject
        self.names = dict(names or {})
        lines = [f"  {self._where(at)}{text}" for at, text in self.faults]
        count = f"{len(lines)} faults" if len(lines) > 1 else "a fault"
        super().__init__("\n".join([f"{subject} has {count}:", *lines]))

    def __reduce__(self) -> tuple[Any, ...]:
        return PlanFaults, (self.faults, self.subject, self.names)

    def _where(self, at: tuple[int | str, ...]) -> str:
        """``micros[2].kind ('watched_75'): ``, with the name of the item, because nobody counts thirty lines."""
        name = self.names.get(place(at[:2]))
        said = f" ({shorten(repr(name), 40)})" if name is not None else ""
        return f"{place(at)}{said}: " if at else ""


def place(at: tuple[int | str, ...]) -> str:
    """A place in a plan as it is written: ``micros[2].kind``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{shorten(step, 40)}" for step in at)
    return text.removeprefix(".")


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """The faults that pydantic found in one model, those of the models inside it included."""
    faults: list[Fault] = []
    for found in error.errors(include_url=False):
        at, value, context = found["loc"], found["input"], found.get("ctx", {})
        cause = context.get("error")
        if isinstance(cause, PlanFaults):
            faults += [((*at, *inner), text) for inner, text in cause.faults]
        elif isinstance(cause, Exception):
            faults.append((at, str(cause).partition("\n")[0]))
        elif found["type"] == "extra_forbidden":
            faults.append((at[:-1], unknown_name("key", at[-1], model.model_fields)))
        elif found["type"] == "missing":
            faults.append((at, f"It is missing; {_called(model)} needs {_needed(model)}."))
        else:
            tell = _TOLD.get(found["type"])
            said = tell(value, str(at[-1]) if at else "") if tell else f"{found['msg']}, got {_got(value)}."
            faults.append((at, said))
    return faults


def _called(model: type[BaseModel]) -> str:
    name = model.__name__.lower()
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _needed(model: type[BaseModel]) -> str:
    return " and ".join(f"`{name}`" for name, info in model.model_fields.items() if info.is_required())


def _not_text(value: object, key: str) -> str:
    """YAML turns some bare words into other things than text: say how to keep them text."""
    if value is None:
        return "It is empty. Write a text, in quotes if the text is null."
    if isinstance(value, bool):
        example = "'on'" if value else "'off'"
        return (
            f"It must be text, got {str(value).lower()}. YAML reads a bare yes, no, on, off, true or false so: "
            f"quote the text, as in {key}: {example}."
        )
    if isinstance(value, int | float | dt.date):
        kind = "date" if isinstance(value, dt.date) else "number"
        return f"It must be text, got the {kind} {shorten(value, 40)}. Quote it: {key}: '{shorten(value, 40)}'."
    return f"It must be text, got {_got(value)}."


def _got(value: object) -> str:
    kind = "the list " if isinstance(value, list | tuple) else "the mapping " if isinstance(value, dict) else ""
    return kind + shorten(repr(value))


def _whole(value: object, key: str) -> str:
    return f"It must be a whole number of at least 1, got {_got(value)}."


def _above_zero(value: object, key: str) -> str:
    return f"It must be a number above 0, got {_got(value)}."


def _mapping(value: object, key: str) -> str:
    examples = {"": "{macros: [{name: purchase, event: purchase}]}", "total": "{column: seconds, at_least: 300}"}
    return f"It must be a mapping such as {examples.get(key, '{name: signup, event: signup}')}, got {_got(value)}."


_TOLD: dict[str, Callable[[object, str], str]] = {
    "string_type": _not_text,
    "int_type": _whole,
    "greater_than_equal": _whole,
    "float_type": _above_zero,
    "greater_than": _above_zero,
    "finite_number": _above_zero,
    "model_type": _mapping,
}
