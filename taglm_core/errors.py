"""Every error that a user can meet.

    TagLMError
    ├── ConfigError            an experiment file, --set or variable of the environment that cannot be used
    ├── InputError             a raw input file that cannot be read (carries file and line)
    ├── CorpusRefused          corpora that were read, but whose results would be meaningless
    ├── StoreError
    │   ├── DamagedObject      an object's bytes are not what its manifest says
    │   └── MissingObject      something asked for is not in the store
    ├── OutOfResources                 the disk is full, or memory does not suffice
    ├── MismatchError          two artifacts that do not belong together
    ├── TrainingError
    │   ├── NonFiniteLoss      the loss became inf or nan
    │   └── Interrupted        stopped on request, checkpoint written
    ├── ChildFailed            a training process ended without a result
    ├── ServerFailed           a server that a run starts for itself does not start
    └── TrackingAway           MLflow does not answer, and the answer matters

Each message says what was found, what was expected and what to do. Programming errors stay ValueError and TypeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class TagLMError(Exception):
    """Base of all errors that are the user's or the machine's, not the program's."""


class ConfigError(TagLMError):
    """An experiment file, a value given with --set, or a variable of the environment, that cannot be used."""


class InputError(TagLMError):
    """A raw input that cannot be read.

    Args:
        path: the file.
        line: 1-based line number, or None where the whole file is meant.
        found: what is there.
        expected: what should be there.
        remedy: what the user can do.
        others: further places of the same kind, a line of text each.
    """

    def __init__(
        self,
        path: Path | str,
        line: int | None,
        found: str,
        expected: str,
        remedy: str,
        others: Sequence[str] = (),
    ) -> None:
        self.path, self.line, self.found, self.expected, self.remedy = str(path), line, found, expected, remedy
        self.others = tuple(others)
        where = self.path if line is None else f"{self.path}:{line}"
        super().__init__("\n  ".join([f"{where}: found {found}; expected {expected}; {remedy}", *others]))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.line, self.found, self.expected, self.remedy, self.others)


class CorpusRefused(TagLMError):
    """Corpora that were read, but whose results would be meaningless (`labelled.accept` lets them pass)."""


class StoreError(TagLMError):
    """The store cannot do what was asked."""


class DamagedObject(StoreError):
    """An object's files are missing, truncated or changed."""


class MissingObject(StoreError):
    """Something asked for is not in the store."""


class OutOfResources(TagLMError):
    """The disk or the memory does not suffice for what was asked."""


class MismatchError(TagLMError):
    """Two artifacts that do not belong together (a cache and another corpus, say)."""


class TrainingError(TagLMError):
    """Training cannot go on."""


class NonFiniteLoss(TrainingError):
    """The loss became infinite or not a number."""


class Interrupted(TrainingError):
    """Training stopped on request; a checkpoint was written and the next run goes on from it."""


class ChildFailed(TagLMError):
    """A training process ended without a result."""


class ServerFailed(TagLMError):
    """A server that a run starts for itself does not start."""


class TrackingAway(TagLMError):
    """The tracking store does not answer, and what was asked must not go on without its answer."""
