"""Records of the store: recipes, references, manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from taglm_core.store.digests import canonical_json, content_digest

KEY_LENGTH = 32  # hexadecimal digits of keys and digests in paths: 128 bits
ObjectId = tuple[str, str]  # kind and content digest of an object
KeyId = tuple[str, str]  # kind and key of a recipe


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that changes the bytes of an object, and nothing else.

    Attributes:
        kind: kind of object, such as `language-model`.
        version: STAGE_VERSION of the kind; raised when the same inputs give other numbers.
        config: the configuration fields that change the numbers (JSON values).
        inputs: content digest of each input by its role.
    """

    kind: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def key(self) -> str:
        """Return the digest over all fields; it names the recipe."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True, slots=True)
class Ref:
    """Reference to one object; tasks pass references, not objects.

    Attributes:
        kind: kind of object.
        key: key of the recipe that gave it.
        digest: content digest.
        counts: a few counts for logs and tables.
    """

    kind: str
    key: str
    digest: str
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an object. The content digest covers payload alone, not logs, curves and reports."""

    name: str
    bytes: int
    sha256: str
    payload: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description of an object.

    Attributes:
        label: experiment and step that first made it, for people.
        recipe: its recipe.
        files: its files.
        counts: sizes (sentences, tokens, parameters, ...).
        metrics: results (perplexity, F1, ...); no part of the content digest.
        seeds: seeds by name.
        seconds: wall-clock time of building.
        made: circumstances: time, library versions, threads, processor, MLflow and Prefect run ids.
        inputs: kind of each input by its role; manifests of older versions have none.
    """

    label: str
    recipe: Recipe
    files: tuple[FileEntry, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    made: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return the content digest, taken over payload files only."""
        return content_digest((entry.name, entry.sha256) for entry in self.files if entry.payload)[:KEY_LENGTH]

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(entry.bytes for entry in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `manifest.json`."""
        return {"digest": self.digest, "key": self.recipe.key, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Return the manifest that `to_json` gave."""
        fields = {name: data[name] for name in ("label", "counts", "metrics", "seeds", "seconds", "made")}
        fields["inputs"] = data.get("inputs", {})
        return cls(
            recipe=Recipe(**data["recipe"]), files=tuple(FileEntry(**entry) for entry in data["files"]), **fields
        )
