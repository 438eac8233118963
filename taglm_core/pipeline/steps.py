"""Steps and graphs: the shape of an experiment, before anything has run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import InputError
from taglm_core.pipeline.kinds import KINDS, Kind, Stage
from taglm_core.pipeline.roles import VECTORS


@dataclass(frozen=True, slots=True)
class Step:
    """One object that an experiment needs.

    Attributes:
        name: unique in the experiment, such as `embeddings/main/forward/train`; for people, never parsed.
        kind: kind of object.
        config: the configuration fields that change the numbers (JSON values).
        inputs: names of the steps whose objects it reads, by role.
        files: raw input files it reads (file, folder or glob), by role.
        group: what its MLflow experiment is named after: the data set or the text.
        objects: (kind, digest) of objects it reads that no step here makes, by role.
        variant: arm of the comparison that a tagger or an evaluation belongs to.
        split: split that a corpus is, or that embeddings and language models read.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    objects: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    variant: str = ""
    split: str = ""

    @property
    def made_as(self) -> Kind:
        """All that is particular to its kind."""
        return KINDS[self.kind]

    @property
    def stage(self) -> Stage:
        """The stage it belongs to."""
        return self.made_as.stage

    def raw_files(self) -> dict[str, list[Path]]:
        """Return the raw input files it reads, by role.

        Raises:
            InputError: as `raw_files_of`.
        """
        return {role: self.raw_files_of(role) for role in self.files}

    def raw_files_of(self, role: str) -> list[Path]:
        """Return the raw input files of one role.

        Raises:
            InputError: there is no such file, or there are several where one is meant.
        """
        paths = resolve_files(self.files[role])
        if role == VECTORS and len(paths) > 1:
            what = f"{len(paths)} files, the first of them {paths[0].name}"
            raise InputError(self.files[role], None, what, "one file of word vectors", "name one of them")
        return paths


class Graph(Mapping[str, Step]):
    """The steps of an experiment by name, each after its inputs.

    Args:
        steps: in any order in which inputs come first.
    """

    def __init__(self, steps: list[Step]) -> None:
        self._steps: dict[str, Step] = {}
        for step in steps:
            missing = [name for name in step.inputs.values() if name not in self._steps]
            if missing or step.name in self._steps:
                raise ValueError(f"step {step.name}: repeated, or before its inputs {missing}")
            self._steps[step.name] = step

    def __getitem__(self, name: str) -> Step:
        return self._steps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def of_stage(self, stage: Stage) -> list[Step]:
        """Steps of one stage, inputs first."""
        return [step for step in self._steps.values() if step.stage is stage]

    def above(self, name: str) -> set[str]:
        """Names of all steps a step depends on."""
        found: set[str] = set()
        open_names = list(self._steps[name].inputs.values())
        while open_names:
            current = open_names.pop()
            if current not in found:
                found.add(current)
                open_names += self._steps[current].inputs.values()
        return found
