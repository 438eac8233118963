"""Base class of the configuration records, and merging of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

_DIGEST_START = re.compile(r"[0-9a-f]{6,32}")


class Settings(BaseModel):
    """Base of all configuration records: frozen, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )


def is_digest_start(given: Any) -> bool:
    """Return whether a value is the beginning of a digest, of 6 characters or more."""
    return isinstance(given, str) and _DIGEST_START.fullmatch(given) is not None


def found_digest(given: Any) -> str:
    """Return what was found in place of the beginning of a digest, for messages."""
    quotes = "; put it into quotes, or YAML reads a number" if isinstance(given, int | float) else ""
    return f"found {given!r}{quotes}"


def home_expanded(path: Path) -> Path:
    """Return a path with `~` replaced by the home folder.

    Raises:
        ValueError: the home folder is unknown, or the path begins with a shell variable.
    """
    if str(path).startswith("$"):
        raise ValueError(
            f"found {str(path)!r}; shell variables are not expanded in settings; write the whole path, or ~/..."
        )
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"found {str(path)!r}, whose home folder is unknown; write the whole path") from error


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `changes` into `base`: sections key by key, all other values as a whole.

    A section whose `kind` changes is replaced as a whole, because the fields of one kind mean nothing in another.
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("kind", old.get("kind")) == old.get("kind")
        ):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def over_preset(given: Any, presets: Mapping[str, Mapping[str, Any]], base: Mapping[str, Any] | None = None) -> Any:
    """Return settings merged into the preset that they name, and that into `base`; without preset into `base` alone.

    Raises:
        ValueError: the preset does not exist.
    """
    if not isinstance(given, Mapping) or given.get("preset") is None:
        return given if base is None else merge(base, given)
    name = given["preset"]
    if not isinstance(name, str) or name not in presets:
        raise ValueError(f"no preset {name!r}; there are {', '.join(presets)}")
    return merge(merge(base or {}, presets[name]), {key: value for key, value in given.items() if key != "preset"})
