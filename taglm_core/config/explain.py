"""Turning validation errors into lines a person can act on."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

# pydantic puts the chosen kind of a section into the error's location; it is no part of the path a user writes
UNION_TAGS = ("char-cnn", "word", "full", "adaptive", "cnn", "gru", "none")


def explain(detail: Any, root: type[BaseModel]) -> str:
    """One line for one of pydantic's error details: dotted path, what is wrong, the nearest valid name."""
    location = [part for part in detail["loc"] if part not in UNION_TAGS]
    dotted = ".".join(str(part) for part in location)
    if detail["type"] != "extra_forbidden":
        message = detail["msg"].removeprefix("Value error, ")
        return f"{dotted}: {message}" if dotted else message
    valid = _fields_at(detail["loc"][:-1], root)
    near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
    if near:
        prefix = ".".join(str(part) for part in location[:-1])
        return f"{dotted}: unknown key; did you mean {prefix + '.' if prefix else ''}{near[0]}?"
    return f"{dotted}: unknown key; valid here: {', '.join(valid)}"


def _fields_at(location: Sequence[Any], root: type[BaseModel]) -> list[str]:
    """Names of the fields of the section at a pydantic error location."""
    candidates: list[type[BaseModel]] = [root]
    for part in location:
        found: list[type[BaseModel]] = []
        for model in candidates:
            if isinstance(part, str) and part in model.model_fields:
                found += _models_in(model.model_fields[part].annotation)
            elif "kind" in model.model_fields and model.model_fields["kind"].default == part:
                found.append(model)  # the tag of a union stands in the location
        candidates = found or candidates  # a list index or dictionary key: same models
    return sorted({name for model in candidates for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (None, types.GenericAlias) and not typing.get_args(annotation):
        return []
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]
