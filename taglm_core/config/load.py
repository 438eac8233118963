"""Reading an experiment: YAML, then --set, then validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taglm_core.config.experiment import Experiment
from taglm_core.config.explain import explain_all
from taglm_core.config.yaml_text import parse_yaml, read_yaml
from taglm_core.errors import ConfigError


def load_experiment(path: Path | None, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file and apply `key=value` overrides.

    Args:
        path: YAML file with the settings that differ from the defaults; None for the defaults alone.
        overrides: `dotted.path=value` strings with values in YAML; numbers select items of lists.

    Raises:
        ConfigError: the file is unreadable, a key is unknown (with the nearest valid name), or a value is invalid.
    """
    return build_experiment(read_settings(path, overrides), source=str(path) if path else "defaults")


def read_settings(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings as written, before validation; deployments get them as their parameter."""
    settings: Any = {} if path is None else read_yaml(path)
    if path is not None and not settings:
        raise ConfigError(f"{path}: found no settings; expected `key: value` lines; begin with `name: {path.stem}`")
    if not isinstance(settings, dict):
        found = "a list" if isinstance(settings, list) else f"{str(settings)[:60]!r}"
        raise ConfigError(f"{path}: found {found}; expected settings (`key: value`, with a space after the colon)")
    for override in overrides:
        dotted, value = parse_override(override)
        set_value(settings, dotted, value, f"--set {override!r}")
    return settings


def build_experiment(settings: dict[str, Any], source: str) -> Experiment:
    """Validate settings; report all problems at once, each with its dotted path."""
    try:
        return Experiment.model_validate(settings)
    except ValidationError as error:
        lines = explain_all(error, Experiment)
        raise ConfigError(f"{source}: " + "\n  ".join(["cannot be used:", *lines])) from error


def parse_override(override: str) -> tuple[str, Any]:
    """Return dotted path and value of a `dotted.path=value` string.

    Raises:
        ConfigError: it has no such form, or the value is no YAML.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not all(part.strip() for part in dotted.split(".")):
        raise ConfigError(f"--set {override!r}: expected dotted.path=value, as in --set seeds=[1,2]")
    return dotted.strip(), parse_yaml(text, f"--set {override!r}", lines=False)


def set_value(settings: dict[str, Any], dotted: str, value: Any, said: str) -> None:
    """Set one value, in place.

    Args:
        settings: settings as written.
        dotted: path to the value; numbers select items of lists.
        value: the value.
        said: where the user wrote it, for messages.

    Raises:
        ConfigError: a list has no such item.
    """
    *parents, last = (part.strip() for part in dotted.split("."))
    node: Any = settings
    for parent in parents:
        if isinstance(node, list):
            index = _index(node, parent, said)
            if not isinstance(node[index], dict | list):
                node[index] = {}
            node = node[index]
        else:
            if not isinstance(node.get(parent), dict | list):
                node[parent] = {}
            node = node[parent]
    node[_index(node, last, said) if isinstance(node, list) else last] = value


def _index(items: list[Any], text: str, said: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < len(items)):
        raise ConfigError(f"{said}: {text!r} is not an item number of a list of {len(items)}, from 0 on")
    return int(text)
