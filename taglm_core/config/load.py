"""Reading an experiment: YAML, then --set, then validation with errors a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from taglm_core.config.experiment import Experiment
from taglm_core.config.explain import explain
from taglm_core.errors import ConfigError


def load_experiment(path: Path | None, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file and lay `key=value` overrides over it.

    Args:
        path: YAML file that holds only what differs from the defaults; None for the defaults alone.
        overrides: `dotted.path=value` strings, the value in YAML; list items by their number.

    Raises:
        ConfigError: unreadable file, unknown key (with the nearest valid name), or a value out of its range.
    """
    return build_experiment(read_settings(path, overrides), source=str(path) if path else "defaults")


def read_settings(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The settings as written, before validation (what a deployment is given as its parameter)."""
    settings: Any = {}
    if path is not None:
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError) as error:
            near = sorted(str(p) for p in Path("experiments").glob("*.yaml"))
            hint = f"; experiments here: {', '.join(near)}" if near else ""
            raise ConfigError(f"{path}: cannot be read ({error}){hint}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected a mapping of settings at the top, found {type(settings).__name__}")
    for override in overrides:
        _set(settings, override)
    return settings


def build_experiment(settings: dict[str, Any], source: str) -> Experiment:
    """Validate settings; every problem is reported at once, each with its dotted path."""
    try:
        return Experiment.model_validate(settings)
    except ValidationError as error:
        lines = [explain(detail, Experiment) for detail in error.errors()]
        raise ConfigError(f"{source}: " + "\n  ".join(["cannot be used:", *lines])) from error


def _set(settings: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {override!r}: expected dotted.path=value, as in --set seeds=[1,2]")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from error
    *parents, last = path.strip().split(".")
    node: Any = settings
    for parent in parents:
        if isinstance(node, list):
            node = _item(node, parent, override)
        else:
            if not isinstance(node.get(parent), dict | list):
                node[parent] = {}
            node = node[parent]
    if isinstance(node, list):
        _item(node, last, override)
        node[int(last)] = value
    else:
        node[last] = value


def _item(items: list[Any], index: str, override: str) -> Any:
    if not index.isdigit() or int(index) >= len(items):
        raise ConfigError(f"--set {override!r}: {index!r} is not an item number of a list of {len(items)}")
    return items[int(index)]
