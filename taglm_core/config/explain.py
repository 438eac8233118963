"""Turning validation errors into lines a person can act on."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

_UNIONS = (types.UnionType, typing.Union)


def explain(detail: Any, root: type[BaseModel]) -> str:
    """One line for one of pydantic's error details: dotted path, what is wrong, the nearest valid name."""
    if detail["type"] != "extra_forbidden":
        message = detail["msg"].removeprefix("Value error, ")
        dotted = ".".join(_walk(detail["loc"], root)[0])
        return f"{dotted}: {message}" if dotted else message
    section, here = _walk(detail["loc"][:-1], root)
    unknown = str(detail["loc"][-1])
    dotted = ".".join([*section, unknown])
    valid = sorted(here.model_fields)
    near = difflib.get_close_matches(unknown, valid, n=1, cutoff=0.5)
    if near:
        return f"{dotted}: unknown key; did you mean {'.'.join([*section, near[0]])}?"
    return f"{dotted}: unknown key; valid here: {', '.join(valid)}"


def _walk(location: Sequence[Any], root: type[BaseModel]) -> tuple[list[str], Any]:
    """The path as a user writes it, and the type of what stands there.

    pydantic puts the kind it chose among the models of a union into the location; that part is no key of the file.
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
    """The model of a setting that may be left out (`Model | None`); anything else as it is."""
    if typing.get_origin(annotation) not in _UNIONS:
        return annotation
    others = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    return others[0] if len(others) == 1 and _is_model(others[0]) else annotation


def _alternatives(annotation: Any) -> list[type[BaseModel]]:
    """The models of a union that are told apart by their `kind`."""
    if typing.get_origin(annotation) not in _UNIONS:
        return []
    return [model for model in typing.get_args(annotation) if _is_model(model) and "kind" in model.model_fields]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
