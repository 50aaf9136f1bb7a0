"""The plan and its items, validated when they are made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from microconv import conditions
from microconv.durations import format_duration, to_micros
from microconv.errors import PlanError, shorten, unknown_name
from microconv.plan import files
from microconv.plan.faults import Fault, PlanFaults, faults_of, place

if TYPE_CHECKING:
    from typing import Self

__all__ = ["KINDS", "Behaviour", "End", "Item", "Kind", "Macro", "Micro", "Plan", "Total"]

Kind = Literal["engagement", "form", "content", "social", "identity", "intent", "survey"]
KINDS: tuple[str, ...] = get_args(Kind)
_WRITTEN = ("name", "kind", "event", "where", "nth", "total", "value", "currency", "kpi")


def _sound(text: str) -> str:
    if not text.strip():
        raise ValueError("It is blank. Write a text.")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{shorten(repr(text))} holds a character that no text file can hold.")
    return text


def _condition(text: str) -> str:
    conditions.parse(text)
    return text


def _currency(text: str) -> str:
    if len(text) != 3 or not (text.isascii() and text.isalpha() and text.isupper()):
        raise ValueError(f"{shorten(repr(text))} is not a currency. Write its three capital letters, such as 'EUR'.")
    return text


def _kind(value: Any) -> Any:
    if value is not None and value not in KINDS:
        raise ValueError(unknown_name("kind", value, KINDS))
    return value


def _duration(value: Any, info: ValidationInfo) -> Any:
    if value is None:
        return None
    micros = to_micros(value, str(info.field_name))
    return value.strip() if isinstance(value, str) else format_duration(micros)


def _listed(value: Any, info: ValidationInfo) -> Any:
    if value is None:
        return ()
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _text_keys(item, i)
        return value
    wrapped = f"[{value}]" if isinstance(value, str) and len(value) < 40 else "[...]"
    hint = "start each item with a dash" if isinstance(value, Mapping) else f"write {info.field_name}: {wrapped}"
    raise ValueError(f"It must be a list, got {shorten(repr(value))}; {hint}.")


def _text_keys(value: Any, *at: int) -> Any:
    """Refuse a mapping with a key that is no text: YAML reads on, off, yes and no as true and false."""
    for key in value if isinstance(value, Mapping) else ():
        if not isinstance(key, str):
            raise PlanFaults([(at, f"The key {shorten(repr(key))} must be text; in YAML quote it.")], "The plan")
    return value


def _ends(value: Any, info: ValidationInfo) -> Any:
    listed = _listed(value, info)
    return tuple({"name": end, "event": end} if isinstance(end, str) else end for end in listed)


Text = Annotated[str, Strict(), AfterValidator(_sound)]
Where = Annotated[Text, AfterValidator(_condition)]
Currency = Annotated[Text, AfterValidator(_currency)]
DurationText = Annotated[str | None, BeforeValidator(_duration)]


class _Model(BaseModel):
    """A frozen model whose errors are ``PlanError`` with one line per fault, however it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise self._faulty(error, data) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Make it from a mapping (``options`` are pydantic's own). Raises ``PlanError``."""
        try:
            return super().model_validate(_text_keys(obj), **options)
        except ValidationError as error:
            raise cls._faulty(error, obj) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Make it from JSON (``options`` are pydantic's own). Raises ``PlanError``."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise cls._faulty(error, None) from None

    @classmethod
    def _faulty(cls, error: ValidationError, data: Any) -> PlanFaults:
        return PlanFaults(faults_of(error, cls), f"The {cls.__name__.lower()}", _names(data))


class Total(_Model):
    """A sum per user that must be reached: the item happens at the event where the column's running sum gets there."""

    column: Text
    at_least: Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]


class Item(_Model):
    """A named thing that a user does: an event, perhaps on a condition."""

    name: Text
    event: Text | None = None
    where: Where | None = None

    @property
    def condition(self) -> conditions.Condition | None:
        """``where``, parsed."""
        return conditions.parse(self.where) if self.where is not None else None


class Macro(Item):
    """A macro-conversion. ``value`` names the column of the money it brings, ``currency`` in what that is counted."""

    event: Text
    value: Text | None = None
    currency: Currency | None = None

    @model_validator(mode="after")
    def _currency_has_value(self) -> Self:
        if self.currency is not None and self.value is None:
            text = "It says in what `value` is counted, but there is no `value`: name the column that holds the money."
            raise PlanFaults([(("currency",), text)], "The macro")
        return self


class Micro(Item):
    """A micro-conversion: an event, its ``nth`` occurrence, or a ``total`` reached (over the event's or over all rows).

    ``kpi`` is the aim in the reader's words. An item with ``nth`` or ``total`` happens once per user.
    """

    kind: Annotated[Kind | None, BeforeValidator(_kind)] = None
    nth: Annotated[int, Strict(), Field(ge=1)] | None = None
    total: Annotated[Total | None, BeforeValidator(_text_keys)] = None
    kpi: Text | None = None

    @model_validator(mode="after")
    def _one_definition(self) -> Self:
        if self.event is None and self.total is None:
            raise PlanFaults([(("event",), "It is missing; only a micro with `total` does without.")], "The micro")
        if self.nth is not None and self.total is not None:
            text = "`nth` and `total` exclude each other: make two micros of them."
            raise PlanFaults([((), text)], "The micro")
        return self


class End(Item):
    """Another end of a journey (``competing``) or of a user's observation (``censor``)."""

    event: Text


class Behaviour(_Model):
    """A named group of users by what they had done by a stated moment; all that is given must hold.

    ``did``, ``did_not``: names of micros and macros, or kinds (some micro of the kind): all of them, none of them;
    ``within``: each of ``did`` not longer ago than this. ``min_micros, max_micros``: how many different micros;
    ``min_days``: different days with an event; ``quiet``: no event for at least so long.
    """

    name: Text
    did: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    did_not: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    within: DurationText = None
    min_micros: Annotated[int, Strict(), Field(ge=1)] | None = None
    max_micros: Annotated[int, Strict(), Field(ge=0)] | None = None
    min_days: Annotated[int, Strict(), Field(ge=1)] | None = None
    quiet: DurationText = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        faults: list[Fault] = []
        if not self.model_dump(exclude_defaults=True, exclude={"name"}):
            faults.append(((), "It says nothing of what users did. Write did: [...], did_not: [...] or quiet: 14D."))
        if self.within is not None and not self.did:
            faults.append((("within",), "It says how long ago `did` was, but there is no `did`."))
        for name in self.did:
            if name in self.did_not:
                faults.append((("did_not",), f"{shorten(repr(name))} is in `did` too: nobody fits."))
        if None not in (self.min_micros, self.max_micros) and self.min_micros > self.max_micros:  # type: ignore[operator]
            faults.append((("max_micros",), "It is below `min_micros`: nobody fits."))
        if faults:
            raise PlanFaults(faults, "The behaviour")
        return self


class Plan(_Model):
    """The tracking plan. Only ``macros`` is required, and of an item only ``name`` and ``event``.

    * ``macros``, ``micros``: the conversions; ``competing``: other ends of a journey, reported as causes; ``censor``:
      events that end a user's observation. An end may be written as its bare event name.
    * ``segments``: columns by which users are told apart.
    * ``behaviour``: named groups by what users do, in the order in which they are tried (none: those of
      ``behaviour_segments``).
    * ``horizon``: how far after time zero a probability is stated (no default: without one it is not stated).
    * ``lookback``: how far before a conversion a touch may count (None: no limit).
    * ``session_timeout``: the longest pause within a session. Durations are text such as ``"30D"`` or timedeltas.

    **Plan order** is macros, micros, competing, censor, each in the order written. It decides which of a user's events
    at one instant comes first, so that results never depend on the order of the input rows.

    Raises ``PlanError`` with one line per fault.
    """

    macros: Annotated[tuple[Macro, ...], BeforeValidator(_listed)]
    micros: Annotated[tuple[Micro, ...], BeforeValidator(_listed)] = ()
    competing: Annotated[tuple[End, ...], BeforeValidator(_ends)] = ()
    censor: Annotated[tuple[End, ...], BeforeValidator(_ends)] = ()
    segments: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    behaviour: Annotated[tuple[Behaviour, ...], BeforeValidator(_listed)] = ()
    horizon: DurationText = None
    lookback: DurationText = None
    session_timeout: Annotated[str, BeforeValidator(_duration)] = "30min"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        faults: list[Fault] = []
        if not self.macros:
            faults.append((("macros",), "It is empty; name at least one macro-conversion."))
        first: dict[str, str] = {}
        ends: dict[object, tuple[str, str]] = {}
        for at, item in self._placed():
            if item.name in first:
                text = f"The name {shorten(repr(item.name))} is already that of {first[item.name]}; names are unique."
                faults.append(((*at, "name"), text))
                continue
            first[item.name] = place(at)
            if at[0] == "micros":
                continue
            role, other = ends.setdefault((item.event, item.condition), (str(at[0]), place(at)))
            if role != at[0]:
                faults.append(
                    (at, f"It is the same event on the same condition as {other}; it can be only one of them.")
                )
        for i, column in enumerate(self.segments):
            if column in self.segments[:i]:
                faults.append((("segments", i), f"The segment {shorten(repr(column))} is given twice."))
        faults += self._behaviour_faults()
        if faults:
            raise PlanFaults(faults, "The plan")
        return self

    def _behaviour_faults(self) -> list[Fault]:
        known = [*[item.name for item in (*self.micros, *self.macros)], *KINDS]
        faults: list[Fault] = []
        for i, group in enumerate(self.behaviour):
            if group.name in [other.name for other in self.behaviour[:i]]:
                faults.append((("behaviour", i, "name"), f"The name {shorten(repr(group.name))} is given twice."))
            for key, names in (("did", group.did), ("did_not", group.did_not)):
                faults += [
                    (("behaviour", i, key, j), unknown_name("micro, macro or kind", name, known))
                    for j, name in enumerate(names)
                    if name not in known
                ]
        return faults

    def _placed(self) -> list[tuple[tuple[int | str, ...], Item]]:
        groups: tuple[tuple[str, tuple[Item, ...]], ...] = (
            ("macros", self.macros),
            ("micros", self.micros),
            ("competing", self.competing),
            ("censor", self.censor),
        )
        return [((key, i), item) for key, items in groups for i, item in enumerate(items)]

    @property
    def items(self) -> tuple[Macro | Micro | End, ...]:
        """All items in plan order."""
        return (*self.macros, *self.micros, *self.competing, *self.censor)

    def item(self, name: str) -> Macro | Micro | End:
        """The item of that name. Raises ``PlanError`` when there is none."""
        for item in self.items:
            if item.name == name:
                return item
        raise PlanError(unknown_name("plan item", name, [item.name for item in self.items]))

    def order(self, event: str) -> int:
        """The place of an event in plan order: that of its first item; events the plan does not name come last."""
        return next((i for i, item in enumerate(self.items) if item.event == event), len(self.items))

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan from a YAML file. Raises ``PlanError`` that names the file, the place and how to mend it."""
        return cls._from_text(files.read_text(path), f"The plan {shorten(repr(os.fspath(path)), 200)}")

    @classmethod
    def from_yaml_text(cls, text: str) -> Plan:
        """Read a plan from YAML text. Raises ``PlanError`` that names the place and how to mend it."""
        return cls._from_text(text, "The plan")

    @classmethod
    def _from_text(cls, text: str, subject: str) -> Plan:
        mapping = files.load(text, subject)
        try:
            return cls.model_validate(mapping)
        except PlanFaults as error:
            raise PlanFaults(error.faults, subject, error.names) from None

    def to_yaml(self, path: str | os.PathLike[str] | None = None) -> str:
        """The plan as YAML text without defaults, with ``path`` also written there. Reading it gives an equal plan."""
        mapping: dict[str, Any] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if key in ("macros", "micros", "competing", "censor"):
                mapping[key] = [_written(item) for item in value]
            elif key == "behaviour":
                mapping[key] = [files.Inline(_plain(group)) for group in value]
            elif value != type(self).model_fields[key].default:
                mapping[key] = list(value) if isinstance(value, tuple) else value
        text = files.dump({key: value for key, value in mapping.items() if value != []})
        if path is not None:
            files.write_text(path, text)
        return text


def _written(item: Item) -> Any:
    """An item as YAML has it: its keys in reading order, an end by its bare name where that says all."""
    if isinstance(item, End) and item.name == item.event and item.where is None:
        return item.name
    found = item.model_dump(exclude_defaults=True)
    if "total" in found:
        found["total"] = files.Inline(found["total"])
        at_least = found["total"]["at_least"]
        found["total"]["at_least"] = int(at_least) if at_least.is_integer() else at_least
    return files.Inline({key: found[key] for key in _WRITTEN if key in found})


def _plain(group: Behaviour) -> dict[str, Any]:
    """A behaviour as YAML has it, without what is not given."""
    found = group.model_dump(exclude_defaults=True)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _names(data: Any) -> dict[str, str]:
    """The names of a plan's items by their place, for its errors; whatever is not as it should be has none."""
    found = {}
    for key in ("macros", "micros", "competing", "censor", "behaviour"):
        items = data.get(key) if isinstance(data, Mapping) else None
        for i, item in enumerate(items if isinstance(items, list | tuple) else ()):
            name = item.get("name") if isinstance(item, Mapping) else getattr(item, "name", None)
            if isinstance(name, str):
                found[place((key, i))] = name
    return found
