"""The shortest settings that give an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from taglm_core.config.experiment import Experiment


def shortest_settings(experiment: Experiment) -> dict[str, Any]:
    """Return settings that give an experiment again, as short as possible, without its section `run`."""
    wanted = experiment.model_copy(update={"run": Experiment().run})
    whole = wanted.model_dump(mode="json", exclude={"run"})
    short = {"name": experiment.name, **_difference(whole, Experiment().model_dump(mode="json"))}
    sources = {name: whole[name] for name in ("labelled", "unlabelled")}  # sources of one kind need the others
    for settings in (short, {**short, **sources}):
        try:
            if Experiment.model_validate(settings) == wanted:
                return settings
        except ValidationError:
            continue
    return whole


def _difference(value: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that differ from the usual ones; a section of another kind is returned whole."""
    found: dict[str, Any] = {}
    for name, entry in value.items():
        other = usual.get(name)
        if name in usual and entry == other:
            continue
        found[name] = entry
        if isinstance(entry, Mapping) and isinstance(other, Mapping) and entry.get("kind") == other.get("kind"):
            found[name] = _difference(entry, other)
    return found
