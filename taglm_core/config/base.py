"""Base of all configuration records (frozen, unknown keys refused), and laying settings over others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every configuration record."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )


def home_expanded(path: Path) -> Path:
    """Return a path of a user's settings with `~` replaced by the home folder.

    Raises:
        ValueError: the home folder is not known, or the path begins with a variable of the shell.
    """
    if str(path).startswith("$"):
        raise ValueError(f"found {str(path)!r}; variables are not replaced in settings; write the whole path, or ~/...")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"found {str(path)!r}, and nobody knows that home folder; write the whole path") from error


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `changes` over `base`: sections key by key, everything else replaced whole.

    A section whose `kind` changes is replaced whole too: the fields of one kind mean nothing in another.
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
    """Lay settings over the preset they name, and that over `base`; return settings without a preset unchanged.

    Raises:
        ValueError: there is no such preset.
    """
    if not isinstance(given, Mapping) or given.get("preset") is None:
        return given if base is None else merge(base, given)
    name = given["preset"]
    if not isinstance(name, str) or name not in presets:
        raise ValueError(f"no preset {name!r}; there are {', '.join(presets)}")
    return merge(merge(base or {}, presets[name]), {key: value for key, value in given.items() if key != "preset"})
