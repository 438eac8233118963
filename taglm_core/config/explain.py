"""Plain messages for validation errors."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

_UNIONS = (types.UnionType, typing.Union)
_LIST = "a list, such as [a, b]"
_SECTION = "a section (`key: value` lines)"
_TEXT = "text"
_WHOLE = "a whole number"
_NUMBER = "a number"
_SWITCH = "true or false"
_EXPECTED: Mapping[str, str] = {
    "string_type": _TEXT, "string_sub_type": _TEXT, "string_unicode": "text in UTF-8", "path_type": "a path",
    "int_type": _WHOLE, "int_parsing": _WHOLE, "int_from_float": _WHOLE, "int_parsing_size": "a smaller whole number",
    "float_type": _NUMBER, "float_parsing": _NUMBER, "finite_number": "a finite number",
    "bool_type": _SWITCH, "bool_parsing": _SWITCH,
    "tuple_type": _LIST, "list_type": _LIST, "too_short": "more items", "too_long": "fewer items",
    "dict_type": _SECTION, "model_type": _SECTION, "model_attributes_type": _SECTION, "mapping_type": _SECTION,
    "recursion_loop": "a value that does not contain itself",
}  # fmt: skip
"""Expected value by pydantic error type, for errors without limits."""

_LIMITS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda limits: f"more than {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"{limits['ge']:g} or more",
    "less_than": lambda limits: f"less than {limits['lt']:g}",
    "less_than_equal": lambda limits: f"{limits['le']:g} or less",
    "literal_error": lambda limits: f"one of {limits['expected'].replace(' or ', ', ')}",
    "enum": lambda limits: f"one of {limits['expected'].replace(' or ', ', ')}",
    "union_tag_invalid": lambda limits: f"one of {limits['expected_tags']}",
}
"""Expected value by pydantic error type, for errors with limits or choices."""


def explain_all(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return one line for each problem of a validation error."""
    details = error.errors()
    locations = [detail["loc"] for detail in details]
    return [
        explain(detail, root)
        for detail in details
        # pydantic counts valid items alone: a list whose one item is invalid is not too short
        if detail["type"] != "too_short" or not any(_is_inside(each, detail["loc"]) for each in locations)
    ]


def explain(detail: Any, root: type[BaseModel]) -> str:
    """Return one line for a pydantic error detail: dotted path, fault, nearest valid name."""
    if detail["type"] == "extra_forbidden":
        return _unknown_key(detail["loc"], root)
    path, here = _walk(detail["loc"], root)
    if detail["type"].startswith("union_tag"):
        path.append("kind")
    dotted, message = ".".join(path), _message(detail, here)
    return f"{dotted}: {message}" if dotted else message


def _is_inside(inner: Sequence[Any], outer: Sequence[Any]) -> bool:
    return len(inner) > len(outer) and tuple(inner[: len(outer)]) == tuple(outer)


def _unknown_key(location: Sequence[Any], root: type[BaseModel]) -> str:
    section, here = _walk(location[:-1], root)
    unknown = str(location[-1])
    dotted = ".".join([*section, unknown])
    valid = sorted(here.model_fields)
    near = difflib.get_close_matches(unknown, valid, n=1, cutoff=0.5)
    if near:
        return f"{dotted}: unknown key; did you mean {'.'.join([*section, near[0]])}?"
    return f"{dotted}: unknown key; valid here: {', '.join(valid)}"


def _message(detail: Any, here: Any) -> str:
    """Return what was found and what was expected, without Python terms."""
    kind, given, limits = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        return "is missing; give it a value"
    if kind == "string_pattern_mismatch":
        return (
            f"found {found(given)}; expected a name that begins with a letter A-Z or a digit and goes on with letters, "
            "digits, `_`, `.` and `-`"
        )
    if kind == "union_tag_not_found":
        kinds = ", ".join(str(model.model_fields["kind"].default) for model in _alternatives(here))
        return f"is missing; give one of {kinds}, because the other settings of this section depend on it"
    if kind == "union_tag_invalid":
        return f"found {found(limits['tag'])}; expected {_LIMITS[kind](limits)}"
    if kind in ("too_short", "too_long"):
        most = limits.get("max_length")
        wanted = f"at least {limits['min_length']}" if most is None else f"at most {most}"
        count = limits["actual_length"]
        return f"found {count} item{'' if count == 1 else 's'}; expected {wanted}"
    if kind in ("enum", "literal_error"):
        return f"found {found(given)}; expected {_choices(given, _LIMITS[kind](limits))}"
    expected = _LIMITS[kind](limits) if kind in _LIMITS else _EXPECTED.get(kind)
    if expected is None:  # an error type that is in neither table
        return f"found {found(given)}; {detail['msg']}"
    if expected == _LIST and any(map(_is_model, typing.get_args(here))):
        return f"found {found(given)}; expected a list of sections, such as [{{name: a}}, {{name: b}}]"
    return f"found {found(given)}; expected {expected}{_hint(expected, given, here)}"


def found(value: object) -> str:
    """Return a value as YAML writes it, with its type if that is the surprise."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return _short(repr(str(value)))
    if isinstance(value, int | float | date):
        return f"{value}"
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, value))
        return f"a section with {_short(keys)}" if value else "an empty section"
    if isinstance(value, Sequence):
        return _short("[" + ", ".join(map(found, value)) + "]") if value else "an empty list"
    return _short(str(value))


def _hint(expected: str, given: object, here: Any) -> str:
    """Return what to write instead, if the intention is clear."""
    if expected in (_TEXT, "a path") and isinstance(given, bool | int | float):
        return f"; put it into quotes: '{found(given)}'"
    if expected == _TEXT and isinstance(given, list | tuple) and all(isinstance(item, str) for item in given):
        return "; write one text alone (for several files: a folder, or a pattern such as data/*.conll)"
    if expected == _LIST and isinstance(given, int if int in _parts(here) else str):
        return f"; write [{given}]"
    if expected == _LIST and isinstance(given, str) and int in _parts(here) and re.fullmatch(r"[\d, ]+", given):
        return f"; write [{given}]"
    if expected == _LIST and isinstance(given, Mapping) and all(str(key).isdigit() for key in given):
        return "; --set reaches an item by its number only where the file has the list"
    if expected == _WHOLE and isinstance(given, str):
        digits = re.sub(r"[ ,']", "", given)
        return f"; write {digits}" if digits != given and digits.isdigit() else ""
    return ""


def _choices(given: object, choices: str) -> str:
    """Return the choices with a suggestion if one is close."""
    near = difflib.get_close_matches(str(given).lower(), re.findall("'([^']*)'", choices), n=1, cutoff=0.7)
    return f"{choices}; did you mean {near[0]}?" if near else choices


def _parts(annotation: Any) -> set[Any]:
    """Return all types in an annotation."""
    return {annotation}.union(*map(_parts, typing.get_args(annotation)))


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def _walk(location: Sequence[Any], root: type[BaseModel]) -> tuple[list[str], Any]:
    """Return the path as a user writes it, and the type of the setting.

    pydantic adds the chosen kind of a union of models to the location; the file has no such key.
    """
    path: list[str] = []
    here: Any = root
    for part in location:
        kinds = {model.model_fields["kind"].default: model for model in _alternatives(here)}
        if part in kinds:
            here = kinds[part]
            continue
        path.append(str(part))
        if _is_model(here):
            here = _without_none(here.model_fields[part].annotation) if part in here.model_fields else None
        else:  # the values of a dictionary, the items of a tuple
            inner = [argument for argument in typing.get_args(here) if argument is not Ellipsis]
            here = inner[-1] if inner else None
    return path, here


def _without_none(annotation: Any) -> Any:
    """Return the model of an optional section (`Model | None`); any other annotation unchanged."""
    if typing.get_origin(annotation) not in _UNIONS:
        return annotation
    others = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    return others[0] if len(others) == 1 and _is_model(others[0]) else annotation


def _alternatives(annotation: Any) -> list[type[BaseModel]]:
    """Return the models of a union that `kind` distinguishes."""
    if typing.get_origin(annotation) not in _UNIONS:
        return []
    return [model for model in typing.get_args(annotation) if _is_model(model) and "kind" in model.model_fields]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
