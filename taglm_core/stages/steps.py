"""Steps and graphs: the shape of an experiment, before anything has run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import ConfigError, InputError

VECTORS = "vectors"  # role of a file of word vectors


class Stage(StrEnum):
    """The four stages, in order."""

    INGEST = "ingest"
    PRETRAIN = "pretrain"
    EMBED = "embed"
    TAG = "tag"

    @property
    def place(self) -> int:
        """Position in the pipeline."""
        return list(Stage).index(self)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        name: as in the store.
        stage: the stage that makes it.
        version: STAGE_VERSION; raised when the same recipe gives other numbers than before.
        builder: `module:function` that makes it (imported only when it runs).
        child: whether it is built in a process of its own (everything that computes with torch).
    """

    name: str
    stage: Stage
    version: int
    builder: str
    child: bool = False


TRAIN_ONLY = "train-only"
"""Role of the tagger, trained on train alone, whose epochs one that trains on train and dev repeats."""

TRAIN_CORPUS, DEV_CORPUS = "train/corpus", "dev/corpus"
"""Roles, in a report, of what its taggers learnt from."""

_ROOM = "taglm_core.stages"
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("demo-corpus", Stage.INGEST, 2, f"{_ROOM}.ingest:build_demo_corpus"),
        Kind("tag-scheme", Stage.INGEST, 1, f"{_ROOM}.ingest:build_tag_scheme"),
        Kind("corpus", Stage.INGEST, 1, f"{_ROOM}.ingest:build_corpus"),
        Kind("corpus-statistics", Stage.INGEST, 1, f"{_ROOM}.ingest:build_statistics"),
        Kind("vocabulary", Stage.PRETRAIN, 1, f"{_ROOM}.pretrain:build_vocabulary"),
        Kind("token-ids", Stage.PRETRAIN, 1, f"{_ROOM}.pretrain:build_token_ids"),
        Kind("language-model", Stage.PRETRAIN, 5, f"{_ROOM}.pretrain:build_language_model", child=True),
        Kind("embeddings", Stage.EMBED, 2, f"{_ROOM}.embed:build_embeddings", child=True),
        Kind("word-vectors", Stage.EMBED, 1, f"{_ROOM}.embed:build_word_vectors"),
        Kind("tagger", Stage.TAG, 5, f"{_ROOM}.tag:build_tagger", child=True),
        Kind("evaluation", Stage.TAG, 4, f"{_ROOM}.tag:build_evaluation", child=True),
        Kind("report", Stage.TAG, 3, f"{_ROOM}.tag:build_report"),
    )
}


@dataclass(frozen=True, slots=True)
class Step:
    """One object that an experiment needs.

    Attributes:
        name: unique in the experiment, such as `embeddings/main/forward/train`.
        kind: kind of object.
        config: the configuration fields that change the numbers (JSON values).
        inputs: names of the steps whose objects it reads, by role.
        files: raw input files it reads (file, folder or glob), by role.
        objects: (kind, digest) of objects it reads that no step here makes, by role.
        group: what its MLflow experiment is named after: the data set or the text.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    objects: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        """The stage it belongs to."""
        return KINDS[self.kind].stage

    def raw_files(self) -> dict[str, list[Path]]:
        """The raw input files it reads, by role.

        Raises:
            InputError: as `raw_files_of`.
        """
        return {role: self.raw_files_of(role) for role in self.files}

    def raw_files_of(self, role: str) -> list[Path]:
        """The raw input files of one role.

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


def parse_stage(name: str) -> Stage:
    """A stage by name.

    Raises:
        ConfigError: no such stage.
    """
    try:
        return Stage(name)
    except ValueError:
        raise ConfigError(f"no stage {name!r}; the stages are {', '.join(Stage)}") from None
