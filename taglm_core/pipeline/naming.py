"""Names of inputs in error messages: split and raw file instead of a folder of the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from taglm_core.errors import InputError, TagLMError
from taglm_core.pipeline.steps import Graph, Step

_CORPUS_FILE = r"(?:/sentences-\d+\.parquet)?"  # means nothing to a user


def names_of(step: Step, graph: Graph) -> dict[str, str]:
    """Return the name of each input by role: its step, and for a corpus the raw files."""
    return {role: _name(name, graph) for role, name in step.inputs.items()} | {role: role for role in step.objects}


def with_input_names(error: TagLMError, names: Mapping[Path, str]) -> TagLMError:
    """Return the error with names in place of folders; the same error if it contains no folder."""
    if not any(str(folder) in str(error) for folder in names):
        return error

    def renamed(text: str) -> str:
        for folder, name in names.items():
            text = name.join(re.split(rf"{re.escape(str(folder))}{_CORPUS_FILE}", text))
        return text

    if isinstance(error, InputError):
        found, expected, remedy = map(renamed, (error.found, error.expected, error.remedy))
        others = [renamed(other) for other in error.others]
        return InputError(renamed(error.path), error.line, found, expected, remedy, others)
    return type(error)(renamed(str(error)))


def _name(step: str, graph: Graph) -> str:
    """Return a name such as `corpus/train (data/mine/train.conll)`."""
    if step not in graph or graph[step].kind != "corpus":
        return step
    above = [graph[name] for name in (step, *sorted(graph.above(step)))]
    files = dict.fromkeys(file for one in above if one.kind == "corpus" for file in one.files.values())
    return f"{step} ({', '.join(files)})" if files else step
