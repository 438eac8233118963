"""Roles of inputs, such as `train/embeddings/main/forward`.

A role is a string that is part of keys and must never change. Only this module writes roles (`Role.name`) and parses
them (`typed_input`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

RAW = "raw"
"""Kind of an input that consists of raw files."""

UNKNOWN = "object"
"""Kind of an input with a role of another version."""


@dataclass(frozen=True)
class Role:
    """A role of inputs.

    Attributes:
        template: role with the placeholders `{split}`, `{lm}`, `{direction}`, `{variant}` and `{seed}`.
        kind: kind of the input, or RAW.
    """

    template: str
    kind: str

    def name(self, **values: object) -> str:
        """Return the role with its values, such as `train/embeddings/main/forward`."""
        return self.template.format(**values)

    def match(self, role: str) -> dict[str, str] | None:
        """Return the values in a role by name; None if the role does not match."""
        found = self._pattern.fullmatch(role)
        return None if found is None else found.groupdict()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        values = {"split": "train|dev|test|text", "direction": "forward|backward", "lm": ".+", "variant": ".+",
                  "seed": r"-?\d+"}  # fmt: skip
        return re.compile(self.template.format(**{name: f"(?P<{name}>{text})" for name, text in values.items()}))


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a recipe.

    Attributes:
        role: role in the recipe.
        kind: kind of the object, RAW or UNKNOWN.
        digest: content digest.
        split: split in the role, if any.
        lm: name of the language model, if any.
        direction: direction of the language model, if any.
        variant: arm of the comparison, if any.
        seed: seed of the tagger; 0 if the role has none.
    """

    role: str
    kind: str
    digest: str
    split: str = ""
    lm: str = ""
    direction: str = ""
    variant: str = ""
    seed: int = 0


# Roles without values, by name.
VECTORS = "vectors"  # a file of word vectors
BASE = "base"  # language model or tagger that another one starts from
TAGGER = "tagger"
TRAIN_ONLY = "train-only"  # tagger trained on train alone; gives the epochs of one trained on train and dev
TRAIN_CORPUS, DEV_CORPUS = "train/corpus", "dev/corpus"

# Roles with values.
LABELLED = Role("{split}/corpus", "corpus")
EMBEDDINGS = Role("{split}/embeddings/{lm}/{direction}", "embeddings")
WORD_VECTORS = Role("{split}/word-vectors", "word-vectors")
LANGUAGE_MODEL = Role("language-model/{lm}/{direction}", "language-model")
MEASURED = Role("{split}/{variant}/{seed}", "evaluation")


def typed_input(roles: Iterable[Role], role: str, digest: str, kind: str | None = None) -> Input:
    """Return one input with its kind and the values in its role.

    Args:
        roles: roles that the object may read.
        role: role in the recipe.
        digest: content digest of the input.
        kind: kind in the manifest of the object, if recorded.
    """
    for known in roles:
        if (values := known.match(role)) is not None:
            given: dict[str, Any] = {**values, "seed": int(values.get("seed", 0))}
            return Input(role, kind or known.kind, digest, **given)
    return Input(role, kind or UNKNOWN, digest)
