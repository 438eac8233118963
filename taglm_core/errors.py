"""All errors that a user can meet.

    TagLMError
    ├── ConfigError            an experiment file, --set or environment variable is invalid
    ├── InputError             a raw input file cannot be read (carries file and line)
    │   └── MisalignedSpans    its spans need a choice of `labelled.misaligned`
    ├── CorpusRefused          the corpora were read, but results on them would be meaningless
    ├── StoreError
    │   ├── DamagedObject      the files of an object do not match its manifest
    │   └── MissingObject      a requested object is not in the store
    ├── OutOfResources         the disk or the memory is full
    ├── MismatchError          two artifacts do not belong together
    ├── TrainingError
    │   ├── NonFiniteLoss      the loss became infinite or NaN
    │   └── Interrupted        training stopped on request after writing a checkpoint
    ├── CellsFailed            some cells of a sweep failed; the others are in its result
    ├── ChildFailed            a training process ended without a result
    ├── ServerFailed           a server that a run starts for itself does not start
    ├── MissingLibrary         an optional library is not installed
    └── TrackingAway           MLflow does not answer, and its answer is required

Each message says what was found, what was expected, and the remedy. Programming errors stay ValueError and TypeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class TagLMError(Exception):
    """Base of all errors that come from the user or the machine, not from a bug."""


class ConfigError(TagLMError):
    """An experiment file, a --set value or an environment variable is invalid."""


class InputError(TagLMError):
    """A raw input file cannot be read.

    Args:
        path: the file.
        line: line number from 1; None for the whole file.
        found: what the file holds.
        expected: what it should hold.
        remedy: what the user can do.
        others: further occurrences of the same fault, one line of text each.
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

    @property
    def arguments(self) -> tuple[str, int | None, str, str, str, tuple[str, ...]]:
        """Return the arguments that make the same error."""
        return self.path, self.line, self.found, self.expected, self.remedy, self.others

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self.arguments


class MisalignedSpans(InputError):
    """Spans cannot be expressed by tags, and `labelled.misaligned` says nothing about them."""


class CorpusRefused(TagLMError):
    """The corpora were read, but results on them would be meaningless (`labelled.accept` allows them)."""


class StoreError(TagLMError):
    """The store cannot do what was requested."""


class DamagedObject(StoreError):
    """An object's files are missing, truncated or changed."""


class MissingObject(StoreError):
    """A requested object is not in the store."""


class OutOfResources(TagLMError):
    """The disk or the memory is full, or too small for the work."""


class MismatchError(TagLMError):
    """Two artifacts do not belong together (a cache and another corpus, say)."""


class TrainingError(TagLMError):
    """Training cannot go on."""


class NonFiniteLoss(TrainingError):
    """The loss became infinite or NaN."""


class Interrupted(TrainingError):
    """Training stopped on request after writing a checkpoint; the next run goes on from it."""


class CellsFailed(TagLMError):
    """Some cells of a sweep failed; the message has the reason of each, and the result has the others."""


class ChildFailed(TagLMError):
    """A training process ended without a result."""


class ServerFailed(TagLMError):
    """A server that a run starts for itself does not start."""


class MissingLibrary(TagLMError):
    """An optional library is not installed."""


class TrackingAway(TagLMError):
    """MLflow does not answer, and the command must not go on without its answer."""
