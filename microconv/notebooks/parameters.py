"""The parameters of a notebook: what it declares, whether what it was given fits, text turned into their types."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microconv.durations import to_micros
from microconv.errors import MicroconvError, ParameterError, shorten, unknown_name
from microconv.notebooks.files import NotebookError, find_notebook, read_cells

__all__ = ["Parameter", "StartError", "check_parameters", "declared_parameters", "from_text"]

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
_CALLED = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "list": "a list",
    "dict": "a mapping",
}
_DURATIONS = ("horizon", "window", "lookback", "within_step", "landmark", "holdback", "half_life", "worth_within")
_WORDS = (("window", "none"), ("lookback", "none"), ("half_life", "auto"))  # where a duration may also be a word
_MOMENTS = ("start", "end", "observed_until")
_CHOICES = {
    "order": ("ordered", "any", "strict"),
    "reentry": ("latest", "first"),
    "time_unit": ("s", "ms", "us", "ns"),
    "cohort": ("day", "week", "month"),
    "repeat": ("first", "each"),
    "game": ("conversions", "rate"),
    "method": ("hazard", "trials"),
}
_CALL = re.compile(r"\b(start|check_parameters)\(")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook: its name, the name of its type, its default and what its comment says."""

    name: str
    type: str
    default: Any
    help: str


def declared_parameters(notebook: str | Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in its order.

    >>> from microconv.notebooks import declared_parameters
    >>> declared_parameters("funnel")["events"].default
    'sample'
    """
    path = find_notebook(notebook)
    cells = [cell["source"] for cell in read_cells(path) if "parameters" in cell["tags"]]
    if len(cells) != 1:
        raise NotebookError(f"{path.name} has {len(cells)} cells tagged 'parameters'; it needs one.")
    comments = _comments(cells[0])
    found = {}
    for statement in ast.parse(cells[0]).body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            raise NotebookError(
                f'{path.name}: a parameter must be one line such as `horizon: str = "30D"  # what it is`.'
            )
        name, kind = statement.target.id, ast.unparse(statement.annotation)
        if kind not in _TYPES:
            raise NotebookError(f"{path.name}: parameter {name}: " + unknown_name("type", kind, _TYPES))
        found[name] = Parameter(name, kind, ast.literal_eval(statement.value), comments.get(statement.lineno, ""))
    return found


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def check_parameters(notebook: str | Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a notebook's parameters, checked: no unknown name, no wrong type, no impossible value.

    ``given`` is ``globals()`` of the notebook, or a plain mapping of parameters; what it does not set has its
    default. In a notebook the names are those of the cells that set parameters (papermill adds one), so that a
    misspelt one is seen. Raises ``ParameterError``.
    """
    declared = declared_parameters(notebook)
    for name in _names(given, declared):
        if name not in declared:
            mend = "It would change nothing; remove it or correct it."
            raise ParameterError(
                unknown_name(f"parameter of the notebook {Path(notebook).stem!r}:", name, declared, mend)
            )
    values = {name: given.get(name, parameter.default) for name, parameter in declared.items()}
    for name, parameter in declared.items():
        _check_type(parameter, values[name])
    for name in declared:
        _check_value(name, values[name])
    _check_span(values.get("start"), values.get("end"))
    return values


def _check_span(start: str | None, end: str | None) -> None:
    from microconv.engine import to_datetime

    if start and end and to_datetime(start, "start") >= to_datetime(end, "end"):
        raise ParameterError(f"start={start!r} is not before end={end!r}: no user could enter between them.")


def _names(given: Mapping[str, Any], declared: Iterable[str]) -> list[str]:
    """The names that were given as parameters, misspelt ones among them."""
    history = given.get("In")
    if not isinstance(history, list):
        return [
            name for name, value in given.items()
            if not name.startswith("_") and not isinstance(value, types.ModuleType | types.FunctionType | type)
        ]  # fmt: skip
    known, found = set(declared), []
    started = False
    for source in history:
        assigned = _assigned(str(source))
        papermill = str(source).lstrip().startswith("# Parameters")
        # Before the first check only parameters are set; after it, a cell that sets one was edited and run again.
        if papermill or known & set(assigned) or (not started and assigned):
            found += assigned
        started = started or bool(_CALL.search(str(source)))
    return list(dict.fromkeys(found))


def _assigned(source: str) -> list[str]:
    """The names a cell sets, if setting names to plain values is all it does."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):  # a magic, a half-typed line: no cell of parameters
        return []
    names = []
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or not all(isinstance(t, ast.Name) for t in targets):
            return []
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _check_type(parameter: Parameter, value: Any) -> None:
    wanted, name = _TYPES[parameter.type], parameter.name
    right = isinstance(value, wanted) and not (isinstance(value, bool) and wanted is not bool)
    if right or (wanted is float and isinstance(value, int) and not isinstance(value, bool)):
        return
    got = _CALLED.get(type(value).__name__, type(value).__name__)
    raise ParameterError(
        f"{name}={shorten(repr(value))} is {got}, but {name} must be {_CALLED[parameter.type]} "
        f"(its default is {shorten(repr(parameter.default))}).{_mend(parameter, value)}"
    )


def _mend(parameter: Parameter, value: Any) -> str:
    name = parameter.name
    if parameter.type == "bool" and isinstance(value, str):
        return (
            f" papermill takes only True and False for truth values: -p {name} {value.strip().capitalize() or 'True'}."
        )
    if parameter.type == "str" and isinstance(value, int | float):
        return f" papermill makes numbers of what looks like one (007 becomes 7): keep text with -r {name} TEXT."
    if parameter.type == "str" and value is None:
        return f' For none write {name} = "".'
    if parameter.type in ("list", "dict"):
        example = "[first, second]" if parameter.type == "list" else "{user_id: visitorid}"
        return f" With papermill write -y '{name}: {example}'."
    return ""


def _check_value(name: str, value: Any) -> None:
    """Values that no notebook could use, found before anything is read. Empty text is always "not given"."""
    if isinstance(value, str) and "\0" in value:
        raise ParameterError(f"{name}={shorten(repr(value))} holds a null character.")
    if name in _DURATIONS and value and (name, value) not in _WORDS:
        to_micros(value, name)
    elif name in _MOMENTS and value:
        from microconv.engine import to_datetime

        to_datetime(value, name)
    elif name in _CHOICES and value and value not in _CHOICES[name]:
        raise ParameterError(unknown_name(name, value, _CHOICES[name], 'Or "" for the default.'))
    elif name == "semantics" and value:
        from microconv.presets import settings

        settings(value)
    elif name == "min_cell" and value < 0:
        raise ParameterError(f"min_cell={value!r} must be a whole number of people, 0 or more.")
    elif name in ("margin", "discount_rate", "rates"):
        from microconv.reduce.money import RevenueTerms

        RevenueTerms(**{name: value})
    elif name == "occurrences" and value < 1:
        raise ParameterError(f"occurrences={value!r} must be a whole number, 1 or more.")
    elif name in ("events", "output_dir", "origin") and not str(value).strip():
        raise ParameterError(f"{name} is empty. See the comment beside it for what it may be.")
    elif name == "model":
        from microconv.attribution.definitions import asked_models

        asked_models(value or "all", timed=True)
    elif name == "transforms":
        from microconv.path_changes import checked_transforms

        checked_transforms(value)
    elif name == "since":
        for cut in value if list(value) != ["auto"] else []:
            to_micros(cut, "since")
    elif name in ("steps", "optional", "exclude", "competing", "micros", "activity"):
        for item in value:
            if not (isinstance(item, str) and item) and not isinstance(item, Mapping) and not _is_number(name, item):
                raise ParameterError(
                    f"{name}: {shorten(repr(item))} is no name. Give a list of names of plan items or events."
                )
    elif name == "columns":
        for key, column in value.items():
            if not (isinstance(key, str) and isinstance(column, str)):
                raise ParameterError(
                    f"columns: {shorten(repr({key: column}))} must map a name to a column, both as text."
                )


def _is_number(name: str, item: Any) -> bool:
    return name == "optional" and isinstance(item, int) and not isinstance(item, bool)


def from_text(notebook: str | Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """Parameters written as text, as on a command line, in the types that the notebook declares.

    Lists and mappings are written as in YAML: ``[view, cart]``, ``{user_id: visitorid}``.
    """
    import yaml

    declared = declared_parameters(notebook)
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in declared:
            raise ParameterError(unknown_name(f"parameter of the notebook {Path(notebook).stem!r}:", name, declared))
        if not isinstance(text, str) or declared[name].type == "str":
            values[name] = text
            continue
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            wanted = _CALLED[declared[name].type]
            raise ParameterError(
                f"{name}={shorten(repr(text))} cannot be read as {wanted}: {shorten(error, 120)}"
            ) from None
        if declared[name].type == "float" and isinstance(values[name], int) and not isinstance(values[name], bool):
            values[name] = float(values[name])
    return values


class StartError(ParameterError):
    """A notebook cannot start. In Jupyter it shows its message alone: the reader's parameter is at fault, not the
    code.
    """

    @classmethod
    def of(cls, error: MicroconvError) -> StartError:
        return cls(str(error))

    def _render_traceback_(self) -> list[str]:
        return [f"The notebook stops here: {self}"]
